"""Quotas of AWS that a batch can meet: the number, its source, and how many rows a second, or in all, it lets through.

Numbers are AWS's defaults, which an account may have raised, or not been given yet. What a row uses of each follows
from the state machine and the functions, as its cost does (service/cost/usage.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from service.cost.case import Case
from service.cost.usage import (
    ANSWERED_TRANSITIONS,
    CHUNK_TRANSITIONS,
    FAILED_TRANSITIONS,
    LINE_BYTES,
    READ_UNIT,
    STATUS_ENTRY,
    WRITE_UNIT,
    units,
)
from service.cost.workload import BESIDE_OUTPUT
from service.limits import KEPT_IN_ITEM, LONGEST_RUN, PART, SHARDS

# "Quotas related to state throttling", "… API action throttling" (Step Functions guide) name these three regions.
LARGE_REGIONS = frozenset({"us-east-1", "us-west-2", "eu-west-1"})
MANIFEST_LINE = 80  # bytes of a chunk in a manifest
PREPARE_SECONDS = 840  # of PrepareBatch: its time-out of 900 s, less what is kept for the end (service/source/pace.py)

Phase = Literal["preparing", "running", "aggregating"]


Allows = Callable[[Case], float]


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota: `limit` in `unit`, `source`, what the product does about it (`handled`), what to do when it binds.

    `rate`: rows a second that it lets through in its phase. `most`: rows of a batch at most.
    """

    name: str
    limit: Allows
    unit: str
    source: str
    handled: str
    ask: str
    phase: Phase = "running"
    rate: Allows | None = None
    most: Allows | None = None

    def number(self, case: Case) -> str:
        """`5,000 state transitions a second`."""
        return f"{self.limit(case):,.0f} {self.unit}"


def _over(limit: float, used: float) -> float:
    """Rows that a limit lets through of which each uses so much."""
    return limit / used if used > 0 else math.inf


def _transitions(case: Case) -> float:
    """Transitions of a row; those within an EXPRESS execution are not counted by AWS."""
    if case.profile.children == "EXPRESS":
        return 1 / case.chunk_rows
    failed = case.calls - (1 - case.failures)
    return (
        (1 - case.failures) * ANSWERED_TRANSITIONS + failed * FAILED_TRANSITIONS + CHUNK_TRANSITIONS / case.chunk_rows
    )


def _transition_limit(case: Case) -> float:
    return 5_000 if case.account.large_region else 800


def _starts(case: Case) -> float:
    """Count STANDARD executions started for a row: its share of its chunk's, and a Standard agent's own."""
    profile = case.profile
    chunk = 1 / case.chunk_rows if profile.children == "STANDARD" else 0.0
    return chunk + (case.calls if profile.kind == "agent" and not profile.synchronous else 0.0)


def _start_limit(case: Case) -> float:
    return 300 if case.account.large_region else 150


def _function_seconds(case: Case) -> float:
    """Seconds that functions are busy for a row: a tool's own, and the stack's."""
    took, tool = case.profile.durations, case.profile.kind == "tool"
    of_chunk = (took.transform + took.finish) / case.chunk_rows + took.transform_row
    return case.calls * ((case.seconds if tool else 0.0) + took.write) + of_chunk


def _invocations(case: Case) -> float:
    return case.calls * (2 if case.profile.kind == "tool" else 1) + 2 / case.chunk_rows


def _while_growing(case: Case) -> float:
    """Rows a second, on average, with 1,000 environments of the tool at first and 100 more each second."""
    if case.profile.kind != "tool" or not case.rows:
        return math.inf
    return (1_000 + 100 * case.wanted_seconds / 2) / case.row_seconds


def _item_units(case: Case) -> float:
    return units(case.profile.items, WRITE_UNIT)


def _failure_units(case: Case) -> float:
    profile = case.profile
    return case.failures * units((STATUS_ENTRY + profile.row_bytes + profile.error_bytes,), WRITE_UNIT)


def _source_reads(case: Case) -> float:
    profile = case.profile
    again = profile.kind == "tool" and profile.row_bytes > BESIDE_OUTPUT
    return 1 / case.chunk_rows + (case.calls if again else 0.0)


