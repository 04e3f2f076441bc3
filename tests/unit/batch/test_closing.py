from __future__ import annotations

import json
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from made import (
    MACHINE,
    chunk_event,
    execution_arn,
    finished,
    lines_of,
    make_tool,
    manifest,
    prepared,
    role,
    row_event,
    rows_csv,
)

from service.batch import closing
from service.batch import progress as batch_progress
from service.errors import BatchRefused, NotFound
from service.models import now_iso
from service.steps import aggregate_results
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, store_plain, write_output

if TYPE_CHECKING:
    from service.app import App

AMPLE = 900_000
KEYS = [
    "status",
    "batch_id",
    "csv_location",
    "row_count",
    "execution_time_ms",
    "counts",
    "errors",
    "fields",
    "guarded_cells",
    "chunks",
    "stop_reason",
]


@pytest.fixture(autouse=True)
def tool(app: App) -> str:
    return make_tool(app)


def remaining() -> int:
    return AMPLE


def run_rows(app: App, batch: dict[str, Any], failing: tuple[int, ...] = (), chunks: int | None = None) -> None:
    """What the Map does, with a target that fails for some rows."""
    for chunk in manifest(app, batch)[:chunks]:
        answer = transform_chunk(app, chunk_event(batch, chunk))
        fates = [run_row(app, batch, int(row["row_id"][4:]), failing) for row in answer["rows"]]
        finish_chunk(app, finished(answer, fates))


def run_row(app: App, batch: dict[str, Any], number: int, failing: tuple[int, ...]) -> dict[str, Any]:
    if number not in failing:
        return write_output(app, row_event(batch, number, output={"x": number}))
    call = {"attempt": 3, "name": "n"}
    event = row_event(batch, number, call=call, failure={"Error": "ValueError", "Cause": "no"})
    return {"row_id": event["row_id"], "status": handle_failure(app, event)["status"]}


def ended(app: App, batch: dict[str, Any], **more: Any) -> dict[str, Any]:
    return aggregate_results.aggregate(app, {"batch": batch, **more}, remaining)


def closing_event(name: str = "run-1", status: str = "ABORTED", given: Any = None, **detail: Any) -> dict[str, Any]:
    text = json.dumps({"target": "echo"} if given is None else given)
    return {"source": "aws.states", "detail": {"name": name, "status": status, "input": text, **detail}}


# --- aggregate -------------------------------------------------------------------------------------------------------


def test_the_end_of_a_batch(app: App) -> None:
    batch = prepared(app, rows_csv(4))
    run_rows(app, batch, failing=(2,))
    result = ended(app, batch)
    assert list(result) == KEYS
    assert (result["status"], result["row_count"]) == ("PARTIAL", 4)
    assert sum(result["counts"].values()) == 4
    (group,) = result["errors"]
    assert group == {
        "status": "FAILED",
        "error": "ValueError",
        "message": "no",
        "count": 1,
        "row_ids": ["row_0000000002"],
    }
    record = app.records.get("echo#run-1")
    assert (record.status, record.csv_location) == ("PARTIAL", result["csv_location"])
    assert record.ended_at
    assert result["execution_time_ms"] == record.execution_time_ms
    assert batch_progress.result_of(record) == result
    assert [line["_status"] for line in lines_of(app, result["csv_location"])] == [
        "SUCCESS",
        "FAILED",
        "SUCCESS",
        "SUCCESS",
    ]


def test_a_field_that_no_row_has_is_told(app: App) -> None:
    paths = {"x": "x", "score": "no.such.path"}
    mapping = {"extraction_methods": [{"method": "direct", "paths": paths}]}
    batch = prepared(app, rows_csv(3), output_mapping=mapping)
    run_rows(app, batch, failing=(2,))
    result = ended(app, batch)
    assert result["fields"] == [{"name": "x", "found": 2, "of": 2}, {"name": "score", "found": 0, "of": 2}]
    assert batch_progress.result_of(app.records.get("echo#run-1"))["fields"] == result["fields"]


def test_guarded_cells_are_counted_and_told(app: App) -> None:
    for number, text in enumerate(("=SUM(A1)", "'=SUM(A1)", "@user hello"), 1):
        store_plain(app, {"batch_id": "plain", "row_id": f"row_{number}", "input_data": {"text": text}})
    result = aggregate_results.aggregate(app, {"batch_id": "plain"}, remaining)
    lines = lines_of(app, result["csv_location"])
    assert [line["input_text"] for line in lines] == ["'=SUM(A1)", "''=SUM(A1)", "@user hello"]
    assert result["guarded_cells"] == 2
    raw = aggregate_results.aggregate(app, {"batch_id": "plain", "csv": {"neutralise_formulas": False}}, remaining)
    assert raw["guarded_cells"] == 0


