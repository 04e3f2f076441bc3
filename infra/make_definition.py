"""Write infra/batch_processor.asl.json: the state machine, its two maps of rows made from one fragment.

Run by `make definition`; a test says whether the file is current. `${Name}` is what DefinitionSubstitutions of the
template puts in. Everything is JSONPath. Facts about Step Functions are from its developer guide.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("batch_processor.asl.json")
LAMBDA = "arn:${Partition}:states:::lambda:invoke"
AGENT = "arn:${Partition}:states:::states:startExecution.sync:2"
State = dict[str, Any]

# What a batch may touch is no part of the functions' environment: a version keeps the one it was published with, and a
# deploy that changes parameters alone publishes none.
ALLOWED = {
    "PARTITION": "${Partition}",
    "TOOL_ARNS": "${ToolArns}",
    "AGENT_ARNS": "${AgentArns}",
    "SOURCE_OBJECT_ARNS": "${SourceObjectArns}",
    "OUTPUT_OBJECT_ARNS": "${OutputObjectArns}",
    "PARQUET_LAYER_ARN": "${ParquetLayerArn}",
}


def retry(*errors: str, attempts: int, first: int = 1, longest: int = 0) -> State:
    """Return a retrier; waits double from `first` to `longest` seconds, with full jitter."""
    if not attempts:
        return {"ErrorEquals": list(errors), "MaxAttempts": 0}
    return {
        "ErrorEquals": list(errors),
        "IntervalSeconds": first,
        "BackoffRate": 2,
        "MaxAttempts": attempts,
        "MaxDelaySeconds": longest,
        "JitterStrategy": "FULL",
    }


def catch(following: str, *, place: str | None = "$") -> list[State]:
    """Return catchers of everything: States.ALL must stand alone, and does not catch States.DataLimitExceeded.

    `place` is where the error goes; "$", the default, puts it in the place of the state, None drops it.
    """
    where = {} if place == "$" else {"ResultPath": place}
    return [{"ErrorEquals": [name], **where, "Next": following} for name in ("States.DataLimitExceeded", "States.ALL")]


# Half an hour, should the account's other functions use up all of its concurrency: with full jitter the mean wait is
# half of the longest one. What is lost here was paid for.
PATIENT = retry("States.ALL", attempts=20, longest=300)
STEADY = retry("States.ALL", attempts=8, longest=120)
# Before the target was called, or when nobody knows: what lasts longer is met by HandleFailure, which waits longer.
CALL_AGAIN = {
    "Tool": (
        "Lambda.ClientExecutionTimeoutException",
        "Lambda.SdkClientException",
        "Lambda.ServiceException",
        "Lambda.TooManyRequestsException",
    ),
    "Agent": (
        "StepFunctions.ExecutionLimitExceeded",
        "StepFunctions.ExecutionLimitExceededException",
        "StepFunctions.SdkClientException",
        "StepFunctions.ThrottlingException",
    ),
}
OF_A_ROW = {"batch_id.$": "$.batch_id", "run.$": "$.run", "attempts.$": "$.attempts", "plan.$": "$.plan"}
ROW = {**OF_A_ROW, "row_id.$": "$.row.row_id", "row.$": "$.row.row"}
DECISION = {
    f"{name}.$": f"$.Payload.{name}" for name in ("action", "attempt", "waits", "name", "wait_seconds", "status")
}


def each_row(kind: str) -> State:
    """Return the map of a chunk's rows for a kind of target; an iteration that fails would abort its neighbours."""
    return {
        "Type": "Map",
        "ItemsPath": "$.rows",
        "MaxConcurrencyPath": "$.inner",
        "ItemSelector": {
            **OF_A_ROW,
            "target_arn.$": "$.target_arn",
            "timeout_seconds.$": "$.timeout_seconds",
            "row.$": "$$.Map.Item.Value",
        },
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "INLINE"},
            "StartAt": f"Invoke{kind}",
            "States": {
                f"Invoke{kind}": invoke(kind),
                f"Write{kind}Result": write_result(kind),
                f"Handle{kind}Failure": handle_failure(kind),
                f"Handle{kind}Refusal": handle_refusal(kind),
                f"Retry{kind}": {
                    "Type": "Choice",
                    "Choices": [{"Variable": "$.row.call.action", "StringEquals": "retry", "Next": f"WaitFor{kind}"}],
                    "Default": f"{kind}FailureStored",
                },
                f"WaitFor{kind}": {
                    "Type": "Wait",
                    "SecondsPath": "$.row.call.wait_seconds",
                    "Next": f"Invoke{kind}",
                },
                f"{kind}FailureStored": {
                    "Type": "Pass",
                    "Parameters": {"row_id.$": "$.row.row_id", "status.$": "$.row.call.status"},
                    "End": True,
                },
                f"{kind}RowLost": {
                    "Type": "Pass",
                    "Comment": "Its result could not be stored: the row is MISSING, and FinishChunk knows which it is.",
                    "Parameters": {"row_id": None, "status": "MISSING", "error.$": "$.Error"},
                    "End": True,
                },
            },
        },
        "ResultPath": "$.results",
        "Catch": catch("RecordLostChunk", place="$.lost"),
        "Next": "FinishChunk",
    }


