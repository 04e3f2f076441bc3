"""Whose the folder is, and what is saved when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from places import ROOT

from service.console.local import saved_state
from service.console.local.saved_state import Saver, changes
from service.console.local.stack import Embedded, _past_proxies, _without_proxies

if TYPE_CHECKING:
    from pathlib import Path

OWN = "import sys, pathlib; from service.console.local import saved_state as s; s.own(pathlib.Path(sys.argv[1]), 7); "


def owning(root: Path, then: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OWN + then, str(root)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_folder_has_one_owner_until_its_process_ends_in_whatever_way(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    assert not saved_state.held(tmp_path)
    with owning(tmp_path, "print('mine', flush=True); input()") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        assert saved_state.held(tmp_path)
        assert saved_state.owner(tmp_path) == {"pid": first.pid, "port": 7}
        second = owning(tmp_path, "print('mine too')")
        said, why = second.communicate(timeout=60)
        assert (second.returncode, said) == (saved_state.TAKEN, "")
        assert "belongs to another" in why
        assert saved_state.owner(tmp_path)["pid"] == first.pid
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=60)
    assert not saved_state.held(tmp_path)
    assert not Embedded(tmp_path).running()


def test_a_folder_that_is_not_there_is_nobodys(tmp_path: Path) -> None:
    assert not saved_state.held(tmp_path / "none")
    assert saved_state.owner(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("method", "path", "headers", "changed"),
    [
        ("POST", "/", {"x-amz-target": "DynamoDB_20120810.PutItem"}, "dynamodb"),
        ("POST", "/", {"x-amz-target": "DynamoDB_20120810.TransactWriteItems"}, "dynamodb"),
        ("POST", "/", {"x-amz-target": "DynamoDB_20120810.BatchWriteItem"}, "dynamodb"),
        ("POST", "/", {"x-amz-target": "DynamoDB_20120810.Query"}, None),
        ("POST", "/", {"x-amz-target": "AWSStepFunctions.StartExecution"}, "stepfunctions"),
        ("POST", "/", {"x-amz-target": "AWSStepFunctions.DescribeExecution"}, None),
        ("POST", "/", {"x-amz-target": "Logs_20140328.PutLogEvents"}, "*"),
        ("POST", "/", {}, "*"),
        ("POST", "/2015-03-31/functions/echo/invocations", {}, None),
        ("PUT", "/bucket/key", {"amz-sdk-request": "1", "x-amz-content-sha256": "0"}, "s3"),
        ("GET", "/_ministack/health", {}, None),
    ],
)
def test_what_a_request_may_change(method: str, path: str, headers: dict[str, str], changed: str | None) -> None:
    given = [(key.encode(), value.encode()) for key, value in headers.items()]
    assert changes({"type": "http", "method": method, "path": path, "headers": given}) == changed


def test_only_what_changed_is_saved_in_a_child_and_cloudformation_last(tmp_path: Path) -> None:
    def services() -> dict[str, Any]:
        return {"cloudformation": lambda: "c", "dynamodb": lambda: "d", "s3": lambda: "s"}

    def save_all(chosen: dict[str, Any]) -> None:
        with (tmp_path / "saved").open("a") as file:
            file.write(json.dumps([os.getpid() == here, *(get() for get in chosen.values())]) + "\n")

    here = os.getpid()
    saver = Saver(tmp_path, 1, services, save_all, lambda: False)
    assert saver._save_in_child({"dynamodb"}) == ""
    assert saver._save_in_child({"*"}) == ""
    assert saver.save()
    saved = [json.loads(line) for line in (tmp_path / "saved").read_text().splitlines()]
    assert saved == [[False, "d"], [False, "d", "s", "c"], [False, "d", "s", "c"]]


def failing(words: str) -> Any:
    def fail(_: dict[str, Any]) -> None:
        raise OSError(words)

    return fail


def test_a_saving_that_fails_is_told_and_no_longer_when_it_works_again(tmp_path: Path) -> None:
    saver = Saver(tmp_path, 1, dict, failing("no space left"), lambda: False)
    assert saver._save_in_child({"*"}) == "no space left"
    assert not saver._save({"*"})
    since = saver.standing["since"]
    assert not saver.save()
    assert saver.standing == {"unsaved": "no space left", "since": since, "refused": 1}
    saver.save_all = lambda _: None
    assert saver._save({"*"})
    assert saver.standing == {"unsaved": None, "since": None, "refused": 1}


def test_a_saving_that_was_killed_is_told(tmp_path: Path) -> None:
    saver = Saver(tmp_path, 1, dict, lambda _: os.kill(os.getpid(), signal.SIGKILL), lambda: False)
    assert saver._save_in_child({"*"}) == "the saving process ended with -9"


def test_what_changed_is_saved_again_after_a_failure_and_the_saver_outlives_whatever_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saved_state, "_EVERY_SECONDS", 0)
    monkeypatch.setattr(saved_state, "_AGAIN_SECONDS", 0)
    turns: list[Any] = []

    def running() -> bool:
        turns.append(None)
        if len(turns) == 1:
            raise RuntimeError("dictionary changed size during iteration")
        if len(turns) > 4:
            raise SystemExit
        return False

    saver = Saver(tmp_path, 1, dict, lambda _: None, running)
    asked: list[set[str]] = []
    monkeypatch.setattr(
        saver, "_save_in_child", lambda changed: asked.append(set(changed)) or "full" * (len(asked) < 3)
    )
    saver._changed.add("s3")
    with pytest.raises(SystemExit):
        saver._go_on()
    executions = {"stepfunctions", "cloudwatch_logs"}  # it is not known whether any runs
    assert asked == [{"s3"} | executions] * 3
    assert saver.standing["unsaved"] is None


def test_ministacks_own_saving_goes_on_past_a_failure_and_the_stacks_are_then_left_as_they_were(tmp_path: Path) -> None:
    """The disk is full, here a folder in the place of the file: what ministack only logs is told."""
    code = """
