"""Output to fields: a compiled output mapping applied to one output; never raises on a JSON value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from service.messages import Reading
from service.methods import FINDERS, Field, Found, Method
from service.texts import parse_text
from service.values import coerced, described, formatted, listed, named, settled, transformed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


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


class Chain(NamedTuple):
    """One field of a registered schema with its own methods, the first that finds it wins."""

    field: Field
    methods: tuple[Method, ...]


@dataclass(frozen=True)
class OutputPlan:
    """A compiled output mapping; `columns` is None when only the results tell which fields there are.

    `include_original` and `add_metadata` say whether the CSV has the source's columns, and those beginning with `_`.
    """

    columns: tuple[str, ...] | None
    methods: tuple[Method, ...] = ()
    chains: tuple[Chain, ...] = ()
    include_original: bool = True
    add_metadata: bool = True

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


def _by_method(plan: OutputPlan, reading: Reading) -> Extraction:
    """The fields of the first method that finds at least one of them."""
    failures = []
    for method in plan.methods:
        found = FINDERS[method.name](method, reading)
        values, reasons = _values(method, found) if found.roots else ({}, [found.reason])
        missing = [name for name in method.required if values.get(name) is None]
        if missing:
            reasons = [f"the required field {missing[0]!r} is not there", *(reasons or [found.there])]
        elif any(value is not None for value in values.values()):
            for name, default in method.defaults:
                if values.get(name) is None:
                    values[name] = default
            return Extraction({**dict.fromkeys(plan.columns or ()), **values}, method.label)
        failures.append(_failure(method, reasons))
    return Extraction({}, None, tuple(failures))


def _by_field(chains: Iterable[Chain], reading: Reading) -> Extraction:
    """Each field by the first of its own methods that finds it."""
    fields: dict[str, Any] = {}
    winners: dict[str, None] = {}
    looked: dict[str, Found] = {}  # one look for all fields that are sought by the same method and tool
    failures, missing = [], False
    for field, methods in chains:
        fields[field.name] = field.default
        tried = []
        for method in methods:
            found = looked.get(method.label)
            if found is None:
                found = FINDERS[method.name](method, reading)
                if method.is_fixed:
                    looked[method.label] = found
            value = _value(method.fields[0], found)[0] if found.roots else None
            if value is not None:
                fields[field.name] = value
                winners[method.label] = None
                break
            tried.append(_failure(method, _values(method, found)[1] if found.roots else [found.reason]))
        else:
            failures.append(f"{field.name}: {', '.join(tried)}")
            missing = missing or (field.required and field.default is None)
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
    values = {name: settled(value) for name, value in fields.items()}
    if all(value is None for value in values.values()):
        return Extraction({}, None, (f"the output is an object without a value ({described('it', core)})",))
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
        reasons.append(f"found no value for {listed(values)} ({found.there})")
    return values, reasons


def _all_keys(method: Method, found: Found) -> tuple[dict[str, Any], list[str]]:
    for value in found.objects:
        whole = parse_text(value) if method.transform == "parse_text" else value
        if isinstance(whole, dict):
            values = {str(name): settled(inner) for name, inner in whole.items()}
            empty = all(inner is None for inner in values.values())
            return values, [f"found an object without a value ({described('it', whole)})"] if empty else []
    return {}, [f"found no object, and no paths say what to take ({found.there})"]


def _value(one: Field, found: Found) -> tuple[Any, str | None]:
    """One field's value, transformed, coerced and fresh, or None with the reason when there is one to tell."""
    told = None
    for root in found.roots if one.expression is not None and len(found.roots) == 1 else _roots(one, found):
        if one.expression is None:
            value, reason = named(parse_text(root) if one.transform == "parse_text" else root, one.name), None
        else:
            value, reason = one.expression.search(root)
        if isinstance(value, float) and not math.isfinite(value):
            value = None
        if value is not None and one.transform is not None:
            value, reason = _transformed(one, value)
        if value is not None and one.kind is not None:
            value, reason = coerced(one.kind, value)
        if value is not None and one.form is not None:
            value, reason = formatted(one.form, value)
        if value is not None:
            return settled(value), None
        told = told or reason
    return None, told


def _roots(one: Field, found: Found) -> Sequence[Any]:
    """Where to look: the roots that have a name with which the expression begins, so that `a || 'x'` cannot miss a."""
    if one.expression is None:
        return found.objects
    names = one.expression.names
    return [root for root in found.roots if isinstance(root, dict) and not names.isdisjoint(root)] or found.roots


def _failure(method: Method, reasons: Sequence[str]) -> str:
    told = ", ".join(dict.fromkeys(reasons[:3])) or "found nothing"
    return f"{method.label}: {told}"


def _transformed(one: Field, value: Any) -> tuple[Any, str | None]:
    if one.transform == "parse_text":
        # Found by name, the value is already one of parse_text's fields.
        return (named(parse_text(value), one.name) if one.expression else value), None
    return transformed(one.transform or "", value)
