"""The page: it loads nothing, runs nothing but its own script, and shows every text as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from made_reports import HOSTILE, found_in, hostile, item, known, made, made_page, mixed

from service.console.report import page as report_page
from service.console.report import plots as report_plots
from service.console.report.page import rows_data
from service.models import RowStatus

ASSETS = Path(report_page.__file__).with_name("assets")
STYLE = (ASSETS / "page.css").read_text()
ADDRESSES = {"src", "href", "xlink:href", "action", "formaction", "srcset", "data", "poster", "background", "ping"}
VOID = {"meta", "input", "br", "link", "img"}


class Page(HTMLParser):
    """Elements with their attributes, the text in each kind of them, and whether all are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)

    def data(self) -> Any:
        """What the script is given."""
        return json.loads(next(text for text in self.texts["script"] if text.startswith("{")))


PAGES = {
    "mixed": made_page(mixed()),
    "hostile": made_page(hostile(), known(len(hostile()), batch_id="<b>&\"'#1", target={"name": "<i>"})),
    "empty": made_page([], known(0, "SUCCEEDED")),
    "refused": made_page([], known(None, "FAILED", errors=[
        {"status": "FAILED", "error": "<b>", "message": "</pre><script>1</script>", "count": 0, "row_ids": []}
    ])),
    "running": made_page(mixed(60), known(200, "RUNNING", ended_at=None)),
}  # fmt: skip
EVERY = pytest.mark.parametrize("name", PAGES)


@EVERY
def test_nothing_is_loaded_and_nothing_else_can_run(name: str) -> None:
    page = Page(PAGES[name])
    assert {tag for tag, _ in page.elements} & {
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "image",
        "use",
    } == set()
    for tag, attributes in page.elements:
        assert not [one for one in attributes if one.startswith("on") or one == "style"], (tag, attributes)
        assert {value for one, value in attributes.items() if one in ADDRESSES} <= {"#rows"}
    assert [attributes.get("type") for tag, attributes in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]
    assert "url(" not in STYLE
    assert "@import" not in STYLE


@EVERY
def test_the_policy_allows_this_style_and_this_script_alone(name: str) -> None:
    page = Page(PAGES[name])
    (policy,) = [attrs["content"] for _, attrs in page.elements if attrs.get("http-equiv") == "Content-Security-Policy"]
    allowed = dict(part.strip().partition(" ")[::2] for part in (policy or "").split(";"))
    assert (allowed["default-src"], allowed["base-uri"], allowed["form-action"]) == ("'none'", "'none'", "'none'")
    (style,) = page.texts["style"]
    (script,) = [text for text in page.texts["script"] if not text.startswith("{")]
    for text, directive in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert allowed[directive] == f"'sha256-{digest}'"


def test_texts_of_rows_are_whole_and_only_texts() -> None:
    page = Page(PAGES["hostile"])
    rows = page.data()["rows"]
    assert [row[8][-1] for row in rows if row[2]] == [*list(HOSTILE.values())[1::2], *list(HOSTILE.values())[::2]]
    shown = "".join(page.texts["dd"])
    for text in list(HOSTILE.values())[1::2]:  # the inputs of rows that failed stand in the page itself
        assert text in shown
    assert {tag for tag, _ in page.elements} & {"i", "blink"} == set()
    raw = PAGES["hostile"].partition('id="data">')[2].partition("</script>")[0]
    assert not re.search("[<>&\u2028\u2029]", raw)


def test_a_control_character_reaches_no_page() -> None:
    page = made_page([item(1, "FAILED", {"a\x00": "b\x00\x1b"}, None, ("c\x07", "d\x00"))])
    assert not re.search("[\x00-\x08\x0b-\x1f]", page)
    assert "b␀␛" in page


@EVERY
def test_a_page_has_a_language_a_title_and_names_for_its_controls(name: str) -> None:
    page = Page(PAGES[name])
    elements = page.elements
    assert ("html", {"lang": "en"}) in elements
    assert any(tag == "meta" and attrs.get("name") == "viewport" for tag, attrs in elements)
    assert "".join(page.texts["title"]).strip()
    ids = [attrs["id"] for _, attrs in elements if "id" in attrs]
    assert len(ids) == len(set(ids))
    for tag, attrs in elements:
        assert attrs.get("aria-labelledby", ids[0]) in ids
        if tag == "svg":
            assert attrs.get("aria-hidden") == "true" or attrs.get("aria-label")
    controls = [attrs["id"] for tag, attrs in elements if tag in ("select", "input")]
    assert controls == (["status", "cause", "search", "sort"] if "filters" in ids else [])
    assert sum(tag == "label" for tag, _ in elements) == len(controls)


