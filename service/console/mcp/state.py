"""Where a batch, or one run of it, stands: read from the stack alone, so that any server can say it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.batch import closing
from service.batch import progress as batch_progress
from service.console import batch_status, runs
from service.console.display import rows_text, seconds
from service.console.mcp.failures import told
from service.console.mcp.orders import parts_of
from service.console.mcp.short import shortened
from service.errors import BatchProcessorError, BatchRefused, NotFound
from service.models import FAILURES, OPEN, BatchStatus, RowStatus, now_iso, parse_iso
from service.steps.agent_execution import execution_arn

if TYPE_CHECKING:
    from service.console.stacks import Stack
    from service.record import BatchRecord

FIRST_LOOK, LONGEST_WAIT = 2, 60  # seconds between two looks at a batch
_CLAIMED_WITHIN, _PAUSE = 30.0, 0.5  # seconds that a stop waits for a run to have the record, and between two looks
_GROUPS = 5  # causes in an answer about a batch
_ROW_IDS = 3  # rows named for each
_FIELDS = 10  # fields that are told of, the emptiest first


class NotYet(BatchProcessorError):
    """What is asked for can be done in a while."""


@dataclass(frozen=True)
class Run:
    """One run of a batch as a task tells it; `result` is None while it works."""

    task_id: str
    message: str
    created_at: str
    updated_at: str
    expires_at: float | None
    wait_seconds: int
    result: dict[str, Any] | None = None
    failed: bool = False

    @property
    def kept_ms(self) -> int | None:
        """Milliseconds from its beginning for which its results are kept; None for good."""
        if self.expires_at is None:
            return None
        return max(0, round((self.expires_at - parse_iso(self.created_at).timestamp()) * 1000))


def run_of(stack: Stack, task_id: str) -> Run:
    """Return the run that a task stands for; raises NotFound."""
    identifier, later = parts_of(task_id)
    record = stack.app.records.find(identifier)
    arn = _arn(stack, record, identifier, later)
    execution = _execution(stack, arn)
    if execution is None:
        if record is None or (later and record.execution_arn != arn):
            raise NotFound(f"there is no task {task_id!r}: its id is that of a batch, as start_batch returns it")
        return _of_record(stack, task_id, record)
    begun = now_iso(execution["startDate"])
    expires = None if record is None else record.expires_at
    if execution["status"] == "RUNNING":
        message, wait = _progress(stack, record, arn)
        return Run(task_id, message, begun, now_iso(), expires, wait)
    over = now_iso(execution.get("stopDate") or execution["startDate"])
    try:
        result = runs.ended(stack, identifier, execution)
    except BatchProcessorError as error:
        why = told(error)
        return Run(task_id, why, begun, over, expires, 0, {"batch_id": identifier, "error": why}, failed=True)
    return _over(task_id, begun, over, expires, result)


def stop(stack: Stack, task_id: str) -> None:
    """Stop a run, once it has the batch's record; one that has ended is left as it is. Raises NotFound, NotYet.

    The record is there when PrepareBatch has begun; a later run has it when that has checked everything.
    """
    identifier, later = parts_of(task_id)
    until = time.monotonic() + _CLAIMED_WITHIN
    while run_of(stack, task_id).result is None:
        record = stack.app.records.find(identifier)
        if record is not None and record.execution_arn == _arn(stack, record, identifier, later):
            with suppress(BatchRefused):  # there is nothing to stop any more
                closing.stop(stack.app, identifier)
            return
        if time.monotonic() > until:
            raise NotYet(f"{task_id} is being prepared still and cannot be stopped yet: ask again in a minute")
        time.sleep(_PAUSE)


def _arn(stack: Stack, record: BatchRecord | None, identifier: str, later: str) -> str:
    """Return the execution of a task: the batch's own, or that of a later run of it."""
    if later:
        named = (str(run.get("execution_arn") or "") for run in (record.runs if record else ()))
        return next((arn for arn in named if arn.endswith(f":{later}")), execution_arn(stack.state_machine_arn, later))
    if record is not None:
        first = record.runs[0].get("execution_arn") if record.runs else None
        return str(first or record.execution_arn)
    return execution_arn(stack.state_machine_arn, identifier.partition("#")[2])


def _execution(stack: Stack, arn: str) -> dict[str, Any] | None:
    states = stack.app.stepfunctions
    try:
        found: dict[str, Any] = states.describe_execution(executionArn=arn)
    except (states.exceptions.ExecutionDoesNotExist, states.exceptions.InvalidArn):
        return None
    return found


def _of_record(stack: Stack, task_id: str, record: BatchRecord) -> Run:
    """Return the same of a run whose execution Step Functions has forgotten: the batch's record says it."""
    record = closing.refreshed(stack.app, record)
    begun = batch_progress.run_started_at(record) or record.prepared_at
    over = record.ended_at or now_iso()
    return _over(task_id, begun, over, record.expires_at, batch_progress.result_of(record))


def _over(task_id: str, begun: str, over: str, expires: float | None, result: dict[str, Any]) -> Run:
    failed = result["status"] == BatchStatus.FAILED
    return Run(task_id, outcome_of(result), begun, over, expires, 0, result_of(result), failed=failed)


