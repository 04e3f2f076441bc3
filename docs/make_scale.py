"""Writes the tables of docs/scale.md from the model of quotas; `make docs` runs it and a test compares.

.venv/bin/python docs/make_scale.py
"""

from __future__ import annotations

import re
from pathlib import Path

from service.console.display import seconds as span
from service.cost.case import Account, Case
from service.cost.forecast import forecast
from service.cost.quotas import QUOTAS, Quota
from service.cost.workload import Profile

PAGE = Path(__file__).with_name("scale.md")
ROWS = (1_000, 10_000, 100_000, 1_000_000, 10_000_000)
SECONDS = (1, 20)
AT_ONCE = (10, 100, 1_000)
USUAL = Case(rows=1_000_000, seconds=1.0, profile=Profile(concurrency=1_000))


def times() -> str:
    """Return the table of times, with the quota that binds where one does."""
    lines = [
        "| rows | target | " + " | ".join(f"max_concurrency {at_once:,}" for at_once in AT_ONCE) + " |",
        "|---|---|" + "---|" * len(AT_ONCE),
    ]
    for rows in ROWS:
        for each in SECONDS:
            cells = (_cell(rows, each, at_once) for at_once in AT_ONCE)
            lines.append(f"| {rows:,} | {each} s | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(rows: int, each: float, at_once: int) -> str:
    found = forecast(rows, each, Profile(concurrency=at_once))
    return span(found.seconds) + (f"; **{found.binding.name}**" if found.binding else "")


_CASES: tuple[tuple[str, float, Profile, Account], ...] = (
    ("a tool in a region with 800 transitions a second", 1.0, Profile(concurrency=1_000), Account(large_region=False)),
    ("a tool in an account with 100 functions", 1.0, Profile(concurrency=1_000), Account(functions_at_once=100)),
    ("a tool of 0.1 s in EXPRESS executions", 0.1, Profile(concurrency=1_000, children="EXPRESS"), Account()),
    ("a Standard agent", 1.0, Profile(concurrency=1_000, kind="agent"), Account()),
    ("an Express agent", 1.0, Profile(concurrency=1_000, kind="agent", synchronous=True), Account()),
)


def binding() -> str:
    """Return the table of a million rows at max_concurrency 1,000 where other quotas are the tightest."""
    lines = ["| | rows a second | sets the pace | max_concurrency that is of use |", "|---|---|---|---|"]
    for said, each, profile, account in _CASES:
        found = forecast(1_000_000, each, profile, account)
        name = found.binding.name if found.binding else "max_concurrency"
        lines.append(f"| {said} | {found.rate:,.0f} | {name} | {found.useful_concurrency:,} |")
    return "\n".join(lines)


def quotas() -> str:
    """Return the table of quotas: number, what it lets through, what is done about it, what to do when it binds."""
    lines = [
        "| quota | number | lets through | what the product does | when it binds |",
        "|---|---|---|---|---|",
    ]
    lines += [f"| {one.name} | {one.number(USUAL)} | {_through(one)} | {one.handled} | {one.ask} |" for one in QUOTAS]
    return "\n".join(lines)


def _through(quota: Quota) -> str:
    if quota.most is not None:
        return f"{_short(quota.most(USUAL))} rows"
    rate = quota.rate(USUAL) if quota.rate is not None else 0.0
    return "any" if rate == float("inf") else f"{_short(rate)} rows/s"


def _short(count: float) -> str:
    """`817`, `4,000`, `33 million`: two digits that say something are enough."""
    if count >= 10_000_000:
        return f"{count / 1e6:,.0f} million"
    return f"{float(f'{count:.2g}'):,.0f}"


def sources() -> str:
    """Return where each number is from."""
    return "\n".join(f"- {one.name}: {one.source}" for one in QUOTAS)


BLOCKS = {"times": times, "binding": binding, "quotas": quotas, "sources": sources}


def page(text: str) -> str:
    """Return the page with its tables made again."""
    for name, made in BLOCKS.items():
        block = f"<!-- {name} -->\n{made()}\n<!-- end of {name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- end of {name} -->", lambda _, new=block: new, text, flags=re.DOTALL)
    return text


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
