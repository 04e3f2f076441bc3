"""How long an answer asks to wait before the next call, in its headers, its fields or its words."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from service.expressions.json_text import stepped
from service.expressions.values import to_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

_DEPTH = 5
_HOLDERS = frozenset({"body", "Payload", "ResponseBody", "error", "response", "details", "ResponseMetadata"})
_HEADERS = frozenset({"headers", "multivalueheaders", "httpheaders"})
_TEXTS = ("message", "error", "detail", "errorMessage", "body", "Cause")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_NUMBER = r"(\d+(?:\.\d+)?)"
_UNIT = r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hours?)"
_PART = re.compile(rf"{_NUMBER}\s*{_UNIT}(?![a-z])", re.IGNORECASE)
_WORDS = re.compile(  # "try again in 1.5 s"; "in 6m0s", as OpenAI writes it
    rf"(?:retry|try again)\s+(?:again\s+)?(?:after|in)\s*:?\s*((?:{_PART.pattern}\s?)+)", re.IGNORECASE
)
# A header or a field as it stands in a message: "Retry-After: 20", "'retryDelay': '37s'", "retry_after_ms=500".
_WRITTEN = re.compile(
    rf"\b(?:retry[-_]?after|retry[-_]?delay)(?:[-_]?(ms|seconds))?['\"]?\s*[:=]\s*['\"]?{_NUMBER}\s*(?:{_UNIT}(?![a-z]))?",
    re.IGNORECASE,
)
_DELAY = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h)?")
_LONGEST = 7 * 86_400.0  # beyond a batch's own life it is no wait


def retry_after(views: Iterable[Any]) -> float | None:
    """Seconds to wait, as the first part of an answer that says so has it; None when none does."""
    return next((seconds for view in views for seconds in _stated(view, _DEPTH) if seconds is not None), None)


def retry_after_in(message: str) -> float | None:
    """Seconds to wait, as an error's message says: JSON like an answer, in words, or a header that it quotes."""
    seconds = retry_after((message,))
    return _in_words(message) if seconds is None else seconds


def _stated(value: Any, depth: int) -> Iterator[float | None]:
    whole = stepped(value)
    if depth == 0 or not isinstance(whole, dict | list):
        return
    if isinstance(whole, list):
        for item in whole[:10]:
            yield from _stated(item, depth - 1)
        return
    for key, inner in whole.items():
        word = key.lower().replace("-", "").replace("_", "")
        if word in _STATERS:
            yield _STATERS[word](inner, whole)
        elif word in _HEADERS or key in _HOLDERS:
            yield from _stated(inner, depth - 1)
    for key in _TEXTS:
        yield _in_words(whole.get(key))


def _in_words(text: Any) -> float | None:
    """Return the wait that a message states: "try again in 20 s", "Retry-After: 20"."""
    if not isinstance(text, str):
        return None
    if found := _WORDS.search(text):
        return _within(sum(min(float(number), 1e12) * _unit(unit) for number, unit in _PART.findall(found[1])))
    if found := _WRITTEN.search(text):
        return _seconds(found[2], _unit(found[3] or found[1] or "s"))
    return None


def _unit(name: str) -> float:
    """Return the seconds of a unit as words name it."""
    name = name.lower()
    return _UNITS["ms" if name.startswith(("ms", "milli")) else name[0]]


def _moment(value: Any, headers: dict[str, Any]) -> float | None:
    """Retry-After of RFC 9110: seconds, or a date, which counts from the answer's own date where it has one."""
    value = value[0] if isinstance(value, list) and value else value
    seconds = _seconds(value, 1.0)
    if seconds is not None or not isinstance(value, str):
        return seconds
    date = next((inner for key, inner in headers.items() if key.lower() == "date"), None)
    until, sent = _date(value), _date(date[0] if isinstance(date, list) and date else date)
    return None if until is None else _within(until - (time.time() if sent is None else sent))


def _date(value: Any) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp() if isinstance(value, str) else None
    except (ValueError, OverflowError):
        return None


def _seconds(value: Any, unit: float) -> float | None:
    value = value[0] if isinstance(value, list) and value else value
    number = to_number(value.strip() if isinstance(value, str) else value)
    return None if number is None or number < 0 else _within(min(number, 1e12) * unit)


def _delay(value: Any) -> float | None:
    found = _DELAY.fullmatch(value.strip()) if isinstance(value, str) else None
    if found is None:
        return _seconds(value, 1.0)
    return _seconds(found[1], _UNITS[found[2] or "s"])


def _within(seconds: float) -> float:
    return max(0.0, min(seconds, _LONGEST))


_STATERS: dict[str, Callable[[Any, dict[str, Any]], float | None]] = {
    "retryafter": _moment,
    "retryafterseconds": _moment,
    "retryafterms": lambda value, _headers: _seconds(value, 0.001),
    "retrydelay": lambda value, _headers: _delay(value),  # google.rpc.RetryInfo, "20s"
}
