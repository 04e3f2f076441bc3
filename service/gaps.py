"""The rows of a batch that have no result: why, and their cells from the source where it is still the same."""

from __future__ import annotations

import json
import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from service import objects, source
from service.errors import BatchProcessorError, SourceChanged
from service.models import RowStatus, row_id, row_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from service.app import App
    from service.table import BatchItem
    from service.wire import Item

_TOGETHER = 100  # rows without a result that are held at once
_WINDOW = 1 << 20  # bytes of the source read at once: rows that are missing here and there share a request


class ConservationBroken(BatchProcessorError):
    """Rows in are not rows out: the results do not fit the batch's own row count."""


class Bare(NamedTuple):
    """A row without a result."""

    number: int
    status: str
    row: dict[str, str]


class Gaps:
    """Rows that have no result, asked for in row order."""

    def __init__(self, app: App, record: BatchItem) -> None:
        self._app = app
        self._record = record
        self._rows_to_run = int(record.row_count if record.rows_to_run is None else record.rows_to_run)
        self._aborted = record.stop_reason == "aborted"
        self._skipped: tuple[array[int], array[int]] | None = None
        self._source: _Source | None = None
        self._readable = True

    def between(self, first: int, last: int) -> Iterator[Bare]:
        """Rows first to last, each as NOT_RUN or MISSING."""
        for number in range(first, last + 1):
            yield Bare(number, self._status(number), self._row(number))

    def _status(self, number: int) -> str:
        if number > self._rows_to_run or self._aborted or (self._record.stop and self._not_run(number)):
            return RowStatus.NOT_RUN.value
        return RowStatus.MISSING.value

    def _not_run(self, number: int) -> bool:
        """Whether the row is of a chunk that was skipped because the batch was stopped."""
        if self._skipped is None:
            self._skipped = array("q"), array("q")
            for chunk in self._app.records.chunks(self._record.batch_id, int(self._record.run)):  # in row order
                if (chunk.counts or {}).get(RowStatus.NOT_RUN.value):
                    self._skipped[0].append(int(chunk.first_row))
                    self._skipped[1].append(int(chunk.first_row) + int(chunk.rows))
        begins, ends = self._skipped
        position = bisect_right(begins, number) - 1
        return position >= 0 and number < ends[position]

    def _row(self, number: int) -> dict[str, str]:
        """The row's cells; none when the source was replaced, was deleted or may not be read any more."""
        if not self._readable:
            return {}
        try:
            if self._source is None:
                self._source = _Source(self._app, self._record)
            return self._source.row(number)
        except SourceChanged:
            self._readable = False
        except ClientError as error:
            if error.response["Error"]["Code"] not in objects.UNREADABLE:
                raise
            self._readable = False
        return {}


class _Source:
    """Rows of the source by number, in ascending order, read a window at a time."""

    def __init__(self, app: App, record: BatchItem) -> None:
        src: Any = record.source
        self._s3 = app.s3
        self._columns = src["columns"]
        self._object = objects.SourceObject(src["bucket"], src["key"], src["etag"], int(src["size"]))
        self._format = source.SourceFormat(src["encoding"], src["delimiter"], int(src["bom_bytes"]))
        self._rows, self._starts, self._lines = array("q"), array("q"), array("q")  # of every span of every chunk
        body = self._s3.get_object(Bucket=app.settings.data_bucket, Key=record.chunks_key)["Body"]
        for line in body.iter_lines():
            for span in source.Chunk.from_json(json.loads(line)).ranges:
                self._rows.append(span.first_row)
                self._starts.append(span.start)
                self._lines.append(span.line)
        self._records: Iterator[source.Record] = iter(())
        self._next = self._until = 0  # rows that the window has yet to give

    def row(self, number: int) -> dict[str, str]:
        """The cells of a row by column; a ragged row has those that it has."""
        if not self._next <= number < self._until:
            self._open(number)
        for record in self._records:
            self._next = record.number + 1
            if record.number == number:
                return dict(zip(self._columns, record.cells, strict=False))
        raise source.SourceFault(f"row {number} is not where the chunks of the batch say", row=number)

    def _open(self, number: int) -> None:
        """Reads the window that begins with the row's span; nothing of the connection stays open."""
        begin = max(0, bisect_right(self._rows, number) - 1)
        end = bisect_left(self._starts, self._starts[begin] + _WINDOW, begin + 1)
        whole = end == len(self._starts)
        stop = self._object.size if whole else self._starts[end]
        blocks = list(objects.read(self._s3, self._object, self._starts[begin], stop))
        self._records = source.read_records(
            blocks, self._format, offset=self._starts[begin], number=self._rows[begin], line=self._lines[begin]
        )
        self._next = self._rows[begin]
        self._until = sys.maxsize if whole else self._rows[end]


def with_gaps(
    pages: Iterable[list[Item[Any, Any]]], first: int, last: int, bare: Callable[[int, int], Iterator[Bare]]
) -> Iterator[tuple[Sequence[Item[Any, Any]], Sequence[Bare]]]:
    """Results as they come, and between them what `bare(from, to)` yields for the rows that have none.

    Yields either results or rows without one, the other empty. However long a gap is, little of it is held at once.
    Raises ConservationBroken for a result that is not of a row between first and last.
    """
    expected = first  # the row that is due at `begun`
    for page in pages:
        begun = 0
        numbers = _numbers(page, expected, last)
        for position, number in enumerate(numbers if isinstance(numbers, list) else ()):
            due = expected + position - begun
            if number > due:
                if position > begun:
                    yield page[begun:position], ()
                for rows in _together(bare(due, number - 1)):
                    yield (), rows
                begun, expected = position, number
        if page:
            yield page[begun:] if begun else page, ()
            expected += len(page) - begun
    for rows in _together(bare(expected, last)):
        yield (), rows


def _together(rows: Iterator[Bare]) -> Iterator[list[Bare]]:
    while some := list(islice(rows, _TOGETHER)):
        yield some


def _numbers(page: list[Item[Any, Any]], expected: int, last: int) -> range | list[int]:
    """The row numbers of a page: a range where they are those that are due, as nearly always; else a list, ascending.

    Raises ConservationBroken.
    """
    due = range(expected, expected + len(page))
    if due.stop <= last + 1 and [item.row_id.S for item in page] == list(map(row_id, due)):
        return due
    numbers = []
    for item in page:
        number = row_number(item.row_id.S)
        if number is None or not expected <= number <= last:
            raise ConservationBroken(
                f"{item.row_id.S} is not one of the batch's {last} rows, or is out of order after row {expected - 1}: "
                "something else has written results under this batch's id"
            )
        numbers.append(number)
        expected = number + 1
    return numbers
