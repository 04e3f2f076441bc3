from __future__ import annotations

import csv
import datetime as dt
import io
import json
import random
import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from made import MACHINE, make_tool, prepared, role, row_event, rows_csv, stored

from service.batch import progress as batch_progress
from service.console import remap
from service.console.remap import Outcome
from service.errors import BatchRefused
from service.extraction.compiler import compile_output_mapping
from service.extraction.stored_plan import to_json
from service.models import row_id
from service.steps import aggregate_results
from service.steps.write_result import handle_failure, write_output
from service.store import attribute_values

if TYPE_CHECKING:
    from service.app import App

BATCH = "echo#run-1"
OLD = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
NEW = {"extraction_methods": [{"method": "jmespath", "paths": {"y": "y", "sum": "sum([x || `0`, y || `0`])"}}]}
LARGE = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9_000))
OF_THE_RUN = ("input_data", "timestamp", "time_bucket", "attempts", "run", "ttl", "output", "execution_time_ms")


@pytest.fixture(autouse=True)
def tool(app: App) -> str:
    return make_tool(app)


def ended_batch(app: App, outputs: list[Any], mapping: Any = OLD, **given: Any) -> dict[str, Any]:
    """A batch that has ended, one row for each output; an exception is a row whose target failed with it."""
    batch = prepared(app, rows_csv(len(outputs)), output_mapping=mapping, **given)
    times = {"started_at": "2025-01-01T00:00:00Z", "stopped_at": "2025-01-01T00:00:00.250Z"}
    for number, output in enumerate(outputs, 1):
        if isinstance(output, Exception):
            failure = {"Error": type(output).__name__, "Cause": str(output)}
            handle_failure(app, row_event(batch, number, call={"attempt": 3, "name": "n"}, failure=failure))
        else:
            write_output(app, row_event(batch, number, output=output, **times))
    aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)
    return batch


def remapped(app: App, given: dict[str, Any], shown: list[int] | None = None) -> remap.Outcomes:
    order = remap.check(app, app.records.get(BATCH), given)
    return remap.remap(app, order, (shown if shown is not None else []).append)


def csv_lines(app: App) -> list[dict[str, str]]:
    location = aggregate_results.aggregate(app, {"batch_id": BATCH}, lambda: 900_000)["csv_location"]
    bucket, _, key = location.removeprefix("s3://").partition("/")
    text = app.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def fields(app: App, row: int = 1) -> Any:
    return attribute_values.decode(stored(app, BATCH, row)["output_data"])


def calls_of(app: App, operation: str, service: str = "dynamodb") -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    client = getattr(app, service)
    client.meta.events.register(f"provide-client-params.{service}.{operation}", lambda params, **_: seen.append(params))
    return seen


def meanwhile(app: App, change: Any) -> None:
    """Does `change` before every update of a result, as somebody else would: between the reading and the writing."""
    other = boto3.client("dynamodb", region_name="us-east-1")

    def before(params: dict[str, Any], **_: Any) -> None:
        if params["TableName"] == app.settings.results_table:
            change(other, params["Key"])

    app.dynamodb.meta.events.register("provide-client-params.dynamodb.UpdateItem", before)


# --- what it writes --------------------------------------------------------------------------------------------------


def test_other_fields_of_the_same_outputs(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 2.5}, {"x": 10, "y": 20}])
    before = stored(app, BATCH)
    shown: list[int] = []
    tally = remapped(app, {"output_mapping": NEW}, shown)
    assert tally.counts == {Outcome.CHANGED: 2}
    assert shown == [2]
    assert [fields(app, row) for row in (1, 2)] == [{"y": 2.5, "sum": 3.5}, {"y": 20, "sum": 30}]
    after = stored(app, BATCH)
    assert after["method"] == {"S": "jmespath"}
    assert {name: after[name] for name in OF_THE_RUN} == {name: before[name] for name in OF_THE_RUN}
    assert after.keys() == before.keys()
    lines = csv_lines(app)
    assert [(line["output_y"], line["output_sum"]) for line in lines] == [("2.5", "3.5"), ("20", "30")]
    assert "output_x" not in lines[0]


def test_a_better_mapping_makes_successes(app: App) -> None:
    ended_batch(app, [{"y": 1}, {"x": 2, "y": 2}])
    assert stored(app, BATCH)["failed_status"] == {"S": f"EXTRACTION_FAILED#{row_id(1)}"}
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.CHANGED: 2}
    item = stored(app, BATCH)
    assert item["status"] == {"S": "SUCCESS"}
    assert item.keys().isdisjoint({"failed_status", "error"})
    index = {"TableName": app.settings.results_table, "IndexName": "status-index"}
    found = app.dynamodb.query(
        **index, KeyConditionExpression="batch_id = :b", ExpressionAttributeValues={":b": {"S": BATCH}}
    )
    assert found["Items"] == []
    assert aggregate_results.aggregate(app, {"batch_id": BATCH}, lambda: 900_000)["status"] == "SUCCEEDED"
    assert app.records.get(BATCH).status == "SUCCEEDED"


