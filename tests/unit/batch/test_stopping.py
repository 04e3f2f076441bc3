"""Stopping rules and costs: what is counted, when a batch stops, what it has cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from made import finished, make_tool, prepared, rows_csv

from service.batch import closing, stopping
from service.console import spending
from service.cost import estimate
from service.cost.workload import chunk_rows
from service.request.chunking import WATCHED_ROWS
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from service.app import App

BATCH = "echo#run-1"


@pytest.fixture
def tool(app: App) -> str:
    return make_tool(app)


def event_of(batch: dict[str, Any], number: int, **more: Any) -> dict[str, Any]:
    row = [str(number), f"text {number}"]
    named = {"batch_id": BATCH, "run": 1, "plan": batch["plan"], "row_id": f"row_{number:010d}", "row": row}
    return {**named, **more}


def fail(app: App, batch: dict[str, Any], number: int) -> str:
    call = {"attempt": 3, "name": "n"}
    done: dict[str, Any] = handle_failure(
        app, event_of(batch, number, call=call, failure={"Error": "Boom", "Cause": "no"})
    )
    return str(done["status"])


def finish(app: App, batch: dict[str, Any], number: int, statuses: list[str], stored: Any = None) -> None:
    chunk = {"number": number, "first_row": 1, "rows": len(statuses)}
    results = [{"row_id": "r", "status": status} for status in statuses]
    event = {"batch_id": BATCH, "run": 1, "plan": batch["plan"], "chunk": chunk}
    finish_chunk(app, {**finished(event, results), "stored": stored or {}})


def stopped(app: App) -> str | None:
    record = app.records.get(BATCH)
    assert bool(record.stop) == (record.status == "STOPPING") == app.plans.stopped(BATCH)
    return record.stop_reason


@pytest.mark.parametrize(("config", "most"), [({"max_failures": 2}, 2), ({"continue_on_error": False}, 0)])
def test_one_failure_more_than_allowed_stops_the_batch(app: App, tool: str, config: Any, most: int) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9), execution_config=config)
    for number in range(1, most + 1):
        assert fail(app, batch, number) == "FAILED"
        assert fail(app, batch, number) == "FAILED"  # a retried function: the same failure counts once
        assert stopped(app) is None
    write_output(app, event_of(batch, 8, output={"a": 1}))
    assert stopped(app) is None
    fail(app, batch, 9)
    assert stopped(app) == "max_failures"


def test_a_failed_extraction_and_an_invalid_row_are_failures(app: App, tool: str) -> None:  # noqa: ARG001
    mapping = {"extraction_methods": [{"method": "direct", "paths": {"x": "nowhere"}}]}
    batch = prepared(
        app, "id,text\n1\n2,b\n", execution_config={"max_failures": 1, "max_concurrency": 1}, output_mapping=mapping
    )
    chunks = [{"chunk": 0, "rows": 2, "ranges": [[1, 2, 8, 14, 2]]}]
    answer = transform_chunk(app, {"batch_id": BATCH, "run": 1, "plan": batch["plan"], "chunk": chunks[0]})
    assert answer["stored"] == {"INVALID_INPUT": 1}
    assert stopped(app) is None
    assert write_output(app, event_of(batch, 2, output={"a": 1}))["status"] == "EXTRACTION_FAILED"
    assert stopped(app) == "max_failures"


def test_a_share_of_failures_counts_after_enough_rows(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9), execution_config={"max_failure_rate": 0.2})
    half = stopping.ENOUGH_ROWS // 2
    finish(app, batch, 0, ["FAILED"] * (half - 1))
    assert stopped(app) is None
    finish(app, batch, 1, ["SUCCESS"] * half)
    assert stopped(app) is None  # too few rows yet
    finish(app, batch, 1, ["SUCCESS"] * half)  # the same chunk again counts once
    assert stopped(app) is None
    finish(app, batch, 2, ["SUCCESS"])
    assert stopped(app) == "max_failure_rate"


def test_a_share_that_is_just_allowed_stops_nothing(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9), execution_config={"max_failure_rate": 0.2})
    finish(app, batch, 0, ["FAILED"] * 20 + ["SUCCESS"] * 80)
    assert stopped(app) is None
    finish(app, batch, 1, [], stored={"INVALID_INPUT": 1})
    assert stopped(app) == "max_failure_rate"


def test_a_budget_is_compared_with_what_was_spent(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9), execution_config={"max_cost_usd": 0.01})
    plan = app.plans.load(BATCH, batch["plan"])
    chunk = ["SUCCESS"] * 50
    spent = [cost_after(plan, 50 * count, count) for count in range(1, 9)]
    assert spent == sorted(spent)
    crossing = next(number for number, usd in enumerate(spent) if usd >= 0.01)
    for number in range(crossing):
        finish(app, batch, number, chunk)
        assert stopped(app) is None
    finish(app, batch, crossing, chunk)
    assert stopped(app) == "max_cost_usd"


def cost_after(plan: dict[str, Any], rows: int, chunks: int) -> float:
    return stopping.cost_of(plan, {"SUCCESS": rows}, chunks).total_usd


def test_the_price_of_the_target_is_part_of_the_budget(app: App) -> None:
    make_tool(app, price_per_row_usd=0.5)
    batch = prepared(app, rows_csv(9), execution_config={"max_cost_usd": 2})
    finish(app, batch, 0, ["SUCCESS"] * 3)
    assert stopped(app) is None
    finish(app, batch, 1, ["SUCCESS"])
    assert stopped(app) == "max_cost_usd"
    total = spending.so_far(app, app.records.get(BATCH))
    assert total is not None
    assert total.target_usd == pytest.approx(2.0)


def test_a_batch_without_rules_keeps_no_tally(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9))
    updates: list[Any] = []
    event = "provide-client-params.dynamodb.UpdateItem"
    app.dynamodb.meta.events.register(event, lambda params, **_: updates.append(params["Key"]["item"]))
    fail(app, batch, 1)
    finish(app, batch, 0, ["FAILED"] * 9)
    assert updates == [{"S": "governor#0001"}], "whether it is throttled, which is asked by a write that is refused"
    assert stopped(app) is None


def test_chunks_that_are_watched_are_small(app: App, tool: str) -> None:  # noqa: ARG001
    plain = prepared(app, rows_csv(900), name="plain")
    watched = prepared(app, rows_csv(900), name="run-1", execution_config={"max_failures": 5})
    rows = {}
    for batch in (plain, watched):
        body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=batch["manifest_key"])["Body"].read()
        rows[batch["batch_id"]] = max(int(line.split(b'"rows":')[1].split(b",")[0]) for line in body.splitlines())
    assert rows == {"echo#plain": chunk_rows(3), BATCH: WATCHED_ROWS}


def test_a_batch_that_has_ended_or_runs_anew_is_not_stopped_by_an_old_run(app: App, tool: str) -> None:  # noqa: ARG001
    prepared(app, rows_csv(3))
    app.plans.stop(BATCH, 2, "max_failures")
    assert stopped(app) is None
    closing.stop(app, BATCH)
    app.plans.stop(BATCH, 1, "max_failures")
    assert stopped(app) == "by hand"


def test_the_cost_of_a_batch_is_that_of_its_runs(app: App, tool: str) -> None:  # noqa: ARG001
    batch = prepared(app, rows_csv(9))
    record = app.records.get(BATCH)
    none = spending.so_far(app, record)
    finish(app, batch, 0, ["SUCCESS"] * 9)
    one = spending.so_far(app, record)
    assert none is not None
    assert one is not None
    assert 0 <= none.total_usd < one.total_usd
    plan = app.plans.load(BATCH, batch["plan"])
    assert one.total_usd == pytest.approx(cost_after(plan, 9, 1))
    assert one.target_usd is None
    app.records.update(BATCH, plan_hash="gone")
    assert spending.so_far(app, app.records.get(BATCH)) is None


def test_what_the_whole_would_cost_follows_the_sample(app: App, tool: str) -> None:  # noqa: ARG001
    from collections import Counter  # noqa: PLC0415

    batch = prepared(app, rows_csv(9))
    plan = app.plans.load(BATCH, batch["plan"])
    good = spending.expected(plan, Counter(SUCCESS=10), 1_000, [900], {})
    bad = spending.expected(plan, Counter(SUCCESS=5, FAILED=5), 1_000, [900], {})
    priced = spending.expected(plan, Counter(SUCCESS=10), 1_000, [900], {"memory_mb": 512, "seconds": 2.0})
    assert good.total_usd < bad.total_usd
    assert good.target_usd is None
    assert priced.target_usd == pytest.approx(estimate.TargetCost.of_function(512, 2.0).usd_per_call * 1_000)
