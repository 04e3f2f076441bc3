"""A report as one HTML page: style, script and rows stand in it, and its policy lets nothing else be run or loaded."""

from __future__ import annotations

import base64
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from service.console.report import plots, wording
from service.console.report.shown_rows import CELL, visible
from service.models import RowStatus, parse_iso

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from service.console.report.shown_rows import Row
    from service.console.report.summary import Findings

_ASSETS = Path(__file__).with_name("assets")
_BUDGET = 6_000_000  # characters of all cells in the table of rows
_SHORTER = (CELL, 200, 120, 80, 50, 30)  # characters of one of them: the first for which there is room
# `<` and `&` could end the element or begin another in some reader; the two separators end lines of old scripts.
_ESCAPES = {ord(one): f"\\u{ord(one):04x}" for one in "<>&\u2028\u2029"}


def page(report: Mapping[str, Any], found: Findings, stack_name: str | None = None) -> str:
    """Return the page of a report (`document` of service/console/report/summary.py).

    `stack_name` stands in its commands.
    """
    style, script = ((_ASSETS / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    policy = ("default-src 'none'", f"style-src {_hash(style)}", f"script-src {_hash(script)}")
    data, cut = rows_data(found.table(), found.causes.numbers(), report["errors"])
    shares = wording.shares(report)
    text: str = _template().render(
        report=report,
        words=wording,
        version=version("batch-processor"),
        policy="; ".join((*policy, "base-uri 'none'", "form-action 'none'")),
        style=Markup(style),  # noqa: S704 - ours
        script=Markup(script),  # noqa: S704 - ours
        data=Markup(_embedded(data)),  # noqa: S704 - escaped
        cut=cut,
        stack_name=stack_name,
        bar=plots.counts_bar(shares) if shares else None,
        over_time=plots.over_time_plot(report["over_time"]),
        times=plots.times_plot(report["times"]),
    )
    return text


def _template() -> Any:
    made = Environment(
        loader=FileSystemLoader(_ASSETS),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["status_class"] = _status_class
    made.filters["took"] = wording.took
    made.filters["row_label"] = lambda row: row["row_number"] or visible(row["row_id"], CELL)
    return made.get_template("page.html.j2")


def _hash(text: str) -> str:
    """Return a source of a content security policy: this very text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _embedded(value: Any) -> str:
    """JSON for a script element, in which nothing can end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).translate(_ESCAPES)


def _status_class(status: str) -> str:
    return f"s-{status.lower() if status in RowStatus.__members__ else 'unknown'}"


def rows_data(
    rows: Sequence[Row], number_of: Callable[[Row], int | None], groups: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, Any], int]:
    """Rows as the page's script takes them, statuses and lists of names said once; and where their cells are cut."""
    cut = _cut(rows)
    statuses = {status: number for number, status in enumerate(dict.fromkeys(row.status for row in rows))}
    names: dict[tuple[str, ...], int] = {}
    moments = [_epoch(row.timestamp) for row in rows]
    first = min((moment for moment in moments if moment is not None), default=0)
    lines = [
        [
            row.label,
            statuses[row.status],
            row.execution_time_ms,
            None if moment is None else moment - first,
            number_of(row),
            row.attempts,
            row.error,
            *_cells(row.input_data, names, cut),
            *_cells(row.output_data, names, cut),
        ]
        for row, moment in zip(rows, moments, strict=True)
    ]
    data = {
        "statuses": list(statuses),
        "classes": [_status_class(status) for status in statuses],
        "causes": [_cause(group) for group in groups],
        "names": list(map(list, names)),
        "from_ms": first,
        "rows": lines,
    }
    return data, cut


def _cells(cells: Mapping[str, str], names: dict[tuple[str, ...], int], cut: int) -> tuple[int, list[str]]:
    """Return the number of the list of their names, and the cells."""
    return names.setdefault(tuple(cells), len(names)), [visible(text, cut) for text in cells.values()]


def _cause(group: Mapping[str, Any]) -> str:
    kind = "" if group["error"] in ("", group["status"]) else f" {group['error']}"
    return f"{group['status']}{kind}: {group['message']}" if group["message"] else f"{group['status']}{kind}"


def _cut(rows: Sequence[Row]) -> int:
    """How many characters of a cell there is room for."""
    lengths = [len(text) for row in rows for cells in (row.input_data, row.output_data) for text in cells.values()]
    fitting = (most for most in _SHORTER if sum(min(length, most) for length in lengths) <= _BUDGET)
    return next(fitting, _SHORTER[-1])


def _epoch(text: str) -> int | None:
    """Epoch milliseconds of a timestamp, which a plain event may have in any form."""
    try:
        return round(parse_iso(text).timestamp() * 1000)
    except ValueError:
        return None
