"""Where a batch stands, as the command line tells it: its status, its entry in a list, why rows fail so far."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

from service.batch import closing
from service.batch import progress as batch_progress
from service.batch.progress import with_result
from service.console import spending
from service.export.summary import Tally
from service.models import FAILURES, OPEN, BatchStatus, RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.console.stacks import Stack
    from service.cost.estimate import Cost
    from service.record import BatchRecord

_COUNTED = 100_000  # rows of a batch whose results are counted for `status`
_LOOKED_AT = 500  # failures by which causes are told while a batch is under way


def status_of(stack: Stack, record: BatchRecord) -> dict[str, Any]:
    """Return a batch in the shape of `status --json`."""
    return status_and_cost(stack, record)[0]


def status_and_cost(stack: Stack, record: BatchRecord) -> tuple[dict[str, Any], Cost | None]:
    """Return the same, and its cost by parts: both are sums of the batch's chunk records."""
    record = closing.refreshed(stack.app, record)
    progress = _as_stored(stack, record, batch_progress.progress(stack.app, record))
    status = BatchStatus.EXPIRED.value if batch_progress.expired(record) else record.status
    errors = causes_so_far(stack, record.batch_id) if record.status in OPEN else record.errors
    if record.error is not None and not errors:
        error = record.error
        group = {"status": record.status, "error": error["type"], "message": error["message"]}
        errors = [{**group, "count": 0, "row_ids": []}]
    cost = spending.so_far(stack.app, record)
    expires = None if record.expires_at is None else datetime.fromtimestamp(record.expires_at, UTC)
    known = {
        "batch_id": record.batch_id,
        "status": status,
        "target": record.target,
        "source": {key: value for key, value in record.source.items() if key != "columns"},
        "row_count": record.row_count,
        **progress,
        "chunks": record.chunks,
        "stop_reason": record.stop_reason,
        "errors": errors,
        "fields": [] if record.status in OPEN else record.fields,
        "guarded_cells": 0 if record.status in OPEN else record.guarded_cells,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "expires_at": None if expires is None else expires.isoformat().replace("+00:00", "Z"),
        "execution_arn": record.execution_arn,
        "runs": record.runs,
        "cost_usd": None if cost is None else round(cost.total_usd, 6),
        "csv_location": record.csv_location,
        "next": _next(record, status),
    }
    return known, cost


def _as_stored(stack: Stack, record: BatchRecord, progress: dict[str, Any]) -> dict[str, Any]:
    """Progress with what is stored counted, of a batch that was ended from outside: chunks that it cut off wrote none.

    Counting reads the results, which of a great batch takes too long.
    """
    total = record.rows
    if progress["counts_exact"] or record.status in OPEN or batch_progress.expired(record) or total > _COUNTED:
        return progress
    counts = {**progress["counts"], **stack.app.queries.count(record.batch_id)}
    done = with_result(counts)
    if done > total:  # something else has written results under the batch's id
        return progress
    missing = min(counts[RowStatus.MISSING], total - done)
    counts |= {RowStatus.MISSING.value: missing, RowStatus.NOT_RUN.value: total - done - missing}
    return {**progress, "counts": counts, "rows_done": done, "counts_exact": True}


def _next(record: BatchRecord, status: str) -> list[str]:
    name = record.batch_id
    if status in OPEN:
        return [f"batch-processor status '{name}' --follow", f"batch-processor stop '{name}'"]
    if status == BatchStatus.EXPIRED or not record.row_count:
        return []
    commands = [f"batch-processor aggregate '{name}' -o results.csv"]
    counts = record.counts or {}
    if sum(counts.values()) > counts.get("SUCCESS", 0):
        commands = [f"batch-processor rerun '{name}'", *commands]
    if any(counts.get(status) for status in FAILURES):
        commands = [f"batch-processor failed '{name}'", *commands]
    return commands


def listed(record: BatchRecord) -> dict[str, Any]:
    """Return a batch in the shape of `batches --json`."""
    return {
        "batch_id": record.batch_id,
        "status": BatchStatus.EXPIRED.value if batch_progress.expired(record) else record.status,
        "target": record.tool_name,
        "source_uri": record.source.get("uri"),
        "row_count": record.row_count,
        "counts": record.counts,
        "started_at": record.started_at,
        "ended_at": record.ended_at,
        "csv_location": record.csv_location,
    }


class Causes:
    """Why rows of a batch that is under way fail, looked up again when there are half as many failures more."""

    def __init__(self, stack: Stack, batch_id: str) -> None:
        self._stack, self._batch_id = stack, batch_id
        self._looked_at, self._commonest = 0, ""

    def commonest(self, counts: Mapping[str, int]) -> str:
        """Return the commonest cause so far, in a few words; "" of none."""
        failures = sum(counts.get(status, 0) for status in FAILURES)
        if failures >= max(1, self._looked_at * 3 // 2):
            self._looked_at = failures
            groups = causes_so_far(self._stack, self._batch_id)
            self._commonest = f"{groups[0]['error']}: {groups[0]['message']}" if groups else ""
        return self._commonest


def causes_so_far(stack: Stack, batch_id: str) -> list[dict[str, Any]]:
    """Errors of the first failures that `status-index` has, grouped by cause, the commonest first."""
    tally = Tally()
    for row in islice(stack.app.queries.failed(batch_id, at_most=_LOOKED_AT), _LOOKED_AT):
        error = row["error"] or {}
        tally.failure(row["status"], str(error.get("type", "")), str(error.get("message", "")), row["row_id"])
    return tally.groups()
