from __future__ import annotations

import csv
import io
import itertools
import json
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from made import event_of, make_tool, put_source, rows_csv
from made import prepared as prepared_batch

from service.batch.absent_rows import ConservationBroken
from service.console.cli import results
from service.errors import BatchRefused
from service.export import multi_file
from service.export.run import ENOUGH_TIME, Export
from service.models import Result, RowStatus, now_iso, row_id
from service.request.columns import METADATA, NO_PYARROW
from service.s3 import bodies, objects
from service.steps.aggregate_results import aggregate
from service.steps.prepare_batch import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from service.app import App
    from service.record import BatchRecord

KEY = "results/echo/1.parquet"
IDS = itertools.count()
TTL = int(time.time()) + 86_400
PLENTY, LITTLE = (lambda: ENOUGH_TIME), (lambda: ENOUGH_TIME - 1)
MAPPING = {"structured_output_fields": ["label", "score"]}
TEXT, MOMENT = pa.string(), pa.timestamp("ms", tz="UTC")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A row group for every result or gap, and a part for every few bytes."""
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    monkeypatch.setattr(objects, "PART", 500)
    monkeypatch.setattr(bodies, "BLOCK", 100)
    monkeypatch.setattr("service.export.parquet_file.GROUP_ROWS", 1)
    monkeypatch.setattr("service.export.parquet_file._TOGETHER", 1)
    monkeypatch.setattr("service.batch.absent_rows._TOGETHER", 1)


def batch(app: App, rows: int, **given: Any) -> BatchRecord:
    """The record of a batch that PrepareBatch has prepared."""
    if not app.registry.names():
        make_tool(app)
    body = rows_csv(rows)
    name = f"run-{next(IDS)}"
    return app.records.get(prepared_batch(app, body, name=name, output_mapping=MAPPING, **given)["batch_id"])


def put(app: App, batch_id: str, numbers: Iterable[int], status: str = RowStatus.SUCCESS, **more: Any) -> None:
    for number in numbers:
        values = {
            "input_data": {"id": str(number), "text": f"text {number}"},
            "output_data": {"label": f"=l{number}", "score": number},
            "error": None if status == RowStatus.SUCCESS else {"type": "E", "message": "m"},
            "execution_time_ms": number,
            "timestamp": "2026-01-31T12:00:00.250Z",
            **more,
        }
        app.store.put(Result(batch_id, row_id(number), status, ttl=TTL, **values))


def export(
    app: App,
    record: BatchRecord | None,
    remaining: Callable[[], int] = PLENTY,
    continuation: Any = None,
    *,
    batch_id: str = "",
    key: str = KEY,
    **options: Any,
) -> Any:
    """The state to go on from, or None."""
    csv_options = {"format": "parquet", **options}
    identifier = batch_id if record is None else record.batch_id
    return Export(app, identifier, record, app.settings.data_bucket, key, csv_options, continuation).run(remaining)


def by_turns(app: App, record: BatchRecord, turns: int = 1000) -> Any:
    """The state after so many turns, each of them short of time; None when the export is whole."""
    state = export(app, record, LITTLE)
    while state is not None and (turns := turns - 1):
        state = export(app, record, LITTLE, json.loads(json.dumps(state)))
    return state


def body_of(app: App, key: str = KEY) -> bytes:
    body: bytes = app.s3.get_object(Bucket=app.settings.data_bucket, Key=key)["Body"].read()
    return body


def read(app: App, key: str = KEY) -> pa.Table:
    return pq.read_table(io.BytesIO(body_of(app, key)))


def there(app: App, prefix: str = "results/") -> list[str]:
    found = app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix=prefix).get("Contents", [])
    return [item["Key"] for item in found]


def uploads(app: App) -> list[Any]:
    found: list[Any] = app.s3.list_multipart_uploads(Bucket=app.settings.data_bucket).get("Uploads", [])
    return found


def file_of(number: int) -> str:
    return KEY if number == 1 else f"results/echo/1-{number:04d}.parquet"


def statuses(app: App, key: str = KEY) -> list[str]:
    found: list[str] = read(app, key)["_status"].to_pylist()
    return found


# --- what is in a file -----------------------------------------------------------------------------------------------


def cell(value: Any) -> str:
    """What the CSV shows of a value of Parquet."""
    if isinstance(value, datetime):
        return now_iso(value)
    return "" if value is None else str(value)


NUMBERS = st.integers(-(10**37), 10**37)
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(st.characters(codec="utf-8"), max_size=12),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
CELLS = st.dictionaries(st.sampled_from(["a", "b", "ü .", 'c"']), st.text(st.characters(codec="utf-8"), max_size=12))
ROWS = st.lists(
    st.tuples(
        CELLS,
        st.dictionaries(st.sampled_from(["x", "y", "z"]), VALUES),
        st.none() | st.integers(0, 10**12),
        st.sampled_from([None, {"type": "E", "message": "m"}, {"type": "", "message": ""}]),
    ),
    max_size=5,
)


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ROWS, st.sampled_from(["prefixed", "plain"]), st.booleans(), st.booleans())
def test_it_holds_the_cells_of_the_csv(app: App, rows: list[Any], style: str, inputs: bool, metadata: bool) -> None:  # noqa: FBT001 - drawn
    batch_id = f"echo#{next(IDS)}"
    for number, (row, fields, took, error) in enumerate(rows, 1):
        status = RowStatus.FAILED if error else RowStatus.SUCCESS
        put(
            app, batch_id, [number], status, input_data=row, output_data=fields, execution_time_ms=took, error=error
        )  # fmt: skip
    options = {"column_style": style, "include_original": inputs, "add_metadata": metadata}
    export(app, None, batch_id=batch_id, key="x.csv", format="csv", neutralise_formulas=False, **options)
    header, *lines = csv.reader(io.StringIO(body_of(app, "x.csv").decode(), newline=""))
    if not metadata and header == [""]:
        with pytest.raises(BatchRefused, match="without columns"):
            export(app, None, batch_id=batch_id, **options)
        return
    export(app, None, batch_id=batch_id, **options)
    found = read(app)
    assert found.column_names == header
    assert [[cell(value) for value in row.values()] for row in found.to_pylist()] == lines


def test_columns_have_types(app: App) -> None:
    record = batch(app, 2)
    put(app, record.batch_id, [1, 2])
    export(app, record)
    named = [*((f"input_{name}", TEXT) for name in ("id", "text")), *((f"output_{name}", TEXT) for name in MAPPING[
        "structured_output_fields"
    ])]  # fmt: skip
    last = zip(METADATA, (TEXT, TEXT, TEXT, pa.int64(), MOMENT), strict=True)
    assert read(app).schema.equals(pa.schema([*named, *last]))
    assert read(app).to_pylist()[1] == {
        "input_id": "2",
        "input_text": "text 2",
        "output_label": "=l2",  # nothing runs it: formulas are left as they are
        "output_score": "2",
        "_row_id": row_id(2),
        "_status": "SUCCESS",
        "_error": None,
        "_execution_time_ms": 2,
        "_timestamp": datetime(2026, 1, 31, 12, 0, 0, 250_000, UTC),
    }


def test_null_is_absent_and_an_empty_text_is_a_value(app: App) -> None:
    record = batch(app, 3)
    for number, fields in enumerate(({"label": ""}, {"label": None}, {}), 1):
        put(app, record.batch_id, [number], output_data=fields)
    export(app, record)
    assert read(app)["output_label"].to_pylist() == ["", None, None]


def test_the_same_types_without_any_row(app: App) -> None:
    some, none = batch(app, 1), batch(app, 0)
    put(app, some.batch_id, [1])
    export(app, some)
    schema = read(app).schema
    export(app, none)
    assert read(app).schema == schema
    assert read(app).num_rows == 0


def test_rows_without_a_result_are_rows(app: App) -> None:
    record = batch(app, 5, execution_config={"limit": 4})
    put(app, record.batch_id, [1, 3])
    export(app, record)
    assert statuses(app) == ["SUCCESS", "MISSING", "SUCCESS", "MISSING", "NOT_RUN"]
    assert read(app)["input_text"].to_pylist() == [f"text {number}" for number in range(1, 6)]
    bare = read(app).slice(1, 1).to_pylist()[0]
    assert {name for name, value in bare.items() if value is None} == {
        *("output_label", "output_score", "_execution_time_ms", "_timestamp")
    }
    assert bare["_error"].startswith("MISSING: no result, though it should have one")


def test_what_is_of_no_column_s_type_is_null(app: App) -> None:
    record = batch(app, 5)
    texts = ("2026-01-31T12:00:00+02:00", "2026-01-31T12:00:00.1239Z", "yesterday", "-", "2026-01-31")
    whole = (str(2**63 - 1), "1.5", str(2**63), "-7", "0")
    for number, (text, digits) in enumerate(zip(texts, whole, strict=True), 1):
        put(app, record.batch_id, [number], timestamp=text, execution_time_ms=Decimal(digits))
    export(app, record)
    shown = [value and now_iso(value) for value in read(app)["_timestamp"].to_pylist()]
    assert shown == ["2026-01-31T10:00:00.000Z", "2026-01-31T12:00:00.124Z", None, None, "2026-01-31T00:00:00.000Z"]
    assert read(app)["_execution_time_ms"].to_pylist() == [2**63 - 1, None, None, -7, 0]


@pytest.mark.parametrize(("rows", "groups"), [(4, 3), (1000, 1)])
def test_row_groups_leave_when_they_are_whole(
    app: App, rows: int, groups: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven rows, one at a time, since every other one is a gap."""
    monkeypatch.setattr("service.export.parquet_file.GROUP_ROWS", rows)
    monkeypatch.setattr("service.export.parquet_file._TOGETHER", 3)
    record = batch(app, 14)
    put(app, record.batch_id, range(2, 15, 2))
    export(app, record)
    found = pq.ParquetFile(io.BytesIO(body_of(app)))
    assert found.metadata.num_row_groups == groups
    assert found.metadata.row_group(0).column(0).compression == "SNAPPY"
    assert found.read()["_row_id"].to_pylist() == list(map(row_id, range(1, 15)))


