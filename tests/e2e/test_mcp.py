"""Agents' own door: a batch over stdio whose server is killed, found again by another one; HTTP with its token."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import pytest
from deployed import COMMAND, PROBE_ARN
from mcp import Client, StdioServerParameters
from mcp.client import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp_types import CallToolResult, ElicitResult
from task_client import CreatedTask, ask

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

TASKS = "io.modelcontextprotocol/tasks"
ROWS = 101  # one more than is started unasked


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class KnowsTasks(ClientExtension):
    """Waits for the end of a task, as a client does that was given one for a tool's answer."""

    identifier = TASKS

    def __init__(self) -> None:
        self.created = anyio.Event()

    def claims(self) -> list[ResultClaim[Any]]:
        return [ResultClaim(result_type="task", model=CreatedTask, resolve=self.resolve)]

    async def resolve(self, task: CreatedTask, context: ClaimContext) -> CallToolResult:
        self.created.set()
        identifier = (task.model_extra or {})["taskId"]
        done = await until(context.session, identifier, lambda now: now["status"] != "working")
        return CallToolResult.model_validate(done["result"])


async def until(session: Any, task_id: str, check: Any, seconds: float = 90) -> dict[str, Any]:
    """What a task says once the check holds."""
    deadline = time.monotonic() + seconds
    while not check(now := await ask(session, "tasks/get", task_id)):
        assert time.monotonic() < deadline, now
        await anyio.sleep(0.2)
    return now


@asynccontextmanager
async def spoken_to(
    deployed: Any, pid_file: Path, asked: list[str], knows: KnowsTasks | None = None
) -> AsyncIterator[Client]:
    """A client and a server of its own, which notes its process."""

    async def accept(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={"go_on": True})

    server = StdioServerParameters(
        command="/bin/sh",
        args=["-c", f'echo $$ > "{pid_file}"; exec "{COMMAND}" mcp'],
        env=deployed.environment,
        cwd=deployed.folder,
    )
    async with Client(server, elicitation_callback=accept, extensions=[knows or KnowsTasks()]) as client:
        yield client


@pytest.mark.anyio
async def test_a_batch_outlives_the_server_that_started_it(deployed: Any, tmp_path: Path) -> None:
    name, pid_file, asked = "outlives", tmp_path / "pid", []  # type: ignore[var-annotated]
    rows = "".join(f"{number},{name},open\n" for number in range(1, ROWS + 1))
    source = deployed.folder / deployed.write(f"{name}.csv", f"id,probe,wait_for\n{rows}")
    killed = False
    with suppress(Exception):  # a client whose server was killed may say so
        async with spoken_to(deployed, pid_file, asked) as client:
            order = {"csv_s3_uri": str(source), "target": PROBE_ARN, "name": "outlives-1"}
            made = await client.session.call_tool("start_batch", order, allow_input_required=True)
            (key,) = made.input_requests
            assert key.startswith("go-on-")
            responses = {key: ElicitResult(action="accept", content={"go_on": True})}
            made = await client.session.call_tool(
                "start_batch", order, input_responses=responses, allow_input_required=True, allow_claimed=True
            )
            task_id = made.model_extra["taskId"]
            now = await until(client.session, task_id, lambda now: f"of {ROWS} rows" in now["statusMessage"])
            assert now["status"] == "working"
            os.kill(int(pid_file.read_text()), signal.SIGKILL)
            killed = True
    assert killed
    assert task_id == "tool-probe#outlives-1"
    first = pid_file.read_text()
    async with spoken_to(deployed, pid_file, asked) as client:
        assert pid_file.read_text() != first
        assert (await ask(client.session, "tasks/get", task_id))["status"] == "working"
        opened = deployed.folder / "probe" / name / "open"
        opened.parent.mkdir(parents=True, exist_ok=True)
        opened.touch()
        done = await until(client.session, task_id, lambda now: now["status"] != "working")
        assert (done["status"], done["result"]["isError"]) == ("completed", False)
        assert done["result"]["structuredContent"]["counts"] == {"SUCCESS": ROWS}
        again = await client.call_tool("start_batch", {**order})  # of the same name: nothing new, the same end
        assert again.structured_content == done["result"]["structuredContent"]
        assert not asked
        shown = (await client.call_tool("batch_result", {"batch_id": task_id, "rows": 2})).structured_content
    assert [row["output_id"] for row in (shown or {})["first_rows"]] == ["1", "2"]
    assert all(len(calls.read_text()) == 1 for calls in (deployed.folder / "probe" / name).glob("calls-*"))