def test_the_page_says_what_the_report_says() -> None:
    text = PAGES["mixed"]
    told = made(mixed())
    assert told["outcome"] in text
    for word in (
        "echo#20261122T154102-e34e91",
        "s3://bucket/in/rows.csv",
        "Quota",
        "no answer within 2 s",
        "median",
        "p95",
    ):
        assert word in text
    assert "batch-processor failed &#39;echo#20261122T154102-e34e91&#39;" in text
    assert len(Page(text).data()["rows"]) == 240


def test_what_it_cost_by_its_parts() -> None:
    cost = {"target_usd": None, "lines": ["2 units × 3,708 rows × $0.625 / million = $0.19", "<what> the target costs"]}
    page = Page(made_page([item(1)], known(1, "SUCCEEDED", cost_usd=0.19, cost=cost)))
    assert page.texts["li"][-2:] == cost["lines"]
    assert "What it cost" in page.texts["h2"]
    assert "What it cost" not in Page(PAGES["mixed"]).texts["h2"]


def test_rows_for_the_script() -> None:
    items = [
        item(1, row={"a": "x", "b": ""}, fields={"c": 1.5}, at=2),
        item(2, "FAILED", {"a": "y", "b": "z"}, None, ("Quota", "used up"), None, 1, 2),
        item("odd", "ODD", {"a": "y"}, at=3),
    ]
    found = found_in(items)
    data, cut = rows_data(found.table(), found.causes.numbers(), found.causes.groups())
    assert cut == 300
    assert data["statuses"] == ["FAILED", "ODD", "SUCCESS"]
    assert data["classes"] == ["s-failed", "s-unknown", "s-success"]
    assert data["causes"] == ["FAILED Quota: used up", "ODD"]
    assert data["names"] == [["a", "b"], [], ["a"], ["c"]]
    assert data["rows"] == [
        ["2", 0, None, 0, 0, 2, "Quota: used up", 0, ["y", "z"], 1, []],
        ["odd", 1, 50, 2_000, 1, 1, "", 2, ["y"], 1, []],
        ["1", 2, 50, 1_000, None, 1, "", 0, ["x", ""], 3, ["1.5"]],
    ]


def test_a_row_stored_at_no_time_of_ours_has_none() -> None:
    odd = item(1)
    odd.timestamp.S = "yesterday"
    found = found_in([odd])
    assert rows_data(found.table(), found.causes.numbers(), [])[0]["rows"][0][3] is None


def test_cells_are_cut_shorter_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_in([item(number, row={"a": "x" * 250, "b": "short"}) for number in range(1, 11)])
    for budget, cut in ((5_000, 300), (2_100, 200), (1_000, 80), (10, 30)):
        monkeypatch.setattr(report_page, "_BUDGET", budget)
        data, told = rows_data(found.table(), found.causes.numbers(), [])
        assert told == cut
        assert [len(text) for text in data["rows"][0][8]] == [min(250, cut), 5]


def test_plots_are_drawings_in_the_colours_of_the_page() -> None:
    told = made(mixed())
    plots = [report_plots.times_plot(told["times"]), report_plots.over_time_plot(told["over_time"])]
    for plot in plots:
        assert plot is not None
        for drawing in (plot.wide, plot.narrow):
            page = Page(drawing)
            colours = {
                value for _, attrs in page.elements for name, value in attrs.items() if name in ("fill", "stroke")
            }
            assert colours - {"none", None, "transparent"} <= {f"var(--{name})" for name in names_of_colours()}
            assert {"var(--good)", "var(--bad)"} <= colours
            titles = [title.rpartition(": ")[2].split() for title in page.texts["title"]]
            assert sum(int(words[0]) for words in titles if words[1] == "succeeded") == 220
            assert sum(int(words[0]) for words in titles if words[1] == "did") == 20
            marks = "".join(page.texts["text"])
            assert ("median " in marks) is (plot is plots[0])
    known_times = told["times"]["all"]
    named = "".join(Page(plots[0].narrow if plots[0] else "").texts["text"])
    assert f"median {known_times['median_ms']} ms" in named
    assert f"p95 {known_times['p95_ms']} ms" in named
    assert report_plots.times_plot(made([])["times"]) is None
    assert report_plots.over_time_plot(made([])["over_time"]) is None


