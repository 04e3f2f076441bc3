"""What an error says of the next call: throttled, hopeless or neither, and the wait that it states."""

from __future__ import annotations

import json

import pytest

from service.errors import OutputRefused
from service.steps.failure import Failure, describe_failure, may_retry


def raised(kind: str, message: str) -> Failure:
    """As Step Functions catches a Python function's exception."""
    return describe_failure({"Error": kind, "Cause": json.dumps({"errorType": kind, "errorMessage": message})})


def agent(error: str | None, cause: str | None, **more: object) -> Failure:
    """As Step Functions catches a nested execution that failed."""
    told = {"ExecutionArn": "arn:x", "Input": '{"n": "HTTP 429"}', "Status": "FAILED", **more}
    told |= {name: value for name, value in (("Error", error), ("Cause", cause)) if value is not None}
    return describe_failure({"Error": "States.TaskFailed", "Cause": json.dumps(told)})


OPENAI_429 = (
    "Error code: 429 - {'error': {'message': 'Rate limit reached for gpt-4o on tokens per min (TPM): Limit 30000, "
    "Used 29500, Requested 900. Please try again in 800ms.', 'type': 'tokens', 'code': 'rate_limit_exceeded'}}"
)
USED_UP = (
    "Error code: 429 - {'error': {'message': 'You exceeded your current quota', 'type': 'insufficient_quota', "
    "'code': 'insufficient_quota'}}"
)


@pytest.mark.parametrize(
    ("kind", "message", "fate"),
    [
        ("RateLimitError", OPENAI_429, "throttled"),
        ("Exception", OPENAI_429, "throttled"),
        ("ThrottlingException", "Too many tokens", "throttled"),
        ("com.amazonaws.services.dynamodbv2.model.ProvisionedThroughputExceededException", "", "throttled"),
        ("google.api_core.exceptions.ResourceExhausted", "429 Resource has been exhausted", "throttled"),
        ("ClientError", "429 RESOURCE_EXHAUSTED. {'error': {'code': 429}}", "throttled"),
        ("TooManyRequestsException", "", "throttled"),
        ("RateLimitExceeded", "", "throttled"),
        ("OverloadedError", "", "throttled"),
        ("APIStatusError", "{'type': 'error', 'error': {'type': 'overloaded_error', 'message': 'x'}}", "throttled"),
        ("APIStatusError", "Error code: 529 - {}", "throttled"),
        ("HTTPError", "429 Client Error: Too Many Requests for url: https://x.test/", "throttled"),
        ("HTTPError", "HTTP Error 429: Too Many Requests", "throttled"),
        ("HTTPStatusError", "Client error '429 Too Many Requests' for url 'https://x.test/'", "throttled"),
        ("AxiosError", "Request failed with status code 429", "throttled"),
        ("Error", "statusCode: 429", "throttled"),
        ("Error", '429 {"type":"error","error":{"type":"rate_limit_error"}}', "throttled"),
        ("RuntimeError", "the model answered HTTP 429", "throttled"),
        ("RuntimeError", "BedrockRuntime (Service: BedrockRuntime, Status Code: 429, Request ID: 0f)", "throttled"),
        (
            "ClientError",
            "An error occurred (ThrottlingException) when calling the InvokeModel operation: slow down",
            "throttled",
        ),
        # AWS's services throttle with 400 as well
        ("ClientError", "Status Code: 400; An error occurred (ThrottlingException) when calling X", "throttled"),
        ("RuntimeError", "row 429 has no price", None),
        ("ValueError", "429", None),
        ("ValueError", "429 rows are missing", None),
        ("RuntimeError", "Error code: 4290", None),
        # the quota is used up
        ("RateLimitError", USED_UP, "hopeless"),
        ("BadRequestError", "Error code: 400 - Your credit balance is too low to access the API", "hopeless"),
        ("AuthenticationError", "Error code: 401 - {}", "hopeless"),
        ("PermissionDeniedError", "", "hopeless"),
        ("NotFoundError", "", "hopeless"),
        ("BadRequestError", "", "hopeless"),
        ("openai.InvalidRequestError", "", "hopeless"),
        ("UnprocessableEntityError", "", "hopeless"),
        ("AccessDeniedException", "", "hopeless"),
        ("ValidationException", "", "hopeless"),
        ("ValidationError", "", "hopeless"),
        ("ResourceNotFoundException", "", "hopeless"),
        ("ClientError", "An error occurred (AccessDeniedException) when calling the InvokeModel operation", "hopeless"),
        *((("HTTPError", f"HTTP {status}", "hopeless")) for status in (400, 401, 402, 403, 404, 405, 413, 422)),
        ("HTTPError", "404 Client Error: Not Found for url: https://x.test/", "hopeless"),
        ("AxiosError", "Request failed with status code 403", "hopeless"),
        # what comes first is the answer's own
        ("APIError", "Error code: 500 - upstream said status code 400", None),
        *((("HTTPError", f"HTTP {status}", None)) for status in (408, 409, 425, 500, 502, 503, 504)),
        ("ValueError", "404 pages", None),
        ("ValueError", "no price", None),
        ("KeyError", "'price'", None),
        ("TypeError", "NoneType", None),
        ("FileNotFoundError", "x", None),
    ],
)
def test_what_a_targets_error_says_of_the_next_call(kind: str, message: str, fate: str | None) -> None:
    for failure in (raised(kind, message), agent(kind, message), agent(kind, json.dumps({"errorMessage": message}))):
        assert (failure.throttled, failure.hopeless) == (fate == "throttled", fate == "hopeless")
        assert not failure.refused_for_now, "the target was reached"
        assert may_retry(failure, None) == (fate != "hopeless")
        assert may_retry(failure, ["States.ALL"])
        assert may_retry(failure, ["States.TaskFailed"])
        assert may_retry(failure, [kind])
        assert not may_retry(failure, ["Another"])


