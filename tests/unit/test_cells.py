from __future__ import annotations

import csv
import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.cells import MAY_BEGIN_A_FORMULA, csv_lines, neutral, neutralised, quoted

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", '"', ",", "\r", "\n", "\r\n", "\0", "=1", "-1", "\ufeff", "a\rb", "'", " =x", "\t1"]
)
LINES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=1, max_size=6)
)


def written(lines: list[list[str]], *, neutralise: bool = False) -> bytes:
    columns = zip(*lines, strict=True)
    return csv_lines([quoted(neutralised(column) if neutralise else column) for column in columns])


def read(encoded: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(encoded.decode(), newline="")))


def textbook(lines: list[list[str]]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerows(lines)
    return text.getvalue().encode()


@given(LINES)
def test_lines_are_those_of_the_textbook(lines: list[list[str]]) -> None:
    assert written(lines) == textbook(lines)
    assert read(written(lines)) == lines


@given(LINES)
def test_neutralise_adds_one_quote_where_a_formula_would_run(lines: list[list[str]]) -> None:
    for before, after in zip(lines, read(written(lines, neutralise=True)), strict=True):
        for text, shown in zip(before, after, strict=True):
            assert shown == neutral(text)
            if shown != text:
                assert re.match(r"[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*[=@+-]", text)


@given(st.lists(st.lists(st.text(max_size=5), min_size=3, max_size=3), min_size=1, max_size=3))
def test_a_lone_surrogate_costs_no_line(lines: list[list[str]]) -> None:
    assert len(read(written(lines))) == len(lines)


def test_lines_end_with_crlf_and_one_empty_cell_is_a_line() -> None:
    assert written([[""], ["a"]]) == b'""\r\na\r\n'


def test_no_lines_are_nothing() -> None:
    assert csv_lines([[], []]) == csv_lines([]) == b""


def test_every_white_space_may_begin_a_formula() -> None:
    white = {character for character in map(chr, range(sys.maxunicode + 1)) if re.match(r"\s", character)}
    assert white | set("=@+-\u180e\u200b\u200c\u200d\u2060\ufeff") == MAY_BEGIN_A_FORMULA


@pytest.mark.parametrize(
    "text",
    [
        "=1",
        "@SUM(A1)",
        " =1",
        "\u00a0=1",
        "\u200b=1",
        "\ufeff@a",
        "\n=1",
        "+a",
        "-a",
        "-",
        "+1+1",
        "-5-cmd",
        "- 5",
        "--5",
        "-1,5",
        "-0x10",
        "\u200b-5",
        "\tx",
        "\rx",
        "\t5",
        "\t-5",
        "\r",
    ],
)
def test_what_would_run_as_a_formula_gets_one_quote(text: str) -> None:
    assert neutral(text) == "'" + text


@pytest.mark.parametrize(
    "text",
    ["", "a=1", "-5", "+5", "-5.", "-.5", "+1.5e-7", "-1E+10", " -5", "-5 ", "5", " 5", "\n5", "'=1", "a\t", "e-mail"],
)
def test_other_cells_are_left_alone(text: str) -> None:
    assert neutral(text) == text
