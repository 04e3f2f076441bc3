"""The CSV of a batch: results streamed from DynamoDB, in row order, to one object in S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NamedTuple

from service import objects, source
from service.errors import BatchProcessorError
from service.lines import Columns, CsvWriter, bare_line, field_names, line_of, with_gaps
from service.models import RowStatus, empty_counts, row_id, row_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from service.app import App
    from service.table import BatchItem

GROUPS = 20  # groups of errors in a summary
EXAMPLES = 5  # row ids in each
_GROUPS_KEPT = 60  # groups followed while reading: the commonest are chosen at the end
_MESSAGE = 300  # characters of a message in a summary
ENOUGH_TIME = 90_000  # ms: below this an invocation hands over to the next


class ConservationBroken(BatchProcessorError):
    """Rows in are not rows out: the results do not fit the batch's own row count."""


class Bare(NamedTuple):
    """A row without a result."""

    number: int
    status: str
    row: dict[str, str]


class Tally:
    """Counts of what was written, and its errors grouped by cause."""

    def __init__(self, counts: Mapping[str, int] | None = None, errors: list[dict[str, Any]] | None = None) -> None:
        self.counts = {**empty_counts(), **(counts or {})}
        self._groups: dict[tuple[str, str, str], dict[str, Any]] = {
            (group["status"], group["error"], group["message"]): group for group in errors or []
        }

    @property
    def rows(self) -> int:
        """Lines so far."""
        return sum(self.counts.values())

    def result(self, item: Mapping[str, Any]) -> None:
        """Count a result."""
        status = item["status"]["S"]
        self.counts[status] = self.counts.get(status, 0) + 1
        error = item.get("error", {}).get("M")
        if error:
            self._group(status, error["type"]["S"], error["message"]["S"], item["row_id"]["S"])

    def bare(self, entry: Bare) -> None:
        """Count a row without a result."""
        self.counts[entry.status] += 1
        why = (
            "no result, though it should have one"
            if entry.status == RowStatus.MISSING
            else "the batch was stopped early"
        )
        self._group(entry.status, entry.status, why, row_id(entry.number))

    def _group(self, status: str, error: str, message: str, identifier: str) -> None:
        shown = message if len(message) <= _MESSAGE else message[: _MESSAGE - 1] + "…"
        key = (status, error, shown)
        if key not in self._groups and len(self._groups) >= _GROUPS_KEPT:
            key = (status, error, "other messages")
        group = self._groups.setdefault(
            key, {"status": key[0], "error": key[1], "message": key[2], "count": 0, "row_ids": []}
        )
        group["count"] += 1
        if len(group["row_ids"]) < EXAMPLES:
            group["row_ids"].append(identifier)

    def groups(self, most: int = GROUPS) -> list[dict[str, Any]]:
        """Groups of errors, the commonest first."""
        return sorted(self._groups.values(), key=lambda group: -group["count"])[:most]


class Gaps:
    """Rows that have no result, with their cells read from the source where it is still the same."""

    def __init__(self, app: App, record: BatchItem) -> None:
        self._app = app
        self._record = record
        self._skipped: set[int] | None = None
        self._chunks: list[source.Chunk] | None = None

    def between(self, first: int, last: int) -> Iterator[Bare]:
        """Rows first to last, each as NOT_RUN or MISSING."""
        rows = self._rows(first, last)
        for number in range(first, last + 1):
            yield Bare(number, self._status(number), next(rows, {}))

    def _status(self, number: int) -> str:
        record = self._record
        if number > int(record.rows_to_run) or record.stop_reason == "aborted":
            return RowStatus.NOT_RUN.value
        if record.stop and number in self._not_run():
            return RowStatus.NOT_RUN.value
        return RowStatus.MISSING.value

    def _not_run(self) -> set[int]:
        """Rows of the chunks that were skipped because the batch was stopped."""
        if self._skipped is None:
            self._skipped = set()
            for chunk in self._app.records.chunks(self._record.batch_id, int(self._record.run)):
                if (chunk.counts or {}).get(RowStatus.NOT_RUN.value):
                    self._skipped.update(range(int(chunk.first_row), int(chunk.first_row) + int(chunk.rows)))
        return self._skipped

    def _rows(self, first: int, last: int) -> Iterator[dict[str, str]]:
        """The source's rows first to last; fewer when it cannot be read any more."""
        try:
            yield from self._read(first, last)
        except (BatchProcessorError, source.SourceFault, self._app.s3.exceptions.ClientError):
            return

    def _read(self, first: int, last: int) -> Iterator[dict[str, str]]:
        src = self._record.source
        spans = [span for chunk in self._all_chunks() for span in chunk.ranges]
        spans = [span for span in spans if span.first_row <= last and span.first_row + span.rows > first]
        if not spans:
            return
        found = objects.SourceObject(src["bucket"], src["key"], src["etag"], int(src["size"]))
        fmt = source.SourceFormat(src["encoding"], src["delimiter"], int(src["bom_bytes"]))
        blocks = objects.read(self._app.s3, found, spans[0].start, spans[-1].end)
        begin = spans[0]
        for record in source.read_records(blocks, fmt, offset=begin.start, number=begin.first_row, line=begin.line):
            if first <= record.number <= last:
                yield dict(zip(src["columns"], record.cells, strict=False))

    def _all_chunks(self) -> list[source.Chunk]:
        if self._chunks is None:
            body = self._app.s3.get_object(Bucket=self._app.settings.data_bucket, Key=self._record.chunks_key)["Body"]
            self._chunks = [source.Chunk.from_json(json.loads(line)) for line in body.iter_lines()]
        return self._chunks


