"""Two verbs at one batch at once: before each call that the one makes, the other one is done, wholly."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from made import (
    MACHINE,
    chunk_event,
    event_of,
    execution_arn,
    finished,
    make_tool,
    manifest,
    put_source,
    role,
    row_event,
    rows_csv,
)

from service.batch import closing
from service.batch.progress import BatchRunning
from service.console import remap
from service.errors import BatchProcessorError, BatchRefused
from service.models import OPEN
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App
    from service.record import BatchRecord

OLD = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
NEW = {"extraction_methods": [{"method": "direct", "paths": {"y": "x"}}]}
ROWS = 3
PUT = "PutObject"


class Batch:
    """One batch of three rows, the second of which fails, and the verbs at it; `won` are the claims that succeeded."""

    def __init__(self, app: App, name: str) -> None:
        self.app, self.name, self.id = app, name, f"echo#{name}"
        self.won: list[str] = []
        self.said: dict[str, Any] = {}
        self.source = put_source(app, rows_csv(ROWS), f"in/{name}.csv")
        self.first: dict[str, Any] = {}
        for execution in (name, f"{name}-again", f"{name}-other"):
            app.stepfunctions.start_execution(stateMachineArn=MACHINE, name=execution, input="{}")
        app.stepfunctions.stop_execution(executionArn=execution_arn(name))

    @property
    def record(self) -> BatchRecord:
        return self.app.records.get(self.id)

    # --- states

    def running(self) -> None:
        """Every row has run; its execution is gone, and nobody has said so yet."""
        self.prepare()
        for chunk in manifest(self.app, self.first):
            answer = transform_chunk(self.app, chunk_event(self.first, chunk))
            results = [{"row_id": row["row_id"], "status": self.row(int(row["row_id"][4:]))} for row in answer["rows"]]
            finish_chunk(self.app, finished(answer, results))

    def row(self, number: int) -> str:
        if number != 2:
            return write_output(self.app, row_event(self.first, number, output={"x": number}))["status"]
        failure = {"Error": "Boom", "Cause": "no"}
        event = row_event(self.first, number, call={"attempt": 3, "name": "n"}, failure=failure)
        return str(handle_failure(self.app, event)["status"])

    def ended(self) -> None:
        """It has its CSV."""
        self.running()
        self.own()

    def begun(self) -> None:
        """Its execution has begun, and nothing is there yet."""

    # --- verbs

    def prepare(self) -> None:
        given = {"csv_s3_uri": self.source, "target": "echo", "output_mapping": OLD}
        self.first = prepare(self.app, event_of(given, self.name))

    def own(self) -> None:
        """The CSV of the first run, by its own execution."""
        aggregate_results.aggregate(self.app, {"batch": self.first}, lambda: 900_000)

    def plain(self) -> None:
        aggregate_results.aggregate(self.app, {"batch_id": self.id}, lambda: 900_000)

    def claim(self) -> None:
        self._claim("again")

    def other_claim(self) -> None:
        self._claim("other")

    def _claim(self, name: str) -> None:
        """Nothing but the claimed run may make the CSV from here on: what is there now is taken away."""
        prepare(self.app, event_of({"rerun_of": self.id}, f"{self.name}-{name}"))
        self.won.append(f"{self.name}-{name}")
        self.take_csv()

    def remap(self) -> None:
        order = remap.check(self.app, self.record, {"output_mapping": NEW})
        remap.remap(self.app, order, lambda _: None)
        self.said["remapped"] = True
        self.take_csv()

    def stop(self) -> None:
        closing.stop(self.app, self.id)
        self.said["stopped"] = True

    def aborted(self) -> None:
        """EventBridge's event of the first execution's end."""
        detail = {"name": self.name, "status": "ABORTED", "executionArn": execution_arn(self.name)}
        detail["input"] = json.dumps({"target": "echo"})
        done = closing.close_ended(self.app, {"source": "aws.states", "detail": detail})
        self.said["closed"] = self.said.get("closed", 0) + done["closed"]

    def aborted_and_claimed(self) -> None:
        self.aborted()
        self.claim()

    def refresh(self) -> None:
        """Whoever reads the record of an execution that is gone."""
        closing.refreshed(self.app, self.record)

    # --- what there is

    def take_csv(self) -> None:
        self.app.s3.delete_object(Bucket=self.app.settings.data_bucket, Key=self.csv_key)

    @property
    def csv_key(self) -> str:
        return str(self.record.output_key)

    def csv_lines(self) -> list[str] | None:
        with suppress(self.app.s3.exceptions.NoSuchKey):
            found = self.app.s3.get_object(Bucket=self.app.settings.data_bucket, Key=self.csv_key)["Body"].read()
            return list(found.decode().splitlines()[1:])
        return None


class Moment(NamedTuple):
    """Where in the one verb the other was done: before its call of that number, and the call's name."""

    position: int
    call: str


