from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest
from made import (
    chunk_event,
    event_of,
    execution_arn,
    finished,
    make_agent,
    make_tool,
    manifest,
    prepared,
    put_source,
    row_event,
    rows_csv,
)

from service.app import App
from service.batch import closing
from service.batch import progress as batch_progress
from service.cost.workload import chunk_rows
from service.errors import BatchRefused, SourceChanged
from service.models import parse_iso
from service.request import checks
from service.steps import aggregate_results, write_result
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.store.batches import BatchTaken
from service.store.registry import RegisteredTarget

if TYPE_CHECKING:
    from service.settings import Settings

DAY = 86_400


@pytest.fixture
def tool(app: App) -> str:
    return make_tool(app)


@pytest.fixture
def given(app: App, tool: str) -> dict[str, Any]:  # noqa: ARG001 - it is there
    return {"csv_s3_uri": put_source(app, rows_csv(3)), "target": "echo"}


def refusal(app: App, given: Any, name: str = "run-1") -> list[str]:
    with pytest.raises(BatchRefused) as refused:
        prepare(app, event_of(given, name))
    return str(refused.value).splitlines()


def test_a_good_batch(app: App, given: dict[str, Any]) -> None:
    batch = prepare(app, event_of(given))
    assert batch["batch_id"] == "echo#run-1"
    assert (batch["row_count"], batch["rows_to_run"], batch["run"]) == (3, 3, 1)
    record = app.records.get("echo#run-1")
    assert (record.status, record.row_count, record.output_key) == ("RUNNING", 3, "results/echo/run-1.csv")
    assert record.source["columns"] == ["id", "text"]
    plan = app.plans.load("echo#run-1", batch["plan"])
    assert (plan.kind, plan.columns, plan.ttl) == ("tool", ["id", "text"], record.expires_at)


def test_keys_that_step_functions_adds_are_ignored(app: App, given: dict[str, Any]) -> None:
    given["AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID"] = "arn:…"
    assert prepare(app, event_of(given))["rows_to_run"] == 3


REFUSALS: list[tuple[dict[str, Any], str, str]] = [
    ({"csv_s3_uri": "s3://batch-processor-data/in/none.csv"}, "csv_s3_uri", "in/none.csv"),
    ({"csv_s3_uri": "s3://elsewhere/rows.csv"}, "csv_s3_uri", "SourceObjectArns"),
    ({"csv_s3_uri": "rows.csv"}, "csv_s3_uri", "s3://bucket/key"),
    ({"csv_s3_uri": None}, "csv_s3_uri", "is required"),
    ({"target": None}, "target", "is required"),
    ({"target": {"name": "echo", "typ": "tool"}}, "target.typ", "did you mean 'type'?"),
    ({"target": "ecko"}, "target", "did you mean 'echo'?"),
    ({"target": {"name": "echo", "type": "state_machine"}}, "target.type", "one of type tool"),
    ({"target": "a#b"}, "target.name", "no #"),
    ({"target": "arn:aws:lambda:us-east-1:123456789012:function:other"}, "target.arn", "ToolArns"),
    ({"target": "arn:aws:lambda:us-east-1:123456789012:function:tool-none"}, "target.arn", "there is no arn:"),
    ({"target": "arn:aws:sns:us-east-1:123456789012:topic"}, "target.arn", "neither"),
    ({"input_mapping": {"column_mappings": {"txt": "text"}}}, "input_mapping.column_mappings.txt", "'text'"),
    ({"output_mapping": {"extraction_method": []}}, "output_mapping", "extraction_method"),
    ({"output_mappings": {"other": {}}}, "output_mappings", "echo"),
    ({"exection_config": {}}, "exection_config", "did you mean 'execution_config'?"),
    ({"execution_config": {"limits": 5}}, "execution_config.limits", "did you mean 'limit'?"),
    (
        {"execution_config": {"retry_policy": {"max_atempts": 2}}},
        "execution_config.retry_policy.max_atempts",
        "did you mean 'max_attempts'",
    ),
    ({"source": {"encodng": "utf-8"}}, "source.encodng", "did you mean 'encoding'?"),
    ({"source": {"encoding": "klingon"}}, "source.encoding", "'klingon' is not supported"),
    ({"source": {"delimiter": "ab"}}, "source.delimiter", "'ab' is not one character"),
    ({"csv": {"colum_style": "plain"}}, "csv.colum_style", "did you mean 'column_style'?"),
    ({"csv": {"format": "xlsx"}}, "csv.format", "should be 'csv', 'jsonl'"),
    ({"rerun_of": {"batch_id": 5}}, "rerun_of.batch_id", "valid string"),
    ({"execution_config": {"max_failures": -1}}, "execution_config.max_failures", "greater than or equal"),
    ({"execution_config": {"max_failure_rate": 1.5}}, "execution_config.max_failure_rate", "less than 1"),
    ({"execution_config": {"max_cost_usd": 0}}, "execution_config.max_cost_usd", "greater than 0"),
    ({"execution_config": {"continue_on_error": "maybe"}}, "execution_config.continue_on_error", "boolean"),
    ({"execution_config": {"limit": 5, "sample": 5}}, "execution_config.sample", "not both"),
    ({"execution_config": {"max_concurrency": 0}}, "execution_config.max_concurrency", "greater than or equal"),
    ({"execution_config": {"limit": True}}, "execution_config.limit", "number, not True"),
    ({"execution_config": {"ttl_days": 0}}, "execution_config.ttl_days", "greater than 0"),
    ({"execution_config": []}, "execution_config", "must be an object"),
    ({"output_bucket": "elsewhere"}, "output_bucket", "OutputObjectArns"),
    ({"output_key": "uploads/x.csv"}, "output_key", "the stack's own"),
    ({"output_key": "mine/"}, "output_key", "names no file"),
    ({"output_key": "in/rows.csv"}, "output_key", "the batch's source"),
    ({"input_mapping": {"static_values": {"a": "\ud800"}}}, "input_mapping", "half a character"),
]


