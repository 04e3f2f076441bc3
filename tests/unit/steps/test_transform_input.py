from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made import chunk_event, make_agent, make_tool, manifest, prepared, put_source, row_event, rows_csv, stored

from service.batch import closing
from service.errors import SourceChanged
from service.limits import ROW_BYTES
from service.models import batch_hash
from service.source.row_payload import row_at
from service.steps.transform_input import transform_chunk
from service.steps.write_result import write_output
from service.store.plans import PlanMissing

if TYPE_CHECKING:
    from service.app import App

PAYLOAD = 262_144
# What JSON makes longer: quotes, control characters, text beyond ASCII and beyond the basic plane.
HEAVY = ['"', "\\", "\x01", "\x7f", "é", "\u2028", "漢", "😀", "a"]


@pytest.fixture(autouse=True)
def tool(app: App) -> str:
    return make_tool(app)


def answers(app: App, batch: dict[str, Any]) -> list[dict[str, Any]]:
    return [transform_chunk(app, chunk_event(batch, chunk)) for chunk in manifest(app, batch)]


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


def test_a_row_as_it_travels(app: App) -> None:
    batch = prepared(app, rows_csv(2), input_mapping={"text": "review"}, execution_config={"timeout_seconds": 9})
    (answer,) = answers(app, batch)
    name = f"{batch_hash('echo#run-1')}-2-1-1"
    assert {key: answer[key] for key in answer if key not in ("rows", "target_arn")} == {
        "batch_id": "echo#run-1",
        "run": 1,
        "plan": batch["plan"],
        "kind": "tool",
        "until": 0,
        "timeout_seconds": 9,
        "inner": 5,
        "attempts": 1,
        "chunk": {"number": 0, "first_row": 1, "rows": 2},
        "stored": {},
    }
    assert answer["rows"][1] == {
        "row_id": "row_0000000002",
        "row": ["2", "text 2"],
        "target_input": {"name": "echo", "id": name, "input": {"review": "text 2"}},
        "call": {"attempt": 1, "waits": 0, "name": name},
    }


def test_an_agent_is_given_messages(app: App) -> None:
    make_agent(app)
    batch = prepared(app, rows_csv(1), "line")
    (answer,) = answers(app, batch)
    assert answer["kind"] == "agent"
    assert answer["rows"][0]["target_input"]["messages"][0]["content"] == "Id: 1\nText: text 1"


def test_rows_that_do_not_fit_the_header_are_results(app: App) -> None:
    batch = prepared(app, "id,text\n1,one\n2\n3,three,more\n")
    given_rows, fates = [], {}
    for answer in answers(app, batch):
        given_rows += [row["row_id"] for row in answer["rows"]]
        for status, count in answer["stored"].items():
            fates[status] = fates.get(status, 0) + count
    assert given_rows == ["row_0000000001"]
    assert fates == {"INVALID_INPUT": 2}
    short, long = stored(app, batch["batch_id"], 2), stored(app, batch["batch_id"], 3)
    assert short["input_data"]["M"] == {"id": {"S": "2"}}
    assert "line 3 of the source: 1 cells" in short["error"]["M"]["message"]["S"]
    assert "line 4 of the source: 3 cells" in long["error"]["M"]["message"]["S"]
    assert short["failed_status"]["S"] == "INVALID_INPUT#row_0000000002"
    assert int(short["ttl"]["N"]) == app.records.get(batch["batch_id"]).expires_at


@pytest.mark.parametrize(("cell", "cut"), [("é" * 40_000, False), ("x" * 500_000, True), ("漢" * 200_000, True)])
def test_a_row_too_large_to_travel_is_a_result(app: App, cell: str, cut: bool) -> None:  # noqa: FBT001
    batch = prepared(app, f"id,text\n1,{cell}\n2,two\n")
    both = answers(app, batch)
    assert [row["row_id"] for answer in both for row in answer["rows"]] == ["row_0000000002"]
    item = stored(app, batch["batch_id"], 1)
    message = item["error"]["M"]["message"]["S"]
    assert "line 2 of the source" in message
    assert f"at most {ROW_BYTES} can travel" in message
    assert ("cut" in message) == cut
    kept = item["input_data"]["M"]["text"]["S"]
    assert cell.startswith(kept)
    assert (kept != cell) == cut
    assert item["input_data"]["M"]["id"] == {"S": "1"}