class Export:
    """One making of a batch's CSV; `run` returns None when it is whole, else the state to go on from."""

    def __init__(  # noqa: PLR0913 - what a CSV is made of
        self,
        app: App,
        batch_id: str,
        record: BatchItem | None,
        bucket: str,
        key: str,
        csv: Mapping[str, Any],
        continuation: Mapping[str, Any] | None = None,
    ) -> None:
        state = continuation or {}
        self._app = app
        self._batch_id = batch_id
        self._record = record
        self._where = (bucket, key)
        self._csv = csv
        self._last = state.get("last_row_id")
        self._begun = bool(state)
        self.tally = Tally(state.get("counts"), state.get("errors"))
        self._columns = self._resolve(state.get("columns"))
        self._upload = objects.MultipartUpload(app.s3, bucket, key, upload_id=state.get("upload_id"))

    def _resolve(self, known: Mapping[str, Any] | None) -> Columns:
        """The columns: as recorded, else found in one pass over the results."""
        style = self._csv.get("column_style", "prefixed")
        if known is not None:
            return Columns(tuple(known["inputs"]), tuple(known["outputs"]), style)
        record = self._record
        inputs = tuple(record.source["columns"]) if record is not None else self._names("input_data")
        outputs = record.output_columns if record is not None else None
        return Columns(inputs, self._names("output_data") if outputs is None else tuple(outputs), style)

    def _names(self, attribute: str) -> tuple[str, ...]:
        pages = self._app.store.pages(self._batch_id, names=("row_id", attribute, "ttl"))
        return field_names(pages, attribute)

    def run(self, remaining_ms: Callable[[], int]) -> dict[str, Any] | None:
        """Writes until the CSV is whole or the time runs low; leaves nothing behind when it fails."""
        try:
            return self._run(remaining_ms)
        except BaseException:
            self._upload.abort()
            raise

    def _run(self, remaining_ms: Callable[[], int]) -> dict[str, Any] | None:
        writer = CsvWriter(neutralise=self._csv.get("neutralise_formulas", True))
        if not self._begun:
            self._upload.write(writer.encode([self._columns.header()]))
        for page in self._pages():
            if not page:
                continue
            self._upload.write(writer.encode(map(self._line, page)))
            self._last = row_id(page[-1].number) if isinstance(page[-1], Bare) else page[-1]["row_id"]["S"]
            if self._upload.flush() and remaining_ms() < ENOUGH_TIME:
                return self._state()
        self._check()
        self._upload.complete()
        return None

    def _line(self, entry: Any) -> list[str]:
        if isinstance(entry, Bare):
            self.tally.bare(entry)
            return bare_line(entry.row, row_id(entry.number), entry.status, self._columns)
        self.tally.result(entry)
        return line_of(entry, self._columns)

    def _pages(self) -> Iterator[list[Any]]:
        pages = self._app.store.pages(self._batch_id, after=self._last)
        if self._record is None:
            return pages
        first = (row_number(self._last) or 0) + 1 if self._last else 1
        gaps = Gaps(self._app, self._record)
        return with_gaps(pages, first, int(self._record.row_count), row_number, gaps.between)

    def _state(self) -> dict[str, Any]:
        return {
            "upload_id": self._upload.upload_id,
            "last_row_id": self._last,
            "counts": self.tally.counts,
            "errors": self.tally.groups(_GROUPS_KEPT),
            "columns": {"inputs": list(self._columns.inputs), "outputs": list(self._columns.outputs)},
        }

    def _check(self) -> None:
        """Rows in = lines out, or nothing is written."""
        if self._record is not None and self.tally.rows != int(self._record.row_count):
            raise ConservationBroken(
                f"batch {self._batch_id}: {self.tally.rows} lines for {int(self._record.row_count)} rows"
            )
