"""What a deployed stack says of itself: its outputs, as the settings of an app."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import NotFound
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

_NEEDED = (
    "StateMachineArn",
    "DataBucket",
    "ResultsTable",
    "BatchesTable",
    "RegistryTable",
    "ResultAggregatorFunction",
)


class NoStack(NotFound):
    """There is no stack to speak to, or it does not run."""


def settings_of(outputs: Mapping[str, str], name: str) -> Settings:
    """Return the settings of the stack of that name; raise NoStack when it is not a batch processor."""
    missing = [key for key in _NEEDED if key not in outputs]
    if missing:
        raise NoStack(f"stack {name!r} is not a batch processor: it has no output {', '.join(missing)}")
    return Settings(
        results_table=outputs["ResultsTable"],
        batches_table=outputs["BatchesTable"],
        registry_table=outputs["RegistryTable"],
        data_bucket=outputs["DataBucket"],
    )
