"""Exact rows of a source: format, records and their bytes, faults, chunks."""

from __future__ import annotations

import codecs
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from service.errors import BatchRefused
from service.source.csv_rows import (
    Chunk,
    Chunker,
    RaggedRow,
    Record,
    RowRange,
    bit_reversed_order,
    check_header,
    read_chunk,
    read_records,
    row_of,
)
from service.source.lines import LONGEST_FIELD, SourceFault, SourceFormat, detect_format

if TYPE_CHECKING:
    from collections.abc import Iterator

UTF8 = SourceFormat("utf-8", ",", 0)


def blocks_of(content: bytes, size: int = 7) -> list[bytes]:
    return [content[start : start + size] for start in range(0, len(content), size)]


def records_of(text: str, encoding: str = "utf-8", **where: int) -> list[Record]:
    content = text.encode(encoding)
    return list(read_records(blocks_of(content), SourceFormat(encoding, ",", 0), **where))


def fault_of(content: bytes, fmt: SourceFormat = UTF8, size: int = 7, **where: int) -> SourceFault:
    with pytest.raises(SourceFault) as fault:
        list(read_records(blocks_of(content, size), fmt, **where))
    return fault.value


# --- the format ---


@pytest.mark.parametrize(
    ("content", "encoding", "bom_bytes"),
    [
        (b"id,name\n1,a\n", "utf-8", 0),
        ("id,naïve 🦀\n".encode(), "utf-8", 0),
        (codecs.BOM_UTF8 + b"id\n", "utf-8", 3),
        (codecs.BOM_UTF16_LE + "id\n".encode("utf-16-le"), "utf-16-le", 2),
        (codecs.BOM_UTF16_BE + "id\n".encode("utf-16-be"), "utf-16-be", 2),
        ("id,name\n1,Zoë\n".encode("utf-16-le"), "utf-16-le", 0),
        ("id,name\n1,Zoë\n".encode("utf-16-be"), "utf-16-be", 0),
        ("編號,説明\n一,一個簡短的説明文字在這裡\n".encode("utf-16-le"), "utf-16-le", 0),
        ("編號,説明\n一,一個簡短的説明文字在這裡\n".encode("utf-16-be"), "utf-16-be", 0),
        ("id,name\n1,Zoë “x” €\n".encode("cp1252"), "cp1252", 0),
        ("id,name\n1,Zoë\n2,".encode() + b"caf\xe9\n", "utf-8", 0),
        (b"id,bin\n1,\x00\n2,\x00\x00\x00\n", "utf-8", 0),
    ],
)
def test_encoding_is_detected(content: bytes, encoding: str, bom_bytes: int) -> None:
    fmt = detect_format(content, complete=True)
    assert (fmt.encoding, fmt.bom_bytes) == (encoding, bom_bytes)


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_character_cut_by_the_end_of_the_sample_is_no_fault(cut: int) -> None:
    sample = b"id,name\n1,a\n2," + "🦀".encode()[:cut]
    assert detect_format(sample, complete=False).encoding == "utf-8"
    with pytest.raises(SourceFault, match="cannot be told for sure"):
        detect_format(sample, complete=True)


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("utf8", "utf-8"),
        ("UTF-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("ascii", "utf-8"),
        ("utf-16", "utf-16-le"),
        ("UTF-16BE", "utf-16-be"),
        ("utf_16_le", "utf-16-le"),
        ("iso-8859-1", "latin-1"),
        ("latin1", "latin-1"),
        ("Windows-1252", "cp1252"),
    ],
)
def test_a_given_encoding_wins(name: str, encoding: str) -> None:
    assert detect_format("é".encode("cp1252"), complete=True, encoding=name).encoding == encoding


@pytest.mark.parametrize("name", ["big5hkscs", "rot13", "base64", "", "no\0sense"])
def test_an_encoding_outside_the_supported_ones_is_refused(name: str) -> None:
    with pytest.raises(SourceFault, match=r"use one of utf-8, utf-16, .*cp1252, .*gb18030"):
        detect_format(b"id\n", complete=True, encoding=name)


def test_a_given_utf16_follows_the_mark() -> None:
    sample = codecs.BOM_UTF16_BE + "id\n".encode("utf-16-be")
    assert detect_format(sample, complete=True, encoding="utf-16") == SourceFormat("utf-16-be", ",", 2)


