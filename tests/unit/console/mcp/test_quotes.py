"""Nothing above a few rows is started before its quote is accepted; an order of the same name is one."""

from __future__ import annotations

from typing import Any

import pytest
from made import put_source, rows_csv
from mcp_types import ElicitResult

from service.console.mcp import server
from service.console.mcp.quote import ASKED_ABOVE
from service.store.registry import RegisteredTarget

pytestmark = pytest.mark.anyio
MANY = ASKED_ABOVE + 1


def accepts(_question: str) -> ElicitResult:
    return ElicitResult(action="accept", content={"go_on": True})


def accepts_without_the_tick(_question: str) -> ElicitResult:
    return ElicitResult(action="accept", content={"go_on": False})


def declines(_question: str) -> ElicitResult:
    return ElicitResult(action="decline")


async def test_few_rows_are_started_unasked(world: Any) -> None:
    async with world.agent() as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(ASKED_ABOVE), target="echo")
    assert started["started"] is True
    assert len(world.executions) == 1


async def test_many_rows_are_started_when_a_person_agrees(world: Any) -> None:
    async with world.agent(answer=accepts) as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(MANY), target="echo")
    (question,) = agent.asked
    assert question.startswith(f"{MANY} rows, about $0.00")
    assert question.endswith(": go on?")
    assert "what the target itself costs, which is not known" in question
    assert started["started"] is True
    assert len(world.executions) == 1


@pytest.mark.parametrize("answer", [declines, accepts_without_the_tick])
async def test_nothing_is_started_when_a_person_declines(world: Any, answer: Any) -> None:
    async with world.agent(answer=answer, tasks=True) as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(MANY), target="echo")
    assert told["started"] is False
    assert "declined" in told["note"]
    assert world.executions == []


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_who_cannot_be_asked_gets_the_quote_and_confirms_it(world: Any, mode: str) -> None:
    order = {"csv_s3_uri": world.source(MANY), "target": "echo"}
    async with world.agent(mode) as agent:
        told = await agent.call("start_batch", **order)
        assert (told["started"], told["confirmation_needed"]) == (False, True)
        assert told["rows_to_run"] == MANY
        assert world.executions == []
        wrong = await agent.call("start_batch", **order, confirm="yes")
        assert "of another order" in wrong["next"][0]
        limited = await agent.call("start_batch", **order, execution_config={"ttl_days": 3}, confirm=told["confirm"])
        assert limited["started"] is False
        assert world.executions == []
        started = await agent.call("start_batch", **order, confirm=told["confirm"])
        assert started["started"] is True
    assert len(world.executions) == 1


async def test_a_source_that_changed_has_to_be_confirmed_anew(world: Any) -> None:
    async with world.agent() as agent:
        uri = world.source(MANY)
        told = await agent.call("start_batch", csv_s3_uri=uri, target="echo")
        put_source(world.app, rows_csv(MANY + 1))
        again = await agent.call("start_batch", csv_s3_uri=uri, target="echo", confirm=told["confirm"])
        assert again["started"] is False
        assert again["confirm"] != told["confirm"]
    assert world.executions == []


async def test_a_price_that_changed_has_to_be_confirmed_anew(world: Any) -> None:
    order = {"csv_s3_uri": world.source(MANY), "target": "echo"}
    async with world.agent() as agent:
        told = await agent.call("start_batch", **order)
        world.app.registry.amend("echo", {"price_per_row_usd": 50.0})
        again = await agent.call("start_batch", **order, confirm=told["confirm"])
        assert again["started"] is False
    assert world.executions == []


async def test_one_yes_is_for_one_batch_however_often_it_comes(world: Any) -> None:
    order = {"csv_s3_uri": world.source(MANY), "target": "echo"}
    async with world.agent() as agent:
        told = await agent.call("start_batch", **order)
        twice = [await agent.call("start_batch", **order, confirm=told["confirm"]) for _ in range(2)]
    assert len({one["batch_id"] for one in twice}) == 1
    assert len(world.executions) == 1


async def test_a_limit_or_a_sample_needs_no_question(world: Any) -> None:
    async with world.agent() as agent:
        config = {"sample": 5}
        told = await agent.call("start_batch", csv_s3_uri=world.source(MANY), target="echo", execution_config=config)
    assert told["quote"].startswith(f"5 rows of {MANY},")