def test_a_row_group_is_of_so_many_bytes(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.export.parquet_file.GROUP_BYTES", 3000)
    monkeypatch.setattr("service.export.parquet_file._TOGETHER", 1)
    record = batch(app, 12)
    put(app, record.batch_id, range(2, 13, 2), output_data={"label": "y" * 1000})
    export(app, record)
    assert pq.ParquetFile(io.BytesIO(body_of(app))).metadata.num_row_groups == 2
    assert read(app).num_rows == 12


def test_half_a_character_is_a_question_mark() -> None:
    from service.batch.absent_rows import AbsentRow  # noqa: PLC0415
    from service.export.parquet_file import ParquetLines  # noqa: PLC0415
    from service.request.columns import Columns  # noqa: PLC0415 - read here alone

    lines = ParquetLines(Columns(("a\ud800",), ()))
    made = lines.absent([AbsentRow(1, "MISSING", {"a\ud800": "b\udfff"}), AbsentRow(2, "MISSING", {})]) + lines.end()
    assert pq.read_table(io.BytesIO(made)).to_pydict()["input_a?"] == ["b?", None]


# --- by turns -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_an_invocation_ends_its_file_and_the_next_begins_another(app: App) -> None:
    record = batch(app, 8, execution_config={"limit": 6})
    put(app, record.batch_id, [2, 4, 5], output_data={"label": "y" * 2000})
    export(app, record)
    expected = read(app)
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key=KEY)
    state, turns = export(app, record, LITTLE), 1
    while state is not None:
        assert there(app) == []  # nothing to see before all of it is whole
        assert len(uploads(app)) == len(state["files"]) == turns
        state = export(app, record, LITTLE, json.loads(json.dumps(state)))
        turns += 1
    names = [file_of(number) for number in range(1, turns)]  # the last turn found no row
    assert turns > 4
    assert sorted(there(app)) == sorted(names)
    tables = [read(app, name) for name in names]
    assert all(table.num_rows for table in tables)
    assert pa.concat_tables(tables).equals(expected)
    assert uploads(app) == []


