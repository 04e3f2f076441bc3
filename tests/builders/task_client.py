"""The tasks extension of MCP as a client speaks it: requests about a task, and answers as they are on the wire."""

from __future__ import annotations

from typing import Any, Literal

from mcp_types import Request, RequestParams, Result
from pydantic import ConfigDict

Method = Literal["tasks/get", "tasks/update", "tasks/cancel"]


class TaskParams(RequestParams):
    task_id: str


class TaskRequest(Request[TaskParams, Method]):
    method: Method
    params: TaskParams
    name_param = "taskId"


class Anything(Result):
    model_config = ConfigDict(extra="allow")


class CreatedTask(Result):
    model_config = ConfigDict(extra="allow")
    result_type: Literal["task"] = "task"


async def ask(session: Any, method: Method, task_id: str) -> dict[str, Any]:
    """What a server answers about a task."""
    answer = await session.send_request(TaskRequest(method=method, params=TaskParams(task_id=task_id)), Anything)
    told: dict[str, Any] = answer.model_dump(by_alias=True, mode="json", exclude_none=True)
    return told
