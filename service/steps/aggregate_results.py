"""The end of a batch: its CSV, and the closing of its record however it ended."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.batch import failing_alike
from service.batch.progress import (
    BatchRunning,
    check_ready,
    run_started_at,
    with_result,
)
from service.errors import BatchProcessorError, BatchRefused, Problem
from service.export.run import Export
from service.models import (
    OPEN,
    BatchStatus,
    elapsed_ms,
    error_of,
    now_iso,
    outcome,
)
from service.request import destination
from service.request.columns import csv_option_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.app import App
    from service.export.summary import Tally
    from service.record import BatchRecord
    from service.request.destination import Place


class ResultsGone(BatchProcessorError):
    """Results that a batch had are not there any more."""


def aggregate(app: App, event: Mapping[str, Any], remaining_ms: Callable[[], int]) -> dict[str, Any]:
    """Make the CSV of a batch, or make it again; return the result, or a continuation when the time runs low.

    `event` is the state of the state machine, or plainly batch_id with output_bucket, output_key and csv options.
    """
    own = bool(event.get("batch"))
    if not own:
        _check_plain(event)
    identifier: str = (event["batch"] if own else event)["batch_id"]
    record = app.records.find(identifier)
    if record is not None:
        check_ready(record, own=own)
    csv = {**(record.csv if record else {}), **_present(event.get("csv"))}
    place = _place(app, event, record, identifier, csv.get("format") or "csv")
    if own and record is not None:
        arn = _execution_of(record, event)
        app.records.update_open(identifier, arn, status=BatchStatus.AGGREGATING.value, **_map_failure(event))
        record = app.records.get(identifier)
        _check_same(record, arn)
    export = Export(app, identifier, record, *place, csv, _continuation(event))
    more = export.run(remaining_ms, lambda tally: _check_before_it_appears(app, record, tally, own=own))
    if more is not None:
        return {"batch_id": identifier, "continuation": more}
    return _close(app, identifier, record, export, place.uri, own=own)


def _execution_of(record: BatchRecord, event: Mapping[str, Any]) -> str:
    """Return the execution of the run that the machine's state is of; an event without a run is of the first one."""
    number = int(event["batch"].get("run") or 1)
    runs = {int(run["run"]): run.get("execution_arn") for run in record.runs}
    return str(runs.get(number) or record.execution_arn)


def _check_same(record: BatchRecord, execution_arn: str) -> None:
    """Refuses to make the CSV of a run after which the batch was run again."""
    if record.execution_arn != execution_arn:
        message = f"batch {record.batch_id} was run again meanwhile: that run makes its CSV when it ends"
        raise BatchRefused([Problem("", message)])


def _check_before_it_appears(app: App, record: BatchRecord | None, tally: Tally, *, own: bool) -> None:
    """Refuses a CSV that would take the place of a better one: of a batch that changed, or of results that are gone.

    Raises BatchRefused and ResultsGone; the upload is aborted then, and what was there before stays.
    """
    if record is None:
        return
    now = app.records.get(record.batch_id)
    _check_same(now, record.execution_arn)
    if now.plan_hash != record.plan_hash:
        message = f"batch {record.batch_id} was remapped meanwhile: its fields are other ones now, make its CSV anew"
        raise BatchRefused([Problem("", message)])
    if not own and now.status in OPEN:
        raise BatchRunning(f"batch {record.batch_id} is {now.status} again: its CSV can be made when it has ended")
    check_ready(now, own=True)  # it may have expired while its results were read
    gone = _had_results(app, record, own=own) - with_result(tally.counts)
    if gone > 0:
        raise ResultsGone(
            f"{gone:,} results of batch {record.batch_id} that were there are gone, expired or deleted meanwhile: "
            f"their rows would be MISSING, so no CSV was made; its last CSV is kept: {record.csv_location}\n"
            f"to run those rows again: batch-processor rerun '{record.batch_id}' --status MISSING"
        )


