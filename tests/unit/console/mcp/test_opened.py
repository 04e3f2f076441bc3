"""An order is checked by what the stack's roles may touch, as its state machine says it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from made import role

from service.app import App
from service.console.mcp.opened import Stacks
from service.console.stacks import Stack

if TYPE_CHECKING:
    from service.settings import Settings

END = {"Type": "Succeed"}


def checked_by(app: App, states: dict[str, Any]) -> Settings:
    """What an order is checked by at a stack whose outputs say nothing of it."""
    definition = json.dumps({"StartAt": next(iter(states)), "States": states})
    arn = app.stepfunctions.create_state_machine(name="other", definition=definition, roleArn=role(app))
    bare = App(replace(app.settings, tool_arns=(), agent_arns=()), app.session)
    stack = Stack(bare, "", arn["stateMachineArn"], "")
    return Stacks(lambda: stack).get().checking.settings


def test_the_lists_are_those_of_the_state_machine(app: App) -> None:
    allowed = {"TOOL_ARNS": "arn:a,arn:b*", "AGENT_ARNS": "", "PARQUET_LAYER_ARN": "arn:layer"}
    payload = {"FunctionName": "f", "Payload": {"allowed": allowed}}
    states = {"PrepareBatch": {"Type": "Task", "Resource": "r", "Parameters": payload, "End": True}}
    found = checked_by(app, states)
    assert (found.tool_arns, found.agent_arns) == (("arn:a", "arn:b*"), ())
    assert found.parquet_layer == "arn:layer"


def test_what_the_state_machine_does_not_say_is_left_to_it(app: App) -> None:
    assert checked_by(app, {"End": END}).tool_arns == ("*",)


@pytest.mark.parametrize("definition", ["[]", "{}", '{"States": []}'])
def test_a_definition_of_another_form_refuses_nothing(app: App, definition: str) -> None:
    bare = App(replace(app.settings, tool_arns=(), agent_arns=()), app.session)
    stack = Stack(bare, "", "arn:machine", "")
    bare.__dict__["stepfunctions"] = _Describing(definition)
    assert Stacks(lambda: stack).get().checking.settings.agent_arns == ("*",)


class _Describing:
    def __init__(self, definition: str) -> None:
        self.definition = definition

    def describe_state_machine(self, **_given: Any) -> dict[str, str]:
        return {"definition": self.definition}
