"""Found values: transforms, types and coercion, and how a message tells of a value by names and kinds."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from typing import Any, NamedTuple

from service.excerpt import excerpt
from service.expressions.json_text import parse_text, stepped

Step = Callable[[Any], Any]

# Deeper than any real output, and far from Python's own limit, so that every field can be written as JSON.
_MAX_DEPTH = 100
_SHOWN = 40
_LISTED = 5
_LISTED_CHARACTERS = 60
_KIND_NAMES = {dict: "an object", list: "a list", str: "text", bool: "a boolean", type(None): "null"}


def json_safe_copy(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """Return a fresh copy that can be written as JSON.

    What is not finite becomes its name, what is too deep is refused.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)  # NaN, Infinity, -Infinity, as an output's JSON had it
    is_list = isinstance(value, list)
    if not is_list and not isinstance(value, dict):
        return value
    if depth == 0:
        raise RecursionError
    if is_list:
        return [json_safe_copy(item, depth - 1) for item in value]
    return {str(name): json_safe_copy(item, depth - 1) for name, item in value.items()}


def named(value: Any, name: str) -> Any:
    """Return the value under a name, exact or else ignoring case, spaces, hyphens and underscores."""
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
    """Return a number, or the number that a text writes; None for anything else, and for what is not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, int):
        return value  # however large, which math.isfinite cannot take
    if isinstance(value, float):
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


def to_boolean(value: Any) -> bool | None:
    """Return the boolean that a value is or says, in upper or lower case; None where it is and says none."""
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
    return json.dumps(json_safe_copy(stepped(value)), ensure_ascii=False)


def _moment(value: Any) -> date | datetime | None:
    """Return the date, or the date and time, that a text writes in ISO 8601, with the offset that it says."""
    if not isinstance(value, str) or not value.isascii():
        return None
    text = value.strip()
    for kind in (date, datetime):
        try:
            return kind.fromisoformat(text)
        except ValueError:
            continue
    return None


def _as_date(value: Any) -> str | None:
    moment = _moment(value)
    if moment is None:
        return None
    return (moment.date() if isinstance(moment, datetime) else moment).isoformat()


TRANSFORMS: dict[str, Step] = {"parse_text": parse_text, "to_number": to_number, "to_string": _as_text}
TYPES: dict[str, Step] = {
    "string": _as_text,
    "number": to_number,
    "integer": _as_integer,
    "boolean": to_boolean,
    "date": _as_date,
    "array": _as_list,
    "object": _as_object,
    "json_string": _as_json,
}


def transformed(transform: str, value: Any) -> tuple[Any, str | None]:
    """Return the value that a transform makes, or None and why."""
    result = TRANSFORMS[transform](value)
    if result is None and transform == "to_number" and _is_endless(value):
        return None, f"{shown(value)} is not a finite number"
    return result, None if result is not None else f"{transform} finds nothing in {shown(value)}"


def coerced(kind: str, value: Any) -> tuple[Any, str | None]:
    """Return the value as one of the type, or None and why."""
    result = TYPES[kind](value)
    if result is None and kind in {"number", "integer"} and _is_endless(value):
        return None, f"{shown(value)} is not a finite number"
    return result, None if result is not None else f"{shown(value)} is not of the type {kind}"


def _is_endless(value: Any) -> bool:
    """Whether it is, or writes, NaN or an infinity, or a number beyond every float."""
    try:
        return not isinstance(value, bool | int) and not math.isfinite(float(value))
    except (TypeError, ValueError):
        return False


# -- formats ---------------------------------------------------------------------------------------------------------

_NUMBER_FORMAT = re.compile(r",?(?:\.\d{1,2})?[fdeg%]?")
_PRINTF_FORMAT = re.compile(r"%,?(?:\.\d{1,2})?[fdeg]")
_DATE_DIRECTIVES = frozenset("YymdHIMSfpjaAbBzUWGVu%")


class Form(NamedTuple):
    """How a field is written: a number by Python's format, or a date by strftime's."""

    kind: str
    format: str


def compile_form(kind: str | None, given: str) -> Form:
    """Return the form that a `format` means for a type; raises ValueError with the reason."""
    given = _without_percent(kind, given)
    is_number = _NUMBER_FORMAT.fullmatch(given) is not None and given != ""
    if kind in {"number", "integer"} or (kind is None and is_number):
        if not is_number or (given.endswith("d") and "." in given):
            raise ValueError("a number's format is [,][.digits][f, d, e, g or %], as in '.2f' or ',d'")
        return Form("number", given)
    if kind not in {"date", None}:
        raise ValueError(f"belongs to the types number, integer and date, not to {kind}")
    if "%" not in given or "\0" in given:  # strftime ends at a NUL
        raise ValueError("is neither a number's format, as in '.2f', nor a date's, as in '%d/%m/%Y'")
    try:
        date.min.strftime(given)
    except ValueError as fault:
        raise ValueError(f"cannot be used for a date: {fault}") from None
    for found in re.finditer("%(.?)", given, re.DOTALL):
        if found[1] not in _DATE_DIRECTIVES or not found[1]:
            raise ValueError(f"there is no {found[0]!r} in a date's format\n  {given}\n  {' ' * found.start()}^")
    return Form("date", given)


def _without_percent(kind: str | None, given: str) -> str:
    """Return a format written as C's printf has it (`%.2f`) as Python has it (`.2f`); others stay as they are.

    `%d` and `%f` are a day and microseconds too: without a type nobody can tell. Raises ValueError.
    """
    if kind == "date" or not _PRINTF_FORMAT.fullmatch(given):
        return given
    if kind is None and given in ("%d", "%f"):
        raise ValueError(
            f"{given!r} is a whole number's or a date's format: say which, by type: integer, number or date"
        )
    return given[1:]


def formatted(form: Form, value: Any) -> tuple[str | None, str | None]:
    """Return the value written by its form, or None and why."""
    if form.kind == "date":
        moment = _moment(value)
        return (
            (None, f"{shown(value)} is not of the type date")
            if moment is None
            else (moment.strftime(form.format), None)
        )
    number = to_number(value)
    if number is None:
        return None, f"{shown(value)} is not a {'finite ' if _is_endless(value) else ''}number"
    if form.format.endswith("d"):
        whole = int(number)
        return (
            (format(whole, form.format), None) if whole == number else (None, f"{shown(value)} is not a whole number")
        )
    try:
        return format(number, form.format), None
    except OverflowError:
        return None, f"{shown(value)} is too large for the format {form.format!r}"


# -- in messages: never more of an output than a few words -----------------------------------------------------------


def kind_of(value: Any) -> str:
    """Return what kind of value it is, as a message says it."""
    return _KIND_NAMES.get(type(value), "a number")


def shown(value: Any) -> str:
    """Return a value for a message, cut when long; an object or a list by its kind alone."""
    if isinstance(value, dict | list):
        return kind_of(value)
    text = value
    if not isinstance(value, str):
        text = (json.dumps(value) if isinstance(value, float) else str(value))[:_SHOWN]
    return repr(excerpt(text, _SHOWN))[: _SHOWN + 15]


def listed(names: Iterable[str], marks: Mapping[str, str] | None = None) -> str:
    """Return the first few names, each with its mark if it has one, and how many more there are."""
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
    """Return what there is, by names and kinds: `the output has 'message'`, `the output is text`."""
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