def _csv_line(case: Case) -> float:
    return case.profile.row_bytes + case.profile.fields_bytes + LINE_BYTES


def _prepared(case: Case) -> float:
    took = case.profile.durations
    return _over(PREPARE_SECONDS - took.prepare, took.prepare_row)


def _in_a_week(case: Case) -> float:
    """Rows that run in the machine's seven days at the pace of the tightest quota."""
    return LONGEST_RUN * min(case.wanted_rate, *(one.rate(case) for one in RUNNING if one.rate is not None))


_SFN = 'Step Functions guide, "Service quotas"'
_LAMBDA = 'Lambda guide, "Lambda quotas"'
_PARTITION = 'DynamoDB guide, "Designing partition keys to distribute your workload"'
_S3 = 'S3 guide, "Best practices design patterns: optimizing Amazon S3 performance"'
_APART = "run parts of the source by stacks in accounts of their own"

RUNNING = (
    Quota(
        "state transitions",
        _transition_limit,
        "state transitions a second",
        f"{_SFN}, state throttling: 5,000 in us-east-1, us-west-2 and eu-west-1, 800 elsewhere; new accounts have less",
        "two transitions for a row; none where chunks are EXPRESS executions",
        "register the target as idempotent, so that chunks are EXPRESS executions, or ask AWS for more of Step "
        "Functions' StateTransition throttle (L-AD9B4E93)",
        rate=lambda case: _over(_transition_limit(case), _transitions(case)),
    ),
    Quota(
        "executions started",
        _start_limit,
        "executions started a second",
        f"{_SFN}, API action throttling, StartExecution (Standard): 300 in the three large regions, 150 elsewhere",
        "one start for a chunk and not for a row; a throttled start of an agent is repeated",
        "make the agent an Express state machine, or ask AWS for more of StartExecution",
        rate=lambda case: _over(_start_limit(case), _starts(case)),
    ),
    Quota(
        "chunks at once",
        lambda _case: 10_000,
        "child executions of a Distributed Map at once",
        'Step Functions guide, "Distributed mode": 10,000',
        "max_concurrency is at most 10,000, which is 2,000 chunks at once",
        _APART,
        rate=lambda case: case.wanted_rate * 10_000 / case.profile.outer,
    ),
    Quota(
        "functions at once",
        lambda case: case.account.functions_at_once,
        "functions of the account at once",
        f"{_LAMBDA}: 1,000 by default, new accounts less",
        "a row in flight takes one while its tool runs, and one for the moment in which its result is stored; "
        "throttled calls are repeated, and WriterConcurrency reserves some for storing",
        "ask AWS for more of Lambda's concurrent executions (L-B99A9384)",
        rate=lambda case: _over(case.account.functions_at_once, _function_seconds(case)),
    ),
    Quota(
        "calls of functions",
        lambda case: 10 * case.account.functions_at_once,
        "calls of functions a second",
        f"{_LAMBDA}: ten times the concurrency",
        "one call to store a row, two for a chunk",
        "ask AWS for more of Lambda's concurrent executions (L-B99A9384), of which this is ten times",
        rate=lambda case: _over(10 * case.account.functions_at_once, _invocations(case)),
    ),
    Quota(
        "new environments",
        lambda _case: 1_000,
        "environments of a function more every 10 seconds",
        'Lambda guide, "Lambda scaling behavior"',
        "throttled calls are repeated; a batch that lasts longer than some minutes hardly feels it",
        "give the tool provisioned concurrency, or let it take the minute",
        rate=_while_growing,
    ),
    Quota(
        "writes to the table",
        lambda _case: 4_000,
        "write units a second of a new table",
        'DynamoDB guide, "Understanding DynamoDB warm throughput"',
        "on demand: it grows with its use, to twice the last peak within half an hour; a throttled write is sent again",
        "raise the warm throughput of the results table before a large batch (UpdateTable, WarmThroughput)",
        rate=lambda case: _over(4_000, _item_units(case)),
    ),
    Quota(
        "writes to a partition",
        lambda case: 1_000 * case.account.partitions,
        "write units a second of the partitions that hold the batch",
        f"{_PARTITION}: 1,000 for each",
        "chunks are dealt so that the rows in flight lie all over the batch, and DynamoDB can divide a busy partition; "
        "what is throttled is repeated for half an hour",
        "leave out what need not be kept (keep_output: false), or let DynamoDB divide the partition: a batch that "
        "lasts longer gets faster; several batches have a partition each",
        rate=lambda case: _over(1_000 * case.account.partitions, _item_units(case)),
    ),
    Quota(
        "writes to timestamp-index",
        lambda _case: SHARDS * 1_000,
        "write units a second of the index by time",
        f'{_PARTITION}; "Global secondary index write throttling and back pressure": an index throttles its table',
        f"{SHARDS} keys for each day, since keys that only grow are not divided",
        _APART,
        rate=lambda _case: SHARDS * 1_000,
    ),
    Quota(
        "failures in status-index",
        lambda _case: 1_000,
        "write units a second of one batch's failures",
        f'{_PARTITION}; "Global secondary index write throttling and back pressure": an index throttles its table',
        "only rows that did not succeed are in it; stopping rules end a batch of which too many fail",
        "find out why so many rows fail (batch-processor check), or stop the batch by max_failure_rate",
        rate=lambda case: _over(1_000, _failure_units(case)),
    ),
    Quota(
        "outputs put to S3",
        lambda _case: 3_500,
        "PUT requests a second for a prefix",
        _S3,
        f"outputs of up to {KEPT_IN_ITEM:,} bytes, compressed, stand in their items",
        "set keep_output to false, or let S3 divide the prefix: it does so while the rate lasts",
        rate=lambda case: math.inf if case.profile.output_bytes <= KEPT_IN_ITEM else _over(3_500, 1 - case.failures),
    ),
    Quota(
        "reads of the source",
        lambda _case: 5_500,
        "GET requests a second for a prefix",
        _S3,
        f"one read for a chunk; rows of more than some {BESIDE_OUTPUT} bytes are read once more, when they are stored",
        "let S3 divide the prefix: it does so while the rate lasts",
        rate=lambda case: _over(5_500, _source_reads(case)),
    ),
)

