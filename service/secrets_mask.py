"""Keys, tokens and passwords in a text, masked: what a target says of its failure may quote what it was called with.

A secret is known by its form (a prefix that only keys have) or by what stands before it (`Authorization:`,
`api_key=`, the user of a URL). What is neither, an id or a hash, is left alone. Every repetition has a bound, or goes
on from one place only, so that the time grows with the text's length.
"""

from __future__ import annotations

import re
from functools import lru_cache

MASK = "***"

# Forms that only secrets have. AWS: IAM User Guide, "IAM identifiers" (AKIA, ASIA) and the beginnings of session
# tokens; GitHub: "About authentication to GitHub", token formats; the others: their makers' own documentation.
_FORMS = r"""
    -----BEGIN\ [A-Z ]{0,30}PRIVATE\ KEY-----(?:(?!-----END)[\s\S])*(?:-----END[A-Z ]{0,40}-----)?
  | \b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b
  | \b(?:FwoGZXIvYXdz|IQoJb3JpZ2luX2Vj)[A-Za-z0-9/+=]+
  | \bsk-(?=[\w*-]{0,200}[0-9*])[\w*-]{8,}
  | \b(?:sk|rk)_(?:live|test|prod)_\w{8,}
  | \bgh[pousr]_\w{20,} | \bgithub_pat_\w{20,} | \bglpat-[\w-]{20,} | \bxox[abeoprs]-[\w-]{10,}
  | \bAIza[\w-]{35} | \bya29\.[\w-]{10,} | \b(?:hf|npm|gsk|r8)_[A-Za-z0-9]{20,} | \b(?:pypi|xai|nvapi|pplx)-[\w-]{20,}
  | \bSG\.[\w-]{16,}\.[\w-]{16,}
  | \beyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?
"""
_WORDS = (
    r"(?:api|access|account|auth|secret|private|encryption|subscription|shared)[ _-]?keys?(?:[ _-]?id)?"
    r"|aws[ _-]?secret[ _-]?access[ _-]?key|secret[ _-]?access[ _-]?key|client[ _-]?secret|secret"
    r"|password|passwd|passphrase|pwd"
    r"|(?:access|auth|bearer|id|refresh|session|security|api)?[ _-]?token"
    r"|x-amz-(?:signature|security-token|credential)|signature|sig"
)
_PATTERN = rf"""
    (?P<form>{_FORMS})
  | (?P<url>(?<=://)[^\s/:@?\#]{{0,100}}:)[^\s/]{{1,300}}(?=@)
  | (?P<scheme>\b(?:bearer|basic)\s{{1,3}})(?=[\w.~+/=-]{{0,200}}(?:[0-9=]|(?-i:[a-z][A-Z])))[\w.~+/=-]{{8,}}
  | (?P<header>\bauthorization["']?\s{{0,3}}[:=]\s{{0,3}}["']?(?:(?:bearer|basic|digest|token|apikey)\s{{1,3}})?)
      (?=[\w.~+/=*-]{{0,200}}(?:[0-9=*]|(?-i:[a-z][A-Z])))[\w.~+/=*-]{{6,}}
  | (?P<quoted>(?<![a-z0-9])(?:{_WORDS})\\?["']\s{{0,3}}[:=]\s{{0,3}}\\?(?P<quote>["']))[^"'\\\n]{{1,500}}
  | (?P<given>(?<![a-z0-9])(?:{_WORDS})=["']?)(?!["'*<{{$]|(?:none|null|true|false|undefined)\b)[^\s"'&,;)\]}}]{{1,500}}
  | (?P<said>(?<![a-z0-9])(?:{_WORDS})["']?(?:\ (?:provided|given|is|was))?\s{{0,3}}:\s{{0,3}}["']?
      |(?<![a-z0-9])(?:x-)?api[ _-]key\ )(?=[^\s"'&,;)\]}}]{{0,200}}[0-9*])[^\s"'&,;)\]}}]{{6,500}}(?<!\.)
"""


@lru_cache(maxsize=1)
def _secrets() -> re.Pattern[str]:
    """Return the pattern, compiled when the first error is stored: a function that stores none does not pay for it."""
    return re.compile(_PATTERN, re.VERBOSE | re.IGNORECASE)


def masked(text: str) -> str:
    """Return the text with `***` in the place of each secret; what stands before one (`password=`) stays."""
    return _secrets().sub(_mask, text)


def _mask(found: re.Match[str]) -> str:
    kind = found.lastgroup
    return MASK if kind in (None, "form") else "".join(found[kind] or "") + MASK
