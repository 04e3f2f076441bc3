"""A stack that a kill left in the middle, or without a resource, is deployed again; another is left alone."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from places import ROOT

from service.console.local.cut_stacks import CUT, mend

if TYPE_CHECKING:
    from pathlib import Path

STACK: dict[str, Any] = {
    "StackStatus": "CREATE_COMPLETE",
    "_template": {"Resources": {"Table": {"Type": "AWS::DynamoDB::Table"}, "Role": {}}, "Outputs": {"A": 1}},
    "_resources": {"Table": {"PhysicalResourceId": "t"}, "Role": {"PhysicalResourceId": "r"}},
}


@pytest.mark.parametrize("status", ["CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_ROLLBACK_COMPLETE"])
def test_a_stack_that_is_whole_stays_as_it_is(status: str) -> None:
    stack = {**copy.deepcopy(STACK), "StackStatus": status}
    before = copy.deepcopy(stack)
    assert not mend(stack, lambda _: False)
    assert stack == before


@pytest.mark.parametrize("status", ["UPDATE_IN_PROGRESS", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"])
def test_an_update_that_was_cut_can_be_made_again(status: str) -> None:
    stack = {**copy.deepcopy(STACK), "StackStatus": status}
    assert mend(stack, lambda _: False)
    assert stack["StackStatus"] == CUT
    assert stack["_template"] == {"Resources": {}, "Outputs": {"A": 1}}
    assert set(stack["_resources"]) == {"Table", "Role"}


@pytest.mark.parametrize("step", ["CREATE", "ROLLBACK", "DELETE"])
def test_a_first_deploy_that_was_cut_is_not_waited_for(step: str) -> None:
    stack = {**copy.deepcopy(STACK), "StackStatus": f"{step}_IN_PROGRESS"}
    assert mend(stack, lambda _: True)
    assert stack["StackStatus"] == f"{step}_FAILED"


def test_of_a_resource_that_is_gone_there_is_no_record() -> None:
    stack = copy.deepcopy(STACK)
    assert mend(stack, lambda record: record["PhysicalResourceId"] == "t")
    assert stack["StackStatus"] == CUT
    assert set(stack["_resources"]) == {"Role"}


def test_what_was_part_of_a_resource_that_is_gone_is_made_with_it() -> None:
    """A function's version and alias cannot be looked up by themselves, and are nothing without it."""
    stack = copy.deepcopy(STACK)
    stack["_resources"] = {
        "Function": {"PhysicalResourceId": "f"},
        "Role": {"PhysicalResourceId": "f-role"},
        "Alias": {"PhysicalResourceId": "arn:f:live"},
        "Permission": {"PhysicalResourceId": "p", "Properties": {"FunctionName": "f"}},
        "Else": {"PhysicalResourceId": "x", "Properties": {"Name": "y"}},
    }
    assert mend(stack, lambda record: {"f": True, "f-role": False}.get(record["PhysicalResourceId"]))
    assert set(stack["_resources"]) == {"Role", "Else"}


@pytest.mark.parametrize("status", ["CREATE_FAILED", "ROLLBACK_FAILED", "DELETE_COMPLETE", "REVIEW_IN_PROGRESS"])
def test_a_first_deploy_that_failed_and_a_stack_that_is_deleted_are_not_mended(status: str) -> None:
    stack = {**copy.deepcopy(STACK), "StackStatus": status}
    assert not mend(stack, lambda _: True)
    assert stack["StackStatus"] == status


def test_what_is_gone_is_found_when_it_is_loaded_in_its_own_account_and_region(tmp_path: Path) -> None:
    code = """
import json
from ministack import app
from ministack.services import cloudformation, dynamodb
from service.console.local import server
account, region = "000000000000", "eu-central-1"
def load():
    table = {"ResourceType": "AWS::DynamoDB::Table"}
    resources = {name: {"PhysicalResourceId": name, **table} for name in ("here", "gone")}
    resources["other"] = {"PhysicalResourceId": "x", "ResourceType": "AWS::Lambda::Permission"}
    stack = {"StackStatus": "UPDATE_COMPLETE", "_template": {"Resources": dict.fromkeys(resources, {})},
        "_resources": resources}
    cloudformation._stacks.set_scoped(account, region, "stack", stack)
    dynamodb._tables.set_scoped(account, region, "here", {"TableArn": "a", "TableName": "here"})
app._load_persisted_state = load
server.patch_server()
app._load_persisted_state()
stack = cloudformation._stacks.get_scoped(account, region, "stack")
print(json.dumps([stack["StackStatus"], sorted(stack["_resources"])]))
"""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    environment = {**kept, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [CUT, ["here", "other"]]
