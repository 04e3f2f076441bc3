"""Durations and moments are counted in bounded memory, and what is read off them is right."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.console.report import durations
from service.console.report.durations import STEPS, Moments, Times, edges, is_wide

DURATIONS = st.lists(st.integers(0, 10**9), min_size=1, max_size=200)


def times_of(values: list[int]) -> Times:
    times = Times()
    times.add(map(str, values))
    return times


def nearest_rank(values: list[int], share: float) -> int:
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@given(DURATIONS)
def test_a_summary_is_exact(values: list[int]) -> None:
    assert times_of(values).summary() == {
        "count": len(values),
        "min_ms": min(values),
        "median_ms": nearest_rank(values, 0.5),
        "p95_ms": nearest_rank(values, 0.95),
        "max_ms": max(values),
        "exact": True,
    }


def test_of_no_durations_nothing_is_known() -> None:
    empty = {"count": 0, "min_ms": None, "median_ms": None, "p95_ms": None, "max_ms": None, "exact": True}
    assert Times().summary() == empty
    assert edges(Times()) == []
    assert not is_wide(Times())


@pytest.mark.parametrize(("text", "value"), [("12", 12), ("12.9", 12), ("1E3", 1000), ("-4", 0), ("0", 0)])
def test_numbers_are_read_as_dynamodb_spells_them(text: str, value: int) -> None:
    times = Times()
    times.add([text])
    assert times.quantile(0.5) == value


@given(st.lists(DURATIONS, min_size=2, max_size=5))
def test_beyond_so_many_different_durations_three_digits_are_kept(parts: list[list[int]]) -> None:
    values = [value for part in parts for value in part]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durations, "EXACT", 3)
        times = Times()
        for part in parts:
            times.add(map(str, part))
        summary = times.summary()
    assert summary["exact"] or len(set(values)) > 3
    assert (summary["count"], summary["min_ms"], summary["max_ms"]) == (len(values), min(values), max(values))
    for name, share in (("median_ms", 0.5), ("p95_ms", 0.95)):
        assert summary[name] == pytest.approx(nearest_rank(values, share), rel=0.00501)


def test_rounded_durations_are_few() -> None:
    times = Times()
    for first in range(0, 3_000_000, 30_000):
        times.add(map(str, range(first, first + 30_000)))
    assert not times.exact
    assert len(times._counts) <= durations.EXACT
    assert times.count == 3_000_000
    assert times.quantile(0.95) == pytest.approx(2_850_000, rel=0.005)


@given(DURATIONS, DURATIONS)
def test_two_kinds_are_added_up(one: list[int], other: list[int]) -> None:
    assert (times_of(one) + times_of(other)).summary() == times_of(one + other).summary()
    assert (times_of(one) + Times()).summary() == times_of(one).summary()


@given(DURATIONS)
def test_bins_hold_every_duration(values: list[int]) -> None:
    times = times_of(values)
    found = edges(times)
    assert found == sorted(set(found))
    assert len(found) >= 2
    assert len(found) <= 60
    assert found[0] <= max(1, min(values))
    assert found[-1] > max(values)
    for number, count in enumerate(times.bins(found)):
        low = 0 if number == 0 else found[number]
        assert count == sum(low <= value < found[number + 1] for value in values)


@pytest.mark.parametrize(
    ("values", "wide", "first", "last"),
    [
        ([50], False, 50, 51),
        ([0, 0], False, 0, 1),
        ([100, 200, 290], False, 100, 300),
        ([10, 20, 5_000], True, 10, 10_000),
    ],
)
def test_bins_grow_where_durations_differ_much(values: list[int], wide: bool, first: int, last: int) -> None:  # noqa: FBT001
    times = times_of(values)
    assert is_wide(times) is wide
    assert edges(times)[0] == first
    assert edges(times)[-1] == last


def moments_of(texts: list[str], *, bad: list[str] | None = None) -> Moments:
    moments = Moments()
    moments.add(texts, succeeded=True)
    moments.add(bad or [], succeeded=False)
    return moments


def test_moments_are_counted_in_buckets_of_a_round_length() -> None:
    texts = [f"2026-11-22T15:41:{second:02d}.{tenth}00Z" for second in range(30) for tenth in range(10)]
    found = moments_of(texts, bad=["2026-11-22T15:41:29.950Z"]).buckets()
    assert found["step_ms"] == 1_000
    assert found["succeeded"] == [10] * 30
    assert found["not_succeeded"] == [0] * 29 + [1]
    assert found["from_ms"] == datetime(2026, 11, 22, 15, 41, tzinfo=UTC).timestamp() * 1000


def test_a_pause_is_seen() -> None:
    found = moments_of(["2026-11-22T15:00:00.000Z", "2026-11-22T15:00:04.000Z"]).buckets()
    assert found["succeeded"][0] == found["succeeded"][-1] == 1
    assert set(found["succeeded"][1:-1]) == {0}


def test_between_two_moments() -> None:
    moments = moments_of(["2026-11-22T15:00:00.000Z", "2026-11-22T15:00:01.000Z", "2026-11-22T15:00:02.000Z"])
    (first, *_), second, third = moments.stretches()[0], moments.stretches()[1], moments.stretches()[2]
    assert [entry[0] - first for entry in (second, third)] == [1_000, 2_000]
    assert sum(moments.buckets(second[0])["succeeded"]) == 2
    assert sum(moments.buckets(0, second[0])["succeeded"]) == 1
    assert moments.buckets(third[0] + 1)["step_ms"] is None


@given(st.lists(st.tuples(st.integers(0, 700_000_000), st.booleans()), min_size=1, max_size=300))
def test_no_moment_is_lost_however_little_room_there_is(given_moments: list[tuple[int, bool]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(durations, "_MOMENTS", 20)
        moments = Moments()
        for milliseconds, succeeded in given_moments:
            days, rest = divmod(milliseconds, 86_400_000)
            hours, rest = divmod(rest, 3_600_000)
            minutes, rest = divmod(rest, 60_000)
            text = f"2026-11-{22 + days:02d}T{hours:02d}:{minutes:02d}:{rest // 1000:02d}.{rest % 1000:03d}Z"
            moments.add([text], succeeded=succeeded)
        found = moments.buckets()
    assert max(len(counts) for counts in moments._counts.values()) <= 20
    assert sum(found["succeeded"]) == sum(succeeded for _, succeeded in given_moments)
    assert sum(found["not_succeeded"]) == sum(not succeeded for _, succeeded in given_moments)
    assert found["step_ms"] in STEPS
    assert found["from_ms"] % found["step_ms"] == 0
    assert len(found["succeeded"]) <= 62


def test_what_is_no_time_is_left_out() -> None:
    assert moments_of(["yesterday", "", "2026-11-22T15:00:00.000Z"]).stretches()[0][1:] == (1, 0)
    assert len(moments_of(["yesterday", ""]).stretches()) == 0
