"""The beginning of a long text, for messages and tables."""

from __future__ import annotations

import json


def excerpt(text: str, most: int) -> str:
    """Return the text, or its first characters and `…`: at most `most` characters in all."""
    return text if len(text) <= most else text[: most - 1] + "…"


def excerpt_for_json(text: str, most: int) -> str:
    """Return an excerpt that takes at most about `2 * most` bytes as JSON, whatever has to be escaped.

    Lambda writes ASCII, so that a letter beyond it may take 12 bytes.
    """
    kept = text[:most]
    while len(kept) > 1 and len(json.dumps(kept)) > 2 * most:
        kept = kept[: len(kept) * 3 // 4]
    return kept if len(kept) == len(text) else kept[:-1] + "…"
