"""Rows as the command line shows them, found by the results table and its indexes, as iterators.

Every reading takes `after`, the last row that was shown, and goes on behind it by key: rows that are there all the
while come once, whatever comes or goes beside them. `at_most` is how many rows will be taken; the first request is
made to fit it. Expired results are left out by DynamoDB itself. The table is read strongly consistent, its indexes
cannot be: they are behind it by less than a second as a rule.
"""

from __future__ import annotations

import heapq
import time
from datetime import date, timedelta
from itertools import groupby
from typing import TYPE_CHECKING, Any

from service.limits import SHARDS
from service.models import FAILURES, RowStatus, row_number
from service.store.results import time_bucket
from service.store.tables import ResultItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.condition import Condition
    from pynamodb.pagination import ResultIterator

    from service.models import Position


Row = dict[str, Any]

_SIFTED = 200  # items of a first request of which a filter may leave few
_FULL = 10_000  # items: more never fit into the 1 MB of one answer
# What a row shows: the stored output, up to 4 KB of an item, does not travel.
_SHOWN = [
    *("batch_id", "row_id", "status", "error", "attempts", "execution_time_ms", "timestamp"),
    *("input_data", "output_data"),
]


def failed(  # noqa: PLR0913 - each narrows the reading
    batch_id: str,
    status: str | None = None,
    error: str | None = None,
    *,
    after: Position | None = None,
    at_most: int | None = None,
    types: set[str] | None = None,
) -> Iterator[Row]:
    """Rows that did not succeed, by status, in row order (`status-index`); `types` gathers the types of error met."""
    condition = _behind(status, after)
    found = ResultItem.status_index.query(
        batch_id, condition, _wanted(), page_size=_first_page(at_most, sifted=error is not None)
    )
    for row in _rows(found):
        kind = (row["error"] or {}).get("type")
        if types is not None and kind is not None:
            types.add(kind)
        if error is None or error == kind:
            yield row


def _behind(status: str | None, after: Position | None) -> Condition | None:
    """Return the part of status-index that is of a status and comes after a row."""
    key = ResultItem.failed_status
    if after is None:
        return None if status is None else key.startswith(f"{status}#")
    last = f"{after.status}#{after.row_id}"
    # `$` follows `#`, and the text with a zero more follows the text: keys are in the order of their bytes
    return key > last if status is None else key.between(f"{last}\0", f"{status}$")


def of_batch(  # noqa: PLR0913 - each narrows the reading
    batch_id: str,
    status: str | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
    after: Position | None = None,
    at_most: int | None = None,
) -> Iterator[Row]:
    """Results of one batch, in row order, with all that is stored of them; a status or a span (ISO 8601) only sifts.

    A span is sifted here as well, and not looked up in `timestamp-index`: that has neither input nor output of a row,
    nor the order of the rows; it lags; and it would read the results of all batches in those days.
    For the rows of one failed status alone `failed` reads only those.
    """
    found = ResultItem.query(
        batch_id,
        None if after is None else ResultItem.row_id > after.row_id,
        _wanted(status, since=since, until=until),
        consistent_read=True,
        attributes_to_get=_SHOWN,
        page_size=_first_page(at_most, sifted=bool(status or since or until)),
    )
    return _rows(found)


def between(
    since: str, until: str, status: str | None = None, *, after: Position | None = None, at_most: int | None = None
) -> Iterator[Row]:
    """Results of any batch stored in a span of time (ISO 8601 in UTC, both ends in it) in the order of `time_order`.

    By `timestamp-index`, a request a shard and day at least; rows come without input and output.
    """
    first = since if after is None else max(since, after.timestamp)
    share = None if at_most is None else 2 + 2 * at_most // SHARDS  # of each shard: twice the mean, and what comes next
    page_size = _first_page(share, sifted=status is not None)
    day, last = date.fromisoformat(first[:10]), date.fromisoformat(until[:10])
    while day <= last and first <= until:  # DynamoDB refuses a span that ends before it begins
        buckets = [time_bucket(day.isoformat(), number) for number in range(SHARDS)]
        shards = [_shard(bucket, first, until, status, page_size) for bucket in buckets]
        for row in heapq.merge(*shards, key=time_order):
            if after is None or time_order(row) > (after.timestamp, after.batch_id, after.row_id):
                yield row
        day += timedelta(days=1)


