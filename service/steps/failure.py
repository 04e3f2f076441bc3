"""Why a call of the target failed, as Step Functions tells it, and whether and when it is called again."""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from service.errors import OutputRefused
from service.extraction.retry_after import retry_after_in
from service.models import RowStatus
from service.steps.target_errors import fate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.plan import RetryPolicy

# Names of errors, from the Step Functions guide "Handling errors in workflows"; the Lambda runtime's own time-out
# is Sandbox.Timedout, or Lambda.Unknown ("Handle Lambda service exceptions": time-outs and lack of memory).
TASK_TIMEOUT = "States.Timeout"
TOO_LARGE = "States.DataLimitExceeded"
_TIMEOUTS = frozenset({TASK_TIMEOUT, "States.HeartbeatTimeout", "Sandbox.Timedout"})
_TIMED_OUT = re.compile(r"Task timed out after ([0-9.]+) seconds")
# An answer of AWS that has no error name of its own arrives as Lambda.AWSLambdaException or
# StepFunctions.AWSStepFunctionsException; its code stands in the cause: "(Service: …; Error Code: …; Request ID: …)".
_CODE = re.compile(r"\(Service: [^;)]*; Status Code: [0-9]*; Error Code: ([A-Za-z0-9.]+);")
_SERVICES = ("Lambda.", "StepFunctions.")
# The target was not called, and would not be the next time: it is not there, not allowed, or the call is malformed.
# Throttling and faults of the services are not among them; a target's own errors have names without these prefixes.
# Codes and names differ in the word Exception, which is left out here.
_NEVER_CALLED = frozenset(
    {
        "States.IntrinsicFailure",
        "States.ParameterPathFailure",
        "States.Permissions",
        "States.ResultPathMatchFailure",
        "States.Runtime",
        *(
            f"{service}{name}"
            for service in _SERVICES
            for name in (
                "AccessDenied",
                "IncompleteSignature",
                "InvalidClientTokenId",
                "MissingAuthenticationToken",
                "NotAuthorized",
                "OptInRequired",
                "UnrecognizedClient",
                "Validation",
                "ValidationError",
            )
        ),
        "Lambda.InvalidParameterValue",
        "Lambda.InvalidRequestContent",
        "Lambda.InvalidRuntime",
        "Lambda.InvalidZipFile",
        "Lambda.KMSAccessDenied",
        "Lambda.KMSDisabled",
        "Lambda.KMSInvalidState",
        "Lambda.KMSNotFound",
        "Lambda.ModeNotSupported",
        "Lambda.NoPublishedVersion",
        "Lambda.RecursiveInvocation",
        "Lambda.RequestTooLarge",
        "Lambda.ResourceNotFound",
        "Lambda.SerializedRequestEntityTooLarge",
        "Lambda.UnsupportedMediaType",
        "StepFunctions.InvalidArn",
        "StepFunctions.InvalidExecutionInput",
        "StepFunctions.InvalidName",
        "StepFunctions.KmsAccessDenied",
        "StepFunctions.KmsInvalidState",
        "StepFunctions.StateMachineDeleting",
        "StepFunctions.StateMachineDoesNotExist",
    }
)
# The target was not called because too much is asked of AWS at once.
_THROTTLED = frozenset(
    f"{service}{name}"
    for service in _SERVICES
    for name in (
        "EC2Throttled",
        "ExecutionLimitExceeded",
        "KmsThrottling",
        "RequestLimitExceeded",
        "RequestThrottled",
        "Throttled",
        "Throttling",
        "TooManyRequests",
    )
)


@dataclass(frozen=True, slots=True)
class Failure:
    """One failed call: `kind` as it is shown, `caught` as Step Functions caught it.

    `took_ms` and `retry_after_seconds`, the wait that the target asked for, where the failure says so. `cause_kind`:
    the name of the error in an agent's cause, which its own error may not have. `said_throttled`: an output said so.
    """

    kind: str
    message: str
    status: RowStatus
    caught: str
    took_ms: int | None = None
    retry_after_seconds: float | None = None
    cause_kind: str = ""
    said_throttled: bool = False

    @property
    def never_called(self) -> bool:
        """Whether the target was not called, and never would be."""
        return self._is_one_of(_NEVER_CALLED)

    @property
    def refused_for_now(self) -> bool:
        """Whether AWS refused to call the target for now: it was not reached, and no execution was begun."""
        return self._is_one_of(_THROTTLED)

    @property
    def throttled(self) -> bool:
        """Whether too much was asked at once, of AWS or of what the target calls."""
        return self.said_throttled or self.refused_for_now or self._fate == "throttled"

    @property
    def hopeless(self) -> bool:
        """Whether the target said that the same call would fail again: not allowed, not found, malformed, unpaid."""
        return self._fate == "hopeless"

    @property
    def _fate(self) -> Literal["throttled", "hopeless"] | None:
        # What AWS says of its own call is read by its code alone; of an output that was refused, another has judged.
        if self.caught.startswith(_SERVICES) or self.caught == OutputRefused.__name__:
            return None
        return fate((self.caught, self.kind, self.cause_kind), self.message)

    def _is_one_of(self, names: frozenset[str]) -> bool:
        # An agent that met such an error itself has failed of its own: what it says is another's name.
        said = (self.caught, self.kind) if self.caught.startswith(_SERVICES) else (self.caught,)
        return any(name.removesuffix("Exception") in names for name in said)


