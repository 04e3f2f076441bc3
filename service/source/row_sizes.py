"""What rows take on their way, worked out from the lengths of their cells: no payload is made for most rows."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import replace
from json.encoder import encode_basestring_ascii as escaped
from operator import mul
from typing import TYPE_CHECKING, Any

from service.mapping.conversions import RowNotMapped
from service.mapping.input_plan import InputPlan
from service.source import csv_rows
from service.source.row_payload import row_payload, wire_bytes

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

_BATCH = "#"  # any batch: of its id a payload holds a hash, which is as long for every one
_JOINING = frozenset({"concat", "template"})  # transformations whose text is as long as its parts together
_MARKS = re.compile(r"\\ue000(\d+)\\ue001")  # characters of nobody's alphabet (Unicode's private use), escaped
_LAST = 10**10 - 1  # a row's number with as many digits as a row id has at least


class RowSizes:
    """Bytes of rows of a source on their way, as `wire_bytes(row_payload(…))` counts them, exactly.

    Where every field is a cell, cells and texts joined, or a constant, the JSON of a row is as long as a constant and
    so many times each cell, escaped: as often as the cell stands in it. Both are found by making payloads of rows of
    marks. A tool's other fields (numbers, say) stand in it once, and are made for each row; an agent's stand in its
    prompt too, so that such rows are made and measured.
    """

    def __init__(self, kind: Any, name: str, fields: InputPlan, columns: Sequence[str]) -> None:
        self._kind, self._name, self._fields, self._columns = kind, name, fields, columns
        self._width = len(columns)
        self._prompt: tuple[int, ...] | None = None  # cells of which one must say something, or the prompt is blank
        self._times: tuple[int, ...] | None = None  # how often each cell stands in a payload
        self._alike: int | None = None  # the same, where all stand in it equally often
        self._fixed = self._digit = 0  # bytes of a payload without its cells; bytes of a digit of the row's number
        odd = self._odd_names()
        self._odd = _parted(fields, odd) if odd else None
        if fields.schema is None and (not odd or kind == "tool"):
            self._find_out(replace(_parted(fields, fields.names, odd), static={**fields.static, **dict.fromkeys(odd)}))
            self._fixed -= len(odd) * len("null")

    def of(self, number: int, cells: list[str]) -> int:
        """Return the bytes of a row; 0 of one that does not travel: it is ragged, or cannot be mapped."""
        if len(cells) != self._width:
            return 0
        prompt = self._prompt
        if (
            self._times is None
            or number > _LAST
            or (prompt is not None and not any(cells[place].strip() for place in prompt))
        ):
            return self._made(number, cells)
        lengths = map(len, map(escaped, cells))
        taken = self._alike * sum(lengths) if self._alike is not None else sum(map(mul, self._times, lengths))
        taken += self._fixed + self._digit * len(str(number))
        return taken if self._odd is None else self._with_odd(taken, self._odd, cells)

    def _with_odd(self, taken: int, odd: InputPlan, cells: list[str]) -> int:
        try:
            made = odd.fields(dict(zip(self._columns, cells, strict=True)))
        except RowNotMapped:
            return 0
        return taken + sum(map(_json_bytes, made.values()))

    def _made(self, number: int, cells: list[str]) -> int:
        row = csv_rows.row_of(self._columns, cells)
        try:
            return wire_bytes(row_payload(self._kind, self._name, _BATCH, number, row, self._fields))
        except RowNotMapped:
            return 0

    def _odd_names(self) -> tuple[str, ...]:
        """Return the fields that may be anything but cells, texts and constants put together."""
        fields = self._fields
        typed = {name for name, kind, _ in fields.converted if kind != "string" or name in fields.static}
        made = {name for name, kind, _ in fields.built if kind not in _JOINING}
        return tuple(typed | made)

    def _find_out(self, fields: InputPlan) -> None:
        """Make payloads of rows of one letter a cell, so that no prompt is blank, and one of marks that are counted."""
        letters, marks = ["x"] * self._width, list(map(_mark, range(self._width)))
        try:
            whole, marked = self._json(fields, 1, letters), self._json(fields, 1, marks)
            self._digit = len(self._json(fields, 10, letters)) - len(whole)
        except RowNotMapped:  # a prompt that is blank in every row
            return
        times = Counter(map(int, _MARKS.findall(marked)))
        times.subtract(map(int, _MARKS.findall(whole)))  # marks that stand in constants: nobody writes them
        self._times = tuple(times[place] for place in range(self._width))
        self._alike = self._times[0] if len(set(self._times)) == 1 else None
        self._fixed = wire_bytes(json.loads(whole)) - self._digit - len(escaped("x")) * sum(self._times)
        self._prompt = self._said_by(marks) if self._kind == "agent" else None

    def _json(self, fields: InputPlan, number: int, cells: list[str]) -> str:
        row = csv_rows.row_of(self._columns, cells)
        return json.dumps(row_payload(self._kind, self._name, _BATCH, number, row, fields))

    def _said_by(self, marks: list[str]) -> tuple[int, ...] | None:
        """Return the places of the cells that the prompt is made of, where no constant of it says anything."""
        blank, marked = (
            self._fields.fields(dict(zip(self._columns, cells, strict=True))) for cells in ([""] * self._width, marks)
        )
        prompt = blank.get("prompt")
        if not isinstance(prompt, str) or prompt.strip() or "prompt" in self._fields.static:
            return None
        return tuple(sorted(set(map(int, _MARKS.findall(json.dumps(marked["prompt"]))))))


def _parted(fields: InputPlan, names: Collection[str], without: Collection[str] = ()) -> InputPlan:
    """Return the plan with the named fields alone."""
    wanted = set(names) - set(without)
    return InputPlan(
        fields.columns_used,
        fields.envelope,
        passed=tuple(one for one in fields.passed if one[0] in wanted),
        static={name: value for name, value in fields.static.items() if name in wanted},
        built=tuple(one for one in fields.built if one[0] in wanted),
        converted=tuple(one for one in fields.converted if one[0] in wanted),
    )


def _json_bytes(value: Any) -> int:
    return len(str(value)) if type(value) is int else len(json.dumps(value))


def _mark(place: int) -> str:
    return f"\ue000{place}\ue001"
