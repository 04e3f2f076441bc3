"""A Map Run's children follow UpdateMapRun while it runs; what a state gets of a StartSyncExecution task.

Importing ministack reads its settings from the environment, so each test runs in a process of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from places import ROOT

from service.console.local import server

if TYPE_CHECKING:
    from pathlib import Path

START = """
import asyncio, json, threading
from ministack.services import lambda_svc, stepfunctions
from service.console.local import server
server.patch()

def ask(action, **data):
    answer = asyncio.run(stepfunctions.handle_request(
        "POST", "/", {"x-amz-target": "AWSStepFunctions." + action}, json.dumps(data), {}))
    assert answer[0] == 200, answer
    return json.loads(answer[2])

def machine(name, definition, kind="STANDARD"):
    role = "arn:aws:iam::000000000000:role/r"
    return ask("CreateStateMachine", name=name, definition=json.dumps(definition), roleArn=role,
        type=kind)["stateMachineArn"]
"""


def printed(code: str, folder: Path) -> Any:
    """What a process with the patches prints, as JSON."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(folder), "TMPDIR": str(folder), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", START + code]
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_children_in_flight_follow_the_map_run(tmp_path: Path) -> None:
    code = """
changed, started, ended, allowed = threading.Condition(), [], [], []

def call(function, payload):
    with changed:
        started.append(payload)
        changed.notify_all()
        assert changed.wait_for(lambda: payload in allowed, 60)
        ended.append(payload)
        changed.notify_all()
    return payload
stepfunctions._call_lambda = call
stepfunctions._resolve_lambda_function_ref = lambda ref, optimized: ref

def until(number):
    with changed:
        assert changed.wait_for(lambda: len(started) >= number, 60), started
        return len(started)

def finish(number):
    with changed:
        allowed.extend([each for each in started if each not in allowed][:number])
        changed.notify_all()
        assert changed.wait_for(lambda: len(ended) == len(allowed), 60)

work = {"Type": "Task", "Resource": "arn:aws:states:::lambda:invoke", "End": True,
    "Parameters": {"FunctionName": "f", "Payload.$": "$"}}
rows = {"Type": "Map", "MaxConcurrencyPath": "$.outer", "ItemsPath": "$.items", "End": True, "ItemProcessor": {
    "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, "StartAt": "Work",
    "States": {"Work": work}}}
arn = machine("m", {"StartAt": "Rows", "States": {"Rows": rows}})
execution = ask("StartExecution", stateMachineArn=arn,
    input=json.dumps({"outer": 2, "items": list(range(30))}))["executionArn"]
seen = [until(2)]
(run,) = ask("ListMapRuns", executionArn=execution)["mapRuns"]
def update(number): ask("UpdateMapRun", mapRunArn=run["mapRunArn"], maxConcurrency=number)
def counts(): return ask("DescribeMapRun", mapRunArn=run["mapRunArn"])["executionCounts"]
update(4)
seen.append(until(4))
update(1)
finish(3)          # one is still at work: nothing starts
seen.append(until(4))
finish(1)
seen.append(until(5))
update(3)
seen.append(until(7))
update(0)          # no limit
seen.append(until(30))
running = counts()["running"]
finish(30)
for thread in threading.enumerate():
    if thread is not threading.main_thread():
        thread.join(60)
assert ask("DescribeExecution", executionArn=execution)["status"] == "SUCCEEDED"
print(json.dumps([seen, running, counts()["succeeded"], sorted(ended)]))
"""
    seen, running, succeeded, ended = printed(code, tmp_path)
    assert seen == [2, 4, 4, 5, 7, 30]
    assert running == 26
    assert (succeeded, ended) == (30, list(range(30)))


def test_a_task_gets_what_start_sync_execution_answers(tmp_path: Path) -> None:
    code = """
good = machine("good", {"StartAt": "P", "States": {"P": {"Type": "Pass", "Result": {"x": [1]}, "End": True}}},
    "EXPRESS")
bad = machine("bad", {"StartAt": "F", "States": {"F": {"Type": "Fail", "Error": "Lost", "Cause": "gone"}}}, "EXPRESS")
names = {"Status.$": "$.Status", "Output.$": "$..Output", "Error.$": "$..Error", "Cause.$": "$..Cause"}
call = {"Type": "Task", "Resource": "arn:aws:states:::aws-sdk:sfn:startSyncExecution", "ResultSelector": names,
    "Parameters": {"StateMachineArn.$": "$.arn", "Name": "n", "Input.$": "$.given"}, "End": True}
caller = machine("caller", {"StartAt": "Call", "States": {"Call": call}})

def called(arn):
    given = {"arn": arn, "given": json.dumps({"Output": "a row's"})}
    answer = ask("StartSyncExecution", stateMachineArn=caller, input=json.dumps(given))
    return json.loads(answer["output"]) if answer["status"] == "SUCCEEDED" else answer
print(json.dumps([called(good), called(bad), called(good + "-absent")]))
"""
    good, bad, absent = printed(code, tmp_path)
    assert good == {"Status": "SUCCEEDED", "Output": ['{"x": [1]}'], "Error": [], "Cause": []}
    assert bad == {"Status": "FAILED", "Output": [], "Error": ["Lost"], "Cause": ["gone"]}
    assert (absent["status"], absent["error"]) == ("FAILED", "Sfn.StateMachineDoesNotExist")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ("del stepfunctions._run_distributed_map", "stepfunctions._run_distributed_map"),
        ("stepfunctions._update_map_run = lambda arn: None", "stepfunctions._update_map_run"),
        ("stepfunctions._sdk_json_result = lambda arn: None", "stepfunctions._sdk_json_result"),
        (
            "stepfunctions._run_distributed_map = lambda state_def, raw_input, effective, iterator, execution, ctx: 0",
            "children",
        ),
    ],
)
def test_a_ministack_that_changed_is_refused(change: str, named: str, tmp_path: Path) -> None:
    code = f"""
import importlib
importlib.reload(stepfunctions)
{change}
try:
    server.check()
    print("[]")
except server.PatchMisfitError as misfit:
    print(json.dumps(str(misfit)))
"""
    said = printed(code, tmp_path)
    assert named in said
    assert f"pin ministack=={server._PINNED}" in said
