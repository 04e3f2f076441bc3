"""What a report says in words: facts, sums, times, and the commands that go on from there."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from service.console.display import row_list, rows_text
from service.console.report.shown_rows import CELL, visible
from service.cost.estimate import money
from service.export.fill_rates import warning
from service.models import OPEN, RowStatus, parse_iso

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PENDING = "not done yet"
_SUCCESS = RowStatus.SUCCESS.value
_WHY = {"NOT_RUN": "not run: a limit, a sample or an early stop", "MISSING": "no result, though there should be one"}
_UNITS = ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s"))
_LONG = 30  # characters of a fact that takes the room of two
_PROBLEM = 20_000  # characters of why a batch could not run


def took(milliseconds: int | None) -> str:
    """`412 ms`, `2.05 s`, `1 min 32 s`, `10 min`, `2 h 5 min`; a dash of what is not known."""
    if milliseconds is None:
        return "–"
    if milliseconds < 1_000:
        return f"{milliseconds} ms"
    if milliseconds < 59_950:
        return f"{milliseconds / 1_000:.3g} s"
    whole = (milliseconds + 500) // 1_000 * 1_000
    place, unit, name = next((place, unit, name) for place, (unit, name) in enumerate(_UNITS) if whole >= unit)
    smaller, smaller_name = _UNITS[place + 1]
    rest = whole % unit // smaller
    return f"{whole // unit} {name}" + (f" {rest} {smaller_name}" if rest else "")


def speed(rows: int, milliseconds: int | None) -> str:
    """`265 rows/s`, `6.7 rows/min`; "" where nothing can be said."""
    if not rows or not milliseconds:
        return ""
    for unit, name in reversed(_UNITS):
        if rows * unit >= milliseconds or name == "d":
            return f"{rows * unit / milliseconds:,.3g} rows/{name}"
    return ""


def instant(text: str) -> str:
    """`2026-11-22 15:41:02 UTC` of an ISO text."""
    return f"{parse_iso(text).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def moment(milliseconds: int, form: str = "%Y-%m-%d %H:%M:%S") -> str:
    """Return the same of epoch milliseconds, without the zone."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).strftime(form)


def share(count: int, total: int) -> str:
    """`0.2 %`; never 0 % or 100 % of what is neither."""
    percent = 100 * count / total
    if count == total:
        return "100 %"
    if percent >= 99.95:
        return "> 99.9 %"
    if percent >= 0.1 or not count:
        return f"{percent:.1f} %"
    return f"{percent:.2f} %" if percent >= 0.01 else "< 0.01 %"


def facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str, bool]]:
    """Name, value, something more, and whether it is long, of what is known of the batch."""
    for name, value, more in _facts(report):
        if value:
            yield name, value, more, max(len(value), len(more)) > _LONG


