"""An agent that calls the batch processor, which calls an agent for each row, which calls a tool: three levels deep."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from deployed import eventually

from service.console.local.stack import CHECKOUT

ROLE = "arn:aws:iam::000000000000:role/caller"


@pytest.fixture(scope="module")
def agent(deployed: Any) -> str:
    """A state machine made of what `tool invocation` prints: it plans, runs the batch, and reads what came of it."""
    made = deployed.json("tool", "invocation")["definition"]
    states = made["States"]
    states["Plan"] = {
        "Type": "Pass",
        "Parameters": {
            "csv_uri.$": "$.file",
            "target_config": {"type": "agent", "name.$": "$.for_each_row"},
            "mapping_config": {},
        },
        "Next": made["StartAt"],
    }
    del states["RunBatch"]["End"]
    states["RunBatch"]["Next"] = "Read"
    states["Read"] = {
        "Type": "Pass",
        "Parameters": {
            "answer.$": "States.Format('{} rows are in {}', $.processed_rows, $.output_csv)",
            "batch.$": "$",
        },
        "End": True,
    }
    definition = {"StartAt": "Plan", "States": states}
    created = deployed.stack.app.stepfunctions.create_state_machine(
        name="calling-agent", definition=json.dumps(definition), roleArn=ROLE
    )
    return str(created["stateMachineArn"])


def call(deployed: Any, agent: str, given: dict[str, Any]) -> Any:
    """The agent's execution when it has ended."""
    states = deployed.stack.app.stepfunctions
    started = states.start_execution(stateMachineArn=agent, input=json.dumps(given))["executionArn"]

    def ended() -> Any:
        execution = states.describe_execution(executionArn=started)
        return None if execution["status"] == "RUNNING" else execution

    return eventually(ended, 120)


def put(deployed: Any, name: str, text: str) -> str:
    app = deployed.stack.app
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=f"in/{name}", Body=text.encode())
    return f"s3://{app.settings.data_bucket}/in/{name}"


def test_an_agent_hands_a_file_over_and_gets_a_summary_that_it_can_reason_about(deployed: Any, agent: str) -> None:
    source = (CHECKOUT / "examples" / "addresses.csv").read_text()
    states = deployed.stack.app.stepfunctions
    called = deployed.json("tool", "show", "broadband-agent")["resource_arn"]
    before = len(states.list_executions(stateMachineArn=called)["executions"])
    execution = call(
        deployed, agent, {"file": put(deployed, "addresses.csv", source), "for_each_row": "broadband-agent"}
    )
    assert execution["status"] == "SUCCEEDED", execution.get("cause")
    output = json.loads(execution["output"])
    batch = output["batch"]
    assert output["answer"] == f"12 rows are in {batch['output_csv']}"
    assert (batch["status"], batch["processed_rows"], batch["counts"]["SUCCESS"]) == ("SUCCEEDED", 12, 12)
    assert batch["errors"] == []
    assert batch["execution_time"] > 0

    rows = states.list_executions(stateMachineArn=called)["executions"][: -before or None]
    assert len(rows) == 12  # the second level: an execution of the target agent for each row
    history = states.get_execution_history(executionArn=rows[0]["executionArn"])["events"]
    assert any(
        event["type"] in ("LambdaFunctionScheduled", "TaskScheduled") for event in history
    )  # the third: its tool

    bucket, _, key = batch["output_csv"].removeprefix("s3://").partition("/")
    body = deployed.stack.app.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    lines = list(csv.DictReader(io.StringIO(body, newline="")))
    assert len(lines) == 12
    assert all(line["output_exchange"] and line["_status"] == "SUCCESS" for line in lines)


def test_each_time_that_an_agent_comes_to_the_state_is_a_batch_of_its_own(deployed: Any, agent: str) -> None:
    """Its name is a hash of where and when the state was entered, which a retry of the state does not change."""
    given = {"file": put(deployed, "named.csv", "address\n1 High Street\n"), "for_each_row": "broadband-agent"}
    batches = [json.loads(call(deployed, agent, given)["output"])["batch"]["batch_id"] for _ in range(2)]
    names = {batch_id.partition("#")[2] for batch_id in batches}
    assert len(names) == 2
    assert all(re.fullmatch("[0-9a-f]{64}", name) for name in names)


