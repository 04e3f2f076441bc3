"""What the pages of the web view say: a batch as it is now, its runs, its cells, in the words of the report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.console import display
from service.console.display import rate, rows_text
from service.console.report import wording
from service.console.report.shown_rows import CELL, visible
from service.console.report.summary import Findings, document, outcome
from service.models import OPEN, BatchStatus, RowStatus, elapsed_ms, row_number

if TYPE_CHECKING:
    from collections.abc import Mapping

WHOLE = 200_000  # characters of a cell, or of an output, on a row's own page
_LEAST = 0.8  # per cent of the bar that a part has at least, to be seen
_CELLS = 30  # cells of an input in a list
_WITHOUT = (RowStatus.NOT_RUN, RowStatus.MISSING)
_STOPPED = {
    "by hand": "stopped by hand",
    "limit": "limited to some rows",
    "sample": "a sample",
    "aborted": "its execution ended early",
    "max_failures": "too many failures",
    "max_failure_rate": "too large a share of failures",
    "max_cost_usd": "its budget is spent",
    "failing_alike": "its first rows all failed for one cause",
}


def view(known: Mapping[str, Any], now: str) -> dict[str, Any]:
    """Return a batch as `status --json` shows it, with what a report says of one beside it."""
    counts, total = known["counts"], known["row_count"]
    pending = max(0, (total or 0) - sum(counts.values())) if known["status"] in OPEN else 0
    return {
        **known,
        **document(Findings(), known, None, now),
        "errors": known["errors"],
        "fields": known["fields"],
        "counts": counts,
        "pending": pending,
        "outcome": outcome(known, counts, pending),
        "adds_up": total is None or sum(counts.values()) + pending == total,
        "is_open": known["status"] in OPEN,
    }


def pace(known: Mapping[str, Any]) -> str:
    """Rate and time left of a batch that is under way; "" where neither is known."""
    words = [rate(known["rate_per_s"])] if known["rate_per_s"] else []
    left = known["eta_s"]
    if left is not None:
        words.append(f"about {wording.took(1000 * left)} left" if left else "all rows are stored")
    return ", ".join(words)


def percent(known: Mapping[str, Any]) -> str:
    """How much of a batch is done, in whole per cent, rounded down."""
    return f"{100 * known['rows_done'] // known['row_count']} %" if known["row_count"] else ""


def bar(known: Mapping[str, Any]) -> list[tuple[str, float, float, str]]:
    """Class, beginning and width (per cent) and words of the parts of the bar of counts."""
    shares = wording.shares(known)
    total = sum(count for _, count in shares)
    widths = [max(100 * count / total, _LEAST) for _, count in shares]
    scale = 100 / sum(widths) if widths else 0
    begins = [scale * sum(widths[:number]) for number in range(len(widths))]
    return [
        (status_class(status), round(begin, 3), round(scale * width, 3), f"{status}: {count:,}")
        for (status, count), begin, width in zip(shares, begins, widths, strict=True)
    ]


def status_class(status: str) -> str:
    """Return the class that gives a row's status its colour."""
    if status == wording.PENDING:
        return "s-pending"
    return f"s-{status.lower() if status in RowStatus.__members__ else 'unknown'}"


def causes(known: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Errors of rows that have a result, grouped by cause."""
    return [group for group in known["errors"] if group["count"] and group["status"] not in _WITHOUT]


def runs(known: Mapping[str, Any], stop_reason: str | None, now: str) -> list[dict[str, Any]]:
    """Return the runs of a batch, the last one first: number, start, how long it took, how it ended."""
    found = []
    given = known["runs"] or []
    for place, run in enumerate(given, 1):
        last = place == len(given)
        ended_at = known["ended_at"] if last else run.get("ended_at")
        status = known["status"] if last else run.get("status")
        took = elapsed_ms(run["started_at"], ended_at or (now if last and known["is_open"] else None))
        reason = stop_reason if last else run.get("stop_reason")
        found.append(
            {
                "run": run["run"],
                "started": wording.instant(run["started_at"]),
                "took": wording.took(took),
                "status": status,
                "reason": _STOPPED.get(reason, reason) if reason else "",
            }
        )
    return found[::-1]


def commands(known: Mapping[str, Any], stack_name: str | None) -> list[tuple[str, str]]:
    """Return what can be done with a batch at the command line."""
    if known["status"] == BatchStatus.EXPIRED:
        return []
    found = wording.commands(known, stack_name)
    return [("A page of it, to keep or to pass on" if " report " in made else said, made) for said, made in found]


def source_name(uri: str | None) -> str:
    """Return a file's name where it was uploaded, else the whole URI."""
    return display.source_name(uri) if uri else "–"


def listed(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return a batch of the list: what `batches --json` shows, in words."""
    counts = entry["counts"]
    not_ok = None if counts is None or entry["status"] in OPEN else sum(counts.values()) - counts.get("SUCCESS", 0)
    started = wording.instant(entry["started_at"]).removesuffix(" UTC") if entry["started_at"] else "–"
    return {**entry, "not_ok": not_ok, "started": started, "source": source_name(entry["source_uri"])}


def cells(values: Mapping[str, Any] | None, most: int = CELL) -> dict[str, str]:
    """Cells as text, their control characters to be seen, `most` characters of each."""
    shown = list((values or {}).items())
    some = shown if most > CELL else shown[:_CELLS]
    made = {visible(name, most): visible(text(value), most) for name, value in some}
    if len(shown) > len(some):
        made["…"] = f"and {len(shown) - len(some):,} more"
    return made


def text(value: Any) -> str:
    """Return a cell's text: nested values as JSON, null as nothing."""
    if value is None or isinstance(value, str):
        return value or ""
    return json.dumps(value, ensure_ascii=False, default=str)


def label(row_id: str) -> str:
    """Return a row's number, or its id where that is of another form."""
    number = row_number(row_id)
    return visible(row_id, CELL) if number is None else f"{number:,}"


def failure(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row that did not succeed, for the list of them."""
    error = row["error"] or {}
    return {
        **row,
        "label": label(row["row_id"]),
        "kind": visible(str(error.get("type") or ""), CELL),
        "message": visible(str(error.get("message") or ""), 1_000),
        "cells": cells(row["input_data"]),
    }


def rows(count: int) -> str:
    """`1 row`, `3,708 rows`."""
    return rows_text(count)