def _facts(report: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    target, source = report["target"] or {}, report["source"] or {}
    version = f"version {target['version']}" if target.get("version") is not None else None
    kind = ", ".join(str(part) for part in (target.get("kind"), version, target.get("arn")) if part)
    yield "Target", str(target.get("name") or ""), kind
    size = f"{int(source['size']):,} bytes" if source.get("size") is not None else ""
    yield "Source", str(source.get("uri") or ""), ", ".join(filter(None, (size, source.get("encoding"))))
    yield "Started", instant(report["started_at"]) if report["started_at"] else "", ""
    yield "Ended", instant(report["ended_at"]) if report["ended_at"] else "", ""
    if report["duration_ms"] is not None:
        done = sum(count for status, count in report["counts"].items() if status not in _WHY)
        name = "Took" if report["ended_at"] else "Running for"
        runs = len(report["over_time"]["runs"])
        yield name, took(report["duration_ms"]), f"in {runs} runs" if runs > 1 else speed(done, report["duration_ms"])
    yield "Cost, estimated", *_cost(report)
    yield "Results", str(report["csv_location"] or ""), ""
    yield "Kept until", instant(report["expires_at"]) if report["expires_at"] else "", ""


def _cost(report: Mapping[str, Any]) -> tuple[str, str]:
    """Return what the batch cost by its counts and the list prices, and how much of it is the target's."""
    usd, known = report["cost_usd"], report["cost"]
    if usd is None:
        return "", ""
    if known is None:
        return money(usd), ""
    target = known["target_usd"]
    return money(usd), "without the target's own" if target is None else f"the target {money(target)} of it"


def problems(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Error and message of what the batch itself failed of."""
    return [
        (visible(str(group["error"]), CELL), visible(str(group["message"]), _PROBLEM))
        for group in report["beside"]
        if group["status"] not in _WHY
    ]


def shares(report: Mapping[str, Any]) -> list[tuple[str, int]]:
    """Every status that there is with its count, rows that are not done yet last."""
    pending = [(PENDING, report["pending"])] if report["pending"] else []
    return [*((status, count) for status, count in report["counts"].items() if count), *pending]


def tiles(report: Mapping[str, Any]) -> list[tuple[str, int, str, str]]:
    """Status, count, share of all and what the status means where that is not in its name."""
    counted = shares(report) or [(_SUCCESS, 0)]
    total = sum(count for _, count in counted)
    return [(status, count, share(count, total) if total else "", _WHY.get(status, "")) for status, count in counted]


def conservation(report: Mapping[str, Any]) -> str:
    """Rows in are the sum of the counts, or it says that they are not."""
    parts = [f"{count:,} {status}" for status, count in shares(report)] or ["0 results"]
    same = "=" if report["adds_up"] else "≠"
    said = "Every row is accounted for." if report["adds_up"] else "Something else has written results under this id."
    return f"{rows_text(report['row_count'])} in {same} {' + '.join(parts)}. {said}"


def fields_warning(report: Mapping[str, Any]) -> str:
    """Which fields no row has; "" of none."""
    return visible(warning(report["fields"]), _PROBLEM)


def fields(report: Mapping[str, Any], most: int = 30) -> list[tuple[str, int, int, str]]:
    """Name, how many rows have a value, of how many, and their share: the emptiest fields first."""
    emptiest = sorted(report["fields"], key=lambda one: int(one["found"]))[:most]
    return [(visible(one["name"], CELL), one["found"], one["of"], share(one["found"], one["of"])) for one in emptiest]


def over_time(report: Mapping[str, Any]) -> str:
    """How many rows the plot holds, of which run, and when the most were stored."""
    known = report["over_time"]
    both = [good + bad for good, bad in zip(known["succeeded"], known["not_succeeded"], strict=True)]
    if not both:
        return ""
    best = max(both)
    at = moment(known["from_ms"] + both.index(best) * known["step_ms"], "%H:%M:%S")
    of_run = f"Run {known['run']} of {len(known['runs'])}: " if len(known["runs"]) > 1 else ""
    most = f", {best:,} of them in the busiest {took(known['step_ms'])}, at {at} UTC"
    return f"{of_run}{rows_text(sum(both))} stored{most if 1 < best < sum(both) else ''}."


def times(report: Mapping[str, Any]) -> str:
    """Return what is to be known of the execution times beside them."""
    known = report["times"]
    rounded = "" if known["all"]["exact"] else " Median and p95 are kept to three digits."
    without = f" {rows_text(known['without'])} {_is(known['without'], 'has', 'have')} none, for no call was timed."
    return f"The target's own time for each row.{rounded}{without if known['without'] else ''}"


def spans(report: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return execution times of rows that succeeded, of the others, and of all where these are not the same."""
    known = report["times"]
    names = {"succeeded": "succeeded", "did not succeed": "not_succeeded"}
    found = [(said, known[name]) for said, name in names.items() if known[name]["count"]]
    return [*found, ("all", known["all"])] if len(found) > 1 else found


def without_result(report: Mapping[str, Any]) -> list[tuple[str, int, str]]:
    """Rows that have no result: status, how many, and why, with some of them where the record names them."""
    found = []
    for status, why in _WHY.items():
        count = report["counts"][status]
        known = [row for group in report["beside"] if group["status"] == status for row in group["row_ids"]]
        named = f" ({row_list(known)}{', …' if len(known) < count else ''})" if known else ""
        if count:
            found.append((status, count, f"{why}{named}"))
    return found


def table(report: Mapping[str, Any], cut: int) -> str:
    """Which rows the table holds, and how much of them."""
    held, counts = report["table"], report["counts"]
    failures = sum(count for status, count in counts.items() if status not in (_SUCCESS, *_WHY))
    if not held["rows"]:
        said = "There is no result to show."
    elif held["rows"] == held["of"]:
        said = "The one result is here." if held["of"] == 1 else f"All {held['of']:,} results are here."
    else:
        first = "all" if held["failures"] == failures else f"{held['failures']:,} of the"
        others = "" if held["rows"] == held["failures"] else ", then successes from all over the batch"
        said = (
            f"{held['rows']:,} of {held['of']:,} results are here: {first} {failures:,} that did not succeed{others}."
        )
    bare = counts["NOT_RUN"] + counts["MISSING"] + report["pending"]
    gone = f" {rows_text(bare)} without a result {_is(bare, 'is', 'are')} not among them." if bare else ""
    kept = f" Cells are cut at {cut} characters and searched as far as they are shown." if held["rows"] else ""
    return f"{said}{gone}{kept}"


def _is(count: int, one: str, many: str) -> str:
    return one if count == 1 else many


def mapping(report: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Name, a remark and the JSON of each part of the batch's plan."""
    known = report["mapping"]
    if known is None:
        return []
    given, found = known["input_mapping"], known["output_mapping"]
    calls = {name: known[name] for name in ("timeout_seconds", "retry_policy", "keep_output")}
    within = took(round(1000 * float(calls["timeout_seconds"])))
    return [
        ("Input mapping", "", _pretty(given)) if given else ("Input mapping", "none: every column was passed", ""),
        ("Output mapping", "", _pretty(found))
        if found
        else ("Output mapping", "none: the output's keys are fields", ""),
        ("Calls", f"each within {within}", _pretty(calls)),
    ]


def _pretty(value: Any) -> str:
    return visible(json.dumps(value, indent=2, ensure_ascii=False), 200_000)


def commands(report: Mapping[str, Any], stack_name: str | None) -> list[tuple[str, str]]:
    """Return what can be done with the batch next, as commands to copy; `stack_name` is that of a stack on AWS."""
    if not report["row_count"]:
        return []
    batch = shlex.quote(report["batch_id"])
    stack = f" --stack {shlex.quote(stack_name)}" if stack_name else ""
    given = {f"report {batch} -o report.html": "This page again"}
    if report["status"] in OPEN:
        given = {f"status {batch} --follow": "Follow it to its end", f"stop {batch}": "Begin no further row", **given}
    else:
        again = {f"remap {batch} --mapping FILE": "Extract again with another mapping, calling nothing"}
        again[f"aggregate {batch} -o results.csv"] = "The CSV again, from the stored results"
        given = again | given
    if report["status"] not in OPEN and sum(report["counts"].values()) > report["counts"][_SUCCESS]:
        failed = {f"failed {batch}": "Every row that did not succeed, with its cause"}
        given = failed | {f"rerun {batch}": "Run only those again, into the same batch"} | given
    return [(said, f"batch-processor {command}{stack}") for command, said in given.items()]
