"""What the codec makes of JSON values: DynamoDB takes all of it, and gives it back as `decode` says."""

from __future__ import annotations

import json
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_results import BATCH, result, there

from service.models import row_id
from service.store import attribute_values
from service.store.structs import json_object

if TYPE_CHECKING:
    from service.app import App

KEY = {"batch_id": {"S": BATCH}, "row_id": {"S": row_id(1)}}
DECIMALS = st.builds(
    lambda sign, digits, exponent: Decimal((sign, digits, exponent)),
    st.integers(0, 1),
    st.lists(st.integers(0, 9), min_size=1, max_size=40).map(tuple),
    st.integers(-170, 130),
)
NAMES = st.text(st.characters(), max_size=5)
VALUES = st.recursive(
    st.none() | st.booleans() | st.text(st.characters(), max_size=9) | st.integers() | st.floats() | DECIMALS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


def wrapped(value: Any, levels: int) -> Any:
    """The value inside so many lists and maps."""
    for level in range(levels):
        value = [value] if level % 2 else {"in": value}
    return value


def taken(app: App, digits: str) -> str | None:
    """The digits of a number as DynamoDB gives them back; None when it refuses them."""
    try:
        app.dynamodb.put_item(TableName=app.settings.results_table, Item={**KEY, "v": {"N": digits}})
    except ClientError as refused:
        if refused.response["Error"]["Code"] != "ValidationException":
            raise
        return None
    return str(attribute_values.decode(there(app)[row_id(1)]["v"], exact=True))


ONES = 10**38 - 1
TAKEN = [
    "0",
    "-0.0",
    "0E500",
    "1E-130",
    "-1E-130",
    "9.9E125",
    "1E125",
    f"{ONES}",
    f"-{ONES}00",
    f"0.{ONES}",
    f"{ONES}E-167",
]
REFUSED = ["1E-131", "1E126", "-1E126", f"{ONES}1", f"0.{ONES}1", "5E-324", "1.7E308", "NaN", "Infinity"]


def test_a_number_that_dynamodb_takes_is_a_number_and_any_other_a_text(app: App) -> None:
    found = {digits: taken(app, digits) for digits in (*TAKEN, *REFUSED)}
    assert [digits for digits, there in found.items() if there is None] == REFUSED
    assert [Decimal(found[digits] or "NaN") for digits in TAKEN] == [Decimal(digits) for digits in TAKEN]
    assert {digits for digits in found if "N" in attribute_values.encode(Decimal(digits))} == set(TAKEN)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(value=VALUES, levels=st.integers(0, 40))
def test_any_value_comes_back_as_it_was_encoded(app: App, value: Any, levels: int) -> None:
    fields, row = {"v": wrapped(value, levels), "w": value}, {"é\0": attribute_values.text(str(value))}
    app.dynamodb.delete_item(TableName=app.settings.results_table, Key=KEY)
    app.store.put(result(1, output_data=fields, input_data=row))
    item = there(app)[row_id(1)]
    decoded = attribute_values.decode(item["output_data"])
    assert decoded == attribute_values.decode(attribute_values.encode(fields))
    assert attribute_values.decode(item["input_data"]) == row
    ((read,),) = app.reader.pages(BATCH)
    assert json.loads(json_object(read.output_data.M)) == decoded
    (shown,) = app.queries.of_batch(BATCH)
    assert (shown["output_data"], shown["input_data"]) == (decoded, row)


LIMITS: list[dict[str, Any]] = [
    {"deep": wrapped({}, 60)},
    {"deep": wrapped([], 60)},
    {"x" * 65_535: 1, "é" * 30_000: 2},
    {"😀" * 16_383: 1},
    {"😀" * 17_000: 1},
    {"in": {"😀" * 17_000: 1, "": 2}},
    {"": 1, "_": 2, "__": {"": 3}},
    {"a\0": "\0", "\ud800": "\udfff", "\ufffe": "\ufffe\uffff"},
    {"a.b": 1, "a b": 2, "#a": 3, ":a": 4, "status": 5, "a[0]": 6},
    {"float": [1e22, 0.1, -0.0, 1.0, 5e-324, 1.7e308, math.pi, 1e-130, 9.9e125]},
    {"none": None, "": {}, "list": [[], {}, "", b"", b"\0"]},
    {str(number): number for number in range(5_000)},
]


def test_what_lies_at_the_limits_comes_back_too(app: App) -> None:
    for number, value in enumerate(LIMITS):
        app.store.put(result(number, output_data=value))
    found = [attribute_values.decode(item["output_data"]) for _, item in sorted(there(app).items())]
    assert found == [attribute_values.decode(attribute_values.encode(value)) for value in LIMITS]
