"""What a source holds: read as a batch reads it, judged column by column, refused with what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from places import ROOT

from service.console import describing
from service.console.describing import describe
from service.errors import BatchRefused
from service.mapping.conversions import convert

if TYPE_CHECKING:
    from pathlib import Path

    from service.app import App


def write(folder: Path, text: str, encoding: str = "utf-8") -> str:
    path = folder / "in.csv"
    path.write_bytes(text.encode(encoding))
    return str(path)


def column(known: dict[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in known["columns"] if one["name"] == name)


def refusal(source: str, **options: Any) -> tuple[str, str]:
    with pytest.raises(BatchRefused) as refused:
        describe(source, **options)
    (problem,) = refused.value.problems
    return problem.path, problem.message


def test_an_example_in_full(tmp_path: Path) -> None:
    source = write(tmp_path, 'name;n\n"Ann; Lee";1\nBob;\nBob;3\n\n"two\nlines";4\n')
    assert describe(source) == {
        "source": source,
        "size": 46,
        "encoding": "utf-8",
        "delimiter": ";",
        "row_count": 4,
        "row_count_exact": True,
        "columns": [
            {"name": "name", "type": "text", "empty": 0, "different": 3, "examples": ["Ann; Lee", "Bob", "two lines"]},
            {"name": "n", "type": "integer", "empty": 1, "different": 3, "examples": ["1", "3", "4"]},
        ],
        "sample": [{"name": "Ann; Lee", "n": "1"}, {"name": "Bob", "n": ""}, {"name": "Bob", "n": "3"}],
        "notes": [],
    }


@pytest.mark.parametrize(
    ("cells", "kind"),
    [
        (["1", "-20", ""], "integer"),
        (["1", "2.5"], "number"),
        (["1e6"], "number"),
        (["007", "008"], "text"),  # a number would lose the noughts
        (["+44", "+1"], "text"),
        (["-007"], "text"),
        (["0.5", "-0.5", "0"], "number"),
        (["12345678901234567890"], "text"),  # more digits than a number in JSON keeps
        (["1 000"], "text"),
        (["true", "FALSE"], "boolean"),
        (["yes", "0"], "boolean"),
        (["0", "1"], "integer"),
        (["2026-01-17", "2026-01-17T10:00:00Z"], "date"),
        (["17/01/2026"], "text"),
        (['"{""a"": 1}"', "[1]"], "json"),
        (["{broken"], "text"),
        (["true", "maybe"], "text"),
        ([" ", ""], "empty"),
        (["½", "²"], "text"),
    ],
)
def test_types(tmp_path: Path, cells: list[str], kind: str) -> None:
    known = describe(write(tmp_path, "id,x\n" + "".join(f"k,{cell}\n" for cell in cells)))
    assert column(known, "x")["type"] == kind


@given(st.lists(st.text(st.characters(exclude_characters='"\r\n\x00', exclude_categories=["Cs"]), max_size=12)))
def test_a_guessed_type_converts_every_cell(cells: list[str]) -> None:
    made = describing._Column("x")
    for cell in cells:
        made.add(cell)
    kind = made.to_json()["type"]
    if kind in ("integer", "number", "boolean", "json"):
        assert all(convert(kind, cell) is not None for cell in cells if cell.strip())
    assert made.empty == sum(not cell.strip() for cell in cells)


def test_examples_and_first_rows_are_cut(tmp_path: Path) -> None:
    known = describe(write(tmp_path, f"a,b\n{'x' * 2_000},y\n"))
    assert column(known, "a")["examples"] == ["x" * 39 + "…"]
    assert known["sample"][0]["a"] == "x" * 499 + "…"


@pytest.mark.parametrize(
    ("encoding", "found"), [("utf-16", "utf-16-le"), ("utf-8-sig", "utf-8"), ("utf-16-be", "utf-16-be")]
)
def test_encodings(tmp_path: Path, encoding: str, found: str) -> None:
    known = describe(write(tmp_path, "näme;zahl\nÄrger;1\nÖl;2\n", encoding))
    assert (known["encoding"], known["delimiter"]) == (found, ";")
    assert column(known, "näme")["examples"] == ["Ärger", "Öl"]
    assert known["notes"] == []


def test_a_guessed_encoding_is_said(tmp_path: Path) -> None:
    source = write(tmp_path, "name;city\nJosé;Málaga\nZoë;Köln\n", "cp1252")
    known = describe(source)
    assert known["encoding"] == "cp1252"
    assert "which is a guess" in known["notes"][0]
    assert describe(source, encoding="cp1252")["notes"] == []


def test_a_guess_that_later_rows_speak_against_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    west = "name\n" + "José\n" * 200_000
    path.write_bytes(west.encode("cp1252") + "привет, мир\n".encode("cp1251") * 50_000)
    where, message = refusal(str(path))
    assert where == str(path)
    assert "--encoding" in message


def test_ragged_rows_are_named_and_not_judged(tmp_path: Path) -> None:
    known = describe(write(tmp_path, "a,b\n1,2\nx\n3,4\n5,6,7\n"))
    assert known["row_count"] == 4
    assert column(known, "a") == {"name": "a", "type": "integer", "empty": 0, "different": 2, "examples": ["1", "3"]}
    assert known["sample"] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    (note,) = known["notes"]
    assert note.startswith("2 rows would be INVALID_INPUT: row 2 (line 3) has 1 cells")
    assert note.endswith("row 4 (line 5) has 3 cells")


def test_many_ragged_rows_are_counted(tmp_path: Path) -> None:
    (note,) = describe(write(tmp_path, "a,b\n" + "1,2\n" * 30 + "x\n" * 9))["notes"]
    assert note.startswith("9 rows would be INVALID_INPUT")
    assert note.endswith("; …")
    assert note.count("(line") == 5


def test_columns_are_judged_by_the_first_rows_and_all_are_counted(tmp_path: Path) -> None:
    known = describe(write(tmp_path, "a,b\n" + "1,x\n" * 5 + "text,y\n" * 5), rows=5)
    assert (known["row_count"], known["row_count_exact"]) == (10, True)
    assert column(known, "a")["type"] == "integer"
    assert known["notes"] == ["types, empty cells and different values are those of the first 5 rows"]


def test_a_large_source_is_read_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(describing, "_COUNTED", 100)
    known = describe(write(tmp_path, "a,b\n" + "1,x\n" * 500), rows=50)
    assert (known["row_count"], known["row_count_exact"]) == (50, False)
    assert "one of about 490" in known["notes"][0]
    whole = describe(str(tmp_path / "in.csv"), rows=500)
    assert (whole["row_count"], whole["row_count_exact"]) == (500, True)


def test_a_header_alone(tmp_path: Path) -> None:
    known = describe(write(tmp_path, "a,b\n"))
    assert [one["type"] for one in known["columns"]] == ["empty", "empty"]
    assert (known["row_count"], known["row_count_exact"], known["sample"]) == (0, True, [])
    assert known["notes"] == ["a header and no rows: a batch of it would have nothing to run"]


def test_our_own_export_is_read_without_its_guard(tmp_path: Path) -> None:
    header = 'x,"_row_id",_status,_error,_execution_time_ms,_timestamp'
    known = describe(write(tmp_path, f"{header}\n'=1+1,row_1,SUCCESS,,3,2026-01-17T00:00:00Z\n"))
    assert column(known, "x")["examples"] == ["=1+1"]
    assert "an export of the batch processor" in known["notes"][0]


def test_a_name_with_blanks_around_it_is_said(tmp_path: Path) -> None:
    assert "' b'" in describe(write(tmp_path, "a, b\n1,2\n"))["notes"][0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\xef\xbb\xbf", "is empty"),
        (b"a,a\n1,2\n", "2 times in the header"),
        (b"a,\n1,2\n", "has no name"),
        (b'a,b\n1,"2\n3,4\n', "opens a quote"),
        (b"PK\x03\x04rest", "Excel workbook"),
        ("a,b\nä,ö\n".encode() * 9 + b"\xff,2\n", "byte 0xff"),
    ],
)
def test_what_a_batch_would_refuse_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "in.csv"
    path.write_bytes(content)
    where, message = refusal(str(path))
    assert where == str(path)
    assert said in message


def test_what_was_given_wrongly_is_named(tmp_path: Path) -> None:
    source = write(tmp_path, "a,b\n1,2\n")
    assert refusal(source, encoding="klingon")[0] == "--encoding"
    assert refusal(source, delimiter="ab")[0] == "--delimiter"
    assert refusal(source, rows=0)[0] == "rows"
    assert refusal(str(tmp_path)) == (str(tmp_path), "is a folder, name a file in it")
    assert refusal("no-such.csv") == ("no-such.csv", "there is no such file")
    assert "s3://bucket/key" in refusal("s3://bucket")[1]
    assert "without a stack" in refusal("s3://bucket/in.csv")[1]


def test_a_source_in_s3(app: App) -> None:
    bucket = app.settings.data_bucket
    app.s3.put_object(Bucket=bucket, Key="in.csv", Body=b"a,b\n1,x\n2,y\n")
    app.s3.put_object(Bucket=bucket, Key="empty.csv", Body=b"")
    known = describe(f"s3://{bucket}/in.csv", app.s3)
    assert (known["size"], known["row_count"], known["row_count_exact"]) == (12, 2, True)
    assert refusal(f"s3://{bucket}/empty.csv", s3=app.s3)[0] == f"s3://{bucket}/empty.csv"
    assert "there is no object" in refusal(f"s3://{bucket}/none.csv", s3=app.s3)[1]


def test_the_examples() -> None:
    known = describe(str(ROOT / "examples" / "product_reviews.csv"))
    assert (known["row_count"], known["row_count_exact"]) == (3708, True)
    assert [one["type"] for one in known["columns"]] == ["text", "number", "text"]
