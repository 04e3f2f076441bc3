"""What is kept of a run's governing, and what its Map Run is told."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from made import plan

from service.batch import governed_run
from service.batch.governed_run import chunks_at_once, count_chunk, count_throttling, set_by_hand
from service.batch.governor import PAUSE, WINDOW, unthrottled
from service.record import BatchRecord
from service.store.governing import Governings, Kept

if TYPE_CHECKING:
    from service.app import App
    from service.plan import Plan

BATCH, EXECUTION, MAP_RUN = "echo#run-1", "arn:execution", "arn:map-run"


class Machine:
    """Step Functions, as far as governing asks it."""

    def __init__(self, *, fails: bool = False) -> None:
        self.told: list[int] = []
        self.listed: list[str] = []
        self.fails = fails

    def list_map_runs(self, *, executionArn: str) -> dict[str, Any]:  # noqa: N803 - as the client's
        self.listed.append(executionArn)
        return {"mapRuns": [{"mapRunArn": "arn:over", "stopDate": 1}, {"mapRunArn": MAP_RUN}]}

    def update_map_run(self, *, mapRunArn: str, maxConcurrency: int) -> None:  # noqa: N803
        assert mapRunArn == MAP_RUN
        if self.fails:
            raise ClientError({"Error": {"Code": "ThrottlingException"}}, "UpdateMapRun")
        self.told.append(maxConcurrency)


class Clock:
    """The module's time, which moves when it is told to."""

    now = 1_000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(governed_run, "time", clock)
    return clock


@pytest.fixture
def governings(app: App) -> Governings:
    app.records.create(BatchRecord(BATCH, prepared_at="2025-01-01T00:00:00.000Z", execution_arn=EXECUTION, run=1))
    return Governings(app.dynamodb, app.settings.batches_table)


def ordered(concurrency: int = 100) -> Plan:
    return plan(inner=min(5, concurrency), execution_config={"max_concurrency": concurrency}, ttl=2_000_000_000)


def test_throttling_lowers_the_map_run_and_quiet_raises_it(governings: Governings, clock: Clock) -> None:
    machine = Machine()
    for _ in range(59):
        count_throttling(governings, machine, ordered(), BATCH, 1)
    assert not machine.listed
    clock.now += PAUSE
    count_throttling(governings, machine, ordered(), BATCH, 1)
    assert (machine.listed, machine.told) == ([EXECUTION], [8])
    kept = governings.find(BATCH, 1)
    assert kept is not None
    assert (kept.version, kept.values["outer"]) == (1, 8)
    for _ in range(14):
        count_chunk(governings, machine, ordered(), BATCH, 1, 30)
    clock.now += WINDOW
    count_chunk(governings, machine, ordered(), BATCH, 1, 30)
    assert (len(machine.listed), machine.told) == (2, [8, 9])


def test_a_number_that_did_not_arrive_is_told_again(governings: Governings, clock: Clock) -> None:
    machine = Machine(fails=True)
    for _ in range(60):
        count_throttling(governings, machine, ordered(), BATCH, 1)
    clock.now += PAUSE
    count_throttling(governings, machine, ordered(), BATCH, 1)
    assert len(machine.listed) == 1
    count_throttling(governings, machine, ordered(), BATCH, 1)
    assert len(machine.listed) == 1, "not at each call: a whole account may ask once a second"
    machine.fails = False
    clock.now += WINDOW
    for _ in range(5):
        count_throttling(governings, machine, ordered(), BATCH, 1)
    assert machine.told == [8]


def test_nothing_is_written_of_a_batch_that_is_not_throttled(governings: Governings) -> None:
    count_chunk(governings, Machine(), ordered(), BATCH, 1, 30)
    assert governings.find(BATCH, 1) is None


def test_a_single_chunk_at_once_is_not_governed(governings: Governings) -> None:
    count_throttling(governings, Machine(), ordered(5), BATCH, 1)
    assert governings.find(BATCH, 1) is None


def test_no_failure_of_governing_is_the_rows(governings: Governings, clock: Clock, app: App) -> None:
    machine = Machine(fails=True)
    for _ in range(5):
        count_throttling(governings, machine, ordered(), BATCH, 1)
    clock.now += PAUSE
    count_throttling(governings, machine, ordered(), BATCH, 1)
    assert not machine.told
    nowhere = Governings(app.dynamodb, "absent")
    count_throttling(nowhere, machine, ordered(), BATCH, 1)
    count_chunk(nowhere, machine, ordered(), BATCH, 1, 30)


def test_one_decision_at_a_time(governings: Governings) -> None:
    state = asdict(unthrottled(20, 5, 0))
    first = governings.count_refused(BATCH, 1, state, None)
    again = governings.count_refused(BATCH, 1, state, None)
    assert (first.values["refused"], again.values["refused"], again.version) == (1, 2, 0)
    assert governings.decide(BATCH, 1, again, {**again.values, "outer": 3}, None)
    assert not governings.decide(BATCH, 1, first, {**first.values, "outer": 4}, None)
    kept = governings.find(BATCH, 1)
    assert kept is not None
    assert (kept.version, kept.values["outer"], kept.values["refused"]) == (1, 3, 2)
    assert not governings.decide(BATCH, 1, Kept(), state, None)


def test_a_number_set_by_hand(governings: Governings, clock: Clock) -> None:
    machine, record = Machine(), BatchRecord(BATCH, execution_arn=EXECUTION, run=1, expires_at=2_000_000_000)
    assert set_by_hand(governings, machine, record, 5, 32) == 6
    for _ in range(200):
        count_chunk(governings, machine, ordered(), BATCH, 1, 30)
        clock.now += WINDOW
    assert set(machine.told) == {6}, "it is a ceiling"
    assert set_by_hand(governings, machine, record, 5, 2) == 1
    assert machine.told[-1] == 1
    machine.fails = True
    with pytest.raises(ClientError):
        set_by_hand(governings, machine, record, 5, 2)
    nowhere = BatchRecord("other#1", run=1)
    with pytest.raises(LookupError, match="other#1"):
        set_by_hand(governings, machine, nowhere, 5, 2)


def test_chunks_at_once_are_those_of_the_order() -> None:
    assert [chunks_at_once(ordered(number)) for number in (1, 5, 6, 100)] == [1, 1, 2, 20]
