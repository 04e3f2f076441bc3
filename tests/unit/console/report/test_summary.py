"""What a report says of a batch."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from made_reports import MADE_AT, PLAN, found_in, item, known, made, mixed

from service.console.report import summary, wording
from service.console.report.summary import Findings, document
from service.models import empty_counts

COUNTS = empty_counts()
LATER = "2026-11-22T15:41:42.000Z"  # 40 s after the batch began


def results(**counts: int) -> list[Any]:
    statuses = [status for status, count in counts.items() for _ in range(count)]
    return [item(number, status) for number, status in enumerate(statuses, 1)]


@pytest.mark.parametrize(
    ("row_count", "status", "counts", "recorded", "sentence"),
    [
        (3, "SUCCEEDED", {"SUCCESS": 3}, {}, "All 3 rows succeeded."),
        (1, "SUCCEEDED", {"SUCCESS": 1}, {}, "The only row succeeded."),
        (0, "SUCCEEDED", {}, {}, "The source has no rows: there was nothing to run."),
        (None, "FAILED", {}, {}, "It could not run: no row was read."),
        (None, "PREPARING", {}, {}, "The source is being read."),
        (4, "PARTIAL", {"SUCCESS": 2, "FAILED": 1, "TIMEOUT": 1}, {},
         "2 of 4 rows succeeded; 2 did not: 1 FAILED, 1 TIMEOUT."),
        (1200, "FAILED", {"FAILED": 1200}, {}, "0 of 1,200 rows succeeded: 1,200 FAILED."),
        (9, "INCOMPLETE", {"SUCCESS": 4, "FAILED": 1}, {"NOT_RUN": 3},
         "4 of 9 rows succeeded; 5 did not: 1 FAILED, 3 NOT_RUN, 1 MISSING."),
        (9, "RUNNING", {"SUCCESS": 4, "FAILED": 1}, {},
         "It goes on: 5 of 9 rows are done so far, 1 of them did not succeed (1 FAILED)."),
        (9, "STOPPING", {"SUCCESS": 4}, {}, "It goes on: 4 of 9 rows are done so far."),
        (5, "RUNNING", {"SUCCESS": 4, "FAILED": 1}, {},
         "It goes on. So far 4 of 5 rows succeeded; 1 did not: 1 FAILED."),
        (2, "AGGREGATING", {"SUCCESS": 2}, {}, "It goes on. So far all 2 rows succeeded."),
    ],
)  # fmt: skip
def test_the_outcome_in_one_sentence(
    row_count: int | None, status: str, counts: dict[str, int], recorded: dict[str, int], sentence: str
) -> None:
    facts = known(row_count, status, counts={**COUNTS, **recorded})
    told = made(results(**counts), facts)
    assert told["outcome"] == sentence
    assert told["adds_up"]
    if row_count is not None:
        assert sum(told["counts"].values()) + told["pending"] == row_count


def test_results_that_are_read_count_whatever_the_record_says() -> None:
    stale = known(6, counts={**COUNTS, "SUCCESS": 1, "NOT_RUN": 5})
    told = made(results(SUCCESS=4, FAILED=1), stale)
    assert {status: count for status, count in told["counts"].items() if count} == {
        "SUCCESS": 4,
        "FAILED": 1,
        "NOT_RUN": 1,
    }


def test_more_results_than_rows_do_not_add_up() -> None:
    assert not made(results(SUCCESS=3), known(2))["adds_up"]


def test_a_status_of_somebody_else_is_counted_too() -> None:
    told = made(results(SUCCESS=1, UNKNOWN=1, ODD=1))
    assert (told["counts"]["UNKNOWN"], told["counts"]["ODD"]) == (1, 1)
    assert told["outcome"] == "1 of 3 rows succeeded; 2 did not: 1 UNKNOWN, 1 ODD."


def test_times_by_outcome() -> None:
    items = [item(1, took=10), item(2, took=30), item(3, "FAILED", took=70), item(4, "FAILED", took=None)]
    told = made(items)["times"]
    assert [told[name]["count"] for name in ("all", "succeeded", "not_succeeded")] == [3, 2, 1]
    assert (told["succeeded"]["max_ms"], told["all"]["median_ms"], told["without"]) == (30, 30, 1)
    assert sum(told["bins_succeeded"]) == 2
    assert sum(told["bins_not_succeeded"]) == 1


def test_the_slowest_rows_the_first_of_those_that_took_as_long() -> None:
    items = [item(number, took=number % 40) for number in range(1, 200)]
    told = made([*items, item(200, took=None)])["slowest"]
    assert [(row["execution_time_ms"], row["row_number"]) for row in told] == [
        *((39, number) for number in (39, 79, 119, 159, 199)),
        *((38, number) for number in (38, 78, 118, 158, 198)),
    ]


def test_the_table_holds_failures_before_successes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "TABLE", 30)
    told = made(mixed(240))
    assert told["table"] == {"rows": 30, "failures": 20, "of": 240}
    found = summary.read([mixed(240)])
    rows = found.table()
    assert [int(row.label) for row in rows[:20]] == list(range(12, 241, 12))
    successes = [int(row.label) for row in rows[20:]]
    assert len(successes) == 10
    assert successes == sorted(successes)
    assert successes[-1] > 160  # from all over the batch
    monkeypatch.setattr(summary, "TABLE", 12)
    only = summary.read([mixed(240)]).table()
    assert [row.status == "SUCCESS" for row in only] == [False] * 12


def test_the_run_that_stored_most_is_the_one_of_the_plot() -> None:
    runs = [{"run": 1, "started_at": known(1)["started_at"]}, {"run": 2, "started_at": LATER}]
    items = [item(number, at=number) for number in range(1, 9)] + [item(9, at=45), item(10, at=46)]
    told = made(items, known(10, runs=runs))["over_time"]
    assert told["run"] == 1
    assert [run["rows"] for run in told["runs"]] == [8, 2]
    assert sum(told["succeeded"]) == 8
    again = [item(number, at=1) for number in range(1, 3)] + [item(number, at=41 + number) for number in range(3, 9)]
    told = made(again, known(8, runs=runs))["over_time"]
    assert (told["run"], sum(told["succeeded"])) == (2, 6)


@pytest.mark.parametrize(
    ("runs", "ended_at", "took"),
    [
        ([{}], "2026-11-22T15:41:12.000Z", 10_000),
        ([{"ended_at": "2026-11-22T15:41:05.000Z"}, {"started_at": LATER}], "2026-11-22T15:41:44.000Z", 5_000),
        ([{}, {"started_at": LATER}], "2026-11-22T15:41:44.000Z", 42_000),
        ([{}], None, 6_538_000),
        (None, "2026-11-22T15:41:12.000Z", 10_000),
    ],
)
def test_pauses_between_runs_are_no_time_of_the_batch(
    runs: list[dict[str, Any]] | None, ended_at: str | None, took: int
) -> None:
    begun = known(1)["started_at"]
    given = runs and [{"run": number, "started_at": begun, **run} for number, run in enumerate(runs, 1)]
    assert made([item(1)], known(1, runs=given, ended_at=ended_at))["duration_ms"] == took


def test_what_the_record_says_beside_the_rows_is_kept() -> None:
    bare = {"status": "NOT_RUN", "error": "NOT_RUN", "message": "", "count": 2, "row_ids": ["row_0000000002"]}
    refused = {"status": "FAILED", "error": "BatchRefused", "message": "no such column", "count": 0, "row_ids": []}
    counted = {"status": "FAILED", "error": "Quota", "message": "used up", "count": 2, "row_ids": []}
    told = made([item(1)], known(3, errors=[bare, refused, counted]))
    assert told["beside"] == [bare, refused]


def test_the_document_is_json_and_says_which_mapping_was_used() -> None:
    told = made(mixed())
    assert json.loads(json.dumps(told)) == told
    assert told["mapping"]["input_mapping"] == PLAN.input_mapping
    assert [group["count"] for group in told["errors"]] == [10, 10]
    assert document(Findings(), known(None, "FAILED"), None, LATER)["mapping"] is None


def test_fields_that_no_row_has_are_told_first_and_warned_of() -> None:
    items = [item(number, fields={"label": "x", "note": "y" if number % 2 else ""}) for number in range(1, 5)]
    plan = replace(PLAN, output_columns=["score", "label", "note"])
    told = document(found_in(items), known(4, "SUCCEEDED"), plan, MADE_AT)
    assert told["fields"] == [
        {"name": name, "found": found, "of": 4} for name, found in (("score", 0), ("label", 4), ("note", 2))
    ]
    assert wording.fields_warning(told) == "score: found in 0 of 4 rows"
    assert [line[0] for line in wording.fields(told, 2)] == ["score", "note"]
