"""The command `report`, from its words to the files it leaves, and the exit code."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from made import plan

from service.console import display, saving, stacks
from service.console.cli import main, report
from service.models import Result, RowStatus, row_id
from service.record import BatchRecord
from service.store import results

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App

BATCH = "echo#20261122T100000-aaaaaa"
PLAN = plan(input_mapping={"column_mappings": {"text": "prompt"}}, output_mapping={})


def put(app: App, number: int, status: str = RowStatus.SUCCESS) -> None:
    result = Result(
        BATCH,
        row_id(number),
        status,
        {"text": f"text {number}"},
        {"out": number} if status == RowStatus.SUCCESS else {},
        40 + number,
        f"2026-11-22T10:00:{number:02d}.000Z",
        int(time.time()) + 86_400,
        error=None if status == RowStatus.SUCCESS else {"type": "Quota", "message": "used up"},
    )
    app.dynamodb.put_item(TableName=app.settings.results_table, Item=results.to_item(result))


def record(app: App, **more: Any) -> None:
    values = {
        "prepared_at": "2026-11-22T10:00:00.000Z",
        "started_at": "2026-11-22T10:00:00.000Z",
        "ended_at": "2026-11-22T10:00:12.000Z",
        "status": "INCOMPLETE",
        "execution_arn": "arn",
        "row_count": 12,
        "run": 1,
        "counts": {"SUCCESS": 9, "FAILED": 1, "NOT_RUN": 2},
        "plan_hash": app.plans.save(BATCH, PLAN),
    }
    app.records.create(BatchRecord(BATCH, **{**values, **more}))


@pytest.fixture
def command(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs a command in an empty folder: exit code, stdout and stderr."""
    monkeypatch.delenv("BATCH_PROCESSOR_STACK", raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(report, "open_stack", lambda _: stacks.Stack(app, "test", "machine", "aggregator"))
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["batch-processor", "report", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def batch(app: App) -> None:
    record(app)
    for number in range(1, 11):
        put(app, number, RowStatus.FAILED if number == 4 else RowStatus.SUCCESS)


def test_a_page_is_written_and_told_of(app: App, command: Callable[..., tuple[int, str, str]]) -> None:
    batch(app)
    Path("made").mkdir()
    code, out, err = command("last", "-o", "made/page.html")
    assert (code, out) == (0, "")
    page = Path("made/page.html")
    assert err == f"made/page.html: 10 rows, {-(-page.stat().st_size // 1000)} KB\n"
    text = page.read_text(encoding="utf-8")
    assert "9 of 12 rows succeeded; 3 did not: 1 FAILED, 2 NOT_RUN." in text
    for word in ("text 4", "Quota", "used up", "column_mappings", "batch-processor rerun"):
        assert word in text
    assert list(page.parent.iterdir()) == [page]


def test_without_a_name_it_is_report_html(app: App, command: Callable[..., tuple[int, str, str]]) -> None:
    batch(app)
    assert command(BATCH, "--stack", "prod")[0] == 0
    assert "report &#39;echo#20261122T100000-aaaaaa&#39; -o report.html --stack prod" in Path("report.html").read_text()


def test_the_data_alone(app: App, command: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    batch(app)
    code, out, err = command("echo", "--json")
    told = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert {status: count for status, count in told["counts"].items() if count} == {
        "SUCCESS": 9,
        "FAILED": 1,
        "NOT_RUN": 2,
    }
    assert told["adds_up"]
    assert told["times"]["all"] == {
        "count": 10,
        "min_ms": 41,
        "median_ms": 45,
        "p95_ms": 50,
        "max_ms": 50,
        "exact": True,
    }
    assert told["errors"][0]["examples"][0]["input_data"] == {"text": "text 4"}
    assert told["mapping"]["input_mapping"] == PLAN.input_mapping
    assert list(tmp_path.iterdir()) == []
    assert command("echo", "--json", "-o", "also.html")[0] == 0
    assert Path("also.html").exists()


def test_a_batch_that_was_refused_has_a_page_that_says_why(
    app: App, command: Callable[..., tuple[int, str, str]]
) -> None:
    error = {"type": "BatchRefused", "message": "output_mapping: no such method"}
    record(app, status="FAILED", row_count=None, counts=None, plan_hash=None, error=error)
    assert command("last")[0] == 2, "a refused order is no batch"
    code, _, err = command(BATCH)
    assert (code, "0 rows" in err) == (0, True)
    assert "output_mapping: no such method" in Path("report.html").read_text()


def test_of_an_expired_batch_there_is_nothing_to_report(
    app: App, command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    record(app, expires_at=1, csv_location="s3://bucket/last.csv")
    code, _, err = command("last")
    assert code == 2
    assert "have expired; its last CSV: s3://bucket/last.csv" in err
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told_and_left_as_it_was(
    app: App, command: Callable[..., tuple[int, str, str]]
) -> None:
    batch(app)
    Path("folder").mkdir()
    Path("file").write_text("kept")
    refused = {
        "folder": "is a folder",
        "file/page.html": "cannot be written",
        "no/page.html": "there is no folder",
        "file": "file exists: --force replaces it",
        "page.pdf": "a report is a page, name it .html",
    }
    for output, said in refused.items():
        code, _, err = command("last", "-o", output)
        assert (code, said in err) == (2, True), err
    assert sorted(path.name for path in Path().iterdir()) == ["file", "folder"]
    assert Path("file").read_text() == "kept"


def test_a_report_is_replaced_and_something_else_only_by_force(
    app: App, command: Callable[..., tuple[int, str, str]]
) -> None:
    batch(app)
    Path("mine.html").write_text("<!doctype html><p>mine")
    assert command("last", "-o", "mine.html")[0] == 2
    assert Path("mine.html").read_text() == "<!doctype html><p>mine"
    assert command("last", "-o", "mine.html", "--force")[0] == 0
    assert command("last", "-o", "mine.html")[0] == 0, "a report that is there already"


def test_a_report_on_stdout(
    app: App, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(app)
    monkeypatch.setattr(display, "_answers", {"stderr": False})  # what a process of its own forgets with its end
    for name in ("-", "/dev/stdout"):
        code, out, _ = command("last", "-o", name)
        assert (code, "9 of 12 rows succeeded" in out, list(Path().iterdir())) == (0, True, [])
    assert command("last", "-o", "-", "--json")[0] == 2


def test_a_full_disk_is_3_and_the_page_before_stays(
    app: App, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(app)
    assert command("last")[0] == 0
    before = Path("report.html").read_bytes()

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "write", full)
    code, _, err = command("last")
    assert (code, "report.html could not be written: No space left on device" in err) == (3, True)
    assert Path("report.html").read_bytes() == before


def test_of_many_rows_it_is_told_how_far_the_reading_is(
    app: App, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    batch(app)
    monkeypatch.setattr(report, "_MANY", 10)
    assert "read 10 of 12 rows\n" in command("last")[2]


def test_no_such_batch(app: App, command: Callable[..., tuple[int, str, str]]) -> None:
    batch(app)
    assert command("nothing")[0] == 2
