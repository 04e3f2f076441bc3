"""The command that runs rows again."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.batch import closing
from service.batch.stopping import cost_of, profile_of
from service.console import display, runs, saving
from service.console.cli import results
from service.console.cli.common import (
    common,
    examples,
    force_option,
    keep_going_option,
    open_stack,
    output_again,
    said_of_run,
)
from service.console.cli.complete import batch_argument
from service.cost.estimate import money
from service.models import FAILURES, RowStatus

if TYPE_CHECKING:
    from service.batch.selection import Selection
    from service.plan import Plan

ASKED_ABOVE = 1_000  # rows: what costs more is asked about, where somebody is there to answer
_STATUSES = [status.value for status in (*FAILURES, RowStatus.NOT_RUN, RowStatus.MISSING, RowStatus.UNKNOWN)]


@click.command(
    epilog=examples(
        "batch-processor rerun last",
        "batch-processor rerun last --status TIMEOUT --mapping patient.yaml",
        "batch-processor rerun last --rows 7,12-40 --dry-run",
    )
)
@batch_argument()
@click.option("--status", "statuses", multiple=True, type=click.Choice(_STATUSES), help="Only rows of this status.")
@click.option("--rows", metavar="7,12-40", help="Only these rows, of those that did not succeed.")
@click.option("--mapping", type=click.Path(path_type=Path), help="YAML or JSON: what is to be different this time.")
@click.option("--stored-input", is_flag=True, help="Run the rows as they are stored: the source was replaced.")
@output_again
@force_option
@keep_going_option
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@click.option("--dry-run", is_flag=True, help="Say how many rows and what they cost, and run none.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@common
def rerun(  # noqa: PLR0913 - one argument per option
    batch: str,
    statuses: tuple[str, ...],
    rows: str | None,
    mapping: Path | None,
    output: str | None,
    stack_name: str | None,
    *,
    stored_input: bool,
    force: bool,
    keep_going: bool,
    raw_cells: bool,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Run the rows of a batch that did not succeed again: same batch, same row ids, one CSV with everything."""
    display.outlive_readers()
    given = runs.read_mapping(mapping) if mapping else {}
    place = saving.s3_place(output or "")
    stack = open_stack(stack_name)
    record = closing.refreshed(stack.app, runs.find(stack, batch))
    from service.batch import rerun as reruns  # noqa: PLC0415 - brings pydantic

    which = {"status": list(statuses) or None, "rows": rows, "stored_input": stored_input}
    plan, selection = reruns.preview(stack.app, record, which)
    usd = _cost(plan, selection)
    if dry_run or not selection.count:
        _tell(record.batch_id, selection, usd, as_json=as_json)
        return 0
    destination = output or results.own_output(record)
    results.checked(stack, destination, record, force=force, as_json=as_json)
    if not as_json:
        _tell(record.batch_id, selection, usd, as_json=False)
    if selection.count > ASKED_ABOVE and not (yes or as_json) and sys.stdin.isatty() and sys.stderr.isatty():
        click.confirm(f"Run {display.rows_text(selection.count)} again?", abort=True, err=True)
    given = runs.as_named(given, destination) if output else given
    given |= said_of_run(given, None, idempotent=False, keep_going=keep_going)
    if raw_cells:
        given["csv"] = {**(given.get("csv") or {}), "neutralise_formulas": False}
    if place:
        given |= {"output_bucket": place[0], "output_key": place[1]}
    elif output:
        own = runs.place_for(stack, record.batch_id, destination)
        given |= {"output_bucket": own.bucket, "output_key": own.key}
    execution_arn = runs.start_rerun(stack, {**given, "rerun_of": {"batch_id": record.batch_id, **which}})
    result = results.followed(stack, record.batch_id, execution_arn)
    results.finish(stack, result, destination, as_json=as_json, ran=selection.count)
    return 0 if runs.succeeded(result, None) else 1


def _cost(plan: Plan, selection: Selection) -> float:
    """US dollars of a rerun in which every row succeeds at its first call; the target's own only if it has a price."""
    chunks = math.ceil(selection.count / profile_of(plan).chunk_rows)
    return cost_of(plan, {"SUCCESS": selection.count}, chunks).total_usd if selection.count else 0.0


def _tell(batch_id: str, selection: Selection, usd: float, *, as_json: bool) -> None:
    if as_json:
        told = {"batch_id": batch_id, "rows": selection.count, "by_status": dict(selection.selected)}
        display.print_json({**told, "already_succeeded": selection.succeeded, "cost_usd": round(usd, 6)})
        return
    statuses = ", ".join(f"{count:,} {status}" for status, count in selection.selected.items())
    if selection.succeeded:
        display.tell(f"{display.rows_text(selection.succeeded)} of those asked for succeeded already: left as they are")
    if selection.count:
        display.tell(
            f"{display.rows_text(selection.count)} to run again ({statuses}), about {money(usd)} beside the target"
        )
    else:
        display.tell("nothing to run again: every row asked for has succeeded")
