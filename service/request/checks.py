"""Everything that can be wrong with a batch, looked for in one go before anything is spent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from botocore.exceptions import ClientError

from service.errors import BatchRefused, Problem
from service.extraction.compiler import compile_output_mapping, with_conditions
from service.limits import HEADER_BYTES
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema import check_required, compile_input_schema
from service.models import batch_id, split_s3_uri
from service.permissions import check_source, key_refused
from service.request import destination, targets
from service.request.chunking import Layout
from service.request.columns import has_guarded_cells
from service.s3 import bodies, objects
from service.source import csv_rows, detection, lines
from service.source.pace import Pace
from service.source.row_payload import wire_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from service.app import App
    from service.extraction.fields import OutputPlan
    from service.mapping.input_plan import InputPlan
    from service.request.destination import Place
    from service.request.models import BatchInput
    from service.request.targets import ResolvedTarget
    from service.s3.bodies import SourceObject
    from service.source.csv_rows import Chunk, Record
    from service.source.lines import SourceFormat

SAMPLE = 1 << 20  # bytes looked at to detect encoding and delimiter
LOOKED_THROUGH = 64 << 20  # bytes of a source that are read for further faults when the batch is refused anyway
T = TypeVar("T")


class Problems:
    """Collects what several checks refuse, so that one error names everything."""

    def __init__(self, found: list[Problem]) -> None:
        self.found = found

    def of(self, check: Callable[[], T]) -> T | None:
        """Return what a check returns; None, and its problems kept, where it refuses."""
        try:
            return check()
        except BatchRefused as refused:
            self.found += refused.problems
        except lines.SourceFault as fault:
            # A fault of what was given for reading names that key itself.
            key, _, rest = str(fault).partition(" ")
            path = key if key in ("source.encoding", "source.delimiter") else "csv_s3_uri"
            self.found.append(Problem(path, str(fault) if path == "csv_s3_uri" else rest, fault.detail))
        return None

    def raise_any(self) -> None:
        """Raise BatchRefused with everything that was refused, if anything was."""
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
class Mappings:
    """Mappings that compile: the output mapping as written, and both resolved."""

    written: Any
    output: OutputPlan
    fields: InputPlan


@dataclass
class Checked:
    """What the checks found out."""

    target: ResolvedTarget
    mappings: Mappings
    place: Place
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
    problems = Problems(given)
    named = parsed.target.name and all(problem.path != "target.name" for problem in given)
    target = problems.of(lambda: targets.resolve(app, parsed.target)) if named else None
    place = problems.of(lambda: _place(app, parsed, execution_name))
    found = problems.of(lambda: _find_source(app, parsed)) if split_s3_uri(parsed.csv_s3_uri) else None
    opened = problems.of(lambda: _open_source(app, parsed, found)) if found else None
    mappings = check_mappings(
        problems,
        parsed,
        parsed.target.name,
        target.kind if target else None,
        opened.columns if opened else None,
        conditions=target.conditions if target else {},
        schema=target.input_schema if target else None,
        registered=target.output_schema if target else None,
    )
    if opened and problems.found:
        problems.of(lambda: _look_through(opened))
    problems.raise_any()
    # Whatever is None has left a problem behind.
    assert target is not None and place is not None and opened and mappings is not None  # noqa: PT018
    layout = problems.of(lambda: Layout(parsed.execution_config, target, mappings.fields))
    problems.raise_any()
    assert layout is not None
    pace = None if remaining is None else Pace(opened.found.size, remaining)
    records = opened.records if pace is None else pace.watch(opened.records)
    chunks = problems.of(lambda: layout.chunks(records, opened.columns))
    problems.raise_any()
    return Checked(target, mappings, place, opened, layout, chunks or [])


def check_mappings(  # noqa: PLR0913 - whose mappings they are
    problems: Problems,
    parsed: BatchInput,
    target: str,
    kind: str | None,
    columns: Sequence[str] | None,
    *,
    conditions: Mapping[str, Any],
    schema: Any,
    registered: Any = None,
) -> Mappings | None:
    """Resolve both mappings of a batch; None where one of them, or the target's input schema, is refused.

    `columns`: those of the source, None where they are not known. `conditions`, `schema`, `registered`: what the
    target is registered with (fail_when and retry_when, input_schema, output_schema).
    """
    sound = problems.of(lambda: (compile_input_schema(schema),))  # a tuple: None is a schema that asks for nothing
    output = problems.of(lambda: read_output(parsed, target, kind, conditions, registered))
    fields = None if columns is None else problems.of(lambda: compile_input_mapping(parsed.input_mapping, columns))
    if fields is not None and sound is not None:
        problems.of(lambda: check_required(schema, fields.names))
    return None if output is None or fields is None else Mappings(output[0], output[1], fields)


def read_output(
    parsed: BatchInput, target: str, kind: str | None, conditions: Mapping[str, Any], registered: Any = None
) -> tuple[Any, OutputPlan]:
    """Return the output mapping that holds, as written and resolved; an empty one names no field.

    Raises BatchRefused with every problem below the place where the mapping was given.
    """
    place, mapping = "target.output_schema", registered
    if parsed.output_mappings:
        place, mapping = "output_mappings", {"output_mappings": parsed.output_mappings}
    elif parsed.output_mapping:
        place, mapping = "output_mapping", parsed.output_mapping
    mapping = with_conditions(mapping, conditions)
    try:
        return mapping, compile_output_mapping(mapping, target=target, kind=kind)
    except BatchRefused as refused:
        raise BatchRefused(Problem(_placed(one.path, place), one.message) for one in refused.problems) from None


def _placed(path: str, place: str) -> str:
    """Return the path of a problem below the place where the mapping was given."""
    if place == "output_mapping":
        return path
    return place + path.removeprefix("output_mapping").removeprefix(".output_mappings")


def _look_through(opened: Opened) -> None:
    for record in opened.records:
        if record.end > LOOKED_THROUGH:
            return


def _place(app: App, parsed: BatchInput, execution_name: str) -> Place:
    """Return where the results go; refuses a place that they cannot go to."""
    identifier, form = batch_id(parsed.target.name, execution_name), parsed.csv.format
    place = destination.decide(app.settings, identifier, form, bucket=parsed.output_bucket, key=parsed.output_key)
    source = split_s3_uri(parsed.csv_s3_uri)
    destination.check(app.settings, place, form, source, layer=bool(app.settings.parquet_layer))
    if parsed.output_key:
        destination.check_free(app.records, place, identifier)
    return place


def _find_source(app: App, parsed: BatchInput) -> SourceObject:
    bucket, key = split_s3_uri(parsed.csv_s3_uri) or ("", "")
    check_source(app.settings, bucket, key)
    found = objects.find_source(app.s3, bucket, key)
    wanted = parsed.source.etag
    if wanted is not None and wanted.strip('"') != found.etag.strip('"'):
        message = f"{found.uri} is another version now: its ETag is {found.etag}, the order is for {wanted}"
        raise BatchRefused([Problem("source.etag", message)])
    return found


def _open_source(app: App, parsed: BatchInput, found: SourceObject) -> Opened:
    blocks = bodies.read(app.s3, found)
    head = b""
    try:
        while len(head) < SAMPLE and (block := next(blocks, b"")):
            head += block
    except ClientError as error:
        if (message := key_refused(found.uri, error.response["Error"])) is None:
            raise
        raise BatchRefused([Problem("csv_s3_uri", message)]) from error
    options = parsed.source
    fmt = lines.detect_format(
        head, complete=len(head) >= found.size, encoding=options.encoding, delimiter=options.delimiter
    )
    note = lines.guess_of(head, fmt, options.encoding)
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
    """Yield the records of a source whose encoding is a guess; refuses it at the end if the rows speak against it."""
    evidence = detection.Western()
    for record in records:
        for cell in record.cells:
            evidence.add(cell)
        yield record
    if not evidence.clear:
        raise lines.SourceFault(
            f"the source was read as {fmt.encoding}, which its first rows speak for, but all of "
            "its rows together do not: say what it is written in (--encoding, source.encoding), or save it as UTF-8"
        )
