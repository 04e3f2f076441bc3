"""Write infra/batch_processor.asl.json: the state machine, its maps of chunks and of rows made from one fragment each.

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
SYNC_AGENT = "arn:${Partition}:states:::aws-sdk:sfn:startSyncExecution"
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


def retry(*errors: str, attempts: int, first: int = 1, longest: int = 0, rate: int = 2) -> State:
    """Return a retrier; waits grow `rate` times from `first` to `longest` seconds, with full jitter."""
    if not attempts:
        return {"ErrorEquals": list(errors), "MaxAttempts": 0}
    return {
        "ErrorEquals": list(errors),
        "IntervalSeconds": first,
        "BackoffRate": rate,
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
# half of the longest one. What is lost here was paid for. Few waits that grow fast: each is three events of a history.
PATIENT = retry("States.ALL", attempts=10, longest=900, rate=3)
STEADY = retry("States.ALL", attempts=6, longest=120, rate=3)
# Within the five minutes of an EXPRESS execution; what lasts longer is left to a STANDARD one.
BRIEF = retry("States.ALL", attempts=4, longest=10)
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
    # The prefix of Step Functions as a service of the SDK (guide, "Integrating with AWS SDK services").
    "SyncAgent": (
        "Sfn.ExecutionLimitExceededException",
        "Sfn.SdkClientException",
        "Sfn.ThrottlingException",
    ),
}
OF_A_ROW = {f"{name}.$": f"$.{name}" for name in ("batch_id", "run", "attempts", "plan", "until", "chunk_number")}
OF_A_CHUNK = {**OF_A_ROW, "chunk_number.$": "$.chunk.number"}
ROW = {**OF_A_ROW, "row_id.$": "$.row.row_id", "row.$": "$.row.row"}
DECISION = {
    f"{name}.$": f"$.Payload.{name}" for name in ("action", "attempt", "waits", "name", "wait_seconds", "status")
}


def each_row(kind: str, mark: str) -> State:
    """Return the map of a chunk's rows for a kind of target; an iteration that fails would abort its neighbours.

    `mark` begins the names of its states, which are unique in the whole machine.
    """
    made = {
        f"{mark}Invoke{kind}": invoke(kind, mark),
        f"{mark}Write{kind}Result": write_result(kind, mark),
        f"{mark}Handle{kind}Failure": handle_failure(kind, mark),
        f"{mark}Handle{kind}Refusal": handle_refusal(kind, mark),
        f"{mark}Retry{kind}": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.row.call.action", "StringEquals": "retry", "Next": f"{mark}WaitFor{kind}"},
            ],
            "Default": f"{mark}{kind}FailureStored",
        },
        f"{mark}WaitFor{kind}": {
            "Type": "Wait",
            "SecondsPath": "$.row.call.wait_seconds",
            "Next": f"{mark}Invoke{kind}",
        },
        f"{mark}{kind}FailureStored": {
            "Type": "Pass",
            "Parameters": {"row_id.$": "$.row.row_id", "status.$": "$.row.call.status"},
            "End": True,
        },
        f"{mark}{kind}RowLost": {
            "Type": "Pass",
            "Comment": "Its result could not be stored: the row is MISSING, and FinishChunk knows which it is.",
            "Parameters": {"row_id": None, "status": "MISSING", "error.$": "$.Error"},
            "End": True,
        },
    }
    return {
        "Type": "Map",
        "ItemsPath": "$.rows",
        "MaxConcurrencyPath": "$.inner",
        "ItemSelector": {
            **OF_A_CHUNK,
            "target_arn.$": "$.target_arn",
            "timeout_seconds.$": "$.timeout_seconds",
            "row.$": "$$.Map.Item.Value",
        },
        "ItemProcessor": {
            "ProcessorConfig": {"Mode": "INLINE"},
            "StartAt": f"{mark}Invoke{kind}",
            "States": made,
        },
        "ResultPath": "$.results",
        "Catch": lost_chunk(mark),
        "Next": f"{mark}FinishChunk",
    }


def lost_chunk(mark: str) -> list[State]:
    """Return the catchers of what a chunk cannot go on after.

    A STANDARD execution records why; what an EXPRESS one does not finish, a STANDARD one runs, and records it then.
    """
    return catch(f"{mark}ChunkUnfinished") if mark else catch("RecordLostChunk", place="$.lost")


def invoke(kind: str, mark: str) -> State:
    """Return the state that calls the target; its output takes the place of what the target was given."""
    sent = "$.row.target_input"
    call = {"FunctionName.$": "$.target_arn", "Payload.$": sent}
    if kind == "Agent":
        call = {"StateMachineArn.$": "$.target_arn", "Name.$": "$.row.call.name", "Input.$": sent}
    answer: State = {"output.$": "$.Output" if kind == "Agent" else "$.Payload"}
    if kind == "SyncAgent":
        call = {
            "StateMachineArn.$": "$.target_arn",
            "Name.$": "$.row.call.name",
            "Input.$": f"States.JsonToString({sent})",
        }
        # A failed execution has no Output, another no Error: a descent finds what there is, and ends nothing.
        kept = {"Status.$": "$.Status", **{f"{name}.$": f"$..{name}" for name in ("Output", "Error", "Cause")}}
        answer = {"output": kept}
    longest = {"attempts": 3, "longest": 5} if mark else {"attempts": 4, "longest": 60}
    return {
        "Type": "Task",
        "Resource": {"Tool": LAMBDA, "Agent": AGENT, "SyncAgent": SYNC_AGENT}[kind],
        "Parameters": call,
        "TimeoutSecondsPath": "$.timeout_seconds",
        "ResultSelector": {**answer, "started_at.$": "$$.State.EnteredTime"},
        "ResultPath": sent,
        "Retry": [retry(*CALL_AGAIN[kind], **longest)],
        "Catch": catch(f"{mark}Handle{kind}Failure", place="$.failure"),
        "Next": f"{mark}Write{kind}Result",
    }


def write_result(kind: str, mark: str) -> State:
    """Return the state that stores a row's result; an output that means "call again" comes back as OutputRefused."""
    refused = {
        "ErrorEquals": ["OutputRefused"],
        "ResultPath": "$.row.target_input",
        "Next": f"{mark}Handle{kind}Refusal",
    }
    return {
        "Type": "Task",
        "Resource": LAMBDA,
        "Parameters": {
            "FunctionName": "${OutputWriterFunctionArn}",
            "Payload": {
                **ROW,
                "attempt.$": "$.row.call.attempt",
                "waits.$": "$.row.call.waits",
                "output.$": "$.row.target_input.output",
                "started_at.$": "$.row.target_input.started_at",
                "stopped_at.$": "$$.State.EnteredTime",
            },
        },
        "ResultSelector": {"row_id.$": "$.Payload.row_id", "status.$": "$.Payload.status"},
        "Retry": [retry("OutputRefused", attempts=0), BRIEF if mark else PATIENT],
        "Catch": [refused, *catch(f"{mark}{kind}RowLost")],
        "End": True,
    }


