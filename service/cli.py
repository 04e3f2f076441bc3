"""The command line `batch-processor`: the same on AWS and on the embedded stack."""

from __future__ import annotations

import sys
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from service import batches, cli_local, cli_registry, cli_rows, client, display
from service.cli_common import Commands, common, open_stack
from service.columns import SUFFIXES, format_of
from service.errors import BatchProcessorError, BatchRefused, NotFound, Problem
from service.models import OPEN, split_s3_uri
from service.table import TableError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service import stacks

USAGE, COULD_NOT_RUN, INTERRUPTED = 2, 3, 130
_LATER = ("check", "rerun", "report", "ui", "mcp")


@click.group(
    cls=Commands, later=_LATER, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="batch-processor")
def cli() -> None:
    """Run a CSV, row by row, through a tool (Lambda) or an agent (Step Functions), and get a CSV back."""


for _command in (cli_rows.failed, cli_rows.results, cli_registry.schema, cli_registry.tool, cli_local.local):
    cli.add_command(_command)


@cli.command()
@click.argument("csv")
@click.option("--target", required=True, metavar="NAME|ARN", help="A registered target, or an ARN.")
@click.option("--mapping", type=click.Path(path_type=Path), help="YAML or JSON: input_mapping, output_mapping, …")
@click.option(
    "-o",
    "--output",
    metavar="OUT.csv",
    help="A file or s3://…, .csv or .jsonl, or either with .gz; without it <input>-results.csv.",
)
@click.option("--limit", type=click.IntRange(min=1), help="Run the first N rows only; the others are NOT_RUN.")
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@click.option("--yes", is_flag=True, help="Ask nothing.")
@common
def run(  # noqa: PLR0913 - one argument per option
    csv: str,
    target: str,
    mapping: Path | None,
    output: str | None,
    limit: int | None,
    stack_name: str | None,
    *,
    raw_cells: bool,
    yes: bool,  # noqa: ARG001 - accepted for scripts: there is nothing to ask
    as_json: bool,
) -> int:
    """Run every row of CSV (a file or s3://…) through a target and fetch the results.

    \b
    batch-processor run reviews.csv --target sentiment
    batch-processor run s3://bucket/in.csv --target my-agent --mapping my.yaml --limit 20
    """  # noqa: D301 - \b is click's mark for lines that are kept as they are
    given = client.read_mapping(mapping) if mapping else {}
    path = None if csv.startswith("s3://") else _readable(csv)
    destination = output or _default_output(csv, given)
    given = client.as_named(given, destination)
    stack = open_stack(stack_name, start=True)
    given |= {"csv_s3_uri": csv if path is None else client.upload(stack, path), "target": target}
    if limit is not None:
        given["execution_config"] = {**(given.get("execution_config") or {}), "limit": limit}
    if raw_cells:
        given["csv"] = {**(given.get("csv") or {}), "neutralise_formulas": False}
    if place := _s3_place(destination):
        given |= {"output_bucket": place[0], "output_key": place[1]}
    batch_id, execution_arn = client.start(stack, given, destination)
    display.tell(f"batch {batch_id}")
    result = _followed(stack, batch_id, execution_arn)
    saved = None
    if result["csv_location"]:
        saved = destination if place else _download(stack, result, Path(destination))
    _report(result, saved, as_json=as_json)
    return 0 if client.succeeded(result, (given.get("execution_config") or {}).get("limit")) else 1


def _readable(csv: str) -> Path:
    path = Path(csv)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        raise BatchRefused([Problem(csv, what)])
    return path


def _default_output(csv: str, given: Mapping[str, Any]) -> str:
    options = given.get("csv")
    form = options.get("format") if isinstance(options, dict) else None
    name = f"{Path(csv).stem}-results{SUFFIXES.get(form or 'csv', '.csv')}"
    return name if csv.startswith("s3://") else str(Path(csv).with_name(name))