OTHERS = (
    Quota(
        "time of PrepareBatch",
        lambda _case: 900,
        "seconds of a Lambda function",
        f"{_LAMBDA}: 15 minutes",
        "a source that cannot be read in time is refused as soon as that is clear, with what would fit",
        "split the source into files that fit, or leave out columns that the target is not given",
        phase="preparing",
        most=_prepared,
    ),
    Quota(
        "size of a manifest",
        lambda _case: 10,
        "GB of a file that a Map reads",
        'Step Functions guide, "ItemReader": 10 GB for a file of an inventory; none is given for lines of JSON',
        "the Map reads a list of chunks, not the rows: 100 rows take some 80 bytes",
        _APART,
        phase="preparing",
        most=lambda case: 10e9 / MANIFEST_LINE * case.chunk_rows,
    ),
    Quota(
        "time of a run",
        lambda _case: LONGEST_RUN / 86_400,
        "days, the time-out of the state machine",
        "TimeoutSeconds of the state machine; AWS has a year",
        "what was not run by then is NOT_RUN, and `rerun` runs it",
        "raise max_concurrency, or run the rows in parts: execution_config.limit, then rerun",
        most=_in_a_week,
    ),
    Quota(
        "reads of a partition",
        lambda case: 3_000 * case.account.partitions,
        "read units a second of the partitions that hold the batch",
        f"{_PARTITION}: 3,000 for each",
        "results are read once, four spans of rows side by side, and AggregateResults goes on for as long as it takes",
        "name the output's columns in a mapping, so that the results are read once",
        phase="aggregating",
        rate=lambda case: _over(
            3_000 * case.account.partitions, case.profile.item_mean / READ_UNIT * case.profile.passes
        ),
    ),
    Quota(
        "parts of an upload",
        lambda _case: 10_000,
        "parts of an object",
        'S3 guide, "Amazon S3 multipart upload limits"',
        f"a part has {PART >> 20} MiB: a CSV has {10_000 * PART / 1e9:.0f} GB at most",
        "leave out input columns (include_original: false), or split the source",
        phase="aggregating",
        most=lambda case: 10_000 * PART / _csv_line(case),
    ),
)
QUOTAS = (*RUNNING, *OTHERS)
