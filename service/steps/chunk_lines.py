"""Rows of a finished chunk as JSON lines in S3, one object a chunk, as they are stored at that moment."""

from __future__ import annotations

import json
from itertools import chain
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.models import batch_hash, row_id, row_number
from service.s3 import bodies
from service.source.csv_rows import Chunk
from service.store.attribute_values import decode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App

PREFIX = "stream/"
_THERE = ("PreconditionFailed", "412")
_KEYS = ("batch_id", "row_id", "row_number", "status", "error", "attempts", "execution_time_ms", "timestamp")
_SHOWN = (*_KEYS, "input_data", "output_data")


def write_rows(app: App, batch_id: str, run: int, numbers: list[int]) -> None:
    """Write the rows of chunks that have finished, an object each; one that is there stays as it was written."""
    bucket, wanted = app.settings.data_bucket, set(numbers)
    record = app.records.get(batch_id)
    for line in chain.from_iterable(bodies.lines(app.s3, bucket, key) for key in record.manifests(run)):
        chunk = Chunk.from_json(json.loads(line))
        if chunk.number in wanted:
            body = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in _rows(app, batch_id, run, chunk))
            key = f"{PREFIX}{batch_hash(batch_id)}/run-{run:04d}/chunk-{chunk.number:08d}.jsonl"
            _put_once(app, key, body.encode(errors="replace"), {"run": str(run), "rows": str(body.count("\n"))})


def _put_once(app: App, key: str, body: bytes, metadata: dict[str, str]) -> None:
    """Write an object that is not there; a later event would find rows that were run again meanwhile gone from it."""
    try:
        app.s3.put_object(
            Bucket=app.settings.data_bucket,
            Key=key,
            Body=body,
            ContentType="application/jsonl",
            Metadata=metadata,
            IfNoneMatch="*",
        )
    except ClientError as error:
        if error.response["Error"]["Code"] not in _THERE:
            raise


def _rows(app: App, batch_id: str, run: int, chunk: Chunk) -> Iterator[dict[str, Any]]:
    """Yield what is stored of a chunk's rows by this run, in their order."""
    for first, end in chunk.spans:
        pages = app.dynamodb.get_paginator("query").paginate(
            TableName=app.settings.results_table,
            KeyConditionExpression="batch_id = :batch AND row_id BETWEEN :first AND :last",
            FilterExpression="#run = :run",
            ExpressionAttributeNames={"#run": "run"},
            ExpressionAttributeValues={
                ":batch": {"S": batch_id},
                ":first": {"S": row_id(first)},
                ":last": {"S": row_id(end - 1)},
                ":run": {"N": str(run)},
            },
            ConsistentRead=True,
        )
        for page in pages:
            for item in page["Items"]:
                values = {name: decode(item[name]) for name in item if name in _SHOWN}
                yield dict.fromkeys(_SHOWN) | values | {"row_number": row_number(values["row_id"])}
