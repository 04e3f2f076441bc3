"""What a run uses of AWS, in AWS's own units: so many for each row, call, chunk and run. No prices.

Every number follows from the state machine's definition, the template, or what a function calls. The tests walk through
the definition, count the calls, and compare.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.cost.workload import BESIDE_OUTPUT
from service.limits import FIRST_ROWS, KEPT_IN_ITEM, PAGE_BYTES, PART

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.cost.workload import Profile, Work

# Step Functions guide, "Transitions": one for every state that is entered, one for every retry, and one of the parent
# for every child that a Distributed Map starts; none for an iteration of an inline Map.
RUN_TRANSITIONS = 3  # PrepareBatch, AnyRows, and the state that it ends in
MAP_TRANSITIONS = 1  # ProcessRows, which a batch without rows passes by
AGGREGATION_TRANSITIONS = 2  # AggregateResults, Outcome
CHUNK_TRANSITIONS = 5  # the child's start, TransformInput, ByKind, EachRow…, FinishChunk
ANSWERED_TRANSITIONS = 2  # Invoke…, Write…Result
FAILED_TRANSITIONS = 4  # Invoke…, Handle…Failure, Retry…, and then WaitFor… or …FailureStored
EXPRESS_TRANSITIONS = 2  # of the machine itself: FindUnfinished, AnyUnfinished; those of an EXPRESS chunk cost nothing

# Step Functions pricing: 50 MB, the definition and the payload of every step of a Map, in steps of 64 MB.
EXPRESS_GB = 64 / 1024
EXPRESS_SECONDS = 0.2  # of a child before and after its rows
EXPRESS_ROW_SECONDS = 0.03  # between a call's answer and the next call

# Megabytes of the functions, as in template.yaml.
MEMORY = {"PrepareBatch": 1769, "TransformInput": 512, "WriteResult": 512, "AggregateResults": 1769}
AGGREGATION_SECONDS = 810.0  # of an invocation: its time-out, less what is left when it hands over

# DynamoDB guide, "Read and write operations"; "Item sizes" (100 bytes more when it is stored).
WRITE_UNIT, READ_UNIT, STORED_BYTES = 1024, 4096, 100
CHUNK_RECORD = 250  # bytes of a finished chunk's record
STATUS_ENTRY, TIMESTAMP_ENTRY = 250, 190  # bytes of an index's entry beside row and error
RECORD_WRITES = 9  # of the batch record and its entry: made, prepared, aggregating, closed; and one that is refused
RECORD_READS = 3  # by AggregateResults, the last before the CSV appears
DAYS = 30.4  # of a month

RUN_PUTS = 5  # two lists of chunks; the Map's manifest and its files of results, as far as there is one of each
RUN_GETS = 3  # HEAD and GET of the source, the Map's reading of the list
LINE_BYTES = 120  # of a CSV's line beside the row and the fields


@dataclass(frozen=True, slots=True)
class Term:
    """`each` units of a part, `count` times; `of` is what is counted, in the plural where there may be several."""

    part: str
    each: float
    count: float
    of: str

    @property
    def quantity(self) -> float:
        """Units in all."""
        return self.each * self.count


def terms(work: Work, profile: Profile) -> list[Term]:
    """Everything that the work uses, part by part."""
    parts = (_transitions, _requests, _seconds, _writes, _reads, _objects, _watching, _keeping)
    return [term for part in parts for term in part(work, profile) if term.quantity > 0]


def units(sizes: Sequence[float], unit: int) -> float:
    """Units that an item takes, on average of these sizes: each is rounded up, and is one at least."""
    return sum(max(1, math.ceil(size / unit)) for size in sizes) / len(sizes)


def aggregations(lines: float, profile: Profile) -> int:
    """Invocations of AggregateResults that a CSV of so many lines takes."""
    return max(1, math.ceil(lines * profile.passes * profile.durations.aggregate_row / AGGREGATION_SECONDS))


def _transitions(work: Work, profile: Profile) -> Iterator[Term]:
    yield Term("transitions", RUN_TRANSITIONS, 1, "run")
    yield Term("transitions", MAP_TRANSITIONS, min(1, work.chunks), "ProcessRows")
    yield Term("transitions", AGGREGATION_TRANSITIONS, work.aggregations, "AggregateResults")
    if profile.children == "EXPRESS":
        yield Term("transitions", EXPRESS_TRANSITIONS, min(1, work.chunks), "FindUnfinished")
        yield Term("transitions", 1, work.chunks, "starts of chunks")
        yield from _express(work, profile)
        yield from _second_pass(work)
        return
    yield Term("transitions", CHUNK_TRANSITIONS, work.chunks, "chunks")
    yield Term("transitions", ANSWERED_TRANSITIONS, work.answered, "calls that gave an output")
    yield Term("transitions", FAILED_TRANSITIONS, work.failed, "calls that failed")
    yield Term("transitions", 1, work.state_retries, "retries of a state")


def _express(work: Work, profile: Profile) -> Iterator[Term]:
    each = (profile.call_seconds + EXPRESS_ROW_SECONDS) / profile.inner
    yield Term("express_requests", 1, work.chunks, "chunks")
    yield Term("express_gb_seconds", EXPRESS_GB * EXPRESS_SECONDS, work.chunks, "chunks")
    yield Term("express_gb_seconds", EXPRESS_GB * each, work.answered + work.failed, "calls")


def _second_pass(work: Work) -> Iterator[Term]:
    """Yield the transitions of STANDARD executions that finish chunks; each has its share of the calls."""
    share = work.run_again / work.chunks if work.chunks else 0
    yield Term("transitions", MAP_TRANSITIONS, min(1, work.run_again), "ProcessRows")
    yield Term("transitions", CHUNK_TRANSITIONS, work.run_again, "chunks run again")
    yield Term(
        "transitions", ANSWERED_TRANSITIONS, work.answered * share, "calls in chunks run again that gave an output"
    )
    yield Term("transitions", FAILED_TRANSITIONS, work.failed * share, "calls in chunks run again that failed")


def _requests(work: Work, profile: Profile) -> Iterator[Term]:
    yield Term("lambda_requests", 1, 1, "PrepareBatch")
    if profile.children == "EXPRESS":
        yield Term("lambda_requests", 1, min(1, work.chunks), "FindUnfinished")
    yield Term("lambda_requests", 2, work.chunks + work.run_again, "chunks: TransformInput, FinishChunk")
    yield Term("lambda_requests", 1, work.answered, "calls that gave an output: WriteResult")
    yield Term("lambda_requests", 1, work.failed, "calls that failed: HandleFailure")
    yield Term("lambda_requests", 1, work.aggregations, "AggregateResults")


def _seconds(work: Work, profile: Profile) -> Iterator[Term]:
    took = profile.durations
    for function, seconds, count, of in (
        ("PrepareBatch", took.prepare, 1, "PrepareBatch"),
        ("PrepareBatch", took.prepare_row, work.lines, "rows: PrepareBatch"),
        ("PrepareBatch", took.find_chunk, work.chunks * (profile.children == "EXPRESS"), "chunks: FindUnfinished"),
        ("TransformInput", took.transform, work.chunks, "chunks: TransformInput"),
        ("TransformInput", took.transform_row, work.mapped, "rows: TransformInput"),
        ("WriteResult", took.write, work.answered, "calls that gave an output: WriteResult"),
        ("WriteResult", took.failure, work.failed, "calls that failed: HandleFailure"),
        ("WriteResult", took.finish, work.chunks, "chunks: FinishChunk"),
        ("AggregateResults", took.aggregate, work.aggregations, "AggregateResults"),
        ("AggregateResults", took.aggregate_row * profile.passes, work.lines, "rows: AggregateResults"),
        *(
            (name, took.cold, count, f"starts from cold: {name}")
            for name, count in _environments(work, profile).items()
        ),
    ):
        yield Term("lambda_gb_seconds", MEMORY[function] / 1024 * seconds, count, of)


def _environments(work: Work, profile: Profile) -> dict[str, float]:
    """Copy of each function that are begun: as many as are called at once, no more than there are calls."""
    chunks = min(work.chunks, profile.outer)
    calls = min(work.answered + work.failed, profile.concurrency)
    return {"PrepareBatch": 1, "TransformInput": chunks, "WriteResult": max(calls, chunks), "AggregateResults": 1}


def _writes(work: Work, profile: Profile) -> Iterator[Term]:
    """Yield the writes: of an item one for each index that it is in, two where its key has changed."""
    late = units((TIMESTAMP_ENTRY + profile.error_bytes,), WRITE_UNIT)
    failed = units((STATUS_ENTRY + profile.row_bytes + profile.error_bytes,), WRITE_UNIT)
    yield Term("write_units", units(profile.items, WRITE_UNIT), work.stored, "results")
    yield Term("write_units", 1, work.stored - work.unsuccessful, "results in timestamp-index")
    yield Term("write_units", late, work.unsuccessful, "failures in timestamp-index")
    yield Term("write_units", failed, work.unsuccessful, "failures in status-index")
    yield Term("write_units", late, work.replaced, "results replaced in timestamp-index")
    yield Term("write_units", failed, work.replaced, "results replaced in status-index")
    yield Term("write_units", 1, min(FIRST_ROWS, work.unsuccessful), "first failures")
    yield Term("write_units", 1, work.chunks, "records of chunks")
    if profile.outer > 1:
        yield Term("write_units", 1, work.chunks, "chunks: is the batch throttled")
    yield Term("write_units", units((profile.plan_bytes,), WRITE_UNIT), 1, "plan")
    yield Term("write_units", units((profile.record_bytes,), WRITE_UNIT), RECORD_WRITES, "writes of the batch record")


def _reads(work: Work, profile: Profile) -> Iterator[Term]:
    """All are strongly consistent. A Query rounds up a page as a whole, and takes whole items whatever it projects."""
    record, plan = (units((size,), READ_UNIT) for size in (profile.record_bytes, profile.plan_bytes))
    environments = _environments(work, profile)
    warm = environments["TransformInput"] + environments["WriteResult"]
    pages = work.results * profile.item_mean // PAGE_BYTES + 1
    yield Term("read_units", profile.item_mean / READ_UNIT * profile.passes, work.results, "results read for the CSV")
    yield Term("read_units", profile.passes, pages, "pages of results")
    yield Term("read_units", record, work.chunks, "chunks: is the batch stopped")
    if profile.children == "EXPRESS":
        yield Term("read_units", CHUNK_RECORD / READ_UNIT, work.chunks, "records of chunks")
    yield Term("read_units", record, work.retried, "calls made again: is the batch stopped")
    yield Term("read_units", plan, warm, "readings of the plan, once while warm")
    yield Term("read_units", RECORD_READS * record, work.aggregations, "AggregateResults: the batch record")
    yield Term("read_units", 1, 1, "the target's registration")


def _objects(work: Work, profile: Profile) -> Iterator[Term]:
    csv_bytes = work.lines * (profile.row_bytes + profile.fields_bytes + LINE_BYTES)
    requests = 1 if csv_bytes < PART else 2 + math.ceil(csv_bytes / PART)
    yield Term("s3_puts", RUN_PUTS, 1, "run: lists of chunks, results of the Map")
    yield Term("s3_puts", 1, work.answered if profile.output_bytes > KEPT_IN_ITEM else 0, "outputs beside their items")
    yield Term("s3_puts", requests, 1, "CSV")
    yield Term("s3_gets", RUN_GETS, 1, "run")
    yield Term("s3_gets", 1, work.chunks, "chunks: their rows")
    if profile.kind == "tool" and profile.row_bytes > BESIDE_OUTPUT:  # an agent's answer holds what it was given
        yield Term("s3_gets", 1, work.answered + work.failed, "calls: rows too long to stand beside an output")


def _watching(work: Work, _profile: Profile) -> Iterator[Term]:
    """Nothing is logged for a row. At most one trace for an execution: the sampling keeps fewer."""
    yield Term("traces", 1, work.chunks + 1, "executions")


def _keeping(work: Work, profile: Profile) -> Iterator[Term]:
    share = profile.kept_days / DAYS / 1e9
    item, late = profile.item_mean + STORED_BYTES, TIMESTAMP_ENTRY + STORED_BYTES
    failed = STATUS_ENTRY + profile.row_bytes + profile.error_bytes + STORED_BYTES
    yield Term(
        "storage_gb_months", (item + late) * share, work.stored, "results, with their entries in timestamp-index"
    )
    yield Term("storage_gb_months", failed * share, work.unsuccessful, "failures in status-index")
    yield Term("backup_gb_months", item * share, work.stored, "results")
