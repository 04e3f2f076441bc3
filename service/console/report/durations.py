"""How long rows took and when they were stored, counted in bounded memory however many there are."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from typing import TYPE_CHECKING, Any

from service.models import parse_iso

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

EXACT = 100_000  # different durations that are told apart; beyond, three digits of each are kept
_MOMENTS = 20_000  # different moments that are told apart; beyond, they are counted by longer stretches
_STRETCHES = {21: 100, 19: 1_000, 18: 10_000, 16: 60_000, 15: 600_000, 13: 3_600_000, 10: 86_400_000}
_ZERO = "0000-01-01T00:00:00.000"  # what the rest of an ISO text is taken to be, after its first characters
_MINUTE, _HOUR, _DAY = 60_000, 3_600_000, 86_400_000
STEPS = (
    *(100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000),
    *(count * _MINUTE for count in (1, 2, 5, 10, 15, 30)),
    *(count * _HOUR for count in (1, 2, 3, 6, 12)),
    *(count * _DAY for count in (1, 2, 7)),
)  # milliseconds
_WIDE = 30  # times as long as the shortest: from there on bins grow with the durations


class Times:
    """Durations in whole milliseconds: exact while at most EXACT of them differ, then to three digits (0.5 %)."""

    def __init__(self) -> None:
        self.exact = True
        self._counts: Counter[int] = Counter()
        self._ends: tuple[int, ...] = ()  # the least and the greatest of all, exact

    def add(self, texts: Iterable[str]) -> None:
        """Count durations as DynamoDB spells numbers; a part of a millisecond is left away."""
        fresh: Counter[int] = Counter()
        for text, count in Counter(texts).items():
            fresh[max(0, int(float(text)))] += count
        self._counts.update(fresh)
        self._ends = _ends((*self._ends, *fresh))
        if len(self._counts) > EXACT:
            self.exact = False
            coarse: Counter[int] = Counter()
            for value, count in self._counts.items():
                coarse[_three_digits(value)] += count
            self._counts = coarse

    def __add__(self, other: Times) -> Times:
        both = Times()
        both.exact = self.exact and other.exact
        both._counts = self._counts + other._counts
        both._ends = _ends(self._ends + other._ends)
        return both

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self._counts.values())

    def quantile(self, share: float) -> int | None:
        """Return the duration that this share of all does not exceed (nearest rank); None of none."""
        rank = max(1, math.ceil(share * self.count))
        for value in sorted(self._counts):
            rank -= self._counts[value]
            if rank <= 0:
                return min(max(value, self._ends[0]), self._ends[1])
        return None

    def summary(self) -> dict[str, Any]:
        """Count, and minimum, median, 95th percentile and maximum in milliseconds (None of none)."""
        least, greatest = self._ends or (None, None)
        return {
            "count": self.count,
            "min_ms": least,
            "median_ms": self.quantile(0.5),
            "p95_ms": self.quantile(0.95),
            "max_ms": greatest,
            "exact": self.exact,
        }

    def bins(self, edges: Sequence[int]) -> list[int]:
        """How many durations lie between each edge and the next one; what lies outside is in the outermost bins."""
        found = [0] * (len(edges) - 1)
        for value, count in self._counts.items():
            found[min(max(bisect_right(edges, value) - 1, 0), len(found) - 1)] += count
        return found


def _enough(count: int, most: int) -> int:
    """How many bars so many rows are worth: a few for a few of them, at most `most`."""
    return min(most, max(10, math.isqrt(4 * count)))


def _ends(values: tuple[int, ...]) -> tuple[int, ...]:
    return (min(values), max(values)) if values else ()


def _three_digits(value: int) -> int:
    unit = int(10 ** max(0, len(str(value)) - 3))
    return (value + unit // 2) // unit * unit


def is_wide(times: Times) -> bool:
    """Whether durations differ so much that bins and axis grow with them."""
    known = times.summary()
    return known["max_ms"] is not None and bool(known["max_ms"] >= _WIDE * max(1, known["min_ms"]))


def edges(times: Times) -> list[int]:
    """Return the edges of bins, whole milliseconds, round numbers where they are evenly spaced; [] of no times."""
    known = times.summary()
    if known["max_ms"] is None:
        return []
    most = _enough(known["count"], 40)
    least, greatest = known["min_ms"], known["max_ms"]
    if is_wide(times):
        least = max(1, least)
        each = max(1, int(most / math.log10((greatest + 1) / least)))  # bins for a tenfold
        first, last = math.floor(math.log10(least) * each), math.ceil(math.log10(greatest + 1) * each)
        return sorted({max(1, round(10 ** (number / each))) for number in range(first, last + 1)})
    step = _round_step((greatest - least + 1) / most)
    return list(range(least // step * step, greatest + step + 1, step))


def _round_step(least: float) -> int:
    """1, 2 or 5 times a power of ten, not less than `least`."""
    power = int(10 ** max(0, math.floor(math.log10(least))))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least)


class Moments:
    """When rows were stored, as ISO texts: to a tenth of a second, or as closely as there is room for."""

    def __init__(self) -> None:
        self._kept = max(_STRETCHES)  # characters of the text
        self._counts: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}

    def add(self, texts: Iterable[str], *, succeeded: bool) -> None:
        """Count moments of rows that succeeded, or of rows that did not."""
        self._counts[succeeded].update([text[: self._kept] for text in texts])
        while max(map(len, self._counts.values())) > _MOMENTS and self._kept > min(_STRETCHES):
            self._kept = max(length for length in _STRETCHES if length < self._kept)
            for which, counts in self._counts.items():
                shorter: Counter[str] = Counter()
                for text, count in counts.items():
                    shorter[text[: self._kept]] += count
                self._counts[which] = shorter

    def stretches(self) -> list[tuple[int, int, int]]:
        """Epoch milliseconds, rows that succeeded and rows that did not, in the order of time."""
        found: dict[int, list[int]] = {}
        for succeeded, counts in self._counts.items():
            for text, count in counts.items():
                try:
                    moment = round(parse_iso(text + _ZERO[len(text) :] + "+00:00").timestamp() * 1000)
                except ValueError:  # no time of ours: a plain event may hold any
                    continue
                found.setdefault(moment, [0, 0])[0 if succeeded else 1] += count
        return [(moment, good, bad) for moment, (good, bad) in sorted(found.items())]

    def buckets(self, first: int = 0, last: int | None = None) -> dict[str, Any]:
        """Rows stored between two moments (epoch milliseconds), in buckets of a round length, empty ones too."""
        inside = [one for one in self.stretches() if first <= one[0] and (last is None or one[0] < last)]
        if not inside:
            return {"step_ms": None, "from_ms": None, "succeeded": [], "not_succeeded": []}
        finest = _STRETCHES[self._kept]
        fits = [step for step in STEPS if step % finest == 0]
        span = inside[-1][0] - inside[0][0] + finest
        most = _enough(sum(good + bad for _, good, bad in inside), 60)
        step = next((step for step in fits if span <= step * most), fits[-1])
        begin = inside[0][0] // step * step
        length = (inside[-1][0] - begin) // step + 1
        succeeded, others = [0] * length, [0] * length
        for moment, good, bad in inside:
            succeeded[(moment - begin) // step] += good
            others[(moment - begin) // step] += bad
        return {"step_ms": step, "from_ms": begin, "succeeded": succeeded, "not_succeeded": others}
