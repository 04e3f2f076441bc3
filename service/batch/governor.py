"""How many chunks of a running batch are at work: fewer while its target throttles, more again when it takes all calls.

Additive increase, multiplicative decrease, in steps of a chunk, each of which has `inner` rows in flight. A lowered
number interrupts nothing: chunks at work are run to their end, and none takes their place. A few refused calls are no
harm: without any, nobody knows whether the target would take more. Everything here is pure; what is kept, and how a
Map Run is told, stands in `service/batch/governed_run.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

PAUSE = 5.0  # seconds of counting before the first decrease; rows that were refused come again after 8 to 10
WINDOW = 30.0  # seconds of counting before any other change
_LONGEST_WINDOW = 480.0  # before an increase, after increases that went wrong again and again
_FORGOTTEN = 120.0  # seconds after which counting begins anew, so that what was long ago counts no more
MANY, FEW = 0.05, 0.02  # refused calls of all calls: above the one fewer chunks, below the other one more


@dataclass(frozen=True, slots=True)
class Governing:
    """Where the concurrency of one run of a batch stands; times are seconds since 1970.

    `inner`: rows in flight in each chunk. `outer`: chunks that there should be, from 1 to `ceiling`. `before`: chunks
    at work, at most, when counting began at `since`: of `refused` calls, of chunks `ended` and their `rows`. `window`:
    seconds of counting before the next increase. `trying`: whether the last change was an increase. `lowered`: whether
    there was a decrease yet.
    """

    inner: int
    ceiling: int
    outer: int
    before: int
    since: float
    refused: int = 0
    ended: int = 0
    rows: int = 0
    window: float = WINDOW
    trying: bool = False
    lowered: bool = False

    @property
    def running(self) -> int:
        """Chunks at work at most: more than `outer` while those of before a decrease end."""
        return max(self.outer, self.before - self.ended)

    @property
    def share(self) -> float:
        """Refused calls of all that were counted."""
        return self.refused / max(1, self.refused + self.rows)


def unthrottled(ceiling: int, inner: int, now: float) -> Governing:
    """Return the state of a run that has met no throttling yet: as many chunks as its order allows."""
    return Governing(inner=inner, ceiling=ceiling, outer=ceiling, before=ceiling, since=now)


def throttled(state: Governing, now: float) -> Governing:
    """Return the state after a refused call: counted, or with another number of chunks."""
    counted = replace(state, refused=state.refused + 1)
    return decided(counted, now) or counted


def finished(state: Governing, rows: int, now: float) -> Governing:
    """Return the state after a chunk of so many rows has ended: counted, or with another number of chunks."""
    counted = replace(state, rows=state.rows + rows, ended=state.ended + 1)
    return decided(counted, now) or counted


def decided(state: Governing, now: float) -> Governing | None:
    """Return the state with another number of chunks, or with counting begun anew; None when counting goes on."""
    passed = now - state.since
    if not state.lowered and PAUSE <= passed < WINDOW and state.refused >= state.inner and not state.rows:
        # Rows that were refused within a few seconds wait: what does not wait is what the target takes.
        taken = state.running * state.inner - state.refused
        return _lowered(state, min(state.outer - 1, round(taken / state.inner)), now)
    if passed < WINDOW:
        return None
    if state.share > MANY and state.refused >= state.inner:
        if state.running > state.outer:  # the last decrease has not shown yet
            return _anew(state, now)
        return _lowered(state, min(state.outer - 1, int(state.outer * (1 - state.share / 2))), now)
    if state.share < FEW and passed >= state.window and state.outer < state.ceiling:
        # Chunks that only wait for their last rows count as well: more than there should be are at work, all is taken.
        outer = min(state.ceiling, state.running + 1)
        window = max(WINDOW, state.window / 2) if state.trying else state.window
        return _anew(replace(state, outer=outer, window=window, trying=True), now)
    return _anew(state, now) if passed >= max(_FORGOTTEN, state.window) else None


def held(state: Governing, rows_in_flight: int, now: float) -> Governing:
    """Return the state with a ceiling set by hand: so many rows in flight, or one chunk's where that is more."""
    ceiling = max(1, rows_in_flight // state.inner)
    return _anew(replace(state, ceiling=ceiling, outer=ceiling, window=WINDOW, trying=False, lowered=True), now)


def _lowered(state: Governing, outer: int, now: float) -> Governing:
    window = min(_LONGEST_WINDOW, 2 * state.window) if state.trying else state.window
    return _anew(replace(state, outer=max(1, outer), window=window, trying=False, lowered=True), now)


def _anew(state: Governing, now: float) -> Governing:
    running = max(state.outer, state.before - state.ended)
    return replace(state, before=running, since=now, refused=0, ended=0, rows=0)
