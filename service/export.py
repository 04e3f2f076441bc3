"""The CSV of a batch: results streamed from DynamoDB, in row order, to one object in S3."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service import objects
from service.errors import BatchProcessorError
from service.gaps import Bare, Gaps
from service.lines import (
    Columns,
    ConservationBroken,
    CsvWriter,
    add_field_names,
    bare_line,
    cause_of,
    line_of,
    with_gaps,
)
from service.models import RowStatus, empty_counts, row_id, row_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from service.app import App
    from service.table import BatchItem

__all__ = ["EXAMPLES", "GROUPS", "Bare", "ConservationBroken", "Export", "Gaps", "Tally"]

GROUPS = 20  # groups of errors in a summary
EXAMPLES = 5  # row ids in each
_GROUPS_KEPT = 30  # groups followed while reading: the commonest are chosen at the end
_MESSAGE = 300  # characters of a message in a summary
_TYPE = 100  # characters of an error's name there
_LONG_ID = 64  # characters of a row id that is one of several examples; ours have 14
_COLUMNS_BYTES = 30_000  # of names found that travel to the next invocation: a state's payload is 256 KiB at most
ENOUGH_TIME = 90_000  # ms: below this an invocation hands over to the next


class Tally:
    """Counts of what was written, and its errors grouped by cause."""

    def __init__(self, counts: Mapping[str, int] | None = None, errors: list[dict[str, Any]] | None = None) -> None:
        self.counts = {**empty_counts(), **(counts or {})}
        self._groups: dict[tuple[str, str, str], dict[str, Any]] = {
            (group["status"], group["error"], group["message"]): {**group, "row_ids": [*group["row_ids"]]}
            for group in errors or []
        }

    @property
    def rows(self) -> int:
        """Lines so far."""
        return sum(self.counts.values())

    def result(self, item: Mapping[str, Any]) -> None:
        """Count a result."""
        status = item["status"]["S"]
        self.counts[status] = self.counts.get(status, 0) + 1
        cause = cause_of(item)
        if cause:
            self._group(status, *cause, item["row_id"]["S"])

    def bare(self, entry: Bare) -> None:
        """Count a row without a result."""
        self.counts[entry.status] += 1
        missing = entry.status == RowStatus.MISSING
        why = "no result, though it should have one" if missing else "the batch was stopped early"
        self._group(entry.status, entry.status, why, row_id(entry.number))

    def _group(self, status: str, error: str, message: str, identifier: str) -> None:
        key = (status, _cut(error, _TYPE), _cut(message, _MESSAGE))
        for wider in (key, (status, key[1], "other messages"), (status, "other errors", "other messages")):
            key = wider
            if key in self._groups or len(self._groups) < _GROUPS_KEPT:
                break
        empty = {"status": key[0], "error": key[1], "message": key[2], "count": 0, "row_ids": []}
        group = self._groups.setdefault(key, empty)
        group["count"] += 1
        examples = group["row_ids"]
        if not examples or (len(examples) < EXAMPLES and len(identifier) <= _LONG_ID):
            examples.append(identifier)

    def groups(self, most: int = GROUPS) -> list[dict[str, Any]]:
        """Groups of errors, the commonest first."""
        return sorted(self._groups.values(), key=lambda group: -group["count"])[:most]

    def kept(self) -> list[dict[str, Any]]:
        """All groups, in the order in which they came up: what a tally goes on from."""
        return list(self._groups.values())


def _cut(text: str, most: int) -> str:
    """The text, cut at `most` characters, or sooner where their escapes make it long as JSON (Lambda writes ASCII)."""
    kept = text[:most]
    while len(json.dumps(kept)) > 5 * most:
        kept = kept[: len(kept) * 3 // 4]
    return kept if len(kept) == len(text) else kept[:-1] + "…"


class Export:
    """One making of a batch's CSV; `run` returns None when it is whole, else the state to go on from.

    A state whose upload is not there any more (the run that should have gone on failed) begins the CSV anew.
    """

    def __init__(  # noqa: PLR0913 - what a CSV is made of
        self,
        app: App,
        batch_id: str,
        record: BatchItem | None,
        bucket: str,
        key: str,
        csv: Mapping[str, Any],
        continuation: Mapping[str, Any] | None = None,
    ) -> None:
        self._app = app
        self._batch_id = batch_id
        self._record = record
        self._csv = csv
        state = continuation or {}
        try:
            upload, parts = state.get("upload_id"), state.get("parts", 0)
            self._upload = objects.MultipartUpload(app.s3, bucket, key, upload_id=upload, parts=parts)
        except objects.UploadGone:
            state = {"found": state.get("found")}
            self._upload = objects.MultipartUpload(app.s3, bucket, key)
        self._last = state.get("last_row_id")
        self._found = _Found(state.get("found"))
        self.tally = Tally(state.get("counts"), state.get("errors"))

    def run(self, remaining_ms: Callable[[], int]) -> dict[str, Any] | None:
        """Writes until the CSV is whole or the time runs low; leaves nothing behind when it fails."""
        try:
            return self._run(remaining_ms)
        except BaseException:
            self._upload.abort()
            raise

    def _run(self, remaining_ms: Callable[[], int]) -> dict[str, Any] | None:
        columns = self._columns(remaining_ms)
        if columns is None:
            return self._state()
        writer = CsvWriter(neutralise=self._csv.get("neutralise_formulas", True))
        if self._last is None:
            self._upload.write(writer.encode([columns.header()]))
        for page in self._pages():
            if not page:
                continue
            self._upload.write(writer.encode(self._line(entry, columns) for entry in page))
            self._last = row_id(page[-1].number) if isinstance(page[-1], Bare) else page[-1]["row_id"]["S"]
            if self._upload.flush() and remaining_ms() < ENOUGH_TIME:
                return self._state()
        self._check()
        self._upload.complete()
        return None

    def _columns(self, remaining_ms: Callable[[], int]) -> Columns | None:
        """The columns: as recorded, else found in one pass over the results; None when the time runs low."""
        record = self._record
        known = {
            "input_data": None if record is None else record.source["columns"],
            "output_data": None if record is None else record.output_columns,
        }
        wanted = tuple(attribute for attribute, columns in known.items() if columns is None)
        if wanted and not self._found.whole:
            names = ("row_id", *wanted, "ttl")
            for page in self._app.reader.pages(self._batch_id, after=self._found.last, names=names):
                self._found.add(page, wanted)
                if page and remaining_ms() < ENOUGH_TIME:  # each invocation gets further: an empty page may be the last
                    return None
            self._found.whole = True
        inputs, outputs = (self._found.names[name] if known[name] is None else known[name] for name in known)
        inputs = inputs if self._csv.get("include_original", True) else ()
        metadata = bool(self._csv.get("add_metadata", True))
        return Columns(tuple(inputs or ()), tuple(outputs or ()), self._csv.get("column_style", "prefixed"), metadata)

    def _line(self, entry: Any, columns: Columns) -> list[str]:
        if isinstance(entry, Bare):
            self.tally.bare(entry)
            return bare_line(entry.row, row_id(entry.number), entry.status, columns)
        self.tally.result(entry)
        return line_of(entry, columns)

    def _pages(self) -> Iterator[list[Any]]:
        pages = self._app.reader.pages(self._batch_id, after=self._last)
        if self._record is None:
            return pages
        first = (row_number(self._last) or 0) + 1 if self._last else 1
        gaps = Gaps(self._app, self._record)
        return with_gaps(pages, first, int(self._record.row_count), row_number, gaps.between)

    def _state(self) -> dict[str, Any]:
        return {
            "upload_id": self._upload.upload_id,
            "parts": self._upload.parts,
            "last_row_id": self._last,
            "counts": self.tally.counts,
            "errors": self.tally.kept(),
            "found": self._found.state(),
        }

    def _check(self) -> None:
        """Rows in = lines out, or nothing is written."""
        if self._record is not None and self.tally.rows != int(self._record.row_count):
            raise ConservationBroken(
                f"batch {self._batch_id}: {self.tally.rows} lines for {int(self._record.row_count)} rows"
            )


class _Found:
    """Names found in the results where no record says which columns there are."""

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        known = state or {}
        self.whole: bool = known.get("whole", False)
        self.last: str | None = known.get("last_row_id")
        self.names: dict[str, dict[str, None]] = {
            name: dict.fromkeys(known.get(name, ())) for name in ("input_data", "output_data")
        }

    def add(self, page: list[dict[str, Any]], attributes: tuple[str, ...]) -> None:
        """Adds the names of a page of results."""
        for attribute in attributes:
            add_field_names(self.names[attribute], page, attribute)
        self.last = page[-1]["row_id"]["S"] if page else self.last

    def state(self) -> dict[str, Any]:
        """What the next invocation needs to know."""
        state = {"whole": self.whole, "last_row_id": self.last, **{name: list(self.names[name]) for name in self.names}}
        if len(json.dumps(state)) > _COLUMNS_BYTES:
            raise BatchProcessorError(
                f"the results have {sum(map(len, self.names.values()))} different fields, too many to make a CSV of "
                "them all: name the wanted ones in an output mapping"
            )
        return state
