"""What a state gets of StartSyncExecution: no output of an execution that failed, and paths that look at every depth.

Step Functions API reference, "StartSyncExecution": output is set only if the execution succeeds. Developer guide,
"Using JSONPath paths": a path's syntax is JsonPath's, whose `$..name` gives the list of all that is found, [] of none.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY_DEPTH = re.compile(r"\$\.\.([A-Za-z_][A-Za-z0-9_]*)")


def check(stepfunctions: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is leaned on; `fits` raises for what is not as it was."""
    fits("stepfunctions._resolve_path", getattr(stepfunctions, "_resolve_path", None), ["path", "data"])
    told = ["service_key", "action", "result"]
    fits("stepfunctions._sdk_json_result", getattr(stepfunctions, "_sdk_json_result", None), told)


def patch(stepfunctions: Any) -> None:
    """Put both in place."""
    resolve, answered = stepfunctions._resolve_path, stepfunctions._sdk_json_result  # noqa: SLF001

    def resolved(path: str, data: Any) -> Any:
        found = _EVERY_DEPTH.fullmatch(path) if isinstance(path, str) else None
        return resolve(path, data) if found is None else list(_named(found[1], data))

    def told(service_key: str, action: str, result: Any) -> Any:
        if action == "StartSyncExecution" and result.get("status") != "SUCCEEDED":
            result = {name: value for name, value in result.items() if name not in ("output", "outputDetails")}
        return answered(service_key, action, result)

    stepfunctions._resolve_path, stepfunctions._sdk_json_result = resolved, told  # noqa: SLF001


def _named(name: str, data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        if name in data:
            yield data[name]
        data = list(data.values())
    if isinstance(data, list):
        for each in data:
            yield from _named(name, each)
