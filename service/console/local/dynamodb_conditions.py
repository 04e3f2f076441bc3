"""Conditions of the embedded DynamoDB, read once: ministack parses them anew for every item of a partition.

A Query there looks at the whole partition for every page, so the time of a batch's CSV or list grew with the square of
its rows; of 20,000 rows nine tenths of a page's time were the parsing.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Comparison = tuple[str, Callable[[str, str], bool], str]

_KEPT = 256  # expressions
_COMPARISONS: dict[str, Callable[[str, str], bool]] = {
    "=": operator.eq,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_CLAUSE = 4  # tokens of `#name < :value AND`


class Conditions:
    """Expressions by their text, as ministack's own function evaluates them.

    `evaluate` is that function, `tokenize` what it reads an expression with, `evaluator` the class that does the rest.
    What stands between is the same for every item: an expression that was evaluated once is known to be sound.
    """

    def __init__(self, evaluate: Any, tokenize: Any, evaluator: Any) -> None:
        self._evaluate, self._tokenize, self._evaluator = evaluate, tokenize, evaluator
        self._known: dict[tuple[str, str], tuple[Any, tuple[Comparison, ...]]] = {}

    def evaluate(
        self, expr: str, item: Any, attr_values: Any, attr_names: Any, slot: str = "ConditionExpression"
    ) -> Any:
        """Tell whether an item meets an expression, as ministack's `_evaluate_condition`."""
        known = self._known.get((expr, slot))
        if known is None:
            met = self._evaluate(expr, item, attr_values, attr_names, slot)
            self._keep(expr, slot)
            return met
        tokens, comparisons = known
        if comparisons:
            met = _compare(comparisons, item, attr_values, attr_names)
            if met is not None:
                return met
        try:
            return self._evaluator(tokens, item, attr_values, attr_names).evaluate()
        except ValueError:  # its words are those of the whole
            return self._evaluate(expr, item, attr_values, attr_names, slot)

    def _keep(self, expr: str, slot: str) -> None:
        if not expr or not expr.strip():
            return
        tokens = self._tokenize(expr)
        if any(kind == "IDENT" and text.upper() == "BETWEEN" for kind, text, *_ in tokens):
            return  # its bounds are looked at, too, and they are the request's
        if len(self._known) >= _KEPT:
            self._known.clear()
        self._known[expr, slot] = tokens, _comparisons(tokens)


def _comparisons(tokens: Sequence[Any]) -> tuple[Comparison, ...]:
    """Return the comparisons of `#a = :b AND #c <= :d`; none of any other expression."""
    words = [token[:2] for token in tokens if token[0] != "EOF"]
    found: list[Comparison] = []
    for start in range(0, len(words), _CLAUSE):
        clause = words[start : start + _CLAUSE]
        if len(clause) < _CLAUSE - 1 or clause[0][0] != "NAME_REF" or clause[2][0] != "VALUE_REF":
            return ()
        if clause[1][1] not in _COMPARISONS or (len(clause) == _CLAUSE and clause[3][1].upper() != "AND"):
            return ()
        found.append((clause[0][1], _COMPARISONS[clause[1][1]], clause[2][1]))
    return tuple(found) if len(words) % _CLAUSE == _CLAUSE - 1 else ()


def _compare(comparisons: tuple[Comparison, ...], item: Any, values: Any, names: Any) -> bool | None:
    """Compare texts; None when anything else is compared. Code points are in the order of UTF-8's bytes."""
    for name, compare, value in comparisons:
        try:
            mine, given = item[names[name]]["S"], values[value]["S"]
        except (KeyError, TypeError):
            return None
        if not compare(mine, given):
            return False
    return True
