"""Cells as JSON values: the types that an input mapping may ask for. No conversion changes a value unseen."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError
from service.expressions.values import to_boolean

if TYPE_CHECKING:
    from collections.abc import Callable

# ASCII alone: Python's float() takes the digits of every script, `1_000`, `nan` and `inf` as well.
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]+")
_SAFE_DIGITS = 15  # of a whole number that every double holds
_LONGEST_NUMBER = 400  # characters; a double has at most 309 digits before the point
_MAX_DEPTH = 100  # the writers of JSON on a row's way go deeper, but not without end
_SHOWN = 40
_KIND_NAMES: dict[type, str] = {dict: "an object", list: "a list", bool: "a boolean"}


class RowNotMapped(BatchProcessorError):
    """One row cannot be turned into a target_input; the batch goes on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


def shown(value: Any, most: int = 60) -> str:
    """Return a value as a message shows it, cut to so many characters."""
    plain = value is None or isinstance(value, bool)
    text = json.dumps(value) if plain else repr(value[: most + 1] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def exact(text: str) -> int | float:
    """Return the number that a text in JSON's form writes.

    ValueError where a double, as most readers have it, is another.
    """
    if len(text) <= _SAFE_DIGITS and _WHOLE.fullmatch(text):
        return int(text)
    number = float(text) if len(text) <= _LONGEST_NUMBER else math.inf
    try:
        same = math.isfinite(number) and Decimal(text) == Decimal(repr(number))
    except ArithmeticError:  # an exponent that not even Decimal holds
        same = False
    if not same:
        raise ValueError(
            f"the number {shown(text, _SHOWN)} is too large or has more digits than a JSON number carries "
            "unchanged (15 are safe): leave it as text"
        )
    return int(text) if _WHOLE.fullmatch(text) else number


def sound(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return the value itself; ValueError where it could not travel as JSON: not finite, half a character, too deep."""
    if isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError:
            raise ValueError(r"a text holds half of a character (\ud800 to \udfff alone)") from None
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is no JSON number")
    elif isinstance(value, dict | list):
        if depth == 0:
            raise ValueError(f"lists and objects are nested more than {_MAX_DEPTH} deep")
        for item in value:
            sound(item, depth - 1)
        for item in value.values() if isinstance(value, dict) else ():
            sound(item, depth - 1)
    return value


def parse_json(text: str) -> Any:
    """Return the JSON value that a text holds; ValueError says what is wrong with it."""
    try:
        return sound(json.loads(text, parse_float=exact, parse_int=exact, parse_constant=_no_constant))
    except json.JSONDecodeError as fault:
        reason = fault.msg.strip().rstrip(":")
        raise ValueError(f"{shown(text, _SHOWN)} is not JSON: {reason} at character {fault.pos + 1}") from None
    except RecursionError:
        raise ValueError(f"lists and objects are nested more than {_MAX_DEPTH} deep") from None


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON: write null or a number")


def _number(value: Any) -> int | float:
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return exact(value.strip())
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise ValueError(f"{_named(value)} is no number: write it like 1234.5 or 1e6, without separators or units")


def _integer(value: Any) -> int:
    number = _number(value)
    if number != int(number):
        raise ValueError(f"{_named(value)} is no whole number")
    return int(number)


def _boolean(value: Any) -> bool:
    found = to_boolean(value) if isinstance(value, bool | str) else None
    if found is None:
        raise ValueError(f"{_named(value)} is neither of true, yes, y, 1 and false, no, n, 0 (in upper or lower case)")
    return found


def _json(value: Any) -> Any:
    return parse_json(value) if isinstance(value, str) else value


def _string(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _named(value: Any) -> str:
    return shown(value, _SHOWN) if isinstance(value, str) else _KIND_NAMES.get(type(value), "a number")


TYPES: dict[str, Callable[[Any], Any]] = {
    "number": _number,
    "integer": _integer,
    "boolean": _boolean,
    "json": _json,
    "string": _string,
}


def convert(kind: str, value: Any) -> Any:
    """Return the value as that type: null for a blank cell, unless text is asked for.

    ValueError says why it cannot be.
    """
    if value is None or (kind != "string" and isinstance(value, str) and not value.strip()):
        return None
    return TYPES[kind](value)
