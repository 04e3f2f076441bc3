"""Conditions that were read once are met by the same items as those that are read every time."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ministack.services import dynamodb

from service.console.local.dynamodb_conditions import Conditions

WHOLE = dynamodb._evaluate_condition
EXPRESSIONS = [
    "#a = :x",
    "#a = :x AND #b <= :y",
    "#a = :x and #b > :y AND #c < :x",
    "(#a = :x AND #b >= :y)",
    "#a = :x AND begins_with(#b, :y)",
    "#a BETWEEN :x AND :y",
    "#a <> :x",
    "NOT #a = :x",
    "#a = :x OR #b = :y",
    "attribute_exists(#a) AND #b < :y",
    "#a = #b",
    "",
]
VALUES = st.one_of(
    st.builds(lambda text: {"S": text}, st.text("ab\ue000\U0001f600", max_size=3)),
    st.builds(lambda number: {"N": str(number)}, st.integers(-3, 3)),
    st.just({"NULL": True}),
)
ITEMS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES)
NAMES = {"#a": "a", "#b": "b", "#c": "c"}
SLOTS = ("KeyConditionExpression", "FilterExpression", "ConditionExpression")


def conditions() -> Conditions:
    return Conditions(WHOLE, dynamodb._tokenize, dynamodb._ExprEval)


def outcome(evaluate: Any, *given: Any) -> Any:
    try:
        return evaluate(*given)
    except ValueError as error:
        return str(error)


@given(st.sampled_from(EXPRESSIONS), st.sampled_from(SLOTS), st.lists(ITEMS, min_size=3), VALUES, VALUES)
def test_every_item_is_met_as_before(expr: str, slot: str, items: list[Any], x: Any, y: Any) -> None:
    values, known = {":x": x, ":y": y}, conditions()
    for item in items:
        assert outcome(known.evaluate, expr, item, values, NAMES, slot) == outcome(
            WHOLE, expr, item, values, NAMES, slot
        )


def test_other_values_of_the_same_expression_are_the_requests_own() -> None:
    known, item = conditions(), {"a": {"S": "2"}}
    asked = [("#a < :x", "1"), ("#a < :x", "3"), ("#a BETWEEN :x AND :x", "2"), ("#a BETWEEN :x AND :x", "1")]
    assert [known.evaluate(expr, item, {":x": {"S": x}}, NAMES) for expr, x in asked] == [False, True, True, False]


@pytest.mark.parametrize("expr", ["#a = ", "size = :x", "((#a = :x))"])
def test_what_is_refused_stays_refused(expr: str) -> None:
    known = conditions()
    said = [outcome(known.evaluate, expr, {"a": {"S": "1"}}, {":x": {"S": "1"}}, NAMES) for _ in range(2)]
    assert said == [outcome(WHOLE, expr, {"a": {"S": "1"}}, {":x": {"S": "1"}}, NAMES)] * 2


def test_an_expression_is_read_once() -> None:
    read: list[str] = []

    def tokenize(expr: str) -> Any:
        read.append(expr)
        return dynamodb._tokenize(expr)

    known = Conditions(WHOLE, tokenize, dynamodb._ExprEval)
    for number in range(100):
        known.evaluate("#a = :x", {"a": {"S": str(number)}}, {":x": {"S": "1"}}, NAMES)
    assert read == ["#a = :x"]
