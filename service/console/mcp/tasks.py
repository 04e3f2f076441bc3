"""The tasks extension: a batch is the task, and nothing but its id is needed to ask for it.

`io.modelcontextprotocol/tasks` of SEP-2663, as in modelcontextprotocol/ext-tasks, specification/2026-07-28/tasks.md;
section names below are of that document.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio.to_thread
from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS, CallToolRequestParams, CallToolResult, RequestParams, TextContent
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from service.console.mcp import state
from service.console.mcp.failures import REACHED, told
from service.console.mcp.short import to_text
from service.console.outputs import NoStack
from service.errors import BatchProcessorError, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

    from service.console.mcp.opened import Stacks
    from service.console.mcp.state import Run

IDENTIFIER = "io.modelcontextprotocol/tasks"
STARTING = ("start_batch", "rerun_batch")  # tools whose answer may be a task
_VERSIONS = frozenset(MODERN_PROTOCOL_VERSIONS)  # 2026-07-28 and later; tasks of 2025-11-25 are another protocol


class TaskParams(RequestParams):
    """The parameters of tasks/get and tasks/cancel."""

    task_id: str


class TaskUpdateParams(TaskParams):
    """Those of tasks/update; no task of ours asks for anything, so answers are read by nobody."""

    input_responses: dict[str, Any] = Field(default_factory=dict)


class Tasks(Extension):
    """Answers a call that started a batch with a task, for clients that know tasks, and says how tasks stand."""

    identifier = IDENTIFIER

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks

    def methods(self) -> Sequence[MethodBinding]:
        """Return the three methods of the extension."""
        return [
            MethodBinding("tasks/get", TaskParams, self._get, _VERSIONS),
            MethodBinding("tasks/update", TaskUpdateParams, self._update, _VERSIONS),
            MethodBinding("tasks/cancel", TaskParams, self._cancel, _VERSIONS),
        ]

    async def intercept_tool_call(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Any, Any], call_next: CallNext
    ) -> HandlerResult:
        """Return a task in the place of the answer of a tool that has started a batch.

        Only to a client that declares the extension with this very request ("Capability Negotiation"). Questions asked
        before come first, as InputRequiredResult ("Task Creation"); what started nothing is answered as it is.
        """
        result = await call_next(ctx)
        if params.name not in STARTING or ctx.protocol_version not in _VERSIONS or not _declares(ctx):
            return result
        if not isinstance(result, CallToolResult) or not (result.structured_content or {}).get("started"):
            return result
        task_id = str((result.structured_content or {})["task_id"])
        try:
            run = await anyio.to_thread.run_sync(self._run, task_id)
        except MCPError:
            return result  # the batch has started: its answer must not be lost behind an error
        # The beginning of a task: what it is by now, tasks/get says.
        return {"resultType": "task", **_common(run, "working")}

    async def _get(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        require_client_extension(ctx, IDENTIFIER)
        run = await anyio.to_thread.run_sync(self._run, params.task_id)
        if run.result is None:
            return _common(run, "working")
        # A batch that failed is completed, too: `failed` is for errors of JSON-RPC alone ("Task Execution Errors").
        return {**_common(run, "completed"), "result": as_tool_result(run)}

    async def _update(self, ctx: ServerRequestContext[Any, Any], params: TaskUpdateParams) -> HandlerResult:
        require_client_extension(ctx, IDENTIFIER)
        await anyio.to_thread.run_sync(self._run, params.task_id)
        return {}

    async def _cancel(self, ctx: ServerRequestContext[Any, Any], params: TaskParams) -> HandlerResult:
        """Stop the batch: what is in flight is stored, and the task is completed with the result of that.

        A task that has ended already is acknowledged, too ("Task Cancellation").
        """
        require_client_extension(ctx, IDENTIFIER)
        await anyio.to_thread.run_sync(self._stop, params.task_id)
        return {}

    def _run(self, task_id: str) -> Run:
        found: Run = self._asked(task_id, lambda: state.run_of(self._stacks.get().stack, task_id))
        return found

    def _stop(self, task_id: str) -> None:
        self._asked(task_id, lambda: state.stop(self._stacks.get().stack, task_id))

    def _asked(self, task_id: str, ask: Callable[[], Any]) -> Any:
        """Return what is asked of the stack; errors as JSON-RPC has them ("Protocol Errors")."""
        try:
            return ask()
        except NoStack as error:
            self._stacks.forget()
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        except NotFound as error:
            raise MCPError(INVALID_PARAMS, str(error)) from error
        except BatchProcessorError as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        except REACHED as error:
            self._stacks.forget()
            raise MCPError(INTERNAL_ERROR, f"task {task_id}: {told(error)}") from error


def _declares(ctx: ServerRequestContext[Any, Any]) -> bool:
    capabilities = ctx.session.client_capabilities
    return bool(capabilities and IDENTIFIER in (capabilities.extensions or {}))


def _common(run: Run, status: str) -> dict[str, Any]:
    """Return what every task says of itself ("Tasks")."""
    told_of = {
        "taskId": run.task_id,
        "status": status,
        "statusMessage": run.message,
        "createdAt": run.created_at,
        "lastUpdatedAt": run.updated_at,
        "ttlMs": run.kept_ms,
    }
    wait = {"pollIntervalMs": (run.wait_seconds or state.FIRST_LOOK) * 1000} if status == "working" else {}
    return {**told_of, **wait}


def as_tool_result(run: Run) -> dict[str, Any]:
    """Return the result of the tool that started the batch, as its call would have had it at the end."""
    content = TextContent(type="text", text=to_text(run.result))
    result = CallToolResult(content=[content], structured_content=run.result, is_error=run.failed)
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)
