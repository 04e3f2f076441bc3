"""From columns to the target's fields, by their names and types."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Any

from service.excerpt import excerpt
from service.expressions.values import listed
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema_keywords import referred
from service.models import KIND_OF_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from service.console.drafting.page import Page

_SHOWN = 40  # characters of a value in a comment
_DEEP = 2  # levels of objects that paths lead into
_NEAR = 0.8  # how much alike two names are that may mean the same
_CHANGES_MEANING = frozenset({"id", "key", "uuid", "count", "date", "time", "type", "url"})
_CONVERSIONS = {"integer": "integer", "number": "number", "boolean": "boolean", "array": "json", "object": "json"}
_HOLDS = {  # the guesses of a column that fit a conversion
    "integer": {"integer", "empty"},
    "number": {"integer", "number", "empty"},
    "boolean": {"boolean", "empty"},
    "json": {"json", "empty"},
}


@dataclass(frozen=True)
class _Property:
    """A field that the target takes, by its input_schema; without `types` any value fits."""

    name: str
    types: frozenset[str]
    required: bool
    filled: bool  # an empty text does not fit

    @property
    def conversion(self) -> str | None:
        """Return what a cell has to be made, None where text is taken."""
        if not self.types or "string" in self.types:
            return None
        return next((made for kind, made in _CONVERSIONS.items() if kind in self.types), None)


@dataclass(frozen=True)
class _Match:
    """A column for a property; `near` where their names are only alike."""

    column: dict[str, Any]
    wanted: _Property
    near: bool = False


def write_input(page: Page, columns: list[dict[str, Any]], target: dict[str, Any]) -> None:
    """Write the section that says which cells the target is given."""
    schema = target.get("input_schema") or {}
    properties = _properties(schema)
    matches = _matched(columns, properties)
    passed = {match.column["name"]: match.wanted.name for match in matches}
    takes_more = not passed or _takes_more(schema)
    page.lines.append("")
    page.comment("Which columns the target is given, and as which of its fields (column: field).")
    if properties and not passed:
        named = listed(one.name for one in properties)
        page.tell(
            f"No column is called like a field of the target's input_schema ({named}):",
            "all are passed under their own names; write column: field where one is meant.",
        )
    page.add(0, "input_mapping")
    page.add(1, "column_mappings")
    for match in matches:
        _write_match(page, match)
    for one in columns:
        name, said = one["name"], _of_column(one)
        if name in passed:
            continue
        if takes_more and name not in passed.values():
            passed[name] = name
            page.add(2, name, name, said)
        else:
            page.add(2, name, name, f"{said}; the target's input_schema has no such field", "# ")
    _write_missing(page, properties, passed)
    _tell_alternatives(page, schema, set(passed.values()))
    given: dict[str, Any] = {"column_mappings": passed, **_types_of(page, matches)}
    if not properties:
        _suggest_types(page, columns)
    for match in matches:
        page.notes += _doubts(match)
    if KIND_OF_TYPE.get(target.get("tool_type") or "") == "agent" and "prompt" not in passed.values():
        _suggest_prompt(page, next(iter(passed)))
    page.mapping["input_mapping"] = given
    compile_input_mapping(given, [one["name"] for one in columns])


def _types_of(page: Page, matches: list[_Match]) -> dict[str, Any]:
    """Write what cells have to be made for the target; return it as the mapping has it, nothing where texts will do."""
    types = {match.wanted.name: match.wanted.conversion for match in matches if match.wanted.conversion}
    if not types:
        return {}
    page.comment("What the target's input_schema asks for; a cell that is none makes its row INVALID_INPUT.", 1)
    page.add(1, "types")
    for name, kind in types.items():
        page.add(2, name, kind)
    return {"types": types}


def _write_missing(page: Page, properties: list[_Property], passed: Mapping[str, str]) -> None:
    """Write the fields that the target requires and that no column gives, and tell of them."""
    for one in properties:
        if one.required and one.name not in passed.values():
            page.add(2, "COLUMN", one.name, "required by the target, and no column of the source is called so", "# ")
            page.notes.append(
                f"the target requires the field {one.name!r}, and no column of the source is called so: write the "
                "column that is meant under column_mappings, a constant under static_values, or make it of several "
                "columns by transformations (concat, template), else no row can run"
            )


def _tell_alternatives(page: Page, schema: Any, given: set[str]) -> None:
    """Tell of fields of which the target requires some, when the mapping gives none of the ways."""
    for key in ("anyOf", "oneOf"):
        ways = schema.get(key) if isinstance(schema, dict) else None
        names = [one.get("required") for one in ways if isinstance(one, dict)] if isinstance(ways, list) else []
        required = [[str(name) for name in one] for one in names if isinstance(one, list) and one]
        if required and len(required) == len(ways or ()) and not any(given.issuperset(one) for one in required):
            said = " or ".join(" and ".join(map(repr, one)) for one in required)
            page.tell(
                f"The target requires {said}, and no column of the source is called so: write the column that is",
                "meant under column_mappings, or make the field of several by transformations (concat, template),",
                "else no row can run.",
            )


def _suggest_prompt(page: Page, column: str) -> None:
    """Write, as a comment, how an agent is given a prompt."""
    page.comment("Without a prompt the agent is given a line `Column name: value` for each field. To write one:", 1)
    for depth, key in enumerate(("transformations", "prompt")):
        page.add(1, key, lead="# " + "  " * depth)
    page.add(1, "type", "template", lead="#     ")
    page.add(1, "config", lead="#     ")
    page.add(1, "template", f"Judge this: {{{column}}}", lead="#       ")


def _write_match(page: Page, match: _Match) -> None:
    said = _of_column(match.column)
    if match.wanted.required:
        said += "; required"
    if match.near:
        said += "; the names are only alike: check that this is meant"
        page.notes.append(
            f"the column {match.column['name']!r} is taken for the field {match.wanted.name!r}, for their names are "
            "alike: check it"
        )
    page.add(2, match.column["name"], match.wanted.name, said)


def _of_column(column: Mapping[str, Any]) -> str:
    """Return a column in a few words: its type and one example."""
    examples = column.get("examples") or []
    return f"{column['type']}: {excerpt(examples[0], _SHOWN)}" if examples else str(column["type"])


def _suggest_types(page: Page, columns: list[dict[str, Any]]) -> None:
    """Write, as a comment, what the columns look like; cells are texts without it."""
    guessed = {one["name"]: one["type"] for one in columns if one["type"] in _HOLDS}
    if guessed:
        page.comment("Cells are passed as text. As what they look like (a cell that is none makes its row", 1)
        page.comment("INVALID_INPUT):", 1)
        page.comment("types:", 1)
        for name, kind in guessed.items():
            page.add(1, name, kind, lead="#   ")


def _doubts(match: _Match) -> Iterator[str]:
    """Yield why rows may not fit the target's input_schema."""
    column, wanted = match.column, match.wanted
    made = wanted.conversion
    words = set(map(str.casefold, column.get("examples") or []))
    as_flag = made == "boolean" and column["type"] == "integer" and words <= {"0", "1"}
    if made is not None and column["type"] not in _HOLDS[made] and not as_flag:
        example = f", such as {column['examples'][0]!r}," if words else ""
        asked = " or ".join(sorted(wanted.types - {"null"}))
        yield (
            f"the column {column['name']!r} holds {column['type']}{example} where the target's field {wanted.name!r} "
            f"is {asked}: rows that do not fit will be INVALID_INPUT"
        )
    blanks = column["empty"]
    if blanks and (wanted.filled if made is None else "null" not in wanted.types):
        yield (
            f"the column {column['name']!r} has {blanks:,} empty cell{'' if blanks == 1 else 's'} in the rows that "
            f"were looked at, and the target's field {wanted.name!r} must not be empty: they will be INVALID_INPUT"
        )


