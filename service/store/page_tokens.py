"""Page tokens: where a reading of rows stopped, as text that the next command goes on with.

A token holds the whole question and the last row shown, so nothing is kept for it anywhere. It is `1`, the version,
and base64url (RFC 4648, section 5, no padding) of six bytes of a SHA-256 and the JSON they are of: a damaged token is
told from a good one, a forged one is not, and need not be: it asks for nothing that its bearer could not ask for.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from service.errors import BatchRefused, Problem
from service.models import parse_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

_VERSION = "1"
_CHECK = 6  # bytes
_BATCH = "batch"  # the one part of a question that is no option


class Position(NamedTuple):
    """The last row shown: what each of the orders of rows goes by."""

    timestamp: str
    batch_id: str
    row_id: str
    status: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """The position of a row as queries give it."""
        return cls(*(str(row[name]) for name in cls._fields))


@dataclass(frozen=True)
class Page:
    """A question and where its answer goes on.

    `asked` is the command, the batch and the options as they were given; `since` and `until` are the moments (ISO
    8601 in UTC) that they came to at the first page, or None; `after` is None before the first row.
    """

    asked: Mapping[str, str]
    since: str | None
    until: str | None
    after: Position | None = None


def command(asked: Mapping[str, str]) -> str:
    """The command line of a question: `batch-processor failed 'echo#1' --status FAILED`."""
    words = ["batch-processor", asked["command"], *([asked[_BATCH]] if _BATCH in asked else [])]
    for name, value in asked.items():
        if name.startswith("--"):
            words += [name, value]
    return shlex.join(words)


def to_token(page: Page, after: Position) -> str:
    """The token of what comes after a row of a page."""
    parts = [dict(page.asked), page.since, page.until, after]
    body = json.dumps(parts, separators=(",", ":")).encode()
    check = hashlib.sha256(_VERSION.encode() + body).digest()[:_CHECK]
    return _VERSION + base64.urlsafe_b64encode(check + body).decode().rstrip("=")


def from_token(token: str, asked: Mapping[str, str]) -> Page:
    """The page of a token given with this question; raises BatchRefused."""
    page = _parsed(token)
    if page is None:
        why = "is damaged, or of another version: copy the whole token, or leave --page-token out to begin again"
        raise BatchRefused([Problem("--page-token", why)])
    if page.asked != asked:
        own = command(page.asked)
        raise BatchRefused([Problem("--page-token", f"is of another question: give it with `{own}`, or leave it out")])
    return page


def _parsed(token: str) -> Page | None:
    """The page; None of a token that is not the very one of its content: check, version and spelling are compared."""
    try:
        packed = base64.b64decode(token[1:] + "=" * (-len(token[1:]) % 4), altchars=b"-_", validate=True)
        asked, since, until, position = json.loads(packed[_CHECK:])
        page = Page(asked, since, until, after := Position(*position))
        return page if _well_formed(page, after) and to_token(page, after) == token else None
    except (ValueError, TypeError):
        return None


def _well_formed(page: Page, after: Position) -> bool:
    moments = [text for text in (page.since, page.until, after.timestamp) if text is not None]
    texts = [*moments, *after, *dict(page.asked).values()]
    return "command" in page.asked and all(isinstance(text, str) for text in texts) and all(map(parse_iso, moments))
