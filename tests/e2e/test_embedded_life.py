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
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
from deployed import PROBE_ARN, Deployed, eventually
from places import ROOT

from service.console.local import saved_state
from service.console.local import stack as local
from service.console.local.stack import EXAMPLES_STACK, HOME_VARIABLE, Embedded

if TYPE_CHECKING:
    from collections.abc import Callable

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
    eventually(lambda: not saved_state.held(alive.embedded.root))


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
    eventually(saved_end_of(alive, batch), seconds=120)
    eventually((alive.embedded.root / "state" / "cloudformation.json").exists, seconds=120)
    killed(alive)
    assert alive.command("local", "start").returncode == 0
    assert {each["batch_id"]: each["status"] for each in alive.rows("batches")}[batch] == "SUCCEEDED"
    ran(alive)


def saved_items(alive: Any, name: str) -> list[Any]:
    """The items of a table that are on disk."""
    file = alive.embedded.root / "state" / "dynamodb.json"
    if not file.exists():
        return []
    tables = json.loads(file.read_text())["payload"]["tables"]["data"]
    found = (table for key, table in tables.items() if name in key)
    return [item for table in found for partition in table["items"].values() for item in partition.values()]


def saved_end_of(alive: Any, batch: str) -> Callable[[], bool]:
    """Whether the record of a batch that has succeeded is on disk as it is now."""
    batches = alive.stack.app.settings.batches_table
    record = {"batch_id": {"S": batch}, "item": {"S": "batch"}, "status": {"S": "SUCCEEDED"}}
    return lambda: any(record.items() <= item.items() for item in saved_items(alive, batches))


def stored(items: list[Any]) -> int:
    return sum(item.get("status") == {"S": "SUCCESS"} and "felled" in str(item) for item in items)


def test_a_batch_that_a_kill_cut_is_told_as_it_is_and_completed_without_calling_stored_rows_again(alive: Any) -> None:
    alive.add_probe()
    results = alive.stack.app.settings.results_table
    rows = [f"{name},felled,{'go' if name in 'efgh' else ''}" for name in "abcdefgh"]
    alive.write("felled.csv", "\n".join(["id,probe,wait_for", *rows]))
    with alive.popen("run", "felled.csv", "--target", PROBE_ARN, "--json") as running:
        eventually(lambda: stored(saved_items(alive, results)) == 4, seconds=120)
        killed(alive)
        (alive.folder / "probe" / "felled" / "go").touch()
        running.wait(timeout=120)
    assert alive.command("local", "start").returncode == 0
    (batch,) = (each["batch_id"] for each in alive.rows("batches") if "felled" in str(each))
    told = json.loads(alive.command("status", batch, "--json").stdout)
    assert (told["status"], told["rows_done"], told["counts"]["SUCCESS"]) == ("FAILED", 4, 4)
    done = alive.json("rerun", batch, "-o", "felled-again.csv")
    assert (done["status"], done["row_count"], done["counts"]["SUCCESS"]) == ("SUCCEEDED", 8, 8)
    calls = {path.name: path.stat().st_size for path in (alive.folder / "probe" / "felled").glob("calls-*")}
    assert {name: calls[f"calls-{name}"] for name in "abcd"} == dict.fromkeys("abcd", 1)


def edited(alive: Any, service: str, change: Any) -> None:
    file = alive.embedded.root / "state" / f"{service}.json"
    state = json.loads(file.read_text())
    change(state["payload"])
    file.write_text(json.dumps(state))


def without(store: Any, name: str) -> None:
    (key,) = (key for key in store["data"] if name in key)
    del store["data"][key]


def test_a_table_and_a_function_that_are_gone_and_an_update_that_was_cut_are_deployed_again(alive: Any) -> None:
    batch, app = ran(alive), alive.stack.app
    registry = app.settings.registry_table
    eventually(saved_end_of(alive, batch), seconds=120)
    killed(alive)
    edited(alive, "dynamodb", lambda state: without(state["tables"], registry))
    edited(alive, "lambda", lambda state: without(state["functions"], "OutputWriter"))

    def cut(state: Any) -> None:
        (stack,) = (stack for key, stack in state["stacks"]["data"].items() if f"'{EXAMPLES_STACK}'" in key)
        stack["StackStatus"] = "UPDATE_IN_PROGRESS"

    edited(alive, "cloudformation", cut)
    started = alive.command("local", "start")
    assert started.returncode == 0, started.stderr
    assert "deploying" in started.stderr
    assert {each["batch_id"]: each["status"] for each in alive.rows("batches")}[batch] == "SUCCEEDED"
    assert alive.stack.app.settings == app.settings, "the tables and the bucket of before"
    ran(alive)
    assert "deploying" not in alive.command("local", "start").stderr


def test_a_state_that_cannot_be_saved_is_told_and_kept_in_memory(alive: Any) -> None:
    """The disk is full: here a folder stands where a file is to be written."""
    in_the_way = alive.embedded.root / "state" / "dynamodb.json.tmp"

    def placed() -> bool:
        try:
            in_the_way.mkdir()
        except FileExistsError:  # it is just being written
            return False
        return True

    eventually(placed)
    batch = ran(alive)
    told = eventually(lambda: alive.json("local", "status")["unsaved"])
    assert "NOT SAVED" in told
    assert "dynamodb" in told
    assert "NOT SAVED" in alive.command("batches").stderr
    refused = alive.command("local", "stop")
    assert refused.returncode != 0
    assert "goes on running" in refused.stderr
    assert batch in str(alive.rows("batches"))
    in_the_way.rmdir()
    eventually(lambda: alive.json("local", "status")["unsaved"] is None)
    assert alive.command("local", "stop").returncode == 0
    assert alive.command("local", "start").returncode == 0
    assert batch in str(alive.rows("batches"))


def test_a_server_that_does_not_listen_is_ended_after_a_while(alive: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_STOP_SECONDS", 1)
    os.kill(pid(alive), signal.SIGSTOP)
    said: list[str] = []
    assert alive.embedded.stop(said.append)
    assert len(said) == 1
    assert "was ended" in said[0]
    assert not alive.embedded.running()
    assert alive.command("local", "start").returncode == 0


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
        [sys.executable, "-m", "service.console.local.server"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == saved_state.TAKEN
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
