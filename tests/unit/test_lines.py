from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service import codec
from service.lines import (
    METADATA,
    Columns,
    ConservationBroken,
    CsvWriter,
    add_field_names,
    cell,
    line_of,
    neutral,
    with_gaps,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["", " ", '"', ",", "\r", "\n", "\r\n", "\0", "=1", "-1", "\ufeff", "a\rb", "'", " =x", "\t1"]
)
LINES = st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=6)
NAMES = st.lists(st.sampled_from(["x", "y", "input_x", "output_x", "input_input_x", "_status", "_row_id"]), unique=True)


def read(encoded: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(encoded.decode(), newline="")))


@given(LINES)
def test_cells_come_back_as_they_are(lines: list[list[str]]) -> None:
    assert read(CsvWriter(neutralise=False).encode(lines)) == lines


@given(LINES)
def test_neutralise_adds_one_quote_where_a_formula_would_run(lines: list[list[str]]) -> None:
    for before, after in zip(lines, read(CsvWriter(neutralise=True).encode(lines)), strict=True):
        for text, shown in zip(before, after, strict=True):
            assert shown in (text, "'" + text)
            if shown != text:
                assert re.match(r"[\t\r]|[\s\u180e\u200b-\u200d\u2060\ufeff]*[=@+-]", text)


@given(st.lists(st.text(max_size=5), min_size=1, max_size=3))
def test_a_lone_surrogate_costs_no_line(line: list[str]) -> None:
    assert len(read(CsvWriter(neutralise=False).encode([line]))) == 1


def test_lines_end_with_crlf_and_one_empty_cell_is_a_line() -> None:
    assert CsvWriter(neutralise=True).encode([[""], ["a"]]) == b'""\r\na\r\n'


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


def test_a_header_cell_is_a_cell() -> None:
    header = Columns(("=cmd",), ("@x",), "plain").header()
    assert read(CsvWriter(neutralise=True).encode([header]))[0][:2] == ["'=cmd", "'@x"]


def test_headers() -> None:
    assert Columns(("a", "b"), ("a",)).header() == ["input_a", "input_b", "output_a", *METADATA]
    assert Columns(("a", "b"), ("c",), "plain").header() == ["a", "b", "c", *METADATA]
    assert Columns(("a", "b"), ("a",), "plain").header() == ["input_a", "b", "output_a", *METADATA]


def test_a_prefix_may_not_meet_a_column_that_has_the_name_already() -> None:
    assert Columns(("x", "output_x"), ("x",), "plain").header() == ["input_x", "input_output_x", "output_x", *METADATA]
    assert Columns(("_status",), ("_status",), "plain").header() == ["input__status", "output__status", *METADATA]


@given(NAMES, NAMES, st.sampled_from(["plain", "prefixed"]))
def test_no_header_names_two_columns_alike(inputs: list[str], outputs: list[str], style: str) -> None:
    header = Columns(tuple(inputs), tuple(outputs), style).header()
    assert len(set(header)) == len(header) == len(inputs) + len(outputs) + len(METADATA)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ([], "[]"),
        ({"ä": [None, True, "x"]}, '{"ä":[null,true,"x"]}'),
        (b"\0\1", "AAE="),
        ([b"\0\1"], '["AAE="]'),
    ],
)
def test_cells(value: object, text: str) -> None:
    assert cell(value) == text


def item(number: int, **attributes: dict) -> dict:
    return {"row_id": {"S": f"row_{number:010d}"}, "status": {"S": "SUCCESS"}, **attributes}


def test_a_line_has_the_exact_digits() -> None:
    fields = {"M": {"n": {"N": "10000000000000000000000000000000000000.1"}}}
    assert line_of(item(1, output_data=fields), Columns((), ("n", "gone")))[:2] == [fields["M"]["n"]["N"], ""]


def test_a_cell_of_a_line_is_that_of_the_value_in_wire_form() -> None:
    values = {"s": "a", "e": "", "n": 12, "t": True, "f": False, "z": None, "l": [1, "x"], "m": {"B": "b"}, "b": b"z"}
    fields = codec.encode(values)
    assert line_of(item(1, output_data=fields), Columns((), tuple(values)))[: len(values)] == list(
        map(cell, values.values())
    )


@pytest.mark.parametrize(
    "text", ["", "a", "1", "-1", "-a", " =1", "é", "\u180e=1", "\ufeff@a", "²", "=1", "\ta", "+", "١"]
)
def test_what_is_not_looked_at_is_no_formula(text: str) -> None:
    assert CsvWriter(neutralise=True).encode([[text, "x"]]) == CsvWriter(neutralise=False).encode(
        [[neutral(text), "x"]]
    )


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"type": "E", "message": "m"}, "E: m"),
        ({"message": "m"}, "m"),
        ({"type": "E"}, "E"),
        ({"type": 5, "message": None}, "5"),
        ({"code": 1}, '{"code":1}'),
        ("text", "text"),
    ],
)
def test_an_error_of_any_form_is_shown(error: object, shown: str) -> None:
    assert line_of(item(1, error=codec.encode(error)), Columns((), ()))[2] == shown


def test_names_are_found_in_order_of_appearance() -> None:
    names: dict[str, None] = {}
    pages = [[item(1, f=codec.encode({"b": 1})), item(2)], [item(3, f=codec.encode({"a": 1, "b": 2}))]]
    for page in pages:
        add_field_names(names, page, "f")
    assert list(names) == ["b", "a"]


def number_of(identifier: str) -> int | None:
    return int(identifier[4:]) if identifier[4:].isdigit() else None


def bare(first: int, last: int) -> Iterator[int]:
    yield from range(first, last + 1)


@given(st.integers(0, 250).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(1, max(1, n))))), st.data())
def test_every_row_is_there_once_whatever_is_missing(drawn: tuple[int, set[int]], data: st.DataObject) -> None:
    last, present = drawn
    there = sorted(number for number in present if number <= last)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(there)), max_size=4)))
    pages = [[item(number) for number in there[a:b]] for a, b in zip([0, *cuts], [*cuts, len(there)], strict=True)]
    filled = list(with_gaps(pages, 1, last, number_of, bare))
    entries = [entry for page in filled for entry in page]
    assert [entry if isinstance(entry, int) else number_of(entry["row_id"]["S"]) for entry in entries] == [
        *range(1, last + 1)
    ]
    assert {entry for entry in entries if isinstance(entry, int)} == set(range(1, last + 1)) - set(there)


def test_a_long_gap_is_not_held_at_once() -> None:
    given_out = 0

    def counting(first: int, last: int) -> Iterator[int]:
        nonlocal given_out
        for number in range(first, last + 1):
            given_out += 1
            yield number

    pages = with_gaps([[item(1), item(10_000_000)]], 1, 10_000_000, number_of, counting)
    assert len(next(pages)) + len(next(pages)) <= given_out + 1 <= 1_000


@pytest.mark.parametrize("identifiers", [["row_4"], ["row_0"], ["row_x"], ["row_2", "row_1"], ["row_1", "row_1"]])
def test_a_result_of_a_row_that_is_not_due_is_an_error(identifiers: list[str]) -> None:
    page = [{"row_id": {"S": identifier}} for identifier in identifiers]
    with pytest.raises(ConservationBroken, match=identifiers[-1]):
        list(with_gaps([page], 1, 3, number_of, bare))
