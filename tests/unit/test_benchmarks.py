"""The benchmarks still run what they measure; how fast it is, no test asks."""

from __future__ import annotations

import subprocess
import sys

import pytest
from places import ROOT

OURS = {
    "extraction": "ours",
    "aggregation": "ours",
    "write_result": "ours",
    "cold_start": "prepare_batch",
    "ten_million": "aggregate, in turns",
    "counted_cost": "transitions  counted          9   model          9",
}


def test_every_benchmark_is_tried() -> None:
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} == set(OURS)


@pytest.mark.parametrize("name", OURS)
def test_a_benchmark_runs(name: str) -> None:
    size = {"cold_start": "1"}.get(name, "5")
    script = str(ROOT / "benchmarks" / f"{name}.py")
    done = subprocess.run([sys.executable, script, size], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert OURS[name] in done.stdout
