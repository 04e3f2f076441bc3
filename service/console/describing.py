"""What a source holds, read as a batch would read it: its format, its rows, and what stands in each column."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.errors import BatchRefused, Problem
from service.excerpt import excerpt
from service.expressions.values import coerced
from service.limits import HEADER_BYTES
from service.mapping.conversions import convert
from service.models import split_s3_uri
from service.permissions import key_refused
from service.request.checks import SAMPLE
from service.request.columns import has_guarded_cells
from service.s3 import bodies, objects
from service.source import csv_rows, detection, lines
from service.source.row_payload import wire_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.source.csv_rows import Record
    from service.source.lines import SourceFormat

ROWS = 1000  # rows that are looked at, when nothing else is said
_COUNTED = 64 << 20  # a source up to this size is read to its end, for an exact number of rows
_BLOCK = 1 << 20
_FIRST_ROWS, _EXAMPLES = 3, 3
_EXAMPLE, _CELL = 40, 500  # characters shown of an example, and of a cell of the first rows
_NAMED = 5  # ragged rows that are named
_KINDS = ("integer", "number", "boolean", "date", "json")  # in the order in which a column is taken for one


def describe(
    source: str,
    s3: Any = None,
    *,
    encoding: str | None = None,
    delimiter: str | None = None,
    rows: int = ROWS,
) -> dict[str, Any]:
    """Return what a file or an s3:// object holds; raise BatchRefused with what is wrong with it.

    Columns are judged by the first `rows` rows. A source of at most 64 MiB is read to its end, so that the number of
    its rows is exact; of a larger one no more is read than those rows take. `s3` is needed for an s3:// source only.
    """
    if rows < 1:
        raise BatchRefused([Problem("rows", f"{rows} rows cannot be looked at: give 1 or more")])
    with _faults_of(source):
        size, blocks = _blocks(source, s3)
        return _described(source, size, blocks, (encoding, delimiter), rows)


@contextmanager
def _faults_of(source: str) -> Iterator[None]:
    """Turn whatever is wrong with a source into BatchRefused that names it."""
    try:
        yield
    except BatchRefused as refused:
        here = [replace(one, path=source) if one.path == "csv_s3_uri" else one for one in refused.problems]
        raise BatchRefused(here) from refused
    except lines.SourceFault as fault:
        key, _, rest = fault.message.partition(" ")
        if key in ("source.encoding", "source.delimiter"):
            raise BatchRefused([Problem(f"--{key.removeprefix('source.')}", rest)]) from fault
        raise BatchRefused([Problem(source, fault.message + fault.detail)]) from fault
    except OSError as error:
        raise BatchRefused([Problem(source, f"cannot be read: {error.strerror or error}")]) from error


def _blocks(source: str, s3: Any) -> tuple[int, Iterator[bytes]]:
    """Return the size of a source in bytes, and its bytes in blocks."""
    if not source.startswith("s3://"):
        path = Path(source)
        if not path.is_file():
            what = "is a folder, name a file in it" if path.is_dir() else "there is no such file"
            raise BatchRefused([Problem(source, what)])
        return path.stat().st_size, _of_file(path)
    place = split_s3_uri(source)
    if place is None:
        raise BatchRefused([Problem(source, "is not of the form s3://bucket/key")])
    if s3 is None:
        raise BatchRefused([Problem(source, "is in S3, which cannot be reached without a stack: start or name one")])
    try:
        found = objects.find_source(s3, *place)
        stream = bodies.read(s3, found)
        first = next(stream, b"")
    except ClientError as error:
        message = key_refused(source, error.response["Error"]) or f"cannot be read: {error}"
        raise BatchRefused([Problem(source, message)]) from error
    return found.size, chain([first], stream)


def _of_file(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block


@dataclass
class _Column:
    """What is known of a column so far; it holds no cells but the examples."""

    name: str
    empty: int = 0
    values: set[int] = field(default_factory=set)  # hashes: a cell may be large
    examples: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=lambda: list(_KINDS))  # that every cell fits

    def add(self, cell: str) -> None:
        """Take a cell."""
        if not cell.strip():
            self.empty += 1
            return
        before = len(self.values)
        self.values.add(hash(cell))
        if len(self.values) == before:
            return
        if len(self.examples) < _EXAMPLES:
            self.examples.append(excerpt(" ".join(cell.split()), _EXAMPLE))
        if self.kinds:
            self.kinds = [kind for kind in self.kinds if _fits(kind, cell.strip())]

    def to_json(self) -> dict[str, Any]:
        """Return the column as it is described."""
        kind = "empty" if not self.values else next(iter(self.kinds), "text")
        told = {"name": self.name, "type": kind, "empty": self.empty, "different": len(self.values)}
        return {**told, "examples": self.examples}


def _fits(kind: str, cell: str) -> bool:
    """Tell whether a cell is a value of a type; what would lose something as a number, such as 007, is text."""
    if kind == "date":
        return coerced("date", cell)[0] is not None
    if kind == "json" and cell[0] not in "{[":
        return False
    if kind in ("integer", "number"):
        digits = cell.lstrip("-")
        if cell[0] == "+" or (len(digits) > 1 and digits[0] == "0" and digits[1].isdigit()):
            return False
        if kind == "integer" and not digits.isdigit():
            return False
    if kind == "boolean" and cell in ("0", "1"):  # a column of nothing else is one of integers
        return True
    try:
        convert(kind, cell)
    except ValueError:
        return False
    return True


@dataclass
class _Seen:
    """What was read of the rows."""

    columns: list[_Column]
    sample: list[dict[str, str]] = field(default_factory=list)
    rows: int = 0
    end: int = 0
    ragged: int = 0
    ragged_told: list[str] = field(default_factory=list)

    def add(self, record: Record, most: int) -> None:
        """Take a row, and its cells when it is one of the first; those of a ragged row are in the wrong columns."""
        self.rows, self.end = record.number, record.end
        if len(record.cells) != len(self.columns):
            self.ragged += 1
            if len(self.ragged_told) < _NAMED:
                try:
                    csv_rows.row_of([one.name for one in self.columns], record.cells)
                except csv_rows.RaggedRow as ragged:
                    told = ragged.message if self.ragged == 1 else ragged.message.partition(",")[0]
                    self.ragged_told.append(f"row {record.number} (line {record.line}) has {told}")
            return
        if record.number > most:
            return
        for column, cell in zip(self.columns, record.cells, strict=True):
            column.add(cell)
        if len(self.sample) < _FIRST_ROWS:
            cells = zip(self.columns, record.cells, strict=True)
            self.sample.append({column.name: excerpt(cell, _CELL) for column, cell in cells})


def _described(
    source: str, size: int, blocks: Iterator[bytes], given: tuple[str | None, str | None], rows: int
) -> dict[str, Any]:
    encoding, delimiter = given
    head = b""
    while len(head) < SAMPLE and (block := next(blocks, b"")):
        head += block
    fmt = lines.detect_format(head, complete=len(head) >= size, encoding=encoding, delimiter=delimiter)
    guess = lines.guess_of(head, fmt, encoding)
    notes = [] if guess is None else [guess]
    columns, records, guarded = _opened(head, blocks, fmt)
    if guarded:
        notes.append(
            "an export of the batch processor: the ' before a cell that a spreadsheet would run is taken off again"
        )
    seen = _Seen([_Column(name) for name in columns])
    western = detection.Western() if guess is not None else None
    whole = True
    for record in records:
        if record.number > rows and size > _COUNTED:
            whole = False
            break
        seen.add(record, rows)
        for cell in record.cells if western is not None else ():
            western.add(cell)  # type: ignore[union-attr]
    if western is not None and whole and not western.clear:
        raise lines.SourceFault(
            f"the first rows speak for {fmt.encoding}, but all rows together do not: say what it is written in "
            "(--encoding, source.encoding), or save it as UTF-8"
        )
    notes += _notes(seen, size, rows, whole=whole)
    return {
        "source": source,
        "size": size,
        "encoding": fmt.encoding,
        "delimiter": fmt.delimiter,
        "row_count": seen.rows,
        "row_count_exact": whole,
        "columns": [column.to_json() for column in seen.columns],
        "sample": seen.sample,
        "notes": notes,
    }


def _opened(head: bytes, blocks: Iterable[bytes], fmt: SourceFormat) -> tuple[list[str], Iterator[Record], bool]:
    """Return the columns that the header names, the rows after it, and whether they are an export of ours."""
    records = csv_rows.read_records(chain([head], blocks), fmt)
    header = next(records, None)
    columns = csv_rows.check_header(header)
    if (taken := wire_bytes(columns)) > HEADER_BYTES:
        message = f"the names in the header take {taken} bytes; at most {HEADER_BYTES} can travel with every row"
        raise BatchRefused([Problem("csv_s3_uri", f"{message}: shorten the names, or leave columns out of the file")])
    guarded = False
    if header is not None and fmt.delimiter == ",":
        guarded = has_guarded_cells(head[header.start : header.end].decode(fmt.encoding, "replace"))
    return columns, map(csv_rows.unguarded, records) if guarded else records, guarded


def _notes(seen: _Seen, size: int, rows: int, *, whole: bool) -> Iterator[str]:
    """Yield what else is to be said of the rows."""
    if not seen.rows:
        yield "a header and no rows: a batch of it would have nothing to run"
    elif not whole:
        about = round(float(f"{seen.rows * size / seen.end:.2g}"))
        yield f"read to row {seen.rows:,}, which by the size of the source is one of about {about:,}"
    elif seen.rows > rows:
        yield f"types, empty cells and different values are those of the first {rows:,} rows"
    if seen.ragged:
        listed = "; ".join(seen.ragged_told) + ("; …" if seen.ragged > len(seen.ragged_told) else "")
        one = seen.ragged == 1
        yield f"{seen.ragged:,} row{'' if one else 's'} would be INVALID_INPUT: {listed}"
    padded = next((one.name for one in seen.columns if one.name != one.name.strip()), None)
    if padded is not None:
        yield f"the name of the column {padded!r} begins or ends with a blank, which a mapping must write too"
