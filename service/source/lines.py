"""What a source is written in, as given or as detected, and its physical lines decoded from bytes."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate, chain
from operator import methodcaller
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError
from service.source import code_pages, detection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

LONGEST_FIELD = 16 * 1024 * 1024  # characters of one cell; Python's own limit of 131,072 is below what people store
LONGEST_LINE = 4 * LONGEST_FIELD
_PIECE = 256 * 1024  # bytes decoded at a time, so that memory does not follow the caller's block size

_MARKS = (  # that of UTF-32 begins with that of UTF-16
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_NOT_CSV = (  # the first bytes of what is often uploaded in place of a CSV
    (b"PK\x03\x04", "a ZIP archive or an Excel workbook: save it as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed with gzip: unpack it"),
)
_ISO2022 = re.compile(
    rb"\x1b(?:\$[@AB]|\$\)[AC]|\([IJ])"
)  # what begins Japanese, Chinese or Korean in it (RFC 1468, 1557)
_TO_UTF8 = "save the file as UTF-8 (iconv -f {} -t UTF-8)"
_WIDE = tuple(name for name in code_pages.UNICODE if name != "utf-8")  # an ASCII character takes more than one byte
_DELIMITERS = (",", ";", "\t", "|")  # in the order in which ties are settled
_DELIMITER_WORDS = {"comma": ",", "semicolon": ";", "tab": "\t", "\\t": "\t", "pipe": "|"}
_UTF8_CHARACTER = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")


@dataclass(frozen=True)
class SourceFormat:
    """How to read a source; `encoding` is one of service/source/code_pages.py."""

    encoding: str
    delimiter: str
    bom_bytes: int
    guarded: bool = False  # an export of ours, whose cells are read without the marks of its guard against formulas

    @classmethod
    def of(cls, src: Mapping[str, Any]) -> SourceFormat:
        """Return the format that a plan or a record names."""
        return cls(src["encoding"], src["delimiter"], int(src["bom_bytes"]), bool(src.get("guarded")))


class SourceFault(BatchProcessorError):
    """The source cannot be read as a CSV; `message` names the place and the next step."""

    def __init__(self, message: str, *, line: int | None = None, row: int | None = None, detail: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail  # cells, which are not for a log
        self.line = line
        self.row = row


def detect_format(
    sample: bytes, *, complete: bool, encoding: str | None = None, delimiter: str | None = None
) -> SourceFormat:
    """Name the format of the source that begins with `sample` (`complete`: it is all of it); what is given wins."""
    for first, what in _NOT_CSV:
        if sample.startswith(first):
            raise SourceFault(f"the source is not a CSV but {what}, then run the batch again")
    mark, marked = next(((mark, name) for mark, name in _MARKS if sample.startswith(mark)), (b"", None))
    if len(sample) == len(mark):
        raise SourceFault("the source is empty: it needs a header line with the names of the columns")
    if encoding is not None:
        codec = _reconciled(_encoding_given(encoding), marked)
    else:
        codec = marked or _encoding_seen(sample, complete=complete)
    if delimiter is not None:
        separator = _delimiter_given(delimiter)
    else:
        separator = _delimiter_seen(sample[len(mark) :].decode(codec, "replace"), complete=complete)
    return SourceFormat(codec, separator, len(mark))


def _encoding_given(name: str) -> str:
    """Return our name of the encoding that a person named."""
    found = code_pages.known(name)
    if found is not None:
        return found
    if code_pages.stateful(name):
        raise SourceFault(
            f"source.encoding {name!r} cannot be read in parts, since its bytes mean something else by those before "
            f"them: {_TO_UTF8.format(name.strip())}"
        )
    supported = ", ".join(code_pages.SUPPORTED)
    raise SourceFault(f"source.encoding {name!r} is not supported: use one of {supported}, or leave it out")


def _reconciled(given: str, marked: str | None) -> str:
    """Make the given encoding exact by the file's byte order mark, unless the two exclude each other."""
    if given in ("utf-16", "utf-32") and (marked is None or marked.startswith(given)):
        return marked or f"{given}-le"
    # A UTF-8 mark before text in a code page is left by editors; it is dropped, so that a damaged file stays readable.
    if marked in (None, given) or (marked == "utf-8" and given not in code_pages.UNICODE):
        return given
    raise SourceFault(
        f"source.encoding is {given}, but the source begins with the byte order mark of {marked}: "
        "leave source.encoding out, or correct it"
    )


