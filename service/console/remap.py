"""Extraction again, from the stored outputs of a batch that has ended: no target is called.

Begun, the record names the new plan and no output columns: a CSV that is made of a half-remapped batch has every field
found in its results, the old and the new ones. Ended, it names the columns of the new mapping. In between each result
is written by itself, over the very version that was read, and only when it changes: the same remap given once more
finishes one that broke off, and does nothing to one that did not.

A result keeps its timestamp: it says when the target's answer was stored, which a remap does not change. Rows are found
and listed by the time of their run as before, and `timestamp-index` is not written where the status stays the same.
"""

from __future__ import annotations

import gzip
import json
import time
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch import closing
from service.batch.progress import BatchRunning, check_ready
from service.errors import BatchProcessorError, BatchRefused, Problem
from service.extraction.stored_plan import to_json
from service.limits import ITEM_BYTES
from service.models import OPEN, Result, RowStatus, error_of, split_s3_uri
from service.request import checks
from service.request.parse import read_input
from service.s3.bodies import whole
from service.s3.objects import UNREADABLE
from service.store.results import alive, extracted, extracts_the_same, item_bytes, with_extracted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.app import App
    from service.extraction.fields import OutputPlan
    from service.plan import Plan
    from service.record import BatchRecord

MAPPING_KEYS = ("output_mapping", "output_mappings", "csv")
LEFT_ASIDE = ("input_mapping", "execution_config", "source")  # of a mapping file: how rows are run
WORKERS = 8  # results written, and outputs read from S3, at a time
TRIES = 3  # readings of a result that something else keeps changing
EXAMPLES = 5  # row ids of each outcome that are named
REMAPPED = (RowStatus.SUCCESS, RowStatus.EXTRACTION_FAILED)  # the target answered: there was an output to keep
_DAMAGED = (gzip.BadGzipFile, EOFError, zlib.error, ValueError, RecursionError)


class RemapOvertaken(BatchProcessorError):
    """The batch was opened again, or given another mapping, while it was remapped."""


class Outcome(StrEnum):
    """What became of a result."""

    CHANGED = "changed"
    SAME = "same"
    NO_ANSWER = "no answer"  # the target gave no output: FAILED, TIMEOUT, INVALID_INPUT
    LACKING = "lacking"  # it gave one, which is not stored any more or never was
    OVERTAKEN = "overtaken"  # something else kept changing the result, or it expired


@dataclass(frozen=True)
class Remap:
    """A remap that was found to be in order."""

    record: BatchRecord
    compiled: OutputPlan
    plan: Plan
    csv: dict[str, Any]


@dataclass
class Outcomes:
    """Results by their outcome, and the first row ids of each."""

    counts: Counter[Outcome] = field(default_factory=Counter)
    row_ids: dict[Outcome, list[str]] = field(default_factory=lambda: {outcome: [] for outcome in Outcome})

    def add(self, outcome: Outcome, row_id: str) -> None:
        """Count one result."""
        self.counts[outcome] += 1
        if len(self.row_ids[outcome]) < EXAMPLES:
            self.row_ids[outcome].append(row_id)


def check(app: App, record: BatchRecord, given: Mapping[str, Any]) -> Remap:
    """Return the remap of a batch by the keys of a mapping file.

    Raises BatchRefused with every problem of the mapping, BatchRunning, BatchExpired.
    """
    record = closing.refreshed(app, record)
    _check_batch(record)
    plan = app.plans.find(record.batch_id, record.plan_hash)
    if plan is None:
        message = f"the plan of batch {record.batch_id} is not stored any more: it cannot be remapped"
        raise BatchRefused([Problem("batch_id", message)])
    mapping, csv, compiled = _read(record, plan, given)
    plan = replace(plan, output_mapping=mapping, output_plan=to_json(compiled), output_columns=compiled.columns)
    columns = {"include_original": compiled.include_original, "add_metadata": compiled.add_metadata}
    return Remap(record, compiled, plan, {**record.csv, **csv, **columns})


def _check_batch(record: BatchRecord) -> None:
    if record.status in OPEN:
        name = record.batch_id
        raise BatchRunning(
            f"batch {name} is {record.status}: it can be remapped when it has ended\n"
            f"to wait for that: batch-processor status '{name}' --follow\nto end it now: batch-processor stop '{name}'"
        )
    check_ready(record, own=False)


def _read(record: BatchRecord, plan: Plan, given: Mapping[str, Any]) -> tuple[Any, dict[str, Any], OutputPlan]:
    """Return the output mapping, the csv options that were given, and the compiled mapping.

    The file of the run may be given again: how rows are run is left aside, an input mapping must be the batch's own.
    """
    present = {key: value for key, value in given.items() if value is not None}
    message = "cannot change for rows that have run, a remap only reads their outputs again: leave it out"
    same = {key for key in LEFT_ASIDE if key != "input_mapping" or present.get(key) == plan.input_mapping}
    problems = [Problem(key, message) for key in present if key not in MAPPING_KEYS and key not in same]
    mine = {key: value for key, value in present.items() if key in MAPPING_KEYS}
    for key in _not_json(mine):
        problems.append(Problem(key, "holds a value that JSON has no form for, a date perhaps: quote it"))
        del mine[key]
    parsed, found = read_input(mine, whole=False)
    problems += found
    if not (parsed.output_mapping or parsed.output_mappings or any(one.path.startswith("output_") for one in problems)):
        problems.append(Problem("output_mapping", "is missing: say how the fields are to be extracted"))
    collected = checks.Problems(problems)
    output = collected.of(lambda: checks.read_output(parsed, record.tool_name, plan.kind, plan.conditions))
    collected.raise_any()
    assert output is not None  # or it has left a problem behind
    return output[0], parsed.csv.model_dump(include=parsed.csv.model_fields_set), output[1]


