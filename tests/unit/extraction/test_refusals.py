"""What an output says of a call that failed, of the wait before the next, and of an answer that is not whole."""

from __future__ import annotations

import time
from email.utils import formatdate
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.expressions.model_text import spoken, without_reasoning
from service.extraction.compiler import compile_output_mapping
from service.extraction.retry_after import retry_after

DIRECT = {"extraction_methods": [{"method": "direct", "fields": ["category", "score"]}]}


@pytest.mark.parametrize(
    ("answer", "seconds"),
    [
        ({"headers": {"RETRY-AFTER": "3"}}, 3),
        ({"headers": {"Retry-After": 0.5}}, 0.5),
        ({"retryAfter": "4"}, 4),
        ({"error": {"retry_after_ms": 250}}, 0.25),
        ({"body": '{"error": {"message": "retry after 20 seconds"}}'}, 20),
        ({"message": "Please try again in 1.5 min"}, 90),
        ({"message": "try again in 800ms"}, 0.8),
        ({"error": {"details": [{"x": 1}, {"retryDelay": "2.5s"}]}}, 2.5),
        ({"headers": {"Retry-After": "-3"}}, None),
        ({"headers": {"Retry-After": "soon"}}, None),
        ({"headers": {"Retry-After": "nan"}}, None),
        ({"headers": {"Retry-After": "1e400"}}, None),
        ({"headers": {"Retry-After": "9" * 40}}, 7 * 86_400),
        ({"message": "it took 20 s"}, None),
        ({"data": {"retry_after": 3}}, None),
    ],
)
def test_the_wait_that_an_answer_states(answer: Any, seconds: float | None) -> None:
    assert retry_after([answer]) == seconds


def test_a_date_counts_from_now_where_the_answer_has_none() -> None:
    wait = retry_after([{"headers": {"Retry-After": formatdate(time.time() + 3_600, usegmt=True)}}])
    assert wait is not None
    assert 3_000 < wait <= 3_600
    assert retry_after([{"headers": {"Retry-After": formatdate(time.time() - 3_600, usegmt=True)}}]) == 0


@given(
    text=st.text() | st.lists(st.sampled_from(["<think>", "</think>", "a", " {", '"', "}", "```", "[1]"])).map("".join)
)
def test_no_text_is_read_in_reasoning(text: str) -> None:
    hidden = f"<think>{text.replace('</', '')}</think>"
    assert without_reasoning(f"before {hidden} after").replace("  ", " ") == "before after"
    assert spoken(f'{hidden}{{"a": 1}}').values == (({"a": 1}, False),)


def test_drafts_without_an_end_take_linear_time() -> None:
    broken = ('{"x": [</think>' * 20_000, '{"a": 1,} ' * 20_000, '```\n{"a": ' * 20_000, "<think>" * 50_000)
    for text in (*broken, '{"a": "\\' * 20_000, "[THINK]{" * 20_000, '{"x"' + "[" * 100_000):
        started = process_time()
        compile_output_mapping(DIRECT).extract({"role": "assistant", "content": text})
        assert process_time() - started < 10


def test_an_error_is_told_in_a_few_words() -> None:
    extraction = compile_output_mapping(DIRECT).extract({"error": "long \n " * 1_000, "category": "refund"})
    assert extraction.error_type == "ToolError"
    assert len(extraction.message) < 300


def test_what_is_missing_beside_a_cut_off_answer() -> None:
    """The message before the last does not become the last, nor is an earlier answer of the model the answer."""
    messages = [{"role": "assistant", "content": "draft"}, {"role": "assistant", "content": "fin"}]
    columns = [{"name": "last", "source": "messages[-1].content"}, {"name": "count", "source": "length(messages)"}]
    extraction = compile_output_mapping({"columns": columns}).extract(
        {"messages": messages, "stop_reason": "max_tokens", "category": "x"}
    )
    assert extraction.fields == {"last": "", "count": 2}
    draft = [{"role": "assistant", "content": '{"category": "a", "score": 1}'}, messages[1]]
    extraction = compile_output_mapping(DIRECT).extract({"messages": draft, "stop_reason": "max_tokens"})
    assert (extraction.error_type, extraction.retry) == ("OutputTruncated", False)
