"""The end of a batch, and what is known of it meanwhile."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError, BatchRefused, NotFound, Problem
from service.export import Export
from service.models import (
    OPEN,
    BatchStatus,
    batch_id,
    elapsed_ms,
    empty_counts,
    now_iso,
    outcome,
    target_name,
)
from service.permissions import check_output

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.app import App
    from service.table import BatchItem

_ENDED_AS = {"ABORTED": "aborted", "TIMED_OUT": "timed out"}
_CSV_DEFAULTS = {"format": "csv", "column_style": "prefixed", "neutralise_formulas": True}


class BatchRunning(BatchProcessorError):
    """The batch is not at its end: its CSV would not be the whole one."""


class BatchExpired(BatchProcessorError):
    """The batch's results are past their time."""


def expired(record: BatchItem) -> bool:
    """Whether the results are past their time."""
    return record.expires_at is not None and int(record.expires_at) < time.time()


def aggregate(app: App, event: Mapping[str, Any], remaining_ms: Callable[[], int]) -> dict[str, Any]:
    """The CSV of a batch, made or made again; returns the result, or a continuation when the time runs low.

    `event` is the state of the state machine, or plainly batch_id with output_bucket, output_key and csv options.
    """
    own = event.get("batch")
    identifier = (own or event).get("batch_id")
    if not isinstance(identifier, str) or not identifier:
        raise BatchRefused([Problem("batch_id", "is required: the id of a batch")])
    record = app.records.find(identifier)
    if record is not None:
        _check_ready(record, own=bool(own))
    bucket, key = _location(app, event, record, identifier)
    if own:
        app.records.update_open(identifier, status=BatchStatus.AGGREGATING.value, **_stopped_early(event))
        record = app.records.get(identifier)
    csv = {**_CSV_DEFAULTS, **((record.csv or {}) if record else {}), **(event.get("csv") or {})}
    continuation = ((event.get("aggregation") or {}).get("result") or {}).get("continuation")
    export = Export(app, identifier, record, bucket, key, csv, continuation)
    more = export.run(remaining_ms)
    if more is not None:
        return {"batch_id": identifier, "continuation": more}
    return _close(app, identifier, record, export, f"s3://{bucket}/{key}", ended=bool(own))


def _check_ready(record: BatchItem, *, own: bool) -> None:
    if expired(record):
        last = record.csv_location or "none was made"
        raise BatchExpired(f"the results of batch {record.batch_id} have expired; its last CSV: {last}")
    if record.row_count is None:
        raise BatchRefused([Problem("batch_id", f"batch {record.batch_id} was refused before any row was read")])
    if record.status in OPEN and not own:
        raise BatchRunning(f"batch {record.batch_id} is {record.status}: its CSV can be made when it has ended")


def _stopped_early(event: Mapping[str, Any]) -> dict[str, Any]:
    """What a Map that did not come to its end leaves in the record."""
    failure = event.get("map_failure")
    if not failure:
        return {}
    return {"error": {"type": str(failure.get("Error")), "message": str(failure.get("Cause"))[:1000]}}


def _location(app: App, event: Mapping[str, Any], record: BatchItem | None, identifier: str) -> tuple[str, str]:
    bucket, key = event.get("output_bucket"), event.get("output_key")
    if record is not None:
        bucket, key = bucket or record.output_bucket, key or record.output_key
    bucket = bucket or app.settings.data_bucket
    tool, _, execution = identifier.partition("#")
    key = key or f"results/{tool}/{execution or 'plain'}.csv"
    check_output(app.settings, bucket, key)
    return bucket, key


def _close(  # noqa: PLR0913 - what the closing is of
    app: App, identifier: str, record: BatchItem | None, export: Export, location: str, *, ended: bool
) -> dict[str, Any]:
    counts, errors = export.tally.counts, export.tally.groups()
    status = outcome(counts)
    ended_at = now_iso() if ended or record is None else record.ended_at
    took = elapsed_ms(record.started_at, ended_at) if record is not None else None
    result = {
        "status": status.value,
        "batch_id": identifier,
        "csv_location": location,
        "row_count": export.tally.rows,
        "execution_time_ms": took,
        "counts": counts,
        "errors": errors,
    }
    if record is not None:
        app.records.update(
            identifier,
            status=status.value,
            counts=counts,
            errors=errors,
            csv_location=location,
            ended_at=ended_at,
            execution_time_ms=took,
        )
    return result


