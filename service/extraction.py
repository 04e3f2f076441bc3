"""Output to fields: an output mapping in any accepted form, compiled once into a plan that never raises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from service.errors import BatchRefused, Problem, nearest
from service.expressions import Expression, ExpressionFault, compile_expression, compile_pattern, to_number
from service.messages import Reading, is_empty, opened, parse_text, stepped

__all__ = ["METHODS", "Extraction", "OutputPlan", "compile_output_mapping", "opened"]

MAX_FIELDS = 500
# Deeper than any real output, and far from Python's own limit, so that every field can be written as JSON.
_MAX_DEPTH = 100
_SHOWN = 40


@dataclass(frozen=True)
class Extraction:
    """What one output gave: its fields and the method that found them, or why each method found nothing."""

    fields: dict[str, Any]
    method: str | None
    failures: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether a method found something; if not, the row is EXTRACTION_FAILED."""
        return self.method is not None

    @property
    def message(self) -> str:
        """Why nothing was found, in the order in which the methods were tried; empty when something was."""
        return "" if self.ok else "; ".join(self.failures)


class Field(NamedTuple):
    """One field of a method: by an expression, or by its own name when there is none."""

    name: str
    expression: Expression | None = None
    transform: str | None = None
    default: Any = None
    required: bool = False
    kind: str | None = None


class Method(NamedTuple):
    """One way to find fields; without `fields` it gives every key of what it finds."""

    name: str
    tool_name: str | None = None
    fields: tuple[Field, ...] = ()
    transform: str | None = None

    @property
    def label(self) -> str:
        """The method and its tool, for results and messages."""
        return f"{self.name}({self.tool_name})" if self.tool_name else self.name


class Chain(NamedTuple):
    """One field of a registered schema with its own methods, the first that finds it wins."""

    field: Field
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class OutputPlan:
    """A compiled output mapping; `columns` is None when only the results tell which fields there are."""

    columns: tuple[str, ...] | None
    methods: tuple[Method, ...] = ()
    chains: tuple[Chain, ...] = ()

    def extract(self, output: Any) -> Extraction:
        """The fields of one output; never raises on a JSON value."""
        try:
            reading = Reading(output)
            if reading.views == (None,):
                return Extraction({}, None, ("the output is null",))
            if reading.failed:
                return Extraction({}, None, ("the output is a tool result that says it is an error",))
            if self.chains:
                return _by_field(self.chains, reading)
            return _by_method(self, reading) if self.methods else _everything(reading.core, reading.views)
        except RecursionError:
            return Extraction({}, None, ("the output is nested too deeply",))


# -- the methods: where each looks -----------------------------------------------------------------------------------


class Found(NamedTuple):
    """What a method looks at: roots for expressions, objects for names, or the reason why there is neither."""

    roots: Sequence[Any] = ()
    objects: Sequence[Any] = ()
    reason: str = ""


def _tool_result(method: Method, reading: Reading) -> Found:
    """The last result of the tool that is neither an error nor empty, as `content`."""
    results = [one for one in reading.results if _is_tool(one.name, method.tool_name)]
    usable = [one for one in results if not one.is_error and not is_empty(one.content)]
    if usable:
        content = usable[-1].content
        whole = stepped(content) if isinstance(content, str) else content
        return Found(({"content": content}, whole) if isinstance(whole, dict) else ({"content": content},), (whole,))
    if not results:
        return Found(reason=_no_tool("result", method.tool_name, (one.name for one in reading.results)))
    return Found(reason="the tool's result is an error" if results[-1].is_error else "the tool's result is empty")


def _structured_output(method: Method, reading: Reading) -> Found:
    """The structured object: a tool call's arguments, a `structured_output`, a tool result that is an object."""
    calls = [one.arguments for one in reversed(reading.calls) if _is_tool(one.name, method.tool_name)]
    own = [stepped_or(view.get("structured_output")) for view in reading.views if isinstance(view, dict)]
    results = [
        stepped_or(one.content)
        for one in reversed(reading.results)
        if not one.is_error and (one.name is None or _is_tool(one.name, method.tool_name))
    ]
    # A call of the named tool is the answer; without a name, any tool's call comes after what calls itself the answer.
    ordered = [*calls, *own, *results] if method.tool_name else [*own, *calls, *results]
    objects = [value for value in ordered if isinstance(value, dict) and value]
    if not objects:
        return Found(reason=_no_tool("structured output", method.tool_name, (one.name for one in reading.calls)))
    chosen = objects[0]
    if not method.tool_name:
        chosen = next((value for value in objects if any(_may_hold(one, value) for one in method.fields)), chosen)
    return Found((chosen, {"structured_output": chosen}), (chosen,))


