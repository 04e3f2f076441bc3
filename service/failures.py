"""Why a call of the target failed, as Step Functions tells it, and whether and when it is called again."""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

# Names of errors, from the Step Functions guide "Handling errors in workflows"; the Lambda runtime's own time-out
# is Sandbox.Timedout.
TASK_TIMEOUT = "States.Timeout"
TOO_LARGE = "States.DataLimitExceeded"
ALREADY_THERE = frozenset({"StepFunctions.ExecutionAlreadyExistsException", "ExecutionAlreadyExists"})
_TIMEOUTS = frozenset({TASK_TIMEOUT, "States.HeartbeatTimeout", "Sandbox.Timedout"})
# The target was not called, and would not be the next time: it is not there, not allowed, or the call is malformed.
# Throttling and faults of the services are not among them; a target's own errors have names without these prefixes.
_NEVER_CALLED = frozenset(
    {
        "States.DataLimitExceeded",
        "States.IntrinsicFailure",
        "States.ParameterPathFailure",
        "States.Permissions",
        "States.ResultPathMatchFailure",
        "States.Runtime",
        "Lambda.AccessDeniedException",
        "Lambda.InvalidParameterValueException",
        "Lambda.InvalidRequestContentException",
        "Lambda.InvalidRuntimeException",
        "Lambda.InvalidZipFileException",
        "Lambda.KMSAccessDeniedException",
        "Lambda.KMSDisabledException",
        "Lambda.KMSInvalidStateException",
        "Lambda.KMSNotFoundException",
        "Lambda.RequestTooLargeException",
        "Lambda.ResourceNotFoundException",
        "Lambda.UnsupportedMediaTypeException",
        "StepFunctions.AccessDeniedException",
        "StepFunctions.InvalidArnException",
        "StepFunctions.InvalidExecutionInputException",
        "StepFunctions.InvalidNameException",
        "StepFunctions.StateMachineDeletingException",
        "StepFunctions.StateMachineDoesNotExistException",
        "StepFunctions.ValidationException",
    }
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call: `kind` as it is shown, `caught` as Step Functions caught it; `took_ms` where it says so."""

    kind: str
    message: str
    status: RowStatus
    caught: str
    took_ms: int | None = None


def describe_failure(failure: Mapping[str, Any]) -> Failure:
    """The failure of a Catch's Error and Cause.

    A Lambda function's cause is JSON with errorType and errorMessage; that of a nested execution is the JSON of
    DescribeExecution, with its own Error, Cause and Status.
    """
    caught = str(failure.get("Error") or "Unknown")
    cause = str(failure.get("Cause") or "")
    details = json_object(cause)
    if "ExecutionArn" in details:
        return _of_execution(details, caught)
    if "errorMessage" in details:
        kind = str(details.get("errorType") or caught)
        return Failure(kind, str(details["errorMessage"]) or "no message", _status(kind, caught), caught)
    return Failure(caught, cause or "the target failed without a cause", _status(caught), caught)


def _of_execution(details: Mapping[str, Any], caught: str) -> Failure:
    ended = details.get("Status")
    kind = str(details.get("Error") or (TASK_TIMEOUT if ended == "TIMED_OUT" else caught))
    cause = str(details.get("Cause") or "")
    message = str(json_object(cause).get("errorMessage") or cause or f"the execution ended {ended} without a cause")
    status = RowStatus.TIMEOUT if ended == "TIMED_OUT" else _status(kind)
    start, stop = details.get("StartDate"), details.get("StopDate")  # milliseconds since 1970
    took = stop - start if isinstance(start, int) and isinstance(stop, int) else None
    return Failure(kind, message, status, caught, took)


def _status(*kinds: str) -> RowStatus:
    return RowStatus.FAILED if _TIMEOUTS.isdisjoint(kinds) else RowStatus.TIMEOUT


def json_object(text: str) -> dict[str, Any]:
    """The object that a text is the JSON of; an empty one of any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def may_retry(failure: Failure, retry_on: list[str] | None) -> bool:
    """By default every failure of the target; with `retry_on`, those it names, by either name, as a Retry would.

    An output that is too large would be as large again.
    """
    if failure.caught == TOO_LARGE:
        return False
    if retry_on is None:
        return failure.caught not in _NEVER_CALLED
    if "States.ALL" in retry_on or ("States.TaskFailed" in retry_on and failure.caught != TASK_TIMEOUT):
        return True
    return failure.kind in retry_on or failure.caught in retry_on


def wait_seconds(policy: Mapping[str, Any], attempt: int) -> int:
    """Seconds before the next call: exponential with full jitter, at least 1 (a Wait takes whole seconds)."""
    ceiling = min(policy["max_seconds"], policy["initial_seconds"] * policy["backoff_rate"] ** (attempt - 1))
    return max(1, round(random.uniform(0, ceiling)))  # noqa: S311 - spreads load, keeps no secret