def close_ended(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """Closes the record of an execution that ended as FAILED, ABORTED or TIMED_OUT, if it is open still.

    `event` is EventBridge's "Step Functions Execution Status Change".
    """
    detail = event["detail"]
    given = json.loads(detail.get("input") or "{}")
    tool = target_name(given.get("target")) if isinstance(given, dict) else ""
    identifier = batch_id(tool, detail["name"])
    record = app.records.find(identifier)
    if record is None or record.status not in OPEN:
        return {"batch_id": identifier, "closed": False}
    return {"batch_id": identifier, "closed": close_record(app, record, detail["status"], detail.get("cause"))}


def close_record(app: App, record: BatchItem, ended_as: str, cause: str | None) -> bool:
    """Closes an open record by how its execution ended, with the counts of its finished chunks."""
    counts = app.records.chunk_counts(record.batch_id, int(record.run or 1))
    total = int(record.row_count or 0)
    if total:
        counts["NOT_RUN"] += max(0, total - sum(counts.values()))
    final = outcome(counts) if total else BatchStatus.FAILED
    why = _ENDED_AS.get(ended_as, "failed")
    message = f"the execution {why if why != 'timed out' else 'ran out of time'}: {cause or 'no cause given'}"
    return app.records.update_open(
        record.batch_id,
        status=final.value,
        stop=True,
        stop_reason="aborted",
        ended_at=now_iso(),
        counts={**empty_counts(), **counts} if total else None,
        error={"type": ended_as, "message": message[:1000]},
    )


def stop(app: App, identifier: str) -> BatchItem:
    """Sets the stop flag: no further row is begun. Raises BatchRunning's opposite as BatchRefused when it has ended."""
    values = {"stop": True, "stop_reason": "by hand"}
    if not app.records.update_open(identifier, **values):
        record = app.records.get(identifier)
        raise BatchRefused([Problem("", f"batch {identifier} has ended already ({record.status})")])
    app.records.update(identifier, _running(), status=BatchStatus.STOPPING.value)
    return app.records.get(identifier)


def _running() -> Any:
    from service.table import BatchItem  # noqa: PLC0415 - a condition is built of the model's attributes

    return BatchItem.status == BatchStatus.RUNNING.value


def refreshed(app: App, record: BatchItem) -> BatchItem:
    """The record, closed first if it says open but its execution has ended."""
    if record.status not in OPEN:
        return record
    try:
        execution = app.stepfunctions.describe_execution(executionArn=record.execution_arn)
    except app.stepfunctions.exceptions.ExecutionDoesNotExist:
        execution = {"status": "ABORTED", "cause": "the execution is not there any more"}
    if execution["status"] == "RUNNING":
        return record
    if execution["status"] == "SUCCEEDED":
        return app.records.get(record.batch_id)
    close_record(app, app.records.get(record.batch_id), execution["status"], execution.get("cause"))
    return app.records.get(record.batch_id)


def progress(app: App, record: BatchItem) -> dict[str, Any]:
    """Rows done, counts, rate (rows/s) and ETA (seconds), exact to the last finished chunk."""
    if record.status not in OPEN and record.counts is not None:
        counts, exact = {**empty_counts(), **record.counts}, record.stop_reason != "aborted"
        done = sum(counts.values()) - counts["NOT_RUN"] - counts["MISSING"]
        return {
            "rows_done": done,
            "counts": counts,
            "counts_exact": exact,
            "rate_per_s": _rate(record, done),
            "eta_s": None,
        }
    counts = {**empty_counts(), **app.records.chunk_counts(record.batch_id, int(record.run or 1))}
    done = sum(counts.values())
    rate = _rate(record, done)
    left = int(record.rows_to_run or 0) - done
    eta = round(left / rate) if rate and record.rows_to_run is not None else None
    return {"rows_done": done, "counts": counts, "counts_exact": False, "rate_per_s": rate, "eta_s": eta}


def _rate(record: BatchItem, done: int) -> float | None:
    end = record.ended_at or now_iso(datetime.now(UTC))
    took = elapsed_ms(record.started_at, end)
    return round(done / (took / 1000), 2) if took and done else None


def result_of(record: BatchItem) -> dict[str, Any]:
    """The result of a batch that has ended, as its execution returned it."""
    if record.status in OPEN:
        raise BatchRunning(f"batch {record.batch_id} is {record.status}")
    return {
        "status": record.status,
        "batch_id": record.batch_id,
        "csv_location": record.csv_location,
        "row_count": int(record.row_count or 0),
        "execution_time_ms": None if record.execution_time_ms is None else int(record.execution_time_ms),
        "counts": {**empty_counts(), **(record.counts or {})},
        "errors": record.errors or [],
    }


__all__ = [
    "BatchExpired",
    "BatchRunning",
    "NotFound",
    "aggregate",
    "close_ended",
    "close_record",
    "expired",
    "progress",
    "refreshed",
    "result_of",
    "stop",
]
