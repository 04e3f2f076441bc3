"""Ten fields out of an agent's conversation of about 6 KB: our plan, compiled once, against the textbook.

    .venv/bin/python benchmarks/extraction.py [rows]

Two mappings: `patterns` takes all ten fields from the text of a tool's result by a regular expression each, `mixed`
takes five so and five from the arguments of another tool call. Every variant is given the same rows, each a JSON text
of its own (no two rows are alike, so nothing is remembered from one row for the next), parses it, and must find the
same fields, which is checked before the clock runs.

textbook, recompiled   `jmespath.search(expression, row)` for each field, with a `parse` function of one's own that
                       calls `re.search(pattern, text)`, and the caches of jmespath and re emptied before every row:
                       what it costs to compile the mapping again for each row, as a function started afresh does.
textbook, as written   The same calls. jmespath keeps its last 512 expressions and re its last 512 patterns by
                       themselves, so after the first row nothing is compiled.
ours                   `compile_output_mapping` once, then `plan.extract(row)`. It does more than the textbook: it finds
                       the tool's result by the id of its call, leaves errors and empty results out, looks into the
                       envelopes, and its patterns run on RE2, which no text can stall.
json.loads alone       What all variants spend on reading the row.

Variants take turns and each figure is the median of its turns, in one process on one core: compare ratios of one run.
"without JSON" leaves out of both sides what all of them spend on reading the row.
"""

from __future__ import annotations

import json
import re
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jmespath

sys.path.insert(0, str(Path(__file__).parents[1]))

from service.extraction.compiler import compile_output_mapping

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 400
TURNS = 9
PATTERNS = {
    "exchange": r"Exchange:\s*(\S+)",
    "cabinet": r"Cabinet:\s*(\d+)",
    "download_speed": r"Download Speed:\s*([^\n]+)",
    "distance_m": r"Distance to cabinet:\s*(\d+)\s*m",
    "checked_at": r"Checked at:\s*(\d{4}-\d{2}-\d{2})",
    "upload_speed": r"Upload Speed:\s*([^\n]+)",
    "line_type": r"Line type:\s*([A-Za-z ]+)",
    "latency_ms": r"Latency:\s*([\d.]+)\s*ms",
    "fault_rate": r"Faults:\s*([\d.]+)\s*%",
    "router": r"Router:\s*([^\n]+)",
}
REPORTED = ("provider", "technology", "price", "contract_months", "available")
# Where someone who has looked at one conversation says that the values stand: in the last tool result but one, and in
# the arguments of the last report. JMESPath cannot follow the id of a call to its result.
TEXT_PATH = "messages[].content[] | [?type=='tool_result'].content | [-2] | parse(@, '{}')"
REPORT_PATH = "messages[].content[] | [?type=='tool_use' && name=='report_line'].input.{} | [-1]"
PROSE = (
    "I compare what the page says with the address that was asked for before I answer, since several flats share a "
    "staircase and the page lists them under one postcode. "
)


def by_pattern(names: list[str]) -> dict[str, str]:
    return {name: TEXT_PATH.replace("{}", PATTERNS[name]) for name in names}


def mappings() -> dict[str, tuple[dict[str, str], dict[str, Any]]]:
    """Each mapping as the textbook's expressions and as an output mapping of ours."""
    every, half = list(PATTERNS), list(PATTERNS)[:5]
    paths = {name: f"content | parse('{pattern}')" for name, pattern in PATTERNS.items()}
    result = {"method": "tool_result", "tool_name": "line_checker", "paths": paths}
    fields = [
        *({"name": n, "extraction": [{"type": "tool_result", "tool": "line_checker", "path": paths[n]}]} for n in half),
        *({"name": n, "extraction": [{"type": "structured", "tool": "report_line", "path": n}]} for n in REPORTED),
    ]
    reported = {name: REPORT_PATH.replace("{}", name) for name in REPORTED}
    return {
        "patterns": (by_pattern(every), {"extraction_methods": [result]}),
        "mixed": (by_pattern(half) | reported, {"agent": "broadband", "fields": fields}),
    }


