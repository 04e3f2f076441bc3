"""A batch whose first rows all fail for one cause is stopped: the others would be paid for and fail as well.

Every stored failure adds to one item of the run, until FIRST_ROWS are there or two of them have different causes; after
that nothing is written or asked any more. At so many failures in several chunks the results tell whether any row
succeeded.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from service.causes import template
from service.limits import FIRST_ROWS
from service.models import row_number

if TYPE_CHECKING:
    from service.app import App
    from service.events import RunEvent
    from service.models import Result
    from service.plan import Plan

REASON = "failing_alike"


def count_failure(app: App, plan: Plan, event: RunEvent, chunk: int, result: Result) -> None:
    """Count a failure that was stored just now; stop the batch where its first rows say so."""
    batch_id, run, error = event["batch_id"], int(event["run"]), result.error
    if error is None or plan.execution_config.get("keep_going") or (batch_id, run) in app.plans.settled:
        return
    cause = hashlib.sha256(f"{error['type']}\n{template(error['message'])}".encode()).hexdigest()[:16]
    counted = app.plans.count_first_failure(batch_id, run, cause, row_number(result.row_id) or 0, chunk, plan.ttl)
    if counted is not None:
        failures, chunks = counted
        if failures < FIRST_ROWS or chunks == 1:
            return
        if app.store.none_succeeded(batch_id, run):
            app.plans.stop(batch_id, run, REASON)
        app.plans.settle_first_failures(batch_id, run)
    app.plans.settled.add((batch_id, run))