def test_bars_are_as_high_as_their_counts_and_one_failure_is_seen() -> None:
    over_time = {"step_ms": 1_000, "from_ms": 0, "succeeded": [1_000, 500, 0], "not_succeeded": [0, 1, 0]}
    plot = report_plots.over_time_plot(over_time)
    assert plot is not None
    drawn = [
        attrs["d"] or ""
        for tag, attrs in Page(plot.wide).elements
        if attrs.get("fill") in ("var(--good)", "var(--bad)")
    ]
    left, top, wide, high = zip(*(map(float, re.findall(r"-?[\d.]+", path)[:4]) for path in drawn), strict=True)
    assert [part / high[0] for part in high] == pytest.approx([1, 0.5, 0.012])
    assert high[2] > 1.5  # pixels
    assert left[1] == left[2] > left[0] + wide[0] > left[0]
    assert top[2] + high[2] == pytest.approx(top[1])  # failures stand on successes
    assert top[0] + high[0] == pytest.approx(top[1] + high[1])


@pytest.mark.parametrize("times", [[0], [5, 5], [1, 100_000_000], list(range(1, 3_000, 7)), [3_600_000, 90_000_000]])
def test_any_times_can_be_drawn(times: list[int]) -> None:
    told = made([item(number, took=took, at=took / 1000) for number, took in enumerate(times, 1)])
    for plot in (report_plots.times_plot(told["times"]), report_plots.over_time_plot(told["over_time"])):
        assert plot is not None
        assert "NaN" not in plot.wide
        assert Page(plot.narrow).texts["text"]


def test_the_smallest_part_of_the_bar_is_seen() -> None:
    page = Page(report_plots.counts_bar([("SUCCESS", 9_999_999), ("FAILED", 1), ("not done yet", 0), ("<odd>", 2)]))
    fills = [attrs["fill"] for tag, attrs in page.elements if tag == "path" and attrs.get("fill", "").startswith("var")]
    assert fills == ["var(--success)", "var(--failed)", "var(--pending)", "var(--unknown)"]
    assert page.texts["title"] == ["SUCCESS: 9,999,999", "FAILED: 1", "not done yet: 0", "<odd>: 2"]
    widths = [
        float(re.search(r"[hH]([\d.]+)", attrs["d"] or "")[1])
        for tag, attrs in page.elements
        if attrs.get("fill", "").startswith("var")
    ]  # type: ignore[index]
    assert min(widths) > 5


def schemes() -> list[dict[str, str]]:
    """The page's colours in light, and those of the dark scheme over them."""
    blocks = re.findall(r":root \{([^}]*)\}", STYLE)
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]+);", block)) for block in blocks[:2])
    assert light.keys() == dark.keys()
    return [light, dark]


def names_of_colours() -> set[str]:
    return set(schemes()[0])


def luminance(colour: str) -> float:
    """Relative luminance as WCAG 2.2 defines it."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", schemes(), ids=["light", "dark"])
def test_texts_can_be_read_and_bars_seen_in_both_schemes(scheme: dict[str, str]) -> None:
    texts = {"ink", "muted", "accent", *(status.value.lower() for status in RowStatus)}
    for text, ground in product(sorted(texts), ("card", "paper", "code")):
        assert contrast(scheme[text], scheme[ground]) >= 4.5, (text, ground)
    assert contrast(scheme["ink"], scheme["mark"]) >= 4.5
    for bar in ("good", "bad", "axis"):
        assert contrast(scheme[bar], scheme["card"]) >= (3 if bar != "axis" else 1.5), bar


def test_every_status_has_a_colour_of_its_own() -> None:
    for status in RowStatus:
        assert f".s-{status.value.lower()}" in STYLE