def _properties(schema: Any) -> list[_Property]:
    """Return the fields that a schema names, in its order."""
    found: dict[str, Any] = {}
    required: set[str] = set()
    for part in _parts(schema, schema, _DEEP + 2):
        inner, needed = part.get("properties"), part.get("required")
        found |= inner if isinstance(inner, dict) else {}
        required |= {name for name in needed if isinstance(name, str)} if isinstance(needed, list) else set()
    made = []
    for name, one in found.items():
        parts = list(_parts(schema, one, _DEEP + 2, ("allOf", "anyOf", "oneOf")))
        types = frozenset(kind for part in parts for kind in _types(part))
        made.append(_Property(str(name), types, name in required, any(part.get("minLength") for part in parts)))
    # A required field that no property describes is one all the same.
    return [
        *made,
        *(_Property(name, frozenset(), required=True, filled=False) for name in sorted(required - found.keys())),
    ]


def _types(part: Mapping[str, Any]) -> Iterator[str]:
    given = part.get("type")
    yield from (kind for kind in (given if isinstance(given, list) else [given]) if isinstance(kind, str))
    if given is None and isinstance(part.get("enum"), list) and any(isinstance(one, str) for one in part["enum"]):
        yield "string"


def _parts(root: Any, node: Any, depth: int, inside: tuple[str, ...] = ("allOf",)) -> Iterator[dict[str, Any]]:
    """Yield a schema, what it refers to in `root`, and what it is made of."""
    if not isinstance(node, dict) or depth == 0:
        return
    yield node
    if isinstance(node.get("$ref"), str):
        yield from _parts(root, referred(root, node["$ref"]), depth - 1, inside)
    for key in inside:
        for one in node[key] if isinstance(node.get(key), list) else ():
            yield from _parts(root, one, depth - 1, inside)


