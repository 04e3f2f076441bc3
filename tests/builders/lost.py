"""Answers that are lost: a request is carried out, and the client sees a broken connection, once.

botocore emits `before-send` with the prepared request and takes what a handler answers for the answer (its endpoint.py,
`_do_get_response`); moto answers there. So the event is emitted once more from within, which carries the request out,
and an error of the connection is raised in the place of its answer. Standard retries then send the request again; they
number the attempts in a header of their own (botocore's handlers.py, `add_retry_headers`).
"""

from __future__ import annotations

import ast
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore import xform_name
from botocore.exceptions import ConnectionClosedError
from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Container, Iterator

SERVICE = ROOT / "service"
RECORDS = SERVICE / "store" / "batches.py"
READS = ("get_", "list_", "describe_", "head_", "query", "scan", "batch_get_", "transact_get_", "select_")
CLIENTS = {"dynamodb": "dynamodb", "s3": "s3", "stepfunctions": "stepfunctions", "lambda_client": "lambda"}
CLIENTS |= {"connection": "dynamodb", "events": "events", "sns": "sns"}  # PynamoDB's connection; of the notifier
NOT_THE_APPLICATION = SERVICE / "console" / "local"  # the stack on one's own machine
OF_RECORDS = {"create", "update", "update_open", "update_ended", "give_reason", "keep_stopped", "stop", "claim_output"}
WRITES = {
    name: {
        xform_name(operation)
        for operation in boto3.Session().client(client, region_name="us-east-1").meta.service_model.operation_names
        if not xform_name(operation).startswith(READS)
    }
    for name, client in CLIENTS.items()
} | {"records": OF_RECORDS}
WRITES["s3"] |= {"upload_file"}  # boto3's own, a PutObject of a small file


def receiver(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return receiver(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else "?"


def named(module: Path) -> str:
    """A module by its name within `service`."""
    return ".".join(module.relative_to(SERVICE).with_suffix("").parts)


def writes_of_the_code() -> set[str]:
    """Every place of the code that writes: module, function and what it calls."""
    found = set()
    for module in SERVICE.rglob("*.py"):
        if NOT_THE_APPLICATION not in module.parents:
            text = module.read_text()
            models = "from service.store.tables import" in text and module != RECORDS
            for function in ast.walk(ast.parse(text)):
                if isinstance(function, ast.FunctionDef):
                    found |= {f"{named(module)}.{function.name} {call}" for call in _writes(function, models=models)}
    return found


def _writes(function: ast.FunctionDef, *, models: bool) -> Iterator[str]:
    known = {node.targets[0].id: node.value for node in ast.walk(function) if _named(node)}  # `states = app.x`
    for node in ast.walk(function):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            by = receiver(node.func.value).lstrip("_")
            by = receiver(known[by]).lstrip("_") if by in known else by
            if node.func.attr in WRITES.get(by, ()):
                yield node.func.attr
            elif models and by in ("record", "item") and node.func.attr in ("save", "update", "delete"):
                yield f"PynamoDB {node.func.attr}"


def _named(node: ast.AST) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and _is_client(node.value)


def _is_client(value: ast.expr) -> bool:
    return isinstance(value, ast.Attribute) and value.attr.lstrip("_") in WRITES


def place(operation: str) -> str:
    """The place of the code that is calling now, as `writes_of_the_code` names it."""
    called, frame = xform_name(operation), sys._getframe(1)
    while frame is not None:
        path, name = Path(frame.f_code.co_filename), frame.f_code.co_name
        if SERVICE in path.parents and not name.startswith("<"):
            if path != RECORDS:
                return f"{named(path)}.{name} {called}"
            called = name if name in OF_RECORDS else called
        frame = frame.f_back  # type: ignore[assignment]
    return f"a thread of boto3 {called}"


class LostAnswers:
    """Loses the answer of the first attempt of every write at certain places; `seen` are those that were come by."""

    def __init__(self, places: Container[str] = ()) -> None:
        self.places = places
        self.seen: list[str] = []
        self.lost: list[str] = []
        self._within = threading.local()

    def of(self, client: Any) -> None:
        """Stands between this client and the service."""
        emitter = client.meta.events

        def send(event_name: str, request: Any, **_: Any) -> None:
            operation = event_name.rpartition(".")[2]
            if xform_name(operation).startswith(READS) or getattr(self._within, "sending", False):
                return
            here = place(operation)
            self.seen.append(here)
            if here in self.places and b"attempt=1" in _bytes(request.headers["amz-sdk-request"]):
                self._within.sending = True
                try:
                    emitter.emit(event_name, request=request)
                finally:
                    self._within.sending = False
                self.lost.append(here)
                raise ConnectionClosedError(endpoint_url=request.url)

        emitter.register_first("before-send", send)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
