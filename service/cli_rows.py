"""Commands that show rows: those that failed, and results by batch or by time."""

from __future__ import annotations

import sys
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from service import client, display
from service.cli_common import common, open_stack
from service.errors import BatchRefused, Problem
from service.models import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHOWN = 50  # rows at a terminal without --limit
_STATUSES = (*(status.value for status in FAILURES), "UNKNOWN")


@click.command()
@click.argument("batch")
@click.option("--status", "row_status", type=click.Choice(_STATUSES), help="Only rows of this status.")
@click.option("--error", metavar="TYPE", help="Only rows whose error is of this type (EchoFailure, States.Timeout, …).")
@click.option("--limit", type=click.IntRange(min=1), help=f"How many rows; {_SHOWN} at a terminal.")
@common
def failed(  # noqa: PLR0913 - one argument per option
    batch: str, row_status: str | None, error: str | None, limit: int | None, stack_name: str | None, *, as_json: bool
) -> int:
    """Show the rows of a batch that did not succeed, by status, with their causes."""
    stack = open_stack(stack_name)
    record = client.find(stack, batch)
    _show_rows(stack.app.queries.failed(record.batch_id, row_status, error), limit, as_json=as_json)
    return 0


@click.command()
@click.argument("batch", required=False)
@click.option("--since", metavar="SPAN|TIME", help="2h, 30min, 3d or an ISO time; 24h without a batch.")
@click.option("--until", metavar="SPAN|TIME", help="The same; now without it.")
@click.option("--status", "row_status", type=click.Choice(["SUCCESS", *_STATUSES]), help="Only rows of this status.")
@click.option("--limit", type=click.IntRange(min=1), help=f"How many rows; {_SHOWN} at a terminal.")
@common
def results(  # noqa: PLR0913 - one argument per option
    batch: str | None,
    since: str | None,
    until: str | None,
    row_status: str | None,
    limit: int | None,
    stack_name: str | None,
    *,
    as_json: bool,
) -> int:
    """Show stored results: of one batch in row order, or of all batches in the order of time."""
    first, last = _moment("--since", since), _moment("--until", until)
    stack = open_stack(stack_name)

    if batch is not None:
        record = client.find(stack, batch)
        rows = stack.app.queries.within(stack.app.queries.of_batch(record.batch_id, row_status), first, last)
    else:
        rows = stack.app.queries.between(first or client.moment("24h"), last or client.moment("0s"), row_status)
    _show_rows(rows, limit, as_json=as_json, with_batch=batch is None)
    return 0


def _moment(option: str, text: str | None) -> Any:
    if text is None:
        return None
    try:
        return client.moment(text)
    except ValueError:
        raise BatchRefused([Problem(option, f"{text!r} is neither a span (2h, 30min, 3d) nor an ISO time")]) from None


def _show_rows(rows: Iterator[dict[str, Any]], limit: int | None, *, as_json: bool, with_batch: bool = False) -> None:
    if as_json:
        for row in islice(rows, limit):
            display.print_json(row)
        return
    most = limit or (_SHOWN if sys.stdout.isatty() else None)
    shown = list(islice(rows, most))
    if not shown:
        display.tell("no such rows")
        return
    display.row_table(shown, with_batch=with_batch)
    if limit is None and most is not None and next(rows, None) is not None:
        display.tell(f"… the first {most}; more with --limit N or --json")
