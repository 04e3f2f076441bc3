"""The rows of a batch as they are stored, made a source of their own: for a rerun whose source is not there now."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused, Problem
from service.models import RowStatus, row_id
from service.source import csv_rows
from service.source.manifest import prefix
from service.store.structs import Named, Shape, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.app import App
    from service.batch.selection import Selection
    from service.record import BatchRecord
    from service.source.csv_rows import Record

# Without a result nothing is stored; of a row that could not be mapped perhaps not every cell.
_NOT_WHOLE = (RowStatus.NOT_RUN, RowStatus.MISSING, RowStatus.INVALID_INPUT)


def write(app: App, record: BatchRecord, selection: Selection) -> tuple[dict[str, Any], dict[int, Iterator[Record]]]:
    """Write the selected rows to a CSV in the stack's bucket; return where it is, for a plan, and each group's rows.

    Raises BatchRefused of rows whose cells are not all known.
    """
    if absent := sum(selection.selected[status] for status in _NOT_WHOLE):
        message = (
            f"{absent} of the rows are {', '.join(_NOT_WHOLE)}: their input is not stored, or not all of it; "
            "name other statuses (--status FAILED, …)"
        )
        raise BatchRefused([Problem("rerun_of.stored_input", message)])
    bucket, key = app.settings.data_bucket, f"{prefix(record.batch_id)}/stored-{record.run + 1}.csv"
    text = _Counting()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(record.source["columns"])
    wanted = {number: before for before, numbers in selection.rows.items() for number in numbers}
    rows: dict[int, list[Record]] = {before: [] for before in selection.rows}
    for number, cells in _stored(app, record, wanted):
        start = text.bytes
        writer.writerow(cells)
        rows[wanted[number]].append(csv_rows.Record(number, 1, start, text.bytes, cells))
    body = text.getvalue().encode()
    etag = app.s3.put_object(Bucket=bucket, Key=key, Body=body)["ETag"]
    where = {"bucket": bucket, "key": key, "etag": etag, "size": len(body)}
    return {**where, "encoding": "utf-8", "delimiter": ",", "bom_bytes": 0, "guarded": False}, {
        before: iter(records) for before, records in rows.items()
    }


def _stored(app: App, record: BatchRecord, wanted: dict[int, int]) -> Iterator[tuple[int, list[str]]]:
    columns = Named(record.source["columns"])
    shape = Shape(columns.type)
    numbers = {row_id(number): number for number in wanted}
    names = ("row_id", "input_data", "ttl")
    for page in app.reader.pages(record.batch_id, last_row=record.rows, names=names, shape=shape):
        items = [item for item in page if item.row_id.S in numbers]
        cells = columns.columns(item.input_data for item in items)
        for item, row in zip(items, zip(*cells, strict=True), strict=True):
            yield numbers[item.row_id.S], ["" if one is None else text_of(one) for one in row]


class _Counting(io.StringIO):
    """A text that knows how many bytes of UTF-8 it has."""

    bytes = 0

    def write(self, text: str, /) -> int:
        self.bytes += len(text.encode())
        return super().write(text)