def conversation(number: int) -> dict[str, Any]:
    """One agent's output: a question, three tool calls with their results, and an answer, about 6 KB as JSON."""
    page = (
        f"Address checked: {number} Example Road, Sampletown\n{PROSE * 2}\nRouter: Example Hub {number % 5}\n"
        f"Exchange: EXCH{number:05d}\nCabinet: {number % 90 + 1}\nUpload Speed: {number % 20 + 1} Mbps\n"
        f"Download Speed: {number % 70 + 10}.0-{number % 300 + 80}.0 Mbps\nLine type: Fibre to the cabinet\n"
        f"Distance to cabinet: {number * 7 % 900} m\nLatency: {number % 40}.5 ms\nFaults: {number % 7}.1 %\n"
        f"Checked at: 2026-0{number % 9 + 1}-17\n"
    )
    report = {
        "provider": f"Example Telecom {number % 12}",
        "technology": "Fibre to the cabinet",
        "price": number % 40 + 10.99,
        "contract_months": number % 24 + 1,
        "available": number % 3 > 0,
    }
    found = "\n".join(f"{one} Example Road, Sampletown, EX1 {number % 9}AA" for one in range(number, number + 25))
    steps = [
        ("address_search", {"q": f"{number} Example Road"}, found),
        ("line_checker", {"uprn": str(100_000 + number)}, page),
        ("report_line", report, "noted"),
    ]
    messages = [{"role": "user", "content": [text(f"Which line is there at {number} Example Road?")]}]
    for step, (name, arguments, answer) in enumerate(steps):
        call = f"toolu_{number}_{step}"
        use = {"type": "tool_use", "id": call, "name": name, "input": arguments}
        messages.append({"role": "assistant", "content": [text(PROSE * 5), use]})
        result = {"type": "tool_result", "tool_use_id": call, "content": answer}
        messages.append({"role": "user", "content": [result]})
    messages.append({"role": "assistant", "content": [text(f"{PROSE * 5}The line of number {number} is above.")]})
    return {"messages": messages, "stop_reason": "end_turn", "usage": {"input_tokens": 2100, "output_tokens": number}}


def text(written: str) -> dict[str, Any]:
    return {"type": "text", "text": written}


class Functions(jmespath.functions.Functions):
    """JMESPath with a function of one's own, as its documentation shows it."""

    @jmespath.functions.signature({"types": ["string", "null"]}, {"types": ["string"]})
    def _func_parse(self, subject: str | None, pattern: str) -> str | None:
        match = re.search(pattern, subject) if subject else None
        return match.group(1) if match else None


OPTIONS = jmespath.Options(custom_functions=Functions())


def variants(expressions: dict[str, str], mapping: dict[str, Any]) -> dict[str, Callable[[str], Any]]:
    extract = compile_output_mapping(mapping, target="broadband", kind="agent").extract

    def textbook(row: str) -> dict[str, Any]:
        output = json.loads(row)
        return {name: jmespath.search(expression, output, OPTIONS) for name, expression in expressions.items()}

    def recompiled(row: str) -> dict[str, Any]:
        jmespath.parser.Parser.purge()
        re.purge()
        return textbook(row)

    return {
        "textbook, recompiled": recompiled,
        "textbook, as written": textbook,
        "ours": lambda row: extract(json.loads(row)).fields,
    }


def timed(variant: Callable[[str], Any], rows: list[str]) -> float:
    """Seconds for one row."""
    started = time.perf_counter()
    for row in rows:
        variant(row)
    return (time.perf_counter() - started) / len(rows)


def measured(every: dict[str, Callable[[str], Any]], rows: list[str]) -> dict[str, float]:
    """Seconds for one row by each variant: the median of its turns."""
    turns: dict[str, list[float]] = {name: [] for name in every}
    for _ in range(TURNS):
        for name, variant in every.items():
            turns[name].append(timed(variant, rows))
    return {name: statistics.median(seconds) for name, seconds in turns.items()}


def main() -> None:
    rows = [json.dumps(conversation(number)) for number in range(1, (int(sys.argv[1]) if sys.argv[1:] else ROWS) + 1)]
    print(
        f"{len(rows)} rows of {len(rows[0]) / 1000:.1f} KB, ten fields, {TURNS} turns, Python {sys.version.split()[0]}"
    )
    print(f"\n{'mapping':<10}{'variant':<24}{'us/row':>9}{'rows/s':>9}{'ours is':>10}{'without JSON':>14}")
    for mapping, (expressions, ours) in mappings().items():
        every = variants(expressions, ours)
        for row in rows:
            found = [variant(row) for variant in every.values()]
            assert found[0] == found[1] == found[2]
            assert len(found[0]) == 10
            assert None not in found[0].values()
        seconds = measured({**every, "json.loads alone": json.loads}, rows)
        floor, best = seconds["json.loads alone"], seconds["ours"]
        for name, taken in seconds.items():
            ratios = f"{taken / best:>9.1f}x{(taken - floor) / (best - floor):>13.1f}x" if name in every else ""
            print(f"{mapping:<10}{name:<24}{taken * 1e6:>9.1f}{1 / taken:>9,.0f}{ratios}")


if __name__ == "__main__":
    main()
