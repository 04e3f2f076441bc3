"""Fields made of the row's cells, as an input mapping asks for them: each type's configuration, read and resolved."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from service.errors import Problem, nearest
from service.mapping.conversions import shown, sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from service.expressions.regex import Regex

Resolved = dict[str, Any]  # a configuration, as the builders of `service/mapping/input_plan.py` take it
ROOT = "input_mapping"
_BRACES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_KIND_NAMES: dict[type, str] = {dict: "an object", list: "a list", str: "a text"}


class Compiler:
    """Reads configuration against the source's columns; collects the problems and the columns that are used."""

    def __init__(self, columns: Sequence[str]) -> None:
        self.columns = columns
        self.problems: list[Problem] = []
        self.used: set[str] = set()

    def problem(self, path: str, message: str) -> None:
        """Note a problem."""
        self.problems.append(Problem(path, message))

    def typed(self, value: Any, kind: type, path: str) -> bool:
        """Tell whether the value is of the kind; note a problem if not."""
        if isinstance(value, kind):
            return True
        self.problem(path, f"must be {_KIND_NAMES[kind]}, not {shown(value)}")
        return False

    def json_value(self, value: Any, path: str) -> Any:
        """Return the value; note a problem if it is not one of JSON."""
        try:
            json.dumps(sound(value))
        except ValueError as fault:
            self.problem(path, f"is not a JSON value: {fault}")
        except TypeError:
            self.problem(path, f"is not a JSON value: {shown(value)}; write dates as text in quotes")
        return value

    def check_keys(self, given: Mapping[str, Any], known: Iterable[str], path: str) -> None:
        """Note every key that is not known."""
        names = list(known)
        for key in given:
            if key not in names:
                hint = nearest(str(key), names)
                if path == ROOT and key in self.columns:
                    hint = "to map the column of that name, put it under column_mappings"
                self.problem(f"{path}.{key}", f"unknown key: {hint}")

    def column(self, name: Any, path: str) -> str | None:
        """Return the source's column of that name: the exact one, else the only one that differs in case alone."""
        if not self.typed(name, str, path):
            return None
        if name in self.columns:
            found: str = name
        else:
            alike = [column for column in self.columns if column.casefold() == name.casefold()]
            if len(alike) != 1:
                hint = f"it could be {' or '.join(map(repr, alike))}" if alike else nearest(name, self.columns)
                self.problem(path, f"the source has no column {name!r}: {hint}")
                return None
            found = alike[0]
        self.used.add(found)
        return found


def _concat(compiler: Compiler, config: Mapping[str, Any], path: str) -> Resolved | None:
    """Compile `concat`: the cells of some columns with a separator between them."""
    compiler.check_keys(config, ("columns", "separator"), path)
    names, separator = config.get("columns"), config.get("separator")
    separator = " " if separator is None else separator
    fit = compiler.typed(separator, str, f"{path}.separator")
    if not compiler.typed(names, list, f"{path}.columns"):
        return None
    if not names:
        compiler.problem(f"{path}.columns", "needs at least one column")
    found = [compiler.column(name, f"{path}.columns[{index}]") for index, name in enumerate(names or [])]
    columns = [column for column in found if column is not None]
    return {"columns": columns, "separator": separator} if fit else None


def _template(compiler: Compiler, config: Mapping[str, Any], path: str) -> Resolved | None:
    """Compile `template`: text in which `{column}` stands for a cell, and `{{` and `}}` for braces."""
    compiler.check_keys(config, ("template",), path)
    text = config.get("template")
    path = f"{path}.template"
    if not isinstance(text, str):
        compiler.typed(text, str, path)
        return None
    _check_placeholders(compiler, text, path)
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
    return {"parts": [[lead, column] for lead, column in parts], "tail": before + text[end:]}


