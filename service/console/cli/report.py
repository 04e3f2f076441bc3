"""The command that makes a page of a batch."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.batch.progress import BatchExpired
from service.console import batch_status, display, runs, saving, stacks
from service.console.cli import results
from service.console.cli.common import common, examples, force_option, may_replace, open_stack, output_option
from service.console.cli.complete import batch_argument
from service.errors import BatchRefused, Problem
from service.models import now_iso
from service.store.structs import ATTRIBUTES

if TYPE_CHECKING:
    from service.console.report.summary import Findings

_PAGES = frozenset({".html", ".htm", ""})
_MADE_BY, _HEAD = b'name="generator" content="batch-processor ', 2_000  # in the first bytes of every report
_MANY = 20_000  # rows from which on it is told how far the reading is


@click.command(epilog=examples("batch-processor report last", "batch-processor report last -o report.html"))
@batch_argument()
@output_option("FILE.html", "Where to, - is stdout; report.html without it.")
@force_option
@common
def report(batch: str, output: str | None, stack_name: str | None, *, force: bool, as_json: bool) -> int:
    """Make one page of a batch to look at and to pass on: outcome, times, causes, rows, mapping.

    The page loads nothing and needs no network. With --json the report's data are printed, and the page is written
    only where -o says so. A report that is there already is replaced.
    """
    from service.console.report.summary import document  # noqa: PLC0415 - other commands do without

    destination = output or (None if as_json else "report.html")
    if destination is not None:
        results.check_stdout(destination, as_json=as_json)
        _check(destination, force=force)
    stack = open_stack(stack_name)
    record = runs.find(stack, batch)
    known, cost = batch_status.status_and_cost(stack, record)
    if known["status"] == "EXPIRED":
        last = known["csv_location"] or "none was made"
        raise BatchExpired(f"the results of batch {known['batch_id']} have expired; its last CSV: {last}")
    plan = stack.app.plans.load(record.batch_id, record.plan_hash) if record.plan_hash else None
    found = _read(stack, known)
    known["cost"] = None if cost is None else {**cost.to_json(), "lines": cost.explain()}
    made = document(found, known, plan, now_iso())
    if as_json:
        display.print_json(made)
    if destination is not None:
        _write(destination, made, found, stacks.chosen(stack_name))
    return 0


def _check(destination: str, *, force: bool) -> None:
    """Refuse a place that a page cannot be written to, or where something else is; raises BatchRefused."""
    if destination != saving.STDOUT and Path(destination).suffix.lower() not in _PAGES:
        raise BatchRefused([Problem("-o", f"{destination}: a report is a page, name it .html")])
    saving.check(destination, replaces=lambda path: _is_report(path) or may_replace(path, force=force))


def _is_report(path: Path) -> bool:
    with path.open("rb") as file:
        return _MADE_BY in file.read(_HEAD)


def _read(stack: stacks.Stack, known: dict[str, Any]) -> Findings:
    from service.console.report.summary import NAMES_BESIDE, Findings, read  # noqa: PLC0415

    if not known["row_count"]:
        return Findings()
    names, total = (*ATTRIBUTES, *NAMES_BESIDE), known["row_count"]
    show = display.tenths("read", total) if total >= _MANY else lambda _: None
    pages = stack.app.reader.pages(known["batch_id"], last_row=total, names=names)
    return read(pages, show)


def _write(destination: str, made: dict[str, Any], found: Findings, stack_name: str | None) -> None:
    """Write the page to a file, whole or not at all, or to stdout; raises NotSaved."""
    from service.console.report.page import page  # noqa: PLC0415 - brings the plotting library

    text = page(made, found, stack_name).encode(errors="replace")
    if destination == saving.STDOUT:
        sys.stdout.buffer.write(text)
        sys.stdout.buffer.flush()
        return
    try:
        saving.write(Path(destination), [text])
    except OSError as error:
        raise saving.NotSaved(f"{destination} could not be written: {error.strerror or error}") from error
    display.tell(f"{destination}: {display.rows_text(found.rows)}, {-(-len(text) // 1000):,} KB")
