from __future__ import annotations

import json
import subprocess
import sys
from time import process_time
from typing import Any

import jmespath
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from service.expressions.language import ExpressionFault, compile_expression, compile_pattern
from service.expressions.regex import _spans

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from("abc") | st.text(), inner)
)
# Pieces of which a few in a row are often an expression, and often nearly one.
PIECE_TEXTS = """a b . | || [ ] [] [*] [0] [? { } : ( ) , & @ $ ! == < * -1 'x' `1` "b" parse( parse('(.)') parse_text()
    to_number(@) sort_by( ' ` " """
PIECES = st.sampled_from(PIECE_TEXTS.split())
APPLIED = [
    "a.b[0]", "a[*].b", "a | parse('(.)')", "parse_text()", "parse_text(a).b", "to_number(a)", "sort(@)", "length(a)",
    "contains(a, b)", "a < b", "a == b", "sum(a)", "avg(a)", "max_by(a, &b)", "sort_by(@, &a)", "map(&parse('x'), a)",
    "join('', a)", "keys(@)", "to_string(@)", "merge(@, a)", "floor(a)", "abs(a)", "not_null(a, b)", "[a, b]", "{x: a}",
    "a[?b > `1`]", "a[::-1]", "*", "@", "reverse(a)", "values(a)[]", "type(a)", "starts_with(a, b)", "min(a)", "!a",
]  # fmt: skip

JMESPATH_ALONE = [
    "a.b.c", "a[-1]", "a[*].b[]", "a[]", "a[*][0]", "*.a", "a.*.b", "a[?b == c]", "a[?b != `null`].c", "a && b", "!a.b",
    "a >= b", "a <= `1`", "[a, b[0]]", "{x: a, y: b.c}", "a | [0] | b", "@.a", "a[1:3].b", "a[?!b]", "a[].b.c[]",
    "sort_by(a, &b)[0]", "min_by(a, &b).c", "not_null(a.b, b, `1`)", "a[?contains(@, 'x')]", "a || b || c", "a == `0`",
]  # fmt: skip


def fault_of(text: str) -> ExpressionFault | None:
    try:
        compile_expression(text)
    except ExpressionFault as fault:
        return fault
    return None


@given(st.text() | st.lists(PIECES, max_size=12).map("".join))
def test_a_text_compiles_or_is_an_expression_fault(text: str) -> None:
    fault = fault_of(text)
    if fault is None:
        compile_expression(text).find({"a": [{"b": "x: 1"}]})
    else:
        assert 0 <= fault.position <= len(text)
        assert fault.reason
        assert str(fault).startswith(fault.reason)


@given(value=VALUES)
def test_finding_never_raises(value: Any) -> None:
    for text in APPLIED:
        found, reason = compile_expression(text).search(value)
        assert reason is None or found is None


@given(value=VALUES)
def test_plain_jmespath_finds_what_jmespath_finds(value: Any) -> None:
    for text in ("a.b", "a[0]", "a[*].b", "a || b", "keys(@ || `{}`)", "[a, b]", "a[?b]"):
        try:
            expected = jmespath.search(text, value)
        except jmespath.exceptions.JMESPathError:
            expected = None
        if expected is not None:
            assert json.dumps(compile_expression(text).find(value)) == json.dumps(expected)


def test_a_fault_shows_the_expression_and_a_caret() -> None:
    with pytest.raises(ExpressionFault) as raised:
        compile_expression("$.content | parse('(?<=a)b')")
    shown = str(raised.value).splitlines()
    assert shown[1] == "  $.content | parse('(?<=a)b')"
    assert shown[2].index("^") == shown[1].index("(?<=")


def test_the_caret_stands_in_the_line_of_the_fault() -> None:
    with pytest.raises(ExpressionFault) as raised:
        compile_expression("a\n| nothing(@)\n| b")
    assert str(raised.value).splitlines()[1:] == ["  | nothing(@)", "    ^"]


def test_jmespath_itself_is_left_as_it_was() -> None:
    compile_expression("a | parse('x')")
    with pytest.raises(jmespath.exceptions.UnknownFunctionError):
        jmespath.search("a | parse('x')", {"a": "x"})
    assert jmespath.search("to_number('1_0')", {}) == 10


