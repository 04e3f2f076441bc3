"""How an expression runs: its syntax tree becomes functions once; paths step into JSON that stands in a text."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from jmespath import visitor

from service.expressions.functions import FUNCTIONS, Expref
from service.expressions.json_text import stepped, text_of

Node = dict[str, Any]
Run = Callable[[Any], Any]


def runnable(node: Node) -> Run:
    """Return the function of a checked syntax tree.

    It finds what JMESPath's interpreter would, and steps into texts.
    """
    return _BUILDERS[node["type"]](node)


def _of_children(node: Node) -> list[Run]:
    return [runnable(child) for child in node["children"]]


def _same(_node: Node) -> Run:
    return lambda value: value


def _literal(node: Node) -> Run:
    literal = node["value"]
    return lambda _value: literal


def _sequence(node: Node) -> Run:
    """One step after the other: paths, indexes and pipes."""
    steps = [child for child in node["children"] if child["type"] not in _IDLE]
    if len(steps) < 2:
        return runnable(steps[0]) if steps else _same(node)
    if len(steps) == 2:
        first, second = map(runnable, steps)
        return lambda value: second(first(value))
    runs = tuple(map(runnable, steps))

    def run(value: Any) -> Any:
        for step in runs:
            value = step(value)
        return value

    return run


def _field(node: Node) -> Run:
    name = node["value"]

    def run(value: Any) -> Any:
        inner = value if type(value) is dict else stepped(value)
        return inner.get(name) if isinstance(inner, dict) else None

    return run


def _index(node: Node) -> Run:
    index = node["value"]

    def run(value: Any) -> Any:
        inner = stepped(value)
        return inner[index] if isinstance(inner, list) and -len(inner) <= index < len(inner) else None

    return run


def _slice(node: Node) -> Run:
    part = slice(*node["children"])

    def run(value: Any) -> Any:
        inner = stepped(value)
        return inner[part] if isinstance(inner, list) else None

    return run


def _projection(node: Node) -> Run:
    base, step = _of_children(node)

    def run(value: Any) -> Any:
        items = stepped(base(value))
        return [found for found in map(step, items) if found is not None] if isinstance(items, list) else None

    return run


def _value_projection(node: Node) -> Run:
    base, step = _of_children(node)

    def run(value: Any) -> Any:
        whole = stepped(base(value))
        if not isinstance(whole, dict):
            return None
        return [found for found in map(step, whole.values()) if found is not None]

    return run


def _filter_projection(node: Node) -> Run:
    base, step, condition = _of_children(node)

    def run(value: Any) -> Any:
        items = stepped(base(value))
        if not isinstance(items, list):
            return None
        found = (step(item) for item in items if not _is_false(condition(item)))
        return [one for one in found if one is not None]

    return run


def _flatten(node: Node) -> Run:
    base = runnable(node["children"][0])

    def run(value: Any) -> Any:
        items = stepped(base(value))
        if not isinstance(items, list):
            return None
        return [one for item in items for one in (item if isinstance(item, list) else (item,))]

    return run


def _multi_select_list(node: Node) -> Run:
    runs = _of_children(node)
    return lambda value: None if value is None else [run(value) for run in runs]


def _multi_select_dict(node: Node) -> Run:
    runs = {pair["value"]: runnable(pair["children"][0]) for pair in node["children"]}
    return lambda value: None if value is None else {name: run(value) for name, run in runs.items()}


def _or(node: Node) -> Run:
    left, right = _of_children(node)

    def run(value: Any) -> Any:
        found = left(value)
        return right(value) if _is_false(found) else found

    return run


def _and(node: Node) -> Run:
    left, right = _of_children(node)

    def run(value: Any) -> Any:
        found = left(value)
        return found if _is_false(found) else right(value)

    return run


def _not(node: Node) -> Run:
    (inner,) = _of_children(node)

    def run(value: Any) -> bool:
        found = inner(value)
        # In JMESPath a number is true, 0 too.
        return not found and (isinstance(found, bool) or not isinstance(found, int | float))

    return run


def _comparator(node: Node) -> Run:
    left, right = _of_children(node)
    compare = _COMPARATORS[node["value"]]
    if node["value"] in {"eq", "ne"}:
        return lambda value: compare(left(value), right(value))

    def run(value: Any) -> Any:
        one, other = left(value), right(value)
        return compare(one, other) if _is_ordered(one) and _is_ordered(other) else None

    return run


def _expref(node: Node) -> Run:
    expression = Expref(runnable(node["children"][0]))
    return lambda _value: expression


def _pipe(node: Node) -> Run:
    left, right = node["children"]
    if right["type"] == "function_expression" and right["value"] == "parse" and right["children"][0]["type"] in _IDLE:
        # `a | parse(@, 'x')` is `parse(a, 'x')`.
        return _parse({**right, "children": [left, right["children"][1]]})
    return _sequence(node)


def _parse(node: Node) -> Run:
    subject, pattern = runnable(node["children"][0]), node["children"][1]["value"]

    def run(value: Any) -> str | None:
        found = subject(value)
        text = found if isinstance(found, str) else text_of(found)
        return None if text is None else pattern(text)

    return run


def _call(node: Node) -> Run:
    if node["value"] == "parse":
        return _parse(node)
    name, runs = node["value"], _of_children(node)
    entry = FUNCTIONS.FUNCTION_TABLE[name]
    function = entry["function"]
    if any(argument["types"] for argument in entry["signature"]):
        return lambda value: FUNCTIONS.call_function(name, [run(value) for run in runs])
    # Any value will do: nothing to check.
    return lambda value: function(FUNCTIONS, *[run(value) for run in runs])


def _is_false(value: Any) -> bool:
    return value is None or value is False or (isinstance(value, str | list | dict) and not value)


def _is_ordered(value: Any) -> bool:
    return isinstance(value, int | float | str) and not isinstance(value, bool)


_IDLE = frozenset({"current", "identity"})
_EQUAL: Callable[[Any, Any], Any] = visitor.TreeInterpreter.COMPARATOR_FUNC["eq"]
_COMPARATORS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": _EQUAL,
    "ne": lambda one, other: not _EQUAL(one, other),
    "lt": operator.lt,
    "gt": operator.gt,
    "lte": operator.le,
    "gte": operator.ge,
}
_BUILDERS: dict[str, Callable[[Node], Run]] = {
    "subexpression": _sequence,
    "index_expression": _sequence,
    "pipe": _pipe,
    "field": _field,
    "index": _index,
    "slice": _slice,
    "projection": _projection,
    "value_projection": _value_projection,
    "filter_projection": _filter_projection,
    "flatten": _flatten,
    "multi_select_list": _multi_select_list,
    "multi_select_dict": _multi_select_dict,
    "or_expression": _or,
    "and_expression": _and,
    "not_expression": _not,
    "comparator": _comparator,
    "current": _same,
    "identity": _same,
    "literal": _literal,
    "expref": _expref,
    "function_expression": _call,
}
