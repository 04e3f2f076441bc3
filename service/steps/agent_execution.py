"""What became of an agent's execution, when Invoke could not say."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.models import RowStatus, elapsed_ms, now_iso
from service.steps.failure import TASK_TIMEOUT, Failure, describe_failure

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.events import Call
    from service.plan import Plan

_FORBIDDEN = ("AccessDeniedException", "AccessDenied")
# Seconds, doubled from the one to the other, until an agent at work is looked at again: an hour at the end, since each
# look adds to the history of the chunk's execution.
_FIRST_WAIT, _LONGEST_WAIT = 30, 3_600


@dataclass(frozen=True, slots=True)
class Finished:
    """An execution that succeeded."""

    output: Any
    started_at: str
    stopped_at: str


@dataclass(frozen=True, slots=True)
class Running:
    """An execution that is at work still; look again after so many seconds."""

    wait_seconds: int


def output_of(answer: Mapping[str, Any]) -> Any:
    """Return the output of an execution that answered its call, or its Failure.

    `answer` is that of StartSyncExecution, which is no error when the execution has failed: Status says so (Step
    Functions API reference). Output, Error and Cause are lists of one, or empty: the state machine asks for each
    wherever it is, since a path to what is not there would end the chunk.
    """
    output, error, cause = (next(iter(answer.get(name) or ()), None) for name in ("Output", "Error", "Cause"))
    if answer["Status"] == "SUCCEEDED":
        return json.loads(output or "null")
    return _failed({"Status": answer["Status"], "Error": error, "Cause": cause})


def _failed(details: Mapping[str, Any]) -> Failure:
    """Return the failure of an execution as a task that waits for it would have told it: Status, Error and Cause."""
    cause = json.dumps({"ExecutionArn": "", **details})
    return describe_failure({"Error": "States.TaskFailed", "Cause": cause})


def find_out(stepfunctions: Any, plan: Plan, call: Call, failure: Failure) -> Finished | Running | Failure:
    """Look up how the attempt's execution ended; the failure stays as it was where there is no such execution.

    Every failure of an agent is looked up: its cause holds the execution's input beside the error, and Step Functions
    cuts it at 32,768 characters, after which it is no JSON any more. An execution that outlived the call's time-out is
    stopped.
    """
    if failure.never_called or failure.refused_for_now:
        return failure
    arn = execution_arn(plan.target_arn, call["name"])
    try:
        execution = stepfunctions.describe_execution(executionArn=arn)
    except ClientError as error:
        # Without the permission, what Step Functions said is all there is.
        if error.response["Error"]["Code"] not in ("ExecutionDoesNotExist", *_FORBIDDEN):
            raise
        return failure
    status, timed_out = execution["status"], failure.caught == TASK_TIMEOUT
    if status == "RUNNING":
        left = plan.timeout_seconds - (datetime.now(UTC) - execution["startDate"]).total_seconds()
        if timed_out or left <= 0:
            _stop(stepfunctions, arn, plan.timeout_seconds)
            return failure if timed_out else _late(plan.timeout_seconds)
        before = int(call.get("wait_seconds") or 0)
        return Running(min(_LONGEST_WAIT, max(_FIRST_WAIT, 2 * before), math.ceil(left)))
    if status == "ABORTED" and timed_out:
        return failure  # Step Functions stopped it for the time-out
    started_at, stopped_at = now_iso(execution["startDate"]), now_iso(execution["stopDate"])
    if status == "SUCCEEDED":
        return Finished(json.loads(execution["output"]), started_at, stopped_at)
    ended = _failed({"Status": status, "Error": execution.get("error"), "Cause": execution.get("cause")})
    return replace(ended, took_ms=elapsed_ms(started_at, stopped_at))


def _late(seconds: int) -> Failure:
    """Return the failure of an execution that was met at work after its time, not waited for by this call."""
    message = f"it took longer than {seconds} s"
    return Failure(TASK_TIMEOUT, message, RowStatus.TIMEOUT, TASK_TIMEOUT, seconds * 1000)


def execution_arn(machine_arn: str, name: str) -> str:
    """Return the ARN of an execution by name; a version or alias of the machine is no part of it."""
    machine = ":".join(machine_arn.split(":")[:7])
    return f"{machine.replace(':stateMachine:', ':execution:')}:{name}"


def _stop(stepfunctions: Any, arn: str, seconds: int) -> None:
    try:
        stepfunctions.stop_execution(executionArn=arn, error=TASK_TIMEOUT, cause=f"it took longer than {seconds} s")
    except ClientError as error:
        # Without the permission it goes on and costs what it costs; the row's fate does not depend on it.
        if error.response["Error"]["Code"] not in ("ExecutionDoesNotExist", *_FORBIDDEN):
            raise
