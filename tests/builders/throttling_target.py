"""A batch against a target with a hidden limit, in virtual time: rows, chunks, a Map Run, and HandleFailure's waits."""

from __future__ import annotations

import heapq
import itertools
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from service.batch.governor import Governing, finished, throttled, unthrottled
from service.throttling import throttle_seconds, throttle_waits

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_ROWS = 31
OVERHEAD = 0.2  # seconds of a row beside its call: the result is written
REFUSED_SECONDS = 0.1  # until a call is refused


@dataclass
class Target:
    """Refuses calls beyond so many a minute (with a burst of ten seconds' worth), or beyond so many in flight."""

    seconds: float
    per_minute: float | None = None
    in_flight: int | None = None
    halved_at: float = float("inf")  # from then on half of the limit
    working: int = 0
    tokens: float = 0.0
    filled_at: float = 0.0

    def __post_init__(self) -> None:
        self.tokens = (self.per_minute or 0) / 6

    def takes(self, now: float) -> bool:
        share = 0.5 if now >= self.halved_at else 1
        if self.in_flight is not None and self.working >= share * self.in_flight:
            return False
        if self.per_minute is not None:
            grown = self.tokens + (now - self.filled_at) * share * self.per_minute / 60
            self.tokens, self.filled_at = min(share * self.per_minute / 6, grown), now
            if self.tokens < 1:
                return False
            self.tokens -= 1
        self.working += 1
        return True

    def most(self, slots: int) -> float:
        """Rows a second that it and a batch with so many slots allow."""
        rates = [slots / (self.seconds + OVERHEAD)]
        if self.per_minute is not None:
            rates.append(self.per_minute / 60)
        if self.in_flight is not None:
            rates.append(self.in_flight / self.seconds)
        return min(rates)


@dataclass
class Batch:
    """One run: `answered` and `refused` are the times of calls, `outers` what a governor set, and when."""

    target: Target
    ceiling: int = 20
    inner: int = 5
    rows: int = 10**9
    governed: bool = True
    answered: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    outers: list[tuple[float, int]] = field(default_factory=list)
    given_up: int = 0
    writes: int = 0

    def run(self, until: float) -> Batch:
        """Run for so many seconds of virtual time."""
        self._now, self._order, self._events = 0.0, itertools.count(), []
        self._state = unthrottled(self.ceiling, self.inner, 0.0)
        self._chunks, self._left, self._most = 0, self.rows, throttle_waits(3_600)
        self._fill()
        while self._events and self._events[0][0] <= until:
            self._now, _, action = heapq.heappop(self._events)
            action()
        return self

    def _later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (self._now + seconds, next(self._order), action))

    def _fill(self) -> None:
        while self._chunks < self._state.outer and self._left > 0:
            self._chunks += 1
            rows = [0] * min(CHUNK_ROWS, self._left)
            self._left -= len(rows)
            chunk = [len(rows), self.inner, len(rows)]
            for _ in range(self.inner):
                self._later(random.uniform(0, 0.5), lambda chunk=chunk: self._next(chunk))

    def _next(self, chunk: list[int]) -> None:
        if chunk[0]:
            chunk[0] -= 1
            self._call(chunk, 0)
            return
        chunk[1] -= 1
        if not chunk[1]:
            self._chunks -= 1
            if self.writes:
                self._learn(lambda state, now: finished(state, chunk[2], now))
            self._fill()

    def _call(self, chunk: list[int], waits: int) -> None:
        if self.target.takes(self._now):
            self.answered.append(self._now)
            self._later(self.target.seconds * random.uniform(0.8, 1.2), lambda: self._answered(chunk))
        else:
            self.refused.append(self._now)
            self._later(REFUSED_SECONDS, lambda: self._refused(chunk, waits))

    def _answered(self, chunk: list[int]) -> None:
        self.target.working -= 1
        self._later(OVERHEAD, lambda: self._next(chunk))

    def _refused(self, chunk: list[int], waits: int) -> None:
        self._learn(throttled)
        if waits < self._most:
            self._later(throttle_seconds(waits, None), lambda: self._call(chunk, waits + 1))
        else:
            self.given_up += 1
            self._next(chunk)

    def _learn(self, event: Callable[[Governing, float], Governing]) -> None:
        if not self.governed:
            return
        if not self.writes:  # the first throttling
            self._state = unthrottled(self.ceiling, self.inner, self._now)
        self.writes += 1
        state = event(self._state, self._now)
        if state.outer != self._state.outer:
            self.outers.append((self._now, state.outer))
        self._state = state
        self._fill()
