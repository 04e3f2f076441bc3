"""One row's result: what the target gave becomes fields, a failure becomes a retry or a stored failure."""

from __future__ import annotations

import gzip
import json
import random
import time
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem
from service.extraction import OutputPlan, compile_output_mapping
from service.models import Result, RowStatus, batch_hash, call_name, elapsed_ms, error_of, now_iso, row_number
from service.store import ITEM_BYTES, KEPT_IN_ITEM, item_bytes, to_item

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App

# Names of errors, from the Step Functions guide "Handling errors in workflows"; the Lambda runtime's own time-out
# is Sandbox.Timedout.
_TIMEOUTS = frozenset({"States.Timeout", "States.HeartbeatTimeout", "Sandbox.Timedout"})
_TOO_LARGE = "States.DataLimitExceeded"
_ALREADY_THERE = frozenset({"StepFunctions.ExecutionAlreadyExistsException", "ExecutionAlreadyExists"})
_STILL_RUNNING_WAIT = 30  # seconds until an execution that is already there is looked at again
_PLAIN_TTL = 14 * 86_400  # seconds that results of plain events are kept: as those of a batch by default


@lru_cache(maxsize=32)
def _output_plan(mapping: str, target: str, kind: str) -> OutputPlan:
    return compile_output_mapping(json.loads(mapping), target=target, kind=kind)


def write_output(app: App, event: Mapping[str, Any]) -> dict[str, str]:
    """Extracts the fields of an output and stores the result: SUCCESS, or EXTRACTION_FAILED with why.

    `event`: batch_id, run, plan, row_id, input_data, output, started_at and stopped_at (ISO 8601).
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    compiled = _output_plan(json.dumps(plan["output_mapping"]), plan["target_name"], plan["kind"])
    extraction = compiled.extract(event["output"])
    result = _result(event, plan, RowStatus.SUCCESS if extraction.ok else RowStatus.EXTRACTION_FAILED)
    result.execution_time_ms = elapsed_ms(event.get("started_at"), event.get("stopped_at"))
    if extraction.ok:
        result.output_data = extraction.fields
        result.method = extraction.method
    else:
        result.error = error_of("ExtractionFailed", extraction.message)
    if plan["keep_output"]:
        _keep_output(app, result, event["output"])
    return _store(app, result)


def _result(event: Mapping[str, Any], plan: Mapping[str, Any], status: RowStatus) -> Result:
    run = int(event["run"])
    return Result(
        event["batch_id"],
        event["row_id"],
        status,
        event["input_data"],
        timestamp=now_iso(),
        attempts=run,
        run=run,
        ttl=plan["ttl"],
    )


def _keep_output(app: App, result: Result, output: Any) -> None:
    packed = gzip.compress(json.dumps(output, separators=(",", ":")).encode(), mtime=0)
    if len(packed) <= KEPT_IN_ITEM:
        result.output = packed
        return
    key = f"outputs/{batch_hash(result.batch_id)}/{result.row_id}-{result.run}.json.gz"
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=packed, ContentType="application/json")
    result.output_s3_uri = f"s3://{app.settings.data_bucket}/{key}"


def _store(app: App, result: Result) -> dict[str, str]:
    size = item_bytes(to_item(result))
    if size > ITEM_BYTES:
        result.status = RowStatus.EXTRACTION_FAILED
        result.output_data = {}
        result.method = None
        message = (
            f"the fields and the row take {size} bytes; a result holds at most {ITEM_BYTES}: map less of the output"
        )
        result.error = error_of("ResultTooLarge", message)
    status = app.store.put(result)
    return {"batch_id": result.batch_id, "row_id": result.row_id, "status": str(status)}


def handle_failure(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """How long to wait for the next call, or the failure stored.

    `event`: batch_id, run, plan, row_id, input_data, call (attempt, name) and failure (Error, Cause).
    Returns action (`retry` or `done`), attempt, name, wait_seconds, status.
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    kind, message, status = describe_failure(event["failure"])
    if plan["kind"] == "agent" and kind in {_TOO_LARGE, *_ALREADY_THERE}:
        answer = _from_execution(app, event, plan)
        if isinstance(answer, dict):
            return answer
        kind, message, status = answer
    if kind == _TOO_LARGE:
        message = "output too large: row and output together exceed the 256 KiB that a state's payload may have"
    attempt = int(event["call"]["attempt"])
    policy = plan["retry_policy"]
    if attempt < policy["max_attempts"] and _may_retry(kind, policy) and not app.plans.stopped(event["batch_id"]):
        number = row_number(event["row_id"]) or 0
        name = call_name(event["batch_id"], number, int(event["run"]), attempt + 1)
        return _decision("retry", attempt + 1, name, _wait_seconds(policy, attempt))
    result = _result(event, plan, status)
    result.error = error_of(kind, message)
    if status is RowStatus.TIMEOUT:
        result.execution_time_ms = plan["timeout_seconds"] * 1000
    return _decision("done", attempt, event["call"]["name"], 0, _store(app, result)["status"])


