"""Runs every case of tests/cases/*.json: what an expression or an output mapping finds in what is given."""

from __future__ import annotations

import json
from typing import Any

import pytest
from places import CASES

from service.errors import BatchRefused
from service.expressions.language import ExpressionFault, compile_expression
from service.extraction.compiler import compile_output_mapping
from service.extraction.stored_plan import of_json, to_json

EXPRESSION_KEYS = {"comment", "given", "expression", "result", "error", "position", "reason"}
MAPPING_KEYS = {
    "comment",
    "given",
    "mapping",
    "target",
    "kind",
    "result",
    "columns",
    "method",
    "error",
    "failure",
    "status",
    "error_type",
    "retry",
    "retry_after",
}


def every(key: str) -> list[Any]:
    found = []
    for path in sorted([*CASES.glob("expressions_*.json"), *CASES.glob("mapping_*.json")]):
        for group, part in enumerate(json.loads(path.read_text(encoding="utf-8"))):
            for number, case in enumerate(part["cases"]):
                if key in case:
                    full = {**case, "given": case.get("given", part.get("given"))}
                    found.append(pytest.param(full, id=f"{path.stem}-{group}-{number}"))
    return found


@pytest.mark.parametrize("case", every("expression"))
def test_expression(case: dict[str, Any]) -> None:
    assert set(case) <= EXPRESSION_KEYS
    if "error" in case:
        with pytest.raises(ExpressionFault) as raised:
            compile_expression(case["expression"])
        assert case["error"] in raised.value.reason
        assert raised.value.position == case.get("position", raised.value.position)
        return
    value, reason = compile_expression(case["expression"]).search(case["given"])
    assert json.dumps(value) == json.dumps(case["result"])  # 1 is not true, and 1.0 is not 1
    assert (reason or "") == case.get("reason", "")


@pytest.mark.parametrize("case", every("mapping"))
def test_mapping(case: dict[str, Any]) -> None:
    assert set(case) <= MAPPING_KEYS
    options = {key: case[key] for key in ("target", "kind") if key in case}
    if "error" in case:
        with pytest.raises(BatchRefused) as raised:
            compile_output_mapping(case["mapping"], **options)
        assert [(problem.path, True) for problem in raised.value.problems] == [(path, True) for path in case["error"]]
        for problem in raised.value.problems:
            assert case["error"][problem.path] in problem.message
        return
    compiled = compile_output_mapping(case["mapping"], **options)
    plan = of_json(json.loads(json.dumps(to_json(compiled))))  # as the function has it that extracts
    assert to_json(plan) == to_json(compiled)
    assert plan.watch.named == compiled.watch.named
    if "columns" in case:
        assert plan.columns == (None if case["columns"] is None else tuple(case["columns"]))
    extraction = plan.extract(case["given"])
    assert extraction.ok == ("failure" not in case), extraction
    assert json.dumps(extraction.fields) == json.dumps(case["result"])  # the order of the fields counts
    assert extraction.method == case.get("method", extraction.method)
    assert extraction.status == case.get("status", extraction.status)
    assert extraction.error_type == case.get("error_type", extraction.error_type)
    assert extraction.retry is case.get("retry", extraction.retry)
    assert extraction.retry_after_seconds == case.get("retry_after", extraction.retry_after_seconds)
    for words in [case["failure"]] if isinstance(case.get("failure"), str) else case.get("failure", []):
        assert words in extraction.message


def test_there_are_many_cases() -> None:
    assert len(every("expression")) + len(every("mapping")) >= 450
