from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.store import attribute_values
from service.store.structs import Attribute, Fields, Named, NotAResult, Shape, json_of, text_of

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**30), 10**30) | st.text(max_size=8) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)
NAMES = ["plain", 'with "quotes"', "back\\slash", "new\nline", "ü"]


def sent(value: Any) -> bytes:
    """What DynamoDB writes: bytes as base64."""
    return json.dumps(value, default=lambda held: base64.b64encode(held).decode()).encode()


def attribute(value: Any) -> Attribute:
    return msgspec.json.decode(sent(attribute_values.encode(value, 1)), type=Attribute)


def as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=lambda held: base64.b64encode(held).decode()))


@given(VALUES)
def test_a_value_as_json_is_the_value(value: Any) -> None:
    assert json.loads(json_of(attribute(value))) == as_json(attribute_values.decode(attribute_values.encode(value, 1)))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        ("", ""),
        ("ä\n", "ä\n"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (1.5, "1.5"),
        ([], "[]"),
        ({}, "{}"),
        ({"ä": [None, True, "x"]}, '{"ä":[null,true,"x"]}'),
        (b"\0\1", "AAE="),
        (b"", ""),
        ([b"\0\1"], '["AAE="]'),
    ],
)
def test_the_text_of_a_cell(value: Any, text: str) -> None:
    assert text_of(attribute(value)) == text


@pytest.mark.parametrize("digits", ["10000000000000000000000000000000000000.1", "0.1", "-0", "1E-130"])
def test_digits_stay_as_they_are_however_deep(digits: str) -> None:
    number = msgspec.json.decode(sent({"M": {"a": {"L": [{"N": digits}]}}}), type=Attribute)
    assert text_of(number) == f'{{"a":[{digits}]}}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"SS": ["a", 'b"']}, '["a","b\\""]'),
        ({"NS": ["1", "2.50"]}, "[1,2.50]"),
        ({"BS": ["AAE=", ""]}, '["AAE=",""]'),
    ],
)
def test_sets_of_other_writers_are_lists(value: Any, text: str) -> None:
    assert text_of(msgspec.json.decode(sent(value), type=Attribute)) == text


@pytest.mark.parametrize("names", [["a"], ["b", "a"], [], *[[name, "a"] for name in NAMES]])
def test_named_fields_come_in_the_order_asked_for(names: list[str]) -> None:
    stored = [{"a": "1", "other": {"deep": 1}, "b": "2", **dict.fromkeys(NAMES, "n")}, {"b": "3"}, None]
    items = [
        {"row_id": {"S": str(number)}, **({} if fields is None else {"output_data": attribute_values.encode(fields)})}
        for number, fields in enumerate(stored)
    ]
    wanted = Named(names)
    page = Shape(Fields, wanted.type).decode(sent({"Items": items}))
    columns = list(wanted.columns(item.output_data for item in page.Items))
    shown = [["" if one is None else text_of(one) for one in column] for column in columns]
    assert shown == [[str((fields or {}).get(name, "")) for fields in stored] for name in names]


def test_what_botocore_parsed_is_read_alike() -> None:
    item = {
        "row_id": {"S": "1"},
        "output_data": attribute_values.encode({"b": b"\0", "n": 1, "l": [None, {"x": True}]}),
        "output": {"B": b"z"},
    }
    key = {"row_id": {"S": "1"}}
    parsed = Shape().page({"Items": [item], "Count": 1, "LastEvaluatedKey": key, "ResponseMetadata": {"x": 1}})
    assert parsed == Shape().decode(sent({"Items": [item], "LastEvaluatedKey": key}))
    assert parsed.LastEvaluatedKey == key


@pytest.mark.parametrize("item", [{}, {"row_id": {"N": "1"}}, {"row_id": {"S": 1}}, {"row_id": "1"}])
def test_what_is_no_result_is_named(item: Any) -> None:
    shape = Shape()
    if item != {"row_id": {"N": "1"}}:  # a key of another type is no text at all
        with pytest.raises(msgspec.ValidationError):
            shape.decode(sent({"Items": [item]}))
        with pytest.raises(NotAResult, match="no result"):
            shape.page({"Items": [item]})
