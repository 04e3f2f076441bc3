from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from service.export import fill_rates as module
from service.export.fill_rates import Seen, guarded, never, seldom, warning
from service.export.lines import CsvLines, JsonLines
from service.export.parquet_file import ParquetLines
from service.request.columns import Columns, has_guarded_cells

if TYPE_CHECKING:
    from service.store.structs import Item, Shape

OUTPUTS: list[dict[str, Any]] = [
    {"always": {"S": "x"}, "half": {"N": "0"}, "never": {"NULL": True}},
    {"always": {"BOOL": False}, "half": {"S": ""}},
]
FOUND = [("always", 2), ("half", 1), ("never", 0), ("absent", 0)]
COLUMNS = Columns(("a",), tuple(name for name, _ in FOUND))


def items(shape: Shape, cell: str = "x") -> list[Item[Any, Any]]:
    made = [
        {
            "row_id": {"S": f"row_{number:010d}"},
            "status": {"S": "SUCCESS"},
            "input_data": {"M": {"a": {"S": cell}}},
            "output_data": {"M": fields},
        }
        for number, fields in enumerate(OUTPUTS, 1)
    ]
    return shape.decode(json.dumps({"Items": made}).encode()).Items


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_every_field_is_counted_in_every_format_also_the_one_that_no_row_has(kind: str) -> None:
    seen = Seen()
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    seen.know(COLUMNS.outputs)
    lines = {
        "csv": lambda: CsvLines(COLUMNS, seen, neutralise=True),
        "jsonl": lambda: JsonLines("b", seen),
        "parquet": lambda: ParquetLines(COLUMNS, seen),
    }[kind]()
    lines.results(items(lines.shape))
    assert list(seen.counts.items()) == FOUND
    later = Seen(json.loads(json.dumps(seen.state(), sort_keys=True)))
    assert list(later.counts.items()) == FOUND
    assert [(one["name"], one["found"], one["of"]) for one in later.told(2)] == [(*one, 2) for one in FOUND]


def test_a_field_of_an_open_mapping_that_is_always_empty_is_known() -> None:
    seen = Seen()
    lines = JsonLines("b", seen)
    lines.results(items(lines.shape))
    assert list(seen.counts.items()) == FOUND[:3]


def test_guarded_cells_are_counted() -> None:
    seen = Seen()
    for neutralise in (True, False):
        lines = CsvLines(COLUMNS, seen, neutralise=neutralise)
        lines.results(items(lines.shape, "=A1"))
        lines.results(items(lines.shape, "-1"))
        assert seen.guarded == 2


def test_a_file_with_guarded_cells_says_so_in_its_header() -> None:
    for columns in (COLUMNS, Columns((), (), "plain")):
        assert has_guarded_cells(CsvLines(columns, neutralise=True).header().decode())
        assert not has_guarded_cells(CsvLines(columns, neutralise=False).header().decode())
    unnamed = Columns(("a",), (), metadata=False)
    assert not has_guarded_cells(CsvLines(unnamed, neutralise=True).header().decode())
    names = CsvLines(COLUMNS, neutralise=True).header().decode().strip().replace('"', "").split(",")
    assert not has_guarded_cells(",".join(names))
    assert not has_guarded_cells(",".join(f'"{name}"' for name in names))


def test_names_that_travel_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen()
    followed = seen.know(f"{number}-{'n' * 500}" for number in range(100))
    assert 0 < len(followed) < 100
    seen.add("n" * 30_000, 1)
    assert len(json.dumps(seen.state())) < 30_000
    monkeypatch.setattr(module, "FOLLOWED", 3)
    assert Seen().know("abcde") == ("a", "b", "c")


def test_the_emptiest_of_many_fields_are_told_in_their_order() -> None:
    seen = Seen({"fields": [["a", 3], ["b", 0], ["c", 1]]})
    assert [one["name"] for one in seen.told(3, 2)] == ["b", "c"]
    assert seen.told(0) == []


def test_words_of_it() -> None:
    fields = Seen({"fields": [["a", 39], ["score", 0], ["b", 12], ["c", 40]]}).told(40)
    assert warning(fields) == "score: found in 0 of 40 rows"
    assert [one["name"] for one in never(fields)] == ["score"]
    assert [one["name"] for one in seldom(fields, 1)] == ["b"]
    many = Seen({"fields": [[f"f{number}", 0] for number in range(12)]}).told(1)
    assert warning(many).endswith("f9 and 2 more fields: found in 0 of 1 row")
    assert warning(fields[:1]) == guarded(0) == ""
    assert guarded(1).startswith("1 cell that")
    assert "1,200 cells" in guarded(1_200)
