"""The concurrency of a running batch: set by hand, and followed by its Map Run."""

from __future__ import annotations

import json
from typing import Any

from deployed import PROBE_ARN, eventually


def test_fewer_rows_are_in_flight_from_now_on(deployed: Any) -> None:
    lines = ["id,probe,wait_for", *(f"{number},fewer,go" for number in range(1, 121))]
    deployed.write("fewer.csv", "\n".join(lines) + "\n")
    deployed.write("fewer.json", json.dumps({"execution_config": {"max_concurrency": 20}}))
    running = deployed.popen("run", "fewer.csv", "--target", PROBE_ARN, "--mapping", "fewer.json", "--json")
    app = deployed.stack.app
    notes = deployed.folder / "probe" / "fewer" / "notes"
    eventually(lambda: notes.exists() and notes.read_text().count("+1") == 20, 60)
    record = next(app.records.newest(1))
    too_many = deployed.command("concurrency", record.batch_id, "21")
    assert too_many.returncode == 2
    assert "21 is more than max_concurrency, 20" in too_many.stderr.replace("the batch's ", "")

    assert deployed.json("concurrency", record.batch_id, "9")["rows_in_flight"] == 5
    (mapped,) = app.stepfunctions.list_map_runs(executionArn=record.execution_arn)["mapRuns"]
    assert app.stepfunctions.describe_map_run(mapRunArn=mapped["mapRunArn"])["maxConcurrency"] == 1
    (notes.parent / "go").touch()
    printed, _ = running.communicate(timeout=240)
    assert json.loads(printed)["counts"]["SUCCESS"] == 120

    # Chunks at work were run to their end; of those that followed one was at work at a time, 5 rows at once.
    steps = [
        int(line.split()[1]) for line in sorted(notes.read_text().splitlines(), key=lambda one: int(one.split()[0]))
    ]
    in_flight = [sum(steps[:place]) for place in range(1, len(steps) + 1)]
    assert max(in_flight) == 20
    assert max(in_flight[-40:]) <= 5
    late = deployed.command("concurrency", record.batch_id, "5")
    assert late.returncode == 2
    assert "is SUCCEEDED" in late.stderr
