"""Batches that start by themselves: when both files are there, once for each version of them, never in a circle."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from made import event_of, make_tool, role, rows_csv

from service.errors import BatchRefused, NotFound
from service.steps.prepare_batch import prepare
from service.steps.start import Starter

if TYPE_CHECKING:
    from service.app import App

ORDER = {"target": "echo", "execution_config": {"limit": 2}}


class Inbox:
    """The stack's bucket and machine, as the function sees them."""

    def __init__(self, app: App) -> None:
        self.app = app
        definition = json.dumps({"StartAt": "E", "States": {"E": {"Type": "Succeed"}}})
        machine = app.stepfunctions.create_state_machine(name="batches", definition=definition, roleArn=role(app))
        self.machine = str(machine["stateMachineArn"])
        self.starter = Starter(app, self.machine, "inbox/")

    def put(self, key: str, content: Any) -> list[dict[str, Any]]:
        """What is started when an object has been put."""
        body = content if isinstance(content, str) else json.dumps(content)
        self.app.s3.put_object(Bucket=self.app.settings.data_bucket, Key=key, Body=body.encode())
        return self.event(key)

    def event(self, key: str) -> list[dict[str, Any]]:
        detail = {"bucket": {"name": self.app.settings.data_bucket}, "object": {"key": key}}
        found: list[dict[str, Any]] = self.starter.start({"source": "aws.s3", "detail": detail})["started"]
        return found

    def input_of(self, started: dict[str, Any]) -> Any:
        execution = self.app.stepfunctions.describe_execution(executionArn=started["execution_arn"])
        return json.loads(execution["input"])

    @property
    def executions(self) -> int:
        return len(self.app.stepfunctions.list_executions(stateMachineArn=self.machine)["executions"])


@pytest.fixture
def inbox(app: App) -> Inbox:
    return Inbox(app)


@pytest.mark.parametrize("order", ["source first", "order first"])
def test_a_batch_starts_when_both_files_are_there(inbox: Inbox, order: str) -> None:
    files: list[tuple[str, Any]] = [("inbox/a/reviews.csv", rows_csv(3)), ("inbox/a/reviews.json", ORDER)]
    first, second = files if order == "source first" else files[::-1]
    assert inbox.put(*first) == []
    (started,) = inbox.put(*second)
    assert started["new"]
    bucket = inbox.app.settings.data_bucket
    given = inbox.input_of(started)
    etag = given.pop("source")["etag"]
    assert given == {**ORDER, "csv_s3_uri": f"s3://{bucket}/inbox/a/reviews.csv"}
    assert etag == inbox.app.s3.head_object(Bucket=bucket, Key="inbox/a/reviews.csv")["ETag"]


def test_a_folders_order_is_for_every_source_that_has_none_of_its_own(inbox: Inbox) -> None:
    assert inbox.put("inbox/batch.json", ORDER) == []
    (first,) = inbox.put("inbox/one.csv", rows_csv(1))
    inbox.put("inbox/two.json", {"target": "other"})
    (second,) = inbox.put("inbox/two.csv", rows_csv(1))
    assert [inbox.input_of(one)["target"] for one in (first, second)] == ["echo", "other"]


def test_each_version_of_the_two_is_run_once(inbox: Inbox) -> None:
    inbox.put("inbox/x.csv", rows_csv(1))
    (first,) = inbox.put("inbox/x.json", ORDER)
    again = inbox.event("inbox/x.csv") + inbox.event("inbox/x.json") + inbox.put("inbox/x.csv", rows_csv(1))
    assert {one["execution_arn"] for one in again} == {first["execution_arn"]}
    assert inbox.executions == 1
    (other,) = inbox.put("inbox/x.csv", rows_csv(2))
    (corrected,) = inbox.put("inbox/x.json", {**ORDER, "output_key": "results/x.csv"})
    assert len({one["execution_arn"] for one in (first, other, corrected)}) == 3


def test_what_ran_and_is_asked_for_again_is_not_new(inbox: Inbox, monkeypatch: pytest.MonkeyPatch) -> None:
    states = inbox.app.stepfunctions

    def exists(**_: Any) -> Any:
        raise states.exceptions.ExecutionAlreadyExists({"Error": {"Code": "ExecutionAlreadyExists"}}, "StartExecution")

    monkeypatch.setattr(states, "start_execution", exists)
    inbox.put("inbox/x.csv", rows_csv(1))
    (started,) = inbox.put("inbox/x.json", ORDER)
    assert started["new"] is False


