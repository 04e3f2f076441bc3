"""Which executions run the chunks of a batch, why, and how many rows a chunk may have by it."""

from __future__ import annotations

from typing import Any

import pytest

from service.errors import BatchRefused
from service.request.child_executions import choose, longest_row
from service.request.models import ExecutionConfig
from service.request.targets import ResolvedTarget


def config(seconds: int = 3, attempts: int = 3, **more: Any) -> ExecutionConfig:
    return ExecutionConfig.model_validate(
        {"timeout_seconds": seconds, "retry_policy": {"max_attempts": attempts, "initial_seconds": 1}, **more}
    )


def target(**more: Any) -> ResolvedTarget:
    return ResolvedTarget("t", **{"kind": "tool", "arn": "arn:t", "idempotent": True, **more})


@pytest.mark.parametrize(
    ("given", "of", "longest", "rows"),
    [
        (config(3), target(), 3 * 3 + 1 + 2, 20 * 5),  # twelve seconds: twenty rounds of five rows in 240 s
        (config(300), target(function_seconds=3), 12, 100),  # the function ends by itself
        (config(2), target(function_seconds=900), 2 * 3 + 3, 26 * 5),
        (config(79, 1), target(), 79, 3 * 5),
        (config(240, 1), target(), 240, 5),
        (config(3), target(kind="agent", synchronous=True), 12, 100),
    ],
)
def test_rows_that_end_in_time_run_in_express_executions(
    given: ExecutionConfig, of: ResolvedTarget, longest: float, rows: int
) -> None:
    assert longest_row(given, of) == longest
    chosen = choose(given, of, 5)
    assert (chosen.type, chosen.rows) == ("EXPRESS", rows)
    assert f"{longest:,.0f} s" in chosen.why


@pytest.mark.parametrize(
    ("given", "of", "why"),
    [
        (config(), target(idempotent=False), "register it with idempotent: true"),
        (config(), target(kind="agent"), "a Standard state machine is waited for"),
        (config(241, 1), target(), "a row may take 241 s .* lower timeout_seconds or max_attempts"),
        (config(80), target(), "a row may take 243 s"),
    ],
)
def test_others_run_in_standard_executions_and_are_refused_as_express(
    given: ExecutionConfig, of: ResolvedTarget, why: str
) -> None:
    chosen = choose(given, of, 5)
    assert chosen.type == "STANDARD"
    with pytest.raises(BatchRefused, match=why) as refused:
        choose(given.model_copy(update={"chunks": "express"}), of, 5)
    (problem,) = refused.value.problems
    assert problem.path == "execution_config.chunks"
    assert chosen.why in problem.message


def test_standard_can_be_asked_for() -> None:
    chosen = choose(config(chunks="standard"), target(), 5)
    assert (chosen.type, chosen.why) == ("STANDARD", "execution_config.chunks asks for it")
