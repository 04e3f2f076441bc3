"""A running batch's Map Run, told how many chunks are to be at work.

Nothing here fails the row or the chunk that it is told of: a batch that cannot be governed runs as it was ordered.

ListMapRuns and UpdateMapRun may be asked 100 times at once and then once a second, by a whole account in a region (Step
Functions guide, "Service quotas"). A run asks them once for each decision that is made, so once in 30 seconds after the
first, and most runs that are governed once in two minutes.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.batch.governor import Governing, decided, held, unthrottled
from service.cost.workload import concurrency
from service.errors import BatchRefused, Problem
from service.models import BatchStatus
from service.store.governing import Kept

if TYPE_CHECKING:
    from service.app import App
    from service.plan import Plan
    from service.record import BatchRecord
    from service.store.governing import Governings


def count_throttling(governings: Governings, stepfunctions: Any, plan: Plan, batch_id: str, run: int) -> None:
    """Count a call that its target refused for now, and lower the number of chunks at work where that says so."""
    ceiling = chunks_at_once(plan)
    if ceiling == 1:
        return  # nothing to take away
    with suppress(ClientError, BotoCoreError):
        first = unthrottled(ceiling, plan.inner, time.time())
        kept = governings.count_refused(batch_id, run, asdict(first), plan.ttl)
        _decide(governings, stepfunctions, batch_id, run, kept, plan.ttl)


def count_chunk(  # noqa: PLR0913 - whose chunk, and of how many rows
    governings: Governings, stepfunctions: Any, plan: Plan, batch_id: str, run: int, rows: int
) -> None:
    """Count a chunk that has ended; nothing is written of a run that was never throttled."""
    if chunks_at_once(plan) == 1:
        return
    with suppress(ClientError, BotoCoreError):
        kept = governings.count_ended(batch_id, run, rows)
        if kept is not None:
            _decide(governings, stepfunctions, batch_id, run, kept, plan.ttl)


def set_by_hand(
    governings: Governings, stepfunctions: Any, record: BatchRecord, inner: int, rows_in_flight: int
) -> int:
    """Let so many rows be in flight from now on, and no more; return the chunks at once that this makes.

    Raises ClientError when Step Functions or the table refuses, LookupError when the run has no Map Run yet.
    """
    kept = governings.find(record.batch_id, record.run) or Kept()
    map_run = _map_run(stepfunctions, record.execution_arn)
    if not map_run:
        raise LookupError(f"the rows of batch {record.batch_id} are not being run yet: try again in some seconds")
    now = time.time()
    while True:
        before = Governing(**kept.values) if kept.values else unthrottled(max(1, rows_in_flight // inner), inner, now)
        state = held(before, rows_in_flight, now)
        if governings.decide(record.batch_id, record.run, kept, asdict(state), record.expires_at):
            break
        kept = governings.find(record.batch_id, record.run) or Kept()
    stepfunctions.update_map_run(mapRunArn=map_run, maxConcurrency=state.outer)
    return state.outer


def order(app: App, record: BatchRecord, rows_in_flight: int) -> dict[str, int]:
    """Let so many rows of a batch that runs be in flight, as a person asks; return rows and chunks that this makes.

    Raises BatchRefused when that cannot be.
    """
    if record.status != BatchStatus.RUNNING:
        raise BatchRefused([Problem("", f"batch {record.batch_id} is {record.status}: none of its rows are begun")])
    plan = app.plans.load(record.batch_id, record.plan_hash)
    most = int(plan.execution_config.get("max_concurrency") or 1)
    if rows_in_flight > most:
        message = (
            f"{rows_in_flight:,} is more than the batch's max_concurrency, {most:,}: that is set when it is started"
        )
        raise BatchRefused([Problem("", message)])
    try:
        outer = set_by_hand(app.governings, app.stepfunctions, record, plan.inner, rows_in_flight)
    except LookupError as early:
        raise BatchRefused([Problem("", str(early))]) from early
    return {"rows_in_flight": outer * plan.inner, "chunks": outer}


def chunks_at_once(plan: Plan) -> int:
    """Return how many chunks the order of a batch allows at once."""
    return concurrency(int(plan.execution_config.get("max_concurrency") or 1), plan.children)[0]


def _decide(  # noqa: PLR0913 - of which run, and what is kept of it
    governings: Governings, stepfunctions: Any, batch_id: str, run: int, kept: Kept, ttl: int | None
) -> None:
    """Write a decision, and tell the Map Run; another's decision stands in the place of this one.

    A number that did not change is told as well: it may not have arrived, or the run's second Map Run has begun.
    """
    state = decided(Governing(**kept.values), time.time())
    if state is None or not governings.decide(batch_id, run, kept, asdict(state), ttl):
        return
    map_run = _map_run(stepfunctions, governings.execution_arn(batch_id))
    if map_run:
        stepfunctions.update_map_run(mapRunArn=map_run, maxConcurrency=state.outer)


def _map_run(stepfunctions: Any, execution_arn: str) -> str:
    """Return the Map Run of an execution that is at work; "" while there is none."""
    if not execution_arn:
        return ""
    runs = stepfunctions.list_map_runs(executionArn=execution_arn)["mapRuns"]
    return next((str(each["mapRunArn"]) for each in runs if "stopDate" not in each), "")
