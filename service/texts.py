"""What a text holds: JSON, bare, quoted, by lines or in a Markdown fence; text blocks; `Key: value` lines."""

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
_BRACKET = re.compile(r"[\[{](?=\s*+[\[{\"])")
_DECODER = json.JSONDecoder()
_TEXT_TYPES = frozenset({"text", "output_text", "input_text"})


def opened(value: Any) -> Any:
    """The object or list that a text holds as JSON (bare, quoted, by lines, in a Markdown fence); else the value."""
    if not isinstance(value, str):
        return value
    text = value.strip(" \t\r\n\ufeff")
    if text[:1] in {"{", "["}:
        found = _json(text)
        if found is None:
            found = _json_lines(text)
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


def _json_lines(text: str) -> list[Any] | None:
    """The values of a text that has one object or list in JSON on every line; None when it has not."""
    lines = [line for line in text.split("\n") if line.strip()]
    if len(lines) < 2 or any(line.lstrip()[0] not in "{[" for line in lines):
        return None
    found = []
    for line in lines:
        value = _json(line)
        if value is None:
            return None
        found.append(value)
    return found


def embedded(text: str) -> Any:
    """The first JSON object, or list of objects, that stands whole in prose; None when there is none.

    Nothing is looked for inside JSON that is broken: an inner object is not the answer.
    """
    place = 0
    for _ in range(_MAX_FENCES):
        start = _BRACKET.search(text, place)
        if start is None:
            return None
        try:
            found, place = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            return None
        # `["so"]` in prose is no record.
        if isinstance(found, dict) or (found and all(isinstance(one, dict) for one in found)):
            return found
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
