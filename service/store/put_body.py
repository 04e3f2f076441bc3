"""Bodies of PutItem written in one go, where botocore walks over every value of the item by its model.

botocore emits `provide-client-params` before it serialises a call and `before-call` after it (its client.py,
`_make_api_call`). Endpoint, signature, attempts and errors come later, or do not depend on the item, and stay its own.
"""

from __future__ import annotations

import base64
import json
from typing import Any

_BODY = "batch_processor_body"


def _text(value: bytes) -> str:
    """Base64 of the value of a B, the one value in wire form that JSON has no form for."""
    return base64.b64encode(value).decode()


_written = json.JSONEncoder(default=_text, separators=(",", ":"), check_circular=False).encode


def write_bodies(dynamodb: Any) -> None:
    """Has every PutItem of the client written here."""
    dynamodb.meta.events.register("provide-client-params.dynamodb.PutItem", _write)
    dynamodb.meta.events.register("before-call.dynamodb.PutItem", _give)


def _write(params: dict[str, Any], context: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Write the body and leave botocore the table, which an endpoint may depend on."""
    context[_BODY] = _written(params).encode()
    return {"TableName": params["TableName"]}


def _give(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
    params["body"] = context.pop(_BODY)
