"""Whether a source can be read to its end in the time that is left: said early, since a repetition would be as slow."""

from __future__ import annotations

from typing import TYPE_CHECKING

from service.errors import BatchRefused, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from service.source.csv_rows import Record

RESERVE = 60.0  # seconds for what follows the last row: the lists of chunks, the plan, the record
_JUDGED_AFTER = 30.0  # seconds of reading before its pace says anything
_CLEARLY = 1.25  # times the time that is left
_EVERY = 1_000  # rows, or
_EVERY_BYTES = 1 << 20  # bytes, whichever is first
_MB = 1_000_000


class Pace:
    """The pace at which a source of `size` bytes is read; `remaining()` is how many seconds the function has left."""

    def __init__(self, size: int, remaining: Callable[[], float]) -> None:
        self._size = size
        self._remaining = remaining
        self._begun = remaining()

    def watch(self, records: Iterable[Record]) -> Iterator[Record]:
        """Yield the records; raise BatchRefused as soon as it is clear that the time will not do."""
        looked_rows = looked_bytes = 0
        for record in records:
            if record.number - looked_rows >= _EVERY or record.end - looked_bytes >= _EVERY_BYTES:
                looked_rows, looked_bytes = record.number, record.end
                self._look(record)
            yield record

    def _look(self, record: Record) -> None:
        left = self._remaining()
        took = self._begun - left
        needed = took * (self._size - record.end) / record.end
        if left < RESERVE or (took >= _JUDGED_AFTER and needed > _CLEARLY * (left - RESERVE)):
            raise self._refusal(record, took, took + needed)

    def _refusal(self, record: Record, took: float, whole: float) -> BatchRefused:
        speed = record.end / max(took, 0.001)
        usable = max(0.0, self._begun - RESERVE)
        message = (
            f"the source has {self._size / _MB:,.0f} MB, and its rows cannot all be counted in time: "
            f"{record.number / max(took, 0.001):,.0f} rows ({speed / _MB:,.1f} MB) are read per second, so it would "
            f"take about {whole:,.0f} s of {usable:,.0f} s; about {speed * usable / _MB:,.0f} MB fit: split the file, "
            "or leave out columns that the target is not given"
        )
        return BatchRefused([Problem("csv_s3_uri", message)])
