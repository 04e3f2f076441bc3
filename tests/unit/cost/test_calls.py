"""What the functions ask of DynamoDB and S3 for a whole batch, counted, against what the cost model says."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from botocore.client import BaseClient
from made import chunk_event, event_of, finished, make_tool, manifest, put_source, row_event, rows_csv

from service.cost.estimate import spent
from service.cost.workload import Profile
from service.steps import aggregate_results
from service.steps.prepare_batch import prepare
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from service.app import App

SOURCE = "s3://batch-processor-data/in/rows.csv"
MAPPING = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
CRASH = {"Error": "ValueError", "Cause": json.dumps({"errorType": "ValueError", "errorMessage": "no such line"})}
ATTEMPTS = 3
STOP_ASKED = ("chunks: is the batch stopped", "calls made again: is the batch stopped")
FREE = {"GetFunctionConfiguration"}
MAP_PUTS = 3  # by the Distributed Map itself: its manifest and two files of results
ROWS, INVALID, LOST, CURED = 40, 2, 3, 4  # rows; of them ragged, failing at every call, failing at the first


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests by operation, and by table where they have one; PynamoDB's too."""
    counted: Counter[str] = Counter()
    ask = BaseClient._make_api_call

    def count(client: Any, operation: str, arguments: dict[str, Any]) -> Any:
        key, table = str(arguments.get("Key")), arguments.get("TableName", "")
        for begins, what in (("'first#", "first failures"), ("'governor#", "governing")):
            table = what if begins in key else table
        counted[f"{operation} {table}".strip()] += 1
        return ask(client, operation, arguments)

    monkeypatch.setattr(BaseClient, "_make_api_call", count)
    return counted


def run(app: App) -> tuple[dict[str, Any], int]:
    """The functions as the state machine calls them; the batch's result, and how many chunks it had."""
    batch = prepare(app, event_of({"csv_s3_uri": SOURCE, "target": "echo", "output_mapping": MAPPING}))
    chunks = manifest(app, batch)  # as the Map reads it
    for chunk in chunks:
        given = transform_chunk(app, chunk_event(batch, chunk))
        results = [called(app, batch, int(row["row_id"].removeprefix("row_"))) for row in given["rows"]]
        finish_chunk(app, {**finished(chunk_event(batch, given["chunk"]), results), "stored": given["stored"]})
    return aggregate_results.aggregate(app, {"batch": batch}, lambda: 900_000), len(chunks)


def called(app: App, batch: dict[str, Any], number: int) -> dict[str, Any]:
    fails = ATTEMPTS if number <= LOST else 1 if number <= LOST + CURED else 0
    said: dict[str, Any] = {}
    for attempt in range(1, fails + 1):
        call = {"attempt": attempt, "name": f"call-{number}-{attempt}"}
        said = handle_failure(app, row_event(batch, number, call=call, failure=CRASH))
        assert said["action"] == ("retry" if attempt < ATTEMPTS else "done")
    return said if fails == ATTEMPTS else write_output(app, row_event(batch, number, output={"x": number}))


def test_requests_of_a_whole_batch_are_those_of_the_model(app: App, asked: Counter[str]) -> None:
    make_tool(app)
    assert put_source(app, rows_csv(ROWS - INVALID) + "ragged\n" * INVALID) == SOURCE
    asked.clear()
    result, chunks = run(app)
    counts = {status: count for status, count in result["counts"].items() if count}
    assert counts == {"SUCCESS": ROWS - INVALID - LOST, "FAILED": LOST, "INVALID_INPUT": INVALID}
    assert chunks > 1

    retried = LOST * (ATTEMPTS - 1) + CURED
    modelled = {
        (term.part, term.of): term
        for term in spent(counts, Profile(item_bytes=900, record_bytes=900), chunks=chunks, retries=retried).terms
    }
    results, records, registry = (getattr(app.settings, f"{name}_table") for name in ("results", "batches", "registry"))
    assert asked[f"PutItem {results}"] == modelled["write_units", "results"].count == ROWS
    # The record is put once and updated four times, once in vain: all but that one are written to the index as well.
    updates = asked[f"UpdateItem {records}"]
    assert 2 * (1 + updates) - 1 == modelled["write_units", "writes of the batch record"].count
    # those that cannot be mapped have one cause; what is counted of them is not asked for afterwards
    assert asked.pop("UpdateItem first failures") == INVALID <= modelled["write_units", "first failures"].count
    assert asked.pop("UpdateItem governing") == modelled["write_units", "chunks: is the batch throttled"].count
    plan = modelled["write_units", "plan"].count
    assert asked[f"PutItem {records}"] == 1 + plan + modelled["write_units", "records of chunks"].count

    stop_asked = sum(modelled["read_units", of].count for of in STOP_ASKED)
    plan_loaded = 1  # all functions are one process here, which keeps it
    record = modelled["read_units", "AggregateResults: the batch record"].quantity
    assert stop_asked == chunks + retried
    assert asked[f"GetItem {records}"] == stop_asked + plan_loaded + record
    assert asked[f"Query {results}"] == modelled["read_units", "pages of results"].quantity == 1
    assert asked[f"Query {registry}"] == modelled["read_units", "the target's registration"].quantity
    assert not asked[f"Query {records}"]

    gets = sum(term.quantity for (part, _), term in modelled.items() if part == "s3_gets")
    puts = sum(term.quantity for (part, _), term in modelled.items() if part == "s3_puts")
    assert asked["HeadObject"] + asked["GetObject"] == gets
    assert asked["PutObject"] == puts - MAP_PUTS
    assert asked["CreateMultipartUpload"] == 0
    others = {f"{name} {results}" for name in ("PutItem", "Query")} | {f"Query {registry}"}
    others |= {f"{name} {records}" for name in ("PutItem", "UpdateItem", "GetItem")}
    assert asked.keys() - others == {"HeadObject", "GetObject", "PutObject", *FREE}, "what the model knows nothing of"
