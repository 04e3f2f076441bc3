"""The plots of a report as inline SVG: Vega-Lite draws them here, so that the page needs neither script nor network.

Colours are the page's CSS variables, which a browser resolves in an SVG's attributes: one drawing serves the light and
the dark scheme. Each plot is drawn twice, wide and narrow, and the page shows the one that fits.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import vl_convert
from markupsafe import Markup

from service.console.report.durations import STEPS
from service.console.report.wording import PENDING, moment, took
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

_WIDE, _NARROW = 1000, 360  # CSS pixels
_HEIGHT = 210
_VERSION = "6.4"  # of Vega-Lite, one of those that vl-convert brings
_KINDS = {"succeeded": "var(--good)", "did not succeed": "var(--bad)"}
_CONFIG = {
    "background": None,
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "labelColor": "var(--muted)",
        "titleColor": "var(--muted)",
        "domainColor": "var(--axis)",
        "tickColor": "var(--axis)",
        "gridColor": "var(--grid)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "titlePadding": 8,
    },
}
_TICKS = (
    *(figure * power for power in (1, 10, 100, 1_000) for figure in (1, 2, 5)),
    *(10_000, 30_000, 60_000, 120_000, 300_000, 600_000, 1_800_000),
    *(hours * 3_600_000 for hours in (1, 2, 5, 12, 24, 48, 120)),
)  # milliseconds, of a logarithmic axis
_LEAST = 0.012  # of the highest bar: what is less is drawn as high as this, for one failure in thousands to be seen


@dataclass(frozen=True)
class Plot:
    """One plot: what it is called, what it shows in words, and its drawings."""

    title: str
    said: str
    wide: Markup
    narrow: Markup


def times_plot(times: Mapping[str, Any]) -> Plot | None:
    """How many rows took how long, with median and 95th percentile; None when no row has a time."""
    edges = times["edges_ms"]
    if not edges:
        return None
    bars = _bars(edges, times, lambda number: f"{took(edges[number])} to {took(edges[number + 1])}")
    known = times["all"]
    marks = [
        {"at": known[key], "label": f"{name} {took(known[key])}", "line": line}
        for line, (name, key) in enumerate((("median", "median_ms"), ("p95", "p95_ms")))
    ]
    ticks = [tick for tick in _TICKS if edges[0] <= tick <= edges[-1]] if times["logarithmic"] else _even(edges)
    scale = {"type": "log" if times["logarithmic"] else "linear", "domain": [edges[0], edges[-1]], "nice": False}
    axis = {"title": "execution time" + (", logarithmic" if times["logarithmic"] else ""), "grid": False}
    x = {"type": "quantitative", "scale": scale, "axis": {**axis, **_ticks(ticks)}}
    said = f"{known['count']:,} rows: median {took(known['median_ms'])}, 95 % within {took(known['p95_ms'])}"
    return _drawn("How long rows took", said, bars, x, marks)


def over_time_plot(over_time: Mapping[str, Any]) -> Plot | None:
    """How many rows were stored when; None when none was."""
    step, begin = over_time["step_ms"], over_time["from_ms"]
    if step is None:
        return None
    edges = [begin + number * step for number in range(len(over_time["succeeded"]) + 1)]
    counts = {f"bins_{kind}": over_time[kind] for kind in ("succeeded", "not_succeeded")}
    clock = "%H:%M:%S" if step < STEPS[-3] else "%Y-%m-%d"
    bars = _bars(edges, counts, lambda number: f"{took(step)} from {moment(edges[number], clock)} UTC")
    form = "%b %e, %H:%M" if edges[-1] - begin > STEPS[-2] else "%H:%M" if step >= 60_000 else "%H:%M:%S"
    axis = {
        "title": "UTC",
        "grid": False,
        "format": form,
        "tickCount": {"expr": "width / 110"},
        "labelOverlap": "greedy",
        "labelSeparation": 10,
    }
    scale = {"type": "utc", "domain": [edges[0], edges[-1]], "nice": False}
    said = f"{sum(map(sum, counts.values())):,} rows, counted for every {took(step)}"
    return _drawn(f"Rows stored in every {took(step)}", said, bars, {"type": "temporal", "scale": scale, "axis": axis})


def counts_bar(shares: Sequence[tuple[str, int]]) -> Markup:
    """One bar of parts by status, each wide enough to be seen."""
    total = sum(count for _, count in shares)
    seen = [max(count / total, 0.008) for _, count in shares]
    begins = [sum(seen[:number]) for number in range(len(seen) + 1)]
    values = [
        {"from": begins[number], "to": begins[number + 1], "kind": status, "said": f"{status}: {count:,}"}
        for number, (status, count) in enumerate(shares)
    ]
    hidden = {"type": "quantitative", "axis": None, "scale": {"domain": [0, begins[-1]], "nice": False}}
    spec = {
        "data": {"values": values},
        "width": _WIDE,
        "height": 24,
        "padding": 0,
        "mark": {"type": "rect", "stroke": "var(--card)", "strokeWidth": 2},
        "encoding": {
            "x": {"field": "from", **hidden},
            "x2": {"field": "to"},
            "color": _colours({status: _status_colour(status) for status, _ in shares}),
            "description": {"field": "said"},
        },
    }
    return _svg(spec, "", stretched=True)


def _bars(edges: Sequence[int], counts: Mapping[str, Any], named: Callable[[int], str]) -> list[dict[str, Any]]:
    """Stacked bars from edge to edge: those that succeeded below, the others above."""
    good, bad = counts["bins_succeeded"], counts["bins_not_succeeded"]
    least = _LEAST * max(map(sum, zip(good, bad, strict=True)))
    begins = ([0] * len(good), [max(count, least) if count else 0 for count in good])
    return [
        {
            "from": edges[number],
            "to": edges[number + 1],
            "low": low[number],
            "high": low[number] + max(count, least),
            "kind": kind,
            "said": f"{named(number)}: {count:,} {kind}",
        }
        for kind, low, bins in zip(_KINDS, begins, (good, bad), strict=True)
        for number, count in enumerate(bins)
        if count
    ]


def _even(edges: Sequence[int]) -> list[int]:
    """Ticks for a linear axis, at some of the edges, eight at most."""
    every = max(1, -(-(len(edges) - 1) // 8))
    return list(edges[::every])


def _ticks(ticks: Sequence[int]) -> dict[str, Any]:
    labels = {str(tick): took(tick) for tick in ticks}
    return {
        "values": list(ticks),
        "labelExpr": f"({json.dumps(labels)})[datum.value]",
        "labelOverlap": "greedy",
        "labelSeparation": 10,
    }


def _colours(kinds: Mapping[str, str]) -> dict[str, Any]:
    scale = {"domain": list(kinds), "range": list(kinds.values())}
    return {"field": "kind", "type": "nominal", "scale": scale, "legend": None}


def _status_colour(status: str) -> str:
    names = {**{name: name.lower() for name in RowStatus.__members__}, PENDING: "pending"}
    return f"var(--{names.get(status, 'unknown')})"


def _drawn(title: str, said: str, bars: list[dict[str, Any]], x: Any, marks: Sequence[dict[str, Any]] = ()) -> Plot:
    wide, narrow = (_svg(_spec(bars, x, marks, width), f"{title}. {said}") for width in (_WIDE, _NARROW))
    return Plot(title, said, wide, narrow)


def _spec(bars: list[dict[str, Any]], x: Any, marks: Sequence[dict[str, Any]], width: int) -> dict[str, Any]:
    """Stacked bars from edge to edge, and vertical marks with their names above the plot."""
    count = {"type": "quantitative", "title": None, "axis": {"format": ",d", "tickMinStep": 1, "tickCount": 4}}
    layers: list[dict[str, Any]] = [
        {
            "data": {"values": bars},
            "mark": {"type": "rect", "x2Offset": -1},
            "encoding": {
                "x": {"field": "from", **x},
                "x2": {"field": "to"},
                "y": {"field": "low", **count},
                "y2": {"field": "high"},
                "color": _colours(_KINDS),
                "description": {"field": "said"},
            },
        }
    ]
    for mark in marks:
        at = {"datum": mark["at"], **x}
        right = _place(mark["at"], x["scale"]) > 0.7
        text = {"dx": -5 if right else 5, "align": "right" if right else "left", "text": mark["label"]}
        line = {"strokeDash": [4, 3], "color": "var(--ink)", "y": -22 + 14 * mark["line"]}
        name = {"type": "text", "y": line["y"] + 4, "color": "var(--ink)", "fontSize": 12, **text}
        layers += [
            {"data": {"values": [{}]}, "mark": drawn, "encoding": {"x": at}}
            for drawn in ({"type": "rule", **line, "y2": "height"}, name)
        ]
    return {"width": width, "height": _HEIGHT, "autosize": {"type": "fit", "contains": "padding"}, "layer": layers}


def _place(value: float, scale: Mapping[str, Any]) -> float:
    """Where a value stands on an axis, between 0 and 1."""
    first, last = map(float, scale["domain"])
    if scale["type"] == "log":
        return (log(max(value, first)) - log(first)) / (log(last) - log(first))
    return (value - first) / (last - first)


def _svg(spec: dict[str, Any], label: str, *, stretched: bool = False) -> Markup:
    """Return the drawing of a Vega-Lite specification.

    With titles for the pointer and without what a page does not need.
    """
    whole = {"$schema": f"https://vega.github.io/schema/vega-lite/v{_VERSION[0]}.json", "config": _CONFIG, **spec}
    root = ET.fromstring(vl_convert.vegalite_to_svg(whole, vl_version=_VERSION))  # noqa: S314 - it was made here
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        is_mark = element.attrib.get("aria-roledescription") == "rect mark"
        said = element.attrib.get("aria-label") if is_mark else None
        for name in [name for name in element.attrib if name.startswith(("aria-", "role", "class", "pointer-"))]:
            del element.attrib[name]
        if said:
            ET.SubElement(element, "title").text = said
    width, height = root.attrib.pop("width"), root.attrib.pop("height")
    root.attrib = {"viewBox": f"0 0 {width} {height}"}
    root.attrib |= {"preserveAspectRatio": "none", "aria-hidden": "true"} if stretched else {}
    root.attrib |= {"role": "img", "aria-label": label} if label else {}
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - the library's own, its texts escaped
