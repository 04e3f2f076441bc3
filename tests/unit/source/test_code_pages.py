"""Code pages: every sequence of bytes is measured as it is, every byte range is exact, doubtful ones are refused."""

from __future__ import annotations

import codecs
from itertools import chain
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.source import code_pages, detection
from service.source.csv_rows import Chunk, RowRange, read_chunk, read_records
from service.source.lines import SourceFault, SourceFormat, detect_format, guess_of

if TYPE_CHECKING:
    from collections.abc import Iterator

CELLS = {
    "cp932": "表示ソ能ー\\|一①髙",
    "gb18030": "你好丂亊|一㐀𠀀€é",
    "cp950": "功能許蓋|一",
    "cp949": "안녕하세요뷁|",
    "euc-jp": "表示能ソ|一",
}


def letters(encoding: str) -> str:
    if encoding in CELLS:
        return CELLS[encoding]
    if encoding in code_pages.SINGLE:
        every = bytes(range(0xA0, 0x100)).decode(encoding, "ignore")
        return "".join(one for one in every if one.isprintable()) + "ab"
    return "aé表🦀"


def sequences(encoding: str) -> Iterator[bytes]:
    """Every byte, pair of bytes, and longer sequence that may be one character."""
    yield from (bytes([one]) for one in range(256))
    for first in range(0x80, 0x100):
        for second in range(256):
            yield bytes([first, second])
            if encoding == "gb18030" and 0x30 <= second <= 0x39:
                # all of the third byte, and the ends of the fourth: it counts up within one block of ten
                yield from (bytes([first, second, third, fourth]) for third in range(0x81, 0xFF) for fourth in (48, 57))
            if encoding == "euc-jp" and first == 0x8F:
                yield from (bytes([first, second, third]) for third in range(256))


@pytest.mark.parametrize("encoding", code_pages.MULTI)
def test_a_character_is_measured_by_its_bytes_whichever_they_are(encoding: str) -> None:
    wrong = []
    for sequence in sequences(encoding):
        try:
            text = sequence.decode(encoding)
        except UnicodeDecodeError:
            continue
        if len(text.encode(encoding)) != len(sequence):
            wrong.append(sequence)
        assert len(sequence) == 1 or (b"\n" not in sequence and b"\r" not in sequence) or text[-1] in "\r\n"
    assert wrong == ([b"\x8f\xa2\xb7"] if encoding == "euc-jp" else [])


@pytest.mark.parametrize("size", [1, 2, 3, 1_000])
def test_the_one_character_that_would_be_measured_wrongly_is_refused(size: int) -> None:
    content = b"a,b\n1,\x8f\xa2\xb7\n2,~\n"
    blocks = [content[start : start + size] for start in range(0, len(content), size)]
    with pytest.raises(SourceFault, match="tilde of three bytes"):
        list(read_records(blocks, SourceFormat("euc-jp", ",", 0)))
    sound = "a,b\n1,~表~\n2,~\n".encode("euc-jp")
    blocks = [sound[start : start + size] for start in range(0, len(sound), size)]
    assert [one.cells for one in read_records(blocks, SourceFormat("euc-jp", ",", 0))][1:] == [
        ["1", "~表~"],
        ["2", "~"],
    ]


EXACT = [one for one in code_pages.SUPPORTED if one not in ("utf-16", "utf-32")]


@pytest.mark.parametrize("encoding", EXACT)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_byte_ranges_are_exact_in_every_encoding(encoding: str, data: st.DataObject) -> None:
    cell = st.text(st.sampled_from(letters(encoding) + ',\n\r"x'), max_size=6)
    rows = data.draw(st.lists(st.lists(cell, min_size=2, max_size=2), min_size=1, max_size=6))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    text = end.join(",".join('"' + one.replace('"', '""') + '"' for one in row) for row in [["a", "b"], *rows]) + end
    content = text.encode(encoding)
    size = data.draw(st.integers(1, 9))
    fmt = SourceFormat(encoding, ",", 0)
    records = list(read_records([content[at : at + size] for at in range(0, len(content), size)], fmt))
    assert [record.cells for record in records[1:]] == rows
    assert records[-1].end == len(content)
    for record in records[1:]:
        span = RowRange(record.number, 1, record.start, record.end, record.line)
        (alone,) = read_chunk(lambda start, stop: [content[start:stop]], fmt, Chunk(0, (span,)))
        assert alone.cells == record.cells


@pytest.mark.parametrize(
    ("name", "encoding"),
    [
        ("GBK", "gb18030"),
        ("gb2312", "gb18030"),
        ("Big5", "cp950"),
        ("Shift_JIS", "cp932"),
        ("ms932", "cp932"),
        ("EUC-KR", "cp949"),
        ("EUC-JP", "euc-jp"),
        ("windows-1251", "cp1251"),
        ("KOI8-R", "koi8-r"),
        ("latin2", "iso8859-2"),
        ("ISO-8859-15", "iso8859-15"),
        ("macintosh", "mac-roman"),
        ("utf-32", "utf-32-le"),
    ],
)
def test_names_that_people_use(name: str, encoding: str) -> None:
    assert detect_format(b"id,name\n1,\xe9\n", complete=True, encoding=name).encoding == encoding


@pytest.mark.parametrize("name", ["iso-2022-jp", "iso2022_kr", "hz", "utf-7"])
def test_an_encoding_that_cannot_be_read_in_parts_is_refused_with_what_to_do(name: str) -> None:
    with pytest.raises(SourceFault, match=r"cannot be read in parts.*iconv -f .* -t UTF-8"):
        detect_format(b"id\n1\n", complete=True, encoding=name)