def _encoding_seen(sample: bytes, *, complete: bool) -> str:
    """Return the encoding that the bytes themselves show, without a mark; refuse where several are likely."""
    valid = _decodes(sample, "utf-8", complete=complete)
    wide = _utf16_seen(sample, valid_utf8=valid)
    if wide:
        return wide
    if valid and _ISO2022.search(sample):
        raise SourceFault(f"the source is written in ISO-2022, which cannot be read in parts: {_TO_UTF8.format('…')}")
    # Characters of UTF-8 beside bytes that are none: damaged UTF-8. Reading then refuses the row, where a
    # code page would turn every sound character into nonsense without a word.
    if valid or _damaged_utf8(sample):
        return "utf-8"
    if detection.is_western(sample):
        return "cp1252"
    raise SourceFault(detection.DOUBT, detail=detection.readings(sample))


def _damaged_utf8(sample: bytes) -> bool:
    """Tell whether most bytes beyond ASCII are characters of UTF-8; a few are in other encodings by chance."""
    beyond = len(sample) - len(sample.translate(None, bytes(range(0x80, 0x100))))
    return 3 * sum(map(len, _UTF8_CHARACTER.findall(sample))) >= 2 * beyond


def guess_of(sample: bytes, fmt: SourceFormat, encoding: str | None) -> str | None:
    """Return what is to be said of a format that was guessed; None when it was given, or is plain."""
    if encoding is not None or fmt.encoding in code_pages.UNICODE:
        return None
    return detection.told(sample, fmt.encoding)


def _decodes(sample: bytes, codec: str, *, complete: bool) -> bool:
    """Tell whether the sample is valid in the codec; a character cut by the sample's end is no fault."""
    try:
        codecs.getincrementaldecoder(codec)().decode(sample, complete)
    except UnicodeDecodeError:
        return False
    return True


def _utf16_seen(sample: bytes, *, valid_utf8: bool) -> str | None:
    """Return the byte order of UTF-16 that NULs on one side of the byte pairs show.

    Latin text has a NUL in most pairs. Other scripts have it in few, and some of their letters on the other side; there
    the line ends tell, which are no letter in the other order. Such text is hardly ever valid UTF-8 by chance.
    """
    first, second = sample[0::2].count(0), sample[1::2].count(0)
    many, few = max(first, second), min(first, second)
    if many and many >= 4 * few and many >= 0.3 * (len(sample) // 2):
        return "utf-16-le" if second > first else "utf-16-be"
    if valid_utf8 or not many:
        return None
    pairs = Counter(zip(sample[0::2], sample[1::2], strict=False))
    little, big = pairs[10, 0] + pairs[13, 0], pairs[0, 10] + pairs[0, 13]
    if bool(little) == bool(big):
        return None
    codec = "utf-16-le" if little else "utf-16-be"
    return codec if _decodes(sample, codec, complete=False) else None


def _delimiter_given(text: str) -> str:
    """Return the delimiter that a person gave as one character or as a word."""
    delimiter = _DELIMITER_WORDS.get(text.lower(), text)
    if len(delimiter) != 1:
        raise SourceFault(f"source.delimiter {text!r} is not one character: give one, such as ',' or ';', or 'tab'")
    if delimiter in '"\r\n':
        raise SourceFault(f"source.delimiter {text!r} has its own meaning in a CSV: give another, such as ',' or ';'")
    return delimiter


def _delimiter_seen(text: str, *, complete: bool) -> str:
    """Return the delimiter by which most rows are as wide as the header; comma where none divides the header."""
    scores = {delimiter: _agreement(text, delimiter, complete=complete) for delimiter in _DELIMITERS}
    return max(_DELIMITERS, key=scores.__getitem__)


def _agreement(text: str, delimiter: str, *, complete: bool) -> float:
    """Return the share of the rows that are as wide as the header; -1 when the header is one cell."""
    csv.field_size_limit(LONGEST_FIELD)
    widths = [len(cells) for cells in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter) if cells]
    if not complete and len(widths) > 1:
        widths.pop()  # the sample's end cuts it
    if not widths or widths[0] < 2:
        return -1.0
    rows = widths[1:]
    return rows.count(widths[0]) / len(rows) if rows else 1.0


