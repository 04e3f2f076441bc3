"""Which type of executions runs the chunks of a batch: EXPRESS where that is possible, for it costs a thirtieth.

An EXPRESS execution ends after five minutes, may be run twice, and waits for no other execution (Step Functions guide,
"Choosing workflow type"). A chunk that it does not finish is run again by a STANDARD one, but for rows with a result.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from service.errors import BatchRefused, Problem
from service.limits import EXPRESS_SECONDS

if TYPE_CHECKING:
    from service.request.models import ExecutionConfig
    from service.request.targets import ResolvedTarget

EXPRESS: Literal["EXPRESS"] = "EXPRESS"
STANDARD: Literal["STANDARD"] = "STANDARD"
_KEY = "execution_config.chunks"


@dataclass(frozen=True, slots=True)
class ChildExecutions:
    """The type of the executions, why it is that one, and how many rows a chunk may have by it (None: as many)."""

    type: Literal["EXPRESS", "STANDARD"]
    why: str
    rows: int | None = None


def choose(config: ExecutionConfig, target: ResolvedTarget, inner: int) -> ChildExecutions:
    """Return the type for chunks of which `inner` rows run at once; raises BatchRefused where EXPRESS cannot be."""
    if config.chunks == "standard":
        return ChildExecutions(STANDARD, f"{_KEY} asks for it")
    against, rows = _against(target), 0
    if against is None:
        longest = longest_row(config, target)
        rows = int(EXPRESS_SECONDS // longest) * inner
        if rows == 0:
            against = _too_slow(config, longest)
    if against is None:
        said = "asked for" if config.chunks == "express" else f"{target.name} is idempotent"
        why = f"{said}, and a row takes at most {longest:,.0f} s with all its attempts"
        return ChildExecutions(EXPRESS, why, rows)
    if config.chunks == "express":
        raise BatchRefused([Problem(_KEY, f"cannot be express: {against}")])
    return ChildExecutions(STANDARD, against)


def longest_row(config: ExecutionConfig, target: ResolvedTarget) -> float:
    """Return the seconds that a row may take at most: every attempt up to its time-out, and the waits between."""
    policy = config.retry_policy
    waits = (
        max(1.0, min(policy.max_seconds, policy.initial_seconds * policy.backoff_rate**number))
        for number in range(policy.max_attempts - 1)
    )
    return call_seconds(config, target) * policy.max_attempts + sum(waits)


def call_seconds(config: ExecutionConfig, target: ResolvedTarget) -> float:
    """Return the seconds that a call takes at most: a function ends at its own time-out, if that comes first."""
    own = target.function_seconds
    return float(config.timeout_seconds if own is None else min(config.timeout_seconds, own))


def _against(target: ResolvedTarget) -> str | None:
    """Return what stands against EXPRESS beside the time that a row takes."""
    if target.kind == "agent" and not target.synchronous:
        return "a Standard state machine is waited for, which an EXPRESS execution cannot do"
    if not target.idempotent:
        hint = "if it may, register it with idempotent: true (tool register --idempotent), or say so in target"
        return f"nothing says that a row may be given to {target.name} twice; {hint}"
    return None


def _too_slow(config: ExecutionConfig, longest: float) -> str:
    policy = config.retry_policy
    return (
        f"a row may take {longest:,.0f} s (max_attempts {policy.max_attempts}, their time-outs and waits), more than "
        f"the {EXPRESS_SECONDS} s of an EXPRESS execution: lower timeout_seconds or max_attempts"
    )
