"""The one expression language of every mapping: JMESPath with `$` as root, `parse` and `parse_text`."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NoReturn

from jmespath import exceptions, functions, parser

from service.errors import nearest
from service.expressions import regex as re2_regex
from service.expressions.evaluation import Node, runnable
from service.expressions.functions import FUNCTIONS
from service.expressions.regex import Pattern, PatternFault, Regex, finder

# Every fault that a JMESPath function or comparison can raise on a JSON value; what is not here is a fault of ours.
_RUN_TIME_FAULTS = (ValueError, TypeError, ArithmeticError, LookupError, RecursionError)


class ExpressionFault(Exception):
    """An expression that does not compile; `position` is the 0-based place of the fault in `text`."""

    def __init__(self, text: str, position: int, reason: str) -> None:
        self.text, self.reason = text, reason
        self.position = max(0, min(position, len(text)))
        super().__init__(text, self.position, reason)

    def __str__(self) -> str:
        start = self.text.rfind("\n", 0, self.position) + 1
        line = self.text[start:].split("\n", 1)[0].replace("\t", " ")
        return f"{self.reason}\n  {line}\n  {' ' * (self.position - start)}^"


class Expression:
    """A compiled expression; `names` are the fields of the root with which its paths begin.

    `stored` is its JSON, of which `compile_stored` makes it again: the text, or a pattern with what it is applied to.
    """

    __slots__ = ("_run", "_tree", "names", "stored", "text")

    def __init__(self, text: str, tree: Node, stored: Any = None) -> None:
        self.text = text
        self.stored: Any = text if stored is None else stored
        self.names = frozenset(_root_names(tree))
        self._tree = tree
        self._run = runnable(tree)

    def __repr__(self) -> str:
        return f"Expression({self.text!r})"

    def parsed(self, text: str, pattern: Pattern, group: int | str | None = None) -> Expression:
        """Return the expression of `text`, which applies a pattern to what this one finds."""
        literal = {"type": "literal", "children": [], "value": pattern}
        tree = {"type": "function_expression", "children": [self._tree, literal], "value": "parse"}
        return Expression(text, tree, {"pattern": text, "of": self.stored, "group": group})

    def find(self, value: Any) -> Any:
        """Return the value found, or None when there is none or a function refused what it was given."""
        return self.search(value)[0]

    def search(self, value: Any) -> tuple[Any, str | None]:
        """Return the value found and, when a function refused what it was given, why; never raises on a JSON value."""
        try:
            return self._run(value), None
        except exceptions.JMESPathTypeError as fault:
            wanted = " or ".join(fault.expected_types)
            given = functions.TYPES_MAP.get(fault.actual_type, fault.actual_type)
            return None, f"{fault.function_name}() needs {wanted}, was given {given}"
        except _RUN_TIME_FAULTS as fault:
            return None, f"the expression cannot be applied to this value ({type(fault).__name__})"


@lru_cache(maxsize=2048)
def compile_expression(text: str) -> Expression:
    """Return the expression compiled, its functions and regular expressions checked; raises ExpressionFault."""
    if not isinstance(text, str):
        raise ExpressionFault(str(text), 0, f"an expression is text, this is {type(text).__name__}")
    first = len(text) - len(text.lstrip(" \t\r\n"))
    # `@` has the length of `$` and the same meaning as the first token, so positions stay true.
    rooted = f"{text[:first]}@{text[first + 1 :]}" if text[first : first + 1] == "$" else text
    try:
        tree = _Parser().tree(rooted)
        return Expression(text, _Check(text).node(tree))
    except exceptions.ParseError as fault:
        raise ExpressionFault(text, fault.lex_position, _reason(text, fault)) from None
    except exceptions.EmptyExpressionError:
        raise ExpressionFault(text, 0, "the expression is empty") from None
    except RecursionError:
        raise ExpressionFault(text, 0, "the expression is nested too deeply") from None
    except (ValueError, LookupError) as fault:
        raise ExpressionFault(text, 0, f"the expression cannot be read: {fault}") from None


@lru_cache(maxsize=512)
def compile_pattern(regex: str, subject: Expression | None = None, group: int | str | None = None) -> Expression:
    """Return a bare regular expression applied to what `subject` finds, or to `content`; raises ExpressionFault.

    `group` is a group's number or name; without it, the first group, or the whole match where there is none.
    """
    source = subject or compile_expression("content")
    return source.parsed(regex, _pattern(regex, regex, 0, group), group)


def compile_stored(stored: Any) -> Expression:
    """Return the expression of its JSON (`Expression.stored`)."""
    if isinstance(stored, str):
        return compile_expression(stored)
    return compile_pattern(stored["pattern"], compile_stored(stored["of"]), stored["group"])


def compile_regex(pattern: str) -> Regex:
    """Return a regular expression of a configuration, compiled; raises ExpressionFault, with a caret at the fault."""
    try:
        return re2_regex.compile_regex(pattern)
    except PatternFault as fault:
        place = pattern.find(fault.fragment) if fault.fragment else -1
        raise ExpressionFault(pattern, max(0, place), fault.reason) from None


def _reason(text: str, fault: exceptions.ParseError) -> str:
    """Return what is wrong, in words for someone who may know JSONPath better than JMESPath."""
    if isinstance(fault, exceptions.IncompleteExpressionError) or fault.lex_position >= len(text):
        return "the expression ends too early"
    at = text[fault.lex_position : fault.lex_position + 1]
    before = text[: fault.lex_position].rstrip()
    if isinstance(fault, exceptions.LexerError) and str(fault.message).startswith("Unclosed"):
        return f"the text that begins with {at} has no end"
    hint = ""
    if at == "$":
        hint = ": it is the root only at the beginning of an expression"
    elif at == "." and before.endswith("."):
        hint = ": `..` is JSONPath; JMESPath has no search at any depth, write the whole path"
    elif before.lstrip() == "$":
        hint = ": after `$` comes `.name` or `[0]`"
    elif at in {"'", '"'} and before.endswith("["):
        hint = ': a name in brackets is JSONPath; write .name or ."a name"'
    return f"`{at}` is not expected here{hint}"


def _pattern(regex: str, text: str, position: int, group: int | str | None = None) -> Pattern:
    """Return what a regular expression finds; `position` is where it stands in the expression `text`."""
    try:
        return finder(regex, group)
    except PatternFault as fault:
        place = text.find(fault.fragment, position) if fault.fragment else -1
        raise ExpressionFault(text, position if place < 0 else place, fault.reason) from None


class _Parser(parser.Parser):  # type: ignore[misc]  # jmespath has no types
    """JMESPath's parser; remembers where calls, literals and slices stand."""

    def tree(self, text: str) -> Node:
        if not text:
            raise exceptions.EmptyExpressionError
        parsed: Node = self._parse(text).parsed
        return parsed

    def _token_nud_literal(self, token: Node) -> Node:
        return {**super()._token_nud_literal(token), "position": token["start"]}

    def _token_nud_expref(self, token: Node) -> Node:
        return {**super()._token_nud_expref(token), "position": token["start"]}

    def _token_led_lparen(self, left: Node) -> Node:
        start = self._lookahead_token(-2)["start"]
        return {**super()._token_led_lparen(left), "position": start}

    def _parse_slice_expression(self) -> Node:
        start = self._lookahead_token(0)["start"]
        return {**super()._parse_slice_expression(), "position": start}


