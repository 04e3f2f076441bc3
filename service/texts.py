"""What a text holds: JSON, bare, quoted or in a Markdown fence; text blocks; `Key: value` lines."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from itertools import islice
from typing import Any

_FENCE = "```"
_MAX_FENCES = 50  # a fault in JSON costs time linear in the whole text
# Possessive, so that no run of blanks is read twice.
_OPENING = re.compile(r"```[A-Za-z0-9]*+\s*+(?=[\[{])")
_CLOSING = re.compile(r"\s*+(?:```|\Z)")
_DECODER = json.JSONDecoder()
_TEXT_TYPES = frozenset({"text", "output_text", "input_text"})


def opened(value: Any) -> Any:
    """The object or list that a text holds as JSON, bare, quoted or in a Markdown fence; any other value unchanged."""
    if not isinstance(value, str):
        return value
    text = value.strip(" \t\r\n\ufeff")
    if text[:1] in {"{", "["}:
        found = _json(text)
    elif text[:1] == '"':
        inner = _json(text)
        found = opened(inner) if isinstance(inner, str) and inner != value else None
    else:
        found = _fenced(text) if _FENCE in text else None
    return found if isinstance(found, dict | list) else value


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _fenced(text: str) -> Any:
    """The first fenced block that is an object or a list, its fence closed or not; None when there is none."""
    for opening in islice(_OPENING.finditer(text), _MAX_FENCES):
        # A fence inside the JSON's own texts ends nothing: the value is read to where it ends itself.
        try:
            found, end = _DECODER.raw_decode(text, opening.end())
        except (ValueError, RecursionError):
            continue
        if _CLOSING.match(text, end):
            return found
    return None


def stepped(value: Any) -> Any:
    """`opened`, remembered: twenty paths into one text read its JSON once. What it gives must not be changed."""
    return _remembered(value) if isinstance(value, str) else value


@lru_cache(maxsize=32)
def _remembered(text: str) -> Any:
    return opened(text)


def text_of(value: Any) -> str | None:
    """Text, also when it comes as a list of text blocks (`{"type": "text", "text": …}`, `{"text": …}`); else None."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    texts = [block["text"] for block in value if _is_text(block)]
    return "\n".join(texts) if texts else None


def _is_text(block: Any) -> bool:
    """Whether it is a text block, and not an object that happens to have a field `text`."""
    if not isinstance(block, dict) or not isinstance(block.get("text"), str):
        return False
    kind = block.get("type")
    return (isinstance(kind, str) and kind in _TEXT_TYPES) or len(block) == 1


def parse_text(value: Any) -> Any:
    """`Key: value` lines as an object; an object stays what it is; None when there is no such line."""
    if isinstance(value, dict):
        return value
    text = text_of(value)
    return None if text is None else _lines(text)


@lru_cache(maxsize=32)
def _lines(text: str) -> Any:
    whole = opened(text)
    if isinstance(whole, dict):
        return whole
    found = {}
    for line in text.splitlines():
        key, colon, rest = line.partition(":")
        # Models write lists and bold type: "- **Exchange:** WHITEHALL".
        name = key.strip().lstrip("-*• \t").rstrip("* \t")
        if colon and name and not rest.startswith("//"):
            found[name] = rest.strip().removeprefix("**").removesuffix("**").strip()
    return found or None
