"""Results in DynamoDB's wire form as typed structs, and the texts of their values.

A Query's answer is decoded straight into these: what is not named here is passed over by the decoder, and neither the
names of the types nor a dict per value are made (Amazon DynamoDB Developer Guide, "DynamoDB low-level API": one key
per value, its type).
"""

from __future__ import annotations

import base64
from contextlib import suppress
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from service.errors import BatchProcessorError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence


# What is read of a result; `output` stays behind.
ATTRIBUTES = ("row_id", "status", "input_data", "output_data", "error", "execution_time_ms", "timestamp", "ttl")


class Attribute(Struct, gc=False):
    """One value: exactly one of these is set."""

    S: str | None = None
    N: str | None = None
    BOOL: bool | None = None
    NULL: bool | None = None
    M: dict[str, Attribute] | None = None
    L: list[Attribute] | None = None
    B: bytes | None = None
    SS: list[str] | None = None
    NS: list[str] | None = None
    BS: list[bytes] | None = None


class Text(Struct, gc=False):
    """An attribute that is always text."""

    S: str = ""


class Digits(Struct, gc=False):
    """An attribute that is always a number, as DynamoDB spells it."""

    N: str = ""


Fields = dict[str, Attribute]
_Row = TypeVar("_Row")
_Output = TypeVar("_Output")


class Map(Struct, Generic[_Row], gc=False):
    """A map attribute, its value decoded as a type of its own."""

    M: _Row | None = None


class Item(Struct, Generic[_Row, _Output], gc=False):
    """One result, as far as it was asked for."""

    row_id: Text
    status: Text = msgspec.field(default_factory=Text)
    input_data: Map[_Row] | None = None
    output_data: Map[_Output] | None = None
    error: Attribute | None = None
    execution_time_ms: Digits | None = None
    timestamp: Text | None = None
    ttl: Digits | None = None
    attempts: Digits | None = None


class Page(Struct, Generic[_Row, _Output]):
    """An answer to Query."""

    Items: list[Item[_Row, _Output]]
    LastEvaluatedKey: dict[str, dict[str, str]] | None = None


class NotAResult(BatchProcessorError):
    """An item of the results table that is not of a result's form."""


class Named:
    """Certain fields of a map, in an order of their own: whatever else it holds is passed over by the decoder."""

    def __init__(self, names: Sequence[str]) -> None:
        self.type: Any = Fields
        self._read: Callable[[Any], tuple[Attribute | None, ...]] = lambda fields: tuple(map(fields.get, names))
        self._none = (None,) * len(names)
        keys = {f"f{number}": name for number, name in enumerate(names)}
        # msgspec has no field of a name with quotes, backslashes or control characters: such maps are whole ones
        with suppress(ValueError):
            types = [(key, Attribute | None, None) for key in keys]
            self.type = msgspec.defstruct("Row", types, rename=keys, gc=False)
            self._read = msgspec.structs.astuple

    def columns(self, maps: Iterable[Map[Any] | None]) -> Iterable[tuple[Attribute | None, ...]]:
        """Return the values of each name, in the order of the maps; None where a map has none."""
        read, none = self._read, self._none
        return zip(*[none if one is None or one.M is None else read(one.M) for one in maps], strict=True)


class Shape:
    """How answers to Query are decoded: whole maps, or named fields of them."""

    def __init__(self, row: Any = Fields, output: Any = Fields) -> None:
        self._type: Any = Page[row, output]
        self.decode: Callable[[bytes], Page[Any, Any]] = msgspec.json.Decoder(self._type).decode

    def page(self, answer: dict[str, Any]) -> Page[Any, Any]:
        """Return the same of an answer that botocore has parsed; raises NotAResult."""
        try:
            page: Page[Any, Any] = msgspec.convert(answer, self._type)
        except msgspec.ValidationError as error:
            message = f"the results table holds an item that is no result, written by something else: {error}"
            raise NotAResult(message) from error
        return page


def text_of(value: Attribute) -> str:
    """Return the text of a cell.

    Text as it is, a number's digits as DynamoDB has them, nested values as JSON, null as "".
    """
    if value.S is not None:
        return value.S
    if value.N is not None:
        return value.N
    if value.BOOL is not None:
        return "true" if value.BOOL else "false"
    if value.B is not None:
        return base64.b64encode(value.B).decode()
    return "" if value.NULL else json_of(value)


def json_of(value: Attribute) -> str:
    """Return the value as JSON, numbers with the digits that DynamoDB has."""
    if value.S is not None:
        return encode_basestring(value.S)
    if value.N is not None:
        return value.N
    if value.M is not None:
        return json_object(value.M)
    if value.L is not None:
        return "[" + ",".join(map(json_of, value.L)) + "]"
    if value.BOOL is not None:
        return "true" if value.BOOL else "false"
    if value.NULL:
        return "null"
    if value.NS is not None:
        return "[" + ",".join(value.NS) + "]"
    texts = value.SS or [base64.b64encode(one).decode() for one in value.BS or [value.B or b""]]
    shown = ",".join(map(encode_basestring, texts))
    return shown if value.B is not None else f"[{shown}]"


def json_object(fields: Fields) -> str:
    """Return a map's fields as a JSON object."""
    return "{" + ",".join(f"{encode_basestring(name)}:{json_of(value)}" for name, value in fields.items()) + "}"
