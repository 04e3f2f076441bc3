"""What a function or the command line was deployed with, read from the environment once and checked."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_REQUIRED = {
    "results_table": "RESULTS_TABLE",
    "batches_table": "BATCHES_TABLE",
    "registry_table": "REGISTRY_TABLE",
    "data_bucket": "DATA_BUCKET",
}
_PATTERNS = {
    "tool_arns": "TOOL_ARNS",
    "agent_arns": "AGENT_ARNS",
    "source_object_arns": "SOURCE_OBJECT_ARNS",
    "output_object_arns": "OUTPUT_OBJECT_ARNS",
}
# Brought by events alone.
_LAYER = "PARQUET_LAYER_ARN"
_PARTITION = "PARTITION"


class SettingsMissing(Exception):
    """An environment variable that the template sets is not there."""


@dataclass(frozen=True)
class Settings:
    """Names of one stack's resources, and the ARN patterns (`*` and `?` as in IAM) of what it may touch."""

    results_table: str
    batches_table: str
    registry_table: str
    data_bucket: str
    tool_arns: tuple[str, ...] = ()
    agent_arns: tuple[str, ...] = ()
    source_object_arns: tuple[str, ...] = ()
    output_object_arns: tuple[str, ...] = ()
    parquet_layer: str = ""  # of the aggregator, with pyarrow in it
    partition: str = "aws"  # of the account: the second word of every ARN

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Settings:
        """Return settings of a function.

        Raises SettingsMissing naming every variable that template.yaml should have set.
        """
        missing = [name for name in _REQUIRED.values() if not environ.get(name)]
        if missing:
            raise SettingsMissing(f"{', '.join(missing)} not set: template.yaml sets them for its functions")
        values: dict[str, Any] = {field: environ[name] for field, name in _REQUIRED.items()}
        patterns: dict[str, Any] = {field: _patterns(environ.get(name, "")) for field, name in _PATTERNS.items()}
        return cls(**values, **patterns, partition=environ.get(_PARTITION) or "aws")

    def allowing(self, patterns: Mapping[str, str]) -> Settings:
        """Return the settings with the lists of ARNs.

        And the layer, that an event brings by their environment names.
        """
        given: dict[str, Any] = {field: _patterns(patterns.get(name, "")) for field, name in _PATTERNS.items()}
        layer, partition = patterns.get(_LAYER, "").strip(), patterns.get(_PARTITION, "").strip() or self.partition
        return replace(self, **given, parquet_layer=layer, partition=partition)


def _patterns(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())
