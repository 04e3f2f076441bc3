"""What a batch has cost so far, by the counts of its finished chunks, and what more rows of it would cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from service.batch.stopping import cost_of, profile_of, target_cost_of
from service.cost import estimate
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.app import App
    from service.plan import Plan
    from service.record import BatchRecord


OURS = 0.1  # seconds of a row beside the target's own: an assumption for two transitions, and WriteResult on AWS


def seconds_of(rows: int, each: float, at_once: int) -> float:
    """Return how long so many rows take, so many at once, when a call of the target takes `each` seconds."""
    return rows * (each + OURS) / at_once


def so_far(app: App, record: BatchRecord) -> estimate.Cost | None:
    """Return the cost of all runs of a batch; None of one that never had a plan, or has it no more."""
    plan = app.plans.find(record.batch_id, record.plan_hash)
    if plan is None:
        return None
    counts: dict[int, Counter[str]] = {int(run["run"]): Counter() for run in record.runs}
    chunks: Counter[int] = Counter()
    for chunk in app.records.chunks(record.batch_id):
        counts.setdefault(chunk.run, Counter()).update(chunk.counts)
        chunks[chunk.run] += 1
    again = {record.run: int(record.chunks.get("run_again") or 0)}
    return estimate.total(cost_of(plan, counts[run], chunks[run], again.get(run, 0)) for run in sorted(counts))


def expected(
    plan: Plan, sampled: Counter[str], rows: int, item_bytes: Sequence[int], function: Mapping[str, float]
) -> estimate.Cost:
    """Return the cost of running so many rows, if they fare as the sampled ones did.

    Their items' sizes are those found.

    `function`: memory in MB (`memory_mb`) and mean seconds of a call (`seconds`) of a Lambda target whose registration
    names no price.
    """
    target = target_cost_of(plan)
    if target.usd_per_call is None and function:
        target = estimate.TargetCost.of_function(function["memory_mb"], function["seconds"])
    share = rows / max(1, sampled.total())
    found: dict[str, Any] = {"item_bytes": list(item_bytes)} if item_bytes else {}
    if function:
        found["call_seconds"] = function["seconds"]
    return estimate.estimate(
        rows,
        profile_of(plan, **found),
        target,
        failures=share * (sampled[RowStatus.FAILED] + sampled[RowStatus.TIMEOUT]),
        invalid=share * sampled[RowStatus.INVALID_INPUT],
        unextracted=share * sampled[RowStatus.EXTRACTION_FAILED],
    )
