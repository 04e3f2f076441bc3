"""Everything that can be wrong with a batch, looked for in one go before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from service.errors import BatchRefused, Problem
from service.extraction.compiler import compile_output_mapping, with_conditions
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema import check_required, compile_input_schema
from service.models import batch_id, results_key, split_s3_uri
from service.permissions import check_output, check_source, key_refused
from service.request import targets
from service.request.chunking import Layout
from service.request.columns import SUFFIXES, check_format, has_guarded_cells, keys_written
from service.s3 import objects
from service.source import csv_rows, detection
from service.source.pace import Pace
from service.source.row_payload import wire_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from service.app import App
    from service.extraction.fields import OutputPlan
    from service.request.parse import BatchInput
    from service.request.targets import ResolvedTarget
    from service.s3.objects import SourceObject
    from service.source.csv_rows import Chunk, Record, SourceFormat

SAMPLE = 1 << 20  # bytes looked at to detect encoding and delimiter
LOOKED_THROUGH = 64 << 20  # bytes of a source that are read for further faults when the batch is refused anyway
HEADER_BYTES = 60_000  # of the names of all columns: they travel and are stored with every row
T = TypeVar("T")


class _Problems:
    """Collects what several checks refuse, so that one error names everything."""

    def __init__(self, found: list[Problem]) -> None:
        self.found = found

    def of(self, check: Callable[[], T]) -> T | None:
        try:
            return check()
        except BatchRefused as refused:
            self.found += refused.problems
        except csv_rows.SourceFault as fault:
            # A fault of what was given for reading names that key itself.
            key, _, rest = str(fault).partition(" ")
            path = key if key in ("source.encoding", "source.delimiter") else "csv_s3_uri"
            self.found.append(Problem(path, str(fault) if path == "csv_s3_uri" else rest, fault.detail))
        return None

    def raise_any(self) -> None:
        if self.found:
            raise BatchRefused(dict.fromkeys(self.found))


@dataclass
class Opened:
    """A source whose header is read, and whose rows are yet to be."""

    found: SourceObject
    fmt: SourceFormat
    columns: list[str]
    records: Iterator[Record]
    note: str | None = None  # what is said of a format that was guessed


@dataclass
class Checked:
    """What the checks found out."""

    target: ResolvedTarget
    input_schema: dict[str, Any] | None
    output: OutputPlan
    location: tuple[str, str]
    opened: Opened
    layout: Layout
    chunks: list[Chunk]


def check(
    app: App,
    parsed: BatchInput,
    execution_name: str,
    given: list[Problem],
    remaining: Callable[[], float] | None = None,
) -> Checked:
    """Every check that can be made, after the problems `given`; one that needs what another refused is left out.

    `remaining`: how many seconds are left for it.
    """
    problems = _Problems(given)
    named = parsed.target.name and all(problem.path != "target.name" for problem in given)
    target = problems.of(lambda: targets.resolve(app, parsed.target)) if named else None
    schema = problems.of(lambda: _input_schema(target)) if target else None
    output = problems.of(lambda: _output_plan(parsed, target))
    layer = bool(app.settings.parquet_layer)
    problems.of(lambda: check_format(parsed.csv.format, parsed.output_key or "", layer=layer))
    location = problems.of(lambda: _output_location(app, parsed, execution_name))
    found = problems.of(lambda: _find_source(app, parsed)) if split_s3_uri(parsed.csv_s3_uri) else None
    opened = problems.of(lambda: _open_source(app, parsed, found)) if found else None
    fields = problems.of(lambda: compile_input_mapping(parsed.input_mapping, opened.columns)) if opened else None
    if fields:
        problems.of(lambda: check_required(schema, fields.names))
    if opened and problems.found:
        problems.of(lambda: _look_through(opened))
    problems.raise_any()
    # Whatever is None has left a problem behind.
    assert target is not None and output is not None and location and opened and fields is not None  # noqa: PT018
    layout = Layout(parsed.execution_config, target, fields)
    pace = None if remaining is None else Pace(opened.found.size, remaining)
    records = opened.records if pace is None else pace.watch(opened.records)
    chunks = problems.of(lambda: layout.chunks(records, opened.columns))
    problems.raise_any()
    return Checked(target, schema, output, location, opened, layout, chunks or [])


def _input_schema(target: ResolvedTarget) -> dict[str, Any] | None:
    """The schema with which the target is registered, if it is, once it is known to compile."""
    compile_input_schema(target.input_schema)
    return target.input_schema


def _look_through(opened: Opened) -> None:
    for record in opened.records:
        if record.end > LOOKED_THROUGH:
            return


def _output_plan(parsed: BatchInput, target: ResolvedTarget | None) -> OutputPlan:
    mapping, place = output_mapping(parsed, target)
    try:
        return compile_output_mapping(mapping, target=parsed.target.name, kind=target.kind if target else None)
    except BatchRefused as refused:
        raise BatchRefused(
            Problem(_placed(problem.path, place), problem.message) for problem in refused.problems
        ) from None


def _placed(path: str, place: str) -> str:
    """The path of a problem below the place where the mapping was given."""
    if place == "output_mapping":
        return path
    return place + path.removeprefix("output_mapping").removeprefix(".output_mappings")


def output_mapping(parsed: BatchInput, target: ResolvedTarget | None) -> tuple[Any, str]:
    """The mapping that holds, and where it was given; an empty one names none."""
    mapping: dict[str, Any] | None
    if parsed.output_mappings:
        mapping, place = {"output_mappings": parsed.output_mappings}, "output_mappings"
    elif parsed.output_mapping:
        mapping, place = parsed.output_mapping, "output_mapping"
    else:
        mapping, place = (target.output_schema if target else None), "target.output_schema"
    return (with_conditions(mapping, target.conditions) if target else mapping), place


def _output_location(app: App, parsed: BatchInput, execution_name: str) -> tuple[str, str]:
    bucket = parsed.output_bucket or app.settings.data_bucket
    key = parsed.output_key or results_key(batch_id(parsed.target.name, execution_name), SUFFIXES[parsed.csv.format])
    for written in keys_written(key, parsed.csv.format):
        check_output(app.settings, bucket, written)
    if (bucket, key) == split_s3_uri(parsed.csv_s3_uri):
        message = f"s3://{bucket}/{key} is the source itself, which the results would replace: give another key"
        raise BatchRefused([Problem("output_key", message)])
    if parsed.output_key:
        check_output_is_free(app, bucket, key, batch_id(parsed.target.name, execution_name))
    return bucket, key


def check_output_is_free(app: App, bucket: str, key: str, own: str) -> None:
    """Refuse an object that an open batch will write: whichever ended last would replace the other's results."""
    uri = f"s3://{bucket}/{key}"
    _refuse_writer(uri, app.records.writer_of(uri, own))


