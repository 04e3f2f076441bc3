"""Registered targets: a tool's or an agent's ARN, description and schemas, by name and version."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import PutError
from pynamodb.pagination import ResultIterator

from service.errors import BatchProcessorError
from service.expressions.json_text import opened
from service.models import KINDS, TYPE_OF_KIND, now_iso
from service.store.attribute_values import decode
from service.store.tables import TargetItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TYPE_OF_SERVICE = {"lambda": "lambda", "states": "state_machine"}
_ATTEMPTS = 25  # numbers tried; each one lost was taken by somebody else


class RegistryBusy(BatchProcessorError):
    """Others kept taking the next version's number."""


@dataclass(frozen=True)
class RegisteredTarget:
    """One version of a target; `tool_type` is `lambda` or `state_machine`, `version` 0 in an item that has none.

    `other` holds, as DynamoDB has them, attributes of an existing table that are not ours: a new version keeps them.
    """

    tool_name: str
    tool_type: str
    resource_arn: str
    description: str = ""
    input_schema: dict[str, Any] | None = None
    output_schema: dict[str, Any] | None = None
    version: int = 0
    registered_at: str | None = None
    price_per_row_usd: float | None = None  # of one call
    fail_when: str | list[str] | None = None
    retry_when: str | list[str] | None = None
    idempotent: bool | None = None  # a row may be given to it twice
    other: dict[str, Any] = field(default_factory=dict, compare=False)


_OURS = frozenset(one.name for one in fields(RegisteredTarget)) - {"other"}


class Registry:
    """Look-ups and registration in the registry table."""

    def find(self, name: str, version: int | None = None) -> RegisteredTarget | None:
        """One version of a target, the newest when none is named; None when there is none."""
        found = _query(name, limit=1) if version is None else self.versions(name)
        return next((target for target in found if version is None or target.version == version), None)

    def versions(self, name: str) -> Iterator[RegisteredTarget]:
        """Every version of a target, the newest first."""
        return _query(name)

    def names(self) -> list[str]:
        """Every registered name, in order; registries are small, so a scan of the keys."""
        return sorted({item.tool_name for item in TargetItem.scan(attributes_to_get=["tool_name"])})

    def targets(self) -> list[RegisteredTarget]:
        """Return the newest version of each target, by name."""
        newest: dict[str, RegisteredTarget] = {}
        scanned: Iterator[RegisteredTarget] = ResultIterator(_connection().scan, (), {"consistent_read": True}, _target)
        for target in scanned:
            known = newest.get(target.tool_name)
            if known is None or known.version < target.version:
                newest[target.tool_name] = target
        return [newest[name] for name in sorted(newest)]

    def knows(self, target: RegisteredTarget) -> bool:
        """Whether some version is this, the newest or one before it."""
        return any(_content(version) == _content(target) for version in self.versions(target.tool_name))

    def register(self, target: RegisteredTarget) -> RegisteredTarget:
        """Store a new version, or return the newest one when nothing differs from it; raise RegistryBusy."""
        return self._store(target.tool_name, lambda _newest: target)

    def amend(self, name: str, given: Mapping[str, Any]) -> RegisteredTarget:
        """As `register`, of a target whose attributes are these and for the rest those of its newest version."""
        return self._store(name, lambda newest: replace(newest or RegisteredTarget(name, "", ""), **given))

    def remove(self, name: str, *, arn: str | None = None) -> int:
        """Remove a target, all its versions or those with this ARN, and return how many versions were removed."""
        found = [target for target in self.versions(name) if arn in (None, target.resource_arn)]
        schema = _connection().describe_table()["KeySchema"]
        versioned = "version" in {part["AttributeName"] for part in schema}
        for target in found:
            _connection().delete_item(name, str(target.version) if versioned else None)
        return len(found)

    def _store(self, name: str, made: Callable[[RegisteredTarget | None], RegisteredTarget]) -> RegisteredTarget:
        """Store what is made of the newest version, under the next number that nobody has taken meanwhile."""
        for _ in range(_ATTEMPTS):
            newest = self.find(name)
            target = made(newest)
            if newest is not None and _content(newest) == _content(target):
                return newest
            numbered = replace(target, version=(newest.version if newest else 0) + 1, registered_at=now_iso())
            if _put(numbered):
                return numbered
        raise RegistryBusy(f"others register {name!r} at the same time: nothing of yours is stored, try again")


def _content(target: RegisteredTarget) -> str:
    """Return what makes two versions differ: the order of keys as well, since it is that of the CSV's columns."""
    content = vars(replace(target, version=0, registered_at=None, other={}))
    return json.dumps({name: value or None for name, value in content.items()})


def _put(target: RegisteredTarget) -> bool:
    """Store a version; whether its number was free.

    An existing table may have the key tool_name alone: there the next version takes the place of the one before it.
    """
    item = TargetItem(**{name: getattr(target, name) for name in _OURS})
    number_is_free = TargetItem.version.does_not_exist() | (TargetItem.version < target.version)
    try:
        _connection().put_item(
            target.tool_name,
            str(target.version),
            attributes={**target.other, **item.serialize()},
            condition=TargetItem.tool_name.does_not_exist() | number_is_free,
        )
    except PutError as error:
        if error.cause_response_code == "ConditionalCheckFailedException":
            return False
        raise error.cause or error from error
    return True


def _connection() -> Any:
    return TargetItem._get_connection()  # noqa: SLF001 - items as they are: one of another shape is no TargetItem


def _query(name: str, limit: int | None = None) -> Iterator[RegisteredTarget]:
    """Versions of a target, the newest first."""
    options = {"scan_index_forward": False, "consistent_read": True, "limit": limit}
    return ResultIterator(_connection().query, (name,), options, _target, limit=limit)


def _target(item: Mapping[str, Any]) -> RegisteredTarget:
    """Return an item, ours or one of another shape that an existing table holds.

    No version, schemas as maps, other words.
    """
    values = {name: decode(attribute) for name, attribute in item.items()}
    arn = str(values.get("resource_arn") or "")
    said = str(values.get("tool_type") or "").lower()
    version = str(values.get("version") or "")
    return RegisteredTarget(
        str(values["tool_name"]),
        TYPE_OF_KIND.get(KINDS.get(said, "")) or said or _TYPE_OF_SERVICE.get("".join(arn.split(":")[2:3]), ""),
        arn,
        values.get("description") or "",
        opened(values.get("input_schema")) or None,
        opened(values.get("output_schema")) or None,
        int(version) if version.isdigit() else 0,
        values.get("registered_at"),
        _price(values.get("price_per_row_usd")),
        _conditions(values.get("fail_when")),
        _conditions(values.get("retry_when")),
        values.get("idempotent") is True or None,
        {name: attribute for name, attribute in item.items() if name not in _OURS},
    )


def _price(stored: Any) -> float | None:
    """Return US dollars; None of what is no number, in an item of another shape."""
    try:
        return None if stored is None else float(stored)
    except (TypeError, ValueError):
        return None


def _conditions(stored: Any) -> str | list[str] | None:
    """Conditions as they were registered; an item of another shape may have them as they are."""
    try:
        found = json.loads(stored) if isinstance(stored, str) else stored
    except ValueError:
        found = stored
    return found if isinstance(found, str | list) else None
