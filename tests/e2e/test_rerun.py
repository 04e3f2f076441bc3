"""Rows run again: the command line, the real functions, the real state machine."""

from __future__ import annotations

import csv
import json
from typing import Any

from deployed import PROBE_ARN, eventually

from service.console.local.stack import CHECKOUT

MIXED = CHECKOUT / "examples" / "mixed_fates.csv"
MIXED_MAPPING = CHECKOUT / "examples" / "mappings" / "mixed_fates.yaml"
ONCE = {"execution_config": {"retry_policy": {"max_attempts": 1}}}


def lines(deployed: Any, name: str) -> list[dict[str, str]]:
    with (deployed.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def present(counts: dict[str, int]) -> dict[str, int]:
    return {status: count for status, count in counts.items() if count}


def calls(deployed: Any, probe: str) -> dict[str, int]:
    """How often the probe was called for each of its rows."""
    folder = deployed.folder / "probe" / probe
    return {path.name.removeprefix("calls-"): path.stat().st_size for path in folder.glob("calls-*")}


def batch_of(deployed: Any, probe: str, rows: str, *options: str, code: int = 1, **config: Any) -> dict[str, Any]:
    """A batch of the probe's rows, each called once; `rows` are lines of id, fails."""
    table = "".join(f"{line.replace(',', f',{probe},')}\n" for line in rows.split())
    deployed.write(f"{probe}.csv", f"id,probe,fails\n{table}")
    mapping = {"execution_config": {**ONCE["execution_config"], **config}}
    deployed.write(f"{probe}.json", json.dumps(mapping))
    asked = ("run", f"{probe}.csv", "--target", PROBE_ARN, "--mapping", f"{probe}.json", "--json", *options)
    done = deployed.command(*asked)
    assert done.returncode == code, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_only_what_failed_is_run_again_and_one_csv_has_everything(deployed: Any) -> None:
    first = batch_of(deployed, "again", "a,0 b,1 c,0 d,2 e,1 f,0")
    assert present(first["counts"]) == {"SUCCESS": 3, "FAILED": 3}
    batch = first["batch_id"]
    asked = deployed.json("rerun", batch, "--dry-run")
    assert (asked["rows"], asked["by_status"]) == (3, {"FAILED": 3})
    assert 0 < asked["cost_usd"] < 0.01
    assert calls(deployed, "again") == {"a": 1, "b": 1, "c": 1, "d": 1, "e": 1, "f": 1}

    done = deployed.command("rerun", batch, "-o", "again-2.csv", "--json")
    assert done.returncode == 1
    second = json.loads(done.stdout)
    assert list(second) == list(first)
    assert present(second["counts"]) == {"SUCCESS": 5, "FAILED": 1}
    assert second["row_count"] == 6
    assert calls(deployed, "again") == {"a": 1, "b": 2, "c": 1, "d": 2, "e": 2, "f": 1}
    got = lines(deployed, "again-2.csv")
    assert [line["input_id"] for line in got] == list("abcdef")
    assert [line["_status"] for line in got] == ["SUCCESS", "SUCCESS", "SUCCESS", "FAILED", "SUCCESS", "SUCCESS"]
    rows = {row["row_number"]: row for row in deployed.rows("results", batch)}
    assert {number: row["attempts"] for number, row in rows.items()} == {1: 1, 2: 2, 3: 1, 4: 2, 5: 2, 6: 1}

    done = deployed.command("rerun", batch, "--json", force=False)
    assert done.returncode == 2, "the CSV of the first run is not the batch's last one: it is not replaced unasked"
    assert "again-results.csv exists: --force replaces it" in done.stderr
    done = deployed.command("rerun", batch, "--json")
    assert done.returncode == 0, done.stderr
    assert present(json.loads(done.stdout)["counts"]) == {"SUCCESS": 6}
    known = deployed.json("status", batch)
    assert (known["status"], known["counts_exact"], known["rows_done"]) == ("SUCCEEDED", True, 6)
    assert [run["run"] for run in known["runs"]] == [1, 2, 3]

    nothing = deployed.command("rerun", batch)
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "nothing to run again" in nothing.stderr
    assert sum(calls(deployed, "again").values()) == 10


def test_rows_and_statuses_that_are_asked_for(deployed: Any) -> None:
    batch = batch_of(deployed, "asked", "a,1 b,1 c,0 d,1 e,1")["batch_id"]
    done = deployed.command("rerun", batch, "--rows", "2-3, 5", "--json")
    assert present(json.loads(done.stdout)["counts"]) == {"SUCCESS": 3, "FAILED": 2}
    assert calls(deployed, "asked") == {"a": 1, "b": 2, "c": 1, "d": 1, "e": 2}
    told = deployed.command("rerun", batch, "--rows", "1-3", "--dry-run")
    assert "2 rows of those asked for succeeded already" in told.stderr
    assert "1 row to run again (1 FAILED)" in told.stderr
    assert deployed.json("rerun", batch, "--status", "TIMEOUT", "--dry-run")["rows"] == 0
    for bad, words in ((("--rows", "7,x-9"), "'x-9' is no row number"), (("--status", "SUCCESS"), "--status")):
        refused = deployed.command("rerun", batch, *bad)
        assert refused.returncode == 2
        assert words in refused.stderr


def test_what_a_limit_left_is_resumed(deployed: Any) -> None:
    rows = " ".join(f"r{number},{int(number == 2)}" for number in range(1, 41))
    first = batch_of(deployed, "limited", rows, "--limit", "10")
    assert present(first["counts"]) == {"SUCCESS": 9, "FAILED": 1, "NOT_RUN": 30}
    batch = first["batch_id"]
    second = deployed.json("rerun", batch, "--status", "NOT_RUN", "--rows", "1-20")
    assert present(second["counts"]) == {"SUCCESS": 19, "FAILED": 1, "NOT_RUN": 20}
    third = deployed.json("rerun", batch)
    assert present(third["counts"]) == {"SUCCESS": 40}
    assert set(calls(deployed, "limited").values()) == {1, 2}
    attempts = {row["row_number"]: row["attempts"] for row in deployed.rows("results", batch)}
    assert {number for number, count in attempts.items() if count != 1} == {2}


def test_another_mapping_for_the_rows_that_are_run_again(deployed: Any) -> None:
    asked = ("run", str(MIXED), "--target", "echo", "--mapping", str(MIXED_MAPPING), "-o", "m1.csv", "--json")
    first = json.loads(deployed.command(*asked).stdout)
    methods = {
        "type": "tool",
        "extraction_methods": [{"method": "jmespath", "paths": {"said": "message || echo.text"}}],
    }
    deployed.write("said.json", json.dumps({"output_mapping": methods}))
    done = deployed.command(
        "rerun", first["batch_id"], "--status", "EXTRACTION_FAILED", "--mapping", "said.json", "-o", "m2.csv", "--json"
    )
    second = json.loads(done.stdout)
    assert second["counts"]["EXTRACTION_FAILED"] == 0
    assert second["counts"]["SUCCESS"] == first["counts"]["SUCCESS"] + first["counts"]["EXTRACTION_FAILED"]
    before, after = lines(deployed, "m1.csv"), lines(deployed, "m2.csv")
    assert "output_said" in after[0]
    assert set(before[0]) < set(after[0])
    for was, now in zip(before, after, strict=True):
        if was["_status"] == "EXTRACTION_FAILED":
            assert (now["_status"], now["output_said"]) == ("SUCCESS", "no result")
        else:
            assert {name: now[name] for name in was} == was


def test_a_source_that_was_replaced(deployed: Any) -> None:
    first = batch_of(deployed, "replaced", "a,1 b,0 c,1")
    stack = deployed.stack
    source = deployed.json("status", first["batch_id"])["source"]
    stack.app.s3.put_object(Bucket=source["bucket"], Key=source["key"], Body=b"id,probe,fails\nother,replaced,0\n")
    refused = deployed.command("rerun", first["batch_id"])
    assert refused.returncode == 2
    assert "was replaced after the batch was prepared" in refused.stderr
    assert "--stored-input" in refused.stderr
    assert deployed.json("status", first["batch_id"])["counts"] == first["counts"]
    second = deployed.json("rerun", first["batch_id"], "--stored-input", "-o", "stored.csv")
    assert present(second["counts"]) == {"SUCCESS": 3}
    assert [line["output_id"] for line in lines(deployed, "stored.csv")] == ["a", "b", "c"]
    assert calls(deployed, "replaced") == {"a": 2, "b": 1, "c": 2}


def test_a_run_that_is_under_way_is_not_run_again(deployed: Any) -> None:
    batch = batch_of(deployed, "twice", "a,1 b,1")["batch_id"]
    stack = deployed.stack
    order = {"rerun_of": batch}
    arns = [
        stack.app.stepfunctions.start_execution(
            stateMachineArn=stack.state_machine_arn, name=f"twice-{number}", input=json.dumps(order)
        )["executionArn"]
        for number in range(2)
    ]

    def ended() -> list[dict[str, Any]]:
        found = [stack.app.stepfunctions.describe_execution(executionArn=arn) for arn in arns]
        return found if all(one["status"] != "RUNNING" for one in found) else []

    for one in eventually(ended, 60):
        assert one["status"] == "SUCCEEDED" or one["error"] == "BatchRunning", one
    assert calls(deployed, "twice") == {"a": 2, "b": 2}
    gone = stack.app.stepfunctions.start_execution(
        stateMachineArn=stack.state_machine_arn, name="twice-none", input=json.dumps({"rerun_of": "echo#none"})
    )["executionArn"]
    describe = stack.app.stepfunctions.describe_execution
    eventually(lambda: describe(executionArn=gone)["status"] == "FAILED", 30)
    assert "there is no batch" in describe(executionArn=gone)["cause"]
    assert present(deployed.json("status", batch)["counts"]) == {"SUCCESS": 2}
