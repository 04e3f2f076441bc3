from __future__ import annotations

import pytest

from service.cost.workload import chunk_rows, concurrency
from service.limits import CHUNK_ROWS


@pytest.mark.parametrize("children", ["STANDARD", "EXPRESS"])
def test_rows_in_flight_never_exceed_what_is_asked_for(children: str) -> None:
    for most in range(1, 10_001):
        outer, inner = concurrency(most, children)
        assert outer >= 2 or most <= 5, "while one chunk begins or ends, another has rows in flight"
        assert 1 <= inner <= 40, most
        assert 1 <= outer <= 10_000, most
        assert outer * inner <= most, most
        assert most - outer * inner < outer, most


def test_a_chunk_has_fewer_rows_the_oftener_they_may_be_called() -> None:
    """tests/infra/test_definition.py works out what the history of its execution holds."""
    rows = [chunk_rows(attempts) for attempts in range(1, 101)]
    assert rows == sorted(rows, reverse=True)
    assert all(1 <= most <= CHUNK_ROWS for most in rows)
    assert rows[2] == 34
    assert chunk_rows(3, throttled_seconds=0) == 100
