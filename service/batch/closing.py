"""The end of a batch, however it comes: its record closed by how its execution ended, and a stop by hand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.batch.progress import run_started_at
from service.errors import BatchRefused, Problem
from service.models import (
    OPEN,
    BatchStatus,
    batch_id,
    elapsed_ms,
    empty_counts,
    error_of,
    now_iso,
    outcome,
    target_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App
    from service.record import BatchRecord

_ENDED_AS = {"ABORTED": "was aborted", "TIMED_OUT": "ran out of time", "FAILED": "failed"}


def close_ended(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """Close the record of an execution that ended as FAILED, ABORTED or TIMED_OUT, if it is open still.

    `event` is EventBridge's "Step Functions Execution Status Change". It has no input when that is too large; then the
    record is closed by whoever reads it next.
    """
    detail = event["detail"]
    try:
        given = json.loads(detail.get("input") or "{}")
    except ValueError:
        given = {}
    identifier = _named(given, detail["name"]) if isinstance(given, dict) else ""
    record = app.records.find(identifier) if identifier else None
    if record is None or record.status not in OPEN:
        return {"batch_id": identifier, "closed": False}
    if detail.get("executionArn") not in (None, record.execution_arn):  # another stack's batch of the same name
        return {"batch_id": identifier, "closed": False}
    return {"batch_id": identifier, "closed": close_record(app, record, detail["status"], detail.get("cause"))}


def _named(given: Mapping[str, Any], execution_name: str) -> str:
    """Return the batch that an execution's input is of; "" when it does not say."""
    rerun_of, tool = given.get("rerun_of"), target_name(given.get("target"))
    if rerun_of is not None:
        named = rerun_of.get("batch_id") if isinstance(rerun_of, dict) else rerun_of
        return named if isinstance(named, str) else ""
    return batch_id(tool, execution_name) if tool else ""


def close_record(app: App, record: BatchRecord, ended_as: str, cause: str | None) -> bool:
    """Close an open record by how its execution ended, with the counts of its finished chunks.

    False when it was closed meanwhile.
    """
    counts = app.records.chunk_counts(record.batch_id, record.run)
    counts.update(record.kept_counts)
    total = record.rows
    if total:
        counts["NOT_RUN"] += max(0, total - sum(counts.values()))
    final = outcome(counts) if total else BatchStatus.FAILED
    if final is BatchStatus.SUCCEEDED:  # every row did, but there is no CSV of them
        final = BatchStatus.INCOMPLETE
    ended_at = now_iso()
    closed = app.records.update_open(
        record.batch_id,
        record.execution_arn,
        status=final.value,
        stop=True,
        stop_reason="aborted",
        ended_at=ended_at,
        execution_time_ms=elapsed_ms(run_started_at(record), ended_at),
        counts_exact=False,
        counts={**empty_counts(), **counts} if total else None,
        fields=None,  # of the run before, and of its CSV
        guarded_cells=None,
        error=error_of(ended_as, f"the execution {_ENDED_AS.get(ended_as, 'failed')}: {cause or 'no cause given'}"),
    )
    # its own, too, when the answer was lost and botocore asked again
    return closed or app.records.get(record.batch_id).ended_at == ended_at


def stop(app: App, identifier: str) -> BatchRecord:
    """Set the stop flag: no further row is begun. Raises BatchRefused when there are none to stop, or NotFound."""
    if not app.records.stop(identifier, "by hand"):
        record = app.records.get(identifier)
        if record.status == BatchStatus.AGGREGATING:
            message = f"every row of batch {identifier} has run, and its CSV is being made: nothing to stop"
            raise BatchRefused([Problem("", message)])
        raise BatchRefused([Problem("", f"batch {identifier} has ended already ({record.status}): nothing to stop")])
    return app.records.get(identifier)


def refreshed(app: App, record: BatchRecord) -> BatchRecord:
    """Return the record, closed first if it says open but its execution has ended."""
    if record.status not in OPEN:
        return record
    try:
        execution = app.stepfunctions.describe_execution(executionArn=record.execution_arn)
    except app.stepfunctions.exceptions.ExecutionDoesNotExist:
        execution = {"status": "ABORTED", "cause": "it is not there any more"}
    if execution["status"] == "RUNNING":
        return record
    # Read again: it may have been closed between the reading of the record and that of the execution.
    now = app.records.get(record.batch_id)
    if now.execution_arn != record.execution_arn:  # run again: another execution's, which may be at work
        return now
    if execution["status"] in _ENDED_AS:
        close_record(app, now, execution["status"], execution.get("cause"))
        return app.records.get(record.batch_id)
    return now
