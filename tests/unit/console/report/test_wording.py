"""What a report says in words."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
from click.testing import CliRunner
from made_reports import item, known, made, mixed

from service.console.cli.main import cli
from service.console.report import wording as words
from service.console.report.wording import share, speed, took

TOOK = {
    None: "–",
    0: "0 ms",
    999: "999 ms",
    1_000: "1 s",
    2_049: "2.05 s",
    15_300: "15.3 s",
    59_949: "59.9 s",
    59_950: "1 min",
    92_000: "1 min 32 s",
    600_000: "10 min",
    3_599_600: "1 h",
    7_500_000: "2 h 5 min",
    90_000_000: "1 d 1 h",
}


@pytest.mark.parametrize(("milliseconds", "said"), TOOK.items())
def test_durations(milliseconds: int | None, said: str) -> None:
    assert took(milliseconds) == said


@pytest.mark.parametrize(
    ("rows", "milliseconds", "said"),
    [
        (3708, 14_000, "265 rows/s"),
        (24, 8_000, "3 rows/s"),
        (1_200, 10_800_000, "6.67 rows/min"),
        (3, 7_200_000, "1.5 rows/h"),
        (1, 172_800_000, "0.5 rows/d"),
        (0, 10, ""),
        (10, 0, ""),
        (10, None, ""),
    ],
)
def test_speeds(rows: int, milliseconds: int | None, said: str) -> None:
    assert speed(rows, milliseconds) == said


@pytest.mark.parametrize(
    ("count", "total", "said"),
    [
        (5, 5, "100 %"),
        (9_999_999, 10_000_000, "> 99.9 %"),
        (3_700, 3_708, "99.8 %"),
        (1, 3, "33.3 %"),
        (1, 3_708, "0.03 %"),
        (1, 10_000_000, "< 0.01 %"),
        (0, 7, "0.0 %"),
    ],
)
def test_a_share_is_never_all_or_nothing_of_what_is_neither(count: int, total: int, said: str) -> None:
    assert share(count, total) == said


def test_rows_in_are_the_sum_of_the_counts() -> None:
    facts = known(9, counts={"NOT_RUN": 2})
    told = made([item(1), item(2), item(3, "FAILED"), *(item(number) for number in range(4, 8))], facts)
    assert words.conservation(told) == "9 rows in = 6 SUCCESS + 1 FAILED + 2 NOT_RUN. Every row is accounted for."
    running = made([item(1)], known(3, "RUNNING"))
    assert words.conservation(running) == "3 rows in = 1 SUCCESS + 2 not done yet. Every row is accounted for."
    assert words.tiles(running)[-1] == ("not done yet", 2, "66.7 %", "")
    assert words.conservation(made([], known(0))) == "0 rows in = 0 results. Every row is accounted for."


def test_it_says_when_they_are_not() -> None:
    told = words.conservation(made([item(1), item(2)], known(1)))
    assert told == "1 row in ≠ 2 SUCCESS. Something else has written results under this id."


def test_facts_of_the_batch() -> None:
    told = {name: (value, more) for name, value, more, _ in words.facts(made(mixed()))}
    assert told["Target"] == ("echo", "tool, arn:aws:lambda:eu-west-1:123456789012:function:echo")
    assert told["Source"] == ("s3://bucket/in/rows.csv", "1,234 bytes, utf-8")
    assert told["Started"][0] == "2026-11-22 15:41:02 UTC"
    assert told["Took"] == ("10 s", "24 rows/s")
    assert told["Results"][0] == "s3://bucket/results/echo/rows.csv"
    assert "Cost" not in told
    running = [name for name, *_ in words.facts(made([], known(5, "RUNNING", ended_at=None, csv_location=None)))]
    assert "Running for" in running
    assert not {"Ended", "Took", "Results"} & set(running)


@pytest.mark.parametrize(
    ("usd", "cost", "said"),
    [
        (31.2, {"target_usd": 30.0}, ("$31.20", "the target $30.00 of it")),
        (0.0042, {"target_usd": None}, ("$0.0042", "without the target's own")),
        (1.5, None, ("$1.50", "")),
    ],
)
def test_a_cost_where_it_is_known(usd: float, cost: Any, said: tuple[str, str]) -> None:
    told = {name: (value, more) for name, value, more, _ in words.facts(made([], known(1, cost_usd=usd, cost=cost)))}
    assert told["Cost, estimated"] == said


@pytest.mark.parametrize(
    ("held", "counts", "said"),
    [
        ((0, 0, 0), {}, "There is no result to show."),
        ((1, 0, 1), {"SUCCESS": 1}, "The one result is here."),
        ((24, 4, 24), {"SUCCESS": 20, "FAILED": 4, "NOT_RUN": 1},
         "All 24 results are here. 1 row without a result is not among them."),
        ((5_000, 12, 1_000_000), {"SUCCESS": 999_988, "FAILED": 10, "TIMEOUT": 2},
         "5,000 of 1,000,000 results are here: all 12 that did not succeed, then successes from all over the batch."),
        ((5_000, 5_000, 9_000), {"SUCCESS": 1_000, "FAILED": 8_000, "MISSING": 3},
         ("5,000 of 9,000 results are here: 5,000 of the 8,000 that did not succeed. "
          "3 rows without a result are not among them.")),
    ],
)  # fmt: skip
def test_it_says_which_rows_the_table_holds(held: tuple[int, int, int], counts: dict[str, int], said: str) -> None:
    told = {**made([]), "counts": {**made([])["counts"], **counts}}
    told["table"] = dict(zip(("rows", "failures", "of"), held, strict=True))
    cut = " Cells are cut at 80 characters and searched as far as they are shown." if held[0] else ""
    assert words.table(told, 80) == said + cut


def test_rows_without_a_result_are_named_where_the_record_names_them() -> None:
    group = {"status": "NOT_RUN", "error": "NOT_RUN", "message": "", "count": 7, "row_ids": ["row_0000000003"]}
    told = made([item(1)], known(9, counts={"NOT_RUN": 7}, errors=[group]))
    assert words.without_result(told) == [
        ("NOT_RUN", 7, "not run: a limit, a sample or an early stop (row 3, …)"),
        ("MISSING", 1, "no result, though there should be one"),
    ]
    assert words.problems(told) == []


def test_why_the_batch_itself_failed() -> None:
    group = {"status": "FAILED", "error": "BatchRefused", "message": "no column\x00", "count": 0, "row_ids": []}
    assert words.problems(made([], known(None, "FAILED", errors=[group]))) == [("BatchRefused", "no column␀")]


def test_times_that_were_not_measured_or_are_rounded_are_told() -> None:
    told = made([item(1), item(2, took=None)])
    assert words.times(told) == "The target's own time for each row. 1 row has none, for no call was timed."
    told["times"]["all"]["exact"] = False
    assert "kept to three digits" in words.times(told)
    assert [name for name, _ in words.spans(told)] == ["succeeded"]
    assert [name for name, _ in words.spans(made(mixed()))] == ["succeeded", "did not succeed", "all"]


def test_the_busiest_time_is_told() -> None:
    told = words.over_time(made([item(1, at=1), item(2, at=5.1), item(3, at=5.2)]))
    assert told == "3 rows stored, 2 of them in the busiest 500 ms, at 15:41:07 UTC."
    assert words.over_time(made([])) == ""


@pytest.mark.parametrize("status", ["PARTIAL", "SUCCEEDED", "RUNNING"])
def test_commands_that_go_on_from_there_are_commands(status: str) -> None:
    items: list[Any] = [item(1)] if status == "SUCCEEDED" else [item(1), item(2, "FAILED")]
    told = made(items, known(len(items), status, batch_id="my tool#20261122T154102"))
    given = [shlex.split(command) for _, command in words.commands(told, "prod stack")]
    assert {tuple(words[-2:]) for words in given} == {("--stack", "prod stack")}
    assert all(words[2] == "my tool#20261122T154102" for words in given)
    for words_given in given:
        assert words_given[0] == "batch-processor"
        shown = CliRunner().invoke(cli, [words_given[1], "--help"])
        assert shown.exit_code == 0, shown.output
        assert all(option in shown.output for option in words_given if option.startswith("-"))
    assert ("rerun" in [words[1] for words in given]) is (status == "PARTIAL")
    assert ("status" in [words[1] for words in given]) is (status == "RUNNING")


def test_of_a_batch_without_rows_there_is_nothing_to_do_again() -> None:
    assert words.commands(made([], known(0)), None) == []
    assert words.commands(made([], known(None, "FAILED")), None) == []


def test_the_mapping_as_given() -> None:
    told = words.mapping(made([]))
    assert [name for name, _, _ in told] == ["Input mapping", "Output mapping", "Calls"]
    assert '"column_mappings"' in told[0][2]
    bare = {**made([]), "mapping": {**made([])["mapping"], "input_mapping": {}, "output_mapping": None}}
    assert [said for _, said, _ in words.mapping(bare)] == [
        "none: every column was passed",
        "none: the output's keys are fields",
        "each within 5 min",
    ]
