"""The 400 KB that an item may hold: DynamoDB's count and ours."""

from __future__ import annotations

import json
import random
import string
import zlib
from bisect import bisect_right
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import plan
from made_results import BATCH, fill, kept, remap_of, result, there

from service.console import remap
from service.console.remap import Outcome
from service.errors import BatchRefused
from service.limits import ITEM_BYTES, PLAN_BYTES
from service.models import RowStatus, row_id
from service.steps.write_result import store_plain
from service.store import attribute_values
from service.store.results import item_bytes, to_item

if TYPE_CHECKING:
    from service.app import App

LIMIT = 400 * 1024  # bytes (Developer Guide, "Constraints in Amazon DynamoDB")
EXACT: dict[str, Any] = {
    "text": "abc",
    "no text": "",
    "UTF-8": "é漢😀",
    "NUL": "a\0b",
    "bytes": b"abc",
    "no bytes": b"",
    "boolean": False,
    "null": None,
    "no fields": {},
    "no items": [],
    "fields": {"a": "x", "é漢": True, "😀": None},
    "items": ["", None, {}, [], "é"],
    "nested": {"a": {"b": [[{"c": [["x"], {}]}]]}},
    "many fields": {f"k{number}": None for number in range(500)},
    "many items": [[]] * 500,
}
NUMBERS: list[Any] = [0, 1, -1, 12, -123, 0.5, 100, 10**37, 1e22, 1e-130, 9.9e125, 10**38 - 1, -(10**38) + 1, -0.001]


def padded(value: Any, size: int) -> dict[str, Any]:
    """An item that holds the value and is, by our count, of this size."""
    item = {
        "batch_id": {"S": BATCH},
        "row_id": {"S": row_id(1)},
        "v": attribute_values.encode({"v": value}),
        "p": {"S": ""},
    }
    return {**item, "p": {"S": "x" * (size - item_bytes(item))}}


def accepted(app: App, item: dict[str, Any]) -> bool:
    try:
        app.dynamodb.put_item(TableName=app.settings.results_table, Item=item)
    except ClientError as refused:
        if "size has exceeded" not in refused.response["Error"]["Message"]:
            raise
        return False
    return True


def test_what_is_no_number_is_counted_to_the_byte(app: App) -> None:
    found = {
        kind: (accepted(app, padded(value, LIMIT)), accepted(app, padded(value, LIMIT + 1)))
        for kind, value in EXACT.items()
    }
    assert found == dict.fromkeys(EXACT, (True, False))


def test_a_number_counts_at_least_what_it_takes(app: App) -> None:
    found = {number: accepted(app, padded([number] * 50, LIMIT)) for number in NUMBERS}
    assert found == dict.fromkeys(NUMBERS, True)
    assert not accepted(
        app, padded(NUMBERS, LIMIT + 20 * len(NUMBERS))
    )  # each takes one byte at least, counts 21 at most


VALUES = st.recursive(
    st.none() | st.booleans() | st.text(max_size=9) | st.integers() | st.floats() | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=30,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES)
def test_an_item_that_fits_by_our_count_fits(app: App, value: Any) -> None:
    assert accepted(app, padded(value, LIMIT))


@pytest.mark.parametrize("over", [0, 1])
def test_a_result_of_the_most_that_is_stored(app: App, over: int) -> None:
    event = {"batch_id": BATCH, "row_id": row_id(1), "status": "SUCCESS", "output_data": {"n": 1, "x": ""}}
    store_plain(app, event)
    room = ITEM_BYTES - item_bytes(there(app).popitem()[1])
    app.dynamodb.delete_item(
        TableName=app.settings.results_table, Key={"batch_id": {"S": BATCH}, "row_id": {"S": row_id(1)}}
    )
    status = store_plain(app, {**event, "output_data": {"n": 1, "x": "x" * (room + over)}})["status"]
    item = there(app)[row_id(1)]
    assert status == item["status"]["S"] == ("EXTRACTION_FAILED" if over else "SUCCESS")
    assert item_bytes(item) < 1_000 if over else item_bytes(item) == ITEM_BYTES


def test_ids_that_no_key_can_hold_are_refused_by_name(app: App) -> None:
    """A partition key takes 2,048 bytes, a sort key 1,024, those of indexes too (`failed_status` is status and row)."""
    fits = {"batch_id": "b" * 2_048, "row_id": "é" * 508, "status": "FAILED"}
    assert store_plain(app, fits)["status"] == "FAILED"
    for name, changed in (
        ("batch_id", {"batch_id": "b" * 2_049}),
        ("row_id", {"row_id": "é" * 509}),
        ("row_id", {"row_id": "é" * 513, "status": "SUCCESS"}),
        ("status", {"row_id": "r", "status": "S" * 1_023}),
    ):
        with pytest.raises(BatchRefused, match=name):
            store_plain(app, {**fits, **changed})


def test_what_a_remap_says_of_a_full_item_fits_too(app: App) -> None:
    full = result(1, output=kept({"x": 1}))
    full.input_data = {"a": "1" + "x" * (ITEM_BYTES - item_bytes(to_item(full)))}
    assert item_bytes(to_item(full)) == ITEM_BYTES
    fill(app, [full])
    paths = {f"{number}": '"' + "😀" * 200 + '"' for number in range(9)}
    order = remap_of(app, {"extraction_methods": [{"method": "direct", "paths": paths}]})
    assert remap.remap(app, order, print).counts == {Outcome.CHANGED: 1}
    item = there(app)[row_id(1)]
    assert item["status"]["S"] == RowStatus.EXTRACTION_FAILED
    assert ITEM_BYTES < item_bytes(item) < LIMIT


def test_the_largest_plan(app: App) -> None:
    text = "".join(random.Random(1).choices(string.ascii_letters, k=600_000))

    def packed(length: int) -> int:
        stored = plan(output_mapping={"mapping": text[:length]}).to_json()
        return len(zlib.compress(json.dumps(stored, separators=(",", ":")).encode()))

    longest = bisect_right(range(len(text)), PLAN_BYTES, key=packed) - 1
    large = plan(output_mapping={"mapping": text[:longest]})
    assert app.plans.load(BATCH, app.plans.save(BATCH, large)) == large
    with pytest.raises(BatchRefused):
        app.plans.save(BATCH, plan(output_mapping={"mapping": text[: longest + 100]}))