def test_a_worse_mapping_makes_failed_extractions(app: App) -> None:
    ended_batch(app, [{"x": 1}])
    assert remapped(app, {"output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"z": "z"}}]}})
    item = stored(app, BATCH)
    assert item["status"] == {"S": "EXTRACTION_FAILED"}
    assert item["failed_status"] == {"S": f"EXTRACTION_FAILED#{row_id(1)}"}
    assert attribute_values.decode(item["error"])["type"] == "ExtractionFailed"
    assert item["output_data"] == {"M": {}}
    assert "method" not in item
    assert remapped(app, {"output_mapping": OLD}).counts == {Outcome.CHANGED: 1}
    assert fields(app) == {"x": 1}


def test_rows_without_an_answer_stay(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 1}, ValueError("no")])
    before = stored(app, BATCH, 2)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.CHANGED: 1, Outcome.NO_ANSWER: 1}
    assert stored(app, BATCH, 2) == before


def test_a_failed_call_and_back(app: App) -> None:
    """A row that FAILED by what its output says has an output; a remap may find that it is an answer after all."""
    ended_batch(app, [{"x": 1, "error": "late"}, {"x": 2}])
    item = stored(app, BATCH)
    assert item["status"] == {"S": "FAILED"}
    assert attribute_values.decode(item["error"])["type"] == "ToolError"
    assert item["failed_status"] == {"S": f"FAILED#{row_id(1)}"}
    assert remapped(app, {"output_mapping": {**OLD, "fail_when": None}}).counts == {Outcome.CHANGED: 1, Outcome.SAME: 1}
    assert fields(app) == {"x": 1}
    assert remapped(app, {"output_mapping": {**OLD, "fail_when": "x == `2`"}}).counts == {Outcome.CHANGED: 2}
    said = [attribute_values.decode(stored(app, BATCH, row)["error"])["type"] for row in (1, 2)]
    assert said == ["ToolError", "FailWhen"]
    assert [stored(app, BATCH, row)["status"]["S"] for row in (1, 2)] == ["FAILED"] * 2


def test_a_remap_keeps_the_conditions_of_the_target(app: App) -> None:
    app.registry.amend("echo", {"fail_when": "x == `1`"})
    ended_batch(app, [{"x": 1, "y": 1}])
    assert attribute_values.decode(stored(app, BATCH)["error"])["type"] == "FailWhen"
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.SAME: 1}
    assert remapped(app, {"output_mapping": {**NEW, "fail_when": "x == `2`"}}).counts == {Outcome.CHANGED: 1}
    assert fields(app) == {"y": 1, "sum": 2}


def test_outputs_in_s3(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 4, "text": LARGE}])
    assert "output_s3_uri" in stored(app, BATCH)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.CHANGED: 1}
    assert fields(app) == {"y": 4, "sum": 5}


def test_a_mapping_of_several_targets_and_options_of_the_csv(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 2}], csv={"neutralise_formulas": False})
    mine = {**NEW, "type": "tool", "include_original": False}
    given = {"output_mappings": {"echo": mine, "other": OLD}, "csv": {"column_style": "plain"}, "source": None}
    assert remapped(app, given).counts == {Outcome.CHANGED: 1}
    assert list(csv_lines(app)[0])[:3] == ["y", "sum", "_row_id"]
    assert app.records.get(BATCH).csv["neutralise_formulas"] is False
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.SAME: 1}
    assert list(csv_lines(app)[0])[:3] == ["id", "text", "y"]


def test_the_plan_is_that_of_a_batch_with_this_mapping(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 2}])
    first = app.records.get(BATCH)
    remapped(app, {"output_mapping": NEW})
    record = app.records.get(BATCH)
    old, new = (app.plans.load(BATCH, one.plan_hash) for one in (first, record))
    changed = {
        "output_mapping": NEW,
        "output_columns": ["y", "sum"],
        "output_plan": to_json(compile_output_mapping(NEW)),
    }
    assert new == replace(old, **changed)
    assert record.output_columns == ["y", "sum"]
    remapped(app, {"output_mapping": OLD})
    assert app.records.get(BATCH).plan_hash == first.plan_hash


