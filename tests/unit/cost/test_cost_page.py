"""docs/cost.md says what the model says, and a million rows cost two dollars at most."""

from __future__ import annotations

import importlib.util

import pytest
from places import ROOT

from service.cost.estimate import estimate

spec = importlib.util.spec_from_file_location("make_cost", ROOT / "docs" / "make_cost.py")
assert spec is not None
assert spec.loader is not None
make_cost = importlib.util.module_from_spec(spec)
spec.loader.exec_module(make_cost)


def test_the_tables_are_those_of_the_model() -> None:
    text = make_cost.PAGE.read_text(encoding="utf-8")
    assert text.count("<!-- table:") == text.count("<!-- end -->") == 2
    assert make_cost.page(text) == text, "make docs writes it again"
    assert make_cost.page(text.replace("| **in all** |", "| in all |")) == text


@pytest.mark.parametrize("concurrency", [40, 100, 1_000, 10_000])
def test_the_reference_million_costs_two_dollars_at_most(concurrency: int) -> None:
    profile = make_cost.REFERENCE
    assert (profile.row_bytes, profile.items, profile.call_seconds) == (480, (1_024,), 1.0)
    at_once = make_cost.Profile(children="EXPRESS", row_bytes=480, item_bytes=1_024, concurrency=concurrency)
    assert 1.50 < estimate(1_000_000, at_once).own_usd <= 2.00
