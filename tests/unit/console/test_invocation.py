"""What is printed of how others call the batch processor; that it runs, tests/e2e/test_agents.py shows."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Any

import botocore.session
import pytest

from service.console import invocation as invocation_module
from service.console.invocation import WAYS, invocation
from service.request.models import BatchInput

HERE = "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:mine"
MADE = {way: invocation(way, HERE, "the-bucket") for way in WAYS}


def granted(policy: dict[str, Any]) -> dict[str, list[str]]:
    assert {statement["Effect"] for statement in policy["Statement"]} == {"Allow"}
    return {statement["Resource"]: statement["Action"] for statement in policy["Statement"]}


def test_an_agent_may_start_follow_and_hear_of_this_machine_alone() -> None:
    """Step Functions guide, "IAM policies for nested executions", for .sync."""
    assert granted(MADE["agent-state"]["policy"]) == {
        HERE: ["states:StartExecution"],
        "arn:aws-cn:states:cn-north-1:123456789012:execution:mine:*": [
            "states:DescribeExecution",
            "states:StopExecution",
        ],
        "arn:aws-cn:events:cn-north-1:123456789012:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule": [
            "events:PutTargets",
            "events:PutRule",
            "events:DescribeRule",
        ],
        "arn:aws-cn:s3:::the-bucket/results/*": ["s3:GetObject"],
    }


@pytest.mark.parametrize("way", ["aws-sdk", "cli"])
def test_who_asks_for_the_end_needs_no_rule(way: str) -> None:
    assert not [resource for resource in granted(MADE[way]["policy"]) if ":events:" in resource]


def test_the_state_is_that_of_the_guide_with_more_beside_it() -> None:
    state = MADE["agent-state"]["definition"]["States"]["RunBatch"]
    assert state["Resource"] == "arn:aws-cn:states:::states:startExecution.sync:2"
    guide = {"csv_s3_uri.$": "$.csv_uri", "target.$": "$.target_config", "input_mapping.$": "$.mapping_config"}
    assert guide.items() <= state["Parameters"]["Input"].items()
    selected = {
        "output_csv.$": "$.Output.csv_location",
        "processed_rows.$": "$.Output.row_count",
        "execution_time.$": "$.Output.execution_time_ms",
    }
    assert selected.items() <= state["ResultSelector"].items()


def test_a_retry_of_the_state_has_the_same_name_and_another_entry_another_one() -> None:
    """RetryCount changes with a retry, EnteredTime does not (Step Functions guide, "Context object")."""
    name = MADE["agent-state"]["definition"]["States"]["RunBatch"]["Parameters"]["Name.$"]
    read = set(re.findall(r"\$\$?\.[A-Za-z_.]+", name))
    given = {f"$.{key}" for key in ("csv_uri", "target_config", "mapping_config", *invocation_module._LEFT_OUT)}
    assert read == {"$$.Execution.Id", "$$.State.Name", "$$.State.EnteredTime", *given}
    assert set(re.findall(r"States\.\w+", name)) == {"States.Hash", "States.Format", "States.JsonToString"}


def test_every_key_of_a_batchs_input_may_be_given() -> None:
    definition = MADE["agent-state"]["definition"]
    given = definition["States"]["RunBatch"]["Parameters"]["Input"]
    ours = {"csv_s3_uri.$", "target.$", "input_mapping.$", "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID.$"}
    others = {f"{key}.$" for key in BatchInput.model_fields} - ours
    assert given.keys() == ours | others - {"output_mappings.$"}  # of several targets, in a file
    assert definition["States"]["Defaults"]["Result"].keys() >= {key.removesuffix(".$") for key in others} - {
        "output_mappings"
    }


def test_the_code_is_python_and_asks_for_what_there_is() -> None:
    calls = [node for node in ast.walk(ast.parse(MADE["aws-sdk"]["code"])) if isinstance(node, ast.Call)]
    check_names("StartExecution", called(calls, "start_execution"))
    check_names("DescribeExecution", called(calls, "describe_execution"))


def test_the_commands_ask_for_what_there_is() -> None:
    lines = MADE["cli"]["code"].replace("\\\n", " ").splitlines()
    commands = [shlex.split(line) for line in lines if line.startswith("aws ")]
    for command, operation in zip(commands, ("StartExecution", "DescribeExecution"), strict=True):
        options = {word.removeprefix("--") for word in command if word.startswith("--")} - {"region"}
        names = {"".join(part.title() for part in option.split("-")) for option in options}
        check_names(operation, {name[0].lower() + name[1:] for name in names})


def called(calls: list[ast.Call], method: str) -> set[str | None]:
    (call,) = [call for call in calls if isinstance(call.func, ast.Attribute) and call.func.attr == method]
    return {keyword.arg for keyword in call.keywords}


def check_names(operation: str, names: Any) -> None:
    shape = botocore.session.get_session().get_service_model("stepfunctions").operation_model(operation).input_shape
    assert set(shape.required_members) <= set(names) <= set(shape.members)
