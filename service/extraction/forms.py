"""The forms of an output mapping: `extraction_methods`, a registered schema, and four older forms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from service.expressions.language import compile_expression, compile_pattern
from service.expressions.values import TRANSFORMS, kind_of
from service.extraction.fields import Chain, OutputPlan
from service.extraction.methods import LAST_TEXT, Field, Method
from service.extraction.parts import BESIDE_KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from service.extraction.parts import Reader

_BY_TOOL = frozenset({"tool_result", "structured_output"})
_BY_PATH = frozenset({"jmespath", "results_array"})
# The fields of a method: `field_mappings`, and its synonym, by which jmespath's are known.
_FIELD_KEYS = ("field_mappings", "paths")
_METHOD_KEYS = frozenset({"method", "type", *_FIELD_KEYS, "transform", "description"})
_TOOL_KEYS = frozenset({"tool_name", "tool"})
_PATH_KEYS = frozenset({"path", "transform", "default", "required", "type", "format"})
_SCHEMA_KEYS = frozenset({"agent", "tool", "name", "type", "version", "description", "output_format", "fields"})
_SCHEMA_FIELD_KEYS = frozenset({"name", "type", "format", "required", "default", "description", "extraction"})
_STEP_KEYS = frozenset({"method", "type", "pattern", "path", "transform", "description"})
_COLUMN_KEYS = frozenset({"name", "source", "default", "type", "format", "description"})
_TEXT_FIELD_KEYS = frozenset(
    {"name", "pattern", "group", "path", "default", "required", "type", "format", "description"}
)


def _plan(methods: Sequence[Method]) -> OutputPlan:
    """Return a plan of methods; one that names no fields takes the fields that the others name."""
    columns = tuple(dict.fromkeys(one.name for method in methods for one in method.fields))
    if not columns:
        return OutputPlan(None, tuple(methods))
    return OutputPlan(
        columns,
        tuple(
            method
            if method.fields
            else replace(method, fields=tuple(Field(n, None, method.transform) for n in columns))
            for method in methods
        ),
    )


# -- extraction_methods ----------------------------------------------------------------------------------------------


def _extraction_methods(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    reader.known(mapping, {"type", "extraction_methods", "description", "version", *BESIDE_KEYS}, path)
    entries = reader.items(mapping["extraction_methods"], f"{path}.extraction_methods", "methods")
    compiled = (_method(reader, entry, f"{path}.extraction_methods[{i}]") for i, entry in enumerate(entries))
    return _plan([method for method in compiled if method is not None])


def _method(reader: Reader, entry: Any, path: str) -> Method | None:
    name = reader.method_name(entry, path) if reader.is_object(entry, path, "a method") else None
    if name is None:
        return None
    names_tool, needs_paths = name in _BY_TOOL, name in _BY_PATH
    allowed = _METHOD_KEYS | (_TOOL_KEYS if names_tool else set()) | (set() if needs_paths else {"fields"})
    reader.known(entry, allowed, path)
    transform = reader.choice(entry.get("transform"), TRANSFORMS, f"{path}.transform", "transform")
    given = [key for key in _FIELD_KEYS if key in entry]
    if len(given) > 1:
        reader.refuse(f"{path}.paths", "means the same as field_mappings: give one of them")
    fields = _paths(reader, entry[given[0]], f"{path}.{given[0]}", transform) if given else []
    if "fields" in entry and "fields" in allowed:
        names = reader.names(entry["fields"], f"{path}.fields", [one.name for one in fields])
        fields += [Field(one, transform=transform) for one in names]
    if needs_paths and not given:
        key = "paths" if name == "jmespath" else "field_mappings"
        reader.refuse(f"{path}.{key}", f"is missing: {name} needs the paths of its fields")
    return Method(name, reader.tool(entry, path) if names_tool else None, tuple(fields), transform)


def _paths(reader: Reader, paths: Any, path: str, transform: str | None) -> list[Field]:
    if not reader.is_object(paths, path, path.rpartition(".")[2]):
        return []
    shared = paths.get("transform")
    if isinstance(shared, str):
        # A word among the paths; a column of that name is written {"path": …}.
        transform = reader.choice(shared, TRANSFORMS, f"{path}.transform", "transform")
        paths = {name: spec for name, spec in paths.items() if name != "transform"}
    if not paths:
        reader.refuse(path, "names no field")
    fields = (_field(reader, name, spec, f"{path}.{name}", transform) for name, spec in paths.items())
    return [one for one in fields if one is not None]


def _field(reader: Reader, name: Any, spec: Any, path: str, transform: str | None) -> Field | None:
    if not reader.is_name(name, path):
        return None
    if isinstance(spec, str):
        return Field(name, reader.expression(spec, path), transform)
    if not isinstance(spec, dict):
        reader.refuse(path, f"is a path as text, or {{path, transform, default}}, not {kind_of(spec)}")
        return None
    reader.known(spec, _PATH_KEYS, path)
    if "path" not in spec:
        reader.refuse(f"{path}.path", "is missing")
        return None
    own = reader.choice(spec.get("transform"), TRANSFORMS, f"{path}.transform", "transform")
    found = Field(name, reader.expression(spec["path"], f"{path}.path"), own or transform)
    return reader.with_options(found, spec, path)


# -- a registered schema ---------------------------------------------------------------------------------------------


def _schema(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    """Every field with a chain of its own; `agent` or `tool` is the target's name, whatever its kind."""
    reader.known(mapping, _SCHEMA_KEYS | BESIDE_KEYS, path)
    entries = reader.items(mapping["fields"], f"{path}.fields", "fields")
    compiled = (_chain(reader, entry, f"{path}.fields[{i}]") for i, entry in enumerate(entries))
    chains = tuple(chain for chain in compiled if chain is not None)
    names = [chain.field.name for chain in chains]
    reader.unique(names, f"{path}.fields")
    return OutputPlan(tuple(names), (), chains)


