"""A batch's results in row order, page by page, at the speed at which DynamoDB gives them.

Answers to Query are decoded here before botocore's own parser takes them, which takes some thirty times as long.
botocore emits `before-parse.dynamodb.Query` for every answer, after it was received and before it is parsed
(botocore/endpoint.py, `_do_get_response`): a handler may change the body that is parsed and name entries that join the
parsed answer. Signing, endpoints, retries, errors and the check of `x-amz-crc32`, which is made of the bytes as they
were received, stay botocore's. What the handler does not take is parsed as ever: errors, and bodies that are no JSON.

While one page is worked on, the next ones are on their way. Where row ids are dense, spans of rows of about one page
each are asked for side by side, which a table that has split the batch by its heat answers from several partitions
(12 MB/s each, strongly consistent: 3,000 read units of 4 KB; Developer Guide, "Designing partition keys to distribute
your workload"). Their order and the bound on what is held stay: a span is asked for when one before it was taken.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import msgspec

from service.models import row_id, row_number
from service.store.structs import ATTRIBUTES, Item, Page, Shape

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

EVENT = "before-parse.dynamodb.Query"
SIDE_BY_SIDE = 4  # spans asked for at a time: each holds a page of 1 MB, as structs about five times that


class PageReader:
    """Queries of one client whose answers are decoded here; whatever else the client is asked for is left alone."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self._ours = threading.local()  # events reach their handlers in the thread that asked
        self._warned = False
        dynamodb.meta.events.register(EVENT, self._take)

    def query(self, shape: Shape, **arguments: Any) -> Page[Any, Any]:
        """DynamoDB's answer; warns once if it had to be parsed by botocore. Raises NotAResult."""
        self._ours.asking, self._ours.taken = shape, None
        try:
            answer: dict[str, Any] = self._dynamodb.query(**arguments)
        finally:
            self._ours.asking, taken = None, self._ours.taken
            self._ours.taken = None  # a page is not kept until the next one
        page: Page[Any, Any] = shape.page(answer) if taken is None else taken
        if taken is not None and answer.get("Items") is taken.Items:
            return page
        self._warn()
        return page

    def _take(self, response_dict: Any = None, customized_response_dict: Any = None, **_: Any) -> None:
        """Decode an answer of ours in the parser's place; of several attempts the last one counts."""
        shape = getattr(self._ours, "asking", None)
        if shape is None:
            return
        self._ours.taken = None
        if not isinstance(response_dict, dict) or not isinstance(customized_response_dict, dict):
            return
        if response_dict.get("status_code") != 200:
            return
        try:
            page = shape.decode(response_dict["body"])
        except (
            KeyError,
            TypeError,
            msgspec.DecodeError,
        ):  # damaged on the way: botocore's check of the bytes asks again
            return
        self._ours.taken = page
        customized_response_dict["Items"] = page.Items
        response_dict["body"] = b"{}"

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            message = f"botocore did not offer a page of results at {EVENT} as it used to: results are read slowly"
            warnings.warn(message, RuntimeWarning, stacklevel=3)

    def pages(
        self,
        batch_id: str,
        *,
        after: str | None = None,
        last_row: int | None = None,
        names: Sequence[str] = ATTRIBUTES,
        shape: Shape | None = None,
    ) -> Iterator[list[Item[Any, Any]]]:
        """Pages of results in row order, strongly consistent, expired ones left out; a page may be empty.

        Begins after the row id `after`. With `last_row`, row ids are dense: rows up to that number are read side by
        side, and then whatever else there is.
        """
        now = int(time.time())
        ask = _Asking(self, self._table, batch_id, names, shape or Shape())
        with ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="pages") as pool:
            read = _ahead(pool, ask, after) if last_row is None else _spans(pool, ask, after, last_row)
            for page in read:
                yield _alive(page.Items, now)


class _Asking:
    """The Query of one batch."""

    def __init__(self, reader: PageReader, table: str, batch_id: str, names: Sequence[str], shape: Shape) -> None:
        self._reader = reader
        self._shape = shape
        self._batch = {"S": batch_id}
        self._arguments: dict[str, Any] = {
            "TableName": table,
            "ProjectionExpression": ", ".join(f"#{name}" for name in names),
            "ConsistentRead": True,
        }
        self._names = {"#batch_id": "batch_id", **{f"#{name}": name for name in names}}

    def after(self, key: dict[str, Any] | None) -> Page[Any, Any]:
        """Return the page after a key, or the first one."""
        start = {} if key is None else {"ExclusiveStartKey": key}
        return self._reader.query(
            self._shape,
            **self._arguments,
            **start,
            ExpressionAttributeNames=self._names,
            KeyConditionExpression="#batch_id = :batch",
            ExpressionAttributeValues={":batch": self._batch},
        )

    def span(self, first: int, last: int) -> list[Page[Any, Any]]:
        """Return what there is after the row before `first` up to row `last`, in as many pages as it takes."""
        pages: list[Page[Any, Any]] = []
        start: dict[str, Any] | None = self.key(row_id(first - 1))
        while start is not None:
            page = self._reader.query(
                self._shape,
                **self._arguments,
                ExclusiveStartKey=start,
                ExpressionAttributeNames={**self._names, "#row_id": "row_id"},
                KeyConditionExpression="#batch_id = :batch AND #row_id <= :last",
                ExpressionAttributeValues={":batch": self._batch, ":last": {"S": row_id(last)}},
            )
            pages.append(page)
            start = page.LastEvaluatedKey
        return pages

    def key(self, identifier: str) -> dict[str, Any]:
        """Return the key of a row."""
        return {"batch_id": self._batch, "row_id": {"S": identifier}}


def _ahead(pool: ThreadPoolExecutor, ask: _Asking, after: str | None) -> Iterator[Page[Any, Any]]:
    """Pages one after another: the next one is on its way while one is worked on."""
    coming = pool.submit(ask.after, None if after is None else ask.key(after))
    while True:
        page = coming.result()
        if page.LastEvaluatedKey is None:
            yield page
            return
        coming = pool.submit(ask.after, page.LastEvaluatedKey)
        yield page


def _spans(pool: ThreadPoolExecutor, ask: _Asking, after: str | None, last: int) -> Iterator[Page[Any, Any]]:
    """Yield the same where row ids are dense.

    SIDE_BY_SIDE spans at a time, each about as long as the page before it was.

    Spans leave nothing out between them, whatever ids there are; what comes after the last row is read too.
    """
    begun = 0 if after is None else row_number(after) or 0
    page = ask.after(None if after is None else ask.key(after))
    yield page
    if page.LastEvaluatedKey is None:
        return
    reached = page.LastEvaluatedKey["row_id"]["S"]
    following = row_number(reached)
    if following is None:
        yield from _ahead(pool, ask, reached)
        return
    size = max(1, following - begun)
    coming: deque[Future[list[Page[Any, Any]]]] = deque()
    while coming or following < last:
        while following < last and len(coming) < SIDE_BY_SIDE:
            end = min(last, following + size)
            coming.append(pool.submit(ask.span, following + 1, end))
            following = end
        pages = coming.popleft().result()
        yield from pages
        size = max(1, len(pages[0].Items)) if len(pages) > 1 else size + size // 8
    yield from _ahead(pool, ask, row_id(following))


def _alive(items: list[Item[Any, Any]], now: int) -> list[Item[Any, Any]]:
    """Items not past their time, which DynamoDB deletes within days, not at once."""
    times = {item.ttl.N if item.ttl is not None else "" for item in items}
    if all(not digits or int(digits) >= now for digits in times):
        return items
    return [item for item in items if item.ttl is None or int(item.ttl.N) >= now]