def time_order(row: Row) -> tuple[str, str, str]:
    """Return what orders rows in time, also those of one millisecond, which the index has in no order."""
    return row["timestamp"], row["batch_id"], row["row_id"]


def _shard(bucket: str, since: str, until: str, status: str | None, page_size: int | None) -> Iterator[Row]:
    span = ResultItem.timestamp.between(since, until)
    found = ResultItem.timestamp_index.query(bucket, span, _wanted(status), page_size=page_size)
    for _, rows in groupby(_rows(found), key=lambda row: row["timestamp"]):
        yield from sorted(rows, key=time_order)


def count(
    batch_id: str, status: str | None = None, *, since: str | None = None, until: str | None = None
) -> dict[str, int]:
    """How many results of a batch have each status; successes counted in the table, the others in `status-index`.

    Only numbers travel, but a Query that counts consumes the read units of one that returns the items: successes cost
    a reading of the whole batch.
    """
    counts = {}
    if status in (None, RowStatus.SUCCESS):
        sift = _wanted(RowStatus.SUCCESS, since=since, until=until)
        counts[RowStatus.SUCCESS.value] = ResultItem.count(batch_id, filter_condition=sift, consistent_read=True)
    if status != RowStatus.SUCCESS:
        counts |= count_failed(batch_id, status, since=since, until=until)
    return counts


def count_failed(
    batch_id: str,
    status: str | None = None,
    error: str | None = None,
    *,
    since: str | None = None,
    until: str | None = None,
) -> dict[str, int]:
    """How many rows of a batch have each status but SUCCESS, 0 for those of FAILURES that none has.

    Only numbers travel, but a Query that counts consumes the read units of one that returns the items.
    """
    sift = _wanted(error=error, since=since, until=until)
    counts = {status: 0} if status else {known.value: 0 for known in FAILURES}
    for found in [status] if status else _statuses(batch_id):
        number = ResultItem.status_index.count(batch_id, _behind(found, None), sift)
        if number:
            counts[found] = number
    return counts


def _statuses(batch_id: str) -> Iterator[str]:
    """Yield the statuses in status-index, by a leap over all rows of each: plain events may have any."""
    beyond = None
    while found := next(ResultItem.status_index.query(batch_id, beyond, limit=1), None):
        yield found.status
        beyond = ResultItem.failed_status > f"{found.status}$"


def _wanted(
    status: str | None = None, error: str | None = None, since: str | None = None, until: str | None = None
) -> Condition:
    """Return a filter of what is not expired and as asked for."""
    condition: Condition = ResultItem.ttl.does_not_exist() | (ResultItem.ttl >= int(time.time()))
    if status is not None:
        condition &= ResultItem.status == status
    if error is not None:
        condition &= ResultItem.error["type"] == error
    if since is not None:
        condition &= ResultItem.timestamp >= since
    if until is not None:
        condition &= ResultItem.timestamp <= until
    return condition


def _first_page(at_most: int | None, *, sifted: bool) -> int | None:
    """Items to ask for at first; None, whatever fits into an answer, when everything will be taken."""
    return None if at_most is None else min(max(at_most, _SIFTED if sifted else 1), _FULL)


def _rows(found: ResultIterator[ResultItem]) -> Iterator[Row]:
    """Rows of all pages, each page twice the one before: few are read in vain, and few requests find what is rare."""
    pages = found.page_iter
    for page in pages:
        for item in page["Items"]:
            yield _row(ResultItem.from_raw_data(item))
        if pages.page_size is not None:
            pages.page_size = min(2 * pages.page_size, _FULL)


def _row(item: ResultItem) -> Row:
    return {
        "batch_id": item.batch_id,
        "row_id": item.row_id,
        "row_number": row_number(item.row_id),
        "status": item.status,
        "error": _as_dict(item.error),
        "attempts": int(item.attempts),
        "execution_time_ms": None if item.execution_time_ms is None else int(item.execution_time_ms),
        "timestamp": item.timestamp,
        "input_data": _as_dict(item.input_data),
        "output_data": _as_dict(item.output_data),
    }


def _as_dict(value: Any) -> Any:
    """Return a map attribute as plain Python values; None stays None."""
    return None if value is None else value.as_dict()
