"""The rows of a batch that did not succeed, run again: the same batch, the same row ids, one run more.

What the run is made of (mappings, limits, target) is the batch's own plan, unless the order gives another; it has a
hash of its own, so no function can take the old mapping for the new one. Nothing changes before everything is checked;
then the record is claimed for the new run, on condition that it is as it was read: of two orders at once, one is
refused.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch import stored_source
from service.batch.progress import BatchExpired, BatchRunning, check_ready
from service.batch.selection import read_wanted, select
from service.errors import BatchRefused, Problem, SourceChanged
from service.extraction.stored_plan import to_json
from service.models import OPEN, BatchStatus, now_iso, target_name
from service.permissions import check_source
from service.request import destination, targets
from service.request.checks import Problems, check_mappings
from service.request.chunking import Layout, run_by
from service.request.columns import SUFFIXES
from service.request.models import ExecutionConfig, Target
from service.request.parse import read_input
from service.s3 import objects
from service.source.manifest import told, write_manifest
from service.source.row_lookup import READ_BY, SourceRows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App
    from service.batch.selection import Selection
    from service.extraction.fields import OutputPlan
    from service.plan import Plan
    from service.record import BatchRecord
    from service.request.checks import Mappings
    from service.request.destination import Place
    from service.request.models import BatchInput
    from service.source.csv_rows import Chunk, Record

_SOON = 3_600  # seconds before a batch's results expire in which no run of it is begun
_ONE_RUN = ("limit", "sample")  # of an execution_config: they hold for the run that they were given for


@dataclass
class CheckedRerun:
    """A rerun that was found to be in order."""

    record: BatchRecord
    parsed: BatchInput
    plan: Plan
    mappings: Mappings
    place: Place
    selection: Selection
    layout: Layout
    records: dict[int, Iterator[Record]]  # rows to run, by how often they were run before


def prepare(app: App, event: dict[str, Any]) -> dict[str, Any]:
    """Return what the state machine needs for the run.

    Raises BatchRefused with every problem, BatchRunning, BatchExpired.
    """
    order = check(app, event["input"], mine=event["execution_arn"])
    chunks = _chunks(order)
    run = _claim(app, order, event)
    record, identifier = order.record, order.record.batch_id
    own = destination.own_place(app.settings, identifier, SUFFIXES[_format(order.parsed, record)])
    if order.place != own:  # which no other batch has
        destination.claim(app.records, order.place, identifier, order.plan.ttl)
    digest = app.plans.save(identifier, order.plan)
    manifest_key = write_manifest(app.s3, app.settings.data_bucket, identifier, run, chunks)
    claimed = app.records.get(identifier)
    runs = [*claimed.runs[:-1], {**claimed.runs[-1], "manifest_key": manifest_key}]
    app.records.update_open(  # an execution that was aborted meanwhile has closed it
        identifier,
        event["execution_arn"],
        status=BatchStatus.RUNNING.value,
        plan_hash=digest,
        manifest_key=manifest_key,
        runs=runs,
        rows_to_run=order.selection.count,
        kept_counts=order.selection.kept(),
        chunks=order.layout.told(),
        output_columns=_columns(record, order.mappings.output),
        csv={**record.csv, **order.parsed.csv.model_dump(include=order.parsed.csv.model_fields_set)},
        output_bucket=order.place.bucket,
        output_key=order.place.key,
    )
    app.records.keep_stopped(identifier, event["execution_arn"])
    counted: dict[str, Any] = {"row_count": record.rows, "rows_to_run": order.selection.count}
    return told(
        identifier, run, digest, manifest_key, children=order.plan.children, outer=order.layout.outer, **counted
    )


def preview(app: App, record: BatchRecord, rerun_of: dict[str, Any]) -> tuple[Plan, Selection]:
    """Return the batch's plan and the rows that a rerun would run.

    Raises as `check`, of the batch, its source and the rows alone. A source that may not be looked at from here is
    left to the run.
    """
    _check_state(record, None)
    plan = _plan(app, record)
    selection = select(app, record, read_wanted(rerun_of.get("status"), rerun_of.get("rows")))
    if selection.count and not rerun_of.get("stored_input"):
        with suppress(ClientError):
            app.s3.head_object(Bucket=record.source["bucket"], Key=record.source["key"])
            _check_unchanged(app, record)
    return plan, selection


def check(app: App, given: dict[str, Any], mine: str | None = None) -> CheckedRerun:
    """Everything that can be wrong with a rerun; `mine` is the execution that may have claimed it already.

    Raises BatchRefused with every problem, BatchRunning, BatchExpired, NotFound.
    """
    asked, found = read_input(given)
    if asked.rerun_of is None or not asked.rerun_of.batch_id:
        raise BatchRefused(found)
    wanted_of = asked.rerun_of
    record = app.records.get(wanted_of.batch_id)
    _check_state(record, mine)
    plan = _plan(app, record)
    parsed, more = _merged(asked, record, plan)
    problems = Problems([*found, *more])
    wanted = problems.of(lambda: read_wanted(wanted_of.status, wanted_of.rows))
    mappings = check_mappings(
        problems,
        parsed,
        record.tool_name,
        plan.kind,
        plan.columns,
        conditions=plan.conditions,
        schema=plan.input_schema,
    )
    place = problems.of(lambda: _place(app, parsed, record))
    target = problems.of(lambda: targets.resolve(app, parsed.target))
    problems.raise_any()
    # Whatever is None has left a problem behind.
    assert wanted is not None and mappings is not None and place is not None and target is not None  # noqa: PT018
    config = parsed.execution_config
    selection = select(app, record, wanted, config.limit)
    src, records = _rows(app, record, selection, stored=wanted_of.stored_input)
    layout = Layout(config.model_copy(update=dict.fromkeys(_ONE_RUN)), target, mappings.fields)
    plan = replace(
        plan,
        input_mapping=parsed.input_mapping,
        input_plan=mappings.fields.to_json(),
        output_mapping=mappings.written,
        output_plan=to_json(mappings.output),
        output_columns=mappings.output.columns,
        source={**plan.source, **src},
        **run_by(config, layout),
    )
    return CheckedRerun(record, parsed, plan, mappings, place, selection, layout, records)


def _check_state(record: BatchRecord, mine: str | None) -> None:
    if record.status in OPEN and record.execution_arn != mine:
        name = record.batch_id
        raise BatchRunning(
            f"batch {name} is {record.status}: its rows can be run again when that has ended\n"
            f"to wait for it: batch-processor status '{name}' --follow\nto end it now: batch-processor stop '{name}'"
        )
    check_ready(record, own=True)
    if record.expires_at is not None and record.expires_at < time.time() + _SOON:
        raise BatchExpired(
            f"the results of batch {record.batch_id} expire within the hour, those of a new run too: start a new batch"
        )


def _plan(app: App, record: BatchRecord) -> Plan:
    plan = app.plans.find(record.batch_id, record.plan_hash)
    if plan is None:
        message = f"the plan of batch {record.batch_id} is not stored any more: start a new batch"
        raise BatchRefused([Problem("rerun_of", message)])
    return plan


def _merged(asked: BatchInput, record: BatchRecord, plan: Plan) -> tuple[BatchInput, list[Problem]]:
    """Return the batch's own input with what the order gives instead, and what it may not give."""
    given, config = asked.model_fields_set, asked.execution_config
    other = {
        "csv_s3_uri": asked.csv_s3_uri != record.source["uri"],
        "target": asked.target.name not in (record.tool_name, target_name(plan.target_arn)),
        "source": any(asked.source.model_dump().values()),
    }
    problems = [
        Problem(key, "belongs to the batch and cannot change: leave it out, or start a new batch")
        for key, differs in other.items()
        if key in given and differs
    ]
    if config.sample is not None:
        problems.append(Problem("execution_config.sample", "is for a first run: name rows, or give limit"))
    own = {key: value for key, value in plan.execution_config.items() if key not in _ONE_RUN}
    changed = {key: getattr(config, key) for key in config.model_fields_set}
    merged: dict[str, Any] = {
        "csv_s3_uri": record.source["uri"],
        "target": Target(name=record.tool_name, arn=plan.target_arn),
        "execution_config": ExecutionConfig(**own).model_copy(update=changed),
    }
    if "input_mapping" not in given:
        merged["input_mapping"] = plan.input_mapping
    if not {"output_mapping", "output_mappings"} & given:
        merged["output_mapping"] = plan.output_mapping
    return asked.model_copy(update=merged), problems


