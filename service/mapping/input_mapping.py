"""An input mapping as it is written, read against the source's columns with every problem at once.

Which columns are passed: those of `column_mappings` (or the short form, or `columns`) under their new names, those of
`include_columns` under their own, and with `exclude_columns` all but these and the renamed ones. Without any of them,
all columns. `static_values` and `transformations` add fields to that. Every field has one source.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, nearest
from service.mapping.conversions import TYPES, shown
from service.mapping.envelope import ENVELOPES
from service.mapping.input_plan import InputPlan
from service.mapping.transformations import ROOT, TRANSFORMATIONS, Compiler

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Older names of `column_mappings`, alone or one in the other.
_OLDER = ("csv_columns_to_agent_input", "csv_column_mapping")
_FORMS: dict[str, type] = {  # the keys of the long form, and what each holds
    "column_mappings": dict,
    "columns": list,
    "include_columns": list,
    "exclude_columns": list,
    "static_values": dict,
    "transformations": dict,
    "types": dict,
    "envelope": str,
}


def compile_input_mapping(mapping: Mapping[str, Any] | None, columns: Sequence[str]) -> InputPlan:
    """Compile the mapping for a source with these columns; raise BatchRefused with every problem in it."""
    compiler = _MappingCompiler(columns)
    plan = compiler.plan(mapping)
    if compiler.problems:
        raise BatchRefused(compiler.problems)
    return plan


class _MappingCompiler(Compiler):
    """Reads one mapping and collects its problems."""

    def __init__(self, columns: Sequence[str]) -> None:
        super().__init__(columns)
        self.passed: list[tuple[str, str]] = []
        self.built: list[tuple[str, str, dict[str, Any]]] = []
        self.sources: dict[str, str] = {}  # field → where it comes from
        self.types: dict[str, tuple[Any, str]] = {}  # field → its type, and where that is said

    def plan(self, mapping: Any) -> InputPlan:
        """Return the plan of the mapping; it is of use only when there are no problems."""
        if mapping is not None and not self.typed(mapping, dict, ROOT):
            return InputPlan(())
        given = {key: value for key, value in (mapping or {}).items() if value is not None or key not in _FORMS}
        given = self.renamed(given)
        if given and self.is_short(given):
            given = {"column_mappings": given}
            root = ""
        else:
            self.check_keys(given, _FORMS, ROOT)
            root = ".column_mappings"
        forms = {key: value for key, value in given.items() if key in _FORMS}
        forms = {key: value for key, value in forms.items() if self.typed(value, _FORMS[key], f"{ROOT}.{key}")}
        self.select(forms, ROOT + root)
        static = self.static(forms.get("static_values", {}))
        self.transform(forms.get("transformations", {}))
        converted = self.convert(forms.get("types", {}))
        envelope = self.envelope(forms.get("envelope", "default"))
        if not (self.sources or self.problems):
            self.problem(ROOT, "gives the target no field: name a column, a static value or a transformation")
        if self.problems:
            return InputPlan(())
        used = tuple(column for column in self.columns if column in self.used)
        return InputPlan(used, envelope, tuple(self.passed), static, tuple(self.built), converted)

    def renamed(self, given: dict[str, Any]) -> dict[str, Any]:
        """Return the mapping with older names of `column_mappings` replaced, unless the source has such a column."""
        older = [key for key in _OLDER if isinstance(given.get(key), dict) and key not in self.columns]
        for key in older:
            if "column_mappings" in given:
                self.problem(f"{ROOT}.{key}", "means the same as column_mappings: give one of them")
            given = {"column_mappings" if name == key else name: value for name, value in given.items()}
            inner = given["column_mappings"]
            if isinstance(inner, dict) and len(inner) == 1 and isinstance(inner.get(_OLDER[1]), dict):
                given["column_mappings"] = inner[_OLDER[1]]
        return given

    def is_short(self, given: Mapping[str, Any]) -> bool:
        """Tell whether the mapping is `{column: field}`; a known key with its own kind of value makes it the long form.

        A known key with another kind of value is a column only if the source has that column.
        """
        for key, value in given.items():
            if not isinstance(value, str | None) or (key in _FORMS and key not in self.columns):
                return False
        return given.get("envelope") not in ENVELOPES

    def claim(self, name: Any, source: str, path: str) -> bool:
        """Reserve a field for its source; note a problem when it has one already or no name."""
        if not self.typed(name, str, path):
            return False
        if not name:
            self.problem(path, "the field needs a name")
            return False
        if name in self.sources:
            message = (
                f"field {name!r} has two sources, {self.sources[name]} and {source}: "
                "rename one, or keep a column out with exclude_columns"
            )
            self.problem(path, message)
            return False
        self.sources[name] = source
        return True

    def select(self, forms: Mapping[str, Any], renamed_path: str) -> None:
        """Choose the columns that are passed."""
        renamed = list(forms.get("column_mappings", {}).items())
        for name, target in renamed:
            self.take(name, target, f"{renamed_path}.{name}")
        entries = forms.get("columns", [])
        for index, entry in enumerate(entries):
            self.take_entry(entry, f"{ROOT}.columns[{index}]")
        if "include_columns" in forms and "exclude_columns" in forms:
            self.problem(f"{ROOT}.exclude_columns", "cannot stand beside include_columns: give one of them")
        elif "include_columns" in forms:
            for index, name in enumerate(forms["include_columns"]):
                self.take(name, None, f"{ROOT}.include_columns[{index}]")
        elif "exclude_columns" in forms:
            self.take_others(forms["exclude_columns"])
        elif not renamed and not entries:
            self.take_others([])

    def take(self, name: Any, target: Any, path: str, target_path: str = "") -> None:
        """Pass one column as the field `target`, or under its own name where that is null."""
        column = self.column(name, path)
        wanted = column if target is None else target
        if wanted is not None and self.claim(wanted, f"column {column or name!r}", target_path or path) and column:
            self.passed.append((wanted, column))

    def take_entry(self, entry: Any, path: str) -> None:
        """Pass the column of one `{name, source, type}`; without a source it is the column called `name`."""
        if not self.typed(entry, dict, path):
            return
        self.check_keys(entry, ("name", "source", "type"), path)
        if "name" not in entry:
            self.problem(path, "needs a name, that of the target's field")
            return
        key = "source" if entry.get("source") is not None else "name"
        self.take(entry[key], entry["name"], f"{path}.{key}", f"{path}.name")
        if entry.get("type") is not None and isinstance(entry["name"], str):
            self.types[entry["name"]] = (entry["type"], f"{path}.type")

    def take_others(self, excluded: Sequence[Any]) -> None:
        """Pass all columns under their own names but the excluded ones and those passed already."""
        renamed = {column for _, column in self.passed}
        used = set(self.used)
        out = {self.column(name, f"{ROOT}.exclude_columns[{index}]") for index, name in enumerate(excluded)}
        self.used = used
        for column in sorted(filter(None, out & renamed)):
            self.problem(f"{ROOT}.exclude_columns", f"excludes the column {column!r}, which is mapped to a field")
        for column in self.columns:
            if column not in out and column not in renamed:
                self.take(column, None, ROOT)

    def static(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are the same for every row."""
        for name, value in values.items():
            path = f"{ROOT}.static_values.{name}"
            self.claim(name, "static_values", path)
            self.json_value(value, path)
        return dict(values)

    def transform(self, transformations: Mapping[str, Any]) -> None:
        """Compile the fields that are made of several columns."""
        for name, spec in transformations.items():
            path = f"{ROOT}.transformations.{name}"
            self.claim(name, "transformations", path)
            if not self.typed(spec, dict, path):
                continue
            self.check_keys(spec, ("type", "config"), path)
            kind = spec.get("type")
            if not isinstance(kind, str) or kind not in TRANSFORMATIONS:
                hint = nearest(str(kind or ""), TRANSFORMATIONS)
                self.problem(f"{path}.type", f"unknown transformation {shown(kind)}: {hint}")
            elif self.typed(spec.get("config"), dict, f"{path}.config"):
                resolved = TRANSFORMATIONS[kind](self, spec["config"], f"{path}.config")
                if resolved is not None:
                    self.built.append((name, kind, resolved))

    def convert(self, types: Mapping[str, Any]) -> tuple[tuple[str, str, str], ...]:
        """Return the fields that are not left as text, each with its type and where it comes from."""
        for name, kind in types.items():
            path = f"{ROOT}.types.{name}"
            if kind is None:
                continue
            if name in self.types:
                self.problem(path, f"the field has a type already, at {self.types[name][1]}: give one of them")
            elif name not in self.sources:
                self.problem(path, f"there is no field {name!r}: {nearest(str(name), self.sources)}")
            elif self.sources[name] == "static_values":
                self.problem(path, "a static value has the type it is written with: leave this out")
            else:
                self.types[name] = (kind, path)
        for kind, path in self.types.values():
            if not isinstance(kind, str) or kind not in TYPES:
                hint = nearest(kind if isinstance(kind, str) else "", TYPES)
                self.problem(path, f"there is no type {shown(kind)}: {hint}")
        return tuple((name, kind, self.sources.get(name, "")) for name, (kind, _) in self.types.items())

    def envelope(self, name: str) -> str:
        """Return the envelope, after checking that it is a known one."""
        if name not in ENVELOPES:
            self.problem(f"{ROOT}.envelope", f"unknown envelope {name!r}: {nearest(name, ENVELOPES)}")
        return name
