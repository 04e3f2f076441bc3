"""The command that makes a page of a batch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service import client, display, saving, stacks, standing
from service.cli_common import common, examples, open_stack
from service.cli_complete import batch_argument
from service.errors import BatchRefused, Problem
from service.models import now_iso
from service.progress import BatchExpired
from service.wire import ATTRIBUTES

if TYPE_CHECKING:
    from service.report import Findings

_MANY = 20_000  # rows from which on it is told how far the reading is


@click.command(epilog=examples("batch-processor report last", "batch-processor report last -o report.html"))
@batch_argument()
@click.option(
    "-o", "--output", type=click.Path(path_type=Path), metavar="FILE.html", help="Where to; report.html without it."
)
@common
def report(batch: str, output: Path | None, stack_name: str | None, *, as_json: bool) -> int:
    """Make one page of a batch to look at and to pass on: outcome, times, causes, rows, mapping.

    The page loads nothing and needs no network. With --json the report's data are printed, and the page is written
    only where -o says so.
    """
    from service.report import document  # noqa: PLC0415 - other commands do without

    stack = open_stack(stack_name)
    record = client.find(stack, batch)
    known, cost = standing.status_and_cost(stack, record)
    if known["status"] == "EXPIRED":
        last = known["csv_location"] or "none was made"
        raise BatchExpired(f"the results of batch {known['batch_id']} have expired; its last CSV: {last}")
    plan = stack.app.plans.load(record.batch_id, record.plan_hash) if record.plan_hash else None
    found = _read(stack, known)
    known["cost"] = None if cost is None else {**cost.to_json(), "lines": cost.explain()}
    made = document(found, known, plan, now_iso())
    if as_json:
        display.print_json(made)
    if output is not None or not as_json:
        _write(output or Path("report.html"), made, found, stacks.chosen(stack_name))
    return 0


def _read(stack: stacks.Stack, known: dict[str, Any]) -> Findings:
    from service.report import NAMES_BESIDE, Findings, read  # noqa: PLC0415

    if not known["row_count"]:
        return Findings()
    names, total = (*ATTRIBUTES, *NAMES_BESIDE), known["row_count"]
    show = display.tenths("read", total) if total >= _MANY else lambda _: None
    pages = stack.app.reader.pages(known["batch_id"], last_row=total, names=names)
    return read(pages, show)


def _write(path: Path, made: dict[str, Any], found: Findings, stack_name: str | None) -> None:
    """The page as a file, whole or not at all."""
    from service.report_page import page  # noqa: PLC0415 - brings the plotting library

    text = page(made, found, stack_name).encode(errors="replace")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        saving.write(path, [text])
    except OSError as error:
        raise BatchRefused([Problem("-o", f"{path}: {error.strerror or error}")]) from error
    display.tell(f"{path}: {display.rows_text(found.rows)}, {-(-len(text) // 1000):,} KB")
