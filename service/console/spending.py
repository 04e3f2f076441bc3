"""What a batch has cost so far, by its finished chunks; what more rows of it would cost, and how long they take."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.batch.stopping import cost_of, profile_of, target_cost_of
from service.console.display import rows_text, seconds
from service.cost import estimate
from service.cost.case import Account
from service.cost.quotas import LARGE_REGIONS
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.app import App
    from service.cost.forecast import Forecast
    from service.plan import Plan
    from service.record import BatchRecord

_PARTS_SHOWN = 2  # of a cost, in a line
_PART_NAMES = {
    "transitions": "state transitions",
    "express_requests": "EXPRESS executions",
    "express_gb_seconds": "EXPRESS executions",
    "lambda_requests": "functions",
    "lambda_gb_seconds": "functions",
    "write_units": "writes to DynamoDB",
    "read_units": "reads from DynamoDB",
    "storage_gb_months": "keeping results",
    "backup_gb_months": "keeping results",
    "s3_puts": "S3",
    "s3_gets": "S3",
    "traces": "traces",
}


def account_of(app: App) -> Account:
    """Return what the account has of the quotas that differ; AWS's defaults where that may not be read.

    Functions without a concurrency of their own share UnreservedConcurrentExecutions (Lambda API, GetAccountSettings).
    """
    try:
        limit = app.lambda_client.get_account_settings()["AccountLimit"].get("UnreservedConcurrentExecutions")
    except (BotoCoreError, ClientError):
        limit = None
    known = {} if limit is None else {"functions_at_once": int(limit)}
    return Account(large_region=app.lambda_client.meta.region_name in LARGE_REGIONS, **known)


def lines(found: Forecast, cost: estimate.Cost) -> list[str]:
    """Return a forecast in three lines for people: how long, how much, and what sets the pace, with the next step."""
    case, phases = found.case, found.phases
    time = (
        f"About {seconds(found.seconds)} for {rows_text(case.rows)}: {seconds(phases['preparing'])} to prepare, "
        f"{seconds(phases['running'])} to run ({_rate(found.rate)}), {seconds(phases['aggregating'])} for the CSV"
    )
    return [time, _cost_line(cost), _pace_line(found)]


def _rate(rate: float) -> str:
    if 0 < rate < 1:
        return f"a row in {seconds(1 / rate)}"
    return f"{rate:,.0f} rows a second" if rate >= 10 else f"{rate:.1f} rows a second"


def _cost_line(cost: estimate.Cost) -> str:
    sums: dict[str, float] = {}
    for name, part in cost.parts.items():
        what = _PART_NAMES[name]
        sums[what] = sums.get(what, 0.0) + part.usd
    ordered = sorted(sums, key=sums.__getitem__, reverse=True)[:_PARTS_SHOWN]
    most = ", ".join(f"{what} {estimate.money(sums[what])}" for what in ordered)
    said = f"About {estimate.money(cost.own_usd)} on AWS ({most})"
    if cost.target_usd is None:
        return f"{said}; what the target itself costs is not known: register it with price_per_row_usd"
    source = f", {cost.target.source}" if cost.target.source else ""
    return f"{said} and {estimate.money(cost.target_usd)} for the target{source}"


def _pace_line(found: Forecast) -> str:
    case, quota = found.case, found.binding
    at_once = case.profile.concurrency
    if quota is None:
        if case.rows <= at_once:
            return f"max_concurrency {at_once:,} runs all of them at once: no quota of AWS stands in the way"
        most = found.useful_concurrency
        if most <= at_once:
            return f"max_concurrency {at_once:,} sets the pace, and no more of it would help"
        return f"max_concurrency {at_once:,} sets the pace: up to {most:,} no quota of AWS does"
    if quota.most is not None:
        fit = f"about {float(f'{quota.most(case):.2g}'):,.0f}"
        return f"Not all rows fit into one run ({quota.name}: {quota.number(case)}; {fit} do): {quota.ask}"
    useful = f"max_concurrency beyond {found.useful_concurrency:,} adds nothing"
    return f"{quota.name.capitalize()} set the pace ({quota.number(case)}), and {useful}: {quota.ask}"


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
