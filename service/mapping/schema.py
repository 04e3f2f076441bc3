"""The JSON Schema of what a target takes: compiled before a batch is run, checked against the fields of every row.

Draft 2020-12, or what `$schema` names. Nothing is ever fetched: `$ref` reaches only into the schema itself. `format` is
an annotation, as the standard has it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem, nearest
from service.mapping.conversions import RowNotMapped, shown
from service.mapping.schema_keywords import extra_names, keywords

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PATH = "target.input_schema"
_DRAFT = "https://json-schema.org/draft/2020-12/schema"
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
_VALUES = frozenset({"const", "enum", "default", "examples"})  # keywords that hold no schema, but values
_LOOKED_AT, _TOLD = 20, 3  # faults of one row, so that a row of many does not take long
_SHOWN = 60  # characters of a row's contents in a message
_REQUIRED_SHOWN = 12


class InputSchema:
    """A compiled schema."""

    def __init__(self, validator: Any) -> None:
        self._validator = validator

    def ends(self) -> bool:
        """Whether a check of it comes to an end, and not to a reference that leads to itself."""
        try:
            next(self._validator.iter_errors({}), None)
        except RecursionError:
            return False
        return True

    def check(self, fields: dict[str, Any]) -> None:
        """Raise RowNotMapped, and nothing else, when the fields do not fit."""
        try:
            found = [_told(error) for error in islice(self._validator.iter_errors(fields), _LOOKED_AT)]
        # What a schema that loops or a number beyond all bounds does to the library that checks it.
        except (RecursionError, ArithmeticError, ValueError, TypeError) as fault:
            kind = type(fault).__name__
            raise RowNotMapped(f"the fields cannot be checked against the target's input_schema ({kind})") from None
        if found:
            told = list(dict.fromkeys(found))[:_TOLD]
            raise RowNotMapped(f"the fields do not fit the target's input_schema: {'; '.join(told)}")


def input_schema(schema: Any) -> InputSchema | None:
    """Return what checks rows against a schema that is known to be one; None where it asks for nothing."""
    if not schema:
        return None
    from jsonschema import validators  # type: ignore[import-untyped]  # noqa: PLC0415 - 40 ms of a cold start
    from referencing import Registry  # noqa: PLC0415 - only where a target has a schema

    standard = validators.validator_for({"$schema": schema.get("$schema", _DRAFT)})
    return InputSchema(validators.extend(standard, keywords(standard.VALIDATORS))(_bare(schema), registry=Registry()))


def _bare(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema without its dialect.

    A schema that names its dialect again, where a reference comes to it, would be given to a validator that is not
    ours, and that runs patterns on a backtracking engine.
    """
    return {key: value for key, value in schema.items() if key != "$schema"}


def compile_input_schema(schema: Any) -> InputSchema | None:
    """Return what checks rows against a schema, None where it asks for nothing.

    Raises BatchRefused with every problem in the schema.
    """
    if schema is None or schema == {}:
        return None
    if not isinstance(schema, dict):
        raise _refused(f"must be an object, not {shown(schema)}")
    try:
        _check(schema)
        compiled = input_schema(schema)
        ends = compiled is None or compiled.ends()
    except RecursionError:
        raise _refused("is nested too deeply") from None
    except (ValueError, TypeError, AttributeError, LookupError) as fault:  # an $id that is none, and the like
        raise _refused(f"cannot be read: {fault}") from None
    if not ends:
        raise _refused("a reference in it leads to itself: the check of a row would not end")
    return compiled


def _refused(message: str, place: str = "") -> BatchRefused:
    return BatchRefused([Problem(PATH + place, message)])


def check_required(schema: Any, names: Iterable[str]) -> None:
    """Raise BatchRefused when the schema requires a field, without condition, that no row can have."""
    # Where a reference stands, older drafts ignore what stands beside it.
    required = schema.get("required") if isinstance(schema, dict) and "$ref" not in schema else None
    given = list(names)
    missing = [name for name in required or () if name not in given] if isinstance(required, list) else []
    if missing:
        listed = [f"{name!r} ({nearest(name, given)})" for name in missing[:_REQUIRED_SHOWN]]
        message = f"gives the target no field {', '.join(listed)}: its input_schema requires it, so no row could run"
        raise BatchRefused([Problem("input_mapping", message)])


def _check(schema: dict[str, Any]) -> None:
    """Raise BatchRefused with what is wrong in a schema; a library that it confuses raises what it likes."""
    from jsonschema import validators  # noqa: PLC0415
    from referencing import Registry, jsonschema  # noqa: PLC0415

    dialect = schema.get("$schema", _DRAFT)
    standard = validators.validator_for({"$schema": dialect} if isinstance(dialect, str) else {}, default=None)
    if standard is None:
        raise _refused(f"there is no dialect {shown(dialect)} here: use {_DRAFT}, or leave it out", ".$schema")
    bare = _bare(schema)
    problems = [
        Problem(_below(PATH, error.absolute_path), error.message[:200])
        for error in islice(standard(standard.META_SCHEMA).iter_errors(bare), _LOOKED_AT)
    ]
    if not problems:
        specification = jsonschema.specification_with(standard.ID_OF(standard.META_SCHEMA))
        root = specification.create_resource(bare)
        problems = list(_Look(specification).problems(bare, Registry().resolver_with_root(root)))
    if problems:
        raise BatchRefused(dict.fromkeys(problems))


