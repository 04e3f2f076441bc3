"""What a text holds: JSON, bare, quoted, by lines or in a Markdown fence; text blocks; `Key: value` lines."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

from service.expressions.model_text import has_reasoning, last_fenced, spoken, tolerant, without_reasoning

_FENCE = "```"
_BLANK = " \t\r\n\ufeff"
_TEXT_TYPES = frozenset({"text", "output_text", "input_text"})
_TEXT_KEYS = frozenset({"text", "thought", "thoughtSignature", "thought_signature"})


def opened(value: Any) -> Any:
    """Return the object or list that a text holds as JSON (bare, quoted, by lines, in a Markdown fence).

    Else the value.

    A model's reasoning is no part of the text, and of several fences the last one counts.
    """
    if not isinstance(value, str):
        return value
    text = value.strip(_BLANK)
    if text[:1] in {"{", "["}:
        found = _json(text)
        if found is None:
            found = _json_lines(text)
        if found is None:
            found = tolerant(text)
    elif text[:1] == '"':
        inner = _json(text)
        found = opened(inner) if isinstance(inner, str) and inner != value else None
    else:
        found = last_fenced(text) if _FENCE in text else None
    if found is None and has_reasoning(text):
        answer = without_reasoning(text)
        found = opened(answer) if len(answer) < len(text) else None
    return found if isinstance(found, dict | list) else value


def is_prose(text: str) -> bool:
    """Whether a text is more than JSON alone: it may hold several values, of which one is the answer."""
    return text.lstrip(_BLANK)[:1] not in {"{", "[", '"'} or has_reasoning(text)


def candidates(text: str) -> list[Any]:
    """Every complete object, or list of objects, of a text outside its reasoning, and what it holds as a whole."""
    found = [value for value, _ in spoken(text).values]
    whole = opened(text)
    return found if isinstance(whole, str) or whole in found else [*found, whole]


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _json_lines(text: str) -> list[Any] | None:
    """Return the values of a text that has one object or list in JSON on every line; None when it has not."""
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


def stepped(value: Any) -> Any:
    """Return `opened`, remembered: twenty paths into one text read its JSON once. What it gives must not be changed."""
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
    """Whether it is a text block, and not reasoning or an object that happens to have a field `text`."""
    if not isinstance(block, dict) or not isinstance(block.get("text"), str):
        return False
    kind = block.get("type")
    if isinstance(kind, str):
        return kind in _TEXT_TYPES
    # Gemini's parts: {"text": …, "thought": true} is reasoning, and a signature may stand beside any of them.
    return kind is None and not block.get("thought") and block.keys() <= _TEXT_KEYS


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
    for line in without_reasoning(text).splitlines():
        key, colon, rest = line.partition(":")
        # Models write lists and bold type: "- **Exchange:** WHITEHALL".
        name = key.strip().lstrip("-*• \t").rstrip("* \t")
        if colon and name and not rest.startswith("//"):
            found[name] = rest.strip().removeprefix("**").removesuffix("**").strip()
    return found or None
