"""The stack that the server speaks to: opened by the first call that needs it, and again after a lost connection."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.console import runs
from service.errors import BatchRefused, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App
    from service.console.stacks import Stack

_ANYTHING = dict.fromkeys(("TOOL_ARNS", "AGENT_ARNS", "SOURCE_OBJECT_ARNS", "OUTPUT_OBJECT_ARNS"), "*")


@dataclass(frozen=True)
class Opened:
    """A stack, and its app with the lists of what the stack's roles may touch, by which an order is checked."""

    stack: Stack
    checking: App


class Stacks:
    """Opens the stack once and keeps it; `open_stack` is called in one thread at a time."""

    def __init__(self, open_stack: Callable[[], Stack]) -> None:
        self._open_stack = open_stack
        self._lock = threading.Lock()
        self._opened: Opened | None = None

    def get(self) -> Opened:
        """Return the stack; raises NoStack."""
        with self._lock:
            if self._opened is None:
                stack = self._open_stack()
                _make_clients(stack.app)
                checking = _checking(stack)
                _make_clients(checking)
                self._opened = Opened(stack, checking)
            return self._opened

    def forget(self) -> None:
        """Have the next call open it anew: it may have been stopped and started again."""
        with self._lock:
            self._opened = None


def _make_clients(app: App) -> None:
    """Make what tools use before several threads do: neither a session nor PynamoDB's models are made for that.

    (boto3 guide, "Session", on threads; `service.store.tables.bind` gives the models their one connection.)
    """
    for name in ("s3", "stepfunctions", "lambda_client", "store", "plans", "records", "registry", "queries"):
        getattr(app, name)


def _checking(stack: Stack) -> App:
    """Return the app with the lists of ARNs that stand in the state machine's definition.

    Where the definition may not be read, or has none, nothing is refused here: PrepareBatch knows them.
    """
    settings = stack.app.settings
    if settings.tool_arns or settings.agent_arns:
        return stack.app
    try:
        machine = stack.app.stepfunctions.describe_state_machine(stateMachineArn=stack.state_machine_arn)
        allowed: dict[str, Any] = _allowed(json.loads(machine["definition"]))
    except (BotoCoreError, ClientError, ValueError, LookupError, TypeError):
        allowed = _ANYTHING
    return stack.app.allowing(allowed)


def _allowed(definition: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = definition["States"]["PrepareBatch"]["Parameters"]["Payload"]["allowed"]
    return found


def in_s3(stack: Stack, source: str) -> str:
    """Return the s3:// URI of a source; a local file is uploaded, as `run` does. Raises BatchRefused."""
    if source.startswith("s3://"):
        return source
    path = Path(source).expanduser()
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "there is no such file"
        message = f"{what} on the machine of this server: give s3://bucket/key, or the whole path of a local file"
        raise BatchRefused([Problem(f"csv_s3_uri {source}", message)])
    return runs.upload(stack, path)
