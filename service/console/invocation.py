"""How others call the batch processor: an agent's state machine, code and commands, each with the rights it needs."""

from __future__ import annotations

import json
import shlex
from typing import Any

WAYS = ("agent-state", "aws-sdk", "cli")
_SOURCE, _TARGET, _RUN = "s3://BUCKET/KEY.csv", "TARGET", "my-batch-1"
# Faults of the service before the batch began, of the names that the machine retries for agents of its own.
_TRANSIENT = (
    "StepFunctions.ExecutionLimitExceeded",
    "StepFunctions.ExecutionLimitExceededException",
    "StepFunctions.SdkClientException",
    "StepFunctions.ThrottlingException",
)
# Keys of a batch's input that an agent may leave out; null is the same as absent.
_LEFT_OUT = ("output_mapping", "execution_config", "source", "csv", "output_bucket", "output_key", "rerun_of")
# A retry keeps the time at which the state was entered, so its execution has the same name, and StartExecution answers
# with the one that runs ("StartExecution is idempotent for STANDARD workflows", API reference). Calls of a Map may
# enter in the same millisecond: the order is part of the name, its larger parts as hashes of their own, since
# States.Hash takes 10,000 characters ("Intrinsic functions", Step Functions guide). This has 64 of
# the 80 characters that a name may have.
_HASHED = ("mapping_config", *_LEFT_OUT)
_RUN_NAME = (
    f"States.Hash(States.Format('{' '.join(['{}'] * (5 + len(_HASHED)))}', $$.Execution.Id, $$.State.Name, "
    "$$.State.EnteredTime, $.csv_uri, States.JsonToString($.target_config), "
    + ", ".join(f"States.Hash(States.JsonToString($.{key}), 'MD5')" for key in _HASHED)
    + "), 'SHA-256')"
)


def invocation(way: str, machine_arn: str, bucket: str) -> dict[str, Any]:
    """Return what is printed of one way to call a stack's machine: `definition` or `code`, and the caller's `policy`.

    `bucket` is the stack's own, where results are unless the caller names another place.
    """
    if way == "agent-state":
        return {"definition": _agent(machine_arn), "policy": _policy(machine_arn, bucket, waits=True)}
    code = _code(machine_arn) if way == "aws-sdk" else _commands(machine_arn)
    return {"code": code, "policy": _policy(machine_arn, bucket, waits=False)}


def _agent(machine_arn: str) -> dict[str, Any]:
    """Return states that run a batch and wait for its end, by themselves a whole machine."""
    partition = machine_arn.split(":")[1]
    run = {
        "Type": "Task",
        "Comment": "Waits for the whole batch, at most seven days.",
        "Resource": f"arn:{partition}:states:::states:startExecution.sync:2",
        "Parameters": {
            "StateMachineArn": machine_arn,
            "Name.$": _RUN_NAME,
            "Input": {
                "csv_s3_uri.$": "$.csv_uri",
                "target.$": "$.target_config",
                "input_mapping.$": "$.mapping_config",
                **{f"{key}.$": f"$.{key}" for key in _LEFT_OUT},
                "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID.$": "$$.Execution.Id",
            },
        },
        "ResultSelector": {
            "output_csv.$": "$.Output.csv_location",
            "processed_rows.$": "$.Output.row_count",
            "execution_time.$": "$.Output.execution_time_ms",
            "status.$": "$.Output.status",
            "batch_id.$": "$.Output.batch_id",
            "counts.$": "$.Output.counts",
            "errors.$": "$.Output.errors",
        },
        "Retry": [
            {
                "ErrorEquals": list(_TRANSIENT),
                "IntervalSeconds": 5,
                "BackoffRate": 2,
                "MaxAttempts": 6,
                "MaxDelaySeconds": 120,
                "JitterStrategy": "FULL",
            }
        ],
        "Catch": [{"ErrorEquals": ["States.ALL"], "ResultPath": "$.batch_error", "Next": "BatchFailed"}],
        "End": True,
    }
    failed = {
        "Type": "Pass",
        "Comment": "For the agent to read: no row succeeded, or the input was refused. The cause says why.",
        "Parameters": {
            "status": "FAILED",
            "error.$": "$.batch_error.Error",
            "cause.$": "$.batch_error.Cause",
        },
        "End": True,
    }
    defaults = {
        "Type": "Pass",
        "Comment": "What the agent leaves out.",
        "Result": {"csv_uri": None, "target_config": None, "mapping_config": {}, **dict.fromkeys(_LEFT_OUT)},
        "ResultPath": "$.defaults",
        "Next": "Order",
    }
    order = {
        "Type": "Pass",
        "Parameters": {"order.$": "States.JsonMerge($.defaults, $, false)"},
        "OutputPath": "$.order",
        "Next": "RunBatch",
    }
    return {
        "Comment": (
            "Input: csv_uri, target_config (a name or an object); mapping_config is the input_mapping, {} passes every "
            f"column; and any of {', '.join(_LEFT_OUT)}."
        ),
        "StartAt": "Defaults",
        "States": {"Defaults": defaults, "Order": order, "RunBatch": run, "BatchFailed": failed},
    }


