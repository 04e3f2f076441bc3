"""Names: DynamoDB refuses its reserved words where they stand bare, and the product's requests have none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from made_results import BATCH, MOMENT
from pynamodb.attributes import (
    BinaryAttribute,
    BooleanAttribute,
    JSONAttribute,
    MapAttribute,
    NumberAttribute,
    UnicodeAttribute,
)

from service.batch import closing
from service.errors import BatchRefused
from service.models import OPEN, BatchStatus
from service.record import BatchRecord
from service.store.registry import RegisteredTarget
from service.store.tables import BatchItem, ResultItem, TargetItem

if TYPE_CHECKING:
    from service.app import App

# Of the attributes of our tables, by DynamoDB's list (Developer Guide, "Reserved words in DynamoDB").
RESERVED = {"error", "fields", "item", "method", "output", "plan", "rows", "source", "status", "timestamp", "ttl"}


VALUES: dict[type, Any] = {
    UnicodeAttribute: "x",
    NumberAttribute: 1,
    BooleanAttribute: True,
    JSONAttribute: {"a": [1, None]},
    MapAttribute: {"type": "E", "message": "no"},
    BinaryAttribute: b"\0",
}


def reserved(app: App, name: str) -> bool:
    try:
        app.dynamodb.scan(TableName=app.settings.results_table, ProjectionExpression=name)
    except ClientError as refused:
        if "reserved keyword" not in refused.response["Error"]["Message"]:
            raise
        return True
    return False


def test_bare_names_would_be_refused(app: App) -> None:
    names = {*ResultItem.get_attributes(), *BatchItem.get_attributes(), *TargetItem.get_attributes()}
    assert {name for name in names if reserved(app, name)} == RESERVED


def test_every_attribute_of_a_record_can_be_set_and_removed(app: App) -> None:
    names = [name for name in BatchItem.get_attributes() if name not in ("batch_id", "item", "listing", "prepared_at")]
    app.records.create(BatchRecord(BATCH, prepared_at=MOMENT, status="RUNNING", execution_arn="arn:1"))
    values = {name: VALUES[type(BatchItem.get_attributes()[name])] for name in names}
    assert app.records.update(BATCH, **values)
    item = BatchItem.get(BATCH, "batch", consistent_read=True)
    assert {name: plain(getattr(item, name)) for name in names} == values
    assert {name: plain(getattr(next(BatchItem.listing_index.query("batch")), name)) for name in names} == values
    assert app.records.update(BATCH, **dict.fromkeys(names))
    item = BatchItem.get(BATCH, "batch", consistent_read=True)
    assert vars(item)["attribute_values"].keys() == {"batch_id", "item", "listing", "prepared_at"}


def plain(value: Any) -> Any:
    return value.as_dict() if isinstance(value, MapAttribute) else value


@pytest.mark.parametrize("status", BatchStatus)
def test_conditions_on_the_state_of_a_batch(app: App, status: BatchStatus) -> None:
    record = BatchRecord(BATCH, prepared_at=MOMENT, status=status.value, run=2, plan_hash="p", execution_arn="arn:1")
    app.records.create(record)
    opened = status in OPEN
    assert app.records.update_open(BATCH, row_count=1) == opened
    assert app.records.update_ended(BATCH, 2, "p", row_count=2) == (not opened)
    assert not app.records.update_ended(BATCH, 1, "p", row_count=3)
    assert not app.records.update_ended(BATCH, 2, "q", row_count=3)
    assert app.records.get(BATCH).rows == (1 if opened else 2)
    app.plans.stop(BATCH, 1, "max_failures")
    assert not app.plans.stopped(BATCH)
    if status == "AGGREGATING":
        with pytest.raises(BatchRefused, match="its CSV is being made: nothing to stop"):
            closing.stop(app, BATCH)
    elif opened:
        assert closing.stop(app, BATCH).status == ("STOPPING" if status == "RUNNING" else status)
        assert app.plans.stopped(BATCH)
    else:
        with pytest.raises(BatchRefused, match="has ended already"):
            closing.stop(app, BATCH)
    assert closing.close_record(app, app.records.get(BATCH), "ABORTED", None) == opened
    assert not closing.close_record(app, app.records.get(BATCH), "ABORTED", None)


def test_targets(app: App) -> None:
    given = {"description": "d", "input_schema": {"type": "object"}, "output_schema": {"fields": []}}
    first = app.registry.register(RegisteredTarget("echo", "lambda", "arn:1", **given))
    second = app.registry.amend("echo", {"description": "other"})
    app.registry.register(RegisteredTarget("a", "state_machine", "arn:2"))
    assert app.registry.register(second) == second
    assert (first.version, second.version) == (1, 2)
    assert list(app.registry.versions("echo")) == [second, first]
    assert (app.registry.find("echo"), app.registry.find("echo", 1), app.registry.find("b")) == (second, first, None)
    assert app.registry.knows(first)
    assert app.registry.names() == [target.tool_name for target in app.registry.targets()] == ["a", "echo"]
