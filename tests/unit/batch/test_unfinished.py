"""Chunks without a record are run again, in parts that a STANDARD execution can hold, but for rows with a result."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from made import chunk_event, finished, make_tool, manifest, prepared, row_event, rows_csv

from service.cost.workload import chunk_rows
from service.errors import ChunkUnfinished
from service.source.csv_rows import Chunk, RowRange
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from service.app import App

QUICK = {"timeout_seconds": 3, "max_concurrency": 5}


@pytest.fixture
def batch(app: App) -> dict[str, Any]:
    make_tool(app, idempotent=True)
    return prepared(app, rows_csv(250), execution_config=QUICK)


def run(app: App, batch: dict[str, Any], chunk: dict[str, Any], but: int = 0) -> dict[str, Any]:
    """The rows of a chunk, but for the last few, in an execution of the kind that the batch says."""
    given = {**chunk_event(batch, chunk), "children": batch["children"], "again": batch["again"]}
    answer = transform_chunk(app, given)
    assert bool(answer["until"]) == (batch["children"] == "EXPRESS")
    results = []
    for row in answer["rows"][: len(answer["rows"]) - but]:
        number = int(row["row_id"][4:])
        results.append(write_output(app, row_event(batch, number, output={"x": number})))
    if not but:
        finish_chunk(app, {**finished(answer, results), "until": answer["until"]})
    return answer  # type: ignore[return-value]


def test_rows_without_a_result_are_run_again(app: App, batch: dict[str, Any]) -> None:
    first, *others = manifest(app, batch)
    assert [chunk["rows"] for chunk in (first, *others)] == [100, 50, 100]
    run(app, batch, first, but=30)
    for chunk in others:
        run(app, batch, chunk)

    again = prepare(app, {"unfinished": batch})
    assert (again["children"], again["again"], again["rows_to_run"]) == ("STANDARD", True, 100)
    parts = manifest(app, again)
    most = chunk_rows(3)
    assert max(part["rows"] for part in parts) == most
    assert sum(part["rows"] for part in parts) == 100
    assert {part["chunk"] for part in parts}.isdisjoint({chunk["chunk"] for chunk in (first, *others)})
    called = [row["row_id"] for part in parts for row in run(app, again, part)["rows"]]
    assert called == [f"row_{number:010d}" for number in range(71, 101)], "the others have a result of this run"
    assert app.records.chunk_counts(batch["batch_id"], 1) == {"SUCCESS": 250}
    assert app.records.get(batch["batch_id"]).chunks["run_again"] == 1
    result = aggregate_results.aggregate(app, {"batch": again}, lambda: 900_000)
    assert (result["status"], result["counts"]["SUCCESS"]) == ("SUCCEEDED", 250)


def test_a_run_that_is_finished_leaves_nothing(app: App, batch: dict[str, Any]) -> None:
    for chunk in manifest(app, batch):
        run(app, batch, chunk)
    assert prepare(app, {"unfinished": batch})["rows_to_run"] == 0


def test_rows_that_neither_pass_stores_are_missing_or_were_not_run(app: App, batch: dict[str, Any]) -> None:
    """What became of a row is what became of it at last: those of a part that was skipped were not run."""
    for chunk in manifest(app, batch)[1:]:
        run(app, batch, chunk)
    again = prepare(app, {"unfinished": batch})
    lost, *skipped = manifest(app, again)
    app.records.stop(batch["batch_id"], "by hand")
    for part in skipped:
        run(app, again, part)
    counts = aggregate_results.aggregate(app, {"batch": again}, lambda: 900_000)["counts"]
    assert (counts["MISSING"], counts["NOT_RUN"]) == (lost["rows"], 100 - lost["rows"])


@pytest.mark.parametrize("status", ["UNFINISHED", "MISSING"])
def test_an_express_chunk_with_rows_left_has_no_record(app: App, batch: dict[str, Any], status: str) -> None:
    chunk = manifest(app, batch)[0]
    results = [{"row_id": "row_0000000001", "status": "SUCCESS"}, {"row_id": "row_0000000002", "status": status}]
    event = {**finished(chunk_event(batch, chunk), results), "stored": {}, "until": 9e9}
    event["chunk"] = {"number": chunk["chunk"], "first_row": 1, "rows": 2}
    with pytest.raises(ChunkUnfinished, match="1 rows are left to a STANDARD execution"):
        finish_chunk(app, event)
    assert list(app.records.chunks(batch["batch_id"])) == []


def test_a_row_is_left_to_a_standard_execution_where_the_time_will_not_do(
    app: App, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.steps.write_result.wait_seconds", lambda *_: 10)
    monkeypatch.setattr("service.steps.write_result.time", SimpleNamespace(time=lambda: 1_000.0))
    said = {
        until: handle_failure(
            app,
            row_event(
                batch,
                call={"attempt": 1, "name": "n"},
                failure={"Error": "Boom", "Cause": "no"},
                **({} if until is None else {"until": until}),
            ),
        )
        for until in (None, 0, 1_012, 1_013)  # ten seconds of waiting, and three of the call
    }
    assert [each["action"] for each in said.values()] == ["retry", "retry", "done", "retry"]
    assert said[1_012]["status"] == "UNFINISHED"


def test_parts_of_a_chunk() -> None:
    ranges = (RowRange(3, 4, 0, 40, 4), RowRange(20, 3, 90, 120, 21))
    assert Chunk(7, ranges).spans == [(3, 7), (20, 23)]
    for part, spans in (((0, 2), [(3, 5)]), ((3, 6), [(6, 7), (20, 22)]), ((4, 7), [(20, 23)])):
        chunk = Chunk(7, ranges, 2, part)
        assert chunk.spans == spans
        assert (chunk.rows, chunk.first_row) == (part[1] - part[0], spans[0][0])
        assert Chunk.from_json(chunk.to_json()) == chunk
