"""A batch from its source to its CSV, its tables in DynamoDB and everything else in the mock."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from made import chunk_event, finished, make_tool, manifest, prepared, row_event, rows_csv, stored
from moto import mock_aws

from service.app import App
from service.batch import progress as batch_progress
from service.console import remap
from service.steps import aggregate_results
from service.steps.transform_input import transform_chunk
from service.steps.write_result import finish_chunk, handle_failure, write_output

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.settings import Settings

BATCH = "echo#run-1"
TIMES = {"started_at": "2026-01-01T00:00:00Z", "stopped_at": "2026-01-01T00:00:00.250Z"}


@pytest.fixture
def aws(aws: None) -> Iterator[None]:  # noqa: ARG001 - the mock lets through what is asked of 127.0.0.1
    with mock_aws():
        yield


@pytest.fixture
def app(tables: dict[str, Any], bucket: str, settings: Settings) -> App:  # noqa: ARG001 - they are there
    """The app of a whole stack; DynamoDB is named by the environment."""
    made = App(settings, boto3.Session())
    make_tool(made)
    return made


def run(app: App, batch: dict[str, Any], outputs: dict[int, Any]) -> None:
    """What the Map does; rows without an output fail."""
    for chunk in manifest(app, batch):
        answer = transform_chunk(app, chunk_event(batch, chunk))
        fates: list[dict[str, Any]] = []
        for row in answer["rows"]:
            number = int(row["row_id"].removeprefix("row_"))
            if number in outputs:
                fate = write_output(app, row_event(batch, number, output=outputs[number], **TIMES))
            else:
                failure = {"Error": "ValueError", "Cause": "no"}
                fate = handle_failure(app, row_event(batch, number, call={"attempt": 3, "name": "n"}, failure=failure))
            fates.append({"row_id": row["row_id"], "status": fate["status"]})
        finish_chunk(app, finished(answer, fates))


def lines(app: App, location: str) -> list[dict[str, str]]:
    bucket, _, key = location.removeprefix("s3://").partition("/")
    text = app.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def plenty() -> int:
    return 900_000


def test_a_batch_from_its_source_to_its_csv_and_to_another(app: App) -> None:
    mapping = {"extraction_methods": [{"method": "direct", "paths": {"x": "x"}}]}
    batch = prepared(app, rows_csv(5), output_mapping=mapping)
    run(app, batch, {1: {"x": 1.5, "y": "a"}, 2: {"y": "b"}, 4: {"x": "c" * 9_000, "y": "d"}, 5: {"x": 5, "y": "e"}})
    ended = aggregate_results.aggregate(app, {"batch": batch}, plenty)
    assert ended["status"] == "PARTIAL"
    assert {name: count for name, count in ended["counts"].items() if count} == {
        "SUCCESS": 3,
        "FAILED": 1,
        "EXTRACTION_FAILED": 1,
    }
    assert batch_progress.progress(app, app.records.get(BATCH))["rows_done"] == 5
    assert app.records.chunk_counts(BATCH, 1).total() == 5
    assert [row["row_number"] for row in app.queries.failed(BATCH)] == [2, 3]
    assert stored(app, BATCH, 1)["output_data"] == {"M": {"x": {"N": "1.5"}}}
    shown = [line["output_x"] for line in lines(app, ended["csv_location"])]
    assert shown == ["1.5", "", "", "c" * 9_000, "5"]

    other = {"output_mapping": {"extraction_methods": [{"method": "direct", "paths": {"y": "y"}}]}}
    tally = remap.remap(app, remap.check(app, app.records.get(BATCH), other), print)
    assert {fate.value: count for fate, count in tally.counts.items()} == {"changed": 4, "no answer": 1}
    again = aggregate_results.aggregate(app, {"batch_id": BATCH}, plenty)
    assert (again["status"], again["counts"]["SUCCESS"], again["counts"]["FAILED"]) == ("PARTIAL", 4, 1)
    assert [line["output_y"] for line in lines(app, again["csv_location"])] == ["a", "b", "", "d", "e"]
    assert [row["row_number"] for row in app.queries.failed(BATCH)] == [3]


def test_columns_that_no_mapping_names_come_in_an_order_of_their_own(app: App) -> None:
    """DynamoDB gives the fields of a map in any order (Developer Guide, "Data types": a map is unordered)."""
    batch = prepared(app, rows_csv(1))
    run(app, batch, {1: {"a": 1, "score": 2, "title": 3, "x1": 4, "z": 5}})
    ended = aggregate_results.aggregate(app, {"batch": batch}, plenty)
    (line,) = lines(app, ended["csv_location"])
    assert [name for name in line if name.startswith("output_")] == [
        f"output_{name}" for name in ("a", "score", "title", "x1", "z")
    ]
