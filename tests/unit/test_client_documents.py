"""The client's two documents, line by line: what each says, and the test that shows it.

"Guide" is about the batch processor as a tool, "architecture" about its table, mappings and functions. Their
configurations, events and results stand here as they are written there.
"""

from __future__ import annotations

import ast
import json
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from made import lines_of, make_agent, parse_input, prepared, row_event, rows_csv, stored
from places import TESTS

from service.console import mapping_files, yaml_core
from service.extraction.compiler import compile_output_mapping
from service.steps import aggregate_results
from service.steps.write_result import store_plain, write_output

if TYPE_CHECKING:
    from pathlib import Path

    from service.app import App


class Said(NamedTuple):
    """What a document says, and the tests that show it."""

    document: str
    says: str
    shown_by: tuple[str, ...]


# A document and what it says; below it the tests that show it, a test without a file stands here.
TABLE = """
guide: registered with tool_name, tool_type state_machine, resource_arn, description, input_schema
    test_a_target_is_registered_in_the_words_of_the_guide
guide: the stack registers itself
    unit/steps/test_register_itself.py::test_a_stack_registers_itself_in_the_words_of_the_guide_and_goes_again
    e2e/test_agents.py::test_a_target_that_is_not_there_is_not_registered_and_one_can_be_removed
guide: the agent's Task state with startExecution.sync:2, its Input and its ResultSelector
    e2e/test_stack.py::test_an_agent_calls_it_by_the_task_state_of_the_guide
    test_the_input_of_the_agents_task_state
guide: a generator of that Task state
    unit/console/test_invocation.py::test_the_state_is_that_of_the_guide_with_more_beside_it
    e2e/test_agents.py::test_an_agent_hands_a_file_over_and_gets_a_summary_that_it_can_reason_about
guide: the agent waits for hours or days, at most seven
    infra/test_definition.py::test_limits_of_the_machine
    infra/test_definition.py::test_agents_are_waited_for
guide: a Distributed Map with configurable MaxConcurrency, retries, error recovery, ResultWriter
    infra/test_definition.py::test_concurrency_and_time_come_from_the_batch
    infra/test_definition.py::test_every_failure_is_caught
    infra/test_definition.py::test_the_parent_does_not_grow_with_its_children
guide: column mappings, concat, template and JSONPath make a row the target's input
    unit/mapping/test_input_mapping.py::test_transformations
guide: data columns come before metadata columns
    unit/export/test_lines.py::test_a_line_has_the_columns_in_their_order
    test_the_aggregators_event_and_answer
guide: files of 10 to 20 rows end to end, and limits of what runs in parallel
    e2e/test_run.py::test_an_agent_by_mapping
    e2e/test_run.py::test_rows_in_flight_never_exceed_max_concurrency
guide: the calling agent sees the result, or an error that it can read
    e2e/test_stack.py::test_the_batch_processor_is_itself_a_tool
architecture: the table batch_processor_results with the keys batch_id and row_id
    infra/test_template.py::test_tables_are_those_of_the_models
    infra/test_template.py::test_the_default_names_are_those_of_the_models
architecture: batch_id is {tool_name}#{execution_id}; attributes of an item; seven days of TTL
    test_the_writers_event_and_answer
    infra/test_template.py::test_items_expire_by_the_attribute_that_the_model_has
architecture: indexes by timestamp and by status
    infra/test_template.py::test_tables_are_those_of_the_models
    unit/store/test_queries.py::test_a_row_as_it_is_shown
architecture: output_mappings of three targets with field_mappings and paths
    test_the_three_output_mappings
    test_the_mappings_are_of_the_types_that_they_say
architecture: each extraction method is tried until one succeeds; none gives nothing
    test_the_next_method_is_tried
architecture: tool results in messages of the role user, by the tool's name
    test_the_three_output_mappings
architecture: paths as text or {path, transform}; the transforms parse_text and to_number
    test_paths_with_transforms
architecture: the writer's plain event, UNKNOWN without a status, and its small answer
    test_the_writers_event_and_answer
architecture: the aggregator's plain event and its answer; pages in the order of row_id
    test_the_aggregators_event_and_answer
    unit/store/test_page_reader.py::test_items_are_those_that_botocore_gives
architecture: CSV columns input_, output_, _status, _execution_time_ms, _timestamp
    test_the_aggregators_event_and_answer
architecture: an agent's schema with a chain of extractions for each field
    test_the_agents_schema
    test_a_registered_schema_is_used
architecture: WriteResult and AggregateResults as states of the machine
    infra/test_definition.py::test_an_output_takes_the_place_of_the_target_input
    infra/test_definition.py::test_functions_are_called_by_published_version
"""


