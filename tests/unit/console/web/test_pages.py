"""The pages of the web view over batches as they are stored: what they show, where they lead, what their forms do."""

from __future__ import annotations

import csv
import gzip
import io
import json
import threading
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from made import make_tool, prepared, role
from made_reports import HOSTILE
from made_ui import MACHINE, Page, Visitor, visitor

from service.batch.progress import BatchRunning
from service.batch.rerun import prepare
from service.console import runs
from service.console.web.pages import PAGE
from service.models import Result, row_id
from service.record import BatchRecord
from service.steps import aggregate_results

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App

STATUSES = ("FAILED", "TIMEOUT", "INVALID_INPUT", "EXTRACTION_FAILED")
PAGES = ("/batch", "/batch/failed", "/batch/row", "/batch/rerun")


@pytest.fixture
def visiting(app: App) -> Visitor:
    make_tool(app)
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))
    return visitor(app).enter()


def source(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def under_way(app: App, rows: int | list[dict[str, str]], name: str = "run-1") -> BatchRecord:
    """A batch whose rows have no result yet, its execution running."""
    made = [{"id": str(n), "text": f"text {n}"} for n in range(1, rows + 1)] if isinstance(rows, int) else rows
    batch = prepared(app, source(made), name=name)
    app.stepfunctions.start_execution(stateMachineArn=MACHINE, name=name)
    return app.records.get(batch["batch_id"])


def put(app: App, record: BatchRecord, number: int | str, status: str = "SUCCESS", **more: Any) -> None:
    error = None if status == "SUCCESS" else {"type": "Quota", "message": "the model is out of quota"}
    row = {"id": str(number), "text": f"text {number}"}
    given = {"input_data": row, "output_data": {"x": 1}, "error": error, "ttl": int(record.expires_at), **more}
    name = row_id(number) if isinstance(number, int) else number
    app.store.put(Result(record.batch_id, name, status, execution_time_ms=12, **given))


def close(app: App, record: BatchRecord) -> BatchRecord:
    """Ends the batch as its state machine would."""
    run = len(app.records.get(record.batch_id).runs or [1])
    aggregate_results.aggregate(app, {"batch": {"batch_id": record.batch_id, "run": run}}, lambda: 900_000)
    return app.records.get(record.batch_id)


def ended(app: App, fates: list[str], name: str = "run-1") -> BatchRecord:
    record = under_way(app, len(fates), name)
    for number, status in enumerate(fates, 1):
        put(app, record, number, status)
    return close(app, record)


def following(page: Page, text: str) -> dict[str, str]:
    """The query of a link."""
    return {name: values[0] for name, values in parse_qs(urlsplit(page.links[text]).query).items()}


def test_batches_are_listed_the_newest_first(app: App, visiting: Visitor) -> None:
    assert "batch-processor run FILE.csv" in visiting.read("/").text
    first = ended(app, ["SUCCESS", "FAILED", "TIMEOUT"], "run-1")
    time.sleep(0.002)  # prepared in another millisecond
    second = under_way(app, 1234, "run-2")
    page = visiting.read("/")
    assert [name for name in page.links if "#" in name] == [second.batch_id, first.batch_id]
    assert page.links[first.batch_id] == "/batch?id=echo%23run-1"
    assert page.links["2"] == "/batch/failed?id=echo%23run-1"  # not ok
    assert "1,234" in page.text
    assert page.text.index("RUNNING") < page.text.index("PARTIAL")
    assert "in/run-1.csv" in page.text
    assert "Older batches" not in page.links


@pytest.mark.parametrize("same_moment", [False, True])
def test_every_batch_is_on_one_page_of_the_list(app: App, visiting: Visitor, *, same_moment: bool) -> None:
    total = 2 * PAGE + 7
    for number in range(total):
        at = "2026-11-22T10:00:00.000Z" if same_moment else f"2026-11-22T10:{number // 60:02}:{number % 60:02}.000Z"
        app.records.create(BatchRecord(f"echo#{number:03}", prepared_at=at, status="PARTIAL", execution_arn="arn"))
    page, found = visiting.read("/"), []
    while True:
        found.append([name for name in page.links if name.startswith("echo#")])
        if "Older batches" not in page.links:
            break
        page = visiting.read("/", **following(page, "Older batches"))
        assert page.links["Newest batches"] == "/"
    assert [len(names) for names in found] == [PAGE, PAGE, 7]
    names = [name for some in found for name in some]
    assert sorted(names) == [f"echo#{number:03}" for number in range(total)]
    if not same_moment:
        assert names == sorted(names, reverse=True)


def test_a_batch_that_has_ended(app: App, visiting: Visitor) -> None:
    record = ended(app, ["SUCCESS"] * 3 + ["FAILED", "FAILED", "TIMEOUT"])
    page = visiting.read("/batch", id=record.batch_id)
    assert "3 of 6 rows succeeded; 3 did not: 2 FAILED, 1 TIMEOUT." in page.text
    assert "Every row is accounted for." in page.text
    assert "2 × FAILED Quota the model is out of quota rows 4, 5" in page.text
    assert page.links["4"] == "/batch/row?id=echo%23run-1&row=row_0000000004"
    assert page.links["all of this kind"] == "/batch/failed?id=echo%23run-1&status=FAILED&error=Quota"
    assert page.links["Download results"] == "/batch/csv?id=echo%23run-1&file=1"
    assert page.forms == ["/batch/csv/again"]
    assert "data-again" not in page.html
    assert "batch-processor rerun 'echo#run-1'" in page.text
    assert page.links["Rerun rows that did not succeed…"] == "/batch/rerun?id=echo%23run-1"


def test_a_batch_in_which_every_row_succeeded_offers_no_rerun(app: App, visiting: Visitor) -> None:
    record = ended(app, ["SUCCESS"] * 2)
    page = visiting.read("/batch", id=record.batch_id)
    assert "All 2 rows succeeded." in page.text
    assert "Rerun rows that did not succeed…" not in page.links
    assert "Nothing to run again" in visiting.read("/batch/rerun", id=record.batch_id).text


def test_a_batch_under_way_is_looked_at_again_and_stopped(app: App, visiting: Visitor) -> None:
    record = under_way(app, 4)
    put(app, record, 1)
    put(app, record, 2, "FAILED")
    page = visiting.read("/batch", id=record.batch_id)
    assert page.html.count("data-again") == 1
    assert page.forms == ["/batch/stop"]
    assert "4 not done yet" in page.text  # no chunk has finished
    assert "1 × FAILED Quota" in page.text
    assert "Download results" not in page.links
    refused = visiting.get("/batch/rerun", query_string={"id": record.batch_id})
    assert refused.status_code == 409
    assert "its rows can be run again when that has ended" in refused.text
    for path in ("/batch/rerun/start", "/batch/csv/again"):
        assert visiting.post(path, id=record.batch_id).status_code == 409

    answer = visiting.post("/batch/stop", id=record.batch_id)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/batch?id=echo%23run-1")
    stopped = app.records.get(record.batch_id)
    assert (stopped.status, stopped.stop, stopped.stop_reason) == ("STOPPING", True, "by hand")
    page = visiting.read("/batch", id=record.batch_id)
    assert page.forms == []
    assert "STOPPING" in page.text

    close(app, record)
    page = visiting.read("/batch", id=record.batch_id)
    assert "stopped by hand" in page.text
    assert "2 × MISSING" in page.text
    assert visiting.post("/batch/stop", id=record.batch_id).status_code == 409
    assert "2 rows MISSING: without a result" in visiting.read("/batch/failed", id=record.batch_id).text


def test_a_batch_that_was_refused(app: App, visiting: Visitor) -> None:
    error = {"type": "BatchRefused", "message": "csv_s3_uri: there is <no> such object"}
    known = {"prepared_at": "2026-11-22T10:00:00.000Z", "started_at": "2026-11-22T10:00:00.000Z"}
    app.records.create(BatchRecord("echo#none", status="FAILED", execution_arn="arn", error=error, **known))
    page = visiting.read("/batch", id="echo#none")
    assert "It could not run: no row was read." in page.text
    assert "there is <no> such object" in page.text
    assert page.forms == []


@pytest.fixture
def hostile(app: App, visiting: Visitor) -> str:  # noqa: ARG001 - its tool is there
    """A batch with markup and scripts wherever a text can stand."""
    texts = list(HOSTILE.values())
    record = under_way(app, [{f"{name}<i>{text}": text for name, text in HOSTILE.items()} for _ in texts])
    for number, text in enumerate(texts, 1):
        row = {f"{name}<i>{text}"[:200]: text for name, text in HOSTILE.items()}
        failed = {"error": {"type": text[:90], "message": text}}
        put(app, record, number, STATUSES[number % 4], input_data=row, output_data=row, output=packed(texts), **failed)
    close(app, record)
    return record.batch_id


@pytest.mark.parametrize("path", PAGES)
def test_text_that_looks_like_markup_is_shown_as_text(hostile: str, visiting: Visitor, path: str) -> None:
    page = visiting.read(path, id=hostile, row=1)
    assert page.tags.isdisjoint({"img", "i"})
    assert page.html.count("<script") == page.html.count("</script") == 1  # our own
    if path != "/batch/rerun":
        assert HOSTILE["image"] in page.text
        assert "{{ 7 * 7 }}" in page.text


def test_rows_that_did_not_succeed_are_each_on_one_page(app: App, visiting: Visitor) -> None:
    total = 2 * PAGE + 3
    record = ended(app, ["FAILED" if n % 2 else "TIMEOUT" for n in range(total)])
    for status, count in ((None, total), ("FAILED", PAGE + 1), ("TIMEOUT", PAGE + 2)):
        asked = {"id": record.batch_id, **({"status": status} if status else {})}
        page, found = visiting.read("/batch/failed", **asked), []
        while True:
            found += [name for name in page.links if name.isdigit()]
            if "Next rows" not in page.links:
                break
            page = visiting.read("/batch/failed", **following(page, "Next rows"))
        assert len(found) == len(set(found)) == count
    assert f"FAILED ({PAGE + 1})" in page.text
    page = visiting.read("/batch/failed", id=record.batch_id, error="Other")
    assert "No row is of that kind." in page.text
    assert 'value="Other"' in page.html
    token = following(visiting.read("/batch/failed", id=record.batch_id), "Next rows")["page"]
    for query in ({"status": "FAILED", "page": token}, {"page": token[:-1]}, {"page": "x"}):
        answer = visiting.get("/batch/failed", query_string={"id": record.batch_id, **query})
        assert answer.status_code == 409
        assert "--page-token" in answer.text


def packed(output: Any) -> bytes:
    return gzip.compress(json.dumps(output).encode())


def kept_in_s3(app: App, key: str, body: bytes) -> str:
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=body)
    return f"s3://{app.settings.data_bucket}/{key}"


