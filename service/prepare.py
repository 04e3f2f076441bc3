"""The beginning of a batch: everything checked, rows counted, plan, manifest and record written."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, TypeVar

from service import objects, source, targets
from service.batch_input import BatchInput, parse_input
from service.errors import BatchRefused, Problem
from service.extraction import OutputPlan, compile_output_mapping
from service.mapping import InputPlan, RowNotMapped, compile_input_mapping
from service.models import BatchStatus, batch_hash, batch_id, now_iso, split_s3_uri
from service.permissions import check_output, check_source
from service.rows import ROW_BYTES, travelling, wire_bytes
from service.table import BatchItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from service.app import App
    from service.objects import SourceObject
    from service.source import Chunk, Record, SourceFormat
    from service.targets import ResolvedTarget

CHUNK_ROWS = 100
CHUNK_BYTES = 150_000  # of the 256 KiB that a state's payload may have: the results need room beside the rows
SAMPLE = 1 << 20  # bytes looked at to detect encoding and delimiter
LONGEST_RUN = 7 * 86_400  # seconds: TimeoutSeconds of the state machine
INNER = 5  # rows in flight per chunk that concurrency is split into
_DAY = 86_400
T = TypeVar("T")


class _Problems:
    """Collects what several checks refuse, so that one error names everything."""

    def __init__(self) -> None:
        self.found: list[Problem] = []

    def of(self, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except BatchRefused as refused:
            self.found += refused.problems
        except source.SourceFault as fault:
            self.found.append(Problem("csv_s3_uri", str(fault)))
        return None

    def raise_any(self) -> None:
        if self.found:
            raise BatchRefused(self.found)


def prepare(app: App, event: dict[str, Any]) -> dict[str, Any]:
    """What the state machine needs to run the batch; raises BatchRefused with every problem found.

    `event`: input, execution_name, execution_arn and started_at of the execution.
    """
    parsed = parse_input(event["input"])
    identifier = batch_id(parsed.target.name, event["execution_name"])
    started_at = event.get("started_at") or now_iso()
    record = BatchItem(
        identifier,
        prepared_at=now_iso(),
        started_at=started_at,
        tool_name=parsed.target.name,
        target={"name": parsed.target.name},
        status=BatchStatus.PREPARING.value,
        source={"uri": parsed.csv_s3_uri},
        execution_arn=event["execution_arn"],
        run=1,
        runs=[{"run": 1, "execution_arn": event["execution_arn"], "started_at": started_at}],
    )
    app.records.create(record)
    try:
        return _prepare(app, parsed, record)
    except BatchRefused as refused:
        error = {"type": "BatchRefused", "message": str(refused)}
        app.records.update_open(
            identifier, status=BatchStatus.FAILED.value, ended_at=now_iso(), error=error, row_count=0
        )
        raise


def _prepare(app: App, parsed: BatchInput, record: BatchItem) -> dict[str, Any]:
    problems = _Problems()
    target = problems.of(lambda: targets.resolve(app, parsed.target))
    output = problems.of(lambda: _output_plan(parsed, target))
    location = problems.of(lambda: _output_location(app, parsed, record))
    found = problems.of(lambda: _find_source(app, parsed))
    opened = problems.of(lambda: _open_source(app, parsed, found)) if found else None
    fields = problems.of(lambda: compile_input_mapping(parsed.input_mapping, opened[1])) if opened else None
    problems.raise_any()
    assert target is not None and output is not None and location and found and opened and fields is not None  # noqa: PT018
    fmt, columns, records = opened
    layout = _Layout(parsed, target, fields)
    chunks = problems.of(lambda: layout.chunks(records, columns))
    problems.raise_any()
    plan = _plan(parsed, target, found, fmt, columns, layout, output)
    return _write(app, parsed, record, plan, chunks or [], layout, output, location)


def _output_plan(parsed: BatchInput, target: ResolvedTarget | None) -> OutputPlan:
    mapping = _output_mapping(parsed, target)
    return compile_output_mapping(mapping, target=parsed.target.name, kind=target.kind if target else None)


def _output_mapping(parsed: BatchInput, target: ResolvedTarget | None) -> Any:
    if parsed.output_mappings is not None:
        return {"output_mappings": parsed.output_mappings}
    if parsed.output_mapping is not None:
        return parsed.output_mapping
    return target.output_schema if target else None


def _output_location(app: App, parsed: BatchInput, record: BatchItem) -> tuple[str, str]:
    bucket = parsed.output_bucket or app.settings.data_bucket
    execution = record.batch_id.partition("#")[2]
    key = parsed.output_key or f"results/{parsed.target.name}/{execution}.csv"
    check_output(app.settings, bucket, key)
    return bucket, key


def _find_source(app: App, parsed: BatchInput) -> SourceObject:
    bucket, key = split_s3_uri(parsed.csv_s3_uri) or ("", "")
    check_source(app.settings, bucket, key)
    return objects.find_source(app.s3, bucket, key)


def _open_source(app: App, parsed: BatchInput, found: SourceObject) -> tuple[SourceFormat, list[str], Iterator[Record]]:
    """The format, the columns, and the rows yet to be read."""
    blocks = objects.read(app.s3, found)
    head = b""
    while len(head) < SAMPLE and (block := next(blocks, b"")):
        head += block
    options = parsed.source
    fmt = source.detect_format(
        head, complete=len(head) >= found.size, encoding=options.encoding, delimiter=options.delimiter
    )
    records = source.read_records(chain([head], blocks), fmt)
    return fmt, source.check_header(next(records, None)), records


class _Layout:
    """How the rows are dealt into chunks, and how many are in flight."""

    def __init__(self, parsed: BatchInput, target: ResolvedTarget, fields: InputPlan) -> None:
        n = parsed.execution_config.max_concurrency
        self.outer = math.ceil(n / INNER)
        self.inner = n // self.outer
        self.limit = parsed.execution_config.limit
        self.row_count = 0
        self._target = target
        self._fields = fields

    @property
    def rows_to_run(self) -> int:
        return self.row_count if self.limit is None else min(self.limit, self.row_count)

    def chunks(self, records: Iterable[Record], columns: list[str]) -> list[Chunk]:
        """All chunks in row order; a chunk never crosses the limit."""
        sized = self._sized(records, columns)
        ahead = list(islice(sized, self.outer * CHUNK_ROWS + 1))
        rows = len(ahead) if self.limit is None else min(len(ahead), self.limit)
        size = CHUNK_ROWS
        if rows <= self.outer * CHUNK_ROWS:  # a small batch in few chunks would not reach its concurrency
            size = max(1, self.inner, math.ceil(rows / (4 * self.outer)))
        chunker = source.Chunker(min(CHUNK_ROWS, size), CHUNK_BYTES)
        closed: list[Chunk] = []
        for record, row_bytes in chain(ahead, sized):
            if self.limit is not None and record.number == self.limit + 1 and (last := chunker.finish()):
                closed.append(last)
            if chunk := chunker.add(record, row_bytes):
                closed.append(chunk)
        if last := chunker.finish():
            closed.append(last)
        return closed

    def _sized(self, records: Iterable[Record], columns: list[str]) -> Iterator[tuple[Record, int]]:
        """Each row without its cells, and the bytes it takes on its way; rows that do not travel take none."""
        for record in records:
            self.row_count += 1
            size = 0
            try:
                row = source.row_of(columns, record.cells)
                size = wire_bytes(
                    travelling(self._target.kind, self._target.name, "#", record.number, row, self._fields)
                )
            except (source.RaggedRow, RowNotMapped):
                pass
            record.cells = []
            yield record, size if size <= ROW_BYTES else 0


def _plan(  # noqa: PLR0913 - what was resolved, part by part
    parsed: BatchInput,
    target: ResolvedTarget,
    found: SourceObject,
    fmt: SourceFormat,
    columns: list[str],
    layout: _Layout,
    output: OutputPlan,
) -> dict[str, Any]:
    config = parsed.execution_config
    return {
        "kind": target.kind,
        "target_name": target.name,
        "target_arn": target.arn,
        "target_version": target.version,
        "input_mapping": parsed.input_mapping,
        "output_mapping": _output_mapping(parsed, target),
        "output_columns": output.columns,
        "columns": columns,
        "source": {**asdict(found), **asdict(fmt)},
        "inner": layout.inner,
        "timeout_seconds": config.timeout_seconds,
        "retry_policy": config.retry_policy.model_dump(),
        "keep_output": config.keep_output,
        "ttl": None if config.ttl_days is None else int(time.time() + LONGEST_RUN + config.ttl_days * _DAY),
    }


def _write(  # noqa: PLR0913 - everything that was found out
    app: App,
    parsed: BatchInput,
    record: BatchItem,
    plan: dict[str, Any],
    chunks: list[Chunk],
    layout: _Layout,
    output: OutputPlan,
    location: tuple[str, str],
) -> dict[str, Any]:
    try:
        digest = app.plans.save(record.batch_id, plan)
    except ValueError as too_large:
        raise BatchRefused([Problem("output_mapping", str(too_large))]) from None
    prefix = f"batches/{batch_hash(record.batch_id)}"
    to_run = [chunk for chunk in chunks if chunk.first_row <= layout.rows_to_run]
    dealt = (to_run[position] for position in source.dealt_order(len(to_run)))
    for key, some in ((f"{prefix}/chunks.jsonl", chunks), (f"{prefix}/run-1.jsonl", dealt)):
        lines = "".join(json.dumps(chunk.to_json(), separators=(",", ":")) + "\n" for chunk in some)
        app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=lines.encode())
    src = plan["source"]
    app.records.update(
        record.batch_id,
        status=BatchStatus.RUNNING.value,
        target={"name": plan["target_name"], "kind": plan["kind"], "arn": plan["target_arn"]},
        source={
            "uri": parsed.csv_s3_uri,
            **{name: src[name] for name in ("bucket", "key", "etag", "size", "encoding", "delimiter", "bom_bytes")},
            "columns": plan["columns"],
        },
        plan_hash=digest,
        output_columns=None if output.columns is None else list(output.columns),
        csv=parsed.csv.model_dump(),
        output_bucket=location[0],
        output_key=location[1],
        manifest_key=f"{prefix}/run-1.jsonl",
        chunks_key=f"{prefix}/chunks.jsonl",
        row_count=layout.row_count,
        rows_to_run=layout.rows_to_run,
        expires_at=plan["ttl"],
        stop_reason="limit" if layout.rows_to_run < layout.row_count else None,
    )
    return {
        "batch_id": record.batch_id,
        "run": 1,
        "plan": digest,
        "manifest_key": f"{prefix}/run-1.jsonl",
        "map_results_prefix": f"{prefix}/map/run-1",
        "outer": layout.outer,
        "row_count": layout.row_count,
        "rows_to_run": layout.rows_to_run,
    }
