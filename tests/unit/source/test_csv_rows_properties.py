"""Round trips: the records of any CSV are those of Python's csv module, and each of its bytes has a place."""

from __future__ import annotations

import codecs
import contextlib
import csv
import io
import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.source.csv_rows import Chunk, Chunker, read_chunk, read_records
from service.source.lines import SourceFault, SourceFormat, detect_format

Source = tuple[bytes, SourceFormat, str]
MARKS = {"utf-8": codecs.BOM_UTF8, "utf-16-le": codecs.BOM_UTF16_LE, "utf-16-be": codecs.BOM_UTF16_BE}
DELIMITERS = st.sampled_from([",", ";", "\t", "|"])
ENCODINGS = st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "latin-1", "cp1252"])
AWKWARD = st.sampled_from(
    ['"', '""', ",", ";", "\t", "|", "\n", "\r", "\r\n", "🦀", "é", "\u2028", "\x85", "\0", " ", "x"]
)


LETTERS = st.one_of(st.characters(max_codepoint=255), st.characters(exclude_categories=["Cs"]))


def cells_in(encoding: str) -> st.SearchStrategy[str]:
    text = st.lists(st.one_of(AWKWARD, LETTERS), max_size=6).map("".join)
    return text.map(lambda cell: cell.encode(encoding, "ignore").decode(encoding))


@st.composite
def sources(draw: st.DrawFn) -> Source:
    """A whole CSV as bytes, its format and its text."""
    encoding = draw(ENCODINGS)
    delimiter = draw(DELIMITERS)
    line_end = draw(st.sampled_from(["\n", "\r\n", "\r"]))
    rows = draw(st.lists(st.lists(cells_in(encoding), min_size=1, max_size=4), max_size=12))
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=line_end, quoting=draw(st.sampled_from([0, 1])))
    for row in rows:
        writer.writerow(row)
        out.write(line_end * draw(st.integers(0, 2)))
    text = out.getvalue()
    if draw(st.booleans()):
        text = text.removesuffix(line_end)
    mark = MARKS.get(encoding, b"") if draw(st.booleans()) else b""
    return mark + text.encode(encoding), SourceFormat(encoding, delimiter, len(mark)), text


def cut(content: bytes, sizes: list[int]) -> list[bytes]:
    """The content in blocks of the sizes given, over and over."""
    blocks: list[bytes] = []
    start = 0
    while start < len(content):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(content[start : start + size])
        start += size
    return blocks


SIZES = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def as_python_reads(text: str, delimiter: str) -> list[list[str]]:
    return [cells for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells]


@given(sources(), SIZES)
def test_records_are_those_of_the_csv_module(source: Source, sizes: list[int]) -> None:
    content, fmt, text = source
    records = list(read_records(cut(content, sizes), fmt))
    assert [record.cells for record in records] == as_python_reads(text, fmt.delimiter)


@given(sources(), SIZES)
def test_byte_ranges_partition_the_file(source: Source, sizes: list[int]) -> None:
    content, fmt, _ = source
    records = list(read_records(cut(content, sizes), fmt))
    spans = [(fmt.bom_bytes, fmt.bom_bytes), *((record.start, record.end) for record in records)]
    spans.append((len(content), len(content)))
    line_ends = {"\r", "\n"}
    for (_, end), (start, _) in pairwise(spans):
        assert end <= start
        assert set(content[end:start].decode(fmt.encoding)) <= line_ends  # blank lines only
    for record in records:
        alone = as_python_reads(content[record.start : record.end].decode(fmt.encoding), fmt.delimiter)
        assert alone == [record.cells]


@given(sources(), SIZES, st.integers(1, 5), st.integers(1, 60), st.sets(st.integers(1, 12)))
def test_chunks_hold_exactly_their_rows(
    source: Source, sizes: list[int], max_rows: int, max_bytes: int, left_out: set[int]
) -> None:
    content, fmt, _ = source
    rows = [record for record in read_records([content], fmt) if record.number and record.number not in left_out]
    chunker = Chunker(max_rows=max_rows, max_bytes=max_bytes)
    closed = [chunker.add(row, row.end - row.start) for row in rows]
    chunks = [Chunk.from_json(chunk.to_json()) for chunk in (*closed, chunker.finish()) if chunk]
    again = [
        record
        for chunk in chunks
        for record in read_chunk(lambda start, end: cut(content[start:end], sizes), fmt, chunk)
    ]
    assert again == rows
    for chunk in chunks:
        assert chunk.rows <= max_rows


@given(st.text(alphabet='a",;\r\n é🦀\0', max_size=40), SIZES, ENCODINGS)
def test_any_text_is_read_as_the_csv_module_reads_it_or_refused_for_an_open_quote(
    text: str, sizes: list[int], encoding: str
) -> None:
    content = text.encode(encoding, "ignore")
    text = content.decode(encoding)
    fmt = SourceFormat(encoding, ",", 0)
    lenient = as_python_reads(text, ",")
    with_one_line_more = as_python_reads(text + ("\n" if text.endswith(("\n", "\r")) else "\r\n") + "end", ",")
    if with_one_line_more == [*lenient, ["end"]]:
        assert [record.cells for record in read_records(cut(content, sizes), fmt)] == lenient
    else:
        with pytest.raises(SourceFault, match="never closed") as fault:
            list(read_records(cut(content, sizes), fmt))
        assert fault.value.row == len(lenient) - 1


@given(st.binary(max_size=60), SIZES, ENCODINGS)
def test_any_bytes_are_read_or_refused_with_a_place(content: bytes, sizes: list[int], encoding: str) -> None:
    fmt = SourceFormat(encoding, ",", 0)
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        place = f"at offset {error.start},"
        with pytest.raises(SourceFault, match=place) as fault:
            list(read_records(cut(content, sizes), fmt))
        assert fault.value.line is not None
        return
    with contextlib.suppress(SourceFault):  # an open quote, see above
        assert [record.cells for record in read_records(cut(content, sizes), fmt)] == as_python_reads(text, ",")


@given(sample=st.binary(max_size=60), complete=st.booleans())
def test_any_sample_gives_a_format_or_a_reason(*, sample: bytes, complete: bool) -> None:
    if sample in (b"", *MARKS.values()) or sample.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        with pytest.raises(SourceFault, match=r"empty|not a CSV"):
            detect_format(sample, complete=complete)
        return
    try:
        fmt = detect_format(sample, complete=complete)
    except SourceFault as fault:
        assert re.search("cannot be told for sure|ISO-2022|empty", fault.message)  # noqa: PT017 - it may be raised
        return
    assert fmt.encoding in {"utf-8", "utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "cp1252"}
    assert fmt.delimiter in ",;\t|"


WORDS = st.lists(st.sampled_from("abcdefghij klmn öäüßé"), min_size=1, max_size=12).map("".join)


@given(
    DELIMITERS,
    st.sampled_from(["utf-8", "utf-16-le", "utf-16-be", "utf-16"]),
    st.integers(2, 4).flatmap(
        lambda width: st.lists(st.lists(WORDS, min_size=width, max_size=width), min_size=2, max_size=9)
    ),
)
def test_format_of_plain_rows_is_found(delimiter: str, encoding: str, rows: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, delimiter=delimiter).writerows(rows)
    content = out.getvalue().encode(encoding)
    fmt = detect_format(content, complete=True)
    assert fmt.delimiter == delimiter
    assert [record.cells for record in read_records([content], fmt)] == rows
