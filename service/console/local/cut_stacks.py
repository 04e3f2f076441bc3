"""Stacks of the embedded CloudFormation whose process was killed: made fit to be deployed again.

A kill leaves what was saved before it: an update that was cut, which CloudFormation would call in progress for ever,
or a stack that is complete while a resource of it was never saved, or was lost with its file. On AWS neither occurs.
"""

from __future__ import annotations

import contextvars
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

CUT = "UPDATE_ROLLBACK_COMPLETE"  # it can be updated, and is not what `local start` takes for deployed


def check(app: Any, cloudformation: Any, drift: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is patched or leaned on; `fits` raises for what is not as it was."""
    fits("app._load_persisted_state", getattr(app, "_load_persisted_state", None), [])
    fits("drift.supports_drift", getattr(drift, "supports_drift", None), ["resource_type"])
    stacks = getattr(cloudformation, "_stacks", None)
    fits("cloudformation._stacks.all_items", getattr(stacks, "all_items", None), [])
    for kind, (reader, _) in getattr(drift, "_DRIFT_READERS", {"": (None, ())}).items():
        fits(f"drift's reader of {kind}", reader, ["physical_id", "props"])


def patch(app: Any, cloudformation: Any, drift: Any, within: Callable[[str, str], None]) -> None:
    """Mend what was loaded, before the first request; `within` sets the account and region that a stack is of."""
    load = app._load_persisted_state  # noqa: SLF001

    def mended() -> None:
        load()
        for (account, region, _), stack in cloudformation._stacks.all_items():  # noqa: SLF001

            def look(stack: dict[str, Any] = stack, account: str = account, region: str = region) -> None:
                within(account, region)
                mend(stack, lambda record: _is_gone(drift, record))

            contextvars.copy_context().run(look)

    app._load_persisted_state = mended  # noqa: SLF001


def mend(stack: dict[str, Any], is_gone: Callable[[dict[str, Any]], bool | None]) -> bool:
    """Make a stack that was cut, or lacks a resource, differ from any template; whether it was.

    The next deploy then goes over each of its resources: it makes those of which there is no record, and updates the
    others in place (ministack's cloudformation/stacks.py), which keeps their data.
    """
    status = stack.get("StackStatus", "")
    cut = status.startswith("UPDATE_") and status.endswith("_IN_PROGRESS")
    if status.endswith("_IN_PROGRESS") and not cut and not status.startswith("REVIEW_"):
        stack["StackStatus"] = status.replace("_IN_PROGRESS", "_FAILED")  # its first deploy, which is made anew
        return True
    records = stack.get("_resources") or {}
    gone = [name for name, record in records.items() if is_gone(record)] if status.endswith("_COMPLETE") or cut else []
    if not (cut or gone) or status == "DELETE_COMPLETE":
        return False
    for name in (*gone, *_parts(records, gone, is_gone)):
        del records[name]
    stack["_template"] = {**(stack.get("_template") or {}), "Resources": {}}
    stack["StackStatus"] = CUT
    return True


def _parts(records: dict[str, Any], gone: list[str], is_gone: Callable[[dict[str, Any]], bool | None]) -> list[str]:
    """Return what was part of a resource that is gone, as a function's version and alias: its record names it."""
    ids = [records[name].get("PhysicalResourceId", "") for name in gone]
    return [
        name
        for name, record in records.items()
        if is_gone(record) is None and any(each and each in json.dumps(record, default=str) for each in ids)
    ]


def _is_gone(drift: Any, record: dict[str, Any]) -> bool | None:
    """Tell whether a resource that is known by name is not there; None of a kind that cannot be looked up."""
    kind = record.get("ResourceType", "")
    if not drift.supports_drift(kind):
        return None
    reader, _ = drift._DRIFT_READERS[kind]  # noqa: SLF001
    return reader(record.get("PhysicalResourceId", ""), record.get("Properties") or {}) is None