def test_a_utf8_mark_before_single_byte_text_is_dropped() -> None:
    fmt = detect_format(codecs.BOM_UTF8 + b"caf\xe9\n1\n", complete=True, encoding="latin-1")
    assert fmt == SourceFormat("latin-1", ",", 3)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "cp1252"])
def test_a_given_encoding_that_the_mark_excludes_is_refused(encoding: str) -> None:
    sample = codecs.BOM_UTF16_BE + "id\n".encode("utf-16-be")
    with pytest.raises(SourceFault, match="byte order mark of utf-16-be"):
        detect_format(sample, complete=True, encoding=encoding)


@pytest.mark.parametrize("sample", [b"", codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE])
def test_an_empty_source_is_refused(sample: bytes) -> None:
    with pytest.raises(SourceFault, match="empty"):
        detect_format(sample, complete=True)


@pytest.mark.parametrize(
    ("sample", "what"),
    [(b"PK\x03\x04\x14", "Excel"), (b"\x1f\x8b\x08", "gzip")],
)
def test_what_is_no_text_is_named(sample: bytes, what: str) -> None:
    with pytest.raises(SourceFault, match=what):
        detect_format(sample, complete=False)


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("id,name\n1,a\n", ","),
        ("id;name\n1;a\n", ";"),
        ("id\tname\n1\ta\n", "\t"),
        ("id|name\n1|a\n", "|"),
        ("id\n1\n", ","),
        ("id;price, EUR\n1;2\n2;3\n", ";"),
        ("id;price\n1;1,5\n2;2,5\n", ";"),
        ('id;text\n1;"a;b\n,c,\n"\n2;x\n', ";"),
        ("id;a|b\n1;x|y\n", ";"),
        ("a,b;c\n1,2;3\n", ","),
        ("id;name\n1;a;\n2;b;\n", ";"),
        ("id;name\n\n\n1;a\n", ";"),
        ("\n\n", ","),
    ],
)
def test_delimiter_is_detected(text: str, delimiter: str) -> None:
    for encoding in ("utf-8", "utf-16"):
        assert detect_format(text.encode(encoding), complete=True).delimiter == delimiter


@pytest.mark.parametrize("tail", ["2;y", "2;y;z", '2;"open, and, so', '2;"open\n,,\n,,'])
def test_an_incomplete_last_record_does_not_count(tail: str) -> None:
    assert detect_format(f"id;a;b\n1;x;y\n{tail}".encode(), complete=False).delimiter == ";"


def test_a_sample_that_ends_in_the_header_still_shows_the_delimiter() -> None:
    assert detect_format(b"id;name;and a lo", complete=False).delimiter == ";"


@pytest.mark.parametrize(
    ("given", "delimiter"), [("tab", "\t"), ("\\t", "\t"), ("\t", "\t"), (";", ";"), ("Semicolon", ";"), ("^", "^")]
)
def test_a_given_delimiter_wins(given: str, delimiter: str) -> None:
    assert detect_format(b"a,b\n1,2\n", complete=True, delimiter=given).delimiter == delimiter


@pytest.mark.parametrize("given", ["", ",,", '"', "\n", "\r"])
def test_a_delimiter_that_cannot_be_one_is_refused(given: str) -> None:
    with pytest.raises(SourceFault, match=r"source\.delimiter"):
        detect_format(b"a,b\n", complete=True, delimiter=given)


