"""One embedded stack for all end-to-end tests, with a port, data and a home of its own."""

from __future__ import annotations

import io
import os
import zipfile
from typing import Any

import pytest
from deployed import Deployed

from service.local import CHECKOUT, HOME_VARIABLE, Embedded

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
        _add_probe(made)
        yield made
    finally:
        made.embedded.stop()


def _add_probe(deployed: Deployed) -> None:
    """The probe as a Lambda function of the name `tool-probe`, which the embedded stack may call."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        archive.write(CHECKOUT / "tests" / "e2e" / "probe.py", "probe.py")
    client = deployed.stack.app.lambda_client
    client.create_function(
        FunctionName="tool-probe",
        Runtime="python3.13",
        Role="arn:aws:iam::000000000000:role/probe",
        Handler="probe.handler",
        Code={"ZipFile": package.getvalue()},
        Timeout=60,
        Environment={"Variables": {"PROBE_FOLDER": str(deployed.folder / "probe")}},
    )
