"""The stack's own entry in the registry, as CloudFormation asks for it and is answered."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from service.request import own_tool
from service.steps.register_itself import answer
from service.store.registry import RegisteredTarget

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App

ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:batch-processor"


class Listener(ThreadingHTTPServer):
    """Where CloudFormation waits for answers."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.heard: list[tuple[str, str, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_PUT(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.heard.append((self.path, self.headers["Content-Type"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def listener() -> Iterator[Listener]:
    server = Listener()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def ask(app: App, listener: Listener, request: str, name: str = "batch_processor", arn: str = ARN) -> dict[str, Any]:
    event = {
        "RequestType": request,
        "ResponseURL": f"http://127.0.0.1:{listener.server_port}/answer?signature=x",
        "StackId": "stack-1",
        "RequestId": "request-1",
        "LogicalResourceId": "Registration",
        "ResourceType": "Custom::RegisteredTarget",
        "ResourceProperties": {"ServiceToken": "…", "ToolName": name, "ResourceArn": arn, "Description": "…:3"},
    }
    answer(app, event)
    path, kind, body = listener.heard[-1]
    assert (path, kind) == ("/answer?signature=x", "")
    assert (body["StackId"], body["RequestId"], body["LogicalResourceId"]) == ("stack-1", "request-1", "Registration")
    return body


def test_a_stack_registers_itself_in_the_words_of_the_guide_and_goes_again(app: App, listener: Listener) -> None:
    body = ask(app, listener, "Create")
    assert (body["Status"], body["PhysicalResourceId"]) == ("SUCCESS", "batch_processor")
    found = app.registry.find("batch_processor")
    assert found is not None
    assert (found.tool_type, found.resource_arn, found.version) == ("state_machine", ARN, 1)
    assert found.description == own_tool.DESCRIPTION
    assert found.input_schema == own_tool.input_schema()
    ask(app, listener, "Update")
    assert [target.version for target in app.registry.versions("batch_processor")] == [1]
    assert ask(app, listener, "Delete")["Status"] == "SUCCESS"
    assert app.registry.names() == []
    assert ask(app, listener, "Delete")["Status"] == "SUCCESS"


def test_what_people_registered_beside_it_stays(app: App, listener: Listener) -> None:
    ask(app, listener, "Create")
    app.registry.amend("batch_processor", {"price_per_row_usd": 0.5, "description": "Old."})
    ask(app, listener, "Update")
    found = app.registry.find("batch_processor")
    assert found is not None
    assert (found.price_per_row_usd, found.description, found.version) == (0.5, own_tool.DESCRIPTION, 3)


def test_a_name_that_is_another_targets_is_left_alone(app: App, listener: Listener) -> None:
    app.registry.register(RegisteredTarget("batch_processor", "state_machine", ARN + "-of-others"))
    body = ask(app, listener, "Create")
    assert body["Status"] == "FAILED"
    assert "RegisteredName" in body["Reason"]
    assert ask(app, listener, "Delete")["Status"] == "SUCCESS"  # CloudFormation takes back what failed
    found = app.registry.find("batch_processor")
    assert found is not None
    assert found.resource_arn == ARN + "-of-others"


def test_whatever_goes_wrong_is_answered(app: App, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer CloudFormation waits, and the deploy with it."""
    app.dynamodb.delete_table(TableName=app.settings.registry_table)
    body = ask(app, listener, "Create")
    assert body["Status"] == "FAILED"
    assert "ResourceNotFound" in body["Reason"]
    monkeypatch.setattr(own_tool, "input_schema", lambda: 1 / 0)
    monkeypatch.setattr(type(app.registry), "find", lambda *_: None)
    body = ask(app, listener, "Create")
    assert (body["Status"], body["Reason"][:17]) == ("FAILED", "ZeroDivisionError")
