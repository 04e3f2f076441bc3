"""AggregateResults: the CSV of a batch; also closes the record of an execution that ended otherwise."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.batches import abandon, aggregate, close_ended


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """`event`: the state of the machine, one with the failure of its CSV, a plain batch_id, or EventBridge's event."""
    app = from_environment()
    if event.get("source") == "aws.states":
        return close_ended(app, event)
    if "failure" in event:
        return abandon(app, event)
    return aggregate(app, event, context.get_remaining_time_in_millis)
