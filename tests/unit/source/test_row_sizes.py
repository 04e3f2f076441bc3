"""Sizes of rows that are worked out are those of the payloads that TransformInput makes, byte for byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.mapping.conversions import RowNotMapped
from service.mapping.input_plan import InputPlan
from service.source import csv_rows, row_sizes
from service.source.row_payload import row_payload, wire_bytes
from service.source.row_sizes import RowSizes

if TYPE_CHECKING:
    from collections.abc import Sequence

COLUMNS = ("prompt", "text", "größe", "a b")
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["", " ", "\t\n", "12", "-0.50", '{"a": [1, "é"]}', '"', "\\", "\x7f", "\ue0001\ue001", "😀", "x" * 400]
)
NAMES = st.sampled_from(["prompt", "text", "input", "größe", "my_field", "\ue0000\ue001"])
COLUMN = st.sampled_from(COLUMNS)
CONCAT = st.tuples(
    st.just("concat"), st.fixed_dictionaries({"columns": st.lists(COLUMN, min_size=1, max_size=3), "separator": TEXTS})
)
PARTS = st.lists(st.tuples(TEXTS, COLUMN), max_size=3)
TEMPLATE = st.tuples(st.just("template"), st.fixed_dictionaries({"parts": PARTS, "tail": TEXTS}))
DEFAULT = st.just({}) | st.fixed_dictionaries({"default": st.none() | TEXTS | st.integers()})
JSONPATH = st.tuples(
    st.just("jsonpath"),
    st.builds(lambda column, default: {"path": "a", "column": column, **default}, COLUMN, DEFAULT),
)
REGEX = st.tuples(
    st.just("regex"),
    st.builds(lambda column, default: {"pattern": 'x+|["é]', "column": column, "group": 0, **default}, COLUMN, DEFAULT),
)
STATIC = st.dictionaries(NAMES, st.none() | st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=2)
TYPES = st.sampled_from(["string", "json", "number", "boolean"])


@st.composite
def plans(draw: Any) -> InputPlan:
    passed = draw(st.dictionaries(NAMES, COLUMN, max_size=3))
    static = {name: value for name, value in draw(STATIC).items() if name not in passed}
    made = draw(st.dictionaries(NAMES, CONCAT | TEMPLATE | JSONPATH | REGEX, max_size=2))
    built = tuple((name, *one) for name, one in made.items() if name not in passed and name not in static)
    names = [*passed, *static, *(name for name, _, _ in built)]
    typed = draw(st.dictionaries(st.sampled_from(names), TYPES, max_size=1)) if names else {}
    return InputPlan(
        COLUMNS,
        draw(st.sampled_from(["default", "none"])),
        passed=tuple(passed.items()),
        static=static,
        built=built,
        converted=tuple((name, kind, "somewhere") for name, kind in typed.items()),
    )


def as_made(kind: Any, plan: InputPlan, columns: Sequence[str], number: int, cells: list[str]) -> int:
    """Return what the payload takes; 0 of a row that does not travel."""
    try:
        row = csv_rows.row_of(columns, cells)
        return wire_bytes(row_payload(kind, "größe", "any#batch", number, row, plan))
    except (csv_rows.RaggedRow, RowNotMapped):
        return 0


@given(
    st.sampled_from(["tool", "agent"]),
    plans(),
    st.lists(st.tuples(st.integers(1, 10**11), st.lists(TEXTS, min_size=3, max_size=5)), min_size=1, max_size=5),
)
def test_sizes_are_those_of_the_payloads(kind: Any, plan: InputPlan, rows: list[tuple[int, list[str]]]) -> None:
    sizes = RowSizes(kind, "größe", plan, COLUMNS)
    for number, cells in rows:
        assert sizes.of(number, cells) == as_made(kind, plan, COLUMNS, number, cells)


@pytest.mark.parametrize("kind", ["tool", "agent"])
def test_a_plain_row_is_not_made(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = InputPlan(("id", "text"), passed=(("id", "id"), ("text", "text")), built=(("prompt", *_template("Is ")),))
    sizes, columns = RowSizes(kind, "größe", plan, ("id", "text")), ("id", "text")
    expected = as_made(kind, plan, columns, 7, ["7", 'so "it" is'])
    monkeypatch.setattr(row_sizes, "row_payload", None)
    assert sizes.of(7, ["7", 'so "it" is']) == expected


def test_of_a_typed_row_only_the_typed_field_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    columns = ("stars", "text")
    plan = InputPlan(
        columns, passed=(("stars", "stars"), ("text", "text")), converted=(("stars", "integer", "column 'stars'"),)
    )
    sizes, rows = RowSizes("tool", "größe", plan, columns), [["5", "so"], ["1e2", "so"], ["", "so"], ["five", "so"]]
    expected = [as_made("tool", plan, columns, 7, cells) for cells in rows]
    assert expected[-1] == 0, "it cannot be mapped"
    monkeypatch.setattr(row_sizes, "row_payload", None)
    assert [sizes.of(7, cells) for cells in rows] == expected


def test_a_row_whose_prompt_is_blank_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its prompt is made of its other fields then, or it cannot be mapped."""
    plan = InputPlan(("prompt", "text"), passed=(("prompt", "prompt"), ("text", "text")))
    sizes, columns = RowSizes("agent", "größe", plan, ("prompt", "text")), ("prompt", "text")
    rows = [["Is it?", "yes"], [" ", "yes"], ["", ""]]
    assert [sizes.of(1, cells) for cells in rows] == [as_made("agent", plan, columns, 1, cells) for cells in rows]
    alone = InputPlan(("prompt",), passed=(("prompt", "prompt"),))
    assert RowSizes("agent", "größe", alone, ("prompt",)).of(1, [" "]) == 0
    monkeypatch.setattr(row_sizes, "row_payload", None)
    with pytest.raises(TypeError):
        sizes.of(1, [" ", "yes"])


def _template(lead: str) -> tuple[str, dict[str, Any]]:
    return "template", {"parts": [(lead, "text")], "tail": "?"}
