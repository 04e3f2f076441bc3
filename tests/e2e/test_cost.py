"""A batch that runs: transitions, requests and units counted where the embedded stack tells them, and by the model."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployed import PROBE_ARN, histories

from service.cost.estimate import spent
from service.cost.workload import Profile
from service.store import results

if TYPE_CHECKING:
    from service.console import stacks

ATTEMPTS = 3
ROWS, LARGE = 30, 3  # of them with a cell that makes the item larger than a unit
FAILS = {4: 1, 11: 1, 17: 2, 23: 9, 28: 9}  # by row: calls that fail, the last two for good
RAGGED = 29
CURED, LOST = [count for count in FAILS.values() if count < ATTEMPTS], 2
RETRIES = sum(CURED) + LOST * (ATTEMPTS - 1)
FAILED = RETRIES + LOST
ANSWERED = ROWS - 1 - LOST


def source() -> str:
    lines = ["id,probe,fails,note"]
    for number in range(1, ROWS + 1):
        note = "n" * 1_500 if number <= LARGE else "n"
        lines.append("ragged" if number == RAGGED else f"{number},cost,{FAILS.get(number, 0)},{note}")
    return "\n".join(lines) + "\n"


def test_a_batch_takes_what_the_model_says(deployed: Any) -> None:
    stack = deployed.stack
    deployed.write("cost.csv", source())
    policy = {"max_attempts": ATTEMPTS, "initial_seconds": 0}
    mapping = {
        "execution_config": {"retry_policy": policy},
        "output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"calls": "calls"}}]},
    }
    deployed.write("cost.json", json.dumps(mapping))
    result = deployed.json("run", "cost.csv", "--target", PROBE_ARN, "--mapping", "cost.json")
    counts = {status: count for status, count in result["counts"].items() if count}
    assert counts == {"SUCCESS": ANSWERED, "FAILED": LOST, "INVALID_INPUT": 1}

    record = stack.app.records.get(result["batch_id"])
    parent, *children = histories(stack, record.execution_arn)
    items = [item for page in stack.app.store.pages(result["batch_id"]) for item in page]
    sizes = [results.item_bytes(item) for item in items]
    plan = stack.app.plans.load(record.batch_id, record.plan_hash)
    profile = Profile.of_plan(plan, item_bytes=sizes, row_bytes=30)
    cost = spent(counts, profile, chunks=len(children), retries=RETRIES)

    # The parent's states are in its history; of a child's only the tasks are, the rest follows from them.
    tasks = sum(child["TaskScheduled"] for child in children)
    failed = sum(child["TaskFailed"] for child in children)
    assert (tasks, failed) == (2 * len(children) + 2 * ANSWERED + 2 * FAILED, FAILED)
    choices_and_ends = 2 * failed  # each failure: Retry…, then WaitFor… or …FailureStored
    by_kind_and_map = 2 * len(children)
    entered = sum(count for event, count in parent.items() if event.endswith("StateEntered"))
    taken = entered + len(children) + tasks + by_kind_and_map + choices_and_ends
    assert cost.parts["transitions"].quantity == taken

    calls = sum(path.stat().st_size for path in (deployed.folder / "probe" / "cost").glob("calls-*"))
    assert cost.calls == calls == ANSWERED + FAILED
    assert cost.parts["lambda_requests"].quantity == parent["TaskScheduled"] + tasks - calls
    assert consumed(stack, items) == sum(term.quantity for term in cost.terms if of_items(term))
    assert sum(results.item_bytes(item) > 1024 for item in items) == LARGE
    (size,) = [results.item_bytes(item) for item in batch_items(stack, record.batch_id) if item["item"]["S"] == "batch"]
    assert size <= profile.record_bytes


def of_items(term: Any) -> bool:
    return bool(term.part == "write_units" and term.of.startswith(("results", "failures")))


def consumed(stack: stacks.Stack, items: list[dict[str, Any]]) -> float:
    """Units that the table and its indexes take for the items, when they are put once more, under another batch id."""
    table, taken = stack.app.settings.results_table, 0.0
    for item in items:
        other = {**item, "batch_id": {"S": item["batch_id"]["S"][:-1] + "~"}}
        answer = stack.app.dynamodb.put_item(TableName=table, Item=other, ReturnConsumedCapacity="INDEXES")
        taken += answer["ConsumedCapacity"]["CapacityUnits"]
        stack.app.dynamodb.delete_item(TableName=table, Key={name: other[name] for name in ("batch_id", "row_id")})
    return taken


def batch_items(stack: stacks.Stack, batch_id: str) -> list[dict[str, Any]]:
    answer = stack.app.dynamodb.query(
        TableName=stack.app.settings.batches_table,
        KeyConditionExpression="batch_id = :batch",
        ExpressionAttributeValues={":batch": {"S": batch_id}},
    )
    found: list[dict[str, Any]] = answer["Items"]
    return found
