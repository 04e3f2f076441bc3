"""Outputs that say that the call failed: HTTP envelopes, errors in the answer, and conditions of a mapping."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, NamedTuple

from service.excerpt import excerpt
from service.expressions.json_text import stepped, text_of
from service.expressions.values import to_boolean
from service.extraction.retry_after import retry_after
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from service.expressions.language import Expression
    from service.extraction.conversation import Reading

# Another call may be answered: RFC 9110 (408, 500, 502, 503, 504), RFC 8470 (425), RFC 6585 (429), Anthropic (529).
TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504, 529})
_CODES = ("statusCode", "status_code", "StatusCode")
# What stands beside the status of an HTTP answer; a status alone among other fields may be a field like them.
_HTTP = frozenset(
    {"body", "headers", "multiValueHeaders", "isBase64Encoded", "message", "error", "errors", "errorMessage", "detail"}
)
_PAYLOADS = frozenset({"Payload", "ResponseBody"})  # lambda:invoke, http:invoke
_PROBLEM = frozenset({"title", "detail", "error"})  # RFC 9457, and Spring's answer, beside `status`
_ENDED_BADLY = frozenset({"FAILED", "TIMED_OUT", "ABORTED"})  # DescribeExecution's statuses
_SIGNS = frozenset(
    {*_CODES, "success", "error", "errors", "Error", "errorMessage", "message", "code", "FunctionError"}
    | {"ResponseMetadata", "Status", "status", "content"}
)
_NO_ERRORS = frozenset({"", "none", "null", "no", "false", "0", "n/a", "ok", "no error", "no errors", "nil", "-"})
_TEXTS = ("message", "errorMessage", "error", "detail", "error_description", "description", "reason", "title", "Cause")
_TYPES = ("type", "code", "status", "errorType", "name", "Code", "Error")
_TYPE = re.compile(r"[A-Za-z][\w.\-]{0,59}")
_PASSES = re.compile(
    r"rate.?limit|too.?many.?requests|throttl|time[ds]?.?out|overload|temporar|try again|retry|unavailable|"
    r"internal.?(server.?)?(error|failure)|\bapi_error\b|slow.?down|\b(?:429|502|503|504|529)\b",
    re.IGNORECASE,
)
_STAYS = re.compile(
    r"insufficient_quota|invalid|not.?found|denied|unauthor|forbidden|not.{0,8}retr|permission", re.IGNORECASE
)
_LONGEST = 200
# What API Gateway answers when it cannot call a function at all (API Gateway guide, "Gateway response types").
_GATEWAY = frozenset(
    {
        "internal server error",
        "service unavailable",
        "too many requests",
        "limit exceeded",
        "endpoint request timed out",
    }
    | {"network error communicating with endpoint", "forbidden", "missing authentication token", "unauthorized"}
)
_CODED = frozenset({"code", "message", "type", "status", "details", "detail", "requestId", "request_id"})


class Fault(NamedTuple):
    """Why an output is no answer: FAILED where the call failed, else EXTRACTION_FAILED; whether to call again."""

    error_type: str
    message: str
    status: RowStatus = RowStatus.FAILED
    retry: bool = False
    retry_after_seconds: float | None = None


class Watch(NamedTuple):
    """When an output counts as a failed call: a mapping's own conditions, and whether what is usual counts as well.

    `named` are the fields of the output that the mapping takes: what is asked for is no sign of a failure.
    """

    fail_when: tuple[Expression, ...] = ()
    retry_when: tuple[Expression, ...] = ()
    usual: bool = True
    named: frozenset[str] = frozenset()


USUAL = Watch()


def refused(watch: Watch, reading: Reading) -> Fault | None:
    """Why the output is that of a failed call; None when it is not."""
    fault = _usual(watch, reading) if watch.usual else None
    if watch.retry_when and (condition := _true(watch.retry_when, reading)) is not None:
        told = fault or Fault("RetryWhen", f"retry_when is true: {condition.text}")
        return told._replace(retry=True, retry_after_seconds=retry_after(reading.layers))
    if fault is None and watch.fail_when and (condition := _true(watch.fail_when, reading)) is not None:
        return Fault("FailWhen", f"fail_when is true: {condition.text}")
    return fault


def _true(conditions: Sequence[Expression], reading: Reading) -> Expression | None:
    """Return the first condition that holds, looking where a path of `jmespath` looks."""
    for condition in conditions:
        views = reading.views
        roots = [view for view in views if isinstance(view, dict) and not condition.names.isdisjoint(view)] or views[:1]
        for root in roots:
            found = condition.find(root)
            # As in a filter of JMESPath, where a number is true.
            if found not in (None, False, "", [], {}) or (found == 0 and not isinstance(found, bool)):
                return condition
    return None


def _usual(watch: Watch, reading: Reading) -> Fault | None:
    for view in reversed(reading.layers):
        if isinstance(view, dict) and not _SIGNS.isdisjoint(view):
            fault = next(_faults(watch, view), None)
            if fault is not None:
                told, code = fault
                transient = code in TRANSIENT if code is not None else _passes(told)
                waits = retry_after(reading.layers) if transient else None
                return told._replace(retry=transient, retry_after_seconds=waits)
    if reading.failed:
        told = Fault("ToolError", "the output is a tool result that says it is an error")
        text = _text_of(reading.core) if isinstance(reading.core, dict) else text_of(reading.core)
        if text:
            told = told._replace(message=f"{told.message}: {_cut(text)}")
        return told._replace(retry=_passes(told))
    return None


def _passes(fault: Fault) -> bool:
    """Whether the words of an error without a status say that another call may be answered."""
    told = f"{fault.error_type} {fault.message}"
    return _PASSES.search(told) is not None and _STAYS.search(told) is None


def _faults(watch: Watch, view: dict[str, Any]) -> Iterator[tuple[Fault, int | None]]:
    """Every sign of failure in one view, the plainest first, with its HTTP status."""
    code = _status(watch, view)
    if code is not None:
        said = _told(view)
        yield Fault(f"StatusCode{code}", f"the target answered with the status code {code}{said}"), code
    if "FunctionError" in view and "Payload" in view:
        inner = stepped(view["Payload"])
        yield Fault(_type_of(inner, "FunctionError"), f"the function of the target failed{_told(inner)}"), None
    if str(view.get("Status")) in _ENDED_BADLY and ("ExecutionArn" in view or "executionArn" in view):
        kind = _type_of(view, "ExecutionFailed")
        yield Fault(kind, f"the execution of the target ended {view['Status']}{_told(view)}"), None
    if _is_error(view.get("errorMessage")) and watch.named.isdisjoint(("errorMessage", "errorType")):
        yield Fault(_type_of(view, "ToolError"), f"the target answered with an error{_told(view)}"), None
    if all(isinstance(view.get(key), str) for key in ("Error", "Cause")) and watch.named.isdisjoint(("Error", "Cause")):
        yield Fault(_type_of(view, "ToolError"), f"the target answered with an error{_told(view)}"), None
    if "error" not in watch.named and _is_error(view.get("error")):
        error = view["error"]
        inner = error.get("code", error.get("status")) if isinstance(error, dict) else None
        kind = _type_of(error, "ToolError")
        yield Fault(kind, f"the target answered with an error{_told(error) or _told(view)}"), _number(inner)
    if "errors" not in watch.named and isinstance(view.get("errors"), list) and _is_error(view["errors"]):
        yield Fault("ToolError", f"the target answered with errors{_told(view['errors'][0]) or _told(view)}"), None
    success = view.get("success")
    if "success" not in watch.named and isinstance(success, bool | str) and to_boolean(success) is False:
        yield Fault("ToolError", f"the target answered with success: false{_told(view)}"), None
    yield from _in_words(watch, view)


def _in_words(watch: Watch, view: dict[str, Any]) -> Iterator[tuple[Fault, int | None]]:
    """Yield what says by words alone that it is no answer: a status `error`, a code with its message, API Gateway's."""
    if not watch.named.isdisjoint(_CODED) or not isinstance(view.get("message"), str):
        return
    if view.get("status") == "error":
        yield Fault("ToolError", f"the target answered with the status error{_told(view)}"), None
    code = _number(view.get("code"))
    if code is not None and view.keys() <= _CODED:
        yield Fault(f"StatusCode{code}", f"the target answered with the code {code}{_told(view)}"), code
    elif view.keys() == {"message"} and view["message"].strip().rstrip(".").casefold() in _GATEWAY:
        yield Fault("ToolError", f"the target answered with an error{_told(view)}"), None


