"""Rows at a terminal and in a file: nothing of why a row failed is lost, whatever the texts are."""

from __future__ import annotations

import re
import sys
from typing import Any

import pytest
from rich.cells import cell_len

from service.console import display

COLUMNS = ["row", "status", "ms", "result", "input"]


def row(number: int = 1, message: str = "quota exceeded", status: str = "FAILED", **more: Any) -> dict[str, Any]:
    return {
        "batch_id": "echo#1",
        "row_id": f"row_{number:010d}",
        "row_number": number,
        "status": status,
        "error": None if status == "SUCCESS" else {"type": "E", "message": message},
        "execution_time_ms": 12,
        "timestamp": "2026-11-22T10:00:00.123Z",
        "input_data": {"text": "in"},
        "output_data": None,
        **more,
    }


class Shown:
    """Tables as they come out at a terminal of some width, or in a file."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], columns: int | None
    ) -> None:
        for name, value in {"COLUMNS": str(columns or 40), "TERM": "xterm", "NO_COLOR": "1"}.items():
            monkeypatch.setenv(name, value)
        self.monkeypatch, self.capsys, self.terminal = monkeypatch, capsys, columns is not None
        self.width = columns or 160

    def table(self, *rows: dict[str, Any], with_batch: bool = False) -> list[str]:
        self.monkeypatch.setattr(sys.stdout, "isatty", lambda: self.terminal)
        display.row_table(rows, with_batch=with_batch)
        return re.sub(r"\x1b\[[0-9;]*m", "", self.capsys.readouterr().out).splitlines()  # the head of a table is dim


@pytest.fixture(params=[60, 80, 160, None], ids=lambda width: f"{width or 'a file'}")
def shown(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shown:
    return Shown(monkeypatch, capsys, request.param)


def results_of(lines: list[str]) -> str:
    """What stands in the column of results, its lines put together without spaces."""
    first, last = lines[0].index("result"), lines[0].index("input")
    return "".join(by_cells(line, first, last) for line in lines[1:]).replace(" ", "")


def by_cells(line: str, first: int, last: int) -> str:
    """A part of a line by the places on the screen, of which a wide character takes two."""
    found, place = "", 0
    for character in line:
        if first <= place < last:
            found += character
        place += cell_len(character)
    return found


@pytest.mark.parametrize("count", [1, 50, 1000])
def test_each_row_has_its_line(shown: Shown, count: int) -> None:
    lines = shown.table(*(row(number) for number in range(1, count + 1)))
    assert lines[0].split() == COLUMNS
    assert [line.split() for line in lines[1:]] == [
        [f"{number:,}", "FAILED", "12", "E:", "quota", "exceeded", "text=in"] for number in range(1, count + 1)
    ]
    assert max(map(len, lines)) <= shown.width


LONG = ["word " * 200, "x" * 1000, "語" * 300, "😀" * 100, "one\ntwo\n\tthree", '{"a": [1, 2]}' * 40]
INPUTS = [{"text": "in"}, {f"text{number}": "語" * 50 for number in range(9)}, {}, None]


@pytest.mark.parametrize("message", LONG, ids=lambda text: text[:3])
def test_a_cause_is_shown_whole(shown: Shown, message: str) -> None:
    for given in INPUTS:
        lines = shown.table(row(1, message, "EXTRACTION_FAILED", input_data=given), row(1_234_567, message))
        assert lines[0].split() == COLUMNS
        assert results_of(lines) == "".join(f"E: {message}".split()) * 2
        assert max(map(cell_len, lines)) <= shown.width
        assert sum("1,234,567  FAILED" in line for line in lines) == 1


def test_a_short_result_leaves_the_rest_to_the_input(shown: Shown) -> None:
    _, line = shown.table(row(1, input_data={"text": "y" * 60, "more": "z" * 60}))
    assert "E: quota exceeded  text=yyyy" in line
    assert line.endswith("…")
    assert cell_len(line) == shown.width


@pytest.mark.parametrize("given", [10, 60])
def test_a_long_cause_has_forty_characters_beside_its_input(shown: Shown, given: int) -> None:
    head, line, *more = shown.table(row(1, "word " * 100, input_data={"text": "y" * given}))
    result = head.index("input") - head.index("result") - 2
    both = shown.width - head.index("result") - 2
    assert result >= min(40, both * 3 // 5)
    assert line.endswith("y" * given) == (both - result >= given + 5)
    assert more


TEXTS = [
    ("\x1b[31mred\x1b[0m", "[31mred[0m"),
    ("a\rb\x00c\x9bd\x7fe\x08", "abcde"),
    ("[bold]no markup[/] \\[x]", "[bold]no markup[/] \\[x]"),
    (":warning: :key:", ":warning: :key:"),
]


@pytest.mark.parametrize(("message", "text"), TEXTS)
def test_a_text_is_only_text(shown: Shown, message: str, text: str) -> None:
    assert results_of(shown.table(row(1, message))) == f"E:{text}".replace(" ", "")
    display.row_line(row(1, message))
    assert shown.capsys.readouterr().out == f"2026-11-22 10:00:00  row 1  FAILED  E: {text}\n"


def test_a_message_is_only_text_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    display.tell(f"[bold] :key: {'x' * 500}")
    assert capsys.readouterr().err == f"[bold] :key: {'x' * 500}\n"


def test_a_success_shows_its_fields(shown: Shown) -> None:
    _, line = shown.table(row(3, status="SUCCESS", output_data={"n": 1, "none": None, "list": [1, "é"]}))
    assert line.split() == ["3", "SUCCESS", "12", "n=1,", "list=[1,", '"é"]', "text=in"]
    assert cell_len(line) <= shown.width


def test_rows_of_all_batches_have_theirs(shown: Shown) -> None:
    given = row(3, row_number=None, row_id="any", execution_time_ms=None, input_data=None)
    head, line = shown.table(given, with_batch=True)
    assert head.split() == ["batch", *COLUMNS]
    assert line.split() == ["echo#1", "any", "FAILED", "E:", "quota", "exceeded"]
    assert cell_len(line) <= shown.width


@pytest.mark.parametrize(
    ("given", "with_batch", "line"),
    [
        (row(1_234), False, "2026-11-22 10:00:00  row 1,234  FAILED  E: quota exceeded"),
        (row(1, "a\n b\t" + "c" * 300), True, f"2026-11-22 10:00:00  echo#1  row 1  FAILED  E: a b {'c' * 300}"),
        (row(1, status="SUCCESS"), False, "2026-11-22 10:00:00  row 1  SUCCESS"),
    ],
)
def test_a_row_that_arrives_is_one_line(
    capsys: pytest.CaptureFixture[str],
    given: dict[str, Any],
    with_batch: bool,  # noqa: FBT001
    line: str,
) -> None:
    display.row_line(given, with_batch=with_batch)
    assert capsys.readouterr().out == line + "\n"


def test_counts(capsys: pytest.CaptureFixture[str]) -> None:
    display.row_counts({"SUCCESS": 1_234_567, "FAILED": 0, "any [x]": 2})
    assert capsys.readouterr().out == "  SUCCESS            1,234,567\n  any [x]                    2\n"


def test_a_cause_of_no_row_is_told_without_rows(capsys: pytest.CaptureFixture[str]) -> None:
    """A batch whose stack was killed: its rows have no result, and why is the execution's."""
    group = {"status": "FAILED", "error": "FAILED", "message": "the execution failed", "count": 0, "row_ids": []}
    display.causes([group], {"SUCCESS": 2, "NOT_RUN": 1_098})
    assert capsys.readouterr().out == "Why:\n  FAILED: the execution failed\n"


@pytest.mark.parametrize(
    ("span", "said"),
    [
        (None, "?"),
        (1.04, "1.0 s"),
        (59.4, "59 s"),
        (200, "3 min 20 s"),
        (7_500, "2 h 5 min"),
        (172_740, "47 h 59 min"),
        (198_720, "2.3 days"),
    ],
)
def test_a_span_of_time(span: float | None, said: str) -> None:
    assert display.seconds(span) == said