@pytest.mark.parametrize("encoding", ["iso2022_jp", "iso2022_kr"])
def test_iso_2022_is_never_taken_for_ascii(encoding: str) -> None:
    text = "id,t\n1,世界\n" if encoding.endswith("jp") else "id,t\n1,세계\n"
    with pytest.raises(SourceFault, match="ISO-2022"):
        detect_format(text.encode(encoding), complete=True)


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_utf32_is_known_by_its_mark(encoding: str) -> None:
    mark = codecs.BOM_UTF32_LE if encoding.endswith("le") else codecs.BOM_UTF32_BE
    content = mark + "id;t\n1;é\n".encode(encoding)
    fmt = detect_format(content, complete=True)
    assert fmt == SourceFormat(encoding, ";", 4)
    assert [one.cells for one in read_records([content], fmt)] == [["id", "t"], ["1", "é"]]


WESTERN = {
    "French": "Le café est très bon à côté du théâtre\n2,« déjà vu » çà et là, Noël, œuvre, l’été",
    "German": "Grüße aus München, schön, Straße, Äpfel, „gut“",
    "Spanish": "¿Qué pasó en España? El niño comió ñoquis, acción",
    "Portuguese": "A situação não é fácil; as opções são três, avô",
    "Italian": "Perché la città è così bella? Più giù, però",
    "Danish": "Smørrebrød på København, æbler og øl, Århus",
    "Icelandic": "Það er gott veður í Reykjavík, þú ert góður, ætla",
    "English": "It’s “fine” — really… £5 or €6",
    "names": "Zoë, François, Müller, Núñez, Søren, São Paulo",
    "one name": "Zoë “x” €",
}
OTHERS = {
    "Czech": ("cp1250", "Příliš žluťoučký kůň úpěl ďábelské ódy"),
    "a Czech name": ("cp1250", "Karel Čapek"),
    "Polish": ("cp1250", "Zażółć gęślą jaźń, Łódź"),
    "Polish, ISO": ("iso8859-2", "Zażółć gęślą jaźń, Łódź"),
    "Hungarian": ("cp1250", "Árvíztűrő tükörfúrógép"),
    "Romanian": ("cp1250", "Bună ziua, mulţumesc, în oraş"),
    "Turkish": ("cp1254", "Günaydın, teşekkür, İstanbul'da yağmur, çok güzel"),
    "Latvian": ("cp1257", "Labdien, paldies, Rīgā ēka šķērso"),
    "Russian": ("cp1251", "Очень хорошо"),
    "Russian, KOI8": ("koi8-r", "Очень хорошо"),
    "Russian, DOS": ("cp866", "Очень хорошо"),
    "short Russian": ("cp1251", "да\n2,я"),
    "Greek": ("cp1253", "Καλημέρα σας"),
    "Hebrew": ("cp1255", "שלום עולם"),
    "Arabic": ("cp1256", "مرحبا بالعالم"),
    "Chinese": ("gb18030", "你好世界,一"),
    "one Chinese character": ("gb18030", "5块"),
    "Chinese, Taiwan": ("cp950", "你好世界功能"),
    "Japanese": ("cp932", "こんにちは世界 表示"),
    "Japanese, EUC": ("euc-jp", "こんにちは世界"),
    "Korean": ("cp949", "안녕하세요 세계"),
    "Thai": ("cp874", "สวัสดีครับ"),
    "French, DOS": ("cp850", "Café très bon à Müller"),
    "French, Mac": ("mac-roman", "Café très bon, schön, España"),
    "Vietnamese": ("cp1258", "Đây là môt đêm"),
}


@pytest.mark.parametrize("language", WESTERN)
def test_western_text_is_a_guess_that_is_told(language: str) -> None:
    sample = f"id,t\n1,{WESTERN[language]}\n".encode("cp1252")
    fmt = detect_format(sample, complete=True)
    assert fmt.encoding == "cp1252"
    note = guess_of(sample, fmt, None)
    assert note is not None
    first = next(
        piece for piece in WESTERN[language].replace("\n", ",").replace(";", ",").split(",") if not piece.isascii()
    )
    assert repr(first.strip()[:40]) in note
    assert "--encoding" in note
    assert guess_of(sample, fmt, "cp1252") is None


@pytest.mark.parametrize("language", OTHERS)
def test_other_text_is_refused_with_its_likely_readings(language: str) -> None:
    encoding, text = OTHERS[language]
    sample = f"id,t\n1,{text}\n".encode(encoding)
    with pytest.raises(SourceFault, match="cannot be told for sure") as refused:
        detect_format(sample, complete=True)
    first = next(piece for piece in chain(*(line.split(",") for line in text.split("\n"))) if not piece.isascii())
    assert repr(first.strip()) in refused.value.detail
    assert first.strip() not in refused.value.message
    fmt = detect_format(sample, complete=True, encoding=encoding)
    assert fmt.encoding == encoding
    assert [one.cells[1] for one in read_records([sample], fmt)][1] == text.split("\n")[0].split(",")[0]


@pytest.mark.parametrize("content", [b"id,t\n1,plain\n", "id,t\n1,café 世界\n".encode(), "id\né\n".encode("utf-16")])
def test_plain_text_is_no_guess(content: bytes) -> None:
    assert guess_of(content, detect_format(content, complete=True), None) is None


def test_evidence_grows_with_the_rows() -> None:
    evidence = detection.Western()
    evidence.add("Zoë")
    assert evidence.clear
    for _ in range(3):
        evidence.add("Очень хорошо".encode("cp1251").decode("cp1252"))
    assert not evidence.clear
