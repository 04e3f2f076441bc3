"""Rows as the command line shows them, found by the results table's indexes, as iterators."""

from __future__ import annotations

import heapq
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.models import now_iso, row_number
from service.store import SHARDS, time_bucket
from service.table import ResultItem

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PAGE = 200  # items a request asks for: what is not shown is not read


def failed(batch_id: str, status: str | None = None, error: str | None = None) -> Iterator[dict[str, Any]]:
    """Rows that did not succeed, by status, in row order (`status-index`)."""
    condition = ResultItem.failed_status.startswith(f"{status}#") if status else None
    for item in ResultItem.status_index.query(batch_id, condition, page_size=_PAGE):
        row = _row(item)
        if _alive(item) and (error is None or (row["error"] or {}).get("type") == error):
            yield row


def of_batch(batch_id: str, status: str | None = None) -> Iterator[dict[str, Any]]:
    """Results of one batch, in row order."""
    wanted = None if status is None else ResultItem.status == status
    for item in ResultItem.query(batch_id, filter_condition=wanted, page_size=_PAGE):
        if _alive(item):
            yield _row(item)


def between(since: datetime, until: datetime, status: str | None = None) -> Iterator[dict[str, Any]]:
    """Results of any batch stored in a span of time, in the order of time (`timestamp-index`)."""
    day = since.date()
    while day <= until.date():
        shards = [_shard(time_bucket(day.isoformat(), number), since, until, status) for number in range(SHARDS)]
        yield from heapq.merge(*shards, key=lambda row: (row["timestamp"], row["batch_id"], row["row_id"]))
        day += timedelta(days=1)


def _shard(bucket: str, since: datetime, until: datetime, status: str | None) -> Iterator[dict[str, Any]]:
    span = ResultItem.timestamp.between(now_iso(since), now_iso(until))
    wanted = None if status is None else ResultItem.status == status
    for item in ResultItem.timestamp_index.query(bucket, span, filter_condition=wanted, page_size=_PAGE):
        if _alive(item):
            yield _row(item)


def within(rows: Iterable[dict[str, Any]], since: datetime | None, until: datetime | None) -> Iterator[dict[str, Any]]:
    """Those of the rows that were stored in a span of time."""
    first = now_iso(since or datetime.min.replace(tzinfo=UTC))
    last = now_iso(until or datetime.max.replace(tzinfo=UTC))
    return (row for row in rows if first <= row["timestamp"] <= last)


def _alive(item: ResultItem) -> bool:
    return item.ttl is None or item.ttl >= time.time()


def _row(item: ResultItem) -> dict[str, Any]:
    return {
        "batch_id": item.batch_id,
        "row_id": item.row_id,
        "row_number": row_number(item.row_id),
        "status": item.status,
        "error": plain(item.error),
        "attempts": int(item.attempts),
        "execution_time_ms": None if item.execution_time_ms is None else int(item.execution_time_ms),
        "timestamp": item.timestamp,
        "input_data": plain(item.input_data),
        "output_data": plain(item.output_data),
    }


def plain(value: Any) -> Any:
    """A map attribute as plain Python values; None stays None."""
    return None if value is None else value.as_dict()