def test_one_problem_is_one_line(app: App, given: dict[str, Any], subtests: pytest.Subtests) -> None:
    for number, (change, path, said) in enumerate(REFUSALS):
        with subtests.test(ascii(change)):
            (line,) = refusal(app, {**given, **change}, f"run-{number}")
            assert line.startswith(path)
            assert said in line


BAD_SOURCES: list[tuple[bytes, str]] = [
    (b"", "empty"),
    (b"\xef\xbb\xbf", "empty"),
    (b"a,,c\n1,2,3\n", "column 2 of the header (line 1) has no name"),
    (b"a,b,a\n1,2,3\n", "'a' is 2 times"),
    (b'a,b\n1,2\n3,"4\n5,6\n', "line 3 (row 2) opens a quote"),
    ("a,b\n1,é\n".encode() + b"2,\xff\n", "row 2 (line 3) has byte 0xff"),
    (",".join(f"a very long name of a column {number}" for number in range(2500)).encode(), "names in the header"),
]


def test_a_source_that_cannot_be_read(app: App, given: dict[str, Any], subtests: pytest.Subtests) -> None:
    for number, (content, said) in enumerate(BAD_SOURCES):
        with subtests.test(said):
            given["csv_s3_uri"] = put_source(app, content, "in/bad.csv")
            (line,) = refusal(app, given, f"run-{number}")
            assert line.startswith("csv_s3_uri: ")
            assert said in line


