"""What the commands that end in a CSV share: where it goes, the watch over the batch, its summary."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError
from rich.markup import escape

from service.console import display, runs, saving, spending
from service.console.cli.common import may_replace
from service.cost.estimate import money
from service.errors import BatchRefused, Problem, SourceChanged
from service.export import multi_file
from service.models import FAILURES, split_s3_uri
from service.request.columns import SUFFIXES, file_name, format_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.console import stacks

INTERRUPTED = 130


def readable(csv: str) -> Path:
    """Return the file of that name; raises BatchRefused."""
    path = Path(csv)
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        raise BatchRefused([Problem(csv, what)])
    return path


def default_output(csv: str, given: Mapping[str, Any]) -> str:
    """`<input>-results.csv` beside a local file, in this folder for one in S3."""
    options = given.get("csv")
    form = options.get("format") if isinstance(options, dict) else None
    name = f"{Path(csv).stem}-results{SUFFIXES.get(form or 'csv', '.csv')}"
    return name if csv.startswith("s3://") else str(Path(csv).with_name(name))


def followed(stack: stacks.Stack, batch_id: str, execution_arn: str) -> dict[str, Any]:
    """Return the result; a Ctrl-C leaves the batch running and says how to look at it again."""
    try:
        with display.Watch() as watch:
            return runs.follow(stack, batch_id, execution_arn, watch.show)
    except KeyboardInterrupt:
        display.tell(
            f"\nThe batch goes on without this command. To see it again, or to stop it:\n"
            f"  batch-processor status '{batch_id}' --follow\n  batch-processor stop '{batch_id}'"
        )
        raise SystemExit(INTERRUPTED) from None


def checked(stack: stacks.Stack, destination: str, record: Any, *, force: bool, as_json: bool) -> None:
    """Refuse a destination before anything is done for a batch that is there; its own earlier CSV is replaced."""
    check_stdout(destination, as_json=as_json)

    def replaces(path: Path) -> bool:
        if saving.is_copy(stack.app.s3, record.source.get("uri") or "", path):
            message = f"{path} is the batch's source, which the results would replace: give them another name"
            raise BatchRefused([Problem("-o", message)])
        return _is_own(stack, record, path, destination) or may_replace(path, force=force)

    saving.check(destination, inputs=[record.source.get("uri") or ""], replaces=replaces)


def _is_own(stack: stacks.Stack, record: Any, path: Path, destination: str) -> bool:
    """Whether a file is what the batch's last export wrote there, as one file or as one of several."""
    if not record.csv_location:
        return False
    number = path.name.removeprefix(Path(destination).stem)[1:5] if path.name != Path(destination).name else "1"
    return saving.is_copy(stack.app.s3, file_name(record.csv_location, int(number)), path)


def check_object(stack: stacks.Stack, destination: str) -> None:
    """Refuse an object of S3 that is there; raises BatchRefused. What may not be looked at is left to the batch."""
    place = saving.s3_place(destination)
    if place is None:
        return
    try:
        stack.app.s3.head_object(Bucket=place[0], Key=place[1])
    except ClientError:
        return
    raise BatchRefused([Problem("-o", f"{destination} exists: --force replaces it, or give another key")])


def check_stdout(destination: str, *, as_json: bool) -> None:
    """Refuse two documents on stdout; with the results there, everything else that is said goes to stderr."""
    if destination != saving.STDOUT:
        return
    if as_json:
        raise BatchRefused([Problem("-o", "- writes the results to stdout, and so does --json: give one of them")])
    display.answer_on_stderr()


def download(stack: stacks.Stack, result: dict[str, Any], destination: str, *, new: bool = False) -> str | None:
    """Fetch what a batch made, all its files where it is several; return their paths. Raises NotSaved."""
    bucket, first = split_s3_uri(result["csv_location"]) or ("", "")
    keys = multi_file.keys_of(stack.app.s3, bucket, first)
    if destination == saving.STDOUT:
        if len(keys) > 1:
            message = f"the results are {len(keys)} files, which stdout cannot take: batch-processor aggregate "
            raise saving.NotSaved(f"{message}'{result['batch_id']}' -o FILE")
        saving.to_stdout(stack.app.s3, result["csv_location"])
        return None
    path, paths = Path(destination), []
    for number, key in enumerate(keys, 1):
        paths.append(path.with_name(file_name(path.name, number)))
        saving.fetch(stack.app.s3, f"s3://{bucket}/{key}", paths[-1], result["batch_id"], new=new)
    return ", ".join(map(str, paths))


def report(result: dict[str, Any], saved: str | None, *, as_json: bool, ran: int | None = None) -> None:
    """Show the result, and what can be done about rows that did not succeed."""
    if as_json:
        display.print_json(result)
        return
    display.summary(result, ran)
    if saved:
        display.stdout().print(f"CSV: {escape(saved)}")
    if result["counts"]["SUCCESS"] != result["row_count"]:
        name = result["batch_id"]
        if any(result["counts"].get(status) for status in FAILURES):  # rows that were not run are in no such list
            display.stdout().print(f"[dim]Rows that did not succeed:[/] batch-processor failed '{name}'")
        if any(group["error"] == SourceChanged.__name__ for group in result["errors"]):
            display.stdout().print("[dim]The source was replaced meanwhile:[/] a new batch runs those rows")
        else:
            display.stdout().print(f"[dim]To run them again:[/] batch-processor rerun '{name}'")


def finish(  # noqa: PLR0913 - of a run or a rerun
    stack: stacks.Stack,
    result: dict[str, Any],
    destination: str,
    *,
    as_json: bool,
    ran: int | None = None,
    new: bool = False,
) -> None:
    """Fetch the CSV of a batch that has just ended, if it has one, and show the result; `ran`: rows run again."""
    saved = None
    if result["csv_location"]:
        saved = destination if saving.s3_place(destination) else download(stack, result, destination, new=new)
    report(result, saved, as_json=as_json, ran=ran)
    if not as_json and (cost := spending.so_far(stack.app, stack.app.records.get(result["batch_id"]))) is not None:
        beside = "" if cost.target_usd is not None else ", beside the target's own"
        display.stdout().print(f"[dim]Cost:[/] about {money(cost.total_usd)}{beside}")


def csv_again(stack: stacks.Stack, record: Any, destination: str, *, raw_cells: bool, as_json: bool) -> int:
    """Make the CSV of a batch again and fetch it; return the exit code."""
    place = saving.s3_place(destination)
    csv: dict[str, Any] = {"neutralise_formulas": False} if raw_cells else {}
    csv["format"] = format_of(destination) or record.csv.get("format")
    own = runs.place_for(stack, record.batch_id, destination)
    result = runs.aggregate(stack, record.batch_id, place or own, csv)
    saved = destination if place else download(stack, result, destination)
    report(result, saved, as_json=as_json)
    return 0 if runs.succeeded(result, limit_of(record)) else 1


def own_output(record: Any) -> str:
    """`<source>-results.csv` in this folder."""
    return Path(default_output(record.source.get("uri") or "batch", {"csv": record.csv})).name


def limit_of(record: Any) -> int | None:
    """How many rows a batch was limited to, if it was."""
    return record.rows_to_run if record.stop_reason == "limit" else None
