"""A batch's plan (mappings, columns and limits as resolved), loaded by its hash and kept while a function is warm."""

from __future__ import annotations

import hashlib
import json
import zlib
from functools import lru_cache
from typing import Any

from service.errors import BatchRefused, Problem
from service.models import now_iso

_ITEM_LIMIT = 380_000  # bytes; an item holds 400 KB with its names


class PlanMissing(Exception):
    """The chunk names a plan that is not stored: its batch was deleted, or the event is not ours."""


class Plans:
    """Plans and chunk records in the batches table, through the bare client: functions that run per row use it."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self.load = lru_cache(maxsize=32)(self._load)

    def save(self, batch_id: str, plan: dict[str, Any]) -> str:
        """Stores the plan and returns its hash; the same plan has the same hash. BatchRefused when it is too large."""
        document = json.dumps(plan, sort_keys=True, separators=(",", ":")).encode()
        digest = hashlib.sha256(document).hexdigest()[:16]
        packed = zlib.compress(document)
        if len(packed) > _ITEM_LIMIT:
            message = f"the mappings take {len(packed)} bytes compressed; at most {_ITEM_LIMIT} can be stored"
            raise BatchRefused([Problem("output_mapping", message)])
        self._dynamodb.put_item(
            TableName=self._table,
            Item={"batch_id": {"S": batch_id}, "item": {"S": f"plan#{digest}"}, "plan": {"B": packed}},
        )
        return digest

    def _load(self, batch_id: str, digest: str) -> dict[str, Any]:
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key={"batch_id": {"S": batch_id}, "item": {"S": f"plan#{digest}"}},
            ConsistentRead=True,
        )
        if "Item" not in answer:
            raise PlanMissing(f"no plan {digest} of batch {batch_id} in table {self._table}")
        plan: dict[str, Any] = json.loads(zlib.decompress(answer["Item"]["plan"]["B"]))
        return plan

    def stopped(self, batch_id: str) -> bool:
        """Whether no further row of the batch is to be run."""
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key={"batch_id": {"S": batch_id}, "item": {"S": "batch"}},
            ProjectionExpression="#stop",
            ExpressionAttributeNames={"#stop": "stop"},
            ConsistentRead=True,
        )
        return bool(answer.get("Item", {}).get("stop", {}).get("BOOL"))

    def save_chunk(  # noqa: PLR0913 - one argument per attribute
        self, batch_id: str, run: int, chunk: int, *, first_row: int, rows: int, counts: dict[str, int], ttl: int | None
    ) -> None:
        """One small record per finished chunk and run; writing it twice leaves one."""
        item = {
            "batch_id": {"S": batch_id},
            "item": {"S": f"chunk#{run:04d}#{chunk:08d}"},
            "first_row": {"N": str(first_row)},
            "rows": {"N": str(rows)},
            "counts": {"S": json.dumps(counts, separators=(",", ":"))},
            "ended_at": {"S": now_iso()},
        }
        if ttl is not None:
            item["ttl"] = {"N": str(ttl)}
        self._dynamodb.put_item(TableName=self._table, Item=item)
