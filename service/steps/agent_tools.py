"""Two tools for agents that cannot wait: one starts a batch, the other says where it stands.

AgentCore Gateway calls a function with the arguments as its event, and names the tool in the client context with the
target's name before it, `TARGET___start_batch` ("Lambda function input format" and "Understand how AgentCore Gateway
tools are named", AgentCore Developer Guide). What goes wrong is part of the answer, for the agent to read.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError, BatchRefused, NotFound, Problem
from service.excerpt import excerpt
from service.models import OPEN, BatchStatus, batch_id, target_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from service.app import App
    from service.record import BatchRecord

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
    rerun_of = asked.get("rerun_of")
    if rerun_of is None and not ("csv_s3_uri" in asked and "target" in asked):
        message = "csv_s3_uri and target are required, or rerun_of with the id of a batch"
        raise BatchRefused([Problem("", message)])
    try:
        started = app.stepfunctions.start_execution(stateMachineArn=machine_arn, name=name, input=json.dumps(asked))
    except app.stepfunctions.exceptions.ExecutionAlreadyExists as error:
        message = f"{name!r} was the name of other work, or of the same that has ended: batch_status tells of it"
        raise BatchRefused([Problem("name", message)]) from error
    identifier = batch_id(target_name(asked.get("target")), name) if rerun_of is None else _batch_of(rerun_of)
    return {
        "batch_id": identifier,
        "execution_arn": started["executionArn"],
        "status": BatchStatus.PREPARING.value,
        "wait_seconds": _SOON,
    }


def _batch_of(rerun_of: Any) -> str:
    return str(rerun_of.get("batch_id") if isinstance(rerun_of, dict) else rerun_of)


def _status(app: App, _machine_arn: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Say where a batch stands, and when to ask again."""
    identifier = given.get("batch_id")
    if not isinstance(identifier, str) or not identifier:
        raise BatchRefused([Problem("batch_id", "is required: as start_batch returned it")])
    record = app.records.get(identifier)
    counts = record.counts or {}
    if record.status in OPEN:
        counts = dict(app.records.chunk_counts(identifier, record.run))
    answer = {
        "batch_id": identifier,
        "status": record.status,
        "row_count": record.row_count,
        "rows_done": sum(count for status, count in counts.items() if status not in ("NOT_RUN", "MISSING")),
        "counts": {status: count for status, count in counts.items() if count},
    }
    if record.status in OPEN:
        return {**answer, "wait_seconds": _LATER if record.rows > _MANY else _SOON}
    return {**answer, **_end(record)}


def _end(record: BatchRecord) -> dict[str, Any]:
    causes = [{**cause, "message": excerpt(str(cause["message"]), _CAUSE_LONGEST)} for cause in record.errors[:_CAUSES]]
    error = record.error and {**record.error, "message": excerpt(record.error["message"], _CAUSE_LONGEST)}
    return {"csv_location": record.csv_location, "errors": causes, "error": error}


TOOLS: dict[str, Callable[[App, str, Mapping[str, Any]], dict[str, Any]]] = {
    "start_batch": _start,
    "batch_status": _status,
}
