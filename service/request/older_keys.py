"""Older keys of a batch's input, written the way they are written now: everything behind sees one form.

`agent_config.state_machine_arn` is the ARN of a target that is given by name, `processing_config` an execution_config
whose `retry_attempts` counts the calls after the first one; `execution_id` is ignored, since the execution has a name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.errors import Problem, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

OLDER_KEYS = ("agent_config", "processing_config", "execution_id")
_PROCESSING = ("max_concurrency", "timeout_seconds", "retry_attempts")


class Renamed:
    """An input as it is written now, what was wrong with its older keys, and how the person called each place."""

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = {key: value for key, value in given.items() if key not in OLDER_KEYS}
        self.problems: list[Problem] = []
        self._said: dict[str, str] = {}
        self._agent(given.get("agent_config"))
        self._processing(given.get("processing_config"))

    def said(self, problem: Problem) -> Problem:
        """Return a problem under the key that the person wrote."""
        return Problem(self._said.get(problem.path, problem.path), problem.message)

    def _inside(self, name: str, value: Any, known: tuple[str, ...]) -> dict[str, Any]:
        """Return the keys of an older object, those that are not known refused."""
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problems.append(Problem(name, f"must be an object with {' and '.join(known)}"))
            return {}
        for key in value:
            if key not in known:
                self.problems.append(Problem(f"{name}.{key}", f"unknown key; {nearest(str(key), known)}"))
        return {key: value[key] for key in known if value.get(key) is not None}

    def _agent(self, value: Any) -> None:
        arn = self._inside("agent_config", value, ("state_machine_arn",)).get("state_machine_arn")
        if arn is None:
            return
        target = self.given.get("target")
        named = {"name": target} if isinstance(target, str) else dict(target) if isinstance(target, dict) else {}
        if named.get("arn") not in (None, arn):
            message = "names another state machine than target.arn: give target.arn alone"
            self.problems.append(Problem("agent_config.state_machine_arn", message))
            return
        self.given["target"] = {**named, "arn": arn}
        self._said["target.arn"] = "agent_config.state_machine_arn"

    def _processing(self, value: Any) -> None:
        found = self._inside("processing_config", value, _PROCESSING)
        config = self.given.get("execution_config")
        if found and config is not None:
            message = "means the same as execution_config: give execution_config alone"
            self.problems.append(Problem("processing_config", message))
            return
        now: dict[str, Any] = {key: found[key] for key in ("max_concurrency", "timeout_seconds") if key in found}
        self._said |= {f"execution_config.{key}": f"processing_config.{key}" for key in now}
        if "retry_attempts" in found:
            again = found["retry_attempts"]
            if isinstance(again, bool) or not isinstance(again, int) or not 0 <= again < 100:
                message = f"is the number of calls after the first one, 0 to 99, not {again!r}"
                self.problems.append(Problem("processing_config.retry_attempts", message))
            else:
                now["retry_policy"] = {"max_attempts": again + 1}
        if now:
            self.given["execution_config"] = now
