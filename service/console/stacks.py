"""Which stack a command speaks to: one deployed to AWS by name, or the embedded one."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, NoRegionError

from service.app import App
from service.console.local.stack import STACK, Embedded, home
from service.console.outputs import NoStack, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

STACK_VARIABLE = "BATCH_PROCESSOR_STACK"


@dataclass(frozen=True)
class Stack:
    """A deployed application and how to reach it; `label` says which on stderr."""

    app: App
    label: str
    state_machine_arn: str
    aggregator: str


_HINTS: dict[type[Exception], str] = {
    NoRegionError: " Set AWS_REGION, or AWS_PROFILE to a profile with a region",
    NoCredentialsError: ". Set AWS_PROFILE, or log in (`aws sso login`)",
}


def on_aws(name: str) -> Stack:
    """Return the stack of that name in the account and region of the AWS credentials; raises NoStack."""
    session = boto3.Session()
    try:
        client = session.client("cloudformation")
        (found,) = client.describe_stacks(StackName=name)["Stacks"]
    except (BotoCoreError, ClientError, ValueError) as error:
        raise NoStack(f"stack {name!r} could not be looked up in AWS: {error}{_HINTS.get(type(error), '')}") from error
    outputs = {output["OutputKey"]: output["OutputValue"] for output in found.get("Outputs", [])}
    return _stack(App(settings_of(outputs, name), session), outputs, f"stack {name} in {session.region_name}")


def embedded(local: Embedded) -> Stack:
    """Return the embedded stack, which must be running; raises NoStack."""
    if not local.running() or not local.state().get("deployed"):
        raise NoStack("the embedded stack is not running: `batch-processor local start`, or name one with --stack")
    outputs = local.outputs(STACK)
    unsaved = local.unsaved()
    label = f"embedded stack ({local.endpoint.removeprefix('http://')})"
    return _stack(local.app(), outputs, f"{label}; {unsaved}" if unsaved else label)


def chosen(name: str | None) -> str | None:
    """Return the stack named by --stack or BATCH_PROCESSOR_STACK; None is the embedded one."""
    return name or os.environ.get(STACK_VARIABLE) or None


def local_stack() -> Embedded:
    """Return the embedded stack of this checkout."""
    return Embedded(home())


def _stack(app: App, outputs: Mapping[str, str], label: str) -> Stack:
    return Stack(app, label, outputs["StateMachineArn"], outputs["ResultAggregatorFunction"])
