"""What a report says of a batch: read once from its results, as they come, and from what is known of it."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.console.report import durations, shown_rows
from service.export.fill_rates import Seen
from service.models import OPEN, RowStatus, elapsed_ms, empty_counts, parse_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from service.console.report.shown_rows import Row
    from service.plan import Plan
    from service.store.structs import Item

NAMES_BESIDE = ("attempts",)  # attributes that are read beside those of service/store/structs.py
TABLE = 5_000  # rows in the table
SLOWEST = 10
_WITHOUT = (RowStatus.NOT_RUN.value, RowStatus.MISSING.value)


@dataclass
class Findings:
    """What was read of a batch's results; some 20 MB at most beside the cells of the rows that are shown."""

    rows: int = 0
    counts: dict[str, int] = field(default_factory=empty_counts)
    succeeded: durations.Times = field(default_factory=durations.Times)
    others: durations.Times = field(default_factory=durations.Times)
    moments: durations.Moments = field(default_factory=durations.Moments)
    causes: shown_rows.Causes = field(default_factory=shown_rows.Causes)
    seen: Seen = field(default_factory=Seen)
    failures: shown_rows.Spread = field(default_factory=lambda: shown_rows.Spread(TABLE))
    successes: shown_rows.Spread = field(default_factory=lambda: shown_rows.Spread(TABLE))
    _slowest: list[tuple[int, int, Row]] = field(default_factory=list)

    def add(self, page: Sequence[Item[Any, Any]]) -> None:
        """Count a page of results."""
        good = [item for item in page if item.status.S == RowStatus.SUCCESS]
        bad = [item for item in page if item.status.S != RowStatus.SUCCESS] if len(good) < len(page) else []
        for items, times, some in ((good, self.succeeded, self.successes), (bad, self.others, self.failures)):
            times.add(item.execution_time_ms.N for item in items if item.execution_time_ms is not None)
            stored = [item.timestamp.S for item in items if item.timestamp is not None]
            self.moments.add(stored, succeeded=items is good)
            some.offer(items)
        self.causes.add(bad)
        self.seen.maps(item.output_data.M or {} for item in good if item.output_data is not None)
        self.counts[RowStatus.SUCCESS] += len(good)
        for item in bad:
            self.counts[item.status.S] = self.counts.get(item.status.S, 0) + 1
        self._keep_slowest(page)
        self.rows += len(page)

    def _keep_slowest(self, page: Sequence[Item[Any, Any]]) -> None:
        floor = self._slowest[0][0] if len(self._slowest) == SLOWEST else -1
        for position, item in enumerate(page):
            took = shown_rows.milliseconds(item)
            if took is not None and took > floor:
                # Of rows that took as long as each other the first ones are kept; rows themselves are not compared.
                entry = (took, -self.rows - position, shown_rows.row_of(item))
                if len(self._slowest) < SLOWEST:
                    heapq.heappush(self._slowest, entry)
                else:
                    heapq.heappushpop(self._slowest, entry)
                floor = self._slowest[0][0] if len(self._slowest) == SLOWEST else -1

    @property
    def slowest(self) -> list[Row]:
        """The rows that took longest, the longest first."""
        return [row for _, _, row in sorted(self._slowest, key=lambda entry: (-entry[0], -entry[1]))]

    def table(self) -> list[Row]:
        """Rows for the table: failures, all of them where there is room, then successes from all over the batch."""
        failures = self.failures.chosen(TABLE)
        return [*failures, *self.successes.chosen(TABLE - len(failures))]


def read(pages: Iterable[Sequence[Item[Any, Any]]], told: Callable[[int], None] = lambda _: None) -> Findings:
    """Everything that a report says of results; `told` is given how many were read so far."""
    found = Findings()
    for page in pages:
        found.add(page)
        told(found.rows)
    return found


def document(found: Findings, known: Mapping[str, Any], plan: Plan | None, made_at: str) -> dict[str, Any]:
    """Return the report as one JSON document; `known` is what `status --json` shows, `plan` the batch's own."""
    counts, pending = _counts(found, known)
    table = found.table()
    return {
        "batch_id": known["batch_id"],
        "made_at": made_at,
        "status": known["status"],
        "outcome": outcome(known, counts, pending),
        "target": known["target"],
        "source": known["source"],
        "row_count": known["row_count"],
        "counts": counts,
        "pending": pending,
        "adds_up": known["row_count"] is None or sum(counts.values()) + pending == known["row_count"],
        "started_at": known["started_at"],
        "ended_at": known["ended_at"],
        "duration_ms": _duration(known, made_at),
        "expires_at": known["expires_at"],
        "csv_location": known["csv_location"],
        "cost_usd": known.get("cost_usd"),
        "cost": known.get("cost"),
        "times": _times(found),
        "over_time": _over_time(found, known),
        "slowest": [row.to_json() for row in found.slowest],
        "errors": found.causes.groups(),
        "beside": [group for group in known["errors"] if group["status"] in _WITHOUT or not group["count"]],
        "fields": _fields(found, plan),
        "guarded_cells": known.get("guarded_cells", 0),
        "table": {"rows": len(table), "failures": sum(row.cause is not None for row in table), "of": found.rows},
        "mapping": None if plan is None else _mapping(plan),
    }


