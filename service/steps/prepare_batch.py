"""The beginning of a batch: everything checked, rows counted, plan, manifest and record written."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError, BatchRefused
from service.extraction.stored_plan import to_json
from service.limits import LONGEST_RUN
from service.models import BatchStatus, batch_id, now_iso, parse_iso
from service.plan import Plan
from service.record import BatchRecord
from service.request import destination
from service.request.checks import Checked, check
from service.request.chunking import Layout, run_by
from service.request.parse import read_input
from service.secrets_mask import masked
from service.source.manifest import told, write_chunks, write_manifest
from service.source.row_lookup import READ_BY, SourceRows

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App
    from service.request.models import BatchInput
    from service.source.csv_rows import Chunk

_MESSAGE_KEPT = 20_000  # characters of a refusal that stand in the record
_DAY = 86_400


def prepare(app: App, event: dict[str, Any], remaining: Callable[[], float] | None = None) -> dict[str, Any]:
    """Return what the state machine needs to run the batch; raises BatchRefused with every problem found.

    `event`: input, execution_name, execution_arn and started_at of the execution; `remaining`: how many seconds are
    left. A batch that is refused leaves a record that says why, unless not even its target has a name.

    An `event` with `unfinished`, what was returned of a run, asks which of its chunks are to be run again.
    """
    if "unfinished" in event:
        from service.batch.unfinished import find_unfinished  # noqa: PLC0415 - most batches do without

        return find_unfinished(app, event["unfinished"])
    if isinstance(event["input"], dict) and event["input"].get("rerun_of") is not None:
        from service.batch import rerun  # noqa: PLC0415 - with what reads results; a first run does without

        return rerun.prepare(app, event)
    parsed, problems = read_input(event["input"])
    record = _record(parsed, event)
    recorded = bool(parsed.target.name)
    if recorded:
        record = app.records.create(record)
    try:
        return _write(app, parsed, record, check(app, parsed, event["execution_name"], problems, remaining))
    except BatchProcessorError as refused:
        error = {"type": type(refused).__name__, "message": masked(_said(refused)[:_MESSAGE_KEPT])}
        if recorded:
            ended = {"status": BatchStatus.FAILED.value, "ended_at": now_iso(), "error": error}
            app.records.update_open(record.batch_id, event["execution_arn"], **ended)
        raise


def _said(refused: BatchProcessorError) -> str:
    return refused.detailed if isinstance(refused, BatchRefused) else str(refused)


def _record(parsed: BatchInput, event: dict[str, Any]) -> BatchRecord:
    started_at = event.get("started_at") or now_iso()
    return BatchRecord(
        batch_id(parsed.target.name, event["execution_name"]),
        prepared_at=now_iso(),
        started_at=started_at,
        tool_name=parsed.target.name,
        target={"name": parsed.target.name},
        status=BatchStatus.PREPARING.value,
        source={"uri": parsed.csv_s3_uri},
        execution_arn=event["execution_arn"],
        run=1,
        runs=[{"run": 1, "execution_arn": event["execution_arn"], "started_at": started_at}],
    )


def _plan(parsed: BatchInput, record: BatchRecord, checked: Checked) -> Plan:
    """Return the plan; a repeated preparation of the same batch has the same."""
    config, target, opened = parsed.execution_config, checked.target, checked.opened
    prepared = parse_iso(record.prepared_at).timestamp()
    return Plan(
        kind=target.kind,
        target_name=target.name,
        target_arn=target.arn,
        target_version=target.version,
        input_mapping=parsed.input_mapping,
        input_plan=checked.mappings.fields.to_json(),
        input_schema=target.input_schema,
        output_mapping=checked.mappings.written,
        output_plan=to_json(checked.mappings.output),
        conditions=target.conditions,
        output_columns=checked.mappings.output.columns,
        columns=opened.columns,
        source={**asdict(opened.found), **asdict(opened.fmt)},
        **run_by(config, checked.layout),
        price_per_row_usd=target.price_per_row_usd,
        profile={
            "row_bytes": opened.found.size / max(1, checked.layout.row_count),
            "concurrency": config.max_concurrency,
            "rows_per_chunk": checked.layout.rows_per_chunk,
            "kept_days": 0 if config.ttl_days is None else LONGEST_RUN / _DAY + config.ttl_days,
        },
        ttl=None if config.ttl_days is None else int(prepared + LONGEST_RUN + config.ttl_days * _DAY),
    )


def _write(app: App, parsed: BatchInput, record: BatchRecord, checked: Checked) -> dict[str, Any]:
    """Plan, manifest and list of chunks first; the record that names them last."""
    plan, layout, identifier = _plan(parsed, record, checked), checked.layout, record.batch_id
    if parsed.output_key:  # without one the key is the batch's own
        destination.claim(app.records, checked.place, identifier, plan.ttl)
    digest, bucket = app.plans.save(identifier, plan), app.settings.data_bucket
    chunks_key = write_chunks(app.s3, bucket, identifier, checked.chunks)
    manifest_key = write_manifest(app.s3, bucket, identifier, 1, _to_run(app, plan, parsed, checked, chunks_key))
    counted: dict[str, Any] = {"row_count": layout.row_count, "rows_to_run": layout.rows_to_run}
    values = {"chunks_key": chunks_key, "manifest_key": manifest_key, **counted, "plan_hash": digest}
    values["runs"] = [{**record.runs[0], "manifest_key": manifest_key}]
    _update_record(app, parsed, record, checked, values, plan)
    return told(identifier, 1, digest, manifest_key, children=plan.children, outer=layout.outer, **counted)


def _to_run(app: App, plan: Plan, parsed: BatchInput, checked: Checked, chunks_key: str) -> list[Chunk]:
    """Return the chunks of the rows that this run is to run: the first ones, or a sample spread over all."""
    rows, total = checked.layout.rows_to_run, checked.layout.row_count
    if parsed.execution_config.sample is None or rows == total:
        return [chunk for chunk in checked.chunks if chunk.first_row <= rows]
    found = SourceRows(app.s3, app.settings.data_bucket, plan.source, chunks_key)
    records = (found.record(1 + (2 * position + 1) * total // (2 * rows)) for position in range(rows))
    config = parsed.execution_config.model_copy(update={"sample": None})
    return Layout(config, checked.target, checked.layout.fields).chunks(records, plan.columns)


def _update_record(  # noqa: PLR0913 - what the record is told of
    app: App,
    parsed: BatchInput,
    record: BatchRecord,
    checked: Checked,
    values: dict[str, Any],
    plan: Plan,
) -> None:
    src, output, identifier = plan.source, checked.mappings.output, record.batch_id
    app.records.update_open(  # an execution that was aborted meanwhile has closed it
        identifier,
        record.execution_arn,
        status=BatchStatus.RUNNING.value,
        target={
            "name": plan.target_name,
            "kind": plan.kind,
            "arn": plan.target_arn,
            "version": plan.target_version,
        },
        source={
            "uri": parsed.csv_s3_uri,
            **{name: src[name] for name in READ_BY},
            "columns": plan.columns,
            **({} if checked.opened.note is None else {"note": checked.opened.note}),
        },
        output_columns=None if output.columns is None else list(output.columns),
        csv=parsed.csv.model_dump()
        | {"include_original": output.include_original, "add_metadata": output.add_metadata},
        output_bucket=checked.place.bucket,
        output_key=checked.place.key,
        expires_at=plan.ttl,
        chunks=checked.layout.told(),
        **values,
    )
    # It may have been stopped by hand meanwhile: that stays.
    if values["rows_to_run"] < values["row_count"]:
        reason = "limit" if parsed.execution_config.sample is None else "sample"
        app.records.give_reason(identifier, record.execution_arn, reason)
    app.records.keep_stopped(identifier, record.execution_arn)