def _s3_place(destination: str) -> tuple[str, str] | None:
    if not destination.startswith("s3://"):
        return None
    place = split_s3_uri(destination)
    if place is None:
        raise BatchRefused([Problem("-o", f"{destination!r} is not of the form s3://bucket/key")])
    return place


def _followed(stack: stacks.Stack, batch_id: str, execution_arn: str) -> dict[str, Any]:
    """The result; a Ctrl-C leaves the batch running and says how to look at it again."""
    try:
        with display.Watch() as watch:
            return client.follow(stack, batch_id, execution_arn, watch.show)
    except KeyboardInterrupt:
        display.tell(
            f"\nThe batch goes on without this command. To see it again, or to stop it:\n"
            f"  batch-processor status '{batch_id}' --follow\n  batch-processor stop '{batch_id}'"
        )
        raise SystemExit(INTERRUPTED) from None


def _download(stack: stacks.Stack, result: dict[str, Any], path: Path) -> str:
    client.download(stack, result["csv_location"], path)
    return str(path)


def _report(result: dict[str, Any], saved: str | None, *, as_json: bool) -> None:
    if as_json:
        display.print_json(result)
        return
    display.summary(result)
    if saved:
        display.stdout().print(f"CSV: {escape(saved)}")
    if result["counts"]["SUCCESS"] != result["row_count"]:
        display.stdout().print(f"[dim]Rows that did not succeed:[/] batch-processor failed '{result['batch_id']}'")


@cli.command()
@click.argument("batch")
@click.option("--follow", is_flag=True, help="Show progress until the batch has ended.")
@common
def status(batch: str, stack_name: str | None, *, follow: bool, as_json: bool) -> int:
    """Show one batch: progress, counts, errors by cause, what to do next.

    BATCH is a full id, a unique prefix, or `last`.
    """
    stack = open_stack(stack_name)
    record = client.find(stack, batch)
    if follow and batches.refreshed(stack.app, record).status in OPEN:
        _followed(stack, record.batch_id, record.execution_arn)
        record = client.find(stack, record.batch_id)
    known = client.status_of(stack, record)
    if as_json:
        display.print_json(known)
    else:
        display.status(known)
    return 0


@cli.command("batches")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, help="How many, newest first.")
@common
def list_batches(limit: int, stack_name: str | None, *, as_json: bool) -> int:
    """List batches, the newest first."""
    stack = open_stack(stack_name)
    entries = (client.listed(record) for record in islice(stack.app.records.newest(), limit))
    if as_json:
        for entry in entries:
            display.print_json(entry)
    else:
        display.batch_table(entries)
    return 0


@cli.command()
@click.argument("batch")
@click.option("-o", "--output", metavar="FILE|s3://…", help="Where to, as with run; without it <source>-results.csv.")
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@common
def aggregate(batch: str, output: str | None, stack_name: str | None, *, raw_cells: bool, as_json: bool) -> int:
    """Make the CSV of a batch again from its stored results."""
    stack = open_stack(stack_name)
    record = client.find(stack, batch)
    return _csv_again(stack, record, output, raw_cells=raw_cells, as_json=as_json)


def _csv_again(stack: stacks.Stack, record: Any, output: str | None, *, raw_cells: bool, as_json: bool) -> int:
    source = (record.source or {}).get("uri") or "batch"
    destination = output or Path(_default_output(source, {"csv": record.csv})).name
    place = _s3_place(destination)
    csv: dict[str, Any] = {"neutralise_formulas": False} if raw_cells else {}
    csv["format"] = format_of(destination) or (record.csv or {}).get("format")
    own = (stack.app.settings.data_bucket, client.results_key(record.batch_id, destination))
    result = client.aggregate(stack, record.batch_id, place or own, csv)
    saved = destination if place else _download(stack, result, Path(destination))
    _report(result, saved, as_json=as_json)
    return 0 if client.succeeded(result, _limit_of(record)) else 1


def _limit_of(record: Any) -> int | None:
    return int(record.rows_to_run) if record.stop_reason == "limit" else None