def _had_results(app: App, record: BatchRecord, *, own: bool) -> int:
    """How many rows had a result, at least; 0 of a batch that has no CSV which a lesser one could replace."""
    if record.csv_location is None:
        return 0
    run = record.run
    if own and run > 1:  # the record's counts are of the run before
        return with_result(record.kept_counts) + with_result(app.records.chunk_counts(record.batch_id, run))
    return with_result(record.counts or {})


def _continuation(event: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what an earlier turn left to be gone on with."""
    return ((event.get("aggregation") or {}).get("result") or {}).get("continuation")


def abandon(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """Aborts the upload of a CSV that cannot be made; `event` is the machine's state with the last turn's result."""
    identifier: str = event["batch"]["batch_id"]
    record, continuation = app.records.get(identifier), _continuation(event)
    if continuation is not None:
        csv = {**record.csv, **_present(event.get("csv"))}
        place = _place(app, event, record, identifier, csv.get("format") or "csv")
        Export(app, identifier, record, *place, csv, continuation).abort()
    return {"batch_id": identifier, "aborted": continuation is not None}


def _check_plain(event: Mapping[str, Any]) -> None:
    """Refuses a plain event that is not of the form it should have."""
    problems = [
        Problem(name, f"must be a text, not {event[name]!r}")
        for name in ("output_bucket", "output_key")
        if not isinstance(event.get(name), str | None)
    ]
    if not isinstance(event.get("batch_id"), str) or not event["batch_id"]:
        problems.insert(0, Problem("batch_id", "is required: the id of a batch"))
    problems += csv_option_problems(event.get("csv"))
    if problems:
        raise BatchRefused(problems)


def _present(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {key: value for key, value in (given or {}).items() if value is not None}


def _map_failure(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a Map that did not come to its end leaves in the record."""
    failure = event.get("map_failure")
    if not failure:
        return {}
    return {"error": error_of(str(failure.get("Error")), str(failure.get("Cause")))}


def _place(app: App, event: Mapping[str, Any], record: BatchRecord | None, batch_id: str, form: str) -> Place:
    """Return where the results go; refuses a place that they cannot go to."""
    said = {"bucket": event.get("output_bucket"), "key": event.get("output_key")}
    place = destination.decide(app.settings, batch_id, form, record=record, **said)
    source = None if record is None else (record.source.get("bucket", ""), record.source.get("key", ""))
    destination.check(app.settings, place, form, source)
    return place


def _close(  # noqa: PLR0913 - what a result is made of
    app: App, identifier: str, record: BatchRecord | None, export: Export, location: str, *, own: bool
) -> dict[str, Any]:
    """Write the result to the record and return it; when the batch ended is said once, by whoever closed it first.

    Only the run and the status that were read are closed: a batch that was run again meanwhile stays as it is.
    """
    counts = export.tally.counts
    ended_at = (record.ended_at if record is not None else None) or now_iso()
    values: dict[str, Any] = {
        "status": outcome(counts, stopped=record is not None and record.stop_reason == failing_alike.REASON).value,
        "csv_location": location,
        "execution_time_ms": elapsed_ms(run_started_at(record), ended_at) if record is not None else None,
        "counts": counts,
        "errors": export.tally.groups(),
        "fields": export.tally.fields(),
        "guarded_cells": export.tally.seen.guarded,
    }
    if record is not None:
        slowest = [[name, took] for took, name in export.tally.slowest]
        values |= {"ended_at": ended_at, "counts_exact": True, "slowest": slowest or None}
        if own:
            app.records.update_open(identifier, record.execution_arn, **values)
        else:
            app.records.update_ended(identifier, record.run, record.plan_hash, **values)
    return {
        "status": values["status"],
        "batch_id": identifier,
        "csv_location": location,
        "row_count": export.tally.rows,
        "execution_time_ms": values["execution_time_ms"],
        "counts": counts,
        **{name: values[name] for name in ("errors", "fields", "guarded_cells")},
        "chunks": {} if record is None else record.chunks,
        "stop_reason": None if record is None else record.stop_reason,
    }