def test_every_problem_at_once_from_the_input_to_the_last_row(app: App, tool: str) -> None:  # noqa: ARG001
    given = {
        "csv_s3_uri": put_source(app, 'id,text\n1,2\n3,"open\n'),
        "target": {"name": "echo", "type": "agent", "vresion": 1},
        "input_mapping": {"column_mappings": {"txt": "a", "nothing_like_it": "b"}},
        "output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"x": "a["}}]},
        "execution_config": {"max_concurency": 1, "max_failures": "two", "timeout_seconds": "soon"},
        "csv": {"format": "xlsx"},
        "output_bucket": "elsewhere",
        "sorce": {},
    }
    lines = refusal(app, given)
    paths = [line.partition(":")[0] for line in lines]
    for path in (
        "sorce",
        "target.vresion",
        "target.type",
        "execution_config.max_concurency",
        "execution_config.timeout_seconds",
        "execution_config.max_failures",
        "csv.format",
        "output_bucket",
        "input_mapping.column_mappings.txt",
        "input_mapping.column_mappings.nothing_like_it",
        "csv_s3_uri",
    ):
        assert path in paths, (path, lines)
    assert any(path.startswith("output_mapping.extraction_methods[0]") for path in paths), lines
    assert "opens a quote" in lines[-1]


def test_a_refused_batch_is_read_on_only_so_far(
    app: App, given: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "LOOKED_THROUGH", 10)
    given.update(csv_s3_uri=put_source(app, 'id,text\n1,2\n3,"open\n'), csv={"format": "xlsx"})
    assert len(refusal(app, given)) == 1


def test_an_input_that_is_no_object(app: App) -> None:
    for given in (None, [], "s3://bucket/key", 5):
        assert "must be a JSON object" in refusal(app, given)[0]


def test_a_refused_batch_leaves_a_failed_record_that_says_why(app: App, given: dict[str, Any]) -> None:
    lines = refusal(app, {**given, "execution_config": {"limits": 5}, "output_key": "uploads/x"})
    record = app.records.get("echo#run-1")
    assert record.status == "FAILED"
    assert record.ended_at
    assert record.row_count is None
    assert record.error == {"type": "BatchRefused", "message": "\n".join(lines)}
    assert batch_progress.result_of(record)["status"] == "FAILED"
    with pytest.raises(BatchRefused, match=r"no row of batch echo#run-1 was ever read: execution_config\.limits"):
        aggregate_results.aggregate(app, {"batch_id": "echo#run-1"}, lambda: 900_000)


def test_a_source_that_is_replaced_while_it_is_read(app: App, given: dict[str, Any]) -> None:
    head = app.s3.head_object

    def replaced_after(**arguments: Any) -> Any:
        answer = head(**arguments)
        put_source(app, rows_csv(4))
        return answer

    app.s3.head_object = replaced_after
    with pytest.raises(SourceChanged):
        prepare(app, event_of(given))
    assert app.records.get("echo#run-1").error["type"] == "SourceChanged"


def test_an_express_agent_is_synchronous(app: App, given: dict[str, Any]) -> None:
    make_agent(app, "agent-quick", "quick", "EXPRESS")
    told = prepare(app, event_of({**given, "target": "quick"}))
    plan = app.plans.load(told["batch_id"], told["plan"])
    assert (plan.kind, plan.synchronous, told["children"]) == ("agent", True, "STANDARD")


def test_a_target_registered_as_another_type(app: App, given: dict[str, Any], tool: str) -> None:
    app.registry.register(RegisteredTarget("odd", "state_machine", tool))
    (line,) = refusal(app, {**given, "target": "odd"})
    assert "said to be a target of type agent" in line


def test_a_registered_schema_with_faults_is_named_as_such(app: App, given: dict[str, Any]) -> None:
    schema = {"version": 1, "fields": [{"name": "x", "extraction": [{"type": "no such"}]}]}
    make_tool(app, "tool-faulty", "faulty", output_schema=schema)
    lines = refusal(app, {**given, "target": "faulty"})
    assert lines
    assert all(line.startswith("target.output_schema.") for line in lines), lines


def test_the_plan_carries_the_targets_input_schema(app: App, given: dict[str, Any]) -> None:
    schema = {"type": "object", "required": ["text"], "properties": {"text": {"maxLength": 9, "multipleOf": 0.5}}}
    make_tool(app, "tool-strict", "strict", input_schema=schema)
    batch = prepare(app, event_of({**given, "target": "strict"}))
    assert app.plans.load(batch["batch_id"], batch["plan"]).input_schema == schema
    batch = prepare(app, event_of(given, "run-2"))
    assert app.plans.load(batch["batch_id"], batch["plan"]).input_schema is None


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ({"type": "objct"}, "target.input_schema.type", "'objct'"),
        ({"properties": {"id": {"pattern": "(?=a)"}}}, "target.input_schema.properties.id.pattern", "not supported"),
        ({"$ref": "https://example.com/s.json"}, "target.input_schema.$ref", "nothing is fetched"),
        ({"required": ["txt"]}, "input_mapping", "no field 'txt' (did you mean 'text'?)"),
    ],
)
def test_an_input_schema_that_no_row_could_meet(
    app: App, given: dict[str, Any], schema: dict[str, Any], path: str, message: str
) -> None:
    make_tool(app, "tool-strict", "strict", input_schema=schema)
    first = refusal(app, {**given, "target": "strict"})[0]
    assert first.startswith(f"{path}: ")
    assert message in first


