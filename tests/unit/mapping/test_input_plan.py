"""Runs every case of tests/cases/input_*.json: what an input mapping makes of the row that is given."""

from __future__ import annotations

import json
from typing import Any

import pytest
from places import CASES

from service.mapping.conversions import RowNotMapped
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.input_plan import InputPlan

KEYS = {"comment", "given", "input_mapping", "result", "error"}


def every() -> list[Any]:
    found = []
    for path in sorted(CASES.glob("input_*.json")):
        for part in json.loads(path.read_text(encoding="utf-8")):
            for case in part["cases"]:
                full = {"given": part["given"], **case}
                found.append(pytest.param(full, id=f"{path.stem.removeprefix('input_')}-{case['comment']}"))
    return found


@pytest.mark.parametrize("case", every())
def test_input_mapping(case: dict[str, Any]) -> None:
    assert set(case) <= KEYS
    compiled = compile_input_mapping(case["input_mapping"], list(case["given"]))
    plan = InputPlan.of_json(json.loads(json.dumps(compiled.to_json())))  # as the functions have it
    assert plan.to_json() == compiled.to_json()
    if "error" in case:
        with pytest.raises(RowNotMapped) as refused:
            plan.fields(case["given"])
        assert case["error"] in refused.value.message
        return
    made = plan.fields(case["given"])
    assert json.dumps(made) == json.dumps(case["result"])  # 1 is not true, and 1.0 is not 1
    assert tuple(made) == plan.names


def test_there_are_many_cases() -> None:
    assert len(every()) >= 60
