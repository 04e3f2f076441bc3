"""Pages of a batch's results: DynamoDB ends one at 1 MB, wherever that is."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from made_results import BATCH, FUTURE, PAST, fill, result

from service.models import RowStatus, row_id
from service.store import attribute_values
from service.store.structs import json_object

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.app import App

ROWS = 75
TEXT = {"text": "é" * 20_000}  # 40 KB: 26 such rows are a page
EXPIRED = range(24, 60)  # more than a page, and somewhere in two others


def filled(app: App, rows: Iterable[int | str] = range(1, ROWS + 1), **more: Any) -> None:
    fill(app, [result(row, output_data=TEXT, **more) for row in rows])


def reading(app: App, **how: Any) -> list[list[str]]:
    """Row ids by page."""
    return [[item.row_id.S for item in page] for page in app.reader.pages(BATCH, **how)]


def together(pages: list[list[str]]) -> list[str]:
    return [row for page in pages for row in page]


def ids(rows: Iterable[int]) -> list[str]:
    return [row_id(row) for row in rows]


def in_pages_of(app: App, count: int) -> None:
    """Has the app's client ask for so many items a page: DynamoDB ends it there, and does not look what comes next."""
    app.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: {**params, "Limit": count}
    )


def test_both_ways_of_reading_give_the_same_items_in_the_same_order(app: App) -> None:
    shuffled = [7, 1, *range(8, ROWS + 1), *range(2, 7)]
    fill(app, [result(row, output_data={**TEXT, "n": row}, output=b"z" * 100) for row in shuffled])
    plain = [
        [(item["row_id"]["S"], attribute_values.decode(item["output_data"])) for item in page]
        for page in app.store.pages(BATCH)
    ]
    assert len(plain) == 3
    assert [item for page in plain for item in page] == [
        (row_id(row), {**TEXT, "n": row}) for row in range(1, ROWS + 1)
    ]
    assert [len(page) for page in reading(app)] == [len(page) for page in plain]
    for last in (None, 1, 30, 10 * ROWS):
        read = [
            (item.row_id.S, json.loads(json_object(item.output_data.M)))
            for page in app.reader.pages(BATCH, last_row=last)
            for item in page
        ]
        assert read == [item for page in plain for item in page], last


def test_a_reading_goes_on_after_any_row(app: App) -> None:
    filled(app)
    for after in (1, 26, 27, ROWS - 1, ROWS, ROWS + 1):
        for last in (None, ROWS - 5, ROWS + 5):
            assert together(reading(app, after=row_id(after), last_row=last)) == ids(range(after + 1, ROWS + 1))


def test_a_page_that_is_wholly_expired_is_not_the_end(app: App) -> None:
    filled(app, [row for row in range(1, ROWS + 1) if row not in EXPIRED])
    filled(app, EXPIRED, ttl=PAST)
    alive = ids(row for row in range(1, ROWS + 1) if row not in EXPIRED)
    pages = reading(app)
    assert pages[1] == []
    assert pages[0]
    assert pages[2]
    for last in (None, ROWS):
        assert together(reading(app, last_row=last)) == alive
        assert together(reading(app, after=row_id(30), last_row=last)) == ids(range(60, ROWS + 1))
    assert [item["row_id"]["S"] for page in app.store.pages(BATCH) for item in page] == alive
    assert [row["row_id"] for row in app.queries.of_batch(BATCH)] == alive
    assert [row["row_id"] for row in app.queries.of_batch(BATCH, at_most=3)] == alive


@pytest.mark.parametrize("count", [1, 2, 3, 12])
def test_the_data_may_end_where_a_page_does(app: App, count: int) -> None:
    fill(app, [result(row, ttl=PAST if 4 < row < 9 else FUTURE) for row in range(1, 13)])
    in_pages_of(app, count)
    alive = [1, 2, 3, 4, 9, 10, 11, 12]
    for after in (0, 1, 4, 5, 8, 11, 12):
        for last in (None, 6, 13):
            pages = reading(app, after=row_id(after), last_row=last)
            assert together(pages) == ids(row for row in alive if row > after)
    whole = ids(range(1, 13))
    cut = [[row for row in whole[begin : begin + count] if row in ids(alive)] for begin in range(0, 13, count)]
    assert reading(app) == cut
    assert cut[-1] == []
    assert [[item["row_id"]["S"] for item in page] for page in app.store.pages(BATCH)] == cut


def test_gaps_and_ids_of_another_form_between_dense_ones(app: App) -> None:
    dense = [row for row in range(1, 2 * ROWS) if row % 50 > 10]
    others = ["a", "row_", "row_0000000030x", "row_001", "row_9", "z"]
    filled(app, [*dense, *others])
    rows = sorted([*ids(dense), *others])
    for last in (None, 30, 2 * ROWS, 1000 * ROWS):
        assert together(reading(app, last_row=last)) == rows
    for after in ("a", row_id(29), row_id(30), "row_0000000030x", row_id(2 * ROWS), "row_001", "z"):
        assert together(reading(app, after=after, last_row=2 * ROWS)) == [row for row in rows if row > after]


def test_other_batches_stay_out(app: App) -> None:
    filled(app, range(1, 31))
    for other in ("echo#0", "echo#10", "echo#"):
        fill(app, [result(row, RowStatus.FAILED, batch=other, output_data=TEXT) for row in range(1, 31)])
    assert together(reading(app, last_row=30)) == ids(range(1, 31))
    assert list(app.queries.failed(BATCH)) == []
    assert reading(app, after=row_id(30)) == [[]]
