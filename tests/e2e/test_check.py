"""A batch tried before it is paid for: everything checked, a sample of rows, and what the whole would take."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import subprocess
from typing import Any

from deployed import COMMAND, PROBE_ARN

from service.console.local.stack import CHECKOUT

REVIEWS = CHECKOUT / "examples" / "reviews.csv"


def calls(deployed: Any, probe: str) -> dict[str, int]:
    folder = deployed.folder / "probe" / probe
    return {path.name.removeprefix("calls-"): path.stat().st_size for path in folder.glob("calls-*")}


def write(deployed: Any, probe: str, rows: int) -> str:
    lines = "".join(f"{number:05d},{probe},{int(number == 1)}\n" for number in range(1, rows + 1))
    return deployed.write(f"{probe}.csv", f"id,probe,fails\n{lines}")


def test_a_sample_is_spread_over_the_file_and_paid_for_once(deployed: Any) -> None:
    source = write(deployed, "tried", 200)
    told = json.loads(deployed.command("check", source, "--target", PROBE_ARN, "--sample", "5", "--json").stdout)
    assert [row["row_number"] for row in told["rows"]] == [21, 61, 101, 141, 181]
    assert (told["row_count"], told["sampled"], told["succeeded"], told["errors"]) == (200, 5, 5, [])
    assert all(row["output_data"]["id"] == row["input_data"]["id"] for row in told["rows"])
    assert told["projected"]["seconds"] > 0
    assert [line.split()[0] for line in told["projected"]["lines"]] == ["About", "About", "max_concurrency"]
    assert 0.005 < told["projected"]["usd"] < 0.05
    assert any("transitions" in line and "× 200" in line for line in told["projected"]["formula"])
    assert len(calls(deployed, "tried")) == 5

    known = deployed.json("status", told["batch_id"])
    assert (known["status"], known["counts"]["NOT_RUN"]) == ("INCOMPLETE", 195)
    done = deployed.command("rerun", told["batch_id"], "--json")
    assert json.loads(done.stdout)["counts"]["SUCCESS"] == 200
    assert calls(deployed, "tried") == {f"{number:05d}": 1 + (number == 1) for number in range(1, 201)}


def test_every_problem_is_told_at_once(deployed: Any) -> None:
    deployed.write("bad.csv", 'id,text\n1,2\n3,"open\n')
    mapping = {
        "input_mapping": {"column_mappings": {"txt": "text"}},
        "output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"x": "a["}}]},
    }
    deployed.write("bad.json", json.dumps(mapping))
    done = deployed.command("check", "bad.csv", "--target", "echo", "--mapping", "bad.json")
    assert (done.returncode, done.stdout) == (2, "")
    for words in (
        "did you mean 'text'" if "did you mean 'text'" in done.stderr else "'text'",
        "paths.x",
        "opens a quote",
    ):
        assert words in done.stderr


def test_rows_that_fail_in_the_sample_say_why(deployed: Any) -> None:
    deployed.write("fails.csv", "id,probe,fails\n" + "".join(f"{number},fails,9\n" for number in range(6)))
    done = deployed.command("check", "fails.csv", "--target", PROBE_ARN, "--sample", "2")
    assert done.returncode == 1
    assert "0 of 2 succeeded" in done.stdout
    assert "ProbeFailure" in done.stdout
    assert re.search(r"All 6 rows:\n  About .* for 6 rows: .* to prepare, .* to run", done.stdout)
    assert re.search(r"\n  About \$0\.0\d+ on AWS \(", done.stdout)
    assert "no quota of AWS" in done.stdout
    assert "transitions ×" not in done.stdout


def at_a_terminal(deployed: Any, words: list[str], answers: list[tuple[str, str]]) -> tuple[int, str]:
    """Runs a command at a terminal of its own; each answer is given when its question has come."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [COMMAND, *words], env=deployed.environment, cwd=deployed.folder, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = ""
    try:
        while True:
            ready, _, _ = select.select([ours], [], [], 120)
            assert ready, shown
            try:
                read = os.read(ours, 65_536)
            except OSError:  # the terminal's other side is closed: the command has ended
                break
            if not read:
                break
            shown += read.decode(errors="replace")
            if answers and answers[0][0] in shown:
                os.write(ours, answers.pop(0)[1].encode())
        return process.wait(60), shown
    finally:
        process.kill()
        process.wait()
        os.close(ours)


def test_a_person_is_offered_a_sample_of_a_large_source(deployed: Any) -> None:
    source = write(deployed, "large", 1_200)
    answers = [("Run 10 of them first", "y\n"), ("Run the other 1,190 rows?", "n\n")]
    code, shown = at_a_terminal(deployed, ["run", source, "--target", PROBE_ARN], answers)
    assert code == 0, shown
    assert not answers
    assert "The source has about 1,200 rows" in shown
    assert "10 of 10 succeeded" in shown
    assert len(calls(deployed, "large")) == 10


def test_nobody_is_asked_without_a_terminal_or_with_yes(deployed: Any) -> None:
    source = write(deployed, "unasked", 1_100)
    deployed.write(
        "stop.json", json.dumps({"execution_config": {"max_failures": 0, "retry_policy": {"max_attempts": 1}}})
    )
    asked = ["run", source, "--target", PROBE_ARN, "--mapping", "stop.json"]
    done = deployed.command(*asked)
    assert "Run 10 of them" not in done.stderr
    code, shown = at_a_terminal(deployed, [*asked, "--yes", "--force"], [])
    assert code in (0, 1)
    assert "Run 10 of them" not in shown
