"""Why a row has no result: its chunk was never dealt, was skipped when the batch stopped, or it should have one."""

from __future__ import annotations

import json
from array import array
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service import objects, source
from service.models import RowStatus

if TYPE_CHECKING:
    from service.app import App
    from service.table import BatchItem


class Fates:
    """The fate of rows without a result, by the manifests of the batch's runs; the last run that held a row decides."""

    def __init__(self, app: App, record: BatchItem) -> None:
        self._app = app
        self._record = record
        self._runs: list[_Run] | None = None

    def of(self, number: int) -> RowStatus:
        """NOT_RUN or MISSING."""
        if self._runs is None:
            runs = self._record.runs or []
            self._runs = [_Run(self._app, self._record, run) for run in reversed(runs)]
        for run in self._runs:
            fate = run.fate(number)
            if fate is not None:
                return fate
        return RowStatus.NOT_RUN


class _Run:
    """The rows that one run held, and which of its chunks were skipped."""

    def __init__(self, app: App, record: BatchItem, run: dict[str, Any]) -> None:
        number = int(run["run"])
        last = number == int(record.run or 1)
        self._aborted = (record.stop_reason if last else run.get("stop_reason")) == "aborted"
        self._ended: dict[int, bool] = {}  # chunks that ended, and whether they were skipped
        for chunk in app.records.chunks(record.batch_id, number):
            self._ended[int(chunk.item.rpartition("#")[2])] = bool((chunk.counts or {}).get(RowStatus.NOT_RUN.value))
        spans = sorted(_spans(app, run.get("manifest_key")))
        self._begins = array("q", (first for first, _, _ in spans))
        self._ends = array("q", (end for _, end, _ in spans))
        self._chunks = array("q", (chunk for _, _, chunk in spans))

    def fate(self, number: int) -> RowStatus | None:
        """The fate of a row that this run held, else None."""
        position = bisect_right(self._begins, number) - 1
        if position < 0 or number >= self._ends[position]:
            return None
        skipped = self._ended.get(self._chunks[position], self._aborted)
        return RowStatus.NOT_RUN if skipped else RowStatus.MISSING


def _spans(app: App, manifest_key: str | None) -> list[tuple[int, int, int]]:
    """First row, row after the last, and chunk of every range of a manifest; none when it is not kept any more."""
    if manifest_key is None:
        return []
    try:
        found = list(objects.lines(app.s3, app.settings.data_bucket, manifest_key))
    except ClientError as error:
        if error.response["Error"]["Code"] not in objects.UNREADABLE:
            raise
        return []
    chunks = (source.Chunk.from_json(json.loads(line)) for line in found)
    return [(span.first_row, span.first_row + span.rows, chunk.number) for chunk in chunks for span in chunk.ranges]
