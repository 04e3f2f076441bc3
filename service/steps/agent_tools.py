"""Two tools for agents that cannot wait: one starts a batch, the other says where it stands.

AgentCore Gateway calls a function with the arguments as its event, and names the tool in the client context with the
target's name before it, `TARGET___start_batch` ("Lambda function input format" and "Understand how AgentCore Gateway
tools are named", AgentCore Developer Guide). What goes wrong is part of the answer, for the agent to read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch.progress import causes_of, with_result
from service.errors import BatchProcessorError, BatchRefused, NotFound, Problem
from service.excerpt import excerpt
from service.models import OPEN, BatchStatus, batch_id, later_run_id, split_run_id, target_name
from service.steps.agent_execution import execution_arn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.app import App

_NAME = re.compile(
    r"[A-Za-z0-9_-]{1,80}"
)  # of an execution (StartExecution, API reference), of letters that need no care
_CAUSES, _CAUSE_LONGEST = 5, 500
_SOON, _LATER, _MANY = 15, 120, 1000  # seconds to wait for a small batch and for one of more than so many rows


def call(app: App, machine_arn: str, tool: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer of a tool; `error` is in it when it could not do what it was asked for."""
    name = tool.rpartition("__")[2].lstrip("_")
    try:
        if name not in TOOLS:
            raise NotFound(f"there is no tool {tool!r}: this function has {' and '.join(TOOLS)}")
        return TOOLS[name](app, machine_arn, given)
    except BatchProcessorError as error:
        return {"error": str(error)}


def _start(app: App, machine_arn: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Start a batch. The same name and input start no second one while it runs; afterwards the name is taken."""
    asked = {key: value for key, value in given.items() if key != "name" and value not in (None, "", {})}
    name = given.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        message = "is required: a name of your own for this work, of letters, digits, _ and -, at most 80"
        raise BatchRefused([Problem("name", message)])
    batch = _batch_asked_for(asked, name)
    try:
        app.stepfunctions.start_execution(stateMachineArn=machine_arn, name=name, input=json.dumps(asked))
    except app.stepfunctions.exceptions.ExecutionAlreadyExists as error:
        message = f"{name!r} was the name of other work, or of the same that has ended: batch_status tells of it"
        raise BatchRefused([Problem("name", message)]) from error
    except ClientError as error:
        code = error.response["Error"]["Code"]
        raise BatchRefused(
            [Problem("", f"it could not be started: {code}: {error.response['Error']['Message']}")]
        ) from error
    return {"batch_id": batch, "status": BatchStatus.PREPARING.value, "wait_seconds": _SOON}


def _batch_asked_for(asked: Mapping[str, Any], name: str) -> str:
    """Return the id by which a batch, or a later run of it, is asked for; raises BatchRefused when it is neither."""
    rerun_of = asked.get("rerun_of")
    if rerun_of is not None:
        named = rerun_of.get("batch_id") if isinstance(rerun_of, dict) else rerun_of
        if not isinstance(named, str) or "#" not in named:
            raise BatchRefused([Problem("rerun_of", "is the batch_id of a batch, as start_batch returned it")])
        return later_run_id(split_run_id(named)[0], name)
    target = target_name(asked.get("target"))
    if "csv_s3_uri" not in asked or not target:
        message = "csv_s3_uri and target are required, or rerun_of with the id of a batch"
        raise BatchRefused([Problem("", message)])
    return batch_id(target, name)


def _status(app: App, machine_arn: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Say where a batch, or a later run of it, stands, and when to ask again."""
    asked = given.get("batch_id")
    if not isinstance(asked, str) or "#" not in asked:
        raise BatchRefused([Problem("batch_id", "is required: as start_batch returned it")])
    identifier, later = split_run_id(asked)
    arn = execution_arn(machine_arn, later or identifier.partition("#")[2])
    record = app.records.find(identifier)
    if record is None or (later and record.execution_arn != arn):
        return {"batch_id": asked, **_by_execution(app, arn, asked)}
    counts = record.counts or {}
    if record.status in OPEN:
        counts = dict(app.records.chunk_counts(identifier, record.run))
    answer = {
        "batch_id": asked,
        "status": record.status,
        "row_count": record.row_count,
        "rows_done": with_result(counts),
        "counts": {status: count for status, count in counts.items() if count},
    }
    if record.status in OPEN:
        return {**answer, "wait_seconds": _LATER if record.rows > _MANY else _SOON}
    return {**answer, "csv_location": record.csv_location, **causes_of(record, _CAUSES, _CAUSE_LONGEST)}


def _by_execution(app: App, arn: str, asked: str) -> dict[str, Any]:
    """Say how an execution stands that has no record, yet or at all: it is being prepared, or was refused."""
    try:
        execution = app.stepfunctions.describe_execution(executionArn=arn)
    except app.stepfunctions.exceptions.ExecutionDoesNotExist as error:
        raise NotFound(f"there is no batch {asked!r}: use the batch_id that start_batch returned") from error
    if execution["status"] == "RUNNING":
        return {"status": BatchStatus.PREPARING.value, "wait_seconds": _SOON}
    cause = excerpt(execution.get("cause") or "without a cause", _CAUSE_LONGEST)
    failed = {"type": execution.get("error") or execution["status"], "message": cause}
    return {"status": BatchStatus.FAILED.value, "error": failed}


TOOLS: dict[str, Callable[[App, str, Mapping[str, Any]], dict[str, Any]]] = {
    "start_batch": _start,
    "batch_status": _status,
}
