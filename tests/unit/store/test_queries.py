"""Rows by status, by batch and by time, page by page; runs on anything that is DynamoDB."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from service.console.follow import arriving
from service.models import FAILURES, Position, Result, RowStatus, now_iso, row_id
from service.store import page_reader, queries, results
from service.store.tables import ResultItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.app import App

BATCH = "echo#1"
NOW = int(time.time())
PAST, LATER = NOW - 60, NOW + 86_400
MIDNIGHT = datetime(2026, 11, 22, tzinfo=UTC)
SUCCESS, FAILED, TIMEOUT = RowStatus.SUCCESS, RowStatus.FAILED, RowStatus.TIMEOUT
ROW_KEYS = ["batch_id", "row_id", "row_number", "status", "error", "attempts", "execution_time_ms", "timestamp"]
ROW_KEYS += ["input_data", "output_data"]


def at(milliseconds: int) -> str:
    """So many milliseconds after a midnight."""
    return now_iso(MIDNIGHT + timedelta(milliseconds=milliseconds))


def put(app: App, number: int | str, status: str = SUCCESS, **more: Any) -> None:
    identifier = number if isinstance(number, str) else row_id(number)
    kind = more.pop("kind", "E")
    given_values: dict[str, Any] = {
        "batch_id": BATCH,
        "input_data": {"a": str(number)},
        "output_data": {"out": number} if status == SUCCESS else {},
        "error": None if status == SUCCESS else {"type": kind, "message": "m"},
        "timestamp": at(0),
        "ttl": LATER,
        **more,
    }
    app.dynamodb.put_item(
        TableName=app.settings.results_table,
        Item=results.to_item(Result(row_id=identifier, status=status, **given_values)),
    )


def clear(app: App) -> None:
    for item in app.dynamodb.scan(TableName=app.settings.results_table)["Items"]:
        key = {name: item[name] for name in ("batch_id", "row_id")}
        app.dynamodb.delete_item(TableName=app.settings.results_table, Key=key)


def ids(rows: Any) -> list[str]:
    return [row["row_id"] for row in rows]


def numbers(rows: Any) -> list[int]:
    return [row["row_number"] for row in rows]


class Requests:
    """Queries that PynamoDB makes and what DynamoDB read for them."""

    def __init__(self, app: App) -> None:
        assert app.queries
        events = ResultItem._get_connection().connection.client.meta.events
        self.sent: list[dict[str, Any]] = []
        self.read: list[int] = []
        events.register("provide-client-params.dynamodb.Query", lambda params, **_: self.sent.append(params))
        events.register(
            "after-call.dynamodb.Query", lambda parsed, **_: self.read.append(parsed.get("ScannedCount", 0))
        )


@pytest.fixture
def bound(app: App) -> App:
    """The app with the models bound to it."""
    assert app.queries is queries
    return app


# --- what is found ---------------------------------------------------------------------------------------------------


def test_failed_rows_come_by_status_in_row_order(bound: App) -> None:
    for number, status in enumerate([SUCCESS, TIMEOUT, FAILED, SUCCESS, TIMEOUT, FAILED, "UNKNOWN"], 1):
        put(bound, number, status)
    put(bound, 9, FAILED, batch_id="echo#2")
    assert numbers(queries.failed(BATCH)) == [3, 6, 2, 5, 7]
    assert numbers(queries.failed(BATCH, TIMEOUT)) == [2, 5]
    assert numbers(queries.failed("echo#3")) == []


def test_failed_rows_by_error_and_the_types_there_are(bound: App) -> None:
    for number, kind in enumerate(["A", "B", "A", "C"], 1):
        put(bound, number, FAILED, kind=kind)
    put(bound, 5, TIMEOUT, kind="A")
    put(bound, 6, "UNKNOWN", error=None)
    types: set[str] = set()
    assert numbers(queries.failed(BATCH, error="A", types=types)) == [1, 3, 5]
    assert types == {"A", "B", "C"}
    assert numbers(queries.failed(BATCH, FAILED, "A")) == [1, 3]
    assert numbers(queries.failed(BATCH, error="a")) == []


def test_a_row_as_it_is_shown(bound: App) -> None:
    fields = {"a": [1, 2.5, None, True, {"b": "c"}], "n": 12345678901234567890}
    put(bound, 1, output_data=fields, output=b"z" * 3000, attempts=2, run=2, execution_time_ms=7)
    (row,) = queries.of_batch(BATCH)
    assert list(row) == ROW_KEYS
    expected = {"status": "SUCCESS", "error": None, "attempts": 2, "execution_time_ms": 7, "timestamp": at(0)}
    assert row.items() >= {**expected, "row_number": 1, "input_data": {"a": "1"}, "output_data": fields}.items()
    put(bound, "any", FAILED, batch_id="echo#2")
    (row,) = queries.failed("echo#2")
    assert list(row) == ROW_KEYS
    assert (row["row_number"], row["error"], row["input_data"]) == (None, {"type": "E", "message": "m"}, {"a": "any"})
    by_time = list(queries.between(at(0), at(0)))
    assert [list(row) for row in by_time] == [ROW_KEYS, ROW_KEYS]
    assert {row["output_data"] for row in by_time} == {None}


def test_a_batch_is_read_strongly_consistent_and_without_its_outputs(bound: App) -> None:
    requests = Requests(bound)
    list(queries.of_batch(BATCH))
    queries.count(BATCH, SUCCESS)
    rows, count = requests.sent
    assert rows["ConsistentRead"] is count["ConsistentRead"] is True
    names = rows["ExpressionAttributeNames"]
    shown = {names[name.strip()] for name in rows["ProjectionExpression"].split(",")}
    assert shown == set(ROW_KEYS) - {"row_number"}
    assert (count["Select"], "ProjectionExpression" in count) == ("COUNT", False)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [1, 2, 3, 4]),
        ({"status": SUCCESS}, [1, 3]),
        ({"status": FAILED}, [2, 4]),
        ({"since": at(2)}, [2, 3, 4]),
        ({"until": at(3)}, [1, 2, 3]),
        ({"since": at(2), "until": at(3), "status": SUCCESS}, [3]),
        ({"since": at(5)}, []),
    ],
)
def test_a_batch_in_row_order_by_status_and_span(bound: App, options: dict[str, Any], expected: list[int]) -> None:
    for number, status in ((4, FAILED), (1, SUCCESS), (3, SUCCESS), (2, FAILED)):
        put(bound, number, status, timestamp=at(number))
    put(bound, 5, batch_id="echo#2", timestamp=at(2))
    assert numbers(queries.of_batch(BATCH, **options)) == expected


def test_all_batches_in_the_order_of_time_over_shards_and_days(bound: App) -> None:
    times = {f"{number:02d}": (number % 7 - 3) * 43_200_000 for number in range(60)}  # half days around a midnight
    for identifier, stored in times.items():
        put(bound, identifier, timestamp=at(stored), batch_id=f"b#{int(identifier) % 3}")
    rows = list(queries.between(at(-86_400_000), at(43_200_000)))
    order = [(row["timestamp"], row["batch_id"], row["row_id"]) for row in rows]
    assert order == sorted(order)
    assert set(ids(rows)) == {name for name, stored in times.items() if -86_400_000 <= stored <= 43_200_000}
    assert len({row["batch_id"] for row in rows}) == 3
    assert ids(queries.between(at(1), at(43_199_999))) == []


@pytest.mark.parametrize("until", [-1, -86_400_000])
def test_a_span_that_ends_before_it_begins_asks_nothing(bound: App, until: int) -> None:
    requests = Requests(bound)
    assert list(queries.between(at(0), at(until))) == []
    assert requests.sent == []


@pytest.mark.parametrize("kept", [PAST, LATER, None], ids=["expired", "kept", "for ever"])
def test_expired_rows_are_nowhere(bound: App, kept: int | None) -> None:
    for number, status in ((1, SUCCESS), (2, FAILED)):
        put(bound, number, status, ttl=kept)
    there = [] if kept == PAST else [1, 2]
    assert numbers(queries.of_batch(BATCH)) == numbers(queries.between(at(0), at(0))) == there
    assert numbers(queries.of_batch(BATCH, FAILED)) == numbers(queries.failed(BATCH)) == there[1:]
    assert numbers(queries.between(at(0), at(0), FAILED)) == there[1:]
    assert sum(queries.count(BATCH).values()) == len(there)
    following = arriving(queries.between, at(0), lambda: MIDNIGHT)
    assert len(list(iter(lambda: next(following), None))) == len(there)


def test_a_row_is_shown_to_its_last_second(bound: App, monkeypatch: pytest.MonkeyPatch) -> None:
    put(bound, 1, ttl=NOW)
    for clock, there in ((NOW - 1, [1]), (NOW + 0.9, [1]), (NOW + 1, [])):
        for module in (queries, results, page_reader):
            monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda clock=clock: clock))
        assert numbers(queries.of_batch(BATCH)) == there
        assert [len(page) for page in bound.store.pages(BATCH)] == [len(there)]


# --- page by page ----------------------------------------------------------------------------------------------------


class Stored(NamedTuple):
    """A row as the model of the tests knows it."""

    stored: int  # milliseconds from midnight
    batch: str
    row: str
    status: str
    ttl: int

    def put(self, app: App) -> None:
        put(app, self.row, self.status, batch_id=self.batch, timestamp=at(self.stored), ttl=self.ttl)


class Reading(NamedTuple):
    """A question: how it is asked, what its answer is of, and the order of it."""

    ask: Callable[..., Iterator[dict[str, Any]]]
    of: Callable[[Stored], bool]
    order: Callable[[Stored], Any]


def by_row(row: Stored) -> Any:
    return row.row


def by_status(row: Stored) -> Any:
    return f"{row.status}#{row.row}"


def by_time(row: Stored) -> Any:
    return row.stored, row.batch, row.row


SINCE, UNTIL = -2, 2
SPAN = {"since": at(SINCE), "until": at(UNTIL)}
READINGS = {
    "batch": Reading(lambda **more: queries.of_batch("b#1", **more), lambda row: row.batch == "b#1", by_row),
    "batch, a status": Reading(
        lambda **more: queries.of_batch("b#1", FAILED, **more),
        lambda row: (row.batch, row.status) == ("b#1", FAILED),
        by_row,
    ),
    "batch, a span": Reading(
        lambda **more: queries.of_batch("b#1", **SPAN, **more),
        lambda row: row.batch == "b#1" and SINCE <= row.stored <= UNTIL,
        by_row,
    ),
    "failed": Reading(
        lambda **more: queries.failed("b#1", **more),
        lambda row: row.batch == "b#1" and row.status != SUCCESS,
        by_status,
    ),
    "failed, a status": Reading(
        lambda **more: queries.failed("b#1", FAILED, **more),
        lambda row: (row.batch, row.status) == ("b#1", FAILED),
        by_status,
    ),
    "time": Reading(lambda **more: queries.between(**SPAN, **more), lambda row: SINCE <= row.stored <= UNTIL, by_time),
    "time, a status": Reading(
        lambda **more: queries.between(**SPAN, status=FAILED, **more),
        lambda row: SINCE <= row.stored <= UNTIL and row.status == FAILED,
        by_time,
    ),
}

# Few times, batches and names: rows share milliseconds, shards and the ends of their names.
rows_stored = st.builds(
    Stored,
    st.integers(-3, 3),
    st.sampled_from(["b#0", "b#1", "b#1", "b#2"]),
    st.sampled_from([*(row_id(number) for number in range(1, 13)), "", "x", "x#", "x\0", "é"]).map(
        lambda name: f"r{name}"
    ),
    st.sampled_from([SUCCESS, FAILED, FAILED, TIMEOUT]),
    st.sampled_from([LATER, LATER, LATER, PAST]),
)
steps = st.lists(st.tuples(st.integers(1, 5), st.lists(rows_stored, max_size=3)), max_size=6)


@pytest.mark.parametrize("name", READINGS)
@hypothesis_settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(rows=st.lists(rows_stored, max_size=30), steps=steps)
def test_pages_of_any_sizes_are_one_reading_whatever_changes_meanwhile(
    bound: App, monkeypatch: pytest.MonkeyPatch, name: str, rows: list[Stored], steps: list[Any]
) -> None:
    """Each page is the next rows behind the last one shown, of those that there are when it is read."""
    monkeypatch.setattr(queries, "SHARDS", 3)  # three requests a day instead of sixteen
    monkeypatch.setattr(results, "SHARDS", 3)
    monkeypatch.setattr(queries, "_SIFTED", 2)  # answers of several pages
    clear(bound)
    reading = READINGS[name]
    there: dict[tuple[str, str], Stored] = {}
    after, last = None, None
    for limit, changed in [(0, rows), *steps, (1000, [])]:
        expected = sorted((row for row in there.values() if reading.of(row) and row.ttl == LATER), key=reading.order)
        expected = [row for row in expected if last is None or reading.order(row) > last][:limit]
        shown = list(islice(reading.ask(after=after, at_most=limit + 1), limit))
        assert [(row["batch_id"], row["row_id"]) for row in shown] == [(row.batch, row.row) for row in expected]
        if shown:
            after, last = Position.of(shown[-1]), reading.order(expected[-1])
        for row in changed:
            row.put(bound)
            there[row.batch, row.row] = row


def test_pages_over_all_shards_and_days_are_one_reading(bound: App) -> None:
    for number in range(40):
        put(bound, number, timestamp=at(number // 10 - 2), batch_id=f"b#{number % 2}")
    whole = list(queries.between(at(-2), at(1)))
    assert len(whole) == 40
    got: list[dict[str, Any]] = []
    after = None
    while rows := list(islice(queries.between(at(-2), at(1), after=after, at_most=8), 7)):
        got += rows
        after = Position.of(rows[-1])
    assert got == whole


def test_rows_of_one_millisecond_are_in_order_though_the_index_has_them_in_none(
    bound: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DynamoDB promises no order of equal keys: here they come in the reverse one."""
    there = queries._rows

    def backwards(found: Any) -> Iterator[dict[str, Any]]:
        rows = sorted(there(found), key=queries.time_order, reverse=True)
        return iter(sorted(rows, key=lambda row: row["timestamp"]))

    monkeypatch.setattr(queries, "_rows", backwards)
    monkeypatch.setattr(queries, "SHARDS", 1)
    monkeypatch.setattr(results, "SHARDS", 1)
    for number in range(9):
        put(bound, number, timestamp=at(number // 4))
    assert numbers(queries.between(at(0), at(9))) == list(range(9))
    for behind, row in enumerate(queries.between(at(0), at(9)), 1):
        assert numbers(queries.between(at(0), at(9), after=Position.of(row))) == list(range(behind, 9))


# --- what is read ----------------------------------------------------------------------------------------------------


def test_a_page_of_a_batch_reads_no_more_than_it_shows(bound: App) -> None:
    for number in range(1, 301):
        put(bound, number, FAILED)
    for ask in (queries.of_batch, queries.failed):
        requests = Requests(bound)
        assert len(list(islice(ask(BATCH, at_most=51), 51))) == 51
        assert requests.read == [51]


def test_a_page_by_time_reads_little_more_than_it_shows(bound: App) -> None:
    for number in range(1, 1001):
        put(bound, number, timestamp=at(number))
    after = None
    for _ in range(3):
        requests = Requests(bound)
        rows = list(islice(queries.between(at(0), at(2000), after=after, at_most=51), 51))
        assert len(rows) == 51
        assert len(requests.sent) < 2 * results.SHARDS
        assert sum(requests.read) < 4 * 51
        after = Position.of(rows[-1])


def test_what_is_rare_is_found_in_few_requests(bound: App) -> None:
    for number in range(1, 1001):
        put(bound, number, FAILED, kind="rare" if number == 990 else "E", ttl=LATER if number % 10 == 0 else PAST)
    put(bound, 1001)
    asked: list[Callable[[], Any]] = [
        lambda: queries.failed(BATCH, error="rare", at_most=2),
        lambda: queries.of_batch(BATCH, SUCCESS, at_most=2),
    ]
    for ask in asked:
        requests = Requests(bound)
        assert len(list(ask())) == 1
        assert requests.read == [200, 400, 400 + bool(requests.sent[0].get("ConsistentRead"))]


def test_everything_is_read_in_the_fullest_pages(bound: App) -> None:
    for number in range(1, 31):
        put(bound, number, FAILED)
    requests = Requests(bound)
    assert len(list(queries.failed(BATCH))) == len(list(queries.of_batch(BATCH))) == 30
    assert ["Limit" in sent for sent in requests.sent] == [False, False]


# --- counts ----------------------------------------------------------------------------------------------------------


def test_counts(bound: App) -> None:
    there = [SUCCESS, SUCCESS, SUCCESS, FAILED, FAILED, TIMEOUT, "UNKNOWN", "UNKNOWN", "failed", "~"]
    for number, status in enumerate(there, 1):
        put(bound, number, status, timestamp=at(number), kind="A" if number == 4 else "B")
    put(bound, 90, ttl=PAST)
    put(bound, 91, FAILED, ttl=PAST)
    put(bound, 92, FAILED, batch_id="echo#2")
    failures = {"FAILED": 2, "TIMEOUT": 1, "INVALID_INPUT": 0, "EXTRACTION_FAILED": 0, "UNKNOWN": 2}
    others = {"failed": 1, "~": 1}
    assert queries.count(BATCH) == {"SUCCESS": 3, **failures, **others}
    assert list(queries.count(BATCH))[:5] == ["SUCCESS", *(status.value for status in FAILURES)]
    assert queries.count_failed(BATCH) == {**failures, **others}
    for status, number in {"SUCCESS": 3, "FAILED": 2, "INVALID_INPUT": 0, "~": 1}.items():
        assert queries.count(BATCH, status) == {status: number}
    assert queries.count_failed(BATCH, FAILED, "A") == {"FAILED": 1}
    assert queries.count_failed(BATCH, error="B") == {**failures, **others, "FAILED": 1}
    nothing = dict.fromkeys(["SUCCESS", *(status.value for status in FAILURES)], 0)
    assert queries.count(BATCH, since=at(3), until=at(5)) == {**nothing, "SUCCESS": 1, "FAILED": 2}
    assert queries.count("echo#3") == nothing


def test_a_count_sends_no_items_and_reads_no_batch_for_failures(bound: App) -> None:
    for number in range(1, 6):
        put(bound, number, FAILED if number > 3 else SUCCESS)
    requests = Requests(bound)
    queries.count_failed(BATCH)
    assert {sent.get("IndexName") for sent in requests.sent} == {"status-index"}
    assert [sent["Select"] for sent in requests.sent if "Limit" not in sent] == ["COUNT"]
    assert requests.read == [1, 2, 0]  # a leap, a count, and no further status


# --- as they arrive --------------------------------------------------------------------------------------------------


def test_results_as_they_arrive(bound: App) -> None:
    clock = MIDNIGHT
    following = arriving(queries.between, at(-5000), lambda: clock)

    def a_round() -> list[str]:
        return ids(iter(lambda: next(following), None))

    put(bound, "early", timestamp=at(-5001))
    put(bound, "b", timestamp=at(-1), batch_id="echo#2")
    put(bound, "a", timestamp=at(-1))
    assert a_round() == ["a", "b"]
    clock += timedelta(seconds=2)
    put(bound, "d", timestamp=at(1500))
    put(bound, "late", FAILED, timestamp=at(-4000))
    assert a_round() == ["late", "d"]
    clock += timedelta(seconds=2)
    put(bound, "late", timestamp=at(3000))  # a rerun has made a success of it
    assert a_round() == ["late"]
    assert a_round() == []
