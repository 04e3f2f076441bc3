from __future__ import annotations

import json
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.causes import MESSAGE, Causes, template
from service.excerpt import excerpt_for_json


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("rate limit: retry after 7 s", "rate limit: retry after 12.5 s"),
        ("no file '/a/b.txt' here", "no file '/c.txt' here"),
        ('field "a b" is missing', 'field "c" is missing'),
        ("request req_011CSHoEeqs5C35K2UUqR7Fy failed", "request req_022DTIpFfrt6D46L3VVrS8Gz failed"),
        ("id 550e8400-e29b-41d4-a716-446655440000", "id 6ba7b810-9dad-11d1-80b4-00c04fd430c8"),
        ("at 0x7f3a2c object", "at 0x7f3b00 object"),
        ("line 14, in f", "line 1723, in f"),
        ("since 2026-11-26T15:52:42.123Z it waits", "since 2025-01-01 it waits"),
        ("GET https://a.test/x?y=1: gone", "GET https://b.test/: gone"),
        ("arn:aws:lambda:eu-west-1:123456789012:function:a is gone", "arn:aws:states:us-east-1:1:x:y is gone"),
        ("row_0000000007 has 3 cells", "row_0000000123 has 14 cells"),
        ("commit 2fd4e1c67a2d28fc is bad", "commit 1b2d28fced849ee1 is bad"),
    ],
)
def test_what_varies_within_a_cause_does_not_count(one: str, other: str) -> None:
    assert template(one) == template(other)
    assert "{" in template(one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Request failed with status code 429", "Request failed with status code 500"),
        ("HTTP 404", "HTTP 403"),
        ("401 Unauthorized", "403 Unauthorized"),
        ("HTTP/1.1 502 Bad Gateway", "HTTP/1.1 503 Bad Gateway"),
        ("quota exceeded", "quota used up"),
        ("it can't be that one's wrong", "it can't be this one's wrong"),
    ],
)
def test_words_and_statuses_tell_causes_apart(one: str, other: str) -> None:
    assert template(one) != template(other)


def test_the_first_message_is_shown_and_that_others_differ() -> None:
    causes: Causes[int] = Causes()
    for number in range(1, 100_001):
        causes.add("FAILED", "Limit", f"rate limit: retry after {number} s")
    causes.add("FAILED", "Other", "once")
    assert [group.told() for group in causes.groups()] == [
        {
            "status": "FAILED",
            "error": "Limit",
            "message": "rate limit: retry after 1 s",
            "count": 100_000,
            "alike": True,
        },
        {"status": "FAILED", "error": "Other", "message": "once", "count": 1},
    ]


def test_the_commonest_cause_is_first_however_many_came_before_it() -> None:
    causes: Causes[int] = Causes()
    words = [f"{a}{b}{c}" for a in "abcdefghij" for b in "abcdefghij" for c in "abcdefghij"]
    for word in words:
        causes.add("FAILED", "E", f"once {word}")
    for _ in range(3):
        for word in words[:300]:
            causes.add("FAILED", "E", f"again {word}")
        for _ in range(200):
            causes.add("FAILED", "E", "quota exceeded")
    first = causes.groups()[0].told()
    assert first["message"] == "quota exceeded"
    assert 500 <= first["count"] <= 600
    assert first["at_least"]


@given(st.lists(st.sampled_from("abcdefghijklmnop"), max_size=200), st.integers(2, 20), st.integers(0, 200))
def test_no_count_is_too_high_and_frequent_causes_are_kept(letters: list[str], room: int, cut_at: int) -> None:
    causes: Causes[int] = Causes(room)
    for letter in letters[:cut_at]:
        causes.add("FAILED", "E", letter)
    causes = Causes.of(json.loads(json.dumps(causes.state(30_000))), room)
    for letter in letters[cut_at:]:
        causes.add("FAILED", "E", letter)
    seen, told = Counter(letters), [group.told() for group in causes.groups()]
    assert len(told) <= room
    for one in told:
        assert one["count"] <= seen[one["message"]]
        assert one.get("at_least") or one["count"] == seen[one["message"]]
    assert {letter for letter, count in seen.items() if count > len(letters) / room} <= {one["message"] for one in told}
    assert all(one["count"] >= other["count"] for one, other in pairwise(told))


@pytest.mark.parametrize("letter", ["a", "語", "😀", '"', "\0", "'", "0x", "://"])
def test_a_state_stays_small_and_messages_are_cut(letter: str) -> None:
    causes: Causes[str] = Causes()
    for number in range(300):
        mark = "".join("abcdefghij"[int(digit)] for digit in str(number))
        causes.add("FAILED", mark + letter * 1_000, mark + letter * 1_000).examples.append("r" * 64)
    state = causes.state(30_000)
    assert len(json.dumps(state)) <= 30_000
    assert all(len(group.message) <= MESSAGE for group in causes.groups())
    later: Causes[str] = Causes.of(json.loads(json.dumps(state)))
    assert [group.told() for group in later.groups()] == [group.told() for group in causes.groups()]


@given(st.text(max_size=2_000))
def test_a_cut_text_is_not_cut_again(text: str) -> None:
    once = excerpt_for_json(text, MESSAGE)
    assert excerpt_for_json(once, MESSAGE) == once
