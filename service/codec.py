"""JSON values to DynamoDB's wire form and back.

Limits: an N holds 38 significant digits, magnitudes 1E-130 to 9.9…E+125, no NaN or Infinity; nesting is at most 32
levels (Amazon DynamoDB Developer Guide, "Constraints in Amazon DynamoDB" and "Supported data types"). What does not
fit is kept as text: a number as its digits, a deeper value as JSON.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

_MAX_DEPTH = 28  # below DynamoDB's 32: the value stands inside an item and a map
_SURROGATE = re.compile("[\ud800-\udfff]")


def text(value: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD."""
    return _SURROGATE.sub("\ufffd", value) if not value.isascii() else value


def encode(value: Any, depth: int = 0) -> dict[str, Any]:
    """A JSON value as `{"S": …}`, `{"N": …}`, `{"M": …}` and so on."""
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
        return {"S": text(json.dumps(value, ensure_ascii=False, default=str))}
    if isinstance(value, Mapping):
        return {"M": {text(str(key)): encode(item, depth + 1) for key, item in value.items()}}
    return {"L": [encode(item, depth + 1) for item in value]}


def _number(value: float | Decimal) -> dict[str, Any]:
    digits = repr(value) if isinstance(value, float) else str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return {"S": digits}
    exact = Decimal(digits)
    fits = exact == 0 or (len(exact.as_tuple().digits) <= 38 and -130 <= exact.adjusted() <= 125)
    return {"N": digits} if fits else {"S": digits}


class Number(str):
    """The digits of an N, exactly as DynamoDB gave them."""

    __slots__ = ()

    def to_python(self) -> int | float:
        """An int when the digits are a whole number, else a float."""
        return int(self) if re.fullmatch(r"-?\d+", self) else float(self)


def decode(attribute: Mapping[str, Any], *, exact: bool = False) -> Any:
    """The JSON value of a wire form; with `exact`, an N at the top stays the digits it came as."""
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
