"""Every line of docs/reliability.md names tests, and they are there."""

from __future__ import annotations

import ast
import re
from functools import cache

import pytest
from places import ROOT

LINES = [
    line
    for line in (ROOT / "docs" / "reliability.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("|") and not line.startswith(("| what goes wrong", "|---"))
]


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / "tests" / path).read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("line", LINES, ids=lambda line: line[2:60])
def test_a_line_is_shown_by_tests_that_are_there(line: str) -> None:
    wrong, happens, shown_by, _end = (cell.strip() for cell in line.split("|")[1:])
    assert wrong
    assert happens
    tests = re.findall(r"`([^`]+)::([^`]+)`", shown_by)
    assert tests
    for path, name in tests:
        assert name in names_in(path), f"{path} has no {name}"


def test_the_page_has_lines() -> None:
    assert len(LINES) > 40
