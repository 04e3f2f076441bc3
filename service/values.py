"""Found values: transforms, types and coercion, and how a message tells of a value by names and kinds."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from service.texts import parse_text, stepped

Step = Callable[[Any], Any]

# Deeper than any real output, and far from Python's own limit, so that every field can be written as JSON.
_MAX_DEPTH = 100
_SHOWN = 40
_LISTED = 5
_LISTED_CHARACTERS = 60
_KIND_NAMES = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}


def settled(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A fresh copy that can be written as JSON: what is not finite becomes null, what is too deep is refused."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise RecursionError
    if isinstance(value, list):
        return [settled(item, depth - 1) for item in value]
    return {str(name): settled(item, depth - 1) for name, item in value.items()}


def named(value: Any, name: str) -> Any:
    """The value under a name, exact or else ignoring case, spaces, hyphens and underscores."""
    whole = stepped(value)
    if not isinstance(whole, dict):
        return None
    if name in whole:
        return whole[name]
    plain = _plain(name)
    return next((inner for key, inner in whole.items() if _plain(str(key)) == plain), None) if plain else None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


# -- transforms and types --------------------------------------------------------------------------------------------


def to_number(value: Any) -> int | float | None:
    """A number, or the number that a text writes; None for anything else, and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if not isinstance(value, str):
        return value if math.isfinite(value) else None
    if not value.isascii() or "_" in value:
        return None
    for kind in (int, float):
        try:
            number = kind(value)
        except ValueError:
            continue
        return number if math.isfinite(number) else None
    return None


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value
    return None if isinstance(value, dict | list) else json.dumps(value)


def _as_integer(value: Any) -> int | None:
    number = to_number(value)
    return int(number) if number is not None and number == int(number) else None


def _as_boolean(value: Any) -> bool | None:
    if isinstance(value, bool):
        return value
    word = value.strip().casefold() if isinstance(value, str) else value
    if word in ("true", "yes", "y", "1", 1):
        return True
    return False if word in ("false", "no", "n", "0", 0) else None


def _as_list(value: Any) -> list[Any] | None:
    whole = stepped(value)
    return whole if isinstance(whole, list) else None


def _as_object(value: Any) -> dict[str, Any] | None:
    whole = stepped(value)
    return whole if isinstance(whole, dict) else None


def _as_json(value: Any) -> str:
    return json.dumps(settled(stepped(value)), ensure_ascii=False)


TRANSFORMS: dict[str, Step] = {"parse_text": parse_text, "to_number": to_number, "to_string": _as_text}
TYPES: dict[str, Step] = {
    "string": _as_text,
    "number": to_number,
    "integer": _as_integer,
    "boolean": _as_boolean,
    "array": _as_list,
    "object": _as_object,
    "json_string": _as_json,
}


def transformed(transform: str, value: Any) -> tuple[Any, str | None]:
    """The value that a transform makes, or None and why."""
    result = TRANSFORMS[transform](value)
    return result, None if result is not None else f"{transform} finds nothing in {shown(value)}"


def coerced(kind: str, value: Any) -> tuple[Any, str | None]:
    """The value as one of the type, or None and why."""
    result = TYPES[kind](value)
    return result, None if result is not None else f"{shown(value)} is not of the type {kind}"


# -- in messages: never more of an output than a few words -----------------------------------------------------------


def kind_of(value: Any) -> str:
    """What kind of value it is, as a message says it."""
    return _KIND_NAMES.get(type(value), "a number")


def shown(value: Any) -> str:
    """A value for a message, cut when long; an object or a list by its kind alone."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = value if isinstance(value, str) else str(value)[:_SHOWN]
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")[: _SHOWN + 15]


def listed(names: Iterable[str], marks: Mapping[str, str] | None = None) -> str:
    """The first few names, each with its mark if it has one, and how many more there are."""
    every, told, length = list(names), [], 0
    for name in every[:_LISTED]:
        told.append(shown(name) + (marks or {}).get(name, ""))
        length += len(told[-1]) + 2
        if length > _LISTED_CHARACTERS and len(told) > 1:
            told.pop()
            break
    rest = len(every) - len(told)
    return ", ".join(told) + (f" and {rest} more" if rest else "")


def described(what: str, value: Any) -> str:
    """What there is, by names and kinds: `the output has 'message'`, `the output is text`."""
    whole = stepped(value)
    if whole in ([], {}):
        return f"{what} is an empty {'list' if whole == [] else 'object'}"
    if isinstance(whole, list):
        return f"{what} is a list of {len(whole)}"
    if isinstance(whole, dict):
        # A path that leads to null or into an empty list finds nothing, though the name is there.
        marks = {str(name): f": {json.dumps(inner)}" for name, inner in whole.items() if inner in (None, [], {})}
        return f"{what} has {listed(map(str, whole), marks)}"
    return f"{what} is {kind_of(whole)}"
