"""RegisterItself: the batch processor as a target in the registry, for as long as its stack stands."""

from __future__ import annotations

from typing import Any

from service.app import from_environment
from service.steps.register_itself import answer


def handler(event: Any, _context: Any) -> None:
    """`event`: of CloudFormation, with the machine's ARN and the name in ResourceProperties."""
    answer(from_environment(), event)
