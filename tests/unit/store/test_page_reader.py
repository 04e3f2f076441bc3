"""The page reader against a server on loopback that answers what it is told to: botocore is whole between them."""

from __future__ import annotations

import base64
import binascii
import inspect
import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import botocore.endpoint
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from service.models import Result, RowStatus, row_id
from service.store.page_reader import EVENT, SIDE_BY_SIDE, PageReader
from service.store.results import to_item
from service.store.structs import NotAResult, Shape, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.app import App

BATCH = "echo#1"
NOW = int(time.time())
SLOWLY = "read slowly"
FIELDS = {"text": 'é😀\n"', "n": 1.5, "yes": True, "none": None, "list": [1, {"B": "x"}], "B": "b", "S": "", "": "e"}


def wire(number: int, **more: Any) -> dict[str, Any]:
    return to_item(Result(BATCH, row_id(number), RowStatus.SUCCESS, {"a": "1"}, timestamp="2026-01-01", **more))


def sent(value: Any) -> Any:
    """An answer as DynamoDB writes it: bytes as base64."""
    return json.dumps(value, default=lambda held: base64.b64encode(held).decode())


def page(*items: dict[str, Any], last: int | None = None) -> dict[str, Any]:
    answer = {"Items": list(items), "Count": len(items), "ScannedCount": len(items)}
    key = {"batch_id": {"S": BATCH}, "row_id": {"S": row_id(last or 0)}}
    return answer if last is None else {**answer, "LastEvaluatedKey": key}


class Server(ThreadingHTTPServer):
    """Gives its answers one after another, each a status and a body; `crc` damages the checksum of the first ones."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, str]] = []
        self.asked: list[dict[str, Any]] = []
        self.damaged = 0

    def give(self, *answers: Any) -> None:
        self.answers = [answer if isinstance(answer, tuple) else (200, sent(answer)) for answer in answers]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        self.server.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        status, text = self.server.answers.pop(0)
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("x-amz-crc32", str(binascii.crc32(body) ^ (self.server.damaged > 0)))
        self.server.damaged -= 1
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def server(running: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))
    running.asked, running.damaged = [], 0
    running.give()
    return running


@pytest.fixture(params=["standard", "legacy"])
def client(server: Server, request: pytest.FixtureRequest) -> Any:
    config = Config(retries={"mode": request.param, "total_max_attempts": 3}, connect_timeout=5, read_timeout=5)
    session = boto3.Session("x", "x", region_name="us-east-1")
    return session.client("dynamodb", endpoint_url=f"http://127.0.0.1:{server.server_port}", config=config)


@pytest.fixture
def reader(client: Any) -> PageReader:
    return PageReader(client, "results")


def ids(items: Iterable[Any]) -> list[str]:
    return [item.row_id.S for item in items]


@pytest.fixture(autouse=True)
def strict() -> Iterator[None]:
    """A warning that no test expects fails it."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        yield


def parsed(client: Any) -> list[int]:
    """Bytes of each body that botocore's parser is given from now on."""
    lengths: list[int] = []
    client.meta.events.register_last(EVENT, lambda response_dict, **_: lengths.append(len(response_dict["body"])))
    return lengths


# --- what is read ----------------------------------------------------------------------------------------------------


