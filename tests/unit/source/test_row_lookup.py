"""How PrepareBatch reads a source: guesses are told or refused, time that will not do is refused, keys are named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from made import chunk_event, event_of, make_tool, manifest, put_source, rows_csv

from service.batch.absent_rows import AbsentRows
from service.errors import BatchRefused
from service.s3 import objects
from service.source.row_lookup import SourceRows
from service.source.row_payload import place_of, row_at
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import store_plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.app import App


@pytest.fixture
def order(app: App) -> Callable[..., dict[str, Any]]:
    make_tool(app)

    def made(content: bytes, **more: Any) -> dict[str, Any]:
        uri = put_source(app, rows_csv(1))
        bucket, _, key = uri.removeprefix("s3://").partition("/")
        app.s3.put_object(Bucket=bucket, Key=key, Body=content)
        return {"csv_s3_uri": uri, "target": "echo", **more}

    return made


def test_a_guess_is_told_in_the_record(app: App, order: Any) -> None:
    prepare(app, event_of(order("id,text\n1,café\n".encode("cp1252"))))
    source = app.records.get("echo#run-1").source
    assert source["encoding"] == "cp1252"
    assert "'café'" in source["note"]
    assert "--encoding" in source["note"]


@pytest.mark.parametrize(
    ("content", "given"),
    [
        ("id,text\n1,café\n".encode(), {}),
        ("id,text\n1,café\n".encode("cp1252"), {"source": {"encoding": "cp1252"}}),
        ("id,text\n1,表示\n".encode("cp932"), {"source": {"encoding": "shift_jis"}}),
    ],
)
def test_what_is_plain_or_given_needs_no_word(app: App, order: Any, content: bytes, given: Any) -> None:
    batch = prepare(app, event_of(order(content, **given)))
    assert batch["row_count"] == 1
    assert "note" not in app.records.get("echo#run-1").source


@pytest.mark.parametrize("encoding", ["cp932", "cp1251", "cp1250"])
def test_a_doubtful_reading_is_refused_before_a_row_is_run(app: App, order: Any, encoding: str) -> None:
    text = {"cp932": "表示", "cp1251": "Хорошо", "cp1250": "Příliš žluťoučký"}[encoding]
    with pytest.raises(BatchRefused, match="cannot be told for sure") as refused:
        prepare(app, event_of(order(f"id,text\n1,{text}\n".encode(encoding))))
    record = app.records.get("echo#run-1")
    assert record.status == "FAILED"
    assert text in record.error["message"]
    assert text not in str(refused.value), "what is raised is logged, and a log holds no cells"


FORMULAS = ["=SUM(A1)", "'=SUM(A1)", "- a bullet", "+49 30 1234", "it's", "@user hello"]


def export_of(app: App, *, guarded: bool) -> bytes:
    """The CSV of a batch whose rows have these cells."""
    for number, text in enumerate(FORMULAS, 1):
        row = {"batch_id": "first", "row_id": f"row_{number}", "input_data": {"text": text}, "status": "SUCCESS"}
        store_plain(app, row)
    made = aggregate_results.aggregate(
        app, {"batch_id": "first", "csv": {"neutralise_formulas": guarded}}, lambda: 900_000
    )
    bucket, _, key = made["csv_location"].removeprefix("s3://").partition("/")
    body: bytes = app.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
    return body


@pytest.mark.parametrize("guarded", [True, False])
def test_an_export_as_the_next_source_has_the_cells_that_it_was_made_of(
    app: App,
    order: Any,
    guarded: bool,  # noqa: FBT001
) -> None:
    """Read for the target, again beside an output, for a row that is not run, and by a rerun."""
    body = export_of(app, guarded=guarded)
    assert (b"''=SUM(A1)" in body) == guarded
    batch = prepare(app, event_of(order(body, execution_config={"limit": 4})))
    assert app.records.get("echo#run-1").source["guarded"] == guarded
    plan = app.plans.load("echo#run-1", batch["plan"])
    rows = [row for chunk in manifest(app, batch) for row in transform_chunk(app, chunk_event(batch, chunk))["rows"]]
    assert {row["row_id"][-1]: row["target_input"]["input"]["input_text"] for row in rows} == {
        str(number): text for number, text in enumerate(FORMULAS[:4], 1)
    }
    record = app.records.get("echo#run-1")
    found = SourceRows(app.s3, app.settings.data_bucket, record.source, record.chunks_key)
    for number, text in enumerate(FORMULAS, 1):
        assert row_at(app.s3, plan, place_of(found.record(number)))["input_text"] == text
    bare = list(AbsentRows(app, record).between(1, len(FORMULAS)))
    assert [entry.row["input_text"] for entry in bare] == FORMULAS


def test_rows_beyond_the_sample_are_evidence_too(app: App, order: Any) -> None:
    rows = "1,café\n".encode("cp1252") + b"2,plain\n" * 200_000 + "3,Хорошо\n".encode("cp1251") * 9
    with pytest.raises(BatchRefused, match="all of its rows together do not"):
        prepare(app, event_of(order(b"id,text\n" + rows)))


def test_time_that_will_not_do_is_refused(app: App, order: Any) -> None:
    left: Iterator[float] = iter([900.0, 50.0])
    with pytest.raises(BatchRefused, match=r"rows \(.* MB\) are read per second.*split the file"):
        prepare(app, event_of(order(b"id,text\n" + b"1,a\n" * 5_000)), lambda: next(left))
    assert prepare(app, event_of(order(b"id,text\n" + b"1,a\n" * 5_000), "run-2"), lambda: 900.0)["row_count"] == 5_000


KMS = {
    "Code": "AccessDenied",
    "Message": "User: arn:aws:sts::1:assumed-role/r/f is not authorized to perform: kms:Decrypt on the resource",
}


class Refusing:
    """A client whose one operation is refused."""

    def __init__(self, s3: Any, operation: str, error: dict[str, str]) -> None:
        self._s3 = s3
        self._operation = operation
        self._error = error

    def __getattr__(self, name: str) -> Any:
        if name == self._operation:
            return self._refuse
        return getattr(self._s3, name)

    def _refuse(self, **_: Any) -> None:
        raise ClientError({"Error": self._error}, self._operation)


@pytest.mark.parametrize("error", [KMS, {"Code": "KMS.DisabledException", "Message": "is disabled"}])
def test_a_source_whose_key_is_forbidden_is_refused_with_the_parameter(app: App, order: Any, error: Any) -> None:
    event = event_of(order(b"id,text\n1,a\n"))
    app.s3 = Refusing(app.s3, "get_object", error)
    with pytest.raises(BatchRefused, match=r"csv_s3_uri: .*KMS key.*parameter KmsKeyArns"):
        prepare(app, event)


def test_what_is_not_about_a_key_is_raised_as_it_is(app: App, order: Any) -> None:
    event = event_of(order(b"id,text\n1,a\n"))
    app.s3 = Refusing(app.s3, "get_object", {"Code": "SlowDown", "Message": "kms:"})
    with pytest.raises(ClientError, match="SlowDown"):
        prepare(app, event)


def test_a_head_that_is_forbidden_names_all_three_causes(app: App) -> None:
    refusing = Refusing(app.s3, "head_object", {"Code": "403", "Message": "Forbidden"})
    with pytest.raises(BatchRefused, match=r"not there .*SourceObjectArns.*KmsKeyArns"):
        objects.find_source(refusing, "bucket", "key")


@pytest.mark.parametrize(
    "operation", ["put_object", "create_multipart_upload", "upload_part", "complete_multipart_upload"]
)
def test_an_output_whose_key_is_forbidden_is_refused_with_the_parameter(app: App, operation: str) -> None:
    refusing = Refusing(app.s3, operation, KMS)
    upload = objects.MultipartUpload(refusing, app.settings.data_bucket, "out.csv")
    upload.write(b"x" * (10 if operation == "put_object" else objects.PART + 1))
    with pytest.raises(BatchRefused, match=r"output_bucket: .*parameter KmsKeyArns"):  # noqa: PT012 - either of them
        upload.flush()
        upload.complete()
    upload.abort()
