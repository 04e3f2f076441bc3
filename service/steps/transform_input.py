"""A chunk of the source as rows on their way to the target."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

from service.batch.failing_alike import count_failure
from service.batch.stopping import count_failures
from service.limits import EXPRESS_SECONDS, INVALID_ROW_BYTES, ROW_BYTES
from service.mapping.conversions import RowNotMapped
from service.mapping.schema import input_schema
from service.models import Result, RowStatus, error_of, now_iso, row_id
from service.source import csv_rows
from service.source.row_payload import (
    PLACE_BYTES,
    input_fields,
    least_bytes,
    place_of,
    read_chunk,
    room_beside_the_output,
    row_payload,
    wire_bytes,
)
from service.store.results import to_item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App
    from service.events import ChunkAnswer, ChunkEvent, RowPayload, RunEvent
    from service.mapping.input_plan import InputPlan
    from service.plan import Plan
    from service.source.csv_rows import Record
    from service.store.plans import Plans


@lru_cache(maxsize=32)
def _input_plan(plans: Plans, batch_id: str, digest: str) -> InputPlan:
    """Return the input mapping of a plan, with the target's input_schema."""
    schema = input_schema(plans.load(batch_id, digest).input_schema)
    return replace(input_fields(plans, batch_id, digest), schema=schema)


def transform_chunk(app: App, event: ChunkEvent) -> ChunkAnswer:
    """Return the chunk's rows, each with what the target is given; those that cannot be mapped are stored here.

    `event`: batch_id, run, plan (its hash), chunk (a line of the manifest), children (the type of its execution) and
    again (whether the chunk is run a second time: rows that have a result of this run do not travel). Raises
    SourceChanged.
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    chunk = csv_rows.Chunk.from_json(event["chunk"])
    answer: ChunkAnswer = {
        "batch_id": event["batch_id"],
        "run": event["run"],
        "plan": event["plan"],
        "kind": "sync_agent" if plan.synchronous else plan.kind,
        "until": int(time.time()) + EXPRESS_SECONDS if event.get("children") == "EXPRESS" else 0,
        "target_arn": plan.target_arn,
        "timeout_seconds": plan.timeout_seconds,
        "inner": plan.inner,
        "attempts": chunk.attempts,
        "chunk": {"number": chunk.number, "first_row": chunk.first_row, "rows": chunk.rows},
        "rows": [],
        "stored": {},
    }
    if app.plans.stopped(event["batch_id"]):
        answer["stored"] = {RowStatus.NOT_RUN.value: chunk.rows}
    else:
        done = _done(app, answer, chunk) if event.get("again") else {}
        answer["rows"], answer["stored"] = _map_rows(app, answer, plan, chunk, done)
    return answer


def _done(app: App, event: RunEvent, chunk: csv_rows.Chunk) -> dict[str, str]:
    """Return the statuses, by row id, of the chunk's rows that have a result of this run."""
    numbers = (number for first, end in chunk.spans for number in range(first, end))
    return app.store.of_run(event["batch_id"], [row_id(number) for number in numbers], event["run"])


def _map_rows(
    app: App, event: ChunkAnswer, plan: Plan, chunk: csv_rows.Chunk, done: Mapping[str, str]
) -> tuple[list[RowPayload], dict[str, int]]:
    """Return the rows that travel, and counts of those that are stored; `event` is the chunk's answer without them.

    `done`: statuses of rows that were stored before.
    """
    columns = plan.columns
    fields = _input_plan(app.plans, event["batch_id"], event["plan"])
    rows: list[RowPayload] = []
    stored: dict[str, int] = dict(Counter(done.values()))
    new, room = 0, room_beside_the_output(event)
    for record in read_chunk(app.s3, plan, chunk):
        if row_id(record.number) in done:
            continue
        row: dict[str, str] = {}
        try:
            row = csv_rows.row_of(columns, record.cells)
            item = row_payload(plan.kind, plan.target_name, event["batch_id"], record.number, row, fields, event["run"])
            size = wire_bytes(item)
            if size > ROW_BYTES:
                message = (
                    f"the row and what the target is given take {size} bytes as JSON; at most {ROW_BYTES} can travel"
                )
                raise RowNotMapped(message)
            beside = room + (0 if event["kind"] == "tool" else least_bytes(item["target_input"]))
            if wire_bytes(item["row"]) > max(beside, PLACE_BYTES):
                item["row"] = place_of(record)
            rows.append(item)
        except (csv_rows.RaggedRow, RowNotMapped) as trouble:
            row = trouble.row if isinstance(trouble, csv_rows.RaggedRow) else row
            invalid = _invalid(event, plan, record, row, str(trouble))
            invalid.attempts = chunk.attempts
            status, written = app.store.put_item(to_item(invalid))
            stored[status] = stored.get(status, 0) + 1
            new += written
            if written:
                count_failure(app, plan, event, chunk.number, invalid)
    count_failures(app.plans, plan, event, new)
    return rows, stored


def _invalid(event: RunEvent, plan: Plan, record: Record, row: dict[str, str], message: str) -> Result:
    kept, cut = _fitting(row)
    where = f"line {record.line} of the source: {message}"
    return Result(
        event["batch_id"],
        row_id(record.number),
        RowStatus.INVALID_INPUT,
        kept,
        timestamp=now_iso(),
        run=event["run"],
        ttl=plan.ttl,
        error=error_of("InvalidInput", where + ("; long cells are cut in what is stored" if cut else "")),
    )


def _fitting(row: dict[str, str]) -> tuple[dict[str, str], bool]:
    """Return the row, its cells cut where it is too large to be stored, and whether they were."""
    sizes = [len(name.encode(errors="replace")) + 1 for name in row]
    if sum(sizes) + sum(len(cell.encode(errors="replace")) for cell in row.values()) <= INVALID_ROW_BYTES:
        return row, False
    share = max(0, INVALID_ROW_BYTES - sum(sizes)) // (4 * max(1, len(row)))  # characters of at most 4 bytes
    return {name: cell[:share] for name, cell in row.items()}, True
