"""A source that cannot be read in time is refused while it is read; time is what the test says it is."""

from __future__ import annotations

import pytest

from service.errors import BatchRefused
from service.source.csv_rows import Record
from service.source.pace import Pace

ROW = 1_000  # bytes


class Clock:
    """Seconds that are left, fewer with every row."""

    def __init__(self, per_row: float) -> None:
        self.left = 900.0
        self.per_row = per_row

    def rows(self, count: int) -> list[Record]:
        return [Record(number, number + 1, (number - 1) * ROW, number * ROW, []) for number in range(1, count + 1)]

    def run(self, count: int) -> int:
        read = 0
        for _ in Pace(count * ROW, lambda: self.left).watch(iter(self.rows(count))):
            read += 1
            self.left -= self.per_row
        return read


def test_a_source_that_fits_is_read_whole() -> None:
    assert Clock(0.01).run(80_000) == 80_000


def test_a_source_that_cannot_fit_is_refused_early() -> None:
    clock = Clock(0.01)
    with pytest.raises(BatchRefused) as refused:
        clock.run(1_000_000)
    (problem,) = refused.value.problems
    assert problem.path == "csv_s3_uri"
    for words in ("1,000 MB", "100 rows (0.1 MB)", "s of 840 s", "about 84 MB fit", "split the file"):
        assert words in problem.message, words
    assert 850 < clock.left < 875


def test_a_source_that_is_near_the_limit_is_refused_with_a_minute_left() -> None:
    left = iter([900.0, *[899.0] * 5, 59.0])
    rows = Clock(0).rows(80_000)
    with pytest.raises(BatchRefused, match="cannot all be counted in time"):
        list(Pace(80_000 * ROW, lambda: next(left)).watch(rows))


def test_large_rows_are_looked_at_by_their_bytes() -> None:
    rows = [Record(number, number, (number - 1) << 22, number << 22, []) for number in range(1, 200)]
    left = iter(range(900, 0, -10))
    with pytest.raises(BatchRefused, match="split the file"):
        list(Pace(199 << 22, lambda: float(next(left))).watch(rows))
