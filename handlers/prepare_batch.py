"""PrepareBatch: refuses a bad batch, or writes what the others need to run it."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.steps.prepare_batch import prepare


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`event`: input, execution_name, execution_arn, started_at of the execution; allowed, the lists of ARNs.

    Or unfinished, a run of which some chunks may be to be run again.
    """
    app = from_environment().allowing(event.get("allowed") or {})
    return prepare(app, event, lambda: context.get_remaining_time_in_millis() / 1000)
