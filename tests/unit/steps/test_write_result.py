from __future__ import annotations

import gzip
import json
import random
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from made import (
    chunk_event,
    finished,
    make_agent,
    make_tool,
    manifest,
    prepared,
    put_source,
    row_event,
    rows_csv,
    stored,
)

from service.batch import closing
from service.errors import BatchRefused, OutputRefused
from service.models import batch_hash, call_name
from service.plan import RetryPolicy
from service.steps.failure import describe_failure, may_retry, wait_seconds
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, handle_refusal, store_plain, write_output
from service.throttling import THROTTLED_SECONDS, throttle_waits

if TYPE_CHECKING:
    from service.app import App

MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
AGENT = "arn:aws:states:us-east-1:123456789012:execution:agent-line"
CRASH = {"Error": "ValueError", "Cause": json.dumps({"errorType": "ValueError", "errorMessage": "no such line"})}


@pytest.fixture
def batch(app: App) -> dict[str, Any]:
    make_tool(app)
    return prepared(app, rows_csv(3), output_mapping=MAPPING)


@pytest.fixture
def agents(app: App) -> dict[str, Any]:
    """A batch whose target is an agent."""
    make_agent(app)
    return prepared(app, rows_csv(3), "line", output_mapping=MAPPING)


def failed(batch: dict[str, Any], failure: dict[str, Any], attempt: int = 1, **call: Any) -> dict[str, Any]:
    name = call_name(batch["batch_id"], 1, 1, attempt)
    return row_event(batch, call={"attempt": attempt, "name": name, **call}, failure=failure)


def error_of_row(app: App, batch: dict[str, Any]) -> dict[str, str]:
    item = stored(app, batch["batch_id"])
    return {key: value["S"] for key, value in item["error"]["M"].items()}