# --- records ---


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("a,b\n1,2\n", [["a", "b"], ["1", "2"]]),
        ("a,b\n1,2", [["a", "b"], ["1", "2"]]),
        ("a,b\r\n1,2\r\n", [["a", "b"], ["1", "2"]]),
        ("a,b\r1,2\r", [["a", "b"], ["1", "2"]]),
        ('a\n"x\r\ny\rz\n"\n', [["a"], ["x\r\ny\rz\n"]]),
        ('a\n"say ""hi"""\n', [["a"], ['say "hi"']]),
        ('a,b\n5" disc,x\n', [["a", "b"], ['5" disc', "x"]]),
        ("a\n x \n\u2028\x0b\x85\x1c\n", [["a"], [" x "], ["\u2028\x0b\x85\x1c"]]),
        ("a\n🦀\nnul\0nul\n\ufeff\n", [["a"], ["🦀"], ["nul\0nul"], ["\ufeff"]]),
        ('a\n""\n\n\r\n""', [["a"], [""], [""]]),
        ("\n\na\n\n1\n\n", [["a"], ["1"]]),
        ("a,b\n,\n1\n1,2,3\n", [["a", "b"], ["", ""], ["1"], ["1", "2", "3"]]),
        ("a\nC:\\temp\\new\n", [["a"], ["C:\\temp\\new"]]),
        ("", []),
        ("\n", []),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_cells_are_exact(text: str, rows: list[list[str]], encoding: str) -> None:
    records = records_of(text, encoding)
    assert [record.cells for record in records] == rows
    assert [record.number for record in records] == list(range(len(rows)))


def test_each_record_knows_its_bytes_and_its_line() -> None:
    content = 'é,b\r\n\r\n1,"x\ny"\n2,🦀\r3,z'.encode()
    records = list(read_records([content], UTF8))
    pieces = [content[record.start : record.end].decode() for record in records]
    assert pieces == ["é,b\r\n", '1,"x\ny"\n', "2,🦀\r", "3,z"]
    assert [record.line for record in records] == [1, 3, 5, 6]


def test_the_byte_order_mark_is_no_part_of_the_header() -> None:
    for encoding, mark in (("utf-8", codecs.BOM_UTF8), ("utf-16-le", codecs.BOM_UTF16_LE)):
        content = mark + "id\n1\n".encode(encoding)
        fmt = detect_format(content, complete=True)
        for size in (1, 2, 100):
            header, row = read_records(blocks_of(content, size), fmt)
            assert header.cells == ["id"]
            assert (header.start, header.end, row.end) == (len(mark), row.start, len(content))
            assert list(read_records([content[row.start :]], fmt, offset=row.start, number=1, line=2)) == [row]


def test_blocks_may_be_larger_than_what_is_decoded_at_a_time() -> None:
    text = "n,text\r\n" + "".join(f"{row},é{'x' * (row % 90)}\r\n" for row in range(20_000))
    records = list(read_records([text.encode()], UTF8))
    assert records[-1].end == len(text.encode())
    assert [record.cells[0] for record in records[1:]] == [str(row) for row in range(20_000)]


def test_a_line_may_span_many_blocks() -> None:
    cell = "é" * 300_000
    records = list(read_records(blocks_of(f"a\n{cell}\n1\n".encode(), 1000), UTF8))
    assert [record.cells for record in records] == [["a"], [cell], ["1"]]


# --- faults ---


@pytest.mark.parametrize(
    ("content", "fmt", "line", "row", "words"),
    [
        (b"a\n1\ncaf\xe9\n", UTF8, 3, 2, "row 2 (line 3) has byte 0xe9 at offset 7, which is not utf-8"),
        (b'a\n"x\ny\xff"\n', UTF8, 3, 1, "row 1 (line 3) has byte 0xff at offset 6"),
        (b"a\r\xff", UTF8, 2, 1, "row 1 (line 2) has byte 0xff at offset 2"),
        (b"caf\xe9\n", UTF8, 1, 0, "the header (line 1) has byte 0xe9 at offset 3"),
        (b"a\n\xf0\x9f\xa6", UTF8, 2, 1, "byte 0xf0 at offset 2"),
        (b"a\n\n1\n\x81\n", SourceFormat("cp1252", ",", 0), 4, 2, "row 2 (line 4) has byte 0x81 at offset 5"),
        (
            "a\n1".encode("utf-16-le") + b"x",
            SourceFormat("utf-16-le", ",", 0),
            2,
            1,
            "offset 6, which is not utf-16-le",
        ),
        (b"a\0\n\0\x00\xd8\n\0", SourceFormat("utf-16-le", ",", 0), 2, 1, "offset 4"),
    ],
)
def test_an_undecodable_byte_is_named_with_its_place(
    content: bytes, fmt: SourceFormat, line: int, row: int, words: str
) -> None:
    for size in (1, 2, 3, 1000):
        fault = fault_of(content, fmt, size)
        assert (fault.line, fault.row) == (line, row)
        assert words in fault.message
        assert "--encoding, source.encoding" in fault.message