@pytest.mark.usefixtures("small")
def test_the_same_without_a_record(app: App) -> None:
    for number in range(3):
        fields = {f"f{number}": "y" * 400_000}  # a page takes two
        app.store.put(Result("echo#plain", f"any-{number}", RowStatus.SUCCESS, {"a": str(number)}, fields, ttl=TTL))
    state, turns = export(app, None, LITTLE, batch_id="echo#plain"), 1
    while state is not None:
        state, turns = export(app, None, LITTLE, state, batch_id="echo#plain"), turns + 1
    tables = [read(app, file_of(number)) for number in range(1, len(there(app)) + 1)]
    assert len(tables) > 1
    assert pa.concat_tables(tables)["_row_id"].to_pylist() == ["any-0", "any-1", "any-2"]
    assert tables[0].column_names[:4] == ["input_a", "output_f0", "output_f1", "output_f2"]


def fail(*_: Any, **__: Any) -> None:
    raise RuntimeError("on purpose")


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    "where", ["service.export.parquet_file._cells", "service.export.multi_file.objects.MultipartUpload.seal"]
)
def test_a_failure_in_a_later_turn_leaves_what_was_there_before(
    app: App, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = batch(app, 6)
    put(app, record.batch_id, [2, 4])
    export(app, record)
    before = body_of(app)
    state = by_turns(app, record, 3)
    with monkeypatch.context() as patch:
        patch.setattr(where, fail)
        with pytest.raises(RuntimeError):
            export(app, record, LITTLE, state)
    assert (there(app), body_of(app), uploads(app)) == ([KEY], before, [])
    assert export(app, record, PLENTY, state) is None  # its uploads are gone: anew
    assert (there(app), statuses(app)) == ([KEY], ["MISSING", "SUCCESS", "MISSING", "SUCCESS", "MISSING", "MISSING"])


@pytest.mark.usefixtures("small")
def test_rows_in_that_are_not_rows_out_leave_nothing(app: App) -> None:
    record = batch(app, 3)
    state = by_turns(app, record, 2)
    state["tally"]["counts"]["MISSING"] += 1
    with pytest.raises(ConservationBroken, match="4 lines for 3 rows"):
        export(app, record, PLENTY, state)
    assert there(app) == uploads(app) == []


@pytest.mark.usefixtures("small")
def test_a_turn_whose_uploads_are_gone_in_part_begins_anew(app: App) -> None:
    record = batch(app, 6)
    put(app, record.batch_id, [2, 4])
    state = by_turns(app, record, 3)
    upload_id = state["files"][1]["upload_id"]
    app.s3.abort_multipart_upload(Bucket=app.settings.data_bucket, Key=file_of(2), UploadId=upload_id)
    assert export(app, record, PLENTY, state) is None
    assert (there(app), uploads(app)) == ([KEY], [])
    assert read(app).num_rows == 6


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("failing", [1, 2, 3])
def test_files_that_cannot_all_be_made_are_not_there(app: App, failing: int, monkeypatch: pytest.MonkeyPatch) -> None:
    record = batch(app, 3)
    export(app, record)
    before = body_of(app)
    complete = app.s3.complete_multipart_upload

    def one_fails(**arguments: Any) -> Any:
        return fail() if arguments["Key"] == file_of(failing) else complete(**arguments)

    state = by_turns(app, record, 3)
    assert len(state["files"]) == 3
    monkeypatch.setattr(app.s3, "complete_multipart_upload", one_fails)
    with pytest.raises(RuntimeError):
        export(app, record, PLENTY, state)
    assert (there(app), body_of(app), uploads(app)) == ([KEY], before, [])


# --- what an earlier export has left ------------------------------------------------------------------------------


@pytest.mark.usefixtures("small")
def test_files_of_a_longer_export_are_removed_by_a_shorter_one(app: App) -> None:
    record = batch(app, 4)
    assert by_turns(app, record) is None
    assert len(there(app)) == 4
    state = by_turns(app, record, 2)
    assert len(there(app)) == 4  # not before it is whole
    assert export(app, record, PLENTY, state) is None
    assert there(app) == [file_of(2), file_of(3), KEY]
    assert pa.concat_tables([read(app, file_of(number)) for number in (1, 2, 3)])["_row_id"].to_pylist() == [
        row_id(number) for number in range(1, 5)
    ]
    export(app, record)
    assert there(app) == [KEY]


@pytest.mark.usefixtures("small")
def test_what_only_has_such_a_name_stays(app: App) -> None:
    record = batch(app, 2)
    export(app, record, key=file_of(2))  # the first file of another export
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=file_of(3), Body=b"somebody's own")
    export(app, record)
    assert len(there(app)) == 3


