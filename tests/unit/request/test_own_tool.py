"""The batch processor as a tool: what an agent reads of it is true of the input that is accepted."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator
from places import ROOT

from service.request import own_tool
from service.request.models import BatchInput
from service.request.parse import read_input

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMA = own_tool.input_schema()
VALID = Draft202012Validator(SCHEMA)


def properties(schema: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for one in schema.get("anyOf", [schema]):
        for name, inner in one.get("properties", {}).items():
            yield f"{place}{name}", inner
            yield from properties(inner, f"{place}{name}.")


def test_it_is_a_schema_without_what_callers_do_not_read() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf"} & SCHEMA.keys()
    text = json.dumps(SCHEMA)
    assert '"$ref"' not in text
    assert '"title"' not in text
    assert not re.search(r'"(ge|gt|le|lt)":', text)


def test_every_key_is_there_and_says_what_it_is() -> None:
    found = dict(properties(SCHEMA))
    assert {name for name in found if "." not in name} == set(BatchInput.model_fields)
    assert [name for name, one in found.items() if not one.get("description")] == []
    assert set(found) == set(own_tool._TOLD)


def test_the_description_is_as_long_as_every_api_takes_it() -> None:
    assert 300 < len(own_tool.DESCRIPTION) <= 1024


def documented() -> Any:
    text = (ROOT / "docs" / "usage.md").read_text()
    return json.loads(text.split("```json\n", 1)[1].split("```", 1)[0])


def without_null(value: Any) -> Any:
    return (
        {key: without_null(one) for key, one in value.items() if one is not None} if isinstance(value, dict) else value
    )


GIVEN: list[Any] = [
    without_null(documented()),
    {"csv_s3_uri": "s3://bucket/k.csv", "target": "sentiment"},
    {"csv_s3_uri": "s3://bucket/k.csv", "target": {"name": "a"}, "execution_config": {"ttl_days": None}},
    {"rerun_of": "echo#1"},
    {"rerun_of": {"batch_id": "echo#1", "status": ["FAILED"], "rows": "7,12-40"}},
    {"rerun_of": {"batch_id": "echo#1", "status": "FAILED", "stored_input": True}},
]


@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_what_is_accepted_is_valid(given: Any) -> None:
    assert [error.message for error in VALID.iter_errors(given)] == []
    assert read_input(given)[1] == []


@pytest.mark.parametrize(
    "given",
    [
        {"csv": {"format": "xlsx"}},
        {"execution_config": {"max_concurrency": 0}},
        {"execution_config": {"max_failure_rate": 1}},
        {"execution_config": {"max_cost_usd": 0}},
        {"execution_config": {"retry_policy": {"max_attempts": 101}}},
        {"execution_config": {"keep_output": "yes, please"}},
        {"rerun_of": {"batch_id": ""}},
        {"target": {"nam": "echo"}},
        {"targets": "echo"},
    ],
    ids=str,
)
def test_what_is_refused_is_not_valid(given: Any) -> None:
    assert not VALID.is_valid(given)
    assert read_input({"csv_s3_uri": "s3://bucket/k.csv", "target": "echo", **given})[1] != []
