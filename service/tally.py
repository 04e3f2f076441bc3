"""What was written of a batch: counts by status, and errors grouped by cause."""

from __future__ import annotations

import json
from collections import Counter
from heapq import nlargest
from typing import TYPE_CHECKING, Any

from service.lines import cause_of
from service.models import RowStatus, empty_counts, row_id

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.gaps import Bare
    from service.wire import Item

GROUPS = 20  # groups of errors in a summary
EXAMPLES = 5  # row ids in each
SLOWEST = 5  # rows that took longest
_GROUPS_KEPT = 30  # groups followed while reading: the commonest are chosen at the end
_MESSAGE = 300  # characters of a message in a summary
_TYPE = 100  # characters of an error's name there
_LONG_ID = 64  # characters of a row id that is one of several examples; ours have 14


class Tally:
    """Counts of what was written, and its errors grouped by cause."""

    def __init__(
        self,
        counts: Mapping[str, int] | None = None,
        errors: list[dict[str, Any]] | None = None,
        slowest: list[list[Any]] | None = None,
    ) -> None:
        self.counts = {**empty_counts(), **(counts or {})}
        self._groups: dict[tuple[str, str, str], dict[str, Any]] = {
            (group["status"], group["error"], group["message"]): {**group, "row_ids": [*group["row_ids"]]}
            for group in errors or []
        }
        self.slowest: list[tuple[int, str]] = [(int(took), str(row)) for took, row in slowest or ()]

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
        """Keeps the rows that took longest: of most pages none is looked at twice."""
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

    def bare(self, rows: Sequence[Bare]) -> None:
        """Count rows without a result."""
        for entry in rows:
            self.counts[entry.status] += 1
            missing = entry.status == RowStatus.MISSING
            why = "no result, though it should have one" if missing else "the batch was stopped early"
            self.failure(entry.status, entry.status, why, row_id(entry.number))

    def failure(self, status: str, error: str, message: str, identifier: str) -> None:
        """Groups a row by its cause, or by a wider one when there is no room left for it; its status is not counted."""
        key = (status, _cut(error, _TYPE), _cut(message, _MESSAGE))
        for wider in (key, (status, key[1], "other messages"), (status, "other errors", "other messages")):
            key = wider
            if key in self._groups or len(self._groups) < _GROUPS_KEPT:
                break
        empty = {"status": key[0], "error": key[1], "message": key[2], "count": 0, "row_ids": []}
        group = self._groups.setdefault(key, empty)
        group["count"] += 1
        examples = group["row_ids"]
        if not examples or (len(examples) < EXAMPLES and len(identifier) <= _LONG_ID):
            examples.append(identifier)

    def groups(self, most: int = GROUPS) -> list[dict[str, Any]]:
        """Groups of errors, the commonest first."""
        return sorted(self._groups.values(), key=lambda group: -group["count"])[:most]

    def kept(self) -> list[dict[str, Any]]:
        """All groups, in the order in which they came up: what a tally goes on from."""
        return list(self._groups.values())


def _cut(text: str, most: int) -> str:
    """The text, cut at `most` characters, or sooner where their escapes make it long as JSON (Lambda writes ASCII)."""
    kept = text[:most]
    while len(json.dumps(kept)) > 5 * most:
        kept = kept[: len(kept) * 3 // 4]
    return kept if len(kept) == len(text) else kept[:-1] + "…"
