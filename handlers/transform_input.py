"""TransformInput: a chunk of the source as rows with what the target is given."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.steps.transform_input import transform_chunk


def handler(event: Any, _context: Any) -> Any:
    """`event`: batch_id, run, plan and chunk."""
    return transform_chunk(from_environment(), event)