class Machine:
    """What DescribeExecution says of one execution; everything else is the real client."""

    def __init__(self, app: App, status: str, *, ago: float = 0, **values: Any) -> None:
        from service.models import parse_iso  # noqa: PLC0415

        self._client = app.stepfunctions
        self._said = {"status": status, **values}
        begun = datetime.now(UTC) if status == "RUNNING" else parse_iso("2025-01-01T02:00:00+02:00")
        self._said["startDate"] = begun - timedelta(seconds=ago)
        self._said["stopDate"] = parse_iso("2025-01-01T02:00:07+02:00")
        self.described: list[str] = []
        self.stopped: list[str] = []
        self.__dict__["exceptions"] = app.stepfunctions.exceptions
        app.stepfunctions = self  # type: ignore[misc]

    def describe_execution(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803
        self.described.append(executionArn)
        if self._said["status"] == "ABSENT":
            raise self._client.exceptions.ExecutionDoesNotExist(
                {"Error": {"Code": "ExecutionDoesNotExist"}}, "Describe"
            )
        return self._said

    def stop_execution(self, *, executionArn: str, **_why: str) -> None:  # noqa: N803
        self.stopped.append(executionArn)


# --- outputs ---------------------------------------------------------------------------------------------------------


def test_an_output_becomes_fields(app: App, batch: dict[str, Any]) -> None:
    times = {"started_at": "2025-01-01T00:00:00Z", "stopped_at": "2025-01-01T00:00:00.250Z"}
    answer = write_output(app, row_event(batch, output={"x": 1.5, "y": 2}, **times))
    assert answer == {"batch_id": "echo#run-1", "row_id": "row_0000000001", "status": "SUCCESS"}
    item = stored(app, "echo#run-1")
    assert item["output_data"]["M"] == {"x": {"N": "1.5"}}
    assert item["execution_time_ms"]["N"] == "250"
    assert item["method"]["S"] == "direct"
    assert json.loads(gzip.decompress(item["output"]["B"])) == {"x": 1.5, "y": 2}
    assert "failed_status" not in item
    assert "error" not in item


def test_an_output_without_the_fields(app: App, batch: dict[str, Any]) -> None:
    assert write_output(app, row_event(batch, output={"y": 2}))["status"] == "EXTRACTION_FAILED"
    item = stored(app, "echo#run-1")
    assert item["failed_status"]["S"] == "EXTRACTION_FAILED#row_0000000001"
    assert item["error"]["M"]["type"]["S"] == "ExtractionFailed"
    assert json.loads(gzip.decompress(item["output"]["B"])) == {"y": 2}


@pytest.mark.parametrize(
    ("output", "status", "cause"),
    [
        ({"statusCode": 429, "body": '{"x": 1}'}, "FAILED", "StatusCode429"),
        ({"success": False, "x": 1}, "FAILED", "ToolError"),
        ({"error": {"type": "overloaded_error"}, "x": 1}, "FAILED", "overloaded_error"),
        ({"stop_reason": "max_tokens", "content": "", "x": 1}, "EXTRACTION_FAILED", "OutputTruncated"),
        ({"stop_reason": "refusal", "content": "", "x": 1}, "EXTRACTION_FAILED", "ModelRefused"),
    ],
)
def test_an_output_that_is_no_answer(app: App, batch: dict[str, Any], output: Any, status: str, cause: str) -> None:
    """Though the field that is mapped stands in it; at the last attempt."""
    assert write_output(app, row_event(batch, output=output, attempt=3, waits=SPENT))["status"] == status
    item = stored(app, "echo#run-1")
    assert item["error"]["M"]["type"]["S"] == cause
    assert item["output_data"] == {"M": {}}
    assert item["failed_status"]["S"] == f"{status}#row_0000000001"
    assert json.loads(gzip.decompress(item["output"]["B"])) == output


# --- outputs that are refused ----------------------------------------------------------------------------------------

BUSY = {"statusCode": 429, "headers": {"Retry-After": "20"}, "body": "{}"}
DOWN = {"statusCode": 503, "headers": {"Retry-After": "20"}, "body": "{}"}  # no throttling: it uses attempts
SPENT = throttle_waits(THROTTLED_SECONDS)  # waits of a row that has no time left for throttling


def refusal(app: App, event: dict[str, Any]) -> dict[str, str]:
    """What the state machine catches of a function that raised."""
    with pytest.raises(OutputRefused) as caught:
        write_output(app, event)
    cause = {"errorMessage": str(caught.value), "errorType": "OutputRefused", "stackTrace": ["  File …"]}
    return {"Error": "OutputRefused", "Cause": json.dumps(cause)}


def test_a_refused_output_has_the_target_called_again_with_the_same_input(app: App, batch: dict[str, Any]) -> None:
    first = transform_chunk(app, chunk_event(batch, manifest(app, batch)[0]))["rows"][0]
    called = {"row": first["row"], "call": first["call"]}
    refused = refusal(app, {**row_event(batch), **called, "output": DOWN})
    assert stored(app, batch["batch_id"]) == {}, "nothing is stored of a row that is called again"
    again = handle_refusal(app, {**row_event(batch), **called, "refusal": refused})
    assert (again["row_id"], again["row"]) == (first["row_id"], first["row"])
    call = again["call"]
    assert (call["action"], call["attempt"], call["name"]) == ("retry", 2, call_name(batch["batch_id"], 1, 1, 2))
    assert 20 <= call["wait_seconds"] <= 22, "as the target asks, and no row in step with another"
    assert again["target_input"]["input"] == first["target_input"]["input"]


def test_an_output_that_says_that_too_much_is_asked_uses_no_attempt(app: App, batch: dict[str, Any]) -> None:
    """Its waits have a budget in time. An agent's next execution needs a name of its own."""
    call, names = {"attempt": 3, "waits": 0, "name": call_name(batch["batch_id"], 1, 1, 3)}, set()
    while call["waits"] < SPENT:
        refused = refusal(app, row_event(batch, output=BUSY, attempt=3, waits=call["waits"]))
        call = handle_refusal(app, {**row_event(batch), "call": call, "refusal": refused})["call"]
        assert (call["action"], call["attempt"]) == ("retry", 3)
        assert call["wait_seconds"] >= 20
        names.add(call["name"])
    assert 3 <= len(names) <= SPENT
    assert write_output(app, row_event(batch, output=BUSY, attempt=3, waits=SPENT))["status"] == "FAILED"


@pytest.mark.parametrize(("seconds", "action"), [(20, "retry"), (86_400, "done")])
def test_a_failure_that_asks_for_more_than_an_hour_is_to_be_run_again(
    app: App, batch: dict[str, Any], seconds: int, action: str
) -> None:
    message = f"Error code: 429 - rate limit: please try again in {seconds}s"
    cause = json.dumps({"errorType": "RateLimitError", "errorMessage": message})
    said = handle_failure(app, failed(batch, {"Error": "RateLimitError", "Cause": cause}))
    assert said["action"] == action
    assert said["wait_seconds"] >= (seconds if action == "retry" else 0)


def test_the_last_refused_output_is_stored_with_its_own_cause(app: App, batch: dict[str, Any]) -> None:
    assert write_output(app, row_event(batch, output=BUSY, attempt=3, waits=SPENT))["status"] == "FAILED"
    assert error_of_row(app, batch)["type"] == "StatusCode429"
    assert json.loads(gzip.decompress(stored(app, batch["batch_id"])["output"]["B"])) == BUSY


@pytest.mark.parametrize(
    ("policy", "output"),
    [
        ({"max_attempts": 1}, DOWN),
        ({"max_attempts": 1, "throttled_seconds": 0}, BUSY),
        ({"retry_on": ["ValueError"]}, BUSY),
        ({}, {**BUSY, "headers": {"Retry-After": "86400"}}),  # the quota of a day: to be run again, not waited for
        ({}, {"statusCode": 404, "body": "{}"}),
    ],
)
def test_a_refused_output_that_is_not_called_again(app: App, policy: dict[str, Any], output: Any) -> None:
    make_tool(app)
    batch = prepared(app, rows_csv(1), output_mapping=MAPPING, execution_config={"retry_policy": policy})
    assert write_output(app, row_event(batch, output=output, attempt=1))["status"] == "FAILED"


@pytest.mark.parametrize("retry_on", [["StatusCode429"], ["OutputRefused"], ["States.TaskFailed"], ["States.ALL"]])
def test_a_policy_can_name_a_refused_output(app: App, retry_on: list[str]) -> None:
    make_tool(app)
    policy = {"retry_policy": {"retry_on": retry_on}}
    batch = prepared(app, rows_csv(1), output_mapping=MAPPING, execution_config=policy)
    assert refusal(app, row_event(batch, output=BUSY, attempt=1))


def test_a_stopped_batch_calls_no_refused_row_again(app: App, batch: dict[str, Any]) -> None:
    closing.stop(app, batch["batch_id"])
    assert write_output(app, row_event(batch, output=BUSY, attempt=1))["status"] == "FAILED"


def test_what_is_logged_of_a_refused_output_holds_none_of_it(app: App, batch: dict[str, Any]) -> None:
    output = {"error": {"type": "overloaded_error", "message": "cell-4711"}}
    with pytest.raises(OutputRefused) as caught:
        write_output(app, row_event(batch, output=output, attempt=1))
    assert json.loads(str(caught.value)) == {"retry_after_seconds": None, "throttled": True}


def test_a_refused_row_whose_source_was_replaced_is_stored_as_failed(app: App, batch: dict[str, Any]) -> None:
    place = "1:2:3:9"  # as of a row that is too long to travel
    refused = refusal(app, row_event(batch, output=BUSY, attempt=1))
    put_source(app, "another", "in/run-1.csv")
    call = {"attempt": 1, "name": "n"}
    answer = handle_refusal(app, {**row_event(batch), "row": place, "call": call, "refusal": refused})
    assert (answer["call"]["action"], answer["call"]["status"]) == ("done", "FAILED")
    assert error_of_row(app, batch)["type"] == "OutputRefused"
    assert "the source was replaced" in error_of_row(app, batch)["message"]


def test_an_agent_that_is_found_with_a_refused_output_is_called_again(app: App, agents: dict[str, Any]) -> None:
    Machine(app, "SUCCEEDED", output=json.dumps({"retry_after": 9, **BUSY}))
    busy = handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": "{cut"}))
    assert (busy["action"], busy["attempt"], busy["waits"] > 0) == ("retry", 1, True)
    assert busy["name"] == call_name(agents["batch_id"], 1, 1, 1, busy["waits"])
    Machine(app, "SUCCEEDED", output=json.dumps({"retry_after": 9, **DOWN}))
    answer = handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": "{cut"}))
    assert (answer["action"], answer["attempt"]) == ("retry", 2)
    assert answer["wait_seconds"] >= 9
    last = handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": "{cut"}, attempt=3))
    assert (last["action"], last["status"]) == ("done", "FAILED")


# ---------------------------------------------------------------------------------------------------------------------


def test_a_large_output_stands_in_s3(app: App, batch: dict[str, Any]) -> None:
    output = {"x": "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9_000))}
    write_output(app, row_event(batch, output=output))
    item = stored(app, "echo#run-1")
    assert "output" not in item
    key = f"outputs/{batch_hash('echo#run-1')}/row_0000000001-1.json.gz"
    assert item["output_s3_uri"]["S"] == f"s3://{app.settings.data_bucket}/{key}"
    body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=key)["Body"].read()
    assert json.loads(gzip.decompress(body)) == output


def test_an_output_that_is_not_kept(app: App) -> None:
    make_tool(app)
    batch = prepared(app, rows_csv(1), execution_config={"keep_output": False})
    write_output(app, row_event(batch, output={"x": 1}))
    assert not {"output", "output_s3_uri"} & stored(app, "echo#run-1").keys()


def test_a_result_that_no_item_can_hold(app: App) -> None:
    make_tool(app)
    batch = prepared(app, rows_csv(1))
    assert write_output(app, row_event(batch, output={"x": "y" * 400_000}))["status"] == "EXTRACTION_FAILED"
    item = stored(app, "echo#run-1")
    assert item["error"]["M"]["type"]["S"] == "ResultTooLarge"
    assert item["output_data"]["M"] == {}
    assert len(json.loads(gzip.decompress(item["output"]["B"]))["x"]) == 400_000


# --- failures: when they are retried ---------------------------------------------------------------------------------


def test_a_failure_is_retried_up_to_the_policys_attempts(app: App, batch: dict[str, Any]) -> None:
    for attempt in (1, 2):
        answer = handle_failure(app, failed(batch, CRASH, attempt))
        name = call_name("echo#run-1", 1, 1, attempt + 1)
        assert (answer["action"], answer["attempt"], answer["name"]) == ("retry", attempt + 1, name)
        assert 1 <= answer["wait_seconds"] <= 2**attempt
        assert stored(app, "echo#run-1") == {}
    answer = handle_failure(app, failed(batch, CRASH, 3))
    assert (answer["action"], answer["status"], answer["wait_seconds"]) == ("done", "FAILED", 0)
    assert error_of_row(app, batch) == {"type": "ValueError", "message": "no such line"}
    assert "execution_time_ms" not in stored(app, "echo#run-1")


def test_a_stopped_batch_retries_no_more(app: App, batch: dict[str, Any]) -> None:
    closing.stop(app, "echo#run-1")
    assert handle_failure(app, failed(batch, CRASH))["action"] == "done"


def test_a_late_failure_never_replaces_a_success(app: App, batch: dict[str, Any]) -> None:
    write_output(app, row_event(batch, output={"x": 1}))
    before = stored(app, "echo#run-1")
    assert handle_failure(app, failed(batch, CRASH, 3))["status"] == "SUCCESS"
    assert stored(app, "echo#run-1") == before


@pytest.mark.parametrize(
    ("retry_on", "error", "again"),
    [
        (None, "ValueError", True),
        (None, "States.Timeout", True),
        (None, "Sandbox.Timedout", True),
        (None, "Lambda.Unknown", True),
        (None, "Lambda.TooManyRequestsException", True),
        (None, "ResourceNotFoundException", False),  # of the target's own calls: hopeless
        (["ResourceNotFoundException"], "ResourceNotFoundException", True),
        (None, "Lambda.ResourceNotFoundException", False),
        (None, "StepFunctions.StateMachineDoesNotExistException", False),
        (None, "States.Permissions", False),
        (None, "States.DataLimitExceeded", False),
        (["States.ALL"], "States.DataLimitExceeded", False),
        (["States.ALL"], "Lambda.ResourceNotFoundException", False),  # no call of the target, and never one
        (["States.TaskFailed"], "ValueError", True),
        (["States.TaskFailed"], "States.Timeout", False),
        (["ValueError"], "ValueError", True),
        (["KeyError"], "ValueError", False),
        ([], "ValueError", False),
    ],
)
def test_what_is_retried(retry_on: list[str] | None, error: str, again: bool) -> None:  # noqa: FBT001
    assert may_retry(describe_failure({"Error": error, "Cause": ""}), retry_on) == again


def test_an_agents_own_error_can_be_named() -> None:
    cause = json.dumps({"ExecutionArn": AGENT, "Status": "FAILED", "Error": "BrowserLost"})
    failure = describe_failure({"Error": "States.TaskFailed", "Cause": cause})
    assert may_retry(failure, ["BrowserLost"])
    assert may_retry(failure, None)
    # an agent that met one of these itself has failed of its own
    cause = json.dumps({"ExecutionArn": AGENT, "Status": "FAILED", "Error": "Lambda.ResourceNotFoundException"})
    assert not may_retry(describe_failure({"Error": "States.TaskFailed", "Cause": cause}), None)
    assert may_retry(describe_failure({"Error": "States.TaskFailed", "Cause": cause}), ["States.ALL"])


def test_waits_have_full_jitter_within_their_bounds() -> None:
    random.seed(7)
    policy = RetryPolicy(initial_seconds=2, backoff_rate=3.0, max_seconds=30)
    for attempt, ceiling in ((1, 2), (2, 6), (3, 18), (4, 30), (99, 30)):
        waits = {wait_seconds(policy, attempt) for _ in range(500)}
        assert min(waits) == 1
        assert max(waits) == ceiling
        assert all(isinstance(wait, int) for wait in waits)
    assert wait_seconds(RetryPolicy(initial_seconds=0, backoff_rate=1, max_seconds=0), 1) == 1


# --- failures: what they were ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "cause", "kind", "message", "status"),
    [
        ("ValueError", {"errorType": "ValueError", "errorMessage": "bad"}, "ValueError", "bad", "FAILED"),
        ("Runtime.HandlerError", {"errorType": "KeyError", "errorMessage": "'a'"}, "KeyError", "'a'", "FAILED"),
        ("Lambda.Unknown", {"errorMessage": "exit status 1"}, "Lambda.Unknown", "exit status 1", "FAILED"),
        (
            "Sandbox.Timedout",
            {"errorType": "Sandbox.Timedout", "errorMessage": "3 s"},
            "Sandbox.Timedout",
            "3 s",
            "TIMEOUT",
        ),
        ("States.Timeout", None, "States.Timeout", "the target failed without a cause", "TIMEOUT"),
        ("States.TaskFailed", "plain", "States.TaskFailed", "plain", "FAILED"),
        ("States.TaskFailed", "[1]", "States.TaskFailed", "[1]", "FAILED"),
        (
            "States.TaskFailed",
            {"ExecutionArn": AGENT, "Status": "FAILED", "Error": "Lost", "Cause": '{"errorMessage": "gone"}'},
            "Lost",
            "gone",
            "FAILED",
        ),
        (
            "States.TaskFailed",
            {"ExecutionArn": AGENT, "Status": "FAILED", "Error": "States.Timeout", "Cause": "inside"},
            "States.Timeout",
            "inside",
            "TIMEOUT",
        ),
        (
            "States.TaskFailed",
            {"ExecutionArn": AGENT, "Status": "TIMED_OUT"},
            "States.Timeout",
            "the execution ended TIMED_OUT without a cause",
            "TIMEOUT",
        ),
        (
            "States.TaskFailed",
            {"ExecutionArn": AGENT, "Status": "ABORTED"},
            "States.TaskFailed",
            "the execution ended ABORTED without a cause",
            "FAILED",
        ),
    ],
)
def test_failures_as_step_functions_tells_them(error: str, cause: Any, kind: str, message: str, status: str) -> None:
    told = {"Error": error, "Cause": json.dumps(cause) if isinstance(cause, dict) else cause}
    failure = describe_failure(told)
    assert (failure.kind, failure.message, failure.status) == (kind, message, status)


def test_nothing_is_known() -> None:
    assert describe_failure({}).kind == "Unknown"


def test_a_timed_out_tool_took_its_time(app: App, batch: dict[str, Any]) -> None:
    answer = handle_failure(app, failed(batch, {"Error": "States.Timeout"}, 3))
    assert answer["status"] == "TIMEOUT"
    assert stored(app, "echo#run-1")["execution_time_ms"]["N"] == "300000"


def test_a_tools_output_that_is_too_large(app: App, batch: dict[str, Any]) -> None:
    answer = handle_failure(app, failed(batch, {"Error": "States.DataLimitExceeded", "Cause": "…"}))
    assert (answer["action"], answer["status"]) == ("done", "FAILED")
    assert "output too large" in error_of_row(app, batch)["message"]


def test_a_failed_execution_says_how_long_it_took(app: App, agents: dict[str, Any]) -> None:
    cause = {"ExecutionArn": AGENT, "Status": "FAILED", "Error": "Lost", "StartDate": 1_000, "StopDate": 3_500}
    handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": json.dumps(cause)}, 3))
    assert stored(app, "line#run-1")["execution_time_ms"]["N"] == "2500"


# --- executions that are there ---------------------------------------------------------------------------------------

THERE = {"Error": "StepFunctions.ExecutionAlreadyExistsException", "Cause": "…"}
LARGE = {"Error": "States.DataLimitExceeded", "Cause": "…"}
LATE = {"Error": "States.Timeout", "Cause": ""}


@pytest.mark.parametrize("failure", [THERE, LARGE, LATE])
def test_an_execution_that_succeeded_is_a_success(app: App, agents: dict[str, Any], failure: dict[str, str]) -> None:
    machine = Machine(app, "SUCCEEDED", output=json.dumps({"x": 5}))
    answer = handle_failure(app, failed(agents, failure))
    assert (answer["action"], answer["status"]) == ("done", "SUCCESS")
    assert machine.described == [f"{AGENT}:{call_name('line#run-1', 1, 1, 1)}"]
    item = stored(app, "line#run-1")
    assert item["output_data"]["M"] == {"x": {"N": "5"}}
    assert item["execution_time_ms"]["N"] == "7000"


def test_an_execution_that_runs_is_waited_for_longer_and_longer(app: App, agents: dict[str, Any]) -> None:
    batches_of_days = {"execution_config": {"timeout_seconds": 604_800}, "name": "run-2"}
    agents = prepared(app, rows_csv(3), "line", **batches_of_days)
    Machine(app, "RUNNING")
    waits, call = [], {}
    for _ in range(9):
        event = failed(agents, THERE, 2, **call)
        answer = handle_failure(app, event)
        assert (answer["action"], answer["attempt"], answer["name"]) == ("retry", 2, event["call"]["name"])
        waits.append(answer["wait_seconds"])
        call = {"wait_seconds": answer["wait_seconds"]}
    assert waits == [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]


def test_an_execution_that_is_there_and_outlived_its_time_is_stopped(app: App, agents: dict[str, Any]) -> None:
    machine = Machine(app, "RUNNING", ago=301)
    assert handle_failure(app, failed(agents, THERE))["attempt"] == 2
    assert machine.stopped == machine.described
    assert handle_failure(app, failed(agents, THERE, 3))["status"] == "TIMEOUT"
    assert error_of_row(app, agents) == {"type": "States.Timeout", "message": "it took longer than 300 s"}


def test_an_execution_that_is_there_is_waited_for_no_longer_than_its_time(app: App, agents: dict[str, Any]) -> None:
    Machine(app, "RUNNING", ago=290)
    assert handle_failure(app, failed(agents, THERE))["wait_seconds"] in (9, 10)


def test_a_failure_of_an_agent_is_looked_up_when_its_cause_was_cut(app: App, agents: dict[str, Any]) -> None:
    """Step Functions cuts a cause at 32,768 characters: of an agent with a long input it is no JSON any more."""
    cut = json.dumps({"ExecutionArn": AGENT, "Input": "the row " * 5_000, "Status": "FAILED", "Error": "Lost"})[:32_768]
    machine = Machine(app, "FAILED", error="BrowserLost", cause="the page was gone")
    assert handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": cut}, 3))["status"] == "FAILED"
    assert len(machine.described) == 1
    assert error_of_row(app, agents) == {"type": "BrowserLost", "message": "the page was gone"}


def test_a_failure_that_may_not_be_looked_up_is_what_was_caught(
    app: App, agents: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(**_: Any) -> None:
        raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "DescribeExecution")

    monkeypatch.setattr(app.stepfunctions, "describe_execution", forbidden)
    assert handle_failure(app, failed(agents, {"Error": "States.TaskFailed", "Cause": "gone"}, 3))["status"] == "FAILED"
    assert error_of_row(app, agents)["message"] == "gone"


# --- calls that AWS refused ------------------------------------------------------------------------------------------


def refused_by(service: str, code: str) -> str:
    return f"no (Service: {service}; Status Code: 400; Error Code: {code}; Request ID: 0f0d; Proxy: null)"


FORBIDDEN = {"Error": "Lambda.AWSLambdaException", "Cause": refused_by("AWSLambda", "AccessDeniedException")}
THROTTLED = {
    "Error": "StepFunctions.AWSStepFunctionsException",
    "Cause": refused_by("AWSStepFunctions", "ThrottlingException"),
}


@pytest.mark.parametrize(
    ("error", "code", "kind", "fate"),
    [
        ("Lambda.AWSLambdaException", "AccessDeniedException", "Lambda.AccessDeniedException", "never"),
        ("Lambda.AWSLambdaException", "ResourceNotFoundException", "Lambda.ResourceNotFoundException", "never"),
        ("Lambda.AWSLambdaException", "UnrecognizedClientException", "Lambda.UnrecognizedClientException", "never"),
        ("Lambda.AWSLambdaException", "ThrottlingException", "Lambda.ThrottlingException", "throttled"),
        ("Lambda.AWSLambdaException", "InternalFailure", "Lambda.InternalFailure", "again"),
        ("Lambda.AWSLambdaException", None, "Lambda.AWSLambdaException", "again"),
        ("Lambda.TooManyRequestsException", "TooManyRequestsException", "Lambda.TooManyRequestsException", "throttled"),
        ("Lambda.TooManyRequestsException", None, "Lambda.TooManyRequestsException", "throttled"),
        (
            "StepFunctions.AWSStepFunctionsException",
            "ThrottlingException",
            "StepFunctions.ThrottlingException",
            "throttled",
        ),
        (
            "StepFunctions.AWSStepFunctionsException",
            "AccessDeniedException",
            "StepFunctions.AccessDeniedException",
            "never",
        ),
        ("StepFunctions.ValidationException", "ValidationException", "StepFunctions.ValidationException", "never"),
        (
            "StepFunctions.StateMachineDoesNotExistException",
            "StateMachineDoesNotExist",
            "StepFunctions.StateMachineDoesNotExist",
            "never",
        ),
        ("StepFunctions.ExecutionLimitExceeded", None, "StepFunctions.ExecutionLimitExceeded", "throttled"),
        # of the target's own calls: its message names a service too
        ("ClientError", "AccessDeniedException", "ClientError", "hopeless"),
    ],
)
def test_what_a_service_says_is_read_by_its_code(error: str, code: str | None, kind: str, fate: str) -> None:
    cause = "no words" if code is None else refused_by("AWSLambda", code)
    failure = describe_failure({"Error": error, "Cause": cause})
    assert failure.kind == kind
    assert (failure.never_called, failure.throttled) == (fate == "never", fate == "throttled")
    assert failure.refused_for_now == failure.throttled
    assert may_retry(failure, None) == (fate not in ("never", "hopeless"))
    assert may_retry(failure, ["States.ALL"]) == (fate != "never")


def test_a_call_that_is_forbidden_is_not_made_again(app: App, batch: dict[str, Any]) -> None:
    answer = handle_failure(app, failed(batch, FORBIDDEN))
    assert (answer["action"], answer["attempt"], answer["status"]) == ("done", 1, "FAILED")
    assert error_of_row(app, batch)["type"] == "Lambda.AccessDeniedException"


def test_throttling_waits_and_uses_no_attempt(app: App, agents: dict[str, Any]) -> None:
    machine, call = Machine(app, "ABSENT"), {"attempt": 3, "name": "n"}
    seconds = []
    allowed = throttle_waits(THROTTLED_SECONDS)
    for waits in range(1, allowed + 1):
        answer = handle_failure(app, row_event(agents, call=call, failure=THROTTLED))
        assert (answer["action"], answer["attempt"], answer["name"], answer["waits"]) == ("retry", 3, "n", waits)
        call, seconds = answer, [*seconds, answer["wait_seconds"]]
    longest = (10, 40, 160, 640, *[900] * (allowed - 4))
    assert all(0.75 * most <= wait <= most for most, wait in zip(longest, seconds, strict=True))
    assert handle_failure(app, row_event(agents, call=call, failure=THROTTLED))["status"] == "FAILED"
    assert error_of_row(app, agents)["type"] == "StepFunctions.ThrottlingException"
    assert not machine.described, "no execution was begun"


def test_a_batch_that_is_stopped_waits_for_no_throttling(app: App, batch: dict[str, Any]) -> None:
    closing.stop(app, "echo#run-1")
    answer = handle_failure(app, failed(batch, {"Error": "Lambda.TooManyRequestsException", "Cause": ""}))
    assert answer["action"] == "done"


@pytest.mark.parametrize(
    "cause",
    [
        '{"errorMessage": "2025-11-06T12:31:47.494Z 0f0d3c5e Task timed out after 3.01 seconds"}',
        (
            "The cause could not be determined because Lambda did not return an error type. Returned payload: "
            '{"errorMessage":"2025-11-06T12:31:47.494Z 0f0d3c5e Task timed out after 3.01 seconds"}'
        ),
    ],
)
def test_a_function_that_ran_out_of_its_own_time_timed_out(app: App, batch: dict[str, Any], cause: str) -> None:
    answer = handle_failure(app, failed(batch, {"Error": "Lambda.Unknown", "Cause": cause}, 3))
    assert answer["status"] == "TIMEOUT"
    assert error_of_row(app, batch) == {
        "type": "Sandbox.Timedout",
        "message": "the function ran out of its own time, 3.01 s",
    }
    assert stored(app, "echo#run-1")["execution_time_ms"]["N"] == "3010"
    # what a target says of itself is no evidence
    said = {"errorType": "Oops", "errorMessage": "Task timed out after 3.01 seconds"}
    assert describe_failure({"Error": "Oops", "Cause": json.dumps(said)}).status == "FAILED"


# --- executions that are there, once more ----------------------------------------------------------------------------


def test_an_execution_that_is_there_and_failed_is_a_failure(app: App, agents: dict[str, Any]) -> None:
    Machine(app, "FAILED", error="Lost", cause="gone")
    assert handle_failure(app, failed(agents, THERE))["attempt"] == 2
    handle_failure(app, failed(agents, THERE, 3))
    assert error_of_row(app, agents) == {"type": "Lost", "message": "gone"}
    assert stored(app, "line#run-1")["execution_time_ms"]["N"] == "7000"


def test_an_agent_that_outlived_its_time_is_stopped_before_it_is_called_again(app: App, agents: dict[str, Any]) -> None:
    machine = Machine(app, "RUNNING")
    assert handle_failure(app, failed(agents, LATE))["attempt"] == 2
    assert machine.stopped == machine.described


def test_an_agent_that_was_stopped_for_its_time_out_timed_out(app: App, agents: dict[str, Any]) -> None:
    machine = Machine(app, "ABORTED")
    assert handle_failure(app, failed(agents, LATE, 3))["status"] == "TIMEOUT"
    assert not machine.stopped
    assert stored(app, "line#run-1")["execution_time_ms"]["N"] == "300000"


def test_a_call_that_was_never_begun(app: App, agents: dict[str, Any]) -> None:
    Machine(app, "ABSENT")
    assert handle_failure(app, failed(agents, LARGE))["status"] == "FAILED"
    assert "output too large" in error_of_row(app, agents)["message"]


# --- chunks ----------------------------------------------------------------------------------------------------------


def test_a_finished_chunk_is_counted_once(app: App, batch: dict[str, Any]) -> None:
    answer = transform_chunk(app, chunk_event(batch, manifest(app, batch)[0]))
    fates = [{"row_id": row["row_id"], "status": "SUCCESS"} for row in answer["rows"]]
    event = {**finished(answer, fates), "stored": {"INVALID_INPUT": 2}}
    assert (
        finish_chunk(app, event)
        == finish_chunk(app, event)
        == {
            "chunk": 0,
            "counts": {"INVALID_INPUT": 2, "SUCCESS": 3},
        }
    )
    assert app.records.chunk_counts("echo#run-1", 1) == {"INVALID_INPUT": 2, "SUCCESS": 3}
    (record,) = app.records.chunks("echo#run-1", 1)
    assert (record.run, record.number, record.first_row, record.rows) == (1, 0, 1, 3)


# --- plain events ----------------------------------------------------------------------------------------------------

PLAIN = {
    "batch_id": "tool#abc",
    "row_id": "row_001",
    "input_data": {"a": "1"},
    "output_data": {"b": 2},
    "status": "SUCCESS",
    "execution_time_ms": 12,
}


def test_a_plain_event_is_stored_as_it_is(app: App) -> None:
    assert store_plain(app, PLAIN) == {"batch_id": "tool#abc", "row_id": "row_001", "status": "SUCCESS"}
    item = stored(app, "tool#abc", "row_001")
    assert (item["input_data"]["M"], item["output_data"]["M"]) == ({"a": {"S": "1"}}, {"b": {"N": "2"}})
    assert (item["execution_time_ms"]["N"], item["status"]["S"]) == ("12", "SUCCESS")
    assert "ttl" in item


def test_plain_events_of_other_forms(app: App) -> None:
    assert store_plain(app, {"batch_id": "b", "row_id": "1"})["status"] == "UNKNOWN"
    event = {"batch_id": "b", "row_id": "2", "output_data": [1], "input_data": "x", "execution_time_ms": 1.6}
    store_plain(app, {**event, "status": "FAILED", "error": {"errorType": "E", "errorMessage": "m", "trace": []}})
    item = stored(app, "b", "2")
    assert item["output_data"]["M"] == {"value": {"L": [{"N": "1"}]}}
    assert item["input_data"]["M"] == {"value": {"S": "x"}}
    assert item["execution_time_ms"]["N"] == "2"
    assert item["error"]["M"] == {"type": {"S": "E"}, "message": {"S": "m"}}
    store_plain(app, {"batch_id": "b", "row_id": "3", "status": "FAILED", "error": "just text"})
    assert stored(app, "b", "3")["error"]["M"]["message"] == {"S": "just text"}


def test_a_plain_success_replaces_a_failure_and_nothing_replaces_it(app: App) -> None:
    assert store_plain(app, {**PLAIN, "status": "FAILED"})["status"] == "FAILED"
    assert store_plain(app, PLAIN)["status"] == "SUCCESS"
    assert store_plain(app, {**PLAIN, "status": "TIMEOUT"})["status"] == "SUCCESS"
    assert stored(app, "tool#abc", "row_001")["status"]["S"] == "SUCCESS"


def test_a_plain_event_that_cannot_be_stored_is_refused_with_every_problem(app: App) -> None:
    with pytest.raises(BatchRefused) as refused:
        store_plain(app, {"row_id": 5, "status": 7, "execution_time_ms": "fast"})
    paths = [problem.path for problem in refused.value.problems]
    assert paths == ["batch_id", "row_id", "status", "execution_time_ms"]
    with pytest.raises(BatchRefused, match=r"^input_data: "):
        store_plain(app, {**PLAIN, "input_data": {"a": "x" * 400_000}})
    assert store_plain(app, {**PLAIN, "output_data": {"a": "x" * 400_000}})["status"] == "EXTRACTION_FAILED"
