"""Answers that fit into an agent's context: every text and list has an end, and what was cut is said."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from service.excerpt import excerpt

ANSWER = 12_000  # characters of one answer: some 3,000 tokens
TEXT, ITEMS = 400, 50  # characters of one text in it, and entries of a list, as long as there is room
_TEXT, _ITEMS = 160, 1  # the same where there is little: an ARN fits still
_KEYS = 12  # entries of an object, at least
_DEPTH = 8  # of objects in objects: what is deeper is shown as text
# What is of no use when it is cut: names to be given back, and sentences of ours.
_WHOLE = frozenset(
    {"batch_id", "task_id", "csv_location", "csv_s3_uri", "confirm", "after", "mapping", "question", "quote", "basis"}
    | {"next", "note", "outcome", "progress", "to_download"}
)


@dataclass
class _Cut:
    """How much is kept, and what was left out on the way."""

    text: int
    items: int
    texts_cut: int = 0
    items_cut: int = 0

    def said(self, more: str) -> str:
        """Return what was left out, in words; `more` says how the rest is had."""
        parts = []
        if self.texts_cut:
            parts.append(f"{self.texts_cut:,} texts end after {self.text} characters (…)")
        if self.items_cut:
            parts.append(f"{self.items_cut:,} entries are left out")
        return "; ".join(parts) + (f". {more}" if more else "")


def shortened(value: dict[str, Any], more: str = "", *, most: int = ANSWER) -> dict[str, Any]:
    """Return an object whose JSON has about `most` characters at most; `cut` in it says what was left out.

    `more`: how the rest is had. Names that are given back to us, and sentences of ours, are never cut.
    """
    cut = _Cut(TEXT, ITEMS)
    while True:
        made = {key: one if key in _WHOLE else _value(one, cut, _DEPTH) for key, one in value.items()}
        if cut.texts_cut or cut.items_cut:
            made["cut"] = cut.said(more)
        if len(to_text(made)) <= most or (cut.text, cut.items) == (_TEXT, _ITEMS):
            return made
        cut = _Cut(max(_TEXT, cut.text // 2), max(_ITEMS, cut.items * 2 // 3))


def to_text(value: Any) -> str:
    """Return the JSON that an answer's text is."""
    return json.dumps(value, ensure_ascii=False, default=str)


def _value(value: Any, cut: _Cut, depth: int) -> Any:
    if isinstance(value, dict | list | tuple) and not depth:
        value = to_text(value)
    if isinstance(value, str):
        cut.texts_cut += len(value) > cut.text
        return excerpt(value, cut.text)
    if isinstance(value, dict):
        kept = list(value.items())[: max(cut.items, _KEYS)]
        cut.items_cut += len(value) - len(kept)
        return {excerpt(str(key), cut.text): _value(inner, cut, depth - 1) for key, inner in kept}
    if isinstance(value, list | tuple):
        cut.items_cut += max(0, len(value) - cut.items)
        return [_value(inner, cut, depth - 1) for inner in value[: cut.items]]
    return value
