"""Results as lines of the CSV: columns, cells, and a line for every row that has no result."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from service import codec
from service.errors import BatchProcessorError, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

OPTIONS: dict[str, tuple[Any, ...]] = {
    "format": ("csv",),
    "column_style": ("prefixed", "plain"),
    "neutralise_formulas": (True, False),
    "include_original": (True, False),
    "add_metadata": (True, False),
}
METADATA = ("_row_id", "_status", "_error", "_execution_time_ms", "_timestamp")
# What a spreadsheet runs: = and @, + and - unless the cell is a number, after any white or zero-width space; and what
# begins with a tab or CR.
_FORMULA = re.compile(r"[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*(?:[=@]|([+-]))")
_NUMBER = re.compile(r"\s*[+-]([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
_TOGETHER = 100  # rows without a result that are held at once


class ConservationBroken(BatchProcessorError):
    """Rows in are not rows out: the results do not fit the batch's own row count."""


def csv_option_problems(options: Any) -> list[Problem]:
    """What is wrong with the options of a CSV that is made again; None is none, and null the batch's own."""
    if not isinstance(options, dict | None):
        return [Problem("csv", "must be an object")]
    problems = []
    for name, value in (options or {}).items():
        if name not in OPTIONS:
            problems.append(Problem(f"csv.{name}", f"unknown key; {nearest(str(name), OPTIONS)}"))
        elif value is not None and not any(type(value) is type(one) and value == one for one in OPTIONS[name]):
            shown = ", ".join(json.dumps(one) for one in OPTIONS[name])
            problems.append(Problem(f"csv.{name}", f"must be one of {shown}"))
    return problems


@dataclass(frozen=True)
class Columns:
    """Names of the source's columns and of the output's fields, and how the header writes them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    style: str = "prefixed"
    metadata: bool = True

    @property
    def last(self) -> tuple[str, ...]:
        """Names of the columns about the row itself."""
        return METADATA if self.metadata else ()

    def header(self) -> list[str]:
        """The header; `plain` leaves the prefixes away where no two names collide."""
        if self.style == "prefixed":
            named = [*(f"input_{name}" for name in self.inputs), *(f"output_{name}" for name in self.outputs)]
            return [*named, *self.last]
        prefixed: set[str] = set()
        while True:
            inputs = [f"input_{name}" if name in prefixed else name for name in self.inputs]
            outputs = [f"output_{name}" if name in prefixed else name for name in self.outputs]
            header = [*inputs, *outputs, *self.last]
            twice = {name for name, count in Counter(header).items() if count > 1}
            plain = (twice & {*self.inputs, *self.outputs}) - prefixed  # a prefix may meet another column's own name
            if not plain:
                return header
            prefixed |= plain


def cell(value: Any) -> str:
    """The text of a cell: text as it is, numbers as given, nested values as JSON, null as nothing."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, bytes):
        return _base64(value)
    return _nested(value)


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode()


_nested = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=_base64).encode


def neutral(text: str) -> str:
    """The text with one `'` before it if a spreadsheet would run it as a formula."""
    found = _FORMULA.match(text)
    if found is None or (found[1] and _NUMBER.fullmatch(text)):
        return text
    return "'" + text


class CsvWriter:
    """Lines as bytes: UTF-8, RFC 4180."""

    def __init__(self, *, neutralise: bool) -> None:
        self._neutralise = neutralise

    def encode(self, lines: Iterable[Sequence[str]]) -> bytes:
        """The lines as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        if self._neutralise:
            # A cell that is empty or begins with a letter or digit, as most do, can be no formula.
            writer.writerows([v if v[:1].isalnum() or not v else neutral(v) for v in line] for line in lines)
        else:
            writer.writerows(lines)
        return text.getvalue().encode("utf-8", errors="replace")


def cause_of(item: Mapping[str, Any]) -> tuple[str, str] | None:
    """Type and message of an item's error; a plain event's error may be of any form, and is then the message."""
    stored = item.get("error")
    if stored is None:
        return None
    error = stored.get("M", {})
    if "type" not in error and "message" not in error:
        return "", cell(codec.decode(stored))
    kind, message = (cell(codec.decode(error[name])) if name in error else "" for name in ("type", "message"))
    return kind, message


def _cell_of(attribute: Mapping[str, Any]) -> str:
    """The cell of a value in wire form."""
    digits: str | None = attribute.get("N")
    if digits is not None:
        return digits
    if "BOOL" in attribute:
        return "true" if attribute["BOOL"] else "false"
    return cell(codec.decode(attribute))


def line_of(item: dict[str, Any], columns: Columns) -> list[str]:
    """The line of a result, which is given in DynamoDB's wire form."""
    row = item.get("input_data", {}).get("M", {})
    fields = item.get("output_data", {}).get("M", {})
    # texts, by far the most, without a call
    line = [(found.get("S") or _cell_of(found)) if (found := row.get(name)) else "" for name in columns.inputs]
    line += [(found.get("S") or _cell_of(found)) if (found := fields.get(name)) else "" for name in columns.outputs]
    if not columns.metadata:
        return line
    cause = cause_of(item)
    shown = ": ".join(filter(None, cause)) if cause else ""
    took = item.get("execution_time_ms", {}).get("N", "")
    return [*line, item["row_id"]["S"], item["status"]["S"], shown, took, item.get("timestamp", {}).get("S", "")]


def bare_line(row: dict[str, str], identifier: str, status: str, columns: Columns) -> list[str]:
    """The line of a row that has no result."""
    cells = [row.get(name, "") for name in columns.inputs]
    last = [identifier, status, "", "", ""] if columns.metadata else []
    return [*cells, *[""] * len(columns.outputs), *last]


def add_field_names(names: dict[str, None], page: Iterable[Mapping[str, Any]], attribute: str) -> None:
    """Adds the keys that a map attribute has in a page, in the order of their first appearance."""
    for item in page:
        names.update(dict.fromkeys(item.get(attribute, {}).get("M", {})))


def with_gaps(
    pages: Iterable[list[dict[str, Any]]],
    first: int,
    last: int,
    number_of: Callable[[str], int | None],
    bare: Callable[[int, int], Iterator[Any]],
) -> Iterator[list[Any]]:
    """Pages of results with what `bare(from, to)` yields for the rows between that have none.

    However long a gap is, little of it is held at once. Raises ConservationBroken for a result that is not of
    a row between first and last.
    """
    expected = first
    for page in pages:
        filled: list[Any] = []
        for item in page:
            number = number_of(item["row_id"]["S"])
            if number is None or not expected <= number <= last:
                raise ConservationBroken(
                    f"{item['row_id']['S']} is not one of the batch's {last} rows, or is out of order after row "
                    f"{expected - 1}: something else has written results under this batch's id"
                )
            if number > expected:
                for entry in bare(expected, number - 1):
                    filled.append(entry)
                    if len(filled) >= _TOGETHER:
                        yield filled
                        filled = []
            filled.append(item)
            expected = number + 1
        yield filled
    if expected <= last:
        left = bare(expected, last)
        while run := list(islice(left, _TOGETHER)):
            yield run