def test_no_secret_of_an_error_is_stored(app: App) -> None:
    secret = "sk-live-SECRET123"
    batch = prepared(app, rows_csv(2))
    call = {"attempt": 3, "name": "n"}
    for number in (1, 2):
        cause = f"401 Unauthorized: invalid x-api-key {secret} of call {number}"
        handle_failure(app, row_event(batch, number, call=call, failure={"Error": "Denied", "Cause": cause}))
    store_plain(app, {"batch_id": "plain", "row_id": "a", "status": "FAILED", "error": {"message": f"key {secret}"}})
    result = ended(app, batch, map_failure={"Error": "E", "Cause": f"password={secret}"})
    (group,) = result["errors"]
    assert group["message"] == "401 Unauthorized: invalid x-api-key *** of call 1"
    assert (group["count"], group["alike"]) == (2, True)
    kept = app.s3.list_objects_v2(Bucket=app.settings.data_bucket)["Contents"]
    written = [app.s3.get_object(Bucket=app.settings.data_bucket, Key=one["Key"])["Body"].read() for one in kept]
    client = app.dynamodb
    items = [item for name in client.list_tables()["TableNames"] for item in client.scan(TableName=name)["Items"]]
    assert len(items) > 3
    assert secret not in str(items)
    assert not any(secret.encode() in body for body in written)


def test_a_retried_aggregation_that_had_closed_the_record_gives_the_same(app: App) -> None:
    batch = prepared(app, rows_csv(3))
    run_rows(app, batch)
    first = ended(app, batch)
    record = app.records.get("echo#run-1")
    time.sleep(0.01)
    assert ended(app, batch) == first
    again = app.records.get("echo#run-1")
    assert (again.status, again.ended_at) == ("SUCCEEDED", record.ended_at)


