"""What the embedded AWS remembers of what is over: bounded, where AWS deletes it after a time.

Each call of a function has a log stream of its own in ministack, each chunk of a batch an execution with the history
of all its rows. Nobody reads those of long ago on this machine, yet they were most of the server's memory and of what
every saving writes: of 48,000 rows, 145 MB beside 36 MB of results.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

EXECUTIONS = 2_000  # of each state machine, or Map state of one, the latest that ended; AWS keeps them 90 days
HISTORIES = 100  # of these, with their events
STREAMS = 1_000  # of each log group, the latest
_EVERY_SECONDS = 2


def check(stepfunctions: Any, logs: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is leaned on; `fits` raises for what is not as it was."""
    for name, store in (
        ("stepfunctions._executions", getattr(stepfunctions, "_executions", None)),
        ("cloudwatch_logs._log_groups", getattr(logs, "_log_groups", None)),
    ):
        fits(f"{name}.all_items", getattr(store, "all_items", None), [])
        fits(f"{name}.pop_scoped", getattr(store, "pop_scoped", None), ["account_id", "region", "key", "args"])


async def go_on(stepfunctions: Any, logs: Any) -> None:
    """Forget what is too much, again and again, in the loop: where requests are answered, so between two of them."""
    while True:
        forget_executions(stepfunctions._executions)  # noqa: SLF001
        forget_streams(logs._log_groups)  # noqa: SLF001
        await asyncio.sleep(_EVERY_SECONDS)


def forget_executions(executions: Any) -> None:
    """Forget the events of all but the latest executions that ended, and of still earlier ones that there was any."""
    ended = defaultdict(list)
    for scoped, execution in executions.all_items():  # in the order they were started
        if execution.get("stopDate") and execution.get("status") != "RUNNING":
            ended[execution.get("stateMachineArn")].append((scoped, execution))
    for of_machine in ended.values():
        for _, execution in of_machine[:-HISTORIES]:
            if execution.get("events"):
                execution["events"] = []
        for scoped, _ in of_machine[:-EXECUTIONS]:
            executions.pop_scoped(*scoped, None)


def forget_streams(groups: Any) -> None:
    """Forget all but the latest streams of each group; one that is still written to is among them."""
    for _, group in groups.all_items():
        streams = group["streams"]
        for name in list(streams)[:-STREAMS]:
            streams.pop(name, None)
