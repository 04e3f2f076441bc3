"""The encodings that a source may have, by the names that people use, and how their characters are measured."""

from __future__ import annotations

import codecs
from functools import lru_cache

# One byte is one character in each of these.
SINGLE = (
    *("latin-1", "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *(f"iso8859-{part}" for part in (2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14, 15, 16)),
    *("koi8-r", "koi8-u", "cp437", "cp850", "cp852", "cp866", "cp874", "mac-roman", "mac-cyrillic"),
)
# Every character takes as many bytes when it is encoded again, though not always the same ones; tests/unit/
# test_codepages.py tries every sequence. The one exception is TILDE of JIS X 0212 in EUC-JP (see Lines).
MULTI = ("gb18030", "cp950", "cp932", "cp949", "euc-jp")
UNICODE = ("utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be")
SUPPORTED = (*UNICODE, *SINGLE, *MULTI)

# Larger sets that hold the named one: what programs write under the name (WHATWG Encoding Standard).
_WIDER = {
    "ascii": "utf-8",
    "utf-8-sig": "utf-8",
    "gbk": "gb18030",
    "gb2312": "gb18030",
    "big5": "cp950",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}


@lru_cache(maxsize=1)
def _by_codec() -> dict[str, str]:
    """Return our names by those of the codecs: to look all of them up loads all of them, when somebody names one."""
    return {codecs.lookup(name).name: name for name in SUPPORTED} | _WIDER


def known(name: str) -> str | None:
    """Return our name of the encoding that a person named, None of one that is not supported."""
    try:
        return _by_codec().get(codecs.lookup(name.strip()).name)
    except (LookupError, ValueError):
        return None


def stateful(name: str) -> bool:
    """Tell whether bytes of that encoding mean nothing without those before them: no range of it can be read."""
    try:
        codec = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return False
    return codec.startswith("iso2022") or codec in ("hz", "utf-7")