class _Check:
    """Turns a syntax tree into the one that runs: calls checked, regular expressions compiled."""

    def __init__(self, text: str) -> None:
        self.text = text

    def node(self, node: Node) -> Node:
        kind = node["type"]
        if kind == "function_expression":
            return self._call(node)
        if kind == "expref":
            self._refuse(node, "`&` stands only before the expression given to map, sort_by, min_by or max_by")
        if kind == "slice":
            if node["children"][2] == 0:
                self._refuse(node, "a slice cannot have the step 0")
            return node
        children = [self.node(child) for child in node["children"]]
        return {**node, "children": children}

    def _call(self, node: Node) -> Node:
        name, arguments = node["value"], list(node["children"])
        signature = FUNCTIONS.FUNCTION_TABLE.get(name, {}).get("signature")
        if signature is None:
            self._refuse(node, f"there is no function {name}(): {nearest(name, FUNCTIONS.FUNCTION_TABLE)}")
        if name in _ON_CURRENT and len(arguments) == len(signature) - 1:
            arguments.insert(0, {"type": "current", "children": []})
        self._check_count(node, len(arguments), signature)
        if name == "parse":
            arguments[1] = self._pattern(node, arguments[1])
        children = []
        for index, argument in enumerate(arguments):
            wanted = signature[min(index, len(signature) - 1)]["types"]
            if "expref" not in wanted:
                children.append(self.node(argument))
            elif argument["type"] == "expref":
                children.append({**argument, "children": [self.node(argument["children"][0])]})
            else:
                self._refuse(node, f"{name}() needs an expression with `&` as its argument {index + 1}")
        return {**node, "children": children}

    def _check_count(self, node: Node, given: int, signature: tuple[Node, ...]) -> None:
        wanted, variadic = len(signature), bool(signature and signature[-1].get("variadic"))
        if given == wanted or (variadic and given > wanted):
            return
        if node["value"] == "parse":
            self._refuse(node, "parse() needs a regular expression: parse('…') or parse(value, '…')")
        least = "at least " if variadic else ""
        noun = "argument" if wanted == 1 else "arguments"
        self._refuse(node, f"{node['value']}() needs {least}{wanted} {noun}, was given {given}")

    def _pattern(self, call: Node, argument: Node) -> Node:
        if argument["type"] != "literal" or not isinstance(argument["value"], str):
            self._refuse(call, "parse() needs its regular expression as text in single quotes, not computed")
        return {**argument, "value": _pattern(argument["value"], self.text, argument["position"] + 1)}

    def _refuse(self, node: Node, reason: str) -> NoReturn:
        raise ExpressionFault(self.text, node.get("position", 0), reason)


_ON_CURRENT = frozenset({"parse", "parse_text"})
_STEPPING = frozenset({"projection", "value_projection", "filter_projection", "flatten"})
_FIRST_ONLY = _STEPPING | {"subexpression", "pipe", "index_expression"}


def _root_names(node: Node) -> set[str]:
    """Return the fields that an expression looks up in the root itself."""
    kind = node["type"]
    if kind == "field":
        return {node["value"]}
    if kind in {"expref", "slice"}:
        return set()
    children = node["children"]
    if kind in _FIRST_ONLY:
        # `$.a` is the current node, then a.
        children = [child for child in children if child["type"] not in {"current", "identity"}][:1]
    return {name for child in children for name in _root_names(child)}
