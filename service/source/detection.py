"""What text that is not UTF-8 may be written in: clearly Western, or one of several readings to choose from.

A wrong code page makes other letters of the same bytes, and nothing fails. So cp1252 is taken only where its letters
stand as they stand in Western words and no other code page makes the alphabet of another language out of them.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from itertools import pairwise

from service.source.code_pages import MULTI, SINGLE

_SHOWN = 10  # readings that a refusal names
_CELL = 40  # characters of a cell that is shown
_TRIED = 1 << 16  # bytes by which readings are compared
_FEW = 0.02  # of the words may be odd, such as one damaged cell among many
_PLAUSIBLE = 0.9  # of the letters are another language's

_WESTERN = set("àáâãäåæçèéêëìíîïñòóôõöøùúûüýþðßœšžÿ")
# Beside words, and never between two letters of one: other code pages have their letters in these places.
_SIGNS = set("’‘“”„‚…–—•€£¥¢§©®™°º±²³¼½¾«»¡¿·´¨µ×÷\xa0\xadª¹¤¦¬¶†‡‰‹›")
_INSIDE = set("’—·\xad")
_WORD = re.compile(r"[^\W\d_]*(?:[^\x00-\x7f][^\W\d_]*)+")
_ALONE = set("àáèéíóòôåöâÀÉÈÅÖ")  # words of one letter
_ITALIAN, _SEVERAL = set("àèéìòù"), 3
_RUN = re.compile(r"[^\W\d_a-zA-Z]{3,}")
# Other languages' letters beside a to z, the code pages that write them, and frequent letters: one must be there.
_OTHERS = (
    ("ąćęłńóśźż", ("cp1250", "iso8859-2"), "ąęł"),
    ("áčďéěíňóřšťúůýžäľĺôŕ", ("cp1250", "iso8859-2"), "čěřšžů"),
    ("áéíóöőúüű", ("cp1250", "iso8859-2"), "őű"),
    ("ăâîșțşţ", ("cp1250", "iso8859-2", "iso8859-16"), "ășțşţ"),
    ("čćđšž", ("cp1250", "iso8859-2"), "čćđ"),
    ("çğıöşüâîûi\u0307", ("cp1254",), "ğış"),
    ("āčēģīķļņšūž", ("cp1257", "iso8859-13", "iso8859-4"), "āī"),
    ("ąčęėįšųūž", ("cp1257", "iso8859-13", "iso8859-4"), "ąšų"),
    ("ăâđêôơưàáãèéìíòóõùúý\u0300\u0301\u0303\u0309\u0323", ("cp1258",), "đ"),
)


class Western:
    """Evidence, piece by piece, for and against text being Western; what is added was decoded as cp1252."""

    def __init__(self) -> None:
        self._letters: Counter[str] = Counter()
        self._words = self._odd = self._final = 0

    def add(self, text: str) -> None:
        """Take a piece of the text, such as a cell."""
        if text.isascii():
            return
        for word in _WORD.findall(text):
            self._words += 1
            self._odd += _odd(word)
            self._final += _final(word)
            self._letters.update(one for one in word.lower() if not one.isascii() and one not in _SIGNS)

    @property
    def clear(self) -> bool:
        """Whether all that was added is Western, and nothing else by another code page."""
        if self._odd > _FEW * self._words:
            return False
        total = self._letters.total()
        # Only Italian has its accents at the ends of words; Czech has the same letters of cp1250 everywhere.
        if self._words >= _SEVERAL and self._final >= (1 - _FEW) * self._words and self._letters.keys() <= _ITALIAN:
            return True
        western = sum(count for one, count in self._letters.items() if one in _WESTERN)
        return western >= (1 - _FEW) * total and not any(self._fits(*other) for other in _OTHERS)

    def _fits(self, alphabet: str, pages: tuple[str, ...], needed: str) -> bool:
        return any(self._fits_page(alphabet, page, needed) for page in pages)

    def _fits_page(self, alphabet: str, page: str, needed: str) -> bool:
        """Tell whether the bytes are letters of another language by a code page that reads some of them differently."""
        read = Counter[str]()
        differs = False
        for one, count in self._letters.items():
            other = one.encode("cp1252", "replace").decode(page, "replace").lower()
            read[other] += count
            differs = differs or other != one
        fitting = sum(count for one, count in read.items() if one in alphabet)
        return differs and any(one in read for one in needed) and fitting >= _PLAUSIBLE * read.total()


def _final(word: str) -> bool:
    """Tell whether only the last letter of a word is beyond ASCII."""
    letters = [one for one in word if one.isalpha() and one not in _SIGNS]
    return bool(letters) and "".join(letters[:-1]).isascii()


def _odd(word: str) -> bool:
    """Tell whether a word is none of a Western language: runs, signs inside, capitals after small letters."""
    letters = "".join(one for one in word if one.isalpha() and one not in _SIGNS)
    if _RUN.search(word):
        return True
    if any(
        one in _SIGNS and one not in _INSIDE and before.isalpha() and after.isalpha()
        for before, one, after in zip(word, word[1:], word[2:], strict=False)
    ):
        return True
    if any(not two.isascii() and two.isupper() and one.islower() for one, two in pairwise(letters)):
        return True
    if any(one.isascii() for one in letters) or not letters:
        return False
    return word not in _ALONE and not (word == letters and len(word) == 2 and word.islower())  # çà, þú


def is_western(sample: bytes) -> bool:
    """Tell whether the bytes are clearly cp1252."""
    try:
        text = codecs.getincrementaldecoder("cp1252")().decode(sample)
    except UnicodeDecodeError:
        return False
    evidence = Western()
    evidence.add(text)
    return evidence.clear


def told(sample: bytes, encoding: str) -> str:
    """Return what is said of a guess that was taken."""
    return (
        f"read as {encoding}, which is a guess (not UTF-8, no byte order mark); first cells beyond ASCII: "
        f"{', '.join(map(repr, _cells(sample, encoding)))}; if they are wrong, say another: --encoding, source.encoding"
    )


DOUBT = (
    "the source is not UTF-8, and what it is written in cannot be told for sure: say it (--encoding, source.encoding), "
    "or save the file as UTF-8"
)


def readings(sample: bytes) -> str:
    """Return what likely encodings make of the first cells, of bytes of which no reading is clear."""
    shown: dict[str, list[str]] = {}
    for encoding in sorted(SINGLE + MULTI, key=lambda name: -_likely(sample, name)):
        cells = _cells(sample, encoding)
        if cells and _likely(sample, encoding) > 0 and cells not in shown.values():
            shown[encoding] = cells
    lines = "".join(f"\n  {name}: {', '.join(map(repr, cells))}" for name, cells in list(shown.items())[:_SHOWN])
    return f". Its first cells beyond ASCII would be, by{lines}" if lines else ""


def _cells(sample: bytes, encoding: str) -> list[str]:
    """Return the first pieces between delimiters, quotes and line ends that are beyond ASCII."""
    text = sample.decode(encoding, "replace")
    found = (piece.strip() for piece in re.split(r"[,;\t|\"\r\n]", text) if not piece.isascii())
    return [piece[:_CELL] for piece, _ in zip(found, range(3), strict=False)]


def _likely(sample: bytes, encoding: str) -> float:
    """Return how much the bytes look like words by this encoding; 0 when they are not valid in it."""
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(sample[:_TRIED])
    except UnicodeDecodeError:
        return 0.0
    beyond = [one for one in text if not one.isascii()]
    if not beyond:
        return 0.0
    good = sum(unicodedata.category(one) in ("Ll", "Lo", "Mn", "Mc") for one in beyond)
    words = [word for word in re.findall(r"[^\W\d_]+", text) if not word.isascii()]
    mixed = sum(
        _scripts(word) > 1
        or (not word.istitle() and not word.islower() and not word.isupper() and word.lower() != word)
        for word in words
    )
    common = sum(
        "\u3040" <= one <= "\u30ff" or "\u4e00" <= one <= "\u9fff" or "\uac00" <= one <= "\ud7a3" for one in beyond
    )
    score: float = good / len(beyond) - mixed / max(1, len(words))
    # Bytes of other text are hardly ever valid in these by chance.
    return max(0.01, score) + (common / len(beyond) if encoding in MULTI else 0.0)


def _scripts(word: str) -> int:
    return len({unicodedata.name(one, "?").split()[0] for one in word})
