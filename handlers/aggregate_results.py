"""AggregateResults: the CSV of a batch; also closes the record of an execution that ended otherwise."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.batch.closing import close_ended
from service.steps.aggregate_results import abandon, aggregate


def handler(event: dict[str, Any], context: Any) -> dict[str, Any]:
    """Make the CSV, or close the record.

    `event`: the machine's state with what it may write (`state`, `allowed`), after a failure of the CSV too; a plain
    batch_id, or EventBridge's event.
    """
    app = from_environment()
    if event.get("source") == "aws.states":
        return close_ended(app, event)
    if "state" not in event:
        return aggregate(app, event, context.get_remaining_time_in_millis)
    app, state = app.allowing(event["allowed"]), event["state"]
    if "failure" in state:
        return abandon(app, state)
    return aggregate(app, state, context.get_remaining_time_in_millis)