def said() -> list[Said]:
    found: list[Said] = []
    for line in TABLE.strip().splitlines():
        if line.startswith("    "):
            found[-1] = found[-1]._replace(shown_by=(*found[-1].shown_by, line.strip()))
        else:
            document, _, says = line.partition(": ")
            found.append(Said(document, says, ()))
    return found


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((TESTS / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("entry", said(), ids=lambda entry: entry.says[:50])
def test_what_is_said_is_shown_by_a_test_that_is_there(entry: Said) -> None:
    assert entry.shown_by
    for test in entry.shown_by:
        path, _, name = test.rpartition("::")
        assert name in names_in(path or "unit/test_client_documents.py"), test


# --- architecture: the mappings ---------------------------------------------------------------------------------------

OUTPUT_MAPPINGS = r"""
output_mappings:
  broadband-agent-rust:
    type: "agent"
    extraction_methods:
      - method: "tool_result"
        tool_name: "browser_broadband"
        field_mappings:
          exchange: "$.content | parse('Exchange: (.+)')"
          cabinet: "$.content | parse('Cabinet: (.+)')"

      - method: "structured_output"
        tool_name: "print_output"
        field_mappings:
          exchange: "$.exchange"
          cabinet: "$.cabinet"

      - method: "jmespath"
        paths:
          exchange: "messages[-1].content[0].text"
          transform: "parse_text"

  web-search-agent:
    type: "agent"
    extraction_methods:
      - method: "results_array"
        field_mappings:
          title: "results[0].title"
          url: "results[0].url"
          snippet: "results[0].snippet"

  classification-tool:
    type: "tool"
    extraction_methods:
      - method: "direct"
        field_mappings:
          category: "$.category"
          confidence: "$.confidence_score"
"""

AGENT_SCHEMA = r"""
agent: broadband-agent-rust
version: "1.0"
output_format: "messages"
fields:
  - name: exchange
    type: string
    extraction:
      - type: tool_result
        tool: browser_broadband
        pattern: "Exchange: ([A-Z\\s]+)"
      - type: structured
        path: "$.exchange"

  - name: download_speed
    type: string
    extraction:
      - type: tool_result
        tool: browser_broadband
        pattern: "Download Speed: ([\\d.-]+\\s*Mbps)"
      - type: structured
        path: "$.speeds.download"
"""

PAGE = "Exchange: WHITEHALL\nCabinet: Direct Exchange\nDownload Speed: 50.0-330.0 Mbps"


def said_by_tool(content: Any, **more: Any) -> dict[str, Any]:
    block = {"type": "tool_result", "name": "browser_broadband", "content": content, **more}
    return {"messages": [{"role": "user", "content": [block]}]}


def called(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "assistant", "content": [{"type": "tool_use", "name": name, "input": arguments}]}]}


SPOKEN = {
    "messages": [{"role": "assistant", "content": [{"type": "text", "text": "exchange: WHITEHALL\ncabinet: 12"}]}]
}


