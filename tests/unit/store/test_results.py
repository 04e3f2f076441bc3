from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError

from service.models import FAILURES, Result, RowStatus, row_id
from service.store.results import SHARDS, extracted, extracts_the_same, item_bytes, shard, to_item, with_extracted

if TYPE_CHECKING:
    from service.app import App

BATCH = "echo#1"
NOW = int(time.time())
RESERVED = {"status", "timestamp", "ttl", "error", "output", "row", "result", "batch", "value", "count"}
SUCCESS, FAILED, TIMEOUT = RowStatus.SUCCESS, RowStatus.FAILED, RowStatus.TIMEOUT


def result(number: int = 1, status: str = SUCCESS, *, run: int = 1, ttl: int | None = None, **more: Any) -> Result:
    error = None if status == SUCCESS else {"type": "E", "message": f"run {run}"}
    given = {"input_data": {"a": "1"}, "output_data": {"run": run}, "error": error, **more}
    return Result(BATCH, row_id(number), status, ttl=ttl, run=run, attempts=run, **given)


def stored(app: App, number: int = 1) -> dict[str, Any]:
    key = {"batch_id": {"S": BATCH}, "row_id": {"S": row_id(number)}}
    item: dict[str, Any] = app.dynamodb.get_item(TableName=app.settings.results_table, Key=key)["Item"]
    return item


def requests_of(app: App, operation: str) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    app.dynamodb.meta.events.register(
        f"provide-client-params.dynamodb.{operation}", lambda params, **_: seen.append(params)
    )
    return seen


PAST, FUTURE = NOW - 60, NOW + 86_400
# there before, put, whether it replaces
CASES = [
    ((SUCCESS, 1, FUTURE), (FAILED, 1), False),
    ((SUCCESS, 1, FUTURE), (FAILED, 2), False),
    ((SUCCESS, 1, FUTURE), (SUCCESS, 1), False),
    ((SUCCESS, 1, FUTURE), (SUCCESS, 2), False),
    ((SUCCESS, 2, FUTURE), (SUCCESS, 1), False),
    ((SUCCESS, 1, None), (FAILED, 2), False),
    ((SUCCESS, 1, PAST), (FAILED, 1), True),
    ((SUCCESS, 1, PAST), (SUCCESS, 1), True),
    ((FAILED, 1, FUTURE), (TIMEOUT, 1), False),
    ((FAILED, 1, FUTURE), (TIMEOUT, 2), True),
    ((FAILED, 2, FUTURE), (TIMEOUT, 1), False),
    ((FAILED, 2, PAST), (TIMEOUT, 1), True),
    ((FAILED, 1, None), (SUCCESS, 1), True),
    ((FAILED, 2, FUTURE), (SUCCESS, 1), True),
    ((RowStatus.UNKNOWN, 1, FUTURE), (SUCCESS, 1), True),
    ((RowStatus.UNKNOWN, 1, FUTURE), (FAILED, 1), False),
]


@pytest.mark.parametrize(("before", "put", "replaces"), CASES)
def test_what_may_replace_what(app: App, before: tuple, put: tuple, replaces: bool) -> None:  # noqa: FBT001
    status, run, ttl = before
    assert app.store.put(result(status=status, run=run, ttl=ttl)) == status
    first = stored(app)
    assert app.store.put(result(status=put[0], run=put[1], ttl=FUTURE)) == (put[0] if replaces else status)
    if replaces:
        assert (stored(app)["status"]["S"], stored(app)["run"]["N"]) == (put[0], str(put[1]))
    else:
        assert stored(app) == first


def test_a_success_over_a_failure_leaves_nothing_of_it(app: App) -> None:
    app.store.put(result(status=FAILED))
    assert stored(app)["failed_status"] == {"S": f"FAILED#{row_id(1)}"}
    app.store.put(result())
    assert stored(app).keys().isdisjoint({"failed_status", "error"})


