"""Results and what is known of a batch, as a report is given them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from service.console.report.page import page
from service.console.report.summary import Findings, document, read
from service.models import empty_counts, now_iso, row_id
from service.plan import Plan
from service.store.structs import Attribute, Digits, Item, Map, Text

BEGAN = datetime(2026, 11, 22, 15, 41, 2, tzinfo=UTC)
MADE_AT = "2026-11-22T17:30:00.000Z"
PLAN = Plan(
    kind="tool",
    target_name="echo",
    target_arn="arn:echo",
    input_mapping={"column_mappings": {"text": "text"}},
    output_mapping={"extraction_methods": [{"method": "direct", "paths": {"category": "category"}}]},
    output_columns=["category"],
)
HOSTILE = {
    "end of script": "</script><script>document.title = 'caught'</script>",
    "image": "<img src=x onerror=\"document.title = 'caught'\">",
    "entities": "&lt;b&gt; &amp; &#x3c;",
    "quotes": "\"double\" 'single' `back`",
    "comment": "<!--<script>",
    "template": "{{ 7 * 7 }} {% raw %} ${1}",
    "right to left": "مرحبا بالعالم",
    "emoji": "👩‍👩‍👧‍👦 🎉",
    "separators": "a\u2028b\u2029c",
    "formula": "=SUM(A1:A9)",
    "long word": "x" * 290,
}


def attribute(value: Any) -> Attribute:
    if isinstance(value, str):
        return Attribute(S=value)
    if isinstance(value, int | float):
        return Attribute(N=str(value))
    if isinstance(value, list):
        return Attribute(L=[attribute(one) for one in value])
    return Attribute(M={name: attribute(one) for name, one in value.items()})


def item(
    number: int | str,
    status: str = "SUCCESS",
    row: dict[str, Any] | None = None,
    fields: dict[str, Any] | None = None,
    error: tuple[str, str] | None = None,
    took: int | None = 50,
    at: float = 0.0,
    attempts: int = 1,
) -> Item[Any, Any]:
    """A result, stored `at` seconds after the batch began."""
    return Item(
        Text(number if isinstance(number, str) else row_id(number)),
        Text(status),
        Map({name: attribute(value) for name, value in (row or {"text": f"text {number}"}).items()}),
        Map({name: attribute(value) for name, value in (fields or {}).items()}),
        None if error is None else attribute({"type": error[0], "message": error[1]}),
        None if took is None else Digits(str(took)),
        Text(now_iso(BEGAN + timedelta(seconds=at))),
        None,
        Digits(str(attempts)),
    )


def known(row_count: int | None, status: str = "PARTIAL", **more: Any) -> dict[str, Any]:
    """What `status --json` shows of a batch that took ten seconds."""
    return {
        "batch_id": "echo#20261122T154102-e34e91",
        "status": status,
        "target": {"name": "echo", "kind": "tool", "arn": "arn:aws:lambda:eu-west-1:123456789012:function:echo"},
        "source": {"uri": "s3://bucket/in/rows.csv", "size": 1234, "encoding": "utf-8"},
        "row_count": row_count,
        "counts": empty_counts(),
        "errors": [],
        "fields": [],
        "started_at": now_iso(BEGAN),
        "ended_at": now_iso(BEGAN + timedelta(seconds=10)),
        "expires_at": "2026-12-06T15:41:02Z",
        "runs": [{"run": 1, "started_at": now_iso(BEGAN)}],
        "cost_usd": None,
        "csv_location": "s3://bucket/results/echo/rows.csv",
        **more,
    }


def found_in(items: list[Item[Any, Any]], size: int = 100) -> Findings:
    return read(items[first : first + size] for first in range(0, len(items), size))


def made(items: list[Item[Any, Any]], facts: dict[str, Any] | None = None) -> dict[str, Any]:
    """The report's document of a batch with these results."""
    return document(found_in(items), facts or known(len(items)), PLAN, MADE_AT)


def made_page(items: list[Item[Any, Any]], facts: dict[str, Any] | None = None, stack: str | None = None) -> str:
    found = found_in(items)
    return page(document(found, facts or known(len(items)), PLAN, MADE_AT), found, stack)


def mixed(count: int = 240) -> list[Item[Any, Any]]:
    """Every twelfth row fails, for one of two reasons by turns."""
    reasons = (("FAILED", ("Quota", "quota of the model")), ("TIMEOUT", ("States.Timeout", "no answer within 2 s")))
    found = []
    for number in range(1, count + 1):
        status, error = reasons[number // 12 % 2] if number % 12 == 0 else ("SUCCESS", None)
        fields = {"category": "good" if number % 2 else "bad"} if error is None else {}
        row = {"id": str(number), "text": f"review number {number}"}
        found.append(item(number, status, row, fields, error, 40 + number * 7 % 90, number / 24))
    return found


def hostile() -> list[Item[Any, Any]]:
    """Rows whose every text is one that a careless page would run, swallow or mangle; some fail with it too."""
    found = []
    for number, text in enumerate(HOSTILE.values(), 1):
        failed = number % 2 == 0
        fields = {} if failed else {text: text, "nested": {"list": [text]}}
        status, error = ("FAILED", (text, text)) if failed else ("SUCCESS", None)
        found.append(item(number, status, {"id": str(number), text: "under such a name", "text": text}, fields, error))
    return found
