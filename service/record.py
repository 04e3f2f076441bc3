"""What the batches table says of a batch, and of each chunk that has finished."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class BatchRecord:
    """The record of one batch; times are ISO 8601 texts, `expires_at` seconds since 1970.

    `target`: name, kind, ARN and version. `source`: its URI, and once prepared its place, version, form and columns.
    `csv`: options of the CSV. `runs`: run, execution_arn, started_at, manifest_key and, where chunks were run a second
    time, again_key of each run, the last one last. `chunks`: the type of the executions that run them, why, and how
    many were run again. `counts`: rows by status; `kept_counts`: those that the last run leaves as they are.
    `row_count`: None until every row of the source was read.
    """

    batch_id: str
    status: str = ""
    prepared_at: str = ""
    started_at: str | None = None
    ended_at: str | None = None
    tool_name: str = ""
    target: dict[str, Any] = field(default_factory=dict)
    source: dict[str, Any] = field(default_factory=dict)
    plan_hash: str = ""
    output_columns: Sequence[str] | None = None
    csv: dict[str, Any] = field(default_factory=dict)
    csv_location: str | None = None
    output_bucket: str = ""
    output_key: str = ""
    manifest_key: str | None = None
    chunks_key: str = ""
    row_count: int | None = None
    rows_to_run: int | None = None
    run: int = 1
    runs: list[dict[str, Any]] = field(default_factory=list)
    execution_arn: str = ""
    expires_at: int | None = None
    stop: bool = False
    stop_reason: str | None = None
    counts: dict[str, int] | None = None
    counts_exact: bool = False
    kept_counts: dict[str, int] = field(default_factory=dict)
    chunks: dict[str, Any] = field(default_factory=dict)
    errors: list[dict[str, Any]] = field(default_factory=list)
    slowest: list[tuple[str, int]] = field(default_factory=list)
    fields: list[dict[str, Any]] = field(default_factory=list)
    guarded_cells: int = 0
    error: dict[str, str] | None = None
    execution_time_ms: int | None = None

    @property
    def rows(self) -> int:
        """Rows of the source; 0 while they are not known."""
        return self.row_count or 0

    def manifests(self, run: int) -> list[str]:
        """Return the keys of a run's lists of chunks, that of the chunks that were run a second time first."""
        known = next((each for each in self.runs if int(each["run"]) == run), {})
        return [known[name] for name in ("again_key", "manifest_key") if known.get(name)]

    @property
    def csv_format(self) -> str:
        """The format of the batch's results: csv, jsonl or parquet."""
        return self.csv.get("format") or "csv"


RECORD_FIELDS = tuple(one.name for one in fields(BatchRecord))


@dataclass(frozen=True)
class ChunkRecord:
    """What is known of a chunk that has finished.

    `counts`: its rows by status. `lost`: why rows are MISSING, as type and message by row number, or by `*` for the
    whole chunk.
    """

    run: int
    number: int
    first_row: int
    rows: int
    counts: dict[str, int]
    lost: dict[str, list[str]] = field(default_factory=dict)
    ended_at: str | None = None
