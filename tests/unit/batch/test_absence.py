"""A row that has no result although it should: why is said wherever the row is shown, and it counts as a failure."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from made import chunk_event, event_of, finished, make_tool, manifest, prepared, put_source, row_event, rows_csv

from service.errors import SourceChanged
from service.models import row_id
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, lose_chunk, write_output

if TYPE_CHECKING:
    from service.app import App

BATCH = "echo#run-1"
ROWS = 40
MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}


@pytest.fixture(autouse=True)
def tool(app: App) -> str:
    return make_tool(app)


def numbers(chunk: dict[str, Any]) -> list[int]:
    return [n for first, count, *_ in chunk["ranges"] for n in range(first, first + count)]


def succeed(app: App, batch: dict[str, Any], chunk: dict[str, Any]) -> None:
    answer = transform_chunk(app, chunk_event(batch, chunk))
    fates = [write_output(app, row_event(batch, number, output={"x": number})) for number in numbers(chunk)]
    finish_chunk(app, finished(answer, fates))


# How rows get lost: each does the chunk's part of the machine, and names the rows that it loses and why.
def source_changed(app: App, batch: dict[str, Any], chunk: dict[str, Any]) -> tuple[list[int], str, str]:
    """TransformInput finds another object, and the chunk's Catch tells why."""
    key = app.records.get(batch["batch_id"]).source["key"]
    before = app.s3.get_object(Bucket=app.settings.data_bucket, Key=key)["Body"].read()
    put_source(app, "id,text\n9,replaced\n", key)
    with pytest.raises(SourceChanged) as raised:
        transform_chunk(app, chunk_event(batch, chunk))
    cause = json.dumps({"errorMessage": str(raised.value), "errorType": "SourceChanged"})
    lose_chunk(app, {**chunk_event(batch, chunk), "lost": {"Error": "SourceChanged", "Cause": cause}})
    put_source(app, before, key)
    return numbers(chunk), "SourceChanged", str(raised.value)


def function_lost(app: App, batch: dict[str, Any], chunk: dict[str, Any]) -> tuple[list[int], str, str]:
    """TransformInput's function ends without an answer."""
    cause = json.dumps({"errorType": "Runtime.OutOfMemory", "errorMessage": "signal: killed"})
    lose_chunk(app, {**chunk_event(batch, chunk), "lost": {"Error": "Runtime.OutOfMemory", "Cause": cause}})
    return numbers(chunk), "Runtime.OutOfMemory", "signal: killed"


def not_stored(app: App, batch: dict[str, Any], chunk: dict[str, Any]) -> tuple[list[int], str, str]:
    """All rows ran; the results of two could not be stored, of which the iteration tells no more than the error."""
    answer = transform_chunk(app, chunk_event(batch, chunk))
    lost = numbers(chunk)[1:3]
    results: list[dict[str, Any]] = [
        {"row_id": None, "status": "MISSING", "error": "ClientError"}
        if number in lost
        else dict(write_output(app, row_event(batch, number, output={"x": number})))
        for number in numbers(chunk)
    ]
    row_ids = [row_id(number) for number in numbers(chunk)]
    finish_chunk(app, {**answer, "row_ids": row_ids, "results": results})
    return lost, "ClientError", "the row ran, and its result could not be stored"


def cut_off(_app: App, _batch: dict[str, Any], chunk: dict[str, Any]) -> tuple[list[int], str, str]:
    """The chunk's execution ends without a word: nothing says why."""
    return numbers(chunk), "MISSING", "no result, though it should have one: its chunk's execution was cut off"


LOSSES = [source_changed, function_lost, not_stored, cut_off]
TOLD = LOSSES[:-1]  # of these there is a chunk's record, which is what a stopping rule counts


def run(app: App, loss: Any, **given: Any) -> tuple[dict[str, Any], list[int], str, str]:
    """A batch of several chunks, of which one loses rows."""
    config = {"max_concurrency": 5, **given.pop("execution_config", {})}
    batch = prepared(app, rows_csv(ROWS), output_mapping=MAPPING, execution_config=config, **given)
    first, *others = sorted(manifest(app, batch), key=lambda chunk: int(chunk["chunk"]))
    assert others
    assert len(numbers(first)) > 2
    for chunk in others:
        succeed(app, batch, chunk)
    return batch, *loss(app, batch, first)