def _jmespath(_method: Method, reading: Reading) -> Found:
    """The output itself, and what its envelopes hold."""
    return Found(reading.views, reading.views)


def _results_array(_method: Method, reading: Reading) -> Found:
    """The output, or a tool's result, with its `results`; a bare list counts as `results`."""
    answers = [stepped_or(one.content) for one in reversed(reading.results) if not one.is_error]
    roots = [{"results": view} if isinstance(view, list) else view for view in (*reading.views, *answers)]
    # One list, never the title of one and the address of another.
    holding = [root for root in roots if isinstance(root, dict) and stepped_or(root.get("results"))][:1]
    others = [view for view in reading.views if not isinstance(view, dict) or "results" not in view]
    return Found([*holding, *others] or roots)


def _direct(_method: Method, reading: Reading) -> Found:
    """The output's own fields."""
    return Found(reading.views, reading.views)


METHODS: dict[str, Callable[[Method, Reading], Found]] = {
    "tool_result": _tool_result,
    "structured_output": _structured_output,
    "jmespath": _jmespath,
    "results_array": _results_array,
    "direct": _direct,
}


def stepped_or(value: Any) -> Any:
    """A value, or what its text holds as JSON."""
    return stepped(value) if isinstance(value, str) else value


def _is_tool(name: str | None, wanted: str | None) -> bool:
    return wanted is None or (name is not None and name.casefold() == wanted.casefold())


def _no_tool(what: str, wanted: str | None, seen: Iterable[str | None]) -> str:
    names = ", ".join(dict.fromkeys(name for name in seen if name))
    hint = f" (tools in it: {_shown(names)})" if names else ""
    return f"the output has no {what} of tool {wanted!r}{hint}" if wanted else f"the output has no {what}{hint}"


def _may_hold(one: Field, value: dict[str, Any]) -> bool:
    if one.expression is None:
        return _named(value, one.name) is not None
    return not one.expression.names.isdisjoint(value)


# -- running a plan --------------------------------------------------------------------------------------------------


def _by_method(plan: OutputPlan, reading: Reading) -> Extraction:
    """The fields of the first method that finds at least one of them."""
    failures = []
    for method in plan.methods:
        found = METHODS[method.name](method, reading)
        values, reasons = _values(method, found) if found.roots else ({}, [found.reason])
        missing = [one.name for one in method.fields if one.required and _missing(one, values)]
        if missing:
            reasons = [f"the required field {missing[0]!r} is not there", *reasons]
        elif any(value is not None for value in values.values()):
            filled = {one.name: one.default for one in method.fields if values.get(one.name) is None}
            empty = dict.fromkeys(plan.columns or ())
            return Extraction({**empty, **values, **filled}, method.label)
        failures.append(_failure(method, reasons))
    return Extraction({}, None, tuple(failures))


def _by_field(chains: Iterable[Chain], reading: Reading) -> Extraction:
    """Each field by the first of its own methods that finds it."""
    fields: dict[str, Any] = {}
    winners: dict[str, None] = {}
    failures, missing = [], False
    for chain in chains:
        name = chain.field.name
        fields[name] = chain.field.default
        tried = []
        for method in chain.methods:
            found = METHODS[method.name](method, reading)
            values, reasons = _values(method, found) if found.roots else ({}, [found.reason])
            if values.get(name) is not None:
                fields[name] = values[name]
                winners[method.label] = None
                break
            tried.append(_failure(method, reasons))
        else:
            failures.append(f"{name}: {', '.join(tried)}")
            missing = missing or (chain.field.required and chain.field.default is None)
    if not winners or missing:
        return Extraction(fields if winners else {}, None, tuple(failures))
    return Extraction(fields, "+".join(winners))


