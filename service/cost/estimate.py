"""What a batch costs at AWS, part by part and with its formulas: expected beforehand, or so far by what is counted.

The target's own cost stands apart: only who registered it can say what a call of it costs.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.cost.prices import DATE, PRICES, REGION
from service.cost.usage import Term, aggregations, terms
from service.cost.workload import Profile, Work
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.cost.prices import Price

_CALL_FAILED = (RowStatus.FAILED, RowStatus.TIMEOUT)
_UNSUCCESSFUL = (*_CALL_FAILED, RowStatus.INVALID_INPUT, RowStatus.EXTRACTION_FAILED)
_PLURAL = re.compile(r"^([a-z]+)s\b")
_WORTH_A_LINE = 0.01  # of the whole: what is less is summed up


@dataclass(frozen=True, slots=True)
class TargetCost:
    """What a call of the target costs; None when nobody has said. `source` says where the number is from."""

    usd_per_call: float | None = None
    source: str = ""

    @classmethod
    def of_function(cls, memory_mb: float, seconds: float, *, x86: bool = False) -> TargetCost:
        """Of a Lambda function by its memory and the length of a call; what it calls itself is not in it."""
        price = PRICES["lambda_gb_seconds_x86" if x86 else "lambda_gb_seconds"]
        usd = PRICES["lambda_requests"].of(1) + price.of(memory_mb / 1024 * seconds)
        return cls(usd, f"Lambda alone, {memory_mb:g} MB for {seconds:g} s")


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a cost: how much of what, and US dollars."""

    quantity: float
    unit: str
    usd: float


@dataclass(frozen=True)
class Cost:
    """The terms of which a cost consists, and the calls of a target."""

    terms: tuple[Term, ...]
    calls: float = 0.0
    target: TargetCost = TargetCost()

    @property
    def parts(self) -> dict[str, Part]:
        """Quantity and US dollars by part, in the order of the price list."""
        sums: dict[str, float] = {}
        for term in self.terms:
            sums[term.part] = sums.get(term.part, 0.0) + term.quantity
        priced = {name: price for name, price in PRICES.items() if name in sums}
        return {name: Part(sums[name], price.unit, price.of(sums[name])) for name, price in priced.items()}

    @property
    def own_usd(self) -> float:
        """US dollars for everything but the target."""
        return math.fsum(_usd(term) for term in self.terms)

    @property
    def target_usd(self) -> float | None:
        """US dollars for the calls of the target; None when the price of a call is not known."""
        return None if self.target.usd_per_call is None else self.target.usd_per_call * self.calls

    @property
    def total_usd(self) -> float:
        """US dollars for everything of which the price is known."""
        return self.own_usd + (self.target_usd or 0.0)

    def explain(self, least: float = _WORTH_A_LINE) -> list[str]:
        """Return the formulas as lines for people, the most costly first.

        Those below a share of `least` are summed up.
        """
        ordered = sorted(self.terms, key=_usd, reverse=True)
        shown = [term for term in ordered if _usd(term) >= least * self.own_usd]
        rest = ordered[len(shown) :]
        lines = [_line(term) for term in shown]
        if rest:
            lines.append(f"{_counted(len(rest), 'items that cost less')} = {money(math.fsum(map(_usd, rest)))}")
        return [*lines, self._target_line(), f"prices of {REGION}, {DATE}, without free tiers, discounts and taxes"]

    def _target_line(self) -> str:
        each, usd = self.target.usd_per_call, self.target_usd
        if each is None or usd is None:
            return "what the target itself costs is not known: register it with price_per_row_usd"
        source = f" ({self.target.source})" if self.target.source else ""
        return f"{money(each)} × {_counted(self.calls, 'calls of the target')}{source} = {money(usd)}"

    def to_json(self) -> dict[str, Any]:
        """Return the same as a JSON object, US dollars to the millionth."""
        return {
            "total_usd": round(self.total_usd, 6),
            "own_usd": round(self.own_usd, 6),
            "target_usd": None if self.target_usd is None else round(self.target_usd, 6),
            "parts": {
                name: {"quantity": round(part.quantity, 6), "unit": part.unit, "usd": round(part.usd, 6)}
                for name, part in self.parts.items()
            },
            "prices": {"region": REGION, "date": DATE},
        }


