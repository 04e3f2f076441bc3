"""Rows as a report shows them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reports import item

from service.console.report.shown_rows import CELLS, EXAMPLES, GROUPS, Causes, Spread, row_of, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("twelve letters", "twelve le…"),
        ("a\x00b\x1b[1m", "a\u2400b\u241b[1m"),
        ("a\r\nb\tc", "a\nb\tc"),
        ("a\rb\x7f", "a\u240db\u2421"),
        ("\x85", "\ufffd"),
    ],
)
def test_control_characters_are_seen_and_long_texts_cut(text: str, shown: str) -> None:
    assert visible(text, 10) == shown


def test_a_row_is_cut_in_length_and_breadth() -> None:
    wide = {f"column {number}": "x" * 50 for number in range(CELLS + 3)}
    row = row_of(item(7, "FAILED", wide, {"list": [1, "a"]}, ("Quota", "used\x00 up"), 12, attempts=3), 20)
    assert list(row.input_data)[:2] == ["column 0", "column 1"]
    assert len(row.input_data) == CELLS + 1
    assert row.input_data["…"] == "and 3 more"
    assert row.input_data["column 0"] == "x" * 19 + "…"
    assert (row.output_data, row.error) == ({"list": '[1,"a"]'}, "Quota: used\u2400 up")
    assert (row.label, row.execution_time_ms, row.attempts) == ("7", 12, 3)
    assert row.cause == ("FAILED", "Quota", "used\u2400 up")


def test_a_row_id_of_another_form_is_its_own_label() -> None:
    assert row_of(item("row_001\x07")).label == "row_001\u2407"
    assert row_of(item("row_001")).to_json()["row_number"] is None


def spread(count: int, most: int, page: int) -> Spread:
    made = Spread(most)
    items = [item(number) for number in range(count)]
    for first in range(0, count, page):
        made.offer(items[first : first + page])
    return made


@given(st.integers(0, 400), st.integers(1, 40), st.integers(1, 60))
def test_a_choice_of_rows_is_spread_evenly_over_all(count: int, most: int, page: int) -> None:
    made = spread(count, most, page)
    assert made.seen == count
    chosen = [int(row.label) for row in made.chosen(most)]
    assert len(chosen) == min(count, most) or count > most >= len(chosen) >= most / 2
    assert chosen == sorted(set(chosen))
    if count <= most:
        assert chosen == list(range(count))
    elif len(chosen) > 1:
        steps = [later - earlier for earlier, later in pairwise(chosen)]
        assert max(steps) <= 2 * min(steps)
        assert chosen[0] == 0
        assert count - chosen[-1] <= 2 * max(steps)


def test_little_is_held_of_many_rows() -> None:
    assert len(spread(5_000, 10, 100)._kept) <= 20


def failures(*causes: tuple[str, str]) -> list[Any]:
    return [item(number, "FAILED", None, None, cause) for number, cause in enumerate(causes, 1)]


def test_failures_are_grouped_by_cause_with_their_first_rows() -> None:
    causes = Causes()
    causes.add([item(100), *failures(*[("Quota", "used up")] * 7, ("Quota", "other"))])
    causes.add([item(9, "TIMEOUT", None, None, ("Quota", "used up"))])
    groups = causes.groups()
    assert [(group["status"], group["error"], group["message"], group["count"]) for group in groups] == [
        ("FAILED", "Quota", "used up", 7),
        ("FAILED", "Quota", "other", 1),
        ("TIMEOUT", "Quota", "used up", 1),
    ]
    assert [row["row_number"] for row in groups[0]["examples"]] == list(range(1, EXAMPLES + 1))
    assert groups[0]["examples"][0]["input_data"] == {"text": "text 1"}


@given(st.lists(st.tuples(st.sampled_from("ABC"), st.integers(0, 60)), max_size=400))
def test_of_many_causes_every_row_is_counted_once(given_causes: list[tuple[str, int]]) -> None:
    causes, items = Causes(), failures(*((kind, f"message {number}") for kind, number in given_causes))
    for first in range(0, len(items), 50):
        causes.add(items[first : first + 50])
    groups = causes.groups()
    assert len(groups) <= GROUPS + 4
    assert sum(group["count"] for group in groups) == len(items)
    number_of = causes.numbers()
    told = Counter(number_of(row_of(one)) for one in items)
    assert told == {number: group["count"] for number, group in enumerate(groups)}
    assert number_of(row_of(item(1))) is None


def test_a_cell_of_an_example_is_longer_than_one_of_the_table() -> None:
    causes = Causes()
    causes.add([item(1, "FAILED", {"text": "x" * 1_000}, None, ("A", "b"))])
    assert causes.groups()[0]["examples"][0]["input_data"]["text"] == "x" * 1_000