@pytest.mark.usefixtures("small")
def test_a_removal_that_fails_leaves_the_new_file_and_the_next_export_ends_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = batch(app, 5)
    by_turns(app, record)
    delete, calls = app.s3.delete_object, itertools.count(1)

    def third_fails(**arguments: Any) -> Any:
        return fail() if next(calls) == 3 else delete(**arguments)

    with monkeypatch.context() as patch:
        patch.setattr(app.s3, "delete_object", third_fails)
        with pytest.raises(RuntimeError):
            export(app, record)
    assert read(app).num_rows == 5
    assert there(app) == [file_of(2), file_of(3), KEY]
    export(app, record)
    assert there(app) == [KEY]


@pytest.mark.usefixtures("small")
def test_the_command_line_fetches_every_file(app: App, tmp_path: Path) -> None:
    record = batch(app, 3)
    by_turns(app, record)
    stack: Any = SimpleNamespace(app=app)
    result = {"csv_location": f"s3://{app.settings.data_bucket}/{KEY}", "batch_id": record.batch_id}
    said = results.download(stack, result, tmp_path / "out.parquet")
    names = ["out.parquet", "out-0002.parquet", "out-0003.parquet"]
    assert said == ", ".join(str(tmp_path / name) for name in names)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert [pq.read_table(tmp_path / name)["_row_id"].to_pylist() for name in names] == [
        [row_id(number)] for number in (1, 2, 3)
    ]