def test_an_aggregation_that_runs_low_on_time_goes_on(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    from service.s3 import objects  # noqa: PLC0415

    monkeypatch.setattr(objects, "PART", 1)
    batch = prepared(app, rows_csv(3))
    run_rows(app, batch)
    state: dict[str, Any] = {"batch": batch}
    answer = aggregate_results.aggregate(app, state, lambda: 1)
    assert list(answer) == ["batch_id", "continuation"]
    assert app.records.get("echo#run-1").status == "AGGREGATING"
    answer = aggregate_results.aggregate(
        app, {**state, "aggregation": {"result": json.loads(json.dumps(answer))}}, remaining
    )
    assert (answer["row_count"], answer["status"]) == (3, "SUCCEEDED")
    assert len(lines_of(app, answer["csv_location"])) == 3


def test_a_plain_aggregation_makes_the_csv_again_anywhere(app: App) -> None:
    batch = prepared(app, rows_csv(2))
    run_rows(app, batch)
    first = ended(app, batch)
    plain = {"batch_id": "echo#run-1", "output_key": "mine/again.csv", "csv": {"column_style": "plain"}}
    again = aggregate_results.aggregate(app, plain, remaining)
    assert again["csv_location"].endswith("/mine/again.csv")
    assert {**again, "csv_location": first["csv_location"]} == first
    assert list(lines_of(app, again["csv_location"])[0])[:3] == ["id", "text", "x"]
    assert app.records.get("echo#run-1").csv_location == again["csv_location"]


def test_a_running_batch_has_no_csv_yet(app: App) -> None:
    prepared(app, rows_csv(2))
    with pytest.raises(batch_progress.BatchRunning, match="is RUNNING: its CSV can be made when it has ended"):
        aggregate_results.aggregate(app, {"batch_id": "echo#run-1"}, remaining)


def test_an_expired_batch_names_its_last_csv(app: App) -> None:
    batch = prepared(app, rows_csv(1))
    run_rows(app, batch)
    location = ended(app, batch)["csv_location"]
    app.records.update("echo#run-1", expires_at=int(time.time()) - 1)
    with pytest.raises(batch_progress.BatchExpired, match=f"its last CSV: {location}"):
        aggregate_results.aggregate(app, {"batch_id": "echo#run-1"}, remaining)


def test_a_batch_of_plain_events_alone(app: App) -> None:
    for number, status in ((1, "SUCCESS"), (2, "FAILED"), (3, None)):
        event = {"batch_id": "old#1", "row_id": f"row_00{number}", "input_data": {"a": "x"}, "output_data": {"b": 1}}
        store_plain(app, {**event, "status": status})
    result = aggregate_results.aggregate(app, {"batch_id": "old#1"}, remaining)
    assert result["csv_location"].endswith("/results/old/1.csv")
    assert (result["status"], result["row_count"]) == ("PARTIAL", 3)
    assert result["counts"]["UNKNOWN"] == 1
    assert result["counts"]["MISSING"] == result["counts"]["NOT_RUN"] == 0
    assert [line["input_a"] for line in lines_of(app, result["csv_location"])] == ["x", "x", "x"]


def test_a_plain_event_that_is_not_well_formed(app: App) -> None:
    with pytest.raises(BatchRefused) as refused:
        aggregate_results.aggregate(app, {"output_key": 5, "csv": {"format": "xlsx"}}, remaining)
    assert [problem.path for problem in refused.value.problems] == ["batch_id", "output_key", "csv.format"]
    batch = prepared(app, rows_csv(1))
    run_rows(app, batch)
    ended(app, batch)
    for key, said in (("in/run-1.csv", "source"), ("uploads/a", "the stack's own"), ("a/", "no file")):
        with pytest.raises(BatchRefused, match=said):
            aggregate_results.aggregate(app, {"batch_id": "echo#run-1", "output_key": key}, remaining)


def test_a_map_that_failed_leaves_its_reason(app: App) -> None:
    batch = prepared(app, rows_csv(2))
    result = ended(app, batch, map_failure={"Error": "States.ItemReaderFailed", "Cause": "no manifest"})
    assert (result["status"], result["counts"]["MISSING"]) == ("FAILED", 2)
    assert app.records.get("echo#run-1").error == {
        "type": "States.ItemReaderFailed",
        "message": "no manifest",
    }


def test_a_limited_batch_is_incomplete(app: App) -> None:
    batch = prepared(app, rows_csv(5), execution_config={"limit": 2})
    run_rows(app, batch)
    result = ended(app, batch)
    assert (result["status"], result["counts"]["SUCCESS"], result["counts"]["NOT_RUN"]) == ("INCOMPLETE", 2, 3)
    assert app.records.get("echo#run-1").stop_reason == "limit"
    known = batch_progress.progress(app, app.records.get("echo#run-1"))
    assert (known["rows_done"], known["counts_exact"], known["eta_s"]) == (2, True, None)


# --- executions that ended otherwise ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "said"), [("ABORTED", "was aborted"), ("TIMED_OUT", "ran out of time"), ("FAILED", "failed")]
)
def test_an_execution_that_ended_otherwise_closes_the_record(app: App, status: str, said: str) -> None:
    batch = prepared(app, rows_csv(40), execution_config={"max_concurrency": 5})
    run_rows(app, batch, chunks=1)
    assert closing.close_ended(app, closing_event(status=status, cause="why"))["closed"] is True
    record = app.records.get("echo#run-1")
    assert (record.status, record.stop, record.stop_reason) == ("INCOMPLETE", True, "aborted")
    assert record.error == {"type": status, "message": f"the execution {said}: why"}
    assert sum(record.counts.values()) == 40
    assert record.counts["NOT_RUN"] == 40 - record.counts["SUCCESS"]
    assert batch_progress.progress(app, record)["counts_exact"] is False
    result = aggregate_results.aggregate(app, {"batch_id": "echo#run-1"}, remaining)
    assert (result["status"], result["row_count"]) == ("INCOMPLETE", 40)
    assert batch_progress.progress(app, app.records.get("echo#run-1"))["counts_exact"] is True


def test_an_event_after_the_batch_ended_properly_does_nothing(app: App) -> None:
    batch = prepared(app, rows_csv(2))
    run_rows(app, batch)
    ended(app, batch)
    before = app.records.get("echo#run-1")
    for status in ("FAILED", "ABORTED", "TIMED_OUT"):
        assert closing.close_ended(app, closing_event(status=status))["closed"] is False
    assert app.records.get("echo#run-1") == before


def test_a_record_that_is_closed_between_reading_and_writing_stays(app: App) -> None:
    batch = prepared(app, rows_csv(2))
    record = app.records.get("echo#run-1")
    run_rows(app, batch)
    ended(app, batch)
    assert closing.close_record(app, record, "ABORTED", None) is False
    assert app.records.get("echo#run-1").status == "SUCCEEDED"


def test_events_that_say_too_little(app: App) -> None:
    prepared(app, rows_csv(2))
    events = [closing_event(given=given) for given in ({}, [], 5, {"target": 5}, {"target": "other"})]
    events += [closing_event("run-2"), closing_event(executionArn=execution_arn("elsewhere"))]
    for text in (None, "", "{cut"):
        event = closing_event()
        event["detail"]["input"] = text
        events.append(event)
    for event in events:
        assert closing.close_ended(app, event)["closed"] is False
    assert app.records.get("echo#run-1").status == "RUNNING"


