"""What is told of a batch, made of the stream that DynamoDB itself gives of the batches table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from made import chunk_event, finished, make_tool, manifest, prepared, row_event, rows_csv

from service.batch.closing import close_record
from service.models import batch_hash
from service.steps.aggregate_results import aggregate
from service.steps.notify import Channels, NotTold, notify
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, lose_chunk, write_output

if TYPE_CHECKING:
    from service.app import App

REGION = "us-east-1"
TOPIC = "arn:aws:sns:us-east-1:123456789012:batches"


class Watched:
    """A batches table with a stream, and what was told of it."""

    def __init__(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        self.app = app
        table = app.settings.batches_table
        view = {"StreamEnabled": True, "StreamViewType": "NEW_AND_OLD_IMAGES"}
        arn = app.dynamodb.update_table(TableName=table, StreamSpecification=view)["TableDescription"][
            "LatestStreamArn"
        ]
        self._streams = boto3.client("dynamodbstreams", region_name=REGION)
        (shard,) = self._streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]
        self._next = self._streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        self.entries: list[dict[str, Any]] = []
        self.messages: list[dict[str, Any]] = []
        put, publish = app.events.put_events, app.sns.publish
        monkeypatch.setattr(
            app.events, "put_events", lambda **given: self.entries.extend(given["Entries"]) or put(**given)
        )
        monkeypatch.setattr(app.sns, "publish", lambda **given: self.messages.append(given) or publish(**given))
        app.sns.create_topic(Name="batches")

    def records(self) -> list[dict[str, Any]]:
        """What the stream has had since the last time, filtered as the template does."""
        answer = self._streams.get_records(ShardIterator=self._next)
        self._next = answer["NextShardIterator"]
        items = ("batch", "chunk#")
        return [one for one in answer["Records"] if one["dynamodb"]["Keys"]["item"]["S"].startswith(items)]

    def tell(self, channels: Channels, records: list[dict[str, Any]] | None = None) -> list[tuple[str, dict[str, Any]]]:
        """What is told of the records now."""
        before = len(self.entries)
        notify(self.app, channels, {"Records": self.records() if records is None else records})
        return [(entry["DetailType"], json.loads(entry["Detail"])) for entry in self.entries[before:]]


BUS = Channels(bus="default")


@pytest.fixture
def watched(app: App, monkeypatch: pytest.MonkeyPatch) -> Watched:
    make_tool(app)
    return Watched(app, monkeypatch)


def run_chunks(app: App, batch: dict[str, Any], chunks: list[dict[str, Any]]) -> None:
    for entry in chunks:
        chunk = transform_chunk(app, chunk_event(batch, entry))
        first = chunk["chunk"]["first_row"]
        numbers = range(first, first + chunk["chunk"]["rows"])
        results = [write_output(app, {**row_event(batch, number), "output": {"n": number}}) for number in numbers]
        finish_chunk(app, finished(chunk, results))


def test_a_batch_is_told_from_its_beginning_to_its_end(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(200), execution_config={"max_concurrency": 50})
    chunks = manifest(app, batch)
    ((kind, started),) = watched.tell(BUS)
    assert (kind, started["status"], started["rows_to_run"]) == ("Batch Started", "RUNNING", 200)
    assert started["key"] == f"{batch['batch_id']}/run-1/started"
    run_chunks(app, batch, chunks)
    told = watched.tell(BUS)
    assert {kind for kind, _ in told} == {"Batch Progress"}
    assert [detail["rows_done"] * 10 // 200 for _, detail in told] == list(range(1, 10))
    assert len({detail["key"] for _, detail in told}) == len(told)
    aggregate(app, {"batch": batch}, lambda: 900_000)
    ((kind, ended),) = watched.tell(BUS)
    assert (kind, ended["status"], ended["counts"]["SUCCESS"]) == ("Batch Ended", "SUCCEEDED", 200)
    assert ended["csv_location"].startswith("s3://")
    entry = watched.entries[-1]
    assert (entry["Source"], entry["Resources"]) == ("batch-processor", [ended["execution_arn"]])


def test_whatever_way_the_records_come_each_tenth_is_told_once(app: App, watched: Watched) -> None:
    """In one go or one by one; what comes again has the same key."""
    batch = prepared(app, rows_csv(60), execution_config={"max_concurrency": 60})
    watched.records()
    run_chunks(app, batch, manifest(app, batch))
    records = watched.records()
    at_once = [detail["key"] for _, detail in watched.tell(BUS, records)]
    one_by_one = [detail["key"] for record in records for _, detail in watched.tell(BUS, [record])]
    assert at_once == one_by_one
    assert len(set(at_once)) == len(at_once) >= 3


def test_people_read_how_a_batch_ended(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(3))
    (chunk,) = manifest(app, batch)
    base = {name: batch[name] for name in ("batch_id", "run", "plan")}
    lose_chunk(app, {**base, "chunk": chunk, "lost": {"Error": "SourceChanged", "Cause": "it was replaced"}})
    aggregate(app, {"batch": batch}, lambda: 900_000)
    watched.tell(Channels(topic=TOPIC))
    (message,) = watched.messages
    assert message["Subject"] == f"FAILED: batch {batch['batch_id']}"
    assert "3 rows: 3 MISSING" in message["Message"]
    assert "3 x MISSING SourceChanged: it was replaced" in message["Message"]
    assert f"batch-processor status '{batch['batch_id']}'" in message["Message"]
    assert watched.entries == []


def test_an_aborted_and_a_refused_batch_have_ended_too(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(3))
    close_record(app, app.records.get(batch["batch_id"]), "ABORTED", "by hand")
    with pytest.raises(Exception, match="no such"):
        prepared(app, rows_csv(3), name="refused", output_mapping={"no such": 1})
    told = {detail["batch_id"]: detail for kind, detail in watched.tell(BUS) if kind == "Batch Ended"}
    assert told[batch["batch_id"]]["error"]["type"] == "ABORTED"
    assert told["echo#refused"]["error"]["type"] == "BatchRefused"


def test_rows_of_a_finished_chunk_are_an_object_of_lines(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(30), execution_config={"max_concurrency": 30})
    chunks = manifest(app, batch)
    run_chunks(app, batch, chunks)
    watched.tell(Channels(rows=True))
    prefix = f"stream/{batch_hash(batch['batch_id'])}/run-0001/"
    found = app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix="stream/")["Contents"]
    assert len(found) == len(chunks) > 1
    rows = []
    for each in found:
        assert each["Key"].startswith(prefix)
        body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=each["Key"])["Body"].read()
        rows += [json.loads(line) for line in body.splitlines()]
    assert sorted(row["row_number"] for row in rows) == list(range(1, 31))
    assert all(row["output_data"] == {"n": row["row_number"]} and row["status"] == "SUCCESS" for row in rows)
    assert all(row["input_data"]["text"] == f"text {row['row_number']}" for row in rows)


def test_what_the_bus_does_not_take_comes_again(app: App, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(app, rows_csv(3))
    answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "ThrottlingException", "ErrorMessage": "Rate exceeded"}]}
    monkeypatch.setattr(app.events, "put_events", lambda **_: answer)
    with pytest.raises(NotTold, match="default did not take an event: ThrottlingException"):
        watched.tell(BUS)


def test_what_changes_nothing_is_not_told(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(3))
    watched.tell(BUS)
    app.records.stop(batch["batch_id"], "by hand")
    app.dynamodb.delete_item(
        TableName=app.settings.batches_table, Key={"batch_id": {"S": batch["batch_id"]}, "item": {"S": "batch"}}
    )
    assert watched.tell(BUS) == []


def test_what_one_does_not_take_the_others_get(app: App, watched: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = prepared(app, rows_csv(3))
    run_chunks(app, batch, manifest(app, batch))
    aggregate(app, {"batch": batch}, lambda: 900_000)
    answer = {"FailedEntryCount": 1, "Entries": [{"ErrorCode": "InternalFailure", "ErrorMessage": "no"}]}
    monkeypatch.setattr(app.events, "put_events", lambda **_: answer)
    with pytest.raises(NotTold):
        watched.tell(Channels("default", TOPIC, rows=True))
    assert len(watched.messages) == 1
    assert app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix="stream/")["KeyCount"] == 1


def test_rows_that_were_run_again_stay_in_the_object_of_their_first_run(app: App, watched: Watched) -> None:
    batch = prepared(app, rows_csv(3))
    run_chunks(app, batch, manifest(app, batch))
    records = watched.records()
    watched.tell(Channels(rows=True), records)
    key = {"batch_id": {"S": batch["batch_id"]}, "row_id": {"S": "row_0000000002"}}
    app.dynamodb.delete_item(TableName=app.settings.results_table, Key=key)
    watched.tell(Channels(rows=True), records)  # they come again
    (found,) = app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix="stream/")["Contents"]
    body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=found["Key"])["Body"].read()
    assert body.count(b"\n") == 3


def test_a_subject_is_short_and_plain(app: App, watched: Watched) -> None:
    make_tool(app, "tool-größe", "größe" * 20)
    batch = prepared(app, rows_csv(1), target="größe" * 20, name="x" * 64)
    close_record(app, app.records.get(batch["batch_id"]), "ABORTED", "by hand")
    watched.tell(Channels(topic=TOPIC))
    assert len(watched.messages[0]["Subject"]) == 99
    assert watched.messages[0]["Subject"].isascii()
