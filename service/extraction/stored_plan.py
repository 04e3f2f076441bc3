"""A compiled output mapping as JSON: the one form in which every accepted form ends.

PrepareBatch writes it; the function that extracts makes its plan of it, and neither reads nor checks a mapping again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from service.expressions.language import compile_stored
from service.expressions.values import Form
from service.extraction.fields import Chain, OutputPlan
from service.extraction.methods import Field, Method
from service.extraction.refusals import Watch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.expressions.language import Expression


def to_json(plan: OutputPlan) -> dict[str, Any]:
    """Return the plan as JSON values."""
    return {
        "columns": None if plan.columns is None else list(plan.columns),
        "methods": [_method_to_json(method) for method in plan.methods],
        "chains": [
            {"field": _field_to_json(chain.field), "methods": [_method_to_json(method) for method in chain.methods]}
            for chain in plan.chains
        ],
        "include_original": plan.include_original,
        "add_metadata": plan.add_metadata,
        "fail_when": [condition.stored for condition in plan.watch.fail_when],
        "retry_when": [condition.stored for condition in plan.watch.retry_when],
        "usual": plan.watch.usual,
    }


def of_json(stored: Mapping[str, Any]) -> OutputPlan:
    """Return the plan of its JSON."""
    return OutputPlan(
        None if stored["columns"] is None else tuple(stored["columns"]),
        tuple(map(_method, stored["methods"])),
        tuple(Chain(_field(chain["field"]), tuple(map(_method, chain["methods"]))) for chain in stored["chains"]),
        stored["include_original"],
        stored["add_metadata"],
        Watch(_conditions(stored["fail_when"]), _conditions(stored["retry_when"]), stored["usual"]),
    )


def _conditions(stored: Iterable[Any]) -> tuple[Expression, ...]:
    return tuple(map(compile_stored, stored))


def _method_to_json(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "tool_name": method.tool_name,
        "transform": method.transform,
        "fields": [_field_to_json(one) for one in method.fields],
    }


def _method(stored: Mapping[str, Any]) -> Method:
    return Method(stored["name"], stored["tool_name"], tuple(map(_field, stored["fields"])), stored["transform"])


def _field_to_json(one: Field) -> dict[str, Any]:
    """Return a field's JSON; what is not said of it is left out."""
    said = one._asdict()
    if one.expression is not None:
        said["expression"] = one.expression.stored
    if one.form is not None:
        said["form"] = list(one.form)
    if not one.required:
        del said["required"]
    return {name: value for name, value in said.items() if value is not None}


def _field(stored: Mapping[str, Any]) -> Field:
    known = dict(stored)
    if "expression" in known:
        known["expression"] = compile_stored(known["expression"])
    if "form" in known:
        known["form"] = Form(*known["form"])
    return Field(**known)
