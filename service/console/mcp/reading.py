"""Tools that only look: at a source, at targets, at a batch and its rows."""

from __future__ import annotations

import csv
import io
import json
import zlib
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Literal

from botocore.exceptions import ClientError
from pydantic import Field

from service.batch import closing
from service.console import batch_status, runs
from service.console.mcp import orders, state
from service.console.mcp.short import ANSWER, shortened, to_text
from service.errors import BatchRefused, NotFound, Problem, nearest
from service.models import OPEN, Position, split_s3_uri

if TYPE_CHECKING:
    from service.console.mcp.opened import Stacks
    from service.console.stacks import Stack
    from service.record import BatchRecord

_HEAD = 64 << 10  # bytes of a result file from which its first rows are shown
_FEW = 10  # rows in an answer, at most
_MAPPING = ANSWER * 3 // 4  # characters of a mapping in an answer: one that is cut is none
_TARGETS = 30  # targets in an answer
_GZIP = 16 + zlib.MAX_WBITS  # zlib manual: 16 more than the window's size reads the header of gzip

Source = Annotated[str, Field(description="s3://bucket/key, or the whole path of a file on the server's machine.")]
Encoding = Annotated[str | None, Field(description="Such as utf-8, cp1252, gb18030. Left out: detected.")]
Delimiter = Annotated[str | None, Field(description="A comma, semicolon, tab or |. Left out: detected.")]
Batch = Annotated[str, Field(description="A batch_id, the beginning of one, or `last`.")]
Rows = Annotated[int, Field(ge=1, le=_FEW, description="How many rows to show.")]
RowStatus = Literal["FAILED", "TIMEOUT", "INVALID_INPUT", "EXTRACTION_FAILED"]