def handle_failure(kind: str, mark: str) -> State:
    """Return the state that decides what follows a failed call: another one, or the failure stored."""
    payload = {**ROW, "call.$": "$.row.call", "failure.$": "$.failure"}
    return {
        "Type": "Task",
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${OutputWriterFunctionArn}", "Payload": payload},
        "ResultSelector": DECISION,
        "ResultPath": "$.row.call",
        "Retry": [BRIEF if mark else STEADY],
        "Catch": catch(f"{mark}{kind}RowLost"),
        "Next": f"{mark}Retry{kind}",
    }


def handle_refusal(kind: str, mark: str) -> State:
    """Return the state that decides what follows an output that was refused; it makes the target's input again."""
    payload = {**ROW, "call.$": "$.row.call", "refusal.$": "$.row.target_input"}
    return {
        "Type": "Task",
        "Comment": "The output stood in the place of the target's input, which is made again from the row.",
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${OutputWriterFunctionArn}", "Payload": payload},
        "ResultSelector": {f"{name}.$": f"$.Payload.{name}" for name in ("row_id", "row", "target_input", "call")},
        "ResultPath": "$.row",
        "Retry": [BRIEF if mark else STEADY],
        "Catch": catch(f"{mark}{kind}RowLost"),
        "Next": f"{mark}Retry{kind}",
    }


def chunk(children: str) -> State:
    """Return the states of one child execution, which runs one chunk; `children` is STANDARD or EXPRESS."""
    mark = "" if children == "STANDARD" else "Express"
    kinds = {"agent": "Agent", "sync_agent": "SyncAgent", "tool": "Tool"}
    if mark:
        del kinds["agent"]  # .sync is refused in an EXPRESS execution
    *others, tool = kinds.items()
    states: State = {
        f"{mark}TransformInput": {
            "Type": "Task",
            "Comment": "Reads the chunk's byte ranges, maps each row; a row that cannot be mapped is stored here.",
            "Resource": LAMBDA,
            "Parameters": {"FunctionName": "${InputMapperFunctionArn}", "Payload.$": "$"},
            "OutputPath": "$.Payload",
            "Retry": [
                retry("SourceChanged", "SourceFault", attempts=0),
                BRIEF if mark else retry("States.ALL", attempts=10, first=2, longest=120),
            ],
            "Catch": lost_chunk(mark),
            "Next": f"{mark}ByKind",
        },
        f"{mark}ByKind": {
            "Type": "Choice",
            "Choices": [
                {"Variable": "$.kind", "StringEquals": word, "Next": f"{mark}EachRowBy{kind}"} for word, kind in others
            ],
            "Default": f"{mark}EachRowBy{tool[1]}",
        },
        **{f"{mark}EachRowBy{kind}": each_row(kind, mark) for kind in kinds.values()},
        f"{mark}FinishChunk": finish_chunk(mark),
    }
    if mark:
        states["ExpressChunkUnfinished"] = {
            "Type": "Fail",
            "Comment": "The chunk has no record: a STANDARD execution runs its rows without a result.",
            "ErrorPath": "$.Error",
            "CausePath": "$.Cause",
        }
    else:
        states |= standard_ends()
    return {
        "ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": children},
        "StartAt": f"{mark}TransformInput",
        "States": states,
    }


