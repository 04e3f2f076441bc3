"""Row to target_input: the input mapping, compiled once against the source's columns.

Which columns are passed: those of `column_mappings` (or the short form, or `columns`) under their new names, those of
`include_columns` under their own, and with `exclude_columns` all but these and the renamed ones. Without any of them,
all columns. `static_values` and `transformations` add fields to that. Every field has one source.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from service.errors import BatchProcessorError, BatchRefused, Problem, nearest
from service.transformations import TRANSFORMATIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from service.transformations import Build

NOT_BUILT = {"jsonpath", "regex", "conversions"}  # known by name, refused until they exist

_ROOT = "input_mapping"
_ENVELOPES = ("default", "none")
_FORMS: dict[str, type] = {  # the keys of the long form, and what each holds
    "column_mappings": dict,
    "columns": list,
    "include_columns": list,
    "exclude_columns": list,
    "static_values": dict,
    "transformations": dict,
    "conversions": dict,
    "envelope": str,
}
_KIND_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


class RowNotMapped(BatchProcessorError):
    """One row cannot be turned into a target_input; the batch goes on."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


@dataclass(frozen=True)
class InputPlan:
    """A compiled input mapping; `columns_used` are in the source's order."""

    columns_used: tuple[str, ...]
    envelope: str = "default"
    passed: tuple[tuple[str, str], ...] = ()  # (field, column)
    static: Mapping[str, Any] = field(default_factory=dict)
    built: tuple[tuple[str, Build], ...] = ()  # (field, what makes it of a row)

    def fields(self, row: Mapping[str, str]) -> dict[str, Any]:
        """Return the target's fields: columns in mapping order, then static values, then transformations."""
        try:
            fields: dict[str, Any] = {name: row[column] for name, column in self.passed}
            fields.update(self.static)
            for name, build in self.built:
                fields[name] = build(row)
        except KeyError as error:
            raise RowNotMapped(f"the row has no cell for the column {error.args[0]!r}") from error
        return fields


def compile_input_mapping(mapping: Mapping[str, Any] | None, columns: Sequence[str]) -> InputPlan:
    """Compile the mapping for a source with these columns; raise BatchRefused with every problem in it."""
    compiler = _Compiler(columns)
    plan = compiler.plan(mapping)
    if compiler.problems:
        raise BatchRefused(compiler.problems)
    return plan


