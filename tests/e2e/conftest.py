"""One embedded stack for all end-to-end tests, with a port, data and a home of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from service import stacks
from service.local import CHECKOUT, HOME_VARIABLE, Embedded

COMMAND = str(Path(sys.executable).with_name("batch-processor"))
WAIT_SCALE = "0.05"  # of the state machine's waits: retries of a lost chunk would take a minute


@dataclass
class Deployed:
    """The deployed application, its command line and the probe tool's folder."""

    embedded: Embedded
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stack(self) -> stacks.Stack:
        return stacks.embedded(self.embedded)

    def command(self, *words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [COMMAND, *words],
            env=self.environment,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [COMMAND, *words],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def json(self, *words: str) -> Any:
        """The one JSON document that a command prints."""
        done = self.command(*words, "--json")
        assert done.stdout.count("\n") == 1, done.stdout + done.stderr
        return json.loads(done.stdout)

    def rows(self, *words: str) -> list[Any]:
        """The JSON lines that a command prints."""
        done = self.command(*words, "--json")
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def write(self, name: str, text: str) -> str:
        (self.folder / name).write_text(text, encoding="utf-8", newline="")
        return name

    def in_flight(self, probe: str) -> int:
        """The most calls of a probe that were under way at once."""
        notes = [line.split() for line in (self.folder / "probe" / probe / "notes").read_text().splitlines()]
        now = most = 0
        for _, step in sorted(notes, key=lambda note: int(note[0])):
            now += int(step)
            most = max(most, now)
        return most


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


PROBE_ARN = "arn:aws:lambda:us-east-1:000000000000:function:tool-probe"


def eventually(check: Any, seconds: float = 30) -> Any:
    """The first true answer of a check; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
    return answer
