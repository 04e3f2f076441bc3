"""A batch as a task: told of when it is there, said by whichever server is asked, completed with its result."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from made import event_of
from mcp.shared.exceptions import MCPError

from service.batch import rerun
from service.console.mcp import server, state
from service.console.outputs import NoStack

if TYPE_CHECKING:
    from conftest import World

pytestmark = pytest.mark.anyio


async def test_a_batch_is_a_task_that_another_server_knows(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(3), target="echo")
        assert task["resultType"] == "task"
        assert task["status"] == "working"
        assert task["pollIntervalMs"] == 2000
        identifier = task["taskId"]
        assert identifier.startswith("echo#")
        early = await agent.tasks("tasks/get", identifier)
        assert (early["resultType"], early["status"]) == ("complete", "working")
        assert "being prepared" in early["statusMessage"]
    record = world.prepare(identifier)
    async with world.agent(tasks=True, server=server.create(lambda: world.stack)) as agent:
        working = await agent.tasks("tasks/get", identifier)
        assert working["statusMessage"] == "0 of 3 rows, 0 failed"
        assert working["ttlMs"] > 7 * 86_400_000
        world.end(record, ["SUCCESS", "FAILED", "SUCCESS"])
        done = await agent.tasks("tasks/get", identifier)
        assert done["status"] == "completed"
        assert done["statusMessage"] == "PARTIAL: 2 of 3 rows succeeded"
        assert "pollIntervalMs" not in done
        result = done["result"]
        assert result["isError"] is False
        assert result["structuredContent"]["counts"] == {"SUCCESS": 2, "FAILED": 1}
        assert result["structuredContent"]["errors"][0]["message"] == "out of quota"
        assert json.loads(result["content"][0]["text"]) == result["structuredContent"]


async def test_a_batch_that_failed_is_completed_with_an_error(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(2), target="echo")
        record = world.prepare(task["taskId"])
        world.end(record, ["FAILED", "FAILED"])
        done = await agent.tasks("tasks/get", task["taskId"])
        assert done["status"] == "completed"
        assert done["result"]["isError"] is True
        assert "out of quota" in done["result"]["content"][0]["text"]


async def test_a_batch_that_was_refused_late_is_completed_with_why(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(2), target="echo")
        execution = world.execution(task["taskId"].partition("#")[2])
        execution.status, execution.error = "FAILED", "BatchRefused"
        execution.cause = json.dumps({"errorMessage": "csv_s3_uri: it is gone", "errorType": "BatchRefused"})
        done = await agent.tasks("tasks/get", task["taskId"])
        assert (done["status"], done["result"]["isError"]) == ("completed", True)
        assert "csv_s3_uri: it is gone" in done["result"]["content"][0]["text"]


async def test_a_cancelled_task_stops_its_batch(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(3), target="echo")
        record = world.prepare(task["taskId"])
        answer = await agent.tasks("tasks/cancel", task["taskId"])
        assert answer["resultType"] == "complete"
        assert world.app.records.get(record.batch_id).stop
        now = await agent.tasks("tasks/get", task["taskId"])
        assert now["statusMessage"].startswith("stopping: ")
        world.end(record, ["SUCCESS"])
        assert (await agent.tasks("tasks/get", task["taskId"]))["status"] == "completed"
        await agent.tasks("tasks/cancel", task["taskId"])  # acknowledged, too


async def test_a_rerun_is_a_task_of_its_own(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(2), target="echo")
        first = task["taskId"]
        world.end(world.prepare(first), ["SUCCESS", "FAILED"])
        again = await agent.task("rerun_batch", batch_id="last")
        assert again["resultType"] == "task"
        assert again["taskId"].startswith(f"{first}~")
        assert (await agent.tasks("tasks/get", again["taskId"]))["status"] == "working"
        assert (await agent.tasks("tasks/get", first))["status"] == "completed"


async def test_answers_to_a_task_that_asks_nothing_are_ignored(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(1), target="echo")
        assert (await agent.tasks("tasks/update", task["taskId"]))["resultType"] == "complete"


async def test_an_unknown_task_is_refused(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            for identifier in ("echo#nothing", "no task", "", "echo#nothing~more"):
                with pytest.raises(MCPError) as refused:
                    await agent.tasks(method, identifier)
                assert refused.value.code == -32602


async def test_who_does_not_know_tasks_gets_none(world: Any) -> None:
    async with world.agent() as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(3), target="echo")
        assert started["recommended_wait_seconds"] == 2
        with pytest.raises(MCPError) as refused:
            await agent.tasks("tasks/get", started["task_id"])
        assert refused.value.code == -32021
        assert refused.value.data == {"requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}}


async def test_an_older_client_has_tools_alone(world: Any) -> None:
    async with world.agent("legacy") as agent:
        assert agent.client.protocol_version == "2025-11-25"
        started = await agent.call("start_batch", csv_s3_uri=world.source(3), target="echo")
        record = world.prepare(started["batch_id"])
        told = await agent.call("batch_status", batch_id=started["batch_id"])
        assert (told["status"], told["recommended_wait_seconds"]) == ("RUNNING", 2)
        world.end(record, ["SUCCESS"] * 3)
        told = await agent.call("batch_status")
        assert (told["status"], told["recommended_wait_seconds"]) == ("SUCCEEDED", 0)
        assert told["progress"] == "SUCCEEDED: 3 of 3 rows succeeded"


async def test_a_batch_of_the_command_line_is_a_task_too(world: World) -> None:
    """Even when Step Functions has forgotten its execution."""
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(1), target="echo")
        world.end(world.prepare(task["taskId"]), ["SUCCESS"])
        world.execution(task["taskId"].partition("#")[2]).execution_arn = "arn:gone"
        done = await agent.tasks("tasks/get", task["taskId"])
        assert (done["status"], done["statusMessage"]) == ("completed", "SUCCEEDED: 1 of 1 row succeeded")


async def test_a_task_is_cancelled_before_its_batch_has_a_record(world: Any) -> None:
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(3), target="echo")
        identifier = task["taskId"]
        async with anyio.create_task_group() as group:
            group.start_soon(agent.tasks, "tasks/cancel", identifier)
            await anyio.sleep(0.2)
            await anyio.to_thread.run_sync(world.prepare, identifier)
        assert world.app.records.get(identifier).status == "STOPPING"


async def test_a_rerun_is_cancelled_when_it_has_the_record(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the run before it, which has ended: there would be nothing to stop."""
    async with world.agent(tasks=True) as agent:
        task = await agent.task("start_batch", csv_s3_uri=world.source(2), target="echo")
        first = task["taskId"]
        world.end(world.prepare(first), ["SUCCESS", "FAILED"])
        again = (await agent.task("rerun_batch", batch_id=first))["taskId"]
        monkeypatch.setattr(state, "_CLAIMED_WITHIN", 0.1)
        with pytest.raises(MCPError, match="is being prepared still and cannot be stopped yet"):
            await agent.tasks("tasks/cancel", again)
        given = json.loads(world.execution(again.partition("~")[2]).execution_input)
        rerun.prepare(world.app, event_of(given, again.partition("~")[2]))
        assert (await agent.tasks("tasks/get", again))["statusMessage"] == "0 of 1 row, 0 failed"
        await agent.tasks("tasks/cancel", again)
        assert world.app.records.get(first).status == "STOPPING"


async def test_no_stack_is_no_unknown_task(world: Any) -> None:
    def none() -> Any:
        raise NoStack("there is no stack: start it")

    async with world.agent(tasks=True, server=server.create(none)) as agent:
        with pytest.raises(MCPError, match="there is no stack: start it") as refused:
            await agent.tasks("tasks/get", "echo#1")
        assert refused.value.code == -32603


async def test_an_older_protocol_has_no_tasks_even_for_who_names_the_extension(world: Any) -> None:
    async with world.agent("legacy", tasks=True) as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(3), target="echo")
        with pytest.raises(MCPError) as refused:
            await agent.tasks("tasks/get", started["task_id"])
        assert refused.value.code == -32601
