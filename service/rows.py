"""A chunk of the source as rows on their way to the target."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service import objects, source
from service.conversions import RowNotMapped
from service.envelope import target_input
from service.input_schema import compile_input_schema
from service.mapping import InputPlan, compile_input_mapping
from service.models import Result, RowStatus, call_name, error_of, now_iso, row_id
from service.stopping import count_failures
from service.store import to_item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App
    from service.plans import Plans
    from service.source import Record

# A state's payload is at most 262,144 bytes of UTF-8 (Step Functions quotas). Beside its row a failure's state holds a
# cause of up to 32,768 characters, escaped once more: where that does not fit, the whole chunk would fail.
ROW_BYTES = 190_000
STORED_BYTES = 350_000  # of the 400 KB of an item


def wire_bytes(value: Any) -> int:
    """Bytes that a value takes on its way through Step Functions, at most.

    Lambda's runtime writes JSON with these separators, ASCII-escaped up to Python 3.11 and as UTF-8 from 3.12 on, which
    is never longer.
    """
    return len(json.dumps(value)) + 2


def travelling(  # noqa: PLR0913 - what a row consists of
    kind: Any, name: str, batch_id: str, number: int, row: dict[str, str], fields: InputPlan, run: int = 1
) -> dict[str, Any]:
    """The row as TransformInput returns it; raises RowNotMapped."""
    call_id = call_name(batch_id, number, run, 1)
    return {
        "row_id": row_id(number),
        "row": row,
        "target_input": target_input(kind, name, call_id, fields.fields(row), fields.envelope),
        "call": {"attempt": 1, "name": call_id},
    }


@lru_cache(maxsize=32)
def _input_plan(plans: Plans, batch_id: str, digest: str) -> InputPlan:
    """The mapping and the target's input_schema of a plan, compiled once for all chunks of a batch."""
    plan = plans.load(batch_id, digest)
    compiled = compile_input_mapping(plan["input_mapping"], plan["columns"])
    # plans from before there were schemas have none
    return replace(compiled, schema=compile_input_schema(plan.get("input_schema")))


def transform_chunk(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """The chunk's rows, each with what the target is given; those that cannot be mapped are stored here.

    `event`: batch_id, run, plan (its hash) and chunk (a line of the manifest). Raises SourceChanged.
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    chunk = source.Chunk.from_json(event["chunk"])
    answer = {
        **{name: event[name] for name in ("batch_id", "run", "plan")},
        **{name: plan[name] for name in ("kind", "target_arn", "timeout_seconds", "inner")},
        "attempts": chunk.attempts,
        "chunk": {"number": chunk.number, "first_row": chunk.first_row, "rows": chunk.rows},
    }
    if app.plans.stopped(event["batch_id"]):
        return {**answer, "rows": [], "stored": {RowStatus.NOT_RUN.value: chunk.rows}}
    rows, stored = _map_rows(app, event, plan, chunk)
    return {**answer, "rows": rows, "stored": stored}


def _map_rows(
    app: App, event: Mapping[str, Any], plan: dict[str, Any], chunk: source.Chunk
) -> tuple[list[dict[str, Any]], dict[str, int]]:
    columns = plan["columns"]
    fields = _input_plan(app.plans, event["batch_id"], event["plan"])
    rows: list[dict[str, Any]] = []
    stored: dict[str, int] = {}
    new = 0
    for record in _read(app, plan, chunk):
        row: dict[str, str] = {}
        try:
            row = source.row_of(columns, record.cells)
            item = travelling(
                plan["kind"], plan["target_name"], event["batch_id"], record.number, row, fields, event["run"]
            )
            size = wire_bytes(item)
            if size > ROW_BYTES:
                message = (
                    f"the row and what the target is given take {size} bytes as JSON; at most {ROW_BYTES} can travel"
                )
                raise RowNotMapped(message)
            rows.append(item)
        except (source.RaggedRow, RowNotMapped) as trouble:
            row = trouble.row if isinstance(trouble, source.RaggedRow) else row
            invalid = _invalid(event, plan, record, row, str(trouble))
            invalid.attempts = chunk.attempts
            status, written = app.store.put_item(to_item(invalid))
            stored[status] = stored.get(status, 0) + 1
            new += written
    count_failures(app, plan, event, new)
    return rows, stored


def _read(app: App, plan: dict[str, Any], chunk: source.Chunk) -> Any:
    found, fmt = objects.SourceObject.of(plan["source"]), source.SourceFormat.of(plan["source"])
    return source.read_chunk(lambda start, end: objects.read(app.s3, found, start, end), fmt, chunk)


def _invalid(
    event: Mapping[str, Any], plan: dict[str, Any], record: Record, row: dict[str, str], message: str
) -> Result:
    kept, cut = _fitting(row)
    where = f"line {record.line} of the source: {message}"
    return Result(
        event["batch_id"],
        row_id(record.number),
        RowStatus.INVALID_INPUT,
        kept,
        timestamp=now_iso(),
        run=event["run"],
        ttl=plan["ttl"],
        error=error_of("InvalidInput", where + ("; long cells are cut in what is stored" if cut else "")),
    )


def _fitting(row: dict[str, str]) -> tuple[dict[str, str], bool]:
    """The row, its cells cut where it is too large to be stored, and whether they were."""
    sizes = [len(name.encode(errors="replace")) + 1 for name in row]
    if sum(sizes) + sum(len(cell.encode(errors="replace")) for cell in row.values()) <= STORED_BYTES:
        return row, False
    share = max(0, STORED_BYTES - sum(sizes)) // (4 * max(1, len(row)))  # characters of at most 4 bytes
    return {name: cell[:share] for name, cell in row.items()}, True
