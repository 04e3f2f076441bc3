"""Batches that stop early by themselves: failures, their share, money; and how far beyond a limit they go."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deployed import PROBE_ARN

from service.cost.workload import concurrency
from service.request.chunking import WATCHED_ROWS


def present(counts: dict[str, int]) -> dict[str, int]:
    return {status: count for status, count in counts.items() if count}


def run(deployed: Any, probe: str, fails: list[int], **config: Any) -> dict[str, Any]:
    """A batch of the probe's rows, each called once; rows fail as `fails` says."""
    table = "".join(f"{number:05d},{probe},{count}\n" for number, count in enumerate(fails, 1))
    deployed.write(f"{probe}.csv", f"id,probe,fails\n{table}")
    config = {"retry_policy": {"max_attempts": 1}, "max_concurrency": 10, **config}
    deployed.write(f"{probe}.json", json.dumps({"execution_config": config}))
    done = deployed.command("run", f"{probe}.csv", "--target", PROBE_ARN, "--mapping", f"{probe}.json", "--json")
    assert done.returncode == 1, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def called(deployed: Any, probe: str) -> int:
    return len(list((deployed.folder / "probe" / probe).glob("calls-*")))


@pytest.mark.parametrize(
    ("probe", "fails", "config", "reason"),
    [
        ("most", [0] * 10 + [1] * 190, {"max_failures": 5}, "max_failures"),
        ("first", [0, 0, 1] + [0] * 197, {"continue_on_error": False}, "max_failures"),
        ("share", [number % 2 for number in range(300)], {"max_failure_rate": 0.25}, "max_failure_rate"),
        ("money", [0] * 300, {"max_cost_usd": 0.003}, "max_cost_usd"),
    ],
)
def test_a_batch_stops_by_its_own_rules(
    deployed: Any, probe: str, fails: list[int], config: dict[str, Any], reason: str
) -> None:
    result = run(deployed, probe, fails, **config)
    counts = present(result["counts"])
    assert result["status"] == "INCOMPLETE"
    assert sum(counts.values()) == result["row_count"] == len(fails)
    assert set(counts) <= {"SUCCESS", "FAILED", "NOT_RUN"}
    assert counts["NOT_RUN"] == len(fails) - called(deployed, probe) > 0
    record = deployed.stack.app.records.get(result["batch_id"])
    assert (record.stop, record.stop_reason) == (True, reason)
    assert next(command for command in deployed.json("status", result["batch_id"])["next"] if "rerun" in command)


def test_how_far_a_batch_goes_beyond_its_limit(deployed: Any) -> None:
    """By the chunks under way when the limit is crossed, and no more: here it is crossed in the first ones."""
    at_once = 10
    result = run(deployed, "beyond", [1] * 400, max_failures=3, max_concurrency=at_once)
    under_way = concurrency(at_once)[0] * WATCHED_ROWS
    assert called(deployed, "beyond") <= under_way
    assert result["counts"]["NOT_RUN"] >= 400 - under_way
    assert result["status"] == "FAILED"


def test_a_stopped_batch_is_resumed_by_a_rerun(deployed: Any) -> None:
    first = run(deployed, "resumed", [1] * 10 + [0] * 150, max_failures=2)
    assert first["counts"]["NOT_RUN"] > 0
    deployed.write("patient.json", json.dumps({"execution_config": {"max_failures": 50}}))
    done = deployed.command("rerun", first["batch_id"], "--mapping", "patient.json", "--json")
    assert done.returncode == 0, done.stderr
    assert present(json.loads(done.stdout)["counts"]) == {"SUCCESS": 160}
    stored = deployed.rows("results", first["batch_id"], "--limit", "160")
    assert [row["row_number"] for row in stored] == [*range(1, 161)]


def test_rules_that_are_not_crossed_stop_nothing(deployed: Any) -> None:
    result = run(deployed, "within", [0] * 30 + [1], max_failures=1, max_failure_rate=0.5, max_cost_usd=100)
    assert present(result["counts"]) == {"SUCCESS": 30, "FAILED": 1}
    assert result["status"] == "PARTIAL"
