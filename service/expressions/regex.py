"""Regular expressions of mappings and schemas: RE2 alone, which runs in time linear in the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

from service.expressions.model_text import without_reasoning

Pattern = Callable[[str], str | None]


class Regex(Protocol):
    """A compiled expression of RE2, whose groups' names are bytes."""

    groups: int
    groupindex: Mapping[bytes, int]

    def search(self, text: bytes) -> Any: ...  # noqa: D102 - the engine's own


class PatternFault(Exception):
    """A regular expression that RE2 does not take; `fragment` is the part of it that is at fault, if it is known."""

    def __init__(self, reason: str, fragment: str = "") -> None:
        self.reason, self.fragment = reason, fragment
        super().__init__(reason)


@lru_cache(maxsize=512)
def compile_regex(pattern: str) -> Regex:
    """Return the expression compiled, for UTF-8; raises PatternFault."""
    import re2  # noqa: PLC0415 - 7 ms of a cold start, only where a mapping uses a regular expression

    options = re2.Options()
    options.log_errors = False
    try:
        compiled: Regex = re2.compile(pattern.encode("utf-8", "replace"), options)
    except re2.error as fault:
        told = fault.args[0]
        reason = told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
        # What people miss who know another engine.
        foreign = reason.startswith("invalid perl operator") or reason.rpartition("\\")[2].isdigit()
        hint = "; patterns here run in linear time, without look-around and back-references" if foreign else ""
        message = f"the regular expression is not supported: {reason}{hint}"
        raise PatternFault(message, reason.rpartition(": ")[2]) from None
    return compiled


def finder(pattern: str, group: int | str | None = None) -> Pattern:
    """Return what finds a pattern in a text: a group by number or name, else the first, else the whole match.

    Raises PatternFault.
    """
    compiled = compile_regex(pattern)
    chosen, spans = _group(compiled, group), _spans(compiled)

    # A model's reasoning is not looked at, unless the pattern itself is after a tag.
    reads_all = "<" in pattern or "THINK" in pattern

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
