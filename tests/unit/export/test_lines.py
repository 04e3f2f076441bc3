from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batch.absent_rows import AbsentRow, ConservationBroken, with_absent_rows
from service.export.lines import CsvLines, JsonLines
from service.models import row_id, row_number
from service.request.columns import GUARDED, Columns
from service.store import attribute_values
from service.store.structs import Item, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.export.lines import Lines


def decoded(lines: Lines | None, *items: dict[str, Any]) -> list[Item[Any, Any]]:
    """Results as a page of DynamoDB's answer holds them."""
    shape = Shape() if lines is None else lines.shape
    return shape.decode(json.dumps({"Items": items}).encode()).Items


def item(number: int, **attributes: Any) -> dict[str, Any]:
    wire = {name: attribute_values.encode(value) for name, value in attributes.items()}
    return {"row_id": {"S": row_id(number)}, "status": {"S": "SUCCESS"}, **wire}


def made(columns: Columns, *items: dict[str, Any], neutralise: bool = True) -> list[list[str]]:
    lines = CsvLines(columns, neutralise=neutralise)
    return list(csv.reader(io.StringIO(lines.results(decoded(lines, *items)).decode(), newline="")))


def test_a_header_cell_is_a_cell() -> None:
    columns = Columns(("=cmd", "a,b"), ("@x y()",), "plain")
    assert (
        CsvLines(columns, neutralise=True).header().decode()
        == ",".join(["'=cmd", '"a,b"', "'@x y()", GUARDED]) + "\r\n"
    )


def test_a_line_has_the_columns_in_their_order() -> None:
    whole = item(7, input_data={"b": "=2", "a": "1"}, output_data={"n": 1.5, "t": True, "gone": 1})
    whole |= {"execution_time_ms": {"N": "12"}, "timestamp": {"S": "2026-01-01T00:00:00.000Z"}}
    (line,) = made(Columns(("a", "b"), ("t", "n", "none")), whole)
    assert line == ["1", "'=2", "true", "1.5", "", row_id(7), "SUCCESS", "", "12", "2026-01-01T00:00:00.000Z"]
    assert made(Columns(("a", "b"), (), metadata=False), whole, neutralise=False) == [["1", "=2"]]


def test_a_result_without_maps_is_a_line() -> None:
    assert made(Columns(("a",), ("b",)), item(1)) == [["", "", row_id(1), "SUCCESS", "", "", ""]]


def test_no_columns_at_all_are_lines_still() -> None:
    assert made(Columns((), (), metadata=False), item(1), item(2)) == [[""], [""]]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ({"type": "E", "message": "m"}, "E: m"),
        ({"message": "m"}, "m"),
        ({"type": "E"}, "E"),
        ({"type": 5, "message": None}, "5"),
        ({"code": 1}, '{"code":1}'),
        ({"type": "=1", "message": "m"}, "'=1: m"),
    ],
)
def test_an_error_of_any_form_is_shown(error: object, shown: str) -> None:
    assert made(Columns((), ()), item(1, error=error))[0][2] == shown


def test_an_error_that_is_a_text_is_shown() -> None:
    assert made(Columns((), ()), {**item(1), "error": {"S": "text"}})[0][2] == "text"


ROW = {"a": '=1,"x"', "b": "ü\n"}


def test_a_row_without_a_result_is_a_line_of_the_same_columns() -> None:
    lines = CsvLines(Columns(("a", "b", "c"), ("o",)), neutralise=True)
    (line,) = csv.reader(io.StringIO(lines.absent([AbsentRow(3, "MISSING", ROW)]).decode(), newline=""))
    assert line == ['\'=1,"x"', "ü\n", "", "", row_id(3), "MISSING", "", "", ""]


def test_json_lines_show_a_row_as_the_command_line_does() -> None:
    lines = JsonLines("echo#1")
    stored = item(7, input_data=ROW, output_data={"n": 10**37, "l": [None]}, error={"type": "E", "message": 'm"'})
    stored |= {"attempts": {"N": "2"}, "execution_time_ms": {"N": "5"}, "timestamp": {"S": "t"}}
    text = (
        lines.header() + lines.results(decoded(lines, stored)) + lines.absent([AbsentRow(8, "NOT_RUN", ROW)])
    ).decode()
    first, second = map(json.loads, text.splitlines())
    assert first == {
        "batch_id": "echo#1",
        "row_id": row_id(7),
        "row_number": 7,
        "status": "SUCCESS",
        "error": {"type": "E", "message": 'm"'},
        "attempts": 2,
        "execution_time_ms": 5,
        "timestamp": "t",
        "input_data": ROW,
        "output_data": {"n": 10**37, "l": [None]},
    }
    assert second == {
        **dict.fromkeys(first),
        "batch_id": "echo#1",
        "row_id": row_id(8),
        "row_number": 8,
        "status": "NOT_RUN",
        "attempts": 0,
        "input_data": ROW,
        "output_data": {},
    }


def test_json_lines_of_results_alone() -> None:
    lines = JsonLines("echo#1", inputs=False, metadata=False)
    assert lines.results(decoded(lines, item(1, input_data=ROW, output_data={"a": 1}))) == b'{"output_data": {"a":1}}\n'


def bare(first: int, last: int) -> Iterator[AbsentRow]:
    return (AbsentRow(number, "MISSING", {}) for number in range(first, last + 1))


def pages_of(*pages: list[str]) -> list[list[Item[Any, Any]]]:
    return [decoded(None, *({"row_id": {"S": identifier}} for identifier in page)) for page in pages]


@given(st.integers(0, 250).flatmap(lambda n: st.tuples(st.just(n), st.sets(st.integers(1, max(1, n))))), st.data())
def test_every_row_is_there_once_whatever_is_missing(drawn: tuple[int, set[int]], data: st.DataObject) -> None:
    last, present = drawn
    there = sorted(number for number in present if number <= last)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(there)), max_size=4)))
    pages = [[row_id(number) for number in there[a:b]] for a, b in zip([0, *cuts], [*cuts, len(there)], strict=True)]
    numbers, without = [], []
    for results, rows in with_absent_rows(pages_of(*pages), 1, last, bare):
        assert bool(results) != bool(rows)
        numbers += [row_number(one.row_id.S) for one in results] + [entry.number for entry in rows]
        without += [entry.number for entry in rows]
    assert numbers == [*range(1, last + 1)]
    assert set(without) == set(range(1, last + 1)) - set(there)


def test_a_long_gap_is_not_held_at_once() -> None:
    given_out = 0

    def counting(first: int, last: int) -> Iterator[AbsentRow]:
        nonlocal given_out
        for number in range(first, last + 1):
            given_out += 1
            yield AbsentRow(number, "MISSING", {})

    filled = with_absent_rows(pages_of([row_id(1), row_id(10_000_000)]), 1, 10_000_000, counting)
    assert [len(results) + len(rows) for results, rows in (next(filled), next(filled))] == [1, given_out]
    assert given_out <= 1_000


@pytest.mark.parametrize(
    "identifiers",
    [
        [row_id(4)],
        [row_id(0)],
        ["row_x"],
        [row_id(2), row_id(1)],
        [row_id(1), row_id(1)],
        [row_id(1), "row_000000000a", row_id(3)],
        [row_id(1), "row_0000000002x"],
    ],
)
def test_a_result_of_a_row_that_is_not_due_is_an_error(identifiers: list[str]) -> None:
    with pytest.raises(ConservationBroken, match="not one of the batch's 3 rows"):
        list(with_absent_rows(pages_of(identifiers), 1, 3, bare))
