"""WriteResult, HandleFailure and FinishChunk: the fate of a row, and of a chunk."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.steps.write_result import (
    finish_chunk,
    handle_failure,
    handle_refusal,
    lose_chunk,
    store_plain,
    write_output,
)


def handler(event: Any, _context: Any) -> Any:
    """Store a result or decide what follows.

    `event`: of the state machine, with a plan and an output, failure, refusal, results, or what a chunk was lost by;
    without a plan it is a plain result.
    """
    app = from_environment()
    if "plan" not in event:
        return store_plain(app, event)
    if "failure" in event:
        return handle_failure(app, event)
    if "refusal" in event:
        return handle_refusal(app, event)
    if "lost" in event:
        return lose_chunk(app, event)
    if "results" in event:
        return finish_chunk(app, event)
    return write_output(app, event)