def _everything(core: Any, views: Sequence[Any]) -> Extraction:
    """An object's top-level keys as the fields; any other value as the one field `value`."""
    if core is None:
        return Extraction({}, None, ("the output is null",))
    codes = [view.get("statusCode") for view in views if isinstance(view, dict) and "body" in view]
    refused = next((code for code in codes if isinstance(code, int) and code >= 400), None)
    if refused is not None:
        return Extraction({}, None, (f"the tool answered with the status code {refused}",))
    fields = {"value": core} if not isinstance(core, dict) else core
    values = {name: _settled(value) for name, value in fields.items()}
    if all(value is None for value in values.values()):
        return Extraction({}, None, ("the output is an object without a value",))
    return Extraction(values, "direct")


def _values(method: Method, found: Found) -> tuple[dict[str, Any], list[str]]:
    """The values of a method's fields, null where there is none, and the reasons worth telling."""
    if not method.fields:
        return _all_keys(method, found)
    values, reasons = {}, []
    for one in method.fields:
        value, reason = _value(one, found)
        if reason:
            reasons.append(f"{one.name}: {reason}")
        values[one.name] = value
    if not reasons and all(value is None for value in values.values()):
        names = ", ".join(repr(name) for name in list(values)[:3])
        reasons.append(f"found no value for {names}{' and others' if len(values) > 3 else ''}")
    return values, reasons


def _all_keys(method: Method, found: Found) -> tuple[dict[str, Any], list[str]]:
    for value in found.objects:
        whole = parse_text(value) if method.transform == "parse_text" else value
        if isinstance(whole, dict):
            return {str(name): _settled(inner) for name, inner in whole.items()}, ["found an object without a value"]
    return {}, ["found no object, and no paths say what to take"]


def _value(one: Field, found: Found) -> tuple[Any, str | None]:
    """One field's value, transformed, coerced and fresh, or None with the reason when there is one to tell."""
    value, told = None, None
    for root in _roots(one, found):
        if one.expression is None:
            value, reason = _named(parse_text(root) if one.transform == "parse_text" else root, one.name), None
        else:
            value, reason = one.expression.search(root)
        value = None if isinstance(value, float) and not math.isfinite(value) else value
        if value is not None and one.transform is not None:
            value, reason = _transformed(one, value)
        if value is not None and one.kind is not None:
            value, reason = _coerced(one.kind, value)
        value = _settled(value)
        if value is not None:
            return value, None
        told = told or reason
    return value, told


def _roots(one: Field, found: Found) -> Sequence[Any]:
    """Where to look: the roots that have a name with which the expression begins, so that `a || 'x'` cannot miss a."""
    if one.expression is None:
        return found.objects
    if len(found.roots) == 1:
        return found.roots
    names = one.expression.names
    return [root for root in found.roots if isinstance(root, dict) and not names.isdisjoint(root)] or found.roots


def _named(value: Any, name: str) -> Any:
    """The value under a name, exact or else ignoring case, spaces, hyphens and underscores."""
    value = stepped_or(value)
    if not isinstance(value, dict):
        return None
    if name in value:
        return value[name]
    plain = _plain(name)
    return next((inner for key, inner in value.items() if _plain(str(key)) == plain), None) if plain else None


def _plain(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum())


def _missing(one: Field, values: dict[str, Any]) -> bool:
    return values.get(one.name) is None and one.default is None


def _failure(method: Method, reasons: Sequence[str]) -> str:
    told = ", ".join(dict.fromkeys(reasons[:3])) or "found nothing"
    return f"{method.label}: {told}"