class Reading:
    """The tools; each method's arguments are the tool's."""

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks

    @property
    def stack(self) -> Stack:
        """The stack; raises NoStack."""
        return self._stacks.get().stack

    def describe_source(
        self,
        csv_s3_uri: Source,
        encoding: Encoding = None,
        delimiter: Delimiter = None,
        rows: Annotated[int, Field(ge=1, le=100_000, description="Rows by which columns are judged.")] = 1_000,
    ) -> dict[str, Any]:
        """Return what a source holds."""
        found = self._described(csv_s3_uri, encoding, delimiter, rows)
        return shortened(found, "Columns beyond the last one shown: look at the file itself, or at fewer rows")

    def suggest_mapping(
        self,
        csv_s3_uri: Source,
        target: Annotated[
            str | None, Field(description="A registered target, by whose schemas fields are met.")
        ] = None,
        outputs: Annotated[
            list[Any] | None, Field(description="Sample outputs of the target, by which its fields are found.")
        ] = None,
        encoding: Encoding = None,
        delimiter: Delimiter = None,
    ) -> dict[str, Any]:
        """Return a draft of a mapping."""
        from service.console.drafting.draft import draft  # noqa: PLC0415 - only this tool needs it

        found = self._described(csv_s3_uri, encoding, delimiter, 1_000)
        registered = None if target is None else vars(self._registered(target))
        said = {"encoding": encoding, "delimiter": delimiter}
        given = {key: value for key, value in said.items() if value is not None}
        drafted = draft(found, registered, outputs or [], source=given or None)
        made = {"mapping": drafted.mapping, "notes": list(drafted.notes)}
        if (size := len(to_text(drafted.mapping))) > _MAPPING:
            name = "" if target is None else f" --target {target}"
            note = f"the mapping has {size:,} characters, too many for an answer, and half of one would be none"
            made = {"note": f"{note}: batch-processor init {csv_s3_uri}{name} -o mapping.yaml", "notes": made["notes"]}
        return shortened(made, "batch-processor init shows all notes")

    def list_targets(
        self,
        contains: Annotated[str, Field(description="Only targets with this in their name or description.")] = "",
    ) -> dict[str, Any]:
        """Return the registered targets."""
        word = contains.lower()
        known = [
            one
            for one in self.stack.app.registry.targets()
            if word in one.tool_name.lower() or word in one.description.lower()
        ]
        shown = [
            {
                "name": one.tool_name,
                "type": one.tool_type,
                "arn": one.resource_arn,
                "description": one.description,
                "version": one.version,
                "price_per_row_usd": one.price_per_row_usd,
                "takes": _names_in(one.input_schema),
                "has_output_schema": one.output_schema is not None,
            }
            for one in known[:_TARGETS]
        ]
        told = {"targets": shown, "shown": len(shown), "found": len(known)}
        return shortened(told, "Give `contains` to see fewer, each in full")

    def batch_status(
        self,
        batch_id: Annotated[
            str, Field(description="A batch_id, the beginning of one, `last`, or the task_id of a rerun.")
        ] = "last",
    ) -> dict[str, Any]:
        """Return where a batch stands."""
        if orders.is_later_run(batch_id):
            return state.soon_of(self.stack, batch_id)
        try:
            record = self._found(batch_id)
        except NotFound as unknown:  # its record comes a moment after its execution
            try:
                return state.soon_of(self.stack, batch_id)
            except NotFound:
                raise unknown from None
        return state.status_of(self.stack, record)

    def failed_rows(
        self,
        batch_id: Batch = "last",
        status: Annotated[RowStatus | None, Field(description="Only rows of this status.")] = None,
        error: Annotated[str | None, Field(description="Only rows whose error is of this type.")] = None,
        rows: Rows = 5,
        after: Annotated[str | None, Field(description="`after` of the answer before: goes on behind it.")] = None,
    ) -> dict[str, Any]:
        """Return why rows failed, and some of them."""
        record = self._found(batch_id)
        name, queries = record.batch_id, self.stack.app.queries
        at = None if after is None else _position(name, after)
        types: set[str] = set()
        found = queries.failed(name, status, error, after=at, at_most=rows + 1, types=types)
        some = list(islice(found, rows))
        more = len(some) == rows and next(found, None) is not None
        told: dict[str, Any] = {
            "batch_id": name,
            "status": record.status,
            "counts": queries.count_failed(name, status, error),
            "causes": self._causes(record),
            "rows": [_row(row) for row in some],
        }
        if record.error is not None:
            told["error"] = record.error
        if more:
            told["after"] = f"{some[-1]['status']}#{some[-1]['row_id']}"
        if not some and error is not None and types:
            told["note"] = f"no row has an error of type {error!r}; {nearest(error, sorted(types))}"
        return shortened(told, "Give rows=1 to see one row with longer texts, and `after` for the next ones")

    def batch_result(self, batch_id: Batch = "last", rows: Rows = 3) -> dict[str, Any]:
        """Return where the results are, and the first of them."""
        record = self._found(batch_id)
        if record.status in OPEN or record.csv_location is None:
            told = state.status_of(self.stack, record)
            why = "it has not ended" if record.status in OPEN else "none was made"
            return {**told, "note": f"there is no result file of this batch yet: {why}"}
        head = self._head(record, rows)
        told = {
            "batch_id": record.batch_id,
            "status": record.status,
            "csv_location": record.csv_location,
            "format": record.csv_format,
            "row_count": record.row_count,
            "counts": {one: count for one, count in (record.counts or {}).items() if count},
            **head,
            "to_download": f"batch-processor aggregate '{record.batch_id}' -o results.csv",
        }
        return shortened(told, f"The whole file is at {record.csv_location}")

    def _described(self, source: str, encoding: str | None, delimiter: str | None, rows: int) -> dict[str, Any]:
        from service.console.describing import describe  # noqa: PLC0415 - only these tools need it

        s3 = self.stack.app.s3 if source.startswith("s3://") else None
        found: dict[str, Any] = describe(source, s3, encoding=encoding, delimiter=delimiter, rows=rows)
        return found

    def _registered(self, name: str) -> Any:
        registry = self.stack.app.registry
        found = registry.find(name)
        if found is None:
            raise NotFound(f"there is no target {name!r} in the registry; {nearest(name, registry.names())}")
        return found

    def _found(self, given: str) -> BatchRecord:
        return closing.refreshed(self.stack.app, runs.find(self.stack, given))

    def _causes(self, record: BatchRecord) -> list[dict[str, Any]]:
        if record.status in OPEN or not record.errors:
            return state.causes_of(batch_status.causes_so_far(self.stack, record.batch_id))
        return state.causes_of(record.errors)

    def _head(self, record: BatchRecord, rows: int) -> dict[str, Any]:
        """Return the first rows of a result file, as far as they can be read from its first bytes."""
        location = record.csv_location or ""
        if record.csv_format == "parquet":
            return {"note": "rows of Parquet are not shown here"}
        bucket, key = split_s3_uri(location) or ("", "")
        try:
            answer = self.stack.app.s3.get_object(Bucket=bucket, Key=key, Range=f"bytes=0-{_HEAD - 1}")
            data: bytes = answer["Body"].read()
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code == "InvalidRange":  # an object of no bytes has no first one (S3 API, GetObject)
                return {"first_rows": []}
            return {"note": f"the file could not be read: {code}. batch-processor aggregate makes it again"}
        whole = len(data) < _HEAD
        if key.endswith(".gz"):
            data = zlib.decompressobj(_GZIP).decompress(data, 4 * _HEAD)
            whole = False
        shown = _jsonl(data, rows) if record.csv_format == "jsonl" else _csv(data, rows, whole=whole)
        return {"first_rows": shown}


def _names_in(schema: dict[str, Any] | None) -> list[str]:
    """Return the fields that a target's input schema names."""
    properties = (schema or {}).get("properties")
    return list(properties) if isinstance(properties, dict) else []


def _position(batch_id: str, after: str) -> Position:
    status, _, row_id = after.partition("#")
    if not status or not row_id:
        raise BatchRefused([Problem("after", f"{after!r} is not of the form STATUS#row_id: copy it from the answer")])
    return Position("", batch_id, row_id, status)


def _row(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("row_number", "row_id", "status", "attempts", "execution_time_ms", "error", "input_data")
    return {key: row[key] for key in kept if row[key] is not None}


def _csv(data: bytes, rows: int, *, whole: bool) -> list[dict[str, str]]:
    """Return the first rows of a CSV, without one that the cut may have hit."""
    lines = list(csv.reader(io.StringIO(data.decode("utf-8-sig", "ignore"), newline="")))
    if not whole and len(lines) > 1:
        lines.pop()
    header, *records = lines or [[]]
    return [dict(zip(header, cells, strict=False)) for cells in records[:rows]]


def _jsonl(data: bytes, rows: int) -> list[Any]:
    found: list[Any] = []
    for line in data.decode("utf-8-sig", "ignore").split("\n")[:rows]:
        try:
            found.append(json.loads(line))
        except ValueError:  # cut, or the end
            break
    return found