def aggregated(app: App, batch: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    result = aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)
    key = app.records.get(BATCH).output_key
    return result, app.s3.get_object(Bucket=app.settings.data_bucket, Key=key)["Body"].read()


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_why_a_row_is_missing_is_said_in_its_line(app: App, loss: Any, form: str) -> None:
    batch, lost, kind, message = run(app, loss, csv={"format": form})
    result, made = aggregated(app, batch)
    said: list[Any]
    want: Any = f"{kind}: {message}"
    if form == "csv":
        said = [
            (line["_row_id"], line["_status"], line["_error"]) for line in csv.DictReader(io.StringIO(made.decode()))
        ]
        none: Any = ""
    elif form == "jsonl":
        want, none = {"type": kind, "message": message}, None
        said = [(one["row_id"], one["status"], one["error"]) for one in map(json.loads, made.splitlines())]
    else:
        none = None
        said = [(one["_row_id"], one["_status"], one["_error"]) for one in pq.read_table(io.BytesIO(made)).to_pylist()]
    assert said == [
        (row_id(number), *(("MISSING", want) if number in lost else ("SUCCESS", none))) for number in range(1, ROWS + 1)
    ]
    assert (result["counts"]["MISSING"], result["counts"]["SUCCESS"]) == (len(lost), ROWS - len(lost))


@pytest.mark.parametrize("loss", LOSSES)
def test_missing_rows_are_a_group_of_the_errors(app: App, loss: Any) -> None:
    batch, lost, kind, message = run(app, loss)
    (group,) = aggregated(app, batch)[0]["errors"]
    assert (group["status"], group["error"], group["count"]) == ("MISSING", kind, len(lost))
    assert group["row_ids"] == [row_id(number) for number in lost][:5]
    # digits that differ are one cause; the message is that of the first row
    assert group["message"] == message


@pytest.mark.parametrize("loss", LOSSES)
def test_a_rerun_runs_the_missing_rows(app: App, loss: Any) -> None:
    batch, lost, *_ = run(app, loss)
    aggregated(app, batch)
    second = prepare(app, event_of({"rerun_of": BATCH}, "again-1"))
    chunks = manifest(app, second)
    assert sorted(number for chunk in chunks for number in numbers(chunk)) == lost
    for chunk in chunks:
        succeed(app, second, chunk)
    result, _ = aggregated(app, second)
    assert (result["status"], result["counts"]["SUCCESS"], result["errors"]) == ("SUCCEEDED", ROWS, [])


@pytest.mark.parametrize("loss", TOLD)
@pytest.mark.parametrize("spare", [0, 1])
def test_missing_rows_count_for_max_failures(app: App, loss: Any, spare: int) -> None:
    """One more than is allowed stops the batch; a chunk that is told of twice counts once."""
    lost = len(run(app, loss, name="first", execution_config={"max_failures": ROWS})[1])
    name = f"limited-{spare}"
    rules = {"max_failures": lost - 1 + spare}
    batch, *_ = run(app, two_times(loss) if spare else loss, name=name, execution_config=rules)
    record = app.records.get(batch["batch_id"])
    assert (record.stop_reason, app.plans.stopped(record.batch_id)) == (
        (None, False) if spare else ("max_failures", True)
    )


def two_times(loss: Any) -> Any:
    """A retried function: the same chunk is told of once more."""

    def lose(app: App, batch: dict[str, Any], chunk: dict[str, Any]) -> Any:
        loss(app, batch, chunk)
        return loss(app, batch, chunk)

    return lose


@pytest.mark.parametrize("loss", TOLD)
def test_missing_rows_count_for_a_share_of_failures(app: App, loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.batch.stopping.ENOUGH_ROWS", ROWS)
    lost = len(run(app, loss, name="first", execution_config={"max_failure_rate": 0.99})[1])
    for name, rate in (("below", lost / ROWS - 0.001), ("just", lost / ROWS)):
        batch, *_ = run(app, loss, name=name, execution_config={"max_failure_rate": rate})
        reason = app.records.get(batch["batch_id"]).stop_reason
        assert reason == ("max_failure_rate" if name == "below" else None)
