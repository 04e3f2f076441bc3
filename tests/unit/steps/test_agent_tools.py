"""The tools of a gateway: a batch started once under a name, and told of until it has ended."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from made import MACHINE, make_tool, prepared, role, rows_csv

from service.batch.closing import close_record
from service.steps.agent_tools import call

if TYPE_CHECKING:
    from service.app import App

ORDER = {"csv_s3_uri": "s3://bucket/in.csv", "target": "echo"}


@pytest.fixture
def machine(app: App) -> str:
    definition = json.dumps({"StartAt": "E", "States": {"E": {"Type": "Succeed"}}})
    made = app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))
    assert made["stateMachineArn"] == MACHINE
    return MACHINE


def start(app: App, **given: Any) -> dict[str, Any]:
    return call(app, MACHINE, "batches___start_batch", given)


@pytest.mark.usefixtures("machine")
def test_a_batch_is_started_under_its_name(app: App) -> None:
    started = start(app, name="reviews-1", **ORDER, output_key="", input_mapping={}, output_bucket=None)
    assert started["batch_id"] == "echo#reviews-1"
    assert started["wait_seconds"] > 0
    arn = MACHINE.replace(":stateMachine:", ":execution:") + ":reviews-1"
    execution = app.stepfunctions.describe_execution(executionArn=arn)
    assert json.loads(execution["input"]) == ORDER  # what a model leaves empty was not said
    again = start(app, name="reviews-2", rerun_of={"batch_id": "echo#reviews-1"})
    assert again["batch_id"] == "echo#reviews-1~reviews-2"


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (ORDER, "name: is required"),
        ({**ORDER, "name": "two words"}, "name: is required"),
        ({"name": "x", "target": "echo"}, "csv_s3_uri and target are required"),
        ({**ORDER, "name": "x", "target": 5}, "csv_s3_uri and target are required"),
        ({"name": "x", "rerun_of": {"status": "FAILED"}}, "rerun_of: is the batch_id"),
    ],
)
def test_what_is_missing_is_said_to_the_agent(app: App, given: Any, said: str) -> None:
    assert said in start(app, **given)["error"]
    assert app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"] == []


@pytest.mark.usefixtures("machine")
def test_a_name_that_is_taken_is_said(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    exists = app.stepfunctions.exceptions.ExecutionAlreadyExists

    def refuse(**_: Any) -> Any:
        raise exists({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")

    monkeypatch.setattr(app.stepfunctions, "start_execution", refuse)
    assert "batch_status tells of it" in start(app, name="x", **ORDER)["error"]


@pytest.mark.parametrize("tool", ["batch_status", "batches___batch_status", "batches__batch_status"])
def test_a_batch_is_told_of_until_it_has_ended(app: App, tool: str) -> None:
    make_tool(app)
    batch_id = prepared(app, rows_csv(3))["batch_id"]
    running = call(app, MACHINE, tool, {"batch_id": batch_id})
    assert (running["status"], running["row_count"], running["rows_done"]) == ("RUNNING", 3, 0)
    assert running["wait_seconds"] > 0
    close_record(app, app.records.get(batch_id), "ABORTED", "by hand")
    ended = call(app, MACHINE, tool, {"batch_id": batch_id})
    assert ended["status"] == "FAILED"
    assert ended["error"]["type"] == "ABORTED"
    assert "wait_seconds" not in ended


def test_a_batch_and_a_tool_that_are_not_there_are_said(app: App) -> None:
    assert "echo#none" in call(app, MACHINE, "batch_status", {"batch_id": "echo#none"})["error"]
    assert "is required" in call(app, MACHINE, "batch_status", {})["error"]
    assert "start_batch and batch_status" in call(app, MACHINE, "x___stop", {})["error"]


@pytest.mark.usefixtures("machine")
def test_a_later_run_is_told_of_by_itself(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not as the run before it has ended, and a refused one not as a success."""
    make_tool(app)
    batch_id = prepared(app, rows_csv(3))["batch_id"]
    close_record(app, app.records.get(batch_id), "ABORTED", "by hand")
    later = start(app, name="again", rerun_of=batch_id)["batch_id"]
    states = {"status": "RUNNING"}
    monkeypatch.setattr(app.stepfunctions, "describe_execution", lambda **_: states)
    told = call(app, MACHINE, "batch_status", {"batch_id": later})
    assert (told["status"], told["wait_seconds"] > 0) == ("PREPARING", True)
    states.update(status="FAILED", error="BatchRefused", cause="no rows left")
    told = call(app, MACHINE, "batch_status", {"batch_id": later})
    assert (told["status"], told["error"]) == ("FAILED", {"type": "BatchRefused", "message": "no rows left"})


@pytest.mark.usefixtures("machine")
def test_a_targets_name_may_hold_the_mark_of_a_later_run(app: App) -> None:
    make_tool(app, "tool-tilde", "a~b")
    batch_id = prepared(app, rows_csv(1), target="a~b")["batch_id"]
    assert call(app, MACHINE, "batch_status", {"batch_id": batch_id})["status"] == "RUNNING"
    later = start(app, name="again", rerun_of=batch_id)["batch_id"]
    assert later == f"{batch_id}~again"
