"""How long a batch takes, phase by phase, and which quota of AWS sets its pace."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from service.cost.case import Account, Case
from service.cost.quotas import QUOTAS, RUNNING, Phase, Quota
from service.cost.workload import Profile

MOST_CONCURRENCY = 10_000  # of an order


@dataclass(frozen=True)
class Forecast:
    """What is expected of a batch: seconds by phase, and the quota that binds.

    `binding`: None where max_concurrency alone sets the pace. `rate`: rows a second while they run.
    """

    case: Case
    phases: dict[Phase, float]
    rate: float
    binding: Quota | None

    @property
    def seconds(self) -> float:
        """Seconds from the start to the CSV."""
        return math.fsum(self.phases.values())

    @property
    def useful_concurrency(self) -> int:
        """The max_concurrency beyond which a quota sets the pace."""
        rate, _ = tightest(self.case)
        return max(1, min(MOST_CONCURRENCY, math.floor(rate * self.case.row_seconds)))

    def to_json(self) -> dict[str, Any]:
        """Return the same as a JSON object."""
        quota = self.binding
        return {
            "seconds": round(self.seconds, 1),
            "phases": {name: round(seconds, 1) for name, seconds in self.phases.items()},
            "rows_per_second": round(self.rate, 2),
            "quota": None if quota is None else {"name": quota.name, "is": quota.number(self.case), "next": quota.ask},
            "useful_concurrency": self.useful_concurrency,
        }


def forecast(
    rows: int,
    seconds: float,
    profile: Profile | None = None,
    account: Account | None = None,
    *,
    failures: float = 0.0,
) -> Forecast:
    """Return the forecast for so many rows, of which each call of the target takes `seconds`.

    `failures`: the share of the rows that fail, each with all its attempts.
    """
    case = Case(
        rows=rows,
        seconds=seconds,
        profile=profile or Profile(),
        account=account or Account(),
        failures=failures,
    )
    allowed, quota = tightest(case)
    rate = min(case.wanted_rate, allowed)
    phases: dict[Phase, float] = {
        "preparing": _preparing(case),
        "running": rows / rate if rows else 0.0,
        "aggregating": _aggregating(case),
    }
    too_many = [one for one in QUOTAS if one.most is not None and one.most(case) < rows]
    binding = min(too_many, key=lambda one: _most(one, case), default=None)
    if binding is None and allowed < case.wanted_rate:
        binding = quota
    return Forecast(case, phases, rate, binding)


def tightest(case: Case) -> tuple[float, Quota]:
    """Return the rows a second that the quotas of running let through, and the tightest of them."""
    rates = [(one.rate(case), one) for one in RUNNING if one.rate is not None]
    return min(rates, key=lambda pair: pair[0])


def _most(quota: Quota, case: Case) -> float:
    return math.inf if quota.most is None else quota.most(case)


def _preparing(case: Case) -> float:
    took = case.profile.durations
    return took.cold + took.prepare + case.rows * took.prepare_row


def _aggregating(case: Case) -> float:
    took, profile = case.profile.durations, case.profile
    reads = [one.rate(case) for one in QUOTAS if one.phase == "aggregating" and one.rate is not None]
    of_row = max(took.aggregate_row * profile.passes, *(1 / rate for rate in reads))
    return took.cold + took.aggregate + case.rows * of_row
