from __future__ import annotations

import csv
import dataclasses
import gzip
import io
import itertools
import json
import random
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from handlers import aggregate_results
from service.batch.absent_rows import ConservationBroken
from service.errors import BatchProcessorError, BatchRefused, SourceChanged
from service.export.run import ENOUGH_TIME, Export
from service.export.summary import EXAMPLES, Tally
from service.models import Result, RowStatus, empty_counts, row_id
from service.record import BatchRecord
from service.s3 import bodies, objects
from service.source import csv_rows, lines
from service.source.manifest import prefix, write_chunks, write_manifest
from service.store.structs import Item, Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.app import App

BATCH = "echo#1"
KEY = "results/echo/1.csv"
IDS = itertools.count()
TTL = int(time.time()) + 86_400  # the tests may take their time
PLENTY, LITTLE = (lambda: ENOUGH_TIME), (lambda: ENOUGH_TIME - 1)


def prepared(app: App, rows: int, *, batch_id: str = BATCH, text: bytes | None = None, **values: Any) -> BatchRecord:
    """A record, its source and its chunks of three rows each, as PrepareBatch leaves them."""
    data, s3 = app.settings.data_bucket, app.s3
    body = text or b"a,b\r\n" + b"".join(b'%d,"x\n%d"\r\n\r\n' % (n, n) for n in range(1, rows + 1))
    s3.put_object(Bucket=data, Key=f"{batch_id}.csv", Body=body)
    head = s3.head_object(Bucket=data, Key=f"{batch_id}.csv")
    chunker = csv_rows.Chunker(3)
    records = list(csv_rows.read_records([body], lines.SourceFormat("utf-8", ",", 0)))[1:]
    chunks = [*(chunker.add(record, 1) for record in records), chunker.finish()]
    made = [chunk for chunk in chunks if chunk]
    to_run = values.get("rows_to_run", rows)
    ahead = [chunk for chunk in made if chunk.first_row <= to_run]
    if ahead and ahead[-1].first_row + ahead[-1].rows - 1 > to_run:  # none holds rows on both sides of the limit
        span = ahead[-1].ranges[0]
        ahead[-1] = csv_rows.Chunk(ahead[-1].number, (dataclasses.replace(span, rows=to_run - span.first_row + 1),))
    write_chunks(app.s3, app.settings.data_bucket, batch_id, made)
    manifest_key = write_manifest(app.s3, app.settings.data_bucket, batch_id, 1, ahead)
    given_values: dict[str, Any] = {
        "source": {
            "bucket": data,
            "key": f"{batch_id}.csv",
            "etag": head["ETag"],
            "size": len(body),
            "encoding": "utf-8",
            "delimiter": ",",
            "bom_bytes": 0,
            "columns": ["a", "b"],
        },
        "output_columns": ["out"],
        "chunks_key": f"{prefix(batch_id)}/chunks.jsonl",
        "manifest_key": manifest_key,
        "runs": [{"run": 1, "manifest_key": manifest_key}],
        "row_count": rows,
        "rows_to_run": rows,
        "run": 1,
        "execution_arn": "arn",
        **values,
    }
    assert app.records is not None  # binds the models
    return app.records.create(BatchRecord(batch_id, **given_values))


def put(app: App, numbers: Iterable[int], status: str = RowStatus.SUCCESS, **more: Any) -> None:
    for number in numbers:
        row = {"a": str(number), "b": f"x\n{number}"}
        error = None if status == RowStatus.SUCCESS else {"type": "E", "message": "m"}
        values = {"batch_id": BATCH, "input_data": row, "output_data": {"out": number}, "error": error, **more}
        app.store.put(Result(row_id=row_id(number), status=status, ttl=TTL, **values))


def export(
    app: App,
    record: BatchRecord | None,
    remaining: Callable[[], int] = PLENTY,
    continuation: Any = None,
    batch_id: str = BATCH,
    **options: Any,
) -> tuple[Export, Any]:
    making = Export(app, batch_id, record, app.settings.data_bucket, KEY, options, continuation)
    return making, making.run(remaining)


def made(app: App) -> bytes:
    body: bytes = app.s3.get_object(Bucket=app.settings.data_bucket, Key=KEY)["Body"].read()
    return body


def table(app: App) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(made(app).decode(), newline="")))