def test_a_mapping_that_names_no_fields(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 2}, {"z": 3}])
    mapping = {"include_original": False}
    assert remapped(app, {"output_mapping": mapping}).counts == {Outcome.CHANGED: 2}
    assert [*csv_lines(app)[0]][:3] == ["output_x", "output_y", "output_z"]


def test_more_than_an_item_can_hold(app: App) -> None:
    ended_batch(app, [{"x": 1, "parts": ["abcdefgh" * 1000] * 60}, {"x": 1, "parts": []}])
    mapping = {"extraction_methods": [{"method": "direct", "paths": {"parts": "parts"}}]}
    assert remapped(app, {"output_mapping": mapping}).counts == {Outcome.CHANGED: 2}
    item = stored(app, BATCH)
    assert item["status"] == {"S": "EXTRACTION_FAILED"}
    assert attribute_values.decode(item["error"])["type"] == "ResultTooLarge"
    assert "map less of the output" in attribute_values.decode(item["error"])["message"]
    assert stored(app, BATCH, 2)["status"] == {"S": "SUCCESS"}


# --- nothing twice, nothing lost -------------------------------------------------------------------------------------


def test_nothing_is_written_that_does_not_change(app: App) -> None:
    outputs = [{"x": 1.0}, {"x": 1e22}, {"x": {"a": [1.50, None, True, "t"]}}, {"y": 1}, {"x": -0.0}]
    ended_batch(app, outputs)
    updates = calls_of(app, "UpdateItem")
    assert remapped(app, {"output_mapping": OLD}).counts == {Outcome.SAME: 5}
    assert [call for call in updates if call["TableName"] == app.settings.results_table] == []


def test_given_twice_it_is_done_once(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 2}, {"y": 3}, {"z": 1}])
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.CHANGED: 3}
    items, record = [stored(app, BATCH, row) for row in (1, 2, 3)], app.records.get(BATCH)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.SAME: 3}
    assert [stored(app, BATCH, row) for row in (1, 2, 3)] == items
    assert app.records.get(BATCH) == record


def test_one_that_broke_off_is_finished_by_the_next(app: App) -> None:
    ended_batch(app, [{"x": number, "y": number} for number in range(1, 6)])

    def break_off(params: dict[str, Any], **_: Any) -> None:
        if params["Key"].get("row_id", {}).get("S") == row_id(3):
            raise ClientError({"Error": {"Code": "InternalServerError", "Message": "no"}}, "UpdateItem")

    events = app.dynamodb.meta.events
    events.register("provide-client-params.dynamodb.UpdateItem", break_off)
    with pytest.raises(ClientError):
        remapped(app, {"output_mapping": NEW})
    events.unregister("provide-client-params.dynamodb.UpdateItem", break_off)
    half = csv_lines(app)  # nothing of either mapping is hidden
    assert {"output_x", "output_y", "output_sum"} <= half[0].keys()
    assert (half[2]["output_x"], half[2]["output_y"]) == ("3", "")
    tally = remapped(app, {"output_mapping": NEW})
    assert tally.counts[Outcome.CHANGED] >= 1
    assert sum(tally.counts.values()) == 5
    assert [line["output_sum"] for line in csv_lines(app)] == ["2", "4", "6", "8", "10"]
    assert "output_x" not in csv_lines(app)[0]


def test_results_that_lack_their_output_are_counted_and_named(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 1, "text": LARGE}, {"x": 2, "y": 2}], execution_config={"keep_output": True})
    _, _, key = stored(app, BATCH)["output_s3_uri"]["S"].removeprefix("s3://").partition("/")
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=key)
    before = stored(app, BATCH)
    tally = remapped(app, {"output_mapping": NEW})
    assert tally.counts == {Outcome.LACKING: 1, Outcome.CHANGED: 1}
    assert tally.row_ids[Outcome.LACKING] == [row_id(1)]
    assert stored(app, BATCH) == before


def test_outputs_that_were_not_kept_or_are_damaged(app: App) -> None:
    ended_batch(app, [{"x": number} for number in range(1, 10)], execution_config={"keep_output": False})
    key = {"batch_id": {"S": BATCH}, "row_id": {"S": row_id(9)}}
    app.dynamodb.update_item(
        TableName=app.settings.results_table,
        Key=key,
        UpdateExpression="SET #o = :o",
        ExpressionAttributeNames={"#o": "output"},
        ExpressionAttributeValues={":o": {"B": b"no gzip"}},
    )
    tally = remapped(app, {"output_mapping": NEW})
    assert tally.counts == {Outcome.LACKING: 9}
    assert tally.row_ids[Outcome.LACKING] == [row_id(number) for number in range(1, 6)]


