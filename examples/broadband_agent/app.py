"""`broadband-lookup`: what a tool-using agent would have said about the broadband line at an address.

No model is asked and no line is looked up: every figure is drawn from a hash of the address, so a batch gives the
same results today and tomorrow, at no cost.
"""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

TOOL = "browser_broadband"
EXCHANGES = ("WHITEHALL", "MILLBROOK", "CASTLE HILL", "NORTHGATE", "ST OWEN", "RIVERSIDE", "OLD MARKET", "HARTWELL")
# Download and upload in Mbps, slowest to fastest kind of line.
LINES = (
    ("5.5-17.0", "0.5-1.0"),
    ("28.0-80.0", "6.0-20.0"),
    ("50.0-330.0", "10.0-50.0"),
    ("900.0-1000.0", "110.0-115.0"),
)


class BlankAddress(ValueError):
    """There is nothing to look up."""


def look_up(address: str, postcode: str) -> dict[str, Any]:
    """Draw the line at an address; letter case and spacing make no difference."""
    place = "|".join(" ".join(part.casefold().split()) for part in (address, postcode))
    digest = hashlib.sha256(place.encode()).digest()
    download, upload = LINES[digest[1] % len(LINES)]
    return {
        "id": f"toolu_{digest[:9].hex()}",
        "exchange": EXCHANGES[digest[0] % len(EXCHANGES)],
        "cabinet": digest[2] % 96 + 1,
        "download_speed": f"{download} Mbps",
        "upload_speed": f"{upload} Mbps",
        "answers_structured": digest[3] % 2 == 0,
    }


def converse(prompt: list[dict[str, Any]], address: str, postcode: str) -> dict[str, Any]:
    """Make the agent's output: the whole conversation, and for about half of all addresses a `structured_output`.

    The line's data stand in three places, so each extraction method has something to find: in the tool's result, in
    the last message's "name: value" lines, and in the structured output.
    """
    line = look_up(address, postcode)
    fields = {name: line[name] for name in ("exchange", "cabinet", "download_speed", "upload_speed")}
    page = "\n".join(f"{name.replace('_', ' ').title()}: {value}" for name, value in fields.items())
    answer = "This is what the line checker shows.\n" + "\n".join(f"{name}: {value}" for name, value in fields.items())
    call = {"type": "tool_use", "id": line["id"], "name": TOOL, "input": {"address": address, "postcode": postcode}}
    result = {"type": "tool_result", "tool_use_id": line["id"], "content": [{"type": "text", "text": page}]}
    messages = [
        *prompt,
        {"role": "assistant", "content": [{"type": "text", "text": "I will look the address up."}, call]},
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [{"type": "text", "text": answer}]},
    ]
    output: dict[str, Any] = {"messages": messages}
    if line["answers_structured"]:
        output["structured_output"] = fields
    return output


def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
    """Lambda entry: an agent's input `{"messages", "input": {"address", "postcode"}}`, a tool's, or the bare input."""
    given = event["input"] if isinstance(event.get("input"), dict) else event
    address = str(given.get("address") or "").strip()
    postcode = str(given.get("postcode") or "").strip()
    # One line a call, never the address.
    sys.stderr.write(f"broadband-lookup: {'ok' if address else 'refused'}\n")
    if not address:
        raise BlankAddress("the input has no address: 'address' is absent or blank")
    asked = json.dumps({"address": address, "postcode": postcode}, ensure_ascii=False)
    prompt = event.get("messages") or [{"role": "user", "content": f"Which broadband line is there? {asked}"}]
    return converse(prompt, address, postcode)
