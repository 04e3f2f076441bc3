"""How a compiled expression runs: JMESPath's interpreter, which steps into JSON in text, and the functions."""

from __future__ import annotations

from typing import Any, Protocol

from jmespath import functions, visitor

from service.texts import parse_text, stepped, text_of
from service.values import to_number

Node = dict[str, Any]


class Regex(Protocol):
    """A compiled regular expression of RE2, which is loaded only where one is used."""

    def search(self, text: bytes) -> Any:  # noqa: D102 - the engine's own
        ...


class Functions(functions.Functions):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's functions and ours."""

    @functions.signature({"types": []}, {"types": []})  # type: ignore[untyped-decorator]
    def _func_parse(self, value: Any, regex: Regex) -> str | None:
        text = text_of(value)
        if text is None:
            return None
        match = regex.search(text.encode("utf-8", "replace"))
        if match is None:
            return None
        group = match.group(1 if match.re.groups else 0)
        return None if group is None else group.decode("utf-8", "replace")

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_parse_text(self, value: Any) -> Any:
        return parse_text(value)

    @functions.signature({"types": []})  # type: ignore[untyped-decorator]
    def _func_to_number(self, value: Any) -> int | float | None:
        return to_number(value)


class _Interpreter(visitor.TreeInterpreter):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's interpreter; a path that steps into a text steps into the JSON which the text holds."""

    def visit_field(self, node: Node, value: Any) -> Any:
        inner = stepped(value)
        return inner.get(node["value"]) if isinstance(inner, dict) else None

    def visit_index(self, node: Node, value: Any) -> Any:
        return super().visit_index(node, stepped(value))

    def visit_slice(self, node: Node, value: Any) -> Any:
        return super().visit_slice(node, stepped(value))

    def visit_opened(self, node: Node, value: Any) -> Any:
        return stepped(self.visit(node["children"][0], value))


INTERPRETER = _Interpreter(visitor.Options(custom_functions=Functions()))
