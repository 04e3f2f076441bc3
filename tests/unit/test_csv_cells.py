from __future__ import annotations

import csv
import io
import re
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.csv_cells import MAY_BE_GUARDED, csv_lines, neutral, neutralised, quoted, runs, unguarded

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
                assert re.match(r"'*(?:[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*[=@+-])", text)


@given(st.lists(st.lists(st.text(max_size=5), min_size=3, max_size=3), min_size=1, max_size=3))
def test_a_lone_surrogate_costs_no_line(lines: list[list[str]]) -> None:
    assert len(read(written(lines))) == len(lines)


def test_lines_end_with_crlf_and_one_empty_cell_is_a_line() -> None:
    assert written([[""], ["a"]]) == b'""\r\na\r\n'


def test_no_lines_are_nothing() -> None:
    assert csv_lines([[], []]) == csv_lines([]) == b""


def test_every_white_space_may_begin_a_formula() -> None:
    white = {character for character in map(chr, range(sys.maxunicode + 1)) if re.match(r"\s", character)}
    assert white | set("'=@+-\u180e\u200b\u200c\u200d\u2060\ufeff") == MAY_BE_GUARDED


@pytest.mark.parametrize(
    "text",
    [
        "=1",
        "@SUM(A1)",
        " =1",
        "\u00a0=1",
        "\u200b=1",
        "\ufeff@a()",
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
    [
        "",
        "a=1",
        "-5",
        "+5",
        "-5.",
        "-.5",
        "+1.5e-7",
        "-1E+10",
        " -5",
        "-5 ",
        "5",
        " 5",
        "\n5",
        "'",
        "'a",
        "a\t",
        "e-mail",
    ],
)
def test_other_cells_are_left_alone(text: str) -> None:
    assert neutral(text) == text


# What Excel, LibreOffice and Google Sheets make of a cell that begins with @, + or -, and why it is guarded or not.
@pytest.mark.parametrize(
    ("text", "guarded"),
    [
        ("@SUM(1+1)*cmd|'/C calc'!A0", True),  # Lotus's way to call a function, which Excel still takes
        ("@SUM (A1)", True),
        ("@user thanks (really)", True),  # a bracket could be a call: no proof that it is not
        ("@user hello", False),
        ("@user", False),
        ("@VirginAmerica it's really aggressive, isn't it?! #fail", False),
        ("@united no! never again", False),
        (" @user, hello", False),
        ("@A1", True),  # shows another cell
        ("@a1 is a steak sauce", True),
        ("@R1C1", True),
        ("@Sheet2!A1", True),
        ("@user.name", True),
        ("@user+1", True),
        ("@user & co", True),
        ("@cmd|'/C calc'!A0", True),
        ("@cmd |x", True),
        ("@x '\\\\host\\[book.xls]Sheet1'!A1", True),
        ("@x 'file'#$Sheet1.A1", True),
        ("@x 'book' !name", True),
        ("@SUM\uff081\uff09", True),  # full-width brackets
        ("@ user", True),
        ("@", True),
        ("@@user hello", True),
        ("@élan vital", True),
        ("- a bullet", True),  # Excel shows #NAME? and not the text
        ("-2+3+cmd|' /C calc'!A0", True),
        ("+49 30 1234", True),
        ("+49", False),
        ("-12.5", False),
        ("=user hello", True),
    ],
)
def test_prose_that_begins_with_a_mention_is_left_alone(text: str, guarded: bool) -> None:  # noqa: FBT001
    assert runs(text) is guarded
    assert (neutral(text) == "'" + text) is guarded


GUARDED = st.text(st.sampled_from("'=@+- \ta1(|!\u200b"), max_size=6) | CELLS


@given(GUARDED)
def test_a_guarded_cell_is_given_back(text: str) -> None:
    assert unguarded(neutral(text)) == text
    assert not runs(neutral(text))


@given(GUARDED, GUARDED)
def test_two_cells_never_become_one(one: str, other: str) -> None:
    assert (neutral(one) == neutral(other)) == (one == other)


def test_a_column_is_guarded_as_its_cells_are() -> None:
    column = ["=SUM(A1)", "'=SUM(A1)", "''=SUM(A1)", "plain", "'quoted'"]
    made = neutralised(column)
    assert made == ["'" + cell for cell in column[:3]] + column[3:]
    assert [unguarded(cell) for cell in made] == column
    untouched = ["plain", "text"]
    assert neutralised(untouched) is untouched
