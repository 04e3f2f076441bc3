"""Results past their time, which DynamoDB deletes within days: from their second on they are not there for anybody."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from made_results import BATCH, MOMENT, fill, result, there

from service.models import RowStatus, row_id
from service.store.results import extracted

if TYPE_CHECKING:
    from service.app import App

SUCCESS, FAILED = RowStatus.SUCCESS, RowStatus.FAILED


def test_the_tables_expire_items_by_the_template(app: App, tables: dict[str, Any]) -> None:
    named = {"ResultsTable": app.settings.results_table, "BatchesTable": app.settings.batches_table}
    found = {}
    for table, name in named.items():
        app.dynamodb.update_time_to_live(
            TableName=name, TimeToLiveSpecification=tables[table]["TimeToLiveSpecification"]
        )
        found[table] = app.dynamodb.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
    assert found == {table: {"TimeToLiveStatus": "ENABLED", "AttributeName": "ttl"} for table in named}


def readers(app: App) -> dict[str, list[str]]:
    """Row ids by everything that reads results."""
    span = (MOMENT, MOMENT)
    queries = app.queries
    return {
        "store": [item["row_id"]["S"] for page in app.store.pages(BATCH) for item in page],
        "store, failed": [row for row, *_ in app.store.failed(BATCH)],
        "reader": [item.row_id.S for page in app.reader.pages(BATCH) for item in page],
        "reader, dense": [item.row_id.S for page in app.reader.pages(BATCH, last_row=9) for item in page],
        "failed": [row["row_id"] for row in queries.failed(BATCH)],
        "failed, of a status": [row["row_id"] for row in queries.failed(BATCH, FAILED)],
        "failed, of an error": [row["row_id"] for row in queries.failed(BATCH, error="E")],
        "batch": [row["row_id"] for row in queries.of_batch(BATCH)],
        "batch, of a status": [row["row_id"] for row in queries.of_batch(BATCH, FAILED)],
        "time": [row["row_id"] for row in queries.between(*span)],
        "time, of a status": [row["row_id"] for row in queries.between(*span, FAILED)],
    }


@pytest.mark.parametrize("late", [0, 1])
def test_an_item_is_there_to_its_last_second_for_readers_and_writers_alike(
    app: App, monkeypatch: pytest.MonkeyPatch, late: int
) -> None:
    now = int(time.time()) + 3_600
    fill(app, [result(row, FAILED if row % 2 else SUCCESS, ttl=now - late, output=b"z") for row in range(1, 5)])
    before = there(app)
    for module in ("results", "page_reader", "queries"):
        monkeypatch.setattr(f"service.store.{module}.time", SimpleNamespace(time=lambda: now + 0.9))
    rows = {name: [] if late else [row_id(1), row_id(3)] for name in readers(app)}
    if not late:
        rows |= dict.fromkeys(["store", "reader", "reader, dense", "batch", "time"], sorted(before))
    assert readers(app) == rows
    assert len(before) == 4
    fresh = extracted(result(2, SUCCESS, output_data={"x": 1}))
    assert app.store.remap(before[row_id(2)], fresh) == (before[row_id(2)] if late else None)
    answers = [app.store.put(result(row, FAILED, run=1)) for row in range(1, 5)]
    assert answers == [FAILED] * 4 if late else answers == [FAILED, SUCCESS] * 2
    assert (there(app)[row_id(4)] == before[row_id(4)]) == (not late)
