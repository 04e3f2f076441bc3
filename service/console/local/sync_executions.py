"""What a state gets of StartSyncExecution: no output of an execution that failed, and paths that look at every depth.

Step Functions API reference, "StartSyncExecution": output is set only if the execution succeeds. Developer guide,
"Using JSONPath paths": a path's syntax is JsonPath's, whose `$..name` gives the list of all that is found, [] of none.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_EVERY_DEPTH = re.compile(r"\$\.\.([A-Za-z_][A-Za-z0-9_]*)")


def check(stepfunctions: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is leaned on; `fits` raises for what is not as it was."""
    fits("stepfunctions._resolve_path", getattr(stepfunctions, "_resolve_path", None), ["path", "data"])
    fits("stepfunctions._start_sync_execution", getattr(stepfunctions, "_start_sync_execution", None), ["data"])


def patch(stepfunctions: Any) -> None:
    """Put both in place."""
    resolve, start = stepfunctions._resolve_path, stepfunctions._start_sync_execution  # noqa: SLF001

    def resolved(path: str, data: Any) -> Any:
        found = _EVERY_DEPTH.fullmatch(path) if isinstance(path, str) else None
        return resolve(path, data) if found is None else list(_named(found[1], data))

    def started(data: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = start(data)
        answer = json.loads(body)
        if status == 200 and answer.get("status") != "SUCCEEDED":
            for name in ("output", "outputDetails"):
                answer.pop(name, None)
            body = json.dumps(answer).encode()
        return status, headers, body

    stepfunctions._resolve_path, stepfunctions._start_sync_execution = resolved, started  # noqa: SLF001


def _named(name: str, data: Any) -> Iterator[Any]:
    if isinstance(data, dict):
        if name in data:
            yield data[name]
        data = list(data.values())
    if isinstance(data, list):
        for each in data:
            yield from _named(name, each)