def _format(parsed: BatchInput, record: BatchRecord) -> str:
    return parsed.csv.format if "format" in parsed.csv.model_fields_set else record.csv_format


def _place(app: App, parsed: BatchInput, record: BatchRecord) -> Place:
    """Return where the results go; refuses, before any row is run, a place that they cannot go to."""
    settings, form = app.settings, _format(parsed, record)
    said = {"bucket": parsed.output_bucket, "key": parsed.output_key}
    place = destination.decide(settings, record.batch_id, form, record=record, **said)
    source = (record.source["bucket"], record.source["key"])
    destination.check(settings, place, form, source, layer=bool(settings.parquet_layer))
    destination.check_free(app.records, place, record.batch_id)
    return place


def _columns(record: BatchRecord, output: OutputPlan) -> list[str] | None:
    """Return the CSV's columns: those it had, and those that a new mapping adds; None when either has to be found."""
    if record.output_columns is None or output.columns is None:
        return None
    return list(dict.fromkeys([*record.output_columns, *output.columns]))


def _rows(
    app: App, record: BatchRecord, selection: Selection, *, stored: bool
) -> tuple[dict[str, Any], dict[int, Iterator[Record]]]:
    """Where the rows are read from, as far as it differs from the plan's source, and the rows of each group."""
    if stored:
        return stored_source.write(app, record, selection)
    check_source(app.settings, record.source["bucket"], record.source["key"])
    _check_unchanged(app, record)
    found = _source_rows(app, record) if selection.count else None
    return {name: record.source[name] for name in READ_BY if name in record.source}, {
        before: map(found.record, numbers) for before, numbers in selection.rows.items() if found is not None
    }