def uploads(app: App) -> list[Any]:
    found: list[Any] = app.s3.list_multipart_uploads(Bucket=app.settings.data_bucket).get("Uploads", [])
    return found


def nothing_left(app: App) -> bool:
    return not uploads(app) and not app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix=KEY)["KeyCount"]


def statuses(app: App) -> list[str]:
    return [line["_status"] for line in table(app)]


# --- rows in are lines out -----------------------------------------------------------------------------------------


@hypothesis_settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 14).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.sets(st.integers(1, 14)))))
def test_every_row_of_the_source_is_one_line(app: App, drawn: tuple[int, int, set[int]]) -> None:
    rows, to_run, present = drawn
    batch_id = f"echo#{next(IDS)}"
    record = prepared(app, rows, batch_id=batch_id, rows_to_run=to_run)
    there = {number for number in present if number <= rows}
    put(app, there, batch_id=batch_id)
    making, state = export(app, record, batch_id=batch_id)
    assert state is None
    lines = table(app)
    assert [line["_row_id"] for line in lines] == [row_id(number) for number in range(1, rows + 1)]
    assert [(line["input_a"], line["input_b"]) for line in lines] == [(str(n), f"x\n{n}") for n in range(1, rows + 1)]
    assert [line["_status"] for line in lines] == [
        "SUCCESS" if n in there else "MISSING" if n <= to_run else "NOT_RUN" for n in range(1, rows + 1)
    ]
    assert making.tally.rows == rows
    assert making.tally.counts["SUCCESS"] == len(there)


def test_a_chunk_that_was_not_run_and_one_that_was_lost(app: App) -> None:
    record = prepared(app, 9, stop=True, stop_reason="by hand")
    put(app, [1, 3])
    app.plans.save_chunk(BATCH, 1, 0, first_row=1, rows=3, counts={"SUCCESS": 2}, ttl=None)
    app.plans.save_chunk(BATCH, 1, 1, first_row=4, rows=3, counts={"NOT_RUN": 3}, ttl=None)
    making, _ = export(app, record)
    assert statuses(app) == ["SUCCESS", "MISSING", "SUCCESS", *["NOT_RUN"] * 3, *["MISSING"] * 3]
    assert {"SUCCESS": 2, "NOT_RUN": 3, "MISSING": 4}.items() <= making.tally.counts.items()
    groups = {group["status"]: (group["count"], group["row_ids"]) for group in making.tally.groups()}
    assert groups["NOT_RUN"] == (3, [row_id(4), row_id(5), row_id(6)])


def test_of_an_aborted_batch_no_row_is_missing(app: App) -> None:
    record = prepared(app, 3, stop=True, stop_reason="aborted")
    put(app, [2])
    export(app, record)
    assert statuses(app) == ["NOT_RUN", "SUCCESS", "NOT_RUN"]


@pytest.mark.parametrize("fate", ["replaced", "deleted", "chunks deleted"])
def test_cells_of_a_source_that_is_not_there_any_more_are_empty(app: App, fate: str) -> None:
    record = prepared(app, 4)
    put(app, [2])
    if fate == "replaced":
        app.s3.put_object(Bucket=app.settings.data_bucket, Key=f"{BATCH}.csv", Body=b"a,b\nother,other\n")
    else:
        key = record.chunks_key if fate == "chunks deleted" else f"{BATCH}.csv"
        app.s3.delete_object(Bucket=app.settings.data_bucket, Key=key)
    export(app, record)
    assert [line["input_a"] for line in table(app)] == ["", "2", "", ""]
    assert statuses(app) == ["MISSING", "SUCCESS", "MISSING", "MISSING"]


