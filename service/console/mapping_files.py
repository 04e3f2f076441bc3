"""Schema files read, and the output mappings in them checked with every problem at once."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.console import yaml_core
from service.errors import BatchRefused, Problem, nearest
from service.expressions.values import kind_of
from service.extraction.compiler import compile_output_mapping
from service.extraction.forms import FORMS
from service.extraction.parts import BESIDE_KEYS
from service.mapping.conversions import exact
from service.request.older_keys import OLDER_KEYS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from service.extraction.fields import OutputPlan
    from service.extraction.methods import Field, Method

FILE_KEYS = ("input_mapping", "output_mapping", "output_mappings", "execution_config", "source", "csv")


# -- files -----------------------------------------------------------------------------------------------------------


def read_document(path: Path) -> Any:
    """Return what a YAML or JSON file holds, JSON values alone; raises BatchRefused with every value that is none."""
    text, form = _text(path), "JSON" if path.suffix.lower() == ".json" else "YAML or JSON"
    try:
        value = _json(text) if form == "JSON" else yaml_core.read(text)
        problems = list(_not_json(value, ""))
    except RecursionError as error:
        raise BatchRefused([Problem(str(path), "is nested too deeply, or holds itself")]) from error
    except (ValueError, yaml_core.YamlFault) as error:
        raise BatchRefused([Problem(str(path), f"cannot be read as {form}: {error}")]) from error
    if problems:
        raise BatchRefused(problems)
    if value is None:
        raise BatchRefused([Problem(str(path), "holds nothing")])
    return value


def _json(text: str) -> Any:
    """Return a JSON document; raise ValueError for a key that is there twice, and a number that would change."""
    return json.loads(text, object_pairs_hook=_once, parse_float=exact, parse_int=exact)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice!r} is there twice in one object: remove or rename one")
    return found


def read_outputs(path: Path) -> list[Any]:
    """Return the outputs of a sample file: one as JSON, or several as JSON Lines; raises BatchRefused."""
    text = _text(path)
    try:
        return [json.loads(text)]
    except (ValueError, RecursionError) as error:
        fault = error
    outputs = []
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                outputs.append(json.loads(line))
            except (ValueError, RecursionError) as error:
                told = f"as JSON: {fault}; as JSON Lines: line {number}: {error}" if outputs else str(fault)
                message = f"is not an output as JSON nor several as JSON Lines ({told}); text stands in double quotes"
                raise BatchRefused([Problem(str(path), message)]) from error
    if not outputs:
        raise BatchRefused([Problem(str(path), "holds no output")])
    return outputs


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "is not UTF-8 text"
        raise BatchRefused([Problem(str(path), reason)]) from error


def _not_json(value: Any, path: str) -> Iterator[Problem]:
    """Yield what YAML reads as something that JSON has no word for: dates, keys that are no text."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                yield Problem(path, f"the key {key!r} is read as {_kind(key)}, not as text: write it in quotes")
            yield from _not_json(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _not_json(inner, f"{path}[{index}]")
    elif not isinstance(value, str | int | float | None) or (isinstance(value, float) and not math.isfinite(value)):
        yield Problem(path, f"{value} is read as {_kind(value)}, which JSON does not have: write it in quotes")


def _kind(value: Any) -> str:
    return kind_of(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


# -- output mappings -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CheckedMapping:
    """An output mapping that compiles: for which target, when the file says so, as written and as compiled."""

    target: str | None
    mapping: dict[str, Any] | None
    plan: OutputPlan


def check_document(document: Any, target: str | None = None, kind: str | None = None) -> list[CheckedMapping]:
    """Return the output mappings of a schema, a mapping, or a file of mappings, compiled.

    Of one target or of all of them.

    Raises BatchRefused with every problem, its path as it is in the document.
    """
    mapping, place, problems = _output_part(document)
    by_target = _by_target(mapping)
    names: Iterable[str | None] = [target] if target is not None or not by_target else by_target
    checked = []
    for name in names:
        try:
            plan = compile_output_mapping(mapping, target=name, kind=kind)
        except BatchRefused as refused:
            problems += [Problem(_placed(problem.path, place), problem.message) for problem in refused.problems]
        else:
            checked.append(CheckedMapping(name or _said(mapping), _of_one(mapping, by_target, name), plan))
    if problems:
        raise BatchRefused(dict.fromkeys(problems))
    return checked


def _output_part(document: Any) -> tuple[Any, str, list[Problem]]:
    """Return the output mapping of a document, the place of its problems in it, and what else is wrong."""
    if not isinstance(document, dict) or not document:
        raise BatchRefused([Problem("", f"holds no schema and no mapping, but {kind_of(document)}")])
    is_file = any(key in document for key in FILE_KEYS if key != "output_mappings")
    if not is_file or FORMS.keys() & document.keys():
        return document, "", []
    known = (*FILE_KEYS, *OLDER_KEYS)
    problems = [Problem(key, f"unknown key; {nearest(key, FILE_KEYS)}") for key in document if key not in known]
    if document.get("output_mapping") and document.get("output_mappings"):
        problems.append(Problem("output_mappings", "give only one of output_mapping and output_mappings"))
    if document.get("output_mappings"):
        return {"output_mappings": document["output_mappings"]}, "", problems
    return document.get("output_mapping") or None, "output_mapping", problems


def _placed(path: str, place: str) -> str:
    return place + path.removeprefix("output_mapping") if place else path.removeprefix("output_mapping").lstrip(".")


def _by_target(mapping: Any) -> dict[str, Any]:
    """Return the mappings of several targets by name; {} of a mapping that is one target's alone."""
    if not isinstance(mapping, dict):
        return {}
    inner = mapping.get("output_mappings")
    if "output_mappings" not in mapping and FORMS.keys().isdisjoint(mapping):
        inner = {key: value for key, value in mapping.items() if key not in BESIDE_KEYS}
    objects = inner.values() if isinstance(inner, dict) else ()
    is_keyed = all(isinstance(one, dict) for one in objects) and any(
        not FORMS.keys().isdisjoint(one) for one in objects
    )
    return dict(inner) if is_keyed and isinstance(inner, dict) else {}


def _of_one(mapping: Any, by_target: dict[str, Any], name: str | None) -> dict[str, Any] | None:
    """Return the mapping of one target alone, with the choice of columns that stood around it."""
    if not by_target:
        return dict(mapping) if mapping else None
    around = {key: mapping[key] for key in sorted(BESIDE_KEYS & mapping.keys())}
    return {**around, **by_target[str(name)]}


def _said(mapping: Any) -> str | None:
    """Return the target that a schema names itself."""
    given = (mapping.get(key) for key in ("agent", "tool", "name")) if isinstance(mapping, dict) else ()
    return next((name for name in given if isinstance(name, str) and name), None)


def outline(checked: CheckedMapping) -> dict[str, Any]:
    """Return a compiled mapping for people and programs: its fields, each with the steps that look for it, in order."""
    plan = checked.plan
    steps = [(chain.field, method) for chain in plan.chains for method in chain.methods]
    steps += [(one, method) for method in plan.methods for one in method.fields]
    fields = [
        {
            "name": name,
            "type": next((one.kind for one, _ in steps if one.name == name and one.kind), None),
            "required": any(one.required for one, _ in steps if one.name == name),
            "default": next((one.default for one, _ in steps if one.name == name and one.default is not None), None),
            "steps": [step_of(method, field_of(method, name) or one) for one, method in steps if one.name == name],
        }
        for name in plan.columns or ()
    ]
    methods = [method.label for method in plan.methods]
    return {"target": checked.target, "each_by_its_own": bool(plan.chains), "methods": methods, "fields": fields}


def step_of(method: Method, one: Field | None) -> dict[str, Any]:
    """Return a step for people and programs: its method, expression and transform."""
    expression = None if one is None or one.expression is None else one.expression.text
    return {"method": method.label, "expression": expression, "transform": one.transform if one else method.transform}


def field_of(method: Method, name: str) -> Field | None:
    """Return the field of a name as a method looks for it."""
    return next((one for one in method.fields if one.name == name), None)