def test_an_expression_is_compiled_once() -> None:
    assert compile_expression("a.b | [0]") is compile_expression("a.b | [0]")


def test_names_are_those_looked_up_in_the_root() -> None:
    names = compile_expression("$.a.b || c[?d].e || {x: f, y: g.h | i, z: length(j), w: map(&k, l)}").names
    assert names == {"a", "c", "f", "g", "j", "l"}


def test_a_reason_never_holds_the_value() -> None:
    found, reason = compile_expression("sum(a)").search({"a": "secret " * 50})
    assert found is None
    assert reason
    assert "secret" not in reason


def test_a_pattern_reads_a_field() -> None:
    assert compile_pattern(r"Exchange:\s*(\S+)").find({"content": "Exchange: X"}) == "X"
    assert compile_pattern("it's").find({"content": "it's"}) == "it's"
    with pytest.raises(ExpressionFault) as raised:
        compile_pattern("a(b")
    assert raised.value.text == "a(b"


def test_text_that_is_not_utf8_is_read() -> None:
    assert compile_expression("parse('b(.)')").find("a\ud800bc") == "c"
    assert compile_expression("parse('(.)$')").find("né") == "é"


def test_a_group_is_chosen_by_number_or_name() -> None:
    content = {"content": "a 12 b 34"}
    assert compile_pattern("a (.+?) b (?P<n>.+)", None, 2).find(content) == "34"
    assert compile_pattern("a (.+?) b (?P<n>.+)", None, "n").find(content) == "34"
    assert compile_pattern("a (.+?) b (?P<n>.+)", None, 0).find(content) == "a 12 b 34"
    assert compile_pattern(r"\d+", compile_expression("content | parse('b (.*)')")).find(content) == "34"


def test_a_pattern_finds_the_same_through_the_wrapper_of_the_engine() -> None:
    class Wrapper:
        """The engine's public face alone."""

        def __init__(self, pattern: str) -> None:
            compiled = re2.compile(pattern.encode())
            self.groups, self.search = compiled.groups, compiled.search

    for pattern in ("b(c)?(d)", "x", "(a)|(b)", "^$", "é"):
        for text in ("abcd", "abd", "", "aé"):
            spans = _spans(re2.compile(pattern.encode()))(text.encode())
            assert list(spans) == list(_spans(Wrapper(pattern))(text.encode()))


@settings(max_examples=40)
@given(value=VALUES)
@pytest.mark.parametrize(
    "text", [*JMESPATH_ALONE, *(one for one in APPLIED if "parse" not in one and "to_number" not in one)]
)
def test_compiled_functions_find_what_jmespath_finds(text: str, value: Any) -> None:
    """Ours finds more where it steps into a text, and never something else."""
    try:
        expected = jmespath.search(text, value)
    except (jmespath.exceptions.JMESPathError, TypeError, ValueError, ArithmeticError):
        expected = None
    if expected is not None and not any(mark in json.dumps(value) for mark in ('"{', '"[', "```", '\\"')):
        assert json.dumps(compile_expression(text).find(value)) == json.dumps(expected)


def test_deep_values_and_long_expressions_are_survived() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert compile_expression("to_string(@)").search(deep)[1] is not None
    with pytest.raises(ExpressionFault):
        compile_expression("(" * 100_000)
    long = "||".join(["a"] * 5_000)
    fault = fault_of(long)
    assert fault is None or "deep" in fault.reason


def test_a_hostile_pattern_takes_time_linear_in_the_text() -> None:
    expression = compile_expression("parse('(a|a)*b')")
    expression.find("a" * 1_000)
    started = process_time()
    assert expression.find("a" * 200_000) is None
    assert process_time() - started < 5  # a backtracking engine would not end


def test_regular_expressions_are_loaded_only_when_used() -> None:
    script = """
import sys
from service.expressions.language import compile_expression
import service.extraction.fields
compile_expression("a.b")
assert "re2" not in sys.modules
compile_expression("parse('x')")
assert "re2" in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)
