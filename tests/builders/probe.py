"""A tool for tests: notes its calls in a folder, sleeps, fails or is busy a number of times, then answers."""

import os
import pathlib
import time
from typing import Any


class ProbeFailure(Exception):
    pass


def handler(event: Any, _context: Any) -> Any:
    given = event["input"]
    folder = pathlib.Path(os.environ["PROBE_FOLDER"]) / given["probe"]
    folder.mkdir(parents=True, exist_ok=True)
    _note(folder, f"{time.monotonic_ns()} +1")
    try:
        return _answer(folder, given)
    finally:
        _note(folder, f"{time.monotonic_ns()} -1")


def _answer(folder: pathlib.Path, given: Any) -> Any:
    time.sleep(float(given.get("sleep_s") or 0))
    name = given["id"]
    with (folder / f"calls-{name}").open("a") as calls:
        calls.write("x")
    seen = (folder / f"calls-{name}").stat().st_size
    if seen <= int(given.get("fails") or 0):
        raise ProbeFailure(f"call {seen} of {name} fails")
    if seen <= int(given.get("busy") or 0):
        return {
            "statusCode": 429,
            "headers": {"Retry-After": given.get("after") or "1"},
            "body": f'{{"message": "busy at {given["id"]}"}}',
        }
    while given.get("wait_for") and not (folder / given["wait_for"]).exists():
        time.sleep(0.05)
    return {"id": name, "calls": seen}


def _note(folder: pathlib.Path, line: str) -> None:
    handle = os.open(folder / "notes", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(handle, f"{line}\n".encode())
    os.close(handle)
