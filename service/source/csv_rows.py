"""Exact rows of a CSV as a byte stream: which bytes each row is, and the chunks of rows that they make."""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from service.csv_cells import unguarded as without_guard
from service.errors import BatchProcessorError, BatchRefused, Problem
from service.source.lines import (
    LONGEST_FIELD,
    LONGEST_LINE,
    Lines,
    LineTooLongError,
    SourceFault,
    SourceFormat,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

_MIB = 1024 * 1024


@dataclass(slots=True)
class Record:
    """One record: `number` 0 is the header; bytes `start` to `end` (exclusive) of the source, line end included."""

    number: int
    line: int
    start: int
    end: int
    cells: list[str]


class RaggedRow(BatchProcessorError):
    """A row has more or fewer cells than the header has columns; `row` holds the cells that have a column."""

    def __init__(self, message: str, row: dict[str, str]) -> None:
        super().__init__(message)
        self.message = message
        self.row = row


def read_records(
    blocks: Iterable[bytes], fmt: SourceFormat, *, offset: int = 0, number: int = 0, line: int = 1
) -> Iterator[Record]:
    """Yield the records of the bytes from `offset` on; the first has the number `number` and begins at line `line`.

    A line without any character is not a record. Cells are exact, line ends inside quotes included.
    """
    csv.field_size_limit(LONGEST_FIELD)
    lines = Lines(blocks, fmt, offset)
    reader = csv.reader(chain.from_iterable(lines.batches()), delimiter=fmt.delimiter)
    first_line, start = line, lines.ends[0]
    try:
        for cells in reader:
            read = reader.line_num
            end = lines.ends[read - lines.before]
            if cells:
                if lines.finished:
                    raise _open_quote(cells[-1], first_line + read - 2, number)
                record = Record(number, line, start, end, cells)
                yield unguarded(record) if fmt.guarded and number else record
                number += 1
            start = end
            line = first_line + read
    except UnicodeDecodeError as error:
        at = first_line + reader.line_num
        raise _undecodable(error, fmt, at, number, lines.offset_of_fault(error)) from error
    except LineTooLongError as error:
        at = first_line + reader.line_num
        message = f"line {at} ({_name(number)}) is longer than {LONGEST_LINE // _MIB} MiB: is it a CSV with line ends?"
        raise SourceFault(message, line=at, row=number) from error
    except csv.Error as error:  # of a lenient reader: a field beyond the limit
        message = (
            f"field beginning at line {line} ({_name(number)}) is longer than {LONGEST_FIELD // _MIB} MiB: "
            "is a quote unbalanced there?"
        )
        raise SourceFault(message, line=line, row=number) from error


def unguarded(record: Record) -> Record:
    """Take the marks of our own guard against formulas off the cells of a record."""
    record.cells = [without_guard(cell) for cell in record.cells]
    return record


def _name(number: int) -> str:
    """Return what a message calls a record."""
    return f"row {number}" if number else "the header"


def _open_quote(cell: str, last_line: int, number: int) -> SourceFault:
    """Return the fault of a quote open at the end; `cell` holds every line since then, and the line fed last."""
    swallowed = io.StringIO(cell[:-1], newline="").readlines()
    opened = last_line + 1 - max(1, len(swallowed))
    message = (
        f"line {opened} ({_name(number)}) opens a quote that is never closed: "
        'close it there, or write "" for a quote that is part of the text'
    )
    return SourceFault(message, line=opened, row=number)


def _undecodable(error: UnicodeDecodeError, fmt: SourceFormat, line: int, number: int, at: int) -> SourceFault:
    """Return the fault of a byte that the encoding does not have."""
    message = (
        f"{_name(number)} (line {line}) has byte 0x{error.object[error.start]:02x} at offset {at}, which is not "
        f"{fmt.encoding}: say what the file is written in (--encoding, source.encoding), or correct it"
    )
    return SourceFault(message, line=line, row=number)


def check_header(record: Record | None) -> list[str]:
    """Return the columns that the header names; refuse an absent header, a blank name and a name that occurs twice."""
    if record is None:
        what = "the source holds no header: its first line must name the columns"
        raise BatchRefused([Problem("csv_s3_uri", what)])
    columns = record.cells
    problems = [
        Problem("csv_s3_uri", f"column {position} of the header (line {record.line}) has no name: give it one")
        for position, name in enumerate(columns, 1)
        if not name.strip()
    ]
    problems += [
        Problem("csv_s3_uri", f"column {name!r} is {count} times in the header: names must differ, rename all but one")
        for name, count in Counter(columns).items()
        if count > 1 and name.strip()
    ]
    if problems:
        raise BatchRefused(problems)
    return columns


def row_of(columns: Sequence[str], cells: list[str]) -> dict[str, str]:
    """Return the row that the cells are; raise RaggedRow unless there is exactly one cell for each column."""
    if len(cells) == len(columns):
        return dict(zip(columns, cells, strict=True))
    hint = (
        "is a delimiter or a line end missing, or a quote unbalanced?"
        if len(cells) < len(columns)
        else "a cell that contains the delimiter needs quotes"
    )
    message = f"{len(cells)} cells, but the header has {len(columns)} columns: {hint}"
    raise RaggedRow(message, dict(zip(columns, cells, strict=False)))


@dataclass(frozen=True, slots=True)
class RowRange:
    """Consecutive rows and the bytes `start` to `end` (exclusive) that hold them; `line` is where the first begins."""

    first_row: int
    rows: int
    start: int
    end: int
    line: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Rows of one child execution; `number` counts from 0 in row order, `attempts` is which run of its rows this is.

    `part`: which rows of its ranges are meant, by position, the end exclusive; None for all.
    """

    number: int
    ranges: tuple[RowRange, ...]
    attempts: int = 1
    part: tuple[int, int] | None = None

    @property
    def rows(self) -> int:
        """Number of its rows."""
        return sum(span.rows for span in self.ranges) if self.part is None else self.part[1] - self.part[0]

    @property
    def first_row(self) -> int:
        """Number of its first row."""
        return self.ranges[0].first_row if self.part is None else self.spans[0][0]

    @property
    def spans(self) -> list[tuple[int, int]]:
        """First row, and row after the last, of each span of consecutive rows."""
        begin, end = self.part or (0, self.rows)
        found, before = [], 0
        for span in self.ranges:
            first, last = max(begin - before, 0), min(end - before, span.rows)
            if first < last:
                found.append((span.first_row + first, span.first_row + last))
            before += span.rows
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the chunk as a line of the manifest."""
        ranges = [[span.first_row, span.rows, span.start, span.end, span.line] for span in self.ranges]
        again = {} if self.attempts == 1 else {"attempts": self.attempts}
        part = {} if self.part is None else {"part": list(self.part)}
        return {"chunk": self.number, "rows": self.rows, "ranges": ranges, **again, **part}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Chunk:
        """Return the chunk that a line of the manifest names; other keys of the line are left alone."""
        ranges = tuple(RowRange(*map(int, span)) for span in entry["ranges"])
        begin, end = map(int, entry.get("part", (0, 0)))
        return cls(int(entry["chunk"]), ranges, int(entry.get("attempts", 1)), (begin, end) if end else None)


class Chunker:
    """Groups rows, given in row order, into chunks of at most `max_rows` rows and `max_bytes` of payload."""

    def __init__(self, max_rows: int = 100, max_bytes: int = 150_000) -> None:
        self._max_rows = max_rows
        self._max_bytes = max_bytes
        self._number = 0
        self._rows = self._bytes = 0
        self._ranges: list[RowRange] = []  # closed, of the chunk in the making
        self._first = self._next = self._start = self._end = self._line = 0  # of the range in the making, if any

    def add(self, record: Record, size: int) -> Chunk | None:
        """Take a row whose payload is `size` bytes; returns the chunk that it did not fit into, if any.

        A row larger than `max_bytes` is a chunk of its own.
        """
        closed = None
        if self._rows >= self._max_rows or self._bytes + size > self._max_bytes:
            closed = self.finish()
        number = record.number
        if number != self._next or not self._rows:  # blank lines between rows do no harm
            self._close_range()
            self._first, self._start, self._line = number, record.start, record.line
        self._next = number + 1
        self._end = record.end
        self._rows += 1
        self._bytes += size
        return closed

    def finish(self) -> Chunk | None:
        """Close the chunk in the making and return it, if it has rows."""
        if not self._rows:
            return None
        self._close_range()
        chunk = Chunk(self._number, tuple(self._ranges))
        self._number += 1
        self._rows = self._bytes = 0
        self._ranges = []
        return chunk

    def _close_range(self) -> None:
        if self._rows:
            self._ranges.append(RowRange(self._first, self._next - self._first, self._start, self._end, self._line))


def bit_reversed_order(count: int) -> list[int]:
    """Order 0 to count - 1 by their reversed bits, so that those that follow each other lie far apart."""
    order = [0]
    while len(order) < count:
        order = [2 * number for number in order] + [2 * number + 1 for number in order]
    return [number for number in order if number < count]


def read_chunk(blocks_of: Callable[[int, int], Iterable[bytes]], fmt: SourceFormat, chunk: Chunk) -> Iterator[Record]:
    """Yield exactly the rows of the chunk; `blocks_of(start, end)` gives the bytes of a range, `end` exclusive."""
    records = _read_ranges(blocks_of, fmt, chunk)
    return records if chunk.part is None else islice(records, *chunk.part)


def _read_ranges(blocks_of: Callable[[int, int], Iterable[bytes]], fmt: SourceFormat, chunk: Chunk) -> Iterator[Record]:
    for span in chunk.ranges:
        blocks = blocks_of(span.start, span.end)
        read = 0
        for record in read_records(blocks, fmt, offset=span.start, number=span.first_row, line=span.line):
            read += 1
            if read > span.rows:
                break
            yield record
        if read != span.rows:
            found = "more" if read > span.rows else str(read)
            message = (
                f"bytes {span.start} to {span.end} of the source should hold {span.rows} rows from row "
                f"{span.first_row} (line {span.line}), but hold {found}: the file is not the one that was prepared, "
                "start a new batch"
            )
            raise SourceFault(message, line=span.line, row=span.first_row)