def test_one_row_with_its_output(app: App, visiting: Visitor) -> None:
    record = under_way(app, 8)
    answer = {"said": "<i>fine</i>", "parts": [1, None]}
    put(app, record, 1, output=packed(answer), method="direct", attempts=3, run=2)
    put(app, record, 2, output_s3_uri=kept_in_s3(app, "outputs/2", packed(answer)))
    put(app, record, 3, output_s3_uri=f"s3://{app.settings.data_bucket}/outputs/gone")
    put(app, record, 4, output=b"no gzip at all")
    put(app, record, 5, output_s3_uri=kept_in_s3(app, "outputs/5", gzip.compress(b'["' + b"0" * 9_000_000 + b'"]')))
    put(app, record, 6)
    put(app, record, 7, "FAILED")
    put(app, record, 8, ttl=1)  # past its time, and not deleted yet
    whole = json.dumps(answer, indent=2)
    said = {
        1: ["Row 1", "SUCCESS", "3, the last in run 2", "direct", " ".join(whole.split()), "text 1", "12 ms"],
        2: [" ".join(whole.split())],
        3: ["was stored at s3://", "cannot be read there any more"],
        4: ["The stored output is damaged."],
        5: ['["0000', "Cut at 200,000 characters."],  # not unpacked to its end
        6: ["It is not stored"],
        7: ["Quota", "the model is out of quota"],
        8: ["This row has no result yet."],
    }
    for number, words in said.items():
        page = visiting.read("/batch/row", id=record.batch_id, row=number)
        for word in words:
            assert word in page.text, number
        assert len(page.html) < 250_000
    assert "whole output" not in visiting.read("/batch/row", id=record.batch_id, row=7).text
    page = visiting.read("/batch/row", id=record.batch_id, row="row_0000000002")
    assert page.links["Row 1"] == "/batch/row?id=echo%23run-1&row=1"
    assert page.links["Row 3"] == "/batch/row?id=echo%23run-1&row=3"
    assert "Row 0" not in visiting.read("/batch/row", id=record.batch_id, row=1).links
    assert "Row 9" not in visiting.read("/batch/row", id=record.batch_id, row=8).links
    close(app, record)
    assert "was not run" in visiting.read("/batch/row", id=record.batch_id, row=8).text


