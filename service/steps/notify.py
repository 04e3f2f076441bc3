"""What happens to batches, told to others: started, each tenth of the rows, ended; and the rows of finished chunks.

The stream of the batches table says all of it (Lambda reads it in order for each batch, at least once), so nothing that
runs rows knows of this. What is told has a key, by which a receiver knows what it was told before.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.batch.progress import causes_of
from service.errors import BatchProcessorError
from service.models import OPEN, BatchStatus
from service.steps.chunk_lines import write_rows
from service.store.batches import of_image

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from service.app import App
    from service.record import BatchRecord, ChunkRecord

SOURCE = "batch-processor"
STARTED, PROGRESS, ENDED = "Batch Started", "Batch Progress", "Batch Ended"
_STEPS = 10  # of the rows of a run
_CAUSES, _CAUSE_LONGEST = 10, 1000  # told of a batch; characters of each: an entry has at most 256 KB
_AT_ONCE = 10  # entries of one PutEvents ("Limits", EventBridge API reference)
_SUBJECT = 99  # characters, fewer than 100 (Publish, SNS API reference)


class NotTold(BatchProcessorError):
    """The event bus did not take everything; Lambda tries the records again."""


@dataclass(frozen=True)
class Channels:
    """Who is told: the name of an event bus, the ARN of a topic; and whether rows are written as chunks finish."""

    bus: str = ""
    topic: str = ""
    rows: bool = False

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Channels:
        """Return what the template's parameters ask for."""
        return cls(environ.get("EVENT_BUS", ""), environ.get("TOPIC_ARN", ""), environ.get("STREAM_ROWS") == "true")


def notify(app: App, channels: Channels, event: Mapping[str, Any]) -> None:
    """Tell what records of the batches table's stream mean; raises NotTold and ClientError: they come again."""
    told: list[tuple[str, BatchRecord, dict[str, Any]]] = []
    finished: dict[tuple[str, int], list[int]] = {}
    for record in event["Records"]:
        change = record["dynamodb"]
        batch_id, item = (change["Keys"][name]["S"] for name in ("batch_id", "item"))
        kind, _, rest = item.partition("#")
        if kind == "chunk" and record["eventName"] == "INSERT":
            run, number = map(int, rest.split("#"))
            finished.setdefault((batch_id, run), []).append(number)
        elif item == "batch" and record["eventName"] != "REMOVE":
            was = change.get("OldImage", {}).get("status", {}).get("S")
            told += _turns(of_image(change["NewImage"]), was)
    for (batch_id, run), numbers in finished.items():
        if channels.bus:
            told += _progress(app, batch_id, run, set(numbers))
    _each_by_itself(
        [
            *(partial(_publish, app, channels.topic, *one[1:]) for one in told if channels.topic and one[0] == ENDED),
            *([partial(_put, app, channels.bus, told)] if channels.bus and told else []),
            *(partial(write_rows, app, *run, numbers) for run, numbers in finished.items() if channels.rows),
        ]
    )


def _each_by_itself(calls: list[Callable[[], None]]) -> None:
    """Make every call, whatever becomes of those before it; raise the first error at the end."""
    errors = []
    for each in calls:
        try:
            each()
        except (BatchProcessorError, ClientError) as error:
            errors.append(error)
    if errors:
        raise errors[0]


def _turns(batch: BatchRecord, was: str | None) -> Iterator[tuple[str, BatchRecord, dict[str, Any]]]:
    """Yield that a batch has started or ended, when its status was another one before."""
    if was == batch.status:
        return
    if batch.status == BatchStatus.RUNNING:
        yield STARTED, batch, {**_base(batch, batch.run, "started"), "rows_to_run": batch.rows_to_run}
    elif batch.status not in OPEN and was in OPEN:
        yield ENDED, batch, {**_base(batch, batch.run, "ended"), **_summary(batch)}