from pathlib import Path
from ministack.core import persistence
from service.console.local.saved_state import Saver
services = {"cloudformation": lambda: {"c": 1}, "dynamodb": lambda: {"d": 1}, "s3": lambda: {"s": 1}}
saver = Saver(Path("."), 1, lambda: services, persistence.save_all, lambda: False)
print(saver._save_in_child({"*"}))
"""
    state = tmp_path / "state"
    (state / "dynamodb.json.tmp").mkdir(parents=True)
    environment = {**os.environ, "PERSIST_STATE": "1", "STATE_DIR": str(state), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    for said, there in (("failed to save dynamodb: [Errno 21]", {"s3.json"}), ("", None)):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.stdout.startswith(said or "\n"), done.stderr
        assert {file.name for file in state.glob("*.json")} == (
            there or {"cloudformation.json", "dynamodb.json", "s3.json"}
        )
        if there:
            (state / "dynamodb.json.tmp").rmdir()


def test_the_users_environment_does_not_reach_the_embedded_stack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_CA_BUNDLE", "AWS_MAX_ATTEMPTS", "AWS_RETRY_MODE"):
        monkeypatch.setenv(name, "nonsense")
    session = Embedded(tmp_path).session()
    client = session.client("s3", endpoint_url="http://127.0.0.1:4566")
    assert client.meta.endpoint_url == "http://127.0.0.1:4566"
    assert client.meta.config.proxies == {}
    assert session.region_name == "us-east-1"
    assert session.get_credentials().access_key == "test"


def test_pip_keeps_the_users_proxy_and_the_server_has_none() -> None:
    given = {"https_proxy": "http://proxy", "HTTP_PROXY": "http://proxy", "NO_PROXY": "inside", "PATH": "/bin"}
    assert _without_proxies(given) == {"NO_PROXY": "inside", "PATH": "/bin"}
    building = _past_proxies(given)
    assert building["https_proxy"] == "http://proxy"
    assert building["NO_PROXY"] == building["no_proxy"] == "127.0.0.1,localhost,inside"
