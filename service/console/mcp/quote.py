"""What an order would run and cost, worked out before anything is paid, and whether somebody has agreed to it."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.batch import rerun as reruns
from service.batch.stopping import profile_of
from service.console.display import rows_text, seconds
from service.console.spending import account_of
from service.cost.estimate import TargetCost, estimate, money, spent
from service.cost.forecast import forecast
from service.cost.workload import Profile
from service.limits import LONGEST_RUN
from service.models import OPEN
from service.request.checks import check
from service.request.parse import read_input

if TYPE_CHECKING:
    from service.console.mcp.opened import Opened
    from service.record import BatchRecord
    from service.request.checks import Checked
    from service.request.models import BatchInput

ASKED_ABOVE, ASKED_ABOVE_USD = 100, 1.0  # rows and US dollars: so many and fewer are run without a question
_DAY = 86_400
_LOOKED_AT = 100  # batches among which one with the same target is looked for, and rows of it that are read


@dataclass(frozen=True)
class Quote:
    """Rows to run of so many, US dollars and seconds where they are known; `token` names this very order.

    `source_rows`: of the whole source. `usd` leaves out the target's own cost where `target_known` is false.
    """

    rows: int
    source_rows: int
    usd: float
    target_known: bool
    seconds: float | None
    basis: str
    formula: tuple[str, ...]
    token: str

    @property
    def asks(self) -> bool:
        """Whether somebody has to agree to it before it is run."""
        return self.rows > ASKED_ABOVE or self.usd > ASKED_ABOVE_USD

    @property
    def question(self) -> str:
        """Return the quote as a sentence that ends in a question."""
        return f"{self.sentence}: go on?"

    @property
    def sentence(self) -> str:
        """Return the quote as a sentence without its end."""
        cost = f"about {money(self.usd)}"
        if not self.target_known:
            cost += " beside what the target itself costs, which is not known"
        took = "time not known" if self.seconds is None else f"about {seconds(self.seconds)}"
        of = "" if self.rows == self.source_rows else f" of {self.source_rows:,}"
        return f"{rows_text(self.rows)}{of}, {cost}, {took} ({self.basis})"

    def to_json(self) -> dict[str, Any]:
        """Return the quote as an answer has it."""
        return {
            "rows_to_run": self.rows,
            "rows_in_source": self.source_rows,
            "usd": round(self.usd, 6),
            "target_cost_known": self.target_known,
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "basis": self.basis,
            "formula": list(self.formula),
        }


@dataclass(frozen=True)
class Measured:
    """How long calls of a target took in an earlier batch."""

    seconds: float
    rows: int
    batch_id: str


def of_order(opened: Opened, given: dict[str, Any], name: str) -> Quote:
    """Return the quote of a first run; raises BatchRefused with every problem, and runs no row.

    The whole source is read, as PrepareBatch does: only so are its rows counted and its faults found.
    """
    parsed, problems = read_input(given)
    checked = check(opened.checking, parsed, name, problems)
    measured = measured_of(opened, checked.target.name)
    rows, target = checked.layout.rows_to_run, checked.target
    profile = _profile(parsed, checked, measured)
    cost = estimate(rows, profile, _price(opened, target.kind, target.arn, target.price_per_row_usd, measured))
    return Quote(
        rows,
        checked.layout.row_count,
        cost.total_usd,
        cost.target.usd_per_call is not None,
        _seconds(opened, rows, profile, measured),
        _basis(measured),
        tuple(cost.explain()),
        _token([_canonical(given), checked.opened.found.etag, rows, vars(checked.target), round(cost.total_usd, 2)]),
    )


def of_rerun(opened: Opened, record: BatchRecord, given: dict[str, Any]) -> Quote:
    """Return the quote of a rerun; raises as `service.batch.rerun.preview`, and BatchRefused when no row is left."""
    which = given["rerun_of"]
    plan, selection = reruns.preview(opened.stack.app, record, which)
    limit = (given.get("execution_config") or {}).get("limit")
    rows = min(selection.count, limit) if isinstance(limit, int) and limit > 0 else selection.count
    measured = measured_of(opened, record.tool_name)
    profile = profile_of(plan, **_called(measured))
    price = _price(opened, plan.kind, plan.target_arn, plan.price_per_row_usd, measured)
    cost = spent({"SUCCESS": rows}, profile, price, chunks=math.ceil(rows / profile.chunk_rows))
    return Quote(
        rows,
        record.rows,
        cost.total_usd if rows else 0.0,
        cost.target.usd_per_call is not None,
        _seconds(opened, rows, profile, measured),
        _basis(measured),
        tuple(cost.explain()),
        _token([_canonical(given), record.run, record.plan_hash, rows, round(cost.total_usd, 2)]),
    )


def measured_of(opened: Opened, target: str) -> Measured | None:
    """Return how long calls of the target took in its last batch that has ended; None when there is none."""
    app = opened.stack.app
    for record in islice(app.records.newest(), _LOOKED_AT):
        if record.tool_name != target or record.status in OPEN or not (record.counts or {}).get("SUCCESS"):
            continue
        rows = islice(app.queries.of_batch(record.batch_id, "SUCCESS", at_most=_LOOKED_AT), _LOOKED_AT)
        known = [row["execution_time_ms"] / 1000 for row in rows if row["execution_time_ms"] is not None]
        if known:
            return Measured(fmean(known), len(known), record.batch_id)
    return None


def _basis(measured: Measured | None) -> str:
    if measured is None:
        return "no earlier batch of this target to measure by: run a few rows first, execution_config.sample"
    calls = "1 call" if measured.rows == 1 else f"{measured.rows} calls"
    return f"{measured.seconds:.2f} s a call, by {calls} in batch {measured.batch_id}"


def _profile(parsed: BatchInput, checked: Checked, measured: Measured | None) -> Profile:
    config, target, layout = parsed.execution_config, checked.target, checked.layout
    known: dict[str, Any] = {} if config.keep_output else {"output_bytes": 0}
    return Profile(
        kind=target.kind,
        synchronous=target.synchronous,
        children=layout.children.type,
        max_attempts=config.retry_policy.max_attempts,
        columns_known=checked.mappings.output.columns is not None,
        row_bytes=checked.opened.found.size / max(1, layout.row_count),
        concurrency=config.max_concurrency,
        rows_per_chunk=layout.rows_per_chunk,
        kept_days=0 if config.ttl_days is None else LONGEST_RUN / _DAY + config.ttl_days,
        **known,
        **_called(measured),
    )


def _called(measured: Measured | None) -> dict[str, Any]:
    return {} if measured is None else {"call_seconds": measured.seconds}


def _seconds(opened: Opened, rows: int, profile: Profile, measured: Measured | None) -> float | None:
    """Return how long so many rows take; None when nobody knows how long a call does."""
    if measured is None:
        return None
    return forecast(rows, measured.seconds, profile, account_of(opened.stack.app)).seconds


def _price(opened: Opened, kind: str, arn: str, registered: float | None, measured: Measured | None) -> TargetCost:
    """Return what a call of the target costs: as it is registered, else of a Lambda function by its memory and time.

    Whoever may not look at the function does not know it.
    """
    if registered is not None:
        return TargetCost(registered, "price_per_row_usd of its registration")
    if kind != "tool" or measured is None:
        return TargetCost()
    try:
        known = opened.stack.app.lambda_client.get_function_configuration(FunctionName=arn)
    except (BotoCoreError, ClientError):
        return TargetCost()
    return TargetCost.of_function(known["MemorySize"], measured.seconds)


def _canonical(given: dict[str, Any]) -> str:
    return json.dumps(given, sort_keys=True, ensure_ascii=False, default=str)


def _token(parts: list[Any]) -> str:
    """Return the name of an order as it was quoted: another source, mapping, target, price or rows have another.

    It is worked out anew for every call, so that no server has to remember what it has asked.
    """
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()[:20]