def _takes_more(schema: Any) -> bool:
    """Tell whether a schema says that other fields than those which it names are welcome."""
    more = schema.get("additionalProperties") if isinstance(schema, dict) else None
    return more is True or (isinstance(more, dict) and bool(more))


def _matched(columns: list[dict[str, Any]], properties: list[_Property]) -> list[_Match]:
    """Return a column for each property that has one, in the order of the columns: by name, else nearly by name.

    A near name counts for a field that is required, and for any where no name is the same.
    """
    free = {one["name"]: one for one in columns}
    wanted = {one.name: one for one in properties}
    found: list[_Match] = []

    def take(column: str, name: str, *, near: bool = False) -> None:
        found.append(_Match(free.pop(column), wanted.pop(name), near))

    for name in [name for name in wanted if name in free]:
        take(name, name)
    for name in list(wanted):
        same = [column for column in free if _bare(column) and _bare(column) == _bare(name)]
        if same:
            take(same[0], name)
    eligible = [one for one in wanted.values() if one.required or not found]
    pairs = [(_likeness(column, one.name), column, one.name) for column in free for one in eligible]
    for likeness, column, name in sorted(pairs, key=lambda pair: -pair[0]):
        if likeness >= _NEAR and column in free and name in wanted and _may_be(free[column], wanted[name]):
            take(column, name, near=True)
    order = [one["name"] for one in columns]
    return sorted(found, key=lambda match: order.index(match.column["name"]))


def _bare(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _likeness(column: str, name: str) -> float:
    """Return how much two names are alike; one that has all words of the other is very much so."""
    one, other = (
        set(re.findall(r"[^\W_]+", re.sub(r"([a-z])([A-Z])", r"\1 \2", text).casefold())) for text in (column, name)
    )
    beside = one ^ other
    if beside & _CHANGES_MEANING:
        return 0.0
    ratio = SequenceMatcher(None, _bare(column), _bare(name)).ratio()
    return max(ratio, 0.9) if one and other and (one <= other or other <= one) else ratio


def _may_be(column: Mapping[str, Any], wanted: _Property) -> bool:
    """Tell whether what a column holds can be what a property asks for."""
    return wanted.conversion is None or column["type"] in _HOLDS[wanted.conversion]
