"""What a person reads at the terminal: summaries, tables and progress."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import TYPE_CHECKING, Any, Self

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from service.cost.estimate import money
from service.excerpt import excerpt
from service.export.fill_rates import guarded, seldom, warning
from service.models import OPEN, RowStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_STYLES = {"SUCCEEDED": "green", "PARTIAL": "yellow", "INCOMPLETE": "yellow", "FAILED": "red", "EXPIRED": "dim"}
_CELL = 60
_SELDOM = 3  # fields that are told of those that some rows lack
_PLAIN_WIDTH = 160  # characters of a table that goes to a file or a pipe
_GAP = 2  # characters between two columns
_CAUSE = 40  # characters that a result has at least beside its input, where there are so many
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but tab and line feed: a target's text moves no cursor


_answers = {"stderr": False}


def answer_on_stderr() -> None:
    """Have answers go to stderr from now on: stdout takes the results themselves."""
    _answers["stderr"] = True


class _Outliving:
    """A stream whose reader may go: what is written after that goes nowhere, and nobody is told."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        try:
            return int(self._stream.write(text))
        except BrokenPipeError:
            self._go_on()
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._go_on()

    def _go_on(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())


def outlive_readers() -> None:
    """Go on when nobody reads what is said any more (`| head`): a batch that was paid for is fetched to its end."""
    for name in ("stdout", "stderr"):
        if (stream := getattr(sys, name)) is not None:  # None where a shell has closed it
            setattr(sys, name, _Outliving(stream))


def stdout() -> Console:
    """Return the console of answers."""
    return Console(stderr=_answers["stderr"], highlight=False, emoji=False, soft_wrap=True)


def _table_console() -> Console:
    """As wide as the terminal, or as a file has room for."""
    width = None if sys.stdout.isatty() else _PLAIN_WIDTH
    return Console(stderr=_answers["stderr"], highlight=False, emoji=False, width=width)


def _print_table(table: Table) -> None:
    _table_console().print(table)


def entries(listed: Iterable[Any], table: Callable[[Iterable[Any]], None], *, as_json: bool) -> None:
    """Show a list as a table, or as JSON lines."""
    if not as_json:
        table(listed)
        return
    for entry in listed:
        print_json(entry)


def stderr() -> Console:
    """Return the console of messages and progress."""
    return Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)


def tell(message: str) -> None:
    """Show a message on stderr."""
    stderr().print(escape(message))


