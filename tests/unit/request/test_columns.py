from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BatchRefused
from service.request.columns import METADATA, Columns, file_name, format_of, keys_written, renamed, suffix_of

NAMES = st.lists(st.sampled_from(["x", "y", "input_x", "output_x", "input_input_x", "_status", "_row_id"]), unique=True)


def test_headers() -> None:
    assert Columns(("a", "b"), ("a",)).header() == ["input_a", "input_b", "output_a", *METADATA]
    assert Columns(("a", "b"), ("c",), "plain").header() == ["a", "b", "c", *METADATA]
    assert Columns(("a", "b"), ("a",), "plain").header() == ["input_a", "b", "output_a", *METADATA]


def test_a_prefix_may_not_meet_a_column_that_has_the_name_already() -> None:
    assert Columns(("x", "output_x"), ("x",), "plain").header() == ["input_x", "input_output_x", "output_x", *METADATA]
    assert Columns(("_status",), ("_status",), "plain").header() == ["input__status", "output__status", *METADATA]


@given(NAMES, NAMES, st.sampled_from(["plain", "prefixed"]))
def test_no_header_names_two_columns_alike(inputs: list[str], outputs: list[str], style: str) -> None:
    header = Columns(tuple(inputs), tuple(outputs), style).header()
    assert len(set(header)) == len(header) == len(inputs) + len(outputs) + len(METADATA)


@pytest.mark.parametrize(
    ("name", "form", "suffix"),
    [
        ("a.csv", "csv", ".csv"),
        ("s3://b/a.CSV.GZ", "csv", ".csv.gz"),
        ("a.jsonl", "jsonl", ".jsonl"),
        ("a.jsonl.gz", "jsonl", ".jsonl.gz"),
        ("A.Parquet", "parquet", ".parquet"),
        ("a.txt", None, ""),
        ("csv", None, ""),
    ],
)
def test_a_name_says_its_format(name: str, form: str | None, suffix: str) -> None:
    assert (format_of(name), suffix_of(name)) == (form, suffix)


@pytest.mark.parametrize(
    ("key", "form", "other"),
    [
        ("a.csv", "jsonl", "a.jsonl"),
        ("a.csv.gz", "jsonl", "a.jsonl.gz"),
        ("a.jsonl", "csv", "a.csv"),
        ("a.csv", "csv", "a.csv"),
        ("a.txt", "jsonl", "a.txt"),
        ("a.csv.gz", "parquet", "a.parquet"),
        ("a.parquet", "csv", "a.csv"),
    ],
)
def test_another_format_is_another_key(key: str, form: str, other: str) -> None:
    assert renamed(key, form) == other


@pytest.mark.parametrize("name", ["a.parquet.gz", "s3://b/A.PARQUET.GZ"])
def test_parquet_is_not_compressed_twice(name: str) -> None:
    for reading in (format_of, suffix_of):
        with pytest.raises(BatchRefused, match=r"leave \.gz away"):
            reading(name)


@pytest.mark.parametrize(
    ("first", "number", "name"),
    [
        ("a/b.parquet", 1, "a/b.parquet"),
        ("a/b.parquet", 2, "a/b-0002.parquet"),
        ("b.PARQUET", 12, "b-0012.parquet"),
        ("b", 1, "b"),
        ("b.csv", 9999, "b.csv-9999.parquet"),
    ],
)
def test_files_of_one_export_are_numbered(first: str, number: int, name: str) -> None:
    assert file_name(first, number) == name


def test_only_parquet_is_several_files() -> None:
    assert keys_written("a.csv", "csv") == ("a.csv",)
    assert keys_written("a.parquet", "parquet") == ("a.parquet", "a-0002.parquet")
