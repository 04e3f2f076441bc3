"""What a target really is: looked up in the registry and in AWS, not believed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.errors import BatchRefused, Problem, nearest
from service.permissions import check_target
from service.registry import KIND_OF_TYPE

if TYPE_CHECKING:
    from service.app import App
    from service.batch_input import Target

_TOOL = re.compile(r"arn:[^:]+:lambda:[^:]+:\d{12}:function:[^:]+(:[^:]+)?")
_AGENT = re.compile(r"arn:[^:]+:states:[^:]+:\d{12}:stateMachine:[^:]+(:[^:]+)?")


@dataclass(frozen=True)
class ResolvedTarget:
    """A target that exists and may be called; `kind` is tool or agent."""

    name: str
    kind: str
    arn: str
    version: int | None = None
    output_schema: dict[str, Any] | None = None


def resolve(app: App, target: Target) -> ResolvedTarget:
    """The target as it is; raises BatchRefused when it is unknown, of another type or not to be called."""
    registered = app.registry.find(target.name)
    if registered is None and target.arn is None:
        hint = nearest(target.name, app.registry.names())
        raise _refused("", f"there is no target {target.name!r} in the registry; {hint}")
    arn = target.arn or (registered.resource_arn if registered else "")
    kind = "tool" if _TOOL.fullmatch(arn) else "agent" if _AGENT.fullmatch(arn) else None
    if kind is None:
        raise _refused("arn", f"{arn!r} is neither the ARN of a Lambda function nor of a Step Functions state machine")
    for path, said in (("type", target.type), ("", KIND_OF_TYPE.get(registered.tool_type) if registered else None)):
        if said is not None and said != kind:
            raise _refused(path, f"{target.name!r} is said to be a {said}, but {arn} is a {kind}")
    check_target(app.settings, kind, arn)
    _check_exists(app, kind, arn)
    return ResolvedTarget(
        target.name,
        kind,
        arn,
        registered.version if registered else None,
        registered.output_schema if registered else None,
    )


def _refused(field: str, message: str) -> BatchRefused:
    return BatchRefused([Problem(f"target.{field}" if field else "target", message)])


def _check_exists(app: App, kind: str, arn: str) -> None:
    try:
        if kind == "tool":
            app.lambda_client.get_function_configuration(FunctionName=arn)
            return
        machine = app.stepfunctions.describe_state_machine(stateMachineArn=arn)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("ResourceNotFoundException", "StateMachineDoesNotExist", "InvalidArn"):
            raise _refused("arn", f"there is no {arn}: deploy it, or correct the name or ARN") from error
        raise
    if machine["type"] != "STANDARD":
        raise _refused("arn", f"{arn} is an EXPRESS state machine, which is not available yet: agents must be STANDARD")
