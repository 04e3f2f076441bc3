"""JSON values to DynamoDB's wire form and back.

Limits: an N holds 38 significant digits, magnitudes 1E-130 to 9.9…E+125, no NaN or Infinity; nesting is at most 32
levels; a map's keys are 1 to 65,535 bytes (Amazon DynamoDB Developer Guide, "Constraints in Amazon DynamoDB",
"Supported data types and naming rules"). What does not fit is kept as text: a number as its digits, a value that is
too deep and a map whose keys cannot be stored as JSON.

Exact both ways: text without lone surrogates, null, booleans, numbers by the decimal value that JSON writes, lists,
maps. Not exact: the spelling of a number (DynamoDB may write -0.0 as 0, 1.0 as 1, 1e22 as its digits: a whole float
comes back as an int), lone surrogates (U+FFFD), and what is kept as text, which comes back as that text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_MAX_DEPTH = 28  # below DynamoDB's 32: the value stands inside an item and a map
_LONGEST_NAME = 16_383  # characters of a key: of 4 bytes each they are 65,532
_CUT_NAME = 16_000
_PLAIN_INT = 10**38
_SURROGATE = re.compile("[\ud800-\udfff]")
_WHOLE = re.compile(r"-?[0-9]+")


def text(value: str) -> str:
    """Return the text with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", value) if not value.isascii() else value


def encode(value: Any, depth: int = 0) -> dict[str, Any]:
    """Return a JSON value as `{"S": …}`, `{"N": …}`, `{"M": …}` and so on; a mapping at depth 0 is always an M."""
    if isinstance(value, str):
        return {"S": text(value)}
    if value is None:
        return {"NULL": True}
    if isinstance(value, bool):
        return {"BOOL": value}
    if isinstance(value, (int, float, Decimal)):
        return _number(value)
    if isinstance(value, (bytes, bytearray)):
        return {"B": bytes(value)}
    if depth >= _MAX_DEPTH:
        return {"S": _as_json(value)}
    if isinstance(value, Mapping):
        return _map(value, depth)
    return {"L": [encode(item, depth + 1) for item in value]}


def _map(value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
    names = [text(str(name)) for name in value]
    if not all(names) or len(set(names)) < len(names) or max(map(len, names), default=0) > _LONGEST_NAME:
        if depth:
            return {"S": _as_json(value)}
        names = _storable(names)
    items = zip(names, value.values(), strict=True)
    return {"M": {name: encode(item, depth + 1) for name, item in items}}


def _storable(names: list[str]) -> list[str]:
    """Names that a map can have: none empty (`_` instead), too long (cut) or twice (`_` added)."""
    taken: dict[str, None] = {}
    for name in names:
        stored = name[:_CUT_NAME] or "_"
        while stored in taken:
            stored += "_"
        taken[stored] = None
    return list(taken)


def _as_json(value: Any) -> str:
    """Return the value as JSON; lone surrogates stand in it as escapes."""
    written = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=str)
    return json.dumps(value, separators=(",", ":"), default=str) if _SURROGATE.search(written) else written


def _number(value: float | Decimal) -> dict[str, Any]:
    if type(value) is int and -_PLAIN_INT < value < _PLAIN_INT:
        return {"N": str(value)}
    digits = json.dumps(value) if isinstance(value, float) else str(value)  # NaN and Infinity as JSON has them
    exact = Decimal(digits)
    return {"N": digits} if exact.is_finite() and _fits(exact) else {"S": digits}


def _fits(number: Decimal) -> bool:
    """Whether an N holds it; zeros at the end are not significant."""
    significant = "".join(map(str, number.as_tuple().digits)).rstrip("0")
    return not significant or (len(significant) <= 38 and -130 <= number.adjusted() <= 125)


class Number(str):
    """The digits of an N, exactly as DynamoDB gave them."""

    __slots__ = ()

    def to_python(self) -> int | float:
        """Return an int when the digits are a whole number, else a float."""
        return int(self) if _WHOLE.fullmatch(self) else float(self)


def decode(attribute: Mapping[str, Any], *, exact: bool = False) -> Any:
    """Return the JSON value of a wire form; with `exact`, an N at the top stays the digits it came as."""
    ((kind, value),) = attribute.items()
    if kind == "S" or kind == "BOOL":  # noqa: PLR1714 - the commonest first, without building a tuple
        return value
    if kind == "N":
        return Number(value) if exact else Number(value).to_python()
    if kind == "M":
        return {key: decode(item) for key, item in value.items()}
    if kind == "L":
        return [decode(item) for item in value]
    if kind == "NULL":
        return None
    if kind == "B":
        return bytes(value)
    return sorted(value)
