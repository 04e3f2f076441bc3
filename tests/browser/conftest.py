"""A real Chromium, driven by its own driver; both are what the machine has, and nothing is fetched for them."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from made_reports import made_page
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1280,900",
)


def installed() -> tuple[str, str]:
    """Chromium and its driver; without them the tests are skipped, or fail in CI where they could be installed."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        missing = f"{'Chromium' if browser is None else 'chromedriver'} is not installed"
        can_install = os.geteuid() == 0 and shutil.which("apt-get") is not None
        how = f"{missing}: apt-get install chromium chromium-driver"
        (pytest.fail if os.environ.get("CI") and can_install else pytest.skip)(how)
    return browser, driver


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    browser, driver = installed()
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    profile = tmp_path_factory.mktemp("chromium")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has no sandbox for root
    for flag in (*FLAGS, *root, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    started = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield started
    finally:
        started.quit()


@dataclass
class Opened:
    """A page in the browser, and what one does with it."""

    chromium: webdriver.Chrome
    address: str
    told: list[str] = field(default_factory=list)

    def open(self, *, width: int = 1280, dark: bool = False, media: str = "") -> Opened:
        """Opens the page anew on a screen of that width."""
        screen = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
        wishes = {"prefers-color-scheme": "dark" if dark else "light", "prefers-reduced-motion": "reduce"}
        features = [{"name": name, "value": value} for name, value in wishes.items()]
        self.chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
        self.chromium.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features, "media": media})
        for kind in ("browser", "performance"):
            self.chromium.get_log(kind)
        self.chromium.get(self.address)
        return self

    def all(self, selector: str) -> list[Any]:
        return self.chromium.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> Any:
        return self.chromium.find_element(By.CSS_SELECTOR, selector)

    def run(self, script: str, *arguments: Any) -> Any:
        return self.chromium.execute_script(script, *arguments)

    def choose(self, name: str, text: str) -> None:
        """Chooses the option that begins with this text."""
        select = Select(self.one(f"#{name}"))
        (found,) = [option.text for option in select.options if option.text.startswith(text)]
        select.select_by_visible_text(found)

    def rows(self) -> list[str]:
        """Labels of the rows that the table shows."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll('#table tbody button')].map((b) => b.textContent)"
        )
        return found

    def complaints(self) -> list[str]:
        """What the browser's console has told of this page: errors, and what the page's policy refused."""
        self.told += [entry["message"] for entry in self.chromium.get_log("browser")]
        return self.told


@pytest.fixture
def report(chromium: webdriver.Chrome, tmp_path: Path) -> Callable[..., Opened]:
    """Opens the page of a report on results, from a file."""

    def opened(items: list[Any], facts: dict[str, Any] | None = None, **how: Any) -> Opened:
        path = tmp_path / "report.html"
        path.write_text(made_page(items, facts), encoding="utf-8")
        return Opened(chromium, path.as_uri()).open(**how)

    return opened