@pytest.mark.parametrize("status", [SUCCESS, *FAILURES, RowStatus.UNKNOWN])
def test_every_name_and_value_sent_is_used_and_no_name_stands_bare(app: App, status: str) -> None:
    puts, queries = requests_of(app, "PutItem"), requests_of(app, "Query")
    app.store.put(result(status=status))
    list(app.store.pages(BATCH))
    assert len(puts) == len(queries) == 1
    for request in (*puts, *queries):
        named = ("ConditionExpression", "KeyConditionExpression", "ProjectionExpression")
        text = " ".join(request[name] for name in named if name in request)
        assert set(re.findall(r"#\w+", text)) == request["ExpressionAttributeNames"].keys()
        assert set(re.findall(r":\w+", text)) == request["ExpressionAttributeValues"].keys()
        bare = set(re.findall(r"(?<![#:\w])\w+", text)) - {"AND", "OR", "attribute_not_exists"}
        assert not bare


def test_another_refusal_is_raised(app: App) -> None:
    app.dynamodb.delete_table(TableName=app.settings.results_table)
    with pytest.raises(ClientError):
        app.store.put(result())


def test_an_item_has_what_the_table_promises(app: App) -> None:
    app.store.put(result(2, FAILED, run=3, ttl=FUTURE, execution_time_ms=0, output=b"z", method="direct"))
    item = stored(app, 2)
    day = item["timestamp"]["S"][:10]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", item["timestamp"]["S"])
    assert item["time_bucket"] == {"S": f"{day}#{shard(BATCH, row_id(2)):02d}"}
    assert item["execution_time_ms"] == {"N": "0"}
    assert (item["attempts"], item["run"], item["ttl"]) == ({"N": "3"}, {"N": "3"}, {"N": str(FUTURE)})
    assert (item["output"], item["method"]) == ({"B": b"z"}, {"S": "direct"})
    assert {shard(BATCH, row_id(number)) for number in range(500)} == set(range(SHARDS))


def test_what_is_no_object_is_one_field() -> None:
    item = to_item(result(input_data=["a"], output_data="text"))
    assert item["input_data"] == {"M": {"value": {"L": [{"S": "a"}]}}}
    assert item["output_data"] == {"M": {"value": {"S": "text"}}}


def test_bytes_of_an_item() -> None:
    item = {"ä": {"S": "é"}, "n": {"N": "12"}, "m": {"M": {"k": {"L": [{"NULL": True}, {"B": b"123"}]}}}}
    assert item_bytes(item) == (2 + 2) + (1 + 3) + 1 + (3 + (1 + 1 + 3 + (1 + 1) + (1 + 3)))


def test_no_results_is_no_entry(app: App) -> None:
    assert [entry for page in app.store.pages("none#0") for entry in page] == []


def test_pages_come_in_row_order_over_more_than_a_megabyte(app: App) -> None:
    numbers = [7, 1, 30, 2, *range(8, 30), *range(3, 7)]
    for number in numbers:
        app.store.put(result(number, output_data={"text": "x" * 100_000}))
    pages = list(app.store.pages(BATCH))
    assert len(pages) > 2
    assert [item["row_id"]["S"] for page in pages for item in page] == [row_id(number) for number in range(1, 31)]


def test_expired_results_are_left_out(app: App) -> None:
    for number, ttl in enumerate((None, PAST, FUTURE), 1):
        app.store.put(result(number, ttl=ttl))
    assert [item["row_id"]["S"] for page in app.store.pages(BATCH) for item in page] == [row_id(1), row_id(3)]


def test_reads_are_strongly_consistent(app: App) -> None:
    queries = requests_of(app, "Query")
    list(app.store.pages(BATCH))
    assert queries[0]["ConsistentRead"] is True


# --- remap -----------------------------------------------------------------------------------------------------------


def read(app: App) -> dict[str, Any]:
    ((item,),) = app.store.pages(BATCH)
    assert item == stored(app)
    return item


@pytest.mark.parametrize("before", [SUCCESS, RowStatus.EXTRACTION_FAILED])
@pytest.mark.parametrize("after", [SUCCESS, RowStatus.EXTRACTION_FAILED])
def test_a_remap_puts_what_was_extracted_in_the_place_of_the_old(app: App, before: str, after: str) -> None:
    app.store.put(result(status=before, run=3, ttl=FUTURE, output=b"z", method="direct", output_data={"run": 1}))
    there = read(app)
    fresh = extracted(result(status=after, run=9, output_data={"b": None}))
    assert app.store.remap(there, fresh) is None
    assert stored(app) == with_extracted(there, fresh)
    assert stored(app)["run"] == {"N": "3"}
    assert ("failed_status" in stored(app)) == (after != SUCCESS)
    assert "method" not in stored(app)


