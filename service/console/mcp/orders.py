"""Starting batches and reruns by the name of their execution, so that the same order given twice is one."""

from __future__ import annotations

import json
import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.console import runs
from service.errors import BatchRefused, NotFound, Problem
from service.excerpt import excerpt
from service.models import batch_id, later_run_id, split_run_id, target_name
from service.steps.agent_execution import execution_arn

if TYPE_CHECKING:
    from service.console.stacks import Stack

# A name is an execution's, of at most 80 characters (Step Functions API, StartExecution); ours have these alone.
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,80}")
_LONGEST = 512  # characters of a task's id: a target's name of 128 and two of executions fit
_SEEN_WITHIN = 10.0  # seconds: DescribeExecution is eventually consistent (Step Functions API)
_PAUSE = 0.2


@dataclass(frozen=True)
class Started:
    """An execution that was started, now or by the same order before."""

    batch_id: str
    task_id: str
    execution_arn: str
    again: bool  # whether an earlier call had started it


def execution_name(name: str | None) -> str:
    """Return the name of an execution: the one that was given, else a new one. Raises BatchRefused."""
    if name is None:
        return runs.execution_name()
    if not _NAME.fullmatch(name):
        raise BatchRefused(
            [Problem("name", f"{name!r} must be 1 to 80 of the characters A-Z, a-z, 0-9, `_`, `-`, `.`")]
        )
    return name


def ids(given: dict[str, Any], name: str) -> tuple[str, str]:
    """Return the batch and the task of an order: of a first run they are the same."""
    rerun_of = given.get("rerun_of")
    if rerun_of is None:
        identifier = batch_id(target_name(given.get("target")), name)
        return identifier, identifier
    identifier = rerun_of["batch_id"]
    return identifier, later_run_id(identifier, name)


def parts_of(task_id: str) -> tuple[str, str]:
    """Return the batch of a task, and the execution's name of a later run of it, "" of the first. Raises NotFound."""
    identifier, later = split_run_id(task_id)
    target, _, name = identifier.partition("#")
    if not target or not name or len(task_id) > _LONGEST:
        raise NotFound(
            f"there is no task {excerpt(task_id, 80)!r}: its id is that of a batch, as start_batch returns it"
        )
    return identifier, later


def is_later_run(given: str) -> bool:
    """Whether a text is the id of a task that is a later run of a batch."""
    return bool(split_run_id(given)[1])


def found(stack: Stack, name: str, given: dict[str, Any]) -> Started | None:
    """Return what the same order of this name has started before; None when nothing has it.

    Raises BatchRefused when another order has it.
    """
    arn = execution_arn(stack.state_machine_arn, name)
    states = stack.app.stepfunctions
    try:
        execution = states.describe_execution(executionArn=arn)
    except states.exceptions.ExecutionDoesNotExist:
        return _of_record(stack, name, given)
    if json.loads(execution.get("input") or "{}") != given:
        message = f"{name!r} was given to another order before: give this one another name, or leave it out"
        raise BatchRefused([Problem("name", message)])
    identifier, task = ids(given, name)
    if execution["status"] in ("FAILED", "ABORTED", "TIMED_OUT"):
        cause = excerpt(execution.get("cause") or "without a cause", 1000)
        message = f"this order was started under {name!r} before, and {execution['status'].lower()}: {cause}"
        raise BatchRefused([Problem("name", f"{message}; batch_status {identifier!r} has more; give it another name")])
    return Started(identifier, task, arn, again=True)


def _of_record(stack: Stack, name: str, given: dict[str, Any]) -> Started | None:
    """Return the same of a batch whose execution Step Functions has forgotten: it keeps them for 90 days."""
    identifier, task = ids(given, name)
    if identifier == task and (record := stack.app.records.find(identifier)) is not None:
        return Started(identifier, task, record.execution_arn, again=True)
    return None


def start(stack: Stack, name: str, given: dict[str, Any]) -> Started:
    """Start an order and wait until the execution is to be seen.

    A task must not be told of before its state can be asked for (SEP-2663, "Task Creation"). An order whose answer was
    lost is begun once (Step Functions API, StartExecution: same name and input). Raises BatchRefused when the name is
    taken.
    """
    states = stack.app.stepfunctions
    try:
        answer = states.start_execution(stateMachineArn=stack.state_machine_arn, name=name, input=json.dumps(given))
    except states.exceptions.ExecutionAlreadyExists:
        there = found(stack, name, given)
        if there is None:
            raise
        return there
    identifier, task = ids(given, name)
    arn = str(answer["executionArn"])
    until = time.monotonic() + _SEEN_WITHIN
    while not _is_seen(stack, arn) and time.monotonic() < until:
        time.sleep(_PAUSE)
    return Started(identifier, task, arn, again=False)


def _is_seen(stack: Stack, arn: str) -> bool:
    states = stack.app.stepfunctions
    try:
        states.describe_execution(executionArn=arn)
    except states.exceptions.ExecutionDoesNotExist:
        return False
    except ClientError:  # it runs, whether it may be looked at or not
        return True
    return True
