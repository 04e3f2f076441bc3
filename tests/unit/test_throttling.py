"""How long, and how often, a row waits for throttling."""

from __future__ import annotations

import random

import pytest

from service.throttling import stated_wait, throttle_seconds, throttle_waits


def test_waits_grow_fourfold_up_to_a_quarter_of_an_hour() -> None:
    random.seed(1)
    for waits, longest in enumerate([10, 40, 160, 640, 900, 900]):
        drawn = [throttle_seconds(waits, None) for _ in range(300)]
        assert 0.75 * longest <= min(drawn)
        assert max(drawn) <= longest
        assert len(set(drawn)) > 2, "rows spread"
    assert throttle_seconds(10**6, None) <= 900


@pytest.mark.parametrize("stated", [0.2, 20, 600, 3_600])
def test_a_stated_wait_is_honoured(stated: float) -> None:
    random.seed(1)
    drawn = [throttle_seconds(0, stated) for _ in range(300)]
    assert min(drawn) >= stated
    assert max(drawn) <= max(10, 1.1 * stated + 1)
    assert all(stated <= stated_wait(stated) <= 1.1 * stated + 2 for _ in range(300))


@pytest.mark.parametrize(("budget", "waits"), [(0, 0), (1, 1), (10, 2), (600, 4), (3_600, 9), (86_400, 132)])
def test_a_budget_of_time_is_so_many_waits(budget: int, waits: int) -> None:
    assert throttle_waits(budget) == waits


def test_no_row_waits_longer_than_its_waits_allow() -> None:
    """As a step counts them, so the history has room: with the shortest waits there is still one begun in time."""
    random.seed(1)
    for budget in (60, 600, 3_600, 20_000):
        for _ in range(50):
            passed, waits = 0, 0
            while passed < budget:
                passed += throttle_seconds(waits, None)
                waits += 1
            assert waits <= throttle_waits(budget)