def test_trouble_of_the_store_of_objects_is_no_empty_cell(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    record = prepared(app, 2)
    slow = ClientError({"Error": {"Code": "SlowDown"}}, "GetObject")

    def refuse(*_: Any) -> None:
        raise slow

    monkeypatch.setattr(bodies, "read", refuse)
    with pytest.raises(ClientError, match="SlowDown"):
        export(app, record)
    assert nothing_left(app)


def test_missing_rows_here_and_there_share_requests(app: App) -> None:
    record = prepared(app, 60)
    put(app, range(2, 61, 2))
    gets: list[Any] = []
    app.s3.meta.events.register("provide-client-params.s3.GetObject", lambda params, **_: gets.append(params))
    export(app, record)
    assert len(gets) == 3  # the manifest, the chunks, and one window of the source
    assert [line["input_a"] for line in table(app)] == [str(number) for number in range(1, 61)]


def test_windows_of_the_source_follow_each_other(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.source.row_lookup._WINDOW", 40)
    record = prepared(app, 40)
    put(app, [5, 6, 7, 20, 40])
    export(app, record)
    assert [line["input_b"] for line in table(app)] == [f"x\n{number}" for number in range(1, 41)]


def test_a_ragged_row_has_the_cells_that_it_has(app: App) -> None:
    record = prepared(app, 2, text=b"a,b\n1\n2,x,y\n")
    export(app, record)
    assert [(line["input_a"], line["input_b"]) for line in table(app)] == [("1", ""), ("2", "x")]


@pytest.mark.parametrize("identifier", [row_id(3), "row_001", row_id(0)])
def test_a_result_of_no_row_is_an_error_and_no_csv(app: App, identifier: str) -> None:
    record = prepared(app, 2)
    put(app, [1, 2])
    app.store.put(Result(BATCH, identifier, RowStatus.SUCCESS, {}))
    with pytest.raises(ConservationBroken, match=identifier):
        export(app, record)
    assert nothing_left(app)


def test_lines_that_are_not_the_rows_make_no_csv(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    record = prepared(app, 2)
    put(app, [1, 2])
    monkeypatch.setattr("service.export.run.with_absent_rows", lambda pages, *_: ((page[1:], ()) for page in pages))
    with pytest.raises(ConservationBroken, match="1 lines for 2 rows"):
        export(app, record)
    assert nothing_left(app)


# --- columns -------------------------------------------------------------------------------------------------------


def test_a_batch_without_a_record(app: App) -> None:
    app.store.put(Result(BATCH, "row_001", "UNKNOWN", {"b": "1", "a": "2"}, {"x": 1}))
    app.store.put(Result(BATCH, "row_002", RowStatus.SUCCESS, {"c": "3"}, {"y": {"n": 1}, "x": None}))
    making, state = export(app, None)
    assert state is None
    lines = table(app)
    assert list(lines[0])[:5] == ["input_a", "input_b", "input_c", "output_x", "output_y"]
    assert [line["_row_id"] for line in lines] == ["row_001", "row_002"]
    assert lines[1]["output_y"] == '{"n":1}'
    assert making.tally.counts == {**empty_counts(), "UNKNOWN": 1, "SUCCESS": 1}


def test_columns_of_an_open_mapping_are_found_in_one_pass(app: App) -> None:
    record = prepared(app, 3, output_columns=None)
    put(app, [1], output_data={"z": 1})
    put(app, [3], output_data={"a": 1, "z": 2})
    queries: list[Any] = []
    app.dynamodb.meta.events.register(
        "provide-client-params.dynamodb.Query", lambda params, **_: queries.append(params)
    )
    export(app, record)
    queries = [query for query in queries if query["TableName"] == app.settings.results_table]
    assert list(table(app)[0])[:4] == ["input_a", "input_b", "output_z", "output_a"]
    assert len(queries) == 2
    assert "input_data" not in queries[0]["ExpressionAttributeNames"].values()


def test_no_results_at_all(app: App) -> None:
    export(app, None)
    assert made(app) == b'"_row_id",_status,_error,_execution_time_ms,_timestamp\r\n'


def test_options_of_the_csv(app: App) -> None:
    record = prepared(app, 1)
    put(app, [1], output_data={"out": "=1"})
    export(app, record, column_style="plain", neutralise_formulas=False)
    assert table(app)[0]["out"] == "=1"
    export(app, record)
    assert table(app)[0]["output_out"] == "'=1"


def test_fields_too_many_to_hand_over_are_refused(app: App) -> None:
    app.store.put(Result(BATCH, "row_1", RowStatus.SUCCESS, {}, {f"field {number:05d}": 1 for number in range(3000)}))
    with pytest.raises(BatchProcessorError, match="3000 different fields"):
        export(app, None, LITTLE)
    export(app, None)
    assert len(table(app)[0]) == 3005


# --- handing over --------------------------------------------------------------------------------------------------


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr(objects, "PART", 200)
    monkeypatch.setattr("service.batch.absent_rows._TOGETHER", 4)


def mixed(app: App, **values: Any) -> BatchRecord:
    """A batch of several pages, with gaps and failures, and some parts long."""
    record = prepared(app, 60, rows_to_run=50, **values)
    for number in range(1, 20):
        put(app, [number], output_data={"out": random.Random(number).randbytes(45_000).hex()})  # hardly compressed
    put(app, [22, 23, 40], RowStatus.FAILED)
    put(app, [30, 31], RowStatus.TIMEOUT)
    return record


def by_turns(app: App, record: BatchRecord | None, **options: Any) -> tuple[Export, int]:
    making, state = export(app, record, LITTLE, **options)
    turns = 1
    while state is not None:
        assert turns < 50
        assert len(json.dumps(state)) < 100_000
        assert len(uploads(app)) == (1 if state["upload_id"] else 0)
        making, state = export(app, record, LITTLE, json.loads(json.dumps(state)), **options)
        turns += 1
    return making, turns


@pytest.mark.parametrize("columns", [["out"], None])
@pytest.mark.usefixtures("small_parts")
def test_a_csv_made_by_turns_is_the_one_made_at_once(app: App, columns: list[str] | None) -> None:
    record = mixed(app, output_columns=columns)
    whole, _ = export(app, record)
    expected = made(app)
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=KEY)
    making, turns = by_turns(app, record)
    assert turns > 5
    assert made(app) == expected
    assert (making.tally.counts, making.tally.groups()) == (whole.tally.counts, whole.tally.groups())
    assert not uploads(app)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("key", ["x.csv.gz", "x.jsonl.gz", "x.jsonl"])
def test_other_forms_made_by_turns_hold_what_they_hold_at_once(
    app: App, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "KEY", key)
    options = {"format": "jsonl"} if "jsonl" in key else {}
    record = mixed(app)
    export(app, record, **options)
    expected = opened(made(app))
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=key)
    _, turns = by_turns(app, record, **options)
    assert turns > 1
    assert opened(made(app)) == expected
    assert len(expected.splitlines()) >= 60
    kind = app.s3.head_object(Bucket=app.settings.data_bucket, Key=key)["ContentType"]
    assert kind == ("application/gzip" if key.endswith(".gz") else "application/jsonl; charset=utf-8")


def opened(body: bytes) -> bytes:
    return gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body


def test_json_lines_have_a_line_for_every_row(app: App) -> None:
    record = prepared(app, 4, rows_to_run=3)
    put(app, [1, 3], run=2, attempts=2)
    export(app, record, format="jsonl")
    lines = [json.loads(line) for line in made(app).splitlines()]
    assert [line["status"] for line in lines] == ["SUCCESS", "MISSING", "SUCCESS", "NOT_RUN"]
    assert [line["attempts"] for line in lines] == [2, 0, 2, 0]
    assert [line["input_data"] for line in lines] == [{"a": str(n), "b": f"x\n{n}"} for n in range(1, 5)]


def test_the_same_rows_are_the_same_bytes_compressed(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "KEY", "same.csv.gz")
    record = prepared(app, 3)
    export(app, record)
    first = made(app)
    export(app, record)
    assert made(app) == first


@pytest.mark.usefixtures("small_parts")
def test_no_more_parts_are_held_than_may_be_in_flight(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    record = mixed(app)
    send, held, most = app.s3.upload_part, threading.Semaphore(0), []
    under_way: set[int] = set()

    def slow(**arguments: Any) -> Any:
        under_way.add(arguments["PartNumber"])
        most.append(len(under_way))
        held.acquire(timeout=0.05)
        answer = send(**arguments)
        under_way.discard(arguments["PartNumber"])
        return answer

    monkeypatch.setattr(app.s3, "upload_part", slow)
    export(app, record)
    assert 1 < max(most) <= objects.IN_FLIGHT
    assert statuses(app)[:19] == ["SUCCESS"] * 19


def test_parts_of_real_size(app: App) -> None:
    record = prepared(app, 40)
    put(app, range(1, 41), output_data={"out": "y" * 380_000})
    export(app, record)
    expected = made(app)
    assert len(expected) > objects.PART
    _, turns = by_turns(app, record)
    assert turns == 2
    assert made(app) == expected


@pytest.mark.usefixtures("small_parts")
def test_a_run_repeated_after_it_broke_off_writes_no_row_twice(app: App) -> None:
    record = mixed(app)
    export(app, record)
    expected = made(app)
    _, state = export(app, record, LITTLE)
    remaining = iter([ENOUGH_TIME] * 3)
    with pytest.MonkeyPatch.context() as patch:  # more parts are sent, then the process is gone without a word
        patch.setattr(objects.MultipartUpload, "abort", lambda _: None)
        with pytest.raises((RuntimeError, StopIteration)):
            export(app, record, lambda: next(remaining), state)
    assert state is not None
    sent = app.s3.list_parts(Bucket=app.settings.data_bucket, Key=KEY, UploadId=state["upload_id"])["Parts"]
    assert len(sent) > state["parts"]
    making, more = export(app, record, PLENTY, state)
    assert more is None
    assert made(app) == expected
    assert making.tally.rows == 60


@pytest.mark.usefixtures("small_parts")
def test_a_failed_turn_leaves_nothing_and_its_repetition_begins_anew(app: App) -> None:
    record = mixed(app)
    export(app, record)
    expected = made(app)
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=KEY)
    _, state = export(app, record, LITTLE)
    assert len(uploads(app)) == 1
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.export.lines._cells", fail)
        with pytest.raises(RuntimeError):
            export(app, record, PLENTY, state)
    assert nothing_left(app)
    making, more = export(app, record, PLENTY, state)
    assert more is None
    assert made(app) == expected
    assert making.tally.rows == 60


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("turns", [0, 1])
def test_what_a_csv_that_cannot_be_made_has_sent_is_forgotten(app: App, turns: int) -> None:
    record = mixed(app, output_bucket=app.settings.data_bucket, output_key=KEY, csv={}, status="AGGREGATING")
    event: dict[str, Any] = {"batch": {"batch_id": record.batch_id}, "failure": {"Error": "E", "Cause": "c"}}
    if turns:
        _, state = export(app, record, LITTLE)
        event["aggregation"] = {"result": {"continuation": json.loads(json.dumps(state))}}
        assert len(uploads(app)) == 1
    told = handler_of(app, event)
    assert told == {"batch_id": record.batch_id, "aborted": bool(turns)}
    assert nothing_left(app)
    assert handler_of(app, event) == told  # a retried function


def handler_of(app: App, event: dict[str, Any]) -> dict[str, Any]:
    """What the function answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(aggregate_results, "from_environment", lambda: app)
        return aggregate_results.handler({"state": event, "allowed": {}}, None)


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("where", ["complete_multipart_upload", "upload_part", "put_object"])
def test_a_failure_leaves_neither_object_nor_upload(app: App, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = prepared(app, 1) if where == "put_object" else mixed(app)
    if where == "put_object":  # what ends below one part is put at once
        monkeypatch.setattr(objects, "PART", 1 << 20)
    monkeypatch.setattr(app.s3, where, fail)
    with pytest.raises(RuntimeError):
        export(app, record)
    assert nothing_left(app)


def test_an_abort_that_fails_hides_no_error(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    making = Export(app, BATCH, None, "no-such-bucket", KEY, {})
    making._upload.upload_id = "gone"
    monkeypatch.setattr(app.reader, "pages", fail)
    with pytest.raises(RuntimeError):
        making.run(PLENTY)


def test_a_small_csv_is_one_put(app: App) -> None:
    record = prepared(app, 2)
    calls: list[str] = []
    app.s3.meta.events.register("before-call.s3", lambda model, **_: calls.append(model.name))
    export(app, record)
    assert [call for call in calls if call != "GetObject"] == ["PutObject"]
    head = app.s3.head_object(Bucket=app.settings.data_bucket, Key=KEY)
    assert head["ContentType"] == "text/csv; charset=utf-8"


# --- the tally -----------------------------------------------------------------------------------------------------


def failures(*causes: tuple[str, str, str]) -> list[Item[Any, Any]]:
    """Failures by the type and message of their errors and their row ids."""
    items = [
        {
            "row_id": {"S": identifier},
            "status": {"S": "FAILED"},
            "error": {"M": {"type": {"S": kind}, "message": {"S": message}}},
        }
        for kind, message, identifier in causes
    ]
    return Shape().decode(json.dumps({"Items": items}).encode()).Items


def test_groups_are_by_cause_the_commonest_first() -> None:
    tally = Tally()
    tally.results(failures(*(("E", "often" if number > 1 else "once", row_id(number)) for number in range(1, 9))))
    often, once = tally.groups()
    assert (often["message"], often["count"], once["count"]) == ("often", 7, 1)
    assert often["row_ids"] == [row_id(number) for number in range(2, 2 + EXAMPLES)]


def test_a_tally_goes_on_where_it_was() -> None:
    whole, first = Tally(), Tally()
    items = failures(*((f"E{number % 50}", f"m{number % 7}", row_id(number)) for number in range(1000)))
    whole.results(items)
    first.results(items[:400])
    later = Tally(json.loads(json.dumps(first.state())))
    later.results(items[400:])
    assert later.groups() == whole.groups()
    assert json.dumps(later.state()) == json.dumps(whole.state())


# --- objects -------------------------------------------------------------------------------------------------------


def test_the_source_is_found_or_refused(app: App) -> None:
    data = app.settings.data_bucket
    app.s3.put_object(Bucket=data, Key="full", Body=b"0123456789")
    app.s3.put_object(Bucket=data, Key="empty", Body=b"")
    found = objects.find_source(app.s3, data, "full")
    assert (found.size, found.uri) == (10, f"s3://{data}/full")
    for bucket, key, message in (
        (data, "none", "there is no object"),
        ("no-such-bucket-here", "full", "there is no object"),
        (data, "empty", "is empty"),
    ):
        with pytest.raises(BatchRefused, match=message):
            objects.find_source(app.s3, bucket, key)


@pytest.mark.parametrize(("code", "expected"), [("403", BatchRefused), ("SlowDown", ClientError)])
def test_what_may_not_be_read_is_refused_and_trouble_is_raised(code: str, expected: type[Exception]) -> None:
    class Refusing:
        def head_object(self, **_: Any) -> None:
            raise ClientError({"Error": {"Code": code}}, "HeadObject")

    with pytest.raises(expected):
        objects.find_source(Refusing(), "bucket", "key")


@pytest.mark.parametrize(
    ("start", "end", "expected"), [(0, None, b"0123456789"), (3, 5, b"34"), (9, 10, b"9"), (5, 5, b""), (10, None, b"")]
)
def test_a_range_is_read(app: App, start: int, end: int | None, expected: bytes) -> None:
    data = app.settings.data_bucket
    app.s3.put_object(Bucket=data, Key="k", Body=b"0123456789")
    found = objects.find_source(app.s3, data, "k")
    assert b"".join(bodies.read(app.s3, found, start, end)) == expected


@pytest.mark.parametrize("body", [b"9876543210", b"", None])
def test_another_object_is_never_read_for_the_source(app: App, body: bytes | None) -> None:
    data = app.settings.data_bucket
    app.s3.put_object(Bucket=data, Key="k", Body=b"0123456789")
    found = objects.find_source(app.s3, data, "k")
    if body is None:
        app.s3.delete_object(Bucket=data, Key="k")
    else:
        app.s3.put_object(Bucket=data, Key="k", Body=body)
    with pytest.raises(SourceChanged, match="replaced or deleted"):
        list(bodies.read(app.s3, found, 5, 10))


@pytest.mark.parametrize(
    ("options", "header"),
    [
        (
            {"include_original": False},
            ["output_out", "_row_id", "_status", "_error", "_execution_time_ms", "_timestamp"],
        ),
        ({"add_metadata": False}, ["input_a", "input_b", "output_out"]),
        ({"add_metadata": False, "include_original": False, "column_style": "plain"}, ["out"]),
    ],
)
def test_a_mapping_chooses_whether_source_and_metadata_are_columns(
    app: App, options: dict[str, Any], header: list[str]
) -> None:
    record = prepared(app, 3)
    put(app, [1, 3])
    making = Export(app, BATCH, record, app.settings.data_bucket, KEY, options)
    assert making.run(PLENTY) is None
    body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=KEY)["Body"].read().decode()
    got = list(csv.reader(io.StringIO(body, newline="")))
    assert got[0] == header
    assert [len(line) for line in got] == [len(header)] * 4
    assert [line[header.index("output_out" if len(header) > 1 else "out")] for line in got[1:]] == ["1", "", "3"]