def test_all_rows_succeeded_but_there_is_no_csv(app: App) -> None:
    batch = prepared(app, rows_csv(2))
    run_rows(app, batch)
    closing.close_ended(app, closing_event(status="FAILED", cause="AccessDenied"))
    assert app.records.get("echo#run-1").status == "INCOMPLETE"
    assert aggregate_results.aggregate(app, {"batch_id": "echo#run-1"}, remaining)["status"] == "SUCCEEDED"


def test_a_batch_that_ended_while_it_was_prepared(app: App) -> None:
    prepared(app, rows_csv(2))
    app.records.update("echo#run-1", status="PREPARING", row_count=None, rows_to_run=None, counts=None)
    record = closing.refreshed(app, app.records.get("echo#run-1"))
    assert record.status == "FAILED"
    assert "it is not there any more" in record.error["message"]
    assert batch_progress.result_of(record)["row_count"] == 0


# --- stop and refresh ------------------------------------------------------------------------------------------------


def test_stop(app: App) -> None:
    batch = prepared(app, rows_csv(3))
    for _ in range(2):
        record = closing.stop(app, "echo#run-1")
        assert (record.status, record.stop, record.stop_reason) == ("STOPPING", True, "by hand")
    run_rows(app, batch)
    result = ended(app, batch)
    assert result["counts"]["NOT_RUN"] == 3
    with pytest.raises(BatchRefused, match="has ended already"):
        closing.stop(app, "echo#run-1")
    with pytest.raises(NotFound, match="no batch"):
        closing.stop(app, "echo#none")


def start_execution(app: App, definition: dict[str, Any]) -> str:
    app.stepfunctions.create_state_machine(name="batches", definition=json.dumps(definition), roleArn=role(app))
    started = app.stepfunctions.start_execution(stateMachineArn=MACHINE, name="run-1", input="{}")
    arn: str = started["executionArn"]
    return arn


def test_refreshed(app: App) -> None:
    arn = start_execution(app, {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    assert arn == execution_arn("run-1")
    prepared(app, rows_csv(3))
    record = app.records.get("echo#run-1")
    assert closing.refreshed(app, record).status == "RUNNING"
    app.stepfunctions.stop_execution(executionArn=arn)
    closed = closing.refreshed(app, record)
    assert (closed.status, closed.counts["NOT_RUN"]) == ("FAILED", 3)
    assert closing.refreshed(app, closed) is closed


# --- progress --------------------------------------------------------------------------------------------------------


def test_progress_of_a_batch_that_has_just_begun(app: App) -> None:
    prepared(app, rows_csv(3))
    known = batch_progress.progress(app, app.records.get("echo#run-1"))
    assert (known["rows_done"], known["rate_per_s"], known["eta_s"], known["counts_exact"]) == (0, None, None, False)
    app.records.update("echo#run-1", status="PREPARING", row_count=None, rows_to_run=None)
    assert batch_progress.progress(app, app.records.get("echo#run-1"))["eta_s"] is None


def test_progress_of_a_running_batch(app: App) -> None:
    batch = prepared(app, rows_csv(40), execution_config={"max_concurrency": 5, "limit": 30})
    run_rows(app, batch, chunks=1)
    begun = now_iso(datetime.now(UTC) - timedelta(seconds=10))
    record = app.records.get("echo#run-1")
    app.records.update("echo#run-1", started_at=begun, runs=[{**record.runs[0], "started_at": begun}])
    record = app.records.get("echo#run-1")
    done = int(manifest(app, batch)[0]["rows"])
    known = batch_progress.progress(app, record)
    assert known["rows_done"] == known["counts"]["SUCCESS"] == done
    assert known["rate_per_s"] == pytest.approx(done / 10, rel=0.1)
    assert known["eta_s"] == pytest.approx((30 - done) / known["rate_per_s"], abs=1)
    closing.stop(app, "echo#run-1")
    run_rows(app, batch)  # the first chunk again: what it counted first stays
    known = batch_progress.progress(app, record)
    assert (known["rows_done"], known["eta_s"], known["counts"]["NOT_RUN"]) == (done, 0, 30 - done)


def test_progress_and_result_of_a_refused_batch(app: App) -> None:
    with pytest.raises(BatchRefused):
        prepared(app, "a,a\n1,2\n")
    record = app.records.get("echo#run-1")
    known = batch_progress.progress(app, record)
    assert (known["rows_done"], known["counts_exact"], known["eta_s"]) == (0, True, None)
    assert list(batch_progress.result_of(record)) == KEYS


def test_a_running_batch_has_no_result(app: App) -> None:
    prepared(app, rows_csv(1))
    with pytest.raises(batch_progress.BatchRunning):
        batch_progress.result_of(app.records.get("echo#run-1"))