async def test_an_order_of_a_name_is_one(world: Any) -> None:
    order = {"csv_s3_uri": world.source(2), "target": "echo", "name": "mine"}
    async with world.agent() as agent:
        first = await agent.call("start_batch", **order)
        assert first["batch_id"] == "echo#mine"
        again = await agent.call("start_batch", **order)
        assert again["batch_id"] == "echo#mine"
        assert "had been started before" in again["note"]
        other = await agent.error("start_batch", **order, execution_config={"limit": 1})
        assert "name: 'mine' was given to another order before" in other
        bad = await agent.error("start_batch", **{**order, "name": "no name"})
        assert "'no name' must be 1 to 80" in bad
    assert world.executions == ["mine"]


async def test_a_rerun_is_quoted_too(world: Any) -> None:
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(MANY), target="echo")
        started = await agent.call("start_batch", csv_s3_uri=world.source(MANY), target="echo", confirm=told["confirm"])
        batch = started["batch_id"]
        world.end(world.prepare(batch), ["FAILED"] * MANY)
        told = await agent.call("rerun_batch", batch_id=batch)
        assert (told["started"], told["rows_to_run"]) == (False, MANY)
        few = await agent.call("rerun_batch", batch_id=batch, rows="1-3")
        assert few["started"] is True
        assert few["quote"].startswith(f"3 rows of {MANY},")
        limited = {"limit": 5}
        few = await agent.call("rerun_batch", batch_id=batch, execution_config=limited)
        assert few["quote"].startswith(f"5 rows of {MANY},")
        named = {"batch_id": batch, "confirm": told["confirm"]}
        assert (await agent.call("rerun_batch", **named))["started"] is True


async def test_nothing_is_left_to_run_again(world: Any) -> None:
    async with world.agent() as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(2), target="echo")
        world.end(world.prepare(started["batch_id"]), ["SUCCESS"] * 2)
        told = await agent.call("rerun_batch", batch_id="last")
    assert told["started"] is False
    assert "nothing to run again" in told["note"]


async def test_the_time_is_told_by_an_earlier_batch(world: Any) -> None:
    async with world.agent() as agent:
        started = await agent.call("start_batch", csv_s3_uri=world.source(2), target="echo")
        world.end(world.prepare(started["batch_id"]), ["SUCCESS"] * 2)
        told = await agent.call("check_batch", csv_s3_uri=world.source(1000, "in/more.csv"), target="echo")
    assert told["in_order"] is True
    # 15 turns of two chunks of 34 rows, 7 times 0.5 s and 0.1 s each, and 0.3 s; what is there before and after.
    assert told["seconds"] == round(15 * 4.5 + 2.078 + 0.013, 1)
    assert told["target_cost_known"] is True
    assert "0.50 s a call, by 2 calls in batch echo#" in told["basis"]
    assert told["quote"].startswith("1,000 rows, about $0.06, about 1 min 10 s")
    assert told["asks_before_start"] is True
    assert len(world.executions) == 1


async def test_an_answer_may_come_to_another_server(world: Any) -> None:
    """Nothing of a question is kept: its key names the order."""
    order = {"csv_s3_uri": world.source(MANY), "target": "echo"}
    async with world.agent(answer=accepts) as agent:
        asked = await agent.client.session.call_tool("start_batch", order, allow_input_required=True)
        (key,) = asked.input_requests
    async with world.agent(answer=accepts, server=server.create(lambda: world.stack)) as agent:
        given = {key: accepts("")}
        wrong = {f"{key}0": accepts("")}
        asked = await agent.client.session.call_tool(
            "start_batch", order, input_responses=wrong, allow_input_required=True
        )
        assert list(asked.input_requests) == [key]
        assert world.executions == []
        done = await agent.client.session.call_tool("start_batch", order, input_responses=given)
    assert done.structured_content["started"] is True
    assert len(world.executions) == 1


async def test_few_rows_that_cost_much_are_asked_about_too(world: Any) -> None:
    arn = world.app.registry.find("echo").resource_arn
    world.app.registry.register(RegisteredTarget("dear", "lambda", arn, price_per_row_usd=0.5))
    async with world.agent() as agent:
        told = await agent.call("start_batch", csv_s3_uri=world.source(3), target="dear")
        assert told["question"].startswith("3 rows, about $1.50, time not known")
        two = await agent.call("start_batch", csv_s3_uri=world.source(3), target="dear", execution_config={"limit": 1})
        assert two["started"] is True
    assert len(world.executions) == 1
