"""Events that the state machine hands from step to step, as types: what a run, a chunk and a row are told by.

Step Functions passes them as JSON; `infra/batch_processor.asl.json` makes them of each other. A key that is not always
there is NotRequired.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict


class RunEvent(TypedDict):
    """What every event of a run names; `plan` is the hash of its plan."""

    batch_id: str
    run: int
    plan: str


class Caught(TypedDict):
    """An error as a Catch of Step Functions tells it."""

    Error: NotRequired[str]
    Cause: NotRequired[str]


class Call(TypedDict):
    """One call of the target: which attempt it is, its name, and how it was waited for (seconds, and how often)."""

    attempt: int
    name: str
    waits: NotRequired[int]
    wait_seconds: NotRequired[int]


class Decision(TypedDict):
    """What follows a failed call: `action` is `retry` after wait_seconds, or `done` with the status that was stored."""

    action: str
    attempt: int
    waits: int
    name: str
    wait_seconds: int
    status: str


class ChunkPlace(TypedDict):
    """A chunk by its number in the run's manifest, its first row and how many rows it has."""

    number: int
    first_row: int
    rows: int


class ChunkEvent(RunEvent):
    """A chunk to be read.

    `chunk`: a line of the manifest; `children`: the type of the execution that runs it; `again`: a second time.
    """

    chunk: dict[str, Any]
    children: NotRequired[str]
    again: NotRequired[bool]


class RowPayload(TypedDict):
    """A row on its way to the target; `row` holds its cells, or its place in the source where those are too long."""

    row_id: str
    row: list[str] | str
    target_input: Any
    call: Call


class ChunkAnswer(RunEvent):
    """What TransformInput makes of a chunk: rows that travel, and counts by status of those that do not.

    `until`: seconds since 1970 at which its execution will have no time left for another call; 0 for no such time.
    """

    kind: str
    until: int
    target_arn: str
    timeout_seconds: int
    inner: int
    attempts: int
    chunk: ChunkPlace
    rows: list[RowPayload]
    stored: dict[str, int]


class RowEvent(RunEvent):
    """A row that the target was called for.

    `attempts` counts the runs of the row, this one too; `until` and `chunk_number` are those of its chunk.
    """

    row_id: str
    row: list[str] | str
    attempts: NotRequired[int]
    until: NotRequired[int]
    chunk_number: NotRequired[int]


class AnsweredRow(RowEvent):
    """A row with the target's output and the times (ISO 8601) between which it was called."""

    output: Any
    attempt: NotRequired[int]
    waits: NotRequired[int]
    started_at: NotRequired[str]
    stopped_at: NotRequired[str]


class FailedRow(RowEvent):
    """A row whose call failed."""

    call: Call
    failure: Caught


class RefusedRow(RowEvent):
    """A row whose output says that another call may be answered."""

    call: Call
    refusal: Caught


class RowOutcome(TypedDict):
    """How a row of a chunk ended; with status MISSING, `error` names why its result could not be stored.

    UNFINISHED: an EXPRESS execution had no time left for it.
    """

    status: str
    row_id: NotRequired[str]
    error: NotRequired[str]


class FinishedChunk(RunEvent):
    """A chunk whose rows have all ended: `results` of the rows `row_ids`, in their order, beside those `stored`."""

    chunk: ChunkPlace
    stored: dict[str, int]
    row_ids: list[str]
    results: list[RowOutcome]
    until: NotRequired[int]


class LostChunk(RunEvent):
    """A chunk whose execution cannot go on; `chunk` is a line of the manifest, or as of FinishedChunk."""

    chunk: Any
    lost: Caught
