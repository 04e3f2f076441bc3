"""What the web view says of a batch as it is now."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_reports import HOSTILE, known

from service.console.web import labels
from service.models import empty_counts

NOW = "2026-11-22T15:41:32.000Z"
UNDER_WAY = {"status": "RUNNING", "ended_at": None, "rate_per_s": 3.0, "eta_s": 200}


def view(row_count: int | None, counts: dict[str, int], **more: Any) -> dict[str, Any]:
    given = {"counts": {**empty_counts(), **counts}, "rows_done": sum(counts.values()), "runs": None, **more}
    return labels.view({**known(row_count), **given}, NOW)


def test_rows_that_are_not_done_yet_are_counted_while_a_batch_is_open() -> None:
    shown = view(10, {"SUCCESS": 3, "FAILED": 1}, **UNDER_WAY)
    assert (shown["pending"], shown["adds_up"], shown["is_open"]) == (6, True, True)
    assert shown["outcome"] == "It goes on: 4 of 10 rows are done so far, 1 of them did not succeed (1 FAILED)."
    assert labels.percent(shown) == "40 %"
    shown = view(10, {"SUCCESS": 3, "FAILED": 1})
    assert (shown["pending"], shown["adds_up"], shown["is_open"]) == (0, False, False)
    assert view(None, {}, **UNDER_WAY)["outcome"] == "The source is being read."
    assert labels.percent(view(None, {})) == ""
    assert labels.percent(view(201, {"SUCCESS": 200})) == "99 %"


@pytest.mark.parametrize(
    ("rate", "eta", "said"),
    [
        (None, None, ""),
        (182.4, None, "182 rows/s"),
        (3.14, 200, "3.1 rows/s, about 3 min 20 s left"),
        (3.14, 0, "3.1 rows/s, all rows are stored"),
        (None, 5, "about 5 s left"),
    ],
)
def test_the_pace(rate: float | None, eta: int | None, said: str) -> None:
    assert labels.pace({"rate_per_s": rate, "eta_s": eta}) == said


@given(st.dictionaries(st.sampled_from(["SUCCESS", "FAILED", "TIMEOUT", "MISSING"]), st.integers(1, 10**7), min_size=1))
def test_the_parts_of_the_bar_fill_it_and_are_all_seen(counts: dict[str, int]) -> None:
    total = sum(counts.values()) + 1
    parts = labels.bar(view(total, counts, **UNDER_WAY))
    assert len(parts) == len(counts) + 1
    assert parts[-1][0] == "s-pending"
    assert parts[0][1] == 0
    assert sum(width for _, _, width, _ in parts) == pytest.approx(100, abs=0.01)
    assert min(width for _, _, width, _ in parts) >= 0.7
    for (_, begin, width, _), (_, after, _, _) in pairwise(parts):
        assert begin + width == pytest.approx(after, abs=0.01)


def test_every_status_has_a_class() -> None:
    assert labels.status_class("EXTRACTION_FAILED") == "s-extraction_failed"
    assert labels.status_class('">') == "s-unknown"


def test_runs_are_told_the_last_one_first() -> None:
    began = ("2026-11-22T15:41:02.000Z", "2026-11-22T15:41:20.000Z")
    first = {"run": 1, "started_at": began[0], "ended_at": "2026-11-22T15:41:12.000Z", "status": "INCOMPLETE"}
    given = [{**first, "stop_reason": "by hand"}, {"run": 2, "started_at": began[1]}]
    names = ("run", "took", "status", "reason")
    one, other = labels.runs(view(4, {"SUCCESS": 4}, **UNDER_WAY | {"runs": given}), None, NOW)
    assert [one[name] for name in names] == [2, "12 s", "RUNNING", ""]
    assert [other[name] for name in names] == [1, "10 s", "INCOMPLETE", "stopped by hand"]
    (one,) = labels.runs(view(4, {"SUCCESS": 4}, ended_at=NOW, runs=given[1:]), "new_reason", NOW)
    assert (one["took"], one["status"], one["reason"]) == ("12 s", "PARTIAL", "new_reason")


def test_causes_are_of_rows_that_have_a_result() -> None:
    groups = [{"status": status, "count": count} for status, count in (("FAILED", 2), ("NOT_RUN", 3), ("FAILED", 0))]
    assert labels.causes({"errors": groups}) == groups[:1]


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        (None, "–"),
        ("s3://bucket/uploads/1c02/rows.csv", "rows.csv"),
        ("s3://bucket/in/rows.csv", "s3://bucket/in/rows.csv"),
    ],
)
def test_an_uploaded_file_is_named_as_it_was(uri: str | None, name: str) -> None:
    assert labels.source_name(uri) == name


def test_cells_are_cut_and_their_control_characters_seen() -> None:
    cells = labels.cells({"a\x00": None, "b": {"é": [1, "x"]}, "c": "\x1b[31m", "d": "x" * 5_000, "e": 0})
    assert cells == {"a␀": "", "b": '{"é": [1, "x"]}', "c": "␛[31m", "d": "x" * 299 + "…", "e": "0"}
    many = {f"c{number}": str(number) for number in range(40)}
    assert len(labels.cells(many)) == 31
    assert labels.cells(many)["…"] == "and 10 more"
    assert labels.cells(many, labels.WHOLE) == many
    assert labels.cells(None) == {}
    assert labels.cells({"x": HOSTILE["image"]}) == {"x": HOSTILE["image"]}  # templates escape it
