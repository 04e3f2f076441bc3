"""A batch's plan (mappings, columns and limits as resolved), loaded by its hash and kept while a function is warm."""

from __future__ import annotations

import hashlib
import json
import zlib
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem
from service.limits import PLAN_BYTES
from service.models import BatchStatus, now_iso
from service.plan import Plan

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SLOTS = 64  # of a tally's item


def of_record(dynamodb: Any, table: str, batch_id: str, name: str) -> dict[str, Any]:
    """Return one attribute of a batch's record in wire form, strongly consistent; {} where there is none."""
    answer = dynamodb.get_item(
        TableName=table,
        Key={"batch_id": {"S": batch_id}, "item": {"S": "batch"}},
        ProjectionExpression="#name",
        ExpressionAttributeNames={"#name": name},
        ConsistentRead=True,
    )
    attribute: dict[str, Any] = answer.get("Item", {}).get(name, {})
    return attribute


class PlanMissing(Exception):
    """The chunk names a plan that is not stored: its batch was deleted, or the event is not ours."""


class Plans:
    """Plans and chunk records in the batches table, through the bare client: functions that run per row use it."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table
        self.load = lru_cache(maxsize=32)(self._load)
        self.settled: set[tuple[str, int]] = set()  # runs whose first failures are not counted any more

    def save(self, batch_id: str, plan: Plan) -> str:
        """Store the plan and return its hash; the same plan has the same hash. BatchRefused when it is too large.

        Keys are stored in the order of the mappings, which is that of the fields when the batch is run again.
        """
        document = plan.to_json()
        digest = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]
        packed = zlib.compress(json.dumps(document, separators=(",", ":")).encode())
        if len(packed) > PLAN_BYTES:
            message = f"the mappings take {len(packed)} bytes compressed; at most {PLAN_BYTES} can be stored"
            raise BatchRefused([Problem("output_mapping", message)])
        self._dynamodb.put_item(
            TableName=self._table,
            Item={"batch_id": {"S": batch_id}, "item": {"S": f"plan#{digest}"}, "plan": {"B": packed}},
        )
        return digest

    def _load(self, batch_id: str, digest: str) -> Plan:
        answer = self._dynamodb.get_item(
            TableName=self._table,
            Key={"batch_id": {"S": batch_id}, "item": {"S": f"plan#{digest}"}},
            ConsistentRead=True,
        )
        if "Item" not in answer:
            raise PlanMissing(f"no plan {digest} of batch {batch_id} in table {self._table}")
        return Plan.of(json.loads(zlib.decompress(answer["Item"]["plan"]["B"])))

    def find(self, batch_id: str, digest: str | None) -> Plan | None:
        """Return the plan; None of a batch that never had one, or whose plan is not stored any more."""
        try:
            return self.load(batch_id, digest) if digest else None
        except PlanMissing:
            return None

    def stopped(self, batch_id: str) -> bool:
        """Whether no further row of the batch is to be run."""
        return bool(of_record(self._dynamodb, self._table, batch_id, "stop").get("BOOL"))

    def stop(self, batch_id: str, run: int, reason: str) -> None:
        """Set the stop flag of a run that is under way, if nothing has yet."""
        values = {":yes": {"BOOL": True}, ":reason": {"S": reason}, ":run": {"N": str(run)}}
        values |= {":running": {"S": BatchStatus.RUNNING.value}, ":stopping": {"S": BatchStatus.STOPPING.value}}
        names = {"#stop": "stop", "#reason": "stop_reason", "#run": "run", "#status": "status"}
        with suppress(self._dynamodb.exceptions.ConditionalCheckFailedException):
            self._dynamodb.update_item(
                TableName=self._table,
                Key={"batch_id": {"S": batch_id}, "item": {"S": "batch"}},
                UpdateExpression="SET #stop = :yes, #reason = :reason, #status = :stopping",
                ConditionExpression="#run = :run AND #status = :running",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
            )

    def add_to_tally(  # noqa: PLR0913 - whose counter, what is added, and by whom
        self, batch_id: str, run: int, counts: Mapping[str, int], ttl: int | None, number: int, token: str
    ) -> dict[str, int]:
        """Add to the counters of a run, one item of its own, and return them all.

        `number` is the row's or the chunk's, `token` is this call's own. The item keeps the last token of each of 64
        slots, so a call whose answer was lost, which botocore sends again, adds once.
        """
        slot = f"slot_{number % _SLOTS}"
        added = {name: {"N": str(value)} for name, value in counts.items()}
        kept = {slot: {"S": token}, **({} if ttl is None else {"ttl": {"N": str(ttl)}})}
        sets = ", ".join(f"#{name} = :{name}" for name in kept)
        names, values = [*added, *kept], {**added, **kept}
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key={"batch_id": {"S": batch_id}, "item": {"S": f"tally#{run:04d}"}},
                UpdateExpression=f"ADD {', '.join(f'#{name} :{name}' for name in added)} SET {sets}",
                ConditionExpression=f"attribute_not_exists(#{slot}) OR #{slot} <> :{slot}",
                ExpressionAttributeNames={f"#{name}": name for name in names},
                ExpressionAttributeValues={f":{name}": value for name, value in values.items()},
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
            found = answer["Attributes"]
        except self._dynamodb.exceptions.ConditionalCheckFailedException as counted:
            found = counted.response["Item"]
        return {name: int(value["N"]) for name, value in found.items() if "N" in value}

    def count_first_failure(  # noqa: PLR0913 - whose failure it is, where and why
        self, batch_id: str, run: int, cause: str, row: int, chunk: int, ttl: int | None
    ) -> tuple[int, int] | None:
        """Add a failure; return how many there are and in how many chunks, None once they are not counted any more.

        They are not after two different causes. Sets of numbers: a call whose answer was lost adds once.
        """
        names = {f"#{name}": name for name in ("cause", "over", "rows", "chunks")}
        values = {":cause": {"S": cause}, ":row": {"NS": [str(row)]}, ":chunk": {"NS": [str(chunk)]}}
        sets = "#cause = :cause"
        if ttl is not None:
            names["#ttl"], values[":ttl"] = "ttl", {"N": str(ttl)}
            sets += ", #ttl = :ttl"
        try:
            answer = self._dynamodb.update_item(
                TableName=self._table,
                Key=self._first_failures(batch_id, run),
                UpdateExpression=f"ADD #rows :row, #chunks :chunk SET {sets}",
                ConditionExpression="attribute_not_exists(#over) AND (attribute_not_exists(#cause) OR #cause = :cause)",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            self.settle_first_failures(batch_id, run)
            return None
        counted = answer["Attributes"]
        return len(counted["rows"]["NS"]), len(counted["chunks"]["NS"])

    def settle_first_failures(self, batch_id: str, run: int) -> None:
        """Note that the first failures of a run are not counted any more."""
        self._dynamodb.update_item(
            TableName=self._table,
            Key=self._first_failures(batch_id, run),
            UpdateExpression="SET #over = :yes",
            ExpressionAttributeNames={"#over": "over"},
            ExpressionAttributeValues={":yes": {"BOOL": True}},
        )

    def _first_failures(self, batch_id: str, run: int) -> dict[str, Any]:
        return {"batch_id": {"S": batch_id}, "item": {"S": f"first#{run:04d}"}}

    def finished_chunks(self, batch_id: str, run: int) -> set[int]:
        """Return the numbers of a run's chunks that have a record."""
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            KeyConditionExpression="batch_id = :batch AND begins_with(#item, :chunks)",
            ProjectionExpression="#item",
            ExpressionAttributeNames={"#item": "item"},
            ExpressionAttributeValues={":batch": {"S": batch_id}, ":chunks": {"S": f"chunk#{run:04d}#"}},
            ConsistentRead=True,
        )
        return {int(item["item"]["S"].rpartition("#")[2]) for page in pages for item in page["Items"]}

    def save_chunk(  # noqa: PLR0913 - one argument per attribute
        self,
        batch_id: str,
        run: int,
        chunk: int,
        *,
        first_row: int,
        rows: int,
        counts: Mapping[str, int],
        ttl: int | None,
        lost: Mapping[str, Sequence[str]] | None = None,
    ) -> bool:
        """Write one small record per chunk and run; return False when an earlier call has written it.

        `lost` says why rows are MISSING: type and message by row number, or by `*` of the whole chunk.
        """
        item = {
            "batch_id": {"S": batch_id},
            "item": {"S": f"chunk#{run:04d}#{chunk:08d}"},
            "first_row": {"N": str(first_row)},
            "rows": {"N": str(rows)},
            "counts": {"S": json.dumps(counts, separators=(",", ":"))},
            "ended_at": {"S": now_iso()},
        }
        if lost:
            item["lost"] = {"S": json.dumps(lost, separators=(",", ":"))}
        if ttl is not None:
            item["ttl"] = {"N": str(ttl)}
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression="attribute_not_exists(#item)",
                ExpressionAttributeNames={"#item": "item"},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            # written by this very call, whose answer was lost: a repeated function has another time
            return bool(refused.response.get("Item", {}).get("ended_at") == item["ended_at"])
        return True
