"""The report of a batch that has run: what the page says is what the commands say."""

from __future__ import annotations

import json
from typing import Any

from service.console.local.stack import CHECKOUT

EXAMPLES = CHECKOUT / "examples"


def test_a_page_of_a_batch_in_which_rows_fail(deployed: Any) -> None:
    mapping = str(EXAMPLES / "mappings" / "mixed_fates.yaml")
    source = str(EXAMPLES / "mixed_fates.csv")
    result = deployed.json("run", source, "--target", "echo", "--mapping", mapping, "-o", "mixed.csv")
    batch = result["batch_id"]

    made = deployed.command("report", batch, "-o", "mixed.html")
    assert made.returncode == 0, made.stderr
    assert "mixed.html: 24 rows, " in made.stderr
    page = (deployed.folder / "mixed.html").read_text(encoding="utf-8")
    assert "14 of 24 rows succeeded; 10 did not: 5 FAILED, 1 TIMEOUT, 2 INVALID_INPUT, 2 EXTRACTION_FAILED." in page
    rows = json.loads(page.partition('id="data">')[2].partition("</script>")[0])["rows"]
    failed = [str(row["row_number"]) for row in deployed.rows("failed", batch)]
    assert [row[0] for row in rows[:10]] == sorted(failed, key=int)
    assert "日本語の手紙" in page

    told = deployed.json("report", batch)
    assert told["counts"] == {**told["counts"], **result["counts"]}
    assert told["adds_up"]
    assert told["duration_ms"] == result["execution_time_ms"]
    causes = {(group["error"], group["message"], group["count"]) for group in result["errors"]}
    assert {(group["error"], group["message"], group["count"]) for group in told["errors"]} == causes
    for group in told["errors"]:
        assert all(row["input_data"]["id"] == str(row["row_number"]) for row in group["examples"])
    assert told["mapping"]["output_mapping"]["extraction_methods"][0]["field_mappings"] == {
        "id": "echo.id",
        "text": "echo.text",
    }
    times = [
        row["execution_time_ms"] for row in deployed.rows("results", batch) if row["execution_time_ms"] is not None
    ]
    assert (told["times"]["all"]["count"], told["times"]["all"]["max_ms"]) == (len(times), max(times))


def test_a_batch_of_no_rows(deployed: Any) -> None:
    deployed.write("nothing.csv", "id,text\n")
    done = deployed.json("run", "nothing.csv", "--target", "echo", "-o", "nothing-results.csv")
    assert deployed.command("report", done["batch_id"], "-o", "nothing.html").returncode == 0
    assert "there was nothing to run" in (deployed.folder / "nothing.html").read_text()
