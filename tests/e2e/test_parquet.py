"""A batch's results as Parquet, by the command line and the deployed functions."""

from __future__ import annotations

import csv
from datetime import datetime
from typing import Any

import pyarrow.parquet as pq

from service.console.local.stack import CHECKOUT
from service.models import now_iso

EXAMPLES = CHECKOUT / "examples"


def cell(value: Any) -> str:
    """What the CSV shows of a value."""
    if isinstance(value, datetime):
        return now_iso(value)
    return "" if value is None else str(value)


def test_parquet_holds_the_cells_of_the_csv(deployed: Any) -> None:
    mapping = str(EXAMPLES / "mappings" / "mixed_fates.yaml")
    asked = ("run", str(EXAMPLES / "mixed_fates.csv"), "--target", "echo", "--mapping", mapping, "-o")
    twice = deployed.command(*asked, "fates.parquet.gz")
    assert (twice.returncode, "leave .gz away" in twice.stderr) == (2, True)

    result = deployed.json(*asked, "fates.parquet")
    assert result["csv_location"].endswith(".parquet")
    found = pq.read_table(deployed.folder / "fates.parquet")
    assert found.num_rows == result["row_count"] == 24
    assert found["_status"].to_pylist().count("SUCCESS") == result["counts"]["SUCCESS"] == 14

    again = deployed.json("aggregate", result["batch_id"], "-o", "fates.csv", "--raw-cells")
    assert again["counts"] == result["counts"]
    with (deployed.folder / "fates.csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    assert found.column_names == header
    assert [[cell(value) for value in row.values()] for row in found.to_pylist()] == lines
