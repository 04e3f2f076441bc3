"""A write whose answer was lost, and which botocore sent again, is one write: nothing counts twice, nothing fails."""

from __future__ import annotations

import io
import json
import random
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq
import pytest
from botocore.exceptions import ClientError
from lost import LostAnswers, writes_of_the_code
from made import (
    MACHINE,
    chunk_event,
    event_of,
    execution_arn,
    finished,
    make_agent,
    make_tool,
    manifest,
    prepared,
    role,
    row_event,
    rows_csv,
)
from moto.s3.exceptions import NoSuchUpload
from moto.s3.models import S3Backend

from service.batch import closing
from service.console import remap, runs
from service.console.mcp import orders
from service.console.stacks import Stack
from service.errors import BatchRefused
from service.export import multi_file
from service.models import batch_hash
from service.s3 import bodies, objects
from service.steps import agent_tools, aggregate_results
from service.steps.notify import Channels, notify
from service.steps.prepare_batch import prepare
from service.steps.start import Starter
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, lose_chunk, write_output
from service.store.registry import RegisteredTarget

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.app import App

    Story = Callable[[App, str, pytest.MonkeyPatch, Path], Any]

LARGE = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=9_000))
MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
OTHER = {"extraction_methods": [{"method": "direct", "paths": {"y": "x"}}]}
TIMES = {"started_at": "2025-01-01T00:00:00Z", "stopped_at": "2025-01-01T00:00:00.250Z"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats without a wait, parts of a few bytes, and completed uploads that are gone."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    complete = S3Backend.complete_multipart_upload

    def once(self: Any, bucket_name: str, multipart_id: str, body: Any) -> Any:
        """Moto takes a second call for the first; S3 may answer NoSuchUpload (its API, CompleteMultipartUpload)."""
        if multipart_id not in self.get_bucket(bucket_name).multiparts:
            raise NoSuchUpload(multipart_id)
        made = complete(self, bucket_name, multipart_id, body)
        made.multipart = None
        return made

    monkeypatch.setattr(S3Backend, "complete_multipart_upload", once)


# --- stories: what the application does, each of them with a batch of its own name -----------------------------------


def fail(app: App, batch: dict[str, Any], number: int) -> str:
    event = row_event(batch, number, call={"attempt": 3, "name": "n"}, failure={"Error": "Boom", "Cause": "no"})
    return str(handle_failure(app, event)["status"])


def run_chunk(app: App, batch: dict[str, Any], chunk: dict[str, Any], failing: tuple[int, ...] = ()) -> None:
    answer = transform_chunk(app, chunk_event(batch, chunk))
    results = []
    for row in answer["rows"]:
        number = int(row["row_id"][4:])
        if number in failing:
            status = fail(app, batch, number)
        else:
            output = {"x": number, "more": LARGE if number == 1 else ""}
            status = write_output(app, row_event(batch, number, output=output, **TIMES))["status"]
        results.append({"row_id": row["row_id"], "status": status})
    finish_chunk(app, finished(answer, results))


def run(app: App, name: str, failing: tuple[int, ...] = (), rows: str = "", **given: Any) -> dict[str, Any]:
    """A batch of which every row has run, or was to run when it was stopped."""
    batch = prepared(app, rows or rows_csv(6), name=name, **given)
    for chunk in manifest(app, batch):
        run_chunk(app, batch, chunk, failing)
    return batch


def aggregated(app: App, batch: dict[str, Any], turn: Callable[[], int] = lambda: 900_000) -> dict[str, Any]:
    """The machine's aggregation: turn after turn until there is a result."""
    state: dict[str, Any] = {"batch": batch}
    while True:
        answer = aggregate_results.aggregate(app, state, turn)
        if "continuation" not in answer:
            return answer
        state = {"batch": batch, "aggregation": {"result": json.loads(json.dumps(answer))}}


def small_batch(app: App, name: str, _patch: Any, _path: Any) -> Any:
    config = {"max_failures": 5, "max_failure_rate": 0.9, "limit": 5, "max_concurrency": 1}
    rows = "id,text\n1,text 1\n2\n3,text 3\n4,text 4\n5,text 5\n6,text 6\n"
    return aggregated(app, run(app, name, (3, 4), rows, execution_config=config))


def stopped_by_its_failures(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """Of 60 rows, one too many of the first 12 fails: those of the chunks after it do not run."""
    config = {"max_failures": 3, "max_concurrency": 5}
    batch = run(app, name, (2, 5, 7, 11), rows_csv(60), execution_config=config)
    return aggregated(app, batch)


def failing_alike(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """All rows of the first two chunks fail for one cause: those of the last chunk do not run."""
    batch = prepared(app, rows_csv(120), name=name, execution_config={"max_concurrency": 5})
    for place, chunk in enumerate(manifest(app, batch)):
        answer = transform_chunk(app, chunk_event(batch, chunk))
        results = []
        for row in answer["rows"]:
            call, failure = {"attempt": 3, "name": "n"}, {"Error": "Boom", "Cause": f"no {row['row_id']}"}
            event = row_event(batch, int(row["row_id"][4:]), call=call, failure=failure, chunk_number=place)
            results.append({"row_id": row["row_id"], "status": handle_failure(app, event)["status"]})
        finish_chunk(app, finished(answer, results))
    result = aggregated(app, batch)
    assert (result["status"], result["stop_reason"]) == ("INCOMPLETE", "failing_alike")
    assert result["counts"]["FAILED"] + result["counts"]["NOT_RUN"] == 120
    assert result["counts"]["NOT_RUN"] > 0
    return result


def unfinished(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """A chunk of an EXPRESS execution ends without a record, and a STANDARD one runs its rows."""
    target = {"name": "echo", "idempotent": True}
    batch = prepared(app, rows_csv(6), name=name, target=target, execution_config={"timeout_seconds": 3})
    assert batch["children"] == "EXPRESS"
    first, *others = manifest(app, batch)
    for chunk in others:
        run_chunk(app, batch, chunk)
    batch = prepare(app, {"unfinished": batch})
    assert (batch["rows_to_run"], batch["children"]) == (first["rows"], "STANDARD")
    for chunk in manifest(app, batch):
        run_chunk(app, batch, chunk)
    return aggregated(app, batch)


def lost_chunk(app: App, name: str, _patch: Any, _path: Any) -> Any:
    batch = prepared(app, rows_csv(6), name=name, execution_config={"max_failures": 100, "max_failure_rate": 0.9})
    for chunk in manifest(app, batch):
        event = {"lost": {"Error": "Lambda.Unknown", "Cause": "out of memory"}}
        lose_chunk(app, {**chunk_event(batch, chunk), **event})
    return aggregated(app, batch)


def large_csv(app: App, name: str, patch: pytest.MonkeyPatch, _path: Any) -> Any:
    """In several parts, by several invocations."""
    patch.setattr(objects, "PART", 50)
    return aggregated(app, run(app, name), lambda: 1)


def parquet(app: App, name: str, patch: pytest.MonkeyPatch, _path: Any) -> Any:
    """Two files, then one: the second is deleted."""
    patch.setattr(objects, "PART", 500)
    patch.setattr(bodies, "BLOCK", 100)
    patch.setattr("service.export.parquet_file.GROUP_ROWS", 1)
    patch.setattr("service.export.parquet_file._TOGETHER", 1)
    given = {"csv": {"format": "parquet"}, "output_mapping": MAPPING, "execution_config": {"limit": 4}}
    batch = run(app, name, **given)
    turns = iter([1])
    first = aggregated(app, batch, lambda: next(turns, 900_000))
    several = keys(app, name)
    again = aggregate_results.aggregate(app, {"batch_id": batch["batch_id"]}, lambda: 900_000)
    return first, several, again, keys(app, name)


def keys(app: App, name: str) -> list[str]:
    found = app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix=f"results/echo/{name}")
    return [one["Key"] for one in found.get("Contents", [])]


def uploaded(app: App, name: str, count: int) -> list[dict[str, Any]]:
    """Files of an export that invocations before have finished."""
    states = []
    for number in range(1, count + 1):
        key = multi_file.file_name(f"results/echo/{name}.parquet", number)
        upload = objects.MultipartUpload(
            app.s3, app.settings.data_bucket, key, content_type="x", metadata={"file": str(number)}
        )
        upload.write(b"some")
        upload.seal()
        states.append(upload.state())
    return states


def made_files(app: App, name: str, states: list[dict[str, Any]]) -> multi_file.Files:
    key = f"results/echo/{name}.parquet"
    return multi_file.Files(app.s3, app.settings.data_bucket, key, content_type="x", files=states)


def parquet_refused(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """The second file is there when the first one cannot be made: nothing is left."""
    states = uploaded(app, name, 2)
    export = made_files(app, name, states)
    app.s3.abort_multipart_upload(
        Bucket=app.settings.data_bucket, Key=f"results/echo/{name}.parquet", UploadId=states[0]["upload_id"]
    )
    with pytest.raises(ClientError, match="NoSuchUpload"):
        export.complete()
    export.abort()
    return keys(app, name)


def parquet_gone(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """An upload to go on with is gone: the others are given up."""
    states = uploaded(app, name, 2)
    app.s3.abort_multipart_upload(
        Bucket=app.settings.data_bucket, Key=f"results/echo/{name}.parquet", UploadId=states[0]["upload_id"]
    )
    with pytest.raises(objects.UploadGone):
        made_files(app, name, states)
    return keys(app, name)


def given_up(app: App, name: str, patch: pytest.MonkeyPatch, _path: Any) -> Any:
    """A CSV that is begun and cannot be made."""
    patch.setattr(objects, "PART", 50)
    batch = run(app, name, output_mapping=MAPPING)
    answer = aggregate_results.aggregate(app, {"batch": batch}, lambda: 1)
    aggregate_results.abandon(app, {"batch": batch, "aggregation": {"result": answer}, "failure": {"Error": "E"}})
    return closing.close_record(app, app.records.get(batch["batch_id"]), "FAILED", "no CSV")


def refused(app: App, name: str, _patch: Any, _path: Any) -> Any:
    with pytest.raises(BatchRefused, match="delay"):
        prepared(app, rows_csv(2), name=name, execution_config={"retry_policy": {"delay": 5}})
    return app.records.get(f"echo#{name}").status


def stopped_by_hand(app: App, name: str, _patch: Any, _path: Any) -> Any:
    batch = prepared(app, rows_csv(6), name=name)
    assert closing.stop(app, batch["batch_id"]).status == "STOPPING"
    for chunk in manifest(app, batch):
        run_chunk(app, batch, chunk)
    return aggregated(app, batch)


def run_again(app: App, name: str, _patch: Any, _path: Any) -> Any:
    aggregated(app, run(app, name, (2, 3, 5)))
    order = {"rerun_of": {"batch_id": f"echo#{name}", "stored_input": True}, "output_key": f"results/{name}-again.csv"}
    batch = prepare(app, event_of(order, f"{name}-again"))
    for chunk in manifest(app, batch):
        run_chunk(app, batch, chunk, (5,))
    return aggregated(app, batch)


def remapped(app: App, name: str, _patch: Any, _path: Any) -> Any:
    batch = run(app, name, (2,), output_mapping=MAPPING)
    aggregated(app, batch)
    order = remap.check(app, app.records.get(batch["batch_id"]), {"output_mapping": OTHER})
    tally = remap.remap(app, order, lambda _: None)
    return tally.counts, aggregate_results.aggregate(app, {"batch_id": batch["batch_id"]}, lambda: 900_000)


def registered(app: App, name: str, _patch: Any, _path: Any) -> Any:
    arn = "arn:aws:lambda:us-east-1:123456789012:function:tool-x"
    first = app.registry.register(RegisteredTarget(name, "lambda", arn, "one"))
    second = app.registry.amend(name, {"description": "two"})
    app.registry.register(RegisteredTarget(f"{name}-gone", "lambda", arn))
    app.registry.remove(f"{name}-gone")
    return first.version, second.version, [one.version for one in app.registry.versions(name)]


def by_mcp(app: App, name: str, _patch: Any, _path: Any) -> Any:
    stack = stack_of(app)
    begun = orders.start(stack, name, {"csv_s3_uri": "s3://bucket/a.csv", "target": "echo"})
    return begun.batch_id, begun.task_id, begun.again


def by_a_tool(app: App, name: str, _patch: Any, _path: Any) -> Any:
    stack_of(app)
    given = {"name": name, "csv_s3_uri": "s3://bucket/a.csv", "target": "echo"}
    started = agent_tools.call(app, MACHINE, "gateway___start_batch", given)
    return started["batch_id"], started["status"]


def by_itself(app: App, name: str, _patch: Any, _path: Any) -> Any:
    stack_of(app)
    bucket = app.settings.data_bucket
    app.s3.put_object(Bucket=bucket, Key=f"inbox/{name}.csv", Body=rows_csv(2).encode())
    app.s3.put_object(Bucket=bucket, Key=f"inbox/{name}.json", Body=b'{"target": "echo"}')
    detail = {"bucket": {"name": bucket}, "object": {"key": f"inbox/{name}.csv"}}
    (started,) = Starter(app, MACHINE, "inbox/").start({"detail": detail})["started"]
    found = app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"]
    return [one["executionArn"] for one in found].count(started["execution_arn"])


def told(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """As the stream of the batches table would have it: the rows of its chunks are written, its end is told."""
    batch = run(app, name)
    result = aggregated(app, batch)
    topic = app.sns.create_topic(Name="batches")["TopicArn"]
    items = app.dynamodb.query(
        TableName=app.settings.batches_table,
        KeyConditionExpression="batch_id = :b",
        ExpressionAttributeValues={":b": {"S": batch["batch_id"]}},
    )["Items"]
    before = {"status": {"S": "RUNNING"}}
    records = [
        {
            "eventName": "INSERT" if item["item"]["S"].startswith("chunk#") else "MODIFY",
            "dynamodb": {
                "Keys": {key: item[key] for key in ("batch_id", "item")},
                "NewImage": item,
                "OldImage": before,
            },
        }
        for item in items
    ]
    notify(app, Channels("default", topic, rows=True), {"Records": records})
    return result


def stack_of(app: App) -> Stack:
    app.stepfunctions.create_state_machine(
        name="batches", definition=json.dumps({"StartAt": "E", "States": {"E": {"Type": "Succeed"}}}), roleArn=role(app)
    )
    return Stack(app, "stack", MACHINE, "aggregator")


def started(app: App, name: str, patch: pytest.MonkeyPatch, path: Path) -> Any:
    """From the command line: the file is uploaded, the execution begun; what it does is not looked at here."""
    patch.setattr(runs, "execution_name", lambda: name)
    stack, file = stack_of(app), path / f"{name}.csv"
    file.write_text(rows_csv(2))
    given = {"csv_s3_uri": runs.upload(stack, file), "target": "echo"}
    identifier, arn = runs.start(stack, given, "out.csv")
    found = app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"]
    return identifier, arn, [one["name"] for one in found if one["name"] == name]


def agent_stopped(app: App, name: str, _patch: Any, _path: Any) -> Any:
    """An agent that outlived its time-out is stopped."""
    arn = make_agent(app, f"agent-{name}", registered=name)
    batch = prepared(app, rows_csv(1), target=name, name=name, execution_config={"timeout_seconds": 1})
    app.stepfunctions.start_execution(stateMachineArn=arn, name="call", input="{}")
    call = {"attempt": 3, "name": "call"}
    event = row_event(batch, call=call, failure={"Error": "States.Timeout", "Cause": ""})
    status = handle_failure(app, event)["status"]
    execution = arn.replace(":stateMachine:", ":execution:") + ":call"
    return status, app.stepfunctions.describe_execution(executionArn=execution)["status"]


# Each write of the application, and a story in which it is made.
CASES: dict[str, Story] = {
    "steps.prepare_batch.prepare create": small_batch,
    "steps.prepare_batch.prepare update_open": refused,
    "request.destination.claim claim_output": run_again,
    "steps.prepare_batch._update_record update_open": small_batch,
    "steps.prepare_batch._update_record give_reason": small_batch,
    "steps.prepare_batch._update_record keep_stopped": small_batch,
    "batch.rerun.prepare keep_stopped": run_again,
    "source.manifest._write put_object": small_batch,
    "store.plans.save put_item": small_batch,
    "store.plans.save_chunk put_item": lost_chunk,
    "store.plans.count_first_failure update_item": failing_alike,
    "store.plans.settle_first_failures update_item": failing_alike,
    "batch.unfinished._note update_open": unfinished,
    "store.plans.add_to_tally update_item": stopped_by_its_failures,
    "store.plans.stop update_item": stopped_by_its_failures,
    "store.results.put_item put_item": stopped_by_its_failures,
    "steps.write_result._keep_output put_object": small_batch,
    "steps.aggregate_results.aggregate update_open": small_batch,
    "steps.aggregate_results._close update_open": small_batch,
    "steps.aggregate_results._close update_ended": parquet,
    "batch.closing.close_record update_open": given_up,
    "batch.closing.stop stop": stopped_by_hand,
    "s3.objects.complete put_object": small_batch,
    "s3.objects._send create_multipart_upload": large_csv,
    "s3.objects._part upload_part": large_csv,
    "s3.objects.complete complete_multipart_upload": large_csv,
    "s3.objects.abort abort_multipart_upload": given_up,
    "export.multi_file.complete delete_object": parquet,
    "export.multi_file.abort delete_object": parquet_refused,
    "export.multi_file._forget abort_multipart_upload": parquet_gone,
    "batch.rerun._claim update_ended": run_again,
    "batch.rerun.prepare update_open": run_again,
    "batch.stored_source.write put_object": run_again,
    "console.remap._update update_ended": remapped,
    "store.results.remap update_item": remapped,
    "store.registry._put put_item": registered,
    "store.registry.remove delete_item": registered,
    "steps.chunk_lines._put_once put_object": told,
    "steps.notify._put put_events": told,
    "steps.notify._publish publish": told,
    "steps.start._execution start_execution": by_itself,
    "steps.agent_tools._start start_execution": by_a_tool,
    "console.mcp.orders.start start_execution": by_mcp,
    "console.runs._start start_execution": started,
    "console.runs.upload upload_file": started,
    "steps.agent_execution._stop stop_execution": agent_stopped,
}
UPLOAD = "s3.objects._send create_multipart_upload"
AT_RUN_TIME = {
    "console.runs.upload upload_file": "a thread of boto3 put_object"
}  # boto3 sends it from a thread of its own


# Of a batch's concurrency. A count that is added twice lets it follow its target a little sooner, and changes no
# result; a Map Run that is told the same number twice has that number; a decision knows its own token.
GUESSES = {
    "store.governing.count_refused update_item",
    "store.governing.count_ended update_item",
    "store.governing.decide put_item",
    "batch.governed_run._decide update_map_run",
    "batch.governed_run.set_by_hand update_map_run",
}


def test_every_write_of_the_code_has_a_case() -> None:
    assert writes_of_the_code() == CASES.keys() | GUESSES


# --- what is there afterwards ----------------------------------------------------------------------------------------

MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)?")
# What depends on the clock or on the batch's name: its time, its hash, its shard, its end, and whose call was the last.
PASSING = re.compile(r"ttl|expires_at|execution_time_ms|time_bucket|plan|plan_hash|slot_\d+|etag|size")


def everything(app: App, name: str) -> dict[str, Any]:
    """All items and objects that have to do with this name, without the name and the times."""
    found: dict[str, Any] = {}
    for table in app.dynamodb.list_tables()["TableNames"]:
        for item in app.dynamodb.scan(TableName=table)["Items"]:
            if name in str(item.get("batch_id") or item["tool_name"]):
                key = [item.get(part, {}) for part in ("batch_id", "row_id", "item", "tool_name", "version")]
                shown = "plan" if "plan" in item else str(key)
                found[neutral(f"{table} {shown}", name)] = neutral(json.dumps(kept(item), sort_keys=True), name)
    bucket = app.settings.data_bucket
    for one in app.s3.list_objects_v2(Bucket=bucket).get("Contents", []):
        key = one["Key"]
        if any(one in key for one in (name, *hashes_of(name))):
            body = app.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            found[neutral(key, name)] = neutral(text_of(key, body), name)
    uploads = app.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    found["uploads"] = sum(name in one["Key"] for one in uploads)
    return found


def kept(item: dict[str, Any]) -> dict[str, Any]:
    """What does not pass, JSON in attributes opened."""
    opened = {}
    for key, value in item.items():
        text = value.get("S", "")
        opened[key] = kept_json(json.loads(text)) if text[:1] in "[{" and text else value
    return kept_json(opened)


def kept_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: kept_json(inner) for key, inner in value.items() if not PASSING.fullmatch(key)}
    if isinstance(value, bytes):
        return value.hex()
    return [kept_json(inner) for inner in value] if isinstance(value, list) else value


def text_of(key: str, body: bytes) -> str:
    if key.endswith(".parquet") and body[:4] == b"PAR1":
        return str([{**row, "_timestamp": "T"} for row in pq.read_table(io.BytesIO(body)).to_pylist()])
    return body.decode(errors="backslashreplace")


def hashes_of(name: str) -> list[str]:
    return [batch_hash(f"{target}#{name}") for target in ("echo", name)]


def neutral(text: str, name: str) -> str:
    text = re.sub(r"plan#[0-9a-f]{16}", "plan", text)
    for one in hashes_of(name):
        text = text.replace(one, "HASH")
    return MOMENT.sub("T", text.replace(name, "NAME"))


def answer_of(result: Any, name: str) -> str:
    shown = re.sub(r"'execution_time_ms': \d+", "", str(result))
    return neutral(shown, name)


def lost_meanwhile(app: App, patch: pytest.MonkeyPatch, path: Path, story: Story, places: set[str]) -> LostAnswers:
    """The story twice, the second time with lost answers: it ends the same."""
    make_tool(app)
    wanted, before = answer_of(story(app, "batch-1", patch, path), "batch-1"), everything(app, "batch-1")
    answers = LostAnswers(places)
    for service in (app.dynamodb, app.s3, app.stepfunctions, app.events, app.sns):
        answers.of(service)
    result, after = answer_of(story(app, "batch-2", patch, path), "batch-2"), everything(app, "batch-2")
    # Nothing names an upload whose id was lost: the bucket's lifecycle clears it away.
    assert after.pop("uploads") == before.pop("uploads") + Counter(answers.lost)[UPLOAD]
    assert result == wanted
    assert {key: text for key, text in after.items() if before.get(key) != text} == {}
    assert after.keys() == before.keys()
    return answers


@pytest.mark.parametrize("where", CASES)
def test_a_lost_answer_changes_nothing(app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, where: str) -> None:
    at = AT_RUN_TIME.get(where, where)
    answers = lost_meanwhile(app, monkeypatch, tmp_path, CASES[where], {at})
    assert set(answers.lost) == {at}
    assert 2 * len(answers.lost) == Counter(answers.seen)[at]  # each was sent again


@pytest.mark.parametrize("story", dict.fromkeys(CASES.values()), ids=lambda story: story.__name__)
def test_the_answers_of_every_write_are_lost(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, story: Story
) -> None:
    places = {AT_RUN_TIME.get(where, where) for where in CASES}
    answers = lost_meanwhile(app, monkeypatch, tmp_path, story, places)
    assert 2 * len(answers.lost) == len([one for one in answers.seen if one in places]) > 0


def test_an_execution_that_has_ended_when_it_is_asked_for_again(app: App) -> None:
    """StartExecution says ExecutionAlreadyExists then, of its own one too."""
    stack, given = stack_of(app), {"csv_s3_uri": "s3://b/k", "target": "echo"}
    arn = runs._start(stack, "run-1", given)
    app.stepfunctions.stop_execution(executionArn=arn)
    assert runs._start(stack, "run-1", given) == arn == execution_arn("run-1")
    with pytest.raises(app.stepfunctions.exceptions.ExecutionAlreadyExists):
        runs._start(stack, "run-1", {**given, "target": "other"})


def test_an_object_of_somebody_else_is_not_taken_for_the_own_one(app: App) -> None:
    bucket, key = app.settings.data_bucket, "results/x.csv"
    mine, other = (objects.MultipartUpload(app.s3, bucket, key) for _ in range(2))
    for upload in (mine, other):
        upload.write(b"some")
        upload.seal()
    app.s3.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=mine.upload_id)
    other.complete()
    with pytest.raises(app.s3.exceptions.NoSuchUpload):
        mine.complete()


def test_the_token_of_an_upload_travels_to_the_invocation_that_completes_it(app: App) -> None:
    bucket, key = app.settings.data_bucket, "results/x.csv"
    first = objects.MultipartUpload(app.s3, bucket, key)
    first.write(b"some")
    first.seal()
    answers = LostAnswers({"s3.objects.complete complete_multipart_upload"})
    answers.of(app.s3)
    objects.MultipartUpload(app.s3, bucket, key, **json.loads(json.dumps(first.state()))).complete()
    assert len(answers.lost) == 1
    assert app.s3.get_object(Bucket=bucket, Key=key)["Body"].read() == b"some"
