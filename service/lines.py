"""Results as lines of the CSV: columns, cells, and a line for every row that has no result."""

from __future__ import annotations

import csv
import io
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service import codec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

METADATA = ("_row_id", "_status", "_error", "_execution_time_ms", "_timestamp")
# What a spreadsheet runs: after leading white or zero-width space, = and @, + and - unless the cell is a number;
# tab and CR at the start.
_FORMULA = re.compile(r"[\t\r]|[\s\u200b-\u200d\u2060\ufeff]*[=@+\-\uff1d\uff20\uff0b\uff0d]")
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")


@dataclass(frozen=True)
class Columns:
    """Names of the source's columns and of the output's fields, and how the header writes them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    style: str = "prefixed"

    def header(self) -> list[str]:
        """The header; `plain` leaves the prefixes away where no two names collide."""
        if self.style == "prefixed":
            return [*(f"input_{name}" for name in self.inputs), *(f"output_{name}" for name in self.outputs), *METADATA]
        names = [*self.inputs, *self.outputs, *METADATA]
        twice = {name for name in names if names.count(name) > 1}
        inputs = [f"input_{name}" if name in twice else name for name in self.inputs]
        outputs = [f"output_{name}" if name in twice else name for name in self.outputs]
        return [*inputs, *outputs, *METADATA]


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
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def neutral(text: str) -> str:
    """The text with one `'` before it if a spreadsheet would run it as a formula."""
    if _FORMULA.match(text) and not _NUMBER.fullmatch(text):
        return "'" + text
    return text


class CsvWriter:
    """Lines as bytes: UTF-8, RFC 4180."""

    def __init__(self, *, neutralise: bool) -> None:
        self._neutralise = neutralise

    def encode(self, lines: Iterable[Sequence[str]]) -> bytes:
        """The lines as CSV."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        if self._neutralise:
            writer.writerows([neutral(value) for value in line] for line in lines)
        else:
            writer.writerows(lines)
        return text.getvalue().encode("utf-8", errors="replace")


def line_of(item: dict[str, Any], columns: Columns) -> list[str]:
    """The line of a result, which is given in DynamoDB's wire form."""
    row = item.get("input_data", {}).get("M", {})
    fields = item.get("output_data", {}).get("M", {})
    error = item.get("error", {}).get("M", {})
    line = [cell(codec.decode(row[name], exact=True)) if name in row else "" for name in columns.inputs]
    line += [cell(codec.decode(fields[name], exact=True)) if name in fields else "" for name in columns.outputs]
    shown = f"{error['type']['S']}: {error['message']['S']}" if error else ""
    took = item.get("execution_time_ms", {}).get("N", "")
    return [*line, item["row_id"]["S"], item["status"]["S"], shown, took, item.get("timestamp", {}).get("S", "")]


def bare_line(row: dict[str, str], identifier: str, status: str, columns: Columns) -> list[str]:
    """The line of a row that has no result."""
    cells = [row.get(name, "") for name in columns.inputs]
    return [*cells, *[""] * len(columns.outputs), identifier, status, "", "", ""]


def field_names(pages: Iterable[list[dict[str, Any]]], attribute: str) -> tuple[str, ...]:
    """Names of the keys of a map attribute over all results, in the order of their first appearance."""
    names: dict[str, None] = {}
    for page in pages:
        for item in page:
            names.update(dict.fromkeys(item.get(attribute, {}).get("M", {})))
    return tuple(names)


def with_gaps(
    pages: Iterable[list[dict[str, Any]]],
    first: int,
    last: int,
    number_of: Callable[[str], int | None],
    bare: Callable[[int, int], Iterator[Any]],
) -> Iterator[list[Any]]:
    """Pages of results with what `bare(from, to)` yields for the rows between that have none.

    Raises ValueError for a result that is not of a row between first and last.
    """
    expected = first
    for page in pages:
        filled: list[Any] = []
        for item in page:
            number = number_of(item["row_id"]["S"])
            if number is None or not expected <= number <= last:
                raise ValueError(f"{item['row_id']['S']} is not one of the rows {expected} to {last} that are due")
            if number > expected:
                filled.extend(bare(expected, number - 1))
            filled.append(item)
            expected = number + 1
        yield filled
    if expected <= last:
        run: list[Any] = []
        for entry in bare(expected, last):
            run.append(entry)
            if len(run) >= 1000:
                yield run
                run = []
        yield run
