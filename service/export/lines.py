"""Results as what is written of them: lines of a CSV, or of JSON; and a line for every row that has no result."""

from __future__ import annotations

from json.encoder import encode_basestring
from operator import ne
from typing import TYPE_CHECKING, Any, Protocol

from service.csv_cells import csv_lines, neutralised, quoted
from service.export.fill_rates import Seen
from service.models import row_id, row_number
from service.request.columns import GUARDED, METADATA
from service.store.structs import ATTRIBUTES, Named, Shape, json_object, text_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.batch.absent_rows import AbsentRow
    from service.request.columns import Columns
    from service.store.structs import Attribute, Fields, Item, Map


class Lines(Protocol):
    """One format of an export: bytes of results and of rows without one, in the order given, each a line or a row."""

    content_type: str
    names: tuple[str, ...]  # the attributes that it needs
    shape: Shape  # how it needs them decoded

    def header(self) -> bytes:
        """Return what the file begins with."""

    def results(self, items: Sequence[Item[Any, Any]]) -> bytes:
        """Return the lines of results."""

    def absent(self, rows: Sequence[AbsentRow]) -> bytes:
        """Return the lines of rows that have no result."""

    def end(self) -> bytes:
        """Return what a file ends with; each invocation ends its own where a format has such an end."""


def cause_of(item: Item[Any, Any]) -> tuple[str, str] | None:
    """Type and message of a result's error; a plain event's error may be of any form, and is then the message."""
    if item.error is None:
        return None
    error = item.error.M or {}
    if "type" not in error and "message" not in error:
        return "", text_of(item.error)
    kind, message = (text_of(error[name]) if name in error else "" for name in ("type", "message"))
    return kind, message


def error_text(item: Item[Any, Any]) -> str:
    """Return a result's error in one cell; "" where it has none."""
    cause = cause_of(item)
    return ": ".join(filter(None, cause)) if cause else ""


def _cells(column: Sequence[Attribute | None]) -> list[str]:
    """Return the cells of a column; texts, by far the most, without a call."""
    return ["" if one is None else text_of(one) if one.S is None else one.S for one in column]


class CsvLines:
    """RFC 4180 in UTF-8, with a header; made a column at a time."""

    content_type = "text/csv; charset=utf-8"
    names: tuple[str, ...] = ATTRIBUTES

    def __init__(self, columns: Columns, seen: Seen | None = None, *, neutralise: bool) -> None:
        self._columns = columns
        self._neutralise = neutralise
        self._seen = seen or Seen()
        self._counted = set(self._seen.know(columns.outputs))
        self._inputs, self._outputs = Named(columns.inputs), Named(columns.outputs)
        self.shape = Shape(self._inputs.type, self._outputs.type)

    def header(self) -> bytes:
        """Return the names of the columns."""
        names = [self._column([name]) for name in self._columns.header()] or [[""]]
        if self._neutralise and self._columns.metadata:
            names[-len(METADATA) :] = [[GUARDED]]
        return csv_lines(names)

    def results(self, items: Sequence[Item[Any, Any]]) -> bytes:
        """Return the lines of results."""
        made = [self._column(_cells(one)) for one in self._inputs.columns(item.input_data for item in items)]
        outputs = [_cells(one) for one in self._outputs.columns(item.output_data for item in items)]
        for name, cells in zip(self._columns.outputs, outputs, strict=True):
            if name in self._counted:
                self._seen.counts[name] += len(cells) - cells.count("")
        made += map(self._column, outputs)
        if self._columns.metadata:
            made += [
                self._column([item.row_id.S for item in items]),
                self._column([item.status.S for item in items]),
                self._column([error_text(item) if item.error is not None else "" for item in items]),
                [item.execution_time_ms.N if item.execution_time_ms is not None else "" for item in items],
                [item.timestamp.S if item.timestamp is not None else "" for item in items],
            ]
        return csv_lines(made or [[""] * len(items)])

    def absent(self, rows: Sequence[AbsentRow]) -> bytes:
        """Return the lines of rows that have no result."""
        made = [self._column([entry.row.get(name, "") for entry in rows]) for name in self._columns.inputs]
        empty = [""] * len(rows)
        made += [empty] * len(self._columns.outputs)
        if self._columns.metadata:
            errors = self._column([": ".join(filter(None, entry.error or ())) for entry in rows])
            made += [[row_id(entry.number) for entry in rows], [entry.status for entry in rows], errors, empty, empty]
        return csv_lines(made or [empty])

    def end(self) -> bytes:
        """Nothing: the last line is the end."""
        return b""

    def _column(self, cells: Sequence[str]) -> Sequence[str]:
        if not self._neutralise:
            return quoted(cells)
        guarded = neutralised(cells)
        if guarded is not cells:
            self._seen.guarded += sum(map(ne, cells, guarded))
        return quoted(guarded)


