"""Results in DynamoDB: the conditional put, the remap of one version, and pages of a batch in row order."""

from __future__ import annotations

import time
import zlib
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from service.limits import SHARDS
from service.models import Result, RowStatus, now_iso
from service.store import attribute_values

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_LOOKED_THROUGH = 5  # pages of 1 MB

# The clauses of the conditional put. An expired item counts as absent: DynamoDB deletes it within days, not at once.
_ABSENT = "attribute_not_exists(#row_id)"
_EXPIRED = "#ttl < :now"
_EARLIER_FAILURE = "(#status <> :success AND #run < :run)"
_ANY_FAILURE = "#status <> :success"
FAILURE_MAY_REPLACE = f"{_ABSENT} OR {_EXPIRED} OR {_EARLIER_FAILURE}"
SUCCESS_MAY_REPLACE = f"{_ABSENT} OR {_EXPIRED} OR {_ANY_FAILURE}"

# What extraction gives; everything else in an item is of the run: when it was, what it took, what was put in.
EXTRACTED = ("status", "output_data", "method", "error", "failed_status")
# The clauses of a remap: the very version that was read, and not expired. A later run or a plain event changes `run` or
# `timestamp`; another remap changes neither, so what it may have changed has to be as it was read too.
_PRESENT = "attribute_exists(#row_id)"
_NOT_EXPIRED = "(attribute_not_exists(#ttl) OR #ttl >= :now)"
_VERSION = ("run", "timestamp", "status", "output_data", "method", "error")


def shard(batch_id: str, row_id: str) -> int:
    """Return the shard of timestamp-index that a row's result is on."""
    return zlib.crc32(f"{batch_id}/{row_id}".encode()) % SHARDS


def time_bucket(timestamp: str, number: int) -> str:
    """`{UTC date}#{shard}`, the partition key of timestamp-index."""
    return f"{timestamp[:10]}#{number:02d}"


def _map(value: Any) -> dict[str, Any]:
    """Return a map attribute; a plain event's value that is no object is one field, `value`."""
    return attribute_values.encode(value if isinstance(value, Mapping) else {"value": value})


def to_item(result: Result) -> dict[str, Any]:
    """Return the DynamoDB item of a result, in wire form."""
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
        "error": attribute_values.encode(result.error) if result.error else None,
        "method": {"S": result.method} if result.method else None,
        "output": {"B": result.output} if result.output else None,
        "output_s3_uri": {"S": result.output_s3_uri} if result.output_s3_uri else None,
    }
    item.update({name: value for name, value in optional.items() if value is not None})
    return item


def extracted(result: Result) -> dict[str, Any]:
    """Return what a remap writes of a result, in wire form."""
    item = to_item(result)
    return {name: item[name] for name in EXTRACTED if name in item}


def with_extracted(item: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any]:
    """Return the item as it will be when `fresh` has taken the place of what was extracted before."""
    return {**{name: value for name, value in item.items() if name not in EXTRACTED}, **fresh}


def extracts_the_same(item: Mapping[str, Any], fresh: Mapping[str, Any]) -> bool:
    """Whether a remap would change nothing; numbers count by value, since DynamoDB spells them its own way."""
    return all(
        (name in item) == (name in fresh) and (name not in item or _same(item[name], fresh[name])) for name in EXTRACTED
    )


def _same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if one == other:
        return True
    if one.keys() != other.keys():
        return False
    ((kind, first),), (second,) = one.items(), other.values()
    if kind == "N":
        return Decimal(first) == Decimal(second)
    if kind == "M":
        return first.keys() == second.keys() and all(_same(value, second[name]) for name, value in first.items())
    return kind == "L" and len(first) == len(second) and all(map(_same, first, second))


def alive(item: Mapping[str, Any], now: int) -> bool:
    """Whether an item is not past its time; DynamoDB deletes it within days, not at once."""
    return "ttl" not in item or int(item["ttl"]["N"]) >= now


def _is_this_put(there: Mapping[str, Any], item: Mapping[str, Any]) -> bool:
    """Whether what is there was written by this very put: its answer was lost, and botocore sent it again.

    A repeated function makes its result anew, with another timestamp.
    """
    return all(there.get(name) == item.get(name) for name in ("timestamp", "run", "attempts", "status"))