SCHEMA = {
    "type": "object",
    "properties": {"text": {"type": "string", "pattern": "^t"}, "stars": {"type": "integer", "maximum": 5}},
    "required": ["text"],
    "additionalProperties": False,
}


def merged(app: App, batch: dict[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """The rows of all chunks, and how many were refused."""
    whole = sorted(answers(app, batch), key=lambda answer: answer["chunk"]["number"])
    refused = [answer["stored"] for answer in whole]
    assert {status for counts in refused for status in counts} <= {"INVALID_INPUT"}
    return [row for answer in whole for row in answer["rows"]], sum(sum(counts.values()) for counts in refused)


def test_rows_that_cannot_be_mapped_or_do_not_fit_the_input_schema_are_results(app: App) -> None:
    make_tool(app, "tool-rate", "rate", input_schema=SCHEMA)
    order = '"{""stars"": 4}"'
    content = f"text,order\ntwo,{order}\nfour,{order}\ntwo,stars\ntwo,{{}}\nthree,{order}\n"
    stars = {"type": "jsonpath", "config": {"column": "order", "path": "$.stars"}}
    mapping = {"include_columns": ["text"], "transformations": {"stars": stars}}
    batch = prepared(app, content, "rate", input_mapping=mapping)
    rows, refused = merged(app, batch)
    assert [row["target_input"]["input"] for row in rows] == [
        {"text": "two", "stars": 4},
        {"text": "three", "stars": 4},
    ]
    assert refused == 3
    no_default = ", and the transformation has no default"
    assert [stored(app, batch["batch_id"], row)["error"]["M"]["message"]["S"] for row in (2, 3, 4)] == [
        "line 3 of the source: the fields do not fit the target's input_schema: text: 'four' does not fit pattern '^t'",
        "line 4 of the source: field 'stars', from column 'order': 'stars' is not JSON: Expecting value at character 1",
        f"line 5 of the source: field 'stars', from column 'order': '$.stars' finds nothing{no_default}",
    ]
    assert stored(app, batch["batch_id"], 2)["input_data"]["M"] == {
        "text": {"S": "four"},
        "order": {"S": '{"stars": 4}'},
    }


def test_types_travel_and_the_row_stays_text(app: App) -> None:
    mapping = {"types": {"id": "integer", "text": "json"}}
    batch = prepared(app, 'id,text\n007,"{""a"": [1, null]}"\n8,\nx,1\n', input_mapping=mapping)
    rows, refused = merged(app, batch)
    assert refused == 1
    assert [row["target_input"]["input"] for row in rows] == [
        {"id": 7, "text": {"a": [1, None]}},
        {"id": 8, "text": None},
    ]
    assert rows[0]["row"] == ["007", '{"a": [1, null]}']
    message = stored(app, batch["batch_id"], 3)["error"]["M"]["message"]["S"]
    assert message.startswith("line 4 of the source: field 'id' of type integer, from column 'id': 'x' is no number")


@pytest.mark.parametrize("target", ["echo", "line"])
def test_a_row_too_long_to_stand_beside_an_output_is_read_again(app: App, target: str) -> None:
    """Its place in the source travels in the stead of its cells; short rows travel themselves."""
    make_agent(app)
    cells = ["short", 'x "quoted"\nline, ' + "é" * 3_000, "漢" * 1_000, ""]
    content = "id,text\n" + "".join(f"{number},{quoted(cell)}\n" for number, cell in enumerate(cells, 1))
    # an agent's answer holds what the agent was given: here that is little
    batch = prepared(app, content, target, input_mapping={"id": "id"}, source={"encoding": "utf-8"})
    rows = [row for answer in answers(app, batch) for row in answer["rows"]]
    assert [type(row["row"]) for row in rows] == [list, str, str, list]
    for number, row in enumerate(rows, 1):
        event = {**row_event(batch, number, output={"id": number}), "row": row["row"]}
        assert write_output(app, event)["status"] == "SUCCESS"
        assert stored(app, batch["batch_id"], number)["input_data"]["M"]["text"] == {"S": cells[number - 1]}
    plan = app.plans.load(batch["batch_id"], batch["plan"])
    put_source(app, "id,text\n", "in/run-1.csv")
    assert row_at(app.s3, plan, rows[1]["row"]) == {}, "what was paid for is stored all the same"


def test_an_agent_without_a_prompt_is_not_called(app: App) -> None:
    make_agent(app)
    batch = prepared(app, 'prompt\nhello\n" "\n', "line")
    rows, refused = merged(app, batch)
    assert ([row["row"][0] for row in rows], refused) == (["hello"], 1)


def test_a_plan_from_before_there_were_schemas(app: App) -> None:
    batch = prepared(app, rows_csv(1))
    key = {"batch_id": {"S": batch["batch_id"]}, "item": {"S": f"plan#{batch['plan']}"}}
    item = app.dynamodb.get_item(TableName=app.settings.batches_table, Key=key)["Item"]
    stored = json.loads(zlib.decompress(item["plan"]["B"]))
    del stored["input_schema"]
    old = {**item, "item": {"S": "plan#old"}, "plan": {"B": zlib.compress(json.dumps(stored).encode())}}
    app.dynamodb.put_item(TableName=app.settings.batches_table, Item=old)
    assert len(answers(app, {**batch, "plan": "old"})[0]["rows"]) == 1


def test_a_repeated_transformation_writes_nothing_twice(app: App) -> None:
    batch = prepared(app, "id,text\n1\n2,two\n")
    chunk = manifest(app, batch)[0]
    first = transform_chunk(app, chunk_event(batch, chunk))
    item = stored(app, batch["batch_id"], 1)
    assert transform_chunk(app, chunk_event(batch, chunk)) == first
    assert stored(app, batch["batch_id"], 1) == item


def test_a_stopped_batch_runs_no_more_rows(app: App) -> None:
    batch = prepared(app, rows_csv(3))
    closing.stop(app, batch["batch_id"])
    (answer,) = answers(app, batch)
    assert (answer["rows"], answer["stored"]) == ([], {"NOT_RUN": 3})


def test_a_source_that_was_replaced(app: App) -> None:
    batch = prepared(app, rows_csv(3))
    put_source(app, rows_csv(4), "in/run-1.csv")
    with pytest.raises(SourceChanged, match="start a new batch"):
        answers(app, batch)


def test_a_source_that_was_deleted(app: App) -> None:
    batch = prepared(app, rows_csv(3))
    app.s3.delete_object(Bucket=app.settings.data_bucket, Key="in/run-1.csv")
    with pytest.raises(SourceChanged):
        answers(app, batch)


def test_a_plan_that_is_not_there(app: App) -> None:
    batch = prepared(app, rows_csv(1))
    with pytest.raises(PlanMissing, match="0123"):
        transform_chunk(app, chunk_event({**batch, "plan": "0123"}, manifest(app, batch)[0]))


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    pieces=st.lists(st.tuples(st.sampled_from(HEAVY), st.integers(0, 40_000)), min_size=1, max_size=25),
    limit=st.none() | st.integers(1, 30),
    envelope=st.sampled_from(["default", "none"]),
    most=st.integers(1, 40),
)
def test_what_a_chunk_returns_fits_a_payload_and_every_row_is_in_one(
    app: App, pieces: list[tuple[str, int]], limit: int | None, envelope: str, most: int
) -> None:
    cells = [letter * count for letter, count in pieces]
    content = "id,text\n" + "".join(f"{number},{quoted(cell)}\n" for number, cell in enumerate(cells, 1))
    config = {"limit": limit, "max_concurrency": most}
    # a name of its own per example: hypothesis runs them all on the same tables
    name = f"run-{abs(hash((tuple(pieces), limit, envelope, most)))}"
    batch = prepared(
        app,
        content,
        name=name,
        execution_config=config,
        source={"encoding": "utf-8"},
        input_mapping=envelope_of(envelope),
    )
    whole = answers(app, batch)
    assert max(len(json.dumps(answer)) for answer in whole) < PAYLOAD
    assert all(len(json.dumps(answer)) < 151_000 or len(answer["rows"]) == 1 for answer in whole)
    numbers = [int(row["row_id"][4:]) for answer in whole for row in answer["rows"]]
    plan = app.plans.load(batch["batch_id"], batch["plan"])
    for row in (row for answer in whole for row in answer["rows"]):
        again = row["row"][1] if isinstance(row["row"], list) else row_at(app.s3, plan, row["row"])["text"]
        assert again == cells[int(row["row_id"][4:]) - 1]
    refused = sum(count for answer in whole for count in answer["stored"].values())
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) + refused == min(len(cells), limit or len(cells)) == batch["rows_to_run"]


def envelope_of(name: str) -> dict[str, Any]:
    return {"exclude_columns": [], "envelope": name}
