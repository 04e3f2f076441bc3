"""An output mapping in any accepted form, compiled once per batch into a plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service.errors import BatchRefused, nearest
from service.extraction import OutputPlan
from service.output_forms import FORMS
from service.output_parts import CSV_KEYS, Reader

MAX_FIELDS = 500


def compile_output_mapping(mapping: Any, *, target: str | None = None, kind: str | None = None) -> OutputPlan:
    """The plan of an output mapping in any accepted form; raises BatchRefused with every problem and its path."""
    compiler = _Compiler(target, kind)
    plan = compiler.plan(mapping, "output_mapping")
    columns = plan.columns or ()
    if len(columns) > MAX_FIELDS:
        compiler.reader.refuse("output_mapping", f"{len(columns)} fields are named; at most {MAX_FIELDS}")
    if compiler.reader.problems:
        raise BatchRefused(compiler.reader.problems)
    include, add = (compiler.csv.get(key, True) for key in ("include_original", "add_metadata"))
    return replace(plan, include_original=include, add_metadata=add)


class _Compiler:
    """Finds the mapping of our target, and its form."""

    def __init__(self, target: str | None, kind: str | None) -> None:
        self.target = target
        self.reader = Reader(kind)
        self.csv: dict[str, bool] = {}

    def plan(self, mapping: Any, path: str) -> OutputPlan:
        if mapping is None or not self.reader.is_object(mapping, path, "a mapping"):
            return OutputPlan(None)
        self._choose_columns(mapping, path)
        if "output_mappings" in mapping:
            self.reader.known(mapping, {"output_mappings", *CSV_KEYS}, path)
            return self._of_target(mapping["output_mappings"], f"{path}.output_mappings")
        forms = [form for form in FORMS if form in mapping]
        if len(forms) > 1:
            self.reader.refuse(path, f"give only one of {' and '.join(forms)}")
        if not forms:
            return self._formless(mapping, path)
        self.reader.check_kind(mapping.get("type"), f"{path}.type")
        return FORMS[forms[0]](self.reader, mapping, path)

    def _choose_columns(self, mapping: dict[str, Any], path: str) -> None:
        """Which columns the CSV has; what a target's own mapping says outweighs what stands around it."""
        for key in sorted(CSV_KEYS & mapping.keys()):
            chosen = self.reader.boolean(mapping[key], f"{path}.{key}")
            if chosen is not None:
                self.csv[key] = chosen

    def _formless(self, mapping: dict[str, Any], path: str) -> OutputPlan:
        """Mappings keyed by target, a mapping with nothing but options, or a mistake."""
        rest = {key: value for key, value in mapping.items() if key not in CSV_KEYS}
        if not rest:
            return OutputPlan(None)
        objects = [value for value in rest.values() if isinstance(value, dict)]
        if len(objects) == len(rest) and (
            self.target in rest or any(not value.keys().isdisjoint(FORMS) for value in objects)
        ):
            return self._of_target(rest, path)
        self.reader.known(rest, {"type", "output_mappings", *FORMS, *CSV_KEYS}, path)
        if "type" in rest:
            self.reader.refuse(f"{path}.extraction_methods", "is missing: say how the fields are found")
        return OutputPlan(None)

    def _of_target(self, mappings: Any, path: str) -> OutputPlan:
        """The plan of our target among the mappings of several."""
        if not self.reader.is_object(mappings, path, "output_mappings"):
            return OutputPlan(None)
        name = next(iter(mappings)) if self.target is None and len(mappings) == 1 else self.target
        if name not in mappings:
            said = f"target {name!r} has no mapping" if name else "the target has no name"
            self.reader.refuse(path, f"{said}: {nearest(name or '', mappings)}")
            return OutputPlan(None)
        return self.plan(mappings[name], f"{path}.{name}")