@pytest.mark.parametrize("row", ["", "0", "9", "-1", "x", "1e3", "٣", "9" * 40, "row_0000000009", "<b>"])
def test_a_row_that_the_batch_has_not(app: App, visiting: Visitor, row: str) -> None:
    record = ended(app, ["SUCCESS"] * 8)
    answer = visiting.get("/batch/row", query_string={"id": record.batch_id, "row": row})
    assert answer.status_code == 404
    assert "it has 8 rows" in Page.of(answer.text).text


def test_a_row_of_a_plain_event_has_an_id_of_its_own(app: App, visiting: Visitor) -> None:
    record = under_way(app, 2)
    put(app, record, "row/é #1", "FAILED")
    page = visiting.read("/batch/failed", id=record.batch_id)
    query = following(page, "row/é #1")
    assert "Row row/é #1 FAILED" in visiting.read("/batch/row", **query).text


def test_a_rerun_is_shown_before_it_is_ordered(app: App, visiting: Visitor) -> None:
    record = ended(app, ["SUCCESS", "FAILED", "FAILED", "TIMEOUT"])
    page = visiting.read("/batch/rerun", id=record.batch_id)
    assert "Run 3 rows again, for about $0.00" in page.text
    assert "2 FAILED 1 TIMEOUT" in page.text
    assert page.forms == ["/batch/rerun/start"]

    def started() -> list[dict[str, Any]]:
        listed = app.stepfunctions.list_executions(stateMachineArn=MACHINE)["executions"]
        found = [app.stepfunctions.describe_execution(executionArn=one["executionArn"]) for one in listed]
        return [one for one in found if one["name"] != "run-1"]

    assert started() == []
    assert visiting.post("/batch/rerun/start", id=record.batch_id).status_code == 303
    (execution,) = started()
    order = json.loads(execution["input"])
    assert order["rerun_of"]["batch_id"] == record.batch_id
    page = visiting.read("/batch", id=record.batch_id)
    assert "The rows that did not succeed are about to run again." in page.text
    assert "data-again" in page.html
    assert page.forms == []
    for path in ("/batch/rerun/start", "/batch/csv/again"):
        refused = visiting.post(path, id=record.batch_id)
        assert refused.status_code == 409
        assert "something is under way" in refused.text
    assert len(started()) == 1

    begun = {"input": order, "execution_arn": execution["executionArn"], "started_at": "2026-11-22T10:00:00.000Z"}
    prepare(app, begun)
    page = visiting.read("/batch", id=record.batch_id)
    assert "about to run again" not in page.text
    assert "RUNNING" in page.text
    for number in (2, 3, 4):
        put(app, record, number, run=2)
    close(app, record)
    page = visiting.read("/batch", id=record.batch_id)
    assert "All 4 rows succeeded." in page.text
    assert "data-again" not in page.html