def describe_failure(failure: Mapping[str, Any]) -> Failure:
    """Read the failure out of a Catch's Error and Cause.

    A Lambda function's cause is JSON with errorType and errorMessage; that of a nested execution is the JSON of
    DescribeExecution, with its own Error, Cause and Status; that of a service is a text with its error code.
    """
    described = _described(failure)
    if described.caught == OutputRefused.__name__ or described.retry_after_seconds is not None:
        return described
    return replace(described, retry_after_seconds=retry_after_in(described.message))


def _described(failure: Mapping[str, Any]) -> Failure:
    caught = str(failure.get("Error") or "Unknown")
    cause = str(failure.get("Cause") or "")
    details = json_object(cause)
    if "ExecutionArn" in details:
        return _of_execution(details, caught)
    if caught == "Lambda.Unknown" and (timed_out := _TIMED_OUT.search(cause)):
        message = f"the function ran out of its own time, {timed_out[1]} s"
        return Failure("Sandbox.Timedout", message, RowStatus.TIMEOUT, caught, round(float(timed_out[1]) * 1000))
    if caught == OutputRefused.__name__:
        said = json_object(str(details.get("errorMessage")))
        waits, throttled = said.get("retry_after_seconds"), bool(said.get("throttled"))
        message = "the output says that the call failed"
        return Failure(caught, message, RowStatus.FAILED, caught, None, waits, said_throttled=throttled)
    if "errorMessage" in details:
        kind = str(details.get("errorType") or caught)
        return Failure(kind, str(details["errorMessage"]) or "no message", _status(kind, caught), caught)
    kind = _named_by_code(caught, cause)
    return Failure(kind, cause or "the target failed without a cause", _status(caught), caught)


def _named_by_code(caught: str, cause: str) -> str:
    """Name a service's error by the code in its cause; an error of anything else keeps its name."""
    service = next((prefix for prefix in _SERVICES if caught.startswith(prefix)), None)
    code = _CODE.search(cause) if service else None
    return caught if code is None else f"{service}{code[1]}"


def _of_execution(details: Mapping[str, Any], caught: str) -> Failure:
    ended = details.get("Status")
    kind = str(details.get("Error") or (TASK_TIMEOUT if ended == "TIMED_OUT" else caught))
    cause = str(details.get("Cause") or "")
    inner = json_object(cause)
    if "ExecutionArn" in inner:  # of an agent of the agent's own
        below = _of_execution(inner, kind)
        cause, inner = below.message, {"errorType": below.cause_kind or below.kind}
    message = str(inner.get("errorMessage") or cause or f"the execution ended {ended} without a cause")
    status = RowStatus.TIMEOUT if ended == "TIMED_OUT" else _status(kind)
    start, stop = details.get("StartDate"), details.get("StopDate")  # milliseconds since 1970
    took = stop - start if isinstance(start, int) and isinstance(stop, int) else None
    return Failure(kind, message, status, caught, took, cause_kind=str(inner.get("errorType") or ""))


def _status(*kinds: str) -> RowStatus:
    return RowStatus.FAILED if _TIMEOUTS.isdisjoint(kinds) else RowStatus.TIMEOUT


def json_object(text: str) -> dict[str, Any]:
    """Return the object that a text is the JSON of; an empty one of any other text."""
    try:
        value = json.loads(text)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def may_retry(failure: Failure, retry_on: Sequence[str] | None) -> bool:
    """Tell whether a policy calls again: after any failure that is not hopeless, or with `retry_on` those it names.

    `retry_on` names them as a Retry would. An output that is too large would be as large again, and a call that AWS
    refuses is no call of the target.
    """
    if failure.caught == TOO_LARGE or failure.never_called:
        return False
    if retry_on is None:
        return not failure.hopeless
    if "States.ALL" in retry_on or ("States.TaskFailed" in retry_on and failure.caught != TASK_TIMEOUT):
        return True
    return failure.kind in retry_on or failure.caught in retry_on


def wait_seconds(policy: RetryPolicy, attempt: int) -> int:
    """Seconds before the next call: exponential with full jitter, at least 1 (a Wait takes whole seconds)."""
    ceiling = min(policy.max_seconds, policy.initial_seconds * policy.backoff_rate ** (attempt - 1))
    return max(1, round(random.uniform(0, ceiling)))  # noqa: S311 - spreads load, keeps no secret
