"""Cells of a CSV, a column at a time: RFC 4180 quotes, and formulas that no spreadsheet runs.

Nearly every column needs neither: whether one does is seen from all its cells together, at the price of one look at
each cell's first character and one search through their text.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# What a spreadsheet may run: = and @, + and - unless the cell is a number, after any white or zero-width space; and
# what begins with a tab or CR (OWASP, "CSV Injection").
_FORMULA = re.compile(r"[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*(?:=|(@)|([+-]))")
_NUMBER = re.compile(r"\s*[+-]([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?\s*")
# A mention (`@name how are you`) is prose. After @ a formula does something only by a call (a bracket), by DDE (a bar),
# or by a reference to another file (a square bracket, a backslash, or a quoted name before ! or #; full-width forms
# count, which Excel reads as the others). A name that a cell has (@A1, @R1C1) would show that cell. A cell that begins
# with + or - and a word is no such case: Excel reads it as a formula and shows #NAME? in the place of the text.
_MENTION = re.compile(r"@[A-Za-z0-9_]+(?![\w.:$!])(?!\s*[=+*/^&<>%-])")
_A_CELL = re.compile(r"@(?:[A-Za-z]{1,3}[0-9]+|[rR][0-9]*[cC][0-9]*)(?![A-Za-z0-9_])")
_DOES_SOMETHING = re.compile(r"[(|\[\\\uff08\uff5c\uff3b\uff3c]|['\u2018\u2019\uff07]\s*[!#\uff01\uff03]")
# What a guarded cell can begin with: a formula's own marks, the white and zero-width spaces that may stand before them,
# and the ' of a cell that would else be the same as a guarded one.
MAY_BE_GUARDED = frozenset(
    "'=@+-\t\r\n\x0b\x0c\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009"
    "\u200a\u2028\u2029\u202f\u205f\u3000\u180e\u200b\u200c\u200d\u2060\ufeff"
)
_QUOTE, _TWO = '"', '""'
_NEEDS_QUOTES = (",", _QUOTE, "\n", "\r")


def runs(text: str) -> bool:
    """Whether a spreadsheet may run the cell as a formula."""
    found = _FORMULA.match(text)
    if found is None or (found[2] and _NUMBER.fullmatch(text)):
        return False
    if not found[1]:
        return True
    begin = found.start(1)
    mention = _MENTION.match(text, begin) and not _A_CELL.match(text, begin)
    return not mention or _DOES_SOMETHING.search(text, begin) is not None


def neutral(text: str) -> str:
    """Return the text with one `'` before it if a spreadsheet may run it.

    Or if it is such a text with `'` before it already.

    So no two texts become the same one, and `unguarded` gives each of them back.
    """
    return "'" + text if runs(text.lstrip("'")) else text


def unguarded(text: str) -> str:
    """Return the text of which `neutral` made this one."""
    return text[1:] if text[:1] == "'" and runs(text.lstrip("'")) else text


def neutralised(column: Sequence[str]) -> Sequence[str]:
    """Return the cells of a column, those that a spreadsheet may run with a `'` before them.

    The very same if none has one.
    """
    if MAY_BE_GUARDED.isdisjoint({cell[:1] for cell in column}):
        return column
    return [neutral(cell) for cell in column]


def quoted(column: Sequence[str]) -> Sequence[str]:
    """Return the cells of a column as they stand in a line, in quotes where they need them."""
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
