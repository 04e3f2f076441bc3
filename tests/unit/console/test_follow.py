from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from service.console.follow import OVERLAP, arriving
from service.models import now_iso, parse_iso

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
START = now_iso(NOON)
SECOND = timedelta(seconds=1)


class Index:
    """Results in the order of time, and what was asked of it."""

    def __init__(self) -> None:
        self.rows: list[dict[str, str]] = []
        self.asked: list[tuple[str, str]] = []
        self.clock = NOON

    def put(self, *seconds: float, row_id: str = "") -> None:
        """Results of so many seconds after noon."""
        for number in seconds:
            stored = now_iso(NOON + number * SECOND)
            self.rows.append({"timestamp": stored, "batch_id": "b", "row_id": row_id or f"at {number:g}"})

    def read(self, since: str, until: str) -> list[dict[str, str]]:
        self.asked.append((since, until))
        found = [row for row in self.rows if since <= row["timestamp"] <= until]
        return sorted(found, key=lambda row: (row["timestamp"], row["row_id"]))

    def now(self) -> datetime:
        return self.clock


class Following:
    """Rounds of what arrives in an index since noon."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.rows = arriving(index.read, START, index.now)

    def round(self, clock: float) -> list[str]:
        """The rows of a round that is made so many seconds after noon."""
        self.index.clock = NOON + clock * SECOND
        return [row["row_id"] for row in iter(lambda: next(self.rows), None)]


@pytest.fixture
def index() -> Index:
    return Index()


@pytest.fixture
def following(index: Index) -> Following:
    return Following(index)


def test_a_row_comes_once_in_the_order_of_time(index: Index, following: Following) -> None:
    index.put(-1, 0, 2, 1)
    assert following.round(2) == ["at 0", "at 1", "at 2"]
    assert following.round(4) == []
    index.put(4, 3)
    assert following.round(5) == ["at 3", "at 4"]
    assert following.round(60) == following.round(3600) == following.round(9000) == []
    index.put(8999.5)
    assert following.round(9002) == ["at 8999.5"]


def test_a_row_that_comes_late_is_seen_within_the_overlap(index: Index, following: Following) -> None:
    index.put(20)
    assert following.round(20) == ["at 20"]
    overlap = OVERLAP.total_seconds()
    index.put(20 - overlap, 20 - overlap - 0.001)
    assert following.round(22) == [f"at {20 - overlap:g}"]
    assert following.round(24) == []


def test_rows_of_one_millisecond_are_several(index: Index, following: Following) -> None:
    index.put(1, row_id="a")
    assert following.round(1) == ["a"]
    index.put(1, row_id="c")
    index.put(1, row_id="b")
    assert following.round(1) == ["b", "c"]


def test_a_result_in_the_place_of_another_comes_again(index: Index, following: Following) -> None:
    index.put(1, row_id="a")
    assert following.round(1) == ["a"]
    index.rows.clear()
    index.put(3, row_id="a")
    assert following.round(3) == ["a"]


def test_an_index_that_forgets_for_a_moment_repeats_nothing(index: Index, following: Following) -> None:
    index.put(1, 2, 3)
    assert len(following.round(3)) == 3
    there, index.rows = index.rows, index.rows[:1]
    assert following.round(4) == []
    index.rows = there
    assert following.round(5) == []


@pytest.mark.parametrize("ahead", [-3000, -5, 0, 5, 3000])
def test_this_machines_clock_may_be_wrong(index: Index, ahead: float) -> None:
    """What is stored after the beginning, by the clock of this machine, comes; behind it, it comes late."""
    following = Following(index)
    shown = []
    for second in range(0, 40, 2):
        index.put(second)
        shown += following.round(second + ahead)
    index.clock = NOON + timedelta(seconds=3100)
    shown += [row["row_id"] for row in iter(lambda: next(following.rows), None)]
    assert shown == [f"at {second}" for second in range(0, 40, 2)]


def test_a_row_from_a_clock_ahead_hides_none(index: Index, following: Following) -> None:
    index.put(28)  # of a machine 8 s ahead
    assert following.round(20) == ["at 28"]
    index.put(11)
    assert following.round(21) == ["at 11"]
    index.put(1000)
    assert following.round(22) == []
    assert following.round(995) == ["at 1000"]


def test_a_clock_set_back_repeats_nothing(index: Index, following: Following) -> None:
    index.put(*range(60))
    assert len(following.round(60)) == 60
    assert following.round(0) == []
    assert following.round(61) == []


def test_a_round_reads_little(index: Index, following: Following) -> None:
    index.put(*range(0, 3600, 10))
    assert len(following.round(3600)) == 360
    following.round(3602)
    assert parse_iso(index.asked[-1][0]) == NOON + timedelta(seconds=3590) - OVERLAP
    following.round(86_400)
    following.round(86_402)
    since, until = map(parse_iso, index.asked[-1])
    assert until - since < timedelta(hours=2)


def test_what_is_kept_in_memory_is_the_overlap(index: Index, following: Following) -> None:
    for clock in (5000, 5002, 10_000):
        index.put(*range(clock - 5000, clock))
        following.round(clock)
        frame: Any = following.rows.gi_frame  # type: ignore[attr-defined]
        for name in ("known", "recent"):
            assert len(frame.f_locals[name]) <= 2 * OVERLAP.total_seconds()
