"""The rows of a batch that did not succeed, run again: the same batch, the same row ids, one run more.

What the run is made of (mappings, limits, target) is the batch's own plan, unless the order gives another; it has a
hash of its own, so no function can take the old mapping for the new one. Nothing changes before everything is checked;
then the record is claimed for the new run, on condition that it is as it was read: of two orders at once, one is
refused.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch import stored_source
from service.batch.progress import BatchExpired, BatchRunning, check_ready
from service.batch.selection import read_wanted, select
from service.errors import BatchRefused, Problem, SourceChanged
from service.extraction.compiler import compile_output_mapping, with_conditions
from service.extraction.stored_plan import to_json
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema import check_required, compile_input_schema
from service.models import OPEN, BatchStatus, now_iso, results_key, target_name
from service.permissions import check_output, check_source
from service.request import targets
from service.request.checks import check_output_is_free, claim_output, output_mapping
from service.request.chunking import Layout, run_by
from service.request.columns import SUFFIXES, check_format, keys_written, renamed
from service.request.older_keys import Renamed
from service.request.parse import read_input
from service.s3 import objects
from service.source.manifest import told, write_manifest
from service.source.row_lookup import READ_BY, SourceRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.app import App
    from service.batch.selection import Selection
    from service.extraction.fields import OutputPlan
    from service.plan import Plan
    from service.record import BatchRecord
    from service.request.parse import BatchInput
    from service.source.csv_rows import Chunk, Record

_SOON = 3_600  # seconds before a batch's results expire in which no run of it is begun
_FIXED = ("csv_s3_uri", "target", "source")
_ONE_RUN = ("limit", "sample")  # of an execution_config: they hold for the run that they were given for


@dataclass
class Order:
    """A rerun that was found to be in order."""

    record: BatchRecord
    parsed: BatchInput
    plan: Plan
    output: OutputPlan
    selection: Selection
    layout: Layout
    records: dict[int, Iterator[Record]]  # rows to run, by how often they were run before


def prepare(app: App, event: dict[str, Any]) -> dict[str, Any]:
    """What the state machine needs for the run; raises BatchRefused with every problem, BatchRunning, BatchExpired."""
    order = check(app, event["input"], mine=event["execution_arn"])
    chunks = _chunks(order)
    run = _claim(app, order, event)
    record, identifier = order.record, order.record.batch_id
    bucket, key = _location(order.parsed, record)
    if key != results_key(identifier, SUFFIXES[_format(order.parsed, record)]):  # its own, which no other batch has
        claim_output(app, bucket, key, identifier, order.plan.ttl)
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
        output_columns=_columns(record, order.output),
        csv={**record.csv, **order.parsed.csv.model_dump(include=order.parsed.csv.model_fields_set)},
        output_bucket=bucket,
        output_key=key,
    )
    app.records.keep_stopped(identifier, event["execution_arn"])
    counted = {"row_count": record.rows, "rows_to_run": order.selection.count}
    return told(identifier, run, digest, manifest_key, outer=order.layout.outer, **counted)


def preview(app: App, record: BatchRecord, rerun_of: dict[str, Any]) -> tuple[Plan, Selection]:
    """The batch's plan and the rows that a rerun would run; raises as `check`, of the batch and the rows alone."""
    _check_state(record, None)
    plan = _plan(app, record)
    return plan, select(app, record, read_wanted(rerun_of.get("status"), rerun_of.get("rows")))


def check(app: App, given: dict[str, Any], mine: str | None = None) -> Order:
    """Everything that can be wrong with a rerun; `mine` is the execution that may have claimed it already.

    Raises BatchRefused with every problem, BatchRunning, BatchExpired, NotFound.
    """
    asked, problems = read_input({"csv_s3_uri": "s3://batch/source", "target": "batch", "rerun_of": given["rerun_of"]})
    if problems or asked.rerun_of is None:
        raise BatchRefused(problems)
    record = app.records.get(asked.rerun_of.batch_id)
    _check_state(record, mine)
    plan = _plan(app, record)
    parsed, problems = _merged(record, plan, given)
    try:
        wanted = read_wanted(asked.rerun_of.status, asked.rerun_of.rows)
        mapping = with_conditions(output_mapping(parsed, None)[0], plan.conditions)
        output = compile_output_mapping(mapping, target=record.tool_name, kind=plan.kind)
        fields = compile_input_mapping(parsed.input_mapping, plan.columns)
        compile_input_schema(plan.input_schema)
        check_required(plan.input_schema, fields.names)
        _check_location(app, parsed, record)
        target = targets.resolve(app, parsed.target)
    except BatchRefused as refused:
        raise BatchRefused(dict.fromkeys([*problems, *refused.problems])) from refused
    if problems:
        raise BatchRefused(dict.fromkeys(problems))
    config = parsed.execution_config
    selection = select(app, record, wanted, config.limit)
    src, records = _rows(app, record, selection, stored=asked.rerun_of.stored_input)
    layout = Layout(config.model_copy(update=dict.fromkeys(_ONE_RUN)), target, fields)
    plan = replace(
        plan,
        input_mapping=parsed.input_mapping,
        input_plan=fields.to_json(),
        output_mapping=mapping,
        output_plan=to_json(output),
        output_columns=output.columns,
        source={**plan.source, **src},
        **run_by(config, layout),
    )
    return Order(record, parsed, plan, output, selection, layout, records)


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