def _status(watch: Watch, view: dict[str, Any]) -> int | None:
    """Return the status of 400 and above with which an HTTP answer came."""
    for key in _CODES:
        if key in view and key not in watch.named:
            beside = _PAYLOADS if key == "StatusCode" else _HTTP
            if (len(view) == 1 or not beside.isdisjoint(view)) and (code := _number(view[key])) is not None:
                return code
    metadata = view.get("ResponseMetadata")  # of an AWS SDK
    if isinstance(metadata, dict) and (code := _number(metadata.get("HTTPStatusCode"))) is not None:
        return code
    is_problem = "status" in view and "status" not in watch.named and not _PROBLEM.isdisjoint(view)
    return _number(view["status"]) if is_problem and watch.named.isdisjoint(_PROBLEM) else None


def _number(value: Any) -> int | None:
    """Return an HTTP status of 400 and above, as a number or its digits."""
    if isinstance(value, str) and len(value) == 3 and value.isascii() and value.isdigit():
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and 400 <= value < 600 else None


def _is_error(error: Any) -> bool:
    """Whether a field `error` tells of one: a number may be a measure, and "none" is none."""
    if isinstance(error, str):
        return error.strip().casefold() not in _NO_ERRORS
    if isinstance(error, list):
        return any(isinstance(one, str | dict) and _is_error(one) for one in error)
    return error is True or (isinstance(error, dict) and any(value not in (None, "", 0) for value in error.values()))


def _type_of(value: Any, otherwise: str) -> str:
    """Return the name that an error gives itself, or another."""
    if isinstance(value, dict):
        for key in _TYPES:
            said = value.get(key)
            if isinstance(said, str) and said != "error" and _TYPE.fullmatch(said) and said not in _ENDED_BADLY:
                return said
    return otherwise


def _told(value: Any) -> str:
    """Return what an error says of itself, cut when long; empty when it says nothing."""
    text = _text_of(value)
    return f": {_cut(text)}" if text else ""


def _text_of(value: Any, depth: int = 4) -> str | None:
    whole = stepped(value)
    if isinstance(whole, str):
        return whole.strip() or None
    if not isinstance(whole, dict) or depth == 0:
        return None
    found = (_text_of(whole[key], depth - 1) for key in (*_TEXTS, "body", "Payload", "ResponseBody") if key in whole)
    return next((text for text in found if text), None)


def _cut(text: str) -> str:
    told = " ".join(text.split())
    return excerpt(told, _LONGEST)
