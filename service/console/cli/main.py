"""The command line `batch-processor`: the same on AWS and on the embedded stack."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from service.batch import closing, governed_run
from service.batch import progress as batch_progress
from service.console import batch_status, display, runs, saving
from service.console.cli import check, init, local, mcp, registry, report, rerun, results, rows, ui
from service.console.cli.common import (
    Commands,
    common,
    examples,
    force_option,
    idempotent_option,
    keep_going_option,
    may_replace,
    open_stack,
    output_again,
    output_option,
    said_of_run,
    said_of_source,
    source_options,
)
from service.console.cli.complete import batch_argument, completion, target_option
from service.console.outputs import NoStack
from service.errors import BatchProcessorError, BatchRefused, NotFound
from service.models import OPEN
from service.secrets_mask import masked
from service.store.tables import TableError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.record import BatchRecord

USAGE, COULD_NOT_RUN = 2, 3
DEBUG_VARIABLE = "BATCH_PROCESSOR_DEBUG"
_WHERE = f"A batch that was started goes on: `batch-processor status last`. {DEBUG_VARIABLE}=1 shows where this failed."


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="batch-processor")
def cli() -> None:
    """Run a CSV, row by row, through a tool (Lambda) or an agent (Step Functions), and get a CSV back."""


for _command in (
    check.check,
    completion,
    init.describe,
    init.init,
    report.report,
    rerun.rerun,
    rows.failed,
    rows.results,
    registry.schema,
    registry.tool,
    local.local,
    ui.ui,
    mcp.mcp,
):
    cli.add_command(_command)


@cli.command(
    epilog=examples(
        "batch-processor run reviews.csv --target sentiment",
        "batch-processor run s3://bucket/in.csv --target my-agent --mapping my.yaml --limit 20",
        "batch-processor run in.csv --target my-agent -o s3://bucket/out.jsonl.gz --yes",
    )
)
@click.argument("csv")
@target_option
@click.option("--mapping", type=click.Path(path_type=Path), help="YAML or JSON: input_mapping, output_mapping, …")
@source_options
@output_option("OUT.csv", "A file or s3://…; .jsonl, .parquet, .gz are forms too.")
@click.option("--limit", type=click.IntRange(min=1), help="Run the first N rows only; the others are NOT_RUN.")
@force_option
@idempotent_option
@keep_going_option
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@common
def run(  # noqa: PLR0913 - one argument per option
    csv: str,
    target: str,
    mapping: Path | None,
    output: str | None,
    limit: int | None,
    encoding: str | None,
    delimiter: str | None,
    stack_name: str | None,
    *,
    force: bool,
    idempotent: bool,
    keep_going: bool,
    raw_cells: bool,
    yes: bool,
    as_json: bool,
) -> int:
    """Run every row of CSV (a file or s3://…) through a target and fetch the results."""
    display.outlive_readers()
    given = runs.read_mapping(mapping) if mapping else {}
    path = None if csv.startswith("s3://") else results.readable(csv)
    destination = results.default_output(csv, given) if output is None else output
    given = runs.as_named(given, destination)
    results.check_stdout(destination, as_json=as_json)
    inputs = [csv, *([str(mapping)] if mapping else [])]
    saving.check(destination, inputs=inputs, replaces=lambda file: may_replace(file, force=force))
    new = not (force or Path(destination).exists())
    stack = open_stack(stack_name, start=True)
    if not force:
        results.check_object(stack, destination)
    given |= {"csv_s3_uri": csv if path is None else runs.upload(stack, path)}
    given |= said_of_run(given, target, idempotent=idempotent, keep_going=keep_going)
    given |= said_of_source(given, encoding, delimiter)
    if limit is not None:
        given["execution_config"] = {**(given.get("execution_config") or {}), "limit": limit}
    if raw_cells:
        given["csv"] = {**(given.get("csv") or {}), "neutralise_formulas": False}
    if place := saving.s3_place(destination):
        given |= {"output_bucket": place[0], "output_key": place[1]}
    if not (yes or as_json or limit) and sys.stdin.isatty() and sys.stderr.isatty():
        code = check.offered(stack, given, destination)
        if code is not None:
            return code
    batch_id, execution_arn = runs.start(stack, given, destination)
    display.tell(f"batch {batch_id}")
    result = results.followed(stack, batch_id, execution_arn)
    display.source_note(stack.app.records.get(batch_id).source)
    results.finish(stack, result, destination, as_json=as_json, new=new)
    return 0 if runs.succeeded(result, (given.get("execution_config") or {}).get("limit")) else 1


@cli.command(epilog=examples("batch-processor status last", "batch-processor status last --follow"))
@batch_argument()
@click.option("--follow", is_flag=True, help="Show progress until the batch has ended.")
@common
def status(batch: str, stack_name: str | None, *, follow: bool, as_json: bool) -> int:
    """Show one batch: progress, counts, errors by cause, what to do next.

    BATCH is a full id, a unique prefix, or `last`.
    """
    stack = open_stack(stack_name)
    record = runs.find(stack, batch)
    if follow and closing.refreshed(stack.app, record).status in OPEN:
        with suppress(BatchRefused, runs.CouldNotRun):  # why stands in the record, which is shown
            results.followed(stack, record.batch_id, record.execution_arn)
        record = runs.find(stack, record.batch_id)
    known = batch_status.status_of(stack, record)
    if as_json:
        display.print_json(known)
    else:
        display.status(known, record.slowest or ())
    return 0


@cli.command(epilog=examples("batch-processor concurrency last 20"))
@batch_argument()
@click.argument("rows", type=click.IntRange(min=1), metavar="N")
@common
def concurrency(batch: str, rows: int, stack_name: str | None, *, as_json: bool) -> int:
    """Let at most N rows of a running batch be in flight from now on.

    Rows are in flight a chunk at a time: the number is rounded down to whole chunks, one at least. Chunks that are at
    work are run to their end. N is never above the batch's max_concurrency; below N, the concurrency goes on following
    the throttling of the target.
    """
    stack = open_stack(stack_name)
    record = closing.refreshed(stack.app, runs.find(stack, batch))
    set_to = governed_run.order(stack.app, record, rows)
    if as_json:
        display.print_json({"batch_id": record.batch_id, **set_to})
    else:
        rows_now = set_to["rows_in_flight"]
        display.tell(f"{record.batch_id}: at most {rows_now:,} rows in flight, {set_to['chunks']:,} chunks at once")
    return 0


@cli.command("batches", epilog=examples("batch-processor batches", "batch-processor batches --limit 100 --json"))
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
@click.option("--refused", is_flag=True, help="Orders that were refused, too: no row of them was run.")
@common
def list_batches(limit: int, stack_name: str | None, *, refused: bool, as_json: bool) -> int:
    """List batches, the newest first."""
    stack = open_stack(stack_name)
    left_out: list[str] = []

    def found() -> Iterator[BatchRecord]:
        for record in stack.app.records.newest():
            if refused or not runs.is_refused_order(record):
                yield record
            else:
                left_out.append(record.batch_id)

    entries = map(batch_status.listed, islice(found(), limit))
    display.entries(entries, display.batch_table, as_json=as_json)
    if left_out:
        orders = "1 order that was" if len(left_out) == 1 else f"{len(left_out):,} orders that were"
        display.tell(f"without {orders} refused: --refused shows them too")
    return 0


@cli.command(
    epilog=examples(
        "batch-processor aggregate last",
        "batch-processor aggregate last -o again.jsonl.gz",
        "batch-processor aggregate last -o s3://bucket/again.csv --raw-cells",
    )
)
@batch_argument()
@output_again
@force_option
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@common
def aggregate(  # noqa: PLR0913 - one argument per option
    batch: str, output: str | None, stack_name: str | None, *, force: bool, raw_cells: bool, as_json: bool
) -> int:
    """Make the CSV of a batch again from its stored results."""
    display.outlive_readers()
    stack = open_stack(stack_name)
    record = runs.find(stack, batch)
    destination = output or results.own_output(record)
    results.checked(stack, destination, record, force=force, as_json=as_json)
    return results.csv_again(stack, record, destination, raw_cells=raw_cells, as_json=as_json)


@cli.command(
    "remap",
    epilog=examples(
        "batch-processor remap last --mapping better.yaml",
        "batch-processor remap last --mapping better.yaml -o better.jsonl",
    ),
)
@batch_argument()
@click.option("--mapping", required=True, type=click.Path(path_type=Path), help="YAML or JSON: output_mapping, csv.")
@output_again
@force_option
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@common
def remap_batch(  # noqa: PLR0913 - one argument per option
    batch: str,
    mapping: Path,
    output: str | None,
    stack_name: str | None,
    *,
    force: bool,
    raw_cells: bool,
    as_json: bool,
) -> int:
    """Extract the fields of a batch again from its stored outputs, calling no target, and make its CSV."""
    display.outlive_readers()
    given = runs.read_mapping(mapping)
    stack = open_stack(stack_name)
    record = runs.find(stack, batch)
    destination = output or results.own_output(record)
    results.checked(stack, destination, record, force=force, as_json=as_json)
    from service.console import remap  # noqa: PLC0415 - brings pydantic

    order = remap.check(stack.app, record, given)
    if aside := [key for key in remap.LEFT_ASIDE if given.get(key)]:
        display.tell(f"left aside, since no row is run: {', '.join(aside)}")
    try:
        tally = remap.remap(stack.app, order, display.tenths("read again", int(order.record.row_count or 0)))
    except (KeyboardInterrupt, BotoCoreError, ClientError):
        display.tell("Not complete: some results have new fields, others their old ones. The same command finishes it.")
        raise
    _tell_fates(tally.counts, tally.row_ids)
    code = results.csv_again(stack, order.record, destination, raw_cells=raw_cells, as_json=as_json)
    return code or int(tally.counts[remap.Outcome.OVERTAKEN] > 0)


def _tell_fates(counts: Mapping[Any, int], row_ids: Mapping[Any, list[str]]) -> None:
    """Show what a remap did, and the rows that it could do nothing for."""
    display.tell(f"{display.rows_text(counts['changed'])} changed, {counts['same']:,} as before")
    left = {
        "lacking": "left as before, new columns empty, for the output is not stored (not kept, gone, unreadable)",
        "overtaken": "left alone, for they were changed or expired meanwhile (give the same command again)",
    }
    for fate, said in left.items():
        if counts[fate]:
            more = ", …" if counts[fate] > len(row_ids[fate]) else ""
            display.tell(f"{said}: {display.rows_text(counts[fate])} ({display.row_list(row_ids[fate])}{more})")


@cli.command(epilog=examples("batch-processor stop last"))
@batch_argument()
@common
def stop(batch: str, stack_name: str | None, *, as_json: bool) -> int:
    """Begin no further chunk of rows; those under way are run to their end, the rest is NOT_RUN."""
    stack = open_stack(stack_name)
    record = closing.stop(stack.app, runs.find(stack, batch).batch_id)
    known = batch_status.status_of(stack, record)
    if as_json:
        display.print_json(known)
    else:
        display.stdout().print(f"{escape(record.batch_id)} is stopping: the chunks under way are run to their end")
        display.stdout().print(f"[dim]Its end:[/] batch-processor status '{record.batch_id}' --follow")
    return 0


def _exit_code(error: Exception) -> int:
    if isinstance(error, NoStack):
        return COULD_NOT_RUN
    if isinstance(error, (BatchRefused, NotFound, batch_progress.BatchRunning, batch_progress.BatchExpired)):
        return USAGE
    return COULD_NOT_RUN


def main() -> None:
    """Run the command; exit with 0, 1, 2, 3 or 130."""
    streams = sys.stdout, sys.stderr
    try:
        _run()
    finally:
        sys.stdout, sys.stderr = streams


def _run() -> None:
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(results.INTERRUPTED)
    except (BrokenPipeError, SystemExit) as ended:
        # Whoever reads has seen enough, as `| head` does. click makes a SystemExit of it (its core.py, `Command.main`).
        if not isinstance(ended.__context__ if isinstance(ended, SystemExit) else ended, BrokenPipeError):
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except (BatchProcessorError, BotoCoreError, ClientError, TableError) as error:
        _complain(str(error).splitlines() or [type(error).__name__])
        sys.exit(_exit_code(error))
    except OSError as error:
        place = f"{error.filename}: " if error.filename else ""
        _complain([f"{place}{error.strerror or error}", _WHERE])
        sys.exit(COULD_NOT_RUN)
    except Exception as error:
        if os.environ.get(DEBUG_VARIABLE):
            raise
        _complain([f"batch-processor failed: {type(error).__name__}: {masked(str(error))}", _WHERE])
        sys.exit(COULD_NOT_RUN)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(lines: list[str]) -> None:
    with suppress(OSError, ValueError):  # stderr may be closed, or full: the exit code says it still
        display.tell(f"error: {lines[0]}")
        for line in lines[1:]:
            display.tell(f"       {line}")


if __name__ == "__main__":
    main()