def _chain(reader: Reader, entry: Any, path: str) -> Chain | None:
    if not reader.is_object(entry, path, "a field") or not reader.is_name(entry.get("name"), f"{path}.name"):
        return None
    reader.known(entry, _SCHEMA_FIELD_KEYS, path)
    one = reader.with_options(Field(entry["name"]), entry, path)
    if "extraction" not in entry:
        return Chain(one, (Method("direct", fields=(one,)),))
    given = entry["extraction"]
    steps = [given] if isinstance(given, dict) else reader.items(given, f"{path}.extraction", "methods")
    compiled = (_step(reader, one, step, f"{path}.extraction[{i}]") for i, step in enumerate(steps))
    return Chain(one, tuple(method for method in compiled if method is not None))


def _step(reader: Reader, one: Field, step: Any, path: str) -> Method | None:
    name = reader.method_name(step, path) if reader.is_object(step, path, "a method") else None
    if name is None:
        return None
    reader.known(step, _STEP_KEYS | (_TOOL_KEYS if name in _BY_TOOL else set()), path)
    if "pattern" in step and name != "tool_result":
        reader.refuse(f"{path}.pattern", f"belongs to tool_result; for {name} write path: \"… | parse('…')\"")
    if "pattern" in step and "path" in step:
        reader.refuse(f"{path}.pattern", "give a pattern or a path, not both")
    if name in _BY_PATH and "path" not in step:
        reader.refuse(f"{path}.path", f"is missing: {name} needs a path")
    expression = reader.expression(step["path"], f"{path}.path") if "path" in step else None
    if "pattern" in step:
        expression = reader.expression(step["pattern"], f"{path}.pattern", compile_pattern)
    transform = reader.choice(step.get("transform"), TRANSFORMS, f"{path}.transform", "transform")
    tool = reader.tool(step, path) if name in _BY_TOOL else None
    return Method(name, tool, (one._replace(expression=expression, transform=transform),), transform)


# -- older forms -----------------------------------------------------------------------------------------------------


