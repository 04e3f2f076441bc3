"""Rows of a prepared source by their numbers: found by the byte ranges of its chunks, read a window at a time."""

from __future__ import annotations

import json
import sys
from array import array
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

from service.s3 import bodies
from service.source import csv_rows, lines

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What tells how a source is read.
READ_BY = ("bucket", "key", "etag", "size", "encoding", "delimiter", "bom_bytes", "guarded")
_WINDOW = 1 << 20  # bytes of the source read at once: rows that are wanted here and there share a request


class SourceRows:
    """Rows of one version of a source, asked for in ascending order; `bucket` is where its list of chunks is kept."""

    def __init__(self, s3: Any, bucket: str, src: Mapping[str, Any], chunks_key: str) -> None:
        self._s3 = s3
        self._object, self._format = bodies.SourceObject.of(src), lines.SourceFormat.of(src)
        self._rows, self._starts, self._lines = array("q"), array("q"), array("q")  # of every span of every chunk
        for line in bodies.lines(self._s3, bucket, chunks_key):
            for span in csv_rows.Chunk.from_json(json.loads(line)).ranges:
                self._rows.append(span.first_row)
                self._starts.append(span.start)
                self._lines.append(span.line)
        self._records: Iterator[csv_rows.Record] = iter(())
        self._next = self._until = 0  # rows that the window has yet to give

    def record(self, number: int) -> csv_rows.Record:
        """Return the row with its bytes; raises SourceChanged, SourceFault, and what S3 raises."""
        if not self._next <= number < self._until:
            self._open(number)
        for record in self._records:
            self._next = record.number + 1
            if record.number == number:
                return record
        raise lines.SourceFault(f"row {number} is not where the chunks of the batch say", row=number)

    def _open(self, number: int) -> None:
        """Read the window that begins with the row's span; nothing of the connection stays open."""
        begin = max(0, bisect_right(self._rows, number) - 1)
        end = bisect_left(self._starts, self._starts[begin] + _WINDOW, begin + 1)
        whole = end == len(self._starts)
        stop = self._object.size if whole else self._starts[end]
        blocks = list(bodies.read(self._s3, self._object, self._starts[begin], stop))
        self._records = csv_rows.read_records(
            blocks, self._format, offset=self._starts[begin], number=self._rows[begin], line=self._lines[begin]
        )
        self._next = self._rows[begin]
        self._until = sys.maxsize if whole else self._rows[end]