@pytest.mark.parametrize(
    ("target", "output", "fields"),
    [
        ("broadband-agent-rust", said_by_tool(PAGE), {"exchange": "WHITEHALL", "cabinet": "Direct Exchange"}),
        (
            "broadband-agent-rust",
            said_by_tool([{"type": "text", "text": PAGE}]),
            {"exchange": "WHITEHALL", "cabinet": "Direct Exchange"},
        ),
        (
            "broadband-agent-rust",
            called("print_output", {"exchange": "WHITEHALL", "cabinet": "12"}),
            {"exchange": "WHITEHALL", "cabinet": "12"},
        ),
        ("broadband-agent-rust", SPOKEN, {"exchange": "WHITEHALL", "cabinet": None}),
        (
            "web-search-agent",
            {"results": [{"title": "t", "url": "u", "snippet": "s"}, {"title": "other"}]},
            {"title": "t", "url": "u", "snippet": "s"},
        ),
        (
            "classification-tool",
            {"category": "billing", "confidence_score": 0.87},
            {"category": "billing", "confidence": 0.87},
        ),
    ],
)
def test_the_three_output_mappings(target: str, output: Any, fields: dict[str, Any]) -> None:
    plan = compile_output_mapping(yaml_core.read(OUTPUT_MAPPINGS), target=target)
    assert list(plan.columns or ()) == list(fields)
    assert plan.extract(output).fields == fields


def test_the_mappings_are_of_the_types_that_they_say() -> None:
    checked = mapping_files.check_document(yaml_core.read(OUTPUT_MAPPINGS))
    assert [one.target for one in checked] == ["broadband-agent-rust", "web-search-agent", "classification-tool"]


def test_the_next_method_is_tried() -> None:
    plan = compile_output_mapping(yaml_core.read(OUTPUT_MAPPINGS), target="broadband-agent-rust")
    assert plan.extract(said_by_tool(PAGE)).method == "tool_result(browser_broadband)"
    assert plan.extract(said_by_tool("", is_error=True)).ok is False
    assert plan.extract(SPOKEN).method == "jmespath"
    assert plan.extract({"messages": []}).fields == {}


def test_paths_with_transforms() -> None:
    paths = {"score": {"path": "score", "transform": "to_number"}, "name": {"path": "text", "transform": "parse_text"}}
    plan = compile_output_mapping({"extraction_methods": [{"method": "jmespath", "paths": paths}]})
    assert plan.extract({"score": "0.5", "text": "Name: x"}).fields == {"score": 0.5, "name": "x"}


# --- architecture: the schema of an agent -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("output", "fields"),
    [
        (said_by_tool("Exchange: WHITEHALL\nDownload Speed: 50 Mbps"), ("WHITEHALL\nD", "50 Mbps")),
        (said_by_tool(PAGE), ("WHITEHALL\nC", "50.0-330.0 Mbps")),  # as the pattern says: capitals and white space
        ({"exchange": "WHITEHALL", "speeds": {"download": "50 Mbps"}}, (None, None)),
        (called("print_output", {"exchange": "SOHO", "speeds": {"download": "50 Mbps"}}), ("SOHO", "50 Mbps")),
        ({"structured_output": {"exchange": "WHITEHALL", "speeds": {"download": "5"}}}, ("WHITEHALL", "5")),
    ],
)  # fmt: skip
def test_the_agents_schema(output: Any, fields: tuple[str | None, str | None]) -> None:
    (checked,) = mapping_files.check_document(yaml_core.read(AGENT_SCHEMA))
    assert checked.target == "broadband-agent-rust"
    extraction = checked.plan.extract(output)
    assert extraction.fields == (dict(zip(("exchange", "download_speed"), fields, strict=True)) if any(fields) else {})
    assert extraction.ok == any(fields)


def test_a_registered_schema_is_used(app: App) -> None:
    make_agent(app, registered="broadband-agent-rust")
    app.registry.amend("broadband-agent-rust", {"output_schema": yaml_core.read(AGENT_SCHEMA)})
    batch = prepared(app, rows_csv(1), "broadband-agent-rust")
    assert app.records.get(batch["batch_id"]).output_columns == ["exchange", "download_speed"]
    output = {"structured_output": {"exchange": "WHITEHALL"}}
    assert write_output(app, row_event(batch, output=output))["status"] == "SUCCESS"
    assert stored(app, batch["batch_id"])["output_data"]["M"] == {
        "exchange": {"S": "WHITEHALL"},
        "download_speed": {"NULL": True},
    }


