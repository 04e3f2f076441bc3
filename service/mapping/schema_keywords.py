"""Keywords of JSON Schema that a cell could stall: evaluated here in linear time, patterns on RE2."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.expressions.regex import PatternFault, compile_regex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


def keywords(standard: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keywords to put in the place of a dialect's own ones, which `standard` holds."""

    def additional_properties(validator: Any, wanted: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if schema.get("patternProperties") and validator.is_type(instance, "object"):
            schema = {"properties": dict.fromkeys(instance.keys() - extra_names(schema, instance))}
        yield from standard["additionalProperties"](validator, wanted, instance, schema)

    return {
        "pattern": _pattern,
        "patternProperties": _pattern_properties,
        "additionalProperties": additional_properties,
        "uniqueItems": _unique_items,  # the library's own compares every item with every other one
    }


def referred(root: Any, reference: str) -> Any:
    """Return what a `$ref` names within its schema; None when it names nothing there."""
    if not reference.startswith("#/"):
        return None
    for step in reference[2:].split("/"):
        root = root.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(root, dict) else None
    return root


def extra_names(schema: Mapping[str, Any], value: dict[str, Any]) -> list[str]:
    """Return the names that neither `properties` nor `patternProperties` of a schema speak of."""
    names, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return [name for name in value if name not in names and not any(_matches(regex, name) for regex in patterns)]


def _pattern(validator: Any, wanted: str, instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "string") and not _matches(wanted, instance):
        yield _error("does not match")


def _pattern_properties(validator: Any, wanted: dict[str, Any], instance: Any, _schema: Any) -> Iterator[Any]:
    if validator.is_type(instance, "object"):
        for regex, schema in wanted.items():
            for name in [name for name in instance if _matches(regex, name)]:
                yield from validator.descend(instance[name], schema, path=name, schema_path=regex)


def _unique_items(validator: Any, wanted: Any, instance: Any, _schema: Any) -> Iterator[Any]:
    if wanted and validator.is_type(instance, "array") and len(set(map(_canonical, instance))) < len(instance):
        yield _error("has equal items")


def _error(message: str) -> Any:
    from jsonschema.exceptions import ValidationError  # type: ignore[import-untyped]  # noqa: PLC0415

    return ValidationError(message)


def _matches(pattern: str, text: Any) -> bool:
    try:
        return compile_regex(pattern).search(str(text).encode("utf-8", "replace")) is not None
    except PatternFault as fault:  # in a place that nobody took for a schema
        raise ValueError(str(fault)) from None


def _canonical(value: Any) -> str:
    """Return a text that is the same for values that JSON Schema takes for equal: 1 and 1.0, but not 1 and true."""
    return json.dumps(json.loads(json.dumps(value), parse_float=_number), sort_keys=True)


def _number(text: str) -> float:
    return int(number) if (number := float(text)).is_integer() else number