def test_rows_before_an_undecodable_byte_are_read() -> None:
    records = read_records([b"a\n1\n2\n\xff\n"], UTF8)
    assert [next(records).cells for _ in range(3)] == [["a"], ["1"], ["2"]]
    with pytest.raises(SourceFault):
        next(records)


def test_an_undecodable_byte_in_a_range_is_named_with_its_place_in_the_source() -> None:
    fault = fault_of(b"x\n\xff\n", offset=100, number=40, line=50)
    assert (fault.line, fault.row) == (51, 41)
    assert "offset 102" in fault.message


@pytest.mark.parametrize(
    ("text", "line", "row"),
    [
        ('a\n1\n"open', 3, 2),
        ('a\n1\n"open\n', 3, 2),
        ('a\n"open\r\n2\r\n3\r\n', 2, 1),
        ('a,b\n1,"open\r2\r', 2, 1),
        ('a,b\n"x\ny","open\n3,4\n', 3, 1),
        ('a\n1\n"', 3, 2),
        ('a\n1\n"x""', 3, 2),
        ('"a\n1\n', 1, 0),
        ('a\n\n"', 3, 1),
    ],
)
def test_an_open_quote_is_named_with_its_line(text: str, line: int, row: int) -> None:
    for encoding in ("utf-8", "utf-16-le"):
        fault = fault_of(text.encode(encoding), SourceFormat(encoding, ",", 0))
        assert (fault.line, fault.row) == (line, row)
        assert f"line {line} " in fault.message
        assert "never closed" in fault.message


@pytest.mark.parametrize("text", ['a\n"x"', 'a\n"x"y', 'a\nx"', 'a\n""', 'a\n"x"""\n', 'a\n"x"\n\n'])
def test_quotes_that_are_closed_or_literal_are_no_fault(text: str) -> None:
    assert len(records_of(text)) == 2


