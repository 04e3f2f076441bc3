"""The parts that every form of an output mapping is made of, read with every problem collected."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

from service.errors import Problem, nearest
from service.expressions.language import Expression, ExpressionFault, compile_expression
from service.expressions.values import TYPES, compile_form, kind_of
from service.extraction.methods import METHODS, Field
from service.models import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from service.expressions.values import Form, Step

# They choose the CSV's columns, not the fields.
CSV_KEYS = frozenset({"include_original", "add_metadata"})
CONDITION_KEYS = ("fail_when", "retry_when")  # when an output is that of a failed call
BESIDE_KEYS = CSV_KEYS | {*CONDITION_KEYS}  # what every form may have beside its fields
_SYNONYMS = {"structured": "structured_output"}


class Reader:
    """Reads parts of one mapping; what is faulty becomes a problem, so that one refusal names everything."""

    def __init__(self, kind: str | None) -> None:
        self.kind = KINDS.get(kind or "", kind)
        self.problems: list[Problem] = []

    def refuse(self, path: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, message))

    def expression(
        self, text: Any, path: str, compiler: Callable[[str], Expression] = compile_expression
    ) -> Expression | None:
        """Return the expression compiled."""
        if not isinstance(text, str):
            self.refuse(path, f"is text, not {kind_of(text)}")
            return None
        try:
            return compiler(text)
        except ExpressionFault as fault:
            self.refuse(path, str(fault))
            return None

    def conditions(self, given: Any, path: str) -> tuple[tuple[Expression, ...], bool]:
        """Conditions, one or a list, and whether `false` or null is among them, which switches off what is usual."""
        found, entries = [], list(enumerate(given)) if isinstance(given, list) else [(None, given)]
        for number, entry in entries:
            if entry is not None and entry is not False and entry != "false":
                found.append(self.expression(entry, path if number is None else f"{path}[{number}]"))
        kept = tuple(one for one in found if one is not None)
        return kept, len(found) < len(entries)

    def check_kind(self, given: Any, path: str) -> None:
        """Whether `type` is one of ours and, when the target's is known, the same."""
        if given is None:
            return
        if not isinstance(given, str) or given not in KINDS:
            self.refuse(path, f"there is no type {given!r}: {nearest(str(given), KINDS)}")
        elif self.kind in KINDS.values() and KINDS[given] != self.kind:
            self.refuse(path, f"says {given!r}, but the target is {'an' if self.kind == 'agent' else 'a'} {self.kind}")

    def method_name(self, entry: dict[str, Any], path: str) -> str | None:
        """Return the method's name, given as `method` or as `type`."""
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

    def tool(self, entry: dict[str, Any], path: str) -> str | None:
        """Return the tool's name, given as `tool_name` or as `tool`."""
        key = "tool_name" if "tool_name" in entry else "tool"
        name = entry.get(key)
        if name is not None and (not isinstance(name, str) or not name.strip()):
            self.refuse(f"{path}.{key}", "is the name of a tool, as text")
            return None
        return name

    def with_options(self, one: Field, spec: dict[str, Any], path: str) -> Field:
        """Return a field with its type, format, default and whether it is required."""
        required = self.boolean(spec.get("required"), f"{path}.required")
        kind = self.choice(spec.get("type"), TYPES, f"{path}.type", "type")
        form = self.form(spec.get("format"), kind, f"{path}.format")
        # A date's form may show the time of day, which the type date would have cut off.
        kind = None if form is not None and form.kind == "date" else kind
        return one._replace(default=spec.get("default"), required=required is True, kind=kind, form=form)

    def form(self, given: Any, kind: str | None, path: str) -> Form | None:
        """How a field is written, by its `format`."""
        if given is None:
            return None
        if not isinstance(given, str):
            self.refuse(path, f"is text, not {kind_of(given)}")
            return None
        try:
            return compile_form(kind, given)
        except ValueError as fault:
            self.refuse(path, str(fault))
            return None

    def boolean(self, given: Any, path: str) -> bool | None:
        """Return true, false, or None when it is null."""
        if given is None or isinstance(given, bool):
            return given
        self.refuse(path, f"is true or false, not {kind_of(given)}")
        return None

    def choice(self, given: Any, table: dict[str, Step], path: str, what: str) -> str | None:
        """One of a table's names, or None when it is null."""
        if given is None or (isinstance(given, str) and given in table):
            return given
        # Among few names one is soon the nearest: unless it is near, all of them are told.
        close = difflib.get_close_matches(str(given).lower(), table, n=1, cutoff=0.6)
        self.refuse(path, f"there is no {what} {given!r}: {nearest(close[0] if close else '', table)}")
        return None

    def known(self, given: dict[str, Any], allowed: Iterable[str], path: str) -> None:
        """Refuse every key that is not allowed."""
        names = sorted(allowed)
        for key in given:
            if key not in names:
                self.refuse(f"{path}.{key}", f"unknown key: {nearest(str(key), names)}")

    def is_object(self, given: Any, path: str, what: str) -> bool:
        """Whether it is an object."""
        if not isinstance(given, dict):
            self.refuse(path, f"{what} is an object, not {kind_of(given)}")
        return isinstance(given, dict)

    def items(self, given: Any, path: str, what: str) -> list[Any]:
        """Return the items of a list that has at least one."""
        if not isinstance(given, list) or not given:
            self.refuse(path, f"is a list of {what} with at least one")
            return []
        return given

    def is_name(self, name: Any, path: str) -> bool:
        """Whether it can be the name of a field."""
        if isinstance(name, str) and name.strip():
            return True
        self.refuse(path, "a field needs a name, as text")
        return False

    def names(self, given: Any, path: str, taken: Iterable[str] = ()) -> list[str]:
        """Return a list of fields' names, each once and none of those taken already."""
        listed = enumerate(self.items(given, path, "field names"))
        names = [name for i, name in listed if self.is_name(name, f"{path}[{i}]")]
        self.unique([*taken, *names], path)
        return names

    def unique(self, names: list[str], path: str) -> None:
        """Refuse every name that is there twice."""
        for name in dict.fromkeys(name for name in names if names.count(name) > 1):
            self.refuse(path, f"the field {name!r} is named twice")
