"""One object, one open batch: whichever ended last would replace the other's results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from made import event_of, make_tool, prepared, rows_csv

from service.batch import closing
from service.errors import BatchRefused
from service.request import destination
from service.steps.prepare_batch import prepare

if TYPE_CHECKING:
    from service.app import App

MINE = "results/mine.csv"
REFUSED = "results/mine.csv is where batch echo#run-1, which is not over, writes: give another key"


@pytest.fixture
def first(app: App) -> dict[str, Any]:
    make_tool(app)
    return prepared(app, rows_csv(2), name="run-1", output_key=MINE)


@pytest.fixture
def unseen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two that are prepared at the same moment look before either has claimed anything."""
    monkeypatch.setattr(destination, "_refuse_writer", lambda *_: None)
    held = destination.claim

    def claim(*place: Any) -> None:
        monkeypatch.undo()
        held(*place)

    monkeypatch.setattr(destination, "claim", claim)


def ended(app: App, batch: dict[str, Any]) -> None:
    closing.close_record(app, app.records.get(batch["batch_id"]), "ABORTED", None)


def again(app: App, name: str, **given: Any) -> dict[str, Any]:
    return prepare(app, event_of({"rerun_of": {"batch_id": f"echo#{name}"}, **given}, f"{name}-again"))


def test_two_open_batches_do_not_write_to_one_object(app: App, first: dict[str, Any]) -> None:
    with pytest.raises(BatchRefused, match=REFUSED):
        prepared(app, rows_csv(2), name="run-2", output_key=MINE)
    prepared(app, rows_csv(2), name="run-3", output_key="results/other.csv")
    ended(app, first)
    assert prepared(app, rows_csv(2), name="run-4", output_key=MINE)
    with pytest.raises(BatchRefused, match="batch echo#run-4"):
        prepared(app, rows_csv(2), name="run-5", output_key=MINE)


def test_a_preparation_that_is_made_again_finds_its_own_claim(app: App, first: dict[str, Any]) -> None:
    assert prepared(app, rows_csv(2), name="run-1", output_key=MINE)["plan"] == first["plan"]


@pytest.mark.usefixtures("first", "unseen")
def test_of_two_prepared_at_the_same_moment_one_is_refused(app: App) -> None:
    with pytest.raises(BatchRefused, match=REFUSED):
        prepared(app, rows_csv(2), name="run-2", output_key=MINE)
    record = app.records.get("echo#run-2")
    assert (record.status, record.manifest_key) == ("FAILED", None)


@pytest.mark.usefixtures("first")
def test_a_rerun_is_to_write_where_an_open_batch_does(app: App) -> None:
    ended(app, prepared(app, rows_csv(2), name="run-2"))
    before = app.records.get("echo#run-2")
    with pytest.raises(BatchRefused, match=REFUSED):
        again(app, "run-2", output_key=MINE)
    assert app.records.get("echo#run-2") == before
    assert again(app, "run-2")["run"] == 2


@pytest.mark.usefixtures("first", "unseen")
def test_a_rerun_that_is_prepared_at_the_same_moment_runs_nothing(app: App) -> None:
    ended(app, prepared(app, rows_csv(2), name="run-2"))
    with pytest.raises(BatchRefused, match=REFUSED):
        again(app, "run-2", output_key=MINE)
    assert app.records.get("echo#run-2").status == "PREPARING"  # its execution fails, and that closes it


def test_a_batch_whose_csv_went_elsewhere_holds_no_place(app: App, first: dict[str, Any]) -> None:
    """A rerun under another key leaves the first one to others."""
    ended(app, first)
    again(app, "run-1", output_key="results/other.csv")
    with pytest.raises(BatchRefused, match="batch echo#run-1"):
        prepared(app, rows_csv(2), name="run-2", output_key="results/other.csv")
    assert prepared(app, rows_csv(2), name="run-3", output_key=MINE)


def test_a_claim_is_no_batch(app: App, first: dict[str, Any]) -> None:
    assert [record.batch_id for record in app.records.newest()] == [first["batch_id"]]