def test_an_agents_error_may_stand_in_its_cause_alone() -> None:
    assert agent("AgentFailed", json.dumps({"errorType": "RateLimitError", "errorMessage": "x"})).throttled
    assert agent("AgentFailed", json.dumps({"errorType": "NotFoundError", "errorMessage": "x"})).hopeless
    below = {"ExecutionArn": "arn:y", "Input": "HTTP 404", "Error": "RateLimitError", "Cause": "x", "Status": "FAILED"}
    of_its_own = agent("States.TaskFailed", json.dumps(below))
    assert of_its_own.throttled
    assert "HTTP 404" not in of_its_own.message


@pytest.mark.parametrize("name", ["Lambda.TooManyRequestsException", "StepFunctions.ExecutionLimitExceeded"])
def test_aws_refuses_for_now(name: str) -> None:
    refused = describe_failure({"Error": name, "Cause": "Rate Exceeded."})
    assert (refused.refused_for_now, refused.throttled, refused.hopeless) == (True, True, False)


def test_an_agent_that_met_throttling_was_reached() -> None:
    met = agent("Lambda.TooManyRequestsException", "Rate Exceeded.")
    assert (met.refused_for_now, met.throttled) == (False, True)


def test_a_row_in_a_cut_cause_says_nothing() -> None:
    cut = json.dumps({"ExecutionArn": "arn:x", "Input": "HTTP 429 " * 9_000})[:32_768]
    failure = describe_failure({"Error": "States.TaskFailed", "Cause": cut})
    assert not failure.throttled
    assert not agent(None, None).throttled


def test_an_output_that_was_refused_has_been_judged() -> None:
    failure = Failure("ValidationError", "HTTP 400", describe_failure({}).status, OutputRefused.__name__)
    assert not failure.hopeless
    assert may_retry(failure, None)


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        (OPENAI_429, 0.8),
        ("Please try again in 20s", 20),
        ("Please try again in 6m0s.", 360),
        ("Please try again in 1h2m3.5s.", 3_723.5),
        ("retry after 20 s", 20),
        ("HTTP 429, Retry-After: 20", 20),
        ("HTTP 429 {'retry-after': '7', 'x': 1}", 7),
        ("HTTP 429 retry_after_ms=500", 0.5),
        ("429 RESOURCE_EXHAUSTED. {'@type': 'google.rpc.RetryInfo', 'retryDelay': '37s'}", 37),
        ('{"error": {"details": [{"retryDelay": "37s"}]}}', 37),
        ("HTTP 503 please retry in 5 months", None),
        ("HTTP 429", None),
    ],
)
def test_a_stated_wait_is_read_out_of_the_message(message: str, seconds: float | None) -> None:
    assert raised("APIError", message).retry_after_seconds == seconds
    assert agent("APIError", message).retry_after_seconds == seconds


def test_the_wait_of_a_refused_output_is_the_one_it_was_given() -> None:
    told = {"errorType": "OutputRefused", "errorMessage": json.dumps({"retry_after_seconds": None})}
    assert describe_failure({"Error": "OutputRefused", "Cause": json.dumps(told)}).retry_after_seconds is None