def _progress(stack: Stack, record: BatchRecord | None, arn: str) -> tuple[str, int]:
    """Return how far an execution is, in words, and after how many seconds it is worth looking again."""
    if record is None or record.execution_arn != arn or record.row_count is None:
        return "being prepared: everything is checked, the rows are counted", FIRST_LOOK
    known = batch_progress.progress(stack.app, record)
    to_run = record.rows if record.rows_to_run is None else record.rows_to_run
    done = max(0, known["rows_done"] - batch_progress.with_result(record.kept_counts))
    return said(record.status, done, to_run, known), wait_of(record.status, known["eta_s"])


def said(status: str, done: int, to_run: int, known: dict[str, Any]) -> str:
    """Return `400 of 3,708 rows, 3 failed, 18 s left`."""
    failures = sum(known["counts"].get(one, 0) for one in FAILURES)
    left = "" if known["eta_s"] is None else f", {seconds(known['eta_s'])} left"
    before = {BatchStatus.STOPPING: "stopping: ", BatchStatus.AGGREGATING: "the results are being written: "}
    return f"{before.get(BatchStatus(status), '')}{done:,} of {rows_text(to_run)}, {failures:,} failed{left}"


def wait_of(status: str, eta: float | None) -> int:
    """Return after how many seconds a batch is worth looking at again: a tenth of what is left, within bounds."""
    if status not in OPEN:
        return 0
    return FIRST_LOOK if eta is None else int(min(LONGEST_WAIT, max(FIRST_LOOK, eta / 10)))


def outcome_of(result: dict[str, Any]) -> str:
    """Return `PARTIAL: 14 of 24 rows succeeded`."""
    return f"{result['status']}: {result['counts']['SUCCESS']:,} of {rows_text(result['row_count'])} succeeded"


def result_of(result: dict[str, Any]) -> dict[str, Any]:
    """Return the result of a batch for an agent: as its execution has it, in short, with what to do next."""
    name = result["batch_id"]
    fields = sorted(result.get("fields") or [], key=lambda one: one["found"] / max(1, one["of"]))
    shown = {
        "outcome": outcome_of(result),
        **{key: result.get(key) for key in ("status", "batch_id", "csv_location", "row_count", "execution_time_ms")},
        "counts": {status: count for status, count in result["counts"].items() if count},
        "errors": causes_of(result.get("errors") or []),
        "fields": fields[:_FIELDS],
        "next": next_of(result["status"], result["counts"], result["row_count"]),
    }
    return shortened(shown, f"failed_rows with batch_id {name} shows the rows that failed")


def causes_of(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the commonest causes, each with the first of its rows."""
    return [{**group, "row_ids": list(group.get("row_ids") or [])[:_ROW_IDS]} for group in groups[:_GROUPS]]


def next_of(status: str, counts: dict[str, int], rows: int) -> list[str]:
    """Return what can be done with a batch that stands so, by the names of tools."""
    if status in OPEN:
        return ["batch_status after the recommended wait", "stop_batch ends it early: what is in flight is stored"]
    if status == BatchStatus.EXPIRED or not rows:
        return []
    steps = ["batch_result shows where the CSV is and its first rows"]
    if counts.get(RowStatus.SUCCESS, 0) < sum(counts.values()):
        steps = ["failed_rows shows why rows failed", "rerun_batch runs only what did not succeed", *steps]
    return steps


def status_of(stack: Stack, record: BatchRecord) -> dict[str, Any]:
    """Return where a batch stands now: as `status --json`, in short."""
    known = batch_status.status_of(stack, record)
    status, counts = known["status"], known["counts"]
    rows = known["row_count"]
    to_run = rows if record.rows_to_run is None else record.rows_to_run
    shown = {
        "batch_id": known["batch_id"],
        "status": status,
        "progress": None if rows is None else said_of(record, known, to_run or 0),
        **{key: known[key] for key in ("row_count", "rows_done", "rate_per_s", "eta_s", "started_at", "ended_at")},
        "counts": {one: count for one, count in counts.items() if count},
        "errors": causes_of(known["errors"]),
        "cost_usd": known["cost_usd"],
        "target": known["target"].get("name"),
        "source": known["source"].get("uri"),
        "csv_location": known["csv_location"],
        "recommended_wait_seconds": wait_of(status, known["eta_s"]),
        "next": next_of(status, counts, rows or 0),
    }
    return shortened(shown, "failed_rows shows causes and rows in full")


def soon_of(stack: Stack, task_id: str) -> dict[str, Any]:
    """Return where a run stands by its execution alone: of a batch that has no record yet, or a run not begun.

    Raises NotFound.
    """
    run = run_of(stack, task_id)
    if run.result is not None:
        return {"task_id": task_id, **run.result, "recommended_wait_seconds": 0}
    return {
        "task_id": task_id,
        "batch_id": parts_of(task_id)[0],
        "status": "RUNNING",
        "progress": run.message,
        "recommended_wait_seconds": run.wait_seconds,
        "next": next_of("RUNNING", {}, 1),
    }


def said_of(record: BatchRecord, known: dict[str, Any], to_run: int) -> str:
    """Return the progress of an open batch, the outcome of an ended one, in one sentence."""
    if known["status"] not in OPEN:
        return f"{known['status']}: {known['counts'].get('SUCCESS', 0):,} of {rows_text(record.rows)} succeeded"
    done = max(0, known["rows_done"] - batch_progress.with_result(record.kept_counts))
    return said(known["status"], done, to_run, known)