def test_a_field_beyond_the_limit_is_named() -> None:
    text = 'a\n1\n"' + "x\n" * (LONGEST_FIELD // 2 + 1)
    fault = fault_of(text.encode(), size=1 << 20)
    assert (fault.line, fault.row) == (3, 2)
    assert fault.message.startswith("field beginning at line 3 (row 2) is longer than 16 MiB: is a quote unbalanced")


def test_a_field_of_the_limit_is_read() -> None:
    cell = "x" * LONGEST_FIELD
    assert [record.cells for record in read_records([f"a\n{cell}\n".encode()], UTF8)] == [["a"], [cell]]


def test_a_file_without_line_ends_is_not_read_to_its_end() -> None:
    def endless() -> Iterator[bytes]:
        yield b"a\n"
        while True:
            yield b"x" * (1 << 20)

    with pytest.raises(SourceFault, match=r"line 2 \(row 1\) is longer than 64 MiB"):
        list(read_records(endless(), UTF8))


# --- header and rows ---


def test_header_gives_the_columns() -> None:
    assert check_header(records_of("id, Name ,id2\n")[0]) == ["id", " Name ", "id2"]


@pytest.mark.parametrize(
    ("text", "messages"),
    [
        ("id,,name, \n", ["column 2 of the header (line 1) has no name", "column 4 of the header"]),
        ("\na,b,a,a,b\n", ["column 'a' is 3 times", "column 'b' is 2 times"]),
        (",x,x,\n", ["column 1 of", "column 4 of", "column 'x' is 2 times"]),
    ],
)
def test_every_problem_of_the_header_is_reported(text: str, messages: list[str]) -> None:
    with pytest.raises(BatchRefused) as refused:
        check_header(records_of(text)[0])
    problems = refused.value.problems
    assert {problem.path for problem in problems} == {"csv_s3_uri"}
    for problem, message in zip(problems, messages, strict=True):
        assert problem.message.startswith(message)


def test_a_source_without_a_header_is_refused() -> None:
    with pytest.raises(BatchRefused, match="no header"):
        check_header(None)


def test_a_row_has_one_cell_for_each_column() -> None:
    assert row_of(["a", "b"], ["1", ""]) == {"a": "1", "b": ""}


@pytest.mark.parametrize(
    ("cells", "row", "words"),
    [
        (["1"], {"a": "1"}, "1 cells, but the header has 2 columns: is a delimiter"),
        (["1", "2", "3"], {"a": "1", "b": "2"}, "3 cells, but the header has 2 columns: a cell that contains"),
    ],
)
def test_a_ragged_row_keeps_what_has_a_column(cells: list[str], row: dict[str, str], words: str) -> None:
    with pytest.raises(RaggedRow) as ragged:
        row_of(["a", "b"], cells)
    assert ragged.value.row == row
    assert ragged.value.message.startswith(words)


# --- chunks ---


def chunks_of(records: list[Record], sizes: list[int] | None = None, **limits: int) -> list[Chunk]:
    chunker = Chunker(**limits)
    sizes = sizes or [1] * len(records)
    closed = [chunker.add(record, size) for record, size in zip(records, sizes, strict=True)]
    return [chunk for chunk in (*closed, chunker.finish()) if chunk]


def numbered(*numbers: int) -> list[Record]:
    return [Record(number, number + 1, number * 10, number * 10 + 10, []) for number in numbers]


@pytest.mark.parametrize(
    ("sizes", "rows"),
    [
        ([1] * 7, [3, 3, 1]),
        ([1] * 6, [3, 3]),
        ([60, 40, 1], [2, 1]),
        ([60, 41, 1], [1, 2]),
        ([10, 500, 10], [1, 1, 1]),
        ([500], [1]),
        ([], []),
    ],
)
def test_chunks_close_by_rows_and_by_bytes(sizes: list[int], rows: list[int]) -> None:
    chunks = chunks_of(numbered(*range(1, len(sizes) + 1)), sizes, max_rows=3, max_bytes=100)
    assert [chunk.rows for chunk in chunks] == rows
    assert [chunk.number for chunk in chunks] == list(range(len(rows)))


def test_contiguous_rows_are_one_range_and_others_are_not() -> None:
    (chunk,) = chunks_of(numbered(3, 4, 5, 9, 12, 13))
    assert chunk.ranges == (RowRange(3, 3, 30, 60, 4), RowRange(9, 1, 90, 100, 10), RowRange(12, 2, 120, 140, 13))
    assert (chunk.rows, chunk.first_row) == (6, 3)


def test_a_chunk_survives_the_manifest() -> None:
    (chunk,) = chunks_of(numbered(3, 4, 9))
    line = chunk.to_json()
    assert line == {"chunk": 0, "rows": 3, "ranges": [[3, 2, 30, 50, 4], [9, 1, 90, 100, 10]]}
    assert Chunk.from_json({**line, "plan": "a hash"}) == chunk


def test_blank_lines_stay_inside_a_range() -> None:
    content = b"a\n1\n\n\r\n2\n\n3\n"
    records = list(read_records([content], UTF8))
    (chunk,) = chunks_of(records[1:])
    assert len(chunk.ranges) == 1
    assert list(read_chunk(lambda start, end: [content[start:end]], UTF8, chunk)) == records[1:]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\n1\n\n3\n", "hold 3 rows from row 1 (line 2), but hold 2"),
        (b"a\n1\n2\n3\n4\n", "but hold more"),
        (b"", "but hold 0"),
        (b'a\n1\n2\n"\n', "never closed"),
    ],
)
def test_a_chunk_of_another_file_is_a_fault(content: bytes, words: str) -> None:
    chunk = Chunk(0, (RowRange(1, 3, 2, 8, 2),))
    with pytest.raises(SourceFault) as fault:
        list(read_chunk(lambda start, _: [content[start:]], UTF8, chunk))
    assert words in fault.value.message


@pytest.mark.parametrize("count", [0, 1, 2, 3, 8, 100, 1000])
def test_dealt_order_holds_every_chunk_once(count: int) -> None:
    assert sorted(bit_reversed_order(count)) == list(range(count))


def test_dealt_order_spreads_any_stretch_over_all_chunks() -> None:
    assert bit_reversed_order(8) == [0, 4, 2, 6, 1, 5, 3, 7]
    order = bit_reversed_order(1000)
    for begin in range(0, 992, 8):
        stretch = sorted(order[begin : begin + 8])
        assert max(after - before for before, after in pairwise([0, *stretch, 999])) <= 400
