"""What is known of a batch: whether it is ready, how far it is, and its result."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError, BatchRefused, Problem
from service.excerpt import excerpt
from service.models import OPEN, RowStatus, elapsed_ms, empty_counts, now_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App
    from service.record import BatchRecord


class BatchRunning(BatchProcessorError):
    """The batch is not at its end: its CSV would not be the whole one."""


class BatchExpired(BatchProcessorError):
    """The batch's results are past their time."""


def expired(record: BatchRecord) -> bool:
    """Whether the results are past their time."""
    return record.expires_at is not None and record.expires_at < time.time()


def check_ready(record: BatchRecord, *, own: bool) -> None:
    """Refuses a batch of which no CSV can be made; `own` is its own execution, which may while it runs."""
    if record.row_count is None:
        why = (record.error or {}).get("message") or f"it is {record.status}"
        raise BatchRefused([Problem("batch_id", f"no row of batch {record.batch_id} was ever read: {why}")])
    if expired(record):
        last = record.csv_location or "none was made"
        raise BatchExpired(f"the results of batch {record.batch_id} have expired; its last CSV: {last}")
    if record.status in OPEN and not own:
        message = "its CSV can be made when it has ended: wait, or stop it"
        raise BatchRunning(f"batch {record.batch_id} is {record.status}: {message}")


def progress(app: App, record: BatchRecord) -> dict[str, Any]:
    """Rows done, counts, rate (rows/s) and ETA (seconds) of the run, exact to the last finished chunk.

    Rows done are those with a result; `counts_exact` says whether every row of the batch is counted.
    """
    over = record.status not in OPEN
    if over and (record.counts is not None or not record.row_count):
        counts = {**empty_counts(), **(record.counts or {})}
        rate = _rate(record, with_result(counts)) if record.run == 1 else None
        return _progress(counts, exact=bool(record.counts_exact or not record.row_count), rate=rate, eta=None)
    run = app.records.chunk_counts(record.batch_id, record.run)
    counts = {**empty_counts(), **record.kept_counts}
    for status, count in run.items():
        counts[status] = counts.get(status, 0) + count
    rate = _rate(record, with_result(run))
    eta = None
    if not over and record.rows_to_run is not None:
        left = max(0, record.rows_to_run - run.total())
        eta = 0 if left == 0 else round(left / rate) if rate else None
    return _progress(counts, exact=False, rate=rate, eta=eta)


def _progress(counts: Mapping[str, int], *, exact: bool, rate: float | None, eta: int | None) -> dict[str, Any]:
    return {
        "rows_done": with_result(counts),
        "counts": dict(counts),
        "counts_exact": exact,
        "rate_per_s": rate,
        "eta_s": eta,
    }


def with_result(counts: Mapping[str, int]) -> int:
    """Rows that have a result."""
    return sum(counts.values()) - counts.get(RowStatus.NOT_RUN, 0) - counts.get(RowStatus.MISSING, 0)


def causes_of(record: BatchRecord, most: int, longest: int) -> dict[str, Any]:
    """Return why rows of a batch, or the batch, did not succeed: so many causes, messages of so many characters."""
    errors = [{**group, "message": excerpt(str(group["message"]), longest)} for group in record.errors[:most]]
    error = record.error and {**record.error, "message": excerpt(record.error["message"], longest)}
    return {"errors": errors, "error": error}


def run_started_at(record: BatchRecord) -> str | None:
    """When the batch's last run began."""
    runs = record.runs
    return (runs[-1].get("started_at") if runs else None) or record.started_at


def _rate(record: BatchRecord, done: int) -> float | None:
    took = elapsed_ms(run_started_at(record), record.ended_at or now_iso())
    return round(done / (took / 1000), 2) if took and done else None


def result_of(record: BatchRecord) -> dict[str, Any]:
    """Return the result of a batch that has ended, as its execution returned it."""
    if record.status in OPEN:
        raise BatchRunning(f"batch {record.batch_id} is {record.status}: it has no result yet")
    return {
        "status": record.status,
        "batch_id": record.batch_id,
        "csv_location": record.csv_location,
        "row_count": record.rows,
        "execution_time_ms": record.execution_time_ms,
        "counts": {**empty_counts(), **(record.counts or {})},
        "errors": record.errors,
        "fields": record.fields,
        "guarded_cells": record.guarded_cells,
        "chunks": record.chunks,
        "stop_reason": record.stop_reason,
    }