def test_a_mapping_that_does_not_compile_says_where(app: App, given: dict[str, Any]) -> None:
    config = {"column": "text", "path": "$.a["}
    mapping = {"transformations": {"brand": {"type": "jsonpath", "config": config}}, "types": {"id": "numbre"}}
    lines = refusal(app, {**given, "input_mapping": mapping})
    assert lines == [
        "input_mapping.transformations.brand.config.path: the expression ends too early",
        "  $.a[",
        "      ^",
        "input_mapping.types.id: there is no type 'numbre': did you mean 'number'?",
    ]


def test_a_target_by_arn_and_by_the_synonyms(app: App, tool: str) -> None:
    agent = make_agent(app)
    for number, (target, kind) in enumerate(
        [
            (tool, "tool"),
            ({"name": tool}, "tool"),
            ({"arn": tool, "type": "lambda"}, "tool"),
            ({"arn": f"{tool}:$LATEST"}, "tool"),
            ({"name": "line", "type": "state_machine"}, "agent"),
            ({"arn": agent, "name": "mine"}, "agent"),
        ]
    ):
        uri = put_source(app, rows_csv(1))
        batch = prepare(app, event_of({"csv_s3_uri": uri, "target": target}, f"run-{number}"))
        assert app.plans.load(batch["batch_id"], batch["plan"]).kind == kind
    assert batch["batch_id"] == "mine#run-5"


def test_null_is_absent_but_for_ttl_days(app: App, given: dict[str, Any]) -> None:
    nulls = {"limit": None, "timeout_seconds": None, "retry_policy": None, "ttl_days": None}
    given.update(execution_config=nulls, input_mapping=None, output_mapping=None, output_key=None, source=None)
    batch = prepare(app, event_of(given))
    plan = app.plans.load(batch["batch_id"], batch["plan"])
    assert (plan.ttl, plan.timeout_seconds, plan.retry_policy.max_attempts) == (None, 300, 3)
    assert app.records.get(batch["batch_id"]).expires_at is None


def test_results_are_kept_from_the_preparation_for_the_longest_run_and_the_days(app: App, given: Any) -> None:
    batch = prepare(app, event_of({**given, "execution_config": {"ttl_days": 2}}))
    record = app.records.get(batch["batch_id"])
    assert abs(int(record.expires_at) - parse_iso(record.prepared_at).timestamp() - 9 * DAY) <= 1


def test_an_empty_output_mapping_names_none(app: App, given: dict[str, Any]) -> None:
    schema = {"version": 1, "fields": [{"name": "x", "extraction": [{"type": "direct", "path": "x"}]}]}
    make_tool(app, "tool-schema", "withschema", output_schema=schema)
    batch = prepare(app, event_of({**given, "target": "withschema", "output_mapping": {}}))
    assert app.records.get(batch["batch_id"]).output_columns == ["x"]


def test_a_header_alone_is_a_batch_of_no_rows(app: App, given: dict[str, Any]) -> None:
    given["csv_s3_uri"] = put_source(app, "id,text\n")
    batch = prepare(app, event_of(given))
    assert (batch["row_count"], batch["rows_to_run"]) == (0, 0)
    assert manifest(app, batch) == []
    result = aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)
    assert (result["status"], result["row_count"]) == ("SUCCEEDED", 0)


def test_a_repeated_preparation_of_the_same_execution_is_one_batch(app: App, given: dict[str, Any]) -> None:
    first = prepare(app, event_of(given))
    closing.stop(app, "echo#run-1")
    assert prepare(app, event_of(given)) == first
    record = app.records.get("echo#run-1")
    assert (record.status, record.stop, record.stop_reason) == ("STOPPING", True, "by hand")


def test_a_refused_execution_that_is_redriven(app: App, given: dict[str, Any]) -> None:
    refusal(app, {**given, "csv_s3_uri": "s3://batch-processor-data/in/later.csv"})
    given["csv_s3_uri"] = put_source(app, rows_csv(1), "in/later.csv")
    prepare(app, event_of(given))
    record = app.records.get("echo#run-1")
    assert (record.status, record.error, record.ended_at) == ("RUNNING", None, None)


