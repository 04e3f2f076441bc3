"""A server over a stack whose parts are there, and clients of it, old and new."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from made import MACHINE, event_of, make_tool, put_source, role, rows_csv
from mcp import Client
from mcp.client import ClaimContext, ClientExtension, ResultClaim
from moto.stepfunctions.models import stepfunctions_backends
from task_client import CreatedTask, ask

from service.batch.progress import result_of
from service.console.mcp import server
from service.console.mcp.tasks import IDENTIFIER
from service.console.stacks import Stack
from service.models import Result as RowResult
from service.models import row_id
from service.steps import aggregate_results, prepare_batch

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp.server.mcpserver import MCPServer
    from mcp_types import CallToolResult, ElicitResult

    from service.app import App
    from service.record import BatchRecord

ACCOUNT, REGION = "123456789012", "us-east-1"


class KnowsTasks(ClientExtension):
    """A client that says of itself that it knows tasks."""

    identifier = IDENTIFIER

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self.resolve)]

    async def resolve(self, task: CreatedTask, context: ClaimContext) -> CallToolResult:
        raise AssertionError(task, context)


class Agent:
    """An MCP client as a test speaks to it."""

    def __init__(self, client: Client, asked: list[str]) -> None:
        self.client = client
        self.asked = asked

    async def call(self, tool: str, **arguments: Any) -> Any:
        """The object that a tool answers; it must not be an error."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    async def error(self, tool: str, **arguments: Any) -> str:
        result = await self.client.call_tool(tool, arguments)
        assert result.is_error
        return str(result.content[0].text)

    async def task(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool answers to a client that knows tasks, as it is on the wire."""
        result = await self.client.session.call_tool(tool, arguments, allow_claimed=True, allow_input_required=True)
        return result.model_dump(by_alias=True, mode="json", exclude_none=True)

    async def tasks(self, method: Any, task_id: str) -> dict[str, Any]:
        return await ask(self.client.session, method, task_id)


class World:
    """The stack, and what its state machine would do."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.server = server.create(lambda: stack)

    @property
    def app(self) -> App:
        return self.stack.app

    def source(self, rows: int, key: str = "in/rows.csv") -> str:
        return put_source(self.app, rows_csv(rows), key)

    @asynccontextmanager
    async def agent(
        self,
        mode: str = "auto",
        *,
        tasks: bool = False,
        answer: Callable[[str], ElicitResult] | None = None,
        server: MCPServer[Any] | None = None,
    ) -> AsyncIterator[Agent]:
        asked: list[str] = []

        async def ask(_context: Any, params: Any) -> ElicitResult:
            asked.append(params.message)
            assert answer is not None
            return answer(params.message)

        extensions = [KnowsTasks()] if tasks else []
        callback = None if answer is None else ask
        made = Client(server or self.server, mode=mode, elicitation_callback=callback, extensions=extensions)
        async with made as client:
            yield Agent(client, asked)

    def execution(self, name: str) -> Any:
        (machine,) = [one for one in stepfunctions_backends[ACCOUNT][REGION].state_machines if one.arn == MACHINE]
        (found,) = [one for one in machine.executions if one.name == name]
        return found

    @property
    def executions(self) -> list[str]:
        found = self.app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"]
        return [one["name"] for one in found]

    def prepare(self, batch_id: str) -> BatchRecord:
        """PrepareBatch of an execution that was started."""
        name = batch_id.partition("#")[2]
        prepare_batch.prepare(self.app, event_of(json.loads(self.execution(name).execution_input), name))
        return self.app.records.get(batch_id)

    def put(self, record: BatchRecord, number: int, status: str = "SUCCESS", message: str = "out of quota") -> None:
        error = None if status == "SUCCESS" else {"type": "Quota", "message": message}
        row = {"id": str(number), "text": f"text {number}"}
        result = RowResult(
            record.batch_id,
            row_id(number),
            status,
            input_data=row,
            output_data={"x": number},
            execution_time_ms=500,
            error=error,
            ttl=int(record.expires_at or 0) or None,
        )
        self.app.store.put(result)

    def end(self, record: BatchRecord, fates: list[str]) -> BatchRecord:
        """Every row run, the CSV made, the execution ended as Step Functions ends it."""
        for number, status in enumerate(fates, 1):
            self.put(record, number, status)
        batch = {"batch_id": record.batch_id, "run": record.run}
        aggregate_results.aggregate(self.app, {"batch": batch}, lambda: 900_000)
        ended = self.app.records.get(record.batch_id)
        execution = self.execution(record.execution_arn.rpartition(":")[2])
        execution.stop_date = execution.start_date
        execution.status, told = "SUCCEEDED", json.dumps(result_of(ended))
        if ended.status == "FAILED":
            execution.status, execution.error, execution.cause = "FAILED", "BatchFailed", told
        else:
            execution.output = told
        return ended


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def world(app: App) -> World:
    """A stack with the tool `echo`, whose executions go on until a test ends them."""
    make_tool(app)
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))
    return World(Stack(app, "a stack of tests", MACHINE, "aggregator"))