# --- architecture: the functions --------------------------------------------------------------------------------------

EVENT = {
    "batch_id": "address-search-batch#exec-123",
    "row_id": "row_001",
    "input_data": {"address": "10 Downing Street", "postcode": "SW1A 2AA"},
    "output_data": {
        "exchange": "WHITEHALL",
        "cabinet": "Direct Exchange",
        "download_speed": "50.0-330.0 Mbps",
        "upload_speed": "3.0-50.0 Mbps",
    },
    "status": "SUCCESS",
    "execution_time_ms": 1250,
}


def test_the_writers_event_and_answer(app: App) -> None:
    answer = store_plain(app, EVENT)
    assert answer == {"batch_id": EVENT["batch_id"], "row_id": "row_001", "status": "SUCCESS"}
    item = stored(app, "address-search-batch#exec-123", "row_001")
    assert item.keys() >= {*EVENT, "timestamp", "ttl"}
    assert item["execution_time_ms"] == {"N": "1250"}
    assert item["output_data"]["M"]["exchange"] == {"S": "WHITEHALL"}
    assert int(item["ttl"]["N"]) > 7 * 86_400
    without = {key: value for key, value in EVENT.items() if key != "status"}
    assert store_plain(app, {**without, "row_id": "row_002"})["status"] == "UNKNOWN"


def test_the_aggregators_event_and_answer(app: App) -> None:
    for number in (2, 1):
        store_plain(app, {**EVENT, "row_id": f"row_00{number}"})
    bucket = app.settings.data_bucket
    event = {"batch_id": EVENT["batch_id"], "output_bucket": bucket, "output_key": "results/output.csv"}
    answer = aggregate_results.aggregate(app, event, lambda: 900_000)
    assert answer["csv_location"] == f"s3://{bucket}/results/output.csv"
    # ours says more than SUCCESS: a batch in which some rows failed is none (DESIGN.md, the result)
    assert (answer["status"], answer["row_count"]) == ("SUCCEEDED", 2)
    lines = lines_of(app, answer["csv_location"])
    assert [line["_row_id"] for line in lines] == ["row_001", "row_002"]
    assert list(lines[0]) == [
        *("input_address", "input_postcode"),
        *("output_cabinet", "output_download_speed", "output_exchange", "output_upload_speed"),
        *("_row_id", "_status", "_error", "_execution_time_ms", "_timestamp"),
    ]
    assert (lines[0]["_status"], lines[0]["_execution_time_ms"]) == ("SUCCESS", "1250")


# --- integration guide ------------------------------------------------------------------------------------------------


def test_the_input_of_the_agents_task_state() -> None:
    """`target` is an object, and `input_mapping` a mapping; nothing else is given."""
    given = {
        "csv_s3_uri": "s3://bucket/in.csv",
        "target": {"type": "agent", "name": "line", "arn": "arn:aws:states:eu-west-1:123456789012:stateMachine:line"},
        "input_mapping": {"column_mappings": {"address": "address"}},
    }
    parsed = parse_input(json.loads(json.dumps(given)))
    assert (parsed.target.name, parsed.target.type) == ("line", "agent")


def test_a_target_is_registered_in_the_words_of_the_guide(tmp_path: Path, app: App) -> None:
    from service.console import target_files  # noqa: PLC0415 - of this test alone

    entry = {
        "tool_name": "batch_processor",
        "tool_type": "state_machine",
        "resource_arn": "arn:aws:states:eu-west-1:123456789012:stateMachine:batch-processor",
        "description": "Process CSV batches through agents/tools",
        "input_schema": {"type": "object"},
    }
    (target,) = target_files.check_targets(entry, tmp_path)
    registered = app.registry.amend("batch_processor", target)
    assert {key: getattr(registered, key) for key in entry} == entry