def claim_output(app: App, bucket: str, key: str, own: str, ttl: int | None) -> None:
    """Note that a batch writes to an object, for every batch that asks later; refuse as `check_output_is_free`."""
    uri = f"s3://{bucket}/{key}"
    _refuse_writer(uri, app.records.claim_output(uri, own, ttl))


def _refuse_writer(uri: str, writer: str | None) -> None:
    if writer is not None:
        message = f"{uri} is where batch {writer}, which is not over, writes: give another key"
        raise BatchRefused([Problem("output_key", message)])


def _find_source(app: App, parsed: BatchInput) -> SourceObject:
    bucket, key = split_s3_uri(parsed.csv_s3_uri) or ("", "")
    check_source(app.settings, bucket, key)
    return objects.find_source(app.s3, bucket, key)


def _open_source(app: App, parsed: BatchInput, found: SourceObject) -> Opened:
    blocks = objects.read(app.s3, found)
    head = b""
    try:
        while len(head) < SAMPLE and (block := next(blocks, b"")):
            head += block
    except ClientError as error:
        if (message := key_refused(found.uri, error.response["Error"])) is None:
            raise
        raise BatchRefused([Problem("csv_s3_uri", message)]) from error
    options = parsed.source
    fmt = csv_rows.detect_format(
        head, complete=len(head) >= found.size, encoding=options.encoding, delimiter=options.delimiter
    )
    note = csv_rows.guess_of(head, fmt, options.encoding)
    records = csv_rows.read_records(chain([head], blocks), fmt)
    if note is not None:
        records = _believed(records, fmt)
    header = next(records, None)
    columns = csv_rows.check_header(header)
    if header is not None and fmt.delimiter == ",":
        line = head[header.start : header.end].decode(fmt.encoding, "replace")
        if has_guarded_cells(line):
            fmt = replace(fmt, guarded=True)
            records = map(csv_rows.unguarded, records)
    if (size := wire_bytes(columns)) > HEADER_BYTES:
        message = f"the names in the header take {size} bytes; at most {HEADER_BYTES} can travel with every row"
        raise BatchRefused([Problem("csv_s3_uri", f"{message}: shorten the names, or leave columns out of the file")])
    return Opened(found, fmt, columns, records, note)


def _believed(records: Iterator[Record], fmt: SourceFormat) -> Iterator[Record]:
    """The records of a source whose encoding is a guess; refuses it at the end if the rows speak against it."""
    evidence = detection.Western()
    for record in records:
        for cell in record.cells:
            evidence.add(cell)
        yield record
    if not evidence.clear:
        raise csv_rows.SourceFault(
            f"the source was read as {fmt.encoding}, which its first rows speak for, but all of "
            "its rows together do not: say what it is written in (--encoding, source.encoding), or save it as UTF-8"
        )
