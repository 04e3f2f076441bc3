"""Why a row has no result: its chunk was never dealt, was skipped when the batch stopped, or it should have one."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch import failing_alike
from service.limits import FIRST_ROWS
from service.models import RowStatus
from service.s3 import bodies, objects
from service.source import csv_rows

if TYPE_CHECKING:
    from service.app import App
    from service.record import BatchRecord


_MISSING = "no result, though it should have one: its chunk's execution was cut off"
_NOT_RUN = {  # by the reason for which a batch was stopped
    "limit": "beyond the first rows, to which the batch was limited",
    "sample": "not in the sample that was run",
    "aborted": "the execution was aborted",
    "by hand": "the batch was stopped by hand",
    "max_failures": "the batch was stopped: more rows than max_failures allows had failed",
    "max_failure_rate": "the batch was stopped: a larger share of rows than max_failure_rate allows had failed",
    "max_cost_usd": "the batch was stopped: max_cost_usd was spent",
    failing_alike.REASON: f"the batch was stopped: its first {FIRST_ROWS} rows all failed for one cause; "
    "run them with keep_going (--keep-going) to insist",
}


class Absence:
    """What became of rows without a result, by the manifests of the runs; the last run that held a row decides."""

    def __init__(self, app: App, record: BatchRecord) -> None:
        self._app = app
        self._record = record
        self._runs: list[_Run] | None = None

    def of(self, number: int) -> RowStatus:
        """NOT_RUN or MISSING."""
        run = self._run_of(number)
        return RowStatus.NOT_RUN if run is None else run.status(number) or RowStatus.NOT_RUN

    def why(self, number: int) -> tuple[str, str]:
        """Type and message of why a row has no result."""
        run = self._run_of(number)
        if run is None or run.status(number) is RowStatus.NOT_RUN:
            reason = self._record.stop_reason
            return RowStatus.NOT_RUN.value, _NOT_RUN.get(reason or "", "the batch was stopped early")
        return run.why(number)

    def _run_of(self, number: int) -> _Run | None:
        """Return the last run that held the row."""
        if self._runs is None:
            self._runs = [held for run in reversed(self._record.runs) for held in _held(self._app, self._record, run)]
        return next((run for run in self._runs if run.status(number) is not None), None)


def _held(app: App, record: BatchRecord, run: dict[str, Any]) -> list[_Run]:
    """Return what the manifests of a run held, the last one first; the run's finished chunks are read once."""
    number = int(run["run"])
    aborted = (record.stop_reason if number == record.run else run.get("stop_reason")) == "aborted"
    ended: dict[int, bool] = {}
    lost: dict[int, dict[str, list[str]]] = {}
    for chunk in app.records.chunks(record.batch_id, number):
        ended[chunk.number] = bool(chunk.counts.get(RowStatus.NOT_RUN.value))
        if chunk.lost:
            lost[chunk.number] = chunk.lost
    return [_Run(_spans(app, key), ended, lost, aborted=aborted) for key in record.manifests(number)]


class _Run:
    """The rows that a manifest of a run held, by spans: first row, row after the last, and chunk.

    `ended`: chunks that ended, and whether they were skipped. `lost`: by chunk, why rows of it are missing.
    """

    def __init__(
        self,
        spans: list[tuple[int, int, int]],
        ended: dict[int, bool],
        lost: dict[int, dict[str, list[str]]],
        *,
        aborted: bool,
    ) -> None:
        self._ended, self._lost, self._aborted = ended, lost, aborted
        spans = sorted(spans)
        self._begins = array("q", (first for first, _, _ in spans))
        self._ends = array("q", (end for _, end, _ in spans))
        self._chunks = array("q", (chunk for _, _, chunk in spans))

    def status(self, number: int) -> RowStatus | None:
        """Return the status of a row that this run held, else None."""
        position = bisect_right(self._begins, number) - 1
        if position < 0 or number >= self._ends[position]:
            return None
        skipped = self._ended.get(self._chunks[position], self._aborted)
        return RowStatus.NOT_RUN if skipped else RowStatus.MISSING

    def why(self, number: int) -> tuple[str, str]:
        """Type and message of why a row that this run held is missing."""
        position = bisect_right(self._begins, number) - 1
        lost = self._lost.get(self._chunks[position], {})
        kind, message = lost.get(str(number)) or lost.get("*") or (RowStatus.MISSING.value, _MISSING)
        return kind, message


def _spans(app: App, manifest_key: str) -> list[tuple[int, int, int]]:
    """First row, row after the last, and chunk of every range of a manifest; none when it is not kept any more."""
    try:
        found = list(bodies.lines(app.s3, app.settings.data_bucket, manifest_key))
    except ClientError as error:
        if error.response["Error"]["Code"] not in objects.UNREADABLE:
            raise
        return []
    chunks = (csv_rows.Chunk.from_json(json.loads(line)) for line in found)
    return [(first, end, chunk.number) for chunk in chunks for first, end in chunk.spans]
