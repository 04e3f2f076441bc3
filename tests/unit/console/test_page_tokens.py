from __future__ import annotations

import re
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer

from service.console.page_tokens import Page, command, from_token, to_token
from service.errors import BatchRefused
from service.models import Position

ASKED = {"command": "failed", "batch": "echo#1", "--status": "FAILED"}
SINCE, UNTIL, AT = "2026-11-21T10:00:00.000Z", "2026-11-22T10:00:00.000Z", "2026-11-22T09:59:59.999Z"
AFTER = Position(AT, "echo#1", "row_0000000007", "FAILED")
PAGE = Page(ASKED, SINCE, UNTIL)
TOKEN = to_token(PAGE, AFTER)
ALPHABET = string.ascii_letters + string.digits + "-_"


def signed(value: Any, version: str = "1") -> str:
    """A token with a right signature of a content that may be wrong."""
    return str(URLSafeSerializer("batch-processor", salt=f"page {version}").dumps(value))


def test_a_page_comes_back() -> None:
    assert from_token(TOKEN, ASKED) == Page(ASKED, SINCE, UNTIL, AFTER)
    assert signed([ASKED, SINCE, UNTIL, list(AFTER)]) == TOKEN


options = st.dictionaries(st.sampled_from(["batch", "--status", "--error", "--since", "--stack"]), st.text())
questions = options.map(lambda given: {"command": "results", **given})
positions = st.builds(Position, st.just(AT), st.text(), st.text(), st.text())


@given(questions, st.sampled_from([None, SINCE]), st.sampled_from([None, UNTIL]), positions)
def test_any_page_comes_back_from_text_that_goes_anywhere(
    asked: dict[str, str], since: str | None, until: str | None, after: Position
) -> None:
    token = to_token(Page(asked, since, until), after)
    assert re.fullmatch(r"[A-Za-z0-9_.-]+", token)
    assert not token.startswith("-")
    assert from_token(token, asked) == Page(asked, since, until, after)


@given(st.data())
def test_a_damaged_token_is_refused(data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(TOKEN) - 1))
    letter = data.draw(st.sampled_from([*ALPHABET, ".", "=", " ", "\n", "+", "/", "é", ""]))
    kept = data.draw(st.integers(0, 1))  # put in the place of a character, or before it
    damaged = TOKEN[:place] + letter + TOKEN[place + 1 - kept :]
    if damaged != TOKEN:
        with pytest.raises(BatchRefused, match=r"^--page-token: is damaged, .* copy the whole token, or leave"):
            from_token(damaged, ASKED)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "1",
        "x" * 40,
        TOKEN[:-1],
        TOKEN + "=",
        TOKEN * 2,
        signed([ASKED, SINCE, UNTIL, list(AFTER)], "2"),
        signed("text"),
        signed(None),
        signed({}),
        signed([ASKED, SINCE, UNTIL]),
        signed([ASKED, SINCE, UNTIL, AFTER[:3]]),
        signed([ASKED, SINCE, UNTIL, None]),
        signed([ASKED, SINCE, UNTIL, [*AFTER[:3], 1]]),
        signed([ASKED, SINCE, UNTIL, ["yesterday", *AFTER[1:]]]),
        signed([ASKED, 5, UNTIL, list(AFTER)]),
        signed([ASKED, SINCE, "", list(AFTER)]),
        signed([[], SINCE, UNTIL, list(AFTER)]),
        signed(["failed", SINCE, UNTIL, list(AFTER)]),
        signed([{"batch": "echo#1"}, SINCE, UNTIL, list(AFTER)]),
        signed([{**ASKED, "--status": None}, SINCE, UNTIL, list(AFTER)]),
        signed([dict(reversed(ASKED.items())), SINCE, UNTIL, list(AFTER)]) + " ",  # another spelling
    ],
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(BatchRefused, match="is damaged, or of another version"):
        from_token(token, ASKED)


@pytest.mark.parametrize(
    "asked",
    [
        {**ASKED, "command": "results"},
        {**ASKED, "batch": "echo#2"},
        {**ASKED, "--status": "TIMEOUT"},
        {**ASKED, "--error": "E"},
        {"command": "failed", "batch": "echo#1"},
        {**ASKED, "--stack": "other"},
    ],
)
def test_a_token_of_another_question_is_refused_and_its_own_named(asked: dict[str, str]) -> None:
    with pytest.raises(BatchRefused) as raised:
        from_token(TOKEN, asked)
    own = "batch-processor failed 'echo#1' --status FAILED"
    assert str(raised.value) == f"--page-token: is of another question: give it with `{own}`, or leave it out"


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        (ASKED, "batch-processor failed 'echo#1' --status FAILED"),
        ({"command": "results", "--since": "2 h"}, "batch-processor results --since '2 h'"),
        (
            {"command": "failed", "batch": "a#1", "--error": "it's"},
            """batch-processor failed 'a#1' --error 'it'"'"'s'""",
        ),
    ],
)
def test_the_command_of_a_question(asked: dict[str, str], line: str) -> None:
    assert command(asked) == line
