"""What surrounds the fields on their way: a tool's envelope, an agent's messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Literal

from service.mapping.conversions import RowNotMapped

if TYPE_CHECKING:
    from collections.abc import Mapping

ENVELOPES = ("default", "none")


def target_input(
    kind: Literal["tool", "agent"], name: str, call_id: str, fields: dict[str, Any], envelope: str = "default"
) -> dict[str, Any]:
    """Return what the target is given.

    With the envelope `none`, the fields alone. RowNotMapped when a prompt has no text.
    """
    if envelope == "none":
        return fields
    if kind == "tool":
        return {"name": name, "id": call_id, "input": fields}
    prompt = _prompt(fields)
    if not prompt:
        raise RowNotMapped("the field 'prompt' is blank, and there is no other field that a prompt could be made of")
    return {"messages": [{"role": "user", "content": prompt}], "input": fields}


def _prompt(fields: Mapping[str, Any]) -> str:
    """Return the field `prompt`, or a line `Column name: value` for each field where that is empty or no text."""
    prompt = fields.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    lines = (
        f"{_readable(name)}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in fields.items()
        if not (name == "prompt" and isinstance(value, str))
    )
    return "\n".join(lines)


def _readable(name: str) -> str:
    """Return a column's name as a person would write it: `postal_code` as `Postal code`; others stay as they are."""
    words = name.replace("_", " ").strip()
    if not words or not name.islower():
        return words or name
    return words[0].upper() + words[1:]