class _Compiler:
    """Reads one mapping and collects its problems."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.problems: list[Problem] = []
        self.passed: list[tuple[str, str]] = []
        self.built: list[tuple[str, Build]] = []
        self.sources: dict[str, str] = {}  # field → where it comes from
        self.used: set[str] = set()

    def plan(self, mapping: Any) -> InputPlan:
        """Return the plan of the mapping; it is of use only when there are no problems."""
        if mapping is not None and not self.typed(mapping, dict, _ROOT):
            return InputPlan(())
        given = {key: value for key, value in (mapping or {}).items() if value is not None or key not in _FORMS}
        if given and self.is_short(given):
            given = {"column_mappings": given}
            root = ""
        else:
            self.check_keys(given, _FORMS, _ROOT)
            root = ".column_mappings"
        forms = {key: value for key, value in given.items() if key in _FORMS}
        forms = {key: value for key, value in forms.items() if self.typed(value, _FORMS[key], f"{_ROOT}.{key}")}
        self.select(forms, _ROOT + root)
        static = self.static(forms.get("static_values", {}))
        self.transform(forms.get("transformations", {}))
        envelope = self.envelope(forms.get("envelope", "default"))
        if not (self.sources or self.problems):
            self.problem(_ROOT, "gives the target no field: name a column, a static value or a transformation")
        used = tuple(column for column in self.columns if column in self.used)
        return InputPlan(used, envelope, tuple(self.passed), static, tuple(self.built))

    def is_short(self, given: Mapping[str, Any]) -> bool:
        """Tell whether the mapping is `{column: field}`; a known key with its own kind of value makes it the long form.

        A known key with another kind of value is a column only if the source has that column.
        """
        for key, value in given.items():
            known = key in _FORMS or key in NOT_BUILT
            if not isinstance(value, str | None) or (known and key not in self.columns):
                return False
        return given.get("envelope") not in _ENVELOPES

    def problem(self, path: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, message))

    def typed(self, value: Any, kind: type, path: str) -> bool:
        """Tell whether the value is of the kind; note a problem if not."""
        if isinstance(value, kind):
            return True
        self.problem(path, f"must be {_KIND_NAMES[kind]}, not {_shown(value)}")
        return False

    def check_keys(self, given: Mapping[str, Any], known: Iterable[str], path: str) -> None:
        """Note every key that is not known, or not built yet."""
        names = [name for name in known if name not in NOT_BUILT]
        for key in given:
            if key in NOT_BUILT:
                self.problem(f"{path}.{key}", "is not available yet: leave it out")
            elif key not in names:
                hint = nearest(str(key), names)
                if path == _ROOT and key in self.columns:
                    hint = "to map the column of that name, put it under column_mappings"
                self.problem(f"{path}.{key}", f"unknown key: {hint}")

    def column(self, name: Any, path: str) -> str | None:
        """Return the source's column of that name: the exact one, else the only one that differs in case alone."""
        if not self.typed(name, str, path):
            return None
        if name in self.columns:
            found: str = name
        else:
            alike = [column for column in self.columns if column.casefold() == name.casefold()]
            if len(alike) != 1:
                hint = f"it could be {' or '.join(map(repr, alike))}" if alike else nearest(name, self.columns)
                self.problem(path, f"the source has no column {name!r}: {hint}")
                return None
            found = alike[0]
        self.used.add(found)
        return found

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
            self.take_entry(entry, f"{_ROOT}.columns[{index}]")
        if "include_columns" in forms and "exclude_columns" in forms:
            self.problem(f"{_ROOT}.exclude_columns", "cannot stand beside include_columns: give one of them")
        elif "include_columns" in forms:
            for index, name in enumerate(forms["include_columns"]):
                self.take(name, None, f"{_ROOT}.include_columns[{index}]")
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
        """Pass the column of one `{name, source}`; without a source it is the column called `name`."""
        if not self.typed(entry, dict, path):
            return
        self.check_keys(entry, ("name", "source"), path)
        if "name" not in entry:
            self.problem(path, "needs a name, that of the target's field")
            return
        key = "source" if entry.get("source") is not None else "name"
        self.take(entry[key], entry["name"], f"{path}.{key}", f"{path}.name")

    def take_others(self, excluded: Sequence[Any]) -> None:
        """Pass all columns under their own names but the excluded ones and those passed already."""
        renamed = {column for _, column in self.passed}
        used = set(self.used)
        out = {self.column(name, f"{_ROOT}.exclude_columns[{index}]") for index, name in enumerate(excluded)}
        self.used = used
        for column in sorted(filter(None, out & renamed)):
            self.problem(f"{_ROOT}.exclude_columns", f"excludes the column {column!r}, which is mapped to a field")
        for column in self.columns:
            if column not in out and column not in renamed:
                self.take(column, None, _ROOT)

    def static(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields that are the same for every row."""
        for name, value in values.items():
            path = f"{_ROOT}.static_values.{name}"
            self.claim(name, "static_values", path)
            try:
                json.dumps(value, allow_nan=False)
            except (TypeError, ValueError):
                self.problem(path, f"is not a JSON value: {_shown(value)}; write dates as text in quotes")
        return dict(values)

    def transform(self, transformations: Mapping[str, Any]) -> None:
        """Compile the fields that are made of several columns."""
        for name, spec in transformations.items():
            path = f"{_ROOT}.transformations.{name}"
            self.claim(name, "transformations", path)
            if not self.typed(spec, dict, path):
                continue
            self.check_keys(spec, ("type", "config"), path)
            kind = spec.get("type")
            if isinstance(kind, str) and kind in NOT_BUILT:
                built = ", ".join(TRANSFORMATIONS)
                self.problem(f"{path}.type", f"{kind!r} is not available yet: use one of {built}")
            elif not isinstance(kind, str) or kind not in TRANSFORMATIONS:
                hint = nearest(str(kind or ""), TRANSFORMATIONS)
                self.problem(f"{path}.type", f"unknown transformation {_shown(kind)}: {hint}")
            elif self.typed(spec.get("config"), dict, f"{path}.config"):
                build = TRANSFORMATIONS[kind](self, spec["config"], f"{path}.config")
                if build is not None:
                    self.built.append((name, build))

    def envelope(self, name: str) -> str:
        """Return the envelope, after checking that it is a known one."""
        if name not in _ENVELOPES:
            self.problem(f"{_ROOT}.envelope", f"unknown envelope {name!r}: {nearest(name, _ENVELOPES)}")
        return name


def _shown(value: Any) -> str:
    """Return a value as a message shows it, cut when long."""
    text = "null" if value is None else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def target_input(
    kind: Literal["tool", "agent"], name: str, call_id: str, fields: dict[str, Any], envelope: str = "default"
) -> dict[str, Any]:
    """Return what the target is given; with the envelope `none`, the fields alone."""
    if envelope == "none":
        return fields
    if kind == "tool":
        return {"name": name, "id": call_id, "input": fields}
    return {"messages": [{"role": "user", "content": _prompt(fields)}], "input": fields}


def _prompt(fields: Mapping[str, Any]) -> str:
    """Return the field `prompt`, or a line `Column name: value` for each field where that is empty or no text."""
    prompt = fields.get("prompt")
    if isinstance(prompt, str) and prompt.strip():
        return prompt
    lines = (
        f"{_readable(name)}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in fields.items()
        if not (name == "prompt" and isinstance(value, str))
    )
    return "\n".join(lines)


def _readable(name: str) -> str:
    """Return a column's name as a person would write it: `postal_code` as `Postal code`; others stay as they are."""
    words = name.replace("_", " ").strip()
    if not words or not name.islower():
        return words or name
    return words[0].upper() + words[1:]
