"""What the end-to-end tests say to the deployed application."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import zipfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.console import stacks
from service.console.local.stack import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.console.local.stack import Embedded

COMMAND = str(Path(sys.executable).with_name("batch-processor"))
WRITING = ("run", "rerun", "aggregate", "remap")
PROBE_ARN = "arn:aws:lambda:us-east-1:000000000000:function:tool-probe"


@dataclass
class Deployed:
    """The deployed application, its command line and the probe tool's folder."""

    embedded: Embedded
    folder: Path
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def stack(self) -> stacks.Stack:
        return stacks.embedded(self.embedded)

    def add_probe(self) -> None:
        """The probe as a Lambda function of the name `tool-probe`, which the embedded stack may call."""
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.write(CHECKOUT / "tests" / "builders" / "probe.py", "probe.py")
        self.stack.app.lambda_client.create_function(
            FunctionName="tool-probe",
            Runtime="python3.13",
            Role="arn:aws:iam::000000000000:role/probe",
            Handler="probe.handler",
            Code={"ZipFile": package.getvalue()},
            Timeout=60,
            Environment={"Variables": {"PROBE_FOLDER": str(self.folder / "probe")}},
        )

    def command(self, *words: str, cwd: Path | None = None, force: bool = True) -> subprocess.CompletedProcess[str]:
        """A command; with `force` it replaces what earlier tests left in the folder."""
        return subprocess.run(
            [COMMAND, *words, *(["--force"] if force and words[0] in WRITING and "--force" not in words else [])],
            env=self.environment,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def popen(self, *words: str) -> subprocess.Popen[str]:
        """A command that goes on; a Ctrl-C reaches it even where the tests were started with it ignored."""
        return subprocess.Popen(
            [COMMAND, *words],
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no threads yet
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


def histories(stack: stacks.Stack, arn: str) -> Iterator[Counter[str]]:
    """Events by type: of the parent, then of each child."""
    client = stack.app.stepfunctions
    (run,) = client.list_map_runs(executionArn=arn)["mapRuns"]
    children = client.get_paginator("list_executions").paginate(mapRunArn=run["mapRunArn"])
    for execution in [arn, *(child["executionArn"] for page in children for child in page["executions"])]:
        pages = client.get_paginator("get_execution_history").paginate(executionArn=execution)
        yield Counter(event["type"] for page in pages for event in page["events"])


def eventually(check: Any, seconds: float = 30) -> Any:
    """The first true answer of a check; fails after so many seconds."""
    deadline = time.monotonic() + seconds
    while not (answer := check()):
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.1)
    return answer
