"""The embedded stack lives through what happens to it: kills, a server that is busy, the user's environment."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from deployed import Deployed, eventually

from service import embedded_store
from service.local import HOME_VARIABLE, Embedded

HOSTILE = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy"), "http://127.0.0.1:9"),
    "AWS_PROFILE": "nobody",
    "AWS_DEFAULT_PROFILE": "nobody",
    "AWS_ENDPOINT_URL": "http://127.0.0.1:9",
    "AWS_ENDPOINT_URL_DYNAMODB": "http://127.0.0.1:9",
    "AWS_CA_BUNDLE": "/nowhere/bundle.pem",
    "AWS_REGION": "eu-west-1",
}


def pip_hosts() -> str:
    """What pip asks: the proxy that is not there is pip's too, for any other host."""
    given = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True)
    urls = re.findall(r"https?://[^\s'\"\\]+", given.stdout + " " + " ".join(os.environ.values()))
    hosts = {urlsplit(url).hostname or "" for url in urls} - {""}
    return ",".join(sorted(hosts | {"pypi.org", "files.pythonhosted.org"}))


@pytest.fixture(scope="module")
def alive(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A stack of its own, started in the environment of a user with proxies and profiles."""
    folder = tmp_path_factory.mktemp("life")
    environment = {**os.environ, **HOSTILE, "NO_PROXY": pip_hosts(), HOME_VARIABLE: str(folder / "home")}
    environment.pop("no_proxy", None)
    made = Deployed(Embedded(folder / "home"), folder, environment)
    made.environment.pop("BATCH_PROCESSOR_STACK", None)
    started = made.command("local", "start", "--json")
    try:
        assert started.returncode == 0, started.stderr
        yield made
    finally:
        made.embedded.stop()


def pid(alive: Any) -> int:
    return int(alive.embedded.owner["pid"])


def killed(alive: Any) -> None:
    os.kill(pid(alive), signal.SIGKILL)
    eventually(lambda: not embedded_store.held(alive.embedded.root))


def ran(alive: Any) -> str:
    alive.write("two.csv", "id,text\n1,a\n2,b\n")
    mapping = {"output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"t": "echo.text"}}]}}
    alive.write("two.json", json.dumps(mapping))
    result = alive.json("run", "two.csv", "--target", "echo", "--mapping", "two.json")
    assert result["status"] == "SUCCEEDED"
    return str(result["batch_id"])


def test_a_kill_takes_seconds_not_everything(alive: Any) -> None:
    """Killed before any clean stop: the deployment and a batch of some seconds ago are there, and rows run."""
    batch = ran(alive)
    saved = alive.embedded.root / "state" / "dynamodb.json"
    eventually(lambda: saved.exists() and batch in saved.read_text(), seconds=120)
    eventually((alive.embedded.root / "state" / "cloudformation.json").exists, seconds=120)
    killed(alive)
    assert alive.command("local", "start").returncode == 0
    assert {each["batch_id"]: each["status"] for each in alive.rows("batches")}[batch] == "SUCCEEDED"
    ran(alive)


def test_a_kill_that_left_nothing_deploys_again(alive: Any) -> None:
    """stack.json says that it is deployed, and nothing is there."""
    killed(alive)
    for file in (alive.embedded.root / "state").glob("*.json"):
        file.unlink()
    assert alive.command("local", "start").returncode == 0
    ran(alive)


def test_a_busy_server_is_not_replaced(alive: Any) -> None:
    """It does not answer for a while, and stack.json is of another time: two starts wait, and it is the same one."""
    before = pid(alive)
    os.kill(before, signal.SIGSTOP)
    stale = {**alive.embedded.state(), "port": 9, "pid": 999_999}
    (alive.embedded.root / "stack.json").write_text(json.dumps(stale))
    (alive.embedded.root / "lock").unlink()
    with ThreadPoolExecutor(2) as pool:
        starts = [pool.submit(alive.command, "local", "start") for _ in range(2)]
        time.sleep(12)
        assert not any(start.done() for start in starts)
        assert alive.embedded.running()
        os.kill(before, signal.SIGCONT)
        done = [start.result() for start in starts]
    assert [each.returncode for each in done] == [0, 0], [each.stderr for each in done]
    assert any("is busy: waiting for it" in each.stderr for each in done)
    assert pid(alive) == before


def test_a_second_server_on_the_same_folder_ends_at_once(alive: Any) -> None:
    environment = {**alive.environment, "GATEWAY_PORT": "0", HOME_VARIABLE: str(alive.embedded.root)}
    second = subprocess.run(
        [sys.executable, "-m", "service.embedded"],
        cwd=Path(__file__).parents[2],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == embedded_store.TAKEN
    assert "belongs to another embedded AWS" in second.stderr


def test_a_client_that_does_not_read_does_not_keep_it_from_stopping(alive: Any) -> None:
    app = alive.stack.app
    app.s3.put_object(Bucket=app.settings.data_bucket, Key="large", Body=b"x" * 30_000_000)
    url = app.s3.generate_presigned_url("get_object", Params={"Bucket": app.settings.data_bucket, "Key": "large"})
    path = url.split("/", 3)[3]
    port = alive.embedded.owner["port"]
    with socket.create_connection(("127.0.0.1", port)) as stalled:
        stalled.sendall(f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        assert stalled.recv(1000).startswith(b"HTTP/1.1 200")
        assert alive.command("local", "stop").returncode == 0
    assert alive.command("local", "start").returncode == 0
    assert app.s3.head_object(Bucket=app.settings.data_bucket, Key="large")["ContentLength"] == 30_000_000
