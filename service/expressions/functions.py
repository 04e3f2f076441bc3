"""The functions of expressions: JMESPath's own, ours, and the regular expressions that `parse` applies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from jmespath import functions

from service.expressions.json_text import parse_text, text_of
from service.expressions.model_text import without_reasoning
from service.expressions.values import to_number

Pattern = Callable[[str], str | None]


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


class PatternFault(Exception):
    """A regular expression that RE2 does not take; `fragment` is the part of it that is at fault, if it is known."""

    def __init__(self, reason: str, fragment: str = "") -> None:
        self.reason, self.fragment = reason, fragment
        super().__init__(reason)


def compile_regex(regex: str, group: int | str | None = None) -> Pattern:
    """What a regular expression finds in a text: a group by number or name, else the first, else the whole match.

    RE2 runs in time linear in the text, so no pattern of a mapping can stall a row. Raises PatternFault.
    """
    import re2  # noqa: PLC0415 - 7 ms of a cold start, only where a mapping uses a regular expression

    options = re2.Options()
    options.log_errors = False
    try:
        compiled = re2.compile(regex.encode("utf-8", "replace"), options)
    except re2.error as fault:
        told = fault.args[0]
        reason = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        # What people miss who know another engine.
        foreign = reason.startswith("invalid perl operator") or reason.rpartition("\\")[2].isdigit()
        hint = "; patterns here run in linear time, without look-around and back-references" if foreign else ""
        message = f"the regular expression is not supported: {reason}{hint}"
        raise PatternFault(message, reason.rpartition(": ")[2]) from None
    chosen, spans = _group(compiled, group), _spans(compiled)

    # A model's reasoning is not looked at, unless the pattern itself is after a tag.
    reads_all = "<" in regex or "THINK" in regex

    def find(text: str) -> str | None:
        if not reads_all and ("<" in text or "[" in text):
            text = without_reasoning(text)
        content = text.encode("utf-8", "replace")
        start, end = spans(content)[chosen]
        return None if start < 0 else content[start:end].decode("utf-8", "replace")

    return find


def _spans(compiled: Any) -> Callable[[bytes], Sequence[tuple[int, int]]]:
    """Where a pattern and its groups stand in a text, -1 where they do not.

    The wrapper's `search` takes as long again as the engine beneath it, so that one is called where it is there.
    """
    engine = getattr(compiled, "_regexp", None)
    anchors = getattr(engine, "Anchor", None)
    if engine is not None and anchors is not None:
        match, anywhere = engine.Match, anchors.UNANCHORED
        return lambda content: match(anywhere, content, 0, len(content))
    nowhere = [(-1, -1)] * (compiled.groups + 1)

    def search(content: bytes) -> Sequence[tuple[int, int]]:
        found = compiled.search(content)
        return nowhere if found is None else [found.span(group) for group in range(compiled.groups + 1)]

    return search


def _group(compiled: Any, group: int | str | None) -> int:
    if group is None:
        return 1 if compiled.groups else 0
    names = {name.decode(): number for name, number in compiled.groupindex.items()}
    number = names.get(group) if isinstance(group, str) else group
    if number is None or not 0 <= number <= compiled.groups:
        there = f"it has {compiled.groups}" + (f", named {', '.join(names)}" if names else "")
        raise PatternFault(f"the regular expression has no group {group!r}: {there}")
    return int(number)