def _check_placeholders(compiler: Compiler, text: str, path: str) -> None:
    """Note a template that would give every row the same text, or the name of a column in the place of its cell."""
    named = {name.casefold(): name for name in compiler.columns}
    braces = list(_BRACES.finditer(text))
    doubled = False
    for opening, closing in pairwise(braces):
        inner = text[opening.end() : closing.start()].strip()
        if (opening[0], closing[0]) == ("{{", "}}") and inner.casefold() in named:
            doubled, name = True, named[inner.casefold()]
            told = f"{text[opening.start() : closing.end()]} would be the text {{{inner}}}"
            compiler.problem(path, f"{told}: write {{{name}}} for the column's cell")
    if not doubled and not any(brace[0] not in ("{{", "}}") for brace in braces):
        columns = ", ".join(f"{{{name}}}" for name in compiler.columns[:5])
        message = f"uses no column, so every row would be given the same text: {shown(text)}; write {columns}"
        compiler.problem(path, f"{message} where a cell belongs, or put a constant under static_values")


def _jsonpath(compiler: Compiler, config: Mapping[str, Any], path: str) -> Resolved | None:
    """Compile `jsonpath`: what an expression finds in a cell that holds JSON."""
    compiler.check_keys(config, ("column", "source", "path", "default"), path)
    column = _one_column(compiler, config, path)
    expression = None
    if compiler.typed(config.get("path"), str, f"{path}.path"):
        from service.expressions.language import compile_expression  # noqa: PLC0415 - jmespath, where it is used

        expression = _checked(compiler, compile_expression, config["path"], f"{path}.path")
    default = _default(compiler, config, path)
    if column is None or expression is None:
        return None
    return {"column": column, "path": config["path"], **default}


def _regex(compiler: Compiler, config: Mapping[str, Any], path: str) -> Resolved | None:
    """Compile `regex`: what a pattern's group matches first in a cell."""
    compiler.check_keys(config, ("column", "source", "pattern", "group", "default"), path)
    column = _one_column(compiler, config, path)
    regex: Regex | None = None
    if compiler.typed(config.get("pattern"), str, f"{path}.pattern"):
        from service.expressions.language import compile_regex  # noqa: PLC0415 - with re2, only where a pattern is used

        regex = _checked(compiler, compile_regex, config["pattern"], f"{path}.pattern")
    default = _default(compiler, config, path)
    group = None if regex is None else _group(compiler, regex, config.get("group"), f"{path}.group")
    if column is None or group is None:
        return None
    return {"column": column, "pattern": config["pattern"], "group": group, **default}


def _group(compiler: Compiler, regex: Regex, wanted: Any, path: str) -> int | None:
    """Return the number of a group that is given by number or name.

    The first one where none is, else the whole match.
    """
    if wanted is None:
        return min(1, regex.groups)
    if isinstance(wanted, int) and not isinstance(wanted, bool) and 0 <= wanted <= regex.groups:
        return wanted
    names = {name.decode("utf-8", "replace"): number for name, number in regex.groupindex.items()}
    if isinstance(wanted, str) and wanted in names:
        return names[wanted]
    known = f"{regex.groups} groups" + (f", named {', '.join(map(repr, names))}" if names else "")
    compiler.problem(path, f"there is no group {shown(wanted)}: the pattern has {known}, and 0 is the whole match")
    return None


def _one_column(compiler: Compiler, config: Mapping[str, Any], path: str) -> str | None:
    """Return the column that `column` names, or `source`, as it is called elsewhere."""
    key = "source" if config.get("column") is None and config.get("source") is not None else "column"
    if key == "column" and config.get("source") is not None:
        compiler.problem(f"{path}.source", "means the same as column: give one of them")
    return compiler.column(config.get(key), f"{path}.{key}")


def _checked(compiler: Compiler, compiled: Callable[[str], Any], text: str, path: str) -> Any:
    """Return what is compiled of the text; None, and a problem noted, when it does not compile."""
    from service.expressions.language import ExpressionFault  # noqa: PLC0415

    try:
        return compiled(text)
    except ExpressionFault as fault:
        compiler.problem(path, str(fault))
        return None


def _default(compiler: Compiler, config: Mapping[str, Any], path: str) -> Resolved:
    """Return the default, which may be null, where the configuration has one."""
    return {"default": compiler.json_value(config["default"], f"{path}.default")} if "default" in config else {}


TRANSFORMATIONS: dict[str, Callable[[Compiler, Mapping[str, Any], str], Resolved | None]] = {
    "concat": _concat,
    "template": _template,
    "jsonpath": _jsonpath,
    "regex": _regex,
}