def print_json(value: Any) -> None:
    """One JSON document on a line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


_DAYS_FROM = 2 * 86_400  # seconds


def seconds(value: float | None) -> str:
    """Return a span of time for people: `41.2 s`, `3 min 20 s`, `2 h 5 min`, `2.3 days`."""
    if value is None:
        return "?"
    if value < 60:
        return f"{value:.1f} s" if value < 10 else f"{value:.0f} s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    if value < _DAYS_FROM:
        return f"{minutes // 60} h {minutes % 60} min"
    return f"{value / 86_400:.1f} days"


def rows_text(count: int) -> str:
    """`1 row`, `3,708 rows`."""
    return f"{count:,} row{'' if count == 1 else 's'}"


def tenths(words: str, total: int) -> Callable[[int], None]:
    """Says on stderr how many rows of so many are done, at every tenth of them."""
    told = 0

    def show(done: int) -> None:
        nonlocal told
        if done * 10 // max(1, total) > told:
            told = done * 10 // max(1, total)
            tell(f"{words} {done:,} of {rows_text(total)}")

    return show


def rate(value: float) -> str:
    """`182 rows/s`, `3.1 rows/s`."""
    return f"{value:.0f} rows/s" if value >= 10 else f"{value:.1f} rows/s"


def row_list(identifiers: Iterable[str]) -> str:
    """`rows 7, 12` of row ids."""
    numbers = [identifier.removeprefix("row_").lstrip("0") or identifier for identifier in identifiers]
    return f"row{'' if len(numbers) == 1 else 's'} {', '.join(numbers)}"


def summary(result: Mapping[str, Any], ran: int | None = None) -> None:
    """Outcome, counts and causes of a batch that has ended; `ran`: rows that were run again."""
    console = stdout()
    counts = result["counts"]
    took = result["execution_time_ms"]
    style = _STYLES.get(result["status"], "bold")
    rows = result["row_count"] if ran is None else ran
    speed = f" ({rate(rows / (took / 1000))})" if took and rows else ""
    again = "" if ran is None else f", {ran:,} of them run again"
    in_time = f"{again} in {seconds(took / 1000)}{speed}" if took is not None else again
    console.print(f"[bold {style}]{result['status']}[/]  {rows_text(result['row_count'])}{in_time}")
    for status, count in counts.items():
        if count:
            console.print(f"  {status:<18}{count:>10,}")
    fields(result["fields"])
    if said := guarded(result["guarded_cells"]):
        console.print(f"  [dim]{escape(said)}[/]")
    if said := executions(result["chunks"]):
        console.print(f"  [dim]chunks: {escape(said)}[/]")
    causes(result["errors"], counts)


def executions(chunks: Mapping[str, Any]) -> str:
    """Return which executions ran the chunks, and why; "" where nothing is known of them."""
    if not chunks:
        return ""
    again = f"; {chunks['run_again']:,} run again in STANDARD executions" if chunks.get("run_again") else ""
    return f"{chunks['type']} executions ({chunks['why']}){again}"


def fields(known: Iterable[Mapping[str, Any]]) -> None:
    """Fields that no row has, as a warning, and some of those that not all rows have."""
    console = stdout()
    known = list(known)
    if said := warning(known):
        console.print(f"  [yellow]{escape(_CONTROL.sub('', said))}[/]")
    for one in seldom(known, _SELDOM):
        name = escape(_CONTROL.sub("", short(one["name"])))
        console.print(f"  [dim]{name}: found in {one['found']:,} of {rows_text(one['of'])}[/]")


def causes(errors: list[dict[str, Any]], counts: Mapping[str, int]) -> None:
    """Errors grouped by cause, the commonest first, with example rows."""
    console = stdout()
    if not errors:
        return
    console.print("Why:")
    for group in errors:
        kind = group["status"] if group["error"] == group["status"] else f"{group['status']} {group['error']}"
        first_line = group["message"].splitlines()[0] if group["message"] else ""
        more = ", …" if group["count"] > len(group["row_ids"]) else ""
        alike = "; the others differ in numbers, ids or quoted values" if group.get("alike") else ""
        least = "at least " if group.get("at_least") else ""
        if not group["count"]:  # of the batch as a whole, not of rows
            console.print(f"  {escape(kind)}: {escape(_CONTROL.sub('', first_line))}")
            continue
        console.print(f"  {least}{group['count']:>6,} × {escape(kind)}: {escape(_CONTROL.sub('', first_line))}")
        console.print(f"           [dim]{escape(row_list(group['row_ids']))}{more}{alike}[/]")
    shown = sum(group["count"] for group in errors)
    total = sum(count for status, count in counts.items() if status != RowStatus.SUCCESS)
    if total > shown > 0:
        console.print(f"  {total - shown:>6,} of rarer causes")


def status(known: Mapping[str, Any], slowest: Iterable[tuple[str, int]] = ()) -> None:
    """One batch: state, progress, counts, causes, its slowest rows, what to do next."""
    console = stdout()
    style = _STYLES.get(known["status"], "bold")
    console.print(f"[bold {style}]{known['status']}[/]  {escape(known['batch_id'])}")
    count = known["row_count"]
    of = "" if count is None else f" of {count:,}"
    speed = f", {rate(known['rate_per_s'])}" if known["rate_per_s"] else ""
    left = f", {seconds(known['eta_s'])} left" if known["eta_s"] is not None else ""
    console.print(f"  rows done {known['rows_done']:,}{of}{speed}{left}")
    for name, number in known["counts"].items():
        if number:
            console.print(f"  {name:<18}{number:>10,}")
    fields(known["fields"])
    lines = {
        "source": known["source"].get("uri"),
        "read as": known["source"].get("note"),
        "chunks": executions(known["chunks"]),
        "started": known["started_at"],
        "ended": known["ended_at"],
        "kept until": known["expires_at"],
        "CSV": known["csv_location"],
        "cost": None if known["cost_usd"] is None else f"{money(known['cost_usd'])} (us-east-1 list prices)",
        "slowest": ", ".join(f"{row_list([name])} {took:,} ms" for name, took in slowest),
    }
    for name, value in lines.items():
        if value:
            console.print(f"  [dim]{name:<11}[/]{escape(str(value))}")
    causes(known["errors"], known["counts"])
    for command in known["next"]:
        console.print(f"[dim]next:[/] {escape(command)}")


def source_note(src: Mapping[str, Any] | None) -> None:
    """Say how a source was read, where that was a guess."""
    if note := (src or {}).get("note"):
        tell(f"source: {note}")


def batch_table(entries: Iterable[dict[str, Any]]) -> None:
    """Batches, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name, justify in (("batch", "left"), ("status", "left"), ("rows", "right"), ("not ok", "right")):
        table.add_column(name, justify=justify, no_wrap=True)  # type: ignore[arg-type]
    table.add_column("started", no_wrap=True)
    table.add_column("source", overflow="fold")
    for entry in entries:
        counts = entry["counts"]
        bad = sum(counts.values()) - counts["SUCCESS"] if counts else None
        style = _STYLES.get(entry["status"], "")
        table.add_row(
            escape(entry["batch_id"]),
            f"[{style}]{entry['status']}[/]" if style else entry["status"],
            "" if entry["row_count"] is None else f"{entry['row_count']:,}",
            "" if bad is None else f"{bad:,}",
            (entry["started_at"] or "")[:19].replace("T", " "),
            escape(source_name(entry["source_uri"] or "")),
        )
    _print_table(table)