def _settled(value: Any, depth: int = _MAX_DEPTH) -> Any:
    """A fresh copy that can be written as JSON: what is not finite becomes null, what is too deep is refused."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if not isinstance(value, dict | list):
        return value
    if depth == 0:
        raise RecursionError
    if isinstance(value, list):
        return [_settled(item, depth - 1) for item in value]
    return {str(name): _settled(item, depth - 1) for name, item in value.items()}


# -- transforms and types --------------------------------------------------------------------------------------------

_Step = Callable[[Any], Any]


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
    whole = stepped_or(value)
    return whole if isinstance(whole, list) else None


def _as_object(value: Any) -> dict[str, Any] | None:
    whole = stepped_or(value)
    return whole if isinstance(whole, dict) else None


def _as_json(value: Any) -> str:
    return json.dumps(_settled(stepped_or(value)), ensure_ascii=False)


_TRANSFORMS: dict[str, _Step] = {"parse_text": parse_text, "to_number": to_number, "to_string": _as_text}
_TYPES: dict[str, _Step] = {
    "string": _as_text,
    "number": to_number,
    "integer": _as_integer,
    "boolean": _as_boolean,
    "array": _as_list,
    "object": _as_object,
    "json_string": _as_json,
}


def _transformed(one: Field, value: Any) -> tuple[Any, str | None]:
    if one.transform == "parse_text":
        # Found by name, the value is already one of parse_text's fields.
        return (_named(parse_text(value), one.name) if one.expression else value), None
    result = _TRANSFORMS[one.transform or ""](value)
    return result, None if result is not None else f"{one.transform} finds nothing in {_shown(value)}"


def _coerced(kind: str, value: Any) -> tuple[Any, str | None]:
    result = _TYPES[kind](value)
    return result, None if result is not None else f"{_shown(value)} is not of the type {kind}"


def _shown(value: Any) -> str:
    """A value for a message: never more of an output than a few words."""
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = value if isinstance(value, str) else str(value)[:_SHOWN]
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…")[: _SHOWN + 15]


# -- compiling -------------------------------------------------------------------------------------------------------

_KINDS = {"agent": "agent", "state_machine": "agent", "tool": "tool", "lambda": "tool"}
_SYNONYMS = {"structured": "structured_output"}
_FORMS = ("extraction_methods", "fields", "structured_output_fields", "columns")
# They choose the CSV's columns, not the fields: whoever writes the CSV reads them.
_CSV_KEYS = frozenset({"include_original", "add_metadata"})
_METHOD_KEYS = frozenset({"method", "type", "paths", "transform", "description"})
_TOOL_KEYS = frozenset({"tool_name", "tool"})
_PATH_KEYS = frozenset({"path", "transform", "default", "required", "type"})
_SCHEMA_KEYS = frozenset({"agent", "tool", "name", "type", "version", "description", "output_format", "fields"})
_SCHEMA_FIELD_KEYS = frozenset({"name", "type", "required", "default", "description", "extraction"})
_STEP_KEYS = frozenset({"method", "type", "pattern", "path", "transform", "description"})
_COLUMN_KEYS = frozenset({"name", "source", "default", "type", "format", "description"})


def compile_output_mapping(mapping: Any, *, target: str | None = None, kind: str | None = None) -> OutputPlan:
    """The plan of an output mapping in any accepted form; raises BatchRefused with every problem and its path."""
    compiler = _Compiler(target, _KINDS.get(kind or "", kind))
    plan = compiler.plan(mapping, "output_mapping")
    if len(plan.columns or ()) > MAX_FIELDS:
        compiler.refuse("output_mapping", f"{len(plan.columns or ())} fields are named; at most {MAX_FIELDS}")
    if compiler.problems:
        raise BatchRefused(compiler.problems)
    return plan


class _Compiler:
    """Collects every problem of a mapping while it compiles what it can."""

    def __init__(self, target: str | None, kind: str | None) -> None:
        self.target, self.kind = target, kind
        self.problems: list[Problem] = []

    def refuse(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))

    def plan(self, mapping: Any, path: str) -> OutputPlan:
        if mapping is None:
            return OutputPlan(None)
        if not self._is_object(mapping, path, "a mapping"):
            return OutputPlan(None)
        if "output_mappings" in mapping:
            self._known(mapping, {"output_mappings", *_CSV_KEYS}, path)
            return self._chosen(mapping["output_mappings"], f"{path}.output_mappings")
        forms = [form for form in _FORMS if form in mapping]
        if len(forms) > 1:
            self.refuse(path, f"give only one of {' and '.join(forms)}")
        if not forms:
            return self._formless(mapping, path)
        compile_form = {
            "extraction_methods": self._methods,
            "fields": self._schema,
            "structured_output_fields": self._structured,
            "columns": self._columns,
        }[forms[0]]
        return compile_form(mapping, path)

    def _formless(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        """Mappings keyed by target, a mapping with nothing but options, or a mistake."""
        rest = {key: value for key, value in mapping.items() if key not in _CSV_KEYS}
        if not rest:
            return OutputPlan(None)
        objects = [value for value in rest.values() if isinstance(value, dict)]
        if len(objects) == len(rest) and (
            self.target in rest or any(not value.keys().isdisjoint(_FORMS) for value in objects)
        ):
            return self._chosen(rest, path)
        self._known(rest, {"type", "output_mappings", *_FORMS, *_CSV_KEYS}, path)
        if "type" in rest:
            self.refuse(f"{path}.extraction_methods", "is missing: say how the fields are found")
        return OutputPlan(None)

    def _chosen(self, mappings: Any, path: str) -> OutputPlan:
        """The plan of our target among the mappings of several."""
        if not self._is_object(mappings, path, "output_mappings"):
            return OutputPlan(None)
        name = next(iter(mappings)) if self.target is None and len(mappings) == 1 else self.target
        if name not in mappings:
            said = f"target {name!r} has no mapping" if name else "the target has no name"
            self.refuse(path, f"{said}: {nearest(name or '', mappings)}")
            return OutputPlan(None)
        return self.plan(mappings[name], f"{path}.{name}")

    def _methods(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        self._known(mapping, {"type", "extraction_methods", "description", "version", *_CSV_KEYS}, path)
        self._check_kind(mapping.get("type"), f"{path}.type")
        entries = self._list(mapping["extraction_methods"], f"{path}.extraction_methods", "methods")
        compiled = (self._method(entry, f"{path}.extraction_methods[{i}]") for i, entry in enumerate(entries))
        return _plan([method for method in compiled if method is not None])

    def _method(self, entry: Any, path: str) -> Method | None:
        if not self._is_object(entry, path, "a method"):
            return None
        name = self._method_name(entry, path)
        if name is None:
            return None
        names_tool, needs_paths = name in _BY_TOOL, name in _BY_PATH
        allowed = _METHOD_KEYS | (_TOOL_KEYS if names_tool else set()) | (set() if needs_paths else {"fields"})
        self._known(entry, allowed, path)
        transform = self._choice(entry.get("transform"), _TRANSFORMS, f"{path}.transform", "transform")
        fields = self._paths(entry["paths"], f"{path}.paths", transform) if "paths" in entry else []
        if "fields" in entry and "fields" in allowed:
            names = self._names(entry["fields"], f"{path}.fields", {one.name for one in fields})
            fields += [Field(one, transform=transform) for one in names]
        if needs_paths and "paths" not in entry:
            self.refuse(f"{path}.paths", f"is missing: {name} needs the paths of its fields")
        return Method(name, self._tool(entry, path) if names_tool else None, tuple(fields), transform)

    def _method_name(self, entry: dict[str, Any], path: str) -> str | None:
        key = "method" if "method" in entry else "type"
        given = entry.get(key)
        if given is None:
            self.refuse(f"{path}.method", f"is missing; {nearest('', METHODS)}")
            return None
        if "method" in entry and entry.get("type", given) != given:
            self.refuse(f"{path}.type", f"says {entry['type']!r} where method says {given!r}")
        name = _SYNONYMS.get(given, given) if isinstance(given, str) else given
        if not isinstance(name, str) or name not in METHODS:
            self.refuse(f"{path}.{key}", f"there is no method {given!r}: {nearest(str(given), METHODS)}")
            return None
        return name

    def _tool(self, entry: dict[str, Any], path: str) -> str | None:
        key = "tool_name" if "tool_name" in entry else "tool"
        name = entry.get(key)
        if name is not None and (not isinstance(name, str) or not name.strip()):
            self.refuse(f"{path}.{key}", "is the name of a tool, as text")
            return None
        return name

    def _paths(self, paths: Any, path: str, transform: str | None) -> list[Field]:
        if not self._is_object(paths, path, "paths"):
            return []
        shared = paths.get("transform")
        if isinstance(shared, str):
            # A word among the paths; a column of that name is written {"path": …}.
            transform = self._choice(shared, _TRANSFORMS, f"{path}.transform", "transform")
            paths = {name: spec for name, spec in paths.items() if name != "transform"}
        if not paths:
            self.refuse(path, "names no field")
        fields = (self._field(name, spec, f"{path}.{name}", transform) for name, spec in paths.items())
        return [one for one in fields if one is not None]

    def _field(self, name: Any, spec: Any, path: str, transform: str | None) -> Field | None:
        if not self._is_name(name, path):
            return None
        if isinstance(spec, str):
            return Field(name, self._expression(spec, path), transform)
        if not isinstance(spec, dict):
            self.refuse(path, f"is a path as text, or {{path, transform, default}}, not {_kind_of(spec)}")
            return None
        self._known(spec, _PATH_KEYS, path)
        if "path" not in spec:
            self.refuse(f"{path}.path", "is missing")
            return None
        own = self._choice(spec.get("transform"), _TRANSFORMS, f"{path}.transform", "transform")
        found = Field(name, self._expression(spec["path"], f"{path}.path"), own or transform)
        return self._with_options(found, spec, path)

    def _with_options(self, one: Field, spec: dict[str, Any], path: str) -> Field:
        """A field with its type, default and whether it is required."""
        required = spec.get("required", False)
        if not isinstance(required, bool):
            self.refuse(f"{path}.required", "is true or false")
        kind = self._choice(spec.get("type"), _TYPES, f"{path}.type", "type")
        return one._replace(default=spec.get("default"), required=required is True, kind=kind)

    def _schema(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        """A registered schema: every field with a chain of its own."""
        self._known(mapping, _SCHEMA_KEYS | _CSV_KEYS, path)
        self._check_kind(mapping.get("type"), f"{path}.type")
        for key in ("agent", "tool"):
            if isinstance(mapping.get(key), str):
                self._check_kind(key, f"{path}.{key}")
        entries = self._list(mapping["fields"], f"{path}.fields", "fields")
        compiled = (self._chain(entry, f"{path}.fields[{i}]") for i, entry in enumerate(entries))
        chains = tuple(chain for chain in compiled if chain is not None)
        self._unique([chain.field.name for chain in chains], f"{path}.fields")
        return OutputPlan(tuple(chain.field.name for chain in chains), (), chains)

    def _chain(self, entry: Any, path: str) -> Chain | None:
        if not self._is_object(entry, path, "a field") or not self._is_name(entry.get("name"), f"{path}.name"):
            return None
        self._known(entry, _SCHEMA_FIELD_KEYS, path)
        one = self._with_options(Field(entry["name"]), entry, path)
        if "extraction" not in entry:
            return Chain(one, (Method("direct", fields=(one,)),))
        given = entry["extraction"]
        steps = [given] if isinstance(given, dict) else self._list(given, f"{path}.extraction", "methods")
        compiled = (self._step(one, step, f"{path}.extraction[{i}]") for i, step in enumerate(steps))
        return Chain(one, tuple(method for method in compiled if method is not None))

    def _step(self, one: Field, step: Any, path: str) -> Method | None:
        name = self._method_name(step, path) if self._is_object(step, path, "a method") else None
        if name is None:
            return None
        self._known(step, _STEP_KEYS | (_TOOL_KEYS if name in _BY_TOOL else set()), path)
        if "pattern" in step and name != "tool_result":
            self.refuse(f"{path}.pattern", f"belongs to tool_result; for {name} write path: \"… | parse('…')\"")
        if "pattern" in step and "path" in step:
            self.refuse(f"{path}.pattern", "give a pattern or a path, not both")
        if name in _BY_PATH and "path" not in step:
            self.refuse(f"{path}.path", f"is missing: {name} needs a path")
        expression = self._expression(step["path"], f"{path}.path") if "path" in step else None
        if "pattern" in step:
            expression = self._expression(step["pattern"], f"{path}.pattern", compile_pattern)
        transform = self._choice(step.get("transform"), _TRANSFORMS, f"{path}.transform", "transform")
        tool = self._tool(step, path) if name in _BY_TOOL else None
        return Method(name, tool, (one._replace(expression=expression, transform=transform),), transform)

    def _structured(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        """The older list of names: in the structured output, or else in the output itself."""
        self._known(mapping, {"type", "structured_output_fields", *_CSV_KEYS}, path)
        self._check_kind(mapping.get("type"), f"{path}.type")
        names = self._names(mapping["structured_output_fields"], f"{path}.structured_output_fields", set())
        fields = tuple(Field(name) for name in names)
        return _plan([Method("structured_output", None, fields), Method("direct", None, fields)])

    def _columns(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        """The older list of columns: a path each, with a default and a type."""
        self._known(mapping, {"type", "columns", *_CSV_KEYS}, path)
        self._check_kind(mapping.get("type"), f"{path}.type")
        entries = self._list(mapping["columns"], f"{path}.columns", "columns")
        compiled = (self._column(entry, f"{path}.columns[{i}]") for i, entry in enumerate(entries))
        fields = tuple(one for one in compiled if one is not None)
        self._unique([one.name for one in fields], f"{path}.columns")
        return _plan([Method("jmespath", None, fields)])

    def _column(self, entry: Any, path: str) -> Field | None:
        entry = {"name": entry} if isinstance(entry, str) else entry
        if not self._is_object(entry, path, "a column") or not self._is_name(entry.get("name"), f"{path}.name"):
            return None
        self._known(entry, _COLUMN_KEYS, path)
        if entry.get("format") is not None:
            self.refuse(f"{path}.format", "is not available yet; take it out, or write the form into the source's path")
        source = entry.get("source")
        expression = None if source is None else self._expression(source, f"{path}.source")
        return self._with_options(Field(entry["name"], expression), entry, path)

    def _expression(
        self, text: Any, path: str, compiler: Callable[[str], Expression] = compile_expression
    ) -> Expression | None:
        if not isinstance(text, str):
            self.refuse(path, f"is text, not {_kind_of(text)}")
            return None
        try:
            return compiler(text)
        except ExpressionFault as fault:
            self.refuse(path, str(fault))
            return None

    def _check_kind(self, given: Any, path: str) -> None:
        """Whether `type` is one of ours and, when the target's is known, the same."""
        if given is None:
            return
        if not isinstance(given, str) or given not in _KINDS:
            self.refuse(path, f"there is no type {given!r}: {nearest(str(given), _KINDS)}")
        elif self.kind in _KINDS.values() and _KINDS[given] != self.kind:
            self.refuse(path, f"says {given!r}, but the target is {'an' if self.kind == 'agent' else 'a'} {self.kind}")

    def _choice(self, given: Any, table: dict[str, _Step], path: str, what: str) -> str | None:
        if given is None or (isinstance(given, str) and given in table):
            return given
        self.refuse(path, f"there is no {what} {given!r}: {nearest(str(given), table)}")
        return None

    def _known(self, given: dict[str, Any], allowed: Iterable[str], path: str) -> None:
        known = sorted(allowed)
        for key in given:
            if key not in known:
                self.refuse(f"{path}.{key}", f"unknown key: {nearest(str(key), known)}")

    def _is_object(self, given: Any, path: str, what: str) -> bool:
        if not isinstance(given, dict):
            self.refuse(path, f"{what} is an object, not {_kind_of(given)}")
        return isinstance(given, dict)

    def _list(self, given: Any, path: str, what: str) -> list[Any]:
        if not isinstance(given, list) or not given:
            self.refuse(path, f"is a list of {what} with at least one")
            return []
        return given

    def _is_name(self, name: Any, path: str) -> bool:
        if isinstance(name, str) and name.strip():
            return True
        self.refuse(path, "a field needs a name, as text")
        return False

    def _names(self, given: Any, path: str, taken: set[str]) -> list[str]:
        listed = enumerate(self._list(given, path, "field names"))
        names = [name for i, name in listed if self._is_name(name, f"{path}[{i}]")]
        self._unique([*taken, *names], path)
        return names

    def _unique(self, names: list[str], path: str) -> None:
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.refuse(path, f"the field {name!r} is named twice")


_BY_TOOL = frozenset({"tool_result", "structured_output"})
_BY_PATH = frozenset({"jmespath", "results_array"})


def _plan(methods: Sequence[Method]) -> OutputPlan:
    """A plan of methods; one that names no fields takes the fields that the others name."""
    columns = tuple(dict.fromkeys(one.name for method in methods for one in method.fields))
    if not columns:
        return OutputPlan(None, tuple(methods))
    return OutputPlan(
        columns,
        tuple(
            method
            if method.fields
            else method._replace(fields=tuple(Field(n, None, method.transform) for n in columns))
            for method in methods
        ),
    )


def _kind_of(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")