class LineTooLongError(Exception):
    """A physical line is longer than any row may be."""


class Lines:
    """Physical lines of a byte stream, a batch at a time, and the offset at which each of them ends.

    `ends[k]` is the offset after the k-th line of the batch given last, `before` the number of lines before it.
    """

    def __init__(self, blocks: Iterable[bytes], fmt: SourceFormat, offset: int) -> None:
        self._skip = max(0, fmt.bom_bytes - offset)
        self._given = offset + self._skip
        self._blocks = blocks
        self._encoding = fmt.encoding
        self._decoder = codecs.getincrementaldecoder(fmt.encoding)()
        self.before = 0
        self.ends = [self._given]
        self.finished = False
        self.undecodable: UnicodeDecodeError | None = None

    def batches(self) -> Iterator[list[str]]:
        """Yield lists of lines with their ends (CRLF, LF or CR), and last of all a line that is not the file's.

        A record that takes that line as well has an open quote.
        """
        pending: list[str] = []  # a line whose end has not come yet; a CR may be the half of a CRLF
        held = 0
        for text in self._texts():
            if "\n" not in text and "\r" not in text and not (pending and pending[-1].endswith("\r")):
                pending.append(text)
                held += len(text)
                if held > LONGEST_LINE:
                    raise LineTooLongError
                continue
            whole = "".join((*pending, text))
            lines = io.StringIO(whole, newline="").readlines()
            pending = [] if lines[-1].endswith("\n") else [lines.pop()]
            held = sum(map(len, pending))
            if lines:
                yield self._measured(lines, ascii_only=whole.isascii())
        if pending and (self.undecodable is None or pending[-1].endswith("\r")):
            yield self._measured(["".join(pending)])
        if self.undecodable is not None:
            raise self.undecodable
        self.finished = True
        self.before += len(self.ends) - 1
        self.ends = [self.ends[-1]] * 2
        yield ["\n"]

    def offset_of_fault(self, fault: UnicodeDecodeError) -> int:
        """Return the offset in the source of the byte that cannot be decoded."""
        return self._given - (len(fault.object) - fault.start)

    def _texts(self) -> Iterator[str]:
        """Yield decoded pieces, none of them empty; stop before an undecodable byte and keep the fault."""
        for piece, final in chain(((piece, False) for piece in self._pieces()), ((b"", True),)):
            self._given += len(piece)
            try:
                text = self._decoder.decode(piece, final)
            except UnicodeDecodeError as error:
                self.undecodable = error
                text = error.object[: error.start].decode(self._encoding)
            if self._encoding == "euc-jp" and "~" in text:
                self._check_tildes(text, piece)
            if text:
                yield text
            if self.undecodable is not None:
                return

    def _check_tildes(self, text: str, piece: bytes) -> None:
        """Refuse the one character that takes three bytes and is measured as one; it begins in the piece or before."""
        if text.count("~") != piece.count(b"~"):
            raise SourceFault(
                f"the source has byte 0x8f 0xa2 0xb7, a tilde of three bytes, before offset {self._given}: "
                + _TO_UTF8.format("EUC-JP")
            )

    def _pieces(self) -> Iterator[bytes]:
        """Yield the blocks without the byte order mark, in pieces of bounded size."""
        skip = self._skip
        for block in self._blocks:
            first = min(skip, len(block))
            skip -= first
            for start in range(first, len(block), _PIECE):
                yield block[start : start + _PIECE]

    def _measured(self, lines: list[str], *, ascii_only: bool = False) -> list[str]:
        """Note where each of the lines ends, and return them."""
        if self._encoding in code_pages.SINGLE or (ascii_only and self._encoding not in _WIDE):
            sizes = map(len, lines)
        else:
            sizes = map(len, map(methodcaller("encode", self._encoding), lines))
        self.before += len(self.ends) - 1
        self.ends = list(accumulate(sizes, initial=self.ends[-1]))
        return lines