def test_an_agent_reads_why_a_batch_failed(deployed: Any, agent: str) -> None:
    source = put(deployed, "nowhere.csv", "town\nNowhere\n")
    refused = call(deployed, agent, {"file": source, "for_each_row": "broadband-agent"})
    assert refused["status"] == "SUCCEEDED", refused.get("cause")  # the agent's own execution: it read the failure
    read = json.loads(refused["output"])
    assert read["status"] == "FAILED"
    assert "address" in read["cause"]  # the target's required field, which no column gives

    unknown = call(deployed, agent, {"file": source, "for_each_row": "broadband-agnet"})
    assert "broadband-agent" in json.loads(unknown["output"])["cause"]


def test_no_row_succeeded_and_the_cause_has_the_counts(deployed: Any, agent: str) -> None:
    source = put(deployed, "all-fail.csv", "id,fail,address\n1,broken,\n2,broken,\n")
    failed = call(deployed, agent, {"file": source, "for_each_row": "broadband-agent"})
    cause = json.loads(json.loads(failed["output"])["cause"])
    assert cause["counts"]["INVALID_INPUT"] == 2
    assert cause["errors"][0]["row_ids"]


def test_what_an_agent_asks_for_beside_the_mapping_is_heard(deployed: Any) -> None:
    """The printed states as they are; what is left out has its default."""
    definition = deployed.json("tool", "invocation")["definition"]
    created = deployed.stack.app.stepfunctions.create_state_machine(
        name="plain-agent", definition=json.dumps(definition), roleArn=ROLE
    )
    source = put(deployed, "limited.csv", "id,text\n1,a\n2,b\n3,c\n")
    given = {"csv_uri": source, "target_config": "echo", "execution_config": {"limit": 1}}
    given["output_mapping"] = {"extraction_methods": [{"method": "direct", "field_mappings": {"t": "echo.text"}}]}
    batch = json.loads(call(deployed, created["stateMachineArn"], given)["output"])
    assert (batch["status"], batch["counts"]["SUCCESS"], batch["counts"]["NOT_RUN"]) == ("INCOMPLETE", 1, 2)


def test_the_code_that_is_printed_runs(deployed: Any) -> None:
    source = put(deployed, "coded.csv", "id,text\n1,a\n2,b\n")
    code = deployed.json("tool", "invocation", "--as", "aws-sdk")["code"]
    code = code.replace("s3://BUCKET/KEY.csv", source).replace("TARGET", "echo").replace("sleep(30)", "sleep(0.3)")
    environment = {**deployed.environment, "AWS_ENDPOINT_URL": deployed.embedded.endpoint}
    environment |= {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("SUCCEEDED {'SUCCESS': 2")


def test_a_target_that_is_not_there_is_not_registered_and_one_can_be_removed(deployed: Any) -> None:
    nowhere = "arn:aws:lambda:us-east-1:000000000000:function:tool-nowhere"
    refused = deployed.command("tool", "register", "--name", "nowhere", "--arn", nowhere)
    assert refused.returncode == 2
    assert f"there is no {nowhere}" in refused.stderr
    echo = deployed.json("tool", "show", "echo")["resource_arn"]
    deployed.json("tool", "register", "--name", "echo-2", "--arn", echo)
    deployed.json("tool", "register", "--name", "echo-2", "--arn", echo, "--description", "Another.")
    assert deployed.command("tool", "remove", "echo-2").returncode == 2  # nobody can be asked
    own = deployed.command("tool", "register", "--name", "batch_processor", "--arn", echo)
    assert (own.returncode, "stack's own entry" in own.stderr) == (2, True)
    assert deployed.json("tool", "remove", "echo-2", "--yes") == {"tool_name": "echo-2", "versions_removed": 2}
    assert deployed.command("tool", "show", "echo-2").returncode == 2
    assert deployed.json("tool", "show", "batch_processor")["resource_arn"] == deployed.stack.state_machine_arn
