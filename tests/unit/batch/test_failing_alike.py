"""A batch is stopped when its first rows, in several chunks, all fail for one cause; one success is enough to go on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from made import make_tool, prepared, row_event, rows_csv

from service.steps.write_result import handle_failure, write_output

if TYPE_CHECKING:
    from service.app import App


def fail(app: App, batch: dict[str, Any], number: int, chunk: int, cause: str = "no key for {}") -> None:
    call, failure = {"attempt": 3, "name": "n"}, {"Error": "Boom", "Cause": cause.format(number)}
    handle_failure(app, row_event(batch, number, call=call, failure=failure, chunk_number=chunk))


def reason(app: App, batch: dict[str, Any]) -> str | None:
    return app.records.get(batch["batch_id"]).stop_reason


@pytest.fixture
def batch(app: App) -> dict[str, Any]:
    make_tool(app)
    return prepared(app, rows_csv(60))


def test_the_twentieth_of_several_chunks_stops_it(app: App, batch: dict[str, Any]) -> None:
    for number in range(1, 20):
        fail(app, batch, number, number % 2)
    assert reason(app, batch) is None
    fail(app, batch, 20, 0)
    assert reason(app, batch) == "failing_alike"
    assert app.plans.stopped(batch["batch_id"])


def test_rows_of_one_chunk_alone_do_not(app: App, batch: dict[str, Any]) -> None:
    for number in range(1, 40):
        fail(app, batch, number, 0)
    assert reason(app, batch) is None
    fail(app, batch, 40, 1)
    assert reason(app, batch) == "failing_alike"


@pytest.mark.parametrize("place", [1, 19])
def test_another_cause_among_them_goes_on(app: App, batch: dict[str, Any], place: int) -> None:
    for number in range(1, 50):
        fail(app, batch, number, number % 2, "a wholly different one" if number == place else "no key for {}")
    assert reason(app, batch) is None


def test_a_success_among_them_goes_on(app: App, batch: dict[str, Any]) -> None:
    write_output(app, row_event(batch, 55, output={"x": 1}, chunk_number=1))
    for number in range(1, 50):
        fail(app, batch, number, number % 2)
    assert reason(app, batch) is None


def test_nothing_is_asked_any_more_once_it_is_settled(
    app: App, batch: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, cause in ((1, "one"), (2, "another")):
        fail(app, batch, number, 0, cause)
    monkeypatch.setattr(app.plans, "count_first_failure", lambda *_: pytest.fail("it is settled"))
    fail(app, batch, 3, 0)


def test_it_goes_on_where_that_is_insisted_on(app: App) -> None:
    make_tool(app)
    batch = prepared(app, rows_csv(60), execution_config={"keep_going": True})
    for number in range(1, 50):
        fail(app, batch, number, number % 2)
    assert reason(app, batch) is None
