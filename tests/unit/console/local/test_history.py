"""The embedded AWS forgets what is long over, and nothing that still goes on."""

from __future__ import annotations

from typing import Any

import pytest
from ministack.core.responses import AccountRegionScopedDict

from service.console.local import history


@pytest.fixture(autouse=True)
def _few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "EXECUTIONS", 4)
    monkeypatch.setattr(history, "HISTORIES", 2)
    monkeypatch.setattr(history, "STREAMS", 3)


def execution(machine: str, status: str = "SUCCEEDED") -> dict[str, Any]:
    return {
        "stateMachineArn": machine,
        "status": status,
        "stopDate": None if status == "RUNNING" else "now",
        "output": "1",
        "events": [{"id": 1}],
    }


def test_the_latest_executions_of_each_machine_are_kept_and_of_those_the_latest_histories() -> None:
    executions = AccountRegionScopedDict()
    for number in range(6):
        executions.set_scoped("1", "r", f"chunk{number}", execution("chunks"))
    executions.set_scoped("1", "r", "batch", execution("batches"))
    for _ in range(2):
        history.forget_executions(executions)
    found = {key: value["events"] for (_, _, key), value in executions.all_items()}
    assert found == {
        "chunk2": [],
        "chunk3": [],
        "chunk4": [{"id": 1}],
        "chunk5": [{"id": 1}],
        "batch": [{"id": 1}],
    }


def test_what_runs_is_kept_however_long_ago_it_was_started() -> None:
    executions = AccountRegionScopedDict()
    executions.set_scoped("1", "r", "first", execution("chunks", "RUNNING"))
    for number in range(9):
        executions.set_scoped("1", "r", f"chunk{number}", execution("chunks", "FAILED"))
    history.forget_executions(executions)
    assert executions.get_scoped("1", "r", "first")["events"] == [{"id": 1}]
    assert len(executions.all_items()) == 1 + 4


def test_the_latest_log_streams_of_each_group_are_kept() -> None:
    groups = AccountRegionScopedDict()
    groups.set_scoped("1", "r", "many", {"streams": {str(number): {} for number in range(9)}})
    groups.set_scoped("1", "r", "few", {"streams": {"0": {}}})
    history.forget_streams(groups)
    assert {key: list(group["streams"]) for (_, _, key), group in groups.all_items()} == {
        "many": ["6", "7", "8"],
        "few": ["0"],
    }