def _progress(
    app: App, batch_id: str, run: int, numbers: set[int]
) -> Iterator[tuple[str, BatchRecord, dict[str, Any]]]:
    """Yield the tenths that were reached by these chunks, each once: chunks count in the order in which they ended."""
    batch = app.records.get(batch_id)
    whole = batch.rows_to_run or 0
    done, reached = 0, 0
    chunks = sorted(app.records.chunks(batch_id, run), key=_ended) if batch.run == run else []
    for chunk in chunks:
        done += chunk.rows
        tenth = min(_STEPS, done * _STEPS // max(1, whole))
        if tenth > reached and tenth < _STEPS and chunk.number in numbers:
            yield PROGRESS, batch, {**_base(batch, run, f"{tenth}/{_STEPS}"), "rows_done": done, "rows_to_run": whole}
        reached = max(reached, tenth)


def _ended(chunk: ChunkRecord) -> tuple[str, int]:
    return chunk.ended_at or "", chunk.number


def _base(batch: BatchRecord, run: int, what: str) -> dict[str, Any]:
    """Return what every event says; the same `key` is the same event."""
    return {
        "key": f"{batch.batch_id}/run-{run}/{what}",
        "batch_id": batch.batch_id,
        "run": run,
        "status": batch.status,
        "target": batch.tool_name,
        "source": batch.source.get("uri"),
        "row_count": batch.row_count,
        "execution_arn": batch.execution_arn,
    }


def _summary(batch: BatchRecord) -> dict[str, Any]:
    """Return how a batch ended, as the execution returns it, of many causes the commonest."""
    why = causes_of(batch, _CAUSES, _CAUSE_LONGEST)
    return {
        "csv_location": batch.csv_location,
        "execution_time_ms": batch.execution_time_ms,
        "counts": batch.counts,
        "errors": why["errors"],
        "stop_reason": batch.stop_reason,
        "error": why["error"],
    }


def _put(app: App, bus: str, told: list[tuple[str, BatchRecord, dict[str, Any]]]) -> None:
    entries = [
        {
            "Source": SOURCE,
            "DetailType": kind,
            "Detail": json.dumps(detail),
            "EventBusName": bus,
            "Resources": [batch.execution_arn],
        }
        for kind, batch, detail in told
    ]
    for first in range(0, len(entries), _AT_ONCE):
        answer = app.events.put_events(Entries=entries[first : first + _AT_ONCE])
        if answer["FailedEntryCount"]:
            failed = next(one for one in answer["Entries"] if one.get("ErrorCode"))
            raise NotTold(f"the event bus {bus} did not take an event: {failed['ErrorCode']} {failed['ErrorMessage']}")


def _publish(app: App, topic: str, batch: BatchRecord, detail: Mapping[str, Any]) -> None:
    subject = f"{batch.status}: batch {batch.batch_id}".encode("ascii", "replace").decode()
    message = readable(batch, detail)
    app.sns.publish(TopicArn=topic, Subject=subject[:_SUBJECT], Message=message)


def readable(batch: BatchRecord, detail: Mapping[str, Any]) -> str:
    """Return how a batch ended, for people."""
    lines = [f"Batch {batch.batch_id} has ended: {batch.status}", f"Source: {batch.source.get('uri')}"]
    if batch.counts:
        counts = ", ".join(f"{count:,} {status}" for status, count in batch.counts.items() if count)
        lines.append(f"{batch.rows:,} rows: {counts or 'none'}")
    if batch.execution_time_ms is not None:
        lines.append(f"It took {batch.execution_time_ms / 1000:,.0f} s")
    if detail.get("error"):
        lines += ["", f"{detail['error']['type']}: {detail['error']['message']}"]
    if detail["errors"]:
        lines += ["", "Why rows did not succeed:"]
        lines += [
            f"{cause['count']:,} x {cause['status']} {cause['error']}: {cause['message']}" for cause in detail["errors"]
        ]
    if batch.csv_location:
        lines += ["", f"Results: {batch.csv_location}"]
    lines += ["", f"More: batch-processor status '{batch.batch_id}'"]
    return "\n".join(lines)