@cli.command("remap")
@click.argument("batch")
@click.option("--mapping", required=True, type=click.Path(path_type=Path), help="YAML or JSON: output_mapping, csv.")
@click.option("-o", "--output", metavar="FILE|s3://…", help="Where to, as with run; without it <source>-results.csv.")
@click.option("--raw-cells", is_flag=True, help="Write cells that look like formulas as they are.")
@common
def remap_batch(  # noqa: PLR0913 - one argument per option
    batch: str, mapping: Path, output: str | None, stack_name: str | None, *, raw_cells: bool, as_json: bool
) -> int:
    """Extract the fields of a batch again from its stored outputs, calling no target, and make its CSV."""
    given = client.read_mapping(mapping)
    stack = open_stack(stack_name)
    record = client.find(stack, batch)
    _s3_place(output or "")  # refused before anything is written
    from service import remap  # noqa: PLC0415 - brings pydantic

    order = remap.check(stack.app, record, given)
    if aside := [key for key in remap.LEFT_ASIDE if given.get(key)]:
        display.tell(f"left aside, since no row is run: {', '.join(aside)}")
    try:
        tally = remap.remap(stack.app, order, _tenths(int(order.record.row_count or 0)))
    except (KeyboardInterrupt, BotoCoreError, ClientError):
        display.tell("Not complete: some results have new fields, others their old ones. The same command finishes it.")
        raise
    _tell_fates(tally.counts, tally.row_ids)
    code = _csv_again(stack, order.record, output, raw_cells=raw_cells, as_json=as_json)
    return code or int(tally.counts[remap.Fate.OVERTAKEN] > 0)


def _tenths(total: int) -> Callable[[int], None]:
    """Says on stderr how many rows are read again, at every tenth of them."""
    told = 0

    def show(done: int) -> None:
        nonlocal told
        if done * 10 // max(1, total) > told:
            told = done * 10 // max(1, total)
            display.tell(f"read again {done:,} of {display.rows_text(total)}")

    return show


def _tell_fates(counts: Mapping[Any, int], row_ids: Mapping[Any, list[str]]) -> None:
    """What a remap did, and the rows that it could do nothing for."""
    display.tell(f"{display.rows_text(counts['changed'])} changed, {counts['same']:,} as before")
    left = {
        "lacking": "left as before, new columns empty, for the output is not stored (not kept, gone, unreadable)",
        "overtaken": "left alone, for they were changed or expired meanwhile (give the same command again)",
    }
    for fate, said in left.items():
        if counts[fate]:
            more = ", …" if counts[fate] > len(row_ids[fate]) else ""
            display.tell(f"{said}: {display.rows_text(counts[fate])} ({display.row_list(row_ids[fate])}{more})")


@cli.command()
@click.argument("batch")
@common
def stop(batch: str, stack_name: str | None, *, as_json: bool) -> int:
    """Run no further rows of a batch; what is in flight is stored, the rest is NOT_RUN."""
    stack = open_stack(stack_name)
    record = batches.stop(stack.app, client.find(stack, batch).batch_id)
    known = client.status_of(stack, record)
    if as_json:
        display.print_json(known)
    else:
        display.stdout().print(f"{escape(record.batch_id)} is stopping: rows in flight are stored, no others are begun")
        display.stdout().print(f"[dim]Its end:[/] batch-processor status '{record.batch_id}' --follow")
    return 0


def _exit_code(error: Exception) -> int:
    if isinstance(error, (BatchRefused, NotFound, batches.BatchRunning, batches.BatchExpired)):
        return USAGE
    return COULD_NOT_RUN


def main() -> None:
    """The command; exits with 0, 1, 2, 3 or 130."""
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(USAGE)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except (BatchProcessorError, BotoCoreError, ClientError, TableError) as error:
        _complain(error)
        sys.exit(_exit_code(error))
    sys.exit(code if isinstance(code, int) else 0)


def _complain(error: Exception) -> None:
    lines = str(error).splitlines() or [type(error).__name__]
    display.tell(f"error: {lines[0]}")
    for line in lines[1:]:
        display.tell(f"       {line}")


if __name__ == "__main__":
    main()
