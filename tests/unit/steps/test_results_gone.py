"""Results that expired or were deleted: the CSV that was made of them stays, and what to do is said."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from made import chunk_event, event_of, finished, make_tool, manifest, prepared, row_event, rows_csv, stored

from service.batch import closing
from service.batch.progress import BatchExpired
from service.console import remap
from service.models import OPEN, row_id
from service.steps import aggregate_results
from service.steps.aggregate_results import ResultsGone
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App

BATCH = "echo#run-1"
MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
OTHER = {"extraction_methods": [{"method": "direct", "paths": {"y": "x"}}]}


@pytest.fixture(autouse=True)
def tool(app: App) -> str:
    return make_tool(app)


def run(app: App, batch: dict[str, Any], failing: tuple[int, ...] = ()) -> list[int]:
    """What the Map does; the numbers of the rows that ran."""
    ran = []
    for chunk in manifest(app, batch):
        answer = transform_chunk(app, chunk_event(batch, chunk))
        results = []
        for row in answer["rows"]:
            number = int(row["row_id"][4:])
            ran.append(number)
            if number in failing:
                call = {"attempt": 3, "name": "n"}
                failure = {"Error": "Boom", "Cause": "no"}
                done = handle_failure(app, row_event(batch, number, call=call, failure=failure))
            else:
                done = write_output(app, row_event(batch, number, output={"x": number}))
            results.append({"row_id": row["row_id"], "status": done["status"]})
        finish_chunk(app, finished(answer, results))
    return ran


def own(app: App, batch: dict[str, Any]) -> dict[str, Any]:
    return aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)


def plain(app: App) -> dict[str, Any]:
    return aggregate_results.aggregate(app, {"batch_id": BATCH}, lambda: 900_000)


def ended(app: App) -> bytes:
    """A batch of six rows, the second of which failed; its CSV."""
    batch = prepared(app, rows_csv(6), output_mapping=MAPPING)
    run(app, batch, (2,))
    own(app, batch)
    return csv_of(app)


def csv_of(app: App) -> bytes:
    key = app.records.get(BATCH).output_key
    found: bytes = app.s3.get_object(Bucket=app.settings.data_bucket, Key=key)["Body"].read()
    return found


def again(app: App, name: str, **order: Any) -> dict[str, Any]:
    return prepare(app, event_of({"rerun_of": {"batch_id": BATCH, **order}}, name))


def deleted(app: App, *rows: int) -> None:
    for row in rows:
        key = {"batch_id": {"S": BATCH}, "row_id": {"S": row_id(row)}}
        app.dynamodb.delete_item(TableName=app.settings.results_table, Key=key)


def expired(app: App, *rows: int) -> None:
    """Past their time; DynamoDB deletes them within days, so they are there still."""
    for row in rows:
        item = stored(app, BATCH, row)
        past = {"N": str(int(time.time()) - 60)}
        app.dynamodb.put_item(TableName=app.settings.results_table, Item={**item, "ttl": past})


GONE: list[Callable[..., None]] = [deleted, expired]
SAYS = (
    r"2 results of batch echo#run-1 that were there are gone, .* its last CSV is kept: s3://\S+\n"
    r"to run those rows again: batch-processor rerun 'echo#run-1' --status MISSING"
)


@pytest.mark.parametrize("gone", GONE)
def test_an_aggregation_keeps_the_good_csv(app: App, gone: Callable[..., None]) -> None:
    good, before = ended(app), app.records.get(BATCH)
    gone(app, 3, 5)
    with pytest.raises(ResultsGone, match=SAYS):
        plain(app)
    assert csv_of(app) == good
    assert app.records.get(BATCH) == before
    assert not app.s3.list_multipart_uploads(Bucket=app.settings.data_bucket).get("Uploads")


@pytest.mark.parametrize("gone", GONE)
def test_a_remap_keeps_the_good_csv(app: App, gone: Callable[..., None]) -> None:
    good = ended(app)
    gone(app, 3, 5)
    order = remap.check(app, app.records.get(BATCH), {"output_mapping": OTHER})
    tally = remap.remap(app, order, lambda _: None)
    assert sum(tally.counts.values()) == 4
    with pytest.raises(ResultsGone, match=SAYS):
        plain(app)
    assert csv_of(app) == good


@pytest.mark.parametrize("gone", GONE)
def test_a_rerun_keeps_the_good_csv_and_the_rows_that_are_gone_can_be_run_again(
    app: App, gone: Callable[..., None]
) -> None:
    good = ended(app)
    batch = again(app, "again-1")
    assert run(app, batch) == [2]
    gone(app, 3, 5)
    with pytest.raises(ResultsGone, match=SAYS):
        own(app, batch)
    record = app.records.get(BATCH)
    assert (csv_of(app), record.status) == (good, "AGGREGATING")
    assert closing.close_record(app, record, "FAILED", "ResultsGone")
    with pytest.raises(ResultsGone, match=SAYS):  # it keeps it, too, when counts are of the chunks alone
        plain(app)
    batch = again(app, "again-2", status="MISSING")
    assert sorted(run(app, batch)) == [3, 5]
    result = own(app, batch)
    assert (result["status"], result["counts"]["SUCCESS"]) == ("SUCCEEDED", 6)


def test_a_result_that_is_gone_is_not_made_up_for_by_one_that_is_new(app: App) -> None:
    batch = prepared(app, rows_csv(6), output_mapping=MAPPING, execution_config={"limit": 4})
    run(app, batch)
    own(app, batch)
    good = csv_of(app)
    batch = again(app, "again-1")
    assert run(app, batch) == [5, 6]
    deleted(app, 3)
    with pytest.raises(ResultsGone, match="1 results of batch"):
        own(app, batch)
    assert csv_of(app) == good


def test_of_a_batch_without_a_csv_one_is_made_of_what_is_there(app: App) -> None:
    batch = prepared(app, rows_csv(6), output_mapping=MAPPING)
    run(app, batch)
    deleted(app, 3)
    assert closing.close_record(app, app.records.get(BATCH), "ABORTED", None)
    result = plain(app)
    assert (result["counts"]["SUCCESS"], result["counts"]["MISSING"]) == (5, 1)


@pytest.mark.parametrize("gone", GONE)
def test_rows_that_are_gone_can_be_run_again_at_once(app: App, gone: Callable[..., None]) -> None:
    """The record still counts them as there: who asks for MISSING rows has all keys read."""
    ended(app)
    gone(app, 3, 5)
    batch = again(app, "again-1", status="MISSING")
    assert sorted(run(app, batch)) == [3, 5]
    result = own(app, batch)
    assert (result["counts"]["SUCCESS"], result["counts"]["FAILED"], result["counts"]["MISSING"]) == (5, 1, 0)
    assert plain(app)["counts"] == result["counts"]


def test_a_batch_that_expires_while_it_runs_again(app: App) -> None:
    good = ended(app)
    batch = again(app, "again-1")
    run(app, batch)
    app.records.update(BATCH, expires_at=int(time.time()) - 1)
    with pytest.raises(BatchExpired, match=r"have expired; its last CSV: s3://"):
        own(app, batch)
    assert csv_of(app) == good
    assert closing.close_record(app, app.records.get(BATCH), "FAILED", "BatchExpired")
    assert app.records.get(BATCH).status not in OPEN


def test_a_batch_that_expires_while_its_csv_is_made(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a first run too, whose rows nothing has counted."""
    batch = prepared(app, rows_csv(6), output_mapping=MAPPING)
    run(app, batch)
    late = int(app.records.get(BATCH).expires_at) + 1
    past = SimpleNamespace(time=lambda: late)
    reading = app.reader.pages

    def pages(*given: Any, **options: Any) -> Any:
        monkeypatch.setattr("service.store.page_reader.time", past)
        monkeypatch.setattr("service.batch.progress.time", past)
        return reading(*given, **options)

    monkeypatch.setattr(app.reader, "pages", pages)
    with pytest.raises(BatchExpired, match="have expired; its last CSV: none was made"):
        own(app, batch)
    assert "Contents" not in app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix="results/")
