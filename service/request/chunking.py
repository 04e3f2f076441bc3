"""How the rows of a batch are dealt into chunks, and how many of them are in flight."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

from service.cost.workload import chunk_rows, concurrency, rows_of_a_chunk
from service.limits import CHUNK_BYTES, CHUNK_ROWS, ROW_BYTES
from service.plan import RetryPolicy
from service.request.child_executions import EXPRESS, call_seconds, choose
from service.source import csv_rows
from service.source.row_sizes import RowSizes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from service.mapping.input_plan import InputPlan
    from service.request.models import ExecutionConfig
    from service.request.targets import ResolvedTarget
    from service.source.csv_rows import Chunk, Record

WATCHED_ROWS = 20  # rows of a chunk when failures or cost may stop the batch: chunks under way are run to their end


def run_by(config: ExecutionConfig, layout: Layout) -> dict[str, Any]:
    """Return what a plan says of how its rows are run."""
    return {
        "synchronous": layout.target.synchronous,
        "children": layout.children.type,
        "inner": layout.inner,
        "timeout_seconds": config.timeout_seconds,
        "call_seconds": call_seconds(config, layout.target),
        "retry_policy": RetryPolicy(**config.retry_policy.model_dump()),
        "keep_output": config.keep_output,
        "execution_config": config.model_dump(),
        "stopping": config.stopping_rules(),
    }


class Layout:
    """The chunks of one batch; counts the rows as it goes.

    Raises BatchRefused when EXPRESS executions are asked for and cannot be.
    """

    def __init__(self, config: ExecutionConfig, target: ResolvedTarget, fields: InputPlan) -> None:
        self.limit = config.limit
        self.sample = config.sample
        self.row_count = 0
        self.fields = fields
        self.target = target
        self.children = choose(config, target, concurrency(config.max_concurrency, EXPRESS)[1])
        self.outer, self.inner = concurrency(config.max_concurrency, self.children.type)
        most = chunk_rows(config.retry_policy.max_attempts, config.retry_policy.throttled_seconds)
        if self.children.type == EXPRESS:
            most = min(CHUNK_ROWS, self.children.rows or CHUNK_ROWS)
        self._most = most if config.stopping_rules() is None else min(most, WATCHED_ROWS)

    @property
    def rows_to_run(self) -> int:
        """Rows within the limit, or of the sample."""
        return min(self.row_count, *(most for most in (self.limit, self.sample) if most is not None), self.row_count)

    @property
    def rows_per_chunk(self) -> int:
        """Rows of a chunk at most."""
        return self._most

    def told(self) -> dict[str, Any]:
        """Return what the record says of the executions that run the chunks."""
        return {"type": self.children.type, "why": self.children.why, "run_again": 0}

    def chunks(self, records: Iterable[Record], columns: Sequence[str]) -> list[Chunk]:
        """All chunks in row order; none holds rows on both sides of the limit."""
        sized = self._sized(records, columns)
        ahead = list(islice(sized, self.outer * self._most + 1))
        seen = len(ahead) if self.limit is None else min(len(ahead), self.limit)
        size = rows_of_a_chunk(seen, self._most, self.outer, self.inner)
        chunker = csv_rows.Chunker(size, CHUNK_BYTES)
        closed: list[Chunk] = []
        for record, row_bytes in chain(ahead, sized):
            if self.limit is not None and record.number == self.limit + 1:
                if last := chunker.finish():
                    closed.append(last)
                # Rows beyond the limit are not run now: few large chunks keep the list of them short.
                chunker = csv_rows.Chunker(self._most, CHUNK_BYTES)
            if chunk := chunker.add(record, row_bytes):
                closed.append(chunk)
        if last := chunker.finish():
            closed.append(last)
        return [replace(chunk, number=number) for number, chunk in enumerate(closed)]

    def _sized(self, records: Iterable[Record], columns: Sequence[str]) -> Iterator[tuple[Record, int]]:
        """Each row without its cells, and the bytes it takes on its way; rows that do not travel take none."""
        sizes = RowSizes(self.target.kind, self.target.name, self.fields, columns)
        for record in records:
            self.row_count += 1
            size = sizes.of(record.number, record.cells)
            record.cells = []
            yield record, size if size <= ROW_BYTES else 0
