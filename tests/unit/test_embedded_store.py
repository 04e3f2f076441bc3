"""Whose the folder is, and what is saved when."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from service import embedded_store
from service.embedded_store import Saver, changes
from service.local import Embedded, _past_proxies, _without_proxies

ROOT = Path(__file__).parents[2]
OWN = "import sys; from pathlib import Path; from service import embedded_store as s; s.own(Path(sys.argv[1]), 7); "


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
    assert not embedded_store.held(tmp_path)
    with owning(tmp_path, "print('mine', flush=True); input()") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "mine\n"
        assert embedded_store.held(tmp_path)
        assert embedded_store.owner(tmp_path) == {"pid": first.pid, "port": 7}
        second = owning(tmp_path, "print('mine too')")
        said, why = second.communicate(timeout=60)
        assert (second.returncode, said) == (embedded_store.TAKEN, "")
        assert "belongs to another" in why
        assert embedded_store.owner(tmp_path)["pid"] == first.pid
        first.send_signal(signal.SIGKILL)
        first.wait(timeout=60)
    assert not embedded_store.held(tmp_path)
    assert not Embedded(tmp_path).running()


def test_a_folder_that_is_not_there_is_nobodys(tmp_path: Path) -> None:
    assert not embedded_store.held(tmp_path / "none")
    assert embedded_store.owner(tmp_path / "none") == {}


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
    assert saver._save_in_child({"dynamodb"})
    assert saver._save_in_child({"*"})
    saver.save()
    saved = [json.loads(line) for line in (tmp_path / "saved").read_text().splitlines()]
    assert saved == [[False, "d"], [False, "d", "s", "c"], [True, "d", "s", "c"]]


def test_a_saving_that_fails_is_told_so_that_it_is_tried_again(tmp_path: Path) -> None:
    def fail(_: dict[str, Any]) -> None:
        raise OSError("no space left")

    assert not Saver(tmp_path, 1, dict, fail, lambda: False)._save_in_child({"*"})


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