class _Look:
    """Looks through a schema for what the standard's own schema does not tell."""

    def __init__(self, specification: Any) -> None:
        self._specification = specification
        self._seen: set[int] = set()
        self._keywords: set[str] = set()
        self._references: list[tuple[str, Any, str]] = []  # each with what resolves it, and its path

    def problems(self, schema: dict[str, Any], resolver: Any) -> Iterator[Problem]:
        """Every problem; what references lead to comes last, under the path of the reference where it has no other."""
        from referencing.exceptions import Unresolvable  # noqa: PLC0415

        yield from self._below(schema, resolver, PATH)
        while self._references:
            reference, resolver, path = self._references.pop()
            try:
                found = resolver.lookup(reference)
            except (Unresolvable, ValueError, TypeError, AttributeError, LookupError):  # the others: it is no URI
                message = f"{shown(reference)} is nothing in this schema, and nothing is fetched: put it under $defs"
                yield Problem(path, message)
            else:
                yield from self._below(found.contents, found.resolver, path)
        if len(self._keywords) > 1:
            message = "patternProperties and unevaluatedProperties cannot stand in one schema here: use one of them"
            yield Problem(PATH, message)

    def _below(self, node: Any, resolver: Any, path: str, *, named: bool = False) -> Iterator[Problem]:
        """Yield what is wrong below a node; `named`: its keys are names that the author gave, its values schemas."""
        if id(node) in self._seen or not isinstance(node, dict | list):
            return
        self._seen.add(id(node))
        if isinstance(node, list):
            for index, item in enumerate(node):
                yield from self._below(item, resolver, f"{path}[{index}]")
            return
        if not named:
            resolver = resolver.in_subresource(self._specification.create_resource(node))
            yield from self._of_schema(node, resolver, path)
        for key, value in node.items():
            if named or key not in _VALUES:
                yield from self._below(value, resolver, f"{path}.{key}", named=not named and key in _NAMED)

    def _of_schema(self, node: dict[str, Any], resolver: Any, path: str) -> Iterator[Problem]:
        if isinstance(node.get("$schema"), str):
            yield Problem(f"{path}.$schema", "stands only at the top of a schema: leave it out here")
        yield from _of_pattern(node.get("pattern"), f"{path}.pattern")
        named = node.get("patternProperties")
        for pattern in named if isinstance(named, dict) else ():
            yield from _of_pattern(pattern, f"{path}.patternProperties")
        self._keywords |= {"patternProperties", "unevaluatedProperties"} & node.keys()
        for key in _REFERENCES:
            if isinstance(node.get(key), str):
                self._references.append((node[key], resolver, f"{path}.{key}"))


def _of_pattern(pattern: Any, path: str) -> Iterator[Problem]:
    from service.expressions.language import ExpressionFault, compile_regex  # noqa: PLC0415 - jmespath

    if isinstance(pattern, str):
        try:
            compile_regex(pattern)
        except ExpressionFault as fault:
            yield Problem(path, str(fault))


def _told(error: Any) -> str:
    """Where a row does not fit, and why, with little of what it holds."""
    place = shown(_below("", error.absolute_path), _SHOWN)[1:-1] if error.absolute_path else ""
    return f"{place}: {_reason(error)}" if place else _reason(error)


def _reason(error: Any) -> str:
    kind, wanted, value = error.validator, error.validator_value, error.instance
    if kind == "type":
        types = [wanted] if isinstance(wanted, str) else [name for name in wanted if isinstance(name, str)]
        cell = isinstance(value, str) and len(error.absolute_path) == 1
        hint = "; a cell is text: name the field's type under input_mapping.types" if cell and value.strip() else ""
        return f"must be of type {' or '.join(types)}, not {shown(value, _SHOWN)}{hint}"
    if kind == "required" and isinstance(wanted, list):
        return "needs " + " and ".join(shown(name) for name in wanted if name not in value)
    if kind in ("anyOf", "oneOf"):
        return _of_branches(error) if error.context else f"fits more than one schema of {kind}"
    if kind == "additionalProperties" and isinstance(value, dict):
        return f"has names that are not allowed: {shown(extra_names(error.schema, value), _SHOWN)}"
    if kind in ("enum", "const"):
        return f"must be {'one of ' * (kind == 'enum')}{shown(wanted, 200)}, not {shown(value, _SHOWN)}"
    return f"{shown(value, _SHOWN)} does not fit " + (f"{kind} {shown(wanted, 100)}" if kind else "the schema `false`")


def _of_branches(error: Any) -> str:
    """Return the first fault of each schema, of which one should have fitted."""
    first: dict[Any, str] = {}
    for inner in error.context:
        branch = next(iter(inner.relative_schema_path), None)  # the schema `false` has no path
        first.setdefault(branch, _told(inner))
    told = list(dict.fromkeys(first.values()))
    return " or ".join(told[:_TOLD]) + (" or …" if len(told) > _TOLD else "")


def _below(path: str, steps: Iterable[Any]) -> str:
    for step in steps:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    return path
