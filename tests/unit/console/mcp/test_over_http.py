"""The server over HTTP: one token, this machine's names, and clients old and new without a session."""

from __future__ import annotations

import http.client
import json
import threading
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from service.console import loopback
from service.console.mcp import over_http
from service.errors import BatchRefused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

TOKEN = "the-token"


@pytest.fixture
def port(world: Any) -> Iterator[int]:
    listening = loopback.listen(None)
    number = listening.getsockname()[1]
    app = over_http.application(world.server, number, TOKEN)
    web = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
    thread = threading.Thread(target=web.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not web.started:
        time.sleep(0.01)
    yield number
    web.should_exit = True
    thread.join(10)


def post(port: int, **headers: str) -> tuple[int, str]:
    """The answer to a request of an older client."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    told = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": told})
    plain = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", "/mcp", body, {**plain, **headers})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


@asynccontextmanager
async def client_of(port: int, mode: str = "auto") -> AsyncIterator[Client]:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30) as web:
        transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=web)
        async with Client(transport, mode=mode) as client:
            yield client


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer other", "Bearer the-token2", "Basic the-token", "the-token"])
def test_nobody_is_let_in_without_the_token(port: int, given: str) -> None:
    status, said = post(port, **({"Authorization": given} if given else {}))
    assert status == 401
    assert "Authorization: Bearer TOKEN" in said


def test_the_token_lets_in(port: int) -> None:
    status, said = post(port, Authorization=f"Bearer {TOKEN}")
    assert status == 200
    assert json.loads(said)["result"]["serverInfo"]["name"] == "batch-processor"


@pytest.mark.parametrize(
    ("header", "value", "status"),
    [("Host", "evil.example", 421), ("Origin", "http://evil.example", 403), ("Host", "127.0.0.1:1", 421)],
)
def test_other_hosts_and_origins_are_refused(port: int, header: str, value: str, status: int) -> None:
    assert post(port, Authorization=f"Bearer {TOKEN}", **{header: value})[0] == status


@pytest.mark.anyio
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_calls_tools(world: Any, port: int, mode: str) -> None:
    async with client_of(port, mode) as client:
        told = await client.call_tool("describe_source", {"csv_s3_uri": world.source(2)})
    assert (told.structured_content or {})["row_count"] == 2


def test_a_port_that_is_taken_is_named() -> None:
    with loopback.listen(None) as taken, pytest.raises(BatchRefused, match=r"--port: \d+: Address already in use"):
        loopback.listen(taken.getsockname()[1])


def test_every_token_is_another() -> None:
    assert len({over_http.new_token() for _ in range(10)}) == 10
    assert len(over_http.new_token()) == 43
