"""The two indexes of results: what is in them when, and in which order it comes."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from made_results import BATCH, MOMENT, fill, result, there

from service.models import FAILURES, Position, RowStatus, row_id
from service.store.results import extracted, shard

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.app import App

SUCCESS, FAILED, TIMEOUT, EXTRACTION_FAILED = (
    RowStatus.SUCCESS,
    RowStatus.FAILED,
    RowStatus.TIMEOUT,
    RowStatus.EXTRACTION_FAILED,
)
DAY = MOMENT[:10]
OF_THE_DAY = (f"{DAY}T00:00:00.000Z", f"{DAY}T23:59:59.999Z")


def failed(app: App, status: str | None = None, **more: Any) -> list[str]:
    """Statuses and row ids as they are found."""
    return [f"{row['status']}#{row['row_id']}" for row in app.queries.failed(BATCH, status, **more)]


def test_a_row_is_in_status_index_while_it_has_not_succeeded(app: App) -> None:
    seen = []
    for run, status in ((1, FAILED), (2, TIMEOUT), (2, FAILED), (3, SUCCESS), (4, FAILED)):
        app.store.put(result(7, status, run=run))
        seen.append(failed(app))
    assert seen == [[f"FAILED#{row_id(7)}"], [f"TIMEOUT#{row_id(7)}"], [f"TIMEOUT#{row_id(7)}"], [], []]


def test_a_remap_moves_a_row_in_status_index_and_not_in_time(app: App) -> None:
    app.store.put(result(7, EXTRACTION_FAILED))
    app.store.put(result(8, TIMEOUT))
    seen = []
    for status in (SUCCESS, EXTRACTION_FAILED, EXTRACTION_FAILED, SUCCESS):
        assert app.store.remap(there(app)[row_id(7)], extracted(result(7, status, output_data={"x": 1}))) is None
        by_time = [(row["status"], row["timestamp"]) for row in app.queries.between(*OF_THE_DAY)]
        seen.append(failed(app))
        assert sorted(by_time) == sorted([(status, MOMENT), (TIMEOUT, MOMENT)])
    both = [f"EXTRACTION_FAILED#{row_id(7)}", f"TIMEOUT#{row_id(8)}"]
    assert seen == [both[1:], both, both, both[1:]]


def test_a_run_moves_a_row_in_time(app: App) -> None:
    moments = [f"{day}T23:59:59.{last}Z" for day, last in ((DAY, "998"), (DAY, "999"), ("2026-01-03", "000"))]
    for run, moment in enumerate(moments, 1):
        app.store.put(result(7, FAILED, run=run, timestamp=moment))
        found = [(row["row_id"], row["timestamp"]) for row in app.queries.between(moments[0], moments[-1])]
        assert found == [(row_id(7), moment)]


def test_a_status_is_found_by_its_whole_name(app: App) -> None:
    names = ["FAIL", "FAILED", "FAILED!", "FAILED$", "FAILED0", "FAILED_LATER", "failed", "É", *FAILURES[1:]]
    rows = {
        status: [f"#{place}", row_id(10 * place + 2), row_id(10 * place + 10)] for place, status in enumerate(names)
    }
    fill(app, [result(row, status) for status in names for row in reversed(rows[status])])
    for status in names:
        assert failed(app, status) == [f"{status}#{row}" for row in rows[status]]
    everything = [f"{status}#{row}" for status in names for row in rows[status]]
    assert failed(app) == sorted(everything, key=str.encode)


def in_steps(ask: Callable[..., Iterator[dict[str, Any]]], size: int) -> list[dict[str, Any]]:
    """All rows, so many at a time, each time behind the last one."""
    rows: list[dict[str, Any]] = []
    after = None
    while step := list(islice(ask(after=after, at_most=size + 1), size)):
        rows += step
        after = Position.of(rows[-1])
    return rows


def test_rows_of_one_millisecond_and_shard_come_once_each_in_any_steps(app: App) -> None:
    numbers = [row for row in range(1, 400) if shard(BATCH, row_id(row)) == 3][:12]
    moments = [f"{DAY}T03:04:05.{last}Z" for last in ("006", "007", "008")]
    tied = [result(row, timestamp=moments[place % 3 // 2]) for place, row in enumerate(numbers)]
    beside = [result(row, FAILED, batch=other, timestamp=moments[1]) for row in range(1, 5) for other in ("a#1", "z#1")]
    fill(app, [*reversed(tied), *beside, result(400, timestamp=moments[2])])
    order = sorted(
        (one.timestamp, one.batch_id, one.row_id) for one in [*tied, *beside, result(400, timestamp=moments[2])]
    )

    def found(**more: Any) -> Iterator[dict[str, Any]]:
        found: Iterator[dict[str, Any]] = app.queries.between(*OF_THE_DAY, **more)
        return found

    for rows in (list(found()), *(in_steps(found, size) for size in (1, 3, 100))):
        assert [(row["timestamp"], row["batch_id"], row["row_id"]) for row in rows] == order
    exactly = [row["row_id"] for row in app.queries.between(moments[0], moments[0])]
    assert exactly == [one.row_id for one in tied if one.timestamp == moments[0]]


def test_failed_rows_come_once_each_in_any_steps(app: App) -> None:
    statuses = [SUCCESS, *FAILURES]
    fill(app, [result(row, statuses[row % 5]) for row in range(1, 41)])
    whole = failed(app)
    assert len(whole) == 32

    def found(**more: Any) -> Iterator[dict[str, Any]]:
        found: Iterator[dict[str, Any]] = app.queries.failed(BATCH, **more)
        return found

    for size in (1, 3, 8, 100):
        assert [f"{row['status']}#{row['row_id']}" for row in in_steps(found, size)] == whole
