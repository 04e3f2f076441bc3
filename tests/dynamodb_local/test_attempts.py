"""Requests that DynamoDB turns down for the moment, and answers that are lost on their way back."""

from __future__ import annotations

import io
import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError, ConnectionClosedError
from botocore.httpsession import URLLib3Session
from made_results import BATCH, MOMENT, PAST, fill, kept, remap_of, result, there

from service import app as clients
from service.console import remap
from service.console.remap import Outcome
from service.models import RowStatus, row_id
from service.record import BatchRecord
from service.store import attribute_values
from service.store.registry import RegisteredTarget
from service.store.results import extracted, to_item, with_extracted

if TYPE_CHECKING:
    from service.app import App

SUCCESS, FAILED = RowStatus.SUCCESS, RowStatus.FAILED
TRANSIENT = [
    (400, "ProvisionedThroughputExceededException"),
    (400, "ThrottlingException"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailable"),
    (0, "the connection is closed"),
]
MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"y": "y"}}]}


class Body(io.BytesIO):
    def stream(self, **_: Any) -> Any:
        yield self.read()


class Trouble:
    """Meets the first requests of one operation, so many of them, in the place of DynamoDB; counts all."""

    def __init__(
        self,
        app: App,
        operation: str,
        times: int,
        status: int = 500,
        code: str = "InternalServerError",
        table: str = "",
    ) -> None:
        self._times, self._status, self._code, self._table = times, status, code, table.encode()
        self.requests = 0
        app.dynamodb.meta.events.register(f"before-send.dynamodb.{operation}", self._meet)

    def _meet(self, request: Any, **_: Any) -> AWSResponse | None:
        if self._table not in request.body:
            return None
        self.requests += 1
        return self._answer(request) if self.requests <= self._times else None

    def _answer(self, request: Any) -> AWSResponse:
        if not self._status:
            raise ConnectionClosedError(endpoint_url=request.url)
        body = json.dumps({"__type": f"com.amazonaws.dynamodb.v20120810#{self._code}", "message": "later"})
        return AWSResponse(request.url, self._status, {}, Body(body.encode()))


class Lost(Trouble):
    """Has DynamoDB do what it is asked for, and gives another answer."""

    def _answer(self, request: Any) -> AWSResponse:
        done = URLLib3Session().send(request).status_code
        assert done == (200 if self.requests == 1 else 400)  # what is done is refused when it is asked for again
        return super()._answer(request)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("botocore.endpoint.time", SimpleNamespace(sleep=lambda _: None))


@pytest.mark.parametrize(("status", "code"), TRANSIENT)
def test_a_result_turned_down_for_the_moment_arrives_once(app: App, status: int, code: str) -> None:
    put = result(1, FAILED)
    trouble = Trouble(app, "PutItem", 3, status, code)
    assert app.store.put(put) == FAILED
    assert trouble.requests == 4
    assert there(app) == {row_id(1): to_item(put)}


def test_the_attempts_have_an_end_and_the_error_is_raised(app: App) -> None:
    trouble = Trouble(app, "PutItem", 1_000, *TRANSIENT[0])
    with pytest.raises(ClientError, match=TRANSIENT[0][1]):
        app.store.put(result(1))
    assert trouble.requests == clients.ATTEMPTS
    assert there(app) == {}


@pytest.mark.parametrize("status", [SUCCESS, FAILED])
@pytest.mark.parametrize("before", [None, PAST], ids=["absent", "expired"])
def test_a_result_whose_answer_was_lost_is_there_once(app: App, status: str, before: int | None) -> None:
    if before is not None:
        fill(app, [result(1, SUCCESS, ttl=before)])
    put = result(1, status, output_data={"x": 1})
    trouble = Lost(app, "PutItem", 2)
    assert app.store.put(put) == status
    assert trouble.requests == 3
    assert there(app) == {row_id(1): to_item(put)}


def test_a_remap_whose_answer_was_lost_is_done(app: App) -> None:
    fill(app, [result(row, output=kept({"y": row})) for row in (1, 2)])
    before = there(app)[row_id(1)]
    fresh = extracted(result(1, output_data={"y": 0}))
    Lost(app, "UpdateItem", 1)
    assert app.store.remap(before, fresh) is None, "it is the own one that is there"
    assert there(app)[row_id(1)] == with_extracted(before, fresh)


def test_a_remap_of_a_batch_goes_on_over_a_lost_answer(app: App) -> None:
    fill(app, [result(1, output=kept({"y": 1}))])
    order = remap_of(app, MAPPING)
    trouble = Lost(app, "UpdateItem", 1, table=app.settings.results_table)
    assert remap.remap(app, order, print).counts.keys() <= {Outcome.CHANGED, Outcome.SAME}
    assert trouble.requests == 2
    assert attribute_values.decode(there(app)[row_id(1)]["output_data"]) == {"y": 1}


def test_a_remap_of_a_batch_whose_records_answer_was_lost_goes_on(app: App) -> None:
    order = remap_of(app, MAPPING)
    Lost(app, "UpdateItem", 1, table=app.settings.batches_table)
    remap.remap(app, order, print)
    assert app.records.get(BATCH).plan_hash != order.record.plan_hash


def test_a_record_and_a_version_whose_answers_were_lost_are_ones_own(app: App) -> None:
    record = BatchRecord(BATCH, prepared_at=MOMENT, status="PREPARING", execution_arn="arn:1", run=1)
    app.records.find(BATCH)
    Lost(app, "PutItem", 1)
    assert app.records.create(record).execution_arn == "arn:1"
    Lost(app, "PutItem", 2)
    assert app.registry.register(RegisteredTarget("echo", "lambda", "arn:1")).version == 1
    assert [target.version for target in app.registry.versions("echo")] == [1]


def test_a_page_turned_down_for_the_moment_comes_once(app: App) -> None:
    rows = [row_id(row) for row in range(1, 31)]
    fill(app, [result(row, FAILED, output_data={"text": "x" * 50_000}) for row in range(1, 31)])
    for times in (1, 3):
        Trouble(app, "Query", times, *TRANSIENT[0])
        assert [item.row_id.S for page in app.reader.pages(BATCH) for item in page] == rows
        Trouble(app, "Query", times, *TRANSIENT[2])
        assert [item.row_id.S for page in app.reader.pages(BATCH, last_row=30) for item in page] == rows
        Trouble(app, "Query", times, *TRANSIENT[4])
        assert [row["row_id"] for row in app.queries.failed(BATCH)] == rows