def before_each_call(app: App, state: str, one: str, other: str, check: Callable[[Batch, Moment], None]) -> None:
    """`check` is asked of each interleaving, of a batch of its own."""
    calls: list[str] = []
    due: dict[str, Any] = {"at": None, "batch": None, "counting": False, "call": None}

    def before(event_name: str, **_: Any) -> None:
        if not due["counting"]:
            return
        calls.append(event_name.rpartition(".")[2])
        if len(calls) - 1 == due["at"]:
            due.update(counting=False, call=calls[-1])
            with suppress(BatchProcessorError), ThreadPoolExecutor(1) as pool:  # as another process: no state is shared
                pool.submit(getattr(due["batch"], other)).result()
            due["counting"] = True

    for client in (app.dynamodb, app.s3, app.stepfunctions):
        client.meta.events.register_first("before-send", before)

    def tried(at: int | None) -> Batch:
        batch = Batch(app, f"{one}-{other}-{at}".replace("_", "-"))
        getattr(batch, state)()
        calls.clear()
        due.update(at=at, batch=batch, counting=True, call=None)
        with suppress(BatchProcessorError):
            getattr(batch, one)()
        due["counting"] = False
        return batch

    tried(None)
    most = len(calls)
    assert most > 1
    for position in range(most):
        batch = tried(position)
        assert due["call"]
        check(batch, Moment(position, due["call"]))


@pytest.fixture(autouse=True)
def stack(app: App) -> None:
    """A tool, and a machine whose executions can be looked at."""
    make_tool(app)
    definition = json.dumps({"StartAt": "End", "States": {"End": {"Type": "Succeed"}}})
    app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))


def still_good(batch: Batch, moment: Moment) -> None:
    """What holds whatever came first."""
    record = batch.record
    if batch.won:
        (winner,) = batch.won  # of two claims one is refused
        assert record.execution_arn == execution_arn(winner)
        assert (int(record.run), record.status in OPEN, record.ended_at) == (2, True, None)
        assert len(record.runs) == int(record.run)
        with pytest.raises(BatchRunning):
            prepare(batch.app, event_of({"rerun_of": batch.id}, f"{batch.name}-third"))
        stopped = closing.stop(batch.app, batch.id)
        assert (stopped.status, stopped.stop, stopped.stop_reason) == ("STOPPING", True, "by hand")
    else:
        assert record.status not in OPEN
        assert record.ended_at
        assert sum(record.counts.values()) == ROWS
    # Between the last look at the record and the object's appearing is one call: nothing stands between those two.
    lines = batch.csv_lines()
    if batch.won and moment.call != PUT:
        assert lines is None
    assert lines is None or len(lines) == ROWS
    assert batch.app.plans.find(batch.id, record.plan_hash) is not None
    uploads = batch.app.s3.list_multipart_uploads(Bucket=batch.app.settings.data_bucket)
    assert not uploads.get("Uploads")


