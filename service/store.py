"""Results in DynamoDB: the conditional put, and pages of a batch in row order."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from service import codec
from service.models import Result, RowStatus, now_iso

if TYPE_CHECKING:
    from collections.abc import Iterator

SHARDS = 16  # partition keys a day of timestamp-index is spread over
ITEM_BYTES = 390_000  # of the 400 KB an item may hold
KEPT_IN_ITEM = 4_096  # bytes of compressed output that stand in the item; larger ones go to S3

# What an item is told apart by in a page; `output` stays behind.
READ = ("row_id", "status", "input_data", "output_data", "error", "execution_time_ms", "timestamp", "ttl")

# The clauses of the conditional put. An expired item counts as absent: DynamoDB deletes it within days, not at once.
_ABSENT = "attribute_not_exists(#row_id)"
_EXPIRED = "#ttl < :now"
_EARLIER_FAILURE = "(#status <> :success AND #run < :run)"
_ANY_FAILURE = "#status <> :success"
FAILURE_MAY_REPLACE = f"{_ABSENT} OR {_EXPIRED} OR {_EARLIER_FAILURE}"
SUCCESS_MAY_REPLACE = f"{_ABSENT} OR {_EXPIRED} OR {_ANY_FAILURE}"


def shard(batch_id: str, row_id: str) -> int:
    """The shard of timestamp-index that a row's result is on."""
    return zlib.crc32(f"{batch_id}/{row_id}".encode()) % SHARDS


def time_bucket(timestamp: str, number: int) -> str:
    """`{UTC date}#{shard}`, the partition key of timestamp-index."""
    return f"{timestamp[:10]}#{number:02d}"


def _map(value: Any) -> dict[str, Any]:
    """A map attribute; a plain event's value that is no object is one field, `value`."""
    return codec.encode(value if isinstance(value, Mapping) else {"value": value})


def to_item(result: Result) -> dict[str, Any]:
    """The DynamoDB item of a result, in wire form."""
    item: dict[str, Any] = {
        "batch_id": {"S": result.batch_id},
        "row_id": {"S": result.row_id},
        "status": {"S": str(result.status)},
        "input_data": _map(result.input_data),
        "output_data": _map(result.output_data),
        "timestamp": {"S": result.timestamp},
        "attempts": {"N": str(result.attempts)},
        "run": {"N": str(result.run)},
        "time_bucket": {"S": time_bucket(result.timestamp, shard(result.batch_id, result.row_id))},
    }
    if result.status != RowStatus.SUCCESS:
        item["failed_status"] = {"S": f"{result.status}#{result.row_id}"}
    optional: dict[str, dict[str, Any] | None] = {
        "execution_time_ms": None if result.execution_time_ms is None else {"N": str(result.execution_time_ms)},
        "ttl": None if result.ttl is None else {"N": str(result.ttl)},
        "error": codec.encode(result.error) if result.error else None,
        "method": {"S": result.method} if result.method else None,
        "output": {"B": result.output} if result.output else None,
        "output_s3_uri": {"S": result.output_s3_uri} if result.output_s3_uri else None,
    }
    item.update({name: value for name, value in optional.items() if value is not None})
    return item


def item_bytes(item: dict[str, Any]) -> int:
    """Bytes of an item as DynamoDB counts them, rounded up (Developer Guide, "DynamoDB item sizes and formats")."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def _value_bytes(value: dict[str, Any]) -> int:
    ((kind, inner),) = value.items()
    if kind == "S":
        return len(inner.encode())
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _value_bytes(item) for name, item in inner.items())
    if kind == "L":
        return 3 + sum(1 + _value_bytes(item) for item in inner)
    if kind == "N":
        return min(21, len(inner) + 1)
    return len(inner) if kind == "B" else 1


class ResultStore:
    """Puts and reads of the results table."""

    def __init__(self, dynamodb: Any, table: str) -> None:
        self._dynamodb = dynamodb
        self._table = table

    def put(self, result: Result) -> str:
        """Stores the result unless a better one is there; returns the status that is stored afterwards.

        A success is never overwritten by a failure, and the same result put twice is one result.
        Raises botocore's ClientError for everything but the refused condition.
        """
        if not result.timestamp:
            result.timestamp = now_iso()
        success = result.status == RowStatus.SUCCESS
        # only what the condition uses: DynamoDB refuses a name or value that it does not
        values: dict[str, Any] = {":success": {"S": "SUCCESS"}, ":now": {"N": str(int(time.time()))}}
        names = {"#row_id": "row_id", "#status": "status", "#ttl": "ttl"}
        if not success:
            values[":run"] = {"N": str(result.run)}
            names["#run"] = "run"
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=to_item(result),
                ConditionExpression=SUCCESS_MAY_REPLACE if success else FAILURE_MAY_REPLACE,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            kept: str = refused.response.get("Item", {}).get("status", {}).get("S", str(result.status))
            return kept
        return str(result.status)

    def pages(self, batch_id: str, *, after: str | None = None, names: tuple[str, ...] = READ) -> Iterator[list[Any]]:
        """Pages of items in wire form, in row order, strongly consistent, expired ones left out."""
        now = int(time.time())
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#batch_id = :batch",
            "ExpressionAttributeValues": {":batch": {"S": batch_id}},
            "ProjectionExpression": ", ".join(f"#{name}" for name in names),
            "ExpressionAttributeNames": {"#batch_id": "batch_id", **{f"#{name}": name for name in names}},
            "ConsistentRead": True,
        }
        if after is not None:
            arguments["ExclusiveStartKey"] = {"batch_id": {"S": batch_id}, "row_id": {"S": after}}
        while True:
            answer = self._dynamodb.query(**arguments)
            yield [item for item in answer["Items"] if "ttl" not in item or int(item["ttl"]["N"]) >= now]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
