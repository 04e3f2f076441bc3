"""Results as they are stored: the same span of time read again and again, what was seen already left out."""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from service.models import now_iso, parse_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Row = dict[str, Any]

# A result's timestamp is made before its put. A put that is throttled and made again a few times (botocore waits up to
# 1, 2, 4 s between), the clock of another machine and the index, which is behind the table by less than a second as a
# rule, bring it later than its neighbours by no more than this.
OVERLAP = timedelta(seconds=10)
# A round is a request for each shard of timestamp-index, half a read unit when it finds nothing. At this pace that is
# 8 a second, a fifth of a US cent an hour, and rows come as fast as a person reads.
POLL_SECONDS = 2.0
# Without a new row for so long a round begins no further back: it would touch more days. Far above what clocks differ.
_QUIET = timedelta(hours=1)


def arriving(
    read: Callable[[str, str], Iterable[Row]],
    since: str,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Iterator[Row | None]:
    """Rows stored since a moment (ISO 8601 in UTC), without end: those of a round in the order of time, then None.

    `read` gives the rows of a span, both ends in it, in the order of time. The next round begins when the
    iterator is asked again: pause before (POLL_SECONDS). A result comes once, and again when another takes its place;
    one that is seen later than OVERLAP after its timestamp and after newer ones is lost.
    """
    first = newest = since
    known: set[tuple[str, str, str]] = set()
    while True:
        recent: deque[tuple[str, str, str]] = deque()  # of this round, those that the next one reads again
        for row in read(first, now_iso(now() + OVERLAP)):
            key = (row["timestamp"], row["batch_id"], row["row_id"])
            if key not in known:
                yield row
            recent.append(key)
            newest = row["timestamp"]
            again = _overlapped(newest, now())
            while recent and recent[0][0] < again:
                recent.popleft()
        first = max(first, _overlapped(newest, now()), now_iso(now() - _QUIET))
        known = {key for key in (*known, *recent) if key[0] >= first}
        yield None


def _overlapped(newest: str, now: datetime) -> str:
    """Where a round begins after this newest row; one from a clock ahead of ours hides none of its neighbours."""
    return now_iso(min(parse_iso(newest), now) - OVERLAP)
