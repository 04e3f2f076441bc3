"""Registered targets: a tool's or an agent's ARN, description and schemas, by name and version."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from service.models import now_iso
from service.table import TargetItem

KIND_OF_TYPE = {"lambda": "tool", "state_machine": "agent"}
TYPE_OF_KIND = {kind: kind_type for kind_type, kind in KIND_OF_TYPE.items()}


@dataclass(frozen=True)
class RegisteredTarget:
    """One version of a target; `tool_type` is `lambda` or `state_machine`."""

    tool_name: str
    tool_type: str
    resource_arn: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    version: int = 0


class Registry:
    """Look-ups and registration in the registry table."""

    def find(self, name: str) -> RegisteredTarget | None:
        """The newest version of a target, or None."""
        for item in TargetItem.query(name, scan_index_forward=False, limit=1, consistent_read=True):
            return RegisteredTarget(
                item.tool_name,
                item.tool_type,
                item.resource_arn,
                item.description or "",
                item.input_schema,
                item.output_schema,
                int(item.version),
            )
        return None

    def names(self) -> list[str]:
        """Every registered name, in order; registries are small, so a scan of the keys."""
        return sorted({item.tool_name for item in TargetItem.scan(attributes_to_get=["tool_name"])})

    def register(self, target: RegisteredTarget) -> RegisteredTarget:
        """Stores a new version, or returns the newest one when nothing differs from it."""
        newest = self.find(target.tool_name)
        version = newest.version if newest else 0
        if newest is not None and newest == RegisteredTarget(**{**vars(target), "version": version}):
            return newest
        item = TargetItem(
            target.tool_name,
            version + 1,
            tool_type=target.tool_type,
            resource_arn=target.resource_arn,
            description=target.description,
            input_schema=target.input_schema,
            output_schema=target.output_schema,
            registered_at=now_iso(),
        )
        item.save(condition=TargetItem.tool_name.does_not_exist())
        return RegisteredTarget(**{**vars(target), "version": version + 1})
