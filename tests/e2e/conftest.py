"""One embedded stack for all end-to-end tests, with a port, data and a home of its own."""

from __future__ import annotations

import os
from typing import Any

import pytest
from deployed import Deployed

from service.console.local.stack import HOME_VARIABLE, Embedded

WAIT_SCALE = "0.05"  # of the state machine's waits: retries of a lost chunk would take a minute


@pytest.fixture(scope="session")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("e2e")
    environment = {**os.environ, HOME_VARIABLE: str(folder / "home"), "SFN_WAIT_SCALE": WAIT_SCALE}
    environment.pop("BATCH_PROCESSOR_STACK", None)
    made = Deployed(Embedded(folder / "home"), folder, environment)
    started = made.command("local", "start", "--json")
    try:
        assert started.returncode == 0, started.stderr
        made.add_probe()
        yield made
    finally:
        made.embedded.stop()
