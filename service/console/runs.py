"""What the command line asks of a stack: start, follow, find and fetch."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from botocore.exceptions import HTTPClientError

from service.batch import closing
from service.batch import progress as batch_progress
from service.console import batch_status
from service.console.mapping_files import FILE_KEYS, read_document
from service.errors import BatchProcessorError, BatchRefused, NotFound, Problem, nearest
from service.models import BatchStatus, parse_iso, target_name
from service.request import destination
from service.request.columns import SUFFIXES, format_of, suffix_of
from service.request.older_keys import Renamed
from service.steps.agent_execution import execution_arn
from service.steps.failure import json_object

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from service.console.stacks import Stack
    from service.record import BatchRecord
    from service.request.destination import Place

_CHUNKS_A_SECOND = 2_000  # chunk records read for progress, at most
_RECENT = 1000  # batches looked at for a prefix
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86_400, "w": 604_800}


class CouldNotRun(BatchProcessorError):
    """The batch's execution failed for a reason of its own, not of the rows'."""


def read_mapping(path: Path) -> dict[str, Any]:
    """Return the keys of a mapping file (YAML or JSON); raises BatchRefused."""
    try:
        given = read_document(path)
    except BatchRefused as refused:
        raise BatchRefused(Problem(f"--mapping {path}", str(problem)) for problem in refused.problems) from refused
    if not isinstance(given, dict):
        raise BatchRefused([Problem(f"--mapping {path}", f"must hold an object with any of {', '.join(FILE_KEYS)}")])
    renamed = Renamed(given)
    if renamed.problems:
        raise BatchRefused(Problem(f"--mapping {path}: {one.path}", one.message) for one in renamed.problems)
    given = renamed.given
    unknown = [key for key in given if key not in FILE_KEYS]
    if unknown:
        raise BatchRefused(
            Problem(f"--mapping {path}: {key}", f"unknown key; {nearest(str(key), FILE_KEYS)}") for key in unknown
        )
    return given


def upload(stack: Stack, path: Path) -> str:
    """Put the file into the stack's bucket, by its content; return its s3:// URI. Raises BatchRefused."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise BatchRefused([Problem(str(path), error.strerror or "cannot be read")]) from error
    bucket, key = stack.app.settings.data_bucket, f"uploads/{digest}/{path.name}"
    stack.app.s3.upload_file(str(path), bucket, key)
    return f"s3://{bucket}/{key}"


def place_for(stack: Stack, batch_id: str, output: str) -> Place:
    """Return where in the stack's bucket the results for a local file are made: the file's name says their form."""
    return destination.own_place(stack.app.settings, batch_id, suffix_of(output) or SUFFIXES["csv"])


def as_named(given: dict[str, Any], output: str) -> dict[str, Any]:
    """Return the csv options with the format that the destination's name says.

    BatchRefused when they say another one.
    """
    options = given.get("csv") if isinstance(given.get("csv"), dict) else None
    said, named = (options or {}).get("format"), format_of(output)
    if named is None or said == named or (given.get("csv") is not None and options is None):
        return given
    if said in SUFFIXES:
        raise BatchRefused([Problem("-o", f"{output} is a name for {named}, but csv.format is {said!r}")])
    return {**given, "csv": {**(options or {}), "format": named}} if named != "csv" else given


def start(stack: Stack, given: dict[str, Any], output: str) -> tuple[str, str]:
    """Start a batch; return its id and the execution's ARN."""
    name = execution_name()
    batch_id = f"{target_name(given['target'])}#{name}"
    given.setdefault("output_key", place_for(stack, batch_id, output).key)
    return batch_id, _start(stack, name, given)


def start_rerun(stack: Stack, given: dict[str, Any]) -> str:
    """Start the run of an order with `rerun_of`; return the execution's ARN."""
    return _start(stack, execution_name(), given)