def _check_unchanged(app: App, record: BatchRecord) -> None:
    """Refuse a source that is gone, or is not the one that was prepared."""
    src = record.source
    message = "give stored_input (--stored-input) to run the rows as they are stored, or start a new batch"
    try:
        there = objects.find_source(app.s3, src["bucket"], src["key"])
    except BatchRefused as refused:
        raise BatchRefused(Problem(one.path, f"{one.message}; {message}") for one in refused.problems) from refused
    if there.etag != src["etag"]:
        raise BatchRefused([Problem("csv_s3_uri", f"{there.uri} was replaced after the batch was prepared: {message}")])


def _source_rows(app: App, record: BatchRecord) -> SourceRows:
    try:
        return SourceRows(app.s3, app.settings.data_bucket, record.source, record.chunks_key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in objects.UNREADABLE:
            raise
        message = f"the list of the batch's rows, {record.chunks_key}, is not kept any more: start a new batch"
        raise BatchRefused([Problem("rerun_of", message)]) from error


def _chunks(order: CheckedRerun) -> list[Chunk]:
    """Return the chunks of the run: rows that were run equally often share one, so that it can say how often."""
    groups = (
        (before + 1, order.layout.chunks(records, order.plan.columns)) for before, records in order.records.items()
    )
    again = chain.from_iterable((replace(chunk, attempts=times) for chunk in chunks) for times, chunks in groups)
    try:
        return [replace(chunk, number=number) for number, chunk in enumerate(again)]
    except SourceChanged as changed:
        raise BatchRefused([Problem("csv_s3_uri", str(changed))]) from changed


def _claim(app: App, order: CheckedRerun, event: dict[str, Any]) -> int:
    """Return the number of the run, once the record is its own; raises BatchRunning when another one was quicker."""
    record = order.record
    if record.status in OPEN:  # a retried function: claimed already
        return record.run
    run = record.run + 1
    last = {"ended_at": record.ended_at, "status": record.status, "stop_reason": record.stop_reason}
    started_at = event.get("started_at") or now_iso()
    entry = {"run": run, "execution_arn": event["execution_arn"], "started_at": started_at}
    claimed = app.records.update_ended(
        record.batch_id,
        run - 1,
        record.plan_hash,
        status=BatchStatus.PREPARING.value,
        run=run,
        runs=[*record.runs[:-1], {**record.runs[-1], **last}, entry],
        execution_arn=event["execution_arn"],
        rows_to_run=order.selection.count,
        kept_counts=order.selection.kept(),
        ended_at=None,
        execution_time_ms=None,
        stop=None,
        stop_reason=None,
        error=None,
    )
    if not claimed and not _is_claimed(app.records.get(record.batch_id), run, event):
        raise BatchRunning(f"batch {record.batch_id} was run again or remapped by something else just now: look at it")
    return run


def _is_claimed(now: BatchRecord, run: int, event: dict[str, Any]) -> bool:
    """Whether the claim was this execution's own: its answer was lost, and botocore asked again."""
    return now.run == run and bool(now.execution_arn == event["execution_arn"])
