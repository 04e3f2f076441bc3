"""Rows as a report shows them: texts cut and made visible, a fair choice of many, failures by cause."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service import causes
from service.excerpt import excerpt
from service.export.lines import cause_of
from service.models import row_number
from service.store.structs import text_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.store.structs import Item

CELL = 300  # characters of a cell in the table of rows
LONG_CELL = 2_000  # of a cell in an example of a cause
CELLS = 30  # cells of an input or an output
GROUPS = 30  # causes that are told, the commonest
EXAMPLES = 5  # rows of each that are shown
_TYPE = 100  # characters of an error's name by which causes are told apart
_MESSAGE = 2 * causes.MESSAGE  # characters of a message by which they are
# Control characters as the pictures that Unicode has of them, but tab and line feed; others are unknown ones.
_VISIBLE = {
    **{code: 0x2400 + code for code in range(0x20) if code not in (0x09, 0x0A)},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}


def visible(text: str, most: int) -> str:
    """Return the text with its control characters to be seen, and no more than `most` characters of it."""
    return excerpt(text, most).replace("\r\n", "\n").translate(_VISIBLE)


@dataclass(slots=True)
class Row:
    """One result, its texts cut."""

    row_id: str
    status: str
    execution_time_ms: int | None
    timestamp: str
    attempts: int
    input_data: dict[str, str]
    output_data: dict[str, str]
    error: str
    cause: tuple[str, str, str] | None

    @property
    def label(self) -> str:
        """The row's number, or its id where that is of another form."""
        number = row_number(self.row_id)
        return visible(self.row_id, CELL) if number is None else str(number)

    def to_json(self) -> dict[str, Any]:
        """Return the row as one of the `--json` document's."""
        return {
            "row_id": self.row_id,
            "row_number": row_number(self.row_id),
            "status": self.status,
            "error": self.error or None,
            "attempts": self.attempts,
            "execution_time_ms": self.execution_time_ms,
            "timestamp": self.timestamp or None,
            "input_data": self.input_data,
            "output_data": self.output_data,
        }


def row_of(item: Item[Any, Any], most: int = CELL) -> Row:
    """Return a result as a report shows it, `most` characters of each cell."""
    kind, message = cause_of(item) or ("", "")
    return Row(
        item.row_id.S,
        item.status.S,
        milliseconds(item),
        item.timestamp.S if item.timestamp is not None else "",
        int(item.attempts.N) if item.attempts is not None else 1,
        _cells(item.input_data, most),
        _cells(item.output_data, most),
        visible(": ".join(filter(None, (kind, message))), most),
        _cause(item),
    )


def milliseconds(item: Item[Any, Any]) -> int | None:
    """How long the target took for the row, if that is known."""
    return None if item.execution_time_ms is None else max(0, int(float(item.execution_time_ms.N)))


def _cells(value: Any, most: int) -> dict[str, str]:
    fields = (value.M if value is not None else None) or {}
    cells = {visible(name, most): visible(text_of(one), most) for name, one in list(fields.items())[:CELLS]}
    if len(fields) > CELLS:
        cells["…"] = f"and {len(fields) - CELLS:,} more"
    return cells


def _cause(item: Item[Any, Any]) -> tuple[str, str, str] | None:
    """Status, error and message by which failures are grouped; None of a success."""
    if item.status.S == "SUCCESS":
        return None
    kind, message = cause_of(item) or ("", "")
    return item.status.S, visible(kind, _TYPE), visible(message, _MESSAGE)


class Spread:
    """At most `most` rows of those offered in order: all of them while they are few, else evenly spread over all."""

    def __init__(self, most: int) -> None:
        self.seen = 0
        self._most = most
        self._step = 1
        self._kept: list[Row] = []

    def offer(self, items: Sequence[Item[Any, Any]]) -> None:
        """Take every so manieth."""
        self._kept += map(row_of, items[-self.seen % self._step :: self._step])
        self.seen += len(items)
        while len(self._kept) > 2 * self._most:
            del self._kept[1::2]
            self._step *= 2

    def chosen(self, most: int) -> list[Row]:
        """At most so many of them, in the order in which they came."""
        count = len(self._kept)
        return self._kept if count <= most else [self._kept[number * count // most] for number in range(most)]


class Causes:
    """Rows that did not succeed, grouped by cause, with the first rows of each; the commonest are told."""

    def __init__(self) -> None:
        self._causes: causes.Causes[Row] = causes.Causes()

    def add(self, items: Sequence[Item[Any, Any]]) -> None:
        """Count rows that did not succeed and keep the first of each cause, their cells nearly whole."""
        for item in items:
            cause = _cause(item)
            if cause is None:
                continue
            group = self._causes.add(*cause)
            if len(group.examples) < EXAMPLES:
                group.examples.append(row_of(item, LONG_CELL))

    def groups(self) -> list[dict[str, Any]]:
        """Causes, the commonest first: status, error, message, count and example rows."""
        told = self._causes.groups()[:GROUPS]
        return [{**group.told(), "examples": [row.to_json() for row in group.examples]} for group in told]

    def numbers(self) -> Callable[[Row], int | None]:
        """Tells of a row in which of the groups it is counted."""
        positions = {id(group): number for number, group in enumerate(self._causes.groups()[:GROUPS])}

        def number_of(row: Row) -> int | None:
            return None if row.cause is None else positions.get(id(self._causes.find(*row.cause)))

        return number_of
