"""Cells of a CSV, a column at a time: RFC 4180 quotes, and formulas that no spreadsheet runs.

Nearly every column needs neither: whether one does is seen from all its cells together, at the price of one look at
each cell's first character and one search through their text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a spreadsheet runs: = and @, + and - unless the cell is a number, after any white or zero-width space; and what
# begins with a tab or CR.
_FORMULA = re.compile(r"[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*(?:[=@]|([+-]))")
_NUMBER = re.compile(r"\s*[+-]([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
# What a formula can begin with: its own marks, and the white and zero-width spaces that may stand before them.
MAY_BEGIN_A_FORMULA = frozenset(
    "=@+-\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000\u180e\u200b\u200c\u200d\u2060\ufeff"
)
_QUOTE, _TWO = '"', '""'
_NEEDS_QUOTES = (",", _QUOTE, "\n", "\r")


def neutral(text: str) -> str:
    """The text with one `'` before it if a spreadsheet would run it as a formula."""
    found = _FORMULA.match(text)
    if found is None or (found[1] and _NUMBER.fullmatch(text)):
        return text
    return "'" + text


def neutralised(column: Sequence[str]) -> Sequence[str]:
    """The cells of a column, those that a spreadsheet would run with a `'` before them."""
    if MAY_BEGIN_A_FORMULA.isdisjoint({cell[:1] for cell in column}):
        return column
    return [neutral(cell) for cell in column]


def quoted(column: Sequence[str]) -> Sequence[str]:
    """The cells of a column as they stand in a line, in quotes where they need them."""
    together = "".join(column)
    if not any(mark in together for mark in _NEEDS_QUOTES):
        return column
    return [
        f'"{cell.replace(_QUOTE, _TWO)}"' if "," in cell or _QUOTE in cell or "\n" in cell or "\r" in cell else cell
        for cell in column
    ]


def csv_lines(columns: Sequence[Sequence[str]]) -> bytes:
    """Lines of columns whose cells are quoted already; a lone surrogate becomes `?`."""
    if len(columns) == 1:  # an empty cell alone would be an empty line, which readers pass over
        columns = [[cell or '""' for cell in columns[0]]]
    lines = "\r\n".join(map(",".join, zip(*columns, strict=True)))
    return f"{lines}\r\n".encode(errors="replace") if columns and columns[0] else b""
