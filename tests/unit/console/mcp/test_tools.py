"""What each tool answers: small, in the product's own words, and with what to do next."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError
from made import put_source

from service.console.mcp import server
from service.console.mcp.short import ANSWER
from service.console.outputs import NoStack
from service.store.registry import RegisteredTarget

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio
READING = {"describe_source", "suggest_mapping", "list_targets", "batch_status", "failed_rows", "batch_result"}


async def started(world: Any, agent: Any, fates: list[str], **order: Any) -> str:
    """A batch that has ended."""
    told = await agent.call("start_batch", csv_s3_uri=world.source(len(fates)), target="echo", **order)
    world.end(world.prepare(told["batch_id"]), fates)
    return str(told["batch_id"])


async def test_every_tool_says_what_it_does(world: Any) -> None:
    async with world.agent() as agent:
        tools = (await agent.client.list_tools()).tools
    assert len(tools) == 10
    for tool in tools:
        assert tool.title
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name in READING), tool.name
        assert tool.annotations.destructive_hint is not None or tool.annotations.read_only_hint
        assert tool.annotations.idempotent_hint is not None
        assert 200 < len(tool.description or "") < 1400, tool.name
        assert tool.input_schema["additionalProperties"] is False
        assert "$ref" not in json.dumps(tool.input_schema)
        assert "anyOf" not in tool.input_schema
        for name, argument in tool.input_schema["properties"].items():
            assert argument.get("description"), f"{tool.name}.{name}"
    assert sum(len(tool.model_dump_json(by_alias=True, exclude_none=True)) for tool in tools) < 20_000


async def test_a_source_is_described(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call("describe_source", csv_s3_uri=world.source(5))
    assert told["row_count"] == 5
    assert [column["name"] for column in told["columns"]] == ["id", "text"]


async def test_a_local_file_is_described_without_a_stack(tmp_path: Path, world: Any) -> None:
    (tmp_path / "a.csv").write_text("a,b\n1,2\n")

    def none() -> Any:
        raise NoStack("there is no stack: start it")

    async with world.agent(server=server.create(none)) as agent:
        assert (await agent.call("describe_source", csv_s3_uri=str(tmp_path / "a.csv")))["row_count"] == 1
        assert await agent.error("list_targets") == "there is no stack: start it"


async def test_a_mapping_is_drafted(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call(
            "suggest_mapping", csv_s3_uri=world.source(3), target="echo", outputs=[{"label": "good", "score": 0.5}]
        )
        assert "label" in json.dumps(told["mapping"])
        assert isinstance(told["notes"], list)
        checked = await agent.call("check_batch", csv_s3_uri=world.source(3), target="echo", **told["mapping"])
        assert checked["in_order"] is True
        missing = await agent.error("suggest_mapping", csv_s3_uri=world.source(3), target="ecko")
    assert "there is no target 'ecko' in the registry; did you mean 'echo'?" in missing


async def test_targets_are_listed(world: Any) -> None:
    schema = {"type": "object", "properties": {"text": {"type": "string"}}}
    told_of = RegisteredTarget("judge", "lambda", "arn:x", "Judges a text.", schema, price_per_row_usd=0.01)
    world.app.registry.register(told_of)
    async with world.agent() as agent:
        told = await agent.call("list_targets")
        assert [one["name"] for one in told["targets"]] == ["echo", "judge"]
        told = await agent.call("list_targets", contains="JUDGES")
    (judge,) = told["targets"]
    assert (judge["takes"], judge["price_per_row_usd"]) == (["text"], 0.01)


async def test_every_problem_of_an_order_is_told(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call(
            "check_batch", csv_s3_uri=world.source(3), target="ecko", execution_config={"max_concurrency": 0}
        )
        assert told["in_order"] is False
        assert {one["path"] for one in told["problems"]} == {"target", "execution_config.max_concurrency"}
        error = await agent.error("start_batch", csv_s3_uri=world.source(3), target="ecko")
    assert error == "target: there is no target 'ecko' in the registry; did you mean 'echo'?"
    assert world.executions == []


async def test_arguments_are_read_strictly(world: Any) -> None:
    """A misspelt limit would run the whole source."""
    async with world.agent() as agent:
        error = await agent.error("start_batch", csv_s3_uri=world.source(3), limit=1, execution_confg={"limit": 1})
    first, *others = error.split("\n")
    assert first.startswith("limit: unknown argument; known: 'csv_s3_uri', 'target', 'input_mapping', ")
    assert others == [
        "execution_confg: unknown argument; did you mean 'execution_config'?",
        "target: Field required",
    ]
    assert world.executions == []


async def test_a_local_file_is_uploaded(world: Any, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("id,text\n1,a\n")
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=str(tmp_path / "mine.csv"), target="echo", name="n")
        given = json.loads(world.execution("n").execution_input)
        assert given["csv_s3_uri"].startswith("s3://batch-processor-data/uploads/")
        again = await agent.call("start_batch", csv_s3_uri=str(tmp_path / "mine.csv"), target="echo", name="n")
        assert again["batch_id"] == told["batch_id"]
        missing = await agent.error("start_batch", csv_s3_uri=str(tmp_path / "no.csv"), target="echo")
    assert "no.csv: there is no such file on the machine of this server" in missing


async def test_failures_are_grouped_and_shown_in_pages(world: Any) -> None:
    async with world.agent() as agent:
        batch = await started(world, agent, ["SUCCESS", "FAILED", "FAILED", "TIMEOUT", "FAILED"])
        told = await agent.call("failed_rows", batch_id=batch, rows=2)
        assert told["counts"]["FAILED"] == 3
        assert told["causes"][0]["count"] == 3
        assert [row["row_number"] for row in told["rows"]] == [2, 3]
        assert told["rows"][0]["input_data"] == {"id": "2", "text": "text 2"}
        more = await agent.call("failed_rows", batch_id=batch, rows=2, after=told["after"])
        assert [row["row_number"] for row in more["rows"]] == [5, 4]
        assert "after" not in more
        only = await agent.call("failed_rows", batch_id=batch, status="TIMEOUT")
        assert [row["row_number"] for row in only["rows"]] == [4]
        none = await agent.call("failed_rows", batch_id=batch, error="Quata")
        assert "did you mean 'Quota'?" in none["note"]
        assert "copy it from the answer" in await agent.error("failed_rows", batch_id=batch, after="2")


async def test_long_texts_are_cut_and_that_is_said(world: Any) -> None:
    async with world.agent() as agent:
        uri = put_source(world.app, "id,text\n" + "".join(f"{n},{'long ' * 2000}\n" for n in range(10)))
        told = await agent.call("start_batch", csv_s3_uri=uri, target="echo")
        record = world.prepare(told["batch_id"])
        for number in range(1, 11):
            world.put(record, number, "FAILED", "why " * 200)
        shown = await agent.call("failed_rows", rows=10)
    assert len(json.dumps(shown, ensure_ascii=False)) <= ANSWER
    assert "texts end after" in shown["cut"]
    assert "Give rows=1" in shown["cut"]


async def test_the_result_shows_where_it_is_and_its_first_rows(world: Any) -> None:
    async with world.agent() as agent:
        batch = await started(world, agent, ["SUCCESS"] * 5)
        told = await agent.call("batch_result", batch_id=batch, rows=2)
    assert told["csv_location"].startswith("s3://batch-processor-data/results/echo/")
    assert [row["input_id"] for row in told["first_rows"]] == ["1", "2"]
    assert told["first_rows"][0]["output_x"] == "1"
    assert batch in told["to_download"]


@pytest.mark.parametrize(
    ("form", "key"), [("jsonl", "out/a.jsonl"), ("jsonl", "out/a.jsonl.gz"), ("csv", "out/a.csv.gz")]
)
async def test_other_forms_of_results_are_shown_too(world: Any, form: str, key: str) -> None:
    async with world.agent() as agent:
        await started(world, agent, ["SUCCESS"] * 5, output_key=key, csv={"format": form})
        told = await agent.call("batch_result", rows=2)
    assert len(told["first_rows"]) == 2
    assert told["csv_location"].endswith(key)


async def test_a_batch_without_a_result_says_so(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(3), target="echo")
        world.prepare(told["batch_id"])
        shown = await agent.call("batch_result", batch_id=told["batch_id"])
    assert "it has not ended" in shown["note"]


async def test_a_batch_is_stopped(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(3), target="echo")
        record = world.prepare(told["batch_id"])
        stopped = await agent.call("stop_batch", batch_id=told["batch_id"])
        assert stopped["status"] == "STOPPING"
        world.end(record, ["SUCCESS"])
        again = await agent.call("stop_batch", batch_id=told["batch_id"])
        assert "ended already" in again["note"]


async def test_an_unknown_batch_is_an_error_of_its_own_words(world: Any) -> None:
    async with world.agent() as agent:
        assert await agent.error("batch_status", batch_id="nope#1") == (
            "there is no batch 'nope#1': `batch-processor batches` lists those there are"
        )


async def test_a_lost_stack_is_opened_anew(world: Any) -> None:
    opened = []

    def opening() -> Any:
        opened.append(1)
        if len(opened) == 1:
            raise EndpointConnectionError(endpoint_url="http://127.0.0.1:1")
        return world.stack

    async with world.agent(server=server.create(opening)) as agent:
        assert "AWS could not be asked" in await agent.error("list_targets")
        await agent.call("list_targets")
        await agent.call("list_targets")
    assert len(opened) == 2


async def test_a_fault_of_ours_shows_no_trace(world: Any, caplog: pytest.LogCaptureFixture) -> None:
    def broken() -> Any:
        raise ZeroDivisionError("secret detail")

    with caplog.at_level(logging.CRITICAL):
        async with world.agent(server=server.create(broken)) as agent:
            error = await agent.error("list_targets")
    assert error == "Error executing tool list_targets"


async def test_pages_of_documentation_are_resources(world: Any) -> None:
    async with world.agent() as agent:
        found = {one.uri: one for one in (await agent.client.list_resources()).resources}
        assert {"batch-processor://docs/readme", "batch-processor://docs/usage"} <= found.keys()
        assert found["batch-processor://docs/usage"].title == "Usage"
        page = await agent.client.read_resource("batch-processor://docs/mapping")
    assert page.contents[0].mime_type == "text/markdown"
    assert page.contents[0].text.startswith("# ")


async def test_the_status_of_what_was_only_just_begun_is_known(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(2), target="echo")
        batch = told["batch_id"]
        early = await agent.call("batch_status", batch_id=batch)
        assert (early["status"], early["recommended_wait_seconds"]) == ("RUNNING", 2)
        world.end(world.prepare(batch), ["SUCCESS", "FAILED"])
        again = await agent.call("rerun_batch", batch_id=batch)
        assert again["next"][0] == f"batch_status with batch_id {again['task_id']}, after the recommended wait"
        early = await agent.call("batch_status", batch_id=again["task_id"])
        assert (early["batch_id"], early["status"]) == (batch, "RUNNING")
        assert (await agent.call("batch_status", batch_id=batch))["status"] == "PARTIAL"
        assert "there is no task" in await agent.error("batch_status", batch_id=f"{batch}~nothing")
