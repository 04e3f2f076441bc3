"""The application's clients: what is sent, how often, and what is made of the answers; nothing leaves the process."""

from __future__ import annotations

import json
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from zlib import crc32

import boto3
import pytest
from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    EndpointConnectionError,
    ParamValidationError,
    ReadTimeoutError,
    UnknownServiceError,
)
from places import ROOT

from handlers import write_result
from service.app import App, from_environment
from service.models import Result
from service.session import Session
from service.store.tables import BatchItem, ResultItem, TargetItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.settings import Settings

ATTEMPTS = 9  # calls of DynamoDB for one put: the first and eight more
CLIENTS = {"dynamodb": "dynamodb", "s3": "s3", "stepfunctions": "stepfunctions", "lambda_client": "lambda"}
CLIENTS |= {"events": "events", "sns": "sns"}
MODELS = (ResultItem, BatchItem, TargetItem)
URL = "https://dynamodb.us-east-1.amazonaws.com/"


@pytest.fixture(autouse=True)
def function(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment that Lambda gives a function."""
    for name in ("AWS_ENDPOINT_URL", "AWS_PROFILE", "AWS_RETRY_MODE", "AWS_MAX_ATTEMPTS"):
        monkeypatch.delenv(name, raising=False)
    given = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_REGION": "us-east-1",
        "AWS_EXECUTION_ENV": "AWS_Lambda_python3.13",
    }
    for name, value in given.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def app(settings: Settings) -> App:
    return App(settings)


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds between attempts, of which none are waited for."""
    seconds: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=seconds.append))
    return seconds


class Body:
    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self) -> Iterator[bytes]:
        yield self._content


def answer(status: int = 200, code: str = "", checksum: int | None = None, **body: Any) -> AWSResponse:
    """What DynamoDB answers, with its checksum."""
    content = json.dumps(body | ({"__type": f"com.amazonaws.dynamodb.v20120810#{code}"} if code else {})).encode()
    sum_of_it = crc32(content) if checksum is None else checksum
    headers = HeadersDict({"x-amz-crc32": str(sum_of_it), "x-amzn-RequestId": "1"})
    return AWSResponse(URL, status, headers, Body(content))


class Wire:
    """The network of one client: keeps what is sent, and gives one answer after the other, the last one for ever."""

    def __init__(self, client: Any, *answers: AWSResponse | Exception) -> None:
        self.sent: list[Any] = []
        self._answers = list(answers) or [answer()]
        client.meta.events.register("before-send", self._send)

    def _send(self, request: Any, **_: Any) -> AWSResponse:
        self.sent.append(request)
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(given, Exception):
            raise given
        return given

    def bodies(self) -> list[Any]:
        return [json.loads(request.body) for request in self.sent]


def result(status: str = "SUCCESS") -> Result:
    return Result(
        "echo#1", "row_0000000001", status, {"a": "1"}, {"b": 2.5}, output=b"\x00\xff", timestamp="2026-01-31"
    )


# --- attempts --------------------------------------------------------------------------------------------------------

PASSING = {
    "throughput": answer(400, "ProvisionedThroughputExceededException"),
    "throttling": answer(400, "ThrottlingException"),
    "requests": answer(400, "RequestLimitExceeded"),
    "fault": answer(500, "InternalServerError"),
    "unavailable": answer(503),
    "damaged": answer(checksum=1),
    "unreachable": EndpointConnectionError(endpoint_url=URL),
    "cut off": ConnectionClosedError(endpoint_url=URL),
    "late": ReadTimeoutError(endpoint_url=URL),
}


@pytest.mark.parametrize("trouble", PASSING)
@pytest.mark.parametrize("times", [1, ATTEMPTS - 1])
def test_what_passes_is_tried_again(app: App, slept: list[float], trouble: str, times: int) -> None:
    wire = Wire(app.dynamodb, *[PASSING[trouble]] * times, answer())
    assert app.store.put(result()) == "SUCCESS"
    assert len(wire.sent) == times + 1
    assert len(slept) == times
    assert all(0 <= seconds <= min(2**number, 20) for number, seconds in enumerate(slept))
    assert all(body == wire.bodies()[0] for body in wire.bodies())
    assert wire.bodies()[0]["Item"]["output"] == {"B": "AP8="}


@pytest.mark.parametrize("trouble", [name for name in PASSING if name != "damaged"])
def test_what_lasts_is_raised_when_the_attempts_are_spent(app: App, slept: list[float], trouble: str) -> None:
    wire = Wire(app.dynamodb, PASSING[trouble])
    with pytest.raises((ClientError, BotoCoreError)) as raised:
        app.store.put(result())
    assert len(wire.sent) == ATTEMPTS
    assert len(slept) == ATTEMPTS - 1
    if isinstance(raised.value, ClientError):
        assert raised.value.response["ResponseMetadata"]["RetryAttempts"] == ATTEMPTS - 1
    else:
        assert raised.value is PASSING[trouble]


@pytest.mark.parametrize("code", ["ValidationException", "ResourceNotFoundException", "AccessDeniedException"])
def test_what_would_be_refused_again_is_not_tried_again(app: App, slept: list[float], code: str) -> None:
    wire = Wire(app.dynamodb, answer(400, code, message="no"))
    with pytest.raises(ClientError, match=code):
        app.store.put(result())
    assert (len(wire.sent), slept) == (1, [])


def test_the_refused_condition_of_a_put_is_an_answer(app: App, slept: list[float]) -> None:
    there = {"status": {"S": "SUCCESS"}, "output": {"B": "AP8="}}
    wire = Wire(app.dynamodb, answer(400, "ConditionalCheckFailedException", message="no", Item=there))
    assert app.store.put(result("FAILED")) == "SUCCESS"
    assert (len(wire.sent), slept) == (1, [])