def _policy(machine_arn: str, bucket: str, *, waits: bool) -> dict[str, Any]:
    """Return an IAM policy for the caller ("IAM policies for nested executions", Step Functions guide)."""
    _, partition, _, region, account, _, name = machine_arn.split(":")
    executions = f"arn:{partition}:states:{region}:{account}:execution:{name}:*"
    rule = f"arn:{partition}:events:{region}:{account}:rule/StepFunctionsGetEventsForStepFunctionsExecutionRule"
    statements = [
        _allow("StartBatches", ["states:StartExecution"], machine_arn),
        _allow("FollowBatches", ["states:DescribeExecution", "states:StopExecution"], executions),
        _allow("ReadResults", ["s3:GetObject"], f"arn:{partition}:s3:::{bucket}/results/*"),
    ]
    if waits:
        actions = ["events:PutTargets", "events:PutRule", "events:DescribeRule"]
        statements.insert(2, _allow("HearWhenBatchesEnd", actions, rule))
    return {"Version": "2012-10-17", "Statement": statements}


def _allow(sid: str, actions: list[str], resource: str) -> dict[str, Any]:
    return {"Sid": sid, "Effect": "Allow", "Action": actions, "Resource": resource}


def _code(machine_arn: str) -> str:
    region = machine_arn.split(":")[3]
    return f"""\
import json
import time

import boto3

MACHINE = "{machine_arn}"
given = {{"csv_s3_uri": "{_SOURCE}", "target": "{_TARGET}", "input_mapping": {{}}}}

states = boto3.client("stepfunctions", region_name="{region}")
# The same name and input while the batch runs start no second one: a call that is sent twice is paid for once.
# Another batch needs another name.
started = states.start_execution(stateMachineArn=MACHINE, name="{_RUN}", input=json.dumps(given))
while (execution := states.describe_execution(executionArn=started["executionArn"]))["status"] == "RUNNING":
    time.sleep(30)
if execution["status"] != "SUCCEEDED":
    raise RuntimeError(execution.get("cause") or execution["status"])
result = json.loads(execution["output"])
print(result["status"], result["counts"], result["csv_location"])
"""


def _commands(machine_arn: str) -> str:
    _, partition, _, region, account, _, name = machine_arn.split(":")
    given = json.dumps({"csv_s3_uri": _SOURCE, "target": _TARGET, "input_mapping": {}})
    execution = f"arn:{partition}:states:{region}:{account}:execution:{name}:{_RUN}"
    start = ["aws", "stepfunctions", "start-execution", "--region", region, "--state-machine-arn", machine_arn]
    look = ["aws", "stepfunctions", "describe-execution", "--region", region, "--execution-arn", execution]
    return (
        "# By this command line, with the rights of who operates the stack. It uploads a local file, shows the\n"
        "# progress and fetches the results:\n"
        f"batch-processor run {_SOURCE} --target {_TARGET} --stack {shlex.quote(name)} --yes\n\n"
        "# By AWS's own, with the policy below. The same name and input while the batch runs start no second one;\n"
        "# another batch needs another name:\n"
        f"{shlex.join(start)} --name {_RUN} \\\n  --input {shlex.quote(given)}\n"
        "# status SUCCEEDED: the result is in output; FAILED: the reason is in cause\n"
        f"{shlex.join(look)}\n"
    )