@pytest.mark.anyio
async def test_a_person_is_asked_a_task_is_cancelled_and_its_rest_run_again(deployed: Any, tmp_path: Path) -> None:
    name, asked = "cancelled", []  # type: ignore[var-annotated]
    rows = "".join(f"{number},{name},0.3\n" for number in range(1, ROWS + 100))
    source = deployed.folder / deployed.write(f"{name}.csv", f"id,probe,sleep_s\n{rows}")
    knows, batch = KnowsTasks(), "tool-probe#cancelled-1"
    async with spoken_to(deployed, tmp_path / "pid", asked, knows) as client:
        order = {"csv_s3_uri": str(source), "target": PROBE_ARN, "execution_config": {"max_concurrency": 5}}
        checked = (await client.call_tool("check_batch", order)).structured_content or {}
        assert (checked["in_order"], checked["rows_to_run"]) == (True, ROWS + 99)
        async with anyio.create_task_group() as group:
            ended: list[CallToolResult] = []

            async def start() -> None:
                ended.append(await client.call_tool("start_batch", {**order, "name": "cancelled-1"}))

            group.start_soon(start)
            with anyio.fail_after(60):
                await knows.created.wait()
            await until(client.session, batch, lambda now: f"of {ROWS + 99} rows" in now["statusMessage"])
            await ask(client.session, "tasks/cancel", batch)
        assert asked[0].startswith(f"{ROWS + 99} rows, about $")
        (result,) = ended
        assert (result.structured_content or {})["status"] == "INCOMPLETE"
        few = {"batch_id": batch, "rows": f"{ROWS + 98}-{ROWS + 99}"}
        again = (await client.call_tool("rerun_batch", few)).structured_content or {}
        left = {**(result.structured_content or {})["counts"]}
    assert again["counts"]["NOT_RUN"] == left["NOT_RUN"] - 2
    assert len(asked) == 1


def test_stdout_carries_the_protocol_alone(deployed: Any) -> None:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    calls = [
        {
            "jsonrpc": "2.0",
            "id": number,
            "method": "tools/call",
            "params": {"name": name, "arguments": {}, "_meta": meta},
        }
        for number, name in enumerate(("list_targets", "batch_status", "no_such_tool"), 1)
    ]
    process = subprocess.Popen(
        [COMMAND, "mcp"],
        env=deployed.environment,
        cwd=deployed.folder,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    answers = []
    for call in calls:
        process.stdin.write(json.dumps(call) + "\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 0
    assert rest == ""
    assert [answer["id"] for answer in answers] == [1, 2, 3]
    assert answers[0]["result"]["structuredContent"]["targets"]
    assert "embedded stack" in said


@pytest.fixture
def over_http(deployed: Any) -> Iterator[tuple[Any, str, str]]:
    """The command's process, its address and its token."""
    process = deployed.popen("mcp", "--http")
    try:
        url = process.stderr.readline().strip()
        said = process.stderr.readline().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/mcp", url)
        assert said.startswith("Authorization: Bearer ")
        yield process, url, said.rpartition(" ")[2]
    finally:
        process.kill()
        process.communicate()


def refused(url: str, **headers: str) -> int:
    request = urllib.request.Request(url, b"{}", {"Content-Type": "application/json", **headers})
    with pytest.raises(urllib.error.HTTPError) as error:
        urllib.request.urlopen(request, timeout=60)
    return error.value.code


@pytest.mark.anyio
async def test_http_is_for_who_has_the_token(deployed: Any, over_http: tuple[Any, str, str]) -> None:
    process, url, token = over_http
    assert refused(url) == 401
    assert refused(url, Authorization="Bearer other") == 401
    assert refused(url, Authorization=f"Bearer {token}", Origin="http://evil.example") == 403
    source = deployed.folder / deployed.write("over_http.csv", "id,probe\n1,http\n2,http\n")
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {token}"}, timeout=60) as web:
        transport = streamable_http_client(url, http_client=web)
        async with Client(transport, extensions=[KnowsTasks()]) as client:
            assert client.protocol_version == "2026-07-28"
            done = await client.call_tool("start_batch", {"csv_s3_uri": str(source), "target": PROBE_ARN})
    assert (done.structured_content or {})["status"] == "SUCCEEDED"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    assert process.stdout.read() == ""
