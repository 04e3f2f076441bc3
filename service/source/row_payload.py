"""Rows on their way: what one takes, what may stand beside an output, and how a row is read and made again."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.errors import SourceChanged
from service.mapping.envelope import target_input
from service.mapping.input_plan import InputPlan
from service.models import call_name, row_id, row_number
from service.s3 import bodies
from service.source import csv_rows, lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.events import RowEvent, RowPayload
    from service.plan import Plan
    from service.source.csv_rows import Record
    from service.store.plans import Plans

# The answer of a target that is too large is caught; a state that outgrows its payload because something stands beside
# the answer is not, and ends the chunk's execution with the neighbours' paid calls. So what stands beside the output
# after Invoke, and in the call of WriteResult, never takes more than what the answer of the service held beside it and
# Invoke leaves behind. These are the bytes of that at least: for lambda:invoke version, request ids, status codes and
# the headers twice; for startExecution.sync:2 and startSyncExecution ARNs, name, dates and status, and the execution's
# input, which is the target_input (tests/infra/test_definition.py has both answers as they were recorded).
LEFT_BEHIND = {"tool": 860, "agent": 200, "sync_agent": 200}
_FUNCTION_ARN = "x" * 140  # longest ARN of a published version of the stack's own functions
PLACE_BYTES = 64  # of a row's place in the source at most: shorter rows gain nothing by it
_MOMENT = "2025-01-01T00:00:00.000Z"


def wire_bytes(value: Any) -> int:
    """Bytes that a value takes on its way through Step Functions, at most.

    Lambda's runtime writes JSON with these separators, ASCII-escaped up to Python 3.11 and as UTF-8 from 3.12 on, which
    is never longer.
    """
    return len(json.dumps(value)) + 2


def least_bytes(value: Any) -> int:
    """Return the bytes that a value takes as JSON in UTF-8, at least."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(errors="replace"))


def row_payload(  # noqa: PLR0913 - what a row consists of
    kind: Any, name: str, batch_id: str, number: int, row: dict[str, str], fields: InputPlan, run: int = 1
) -> RowPayload:
    """Return the row as TransformInput does, its cells without their names; raises RowNotMapped."""
    call_id = call_name(batch_id, number, run, 1)
    return {
        "row_id": row_id(number),
        "row": list(row.values()),
        "target_input": target_input(kind, name, call_id, fields.fields(row), fields.envelope),
        "call": {"attempt": 1, "waits": 0, "name": call_id},
    }


def room_beside_the_output(answer: Mapping[str, Any]) -> int:
    """Return the bytes that a row's cells may take, and travel past Invoke beside an output as large as one can be.

    `answer` is what TransformInput returns of the chunk. For an agent, the bytes of the target_input come to that.
    """
    call = {"attempt": 100, "name": call_name(answer["batch_id"], 10**10 - 1, answer["run"], 100)}
    taken = beside_the_output(answer, {"row_id": row_id(1), "row": "", "call": call})
    left_behind = LEFT_BEHIND[answer["kind"]]
    if answer["kind"] != "tool":  # its machine's ARN and its execution's name are there twice
        left_behind += 2 * (len(answer["target_arn"]) + len(call_name(answer["batch_id"], 1, 1, 1)))
    return left_behind - max(map(wire_bytes, taken))


def beside_the_output(answer: Mapping[str, Any], item: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the state holds after Invoke, and what WriteResult is called with, but for the output itself."""
    shared = {name: answer[name] for name in ("batch_id", "run", "attempts", "plan", "until")} | {"chunk_number": 10**8}
    call = {**item["call"], "action": "retry", "wait_seconds": 100_000, "waits": 10, "status": ""}
    output = {"output": "", "started_at": _MOMENT}
    state = {
        **shared,
        "target_arn": answer["target_arn"],
        "timeout_seconds": answer["timeout_seconds"],
        "row": {"row_id": item["row_id"], "row": item["row"], "target_input": output, "call": call},
    }
    row = {"row_id": item["row_id"], "row": item["row"], "attempt": 100, "waits": 10, **output, "stopped_at": _MOMENT}
    return state, {"FunctionName": _FUNCTION_ARN, "Payload": {**shared, **row}}


def place_of(record: Record) -> str:
    """Return where a row stands in the source, for one whose cells do not travel."""
    return f"{record.number}:{record.line}:{record.start}:{record.end}"


def row_at(s3: Any, plan: Plan, place: str) -> dict[str, str]:
    """Read a row again where it stands in the source.

    The row is empty when the source was replaced or deleted meanwhile: what the target gave is paid for, and is stored.
    """
    number, line, start, end = map(int, place.split(":"))
    try:
        (record,) = read_chunk(s3, plan, csv_rows.Chunk(0, (csv_rows.RowRange(number, 1, start, end, line),)))
    except SourceChanged:
        return {}
    return csv_rows.row_of(plan.columns, record.cells)


def target_input_again(plans: Plans, event: RowEvent, row: dict[str, str]) -> dict[str, Any]:
    """Return what the target is given for a row, as TransformInput made it: an output has taken its place."""
    plan = plans.load(event["batch_id"], event["plan"])
    fields = input_fields(plans, event["batch_id"], event["plan"])
    number = row_number(event["row_id"]) or 0
    item = row_payload(plan.kind, plan.target_name, event["batch_id"], number, row, fields, int(event["run"]))
    given: dict[str, Any] = item["target_input"]
    return given


@lru_cache(maxsize=32)
def input_fields(plans: Plans, batch_id: str, digest: str) -> InputPlan:
    """Return the input mapping of a plan, made once for all rows of a batch."""
    return InputPlan.of_json(plans.load(batch_id, digest).input_plan)


def read_chunk(s3: Any, plan: Plan, chunk: csv_rows.Chunk) -> Iterator[Record]:
    """Yield the records of a chunk from the source of a plan; raises SourceChanged."""
    found, fmt = bodies.SourceObject.of(plan.source), lines.SourceFormat.of(plan.source)
    return csv_rows.read_chunk(lambda start, end: bodies.read(s3, found, start, end), fmt, chunk)