def estimate(  # noqa: PLR0913 - one argument for each thing that can happen to a row
    rows: float,
    profile: Profile | None = None,
    target: TargetCost | None = None,
    *,
    chunks: float | None = None,
    failures: float = 0,
    retries: float | None = None,
    invalid: float = 0,
    unextracted: float = 0,
) -> Cost:
    """Return the cost of running so many rows, of which some fail, cannot be mapped, or give nothing to extract.

    `chunks`: as they are laid out; without it, of as many rows as the attempts allow. `retries`: as of `spent`. Raises
    ValueError when more rows go wrong than there are.
    """
    counts: dict[str, float] = {
        RowStatus.SUCCESS: rows - failures - invalid - unextracted,
        RowStatus.FAILED: failures,
        RowStatus.INVALID_INPUT: invalid,
        RowStatus.EXTRACTION_FAILED: unextracted,
    }
    if min(counts.values()) < 0:
        raise ValueError(f"{failures:g} + {invalid:g} + {unextracted:g} of {rows:g} rows cannot go wrong")
    laid_out = math.ceil(rows / (profile or Profile()).chunk_rows) if chunks is None else chunks
    return spent(counts, profile, target, chunks=laid_out, retries=retries)


def spent(  # noqa: PLR0913 - one argument for each counter
    counts: Mapping[str, float],
    profile: Profile | None = None,
    target: TargetCost | None = None,
    *,
    chunks: float,
    retries: float | None = None,
    replaced: float = 0,
    run_again: float = 0,
    batch_rows: float | None = None,
) -> Cost:
    """Return the cost of one run by its counts of rows by status and of the chunks begun.

    The CSV to come is counted in.

    `retries`: calls made again; where nobody counted them, every row that failed is taken to have used all attempts.
    MISSING rows are counted as called and stored: nobody knows, and the other way would be too little. In a rerun,
    `replaced` results took the place of failures, and the CSV has `batch_rows` lines; the runs of a batch are summed
    by `total`. `run_again`: chunks that EXPRESS executions did not finish.
    """
    profile = profile or Profile()
    rows, not_run, failed = math.fsum(counts.values()), _sum(counts, RowStatus.NOT_RUN), _sum(counts, *_CALL_FAILED)
    stored = rows - not_run
    again = failed * (profile.max_attempts - 1) if retries is None else retries
    answered = stored - _sum(counts, RowStatus.INVALID_INPUT) - failed
    lines = rows if batch_rows is None else max(rows, batch_rows)
    work = Work(
        lines=lines,
        results=lines - not_run,
        mapped=stored,
        answered=answered,
        failed=failed + again,
        retried=again,
        stored=stored,
        unsuccessful=_sum(counts, *_UNSUCCESSFUL),
        chunks=chunks,
        replaced=replaced,
        run_again=run_again,
        aggregations=aggregations(lines, profile),
    )
    return Cost(tuple(terms(work, profile)), answered + failed + again, target or TargetCost())


def total(costs: Iterable[Cost]) -> Cost:
    """Return the cost of several runs of one batch."""
    listed = list(costs)
    target = listed[0].target if listed else TargetCost()
    return Cost(tuple(term for cost in listed for term in cost.terms), math.fsum(cost.calls for cost in listed), target)


def money(usd: float) -> str:
    """`$52.88`, `$0.19`, and below a cent the first two digits that say something: `$0.0042`."""
    if usd <= 0 or usd >= 0.01:
        return f"${usd:,.2f}"
    return f"${usd:.{1 - math.floor(math.log10(usd))}f}"


def _usd(term: Term) -> float:
    return PRICES[term.part].of(term.quantity)


def _sum(counts: Mapping[str, float], *statuses: RowStatus) -> float:
    return math.fsum(counts.get(status, 0) for status in statuses)


def _line(term: Term) -> str:
    price = PRICES[term.part]
    unit = price.unit if term.each == 1 or price.unit.isupper() else f"{price.unit}s"
    return f"{term.each:.3g} {unit} × {_counted(term.count, term.of)} × {_rate(price)} = {money(_usd(term))}"


def _counted(count: float, of: str) -> str:
    """`3,708 rows`, `1 chunk: TransformInput`: one of them loses the s of its first word."""
    number = f"{count:,.0f}" if count >= 10 or count == round(count) else f"{count:.1f}"
    named = _PLURAL.sub(r"\1", of) if count == 1 else of
    return f"{number} {named}"


def _rate(price: Price) -> str:
    per = {1e6: "million", 1e3: "1,000", 3600: "3,600", 1: price.unit}[price.per]
    return f"${price.usd:g} / {per}"
