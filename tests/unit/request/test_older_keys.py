"""Inputs of batches in the field: the older keys work, and problems speak of the key that the person wrote."""

from __future__ import annotations

from typing import Any

import pytest
from made import parse_input

from service.errors import BatchRefused
from service.extraction.compiler import compile_output_mapping
from service.mapping.input_mapping import compile_input_mapping
from service.request.parse import read_input

ARN = "arn:aws:states:eu-west-1:123456789012:stateMachine:line"
GIVEN = {"csv_s3_uri": "s3://bucket/in.csv", "target": "line"}


def test_a_target_by_name_with_the_arn_of_its_machine() -> None:
    for target in ("line", {"name": "line", "type": "agent"}):
        parsed = parse_input({**GIVEN, "target": target, "agent_config": {"state_machine_arn": ARN}})
        assert (parsed.target.name, parsed.target.arn) == ("line", ARN)


def test_a_processing_config_is_an_execution_config() -> None:
    processing = {"max_concurrency": 20, "timeout_seconds": 60, "retry_attempts": 2}
    config = parse_input({**GIVEN, "processing_config": processing}).execution_config
    assert (config.max_concurrency, config.timeout_seconds, config.retry_policy.max_attempts) == (20, 60, 3)
    assert (
        parse_input({**GIVEN, "processing_config": {"retry_attempts": 0}}).execution_config.retry_policy.max_attempts
        == 1
    )


def test_an_execution_id_is_ignored() -> None:
    assert parse_input({**GIVEN, "execution_id": "exec-123"}) == parse_input(GIVEN)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"processing_config": {"max_concurrency": 0}}, "processing_config.max_concurrency: input should be greater"),
        (
            {"processing_config": {"retry_attempts": -1}},
            "processing_config.retry_attempts: is the number of calls after",
        ),
        (
            {"processing_config": {"retries": 1}},
            "processing_config.retries: unknown key; did you mean 'retry_attempts'",
        ),
        ({"processing_config": 3}, "processing_config: must be an object"),
        ({"processing_config": {"timeout_seconds": 1}, "execution_config": {}}, "processing_config: means the same as"),
        ({"agent_config": {"state_machine": ARN}}, "agent_config.state_machine: unknown key; did you mean"),
        (
            {"target": {"name": "line", "arn": ARN + "2"}, "agent_config": {"state_machine_arn": ARN}},
            "agent_config.state_machine_arn: names another state machine",
        ),
    ],
)
def test_problems_name_the_key_that_was_written(more: dict[str, Any], told: str) -> None:
    problems = [str(problem) for problem in read_input({**GIVEN, **more})[1]]
    assert any(problem.startswith(told) for problem in problems), problems


@pytest.mark.parametrize(
    "mapping",
    [
        {"csv_columns_to_agent_input": {"address": "place"}},
        {"csv_column_mapping": {"address": "place"}},
        {"csv_columns_to_agent_input": {"csv_column_mapping": {"address": "place"}}},
        {"csv_columns_to_agent_input": {"csv_column_mapping": {"address": "place"}}, "envelope": "none"},
    ],
)
def test_older_names_of_column_mappings(mapping: dict[str, Any]) -> None:
    assert compile_input_mapping(mapping, ["address", "x"]).fields({"address": "a", "x": "b"}) == {"place": "a"}


def test_older_names_do_not_hide_a_column_or_the_name_of_today() -> None:
    with pytest.raises(BatchRefused, match="csv_column_mapping: means the same as column_mappings"):
        compile_input_mapping({"csv_column_mapping": {"a": "b"}, "column_mappings": {"a": "c"}}, ["a"])
    assert compile_input_mapping({"csv_column_mapping": "f"}, ["csv_column_mapping"]).names == ("f",)


def test_columns_of_the_csv_by_their_paths() -> None:
    plan = compile_output_mapping({"csv_column_mapping": {"total": "$.order.total", "note": None}})
    assert plan.columns == ("total", "note")
    assert plan.extract({"order": {"total": 3}, "note": "n"}).fields == {"total": 3, "note": "n"}


@pytest.mark.parametrize(
    ("options", "value", "written"),
    [
        ({"format": "%.2f"}, 3.14159, "3.14"),
        ({"format": ".2f"}, 3.14159, "3.14"),
        ({"format": "%,.2f"}, 1234.5, "1,234.50"),
        ({"format": "%d", "type": "integer"}, 7, "7"),
        ({"format": "%.0f", "type": "number"}, 7.4, "7"),
        ({"format": "%d", "type": "date"}, "2026-01-17", "17"),
        ({"format": "%d/%m/%Y"}, "2026-01-17", "17/01/2026"),
    ],
)
def test_formats_as_people_write_them(options: dict[str, str], value: Any, written: str) -> None:
    plan = compile_output_mapping({"columns": [{"name": "x", **options}]})
    assert plan.extract({"x": value}).fields == {"x": written}


def test_a_format_that_could_be_either_is_refused() -> None:
    with pytest.raises(BatchRefused, match="say which, by type"):
        compile_output_mapping({"columns": [{"name": "x", "format": "%d"}]})
