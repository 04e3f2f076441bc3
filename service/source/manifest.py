"""The lists of chunks in S3: every chunk of a source in row order, and those of one run in the order they are dealt."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.models import batch_hash
from service.source import csv_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.source.csv_rows import Chunk


def prefix(batch_id: str) -> str:
    """Where a batch keeps what it is run by."""
    return f"batches/{batch_hash(batch_id)}"


def write_chunks(s3: Any, bucket: str, batch_id: str, chunks: list[Chunk]) -> str:
    """Write all chunks of the source, by which its rows are found later; return the key."""
    return _write(s3, bucket, f"{prefix(batch_id)}/chunks.jsonl", chunks)


def write_manifest(s3: Any, bucket: str, batch_id: str, run: int, chunks: list[Chunk]) -> str:
    """Write the chunks of a run in an order that spreads the rows in flight over all rows; return the key."""
    dealt = (chunks[position] for position in csv_rows.bit_reversed_order(len(chunks)))
    return _write(s3, bucket, f"{prefix(batch_id)}/run-{run}.jsonl", dealt)


def write_again(s3: Any, bucket: str, batch_id: str, run: int, chunks: list[Chunk]) -> str:
    """Write the chunks of a run that are run a second time, as they are given; return the key."""
    return _write(s3, bucket, f"{prefix(batch_id)}/run-{run}-again.jsonl", chunks)


def told(  # noqa: PLR0913 - what the state machine needs
    batch_id: str,
    run: int,
    plan: str,
    manifest_key: str,
    *,
    children: str,
    outer: int,
    row_count: int,
    rows_to_run: int,
    again: bool = False,
) -> dict[str, Any]:
    """Return what PrepareBatch returns of a run; `again` of chunks that are run a second time in it."""
    return {
        "batch_id": batch_id,
        "run": run,
        "plan": plan,
        "manifest_key": manifest_key,
        "map_results_prefix": f"{prefix(batch_id)}/map/run-{run}",
        "children": children,
        "again": again,
        "outer": outer,
        "row_count": row_count,
        "rows_to_run": rows_to_run,
    }


def _write(s3: Any, bucket: str, key: str, chunks: Iterable[Chunk]) -> str:
    lines = "".join(json.dumps(chunk.to_json(), separators=(",", ":")) + "\n" for chunk in chunks)
    s3.put_object(Bucket=bucket, Key=key, Body=lines.encode())
    return key