def _not_json(given: Mapping[str, Any]) -> list[str]:
    """Keys whose values YAML can say and JSON cannot."""
    found = []
    for key, value in given.items():
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            found.append(key)
    return found


def remap(app: App, order: Remap, show: Callable[[int], None]) -> Outcomes:
    """Extract the fields of every stored output again; `show` is told how many rows are done.

    Raises RemapOvertaken when the batch does not stay as it was, and whatever DynamoDB and S3 raise: what was written
    until then stays, and the same remap finishes it.
    """
    record = order.record
    digest = app.plans.save(record.batch_id, order.plan)
    _update(app, record, record.plan_hash, plan_hash=digest, output_columns=None)
    outcomes = _results(app, order, show)
    columns = order.compiled.columns
    _update(app, record, digest, output_columns=None if columns is None else list(columns), csv=order.csv)
    return outcomes


def _update(app: App, record: BatchRecord, before: str, **values: Any) -> None:
    """Set attributes of the record if the plan that it names is still the one that it named before."""
    run = record.run
    if not app.records.update_ended(record.batch_id, run, before, **values):
        now = app.records.get(record.batch_id)
        if now.run == run and all(getattr(now, name) == value for name, value in values.items()):
            return  # written by an attempt whose answer was lost
        raise RemapOvertaken(
            f"batch {record.batch_id} was run again or remapped by something else meanwhile; what is remapped already "
            "stays: give the same command when that has ended"
        )


def _results(app: App, order: Remap, show: Callable[[int], None]) -> Outcomes:
    outcomes, done = Outcomes(), 0
    extractor = _Extractor(app, order.compiled)
    with ThreadPoolExecutor(WORKERS) as pool:
        for page in app.store.pages(order.record.batch_id):
            for item, outcome in zip(page, pool.map(extractor.remap, page), strict=True):
                outcomes.add(outcome, item["row_id"]["S"])
            done += len(page)
            show(done)
    return outcomes


class _Extractor:
    """Remaps one result at a time, in any thread."""

    def __init__(self, app: App, compiled: OutputPlan) -> None:
        self._store, self._s3, self._compiled = app.store, app.s3, compiled

    def remap(self, item: dict[str, Any]) -> Outcome:
        """Write what the output gives now, if that differs; what was changed meanwhile is read and tried again."""
        for _ in range(TRIES):
            if item["status"]["S"] not in REMAPPED and not _refused_output(item):
                return Outcome.NO_ANSWER
            output = self._output(item)
            if output is None:
                return Outcome.LACKING
            fresh = self._fresh(item, output[0])
            if extracts_the_same(item, fresh):
                return Outcome.SAME
            there = self._store.remap(item, fresh)
            if there is None:
                return Outcome.CHANGED
            if not there or not alive(there, int(time.time())):
                return Outcome.OVERTAKEN
            item = there
        return Outcome.OVERTAKEN

    def _output(self, item: Mapping[str, Any]) -> tuple[Any] | None:
        """Return the stored output, which may be null, as a tuple of one; None when there is none that can be read."""
        packed = item["output"]["B"] if "output" in item else self._fetched(item)
        if packed is None:
            return None
        try:
            return (json.loads(gzip.decompress(packed)),)
        except _DAMAGED:
            return None

    def _fetched(self, item: Mapping[str, Any]) -> bytes | None:
        place = split_s3_uri(item.get("output_s3_uri", {}).get("S", ""))
        if place is None:
            return None
        try:
            return b"".join(whole(self._s3, *place))
        except ClientError as error:
            if error.response["Error"]["Code"] not in UNREADABLE:
                raise
            return None

    def _fresh(self, item: Mapping[str, Any], output: Any) -> dict[str, Any]:
        """Return what the output gives by the new mapping, in wire form.

        Too much for an item is a failed extraction.
        """
        extraction = self._compiled.extract(output)
        if extraction.ok:
            fresh = _wire(item, RowStatus.SUCCESS, output_data=extraction.fields, method=extraction.method)
        else:
            error = error_of(extraction.error_type, extraction.message)
            fresh = _wire(item, extraction.status, error=error)
        size = item_bytes(with_extracted(item, fresh))
        if size > ITEM_BYTES:
            message = f"the fields and the row take {size} bytes; a result holds at most {ITEM_BYTES}"
            error = error_of("ResultTooLarge", f"{message}: map less of the output")
            fresh = _wire(item, RowStatus.EXTRACTION_FAILED, error=error)
        return fresh


def _refused_output(item: Mapping[str, Any]) -> bool:
    """Whether a row FAILED by what its output says; of a call that gave none, none is stored."""
    return item["status"]["S"] == RowStatus.FAILED and not {"output", "output_s3_uri"}.isdisjoint(item)


def _wire(item: Mapping[str, Any], status: RowStatus, **values: Any) -> dict[str, Any]:
    return extracted(Result(item["batch_id"]["S"], item["row_id"]["S"], status, {}, **values))
