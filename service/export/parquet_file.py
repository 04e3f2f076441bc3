"""Results as Parquet: columns in row groups, each of which leaves as soon as it is whole.

pyarrow is not in the functions' packages: a layer brings it to the aggregator, the extra `parquet` to a laptop. It is
imported when the first file is begun.
"""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem
from service.export.fill_rates import Seen
from service.export.lines import error_text
from service.models import parse_iso, row_id
from service.request.columns import NO_PYARROW
from service.store.structs import ATTRIBUTES, Named, Shape, text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.batch.absent_rows import AbsentRow
    from service.request.columns import Columns
    from service.store.structs import Attribute, Item

CONTENT_TYPE = "application/vnd.apache.parquet"
GROUP_ROWS = 65_536  # rows of a row group,
GROUP_BYTES = 16 << 20  # or bytes of them as Arrow holds them, whichever comes first
_TOGETHER = 100  # rows at least that are made into a batch: gaps and results may come one by one


class ParquetLines:
    """Columns named as in the CSV's header; texts as in its cells, with null for what is absent or null.

    `_execution_time_ms` is an int64 and `_timestamp` a timestamp[ms, UTC]. What is no whole row group yet is held, and
    comes with `end`. Raises BatchRefused without pyarrow, or without a column.
    """

    content_type = CONTENT_TYPE
    names: tuple[str, ...] = ATTRIBUTES

    def __init__(self, columns: Columns, seen: Seen | None = None) -> None:
        self._seen = seen or Seen()
        self._counted = set(self._seen.know(columns.outputs))
        self._arrow, parquet = _pyarrow()
        self._columns = columns
        self._inputs, self._outputs = Named(columns.inputs), Named(columns.outputs)
        self.shape = Shape(self._inputs.type, self._outputs.type)
        text = self._arrow.string()
        kinds = {"_execution_time_ms": self._arrow.int64(), "_timestamp": self._arrow.timestamp("ms", tz="UTC")}
        last = columns.last
        named = columns.header()[: -len(last) or None]
        if not named and not last:
            raise BatchRefused(
                [Problem("csv", "Parquet has no rows without columns: let include_original or add_metadata be true")]
            )
        self._schema = self._arrow.schema(
            [*((_sound(name), text) for name in named), *((name, kinds.get(name, text)) for name in last)]
        )
        self._sink = _Sink()
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="snappy")
        self._cells: list[list[str | None]] = [[] for _ in self._schema]  # of the last rows, by column
        self._held: list[Any] = []  # the rows before them, as record batches, of the row group to come
        self._rows = self._bytes = 0  # of those

    def header(self) -> bytes:
        """Nothing: what a file begins with comes with its first row group."""
        return b""

    def results(self, items: Sequence[Item[Any, Any]]) -> bytes:
        """Return a row group that these results make whole, or nothing yet."""
        made = [_cells(one) for one in self._inputs.columns(item.input_data for item in items)]
        outputs = [_cells(one) for one in self._outputs.columns(item.output_data for item in items)]
        for name, cells in zip(self._columns.outputs, outputs, strict=True):
            if name in self._counted:
                self._seen.counts[name] += len(cells) - cells.count(None) - cells.count("")
        made += outputs
        if self._columns.metadata:
            took, stored = [item.execution_time_ms for item in items], [item.timestamp for item in items]
            made += [
                [item.row_id.S for item in items],
                [item.status.S for item in items],
                [None if item.error is None else error_text(item) for item in items],
                [None if one is None else one.N for one in took],
                [None if one is None else one.S for one in stored],
            ]
        return self._add(made)

    def absent(self, rows: Sequence[AbsentRow]) -> bytes:
        """Return the same of rows that have no result."""
        nothing: list[str | None] = [None] * len(rows)
        made: list[list[str | None]] = [[entry.row.get(name) for entry in rows] for name in self._columns.inputs]
        made += [nothing] * len(self._columns.outputs)
        if self._columns.metadata:
            made += [
                [row_id(entry.number) for entry in rows],
                [entry.status for entry in rows],
                [None if entry.error is None else ": ".join(filter(None, entry.error)) for entry in rows],
                nothing,
                nothing,
            ]
        return self._add(made)

    def end(self) -> bytes:
        """Return the last row group, and the footer that names them all."""
        self._make_batch()
        if self._held:
            self._write_group()
        self._writer.close()
        return self._sink.drained()

    def _add(self, columns: list[list[str | None]]) -> bytes:
        for cells, more in zip(self._cells, columns, strict=True):
            cells.extend(more)
        if len(self._cells[0]) < _TOGETHER:
            return b""
        self._make_batch()
        if self._rows < GROUP_ROWS and self._bytes < GROUP_BYTES:
            return b""
        self._write_group()
        return self._sink.drained()

    def _make_batch(self) -> None:
        if not self._cells[0]:
            return
        columns = zip(self._schema, self._cells, strict=True)
        arrays = [self._array(field.name, field.type, cells) for field, cells in columns]
        batch = self._arrow.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._held.append(batch)
        self._rows += batch.num_rows
        self._bytes += batch.nbytes
        self._cells = [[] for _ in self._schema]

    def _write_group(self) -> None:
        group = self._arrow.Table.from_batches(self._held, self._schema)
        self._held, self._rows, self._bytes = [], 0, 0
        self._writer.write_table(group, row_group_size=group.num_rows)

    def _array(self, name: str, kind: Any, cells: Sequence[str | None]) -> Any:
        """Return a column; of one that is no text, null for what is none of its type."""
        try:
            texts = self._arrow.array(cells, self._arrow.string())
        except UnicodeEncodeError:
            texts = self._arrow.array([cell and _sound(cell) for cell in cells], self._arrow.string())
        try:
            return texts.cast(kind)
        except ValueError:  # what a plain event or another writer has stored
            return self._arrow.array([None if cell is None else _VALUES[name](cell) for cell in cells], kind)


class _Sink:
    """What a ParquetWriter writes to: bytes that are taken away as they come."""

    closed = False

    def __init__(self) -> None:
        self._held = BytesIO()

    def write(self, some: Any) -> int:
        return self._held.write(some)

    def flush(self) -> None:
        """Nothing is kept back."""

    def drained(self) -> bytes:
        taken, self._held = self._held, BytesIO()
        return taken.getvalue()


def _pyarrow() -> tuple[Any, Any]:
    """Return the package and its module of Parquet."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - no other format pays for it
        import pyarrow.parquet as pq  # noqa: PLC0415
    except ImportError as error:
        raise BatchRefused([Problem("csv.format", NO_PYARROW)]) from error
    return pa, pq


def _cells(column: Sequence[Attribute | None]) -> list[str | None]:
    return [None if one is None or one.NULL else text_of(one) if one.S is None else one.S for one in column]


def _sound(text: str) -> str:
    """Return the text with `?` for half a character, which UTF-8 cannot hold."""
    return text.encode(errors="replace").decode()


def _whole(text: str) -> int | None:
    """Return the whole number that a text is, if 64 bits hold it."""
    try:
        number = int(text)
    except ValueError:
        return None
    return number if -(1 << 63) <= number < 1 << 63 else None


def _milliseconds(text: str) -> int | None:
    """Milliseconds since 1970 of an ISO 8601 text."""
    try:
        return round(parse_iso(text).timestamp() * 1000)
    except ValueError:
        return None


_VALUES: dict[str, Callable[[str], int | None]] = {"_execution_time_ms": _whole, "_timestamp": _milliseconds}