def test_trouble_with_s3_is_not_a_lacking_output(app: App) -> None:
    ended_batch(app, [{"x": 1, "text": LARGE}])

    def trouble(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "SlowDown", "Message": "slow down"}}, "GetObject")

    app.s3.meta.events.register("provide-client-params.s3.GetObject", trouble)
    with pytest.raises(ClientError, match="SlowDown"):
        remapped(app, {"output_mapping": NEW})


# --- changed meanwhile -----------------------------------------------------------------------------------------------


def set_of(name: str, value: dict[str, Any]) -> dict[str, Any]:
    return {
        "UpdateExpression": "SET #n = :v",
        "ExpressionAttributeNames": {"#n": name},
        "ExpressionAttributeValues": {":v": value},
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("run", {"N": "2"}),
        ("timestamp", {"S": "2031-01-01T00:00:00.000Z"}),
        ("output_data", {"M": {"other": {"S": "remap"}}}),
        ("method", {"S": "tool_result"}),
        ("error", {"M": {"type": {"S": "E"}, "message": {"S": "m"}}}),
    ],
)
def test_what_was_changed_meanwhile_is_read_again(app: App, name: str, value: dict[str, Any]) -> None:
    ended_batch(app, [{"x": 1, "y": 1}])
    seen: list[Any] = []

    def change(other: Any, key: Any) -> None:
        if not seen:
            other.update_item(TableName=app.settings.results_table, Key=key, **set_of(name, value))
        seen.append(key)

    meanwhile(app, change)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.CHANGED: 1}
    assert len(seen) == 2
    assert fields(app) == {"y": 1, "sum": 2}
    if name in ("run", "timestamp"):
        assert stored(app, BATCH)[name] == value
    assert "error" not in stored(app, BATCH)


def test_a_rerun_that_failed_meanwhile_stays(app: App) -> None:
    ended_batch(app, [{"z": 1}])

    def rerun(other: Any, key: Any) -> None:
        item = {**key, "status": {"S": "FAILED"}, "run": {"N": "2"}, "timestamp": {"S": "2031-01-01T00:00:00.000Z"}}
        other.put_item(TableName=app.settings.results_table, Item=item)

    meanwhile(app, rerun)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.NO_ANSWER: 1}
    assert stored(app, BATCH)["status"] == {"S": "FAILED"}


def test_what_keeps_changing_is_never_overwritten(app: App) -> None:
    ended_batch(app, [{"x": 1, "y": 1}])
    seen: list[str] = []

    def change(other: Any, key: Any) -> None:
        seen.append(f"2031-01-01T00:00:00.00{len(seen)}Z")
        values = set_of("timestamp", {"S": seen[-1]})
        other.update_item(TableName=app.settings.results_table, Key=key, **values)

    meanwhile(app, change)
    tally = remapped(app, {"output_mapping": NEW})
    assert tally.counts == {Outcome.OVERTAKEN: 1}
    assert tally.row_ids[Outcome.OVERTAKEN] == [row_id(1)]
    assert len(seen) == remap.TRIES
    assert fields(app) == {"x": 1}


@pytest.mark.parametrize("past", [True, False])
def test_what_expired_or_is_gone_meanwhile_does_not_come_back(app: App, past: bool) -> None:  # noqa: FBT001
    ended_batch(app, [{"x": 1, "y": 1}])

    def change(other: Any, key: Any) -> None:
        if past:
            values = set_of("ttl", {"N": str(int(time.time()) - 5)})
            other.update_item(TableName=app.settings.results_table, Key=key, **values)
        else:
            other.delete_item(TableName=app.settings.results_table, Key=key)

    meanwhile(app, change)
    assert remapped(app, {"output_mapping": NEW}).counts == {Outcome.OVERTAKEN: 1}
    assert (fields(app) == {"x": 1}) if past else not stored(app, BATCH)


@pytest.mark.parametrize("change", [{"status": "RUNNING"}, {"run": 2}, {"plan_hash": "another"}])
def test_a_batch_that_was_opened_again_before_or_meanwhile(app: App, change: dict[str, Any]) -> None:
    ended_batch(app, [{"x": 1, "y": 1}])
    before = app.records.get(BATCH)
    order = remap.check(app, before, {"output_mapping": NEW})
    app.records.update(BATCH, **change)
    with pytest.raises(remap.RemapOvertaken, match="run again or remapped"):
        remap.remap(app, order, lambda _: None)
    assert fields(app) == {"x": 1}
    app.records.update(BATCH, **{name: getattr(before, name) for name in change})
    meanwhile(app, lambda *_: app.records.update(BATCH, **change))
    with pytest.raises(remap.RemapOvertaken, match="give the same command"):
        remap.remap(app, order, lambda _: None)
    assert fields(app) == {"y": 1, "sum": 2}
    assert app.records.get(BATCH).output_columns is None


