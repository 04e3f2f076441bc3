from __future__ import annotations

from service.layout import CHUNK_ROWS, chunk_rows, concurrency


def test_rows_in_flight_never_exceed_what_is_asked_for() -> None:
    for most in range(1, 10_001):
        outer, inner = concurrency(most)
        assert 1 <= inner <= 40, most
        assert 1 <= outer <= 10_000, most
        assert outer * inner <= most, most
        assert most - outer * inner < outer, most


def test_a_chunk_fits_the_history_of_its_execution_however_often_its_rows_are_called() -> None:
    for attempts in range(1, 101):
        rows = chunk_rows(attempts)
        assert 1 <= rows <= CHUNK_ROWS
        assert rows * (7 + 15 * attempts) <= 12_500
    assert chunk_rows(3) == CHUNK_ROWS