def test_it_fetches_one_object_of_other_formats(app: App, tmp_path: Path) -> None:
    data = app.settings.data_bucket
    app.s3.put_object(Bucket=data, Key="a.csv", Body=b"one")
    app.s3.put_object(Bucket=data, Key="a.csv-0002.parquet", Body=b"other", Metadata={multi_file._FILE: "2"})
    stack: Any = SimpleNamespace(app=app)
    result = {"csv_location": f"s3://{data}/a.csv", "batch_id": "b"}
    assert results.download(stack, result, tmp_path / "a") == str(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


# --- refusals, and the function as it is called -------------------------------------------------------------------


@pytest.fixture
def no_pyarrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)


def asked(app: App, **given: Any) -> dict[str, Any]:
    make_tool(app)
    uri = put_source(app, rows_csv(2))
    return event_of({"csv_s3_uri": uri, "target": "echo", "csv": {"format": "parquet"}, **given})


@pytest.mark.usefixtures("no_pyarrow")
def test_a_batch_is_refused_where_parquet_cannot_be_written(app: App) -> None:
    event = asked(app, execution_config={"limit": 0})
    with pytest.raises(BatchRefused) as refused:
        prepare(app, event)
    assert [problem.path for problem in refused.value.problems] == ["execution_config.limit", "csv.format"]
    assert refused.value.problems[1].message == NO_PYARROW


@pytest.mark.usefixtures("no_pyarrow")
def test_a_layer_brings_what_prepare_batch_does_not_have(app: App) -> None:
    event = asked(app)
    lists = {"TOOL_ARNS": "arn:aws:lambda:*:*:function:tool-*", "PARQUET_LAYER_ARN": "arn:aws:lambda:…:layer:x:1"}
    batch_id = prepare(app.allowing(lists), event)["batch_id"]
    assert app.records.get(batch_id).output_key.endswith(".parquet")


@pytest.mark.parametrize("loaded", ["pyarrow", "pyarrow.parquet"])
def test_the_aggregator_refuses_what_it_cannot_write(app: App, loaded: str, monkeypatch: pytest.MonkeyPatch) -> None:
    record = batch(app, 2)
    app.records.update(record.batch_id, status="PARTIAL")
    monkeypatch.setitem(sys.modules, loaded, None)
    event = {"batch_id": record.batch_id, "csv": {"format": "parquet"}}
    with pytest.raises(BatchRefused) as refused:
        aggregate(app, event, PLENTY)
    assert [problem.message for problem in refused.value.problems] == [NO_PYARROW]
    assert there(app) == uploads(app) == []
    assert aggregate(app, {"batch_id": record.batch_id}, PLENTY)["csv_location"].endswith(".csv")


