"""The web view as its command serves it: over HTTP, the real functions and the real state machine behind it."""

from __future__ import annotations

import csv
import io
import json
import re
import signal
import urllib.error
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any

import pytest
from deployed import PROBE_ARN, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator


class Browser:
    """Cookies, pages and forms of the web view at an address."""

    def __init__(self, address: str) -> None:
        self.base = address.partition("/?")[0]
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
        self._opener.open(address, timeout=60).close()

    def get(self, path: str, **query: Any) -> bytes:
        with self._opener.open(f"{self.base}{path}?{urllib.parse.urlencode(query)}", timeout=60) as answer:
            body: bytes = answer.read()
        return body

    def page(self, path: str, **query: Any) -> str:
        """The words of a page."""
        return " ".join(re.sub(r"<[^>]*>", " ", self.get(path, **query).decode()).split())

    def press(self, path: str, page: str, batch: str) -> None:
        """Sends the form that a page holds for an action."""
        form = re.search(rf'action="{path}">.*?name="(\w+)" value="([^"]+)"', self.get(page, id=batch).decode())
        assert form, page
        fields = urllib.parse.urlencode({form[1]: form[2], "id": batch}).encode()
        self._opener.open(urllib.request.Request(f"{self.base}{path}", fields, {"Origin": self.base}), timeout=60)


@pytest.fixture
def served(deployed: Any) -> Iterator[tuple[Any, str]]:
    """The command's process and the address that it printed."""
    process = deployed.popen("ui", "--no-browser")
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


def test_rows_are_run_again_and_the_csv_is_made_again(deployed: Any, served: tuple[Any, str]) -> None:
    process, address = served
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(address.partition("?")[0], timeout=60)
    browser = Browser(address)
    deployed.write("seen.csv", "id,probe,fails\na,seen,0\nb,seen,1\nc,seen,1\n")
    deployed.write("once.json", json.dumps({"execution_config": {"retry_policy": {"max_attempts": 1}}}))
    run = deployed.command("run", "seen.csv", "--target", PROBE_ARN, "--mapping", "once.json", "--json")
    batch = json.loads(run.stdout)["batch_id"]
    assert batch in browser.page("/")
    assert "1 of 3 rows succeeded; 2 did not: 2 FAILED." in browser.page("/batch", id=batch)
    assert "ProbeFailure call 1 of b fails" in browser.page("/batch/failed", id=batch)
    assert '{ "id": "a", "calls": 1 }'.replace('"', "&#34;") in browser.page("/batch/row", id=batch, row=1)

    assert "Run 2 rows again, for about $0.00" in browser.page("/batch/rerun", id=batch)
    browser.press("/batch/rerun/start", "/batch/rerun", batch)
    eventually(lambda: "All 3 rows succeeded." in browser.page("/batch", id=batch), 60)
    assert deployed.json("status", batch)["status"] == "SUCCEEDED"

    browser.press("/batch/csv/again", "/batch", batch)
    eventually(lambda: "The CSV was made again at" in browser.page("/batch", id=batch), 60)
    lines = list(csv.DictReader(io.StringIO(browser.get("/batch/csv", id=batch).decode())))
    assert [(line["input_id"], line["_status"], line["output_calls"]) for line in lines] == [
        ("a", "SUCCESS", "1"),
        ("b", "SUCCESS", "2"),
        ("c", "SUCCESS", "2"),
    ]

    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in told


def test_only_a_stack_that_runs_is_spoken_to(deployed: Any) -> None:
    deployed_elsewhere = {**deployed.environment, "BATCH_PROCESSOR_HOME": str(deployed.folder / "nothing")}
    here, deployed.environment = deployed.environment, deployed_elsewhere
    try:
        done = deployed.command("ui", "--no-browser")
    finally:
        deployed.environment = here
    assert (done.returncode, done.stdout) == (3, "")
    assert "the embedded stack is not running" in done.stderr