def invoke(kind: str) -> State:
    """Return the state that calls the target; its output takes the place of what the target was given."""
    sent = "$.row.target_input"
    call = {"FunctionName.$": "$.target_arn", "Payload.$": sent}
    if kind == "Agent":
        call = {"StateMachineArn.$": "$.target_arn", "Name.$": "$.row.call.name", "Input.$": sent}
    answer = "$.Output" if kind == "Agent" else "$.Payload"
    return {
        "Type": "Task",
        "Resource": AGENT if kind == "Agent" else LAMBDA,
        "Parameters": call,
        "TimeoutSecondsPath": "$.timeout_seconds",
        "ResultSelector": {"output.$": answer, "started_at.$": "$$.State.EnteredTime"},
        "ResultPath": sent,
        "Retry": [retry(*CALL_AGAIN[kind], attempts=4, longest=60)],
        "Catch": catch(f"Handle{kind}Failure", place="$.failure"),
        "Next": f"Write{kind}Result",
    }


def write_result(kind: str) -> State:
    """Return the state that stores a row's result; an output that means "call again" comes back as OutputRefused."""
    refused = {"ErrorEquals": ["OutputRefused"], "ResultPath": "$.row.target_input", "Next": f"Handle{kind}Refusal"}
    return {
        "Type": "Task",
        "Resource": LAMBDA,
        "Parameters": {
            "FunctionName": "${OutputWriterFunctionArn}",
            "Payload": {
                **ROW,
                "attempt.$": "$.row.call.attempt",
                "output.$": "$.row.target_input.output",
                "started_at.$": "$.row.target_input.started_at",
                "stopped_at.$": "$$.State.EnteredTime",
            },
        },
        "ResultSelector": {"row_id.$": "$.Payload.row_id", "status.$": "$.Payload.status"},
        "Retry": [retry("OutputRefused", attempts=0), PATIENT],
        "Catch": [refused, *catch(f"{kind}RowLost")],
        "End": True,
    }


def handle_failure(kind: str) -> State:
    """Return the state that decides what follows a failed call: another one, or the failure stored."""
    payload = {**ROW, "call.$": "$.row.call", "failure.$": "$.failure"}
    return {
        "Type": "Task",
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${OutputWriterFunctionArn}", "Payload": payload},
        "ResultSelector": DECISION,
        "ResultPath": "$.row.call",
        "Retry": [STEADY],
        "Catch": catch(f"{kind}RowLost"),
        "Next": f"Retry{kind}",
    }


def handle_refusal(kind: str) -> State:
    """Return the state that decides what follows an output that was refused; it makes the target's input again."""
    payload = {**ROW, "call.$": "$.row.call", "refusal.$": "$.row.target_input"}
    return {
        "Type": "Task",
        "Comment": "The output stood in the place of the target's input, which is made again from the row.",
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${OutputWriterFunctionArn}", "Payload": payload},
        "ResultSelector": {f"{name}.$": f"$.Payload.{name}" for name in ("row_id", "row", "target_input", "call")},
        "ResultPath": "$.row",
        "Retry": [STEADY],
        "Catch": catch(f"{kind}RowLost"),
        "Next": f"Retry{kind}",
    }


