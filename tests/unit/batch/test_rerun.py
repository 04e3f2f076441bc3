"""Reruns before anything is run: which rows, what is refused, what the record and the manifest say."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made import event_of, execution_arn, make_tool, prepared, put_source, rows_csv

from service.batch import closing, rerun
from service.batch import progress as batch_progress
from service.batch.progress import BatchExpired, BatchRunning
from service.batch.selection import Wanted, read_wanted, select
from service.errors import BatchRefused, NotFound
from service.mapping.input_plan import InputPlan
from service.models import Result, RowStatus, row_id
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare

if TYPE_CHECKING:
    from service.app import App
    from service.record import BatchRecord

STATUSES = ["SUCCESS", "FAILED", "TIMEOUT", "EXTRACTION_FAILED", None]  # None: no result
NAMES = itertools.count()
SLOW = hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def tool(app: App) -> str:
    return make_tool(app)


def ended(app: App, fates: list[str | None], name: str = "run-1", **given: Any) -> BatchRecord:
    """A batch whose rows have these fates, closed by its aggregator."""
    batch = prepared(app, rows_csv(len(fates)), name=name, **given)
    record = app.records.get(batch["batch_id"])
    for number, status in enumerate(fates, 1):
        if status is not None:
            row = {"id": str(number), "text": f"text {number}"}
            error = None if status == "SUCCESS" else {"type": "E", "message": "m"}
            ttl = int(record.expires_at)
            app.store.put(Result(record.batch_id, row_id(number), status, row, {"x": 1}, error=error, ttl=ttl))
    aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000)
    return app.records.get(record.batch_id)


def again(app: App, record: BatchRecord, name: str = "again-1", **given: Any) -> dict[str, Any]:
    order = {"rerun_of": record.batch_id, **given}
    return prepare(app, event_of(order, name))


def manifest(app: App, batch: dict[str, Any]) -> list[dict[str, Any]]:
    body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=batch["manifest_key"])["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def rows_of(chunks: list[dict[str, Any]]) -> list[int]:
    return sorted(n for chunk in chunks for first, count, *_ in chunk["ranges"] for n in range(first, first + count))


@SLOW
@given(st.lists(st.sampled_from(STATUSES), min_size=1, max_size=25), st.data())
def test_the_rows_that_did_not_succeed_are_dealt_once_each(
    app: App, fates: list[str | None], data: st.DataObject
) -> None:
    if not app.registry.find("echo"):
        make_tool(app)
    number = next(NAMES)
    record = ended(app, fates, f"drawn-{number}")
    statuses = data.draw(st.sets(st.sampled_from(["FAILED", "TIMEOUT", "MISSING"])))
    wanted = Wanted(frozenset(statuses) or None)
    due = [n for n, fate in enumerate(fates, 1) if fate != "SUCCESS" and wanted.has(n, fate or "MISSING")]
    chosen = select(app, record, wanted)
    assert sorted(n for numbers in chosen.rows.values() for n in numbers) == due
    assert chosen.counts.total() == len(fates)
    order = {"batch_id": record.batch_id, "status": sorted(statuses) or None}
    batch = again(app, record, f"drawn-again-{number}", rerun_of=order)
    chunks = manifest(app, batch)
    assert rows_of(chunks) == due
    assert (batch["rows_to_run"], batch["row_count"], batch["run"]) == (len(due), len(fates), 2)
    for chunk in chunks:
        before = {fates[n - 1] is not None for n in rows_of([chunk])}
        assert before == {chunk.get("attempts", 1) == 2}
    kept = app.records.get(record.batch_id).kept_counts
    assert sum(kept.values()) + len(due) == len(fates)


def test_few_failures_of_many_rows_are_found_without_reading_the_others(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, [*["SUCCESS"] * 40, "FAILED", "SUCCESS", "TIMEOUT"])
    queries: list[dict[str, Any]] = []
    app.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: queries.append(params)
    )
    chosen = select(app, record, Wanted())
    assert {status: list(rows) for status, rows in chosen.rows.items()} == {1: [41, 43]}
    assert [query.get("IndexName") for query in queries] == ["status-index"]


def test_an_index_that_lags_behind_is_not_believed(app: App, tool: str, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS", "FAILED"])
    monkeypatch.setattr(app.store, "failed", lambda _: iter([(row_id(1), "FAILED", 1)]))
    chosen = select(app, record, Wanted())
    assert sorted(chosen.rows[1]) == [1, 3]


def test_the_rows_of_a_rerun_are_those_of_the_source(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED" if n % 7 == 3 else "SUCCESS" for n in range(60)])
    batch = again(app, record)
    from service.steps.transform_input import transform_chunk  # noqa: PLC0415

    found: dict[str, str] = {}
    for chunk in manifest(app, batch):
        event = {"batch_id": record.batch_id, "run": 2, "plan": batch["plan"], "chunk": chunk}
        answer = transform_chunk(app, event)
        assert answer["attempts"] == 2
        found |= {row["row_id"]: row["row"][1] for row in answer["rows"]}
    assert found == {row_id(n + 1): f"text {n + 1}" for n in range(60) if n % 7 == 3}


def test_the_record_of_a_rerun(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    batch = again(app, record)
    now = app.records.get(record.batch_id)
    assert (now.status, int(now.run), now.execution_arn) == ("RUNNING", 2, execution_arn("again-1"))
    assert (now.ended_at, now.stop, now.stop_reason) == (None, False, None)
    assert [run["run"] for run in now.runs] == [1, 2]
    assert now.runs[0]["status"] == "PARTIAL"
    assert now.runs[1]["manifest_key"] == batch["manifest_key"]
    assert now.kept_counts["SUCCESS"] == 1
    known = batch_progress.progress(app, now)
    assert (known["rows_done"], known["counts"]["SUCCESS"], known["counts"]["FAILED"]) == (1, 1, 0)


def test_a_function_that_is_retried_prepares_the_same_run(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    assert again(app, record) == again(app, record)
    assert [run["run"] for run in app.records.get(record.batch_id).runs] == [1, 2]


def test_a_rerun_beside_another_is_refused(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    again(app, record)
    with pytest.raises(BatchRunning, match="is RUNNING"):
        again(app, record, "again-2")
    stale = rerun.CheckedRerun(record, *[None] * 7)  # type: ignore[arg-type]
    stale.selection = select(app, record, Wanted())
    with pytest.raises(BatchRunning, match="just now"):
        rerun._claim(app, stale, event_of({}, "again-3"))
    assert app.records.get(record.batch_id).execution_arn == execution_arn("again-1")


def test_another_mapping_has_another_plan(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    batch = again(
        app,
        record,
        input_mapping={"text": "said"},
        output_mapping={"extraction_methods": [{"method": "direct", "paths": {"new": "x"}}]},
        execution_config={"timeout_seconds": 5},
    )
    assert batch["plan"] != record.plan_hash
    plan = app.plans.load(record.batch_id, batch["plan"])
    assert (plan.input_mapping, plan.timeout_seconds) == ({"text": "said"}, 5)
    assert plan.ttl == app.plans.load(record.batch_id, record.plan_hash).ttl
    assert app.records.get(record.batch_id).plan_hash == batch["plan"]


def test_fields_keep_the_order_of_the_mapping(app: App, tool: str) -> None:  # noqa: ARG001
    mapping = {"text": "question", "id": "a number"}
    fields = {"total": "z", "answer": "a"}
    methods = {"extraction_methods": [{"method": "direct", "field_mappings": fields}]}
    record = ended(app, ["FAILED", "SUCCESS"], input_mapping=mapping, output_mapping=methods)
    first = app.plans.load(record.batch_id, record.plan_hash)
    again(app, record)
    second = app.plans.load(record.batch_id, app.records.get(record.batch_id).plan_hash)
    for plan in (first, second):
        given = InputPlan.of_json(plan.input_plan).fields({"id": "1", "text": "t"})
        assert list(given) == ["question", "a number"]
        assert plan.output_plan["columns"] == ["total", "answer"]


def test_another_format_goes_under_a_name_of_its_own(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    again(app, record, csv={"format": "jsonl"})
    now = app.records.get(record.batch_id)
    assert (now.csv["format"], now.output_key) == ("jsonl", record.output_key.replace(".csv", ".jsonl"))
    assert {**now.csv, "format": "csv"} == record.csv


@pytest.mark.parametrize(
    ("order", "words"),
    [
        ({"csv_s3_uri": "s3://other/in.csv"}, "csv_s3_uri: belongs to the batch"),
        ({"target": "other"}, "target: belongs to the batch"),
        ({"source": {"delimiter": ";"}}, "source: belongs to the batch"),
        ({"input_mapping": {"column_mappings": {"txt": "text"}}}, "'text'"),
        ({"execution_config": {"limits": 1}}, "did you mean 'limit'"),
        ({"execution_config": {"sample": 1}}, "is for a first run"),
        ({"output_bucket": "elsewhere"}, "output_bucket"),
        ({"output_key": "results/x.parquet.gz", "csv": {"format": "parquet"}}, "parquet"),
        ({"rerun_of": {"batch_id": "echo#run-1", "rows": "0"}}, "'0' is no row number"),
        ({"rerun_of": {"batch_id": "echo#run-1", "status": ["FALIED"]}}, "FAILED"),
        ({"rerun_of": {"batch_id": "echo#run-1", "statuses": ["FAILED"]}}, "unknown key"),
    ],
)
def test_what_cannot_be_is_refused_and_changes_nothing(app: App, tool: str, order: dict[str, Any], words: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    with pytest.raises(BatchRefused, match=words.replace("(", r"\(")):
        again(app, record, **order)
    assert app.records.get(record.batch_id) == record


def test_the_same_source_and_target_may_be_named(app: App, tool: str) -> None:
    record = ended(app, ["FAILED", "SUCCESS"])
    batch = again(app, record, csv_s3_uri=record.source["uri"], target={"arn": tool}, source={"encoding": None})
    assert batch["rows_to_run"] == 1


def test_a_batch_that_is_not_there_is_named(app: App, tool: str) -> None:  # noqa: ARG001
    with pytest.raises(NotFound, match="echo#none"):
        prepare(app, event_of({"rerun_of": "echo#none"}, "again-1"))


@pytest.mark.parametrize("left", [-1, 60])
def test_an_expired_batch_is_refused(app: App, tool: str, left: int) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    app.records.update(record.batch_id, expires_at=int(time.time()) + left)
    with pytest.raises(BatchExpired):
        again(app, record)


@pytest.mark.parametrize("how", ["replaced", "deleted", "list of rows deleted"])
def test_a_source_that_is_not_the_same_is_refused(app: App, tool: str, how: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    bucket = app.settings.data_bucket
    if how == "replaced":
        app.s3.put_object(Bucket=bucket, Key=record.source["key"], Body=b"id,text\n9,other\n")
    else:
        app.s3.delete_object(Bucket=bucket, Key=record.source["key"] if how == "deleted" else record.chunks_key)
    with pytest.raises(BatchRefused, match=r"stored_input|start a new batch"):
        again(app, record)
    assert app.records.get(record.batch_id).status == "PARTIAL"


def test_rows_as_they_are_stored(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS", "TIMEOUT", "FAILED"])
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=record.source["key"])
    order = {"batch_id": record.batch_id, "stored_input": True}
    batch = again(app, record, rerun_of=order)
    from service.steps.transform_input import transform_chunk  # noqa: PLC0415

    event = {"batch_id": record.batch_id, "run": 2, "plan": batch["plan"]}
    rows = [row for chunk in manifest(app, batch) for row in transform_chunk(app, {**event, "chunk": chunk})["rows"]]
    assert {row["row_id"]: row["row"][1] for row in rows} == {row_id(n): f"text {n}" for n in (1, 3, 4)}


@pytest.mark.parametrize("status", [None, "INVALID_INPUT"])
def test_rows_that_are_not_stored_whole_are_not_made_up(app: App, tool: str, status: str | None) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", status, "SUCCESS"])
    with pytest.raises(BatchRefused, match="not stored"):
        again(app, record, rerun_of={"batch_id": record.batch_id, "stored_input": True})
    named = {"batch_id": record.batch_id, "stored_input": True, "status": "FAILED"}
    assert again(app, record, rerun_of=named)["rows_to_run"] == 1


def test_the_end_of_an_aborted_rerun(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS", "FAILED"])
    again(app, record)
    detail = {
        "name": "again-1",
        "status": "ABORTED",
        "executionArn": execution_arn("again-1"),
        "input": json.dumps({"rerun_of": {"batch_id": record.batch_id}}),
    }
    assert closing.close_ended(app, {"detail": detail}) == {"batch_id": record.batch_id, "closed": True}
    now = app.records.get(record.batch_id)
    assert (now.status, now.stop_reason, now.counts_exact) == ("INCOMPLETE", "aborted", False)
    third = again(app, now, "again-2")
    assert (third["run"], third["rows_to_run"]) == (3, 2)
    assert {chunk["attempts"] for chunk in manifest(app, third)} == {2}


def test_what_is_asked_for() -> None:
    wanted = read_wanted("FAILED", "7, 12-14")
    asked = [(n, s) for n in range(20) for s in ("FAILED", "TIMEOUT") if wanted.has(n, s)]
    assert asked == [(7, "FAILED"), (12, "FAILED"), (13, "FAILED"), (14, "FAILED")]
    assert read_wanted(None, None) == Wanted(None, None)
    for status, rows in ((5, None), (["SUCCESS"], None), (None, "5-3"), (None, ""), (None, "1,,2")):
        with pytest.raises(BatchRefused):
            read_wanted(status, rows)


def test_how_many_of_those_asked_for_succeeded_already(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS", "SUCCESS", RowStatus.TIMEOUT])
    assert select(app, record, read_wanted(None, "1-3, 2-9")).succeeded == 2
    app.records.update(record.batch_id, counts_exact=False)  # all keys are read
    assert select(app, app.records.get(record.batch_id), read_wanted(None, "1-3, 2-9")).succeeded == 2


@pytest.mark.parametrize("exact", [True, False])
def test_a_limit_takes_the_first_rows(app: App, tool: str, *, exact: bool) -> None:  # noqa: ARG001
    record = ended(app, ["SUCCESS", "FAILED", "TIMEOUT", "FAILED", "SUCCESS"])
    app.records.update(record.batch_id, counts_exact=exact)
    batch = again(app, record, execution_config={"limit": 2})
    assert rows_of(manifest(app, batch)) == [2, 3]


def test_a_preview_says_that_the_source_was_replaced(app: App, tool: str) -> None:  # noqa: ARG001
    record = ended(app, ["FAILED", "SUCCESS"])
    assert rerun.preview(app, record, {})[1].count == 1
    put_source(app, "id,text\n9,other\n", record.source["key"])
    with pytest.raises(BatchRefused, match="was replaced after the batch was prepared"):
        rerun.preview(app, record, {})
    assert rerun.preview(app, record, {"stored_input": True})[1].count == 1
    app.s3.delete_object(Bucket=record.source["bucket"], Key=record.source["key"])
    assert rerun.preview(app, record, {})[1].count == 1, "what may not be looked at is left to the run"