class JsonLines:
    """One JSON object a line, as `results --json` shows a row; numbers with the digits that were stored."""

    content_type = "application/jsonl; charset=utf-8"
    names: tuple[str, ...] = (*ATTRIBUTES, "attempts")

    def __init__(self, batch_id: str, seen: Seen | None = None, *, inputs: bool = True, metadata: bool = True) -> None:
        self.shape = Shape()
        self._seen = seen or Seen()
        self._batch = encode_basestring(batch_id)
        self._inputs = inputs
        self._metadata = metadata

    def header(self) -> bytes:
        """Nothing: every line has its names."""
        return b""

    def results(self, items: Sequence[Item[Any, Any]]) -> bytes:
        """Return the lines of results."""
        self._seen.maps(item.output_data.M or {} for item in items if item.output_data is not None)
        return "".join(map(self._result, items)).encode(errors="replace")

    def absent(self, rows: Sequence[AbsentRow]) -> bytes:
        """Return the lines of rows that have no result."""
        return "".join(map(self._absent, rows)).encode(errors="replace")

    def end(self) -> bytes:
        """Nothing: the last line is the end."""
        return b""

    def _result(self, item: Item[Any, Any]) -> str:
        cause = cause_of(item)
        took, attempts = item.execution_time_ms, item.attempts
        return self._line(
            item.row_id.S,
            item.status.S,
            _error(cause),
            "1" if attempts is None else attempts.N,
            "null" if took is None else took.N,
            "null" if item.timestamp is None else encode_basestring(item.timestamp.S),
            _map(item.input_data),
            _map(item.output_data),
        )

    def _absent(self, entry: AbsentRow) -> str:
        row = {name: encode_basestring(cell) for name, cell in entry.row.items()}
        error = _error(entry.error)
        return self._line(row_id(entry.number), entry.status, error, "0", "null", "null", _object(**row), "{}")

    def _line(  # noqa: PLR0913 - one argument per name
        self, identifier: str, status: str, error: str, attempts: str, took: str, timestamp: str, row: str, fields: str
    ) -> str:
        number = row_number(identifier)
        about = {
            "batch_id": self._batch,
            "row_id": encode_basestring(identifier),
            "row_number": "null" if number is None else str(number),
            "status": encode_basestring(status),
            "error": error,
            "attempts": attempts,
            "execution_time_ms": took,
            "timestamp": timestamp,
        }
        given = {"input_data": row} if self._inputs else {}
        return _object(**(about if self._metadata else {}), **given, output_data=fields) + "\n"


def _error(cause: tuple[str, str] | None) -> str:
    if cause is None:
        return "null"
    return _object(type=encode_basestring(cause[0]), message=encode_basestring(cause[1]))


def _map(value: Map[Fields] | None) -> str:
    return json_object((value and value.M) or {})


def _object(**values: str) -> str:
    """Return a JSON object of values that are JSON already."""
    return "{" + ", ".join(f"{encode_basestring(name)}: {value}" for name, value in values.items()) + "}"
