"""The beginning of a batch: everything checked, rows counted, plan, manifest and record written."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from service import source
from service.batch_input import BatchInput, read_input
from service.checks import Checked, check, output_mapping
from service.errors import BatchProcessorError
from service.models import BatchStatus, batch_hash, batch_id, now_iso, parse_iso
from service.table import BatchItem

if TYPE_CHECKING:
    from service.app import App

LONGEST_RUN = 7 * 86_400  # seconds: TimeoutSeconds of the state machine
_MESSAGE_KEPT = 20_000  # characters of a refusal that stand in the record
_DAY = 86_400


def prepare(app: App, event: dict[str, Any]) -> dict[str, Any]:
    """What the state machine needs to run the batch; raises BatchRefused with every problem found.

    `event`: input, execution_name, execution_arn and started_at of the execution. A batch that is refused leaves a
    record that says why, unless not even its target has a name.
    """
    parsed, problems = read_input(event["input"])
    record = _record(parsed, event)
    recorded = bool(parsed.target.name)
    if recorded:
        record = app.records.create(record)
    try:
        return _write(app, parsed, record, check(app, parsed, event["execution_name"], problems))
    except BatchProcessorError as refused:
        error = {"type": type(refused).__name__, "message": str(refused)[:_MESSAGE_KEPT]}
        if recorded:
            app.records.update_open(record.batch_id, status=BatchStatus.FAILED.value, ended_at=now_iso(), error=error)
        raise


def _record(parsed: BatchInput, event: dict[str, Any]) -> BatchItem:
    started_at = event.get("started_at") or now_iso()
    return BatchItem(
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


def _plan(parsed: BatchInput, record: BatchItem, checked: Checked) -> dict[str, Any]:
    """The plan; a repeated preparation of the same batch has the same."""
    config, target, opened = parsed.execution_config, checked.target, checked.opened
    prepared = parse_iso(record.prepared_at).timestamp()
    return {
        "kind": target.kind,
        "target_name": target.name,
        "target_arn": target.arn,
        "target_version": target.version,
        "input_mapping": parsed.input_mapping,
        "input_schema": checked.input_schema,
        "output_mapping": output_mapping(parsed, target)[0],
        "output_columns": checked.output.columns,
        "columns": opened.columns,
        "source": {**asdict(opened.found), **asdict(opened.fmt)},
        "inner": checked.layout.inner,
        "timeout_seconds": config.timeout_seconds,
        "retry_policy": config.retry_policy.model_dump(),
        "keep_output": config.keep_output,
        "ttl": None if config.ttl_days is None else int(prepared + LONGEST_RUN + config.ttl_days * _DAY),
    }


def _write(app: App, parsed: BatchInput, record: BatchItem, checked: Checked) -> dict[str, Any]:
    """Plan, manifest and list of chunks first; the record that names them last."""
    plan, layout = _plan(parsed, record, checked), checked.layout
    digest = app.plans.save(record.batch_id, plan)
    prefix = f"batches/{batch_hash(record.batch_id)}"
    keys = {"manifest_key": f"{prefix}/run-1.jsonl", "chunks_key": f"{prefix}/chunks.jsonl"}
    _write_chunks(app, checked, keys)
    counted = {"row_count": layout.row_count, "rows_to_run": layout.rows_to_run}
    _update_record(app, parsed, record.batch_id, checked, {**keys, **counted, "plan_hash": digest}, plan)
    return {
        "batch_id": record.batch_id,
        "run": 1,
        "plan": digest,
        "manifest_key": keys["manifest_key"],
        "map_results_prefix": f"{prefix}/map/run-1",
        "outer": layout.outer,
        **counted,
    }


def _write_chunks(app: App, checked: Checked, keys: dict[str, str]) -> None:
    chunks = checked.chunks
    to_run = [chunk for chunk in chunks if chunk.first_row <= checked.layout.rows_to_run]
    dealt = (to_run[position] for position in source.dealt_order(len(to_run)))
    for key, some in ((keys["chunks_key"], chunks), (keys["manifest_key"], dealt)):
        lines = "".join(json.dumps(chunk.to_json(), separators=(",", ":")) + "\n" for chunk in some)
        app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=lines.encode())


def _update_record(  # noqa: PLR0913 - what the record is told of
    app: App,
    parsed: BatchInput,
    identifier: str,
    checked: Checked,
    values: dict[str, Any],
    plan: dict[str, Any],
) -> None:
    src, columns = plan["source"], checked.output.columns
    named = ("bucket", "key", "etag", "size", "encoding", "delimiter", "bom_bytes")
    app.records.update(
        identifier,
        status=BatchStatus.RUNNING.value,
        target={
            "name": plan["target_name"],
            "kind": plan["kind"],
            "arn": plan["target_arn"],
            "version": plan["target_version"],
        },
        source={
            "uri": parsed.csv_s3_uri,
            **{name: src[name] for name in named},
            "columns": plan["columns"],
        },
        output_columns=None if columns is None else list(columns),
        csv=parsed.csv.model_dump()
        | {"include_original": checked.output.include_original, "add_metadata": checked.output.add_metadata},
        output_bucket=checked.location[0],
        output_key=checked.location[1],
        expires_at=plan["ttl"],
        **values,
    )
    # It may have been stopped by hand meanwhile: that stays.
    if values["rows_to_run"] < values["row_count"]:
        app.records.update(identifier, BatchItem.stop_reason.does_not_exist(), stop_reason="limit")
    app.records.update(identifier, BatchItem.stop == True, status=BatchStatus.STOPPING.value)  # noqa: E712 - a condition
