"""Chunks that an EXPRESS execution did not finish: found by their missing records, and run again by STANDARD ones."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.cost.workload import chunk_rows
from service.request.child_executions import STANDARD
from service.s3 import bodies
from service.source import manifest
from service.source.csv_rows import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.app import App


def find_unfinished(app: App, batch: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the state machine needs to run the chunks of a run that have no record, in STANDARD executions.

    `batch`: what PrepareBatch returned of the run. The new list is written beside the first one. A function that is
    called again finds more chunks finished, never fewer.
    """
    identifier, run = batch["batch_id"], int(batch["run"])
    policy = app.plans.load(identifier, batch["plan"]).retry_policy
    done, left, total = app.plans.finished_chunks(identifier, run), [], 0
    for line in bodies.lines(app.s3, app.settings.data_bucket, batch["manifest_key"]):
        chunk = Chunk.from_json(json.loads(line))
        total = max(total, chunk.number + 1)
        if chunk.number not in done:
            left.append(chunk)
    chunks = list(_parts(left, chunk_rows(policy.max_attempts, policy.throttled_seconds), total))
    key = batch["manifest_key"]
    if chunks:
        key = manifest.write_again(app.s3, app.settings.data_bucket, identifier, run, chunks)
        _note(app, identifier, run, key, len(left))
    rows = sum(chunk.rows for chunk in left)
    return {**batch, "manifest_key": key, "children": STANDARD, "again": True, "rows_to_run": rows}


def _parts(chunks: list[Chunk], most: int, number: int) -> Iterator[Chunk]:
    """Yield chunks of at most so many rows, which the history of a STANDARD execution holds; parts are numbered on."""
    for chunk in chunks:
        if chunk.rows <= most:
            yield chunk
            continue
        for begin in range(0, chunk.rows, most):
            yield replace(chunk, number=number, part=(begin, min(begin + most, chunk.rows)))
            number += 1


def _note(app: App, identifier: str, run: int, key: str, count: int) -> None:
    record = app.records.get(identifier)
    runs = [{**each, "again_key": key} if int(each["run"]) == run else each for each in record.runs]
    chunks = {**record.chunks, "run_again": count}
    app.records.update_open(identifier, record.execution_arn, runs=runs, chunks=chunks)
