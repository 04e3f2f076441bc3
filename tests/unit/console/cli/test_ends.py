"""Which batches the commands mean, and the exit codes with which they end."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from made import make_tool, prepared, rows_csv, stored
from places import ROOT

from service.batch import closing
from service.console import batch_status, spending, stacks
from service.console.cli import check, main, results
from service.cost.case import Account
from service.cost.estimate import TargetCost, estimate
from service.cost.forecast import forecast
from service.cost.workload import Profile
from service.errors import BatchRefused, Problem
from service.models import Result, RowStatus, row_id
from service.record import BatchRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App

REFUSED, FAULTY, RAN = "echo#20261122T120000-aaaaaa", "echo#20261122T110000-bbbbbb", "echo#20261122T100000-cccccc"


def record(app: App, batch_id: str, **values: Any) -> None:
    began = f"2026-11-22T{batch_id[14:16]}:00:00.000Z"
    app.records.create(
        BatchRecord(
            batch_id, prepared_at=began, started_at=began, execution_arn="arn", run=1, status="FAILED", **values
        )
    )


@pytest.fixture
def command(
    app: App, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(main, "open_stack", lambda *_, **__: stacks.Stack(app, "test", "machine", "aggregator"))
    record(app, RAN, row_count=2, counts={"SUCCESS": 1, "FAILED": 1}, counts_exact=True)
    record(app, FAULTY, error={"type": "SourceFault", "message": "a closing quote is missing"})
    record(app, REFUSED, error={"type": "BatchRefused", "message": "target: no such target"})

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["batch-processor", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_an_order_that_was_refused_is_no_batch(command: Callable[..., tuple[int, str, str]]) -> None:
    _, out, _ = command("status", "last", "--json")
    assert json.loads(out)["batch_id"] == FAULTY
    _, out, err = command("batches", "--json")
    assert [json.loads(line)["batch_id"] for line in out.splitlines()] == [FAULTY, RAN]
    assert "without 1 order that was refused: --refused shows them too" in err
    ids = [json.loads(line)["batch_id"] for line in command("batches", "--refused", "--json")[1].splitlines()]
    assert ids == [REFUSED, FAULTY, RAN]
    assert json.loads(command("status", REFUSED, "--json")[1])["errors"][0]["message"] == "target: no such target"


@pytest.mark.parametrize("batch", [RAN, FAULTY, REFUSED])
def test_a_reading_command_that_answered_is_0(command: Callable[..., tuple[int, str, str]], batch: str) -> None:
    for words in (("status", batch, "--follow"), ("status", batch)):
        assert command(*words)[0] == 0


def test_what_nobody_expected_is_3_and_one_sentence(
    command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trouble: list[Exception] = []

    def fails(*_: Any, **__: Any) -> None:
        raise trouble[0]

    monkeypatch.setattr(batch_status, "status_of", fails)
    for error, said in (
        (KeyError("row_count"), "error: batch-processor failed: KeyError: 'row_count'\n"),
        (PermissionError(13, "Permission denied", "/etc/x"), "error: /etc/x: Permission denied\n"),
        (RuntimeError("Bearer abcdefghijklmnopqrstuvwxyz0123456789"), "RuntimeError: Bearer ***"),
    ):
        trouble[:] = [error]
        code, out, err = command("status", "last", "--json")
        assert (code, out, said in err, "Traceback" in err) == (3, "", True, False), err
        assert "BATCH_PROCESSOR_DEBUG=1 shows where" in err
    monkeypatch.setenv(main.DEBUG_VARIABLE, "1")
    trouble[:] = [KeyError("row_count")]
    with pytest.raises(KeyError):
        main.main()


def test_a_closed_stderr_changes_no_exit_code(tmp_path: Path) -> None:
    """A shell may close it, `2>&-`."""
    code = "import sys; from service.console.cli import main as c; sys.argv[1:] = ['run', 'no.csv', '--target', 't']; "
    code += "c.main()"
    command = f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)} 2>&-"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, env=environment, check=False, timeout=60).returncode == 2


def test_an_aggregator_that_gives_no_answer_is_told_with_what_to_do(
    app: App, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def silent(**_: Any) -> None:
        raise ReadTimeoutError(endpoint_url="https://lambda")

    monkeypatch.setattr(type(app), "client", lambda *_, **__: SimpleNamespace(invoke=silent))
    code, _, err = command("aggregate", RAN, "-o", str(tmp_path / "again.csv"))
    assert (code, "the aggregator gave no answer" in err) == (3, True), err
    assert "Give the same command again" in err


def test_following_a_batch_that_is_refused_meanwhile_answers_why(
    app: App, command: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    app.records.update(REFUSED, status="PREPARING")

    def followed(*_: Any) -> None:
        app.records.update(REFUSED, status="FAILED")
        raise BatchRefused([Problem("", "target: no such target")])

    monkeypatch.setattr(closing, "refreshed", lambda _app, found: found)
    monkeypatch.setattr(results, "followed", followed)
    code, out, _ = command("status", REFUSED, "--follow")
    assert (code, "target: no such target" in out) == (0, True)


def test_a_stack_that_does_not_run_is_3(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BATCH_PROCESSOR_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("BATCH_PROCESSOR_STACK", raising=False)
    monkeypatch.setattr(sys, "argv", ["batch-processor", "batches"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    assert ended.value.code == 3


def test_a_reader_that_has_seen_enough_is_no_failure() -> None:
    program = str(Path(sys.executable).with_name("batch-processor"))
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; '{program}' completion bash | true"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_rows_of_a_batch_that_was_cut_off_are_counted(app: App) -> None:
    """Its chunks wrote no record of themselves."""
    make_tool(app)
    batch = prepared(app, rows_csv(5))
    for number, status in ((1, RowStatus.SUCCESS), (2, RowStatus.FAILED)):
        app.store.put(Result(batch["batch_id"], row_id(number), status, {}, ttl=2**33))
    assert stored(app, batch["batch_id"])
    closing.close_record(app, app.records.get(batch["batch_id"]), "ABORTED", None)
    known = batch_status.status_of(
        stacks.Stack(app, "test", "machine", "aggregator"), app.records.get(batch["batch_id"])
    )
    assert known["counts_exact"]
    assert {name: count for name, count in known["counts"].items() if count} == {
        "SUCCESS": 1,
        "FAILED": 1,
        "NOT_RUN": 3,
    }
    assert known["rows_done"] == 2


@pytest.mark.parametrize(("limit", "known"), [(9, 9), (None, 1_000), ("refused", 1_000)])
def test_what_the_account_allows_is_asked_for(
    app: App, monkeypatch: pytest.MonkeyPatch, limit: int | str | None, known: int
) -> None:
    def settings() -> dict[str, Any]:
        if limit == "refused":
            raise ClientError({"Error": {"Code": "AccessDeniedException"}}, "GetAccountSettings")
        return {"AccountLimit": {} if limit is None else {"UnreservedConcurrentExecutions": limit}}

    monkeypatch.setattr(app.lambda_client, "get_account_settings", settings)
    assert spending.account_of(app) == Account(large_region=True, functions_at_once=known)


def test_a_forecast_in_three_lines() -> None:
    profile = Profile(concurrency=100, rows_per_chunk=45)
    time, cost, pace = spending.lines(forecast(9_000, 1.0, profile), estimate(9_000, profile))
    assert time.startswith("About 1 min 45 s for 9,000 rows: 1.1 s to prepare, 1 min 42 s to run (88 rows a second), ")
    assert time.endswith(", 1.7 s for the CSV")
    assert cost.startswith("About $0.49 on AWS (state transitions $0.48, ")
    assert cost.endswith("what the target itself costs is not known: register it with price_per_row_usd")
    assert pace == "max_concurrency 100 sets the pace: up to 1,085 no quota of AWS does"


def test_the_quota_that_sets_the_pace_is_named_with_the_next_step() -> None:
    profile = Profile(concurrency=50)
    priced = estimate(9_000, profile, TargetCost(0.01, "price_per_row_usd of its registration"))
    found = forecast(9_000, 1.0, profile, Account(functions_at_once=9))
    _, cost, pace = spending.lines(found, priced)
    assert cost.endswith(" and $90.00 for the target, price_per_row_usd of its registration")
    assert pace.startswith(
        "Functions at once set the pace (9 functions of the account at once), and max_concurrency beyond 9 "
        "adds nothing: ask AWS for more"
    )
    assert spending.lines(forecast(10**7, 20.0), priced)[2].startswith(
        "Not all rows fit into one run (time of a run: 7 days, the time-out of the state machine; about 290,000 do): "
    )
    assert "all of them at once" in spending.lines(forecast(1, 1.0), priced)[2]
    assert spending.lines(forecast(1, 1.0), priced)[0].startswith("About 3.4 s for 1 row: ")


@pytest.mark.parametrize(
    ("total", "ran", "said"),
    [(1, 1, "the row"), (2, 1, "the other row"), (9, 1, "the other rows"), (9, 9, "the rows")],
)
def test_what_a_next_command_is_for(total: int, ran: int, said: str) -> None:
    assert check._label(total, ran) == said


def test_what_nobody_reads_changes_nothing(tmp_path: Path) -> None:
    """`run … | head -1` fetches its results, and ends as the batch did."""
    code = "from service.console import display as d; import sys; d.outlive_readers(); "
    code += "[d.stdout().print('a line') or d.tell('told') or d.print_json({}) for _ in range(20_000)]; "
    code += "open('done', 'w').close(); sys.exit(1)"
    command = f"{shlex.quote(sys.executable)} -c {shlex.quote(code)} 2>&1 | head -1; echo ${{PIPESTATUS[0]}}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run(
        ["bash", "-c", command], cwd=tmp_path, env=environment, check=True, timeout=120, capture_output=True
    )
    assert (told.stdout.split(), (tmp_path / "done").exists()) == ([b"a", b"line", b"1"], True)


def test_a_batch_without_a_name_is_none(command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("stop", "")
    assert (code, "the batch has no name" in err) == (2, True), err


def test_an_output_without_a_name_is_refused(command: Callable[..., tuple[int, str, str]]) -> None:
    code, _, err = command("aggregate", RAN, "-o", "")
    assert (code, "is empty" in err) == (2, True), err
