"""The waits of a row whose call met throttling: each longer than the one before, as many as a time allows."""

from __future__ import annotations

import itertools
import math
import random

THROTTLED_SECONDS = 1_800  # that a row may wait for throttling where the batch names no time
LONGEST_STATED_WAIT = 3_600  # seconds that a target may ask for: after a longer wait the row is better run again
_FIRST, _FACTOR, _LONGEST = 10, 4, 900  # seconds: 10, 40, 160, 640, then 900 each
_SHORTEST_SHARE = 0.75  # of a span: jitter takes a quarter at most, so the number of waits tells the time that passed


def throttle_seconds(waits: int, stated: float | None = None) -> int:
    """Return the seconds before a throttled call is made again, after `waits` such waits.

    Three quarters of a span to the whole of it; as long as the target asks for where that is longer.
    """
    span = _span(waits)
    drawn = math.ceil(random.uniform(_SHORTEST_SHARE * span, span))  # noqa: S311 - spreads load, keeps no secret
    return max(drawn, stated_wait(stated))


def throttle_waits(budget_seconds: float) -> int:
    """Return how many waits a row has: as many as could begin before the budget has passed.

    That is with waits as short as jitter may make them. The last one may end later than the budget.
    """
    passed = 0.0
    for waits in itertools.count():
        if passed >= budget_seconds:
            return waits
        passed += _SHORTEST_SHARE * _span(waits)
    raise AssertionError("unreachable: the count has no end")


def waits_after(waits: int, seconds: float) -> int:
    """Return the number of waits after one of `seconds`: a long one, as a target asks for, counts as several."""
    passed = 0.0
    while passed < seconds:
        passed += _span(waits)
        waits += 1
    return waits


def stated_wait(seconds: float | None) -> int:
    """Return the whole seconds to wait when a target asks for so many: up to a tenth longer, so that rows spread."""
    if seconds is None:
        return 0
    return math.ceil(seconds + random.uniform(0, max(1, seconds / 10)))  # noqa: S311


def _span(waits: int) -> int:
    return min(_LONGEST, _FIRST * int(_FACTOR ** min(waits, 9)))
