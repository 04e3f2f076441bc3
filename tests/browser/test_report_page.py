"""The report in a real Chromium: what is shown, found and filtered, and that nothing runs but its own script."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from made_reports import HOSTILE, hostile, item, known, mixed
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

from service.console.report.wording import took

OVERFLOW = """
  return [...document.querySelectorAll('body *')].filter((element) => {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest('svg, .skip, .hidden, thead')) return false;
    for (let at = element.parentElement; at; at = at.parentElement) {
      if (/auto|scroll|hidden/.test(getComputedStyle(at).overflowX)) return false;
    }
    return box.right > innerWidth + 1 || box.left < -1;
  }).map((element) => element.outerHTML.slice(0, 120))
"""


def told(page: Any, text: str) -> None:
    """Waits until the page says how many rows it shows."""
    for _ in range(100):
        if page.one("#shown").text == text:
            return
        time.sleep(0.1)
    assert page.one("#shown").text == text


def shows(page: Any, rows: list[str]) -> None:
    """Waits until the table shows these rows, in this order."""
    for _ in range(100):
        if page.rows() == rows:
            return
        time.sleep(0.1)
    assert page.rows() == rows


def test_the_table_is_filtered_and_searched(report: Any) -> None:
    page = report(mixed(240))
    told(page, "240 rows")
    assert page.rows()[:3] == ["12", "24", "36"]  # failures first
    assert len(page.rows()) == 100

    page.choose("status", "TIMEOUT (10)")
    told(page, "10 of 240 rows here")
    shows(page, [str(number) for number in range(12, 241, 24)])
    page.choose("status", "all")
    page.choose("cause", "FAILED Quota: quota of the model")
    told(page, "10 of 240 rows here")
    shows(page, [str(number) for number in range(24, 241, 24)])

    page.choose("cause", "all")
    page.one("#search").send_keys("REVIEW number 17")
    told(page, "11 of 240 rows here")
    assert page.rows() == ["17", *(str(number) for number in range(170, 180))]
    assert {mark.text for mark in page.all("#table mark")} == {"review number 17"}
    page.one("#search").send_keys("1")
    told(page, "1 of 240 rows here")
    assert "review number 171" in page.one("#table tbody").text
    page.one("#search").send_keys("x")
    told(page, "None of 240 rows here")
    assert not page.one("#table").is_displayed()
    page.one("button[type=reset]").click()
    told(page, "240 rows")
    assert page.one("#search").get_attribute("value") == ""


def test_an_input_an_output_and_an_error_are_all_found(report: Any) -> None:
    items = [
        item(1, row={"text": "needle of input"}, fields={"category": "x"}),
        item(2, row={"text": "hay"}, fields={"category": "needle of output"}),
        item(3, "FAILED", {"text": "hay"}, None, ("Needle", "of an error")),
        item(4, row={"needle": "hay"}),
        item(5, row={"text": "hay"}),
    ]
    page = report(items)
    page.one("#search").send_keys("needle")
    told(page, "4 of 5 rows here")
    assert page.rows() == ["3", "1", "2", "4"]


@pytest.mark.parametrize(
    ("order", "rows"),
    [
        ("failures first", ["3", "4", "1", "2", "10"]),
        ("row", ["1", "2", "3", "4", "10"]),
        ("slowest first", ["10", "3", "1", "2", "4"]),
        ("fastest first", ["2", "3", "1", "10", "4"]),
        ("stored last first", ["2", "10", "4", "3", "1"]),
    ],
)
def test_rows_are_sorted(report: Any, order: str, rows: list[str]) -> None:
    items = [
        item(1, took=50, at=0),
        item(2, took=5, at=9),
        item(3, "FAILED", took=50, at=1),
        item(4, "FAILED", took=None, at=2),
        item(10, took=500, at=3),
    ]
    page = report(items)
    page.choose("sort", order)
    shows(page, rows)


def test_more_rows_are_shown_a_hundred_at_a_time(report: Any) -> None:
    page = report(mixed(240))
    assert page.one("#more").text == "Show 100 more of 140"
    page.one("#more").click()
    assert (len(page.rows()), page.one("#more").text) == (200, "Show 40 more of 40")
    assert page.run("return document.activeElement.textContent") == page.rows()[100]
    page.one("#more").click()
    assert len(set(page.rows())) == 240
    assert not page.one("#more").is_displayed()


def test_the_rows_of_a_cause_are_one_click_away(report: Any) -> None:
    page = report(mixed(240))
    page.one("#search").send_keys("nothing of that kind")
    (first, second) = page.all("button[data-cause]")
    assert first.text == "Show these rows in the table"
    second.click()
    told(page, "10 of 240 rows here")
    chosen = page.run("const c = document.getElementById('cause'); return c.options[c.selectedIndex].text")
    message = page.all(".cause .message")[1].text
    assert message in chosen
    assert message in page.one("#table tbody").text


def test_the_keyboard_reaches_everything(report: Any) -> None:
    page = report(mixed(24))
    seen: list[str] = []
    for _ in range(120):
        page.chromium.switch_to.active_element.send_keys(Keys.TAB)
        element = page.run("return document.activeElement.id || document.activeElement.tagName + ' ' + "
                           "document.activeElement.textContent")  # fmt: skip
        seen.append(element)
        if element.startswith("BUTTON") and element.endswith(" 12"):
            page.chromium.switch_to.active_element.send_keys(Keys.ENTER)
        if element.startswith("BODY"):
            break
    assert "A To the table of rows" in seen
    assert {"status", "cause", "search", "sort"} <= set(seen)
    assert {f"BUTTON {number}" for number in range(1, 25)} <= set(seen)
    assert any(element.startswith("SUMMARY") for element in seen)
    (opened,) = page.all("#table tr.open")
    assert opened.find_element("css selector", "button").get_attribute("aria-expanded") == "true"
    assert "stored 2026-11-22 15:41:02.500 UTC" in opened.text


def test_a_row_is_shown_whole_when_it_is_opened(report: Any) -> None:
    page = report([item(1, row={"text": "word " * 55 + "end", "empty": ""}, attempts=2)])
    fold = page.all("#table .fold")[1]
    assert fold.size["height"] < fold.get_property("scrollHeight")
    page.one("#table button").click()
    fold = page.all("#table .fold")[1]
    assert fold.size["height"] >= fold.get_property("scrollHeight") - 1
    assert "word end" in fold.text
    assert fold.text.endswith("emptyempty")  # what is empty, and its name
    assert "run 2 times" in page.one("#table .when").text


def test_what_was_found_is_in_sight(report: Any) -> None:
    deep, shallow = {"text": "word " * 50 + "needle"}, {"text": "needle " + "word " * 50}
    page = report([item(1, row=deep), item(2, row=shallow), item(3, row={"text": "hay"})])
    assert page.all("#table .open") == []
    page.one("#search").send_keys("needle")
    told(page, "2 of 3 rows here")
    assert [row.find_element("css selector", "button").text for row in page.all("#table .open")] == ["1"]
    assert page.one("#table .open button").get_attribute("aria-expanded") == "true"
    for mark in page.all("#table mark"):
        fold = mark.find_element("xpath", "ancestor::*[@class='fold']")
        assert mark.rect["y"] < fold.rect["y"] + fold.rect["height"]


def test_markup_in_a_cell_is_text_and_never_runs(report: Any) -> None:
    page = report(hostile())
    title = page.chromium.title
    for button in page.all("#table button"):
        button.click()
    cells = page.run("return [...document.querySelectorAll('#table dd')].map((cell) => cell.textContent)")
    errors = page.run("return [...document.querySelectorAll('#table .cause-text')].map((cell) => cell.textContent)")
    for number, text in enumerate(HOSTILE.values(), 1):
        assert text in cells, text
        assert (f"{text}: {text}"[:300] in [error[:300] for error in errors]) is (number % 2 == 0 and len(text) < 140)
    assert page.run("return document.querySelectorAll('img, iframe, section script, #table script').length") == 0
    assert page.chromium.title == title != "caught"
    assert page.complaints() == []


def test_what_is_put_into_the_page_by_force_does_not_run_either(report: Any) -> None:
    page = report(mixed(24))
    page.run("document.body.insertAdjacentHTML('beforeend', arguments[0])", HOSTILE["image"])
    put = (
        "const made = document.createElement(arguments[0]); made.textContent = arguments[1]; document.body.append(made)"
    )
    page.run(put, "script", "document.title = 'caught'")
    page.run(put, "style", "body { color: red }")
    WebDriverWait(page.chromium, 10).until(lambda _: len(page.complaints()) >= 3)
    assert page.chromium.title != "caught"
    assert all("Content Security Policy" in message for message in page.complaints())
    assert page.run("return getComputedStyle(document.body).color") != "rgb(255, 0, 0)"


@pytest.mark.parametrize("name", ["mixed", "hostile"])
def test_nothing_is_asked_of_any_network(report: Any, name: str) -> None:
    page = report(mixed(24) if name == "mixed" else hostile())
    page.one("#search").send_keys("a")
    asked = [json.loads(entry["message"])["message"] for entry in page.chromium.get_log("performance")]
    urls = [entry["params"]["request"]["url"] for entry in asked if entry["method"] == "Network.requestWillBeSent"]
    assert urls == [page.address]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 800, 390, 320])
def test_it_fits_the_screen_in_either_scheme(report: Any, width: int, dark: bool) -> None:  # noqa: FBT001
    wide = {f"column {number}": "value" * number for number in range(1, 12)}
    items = [*mixed(48), *hostile(), item(100, "EXTRACTION_FAILED", wide, None, ("A" * 90, "b" * 400), 7_500_000, 3)]
    page = report(
        items, known(len(items), batch_id="a-tool-of-a-rather-long-name#20261122T154102-e34e91"), width=width, dark=dark
    )
    assert page.run("return document.documentElement.scrollWidth <= innerWidth")
    assert page.run(OVERFLOW) == []
    paper = page.run("return getComputedStyle(document.body).backgroundColor")
    assert paper == ("rgb(16, 19, 24)" if dark else "rgb(244, 245, 247)")
    drawn = [svg for svg in page.all("figure svg") if svg.is_displayed()]
    assert len(drawn) == 2
    bar = page.run("return getComputedStyle(document.querySelector('figure path[fill=\"var(--good)\"]')).fill")
    assert bar == ("rgb(63, 174, 157)" if dark else "rgb(29, 127, 114)")


@pytest.mark.parametrize("count", [0, 1, 20])
def test_batches_of_any_size(report: Any, count: int) -> None:
    page = report(
        [item(number, "FAILED", None, None, ("A", "b")) for number in range(1, count + 1)], known(count, "FAILED")
    )
    assert page.one(".outcome").text.startswith(("The source has no rows", f"0 of {count} rows succeeded"))
    assert len(page.all("#table tbody tr")) == count
    assert page.complaints() == []


def test_the_script_says_durations_as_the_report_does(report: Any) -> None:
    times = [0, 7, 999, 1_000, 2_049, 15_300, 59_949, 59_950, 92_000, 600_000, 3_599_600, 7_500_000, 90_000_000]
    page = report([item(number, took=one) for number, one in enumerate(times, 1)])
    shown = page.run(
        "return [...document.querySelectorAll('#table tbody td:nth-child(3)')].map((cell) => cell.textContent)"
    )
    assert shown == [took(one) for one in times]


def test_a_large_table_is_quick_to_search(report: Any) -> None:
    page = report(mixed(5_000))
    told(page, "5,000 rows")
    spent = page.run("""
      const began = performance.now(), search = document.getElementById('search');
      search.value = 'number 4999';
      search.dispatchEvent(new Event('input', {bubbles: true}));
      return new Promise((done) => new MutationObserver(() => done(performance.now() - began))
        .observe(document.getElementById('shown'), {childList: true}));
    """)
    told(page, "1 of 5,000 rows here")
    assert spent < 5_000  # milliseconds; a tenth of a second on a laptop


def test_printed_it_is_light_and_has_no_controls(report: Any) -> None:
    page = report(mixed(24), media="print")
    assert not page.one("#filters").is_displayed()
    assert page.one("figure .wide").is_displayed()
    assert page.run("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert len(page.chromium.execute_cdp_cmd("Page.printToPDF", {})["data"]) > 10_000