def test_a_rerun_that_is_refused_says_why(app: App, visiting: Visitor, monkeypatch: pytest.MonkeyPatch) -> None:
    record = ended(app, ["FAILED"])
    visiting.post("/batch/rerun/start", id=record.batch_id)
    cause = json.dumps({"errorMessage": "the source was <replaced>"})
    refused = {"status": "FAILED", "error": "BatchRefused", "cause": cause}
    monkeypatch.setattr(app.stepfunctions, "describe_execution", lambda **_: refused)
    for _ in range(2):
        page = visiting.read("/batch", id=record.batch_id)
        assert "The rows were not run again" in page.text
        assert "the source was <replaced>" in page.text
        assert page.forms == ["/batch/csv/again"]
    assert visiting.post("/batch/rerun/start", id=record.batch_id).status_code == 303


@pytest.fixture
def aggregator(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An aggregator that waits until it may go on, and then does or raises what it is told."""

    class Aggregator:
        may = threading.Event()
        fails: Exception | None = None
        asked: list[Any] = []  # noqa: RUF012 - of this one

        def __call__(self, _: Any, batch_id: str, location: Any, options: Any) -> None:
            self.asked.append((batch_id, location, options))
            assert self.may.wait(60)
            if self.fails:
                raise self.fails

    made = Aggregator()
    monkeypatch.setattr(runs, "aggregate", made)
    yield made
    made.may.set()


def until(visiting: Visitor, batch_id: str, text: str) -> Page:
    """The batch's page once it says something."""
    for _ in range(200):
        page = visiting.read("/batch", id=batch_id)
        if text in page.text:
            return page
        time.sleep(0.02)
    raise AssertionError(page.text)


@pytest.mark.parametrize("fails", [None, BatchRunning("it <runs>"), ZeroDivisionError()])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_the_csv_is_made_again_meanwhile(app: App, visiting: Visitor, aggregator: Any, fails: Exception | None) -> None:
    record = ended(app, ["SUCCESS", "FAILED"])
    aggregator.fails = fails
    assert visiting.post("/batch/csv/again", id=record.batch_id).status_code == 303
    page = until(visiting, record.batch_id, "The CSV is being made again.")
    assert "data-again" in page.html
    assert page.forms == []
    assert visiting.orders.going() == [record.batch_id]
    assert visiting.post("/batch/csv/again", id=record.batch_id).status_code == 409
    aggregator.may.set()
    words = {type(None): "The CSV was made again at", BatchRunning: "it <runs>", ZeroDivisionError: "it broke off"}
    page = until(visiting, record.batch_id, words[type(fails)])
    assert "data-again" not in page.html
    assert page.forms == ["/batch/csv/again"]
    assert visiting.orders.going() == []
    place = (record.output_bucket, record.output_key)
    assert aggregator.asked == [(record.batch_id, place, {})]


def test_results_are_downloaded_as_they_are(app: App, visiting: Visitor) -> None:
    record = ended(app, ["SUCCESS", "FAILED"])
    answer = visiting.get("/batch/csv", query_string={"id": record.batch_id})
    stored = app.s3.get_object(Bucket=record.output_bucket, Key=record.output_key)["Body"].read()
    assert answer.data == stored
    assert answer.content_length == len(stored)
    assert answer.headers["Content-Disposition"] == "attachment; filename=echo-run-1-results.csv"
    assert answer.mimetype == "application/octet-stream"
    for number in ("0", "2", "-1"):
        assert visiting.get("/batch/csv", query_string={"id": record.batch_id, "file": number}).status_code == 404
    app.s3.delete_object(Bucket=record.output_bucket, Key=record.output_key)
    gone = visiting.get("/batch/csv", query_string={"id": record.batch_id})
    assert (gone.status_code, "cannot be read" in gone.text) == (404, True)
    record = under_way(app, 1, "run-2")
    assert visiting.get("/batch/csv", query_string={"id": record.batch_id}).status_code == 404


def test_results_that_are_several_files_are_downloaded_one_by_one(app: App, visiting: Visitor) -> None:
    record = ended(app, ["SUCCESS"])
    for number, key in enumerate(("results/x.parquet", "results/x-0002.parquet"), 1):
        app.s3.put_object(
            Bucket=app.settings.data_bucket, Key=key, Body=f"file {number}".encode(), Metadata={"file": str(number)}
        )
    app.records.update(record.batch_id, csv_location=f"s3://{app.settings.data_bucket}/results/x.parquet")
    page = visiting.read("/batch", id=record.batch_id)
    for number in (1, 2):
        answer = visiting.get(page.links[f"Download results ({number} of 2)"])
        assert answer.data == f"file {number}".encode()
    assert answer.headers["Content-Disposition"].endswith("echo-run-1-results-0002.parquet")


def test_a_batch_whose_results_have_expired(app: App, visiting: Visitor) -> None:
    record = ended(app, ["FAILED"])
    app.records.update(record.batch_id, expires_at=int(time.time()) - 1)
    page = visiting.read("/batch", id=record.batch_id)
    assert "EXPIRED" in page.text
    assert page.forms == []
    assert "At the command line" not in page.text
    for path in PAGES[1:]:
        answer = visiting.get(path, query_string={"id": record.batch_id, "row": 1})
        assert answer.status_code == 409
        assert "have expired" in answer.text
    for path in ("/batch/rerun/start", "/batch/csv/again"):
        refused = visiting.post(path, id=record.batch_id)
        assert (refused.status_code, "have expired" in refused.text) == (409, True)
    assert visiting.orders.of(record) is None


def test_commands_name_the_stack(app: App, visiting: Visitor) -> None:
    record = ended(app, ["FAILED"])
    named = visitor(app, "my-stack").enter()
    assert "batch-processor rerun 'echo#run-1' --stack my-stack" in named.read("/batch", id=record.batch_id).text
    assert "--stack" not in visiting.read("/batch", id=record.batch_id).text
