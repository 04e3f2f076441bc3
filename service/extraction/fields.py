"""Output to fields: a compiled output mapping applied to one output; never raises on a JSON value."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from service.expressions.json_text import parse_text
from service.expressions.model_text import last_answer
from service.expressions.values import coerced, described, formatted, json_safe_copy, listed, named, transformed
from service.extraction.conversation import Reading
from service.extraction.methods import FINDERS, Field, Found, Method, chooser
from service.extraction.refusals import USUAL, refused
from service.extraction.stop_reasons import stopped, without_last
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from service.extraction.conversation import Choose
    from service.extraction.refusals import Fault, Watch


_LOOK_AT_ALL = frozenset({"jmespath", "direct", "extract_fields"})


@dataclass(frozen=True)
class Extraction:
    """What one output gave: its fields and the method that found them, or why there are none.

    `fault` is the reason that stands before any method: a failed call, or an answer that is not whole.
    """

    fields: dict[str, Any]
    method: str | None
    failures: tuple[str, ...] = ()
    fault: Fault | None = None

    @property
    def ok(self) -> bool:
        """Whether a method found something."""
        return self.method is not None

    @property
    def status(self) -> RowStatus:
        """The row's status: FAILED when the output is that of a failed call, EXTRACTION_FAILED when it lacks fields."""
        if self.ok:
            return RowStatus.SUCCESS
        return RowStatus.EXTRACTION_FAILED if self.fault is None else self.fault.status

    @property
    def error_type(self) -> str:
        """A short name for the reason; empty of a success."""
        if self.ok:
            return ""
        return "ExtractionFailed" if self.fault is None else self.fault.error_type

    @property
    def retry(self) -> bool:
        """Whether another call of the target may help."""
        return self.fault is not None and self.fault.retry

    @property
    def retry_after_seconds(self) -> float | None:
        """How long the target asks to wait before that."""
        return None if self.fault is None else self.fault.retry_after_seconds

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

    `include_original` and `add_metadata` say whether the CSV has the source's columns, and those beginning with `_`;
    `watch` when an output is that of a failed call. What follows from the fields is added here: which of the values in
    a text is the answer (`choose`), and which fields of the output are asked for (`watch.named`).
    """

    columns: tuple[str, ...] | None
    methods: tuple[Method, ...] = ()
    chains: tuple[Chain, ...] = ()
    include_original: bool = True
    add_metadata: bool = True
    watch: Watch = USUAL
    choose: Choose = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Work out what follows from the fields."""
        object.__setattr__(self, "watch", self.watch._replace(named=_named(self)))
        wanted = _wanted(self)
        object.__setattr__(self, "choose", chooser(wanted) if wanted else last_answer)

    def part(self, **changes: Any) -> OutputPlan:
        """Return the plan with other methods, chains or columns, which reads an output as the whole one does."""
        made = replace(self, **changes)
        object.__setattr__(made, "watch", self.watch)
        object.__setattr__(made, "choose", self.choose)
        return made

    def extract(self, output: Any) -> Extraction:
        """Return the fields of one output; never raises on a JSON value."""
        try:
            reading = Reading(output, self.choose)
            if reading.views == (None,):
                return Extraction({}, None, ("the output is null",))
            fault = refused(self.watch, reading)
            if fault is not None:
                return Extraction({}, None, (fault.message,), fault)
            fault = stopped(reading.core)
            return self._extract(reading) if fault is None else self._without_last(reading, fault)
        except RecursionError:
            return Extraction({}, None, ("the output is nested too deeply",))

    def _extract(self, reading: Reading) -> Extraction:
        if self.chains:
            return _by_field(self.chains, reading)
        return _by_method(self, reading) if self.methods else _everything(reading.core)

    def _without_last(self, reading: Reading, fault: Fault) -> Extraction:
        """Return what earlier messages gave, if that is every field.

        One that is missing may be in the part that was lost.
        """
        if self.columns is not None:
            kept = self._extract(Reading(without_last(reading.core), self.choose, silent=True))
            if kept.ok and all(value is not None for value in kept.fields.values()):
                return kept
        return Extraction({}, None, (fault.message,), fault)


def _by_method(plan: OutputPlan, reading: Reading) -> Extraction:
    """Return the fields of the first method that finds at least one of them."""
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


def _wanted(plan: OutputPlan) -> list[list[list[Field]]]:
    """Return the fields that a text's JSON may have.

    Of each method, or of all chains, each with the ways to find it.
    """
    if plan.chains:
        chains = [
            ([method.fields[0] for method in chain.methods], chain.field.required and chain.field.default is None)
            for chain in plan.chains
        ]
        return [[ways for ways, required in chains if required] or [ways for ways, _ in chains]]
    by_method = []
    for method in plan.methods:
        needed = [one for one in method.fields if one.name in method.required]
        needed = needed or [one for one in method.fields if one.default is None] or list(method.fields)
        if needed:
            by_method.append([[one] for one in needed])
    return by_method


def _named(plan: OutputPlan) -> frozenset[str]:
    """Return the fields that a mapping takes of the output itself."""
    methods = [*plan.methods, *(method for chain in plan.chains for method in chain.methods)]
    fields = [one for method in methods if method.name in _LOOK_AT_ALL for one in method.fields]
    names = [{one.name} if one.expression is None else one.expression.names for one in fields]
    return frozenset().union(*names)


def _by_field(chains: Iterable[Chain], reading: Reading) -> Extraction:
    """Each field by the first of its own methods that finds it."""
    fields: dict[str, Any] = {}
    winners: dict[str, None] = {}
    looked: dict[str, Found] = {}  # one look for all fields that are sought by the same method and tool
    failures, missing = [], False
    for one, methods in chains:
        fields[one.name] = one.default
        tried = []
        for method in methods:
            found = looked.get(method.label)
            if found is None:
                found = FINDERS[method.name](method, reading)
                if method.is_fixed:
                    looked[method.label] = found
            value = _value(method.fields[0], found)[0] if found.roots else None
            if value is not None:
                fields[one.name] = value
                winners[method.label] = None
                break
            tried.append(_failure(method, _values(method, found)[1] if found.roots else [found.reason]))
        else:
            failures.append(f"{one.name}: {', '.join(tried)}")
            missing = missing or (one.required and one.default is None)
    if not winners or missing:
        return Extraction(fields if winners else {}, None, tuple(failures))
    return Extraction(fields, "+".join(winners))


def _everything(core: Any) -> Extraction:
    """Return an object's top-level keys as the fields; any other value as the one field `value`."""
    if core is None:
        return Extraction({}, None, ("the output is null",))
    fields = {"value": core} if not isinstance(core, dict) else core
    values = {name: json_safe_copy(value) for name, value in fields.items()}
    if all(value is None for value in values.values()):
        return Extraction({}, None, (f"the output is an object without a value ({described('it', core)})",))
    return Extraction(values, "direct")


def _values(method: Method, found: Found) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a method's fields, null where there is none, and the reasons worth telling."""
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
            values = {str(name): json_safe_copy(inner) for name, inner in whole.items()}
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
        if value is not None and one.transform is not None:
            value, reason = _transformed(one, value)
        if value is not None and one.kind is not None:
            value, reason = coerced(one.kind, value)
        if value is not None and one.form is not None:
            value, reason = formatted(one.form, value)
        if value is not None:
            return json_safe_copy(value), None
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
