"""`echo`: a target whose fate each row chooses, for trying out what a batch does with failures."""

from __future__ import annotations

import json
import sys
import time
from typing import Any


class EchoFailure(Exception):
    """The failure that the input asked for."""


def handler(event: dict[str, Any], _context: object) -> Any:
    """Lambda entry: `{"name", "id", "input": {…}}` or the bare input.

    In this order, each only when not empty: `sleep_ms` sleeps, `fail` raises an EchoFailure with that text,
    `output_json` is parsed and returned. Otherwise `{"echo": input}`.
    """
    given = event["input"] if isinstance(event.get("input"), dict) else event
    failure = given.get("fail")
    # One line a call, never the row; before the sleep, since a caller that times out still reads the log.
    sys.stderr.write(f"echo: {'failing' if failure else 'ok'}\n")
    if given.get("sleep_ms"):
        time.sleep(float(given["sleep_ms"]) / 1000)
    if failure:
        raise EchoFailure(failure)
    if given.get("output_json"):
        return json.loads(given["output_json"])
    return {"echo": given}
