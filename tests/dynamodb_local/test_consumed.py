"""Units that DynamoDB says it took for the items of a batch, against those of the cost model."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.client import BaseClient
from made import plan

from service.cost.estimate import spent
from service.cost.workload import Profile
from service.models import Result, error_of, row_id
from service.record import BatchRecord
from service.store import results as store
from service.store.tables import BatchItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.app import App
    from service.cost.estimate import Cost

BATCH = "sentiment#20261122T135607-805de0"
RESULT = Result(BATCH, "", "SUCCESS", {"text": "x" * 300}, {"category": "y" * 100}, 1234, ttl=1_999_999_999, method="m")
ERROR = error_of("ProbeFailure", "no such line")
FAILED = replace(RESULT, status="FAILED", output_data={}, error=ERROR, method=None)
SHORT = Profile(row_bytes=304, fields_bytes=108, output_bytes=0, error_bytes=30)
LONG = {"text": "x" * 2_000}


@pytest.fixture
def consumed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Units by operation and by index, as DynamoDB returns them."""
    taken: Counter[str] = Counter()
    ask = BaseClient._make_api_call

    def asking(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        if operation not in ("PutItem", "UpdateItem", "GetItem", "Query"):
            return ask(client, operation, arguments)
        answer = ask(client, operation, {**arguments, "ReturnConsumedCapacity": "INDEXES"})
        capacity = answer["ConsumedCapacity"]
        taken[operation] += capacity["CapacityUnits"]
        for index, units in capacity.get("GlobalSecondaryIndexes", {}).items():
            taken[index] += units["CapacityUnits"]
        return answer

    monkeypatch.setattr(BaseClient, "_make_api_call", asking)
    return taken


def put(app: App, results: Iterable[Result]) -> list[int]:
    """Stores results as rows 1, 2, …; the sizes of their items."""
    numbered = [replace(one, row_id=row_id(number)) for number, one in enumerate(results, 1)]
    for one in numbered:
        app.store.put(one)
    return [store.item_bytes(store.to_item(one)) for one in numbered]


def units(cost: Cost, part: str, which: Callable[[str], bool]) -> float:
    return sum(term.quantity for term in cost.terms if term.part == part and which(term.of))


def of_results(of: str) -> bool:
    return of.startswith(("results", "failures"))


CASES = {
    "successes": ([RESULT] * 7, SHORT),
    "failures": ([FAILED] * 4, SHORT),
    "both": ([RESULT, FAILED, RESULT, RESULT, FAILED], SHORT),
    "long rows that fail": ([replace(FAILED, input_data=LONG)] * 3, replace(SHORT, row_bytes=2_004)),
    "rows of all sizes": ([replace(RESULT, input_data={"text": "x" * size}) for size in range(0, 9_000, 690)], SHORT),
    "long errors": (
        [replace(FAILED, error=error_of("E", "é" * 1_000))] * 3,
        replace(SHORT, error_bytes=2_020),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_writes_of_results_and_their_indexes(app: App, consumed: Counter[str], case: str) -> None:
    results, profile = CASES[case]
    sizes = put(app, results)
    modelled = spent(Counter(one.status for one in results), replace(profile, item_bytes=sizes), chunks=1, retries=0)
    assert consumed["PutItem"] == pytest.approx(units(modelled, "write_units", of_results))
    assert consumed["timestamp-index"] == units(modelled, "write_units", lambda of: "timestamp-index" in of)
    assert consumed["status-index"] == units(modelled, "write_units", lambda of: "status-index" in of)


def test_results_that_replace_failures(app: App, consumed: Counter[str]) -> None:
    """A cured row leaves status-index; one that fails again stays in its place there, which costs less than is said."""
    put(app, [FAILED] * 5)
    consumed.clear()
    again = [replace(one, run=2, timestamp="2099-01-01T00:00:00.000Z") for one in (RESULT, RESULT, RESULT, FAILED)]
    sizes = put(app, again)
    modelled = spent(
        {"SUCCESS": 3, "FAILED": 1}, replace(SHORT, item_bytes=sizes), chunks=1, retries=0, replaced=4, batch_rows=5
    )
    assert consumed["timestamp-index"] == units(modelled, "write_units", lambda of: "timestamp-index" in of) == 8
    assert consumed["status-index"] == units(modelled, "write_units", lambda of: "status-index" in of) - 1 == 4
    assert consumed["PutItem"] == units(modelled, "write_units", of_results) - 1


def test_reads_of_results(app: App, consumed: Counter[str]) -> None:
    sizes = put(app, [replace(RESULT, input_data={"text": "x" * size}) for size in range(0, 9_000, 690)])
    pages = list(app.store.pages(BATCH))
    modelled = spent({"SUCCESS": len(sizes)}, Profile(item_bytes=sizes), chunks=1, retries=0)
    said = units(modelled, "read_units", lambda of: "results" in of)
    assert len(pages) == 1
    assert said - 1 <= consumed["Query"] <= said  # a page is rounded up as a whole


def test_the_batch_record_its_plan_and_chunks(app: App, consumed: Counter[str]) -> None:
    record = BatchRecord(BATCH, prepared_at="2026-11-22T00:00:00.000Z", status="PREPARING", source={"uri": "s3://b/k"})
    app.records.create(record)
    for status in ("RUNNING", "AGGREGATING", "SUCCEEDED"):
        app.records.update(BATCH, status=status, source={"uri": "x" * 1_500})
    assert not app.records.update(BATCH, BatchItem.stop == True, status="STOPPING")  # noqa: E712 - a condition
    refused = 2  # of the table alone: DynamoDB takes units for it, but says nothing of them
    small_at_first = 2
    modelled = spent({"SUCCESS": 1}, Profile(record_bytes=1_800), chunks=3, retries=0)
    written = consumed["PutItem"] + consumed["UpdateItem"]
    assert written + refused + small_at_first == units(modelled, "write_units", lambda of: "batch record" in of) == 18
    assert consumed["listing-index"] == 1 + 3 * 2

    consumed.clear()
    app.plans.save(BATCH, plan())
    for chunk in range(3):
        app.plans.save_chunk(BATCH, 1, chunk, first_row=1, rows=100, counts={"SUCCESS": 100}, ttl=1_999_999_999)
    assert consumed["PutItem"] == units(modelled, "write_units", lambda of: of in ("plan", "records of chunks")) == 4
    consumed.clear()
    app.plans.stopped(BATCH)
    assert consumed["GetItem"] == units(modelled, "read_units", lambda of: of.startswith("chunks")) / 3 == 1
