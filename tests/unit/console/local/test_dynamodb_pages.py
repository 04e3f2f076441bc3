"""A page of the embedded DynamoDB is what ministack answers from the whole partition, and costs about a page."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ministack.services import dynamodb

from service.console.local.dynamodb_pages import _ORDERS, Pages

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE, INDEX_ITEM = dynamodb._query, dynamodb._index_item
TABLE = {
    "TableName": "rows",
    "BillingMode": "PAY_PER_REQUEST",
    "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in ("p", "s", "g", "o")],
    "KeySchema": [{"AttributeName": "p", "KeyType": "HASH"}, {"AttributeName": "s", "KeyType": "RANGE"}],
    "GlobalSecondaryIndexes": [
        {
            "IndexName": name,
            "KeySchema": [
                {"AttributeName": key, "KeyType": kind} for key, kind in zip(keys, ("HASH", "RANGE"), strict=False)
            ],
            "Projection": projection,
        }
        for name, keys, projection in (
            ("sparse", ("p", "o"), {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["size"]}),
            ("other", ("g", "o"), {"ProjectionType": "ALL"}),
            ("hash", ("g",), {"ProjectionType": "KEYS_ONLY"}),
        )
    ],
}
INDEXES = {None: ("p", "s"), "sparse": ("p", "o"), "other": ("g", "o"), "hash": ("g", "o")}
TEXTS = st.sampled_from(["a", "a#", "a#1", "ab", "b", "b\0", "\ue000", "\U0001f600", "\U0010ffff", "\U0010ffffa"])
PARTS = st.sampled_from(["x", "y"])
ITEMS = st.fixed_dictionaries(
    {"p": PARTS, "s": TEXTS},
    optional={"g": PARTS, "o": TEXTS, "size": st.sampled_from(["", "1", "z" * 300_000])},
)
WRITES = st.lists(st.tuples(st.sampled_from(["put", "put", "put", "delete", "update", "transact"]), ITEMS), max_size=30)
CONDITIONS = [
    "#h = :h",
    "(#h = :h)",
    "#h = :h AND #r = :x",
    "(#h = :h AND #r < :x)",
    "#r <= :x and #h = :h",
    "#h = :h AND #r > :x",
    "#h = :h AND #r >= :x",
    "#h = :h AND begins_with(#r, :x)",
    "(#h = :h AND begins_with (#r, :x))",
    "#h = :h AND #r BETWEEN :x AND :y",
    # of another kind, or refused
    ":h = #h AND #r > :x",
    "(#h = :h) AND (#r > :x)",
    "#h = :h AND #r <> :x",
    "#h = :h AND",
    "#h = :h AND #r BETWEEN :x",
    "#h = :h AND #r = :n",
    "#h = :h AND #h = :x",
    "#h > :h",
    "#r = :x",
    "#h = :h AND #z = :x",
    "#h = :h AND #r > :e",
    "#h = :h OR #r > :x",
    "",
]


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    yield
    dynamodb._index_item = INDEX_ITEM
    dynamodb.reset()


def typed(item: dict[str, str]) -> dict[str, dict[str, str]]:
    return {name: {"S": value} for name, value in item.items()}


def made() -> Pages:
    dynamodb.reset()
    pages = Pages(dynamodb)
    dynamodb._index_item = pages.index_item
    assert dynamodb._create_table(TABLE)[0] == 200
    return pages


def write(kind: str, item: dict[str, str]) -> None:
    key = typed({name: item[name] for name in ("p", "s")})
    changed = {"UpdateExpression": "SET o = :o", "ExpressionAttributeValues": {":o": {"S": item.get("o", "u")}}}
    put = {"TableName": "rows", "Item": typed(item)}
    if kind == "put":
        status, _, body = dynamodb._put_item(put)
    elif kind == "delete":
        status, _, body = dynamodb._delete_item({"TableName": "rows", "Key": key})
    elif kind == "update":
        status, _, body = dynamodb._update_item({"TableName": "rows", "Key": key, **changed})
    else:
        status, _, body = dynamodb._transact_write_items({"TransactItems": [{"Put": put}]})
    assert status == 200, body


def asked(data: Any) -> dict[str, Any]:
    """A request from what was drawn: only values and names that its condition has."""
    request, index = {"TableName": "rows", **data}, INDEXES[data.get("IndexName")]
    condition = request["KeyConditionExpression"]
    drawn = request.pop("values")
    values = {":h": drawn[0], ":x": drawn[1], ":y": max(drawn[1], drawn[2]), ":e": ""}
    used = {name: {"S": value} for name, value in values.items() if name in condition}
    if ":n" in condition:
        used[":n"] = {"N": "1"}
    names = {"#h": index[0], "#r": index[1], "#z": "size"}
    request["ExpressionAttributeNames"] = {name: value for name, value in names.items() if name in condition}
    request["ExpressionAttributeValues"] = used
    if request.pop("sifted"):
        request["FilterExpression"] = "attribute_exists(g) AND o <> :f"
        used[":f"] = {"S": "ab"}
    return request


def bodies(pages: Pages, request: dict[str, Any]) -> Any:
    """What the whole and the page answer, byte for byte; the answer of the page."""
    before = copy.deepcopy(request)
    expected = WHOLE(copy.deepcopy(request))
    answer = pages.query(request)
    assert (answer[0], answer[2]) == (expected[0], expected[2])
    assert request == before
    return json.loads(answer[2])


REQUESTS = st.builds(
    lambda needed, optional: {**needed, **{name: value for name, value in optional.items() if value is not None}},
    st.fixed_dictionaries(
        {
            "KeyConditionExpression": st.sampled_from(CONDITIONS),
            "values": st.tuples(PARTS, TEXTS, TEXTS),
            "sifted": st.booleans(),
        }
    ),
    st.fixed_dictionaries(
        {
            "IndexName": st.sampled_from([*INDEXES, None]),
            "ScanIndexForward": st.sampled_from([None, True, False]),
            "Limit": st.sampled_from([None, None, 1, 2, 3, 0]),
            "Select": st.sampled_from([None, None, "COUNT", "ALL_ATTRIBUTES"]),
            "ProjectionExpression": st.sampled_from([None, None, "s, g"]),
            "ReturnConsumedCapacity": st.sampled_from([None, "INDEXES"]),
            "ConsistentRead": st.sampled_from([None, True]),
        }
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    WRITES, st.lists(st.tuples(REQUESTS, st.lists(st.tuples(st.sampled_from(["put", "delete"]), ITEMS), max_size=3)))
)
def test_every_page_is_the_wholes_also_when_items_come_and_go_between_pages(writes: Any, requests: Any) -> None:
    pages = made()
    for kind, item in writes:
        write(kind, item)
    for drawn, meanwhile in requests:
        request = asked(drawn)
        for kind, drawn_item in [*meanwhile, ("none", {})]:
            item = drawn_item
            answer = bodies(pages, request)
            if "LastEvaluatedKey" not in answer:
                break
            request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
            if kind == "delete" and item["p"] == "x":  # the very key that the next page starts behind
                last = answer["LastEvaluatedKey"]
                item = {name: last[name]["S"] for name in ("p", "s")}
            if kind != "none":
                write(kind, item)


@settings(deadline=None)
@given(
    WRITES,
    REQUESTS,
    st.dictionaries(
        st.sampled_from(["p", "s", "g", "o"]), st.one_of(TEXTS, PARTS).map(lambda text: {"S": text}), min_size=1
    ),
)
def test_a_start_key_of_whatever_kind_is_taken_or_refused_as_by_the_whole(writes: Any, drawn: Any, start: Any) -> None:
    pages = made()
    for kind, item in writes:
        write(kind, item)
    bodies(pages, {**asked(drawn), "ExclusiveStartKey": start})


def test_a_table_that_is_made_anew_restored_or_expired_is_read_as_it_is() -> None:
    pages = made()
    request = {
        "TableName": "rows",
        "KeyConditionExpression": "p = :p",
        "ExpressionAttributeValues": {":p": {"S": "x"}},
    }
    for text in ("a", "b", "c"):
        write("put", {"p": "x", "s": text})
    assert bodies(pages, request)["Count"] == 3
    table = dynamodb._tables.get("rows")
    dynamodb._remove_item(table, "x", "b")  # as the reaper of expired items does
    assert bodies(pages, request)["Count"] == 2
    state = json.loads(json.dumps({key: value for key, value in table.items() if key != dynamodb._INDEX_MEMBERS}))
    table["items"]["x"].pop("a")  # past every function: it is noticed by the count
    assert bodies(pages, request)["Count"] == 1
    table["items"]["x"]["d"] = table["items"]["x"].pop("c")  # and by what is no longer there
    assert bodies(pages, request)["Count"] == 1
    dynamodb._tables["rows"] = state
    assert bodies(pages, request)["Count"] == 2
    state["items"] = {}
    dynamodb._items_replaced(state)
    assert bodies(pages, request)["Count"] == 0
    assert dynamodb._delete_table({"TableName": "rows"})[0] == 200
    assert "__type" in bodies(pages, request)


def test_orders_are_no_part_of_what_is_saved() -> None:
    pages = made()
    write("put", {"p": "x", "s": "a"})
    query = {"KeyConditionExpression": "p = :p", "ExpressionAttributeValues": {":p": {"S": "x"}}}
    bodies(pages, {"TableName": "rows", **query})
    assert _ORDERS in dynamodb._tables.get("rows")[dynamodb._INDEX_MEMBERS]
    saved = dynamodb.get_state()["tables"].get("rows")
    assert dynamodb._INDEX_MEMBERS not in saved
    assert saved["items"]["x"]["a"] == {"p": {"S": "x"}, "s": {"S": "a"}}


@pytest.mark.parametrize("index", ["sparse", None])
@pytest.mark.parametrize("forward", [True, False])
def test_a_page_looks_at_a_page_of_items_and_not_at_the_partition(
    index: str | None, forward: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = made()
    for number in range(2000):
        write("put", {"p": "x", "s": f"{number:04}", "o": f"{number % 7}"})
    looked = [0]
    evaluate, order = dynamodb._evaluate_condition, dynamodb._sort_key_value

    def counted(function: Any) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            looked[0] += 1
            return function(*given, **named)

        return call

    monkeypatch.setattr(dynamodb, "_evaluate_condition", counted(evaluate))
    monkeypatch.setattr(dynamodb, "_sort_key_value", counted(order))
    request = {"TableName": "rows", "KeyConditionExpression": "p = :p", "Limit": 50, "ScanIndexForward": forward}
    request["ExpressionAttributeValues"] = {":p": {"S": "x"}}
    request |= {"IndexName": index} if index else {}
    read = 0
    while True:
        answer = json.loads(pages.query(request)[2])
        read += answer["Count"]
        write("put", {"p": "x", "s": "0000", "o": "0"})  # a write between pages does not undo the order
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    assert read == 2000
    assert looked[0] < 10 * 2000 + 100  # the whole: 40 pages of 2000 items


def test_what_is_written_is_put_in_its_place_and_the_partition_not_gathered_anew() -> None:
    pages = made()
    for text in ("b", "d", "f"):
        write("put", {"p": "x", "s": text, "o": text})
    request = {"TableName": "rows", "KeyConditionExpression": "p = :p"}
    request["ExpressionAttributeValues"] = {":p": {"S": "x"}}
    for index in (None, "sparse"):
        bodies(pages, {**request, "IndexName": index} if index else request)
    orders = dynamodb._tables.get("rows")[dynamodb._INDEX_MEMBERS][_ORDERS]
    table_order, index_order = orders[None, "x"], orders["sparse", "x"]
    write("put", {"p": "x", "s": "c", "o": "z"})
    write("put", {"p": "x", "s": "b", "o": "e"})
    write("put", {"p": "x", "s": "d"})  # leaves the sparse index
    write("delete", {"p": "x", "s": "f"})
    assert orders[None, "x"] is table_order
    assert orders["sparse", "x"] is index_order
    assert table_order == [("b", "x"), ("c", "x"), ("d", "x")]
    assert index_order == [("e", "x", "b"), ("z", "x", "c")]


@pytest.mark.parametrize("size", [1, 200_000, 262_000, 262_140, 262_144, 300_000, 349_500, 380_000])
def test_a_page_ends_at_a_megabyte_as_the_wholes(size: int) -> None:
    pages = made()
    for number in range(9):
        write("put", {"p": "x", "s": str(number), "size": "z" * max(0, size - 8)})  # its names and keys are 8
    request: dict[str, Any] = {"TableName": "rows", "KeyConditionExpression": "p = :p"}
    request["ExpressionAttributeValues"] = {":p": {"S": "x"}}
    read = 0
    while True:
        answer = bodies(pages, request)
        read += answer["Count"]
        if "LastEvaluatedKey" not in answer:
            break
        request["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
    assert read == 9