def chunk() -> State:
    """Return the states of one child execution, which runs one chunk."""
    return {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"},
        "StartAt": "TransformInput",
        "States": {
            "TransformInput": {
                "Type": "Task",
                "Comment": "Reads the chunk's byte ranges, maps each row; a row that cannot be mapped is stored here.",
                "Resource": LAMBDA,
                "Parameters": {"FunctionName": "${InputMapperFunctionArn}", "Payload.$": "$"},
                "OutputPath": "$.Payload",
                "Retry": [
                    retry("SourceChanged", "SourceFault", attempts=0),
                    retry("States.ALL", attempts=10, first=2, longest=120),
                ],
                "Catch": catch("RecordLostChunk", place="$.lost"),
                "Next": "ByKind",
            },
            "RecordLostChunk": {
                "Type": "Task",
                "Comment": "Why the chunk's rows are MISSING, for the CSV and the summary.",
                "Resource": LAMBDA,
                "Parameters": {
                    "FunctionName": "${OutputWriterFunctionArn}",
                    "Payload": {f"{name}.$": f"$.{name}" for name in ("batch_id", "run", "plan", "chunk", "lost")},
                },
                "ResultPath": None,
                "Retry": [STEADY],
                "Catch": catch("ChunkLost", place=None),
                "Next": "ChunkLost",
            },
            "ChunkLost": {
                "Type": "Fail",
                "Comment": "The chunk's rows are MISSING in the CSV and the batch is INCOMPLETE.",
                "ErrorPath": "$.lost.Error",
                "CausePath": "$.lost.Cause",
            },
            "ByKind": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.kind", "StringEquals": "agent", "Next": "EachRowByAgent"}],
                "Default": "EachRowByTool",
            },
            "EachRowByTool": each_row("Tool"),
            "EachRowByAgent": each_row("Agent"),
            "FinishChunk": {
                "Type": "Task",
                "Comment": "One small record per finished chunk: progress is their sum.",
                "Resource": LAMBDA,
                "Parameters": {
                    "FunctionName": "${OutputWriterFunctionArn}",
                    "Payload": {
                        **{f"{name}.$": f"$.{name}" for name in ("batch_id", "run", "plan", "chunk", "stored")},
                        "row_ids.$": "$.rows[*].row_id",
                        "results.$": "$.results",
                    },
                },
                "ResultSelector": {"chunk.$": "$.Payload.chunk", "counts.$": "$.Payload.counts"},
                "Retry": [PATIENT],
                "Catch": catch("ChunkNotCounted", place=None),
                "End": True,
            },
            "ChunkNotCounted": {
                "Type": "Pass",
                "Comment": "The rows' results are stored; only the progress lacks this chunk until the CSV is made.",
                "Parameters": {"chunk.$": "$.chunk", "counts": {}},
                "End": True,
            },
        },
    }


def process_rows() -> State:
    """Return the map over the chunks of the manifest; no chunk's failure ends the batch."""
    return {
        "Type": "Map",
        "Label": "Chunks",
        "Comment": "One child execution per chunk of the manifest; no chunk's failure ends the batch.",
        "ItemReader": {
            "Resource": "arn:${Partition}:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket": "${DataBucket}", "Key.$": "$.batch.manifest_key"},
        },
        "ItemSelector": {
            **{f"{name}.$": f"$.batch.{name}" for name in ("batch_id", "run", "plan")},
            "chunk.$": "$$.Map.Item.Value",
        },
        "MaxConcurrencyPath": "$.batch.outer",
        "ToleratedFailurePercentage": 100,
        "ItemProcessor": chunk(),
        "ResultWriter": {
            "Resource": "arn:${Partition}:states:::s3:putObject",
            "Parameters": {"Bucket": "${DataBucket}", "Prefix.$": "$.batch.map_results_prefix"},
        },
        "ResultPath": None,
        "Catch": catch("AggregateResults", place="$.map_failure"),
        "Next": "AggregateResults",
    }