def test_nothing_is_written_many_at_a_time() -> None:
    """BatchWriteItem knows no conditions, and leaves items over that a caller has to see to."""
    sources = [*(ROOT / "service").rglob("*.py"), *(ROOT / "handlers").glob("*.py"), ROOT / "template.yaml"]
    assert len(sources) > 40
    batched = re.compile(r"batch_write|batch_writer|BatchWriteItem|UnprocessedItems")
    assert [path.name for path in sources if batched.search(path.read_text())] == []


# --- what is sent ----------------------------------------------------------------------------------------------------


def test_dynamodb_itself_says_what_is_wrong_with_a_call(app: App) -> None:
    wire = Wire(app.dynamodb, answer(400, "ValidationException", message="no key"))
    with pytest.raises(ClientError, match="no key"):
        app.dynamodb.put_item(TableName="table", Item={})
    assert wire.bodies() == [{"TableName": "table", "Item": {}}]
    with pytest.raises(ParamValidationError):
        app.s3.put_object(Bucket="bucket")


def test_every_request_says_who_asks(app: App) -> None:
    wire = Wire(app.dynamodb)
    app.store.put(result())
    app.dynamodb.get_item(TableName="table", Key={})
    agents = {request.headers["User-Agent"] for request in wire.sent}
    (agent,) = {one.decode() if isinstance(one, bytes) else one for one in agents}
    assert re.fullmatch(r"Botocore/\S+ Python/\S+ .*exec-env/AWS_Lambda_python3\.13", agent)


def test_every_request_is_signed_as_it_is_sent(app: App) -> None:
    wire = Wire(app.dynamodb)
    app.store.put(result())
    (request,) = wire.sent
    assert b"SignedHeaders=content-type;host;" in request.headers["Authorization"]
    assert int(request.headers["Content-Length"]) == len(request.body)
    assert (
        request.body == json.dumps(json.loads(request.body), separators=(",", ":")).encode()
    )  # by service/store/put_body.py


def test_a_handler_writes_through_the_client_of_its_environment(
    monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    for name in ("results_table", "batches_table", "registry_table", "data_bucket"):
        monkeypatch.setenv(name.upper(), getattr(settings, name))
    from_environment.cache_clear()
    try:
        wire = Wire(from_environment().dynamodb)
        given = {"batch_id": "echo#1", "row_id": "row_001", "status": "FAILED", "output_data": {"b": 1}}
        answered = write_result.handler(given, None)
        assert from_environment() is from_environment()
    finally:
        from_environment.cache_clear()
    assert answered == {"batch_id": "echo#1", "row_id": "row_001", "status": "FAILED"}
    (body,) = wire.bodies()
    assert body["TableName"] == settings.results_table
    assert body["Item"]["output_data"] == {"M": {"b": {"N": "1"}}}


# --- the session of the functions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIENTS)
def test_the_functions_session_makes_the_clients_that_boto3s_makes(app: App, name: str) -> None:
    client, other = getattr(app, name), boto3.Session().client(CLIENTS[name])
    assert isinstance(app.session, Session)
    assert client.meta.endpoint_url == other.meta.endpoint_url
    assert client.meta.service_model.api_version == other.meta.service_model.api_version
    assert client.meta.method_to_api_mapping == other.meta.method_to_api_mapping


def test_every_client_of_the_app_is_compared() -> None:
    asked = re.findall(r'self\.client\("(\w+)"', (ROOT / "service" / "app.py").read_text())
    assert sorted(asked) == sorted(CLIENTS.values())


def test_the_session_knows_what_the_functions_call_and_nothing_else() -> None:
    with pytest.raises(UnknownServiceError, match="dynamodb, events, lambda, s3, sns, stepfunctions"):
        Session().client("sqs")


def test_the_session_has_the_functions_region_and_credentials(app: App) -> None:
    credentials = app.session.get_credentials().get_frozen_credentials()
    assert (credentials.access_key, credentials.secret_key) == ("key", "secret")
    assert app.session.region_name == app.dynamodb.meta.region_name == "us-east-1"


def test_the_session_goes_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:4566")
    assert App(settings).dynamodb.meta.endpoint_url == "http://127.0.0.1:4566"
    assert App(settings, endpoint_url="http://127.0.0.1:1").s3.meta.endpoint_url == "http://127.0.0.1:1"


# --- models speak through the app's client ---------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["records", "registry", "queries"])
def test_models_speak_through_the_apps_client(settings: Settings, part: str) -> None:
    for app in (App(settings), App(settings)):
        assert getattr(app, part)
        clients = [model._get_connection().connection.client for model in MODELS]
        assert all(client is app.dynamodb for client in clients)


def test_a_models_request_is_the_apps(app: App) -> None:
    wire = Wire(app.dynamodb, answer(Item={"batch_id": {"S": "echo#1"}, "item": {"S": "batch"}, "run": {"N": "2"}}))
    assert app.records.get("echo#1").run == 2
    BatchItem("echo#1", "plan#1", plan=b"\x00\xff").save()
    assert [body["TableName"] for body in wire.bodies()] == [app.settings.batches_table] * 2
    assert wire.bodies()[1]["Item"]["plan"] == {"B": "AP8="}


def test_a_call_that_is_not_to_be_repeated_is_sent_once(app: App, slept: list[float]) -> None:
    """An aggregation that takes longer than its answer is waited for would run twice."""
    client = app.client("lambda", read_timeout=910, attempts=1)
    wire = Wire(client, ReadTimeoutError(endpoint_url=URL))
    with pytest.raises(ReadTimeoutError):
        client.invoke(FunctionName="aggregator", Payload=b"{}")
    assert (len(wire.sent), slept) == (1, [])
    assert client.meta.config.tcp_keepalive