def test_items_are_those_that_botocore_gives(server: Server, client: Any, reader: PageReader) -> None:
    binary = {"B": {"B": b"\x00\xff"}, "BS": {"BS": [b"1", b"2"]}, "m": {"M": {"B": {"B": b""}}}}
    items = [
        wire(1, output_data=FIELDS, output=b"z" * 99, ttl=NOW + 86_400),
        {**wire(2), "output_data": {"M": binary}},
        wire(3, error={"type": "E"}),
    ]
    server.give(page(*items), page(*items))
    lengths = parsed(client)
    ((first, *others),) = reader.pages(BATCH)
    assert lengths == [len(b"{}")]
    assert [first, *others] == Shape().page({"Items": items}).Items
    asked = {"KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}
    assert Shape().page(client.query(TableName="t", **asked)).Items == [first, *others]
    shown = {name: text_of(value) for name, value in first.output_data.M.items()}
    assert shown["text"] == FIELDS["text"]
    assert json.loads(shown["list"]) == FIELDS["list"]


def test_pages_follow_one_another(server: Server, reader: PageReader) -> None:
    server.give(page(wire(1), wire(2), last=2), page(last=4), page(wire(5)))
    assert [ids(read) for read in reader.pages(BATCH)] == [[row_id(1), row_id(2)], [], [row_id(5)]]
    starts = [asked.get("ExclusiveStartKey", {}).get("row_id", {}).get("S") for asked in server.asked]
    assert starts == [None, row_id(2), row_id(4)]
    assert all(asked["ConsistentRead"] for asked in server.asked)


def test_expired_items_are_left_out(server: Server, reader: PageReader) -> None:
    server.give(page(wire(1, ttl=NOW - 60), wire(2, ttl=NOW + 86_400), wire(3)))
    assert [ids(read) for read in reader.pages(BATCH)] == [[row_id(2), row_id(3)]]


def test_results_that_were_put_are_read(app: App) -> None:
    """Through moto, which answers in the connection's place."""
    lengths = parsed(app.dynamodb)
    app.store.put(Result(BATCH, row_id(1), RowStatus.SUCCESS, {"a": "1"}, FIELDS, output=b"\x00z"))
    ((item,),) = app.reader.pages(BATCH)
    assert lengths == [len(b"{}")]
    assert (item.row_id.S, item.status.S, text_of(item.input_data.M["a"])) == (row_id(1), "SUCCESS", "1")


def test_an_item_that_is_no_result_is_named(server: Server, reader: PageReader) -> None:
    server.give(page({**wire(1), "status": {"N": "1"}, "timestamp": {"S": 5}}))
    with pytest.raises((NotAResult, ClientError), match="no result"):
        list(reader.pages(BATCH))


# --- side by side ----------------------------------------------------------------------------------------------------


def put(app: App, numbers: Iterable[int], size: int = 60_000) -> None:
    for number in numbers:
        app.store.put(Result(BATCH, row_id(number), RowStatus.SUCCESS, {"a": str(number)}, {"x": "y" * size}))


def queries(app: App) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    app.dynamodb.meta.events.register("provide-client-params.dynamodb.Query", lambda params, **_: found.append(params))
    return found


@pytest.mark.parametrize("absent", [set(), set(range(2, 38)), {1, 2, 40}])
def test_spans_hold_every_row_once_in_order(app: App, absent: set[int]) -> None:
    present = sorted({*range(1, 41)} - absent)
    put(app, present, 120_000)
    asked = queries(app)
    for after in (None, 1, 15, 39, 40):
        asked.clear()
        start = None if after is None else row_id(after)
        read = [item for page in app.reader.pages(BATCH, after=start, last_row=40) for item in page]
        due = [number for number in present if number > (after or 0)]
        assert ids(read) == list(map(row_id, due))
        spans = [one for one in asked if ":last" in one["ExpressionAttributeValues"]]
        assert bool(spans) == (len(due) * 120_000 > 1_000_000)  # more than one page


@pytest.mark.parametrize("identifier", ["a", row_id(0), "row_0000000020x", "row_00000000200", row_id(31), "row_x"])
def test_spans_leave_no_id_of_another_form_out(app: App, identifier: str) -> None:
    put(app, range(1, 31), 120_000)
    app.store.put(Result(BATCH, identifier, RowStatus.SUCCESS, {}))
    read = [item for page in app.reader.pages(BATCH, last_row=30) for item in page]
    assert ids(read) == sorted([*map(row_id, range(1, 31)), identifier])


def test_rows_that_grow_and_shrink_are_read_in_order(app: App) -> None:
    put(app, range(1, 10), 350_000)
    put(app, range(10, 80), 10)
    put(app, range(80, 90), 350_000)
    read = [item for page in app.reader.pages(BATCH, last_row=89) for item in page]
    assert ids(read) == [row_id(number) for number in range(1, 90)]


def test_no_more_is_asked_for_than_may_be_side_by_side(app: App) -> None:
    put(app, range(1, 40), 350_000)
    asked = queries(app)
    reading = app.reader.pages(BATCH, last_row=39)
    for taken in range(1, 6):
        next(reading)  # a page: the first one, or one of a span, which may have several
        values = [one["ExpressionAttributeValues"] for one in list(asked)]
        spans = {value[":last"]["S"] for value in values if ":last" in value}
        assert len(spans) <= taken - 1 + SIDE_BY_SIDE
    reading.close()


# --- what stays botocore's -------------------------------------------------------------------------------------------


def error(code: str, status: int = 400) -> tuple[int, str]:
    return status, json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{code}", "message": "m"})


def test_errors_are_raised(server: Server, client: Any, reader: PageReader) -> None:
    server.give(error("ValidationException"))
    with pytest.raises(ClientError, match="ValidationException"):
        list(reader.pages(BATCH))
    server.give(error("ResourceNotFoundException"))
    with pytest.raises(client.exceptions.ResourceNotFoundException):
        list(reader.pages(BATCH))


def test_throttling_and_failures_of_the_service_are_tried_again(server: Server, reader: PageReader) -> None:
    server.give(error("ProvisionedThroughputExceededException"), (500, "<html>"), page(wire(1)))
    assert len(next(reader.pages(BATCH))) == 1
    assert len(server.asked) == 3
    server.give(*[error("ThrottlingException")] * 3)
    with pytest.raises(ClientError, match="ThrottlingException"):
        list(reader.pages(BATCH))


@pytest.mark.parametrize("broken", [sent(page(wire(9))), '{"Items": [{"row', '{"Items": [{"a": {"B": "!"}}]}'])
def test_what_was_damaged_on_the_way_is_asked_for_again(server: Server, reader: PageReader, broken: str) -> None:
    server.give((200, broken), page(wire(1)))
    server.damaged = 1
    assert row_id(1) == next(reader.pages(BATCH))[0].row_id.S
    assert len(server.asked) == 2


def test_other_requests_of_the_client_are_left_alone(server: Server, client: Any, reader: PageReader) -> None:
    lengths = parsed(client)
    server.give(page(wire(1)), page(wire(7)), page(wire(2)))
    asked = {"KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}
    assert ids(next(reader.pages(BATCH))) == [row_id(1)]
    assert client.query(TableName="other", **asked)["Items"] == [wire(7)]
    assert ids(next(reader.pages(BATCH))) == [row_id(2)]
    assert [length > len(b"{}") for length in lengths] == [False, True, False]


def test_another_threads_query_is_left_alone(server: Server, client: Any, reader: PageReader) -> None:
    asked = {"KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}

    def meanwhile(**_: Any) -> None:  # inside of ours: sent, and not answered yet
        if threading.current_thread().name.startswith("pages"):
            other = threading.Thread(target=lambda: client.query(TableName="other", **asked))
            other.start()
            other.join()

    client.meta.events.register("before-send.dynamodb.Query", meanwhile)
    lengths = parsed(client)
    server.give(page(wire(7)), page(wire(1)))
    assert row_id(1) == next(reader.pages(BATCH))[0].row_id.S
    assert [length > len(b"{}") for length in lengths] == [True, False]


# --- the contract, and what happens when it is broken ----------------------------------------------------------------


def test_the_installed_botocore_offers_answers_before_it_parses_them(server: Server, client: Any) -> None:
    offered: list[dict[str, Any]] = []

    def take(**given: Any) -> None:
        offered.append({**given, "response_dict": {**given["response_dict"]}})
        given["customized_response_dict"]["Items"] = ["ours"]
        given["response_dict"]["body"] = b'{"Count": 7}'

    client.meta.events.register(EVENT, take)
    server.give(page(wire(1)))
    asked = {"KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}
    answer = client.query(TableName="t", **asked)
    (given,) = offered
    assert given.keys() == {"event_name", "operation_model", "response_dict", "customized_response_dict"}
    assert given["response_dict"]["status_code"] == 200
    assert json.loads(given["response_dict"]["body"]) == json.loads(sent(page(wire(1))))
    assert (answer["Items"], answer["Count"]) == (["ours"], 7)
    assert client.meta.service_model.resolved_protocol == "json"
    source = inspect.getsource(botocore.endpoint.Endpoint._do_get_response)
    assert source.index("before-parse.") < source.index("parser.parse(")


@pytest.mark.parametrize("change", ["no event", "other arguments", "no body", "no joining"])
def test_another_contract_is_read_slowly_and_said_once(server: Server, client: Any, change: str) -> None:
    reader = PageReader(client, "results")
    take = reader._take
    client.meta.events.unregister(EVENT, take)

    def changed(response_dict: Any, customized_response_dict: Any, **_: Any) -> None:
        if change == "other arguments":
            take(response=response_dict, customized=customized_response_dict)
        elif change == "no body":
            take({**response_dict, "body": object()}, customized_response_dict)
        elif change == "no joining":
            take({**response_dict}, {})

    client.meta.events.register(EVENT, changed)
    server.give(page(wire(1), last=1), page(wire(2)))
    with pytest.warns(RuntimeWarning, match=SLOWLY) as warned:
        read = list(reader.pages(BATCH))
    assert read == [Shape().page({"Items": [wire(number)]}).Items for number in (1, 2)]
    assert len(warned) == 1
