from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from made import plan

from service.errors import NotFound
from service.record import BatchRecord
from service.store.batches import BatchTaken
from service.store.registry import RegisteredTarget
from service.store.tables import BatchItem

if TYPE_CHECKING:
    from service.app import App


def record(app: App, name: str, prepared_at: str = "2025-01-01T00:00:00.000Z", arn: str = "arn:1") -> BatchRecord:
    item = BatchRecord(name, prepared_at=prepared_at, status="PREPARING", execution_arn=arn, run=1)
    return app.records.create(item)


def test_a_record_is_created_once_and_opened_again_by_its_own_execution(app: App) -> None:
    record(app, "a#1")
    app.records.update("a#1", status="FAILED", error={"type": "E", "message": "m"}, stop=True)
    again = record(app, "a#1", "2025-01-02T00:00:00.000Z")
    assert (again.status, again.error, again.stop, again.prepared_at[:10]) == ("PREPARING", None, True, "2025-01-01")
    with pytest.raises(BatchTaken, match="a#1"):
        record(app, "a#1", arn="arn:2")


def test_what_is_not_there(app: App) -> None:
    assert app.records.find("none") is None
    with pytest.raises(NotFound, match="'none'"):
        app.records.get("none")
    assert app.records.update("none", status="RUNNING") is False
    assert app.records.find("none") is None


def test_updates(app: App) -> None:
    record(app, "a#1")
    assert app.records.update("a#1", status="RUNNING", counts={"SUCCESS": 1}, stop=True, row_count=5)
    found = app.records.get("a#1")
    assert (found.status, found.counts, found.stop, found.row_count) == ("RUNNING", {"SUCCESS": 1}, True, 5)
    assert app.records.update("a#1", counts=None)
    assert app.records.get("a#1").counts is None
    assert app.records.update("a#1", BatchItem.status == "STOPPING", status="FAILED") is False
    for status in ("PREPARING", "RUNNING", "STOPPING", "AGGREGATING"):
        app.records.update("a#1", status=status)
        assert app.records.update_open("a#1", row_count=6)
    for status in ("SUCCEEDED", "PARTIAL", "INCOMPLETE", "FAILED", "EXPIRED"):
        app.records.update("a#1", status=status)
        assert not app.records.update_open("a#1", row_count=7)
    assert app.records.get("a#1").row_count == 6


def test_the_newest_come_first_and_chunks_are_not_among_them(app: App) -> None:
    for day in (2, 1, 3):
        record(app, f"a#{day}", f"2025-01-0{day}T00:00:00.000Z")
    app.plans.save_chunk("a#1", 1, 0, first_row=1, rows=2, counts={"SUCCESS": 2}, ttl=None)
    app.plans.save("a#1", plan())
    assert [item.batch_id for item in app.records.newest()] == ["a#3", "a#2", "a#1"]
    assert [item.batch_id for item in app.records.newest(limit=2)] == ["a#3", "a#2"]


def test_chunks_by_run(app: App) -> None:
    for run, chunk, count in ((1, 0, 2), (1, 1, 3), (1, 1, 3), (2, 0, 1)):
        app.plans.save_chunk("a#1", run, chunk, first_row=1, rows=9, counts={"SUCCESS": count}, ttl=99)
    assert app.records.chunk_counts("a#1", 1) == {"SUCCESS": 5}
    assert app.records.chunk_counts("a#1", 2) == {"SUCCESS": 1}
    assert app.records.chunk_counts("a#2", 1) == {}
    assert len(list(app.records.chunks("a#1"))) == 3


def test_plans(app: App) -> None:
    saved = plan(output_mapping={"b": [1, {"é": None}], "a": 1.5}, columns=["b", "a"])
    digest = app.plans.save("a#1", saved)
    assert app.plans.save("a#1", replace(saved, output_mapping={"a": 1.5, "b": [1, {"é": None}]})) == digest
    assert app.plans.load("a#1", digest) == saved
    assert app.plans.load("a#1", digest) is app.plans.load("a#1", digest)
    assert app.plans.save("a#1", replace(saved, inner=2)) != digest


def test_the_stop_flag(app: App) -> None:
    assert app.plans.stopped("none") is False
    record(app, "a#1")
    assert app.plans.stopped("a#1") is False
    app.records.update("a#1", stop=True)
    assert app.plans.stopped("a#1") is True


def test_targets_by_version(app: App) -> None:
    assert app.registry.find("echo") is None
    first = app.registry.register(RegisteredTarget("echo", "lambda", "arn:1", output_schema={"fields": []}))
    assert first.version == 1
    assert app.registry.register(RegisteredTarget("echo", "lambda", "arn:1", output_schema={"fields": []})) == first
    second = app.registry.register(RegisteredTarget("echo", "lambda", "arn:2"))
    assert (second.version, app.registry.find("echo")) == (2, second)
    app.registry.register(RegisteredTarget("a", "state_machine", "arn:3"))
    assert app.registry.names() == ["a", "echo"]


def test_an_execution_of_the_same_arn_months_later_is_another_one(app: App) -> None:
    """Step Functions frees a name 90 days after its execution has ended (StartExecution, API reference)."""
    first = BatchRecord("echo#1", status="SUCCEEDED", execution_arn="arn", started_at="2026-01-01T00:00:00Z", run=1)
    app.records.create(first)
    assert app.records.create(replace(first, status="PREPARING")).status == "PREPARING"  # a function that is retried
    with pytest.raises(BatchTaken):
        app.records.create(replace(first, started_at="2026-06-01T00:00:00Z"))
