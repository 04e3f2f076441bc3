"""Commands that show rows: those that failed, and results by batch, by time or as they arrive."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from service.batch import closing
from service.console import display, runs, stacks
from service.console.cli.common import common, examples, open_stack
from service.console.cli.complete import batch_argument
from service.console.follow import POLL_SECONDS, arriving
from service.console.page_tokens import Page, command, from_token, to_token
from service.errors import BatchRefused, Problem
from service.models import FAILURES, OPEN, Position, now_iso

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.console.stacks import Stack
    from service.record import BatchRecord

_SHOWN = 50  # rows at a terminal without --limit
_NAMED = 12  # types of error in a message
_STATUSES = (*(status.value for status in FAILURES), "UNKNOWN")

_limit = click.option("--limit", type=click.IntRange(min=1), help=f"How many rows; {_SHOWN} at a terminal.")
_token = click.option("--page-token", "token", metavar="TOKEN", help="Go on where the command that named it stopped.")
_count = click.option("--count", "only_count", is_flag=True, help="Only how many rows have each status.")


@click.command(
    epilog=examples(
        "batch-processor failed last",
        "batch-processor failed last --status TIMEOUT --json",
        "batch-processor failed last --count",
    )
)
@batch_argument()
@click.option("--status", "row_status", type=click.Choice(_STATUSES), help="Only rows of this status.")
@click.option("--error", metavar="TYPE", help="Only rows whose error is of this type (EchoFailure, States.Timeout, …).")
@_limit
@_token
@_count
@common
def failed(  # noqa: PLR0913 - one argument per option
    batch: str,
    row_status: str | None,
    error: str | None,
    limit: int | None,
    token: str | None,
    stack_name: str | None,
    *,
    only_count: bool,
    as_json: bool,
) -> int:
    """Show the rows of a batch that did not succeed, by status, with their causes."""
    if only_count:
        _refuse_beside("--count", {"--limit": limit, "--page-token": token})
    stack = open_stack(stack_name)
    batch_id, queries = runs.find(stack, batch).batch_id, stack.app.queries
    if only_count:
        _show_counts(queries.count_failed(batch_id, row_status, error), as_json=as_json)
        return 0
    asked = _asked("failed", batch_id, stack_name, {"--status": row_status, "--error": error})
    view = _View(_page(token, asked, None, None), limit, as_json)
    types: set[str] = set()
    rows = queries.failed(batch_id, row_status, error, after=view.page.after, at_most=view.at_most, types=types)
    if not view.show(rows):
        _tell_none(error, types, as_json=as_json)
    return 0


@click.command(
    epilog=examples(
        "batch-processor results last --limit 20",
        "batch-processor results --since 2h --status FAILED",
        "batch-processor results last --follow",
    )
)
@batch_argument(required=False)
@click.option("--since", metavar="SPAN|TIME", help="2h, 30min, 3d or an ISO time; 24h without a batch.")
@click.option("--until", metavar="SPAN|TIME", help="The same; now without it.")
@click.option("--status", "row_status", type=click.Choice(["SUCCESS", *_STATUSES]), help="Only rows of this status.")
@_limit
@_token
@_count
@click.option("--follow", is_flag=True, help="Show rows as they are stored, until the batch has ended or Ctrl-C.")
@common
def results(  # noqa: PLR0913 - one argument per option
    batch: str | None,
    since: str | None,
    until: str | None,
    row_status: str | None,
    limit: int | None,
    token: str | None,
    stack_name: str | None,
    *,
    only_count: bool,
    follow: bool,
    as_json: bool,
) -> int:
    """Show stored results: of one batch in row order, or of all batches in the order of time."""
    first, last = _moment("--since", since), _moment("--until", until)
    if follow:
        _refuse_beside("--follow", {"--until": until, "--limit": limit, "--page-token": token, "--count": only_count})
    if only_count:
        _refuse_beside("--count", {"--limit": limit, "--page-token": token})
    if only_count and batch is None:
        raise click.UsageError("--count needs a BATCH")
    stack = open_stack(stack_name)
    record = None if batch is None else runs.find(stack, batch)
    if follow:
        _follow(stack, record, first or now_iso(), row_status, as_json=as_json)
        return 0
    first, last = _span(first, last, all_batches=record is None)
    if record is not None and only_count:
        counts = stack.app.queries.count(record.batch_id, row_status, since=first, until=last)
        _show_counts(counts, as_json=as_json)
        return 0
    options = {"--since": since, "--until": until, "--status": row_status}
    asked = _asked("results", None if record is None else record.batch_id, stack_name, options)
    view = _View(_page(token, asked, first, last), limit, as_json)
    if not view.show(_stored(stack, record, view, row_status)):
        _tell_none(None, set(), as_json=as_json)
    return 0


def _refuse_beside(option: str, others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value not in (None, False)]
    if given:
        raise click.UsageError(f"{option} does not go with {', '.join(given)}")


def _moment(option: str, text: str | None) -> str | None:
    """ISO 8601 in UTC of what was given."""
    if text is None:
        return None
    try:
        return now_iso(runs.moment(text))
    except (ValueError, OverflowError):
        raise BatchRefused([Problem(option, f"{text!r} is neither a span (2h, 30min, 3d) nor an ISO time")]) from None


def _span(first: str | None, last: str | None, *, all_batches: bool) -> tuple[str | None, str | None]:
    """Return the span that is asked for; of all batches it has both ends, and no days to come are looked through."""
    if all_batches:
        now = now_iso()
        first, last = first or now_iso(runs.moment("24h")), min(last or now, now)
    if first and last and first > last:
        raise BatchRefused([Problem("--since", f"the span would begin at {first} and end before, at {last}")])
    return first, last


def _asked(name: str, batch_id: str | None, stack_name: str | None, options: dict[str, str | None]) -> dict[str, str]:
    """Return the question of a command, as a token keeps it: a batch by its whole id, what was not given left out."""
    parts = {"command": name, "batch": batch_id, **options, "--stack": stacks.chosen(stack_name)}
    return {key: value for key, value in parts.items() if value is not None}


def _page(token: str | None, asked: dict[str, str], since: str | None, until: str | None) -> Page:
    return Page(asked, since, until) if token is None else from_token(token, asked)


def _stored(stack: Stack, record: BatchRecord | None, view: _View, status: str | None) -> Iterator[dict[str, Any]]:
    queries, page = stack.app.queries, view.page
    where = {"after": page.after, "at_most": view.at_most}
    rows: Iterator[dict[str, Any]]
    if record is None:
        rows = queries.between(page.since, page.until, status, **where)
    else:
        rows = queries.of_batch(record.batch_id, status, since=page.since, until=page.until, **where)
    return rows


@dataclass(frozen=True)
class _View:
    """How rows are shown: from where, how many, in which form."""

    page: Page
    limit: int | None
    as_json: bool

    @property
    def most(self) -> int | None:
        return self.limit or (_SHOWN if sys.stdout.isatty() and not self.as_json else None)

    @property
    def at_most(self) -> int | None:
        """How many rows will be read: one more than is shown tells whether there are more."""
        return None if self.most is None else self.most + 1

    def show(self, rows: Iterator[dict[str, Any]]) -> int:
        """Show the rows and, when there are more of them, how to go on; return how many were shown."""
        some, number, row = islice(rows, self.most), 0, None
        if self.as_json:
            for number, row in enumerate(some, 1):  # noqa: B007 - the last ones are of use
                display.print_json(row)
        elif shown := list(some):
            number, row = len(shown), shown[-1]
            display.row_table(shown, with_batch="batch" not in self.page.asked)
        if row is not None and number == self.most and next(rows, None) is not None:
            self._tell_next(number, to_token(self.page, Position.of(row)))
        return number

    def _tell_next(self, number: int, token: str) -> None:
        if self.as_json:
            display.tell(f"page-token: {token}")
            return
        limit = "" if self.limit is None else f" --limit {self.limit}"
        display.tell(f"{display.rows_text(number)} shown, there are more; the next ones:")
        display.tell(f"  {command(self.page.asked)}{limit} --page-token {token}")


def _tell_none(error: str | None, types: set[str], *, as_json: bool) -> None:
    if error is not None and types:
        more = ", …" if len(types) > _NAMED else ""
        display.tell(f"no row has an error of type {error!r}; there are {', '.join(sorted(types)[:_NAMED])}{more}")
    elif not as_json:
        display.tell("no such rows")


def _show_counts(counts: dict[str, int], *, as_json: bool) -> None:
    if as_json:
        display.print_json(counts)
    elif any(counts.values()):
        display.row_counts(counts)
    else:
        display.tell("no such rows")


def _pause() -> None:
    time.sleep(POLL_SECONDS)


def _follow(stack: Stack, record: BatchRecord | None, since: str, status: str | None, *, as_json: bool) -> None:
    """Show rows as they are stored; end when the batch had ended before a round that brought none of its rows."""
    fresh, ended_as = False, None
    for row in arriving(stack.app.queries.between, since):
        if row is None:
            if record is not None and ended_as and not fresh:
                display.tell(f"batch {record.batch_id} has ended: {ended_as}")
                return
            ended_as = None if record is None else _ended_as(stack, record.batch_id)
            fresh = False
            _pause()
        elif (record is None or row["batch_id"] == record.batch_id) and status in (None, row["status"]):
            fresh = True
            if as_json:
                display.print_json(row)
            else:
                display.row_line(row, with_batch=record is None)


def _ended_as(stack: Stack, batch_id: str) -> str | None:
    status = closing.refreshed(stack.app, stack.app.records.get(batch_id)).status
    return None if status in OPEN else status
