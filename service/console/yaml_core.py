"""YAML by the core schema of YAML 1.2: `NO`, `12:30` and `2024-01-01` are the texts that they look like.

PyYAML reads by YAML 1.1, where they are false, a number in base 60 and a date. What the core schema itself would change
unseen is refused with its place: a key that is there twice, a number with a leading zero, and in a constant that a
target is given a number that is not written as it would be read (`1.10`). YAML 1.2.2, section 10.3.2.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import yaml
from yaml.nodes import MappingNode, ScalarNode, SequenceNode

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yaml.nodes import Node

_MOST_NODES = 100_000  # with aliases followed: a few lines of them can hold more than any memory
_CONSTANTS = frozenset({"static_values", "default"})  # keys whose values reach a target or a cell as they are
_PREFIX = "tag:yaml.org,2002:"
_CORE = {
    "null": (r"(?:~|null|Null|NULL|)", "~nN\0"),
    "bool": (r"(?:true|True|TRUE|false|False|FALSE)", "tTfF"),
    "int": (r"(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)", "-+0123456789"),
    "float": (
        r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))",
        "-+.0123456789",
    ),
    "merge": (r"(?:<<)", "<"),
}
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")


class YamlFault(Exception):
    """A document that is no YAML, or that would not be read as it is written; `place` is its line and column."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(f"{place}: {message}" if place else message)


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader with the scalars of the core schema."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own attribute


class _Dumper(yaml.SafeDumper):
    """PyYAML's safe dumper, which also quotes a text that the core schema would read as something else (`0E0`)."""


for _name, (_pattern, _first) in _CORE.items():
    for _side in (_Loader, _Dumper):
        _side.add_implicit_resolver(f"{_PREFIX}{_name}", re.compile(f"^{_pattern}$"), [c.strip("\0") for c in _first])


def _integer(loader: Any, node: ScalarNode) -> int:
    return int(loader.construct_scalar(node), 0 if node.value[:2] in ("0o", "0x") else 10)


def _number(loader: Any, node: ScalarNode) -> float:
    return float(loader.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor(f"{_PREFIX}int", _integer)
_Loader.add_constructor(f"{_PREFIX}float", _number)


def read(text: str) -> Any:
    """Return what a document holds; raise YamlFault with the first place at fault."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        for problem in _problems(node):
            raise problem
        return loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        reason = " ".join(filter(None, (error.context, error.problem)))
        raise YamlFault(_place(mark) if mark else "", reason + _hint(error)) from error
    except yaml.YAMLError as error:
        raise YamlFault("", str(error)) from error
    finally:
        loader.dispose()


def write(value: Any) -> str:
    """Return a JSON value as YAML for people, its keys in their order; `read` gives the same value back."""
    return str(yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110))


def _hint(error: yaml.MarkedYAMLError) -> str:
    problem = error.problem or ""
    if "'\\t'" in problem:
        return ": YAML is indented by blanks, not by tabs"
    if "found another document" in problem:
        return ": a file holds one document, remove what follows ---"
    return ""


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}"


def _problems(root: Node) -> Iterator[YamlFault]:
    """Yield what would be lost or changed unseen, in the order of the document."""
    ahead: list[tuple[Node, bool]] = [(root, False)]
    seen = 0
    while ahead:
        node, constant = ahead.pop()
        seen += 1
        if seen > _MOST_NODES:
            yield YamlFault(
                _place(node.start_mark), "the document holds itself, or more than can be read, by its aliases"
            )
            return
        if isinstance(node, ScalarNode):
            yield from _scalar(node, constant=constant)
        elif isinstance(node, SequenceNode):
            ahead += [(item, constant) for item in reversed(node.value)]
        elif isinstance(node, MappingNode):
            yield from _twice(node)
            inside = ((value, constant or key.value in _CONSTANTS) for key, value in node.value)
            ahead += [*inside][::-1]


def _twice(node: MappingNode) -> Iterator[YamlFault]:
    lines: dict[tuple[str, Any], int] = {}
    for key, _ in node.value:
        name = (key.tag, key.value) if isinstance(key, ScalarNode) else (key.tag, id(key))
        if name in lines and key.tag != f"{_PREFIX}merge":
            message = f"the key {key.value!r} is there twice, first in line {lines[name]}: remove or rename one"
            yield YamlFault(_place(key.start_mark), message)
        lines.setdefault(name, key.start_mark.line + 1)


def _scalar(node: ScalarNode, *, constant: bool) -> Iterator[YamlFault]:
    if node.style is not None or node.tag not in (f"{_PREFIX}int", f"{_PREFIX}float"):
        return
    text = node.value
    value: Any = _integer(_Plain, node) if node.tag.endswith("int") else _number(_Plain, node)
    if _LEADING_ZERO.match(text) or (constant and text.lstrip("+") != json.dumps(value)):
        message = f"{text} is read as the number {json.dumps(value)}: write it in quotes to keep it as it is"
        yield YamlFault(_place(node.start_mark), message)


class _Plain:
    """Stands for the loader where a scalar is looked at before it is constructed."""

    @staticmethod
    def construct_scalar(node: ScalarNode) -> str:
        """Return the text."""
        text: str = node.value
        return text
