"""The commands before the first batch: what a source holds, and a mapping drafted for it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from service.console import display, mapping_files, saving
from service.console.cli.common import (
    common,
    examples,
    force_option,
    may_replace,
    open_stack,
    output_option,
    source_options,
)
from service.console.cli.complete import targets as targets_known
from service.console.describing import ROWS
from service.console.describing import describe as described
from service.console.drafting.draft import draft
from service.errors import BatchRefused, NotFound, Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.console.stacks import Stack

_PLAIN_WIDTH = 160  # characters of a table that goes to a file or a pipe
_TARGET_KEYS = ("tool_name", "tool_type", "input_schema", "output_schema")


@click.command(
    epilog=examples("batch-processor describe reviews.csv", "batch-processor describe s3://bucket/in.csv --json")
)
@click.argument("source")
@source_options
@click.option(
    "--rows",
    type=click.IntRange(min=1),
    default=ROWS,
    show_default=True,
    help="By how many rows, from the first, the columns are judged.",
)
@common
def describe(  # noqa: PLR0913 - one argument per option
    source: str, encoding: str | None, delimiter: str | None, rows: int, stack_name: str | None, *, as_json: bool
) -> int:
    """Show what SOURCE (a CSV, as a file or s3://…) holds, as a batch would read it.

    Size, encoding, delimiter and rows; of each column its type, empty cells, different values and examples. A file
    needs no stack. With --json the first three rows too.
    """
    stack = open_stack(stack_name) if source.startswith("s3://") else None
    known = _described(source, stack, encoding, delimiter, rows)
    if as_json:
        display.print_json(known)
    else:
        _show(known)
    return 0


def _described(
    source: str, stack: Stack | None, encoding: str | None, delimiter: str | None, rows: int = ROWS
) -> dict[str, Any]:
    s3 = None if stack is None else stack.app.s3
    return described(source, s3, encoding=encoding, delimiter=delimiter, rows=rows)


def _show(known: Mapping[str, Any]) -> None:
    """Show a source for people."""
    console = display.stdout()
    rows = display.rows_text(known["row_count"])
    rows = rows if known["row_count_exact"] else f"at least {rows}"
    delimiter = {"\t": "tab"}.get(known["delimiter"], known["delimiter"])
    facts = (rows, f"{known['size']:,} bytes", known["encoding"], f"delimiter {delimiter}")
    console.print(f"{escape(known['source'])}  [dim]{escape(', '.join(facts))}[/]")
    display.entries(known["columns"], _column_table, as_json=False)
    for note in known["notes"]:
        console.print(f"[yellow]{escape(note)}[/]")


def _column_table(columns: Iterable[Mapping[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("column", overflow="fold")
    table.add_column("type", no_wrap=True)
    for name in ("empty", "different"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("examples", overflow="fold")
    for one in columns:
        counts = (f"{one[key]:,}" for key in ("empty", "different"))
        table.add_row(*map(_harmless, (one["name"], one["type"], *counts, " | ".join(one["examples"]))))
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    Console(highlight=False, emoji=False, width=width).print(table)


def _harmless(text: str) -> str:
    """Return a text that moves no cursor."""
    return escape("".join(letter if letter.isprintable() else "?" for letter in text))


@click.command(
    epilog=examples(
        "batch-processor init reviews.csv --target sentiment -o mapping.yaml",
        "batch-processor init in.csv --sample-output output.json > mapping.yaml",
        "batch-processor init s3://bucket/in.csv --target my-agent --sample-output outputs.jsonl -o my.yaml --force",
    )
)
@click.argument("source")
@click.option("--target", metavar="NAME", help="The registered target that is to run it.", shell_complete=targets_known)
@click.option(
    "--sample-output",
    "sample",
    type=click.Path(path_type=Path),
    metavar="OUTPUT.json",
    help="The target's output as JSON, or several as JSON Lines.",
)
@output_option("FILE.yaml", "Where to; stdout without it.")
@force_option
@source_options
@common
def init(  # noqa: PLR0913 - one argument per option
    source: str,
    target: str | None,
    sample: Path | None,
    output: str | None,
    encoding: str | None,
    delimiter: str | None,
    stack_name: str | None,
    *,
    force: bool,
    as_json: bool,
) -> int:
    """Draft a mapping file for SOURCE (a CSV, as a file or s3://…) and a target.

    Columns are matched to the fields of the target's input_schema. Where in an output the fields are is said by the
    target's registered schema, or drafted from --sample-output, each path tried on it. What does not fit, and what was
    guessed, is told on stderr and stands in the file. --sample-output alone needs no stack.
    """
    if target is None and sample is None:
        raise click.UsageError("give --target NAME, --sample-output OUTPUT.json, or both")
    if output is not None and output != saving.STDOUT:
        _check(output, [source, *([] if sample is None else [str(sample)])], force=force)
    new = output is not None and not (force or Path(output).exists())
    outputs = [] if sample is None else mapping_files.read_outputs(sample)
    stack = open_stack(stack_name) if target is not None or source.startswith("s3://") else None
    known = _described(source, stack, encoding, delimiter)
    given = {"encoding": encoding, "delimiter": delimiter}
    made = draft(
        known,
        None if target is None or stack is None else _registered(stack, target),
        outputs,
        source={key: value for key, value in given.items() if value is not None},
    )
    for note in (*known["notes"], *made.notes):
        display.tell(f"note: {note}")
    file = None if output in (None, saving.STDOUT) else output
    if file is not None:
        _write(file, made.text, new=new)
    if as_json:
        display.print_json({"file": file, "mapping": made.mapping, "notes": made.notes, "text": made.text})
    elif file is None:
        click.echo(made.text, nl=False)
    return 0


def _registered(stack: Stack, name: str) -> dict[str, Any]:
    """Return what a draft needs of a registered target; raises NotFound."""
    found = stack.app.registry.find(name)
    if found is None:
        missing = f"there is no target {name!r} in the registry; {nearest(name, stack.app.registry.names())}"
        raise NotFound(
            f"{missing}\nregister it (batch-processor tool register), or give --sample-output without --target"
        )
    return {key: getattr(found, key) for key in _TARGET_KEYS}


def _check(destination: str, inputs: list[str], *, force: bool) -> None:
    """Refuse a place that a mapping cannot be written to, or that holds something which is to stay."""
    path = Path(destination)
    if destination.startswith("s3://"):
        raise _refused(f"{destination}: a mapping is a file on this machine, name one such as mapping.yaml")
    if path.suffix.lower() not in (".yaml", ".yml", "") and path.is_file() | (not path.exists()):
        raise _refused(f"{destination}: a mapping is YAML, name it .yaml")
    if path.is_dir():
        raise _refused(f"{path} is a folder: name a file in it, such as {path / 'mapping.yaml'}")
    folder = Path(os.path.realpath(path)).parent
    if not folder.is_dir():
        raise _refused(f"{path}: there is no folder {folder}, make it first")
    if any(path.exists() and Path(given).exists() and path.samefile(given) for given in inputs):
        raise _refused(f"{path} is read: give the mapping another name")
    if path.is_file() and not may_replace(path, force=force):
        raise _refused(f"{path} exists: --force replaces it, or give another name with -o")


def _refused(message: str) -> BatchRefused:
    return BatchRefused([Problem("-o", message)])


def _write(destination: str, text: str, *, new: bool) -> None:
    try:
        saving.write(Path(destination), [text.encode(errors="replace")], new=new)
    except OSError as error:
        raise saving.NotSaved(f"{destination} could not be written: {error.strerror or error}") from error
    display.tell(f"{destination} written")