PAIRS = [  # state, who goes on, who comes between
    ("ended", "plain", "claim"),
    ("ended", "plain", "plain"),
    ("ended", "claim", "plain"),
    ("ended", "claim", "other_claim"),
    ("ended", "remap", "claim"),
    ("ended", "claim", "remap"),
    ("ended", "remap", "remap"),
    ("running", "own", "aborted"),
    ("running", "own", "aborted_and_claimed"),
    ("running", "aborted", "own"),
    ("running", "aborted", "aborted"),
    ("running", "aborted", "aborted_and_claimed"),
    ("running", "refresh", "aborted_and_claimed"),
    ("running", "refresh", "own"),
    ("running", "own", "refresh"),
]


@pytest.mark.parametrize(("state", "one", "other"), PAIRS)
def test_whatever_comes_between(app: App, state: str, one: str, other: str) -> None:
    before_each_call(app, state, one, other, still_good)


def test_a_csv_is_not_made_of_fields_that_a_remap_is_changing(app: App) -> None:
    def check(batch: Batch, moment: Moment) -> None:
        if batch.said.get("remapped") and moment.position and moment.call != PUT:
            assert batch.csv_lines() is None
        assert batch.record.status == "PARTIAL"

    before_each_call(app, "ended", "plain", "remap", check)


def test_a_csv_that_is_made_while_a_remap_goes_on_is_whole(app: App) -> None:
    def check(batch: Batch, _: Moment) -> None:
        lines = batch.csv_lines()
        assert lines is None or len(lines) == ROWS
        assert batch.record.status == "PARTIAL"
        batch.plain()
        again = batch.csv_lines()
        assert again is not None
        assert len(again) == ROWS

    before_each_call(app, "ended", "remap", "plain", check)


def test_an_event_closes_a_record_once(app: App) -> None:
    def check(batch: Batch, _: Moment) -> None:
        assert batch.said["closed"] == 1
        assert (batch.record.status, batch.record.stop_reason) == ("PARTIAL", "aborted")

    before_each_call(app, "running", "aborted", "aborted", check)


@pytest.mark.parametrize(("state", "one"), [("begun", "prepare"), ("ended", "claim")])
def test_a_stop_while_a_run_is_prepared_stays(app: App, state: str, one: str) -> None:
    def check(batch: Batch, _: Moment) -> None:
        record = batch.record
        if batch.said.get("stopped"):
            assert (record.status, record.stop, record.stop_reason) == ("STOPPING", True, "by hand")
        else:  # there was nothing to stop yet
            assert (record.status, record.stop) == ("RUNNING", False)

    before_each_call(app, state, one, "stop", check)


def test_an_execution_that_is_aborted_while_it_prepares_stays_closed(app: App) -> None:
    def check(batch: Batch, _: Moment) -> None:
        if batch.said.get("closed"):
            assert batch.record.status not in OPEN
            assert batch.record.ended_at

    before_each_call(app, "begun", "prepare", "aborted", check)


def test_a_stop_that_comes_with_the_end(app: App) -> None:
    def check(batch: Batch, _: Moment) -> None:
        assert batch.record.status == "PARTIAL"
        lines = batch.csv_lines()
        assert lines is not None
        assert len(lines) == ROWS

    before_each_call(app, "running", "own", "stop", check)
    before_each_call(app, "running", "stop", "own", check)


def test_an_aborted_run_that_goes_on_says_why_it_makes_no_csv(app: App) -> None:
    batch = Batch(app, "one")
    batch.running()
    batch.aborted_and_claimed()
    with pytest.raises(BatchRefused, match="was run again meanwhile: that run makes its CSV when it ends"):
        batch.own()
    assert batch.record.execution_arn == execution_arn("one-again")


def test_a_record_that_was_read_before_the_batch_was_run_again(app: App) -> None:
    batch = Batch(app, "one")
    batch.running()
    stale = batch.record
    batch.aborted_and_claimed()
    assert closing.refreshed(app, stale).execution_arn == execution_arn("one-again")
    assert batch.record.status == "RUNNING"