def _merged(record: BatchRecord, plan: Plan, given: dict[str, Any]) -> tuple[BatchInput, list[Problem]]:
    """The batch's own input with what the order gives instead."""
    own = {
        "csv_s3_uri": record.source["uri"],
        "target": {"name": record.tool_name, "arn": plan.target_arn},
        "input_mapping": plan.input_mapping,
        "output_mapping": plan.output_mapping,
    }
    renamed = Renamed(given)
    present = {key: value for key, value in renamed.given.items() if value is not None and key != "rerun_of"}
    same: dict[str, Callable[[Any], bool]] = {
        "csv_s3_uri": lambda value: value == own["csv_s3_uri"],
        "target": lambda value: target_name(value) in (record.tool_name, target_name(plan.target_arn)),
        "source": lambda value: isinstance(value, dict) and not any(value.values()),
    }
    problems = [*renamed.problems] + [
        Problem(key, "belongs to the batch and cannot change: leave it out, or start a new batch")
        for key in _FIXED
        if key in present and not same[key](present[key])
    ]
    if present.get("output_mappings"):
        own.pop("output_mapping")
    changed = {key: value for key, value in present.items() if key not in _FIXED}
    config = changed.get("execution_config")
    if isinstance(config, dict | None):
        own_config = {k: v for k, v in plan.execution_config.items() if k not in _ONE_RUN}
        changed["execution_config"] = {**own_config, **(config or {})}
        if (config or {}).get("sample") is not None:
            problems.append(Problem("execution_config.sample", "is for a first run: name rows, or give limit"))
    parsed, found = read_input({**own, **changed})
    return parsed, problems + found


def _location(parsed: BatchInput, record: BatchRecord) -> tuple[str, str]:
    """Where the CSV goes: where it went, unless the order says otherwise, under a name of its format."""
    return parsed.output_bucket or record.output_bucket, parsed.output_key or renamed(
        record.output_key, _format(parsed, record)
    )


def _format(parsed: BatchInput, record: BatchRecord) -> str:
    if "format" in parsed.csv.model_fields_set:
        return parsed.csv.format
    return record.csv_format


def _check_location(app: App, parsed: BatchInput, record: BatchRecord) -> None:
    """Refuses a place or a format that the CSV cannot be written to or in, before any row is run."""
    (bucket, key), form = _location(parsed, record), _format(parsed, record)
    check_format(form, "" if parsed.output_key is None else key, layer=bool(app.settings.parquet_layer))
    for written in keys_written(key, form):
        check_output(app.settings, bucket, written)
    check_output_is_free(app, bucket, key, record.batch_id)


def _columns(record: BatchRecord, output: OutputPlan) -> list[str] | None:
    """The CSV's columns: those it had, and those that a new mapping adds; None when either has to be found."""
    if record.output_columns is None or output.columns is None:
        return None
    return list(dict.fromkeys([*record.output_columns, *output.columns]))


def _rows(
    app: App, record: BatchRecord, selection: Selection, *, stored: bool
) -> tuple[dict[str, Any], dict[int, Iterator[Record]]]:
    """Where the rows are read from, as far as it differs from the plan's source, and the rows of each group."""
    if stored:
        return stored_source.write(app, record, selection)
    src = record.source
    check_source(app.settings, src["bucket"], src["key"])
    message = "give stored_input (--stored-input) to run the rows as they are stored, or start a new batch"
    try:
        there = objects.find_source(app.s3, src["bucket"], src["key"])
    except BatchRefused as refused:
        raise BatchRefused(Problem(one.path, f"{one.message}; {message}") for one in refused.problems) from refused
    if there.etag != src["etag"]:
        raise BatchRefused([Problem("csv_s3_uri", f"{there.uri} was replaced after the batch was prepared: {message}")])
    found = _source_rows(app, record) if selection.count else None
    return {name: src[name] for name in READ_BY if name in src}, {
        before: map(found.record, numbers) for before, numbers in selection.rows.items() if found is not None
    }


def _source_rows(app: App, record: BatchRecord) -> SourceRows:
    try:
        return SourceRows(app.s3, app.settings.data_bucket, record.source, record.chunks_key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in objects.UNREADABLE:
            raise
        message = f"the list of the batch's rows, {record.chunks_key}, is not kept any more: start a new batch"
        raise BatchRefused([Problem("rerun_of", message)]) from error


def _chunks(order: Order) -> list[Chunk]:
    """The chunks of the run: rows that were run equally often share one, so that it can say how often."""
    groups = (
        (before + 1, order.layout.chunks(records, order.plan.columns)) for before, records in order.records.items()
    )
    again = chain.from_iterable((replace(chunk, attempts=times) for chunk in chunks) for times, chunks in groups)
    try:
        return [replace(chunk, number=number) for number, chunk in enumerate(again)]
    except SourceChanged as changed:
        raise BatchRefused([Problem("csv_s3_uri", str(changed))]) from changed


def _claim(app: App, order: Order, event: dict[str, Any]) -> int:
    """The number of the run, once the record is its own; raises BatchRunning when another one was quicker."""
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
