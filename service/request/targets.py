"""What a target really is: looked up in the registry and in AWS, not believed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from botocore.exceptions import ClientError

from service.errors import BatchRefused, Problem, nearest
from service.models import KIND_OF_TYPE, kind_of_arn
from service.permissions import check_target

if TYPE_CHECKING:
    from service.app import App
    from service.request.models import Target
    from service.store.registry import RegisteredTarget

_NOT_THERE = ("ResourceNotFoundException", "StateMachineDoesNotExist", "InvalidArn", "ValidationException")
_NOT_ALLOWED = ("AccessDeniedException", "AccessDenied")


class NotAllowed(BatchRefused):
    """Whether a target is there may not be seen by who asks."""


@dataclass(frozen=True)
class Found:
    """What AWS says of a function or state machine: whether a call answers at once, and a function's own time-out."""

    synchronous: bool = False
    function_seconds: int | None = None


@dataclass(frozen=True)
class ResolvedTarget:
    """A target that exists and may be called.

    `kind`: tool or agent. `idempotent`: a row may be given to it twice. `synchronous`: an Express state machine, which
    answers its call. `function_seconds`: the time-out of a function of its own.
    """

    name: str
    kind: Literal["tool", "agent"]
    arn: str
    version: int | None = None
    output_schema: dict[str, Any] | None = None
    input_schema: dict[str, Any] | None = None
    price_per_row_usd: float | None = None
    fail_when: str | list[str] | None = None
    retry_when: str | list[str] | None = None
    idempotent: bool = False
    synchronous: bool = False
    function_seconds: int | None = None

    @property
    def conditions(self) -> dict[str, Any]:
        """When an output counts as that of a failed call, as registered."""
        return {"fail_when": self.fail_when, "retry_when": self.retry_when}


def resolve(app: App, target: Target) -> ResolvedTarget:
    """Return the target as it is; raises BatchRefused when it is unknown, of another type or not to be called."""
    registered = app.registry.find(target.name)
    if registered is None and target.arn is None:
        hint = nearest(target.name, app.registry.names())
        raise _refused("", f"there is no target {target.name!r} in the registry; {hint}")
    arn = target.arn or (registered.resource_arn if registered else "")
    kind = kind_of_arn(arn)
    if kind is None:
        raise _refused("arn", f"{arn!r} is neither the ARN of a Lambda function nor of a Step Functions state machine")
    problems = _mismatches(target, registered, kind, arn)
    found = Found()
    try:
        check_target(app.settings, kind, arn)
        found = check_exists(app, kind, arn)
    except BatchRefused as refused:
        problems += refused.problems
    if problems:
        raise BatchRefused(problems)
    return ResolvedTarget(
        target.name,
        kind,
        arn,
        registered.version if registered else None,
        registered.output_schema if registered else None,
        registered.input_schema if registered else None,
        registered.price_per_row_usd if registered else None,
        registered.fail_when if registered else None,
        registered.retry_when if registered else None,
        idempotent=bool(registered and registered.idempotent) if target.idempotent is None else target.idempotent,
        synchronous=found.synchronous,
        function_seconds=found.function_seconds,
    )


def _mismatches(target: Target, registered: RegisteredTarget | None, kind: str, arn: str) -> list[Problem]:
    """Return what the input and the registry say of the target's type, where it is another."""
    said = {"target.type": target.type, "target": KIND_OF_TYPE.get(registered.tool_type) if registered else None}
    return [
        Problem(
            path, f"{target.name!r} is said to be a target of type {word}, but {arn} is one of type {kind}: correct it"
        )
        for path, word in said.items()
        if word is not None and word != kind
    ]


def _refused(field: str, message: str, kind: type[BatchRefused] = BatchRefused) -> BatchRefused:
    return kind([Problem(f"target.{field}" if field else "target", message)])


def check_exists(app: App, kind: str, arn: str) -> Found:
    """Look a function or state machine up; raises BatchRefused when it is not there, NotAllowed when that is unseen."""
    try:
        if kind == "tool":
            return Found(function_seconds=app.lambda_client.get_function_configuration(FunctionName=arn)["Timeout"])
        unqualified = ":".join(arn.split(":")[:7])  # an alias is not described, but what it points to is
        machine = app.stepfunctions.describe_state_machine(stateMachineArn=unqualified)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _NOT_THERE:
            raise _refused("arn", f"there is no {arn}: deploy it, or correct the name or ARN") from error
        if code in _NOT_ALLOWED:
            message = (
                f"this stack may not look at {arn}, though its parameters allow it: see the policies on both sides"
            )
            raise _refused("arn", message, NotAllowed) from error
        raise
    return Found(synchronous=machine["type"] == "EXPRESS")
