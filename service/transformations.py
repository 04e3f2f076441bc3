"""Fields made of several columns: one function for each type of an input mapping's transformations."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

Build = Callable[[Mapping[str, str]], str]  # makes the field of a row
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


class Compiler(Protocol):
    """What a transformation needs of the compiler of the mapping in which it stands."""

    def check_keys(self, given: Mapping[str, Any], known: Iterable[str], path: str) -> None:
        """Note every key that is not known."""

    def typed(self, value: Any, kind: type, path: str) -> bool:
        """Tell whether the value is of the kind; note a problem if not."""

    def column(self, name: Any, path: str) -> str | None:
        """Return the source's column of that name; note a problem if there is none."""

    def problem(self, path: str, message: str) -> None:
        """Note a problem."""


def _concat(compiler: Compiler, config: Mapping[str, Any], path: str) -> Build | None:
    """Compile `concat`: the cells of some columns with a separator between them."""
    compiler.check_keys(config, ("columns", "separator"), path)
    names, separator = config.get("columns"), config.get("separator")
    separator = " " if separator is None else separator
    sound = compiler.typed(separator, str, f"{path}.separator")
    if not compiler.typed(names, list, f"{path}.columns"):
        return None
    if not names:
        compiler.problem(f"{path}.columns", "needs at least one column")
    found = [compiler.column(name, f"{path}.columns[{index}]") for index, name in enumerate(names or [])]
    columns = [column for column in found if column is not None]
    return (lambda row: separator.join([row[column] for column in columns])) if sound else None


def _template(compiler: Compiler, config: Mapping[str, Any], path: str) -> Build | None:
    """Compile `template`: text in which `{column}` stands for a cell, and `{{` and `}}` for braces."""
    compiler.check_keys(config, ("template",), path)
    text = config.get("template")
    path = f"{path}.template"
    if not isinstance(text, str):
        compiler.typed(text, str, path)
        return None
    parts: list[tuple[str, str | None]] = []  # text, and the column whose cell follows it
    end, before = 0, ""
    for brace in _BRACES.finditer(text):
        before += text[end : brace.start()]
        end = brace.end()
        if brace[1] is not None:
            parts.append((before, compiler.column(brace[1], path)))
            before = ""
        elif brace[0] in ("{{", "}}"):
            before += brace[0][0]
        else:
            message = f"has a {brace[0]!r} without its counterpart at character {end}: write {brace[0] * 2!r} for one"
            compiler.problem(path, message)
    tail = before + text[end:]
    return lambda row: "".join([f"{lead}{row[column]}" for lead, column in parts if column is not None]) + tail


TRANSFORMATIONS: dict[str, Callable[[Compiler, Mapping[str, Any], str], Build | None]] = {
    "concat": _concat,
    "template": _template,
}
