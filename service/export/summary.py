"""What was written of a batch: counts by status, errors grouped by cause, and how many fields have a value."""

from __future__ import annotations

from collections import Counter
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from service.causes import Causes
from service.export.fill_rates import Seen
from service.export.lines import cause_of
from service.models import RowStatus, empty_counts, row_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.batch.absent_rows import AbsentRow
    from service.store.structs import Item

GROUPS = 20  # groups of errors in a summary
EXAMPLES = 5  # row ids in each
SLOWEST = 5  # rows that took longest
_STATE = 30_000  # characters of JSON that causes take on their way to the next invocation
_LONG_ID = 64  # characters of a row id that is one of several examples; ours have 14
_SUCCEEDED = (RowStatus.SUCCESS, RowStatus.UNKNOWN)  # whose results have fields


class Tally:
    """Counts of what was written, and its errors grouped by cause; `state` of an earlier one is gone on from."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        known = state or {}
        self.counts = {**empty_counts(), **known.get("counts", {})}
        self._causes: Causes[str] = Causes.of(known.get("causes"))
        self.slowest: list[tuple[int, str]] = [(int(took), str(row)) for took, row in known.get("slowest", ())]
        self.seen = Seen(known.get("seen"))

    @property
    def rows(self) -> int:
        """Lines so far."""
        return sum(self.counts.values())

    def results(self, items: Sequence[Item[Any, Any]]) -> None:
        """Count results."""
        for status, count in Counter(item.status.S for item in items).items():
            self.counts[status] = self.counts.get(status, 0) + count
        self._slowest_of(items)
        for item in items:
            if item.error is not None and (cause := cause_of(item)):
                self.failure(item.status.S, *cause, item.row_id.S)

    def _slowest_of(self, items: Sequence[Item[Any, Any]]) -> None:
        """Keep the rows that took longest: of most pages none is looked at twice."""
        least = str(self.slowest[-1][0]) if len(self.slowest) == SLOWEST else ""
        slow = [
            (int(item.execution_time_ms.N), item.row_id.S)
            for item in items
            if item.execution_time_ms is not None
            and (len(item.execution_time_ms.N), item.execution_time_ms.N) > (len(least), least)
            and item.execution_time_ms.N.isdigit()
            and len(item.row_id.S) <= _LONG_ID
        ]
        if slow:
            self.slowest = nlargest(SLOWEST, [*self.slowest, *slow])

    def absent(self, rows: Sequence[AbsentRow]) -> None:
        """Count rows without a result."""
        for entry in rows:
            self.counts[entry.status] += 1
            kind, message = entry.cause
            self.failure(entry.status, kind or entry.status, message, row_id(entry.number))

    def failure(self, status: str, error: str, message: str, identifier: str) -> None:
        """Return groups a row by its cause; its status is not counted."""
        examples = self._causes.add(status, error, message).examples
        if not examples or (len(examples) < EXAMPLES and len(identifier) <= _LONG_ID):
            examples.append(identifier)

    def groups(self, most: int = GROUPS) -> list[dict[str, Any]]:
        """Return groups of errors, the commonest first."""
        return [{**group.told(), "row_ids": group.examples} for group in self._causes.groups()[:most]]

    def fields(self) -> list[dict[str, Any]]:
        """How many of the rows that succeeded have a value for each field."""
        return self.seen.told(sum(self.counts.get(status, 0) for status in _SUCCEEDED))

    def state(self) -> dict[str, Any]:
        """Return what a later tally goes on from."""
        return {
            "counts": self.counts,
            "causes": self._causes.state(_STATE),
            "slowest": self.slowest,
            "seen": self.seen.state(),
        }
