"""What a target's own error says of the next call: throttled for now, or refused the same way every time.

Read from the names of errors, and from an HTTP status in the forms in which clients write one into a message; never
from a number that stands in free text.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

# Names are compared in small letters, without underscores, packages and a last Exception or Error: RateLimitError of
# openai and anthropic, ThrottlingException of AWS's services (botocore's service models), RESOURCE_EXHAUSTED of Google.
_THROTTLED = frozenset(
    {
        "overloaded",
        "provisionedthroughputexceeded",
        "ratelimit",
        "ratelimitexceeded",
        "requestlimitexceeded",
        "requestthrottled",
        "resourceexhausted",
        "throttled",
        "throttling",
        "toomanyrequests",
    }
)
_HOPELESS = frozenset(
    {
        "accessdenied",
        "authentication",
        "badrequest",
        "insufficientquota",
        "invalidrequest",
        "notfound",
        "permissiondenied",
        "resourcenotfound",
        "unprocessableentity",
        "validation",
    }
)
# 529 is Anthropic's "overloaded_error" (its API reference, "Errors").
_THROTTLED_STATUS = frozenset({429, 529})
_HOPELESS_STATUS = frozenset({400, 401, 402, 403, 404, 405, 413, 422})
# A quota that is used up comes with 429 too, and stays used up (OpenAI's guide "Error codes"; Anthropic's message).
_USED_UP = re.compile(r"\binsufficient_quota\b|credit balance is too low", re.IGNORECASE)

_PHRASES = "|".join(sorted({re.escape(status.phrase) for status in HTTPStatus if status >= 400}, key=len, reverse=True))
_STATUS = re.compile(
    # openai and anthropic: "Error code: 429 - {…}"; urllib: "HTTP Error 429: …"; "HTTP 429"; "HTTP/1.1 429"
    r"(?:\bError code: |\bHTTP(?:/\d(?:\.\d)?| Error| status(?: code)?)?:? "
    # axios: "Request failed with status code 429"; "statusCode: 429"; "(Service: …, Status Code: 429, …)"; .NET's
    r"|status[ _-]?code(?: does not indicate success)?['\"]?\s*(?:[:=]|is|was)?\s*)([45]\d\d)\b"
    # requests: "429 Client Error: Too Many Requests for url: …"; httpx: "'429 Too Many Requests'"; Google's: "404
    # NOT_FOUND. {…}", "429 Resource has been exhausted …"; openai for Node: "429 Rate limit reached …"
    rf"|\b([45]\d\d)(?: |: )(?:Client Error|Server Error|{_PHRASES}|[A-Z]+_[A-Z_]+\b|UNAUTHENTICATED"
    r"|Resource has been exhausted|Rate limit reached)"
    r"|\A([45]\d\d) (?=\{)",  # anthropic for Node: '429 {"type":"error",…}'
    re.IGNORECASE,
)
_CLIENT_ERROR = re.compile(r"\bAn error occurred \(([A-Za-z0-9_.]+)\) when calling\b")  # botocore's ClientError
_CODE = re.compile(r"['\"](?:type|code|status|__type)['\"]\s*:\s*['\"]([A-Za-z_.#]+)['\"]")  # of an answer's body
_LAST_PART = re.compile(r"[A-Za-z0-9_]+\Z")
_EXECUTION = '{"ExecutionArn"'


def fate(names: Iterable[str], message: str) -> Literal["throttled", "hopeless"] | None:
    """Tell what the next call would meet by an error's names and its message; None when nothing is known.

    A name says more than a status: AWS's services throttle with status 400 as well.
    """
    # An execution's description that was cut, and so is no JSON any more, holds the row.
    text = "" if message.startswith(_EXECUTION) else message
    if _USED_UP.search(text):
        return "hopeless"
    said = {_plain(name) for name in (*names, *_CLIENT_ERROR.findall(text))}
    codes = {_plain(code) for code in _CODE.findall(text)}
    if not _THROTTLED.isdisjoint(said | codes):
        return "throttled"
    status = _status(text)
    if status in _THROTTLED_STATUS:
        return "throttled"
    if status in _HOPELESS_STATUS or not _HOPELESS.isdisjoint(said):
        return "hopeless"
    return None


def _status(text: str) -> int | None:
    """Return the first HTTP status of a message: what follows may be another's, which it tells of."""
    found = _STATUS.search(text)
    return None if found is None else int(found[1] or found[2] or found[3])


def _plain(name: str) -> str:
    last = _LAST_PART.search(name)
    plain = last[0].replace("_", "").lower() if last else ""
    return plain.removesuffix("exception").removesuffix("error")
