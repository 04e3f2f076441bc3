"""What is kept of a run's governing, one item in the batches table; a run that is never throttled has none.

Two kinds of writes: events are added to the item's counters, whoever else does so at the same time; a decision is put
in the place of the whole item, on condition that no other was since the counters were read. What was counted between is
lost: it belongs to the time before the decision.
"""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.store.plans import of_record

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTERS = ("refused", "ended", "rows")


@dataclass(frozen=True)
class Kept:
    """An item: `values` of the state, its counters among them, and how many decisions made it."""

    values: dict[str, Any] = field(default_factory=dict)
    version: int = 0


class Governings:
    """The items of governing, through the bare client: functions that run per row use it."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def count_refused(self, batch_id: str, run: int, first: Mapping[str, Any], ttl: int | None) -> Kept:
        """Add a refused call, and return what is kept then; `first` is the state where there was none."""
        sets = "#state = if_not_exists(#state, :state), #version = if_not_exists(#version, :version)"
        values = {":one": _number(1), ":state": {"S": _packed(first)}, ":version": _number(0)}
        names = {"#refused": "refused", "#state": "state", "#version": "version"}
        if ttl is not None:
            sets += ", #ttl = :ttl"
            values[":ttl"] = _number(ttl)
            names["#ttl"] = "ttl"
        answer = self._dynamodb.update_item(
            TableName=self._table,
            Key=_key(batch_id, run),
            UpdateExpression=f"ADD #refused :one SET {sets}",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values,
            ReturnValues="ALL_NEW",
        )
        return _kept(answer["Attributes"])

    def count_ended(self, batch_id: str, run: int, rows: int) -> Kept | None:
        """Add a chunk that has ended, and return what is kept then; None, and nothing is written, without an item."""
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=_key(batch_id, run),
                UpdateExpression="ADD #ended :one, #rows :rows",
                ConditionExpression="attribute_exists(#state)",
                ExpressionAttributeNames={"#ended": "ended", "#rows": "rows", "#state": "state"},
                ExpressionAttributeValues={":one": _number(1), ":rows": _number(rows)},
                ReturnValues="ALL_NEW",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            return None
        return _kept(answer["Attributes"])

    def find(self, batch_id: str, run: int) -> Kept | None:
        """Return what is kept of a run; None of one that was never throttled."""
        answer = self._dynamodb.get_item(TableName=self._table, Key=_key(batch_id, run), ConsistentRead=True)
        return _kept(answer["Item"]) if "Item" in answer else None

    def decide(self, batch_id: str, run: int, kept: Kept, values: Mapping[str, Any], ttl: int | None) -> bool:
        """Put a decision in the place of what was kept; False when another one was made since that was read.

        `kept` names the version that was read, 0 of no item or of one without a decision.
        """
        token = secrets.token_hex(8)
        item = {
            **_key(batch_id, run),
            **{name: _number(values[name]) for name in _COUNTERS},
            "state": {"S": _packed(values)},
            "version": _number(kept.version + 1),
            "token": {"S": token},
        }
        if ttl is not None:
            item["ttl"] = _number(ttl)
        unmade = "attribute_not_exists(#version) OR " if kept.version == 0 else ""
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=f"{unmade}#version = :version",
                ExpressionAttributeNames={"#version": "version"},
                ExpressionAttributeValues={":version": _number(kept.version)},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            # written by this very call, whose answer was lost
            return bool(refused.response.get("Item", {}).get("token") == item["token"])
        return True

    def execution_arn(self, batch_id: str) -> str:
        """Return the execution that the batch's record names; "" without one."""
        return str(of_record(self._dynamodb, self._table, batch_id, "execution_arn").get("S", ""))


def _key(batch_id: str, run: int) -> dict[str, Any]:
    return {"batch_id": {"S": batch_id}, "item": {"S": f"governor#{run:04d}"}}


def _number(value: float) -> dict[str, str]:
    return {"N": str(value)}


def _packed(values: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in values.items() if name not in _COUNTERS}, separators=(",", ":"))


def _kept(item: Mapping[str, Any]) -> Kept:
    counters = {name: int(item.get(name, {}).get("N", 0)) for name in _COUNTERS}
    return Kept({**json.loads(item["state"]["S"]), **counters}, int(item["version"]["N"]))