def finish_chunk(mark: str) -> State:
    """Return the state that writes the record of a chunk; in an EXPRESS execution it fails where rows are left."""
    unfinished = [retry("ChunkUnfinished", attempts=0)] if mark else []
    return {
        "Type": "Task",
        "Comment": "One small record per finished chunk: progress is their sum.",
        "Resource": LAMBDA,
        "Parameters": {
            "FunctionName": "${OutputWriterFunctionArn}",
            "Payload": {
                **{f"{name}.$": f"$.{name}" for name in ("batch_id", "run", "plan", "chunk", "stored", "until")},
                "row_ids.$": "$.rows[*].row_id",
                "results.$": "$.results",
            },
        },
        "ResultSelector": {"chunk.$": "$.Payload.chunk", "counts.$": "$.Payload.counts"},
        "Retry": [*unfinished, BRIEF if mark else PATIENT],
        "Catch": catch("ExpressChunkUnfinished") if mark else catch("ChunkNotCounted", place=None),
        "End": True,
    }


def standard_ends() -> State:
    """Return the states in which a STANDARD execution ends whose chunk could not be run, or not be counted."""
    return {
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
        "ChunkNotCounted": {
            "Type": "Pass",
            "Comment": "The rows' results are stored; only the progress lacks this chunk until the CSV is made.",
            "Parameters": {"chunk.$": "$.chunk", "counts": {}},
            "End": True,
        },
    }


def process_rows(children: str) -> State:
    """Return the map over the chunks of the manifest; no chunk's failure ends the batch.

    The type of its executions is a literal, so there is one for each. No child of either writes a log: the machine has
    none.
    """
    standard = children == "STANDARD"
    return {
        "Type": "Map",
        "Label": "Chunks" if standard else "ExpressChunks",
        "Comment": "One child execution per chunk of the manifest; no chunk's failure ends the batch.",
        "ItemReader": {
            "Resource": "arn:${Partition}:states:::s3:getObject",
            "ReaderConfig": {"InputType": "JSONL"},
            "Parameters": {"Bucket": "${DataBucket}", "Key.$": "$.batch.manifest_key"},
        },
        "ItemSelector": {
            **{f"{name}.$": f"$.batch.{name}" for name in ("batch_id", "run", "plan", "again")},
            "children": children,
            "chunk.$": "$$.Map.Item.Value",
        },
        "MaxConcurrencyPath": "$.batch.outer",
        "ToleratedFailurePercentage": 100,
        "ItemProcessor": chunk(children),
        "ResultWriter": {
            "Resource": "arn:${Partition}:states:::s3:putObject",
            "Parameters": {"Bucket": "${DataBucket}", "Prefix.$": "$.batch.map_results_prefix"},
        },
        "ResultPath": None,
        "Catch": catch("AggregateResults", place="$.map_failure") if standard else catch("FindUnfinished", place=None),
        "Next": "AggregateResults" if standard else "FindUnfinished",
    }


def find_unfinished() -> State:
    """Return the state that lists the chunks which EXPRESS executions did not finish, for STANDARD ones."""
    return {
        "Type": "Task",
        "Comment": "Chunks without a record, and what the map of STANDARD executions needs to run them.",
        "Resource": LAMBDA,
        "Parameters": {"FunctionName": "${PrepareBatchFunctionArn}", "Payload": {"unfinished.$": "$.batch"}},
        "ResultSelector": {"batch.$": "$.Payload"},
        "Retry": [STEADY],
        "Catch": catch("AggregateResults", place="$.map_failure"),
        "Next": "AnyUnfinished",
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
                "Choices": [
                    {"Variable": "$.batch.rows_to_run", "NumericEquals": 0, "Next": "AggregateResults"},
                    {"Variable": "$.batch.children", "StringEquals": "EXPRESS", "Next": "ProcessRowsInExpress"},
                ],
                "Default": "ProcessRows",
            },
            "ProcessRowsInExpress": process_rows("EXPRESS"),
            "FindUnfinished": find_unfinished(),
            "AnyUnfinished": {
                "Type": "Choice",
                "Choices": [{"Variable": "$.batch.rows_to_run", "NumericGreaterThan": 0, "Next": "ProcessRows"}],
                "Default": "AggregateResults",
            },
            "ProcessRows": process_rows("STANDARD"),
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
