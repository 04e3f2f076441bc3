"""The command that tries a batch before it is paid for: everything checked, a sample run, the whole projected."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

import click
from botocore.exceptions import BotoCoreError, ClientError
from rich.markup import escape

from service.batch.stopping import profile_of
from service.console import display, runs, spending
from service.console.cli import results
from service.console.cli.common import (
    common,
    examples,
    idempotent_option,
    open_stack,
    said_of_run,
    said_of_source,
    source_options,
)
from service.console.cli.complete import target_option
from service.cost.forecast import forecast
from service.errors import BatchProcessorError
from service.mapping.input_plan import InputPlan
from service.models import RowStatus, split_s3_uri
from service.s3 import bodies, objects
from service.source import csv_rows, lines
from service.source.row_payload import row_payload
from service.store.results import item_bytes

if TYPE_CHECKING:
    from service.console.stacks import Stack
    from service.cost.estimate import Cost
    from service.plan import Plan
    from service.record import BatchRecord

SAMPLE = 10  # rows of a check that says nothing else
_HEAD = 1 << 20  # bytes of a source by which its rows are guessed
OFFERED_ABOVE = 1_000  # rows of a source


@click.command(
    epilog=examples(
        "batch-processor check reviews.csv --target sentiment",
        "batch-processor check s3://bucket/in.csv --target my-agent --mapping my.yaml --sample 25",
    )
)
@click.argument("csv")
@target_option
@click.option("--mapping", type=click.Path(path_type=Path), help="YAML or JSON: input_mapping, output_mapping, …")
@source_options
@click.option("--sample", type=click.IntRange(1, 10_000), default=SAMPLE, show_default=True, help="Rows to run.")
@idempotent_option
@common
def check(  # noqa: PLR0913 - one argument per option
    csv: str,
    target: str,
    mapping: Path | None,
    sample: int,
    encoding: str | None,
    delimiter: str | None,
    stack_name: str | None,
    *,
    idempotent: bool,
    as_json: bool,
) -> int:
    """Check the source and the mappings, run a sample spread over the file, project time and cost of the whole.

    Every problem is shown at once. The sampled rows are kept: `rerun` runs the others, and pays for none twice.
    """
    display.outlive_readers()
    given = runs.read_mapping(mapping) if mapping else {}
    path = None if csv.startswith("s3://") else results.readable(csv)
    stack = open_stack(stack_name, start=True)
    given |= {"csv_s3_uri": csv if path is None else runs.upload(stack, path)}
    given |= said_of_run(given, target, idempotent=idempotent, keep_going=False)
    given |= said_of_source(given, encoding, delimiter)
    record, result = sampled(stack, given, sample, results.default_output(csv, given))
    told = shown(stack, record, result, as_json=as_json)
    if as_json:
        display.print_json(told)
    return 0 if told["succeeded"] == told["sampled"] else 1


def sampled(stack: Stack, given: dict[str, Any], rows: int, destination: str) -> tuple[BatchRecord, dict[str, Any]]:
    """Run a sample of a batch; return its record and result. Raises BatchRefused with every problem found."""
    config = {**(given.get("execution_config") or {}), "sample": rows}
    config.pop("limit", None)
    batch_id, execution_arn = runs.start(stack, {**given, "execution_config": config}, destination)
    result = results.followed(stack, batch_id, execution_arn)
    record = stack.app.records.get(batch_id)
    display.source_note(record.source)
    return record, result


def shown(stack: Stack, record: BatchRecord, result: dict[str, Any], *, as_json: bool) -> dict[str, Any]:
    """Show the sampled rows beside what was found in them, and the projection; return all of it."""
    rows = list(stack.app.queries.of_batch(record.batch_id))
    plan = stack.app.plans.load(record.batch_id, record.plan_hash)
    total = record.rows
    counts = Counter(row["status"] for row in rows)
    seconds = [row["execution_time_ms"] / 1000 for row in rows if row["execution_time_ms"] is not None]
    each = fmean(seconds) if seconds else 0.0
    cost = _cost(stack, record, plan, counts, each)
    share = (counts["FAILED"] + counts["TIMEOUT"]) / max(1, len(rows))
    found = forecast(total, each, profile_of(plan), spending.account_of(stack.app), failures=share)
    name = record.batch_id
    told = {
        "batch_id": name,
        "first_input": _first_input(plan, rows),
        "row_count": total,
        "sampled": len(rows),
        "succeeded": counts["SUCCESS"],
        "errors": [group for group in result["errors"] if group["status"] != "NOT_RUN"],
        "fields": result["fields"],
        "rows": rows,
        "projected": {
            **found.to_json(),
            "usd": round(cost.total_usd, 6),
            "formula": cost.explain(),
            "lines": spending.lines(found, cost),
        },
        "next": [f"batch-processor rerun '{name}'"] if total > len(rows) else [f"batch-processor results '{name}'"],
    }
    if not as_json:
        _tell(told)
    return told


def _first_input(plan: Plan, rows: list[dict[str, Any]]) -> Any:
    """Return what the target was given for the first row that could be mapped; None when none could."""
    for row in rows:
        if row["status"] != RowStatus.INVALID_INPUT and row["input_data"]:
            fields = InputPlan.of_json(plan.input_plan)
            number = row["row_number"] or 0
            item = row_payload(plan.kind, plan.target_name, row["batch_id"], number, row["input_data"], fields)
            return item["target_input"]
    return None


def _tell_first_input(given: Any) -> None:
    """Show the first prompt, or else the first input, in full: what every row costs is what it says."""
    if given is None:
        return
    console, messages = display.stdout(), given.get("messages")
    prompt = messages[0].get("content") if isinstance(messages, list) and messages else None
    if isinstance(prompt, str):
        console.print("The first prompt:")
        console.print(escape("\n".join(f"  {line}" for line in prompt.splitlines())))
    else:
        console.print("The target was first given:")
        console.print(escape("  " + json.dumps(given, ensure_ascii=False)))


def _cost(stack: Stack, record: BatchRecord, plan: Plan, counts: Counter[str], each: float) -> Cost:
    sizes = [item_bytes(item) for page in stack.app.store.pages(record.batch_id) for item in page]
    function: dict[str, float] = {}
    if plan.kind == "tool" and each:
        try:
            known = stack.app.lambda_client.get_function_configuration(FunctionName=plan.target_arn)
            function = {"memory_mb": known["MemorySize"], "seconds": each}
        except ClientError:  # whoever runs the command may not look at it: its cost stays unknown, and that is said
            function = {}
    return spending.expected(plan, counts, record.rows, sizes, function)


def _tell(told: dict[str, Any]) -> None:
    console = display.stdout()
    total, count = told["row_count"], told["sampled"]
    ran = f"{count} of {display.rows_text(total)}, spread over the file, {'was' if count == 1 else 'were'} run:"
    console.print(f"Nothing stands against running it. {ran}")
    display.row_table(told["rows"])
    _tell_first_input(told["first_input"])
    console.print(f"{told['succeeded']} of {count} succeeded")
    display.fields(told["fields"])
    display.causes(told["errors"], {row["status"]: 1 for row in told["rows"]})
    console.print(f"All {display.rows_text(total)}:" if total > 1 else "The row:")
    for line in told["projected"]["lines"]:
        console.print(escape(f"  {line}"))
    for command in told["next"]:
        label = _label(total, count)
        console.print(f"[dim]{label}:[/] {command}")


def _label(total: int, count: int) -> str:
    """Return what a next command is for: the rows that are left, else those that were run."""
    shown = total - count or count
    return f"the {'other ' if total > count else ''}row{'' if shown == 1 else 's'}"


def offered(stack: Stack, given: dict[str, Any], destination: str) -> int | None:
    """Offers a sample before a large batch and runs the rest if that is wanted; None when the batch is to run at once.

    Returns the exit code of what was run.
    """
    about = rows_about(stack, given["csv_s3_uri"], given.get("source"))
    if about <= OFFERED_ABOVE:
        return None
    question = (
        f"The source has about {display.rows_text(about)}. Run {SAMPLE} of them first, and see what all would cost?"
    )
    if not click.confirm(question, default=True, err=True):
        return None
    record, result = sampled(stack, given, SAMPLE, destination)
    told = shown(stack, record, result, as_json=False)
    left = told["row_count"] - told["sampled"]
    if not click.confirm(f"Run the other {display.rows_text(left)}?", default=False, err=True):
        return 0 if told["succeeded"] == told["sampled"] else 1
    execution_arn = runs.start_rerun(stack, {"rerun_of": record.batch_id})
    result = results.followed(stack, record.batch_id, execution_arn)
    results.finish(stack, result, destination, as_json=False, ran=left)
    return 0 if runs.succeeded(result, None) else 1


def rows_about(stack: Stack, uri: str, options: Any = None) -> int:
    """About how many rows a source has, by its first megabyte; 0 when it cannot be said: PrepareBatch will."""
    bucket, key = split_s3_uri(uri) or ("", "")
    try:
        found = objects.find_source(stack.app.s3, bucket, key)
        head = b"".join(bodies.read(stack.app.s3, found, 0, min(_HEAD, found.size)))
        said = options if isinstance(options, dict) else {}
        fmt = lines.detect_format(
            head,
            complete=len(head) >= found.size,
            encoding=said.get("encoding"),
            delimiter=said.get("delimiter"),
        )
    except (BatchProcessorError, BotoCoreError, ClientError):
        return 0
    count, end = 0, 0
    try:
        for record in csv_rows.read_records([head], fmt):
            count, end = record.number, record.end
    except lines.SourceFault:  # cut in the middle of a row
        pass
    return count if len(head) >= found.size or not end else round(count * found.size / end)
