"""Writes the tables of docs/cost.md by the model of costs; `make docs` runs it and a test compares.

.venv/bin/python docs/make_cost.py
"""

from __future__ import annotations

import re
from pathlib import Path

from service.cost.estimate import estimate, money
from service.cost.prices import DATE, PRICES, REGION
from service.cost.workload import Profile

PAGE = Path(__file__).with_name("cost.md")
MILLION = 1_000_000
REFERENCE = Profile(children="EXPRESS", row_bytes=480, item_bytes=1_024, concurrency=100)
_TABLE = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
_WORTH_A_LINE = 0.0005  # US dollars


def reference() -> str:
    """Return what each cent of the reference million is for."""
    cost = estimate(MILLION, REFERENCE)
    priced = sorted(((PRICES[term.part].of(term.quantity), term) for term in cost.terms), key=lambda one: -one[0])
    rows = [
        f"| {term.of} | {term.quantity:,.0f} {PRICES[term.part].unit}s | {usd:.4f} |"
        for usd, term in priced
        if usd >= _WORTH_A_LINE
    ]
    rest = sum(usd for usd, _ in priced if usd < _WORTH_A_LINE)
    head = f"| for | quantity | US dollars ({REGION}, {DATE}) |\n|---|---|---|"
    return "\n".join([head, *rows, f"| all else | | {rest:.4f} |", f"| **in all** | | **{cost.own_usd:.2f}** |"])


def compared() -> str:
    """Return what a million rows cost in other cases."""
    cases = {
        "an idempotent tool of 1 s, 100 at a time (the reference)": {},
        "the same, 10 at a time": {"concurrency": 10},
        "the same, calls of 0.2 s": {"call_seconds": 0.2},
        "the same, calls of 5 s": {"call_seconds": 5.0},
        "a tool whose longest call allows 20 rows a chunk": {"rows_per_chunk": 20},
        "a tool that may not be called twice, or any agent: STANDARD executions": {"children": "STANDARD"},
    }
    told = {
        "row_bytes": REFERENCE.row_bytes,
        "item_bytes": REFERENCE.item_bytes,
        "concurrency": REFERENCE.concurrency,
        "children": "EXPRESS",
    }
    lines = [
        f"| {words} | {money(estimate(MILLION, Profile(**{**told, **more})).own_usd)} |"  # type: ignore[arg-type]
        for words, more in cases.items()
    ]
    failing = estimate(MILLION, REFERENCE, failures=MILLION / 10)
    lines.append(f"| the reference, a tenth of whose rows fails three times | {money(failing.own_usd)} |")
    return "\n".join(["| a million rows of | cost |", "|---|---|", *lines])


def page(text: str) -> str:
    """Return the page with its tables as the model gives them."""
    made = {"reference": reference, "compared": compared}
    return _TABLE.sub(lambda found: f"{found[1]}{made[found[2]]()}\n{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