def prepare_batch() -> State:
    """Return the state that refuses a bad batch before anything is spent."""
    refusals = (
        "BatchRefused",
        "BatchTaken",
        "BatchRunning",
        "BatchExpired",
        "NotFound",
        "SourceChanged",
        "SourceFault",
    )
    return {
        "Type": "Task",
        "Comment": "Checks everything before anything is spent, counts the rows, writes plan, manifest and record.",
        "Resource": LAMBDA,
        "Parameters": {
            "FunctionName": "${PrepareBatchFunctionArn}",
            "Payload": {
                "input.$": "$",
                "execution_name.$": "$$.Execution.Name",
                "execution_arn.$": "$$.Execution.Id",
                "started_at.$": "$$.Execution.StartTime",
                "allowed": ALLOWED,
            },
        },
        "ResultSelector": {"batch.$": "$.Payload"},
        "Retry": [retry(*refusals, attempts=0), retry("States.ALL", attempts=4, first=2, longest=30)],
        "Catch": catch("BatchRefused"),
        "Next": "AnyRows",
    }


def of_the_aggregator(comment: str, *, place: str | None, retries: list[State], following: str) -> State:
    """Return a state that gives the aggregator the whole state, and what may be written."""
    payload = {"state.$": "$", "allowed": ALLOWED}
    return {
        "Type": "Task",
        "Comment": comment,
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${ResultAggregatorFunctionArn}", "Payload": payload},
        **({"ResultSelector": {"result.$": "$.Payload"}} if place else {}),
        "ResultPath": place,
        "Retry": retries,
        "Catch": [],
        "Next": following,
    }


def machine() -> State:
    """Return the whole definition."""
    aggregate = of_the_aggregator(
        "Streams the results to the CSV; comes back with a continuation while there is more to write.",
        place="$.aggregation",
        retries=[
            retry("BatchRefused", "BatchExpired", "ResultsGone", attempts=0),
            retry("States.ALL", attempts=10, first=5, longest=300),
        ],
        following="Outcome",
    )
    aggregate["Catch"] = catch("AbandonUpload", place="$.failure")
    abandon = of_the_aggregator(
        "Aborts the upload that an earlier turn left to be gone on with; its parts would be paid for.",
        place=None,
        retries=[retry("States.ALL", attempts=3, first=2, longest=30)],
        following="AggregationFailed",
    )
    abandon["Catch"] = catch("AggregationFailed", place=None)
    return {
        "Comment": "A CSV, row by row, through a tool or an agent: results in DynamoDB, then a CSV in S3.",
        "StartAt": "PrepareBatch",
        "TimeoutSeconds": 604_800,
        "States": {
            "PrepareBatch": prepare_batch(),
            "BatchRefused": {
                "Type": "Fail",
                "Comment": "Nothing was run. The cause holds every problem found.",
                "ErrorPath": "$.Error",
                "CausePath": "$.Cause",
            },
            "AnyRows": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.batch.rows_to_run", "NumericGreaterThan": 0, "Next": "ProcessRows"}],
                "Default": "AggregateResults",
            },
            "ProcessRows": process_rows(),
            "AggregateResults": aggregate,
            "AbandonUpload": abandon,
            "Outcome": {
                "Type": "Choice",
                "Choices": [
                    {
                        "Variable": "$.aggregation.result.continuation",
                        "IsPresent": True,
                        "Next": "AggregateResults",
                    },
                    {"Variable": "$.aggregation.result.status", "StringEquals": "FAILED", "Next": "BatchFailed"},
                ],
                "Default": "BatchDone",
            },
            "BatchDone": {"Type": "Pass", "InputPath": "$.aggregation.result", "End": True},
            "BatchFailed": {
                "Type": "Fail",
                "Comment": "No row succeeded: a caller that waits sees an error; the cause is the summary.",
                "Error": "BatchFailed",
                "CausePath": "States.JsonToString($.aggregation.result)",
            },
            "AggregationFailed": {
                "Type": "Fail",
                "Comment": "The results are stored; the CSV can be made again with the aggregator alone.",
                "ErrorPath": "$.failure.Error",
                "CausePath": "$.failure.Cause",
            },
        },
    }


def text() -> str:
    """Return the definition as it stands in the file."""
    return json.dumps(machine(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