def _structured_output_fields(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    """Read a list of names: in the structured output, or else in the output itself."""
    reader.known(mapping, {"type", "structured_output_fields", *BESIDE_KEYS}, path)
    names = reader.names(mapping["structured_output_fields"], f"{path}.structured_output_fields")
    fields = tuple(Field(name) for name in names)
    return _plan([Method("structured_output", None, fields), Method("direct", None, fields)])


def _columns(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    """Read a list of columns: a path each, with a default and a type."""
    reader.known(mapping, {"type", "columns", *BESIDE_KEYS}, path)
    entries = reader.items(mapping["columns"], f"{path}.columns", "columns")
    compiled = (_column(reader, entry, f"{path}.columns[{i}]") for i, entry in enumerate(entries))
    fields = tuple(one for one in compiled if one is not None)
    reader.unique([one.name for one in fields], f"{path}.columns")
    return _plan([Method("jmespath", None, fields)])


def _column(reader: Reader, given: Any, path: str) -> Field | None:
    entry = {"name": given} if isinstance(given, str) else given
    if not reader.is_object(entry, path, "a column") or not reader.is_name(entry.get("name"), f"{path}.name"):
        return None
    reader.known(entry, _COLUMN_KEYS, path)
    source = entry.get("source")
    expression = None if source is None else reader.expression(source, f"{path}.source")
    return reader.with_options(Field(entry["name"], expression), entry, path)


def _csv_column_mapping(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    """Read an object of columns, each with the path of its value; a column whose path is null is found by its name."""
    reader.known(mapping, {"type", "csv_column_mapping", *BESIDE_KEYS}, path)
    path = f"{path}.csv_column_mapping"
    given = mapping["csv_column_mapping"]
    if not reader.is_object(given, path, "csv_column_mapping"):
        return OutputPlan(None)
    if not given:
        reader.refuse(path, "names no column")
    fields = []
    for name, source in given.items():
        expression = None if source is None else reader.expression(source, f"{path}.{name}")
        if reader.is_name(name, f"{path}.{name}"):
            fields.append(Field(name, expression))
    return _plan([Method("jmespath", None, tuple(fields))])


def _extract_fields(reader: Reader, mapping: dict[str, Any], path: str) -> OutputPlan:
    """Read a list of fields with a regular expression each.

    Applied to the model's last text or to the text at a path.
    """
    reader.known(mapping, {"type", "extract_fields", *BESIDE_KEYS}, path)
    entries = reader.items(mapping["extract_fields"], f"{path}.extract_fields", "fields")
    compiled = (_text_field(reader, entry, f"{path}.extract_fields[{i}]") for i, entry in enumerate(entries))
    fields = tuple(one for one in compiled if one is not None)
    reader.unique([one.name for one in fields], f"{path}.extract_fields")
    return _plan([Method("extract_fields", None, fields)])


def _text_field(reader: Reader, entry: Any, path: str) -> Field | None:
    if not reader.is_object(entry, path, "a field") or not reader.is_name(entry.get("name"), f"{path}.name"):
        return None
    reader.known(entry, _TEXT_FIELD_KEYS, path)
    regex, source, group = entry.get("pattern"), entry.get("path"), entry.get("group")
    expression = None if source is None else reader.expression(source, f"{path}.path")
    if regex is None and group is not None:
        reader.refuse(f"{path}.group", "stands for a group of a pattern, and there is none")
    elif group is not None and (isinstance(group, bool) or not isinstance(group, int | str)):
        reader.refuse(f"{path}.group", f"is the number or the name of a group, not {kind_of(group)}")
    elif regex is not None:
        subject = expression if source is not None else compile_expression(f'"{LAST_TEXT}"')
        if subject is not None:
            expression = reader.expression(regex, f"{path}.pattern", lambda text: compile_pattern(text, subject, group))
    return reader.with_options(Field(entry["name"], expression), entry, path)


FORMS: dict[str, Callable[[Reader, dict[str, Any], str], OutputPlan]] = {
    "extraction_methods": _extraction_methods,
    "fields": _schema,
    "structured_output_fields": _structured_output_fields,
    "columns": _columns,
    "csv_column_mapping": _csv_column_mapping,
    "extract_fields": _extract_fields,
}
