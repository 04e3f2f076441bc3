"""Row to the target's fields: an input mapping as PrepareBatch has resolved it against the source's columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.mapping.conversions import RowNotMapped, convert, parse_json, shown, sound

if TYPE_CHECKING:
    from service.mapping.schema import InputSchema

Build = Callable[[Mapping[str, str]], Any]  # makes the field of a row


@dataclass(frozen=True)
class InputPlan:
    """A resolved input mapping; `columns_used` are in the source's order.

    `passed`: field and column. `built`: field, transformation, and the transformation's resolved configuration
    (BUILDERS say what it holds). `converted`: field, type, and where the field comes from. `schema`: what the fields
    must fit.
    """

    columns_used: tuple[str, ...]
    envelope: str = "default"
    passed: tuple[tuple[str, str], ...] = ()
    static: Mapping[str, Any] = field(default_factory=dict)
    built: tuple[tuple[str, str, dict[str, Any]], ...] = ()
    converted: tuple[tuple[str, str, str], ...] = ()
    schema: InputSchema | None = None
    _builds: tuple[tuple[str, Build], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Make what makes the fields."""
        builds = tuple((name, BUILDERS[kind](config)) for name, kind, config in self.built)
        object.__setattr__(self, "_builds", builds)

    @classmethod
    def of_json(cls, stored: Mapping[str, Any], schema: InputSchema | None = None) -> InputPlan:
        """Return the plan of its JSON."""
        pairs = {name: tuple(map(tuple, stored[name])) for name in ("passed", "built", "converted")}
        return cls(tuple(stored["columns_used"]), stored["envelope"], static=stored["static"], schema=schema, **pairs)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values, without the schema."""
        return {
            "columns_used": list(self.columns_used),
            "envelope": self.envelope,
            "passed": list(map(list, self.passed)),
            "static": dict(self.static),
            "built": list(map(list, self.built)),
            "converted": list(map(list, self.converted)),
        }

    @property
    def names(self) -> tuple[str, ...]:
        """Every field that the target is given, for whatever row."""
        return (*(name for name, _ in self.passed), *self.static, *(name for name, _, _ in self.built))

    def fields(self, row: Mapping[str, str]) -> dict[str, Any]:
        """Return the target's fields: columns in mapping order, then static values, then transformations.

        Raises RowNotMapped, and nothing else, whatever the row holds.
        """
        try:
            fields: dict[str, Any] = {name: row[column] for name, column in self.passed}
            fields.update(self.static)
            for name, build in self._builds:
                fields[name] = _built(name, build, row)
        except KeyError as error:
            raise RowNotMapped(f"the row has no cell for the column {error.args[0]!r}") from error
        for name, kind, source in self.converted:
            try:
                fields[name] = convert(kind, fields[name])
            except ValueError as fault:
                raise RowNotMapped(f"field {name!r} of type {kind}, from {source}: {fault}") from None
        if self.schema is not None:
            self.schema.check(fields)
        return fields


def _built(name: str, build: Build, row: Mapping[str, str]) -> Any:
    try:
        return build(row)
    except RowNotMapped as trouble:
        raise RowNotMapped(f"field {name!r}, from {trouble.message}") from None


def _concat(config: Mapping[str, Any]) -> Build:
    """Join the cells of `columns` with `separator`."""
    columns, separator = config["columns"], config["separator"]
    return lambda row: separator.join([row[column] for column in columns])


def _template(config: Mapping[str, Any]) -> Build:
    """Join `parts`, each a text and the column whose cell follows it, and the text `tail`."""
    parts, tail = config["parts"], config["tail"]
    return lambda row: "".join([f"{lead}{row[column]}" for lead, column in parts]) + tail


def _jsonpath(config: Mapping[str, Any]) -> Build:
    """Find what the expression `path` finds in the JSON of a cell of `column`, else `default` where there is one."""
    from service.expressions.language import compile_expression  # noqa: PLC0415 - jmespath, where it is used

    searched, column = compile_expression(config["path"]), config["column"]

    def build(row: Mapping[str, str]) -> Any:
        found, reason = None, "the cell is blank"
        if row[column].strip():
            try:
                found, fault = searched.search(_document(row[column]))
                sound(found)
            except ValueError as error:
                raise RowNotMapped(f"column {column!r}: {error}") from None
            reason = f"{shown(searched.text)} finds nothing" + (f" ({fault})" if fault else "")
        return _otherwise(config, reason) if found is None else found

    return build


@lru_cache(maxsize=2)
def _document(cell: str) -> Any:
    """Return the JSON in a cell; kept from one field to the next, since several are often made of one cell."""
    return parse_json(cell)


def _regex(config: Mapping[str, Any]) -> Build:
    """Find what the group number `group` of `pattern` matches first in a cell of `column`, else `default`."""
    from service.expressions.regex import compile_regex  # noqa: PLC0415 - only where a pattern is used

    searched, column, group = compile_regex(config["pattern"]), config["column"], config["group"]
    reason = f"{shown(config['pattern'])} matches nothing"

    def build(row: Mapping[str, str]) -> Any:
        match = searched.search(row[column].encode("utf-8", "replace"))
        found = None if match is None else match.group(group)
        return _otherwise(config, reason) if found is None else found.decode("utf-8", "replace")

    return build


def _otherwise(config: Mapping[str, Any], reason: str) -> Any:
    """Return the default, which may be null; raise RowNotMapped where there is none."""
    if "default" not in config:
        raise RowNotMapped(f"column {config['column']!r}: {reason}, and the transformation has no default")
    return config["default"]


BUILDERS: dict[str, Callable[[Mapping[str, Any]], Build]] = {
    "concat": _concat,
    "template": _template,
    "jsonpath": _jsonpath,
    "regex": _regex,
}
