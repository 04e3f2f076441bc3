"""Answers to Query, decoded by orjson before botocore's own parser takes them, which takes about ten times as long.

botocore emits `before-parse.dynamodb.Query` for every answer, after it was received and before it is parsed
(botocore/endpoint.py, `_do_get_response`): a handler may change the body that is parsed and name entries that join the
parsed answer. Signing, endpoints, retries, errors and the check of `x-amz-crc32`, which is made of the bytes as they
were received, stay botocore's. What the handler does not take is parsed as ever: errors, and bodies that are no JSON.
"""

from __future__ import annotations

import gc
import threading
import warnings
from base64 import b64decode
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterator

EVENT = "before-parse.dynamodb.Query"


class PageReader:
    """Queries of one client whose answers are decoded here; whatever else the client is asked for is left alone."""

    def __init__(self, dynamodb: Any) -> None:
        self._dynamodb = dynamodb
        self._ours = threading.local()  # events reach their handlers in the thread that asked
        self._warned = False
        dynamodb.meta.events.register(EVENT, self._take)

    def query(self, **arguments: Any) -> dict[str, Any]:
        """DynamoDB's answer, as the client's own `query` gives it; warns once if it had to be the client's own."""
        self._ours.asking, self._ours.taken = True, None
        try:
            answer: dict[str, Any] = self._dynamodb.query(**arguments)
        finally:
            self._ours.asking, taken = False, self._ours.taken
            self._ours.taken = None  # a page is not kept until the next one
        if taken is not None and answer.get("Items") is taken["Items"]:
            return answer
        self._warn()
        return answer if taken is None else {**answer, **taken}

    def _take(self, response_dict: Any = None, customized_response_dict: Any = None, **_: Any) -> None:
        """Decodes an answer of ours in the parser's place; of several attempts the last one counts."""
        if not getattr(self._ours, "asking", False):
            return
        self._ours.taken = None
        if not isinstance(response_dict, dict) or not isinstance(customized_response_dict, dict):
            return
        if response_dict.get("status_code") != 200:
            return
        answer = _decoded(response_dict.get("body"))
        if answer is not None:
            self._ours.taken = answer
            customized_response_dict.update(answer)
            response_dict["body"] = b"{}"

    def _warn(self) -> None:
        if not self._warned:
            self._warned = True
            message = f"botocore did not offer a page of results at {EVENT} as it used to: results are read slowly"
            warnings.warn(message, RuntimeWarning, stacklevel=3)


@contextmanager
def _no_collection() -> Iterator[None]:
    """Garbage is not looked for among the tens of thousands of objects that a page becomes all at once."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _decoded(body: Any) -> dict[str, Any] | None:
    """The answer in a body, with bytes where the parser gives bytes; None if it is none that is known here."""
    if not isinstance(body, bytes):
        return None
    try:
        with _no_collection():
            answer = orjson.loads(body)
        if not isinstance(answer, dict) or not isinstance(answer.get("Items"), list):
            return None
        if b'"B"' in body or b'"BS"' in body:
            for item in answer["Items"]:
                for attribute in item.values():
                    _to_bytes(attribute)
    except (AttributeError, TypeError, ValueError):  # damaged on the way: botocore's check of the bytes asks again
        return None
    return answer


def _to_bytes(attribute: dict[str, Any]) -> None:
    """Decodes the base64 in an attribute, however deep; a field may be named B, too."""
    ((kind, value),) = attribute.items()
    if kind == "B":
        attribute["B"] = b64decode(value)
    elif kind == "BS":
        attribute["BS"] = [b64decode(one) for one in value]
    elif kind == "M":
        for inner in value.values():
            _to_bytes(inner)
    elif kind == "L":
        for inner in value:
            _to_bytes(inner)
