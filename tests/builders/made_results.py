"""What these tests put into the results table, and how they look at what is there."""

from __future__ import annotations

import gzip
import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from made import plan

from service.console import remap
from service.extraction.compiler import compile_output_mapping
from service.models import Result, RowStatus, row_id
from service.record import BatchRecord
from service.store.results import to_item

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.app import App

BATCH = "echo#1"
NOW = int(time.time())
PAST, FUTURE = NOW - 3_600, NOW + 86_400
MOMENT = "2026-01-02T03:04:05.006Z"
THREADS = 8


def result(number: int | str = 1, status: str = RowStatus.SUCCESS, *, batch: str = BATCH, **more: Any) -> Result:
    """The result of a row by its number, or by an id of another form."""
    row = row_id(number) if isinstance(number, int) else number
    error = None if status == RowStatus.SUCCESS else {"type": "E", "message": "no"}
    given = {"input_data": {"a": "1"}, "error": error, "timestamp": MOMENT, "ttl": FUTURE, **more}
    return Result(batch, row, status, **given)


def fill(app: App, results: Iterable[Result]) -> None:
    """Puts results as they are, with no condition, 25 at a time."""
    table = app.settings.results_table
    requests = [{"PutRequest": {"Item": to_item(one)}} for one in results]
    for begin in range(0, len(requests), 25):
        answer = app.dynamodb.batch_write_item(RequestItems={table: requests[begin : begin + 25]})
        assert not answer["UnprocessedItems"]


def there(app: App) -> dict[str, dict[str, Any]]:
    """Every item of the results table by its row id, in wire form, expired or not."""
    pages = app.dynamodb.get_paginator("scan").paginate(TableName=app.settings.results_table, ConsistentRead=True)
    return {item["row_id"]["S"]: item for page in pages for item in page["Items"]}


def at_once(calls: Iterable[Callable[[], Any]]) -> list[Any]:
    """The answers of calls that are made by several threads, begun in this order."""
    with ThreadPoolExecutor(THREADS) as pool:
        return [future.result() for future in [pool.submit(call) for call in calls]]


def remap_of(app: App, mapping: Any) -> remap.Remap:
    """A batch that has ended, and a remap of it."""
    digest = app.plans.save(BATCH, plan(output_mapping={}))
    record = BatchRecord(BATCH, prepared_at=MOMENT, status="PARTIAL", run=1, plan_hash=digest, execution_arn="arn:1")
    compiled = compile_output_mapping(mapping, target="echo", kind="tool")
    return remap.Remap(app.records.create(record), compiled, plan(output_mapping=mapping), {})


def kept(output: Any) -> bytes:
    """An output as it stands in an item."""
    return gzip.compress(json.dumps(output).encode())


def requests_of(app: App, operation: str) -> list[dict[str, Any]]:
    """The arguments of every such call of the app's client from now on."""
    seen: list[dict[str, Any]] = []
    app.dynamodb.meta.events.register(
        f"provide-client-params.dynamodb.{operation}", lambda params, **_: seen.append(params)
    )
    return seen