def _is_this_remap(there: Mapping[str, Any], read: Mapping[str, Any], fresh: Mapping[str, Any]) -> bool:
    """Whether what is there is what was read, remapped: the answer was lost, and botocore sent the update again."""
    return all(there.get(name) == read.get(name) for name in ("run", "timestamp")) and extracts_the_same(there, fresh)


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
        """Store the result unless a better one is there; return the status that is stored afterwards.

        A success is never overwritten by a failure, and the same result put twice is one result.
        Raises botocore's ClientError for everything but the refused condition.
        """
        if not result.timestamp:
            result.timestamp = now_iso()
        return self.put_item(to_item(result))[0]

    def put_item(self, item: dict[str, Any]) -> tuple[str, bool]:
        """Write a result that is an item already; return its status, and whether it was written just now."""
        success = item["status"]["S"] == RowStatus.SUCCESS
        # only what the condition uses: DynamoDB refuses a name or value that it does not
        values: dict[str, Any] = {":success": {"S": "SUCCESS"}, ":now": {"N": str(int(time.time()))}}
        names = {"#row_id": "row_id", "#status": "status", "#ttl": "ttl"}
        if not success:
            values[":run"] = item["run"]
            names["#run"] = "run"
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                ConditionExpression=SUCCESS_MAY_REPLACE if success else FAILURE_MAY_REPLACE,
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=values,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            there = refused.response.get("Item", {})
            kept: str = there.get("status", {}).get("S", item["status"]["S"])
            return kept, _is_this_put(there, item)
        return str(item["status"]["S"]), True

    def remap(self, read: Mapping[str, Any], fresh: Mapping[str, Any]) -> dict[str, Any] | None:
        """Put `fresh` (see `extracted`) in the place of what was extracted, over the very version that was read.

        Returns None when it is written; else nothing was, and it returns the item that is there now, {} for none.
        """
        gone = [name for name in EXTRACTED if name not in fresh and name in read]
        update = "SET " + ", ".join(f"#{name} = :{name}" for name in fresh)
        if gone:
            update += " REMOVE " + ", ".join(f"#{name}" for name in gone)
        version = [f"#{name} = :read_{name}" if name in read else f"attribute_not_exists(#{name})" for name in _VERSION]
        values = {f":{name}": value for name, value in fresh.items()}
        values |= {f":read_{name}": read[name] for name in _VERSION if name in read}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key={"batch_id": read["batch_id"], "row_id": read["row_id"]},
                UpdateExpression=update,
                ConditionExpression=" AND ".join((_PRESENT, *version, _NOT_EXPIRED)),
                ExpressionAttributeNames={f"#{name}": name for name in {"row_id", "ttl", *_VERSION, *fresh, *gone}},
                ExpressionAttributeValues={**values, ":now": {"N": str(int(time.time()))}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException as refused:
            there: dict[str, Any] = refused.response.get("Item", {})
            return None if _is_this_remap(there, read, fresh) else there
        return None

    def of_run(self, batch_id: str, row_ids: Sequence[str], run: int) -> dict[str, str]:
        """Return the status by row id of those rows, at most 100, that have a result of this run already."""
        keys = [{"batch_id": {"S": batch_id}, "row_id": {"S": identifier}} for identifier in row_ids]
        names = {f"#{name}": name for name in ("row_id", "status", "run", "ttl")}
        asked = {
            "Keys": keys,
            "ConsistentRead": True,
            "ProjectionExpression": ", ".join(names),
            "ExpressionAttributeNames": names,
        }
        left: dict[str, Any] = {self._table: asked} if keys else {}
        found: dict[str, str] = {}
        now = int(time.time())
        while left:
            answer = self._dynamodb.batch_get_item(RequestItems=left)
            for item in answer["Responses"].get(self._table, ()):
                if alive(item, now) and int(item.get("run", {"N": "1"})["N"]) == run:
                    found[item["row_id"]["S"]] = item["status"]["S"]
            left = answer.get("UnprocessedKeys") or {}
        return found

    def none_succeeded(self, batch_id: str, run: int) -> bool:
        """Whether it is sure that no row of the run has succeeded so far; the first pages alone are looked at."""
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#batch_id = :batch",
            "FilterExpression": "#status = :success AND #run = :run",
            "ExpressionAttributeNames": {f"#{name}": name for name in ("batch_id", "status", "run")},
            "ExpressionAttributeValues": {
                ":batch": {"S": batch_id},
                ":success": {"S": RowStatus.SUCCESS.value},
                ":run": {"N": str(run)},
            },
            "Select": "COUNT",
            "ConsistentRead": True,
        }
        for _ in range(_LOOKED_THROUGH):
            answer = self._dynamodb.query(**arguments)
            if answer["Count"]:
                return False
            if "LastEvaluatedKey" not in answer:
                return True
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
        return False

    def failed(self, batch_id: str) -> Iterator[tuple[str, str, int]]:
        """Row id, status and runs of the rows that did not succeed, by status (`status-index`), expired ones left out.

        An index is consistent a moment after the table.
        """
        pages = self._dynamodb.get_paginator("query").paginate(
            TableName=self._table,
            IndexName="status-index",
            KeyConditionExpression="#batch_id = :batch",
            ProjectionExpression="#row_id, #status, #attempts, #ttl",
            ExpressionAttributeNames={f"#{name}": name for name in ("batch_id", "row_id", "status", "attempts", "ttl")},
            ExpressionAttributeValues={":batch": {"S": batch_id}},
        )
        now = int(time.time())
        for page in pages:
            for item in page["Items"]:
                if alive(item, now):
                    yield item["row_id"]["S"], item["status"]["S"], int(item.get("attempts", {"N": "1"})["N"])

    def pages(self, batch_id: str) -> Iterator[list[dict[str, Any]]]:
        """Pages of whole items in wire form, in row order, strongly consistent, expired ones left out.

        For who writes them again; who only reads them takes the page reader.
        """
        now = int(time.time())
        arguments: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": "#batch_id = :batch",
            "ExpressionAttributeValues": {":batch": {"S": batch_id}},
            "ExpressionAttributeNames": {"#batch_id": "batch_id"},
            "ConsistentRead": True,
        }
        while True:
            answer = self._dynamodb.query(**arguments)
            yield [item for item in answer["Items"] if alive(item, now)]
            if "LastEvaluatedKey" not in answer:
                return
            arguments["ExclusiveStartKey"] = answer["LastEvaluatedKey"]
