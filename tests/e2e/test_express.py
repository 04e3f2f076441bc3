"""Chunks in EXPRESS executions, what they leave to STANDARD ones, Express agents, and a batch whose rows fail alike."""

from __future__ import annotations

import json
from typing import Any

from deployed import PROBE_ARN, histories

from service.batch.stopping import profile_of
from service.cost.estimate import spent

QUICK = {"execution_config": {"timeout_seconds": 20, "retry_policy": {"max_attempts": 2, "initial_seconds": 0}}}


def source(probe: str, rows: int, **cells: str) -> str:
    lines = [",".join(["id", "probe", *cells])]
    lines += [",".join([f"{number}", probe, *cells.values()]) for number in range(1, rows + 1)]
    return "\n".join(lines) + "\n"


def test_chunks_of_a_tool_that_may_be_called_twice_run_in_express_executions(deployed: Any) -> None:
    deployed.write("express.csv", source("express", 60))
    deployed.write("express.json", json.dumps(QUICK))
    words = ["run", "express.csv", "--target", PROBE_ARN, "--mapping", "express.json"]
    result = deployed.json(*words, "--idempotent")
    assert (result["status"], result["counts"]["SUCCESS"]) == ("SUCCEEDED", 60)
    assert result["chunks"]["type"] == "EXPRESS"
    assert result["chunks"]["run_again"] == 0
    record = deployed.stack.app.records.get(result["batch_id"])
    parent, *children = histories(deployed.stack, record.execution_arn)
    assert parent["MapStateEntered"] == 1
    assert len(children) == len(list(deployed.stack.app.records.chunks(record.batch_id)))

    # The model of costs says what the executions did.
    plan = deployed.stack.app.plans.load(record.batch_id, record.plan_hash)
    modelled = spent({"SUCCESS": 60}, profile_of(plan), chunks=len(children), retries=0).parts
    entered = sum(count for event, count in parent.items() if event.endswith("StateEntered"))
    assert modelled["transitions"].quantity == entered + len(children)
    tasks = sum(child["TaskScheduled"] for child in children)
    assert modelled["lambda_requests"].quantity == parent["TaskScheduled"] + tasks - 60
    assert modelled["express_requests"].quantity == len(children)
    assert deployed.in_flight("express") <= 10

    standard = deployed.json(*words)
    assert standard["chunks"]["type"] == "STANDARD"
    assert "nothing says that a row may be given to tool-probe twice" in standard["chunks"]["why"]
    shown = deployed.command("status", result["batch_id"]).stdout
    assert "EXPRESS executions (tool-probe is idempotent, and a row takes at most 41 s" in shown


def test_what_is_left_of_an_express_chunk_is_run_by_a_standard_one(deployed: Any) -> None:
    """A row that asks for a wait of ten minutes cannot be waited for: its chunk is run again, for that row alone."""
    lines = source("left-over", 12).splitlines()
    lines[0] += ",busy,after"
    lines[1:] = [f"{line},{int(number == 4)},600" for number, line in enumerate(lines[1:], 1)]
    deployed.write("left.csv", "\n".join(lines) + "\n")
    deployed.write("left.json", json.dumps(QUICK))
    result = deployed.json("run", "left.csv", "--target", PROBE_ARN, "--mapping", "left.json", "--idempotent")
    assert (result["status"], result["counts"]["SUCCESS"]) == ("SUCCEEDED", 12)
    assert (result["chunks"]["type"], result["chunks"]["run_again"]) == ("EXPRESS", 1)
    calls = {path.name: path.stat().st_size for path in (deployed.folder / "probe" / "left-over").glob("calls-*")}
    assert calls == {f"calls-{number}": 1 + (number == 4) for number in range(1, 13)}, "no row is paid for twice"
    assert deployed.stack.app.records.chunk_counts(result["batch_id"], 1) == {"SUCCESS": 12}


def test_an_express_agent_answers_its_call(deployed: Any) -> None:
    """Two transitions a row, its Status looked at: a failed execution is no success."""
    states = {
        "Fails": {
            "Type": "Choice",
            "Choices": [{"Variable": "$.input.fails", "StringEquals": "1", "Next": "Boom"}],
            "Default": "Answer",
        },
        "Boom": {"Type": "Fail", "Error": "Boom", "Cause": "it fails"},
        "Answer": {"Type": "Pass", "Parameters": {"said.$": "$.input.id"}, "End": True},
    }
    client = deployed.stack.app.stepfunctions
    arn = client.create_state_machine(
        name="agent-express",
        definition=json.dumps({"StartAt": "Fails", "States": states}),
        roleArn="arn:aws:iam::000000000000:role/agent",
        type="EXPRESS",
    )["stateMachineArn"]
    lines = source("agent", 6, fails="0").splitlines()
    lines[3] = lines[3][:-1] + "1"
    deployed.write("agent.csv", "\n".join(lines) + "\n")
    mapping = {**QUICK, "output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"said": "said"}}]}}
    deployed.write("agent.json", json.dumps(mapping))
    for words, kind in (([], "STANDARD"), (["--idempotent"], "EXPRESS")):
        result = deployed.json("run", "agent.csv", "--target", arn, "--mapping", "agent.json", *words)
        assert result["chunks"]["type"] == kind
        assert (result["counts"]["SUCCESS"], result["counts"]["FAILED"]) == (5, 1)
        (group,) = result["errors"]
        assert (group["error"], group["message"]) == ("Boom", "it fails")
        rows = deployed.rows("results", result["batch_id"])
        assert [row["output_data"].get("said") for row in rows] == ["1", "2", None, "4", "5", "6"]


def test_a_batch_whose_first_rows_fail_alike_is_stopped(deployed: Any) -> None:
    deployed.write("alike.csv", source("alike", 600, fails="99"))
    deployed.write("alike.json", json.dumps(QUICK))
    words = ["run", "alike.csv", "--target", PROBE_ARN, "--mapping", "alike.json"]
    done = deployed.command(*words)
    assert done.returncode == 1
    assert "INCOMPLETE" in done.stdout
    assert "its first 20 rows all failed for one cause" in done.stdout
    record = deployed.stack.app.records.get(done.stderr.partition("batch ")[2].split()[0])
    assert record.counts is not None
    assert (record.status, record.stop_reason) == ("INCOMPLETE", "failing_alike")
    assert record.counts["FAILED"] + record.counts["NOT_RUN"] == 600
    assert record.counts["NOT_RUN"] > 300

    deployed.write("few.csv", source("few", 120, fails="99"))
    mapping = {"execution_config": {**QUICK["execution_config"], "retry_policy": {"max_attempts": 1}}}
    deployed.write("few.json", json.dumps(mapping))
    insisted = deployed.json("run", "few.csv", "--target", PROBE_ARN, "--mapping", "few.json", "--keep-going")
    assert (insisted["status"], insisted["counts"]["FAILED"]) == ("FAILED", 120)