@pytest.mark.parametrize(
    ("changed", "value"),
    [
        ("run", {"N": "4"}),
        ("timestamp", {"S": "2031-01-01T00:00:00.000Z"}),
        ("ttl", {"N": str(PAST)}),
        ("status", {"S": "FAILED"}),
        ("output_data", {"M": {"run": {"N": "7"}}}),
        ("method", {"S": "direct"}),
        ("error", {"M": {}}),
    ],
)
@pytest.mark.parametrize("ttl", [None, FUTURE], ids=["for ever", "kept"])
def test_a_remap_of_another_version_writes_nothing(app: App, changed: str, value: Any, ttl: int | None) -> None:
    app.store.put(result(ttl=ttl))
    there = read(app)
    now = {**there, changed: value}
    app.dynamodb.put_item(TableName=app.settings.results_table, Item=now)
    assert app.store.remap(there, extracted(result(output_data={"b": "2"}))) == now
    assert stored(app) == now


def test_a_remap_makes_no_item(app: App) -> None:
    assert app.store.remap(to_item(result()), extracted(result())) == {}
    assert list(app.store.pages(BATCH)) == [[]]


def test_another_refusal_of_a_remap_is_raised(app: App) -> None:
    app.store.put(result())
    there = read(app)
    app.dynamodb.delete_table(TableName=app.settings.results_table)
    with pytest.raises(ClientError):
        app.store.remap(there, extracted(result()))


@pytest.mark.parametrize("before", [SUCCESS, RowStatus.EXTRACTION_FAILED])
@pytest.mark.parametrize("after", [SUCCESS, RowStatus.EXTRACTION_FAILED])
@pytest.mark.parametrize("more", [{}, {"method": "direct"}])
def test_every_name_and_value_of_a_remap_is_used_and_no_name_stands_bare(
    app: App, before: str, after: str, more: dict[str, str]
) -> None:
    app.store.put(result(status=before, ttl=FUTURE))
    updates = requests_of(app, "UpdateItem")
    app.store.remap(read(app), extracted(result(status=after, **more)))
    (request,) = updates
    text = f"{request['UpdateExpression']} {request['ConditionExpression']}"
    assert set(re.findall(r"#\w+", text)) == request["ExpressionAttributeNames"].keys()
    assert set(re.findall(r":\w+", text)) == request["ExpressionAttributeValues"].keys()
    words = {"SET", "REMOVE", "AND", "OR", "attribute_exists", "attribute_not_exists"}
    assert set(re.findall(r"(?<![#:\w])\w+", text)) <= words
    changed = re.findall(r"#(\w+)", request["UpdateExpression"])
    assert len(changed) == len(set(changed))


def wire(output: Any, status: str = SUCCESS, **more: Any) -> dict[str, Any]:
    return extracted(result(status=status, output_data=output, **more))


def test_a_remap_that_would_change_nothing() -> None:
    fields = {"a": [1.0, 1e22, -0.0, None, True, "1"], "b": {"c": 0.1}}
    spelled = {"a": [1, 10**22, 0, None, True, "1"], "b": {"c": 0.1}}  # as DynamoDB may write the numbers
    item = to_item(result(output_data=spelled, ttl=FUTURE, output=b"z"))
    assert extracts_the_same(item, wire(fields))
    others: list[Any] = [
        {**fields, "d": 1},
        {"a": fields["a"]},
        {**fields, "b": {"c": "0.1"}},
        {**fields, "b": {"c": 0.2}},
        {**fields, "b": {}},
        {**fields, "a": fields["a"][:5]},
        {**fields, "a": [*fields["a"][:4], False, "1"]},
    ]
    assert [other for other in others if extracts_the_same(item, wire(other))] == []
    assert not extracts_the_same(item, wire(fields, method="direct"))
    assert not extracts_the_same(item, wire(fields, RowStatus.EXTRACTION_FAILED))
