"""The web view in a real Chromium, over batches in memory whose state machine is this test."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from made import make_tool, prepared, role
from made_reports import HOSTILE
from selenium.common.exceptions import (
    ElementNotInteractableException,
    NoSuchElementException,
    StaleElementReferenceException,
)
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from waitress import wasyncore
from waitress.server import create_server

from service.batch.rerun import prepare
from service.console import loopback
from service.console.stacks import Stack
from service.console.web import wsgi
from service.console.web.gate import Gate
from service.console.web.orders import Orders
from service.models import Result, row_id
from service.steps import aggregate_results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from service.app import App
    from service.record import BatchRecord

MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:batches"
OVERFLOW = """
  return [...document.querySelectorAll('body *')].filter((element) => {
    const box = element.getBoundingClientRect();
    if (!box.width || element.closest('svg, .skip, .hidden, thead')) return false;
    for (let at = element.parentElement; at; at = at.parentElement) {
      if (/auto|scroll|hidden/.test(getComputedStyle(at).overflowX)) return false;
    }
    return box.right > arguments[0] + 1 || box.left < -1;
  }).map((element) => element.outerHTML.slice(0, 120))
"""


@dataclass
class View:
    """The web view in the browser."""

    chromium: Chrome
    address: str

    def screen(self, *, width: int, dark: bool) -> None:
        height = 844 if width < 600 else 1_600  # all that is pressed: the driver does not scroll an emulated screen
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        self.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme, "media": ""})

    def open(self, path: str) -> None:
        self.chromium.get(self.address.partition("/?")[0] + path)

    def text(self) -> str:
        return self.chromium.find_element(By.TAG_NAME, "body").text

    def press(self, said: str) -> None:
        """Presses the button, or follows the link, of these words; the page may put another in its place meanwhile."""
        path = f"//a[normalize-space()={said!r}] | //button[normalize-space()={said!r}]"
        missed = (ElementNotInteractableException, NoSuchElementException, StaleElementReferenceException)
        waiting = WebDriverWait(self.chromium, 30, poll_frequency=0.1, ignored_exceptions=missed)
        waiting.until(lambda driver: driver.find_element(By.XPATH, path).click() is None)

    def until(self, text: str) -> None:
        """Waits until the page says something; it may be replaced meanwhile."""
        for _ in range(300):
            shown = self.chromium.execute_script("return document.body ? document.body.innerText : ''")
            if text in shown:
                return
            time.sleep(0.1)
        raise AssertionError(f"{text!r} is not in {shown!r}")

    def complaints(self) -> list[str]:
        """What the console told: errors, and what the policy refused."""
        return [entry["message"] for entry in self.chromium.get_log("browser")]


@pytest.fixture
def view(app: App, chromium: Chrome) -> Iterator[View]:
    """A server of the stack in memory, on a port of its own."""
    make_tool(app)
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))
    stack = Stack(app, "a stack of tests", MACHINE, "aggregator")
    listening = loopback.listen(None)
    gate = Gate(listening.getsockname()[1])
    channels: dict[int, Any] = {}
    served = create_server(wsgi.create(stack, gate, Orders(stack)), map=channels, sockets=[listening], threads=4)
    thread = threading.Thread(target=served.run)
    thread.start()
    chromium.get_log("browser")
    opened = View(chromium, gate.address(gate.token))
    opened.screen(width=1280, dark=False)  # the browser is of all tests: the one before may have looked at paper
    try:
        yield opened
    finally:
        chromium.get("about:blank")
        served.trigger.pull_trigger(lambda: wasyncore.close_all(channels))
        thread.join(timeout=60)
        served.task_dispatcher.shutdown()


def put(app: App, record: BatchRecord, number: int, status: str, run: int = 1) -> None:
    texts = list(HOSTILE.values())
    error = None if status == "SUCCESS" else {"type": texts[-number][:90], "message": texts[number]}
    row = {texts[number]: texts[-number]}
    ttl = int(record.expires_at)
    app.store.put(Result(record.batch_id, row_id(number), status, row, dict(row), error=error, run=run, ttl=ttl))


def begun(app: App, rows: int) -> BatchRecord:
    batch = prepared(app, "text\n" + "text\n" * rows)
    app.stepfunctions.start_execution(stateMachineArn=MACHINE, name="run-1")
    return app.records.get(batch["batch_id"])


def close(app: App, record: BatchRecord) -> None:
    run = len(app.records.get(record.batch_id).runs or [1])
    aggregate_results.aggregate(app, {"batch": {"batch_id": record.batch_id, "run": run}}, lambda: 900_000)


def count(app: App, record: BatchRecord, **counts: int) -> None:
    """Notes a chunk that has finished."""
    ttl = int(record.expires_at)
    app.plans.save_chunk(record.batch_id, 1, 0, first_row=1, rows=sum(counts.values()), counts=counts, ttl=ttl)


def test_a_batch_from_its_beginning_to_the_end_of_its_rerun(app: App, view: View) -> None:
    record = begun(app, 6)
    view.chromium.get(view.address)
    view.until("not ok")
    assert "token" not in view.chromium.current_url
    view.press(record.batch_id)
    view.until("6 not done yet")
    assert view.chromium.title.startswith("RUNNING 0 %")

    for number in range(1, 7):
        put(app, record, number, "FAILED" if number in (2, 5) else "SUCCESS")
    view.until("Why rows did not succeed so far")
    view.press("Stop")
    view.until("STOPPING")
    close(app, record)
    view.until("4 of 6 rows succeeded; 2 did not: 2 FAILED.")
    assert view.chromium.title.startswith("PARTIAL")

    view.press("All rows that did not succeed")
    view.until("Type of error")
    view.press("2")
    view.until("Row 2")
    view.press(record.batch_id)
    view.press("Rerun rows that did not succeed…")
    view.until("Run 2 rows again, for about $")
    view.press("Run 2 rows again")
    view.until("are about to run again")
    listed = app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"]
    (arn,) = [one["executionArn"] for one in listed if one["name"] != "run-1"]
    order = json.loads(app.stepfunctions.describe_execution(executionArn=arn)["input"])
    prepare(app, {"input": order, "execution_arn": arn, "started_at": "2026-11-22T10:00:00.000Z"})
    view.until("It goes on: 4 of 6 rows are done so far.")
    for number in (2, 5):
        put(app, record, number, "SUCCESS", run=2)
    close(app, record)
    view.until("All 6 rows succeeded.")
    assert "Rerun rows that did not succeed…" not in view.text()
    assert view.complaints() == []


def test_what_is_new_comes_without_moving_the_reader(app: App, view: View) -> None:
    record = begun(app, 6)
    put(app, record, 2, "FAILED")
    view.chromium.get(view.address)
    view.until("not ok")
    view.press(record.batch_id)
    view.until("6 not done yet")
    view.chromium.execute_script("document.body.dataset.same = 'page'; document.querySelector('#now a').focus()")
    count(app, record, SUCCESS=3)
    view.until("3 not done yet")
    assert view.chromium.title.startswith("RUNNING 50 %")
    state = "return [document.body.dataset.same, document.activeElement.textContent]"
    assert view.chromium.execute_script(state) == ["page", "2"]


def test_a_server_that_has_ended_is_told(app: App, view: View) -> None:
    begun(app, 2)
    view.chromium.get(view.address)
    view.until("not ok")
    alert = view.chromium.find_element(By.ID, "offline")
    assert not alert.is_displayed()
    view.chromium.execute_script("window.fetch = () => Promise.reject(new TypeError('Failed to fetch'))")
    view.until("The web view does not answer")
    view.chromium.execute_script("window.fetch = async () => ({ ok: false, status: 403 })")
    view.until("open the address that it printed")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_hostile_text_is_text_on_every_page_and_fits(app: App, view: View, width: int, *, dark: bool) -> None:
    record = begun(app, len(HOSTILE) - 1)
    for number in range(1, len(HOSTILE)):
        put(app, record, number, "FAILED")
    close(app, record)
    view.screen(width=width, dark=dark)
    view.chromium.get(view.address)
    view.until("not ok")
    batch = record.batch_id.replace("#", "%23")
    pages = {
        "": "Batches",
        f"batch?id={batch}": "Why rows did not succeed",
        f"batch/failed?id={batch}": HOSTILE["image"],
        f"batch/row?id={batch}&row=1": HOSTILE["image"],
        f"batch/row?id={batch}&row={len(HOSTILE) - 1}": HOSTILE["long word"],
        f"batch/rerun?id={batch}": "Run 10 rows again",
        f"batch/failed?id={batch}&status=TIMEOUT": "No row is of that kind.",
    }
    for path, text in pages.items():
        view.open(f"/{path}")
        view.until(text)
        assert view.chromium.title != "caught"
        assert view.chromium.find_elements(By.TAG_NAME, "img") == []
        assert view.chromium.execute_script(OVERFLOW, width) == [], path
        assert view.chromium.execute_script("return document.documentElement.scrollWidth") <= width, path
        paper = view.chromium.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == ("rgb(16, 19, 24)" if dark else "rgb(244, 245, 247)")
    assert view.complaints() == []
