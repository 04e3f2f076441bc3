"""Answers have an end, and names that are given back are whole."""

from __future__ import annotations

from typing import Any

import pytest

from service.console.mcp.short import ANSWER, shortened, to_text

ROW = {f"column {n}": "x" * 5_000 for n in range(300)}
NAME = "n" * 600


def deep(levels: int) -> Any:
    return {"in": deep(levels - 1)} if levels else "the bottom"


@pytest.mark.parametrize(
    "value",
    [
        {"rows": [{"row_id": "row_0000000001", "input_data": ROW}] * 10},
        {"columns": [{"name": "x" * 300, "examples": ["y" * 100] * 3}] * 2_000},
        {"texts": ["x" * 100_000] * 100},
        {"deep": deep(200)},
        {"error": {"message": "x" * 1_000_000}},
    ],
)
def test_no_answer_is_long(value: dict[str, Any]) -> None:
    made = shortened({"batch_id": NAME, **value, "after": "FAILED#row_0000000001"}, "Ask for less")
    assert len(to_text(made)) <= ANSWER
    assert (made["batch_id"], made["after"]) == (NAME, "FAILED#row_0000000001")
    assert "cut" in made or value.keys() == {"deep"}


def test_what_was_cut_is_said_with_how_the_rest_is_had() -> None:
    made = shortened({"texts": ["x" * 401, "y"], "rows": list(range(51))}, "Ask for less")
    assert made["texts"] == ["x" * 399 + "…", "y"]
    assert made["cut"] == "1 texts end after 400 characters (…); 1 entries are left out. Ask for less"


def test_what_is_short_stays_as_it_is() -> None:
    value = {"a": [1, None, True, 2.5], "b": {"c": "ß"}}
    assert shortened(value, "Ask for less") == value