@pytest.mark.parametrize(
    ("key", "form"),
    [
        ("x.parquet.gz", "parquet"),
        ("x.PARQUET.GZ", "parquet"),
        ("x.gz", "parquet"),
        ("x.csv.gz", "parquet"),
        ("x.parquet.gz", "csv"),
    ],
)
def test_a_name_that_says_gzip_is_refused(app: App, key: str, form: str) -> None:
    event = asked(app, output_key=key, csv={"format": form})
    with pytest.raises(BatchRefused, match=r"^output_key: .*leave \.gz away$"):
        prepare(app, event)
    app.store.put(Result("echo#1", "row_1", RowStatus.SUCCESS, {}, ttl=TTL))
    with pytest.raises(BatchRefused, match=r"^output_key: .*leave \.gz away$"):
        aggregate(app, {"batch_id": "echo#1", "output_key": key, "csv": {"format": form}}, PLENTY)


@pytest.mark.parametrize(("pattern", "refused"), [("out/x.parquet", True), ("out/x*", False), ("out/*", False)])
def test_a_second_file_must_be_allowed_too(app: App, pattern: str, refused: bool) -> None:  # noqa: FBT001 - a table
    lists = {"TOOL_ARNS": "*", "OUTPUT_OBJECT_ARNS": f"arn:aws:s3:::elsewhere/{pattern}"}
    event = asked(app, output_bucket="elsewhere", output_key="out/x.parquet")
    if refused:
        with pytest.raises(BatchRefused, match=r"may not write s3://elsewhere/out/x-0002\.parquet"):
            prepare(app.allowing(lists), event)
    else:
        assert prepare(app.allowing(lists), event)["batch_id"]


@pytest.mark.usefixtures("small")
def test_the_function_comes_back_until_all_files_are_there(app: App) -> None:
    record = batch(app, 4, csv={"format": "parquet"}, output_key=KEY)
    put(app, record.batch_id, [1, 2, 3, 4], output_data={"label": "y" * 300_000})
    event: dict[str, Any] = {"batch": {"batch_id": record.batch_id}}
    result = aggregate(app, event, LITTLE)
    while "continuation" in result:
        event["aggregation"] = {"result": json.loads(json.dumps(result))}
        result = aggregate(app, event, LITTLE)
    assert list(result) == [
        "status", "batch_id", "csv_location", "row_count", "execution_time_ms", "counts", "errors",
        "fields", "guarded_cells", "chunks", "stop_reason",
    ]  # fmt: skip
    assert result["csv_location"] == f"s3://{app.settings.data_bucket}/{KEY}"
    assert (result["status"], result["row_count"]) == ("SUCCEEDED", 4)
    assert len(there(app)) > 1
    assert sum(read(app, key).num_rows for key in there(app)) == 4


def test_another_format_is_another_key(app: App) -> None:
    record = batch(app, 2, output_key="results/a.csv.gz")
    put(app, record.batch_id, [1, 2])
    app.records.update(record.batch_id, status="SUCCEEDED")
    result = aggregate(app, {"batch_id": record.batch_id, "csv": {"format": "parquet"}}, PLENTY)
    assert result["csv_location"].endswith("/results/a.parquet")
    assert read(app, "results/a.parquet").num_rows == 2
    kind = app.s3.head_object(Bucket=app.settings.data_bucket, Key="results/a.parquet")["ContentType"]
    assert kind == "application/vnd.apache.parquet"


def test_a_file_of_many_parts(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts of real size: of a row group larger than one, none is much larger than it has to be."""
    sent: list[int] = []
    app.s3.meta.events.register(
        "provide-client-params.s3.UploadPart", lambda params, **_: sent.append(len(params["Body"]))
    )
    made = multi_file.Files(app.s3, app.settings.data_bucket, KEY, content_type="x/y")
    monkeypatch.setattr(objects, "PART", 5 << 20)
    body = bytes(range(256)) * (12 << 12)
    made.write(body)
    made.complete()
    assert body_of(app) == body
    assert len(sent) == 3
    assert max(sent) < (5 << 20) + bodies.BLOCK