def execution_name() -> str:
    """Return a new name of an execution: when it was made, and what tells it from another of that second."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"


def _start(stack: Stack, name: str, given: dict[str, Any]) -> str:
    """Start an execution of that name; return its ARN.

    One whose answer was lost is begun once: while it runs, StartExecution of the same name and input answers as before;
    once it has ended, ExecutionAlreadyExists (Step Functions API, StartExecution).
    """
    states = stack.app.stepfunctions
    text = json.dumps(given)
    try:
        started = states.start_execution(stateMachineArn=stack.state_machine_arn, name=name, input=text)
    except states.exceptions.ExecutionAlreadyExists:
        arn = execution_arn(stack.state_machine_arn, name)
        if states.describe_execution(executionArn=arn).get("input") != text:
            raise
        return arn
    return str(started["executionArn"])


def follow(stack: Stack, batch_id: str, execution_arn: str, show: Callable[..., None]) -> dict[str, Any]:
    """Wait for the execution and show progress; return the batch's result.

    Raises BatchRefused when PrepareBatch refused it, CouldNotRun when it failed otherwise.
    """
    pause, seen = 0.3, batch_status.Causes(stack, batch_id)
    while True:
        execution = stack.app.stepfunctions.describe_execution(executionArn=execution_arn)
        record = stack.app.records.find(batch_id)
        if record is not None and record.execution_arn == execution_arn:  # a rerun's is not its own at once
            count = None if record.row_count is None else record.rows
            known = batch_progress.progress(stack.app, record)
            show(record.status, count, {**known, "cause": seen.commonest(known["counts"])})
        if execution["status"] != "RUNNING":
            return ended(stack, batch_id, execution)
        time.sleep(pause)
        # Progress is the sum of the finished chunks' records: of a large batch they are not read every other second.
        chunks = 0 if record is None or record.row_count is None else record.rows / 100
        pause = min(max(2.0, chunks / _CHUNKS_A_SECOND), pause * 1.2)


def ended(stack: Stack, batch_id: str, execution: dict[str, Any]) -> dict[str, Any]:
    """Return the result of an execution that has ended; raises as `follow`."""
    if execution["status"] == "SUCCEEDED":
        result: dict[str, Any] = json.loads(execution["output"])
        return result
    cause = str(execution.get("cause") or "")
    details = json_object(cause)
    if execution.get("error") == "BatchFailed" and "counts" in details:
        return details
    message = str(details.get("errorMessage") or cause or "no cause given")
    record = stack.app.records.find(batch_id)
    if execution.get("error") in ("BatchRefused", "BatchRunning", "BatchExpired"):
        if record is not None and record.error is not None and record.execution_arn == execution["executionArn"]:
            message = record.error["message"]  # it says more than what is raised, which is logged
        raise BatchRefused([Problem("", message)])
    if record is not None:
        record = closing.refreshed(stack.app, record)
        if record.row_count is not None and execution["status"] in ("ABORTED", "TIMED_OUT"):
            return batch_progress.result_of(record)
    what = f"{execution['status']} {execution.get('error') or ''}".strip()
    raise CouldNotRun(
        f"batch {batch_id}: its execution ended {what}: {message}\n"
        f"What is stored stays: batch-processor status '{batch_id}'\n"
        f"To run the other rows: batch-processor rerun '{batch_id}'"
    )


def is_refused_order(record: BatchRecord) -> bool:
    """Whether a record is of an order that PrepareBatch refused: no row of it was run."""
    refused = record.error is not None and record.error.get("type") == BatchRefused.__name__
    return record.row_count is None and record.status == BatchStatus.FAILED and refused


def ran(records: Iterable[BatchRecord]) -> Iterator[BatchRecord]:
    """Yield the records of batches, without those of orders that were refused."""
    return (record for record in records if not is_refused_order(record))


def find(stack: Stack, given: str) -> BatchRecord:
    """Return the record of a full id, a unique prefix (of the id or of its execution's name) or `last`.

    Raises NotFound.
    """
    records = stack.app.records
    if not given.strip():
        raise NotFound("the batch has no name: give its id, the beginning of it, or `last`")
    if given == "last":
        newest = next(ran(records.newest()), None)
        if newest is None:
            raise NotFound("there is no batch yet: `batch-processor run CSV --target NAME` starts one")
        return newest
    exact = records.find(given) if "#" in given else None
    if exact is not None:
        return exact
    found = [
        record
        for record in islice(records.newest(), _RECENT)
        if record.batch_id.startswith(given) or record.batch_id.partition("#")[2].startswith(given)
    ]
    if len(found) == 1:
        return found[0]
    if found:
        some = ", ".join(record.batch_id for record in found[:5])
        raise NotFound(f"{given!r} is the beginning of {len(found)} batches: {some}{', …' if len(found) > 5 else ''}")
    raise NotFound(f"there is no batch {given!r}: `batch-processor batches` lists those there are")


def aggregate(stack: Stack, batch_id: str, location: tuple[str, str], csv: dict[str, Any]) -> dict[str, Any]:
    """Have the aggregator make the CSV of a batch again; return the result. Raises BatchRefused, CouldNotRun."""
    client = stack.app.client("lambda", read_timeout=910, attempts=1)
    event: dict[str, Any] = {"batch_id": batch_id, "output_bucket": location[0], "output_key": location[1], "csv": csv}
    while True:
        try:
            answer = client.invoke(FunctionName=stack.aggregator, Payload=json.dumps(event).encode())
            result: dict[str, Any] = json.loads(answer["Payload"].read())
        except HTTPClientError as error:
            raise CouldNotRun(
                f"the aggregator gave no answer: {error}\nIt may be at work still, and the results stay stored. "
                f"Give the same command again, or look: batch-processor status '{batch_id}'"
            ) from error
        if "FunctionError" in answer:
            kind, message = str(result.get("errorType")), str(result.get("errorMessage"))
            if kind in ("BatchRefused", "BatchRunning", "BatchExpired", "ResultsGone"):
                raise BatchRefused([Problem("", message)])
            raise CouldNotRun(f"the aggregator failed: {kind}: {message}")
        if "continuation" not in result:
            return result
        event["aggregation"] = {"result": result}


def moment(text: str) -> datetime:
    """Return the moment of `2h`, `30min`, `3d` ago or of an ISO time; ValueError."""
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = text[len(number) :].strip()
    if unit in _UNITS and number.replace(".", "", 1).isdigit():
        return datetime.now(UTC) - timedelta(seconds=float(number) * _UNITS[unit])
    return parse_iso(text)


def succeeded(result: dict[str, Any], limit: int | None) -> bool:
    """Whether every row succeeded, or every row that a limit let run."""
    if result["status"] == BatchStatus.SUCCEEDED:
        return True
    counts = result["counts"]
    return limit is not None and counts["SUCCESS"] == min(limit, result["row_count"])
