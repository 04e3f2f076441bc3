"""When a batch stops early by itself: too many failures, too large a share of them, or too much money.

A run that has such a rule keeps a tally, one item per run, which every stored failure and every finished chunk adds to.
What crosses a limit sets `stop` in the record. TransformInput reads that before it begins a chunk, and HandleFailure
before it calls a target again: what is under way is run to its end and stored. So a run goes beyond its limit by the
rows of the chunks under way at most: ceil(max_concurrency / 5) chunks of up to WATCHED_ROWS rows
(service/request/chunking.py).
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from service.models import FAILURES, RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.cost.estimate import Cost, TargetCost
    from service.cost.workload import Profile
    from service.events import RunEvent
    from service.plan import Plan
    from service.store.plans import Plans

ENOUGH_ROWS = 100  # rows done before a share of failures says anything


def count_failures(plans: Plans, plan: Plan, event: RunEvent, count: int, number: int = 0) -> None:
    """Add failures that were stored just now, of a row or a chunk of that number; stop the batch at too many."""
    rules = plan.stopping or {}
    if count and "max_failures" in rules:
        tally = _add(plans, plan, event, {"failures": count}, number)
        if tally["failures"] > rules["max_failures"]:
            plans.stop(event["batch_id"], int(event["run"]), "max_failures")


def count_chunk(plans: Plans, plan: Plan, event: RunEvent, number: int, counts: Mapping[str, int]) -> None:
    """Add a chunk that has just finished; stop the batch when too large a share failed or too much is spent."""
    rules = plan.stopping or {}
    if not {"max_failure_rate", "max_cost_usd"} & rules.keys():
        return
    tally = _add(plans, plan, event, {**counts, "chunks": 1}, number)
    reason = _crossed(plan, rules, tally)
    if reason is not None:
        plans.stop(event["batch_id"], int(event["run"]), reason)


def _add(plans: Plans, plan: Plan, event: RunEvent, counts: Mapping[str, int], number: int) -> dict[str, int]:
    token = secrets.token_hex(8)
    return plans.add_to_tally(event["batch_id"], int(event["run"]), counts, plan.ttl, number, token)


def _crossed(plan: Plan, rules: Mapping[str, Any], tally: Mapping[str, int]) -> str | None:
    failed = sum(tally.get(status, 0) for status in (*FAILURES, RowStatus.MISSING))
    done = failed + tally.get("SUCCESS", 0)
    if "max_failure_rate" in rules and done >= ENOUGH_ROWS and failed > rules["max_failure_rate"] * done:
        return "max_failure_rate"
    if "max_cost_usd" in rules and spent_usd(plan, tally, tally["chunks"]) >= rules["max_cost_usd"]:
        return "max_cost_usd"
    return None


def spent_usd(plan: Plan, counts: Mapping[str, int], chunks: int) -> float:
    """Return what one run has cost so far, by its counts; failed rows are taken to have used up their attempts."""
    return cost_of(plan, counts, chunks).total_usd


def cost_of(plan: Plan, counts: Mapping[str, int], chunks: int, run_again: int = 0) -> Cost:
    """Return the same by its parts; `run_again` chunks were not finished by EXPRESS executions.

    That of the target's own work is not known unless its registration gives a price.
    """
    from service.cost import estimate  # noqa: PLC0415 - only a batch with a budget needs it in its functions

    known = {status: float(count) for status, count in counts.items() if status.isupper()}
    return estimate.spent(known, profile_of(plan), target_cost_of(plan), chunks=chunks, run_again=run_again)


def profile_of(plan: Plan, **more: Any) -> Profile:
    """Return what is known of a batch's rows when it is prepared, and whatever else is known."""
    from service.cost.workload import Profile  # noqa: PLC0415

    return Profile.of_plan(plan, **{**plan.profile, **more})


def target_cost_of(plan: Plan) -> TargetCost:
    """Return the price of a call, where the target was registered with one."""
    from service.cost.estimate import TargetCost  # noqa: PLC0415

    price = plan.price_per_row_usd
    return TargetCost() if price is None else TargetCost(price, "price_per_row_usd of its registration")
