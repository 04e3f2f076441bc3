"""A batch's results as an object in S3: streamed from DynamoDB, in row order, a line for every row."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from service.batch.absent_rows import AbsentRows, ConservationBroken, with_absent_rows
from service.errors import BatchProcessorError
from service.export.lines import CsvLines, JsonLines
from service.export.summary import Tally
from service.models import row_id, row_number
from service.request.columns import Columns
from service.s3 import objects
from service.store.structs import Shape

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from service.app import App
    from service.batch.absent_rows import AbsentRow
    from service.export.lines import Lines
    from service.export.multi_file import Files
    from service.record import BatchRecord
    from service.store.structs import Item

_COLUMNS_BYTES = 30_000  # of names found that travel to the next invocation: a state's payload is 256 KiB at most
ENOUGH_TIME = 90_000  # ms: below this an invocation hands over to the next


class Export:
    """One making of a batch's CSV; `run` returns None when it is whole, else the state to go on from.

    A state whose upload is not there any more (the run that should have gone on failed) begins the CSV anew.
    """

    def __init__(  # noqa: PLR0913 - what a CSV is made of
        self,
        app: App,
        batch_id: str,
        record: BatchRecord | None,
        bucket: str,
        key: str,
        csv: Mapping[str, Any],
        continuation: Mapping[str, Any] | None = None,
    ) -> None:
        self._app = app
        self._batch_id = batch_id
        self._record = record
        self._csv = csv
        self._format = csv.get("format") or "csv"
        state = continuation or {}
        try:
            self._upload = self._open(bucket, key, state)
        except objects.UploadGone:
            state = {"found": state.get("found")}
            self._upload = self._open(bucket, key, state)
        self._last = state.get("last_row_id")
        self._found = _Found(state.get("found"))
        self.tally = Tally(state.get("tally"))

    def _open(self, bucket: str, key: str, state: Mapping[str, Any]) -> objects.MultipartUpload | Files:
        """Return what is written to; raises UploadGone."""
        if self._format == "parquet":
            from service.export.multi_file import Files  # noqa: PLC0415 - of no other format
            from service.export.parquet_file import CONTENT_TYPE  # noqa: PLC0415

            return Files(self._app.s3, bucket, key, content_type=CONTENT_TYPE, files=state.get("files", ()))
        content_type = (JsonLines if self._format == "jsonl" else CsvLines).content_type
        known = {name: state[name] for name in ("upload_id", "parts", "token") if name in state}
        return objects.MultipartUpload(self._app.s3, bucket, key, content_type=content_type, **known)

    def run(
        self, remaining_ms: Callable[[], int], check: Callable[[Tally], None] = lambda _: None
    ) -> dict[str, Any] | None:
        """Write until the CSV is whole or the time runs low; leave nothing behind when it fails.

        `check` is asked once everything is written, just before the object appears, and may refuse it.
        """
        try:
            return self._run(remaining_ms, check)
        except BaseException:
            self.abort()
            raise

    def abort(self) -> None:
        """Leaves nothing of what was written behind."""
        self._upload.abort()

    def _run(self, remaining_ms: Callable[[], int], check: Callable[[Tally], None]) -> dict[str, Any] | None:
        lines = self._lines(remaining_ms)
        if lines is None:
            return self._state()
        begun = self._last
        if begun is None:
            self._upload.write(lines.header())
        for results, absent in self._rows(lines):
            if results:
                self._upload.write(lines.results(results))
                self.tally.results(results)
                self._last = results[-1].row_id.S
            else:
                self._upload.write(lines.absent(absent))
                self.tally.absent(absent)
                self._last = row_id(absent[-1].number)
            if self._upload.flush() and remaining_ms() < ENOUGH_TIME:
                self._end(lines)
                self._upload.settle()
                return self._state()
        self._check()
        if begun is None or self._last != begun:  # else the invocation before has written the last row
            self._end(lines)
        check(self.tally)
        self._upload.complete()
        return None

    def _end(self, lines: Lines) -> None:
        if end := lines.end():
            self._upload.write(end)

    def _lines(self, remaining_ms: Callable[[], int]) -> Lines | None:
        """Return what makes the lines; None when the time runs low before the columns are known."""
        inputs, metadata = bool(self._csv.get("include_original", True)), bool(self._csv.get("add_metadata", True))
        if self._format == "jsonl":
            if self._record is not None:
                self.tally.seen.know(self._record.output_columns or ())
            return JsonLines(self._batch_id, self.tally.seen, inputs=inputs, metadata=metadata)
        columns = self._columns(remaining_ms, inputs=inputs, metadata=metadata)
        if columns is None:
            return None
        if self._format == "parquet":
            from service.export.parquet_file import ParquetLines  # noqa: PLC0415 - of no other format

            return ParquetLines(columns, self.tally.seen)
        return CsvLines(columns, self.tally.seen, neutralise=self._csv.get("neutralise_formulas", True))

    def _columns(self, remaining_ms: Callable[[], int], *, inputs: bool, metadata: bool) -> Columns | None:
        """Return the columns: as recorded, else found in one pass over the results; None when the time runs low."""
        record = self._record
        known = {
            "input_data": None if record is None else record.source["columns"],
            "output_data": None if record is None else record.output_columns,
        }
        wanted = tuple(attribute for attribute, columns in known.items() if columns is None)
        if wanted and not self._found.whole:
            names = ("row_id", *wanted, "ttl")
            for page in self._pages(self._found.last, names, Shape()):
                self._found.add(page)
                if page and remaining_ms() < ENOUGH_TIME:  # each invocation gets further: an empty page may be the last
                    return None
            self._found.whole = True
        found = [self._found.names[name] if known[name] is None else known[name] for name in known]
        rows, fields = (tuple(names or ()) for names in found)
        return Columns(rows if inputs else (), fields, self._csv.get("column_style", "prefixed"), metadata)

    def _pages(self, after: str | None, names: Sequence[str], shape: Shape) -> Iterator[list[Item[Any, Any]]]:
        last_row = None if self._record is None else self._record.rows
        return self._app.reader.pages(self._batch_id, after=after, last_row=last_row, names=names, shape=shape)

    def _rows(self, lines: Lines) -> Iterator[tuple[Sequence[Item[Any, Any]], Sequence[AbsentRow]]]:
        """Results and, of a batch with a record, the rows without one; never both empty."""
        pages = self._pages(self._last, lines.names, lines.shape)
        if self._record is None:
            return ((page, ()) for page in pages if page)
        first = (row_number(self._last) or 0) + 1 if self._last else 1
        return with_absent_rows(pages, first, self._record.rows, AbsentRows(self._app, self._record).between)

    def _state(self) -> dict[str, Any]:
        return {
            **self._upload.state(),
            "last_row_id": self._last,
            "tally": self.tally.state(),
            "found": self._found.state(),
        }

    def _check(self) -> None:
        """Rows in = lines out, or nothing is written."""
        if self._record is not None and self.tally.rows != self._record.rows:
            raise ConservationBroken(f"batch {self._batch_id}: {self.tally.rows} lines for {self._record.rows} rows")


class _Found:
    """Names found in the results where no record says which columns there are."""

    def __init__(self, state: Mapping[str, Any] | None) -> None:
        known = state or {}
        self.whole: bool = known.get("whole", False)
        self.last: str | None = known.get("last_row_id")
        self.names: dict[str, dict[str, None]] = {
            name: dict.fromkeys(known.get(name, ())) for name in ("input_data", "output_data")
        }

    def add(self, page: Sequence[Item[Any, Any]]) -> None:
        """Add the names of a page of results; those of one item by the alphabet, for DynamoDB's maps have no order."""
        for name, values in (
            ("input_data", [item.input_data for item in page]),
            ("output_data", [item.output_data for item in page]),
        ):
            known = self.names[name]
            for value in values:
                known.update(dict.fromkeys(sorted(((value and value.M) or {}).keys() - known.keys())))
        self.last = page[-1].row_id.S if page else self.last

    def state(self) -> dict[str, Any]:
        """Return what the next invocation needs to know."""
        state = {"whole": self.whole, "last_row_id": self.last, **{name: list(self.names[name]) for name in self.names}}
        if len(json.dumps(state)) > _COLUMNS_BYTES:
            raise BatchProcessorError(
                f"the results have {sum(map(len, self.names.values()))} different fields, too many to make a CSV of "
                "them all: name the wanted ones in an output mapping"
            )
        return state