def test_what_is_not_under_the_inbox_starts_nothing(inbox: Inbox) -> None:
    inbox.put("batch.json", ORDER)
    assert inbox.put("results/echo/a.csv", rows_csv(1)) == []
    assert inbox.put("inbox/folder/", "") == []


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({**ORDER, "output_key": "inbox/out.csv"}, "under the inbox"),
        ("{", "is no JSON"),
        ('{"target": "echo", "execution_config": {"max_cost_usd": NaN}}', "NaN is no value of JSON"),
        ({"targt": "echo"}, "an object with target and mappings"),
        ([1], "an object with target and mappings"),
        ({**ORDER, "input_mapping": {"x": "y" * 200_000}}, "has 200,"),
    ],
)
def test_an_order_that_is_none_is_refused_by_its_place(inbox: Inbox, order: Any, said: str) -> None:
    inbox.put("inbox/x.csv", rows_csv(1))
    with pytest.raises(BatchRefused, match=said) as refused:
        inbox.put("inbox/x.json", order)
    assert "/inbox/x.json" in str(refused.value)
    assert inbox.executions == 0


def test_a_schedule_runs_its_source_when_it_has_changed(inbox: Inbox) -> None:
    bucket = inbox.app.settings.data_bucket
    event = {"csv_s3_uri": f"s3://{bucket}/daily/rows.csv"}
    with pytest.raises(NotFound, match=r"s3://.*daily/rows.csv: there is no such object"):
        inbox.starter.start(event)
    inbox.put("daily/rows.csv", rows_csv(1))
    with pytest.raises(NotFound, match=r"no order beside it, s3://.*daily/rows.json"):
        inbox.starter.start(event)
    inbox.put("daily/rows.json", ORDER)
    names = [inbox.starter.start(event)["started"][0]["execution_arn"] for _ in range(2)]
    assert len(set(names)) == 1
    inbox.put("daily/rows.csv", rows_csv(2))
    assert inbox.starter.start(event)["started"][0]["execution_arn"] not in names
    with pytest.raises(BatchRefused, match="not of the form"):
        inbox.starter.start({"csv_s3_uri": ""})


@pytest.mark.parametrize("source", ["inbox/a.tsv", "inbox/a.CSV", "inbox/2026.11/a.csv", "inbox/batch.csv"])
def test_an_order_that_comes_second_finds_its_source(inbox: Inbox, source: str) -> None:
    assert inbox.put(source, rows_csv(1)) == []
    (started,) = inbox.put(source.rpartition(".")[0] + ".json", ORDER)
    assert inbox.input_of(started)["csv_s3_uri"].endswith(source)


@pytest.mark.parametrize("other", ["inbox/.DS_Store", "inbox/readme.txt", "inbox/data", "inbox/X.JSON"])
def test_other_objects_of_a_folder_are_no_sources(inbox: Inbox, other: str) -> None:
    inbox.put("inbox/batch.json", ORDER)
    assert inbox.put(other, "text") == []


def test_the_sources_of_a_folder_do_not_share_one_place(inbox: Inbox) -> None:
    inbox.put("inbox/batch.json", {**ORDER, "output_key": "results/reviews.csv"})
    with pytest.raises(BatchRefused, match="the place of every source of the folder"):
        inbox.put("inbox/one.csv", rows_csv(1))


def test_a_schedule_does_not_write_into_the_inbox(inbox: Inbox) -> None:
    inbox.app.s3.create_bucket(Bucket="elsewhere")
    inbox.app.s3.put_object(Bucket="elsewhere", Key="s.csv", Body=rows_csv(1).encode())
    order = json.dumps({**ORDER, "output_key": "inbox/loop.csv"}).encode()
    inbox.app.s3.put_object(Bucket="elsewhere", Key="s.json", Body=order)
    with pytest.raises(BatchRefused, match="under the inbox"):
        inbox.starter.start({"csv_s3_uri": "s3://elsewhere/s.csv"})


def test_a_version_that_was_replaced_meanwhile_is_not_run_under_the_name_of_the_one_before(inbox: Inbox) -> None:
    inbox.put("inbox/x.csv", rows_csv(1))
    (started,) = inbox.put("inbox/x.json", ORDER)
    make_tool(inbox.app)
    inbox.put("inbox/x.csv", rows_csv(2))
    with pytest.raises(BatchRefused, match="is another version now"):
        prepare(inbox.app, event_of(inbox.input_of(started)))
