"""How many chunks are at work: by single events, and in virtual time against targets with a hidden limit."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from throttling_target import Batch, Target

from service.batch.governor import PAUSE, WINDOW, Governing, decided, finished, held, throttled, unthrottled

HOUR = 3_600


def refused(state: Governing, times: int, now: float) -> Governing:
    for _ in range(times):
        state = throttled(state, now)
    return state


def test_the_first_decrease_goes_to_what_the_target_takes() -> None:
    state = refused(unthrottled(20, 5, 100), 59, 101)
    assert state.outer == 20, "counted for a while"
    state = throttled(state, 100 + PAUSE)
    assert (state.outer, state.running, state.refused) == (8, 20, 0), "40 of 100 rows were taken"
    assert refused(state, 50, 106).outer == 8, "not again at once"


def test_chunks_of_before_a_decrease_end_first() -> None:
    state = throttled(refused(unthrottled(4, 5, 0), 14, 1), PAUSE)
    assert (state.outer, state.running) == (1, 4)
    for left in (3, 2):
        state = finished(state, 30, 10)
        assert (state.outer, state.running) == (1, left)
    state = refused(state, 20, 20)
    state = throttled(state, PAUSE + WINDOW)
    assert (state.outer, state.running, state.refused) == (1, 2, 0), "the decrease has not shown yet"


def test_one_more_chunk_when_nearly_all_calls_are_taken() -> None:
    state = replace(unthrottled(20, 5, 0), outer=6, before=6, lowered=True)
    state = finished(state, 100, WINDOW - 1)
    assert state.outer == 6
    state = finished(state, 100, WINDOW)
    assert (state.outer, state.running, state.rows) == (7, 7, 0)
    full = finished(replace(state, outer=20, before=20), 100, 2 * WINDOW)
    assert (full.outer, full.rows) == (20, 100), "never above the ceiling, and nothing to decide"


def test_a_few_refused_calls_change_nothing() -> None:
    state = replace(unthrottled(20, 5, 0), outer=6, before=6, lowered=True, rows=96, refused=4)
    assert decided(state, WINDOW) is None
    more = replace(state, refused=20)
    lowered = decided(more, WINDOW)
    assert lowered is not None
    assert lowered.outer == 5


def test_tries_that_went_wrong_are_made_less_often() -> None:
    state = replace(unthrottled(20, 5, 0), outer=6, before=6, lowered=True, trying=True)
    wrong = decided(replace(state, rows=10, refused=10), WINDOW)
    assert wrong is not None
    assert (wrong.window, wrong.trying) == (2 * WINDOW, False)
    assert decided(replace(wrong, before=wrong.outer, rows=100), 2 * WINDOW) is None
    right = decided(replace(wrong, before=wrong.outer, rows=100), 3 * WINDOW)
    assert right is not None
    assert right.outer == wrong.outer + 1


def test_a_number_set_by_hand_is_the_ceiling() -> None:
    state = held(unthrottled(20, 5, 0), 31, 50)
    assert (state.ceiling, state.outer, state.running) == (6, 6, 20)
    assert held(state, 3, 50).outer == 1
    later = held(held(state, 3, 50), 100, 60)
    assert (later.ceiling, later.outer) == (20, 20)


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 40)), max_size=200), st.integers(1, 30), st.integers(1, 5))
def test_it_stays_between_one_and_the_ceiling(events: list[tuple[bool, float]], ceiling: int, inner: int) -> None:
    now, lowered_at = 0.0, -PAUSE
    state = unthrottled(ceiling, inner, now)
    for is_refused, passed in events:
        now += passed
        after = throttled(state, now) if is_refused else finished(state, 30, now)
        assert 1 <= after.outer <= ceiling
        if after.outer < state.outer:
            assert now - lowered_at >= PAUSE
            lowered_at = now
        state = after


# --- against a hidden limit: 100 rows in flight as 20 chunks of 5, the waits of service/throttling.py -----------------


def run(seconds: float, *, governed: bool = True, halved_at: float = float("inf"), **limit: int) -> Batch:
    random.seed(7)
    return Batch(Target(seconds, halved_at=halved_at, **limit), governed=governed).run(HOUR)


def taken(batch: Batch, since: float) -> float:
    """Rows a second, as a share of the most that the target and 100 slots allow."""
    return sum(moment >= since for moment in batch.answered) / (HOUR - since) / batch.target.most(100)


def refusals(batch: Batch, since: float) -> float:
    """Refused calls of all calls."""
    no, yes = (sum(moment >= since for moment in calls) for calls in (batch.refused, batch.answered))
    return no / (no + yes)


@pytest.mark.parametrize(
    ("seconds", "limit"),
    [
        (1, {"per_minute": 300}),
        (1, {"per_minute": 600}),
        (1, {"per_minute": 1_200}),
        (1, {"per_minute": 3_000}),
        (10, {"per_minute": 300}),
        (10, {"per_minute": 600}),
        (10, {"in_flight": 50}),
    ],
)
def test_it_settles_at_the_limit(seconds: float, limit: dict[str, int]) -> None:
    batch = run(seconds, **limit)
    assert taken(batch, 900) >= 0.9
    assert refusals(batch, 60) < 0.05
    assert batch.given_up == 0


@pytest.mark.parametrize(
    ("seconds", "limit", "least"),
    [
        (1, {"per_minute": 1_200}, 0.9),
        (1, {"per_minute": 3_000}, 0.9),
        (10, {"per_minute": 600}, 0.9),
        (1, {"per_minute": 600}, 0.8),  # of 300 left, one chunk takes 83 %, and two are too many
        (10, {"per_minute": 300}, 0.7),  # of 150 left: the 5 chunks that it takes are found slowly
        (10, {"in_flight": 50}, 0.8),
    ],
)
def test_it_settles_anew_when_the_limit_is_halved(seconds: float, limit: dict[str, int], least: float) -> None:
    """Two minutes after it was halved, and for half an hour."""
    batch = run(seconds, halved_at=HOUR / 2, **limit)
    assert 2 * taken(batch, HOUR / 2 + 120) >= least
    assert refusals(batch, HOUR / 2 + 120) < 0.05
    assert batch.given_up == 0


@pytest.mark.parametrize("in_flight", [10, 12, 20, 50])
def test_short_rows_against_a_number_in_flight(in_flight: int) -> None:
    """Of 1 s each, a refused row waits ten times as long as it would work: 100 slots alone take 72 to 81 % of such a
    limit, with 6 to 15 % of the calls refused. Governed, they take nearly as much, with fewer than 5 % refused."""
    alone, batch = run(1, governed=False, in_flight=in_flight), run(1, in_flight=in_flight)
    assert 0.7 < taken(alone, 900) < 0.85
    assert taken(batch, 900) > taken(alone, 900) - 0.15
    assert refusals(batch, 60) < 0.05 < refusals(alone, 60)


@pytest.mark.parametrize("in_flight", [10, 20])
def test_long_rows_begun_before_the_first_refusal_are_run_to_their_end(in_flight: int) -> None:
    """Of 10 s each, the 620 rows of the first 20 chunks take a target of 10 at once 10 minutes and more, in which
    their retries are refused whatever is decided; what is refused after that is what can be told."""
    alone, batch = run(10, governed=False, in_flight=in_flight), run(10, in_flight=in_flight)
    assert refusals(batch, 60) > 0.05
    assert refusals(batch, 1_800) < 0.6 * refusals(alone, 1_800)


def test_one_chunk_may_be_too_much() -> None:
    """5 rows of 1 s are 250 calls a minute: a target that takes 60 refuses more than 5 % whatever is decided."""
    batch = run(1, per_minute=60)
    assert min(outer for _, outer in batch.outers) == 1
    assert refusals(batch, 60) > 0.05


def test_a_batch_that_is_not_throttled_is_let_alone() -> None:
    batch = run(1, per_minute=100_000)
    assert (batch.writes, batch.outers) == (0, [])
