"""Another mapping for a batch that has run: the command line, the real functions, and no call of the target."""

from __future__ import annotations

import csv
import json
from typing import Any

from deployed import PROBE_ARN

from service.console.local.stack import CHECKOUT

EXAMPLES = CHECKOUT / "examples"
FATES = {"SUCCESS": 14, "FAILED": 5, "TIMEOUT": 1, "INVALID_INPUT": 2, "EXTRACTION_FAILED": 2}


def lines(deployed: Any, name: str) -> list[dict[str, str]]:
    with (deployed.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def mapping(deployed: Any, name: str, paths: dict[str, str], **more: Any) -> str:
    methods = {"type": "tool", "extraction_methods": [{"method": "jmespath", "paths": paths}]}
    return deployed.write(name, json.dumps({"output_mapping": methods, **more}))


def test_the_fates_of_rows_after_another_mapping(deployed: Any) -> None:
    first = deployed.json(
        "run", str(EXAMPLES / "mixed_fates.csv"), "--target", "echo",
        "--mapping", str(EXAMPLES / "mappings" / "mixed_fates.yaml"), "-o", "before.csv",
    )  # fmt: skip
    batch = first["batch_id"]
    before = lines(deployed, "before.csv")
    assert {status: count for status, count in first["counts"].items() if count} == FATES

    better = mapping(deployed, "better.json", {"title": "echo.text || message", "number": "echo.id"})
    done = deployed.command("remap", batch, "--mapping", better, "-o", "after.csv", "--json")
    assert done.returncode == 1, done.stderr  # the failures are failures still
    result = json.loads(done.stdout)
    assert list(result) == list(first)
    assert {status: count for status, count in result["counts"].items() if count} == {
        **{status: count for status, count in FATES.items() if status != "EXTRACTION_FAILED"}, "SUCCESS": 16,
    }  # fmt: skip
    assert "16 rows changed, 0 as before" in done.stderr
    got = lines(deployed, "after.csv")
    assert [line["_row_id"] for line in got] == [line["_row_id"] for line in before]
    assert [line["_timestamp"] for line in got] == [line["_timestamp"] for line in before]
    assert "output_text" not in got[0]
    assert (got[0]["output_title"], got[0]["output_number"]) == ("Invoice for March", "1")
    assert (got[12]["output_title"], got[12]["_status"], got[12]["_error"]) == ("no result", "SUCCESS", "")
    assert {row["status"] for row in deployed.rows("failed", batch)} == {"FAILED", "TIMEOUT", "INVALID_INPUT"}
    assert deployed.json("status", batch)["counts"] == result["counts"]

    again = deployed.command("remap", batch, "--mapping", better, "-o", "after.csv", "--json")
    assert "0 rows changed, 16 as before" in again.stderr
    assert lines(deployed, "after.csv") == got

    worse = mapping(deployed, "worse.json", {"text": "message"})
    back = deployed.json("remap", batch, "--mapping", worse, "-o", "worse.csv")
    assert (back["counts"]["SUCCESS"], back["counts"]["EXTRACTION_FAILED"]) == (2, 14)
    assert len(deployed.rows("failed", batch, "--status", "EXTRACTION_FAILED")) == 14


def test_the_target_is_not_called_again(deployed: Any) -> None:
    deployed.write("remapped.csv", "id,probe\n" + "".join(f"{number},remapped\n" for number in range(150)))
    batch = deployed.json("run", "remapped.csv", "--target", PROBE_ARN)["batch_id"]
    notes = deployed.folder / "probe" / "remapped" / "notes"
    before = notes.read_bytes()
    done = deployed.command(
        "remap", batch, "-o", "again.csv", "--json",
        "--mapping", mapping(deployed, "name.json", {"name": "id"}, csv={"column_style": "plain"}),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["counts"]["SUCCESS"] == 150
    assert "read again 150 of 150 rows" in done.stderr
    assert notes.read_bytes() == before
    got = lines(deployed, "again.csv")
    assert [line["name"] for line in got] == [str(number) for number in range(150)]
    assert list(got[0])[:3] == ["id", "probe", "name"]
    assert "calls" not in got[0]


def test_rows_whose_output_was_not_kept_are_named(deployed: Any) -> None:
    deployed.write("unkept.csv", "id,text\n1,a\n2,b\n")
    config = deployed.write("unkept.json", json.dumps({"execution_config": {"keep_output": False}}))
    batch = deployed.json("run", "unkept.csv", "--target", "echo", "--mapping", config)["batch_id"]
    done = deployed.command("remap", batch, "--mapping", mapping(deployed, "id.json", {"id": "echo.id"}))
    assert done.returncode == 0
    assert "the output is not stored" in done.stderr
    assert "2 rows (rows 1, 2)" in done.stderr
    assert "SUCCEEDED" in done.stdout


def test_what_cannot_be_remapped_is_wrong_use(deployed: Any) -> None:
    good = mapping(deployed, "good.json", {"id": "echo.id"})
    nowhere = deployed.command("remap", "echo#nowhere", "--mapping", good)
    assert (nowhere.returncode, nowhere.stdout) == (2, "")
    deployed.write("single.csv", "id\n1\n")
    batch = deployed.json("run", "single.csv", "--target", "echo")["batch_id"]
    faulty = mapping(deployed, "faulty.json", {"id": "echo.id ||"}, input_mapping={"id": "other"})
    refused = deployed.command("remap", batch, "--mapping", faulty)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "input_mapping: cannot change" in refused.stderr
    assert "output_mapping.extraction_methods[0].paths.id" in refused.stderr
    misplaced = deployed.command("remap", batch, "--mapping", good, "-o", "s3://?")
    assert (misplaced.returncode, misplaced.stdout) == (2, "")
