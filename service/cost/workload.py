"""What a batch is like, and what a run of it did: all that its cost follows from."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from service.limits import CHUNK_ROWS, EXPRESS_INNER, HISTORY_EVENTS, INNER, KEPT_IN_ITEM
from service.throttling import THROTTLED_SECONDS, throttle_waits

if TYPE_CHECKING:
    from service.plan import Plan

# A child execution's history holds 25,000 events (Step Functions quotas); beyond them it fails with all under way.
# These are what a row and a chunk may leave in it, every retry of every state counted: a rule test works the same
# numbers out of the definition (tests/infra/test_definition.py).
_EVENTS_OF_CHUNK = 180
_EVENTS_OF_ROW = 87  # the last call, and the result's or the failure's storing
_EVENTS_OF_CALL = 79  # each call before that, when its output is refused, for throttling too

BESIDE_OUTPUT = 480  # bytes of a row, about, that may stand beside its output; longer ones are read again
ITEM_BYTES = 245  # of an item beside row, fields and output: keys, names of attributes, status, times


def chunk_rows(max_attempts: int, throttled_seconds: float = THROTTLED_SECONDS) -> int:
    """Rows that a chunk may have, so that the history of its execution holds every call of all of them.

    `throttled_seconds`: for how long a row may wait for throttling.
    """
    events = _EVENTS_OF_ROW + _EVENTS_OF_CALL * (max_attempts - 1 + throttle_waits(throttled_seconds))
    return max(1, min(CHUNK_ROWS, (HISTORY_EVENTS - _EVENTS_OF_CHUNK) // events))


def concurrency(most: int, children: str = "STANDARD") -> tuple[int, int]:
    """Chunks at once and rows at once in each: their product never exceeds `most`.

    EXPRESS executions take more rows at once, but there are two of them where that is possible: while one begins or
    ends, the other has rows in flight.
    """
    outer = math.ceil(most / INNER)
    if children == "EXPRESS":
        outer = max(min(2, outer), math.ceil(most / EXPRESS_INNER))
    return outer, most // outer


def rows_of_a_chunk(rows: int, most: int, outer: int, inner: int) -> int:
    """Return how many rows a chunk has: fewer in a small batch, which in few chunks would not reach its concurrency."""
    return most if rows > outer * most else min(most, max(1, inner, math.ceil(rows / (4 * outer))))


@dataclass(frozen=True, slots=True)
class Durations:
    """Seconds that functions run: for a call, and for each row of it.

    CPU time as measured on one core, divided by the share of one that a function has (memory / 1,769 MB), and for every
    request 5 ms until DynamoDB has answered, 20 ms until S3 has. Measured: 1.9 ms for WriteResult, HandleFailure and
    FinishChunk; 1.7 ms and 0.035 ms a row for TransformInput; 0.013 ms a row for PrepareBatch and AggregateResults,
    which also waits 50 ms for a page of 1,000; `cold`, the initialisation, which is billed too, 0.3 to 0.4 s.
    """

    prepare: float = 0.5
    prepare_row: float = 13e-6
    transform: float = 0.031
    transform_row: float = 12e-5
    write: float = 0.012
    failure: float = 0.017
    finish: float = 0.012
    aggregate: float = 0.5
    aggregate_row: float = 65e-6
    cold: float = 0.5
    find_chunk: float = 60e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What the rows of a batch are like, and how it runs; bytes are those of one row.

    `row_bytes`: names and cells. `output_bytes`: the output as it is kept, compressed; 0 when it is not. `item_bytes`:
    the whole item, or the sizes of several (units are rounded up for each, so their mean says less); without it, what
    the others add up to. `call_seconds`: of the target, where chunks are EXPRESS executions. `rows_per_chunk`: at most,
    where that is laid out already. `kept_days`: for how long the storage of results is counted in.
    """

    kind: Literal["tool", "agent"] = "tool"
    row_bytes: float = 480
    fields_bytes: float = 100
    output_bytes: float = 150
    error_bytes: float = 200
    item_bytes: float | Sequence[float] | None = None
    plan_bytes: float = 1_000
    record_bytes: float = 3_000
    columns_known: bool = True
    concurrency: int = 10
    max_attempts: int = 3
    synchronous: bool = False
    children: Literal["STANDARD", "EXPRESS"] = "STANDARD"
    call_seconds: float = 1.0
    rows_per_chunk: int | None = None
    kept_days: float = 0.0
    durations: Durations = Durations()

    def __post_init__(self) -> None:
        """Refuse what cannot be: Standard agents are waited for by `.sync`, which needs STANDARD executions."""
        if self.kind == "agent" and self.children == "EXPRESS" and not self.synchronous:
            raise ValueError("the chunks of a Standard agent's batch cannot be EXPRESS executions")

    @classmethod
    def of_plan(cls, plan: Plan, **more: Any) -> Profile:
        """Return the profile that a batch's plan tells, with whatever else is known."""
        told: dict[str, Any] = {
            "kind": plan.kind,
            "synchronous": plan.synchronous,
            "children": plan.children,
            "max_attempts": plan.retry_policy.max_attempts,
            "columns_known": plan.output_columns is not None,
        }
        if not plan.keep_output:
            told["output_bytes"] = 0
        return cls(**{**told, **more})

    @property
    def items(self) -> Sequence[float]:
        """Sizes of items: those given, else one that is worked out."""
        if isinstance(self.item_bytes, Sequence):
            return self.item_bytes
        if self.item_bytes is not None:
            return (self.item_bytes,)
        kept = self.output_bytes if self.output_bytes <= KEPT_IN_ITEM else 0
        return (ITEM_BYTES + self.row_bytes + self.fields_bytes + kept,)

    @property
    def item_mean(self) -> float:
        """Bytes of an item, on average."""
        return sum(self.items) / len(self.items)

    @property
    def passes(self) -> int:
        """How often the results are read for the CSV: once more where no mapping names its columns."""
        return 1 if self.columns_known else 2

    @property
    def outer(self) -> int:
        """Chunks at once."""
        return concurrency(self.concurrency, self.children)[0]

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk; the history of an EXPRESS execution has no limit."""
        if self.rows_per_chunk is not None:
            return self.rows_per_chunk
        return CHUNK_ROWS if self.children == "EXPRESS" else chunk_rows(self.max_attempts)

    @property
    def inner(self) -> int:
        """Rows at once in each of them."""
        return concurrency(self.concurrency, self.children)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What one run of a batch did, or is expected to do."""

    lines: float  # of the CSV: rows of the whole batch
    results: float  # of the whole batch, read for the CSV
    mapped: float  # rows that TransformInput read
    answered: float  # calls that gave an output
    failed: float  # calls that gave none
    retried: float  # of these, those that were made again
    stored: float  # results of this run
    unsuccessful: float  # of these, those that are not SUCCESS
    chunks: float  # child executions
    replaced: float = 0  # results that took the place of an earlier run's failure
    aggregations: int = 1  # invocations of AggregateResults
    run_again: float = 0  # chunks that EXPRESS executions did not finish
    state_retries: float = 0  # by a state's own Retry: throttling
