"""The functions of expressions: JMESPath's own, ours, and the regular expressions that `parse` applies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from jmespath import functions

from service.expressions.json_text import parse_text, text_of
from service.expressions.values import to_number

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.expressions.regex import Pattern


class Functions(functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's functions and ours."""

    @functions.signature({"types": []}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_parse(self, value: Any, pattern: Pattern) -> str | None:  # called as _parse has it; here for its name
        text = text_of(value)
        return None if text is None else pattern(text)

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_parse_text(self, value: Any) -> Any:
        return parse_text(value)

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_number(self, value: Any) -> int | float | None:
        return to_number(value)


FUNCTIONS = Functions()


class Expref:
    """An expression given to `map`, `sort_by` and the like, as JMESPath's functions use it."""

    def __init__(self, expression: Callable[[Any], Any]) -> None:
        self.expression = expression

    def visit(self, expression: Callable[[Any], Any], value: Any) -> Any:
        """One element's value."""
        return expression(value)


Expref.__name__ = "_Expression"  # the name by which JMESPath's functions check their arguments
