from __future__ import annotations

from typing import Any

import pytest
from made import parse_input

from service.errors import BatchRefused
from service.request.columns import csv_option_problems
from service.request.parse import read_input

GOOD: dict[str, Any] = {"csv_s3_uri": "s3://my-bucket/in/rows.csv", "target": "echo"}
TOOL = "arn:aws:lambda:us-east-1:123456789012:function:tool-a"


def test_everything_but_source_and_target_has_a_default() -> None:
    parsed = parse_input(GOOD)
    config = parsed.execution_config
    assert (config.max_concurrency, config.timeout_seconds, config.ttl_days, config.limit) == (10, 300, 7, None)
    assert config.retry_policy.model_dump() == {
        "max_attempts": 3,
        "backoff_rate": 2.0,
        "initial_seconds": 1,
        "max_seconds": 60,
        "throttled_seconds": 1_800,
        "retry_on": None,
    }
    assert (parsed.csv.format, parsed.csv.column_style, parsed.csv.neutralise_formulas) == ("csv", "prefixed", True)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("echo", (None, "echo", None)),
        (TOOL, (None, "tool-a", TOOL)),
        ({"name": TOOL}, (None, "tool-a", TOOL)),
        ({"arn": TOOL}, (None, "tool-a", TOOL)),
        ({"name": "mine", "arn": TOOL, "type": "Lambda"}, ("tool", "mine", TOOL)),
        ({"name": "mine", "type": "state_machine", "arn": None}, ("agent", "mine", None)),
    ],
)
def test_forms_of_a_target(target: Any, expected: tuple[str | None, str, str | None]) -> None:
    parsed = parse_input({**GOOD, "target": target}).target
    assert (parsed.type, parsed.name, parsed.arn) == expected


def test_null_is_absent_at_every_level_but_for_ttl_days() -> None:
    nulls = {"max_concurrency": None, "ttl_days": None, "retry_policy": {"max_attempts": None, "retry_on": None}}
    parsed = parse_input({**GOOD, "execution_config": nulls, "csv": None, "rerun_of": None, "output_mapping": None})
    assert parsed.execution_config.max_concurrency == 10
    assert parsed.execution_config.ttl_days is None
    assert parsed.execution_config.retry_policy.max_attempts == 3


def test_what_is_wrong_is_left_out_so_that_the_rest_can_be_checked() -> None:
    given = {
        **GOOD,
        "execution_config": {"limit": 5, "max_concurrency": "many", "retry_policy": {"max_attempts": 0, "why": 1}},
        "csv": "csv",
    }
    parsed, problems = read_input(given)
    assert parsed.execution_config.limit == 5
    assert parsed.execution_config.max_concurrency == 10
    assert [problem.path for problem in problems] == [
        "execution_config.max_concurrency",
        "execution_config.retry_policy.max_attempts",
        "execution_config.retry_policy.why",
        "csv",
    ]
    assert given["csv"] == "csv"
    with pytest.raises(BatchRefused) as refused:
        parse_input(given)
    assert refused.value.problems == tuple(problems)


@pytest.mark.parametrize(
    ("given", "path", "said"),
    [
        ({"target": 7}, "target", "must be a name, an ARN, or an object"),
        ({"target": {"name": 7}}, "target.name", "not 7"),
        ({"target": {"name": "a", "type": "widget"}}, "target.type", "'agent' or 'tool'"),
        ({"target": {"name": "a/b"}}, "target.name", "no #, slash"),
        ({"input_mapping": []}, "input_mapping", "must be an object"),
        (
            {"execution_config": {"retry_policy": {"retry_on": ["a", 5]}}},
            "execution_config.retry_policy.retry_on[1]",
            "5",
        ),
        ({"execution_config": {"retry_policy": {"retry_on": "a"}}}, "execution_config.retry_policy.retry_on", "a list"),
        ({"execution_config": {"ttl_days": float("nan")}}, "execution_config.ttl_days", "nan"),
        ({"execution_config": {"timeout_seconds": 1.5}}, "execution_config.timeout_seconds", "1.5"),
        ({"csv": {"x.y": 1}}, "csv.x.y", "'column_style'"),
        ({"output_mapping": {"columns": []}, "output_mappings": {"echo": {}}}, "output_mappings", "not both"),
        ({"csv_s3_uri": 5}, "csv_s3_uri", "not 5"),
    ],
)
def test_one_problem_is_named_once(given: dict[str, Any], path: str, said: str) -> None:
    _, (problem,) = read_input({**GOOD, **given})
    assert problem.path == path
    assert said in problem.message


def test_csv_options_of_a_csv_made_again() -> None:
    assert csv_option_problems({"neutralise_formulas": False, "column_style": None}) == []
    assert [problem.path for problem in csv_option_problems({"format": "xlsx", "raw": 1})] == ["csv.format", "csv.raw"]
    assert [problem.path for problem in csv_option_problems("raw")] == ["csv"]
    assert [problem.path for problem in csv_option_problems({"neutralise_formulas": 1})] == ["csv.neutralise_formulas"]
