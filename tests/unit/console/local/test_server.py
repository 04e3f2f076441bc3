"""The patches fit the installed ministack, and say so when they do not.

Importing ministack reads its settings from the environment, so each check runs in a process of its own.
"""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from places import ROOT

from service.console.local import server

if TYPE_CHECKING:
    from pathlib import Path

MODULES = "from ministack.core import lambda_runtime; from ministack.services import lambda_svc, stepfunctions"


def python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Runs code with ministack's default settings, in an empty folder, so that it finds no state of anybody's."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


def checked(change: str, folder: Path) -> str:
    """What `check` says after a change: "fits", or its error."""
    code = f"""
{MODULES}
from service.console.local import server
{change}
try:
    server.check()
    print("fits")
except server.PatchMisfitError as misfit:
    print(misfit)
"""
    done = python(code, folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_the_patches_fit(tmp_path: Path) -> None:
    assert checked("", tmp_path) == "fits"


def test_ministack_is_the_one_they_were_written_for() -> None:
    assert importlib.metadata.version("ministack") == server._PINNED
    pins = (ROOT / "constraints.txt").read_text().splitlines()
    assert f"ministack=={server._PINNED}" in pins


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("stepfunctions._execute_task = lambda state_def, raw_input, execution: None", "stepfunctions._execute_task"),
        ("stepfunctions._run_map_items = lambda items, ctx: None", "stepfunctions._run_map_items"),
        ("del stepfunctions._apply_result_selector", "stepfunctions._apply_result_selector"),
        ("stepfunctions._resolve_params_obj = lambda template, data: None", "stepfunctions._resolve_params_obj"),
        ("stepfunctions._resolve_path = lambda data, path: None", "stepfunctions._resolve_path"),
        ("lambda_svc._execute_function_warm = lambda func, event: None", "lambda_svc._execute_function_warm"),
        ("lambda_runtime._PYTHON_WORKER_SCRIPT = 'pass'", "worker script"),
        ("lambda_runtime.Worker._drain_stderr_bounded = lambda self, wait: None", "log lines"),
    ],
)
def test_a_ministack_that_changed_is_refused(change: str, named: str, tmp_path: Path) -> None:
    said = checked(change, tmp_path)
    assert named in said
    assert f"pin ministack=={server._PINNED}" in said


SERVER = """import hypercorn.asyncio
from ministack import app
from ministack.core import persistence
from ministack.services import cloudformation, cloudwatch_logs, dynamodb, stepfunctions
from ministack.services.cloudformation import drift
"""


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("", "fits"),
        ("hypercorn.asyncio.serve = lambda app, config: None", "hypercorn.asyncio.serve"),
        ("del app._build_persistence_save_dict", "app._build_persistence_save_dict"),
        ("app._load_persisted_state = lambda folder: None", "app._load_persisted_state"),
        ("persistence.save_all = lambda services, folder: None", "persistence.save_all"),
        ("persistence.save_state = lambda service: None", "persistence.save_state"),
        ("persistence.logger = persistence.logging.getLogger('other')", "persistence.logger"),
        ("stepfunctions._executions = {}", "stepfunctions._executions"),
        ("cloudwatch_logs._log_groups = {}", "cloudwatch_logs._log_groups"),
        ("del dynamodb._lock", "dynamodb._lock"),
        ("dynamodb._query = lambda data: None", "dynamodb._query"),
        ("dynamodb._ttl_reaper = lambda: None", "dynamodb._ttl_reaper"),
        ("dynamodb._set_item = lambda table, pk_val, sk_val, item: None", "dynamodb._set_item"),
        ("dynamodb._put_item = lambda request: None", "dynamodb._put_item"),
        ("dynamodb._index_members = lambda table, index: None", "dynamodb._index_members"),
        ("dynamodb._evaluate_condition = lambda expr, item: None", "dynamodb._evaluate_condition"),
        ("cloudformation._stacks = {}", "cloudformation._stacks"),
        ("drift._DRIFT_READERS['AWS::S3::Bucket'] = (lambda name: None, ())", "AWS::S3::Bucket"),
    ],
)
def test_what_the_server_patches_is_looked_at_too(change: str, named: str, tmp_path: Path) -> None:
    code = f"""
{SERVER}
from service.console.local import server
{change}
try:
    server.check_server()
    print("fits")
except server.PatchMisfitError as misfit:
    print(misfit)
"""
    done = python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    assert named in done.stdout
    assert change == "" or f"pin ministack=={server._PINNED}" in done.stdout


def test_one_request_of_dynamodb_is_done_after_the_other_and_none_while_it_is_saved(tmp_path: Path) -> None:
    """The lock that the saver holds is the one that requests, Step Functions and the reaper take."""
    code = f"""
import asyncio, threading
{SERVER}
from service.console.local import server
server.check_server()
server.patch_server()
lock = dynamodb._lock
table = {{"TableName": "rows", "BillingMode": "PAY_PER_REQUEST",
    "KeySchema": [{{"AttributeName": "k", "KeyType": "HASH"}}],
    "AttributeDefinitions": [{{"AttributeName": "k", "AttributeType": "S"}}]}}
ask = lambda action, data: asyncio.run(
    dynamodb.handle_request("POST", "/", {{"x-amz-target": "D." + action}}, __import__("json").dumps(data), {{}}))
assert ask("CreateTable", table)[0] == 200
put = {{"TableName": "rows", "Item": {{"k": {{"S": "1"}}}}}}
transaction = {{"TransactItems": [{{"Put": put}}, {{"Put": {{**put, "Item": {{"k": {{"S": "2"}}}}}}}}]}}
done = []
def write():
    done.append(ask("TransactWriteItems", transaction)[0])
    key = {{"TableName": "rows", "Key": {{"k": {{"S": "2"}}}}}}
    done.append("Item" in stepfunctions._invoke_dynamodb("getItem", key))
with lock:
    writer = threading.Thread(target=write)
    writer.start()
    writer.join(0.3)
    assert done == [] and writer.is_alive() and not dynamodb._tables.get("rows")["items"]
writer.join(60)
print(done)
"""
    done = python(code, tmp_path)
    assert done.stdout.strip() == "[200, True]", done.stderr


def test_patching_starts_no_server_and_leaves_nothing_behind(tmp_path: Path) -> None:
    code = f"""
import threading
{MODULES}
from service.console.local import server
server.patch()
print([thread.name for thread in threading.enumerate()])
"""
    done = python(code, tmp_path)
    assert done.stdout.strip() == "['MainThread']", done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_patched_selector_sees_the_context_object_of_its_task(tmp_path: Path) -> None:
    """What the state machine depends on: TimeoutSecondsPath, and `$$` and `..` in a ResultSelector."""
    code = f"""
{MODULES}
from service.console.local import server
seen = []
def task(state_def, raw_input, execution, ctx):
    seen.append(state_def["TimeoutSeconds"])
    return stepfunctions._apply_result_selector(state_def, {{"Payload": 1}}), None
stepfunctions._execute_task = task
server.check = lambda: None
server.patch()
state = {{
    "TimeoutSecondsPath": "$.seconds",
    "ResultSelector": {{
        "output.$": "$.Payload", "at.$": "$$.State.EnteredTime", "all.$": "$..Payload", "none.$": "$..Error",
    }},
}}
answer, _ = stepfunctions._execute_task(state, {{"seconds": 7}}, None, {{"State": {{"EnteredTime": "now"}}}})
print(seen, answer)
"""
    done = python(code, tmp_path)
    assert done.stdout.strip() == "[7] {'output': 1, 'at': 'now', 'all': [1], 'none': []}", done.stderr