def _decision(action: str, attempt: int, name: str, wait_seconds: int, status: str = "") -> dict[str, Any]:
    return {"action": action, "attempt": attempt, "name": name, "wait_seconds": wait_seconds, "status": status}


def _may_retry(kind: str, policy: Mapping[str, Any]) -> bool:
    """By default every failure of the target; an output too large would be as large again."""
    return kind != _TOO_LARGE and (policy["retry_on"] is None or kind in policy["retry_on"])


def _wait_seconds(policy: Mapping[str, Any], attempt: int) -> int:
    """Seconds before the next call: exponential with full jitter, at least 1 (a Wait takes whole seconds)."""
    ceiling = min(policy["max_seconds"], policy["initial_seconds"] * policy["backoff_rate"] ** (attempt - 1))
    return max(1, round(random.uniform(0, ceiling)))  # noqa: S311 - spreads load, keeps no secret


def describe_failure(failure: Mapping[str, Any]) -> tuple[str, str, RowStatus]:
    """The error's name, its message and the row's status, of a Catch's Error and Cause.

    A Lambda function's cause is JSON with errorType and errorMessage; that of a nested execution is the JSON of
    DescribeExecution, with its own Error, Cause and Status.
    """
    kind = str(failure.get("Error") or "Unknown")
    cause = str(failure.get("Cause") or "")
    details = _object(cause)
    if "errorMessage" in details:
        message = str(details["errorMessage"])
    elif "ExecutionArn" in details:
        kind = str(details.get("Error") or ("States.Timeout" if details.get("Status") == "TIMED_OUT" else kind))
        inner = _object(str(details.get("Cause") or ""))
        message = str(
            inner.get("errorMessage") or details.get("Cause") or f"the execution ended {details.get('Status')}"
        )
    else:
        message = cause or "the target failed without a cause"
    return kind, message, RowStatus.TIMEOUT if kind in _TIMEOUTS else RowStatus.FAILED


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _from_execution(
    app: App, event: Mapping[str, Any], plan: Mapping[str, Any]
) -> dict[str, Any] | tuple[str, str, RowStatus]:
    """The decision by the state of an agent's execution that is already there, or how that execution failed."""
    call = event["call"]
    machine = ":".join(plan["target_arn"].split(":")[:7])
    arn = f"{machine.replace(':stateMachine:', ':execution:')}:{call['name']}"
    execution = app.stepfunctions.describe_execution(executionArn=arn)
    if execution["status"] == "RUNNING":
        return _decision("retry", int(call["attempt"]), call["name"], _STILL_RUNNING_WAIT)
    if execution["status"] != "SUCCEEDED":
        details = {"ExecutionArn": arn, "Status": execution["status"]}
        details.update({key.capitalize(): execution[key] for key in ("error", "cause") if key in execution})
        return describe_failure({"Error": "States.TaskFailed", "Cause": json.dumps(details)})
    stored = write_output(
        app,
        {
            **event,
            "output": json.loads(execution["output"]),
            "started_at": now_iso(execution["startDate"]),
            "stopped_at": now_iso(execution["stopDate"]),
        },
    )
    return _decision("done", int(call["attempt"]), call["name"], 0, stored["status"])


def finish_chunk(app: App, event: Mapping[str, Any]) -> dict[str, Any]:
    """Writes the record of a finished chunk.

    `event`: batch_id, run, plan, chunk (number, first_row, rows), stored (counts of rows that did not travel),
    results (row_id and status of those that did).
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    counts: Counter[str] = Counter(event["stored"])
    counts.update(result["status"] for result in event["results"])
    chunk = event["chunk"]
    app.plans.save_chunk(
        event["batch_id"],
        int(event["run"]),
        chunk["number"],
        first_row=chunk["first_row"],
        rows=chunk["rows"],
        counts=dict(counts),
        ttl=plan["ttl"],
    )
    return {"chunk": chunk["number"], "counts": dict(counts)}


def store_plain(app: App, event: Mapping[str, Any]) -> dict[str, str]:
    """Stores a result as it is given.

    `event`: batch_id, row_id, and any of input_data, output_data, status (UNKNOWN without), execution_time_ms.
    """
    missing = [name for name in ("batch_id", "row_id") if not isinstance(event.get(name), str) or not event[name]]
    if missing:
        raise BatchRefused(Problem(name, "is required: a text") for name in missing)
    result = Result(
        event["batch_id"],
        event["row_id"],
        event.get("status") or RowStatus.UNKNOWN,
        event.get("input_data") or {},
        event.get("output_data") or {},
        execution_time_ms=event.get("execution_time_ms"),
        timestamp=now_iso(),
        ttl=int(time.time()) + _PLAIN_TTL,
        error=event.get("error"),
    )
    return _store(app, result)
