"""Which rows of a batch are run again: those that did not succeed, as far as they are asked for."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.batch.absence import Absence
from service.errors import BatchRefused, Problem, nearest
from service.models import COUNTED, RowStatus, row_number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App
    from service.record import BatchRecord

_ABSENT = (RowStatus.NOT_RUN, RowStatus.MISSING)
_CHOICES = [status.value for status in (*COUNTED, RowStatus.UNKNOWN) if status is not RowStatus.SUCCESS]
_RANGE = re.compile(r"\s*(\d{1,10})\s*(?:-\s*(\d{1,10})\s*)?")


@dataclass(frozen=True)
class Wanted:
    """Statuses and ranges of row numbers that are asked for; None is all of them."""

    statuses: frozenset[str] | None = None
    rows: tuple[tuple[int, int], ...] | None = None

    def has(self, number: int, status: str) -> bool:
        """Whether a row is asked for."""
        if self.statuses is not None and status not in self.statuses:
            return False
        return self.rows is None or any(first <= number <= last for first, last in self.rows)


def read_wanted(statuses: Any, rows: Any) -> Wanted:
    """Return what `status` (a name or a list of them) and `rows` (`7,12-40`) ask for; raises BatchRefused."""
    problems: list[Problem] = []
    named = [statuses] if isinstance(statuses, str) else statuses or []
    if not isinstance(named, list | tuple) or not all(isinstance(one, str) for one in named):
        problems.append(Problem("status", "is the name of a status, or a list of such names"))
        named = []
    for one in named:
        if one == RowStatus.SUCCESS:
            problems.append(Problem("status", "rows that succeeded are not run again: nothing would be stored"))
        elif one not in _CHOICES:
            problems.append(Problem("status", f"there is no status {one!r}; {nearest(one, _CHOICES)}"))
    ranges: list[tuple[int, int]] = []
    for part in str(rows).split(",") if rows is not None else ():
        match = _RANGE.fullmatch(part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not 1 <= first <= last:
            problems.append(Problem("rows", f"{part.strip()!r} is no row number or range of them, such as 7 or 12-40"))
        ranges.append((first, last))
    if problems:
        raise BatchRefused(problems)
    return Wanted(frozenset(named) or None, tuple(ranges) if rows is not None else None)


@dataclass
class Selection:
    """Row numbers in ascending order by how often they were run before, and how many there are of each status."""

    rows: dict[int, array[int]] = field(default_factory=dict)
    selected: Counter[str] = field(default_factory=Counter)
    counts: Counter[str] = field(default_factory=Counter)  # of the whole batch
    succeeded: int = 0  # rows asked for that did, and are left alone

    @property
    def count(self) -> int:
        """How many rows are run again."""
        return self.selected.total()

    def add(self, number: int, status: str, attempts: int) -> None:
        """Select a row."""
        self.selected[status] += 1
        self.rows.setdefault(attempts, array("q")).append(number)

    def kept(self) -> dict[str, int]:
        """Count of the rows that are not run again."""
        return {status: count - self.selected[status] for status, count in self.counts.items()}


def select(app: App, record: BatchRecord, wanted: Wanted, limit: int | None = None) -> Selection:
    """Return the rows of an ended batch that did not succeed and are asked for, the first `limit` of them.

    Where every row has a result, `status-index` names those that failed, and nothing else is read. Its answer counts
    only if it names as many as the record: an index is consistent a moment later. Else all keys are read, and also for
    who asks for rows without a result: some may be gone that the record counts.
    """
    counts = record.counts or {}
    whole = bool(counts) and record.counts_exact and not any(counts.get(status) for status in _ABSENT)
    if whole and not (wanted.statuses or frozenset()).intersection(_ABSENT):
        selection = Selection(counts=Counter(counts))
        found: Counter[str] = Counter()
        for number, status, attempts in _failed(app, record):
            found[status] += 1
            if wanted.has(number, status) and selection.count != limit:
                selection.add(number, status, attempts)
        if all(found[status] == count for status, count in counts.items() if status != RowStatus.SUCCESS):
            selection.succeeded = _succeeded(wanted, record, selection)
            return selection
    selection = Selection()
    for number, status, attempts in _all(app, record):
        selection.counts[status] += 1
        if status != RowStatus.SUCCESS:
            if wanted.has(number, status) and selection.count != limit:
                selection.add(number, status, attempts)
        elif wanted.rows is not None and wanted.statuses is None and wanted.has(number, status):
            selection.succeeded += 1
    return selection


def _succeeded(wanted: Wanted, record: BatchRecord, selection: Selection) -> int:
    """Rows asked for by number that succeeded: every other one of them is selected."""
    if wanted.rows is None or wanted.statuses is not None:
        return 0
    asked, counted = 0, 0
    for first, last in sorted(wanted.rows):
        end = min(last, record.rows)
        asked += max(0, end - max(first - 1, counted))
        counted = max(counted, end)
    return asked - selection.count


def _failed(app: App, record: BatchRecord) -> Iterator[tuple[int, str, int]]:
    """Yield number, status and runs of the rows that did not succeed, in row order."""
    rows = ((row_number(name), status, attempts) for name, status, attempts in app.store.failed(record.batch_id))
    yield from sorted((number, status, attempts) for number, status, attempts in rows if number is not None)


def _all(app: App, record: BatchRecord) -> Iterator[tuple[int, str, int]]:
    """Yield the same of every row of the batch, with or without a result."""
    last, absence, due = record.rows, Absence(app, record), 1
    for page in app.reader.pages(record.batch_id, last_row=last, names=("row_id", "status", "attempts", "ttl")):
        for item in page:
            number = row_number(item.row_id.S)
            if number is None or not due <= number <= last:
                continue  # written by something else: the CSV will name it
            yield from ((absent, absence.of(absent).value, 0) for absent in range(due, number))
            yield number, item.status.S, 1 if item.attempts is None else int(item.attempts.N)
            due = number + 1
    yield from ((absent, absence.of(absent).value, 0) for absent in range(due, last + 1))