def row_table(rows: Iterable[dict[str, Any]], *, with_batch: bool = False) -> None:
    """Rows, one a line or few: what was found or why nothing was, and the beginning of the input."""
    names = [*["batch"] * with_batch, "row", "status", "ms", "result", "input"]
    lines = [_row_cells(row, with_batch=with_batch) for row in rows]
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in names[:-2]:
        table.add_column(name, justify="right" if name in ("row", "ms") else "left", no_wrap=True)
    table.add_column("result", overflow="fold")
    table.add_column("input", overflow="ellipsis", no_wrap=True, max_width=_input_width([names, *lines]))
    for cells in lines:
        table.add_row(*map(escape, cells))
    _print_table(table)


def _row_cells(row: Mapping[str, Any], *, with_batch: bool) -> list[str]:
    shown = row["row_id"] if row["row_number"] is None else f"{row['row_number']:,}"
    took = "" if row["execution_time_ms"] is None else f"{row['execution_time_ms']:,}"
    cells = [*[row["batch_id"]] * with_batch, shown, row["status"], took, _what(row), _values(row["input_data"])]
    return [_CONTROL.sub("", cell) for cell in cells]


def _input_width(lines: list[list[str]]) -> int:
    """Return how wide an input may be: it is never broken and would take everything, and causes have room first."""
    columns = zip(*lines, strict=True)
    *fixed, result, _ = (max(cell_len(part) for cell in column for part in cell.split("\n")) for column in columns)
    both = _table_console().width - sum(fixed) - _GAP * (len(fixed) + 1)
    return max(both - min(result, _CAUSE, both * 3 // 5), len("input"))


def row_line(row: Mapping[str, Any], *, with_batch: bool = False) -> None:
    """Show a row as it arrives, on one line."""
    *batch, shown, status, _, what, _ = _row_cells(row, with_batch=with_batch)
    stored = row["timestamp"][:19].replace("T", " ")
    cells = [stored, *batch, f"row {shown}", status, " ".join(what.split())]
    stdout().print(escape("  ".join(cell for cell in cells if cell)))


def row_counts(counts: Mapping[str, int]) -> None:
    """How many rows have each status, those that none has left out."""
    for name, number in counts.items():
        if number:
            stdout().print(escape(f"  {name:<18}{number:>10,}"))


def _what(row: Mapping[str, Any]) -> str:
    if row["error"]:
        return f"{row['error'].get('type')}: {row['error'].get('message')}"
    return _values(row["output_data"])


def _values(cells: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{name}={short(value)}" for name, value in (cells or {}).items() if value not in ("", None))


def short(value: Any) -> str:
    """Return a value on one line, cut where it is long."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return excerpt(text, _CELL)


class Watch:
    """Progress of a batch on stderr: one line that changes at a terminal, a line now and then elsewhere."""

    def __init__(self) -> None:
        self._console = stderr()
        self._live: Progress | None = None
        self._task: Any = None
        self._shown = -1

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[said]}"))
            self._live = Progress(*columns, console=self._console, transient=True)
            self._task = self._live.add_task("preparing", total=None, said="")
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()

    def show(self, status: str, row_count: int | None, progress: Mapping[str, Any]) -> None:
        """Show rows done, rate, time left and failures so far."""
        done = progress["rows_done"]
        said = self._words(row_count, progress)
        if self._live is not None:
            self._live.update(self._task, description=status.lower(), total=row_count, completed=done, said=said)
            return
        step = max(1, (row_count or 0) // 10)
        if status in OPEN and row_count is not None and done // step != self._shown:
            self._shown = done // step
            self._console.print(f"{status.lower():<12}{said}")

    def _words(self, row_count: int | None, progress: Mapping[str, Any]) -> str:
        if row_count is None:
            return "reading the source"
        counts = progress["counts"]
        bad = sum(count for status, count in counts.items() if status not in ("SUCCESS", "NOT_RUN"))
        words = [f"{progress['rows_done']:,} of {rows_text(row_count)}"]
        if progress["rate_per_s"]:
            words.append(rate(progress["rate_per_s"]))
        if progress["eta_s"] is not None:
            words.append(f"{seconds(progress['eta_s'])} left")
        words.append(f"{bad:,} failed")
        if progress.get("cause"):
            words[-1] += f" ({short(_CONTROL.sub('', progress['cause']))})"
        return ", ".join(words)


def source_name(uri: str) -> str:
    """Return a file's name where it was uploaded, else the whole URI."""
    return uri.rpartition("/")[2] if "/uploads/" in uri else uri


def target_table(targets: Iterable[Mapping[str, Any]]) -> None:
    """Show registered targets, one a line."""
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in ("name", "type", "version"):
        table.add_column(name, justify="right" if name == "version" else "left", no_wrap=True)
    table.add_column("resource", no_wrap=True)
    table.add_column("description", overflow="ellipsis", no_wrap=True, ratio=1)
    for target in targets:
        said = (target["tool_name"], target["tool_type"], str(target["version"]))
        resource = target["resource_arn"].split(":", 5)[-1]  # function:name, stateMachine:name
        table.add_row(*map(escape, (*said, resource, target["description"].partition("\n")[0])))
    _print_table(table)


def schema_table(entries: Iterable[Mapping[str, Any]]) -> None:
    """Versions of output schemas, one a line, with their fields."""
    table = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("target", "version", "registered"):
        table.add_column(name, justify="right" if name == "version" else "left", no_wrap=True)
    table.add_column("fields", overflow="fold")
    for entry in entries:
        registered = (entry["registered_at"] or "")[:19].replace("T", " ")
        fields = entry["problem"] or ", ".join(entry["fields"] or ["every key found"])
        fields = fields if entry["has_schema"] else "no schema: every top-level key"
        table.add_row(*map(escape, (entry["tool_name"], str(entry["version"]), registered, fields)))
    _print_table(table)