# --- what it refuses -------------------------------------------------------------------------------------------------


FAULTY = {"extraction_methods": [{"method": "jmespath", "paths": {"a": "x["}}]}
REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["output_mapping: is missing"]),
    ({"output_mapping": None}, ["output_mapping: is missing"]),
    ({"output_mapping": {}}, ["output_mapping: is missing"]),
    ({"output_mapping": [1]}, ["output_mapping: must be an object"]),
    ({"output_mapping": {**NEW, "type": "agent"}}, ["output_mapping.type: says 'agent'"]),
    ({"output_mapping": NEW, "output_mappings": {"echo": NEW}}, ["not both"]),
    ({"output_mappings": {"other": NEW}}, ["output_mappings: target 'echo' has no mapping"]),
    ({"output_mappings": {"echo": FAULTY}}, ["output_mappings.echo.extraction_methods[0].paths.a: "]),
    (
        {
            "output_mapping": FAULTY,
            "input_mapping": {"x": "y"},
            "execution_config": {"limit": 1},
            "csv": {"format": "x"},
        },
        ["input_mapping: cannot change", "csv.format: ", "output_mapping.extract"],
    ),
    ({"output_mapping": NEW, "csv": {"column_styl": "plain"}}, ["csv.column_styl: unknown key; did you mean"]),
    (
        {"output_mapping": {"columns": [{"name": "a", "default": dt.date(2025, 1, 1)}]}},
        ["output_mapping: holds a value that JSON has no form for"],
    ),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
def test_a_faulty_order_is_refused_before_anything_is_written(app: App, given: Any, said: list[str]) -> None:
    ended_batch(app, [{"x": 1, "y": 1}])
    before = app.records.get(BATCH)
    with pytest.raises(BatchRefused) as refused:
        remapped(app, given)
    assert len(refused.value.problems) == len(said)
    for one in said:
        assert one in str(refused.value)
    assert app.records.get(BATCH) == before
    assert fields(app) == {"x": 1}


def test_a_batch_that_has_not_ended(app: App) -> None:
    definition = {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}
    app.stepfunctions.create_state_machine(name="batches", definition=json.dumps(definition), roleArn=role(app))
    app.stepfunctions.start_execution(stateMachineArn=MACHINE, name="run-1", input="{}")
    prepared(app, rows_csv(1))
    said = f"is RUNNING.*batch-processor status '{BATCH}' --follow.*batch-processor stop '{BATCH}'"
    with pytest.raises(batch_progress.BatchRunning, match=re.compile(said, re.DOTALL)):
        remapped(app, {"output_mapping": NEW})


def test_an_expired_batch_names_its_last_csv(app: App) -> None:
    ended_batch(app, [{"x": 1}])
    app.records.update(BATCH, expires_at=int(time.time()) - 1)
    with pytest.raises(batch_progress.BatchExpired, match="its last CSV: s3://"):
        remapped(app, {"output_mapping": NEW})


def test_a_batch_that_was_refused(app: App) -> None:
    with pytest.raises(BatchRefused):
        prepared(app, rows_csv(1), input_mapping={"nowhere": "x"})
    with pytest.raises(BatchRefused, match="no row of batch"):
        remapped(app, {"output_mapping": NEW})


@pytest.mark.parametrize("digest", [None, "gone"])
def test_a_batch_without_its_plan(app: App, digest: str | None) -> None:
    ended_batch(app, [{"x": 1}])
    app.records.update(BATCH, plan_hash=digest)
    with pytest.raises(BatchRefused, match=r"plan of batch .* cannot be remapped"):
        remapped(app, {"output_mapping": NEW})


def test_a_mapping_that_is_too_large(app: App) -> None:
    ended_batch(app, [{"x": 1}])
    names = ["".join(random.Random(number).choices("abcdefghijklmnop", k=3_000)) for number in range(400)]
    with pytest.raises(BatchRefused, match="can be stored"):
        remapped(app, {"output_mapping": {"structured_output_fields": names}})
    assert app.records.get(BATCH).output_columns == ["x"]


def test_a_batch_of_no_rows(app: App) -> None:
    ended_batch(app, [])
    assert remapped(app, {"output_mapping": NEW}).counts == {}
    assert app.records.get(BATCH).output_columns == ["y", "sum"]