def test_the_id_of_another_execution_is_taken(app: App, given: dict[str, Any]) -> None:
    prepare(app, event_of(given))
    other = {**event_of(given), "execution_arn": execution_arn("other")}
    with pytest.raises(BatchTaken, match="another name"):
        prepare(app, other)
    assert app.records.get("echo#run-1").status == "RUNNING"


def test_the_manifest_is_dealt_and_holds_every_row_once(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(2_345))
    chunks = manifest(app, batch)
    assert sorted(chunk["chunk"] for chunk in chunks) == list(range(len(chunks)))
    assert [chunk["chunk"] for chunk in chunks[:3]] == [0, 64, 32]
    assert all(chunk["rows"] <= chunk_rows(3) for chunk in chunks)
    seen = []
    for chunk in chunks:
        answer = transform_chunk(app, chunk_event(batch, chunk))
        seen += [(row["row_id"], row["row"][0]) for row in answer["rows"]]
    assert sorted(seen) == [(f"row_{number:010d}", str(number)) for number in range(1, 2_346)]


def test_no_chunk_crosses_the_limit(app: App, tool: str, subtests: pytest.Subtests) -> None:  # noqa: ARG001
    for limit in (1, 7, 100, 250, 999, 1_000, 5_000):
        with subtests.test(limit=limit):
            check_limited(app, limit)


def check_limited(app: App, limit: int) -> None:
    batch = prepared(app, rows_csv(1_000), name=f"limit-{limit}", execution_config={"limit": limit})
    run = min(limit, 1_000)
    assert (batch["row_count"], batch["rows_to_run"]) == (1_000, run)
    assert sum(chunk["rows"] for chunk in manifest(app, batch)) == run
    record = app.records.get(batch["batch_id"])
    assert record.stop_reason == ("limit" if limit < 1_000 else None)
    every = manifest(app, {"manifest_key": record.chunks_key})
    assert [chunk["chunk"] for chunk in every] == list(range(len(every)))
    assert sum(chunk["rows"] for chunk in every) == 1_000
    assert len(every) - len(manifest(app, batch)) == -(-(1_000 - run) // chunk_rows(3))


def test_a_small_batch_reaches_its_concurrency(app: App, tool: str) -> None:  # noqa: ARG001
    for rows, most in ((50, 50), (20, 10), (100, 50), (400, 100), (3, 1), (12, 3), (301, 20)):
        name = f"{rows}-by-{most}"
        batch = prepared(app, rows_csv(rows), name=name, execution_config={"max_concurrency": most})
        inner = app.plans.load(batch["batch_id"], batch["plan"]).inner
        chunks = sorted(manifest(app, batch), key=lambda chunk: -chunk["rows"])
        in_flight = sum(min(inner, chunk["rows"]) for chunk in chunks[: batch["outer"]])
        assert in_flight == min(rows, batch["outer"] * inner), name


def test_many_attempts_make_small_chunks(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(500), execution_config={"retry_policy": {"max_attempts": 100}})
    assert max(chunk["rows"] for chunk in manifest(app, batch)) == chunk_rows(100) == 2


def test_a_stack_that_may_call_nothing(app: App, given: dict[str, Any], settings: Settings) -> None:
    narrow = App(dataclasses.replace(settings, tool_arns=()), app.session)
    (line,) = refusal(narrow, given)
    assert line.startswith("target.arn: this stack may not call")
    assert "(now: none)" in line


def test_the_whole_way_of_a_small_batch(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(2) + "3\n")
    for chunk in manifest(app, batch):
        answer = transform_chunk(app, chunk_event(batch, chunk))
        fates = [
            write_result.write_output(app, row_event(batch, int(row["row_id"][4:]), output={"echo": row["row"][1]}))
            for row in answer["rows"]
        ]
        write_result.finish_chunk(app, finished(answer, fates))
    result = aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)
    assert result["status"] == "PARTIAL"
    assert result["counts"]["SUCCESS"] == 2
    assert result["counts"]["INVALID_INPUT"] == 1
    assert json.loads(json.dumps(result)) == result
    assert batch_progress.result_of(app.records.get(batch["batch_id"])) == result
