from __future__ import annotations

import json
import math
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import attribute_values

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
# floats that are whole come back as ints, and -0.0 as 0: equal, but written otherwise
FLOATS = st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: x == 0 or 1e-130 <= abs(x) < 1e126)
SCALARS = st.none() | st.booleans() | TEXT | st.integers(-(10**38) + 1, 10**38 - 1) | FLOATS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT.filter(bool), inner, max_size=4),
    max_leaves=20,
)


def as_stored(wire: dict) -> dict:
    """The wire form as DynamoDB gives it back: numbers in plain digits, without idle zeros or a zero's sign."""
    ((kind, value),) = wire.items()
    if kind == "N":
        plain = format(Decimal(value), "f")
        plain = plain.rstrip("0").rstrip(".") if "." in plain else plain
        return {"N": "0" if Decimal(value) == 0 else plain}
    if kind == "M":
        return {"M": {name: as_stored(item) for name, item in value.items()}}
    return {"L": [as_stored(item) for item in value]} if kind == "L" else wire


def depth(wire: dict) -> int:
    ((kind, value),) = wire.items()
    inner = value.values() if kind == "M" else value if kind == "L" else ()
    return (1 if kind in "ML" else 0) + max(map(depth, inner), default=0)


def nested(levels: int) -> dict:
    value: dict = {}
    for _ in range(levels - 1):
        value = {"in": value}
    return value


@given(VALUES)
def test_what_is_promised_exact_comes_back_equal(value: object) -> None:
    wire = attribute_values.encode(value)
    assert attribute_values.decode(wire) == value
    read = attribute_values.decode(as_stored(wire))
    assert attribute_values.decode(as_stored(attribute_values.encode(read))) == read


@given(FLOATS)
def test_a_float_survives_the_digits_that_dynamodb_writes(value: float) -> None:
    assert float(attribute_values.decode(as_stored(attribute_values.encode(value)))) == value


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        ("", {"S": ""}),
        ("a\0b", {"S": "a\0b"}),
        ({}, {"M": {}}),
        ([], {"L": []}),
        (True, {"BOOL": True}),
        (False, {"BOOL": False}),
        (None, {"NULL": True}),
        (0, {"N": "0"}),
        (-0.0, {"N": "-0.0"}),
        (1e22, {"N": "1e+22"}),
        (Decimal("1.10"), {"N": "1.10"}),
        (b"\0", {"B": b"\0"}),
    ],
)
def test_wire_forms(value: object, wire: dict) -> None:
    assert attribute_values.encode(value) == wire


@pytest.mark.parametrize(
    ("number", "fits"),
    [
        (10**38 - 1, True),
        (10**38, True),  # one significant digit
        (10**38 + 1, False),
        (-(10**125), True),
        (10**126, False),
        (1e125, True),
        (1e126, False),
        (1e-130, True),
        (5e-324, False),
        (math.nan, False),
        (math.inf, False),
        (-math.inf, False),
        (Decimal("NaN"), False),
        (Decimal("0E+999"), True),
    ],
)
def test_a_number_that_dynamodb_would_refuse_is_kept_as_text(number: float, fits: bool) -> None:  # noqa: FBT001
    assert list(attribute_values.encode(number)) == ["N" if fits else "S"]


def test_nan_and_infinity_are_spelled_as_in_json() -> None:
    assert [attribute_values.decode(attribute_values.encode(x)) for x in (math.nan, math.inf, -math.inf)] == [
        "NaN",
        "Infinity",
        "-Infinity",
    ]


def test_exact_keeps_the_digits_as_they_came() -> None:
    assert attribute_values.decode({"N": "100000000000000000000000000000000000001"}, exact=True) == "1" + "0" * 37 + "1"
    assert attribute_values.decode({"N": "0.10000000000000000000000000000000000001"}, exact=True).to_python() == 0.1


def test_lone_surrogates_are_replaced() -> None:
    assert attribute_values.encode({"a\ud800": "\udfffb"}) == {"M": {"a\ufffd": {"S": "\ufffdb"}}}


def test_what_is_too_deep_is_json_and_nothing_of_it_is_lost() -> None:
    wire = attribute_values.encode({"deep": nested(60), "flat": 1})
    assert depth(wire) < 31  # with the item itself, DynamoDB's 32
    innermost = wire
    while "M" in innermost:
        innermost = innermost["M"].get("deep") or innermost["M"]["in"]
    assert json.loads(innermost["S"]) == nested(61 - depth(wire))


@pytest.mark.parametrize("names", [["", "a"], ["\ud800", "\ud801"], ["x" * 70_000]])
def test_a_map_with_keys_that_cannot_be_stored(names: list[str]) -> None:
    value = dict.fromkeys(names, 1)
    kept = attribute_values.encode({"inner": value})["M"]["inner"]["S"]
    assert json.loads(kept) == value
    top = attribute_values.encode(value)["M"]
    assert len(top) == len(names)
    assert all(0 < len(name.encode()) < 65_536 for name in top)


def test_a_name_made_up_takes_no_other_name() -> None:
    assert attribute_values.decode(attribute_values.encode({"": 1, "_": 2, "__": 3})) == {"_": 1, "__": 2, "___": 3}


def test_sets_are_lists() -> None:
    assert attribute_values.decode({"SS": ["b", "a"]}) == ["a", "b"]
