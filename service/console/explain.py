"""An output mapping tried on an output, every step alone: what found each field, and why the others did not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.console.mapping_files import field_of, step_of
from service.extraction.fields import Chain, Extraction, OutputPlan
from service.extraction.methods import Field, Method

if TYPE_CHECKING:
    from collections.abc import Iterable

_JSON_TYPES = {str: "string", bool: "boolean", int: "integer", float: "number", dict: "object", list: "array"}


def traced(plan: OutputPlan, output: Any) -> dict[str, Any]:
    """Return what a mapping makes of an output.

    And of each field which step found it and why the steps before did not.
    """
    extraction = plan.extract(output)
    if _whole_fault(plan, output):
        fields: Iterable[dict[str, Any]] = ()
    elif plan.chains:
        fields = [_by_chain(plan, chain, output) for chain in plan.chains]
    elif plan.columns:
        fields = _by_method(plan, output)
    else:
        fields = [_by_key(extraction.method, name, value) for name, value in extraction.fields.items()]
    return {
        "status": str(extraction.status),
        "error_type": extraction.error_type or None,
        "retry": extraction.retry,
        "retry_after_seconds": extraction.retry_after_seconds,
        "method": extraction.method,
        "message": extraction.message,
        "fields": list(fields),
    }


def _whole_fault(plan: OutputPlan, output: Any) -> bool:
    """Whether an output is refused as a whole (null, a failed call, cut off), before any step looks at it."""
    extraction = plan.extract(output)
    if extraction.ok or extraction.fault is not None:
        return not extraction.ok
    failures = plan.part(columns=None, methods=(Method("direct"),), chains=()).extract(output).failures
    return bool(failures) and not failures[0].startswith("direct: ")


def _field(name: str, value: Any, steps: list[dict[str, Any]], *, required: bool = False) -> dict[str, Any]:
    found_by = next((step["method"] for step in steps if step["found"]), None)
    return {
        "name": name,
        "value": value,
        "type": None if value is None else _JSON_TYPES.get(type(value)),
        "required": required,
        "found_by": found_by,
        "default": found_by is None and value is not None,
        "steps": steps,
    }


def _by_key(method: str | None, name: str, value: Any) -> dict[str, Any]:
    found = value is not None
    return _field(
        name, value, [{"method": method, "expression": None, "found": found, "reason": None if found else "it is null"}]
    )


def _tried(method: Method, one: Field, reason: str | None) -> dict[str, Any]:
    shown = {key: value for key, value in step_of(method, one).items() if key != "transform"}
    return {**shown, "found": reason is None, "reason": reason}


def _by_chain(plan: OutputPlan, chain: Chain, output: Any) -> dict[str, Any]:
    bare, steps = _bare(chain.field), []
    for method in chain.methods:
        alone = plan.part(columns=(bare.name,), methods=(), chains=(Chain(bare, (method,)),)).extract(output)
        reason = None if alone.ok else _reason(alone, method, bare)
        steps.append(_tried(method, field_of(method, bare.name) or bare, reason))
        if alone.ok:
            return _field(bare.name, alone.fields[bare.name], steps, required=chain.field.required)
    return _field(bare.name, chain.field.default, steps, required=chain.field.required)


def _by_method(plan: OutputPlan, output: Any) -> list[dict[str, Any]]:
    """Each field by the methods that were tried: the first that finds any of them gives them all."""
    steps: dict[str, list[dict[str, Any]]] = {name: [] for name in plan.columns or ()}
    values: dict[str, Any] = {}
    for method in plan.methods:
        whole = plan.part(methods=(method,)).extract(output)
        bare = _with_fields(method, tuple(_bare(one) for one in method.fields))
        found = plan.part(methods=(bare,)).extract(output).fields
        for one in bare.fields:
            reason = None
            if found.get(one.name) is None:
                reason = _missed(plan, bare, one, output)
            elif not whole.ok:
                reason = _reason(whole, method, one)
            steps[one.name].append(_tried(method, one, reason))
        if whole.ok:
            values = whole.fields
            break
    required = {one.name for method in plan.methods for one in method.fields if one.required}
    return [_field(name, values.get(name), tried, required=name in required) for name, tried in steps.items()]


def _missed(plan: OutputPlan, method: Method, one: Field, output: Any) -> str:
    """Why a method did not find one of its fields."""
    alone = plan.part(columns=(one.name,), methods=(_with_fields(method, (one,)),)).extract(output)
    return "found nothing beside the other fields" if alone.ok else _reason(alone, method, one)


def _bare(one: Field) -> Field:
    """Return the field without what would be told of the whole row: neither required nor with a default."""
    return one._replace(default=None, required=False)


def _with_fields(method: Method, fields: tuple[Field, ...]) -> Method:
    return Method(method.name, method.tool_name, fields, method.transform)


def _reason(extraction: Extraction, method: Method, one: Field) -> str:
    """Why a step found nothing, without the names that stand beside it anyway."""
    told = extraction.failures[0] if extraction.failures else "found nothing"
    for prefix in (f"{one.name}: ", f"{method.label}: ", f"{one.name}: "):
        told = told.removeprefix(prefix)
    return told