def _duration(known: Mapping[str, Any], made_at: str) -> int | None:
    """Milliseconds that all runs took together, the one that goes on until now."""
    runs, ended_at = known["runs"] or [{"started_at": known["started_at"]}], known["ended_at"] or made_at
    ends = [*(run.get("ended_at") for run in runs[:-1]), ended_at]
    spans = [elapsed_ms(run["started_at"], end) for run, end in zip(runs, ends, strict=True)]
    known_spans = [span for span in spans if span is not None]
    return sum(known_spans) if len(known_spans) == len(spans) else elapsed_ms(known["started_at"], ended_at)


def _counts(found: Findings, known: Mapping[str, Any]) -> tuple[dict[str, int], int]:
    """Rows by status, those without a result as the record says, and how many may still come."""
    counts = dict(found.counts)
    rest = max(0, (known["row_count"] or 0) - found.rows)
    if known["status"] in OPEN:
        return counts, rest
    counts["NOT_RUN"] += min(rest, known["counts"].get("NOT_RUN", 0))
    counts["MISSING"] += rest - min(rest, known["counts"].get("NOT_RUN", 0))
    return counts, 0


def outcome(known: Mapping[str, Any], counts: Mapping[str, int], pending: int) -> str:
    """How the batch went, in one sentence."""
    total, good = known["row_count"], counts["SUCCESS"]
    if total is None:
        return "The source is being read." if known["status"] in OPEN else "It could not run: no row was read."
    if total == 0:
        return "The source has no rows: there was nothing to run."
    others = {status: count for status, count in counts.items() if count and status != RowStatus.SUCCESS}
    bad = sum(others.values())
    if pending:
        failed = f", {bad:,} of them did not succeed ({_listed(others)})" if others else ""
        return f"It goes on: {total - pending:,} of {total:,} rows are done so far{failed}."
    so_far = "It goes on. So far " if known["status"] in OPEN else ""
    if not others:
        said = f"{so_far}{'the only row' if total == 1 else f'all {total:,} rows'} succeeded."
        return said[0].upper() + said[1:]
    if not good:
        return f"{so_far}0 of {total:,} rows succeeded: {_listed(others)}."
    return f"{so_far}{good:,} of {total:,} rows succeeded; {bad:,} did not: {_listed(others)}."


def _fields(found: Findings, plan: Plan | None) -> list[dict[str, Any]]:
    """How many of the rows that succeeded have a value for each field, in mapping order as far as that is known."""
    ordered = Seen()
    ordered.know((plan.output_columns if plan else None) or ())
    for name, count in found.seen.counts.items():
        ordered.add(name, count)
    return ordered.told(found.counts[RowStatus.SUCCESS])


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {status}" for status, count in counts.items())


def _times(found: Findings) -> dict[str, Any]:
    every = found.succeeded + found.others
    edges = durations.edges(every)
    return {
        "all": every.summary(),
        "succeeded": found.succeeded.summary(),
        "not_succeeded": found.others.summary(),
        "without": found.rows - every.count,
        "logarithmic": durations.is_wide(every),
        "edges_ms": edges,
        "bins_succeeded": found.succeeded.bins(edges) if edges else [],
        "bins_not_succeeded": found.others.bins(edges) if edges else [],
    }


def _over_time(found: Findings, known: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run that stored most of the rows, bucket by bucket, and how many each run stored."""
    starts = [round(parse_iso(run["started_at"]).timestamp() * 1000) for run in known["runs"] or []] or [0]
    runs = [{"run": number, "from_ms": start, "rows": 0} for number, start in enumerate(starts, 1)]
    for moment, good, bad in found.moments.stretches():
        runs[max(0, bisect_right(starts, moment) - 1)]["rows"] += good + bad
    largest = max(runs, key=lambda run: run["rows"])
    position = runs.index(largest)
    first = 0 if position == 0 else largest["from_ms"]
    last = runs[position + 1]["from_ms"] if position + 1 < len(runs) else None
    return {"run": largest["run"], **found.moments.buckets(first, last), "runs": runs}


def _mapping(plan: Plan) -> dict[str, Any]:
    names = ("input_mapping", "output_mapping", "output_columns", "timeout_seconds", "retry_policy", "keep_output")
    stored = plan.to_json()
    return {name: stored[name] for name in names}
