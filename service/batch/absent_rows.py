"""The rows of a batch that have no result: why, and their cells from the source where it is still the same."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from botocore.exceptions import ClientError

from service.batch.absence import Absence
from service.errors import BatchProcessorError, SourceChanged
from service.models import RowStatus, row_id, row_number
from service.s3 import objects
from service.source.row_lookup import SourceRows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from service.app import App
    from service.record import BatchRecord
    from service.store.structs import Item

_TOGETHER = 100  # rows without a result that are held at once


class ConservationBroken(BatchProcessorError):
    """Rows in are not rows out: the results do not fit the batch's own row count."""


class AbsentRow(NamedTuple):
    """A row without a result."""

    number: int
    status: str
    row: dict[str, str]
    cause: tuple[str, str] = ("", "")  # type and message

    @property
    def error(self) -> tuple[str, str] | None:
        """Why it has none although it should; None of a row that was not to be run."""
        return self.cause if self.status == RowStatus.MISSING and any(self.cause) else None


class AbsentRows:
    """Rows that have no result, asked for in row order."""

    def __init__(self, app: App, record: BatchRecord) -> None:
        self._app = app
        self._record = record
        self._absence = Absence(app, record)
        self._source: SourceRows | None = None
        self._readable = True

    def between(self, first: int, last: int) -> Iterator[AbsentRow]:
        """Rows first to last, each as NOT_RUN or MISSING."""
        for number in range(first, last + 1):
            yield AbsentRow(number, self._absence.of(number).value, self._row(number), self._absence.why(number))

    def _row(self, number: int) -> dict[str, str]:
        """Return the row's cells, a ragged row's those that it has.

        None when the source was replaced or may not be read.
        """
        if not self._readable:
            return {}
        try:
            if self._source is None:
                app = self._app
                self._source = SourceRows(
                    app.s3, app.settings.data_bucket, self._record.source, self._record.chunks_key
                )
            cells = self._source.record(number).cells
            return dict(zip(self._record.source["columns"], cells, strict=False))
        except SourceChanged:
            self._readable = False
        except ClientError as error:
            if error.response["Error"]["Code"] not in objects.UNREADABLE:
                raise
            self._readable = False
        return {}


def with_absent_rows(
    pages: Iterable[list[Item[Any, Any]]], first: int, last: int, bare: Callable[[int, int], Iterator[AbsentRow]]
) -> Iterator[tuple[Sequence[Item[Any, Any]], Sequence[AbsentRow]]]:
    """Results as they come, and between them what `bare(from, to)` yields for the rows that have none.

    Yields either results or rows without one, the other empty. However long a gap is, little of it is held at once.
    Raises ConservationBroken for a result that is not of a row between first and last.
    """
    expected = first  # the row that is due at `begun`
    for page in pages:
        begun = 0
        numbers = _numbers(page, expected, last)
        for position, number in enumerate(numbers if isinstance(numbers, list) else ()):
            due = expected + position - begun
            if number > due:
                if position > begun:
                    yield page[begun:position], ()
                for rows in _together(bare(due, number - 1)):
                    yield (), rows
                begun, expected = position, number
        if page:
            yield page[begun:] if begun else page, ()
            expected += len(page) - begun
    for rows in _together(bare(expected, last)):
        yield (), rows


def _together(rows: Iterator[AbsentRow]) -> Iterator[list[AbsentRow]]:
    while some := list(islice(rows, _TOGETHER)):
        yield some


def _numbers(page: list[Item[Any, Any]], expected: int, last: int) -> range | list[int]:
    """Return the row numbers of a page: a range where they are those that are due, as nearly always.

    Else a list, ascending.

    Raises ConservationBroken.
    """
    due = range(expected, expected + len(page))
    if due.stop <= last + 1 and [item.row_id.S for item in page] == list(map(row_id, due)):
        return due
    numbers = []
    for item in page:
        number = row_number(item.row_id.S)
        if number is None or not expected <= number <= last:
            raise ConservationBroken(
                f"{item.row_id.S} is not one of the batch's {last} rows, or is out of order after row {expected - 1}: "
                "something else has written results under this batch's id"
            )
        numbers.append(number)
        expected = number + 1
    return numbers
