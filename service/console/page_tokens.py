"""Page tokens: where a reading of rows stopped, as text that the next command goes on with.

A token holds the whole question and the last row shown, so nothing is kept for it anywhere. Its signature tells a
damaged token from a good one. The key is no secret, and need not be one: a token asks for nothing that its bearer could
not ask for.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from itsdangerous import BadData, URLSafeSerializer

from service.errors import BatchRefused, Problem
from service.models import Position, parse_iso

if TYPE_CHECKING:
    from collections.abc import Mapping

_SERIALIZER = URLSafeSerializer("batch-processor", salt="page 1")  # the number is the version of the content
_BATCH = "batch"  # the one part of a question that is no option


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
    """Return the command line of a question: `batch-processor failed 'echo#1' --status FAILED`."""
    words = ["batch-processor", asked["command"], *([asked[_BATCH]] if _BATCH in asked else [])]
    for name, value in asked.items():
        if name.startswith("--"):
            words += [name, value]
    return shlex.join(words)


def to_token(page: Page, after: Position) -> str:
    """Return the token of what comes after a row of a page."""
    return str(_SERIALIZER.dumps([dict(page.asked), page.since, page.until, after]))


def from_token(token: str, asked: Mapping[str, str]) -> Page:
    """Return the page of a token given with this question; raises BatchRefused."""
    page = _parsed(token)
    if page is None:
        why = "is damaged, or of another version: copy the whole token, or leave --page-token out to begin again"
        raise BatchRefused([Problem("--page-token", why)])
    if page.asked != asked:
        own = command(page.asked)
        raise BatchRefused([Problem("--page-token", f"is of another question: give it with `{own}`, or leave it out")])
    return page


def _parsed(token: str) -> Page | None:
    """Return the page; None of a token that is not the very one of its content, signature and spelling."""
    try:
        asked, since, until, position = _SERIALIZER.loads(token)
        page = Page(asked, since, until, after := Position(*position))
        return page if _well_formed(page, after) and to_token(page, after) == token else None
    except (BadData, ValueError, TypeError):
        return None


def _well_formed(page: Page, after: Position) -> bool:
    moments = [text for text in (page.since, page.until, after.timestamp) if text is not None]
    texts = [*moments, *after, *dict(page.asked).values()]
    return "command" in page.asked and all(isinstance(text, str) for text in texts) and all(map(parse_iso, moments))
