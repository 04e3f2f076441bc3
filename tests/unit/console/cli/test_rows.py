"""The commands `failed` and `results`, from their words to what they print, and the exit code."""

from __future__ import annotations

import json
import shlex
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from made import make_agent

from service.console import stacks
from service.console.cli import main
from service.console.cli import rows as cli_rows
from service.models import Result, RowStatus, now_iso, row_id
from service.record import BatchRecord
from service.store import results
from service.store.tables import ResultItem

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.app import App

BATCH, OTHER = "echo#20261122T100000-aaaaaa", "echo#20261122T110000-bbbbbb"
NOON = datetime(2024, 11, 22, 12, tzinfo=UTC)
SPAN = ("--since", "2024-11-22T12:00:00Z", "--until", "2024-11-22T13:00:00")
SUCCESS, FAILED, TIMEOUT = RowStatus.SUCCESS, RowStatus.FAILED, RowStatus.TIMEOUT


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def numbers(self) -> list[int]:
        return [row["row_number"] for row in self.rows]

    @property
    def token(self) -> str | None:
        """The page token on stderr of a command with --json."""
        tokens = [line.removeprefix("page-token: ") for line in self.err.splitlines() if line.startswith("page-token:")]
        return tokens[0] if tokens else None


def put(app: App, number: int, status: str = SUCCESS, stored: datetime = NOON, **more: Any) -> None:
    kind = more.pop("kind", "E")
    result = Result(
        more.pop("batch_id", BATCH),
        row_id(number),
        status,
        {"text": f"text {number}"},
        {"out": number} if status == SUCCESS else {},
        timestamp=now_iso(stored),
        ttl=int(time.time()) + 86_400,
        error=None if status == SUCCESS else {"type": kind, "message": f"why {number}"},
        **more,
    )
    app.dynamodb.put_item(TableName=app.settings.results_table, Item=results.to_item(result))


def record(app: App, batch_id: str, status: str = "PARTIAL", execution_arn: str = "arn") -> None:
    app.records.create(BatchRecord(batch_id, prepared_at=batch_id, status=status, execution_arn=execution_arn))


@pytest.fixture
def stack(app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    """A stack with two batches that the commands speak to."""
    for name in ("BATCH_PROCESSOR_STACK", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(cli_rows, "open_stack", lambda _: stacks.Stack(app, "test", "machine", "aggregator"))
    record(app, BATCH)
    record(app, OTHER)
    return app


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def run(*words: str, terminal: bool = False) -> Said:
        monkeypatch.setattr(sys, "argv", ["batch-processor", *words])
        monkeypatch.setattr(sys.stdout, "isatty", lambda: terminal)
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return Said(ended.value.code, printed.out, printed.err)  # type: ignore[arg-type]

    return run


# --- pages -----------------------------------------------------------------------------------------------------------

QUESTIONS = [
    ("failed", BATCH),
    ("failed", BATCH, "--status", "FAILED"),
    ("failed", BATCH, "--error", "A"),
    ("results", BATCH),
    ("results", BATCH, "--status", "SUCCESS"),
    ("results", BATCH, *SPAN),
    ("results", *SPAN),
    ("results", *SPAN, "--status", "TIMEOUT"),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=" ".join)
def test_pages_by_token_are_the_whole(stack: App, command: Callable[..., Said], question: tuple[str, ...]) -> None:
    for number in range(1, 25):
        status = (SUCCESS, FAILED, TIMEOUT)[number % 3]
        stored = NOON + timedelta(milliseconds=number // 4)
        put(stack, number, status, stored, kind="AB"[number % 2], batch_id=BATCH if number % 4 else OTHER)
    whole = command(*question, "--json")
    assert (whole.code, whole.token) == (0, None)
    assert len(whole.rows) > 3
    got, token = [], None
    for _ in whole.rows:
        page = command(*question, "--limit", "3", "--json", *(["--page-token", token] if token else []))
        assert page.code == 0
        got += page.rows
        token = page.token
        assert len(page.rows) == 3 or token is None
        if token is None:
            break
    assert got == whole.rows


def test_the_message_names_the_next_command(stack: App, command: Callable[..., Said]) -> None:
    for number in range(1, 6):
        put(stack, number, FAILED)
    said = command("failed", "last", "--limit", "2")
    assert "no such rows" in said.err  # of the other batch
    said = command("failed", BATCH[:-3], "--limit", "2")
    assert said.out.count("why") == 2
    *_, told, line = said.err.splitlines()
    assert told == "2 rows shown, there are more; the next ones:"
    words = shlex.split(line)
    assert words[:6] == ["batch-processor", "failed", BATCH, "--limit", "2", "--page-token"]
    said = command(*words[1:])
    assert [f"why {number}" in said.out for number in range(1, 6)] == [False, False, True, True, False]
    said = command(*shlex.split(said.err.splitlines()[-1])[1:])
    assert (said.out.count("why"), said.err) == (1, "")


def test_the_next_command_has_what_was_asked(stack: App, command: Callable[..., Said]) -> None:
    put(stack, 1, FAILED, NOON)
    put(stack, 2, FAILED, NOON)
    said = command("results", *SPAN, "--status", "FAILED", "--stack", "my-stack", "--limit", "1")
    (line,) = [line for line in said.err.splitlines() if "--page-token" in line]
    asked = ["results", *SPAN, "--status", "FAILED", "--stack", "my-stack", "--limit", "1"]
    assert shlex.split(line)[1:-2] == asked
    assert "why 2" in command(*shlex.split(line)[1:]).out


def test_a_span_stays_where_it_was_at_the_first_page(stack: App, command: Callable[..., Said]) -> None:
    now = datetime.now(UTC)
    for number in (1, 2):
        put(stack, number, stored=now - timedelta(minutes=number))
    token = command("results", "--since", "1h", "--limit", "1", "--json").token
    put(stack, 3, stored=now + timedelta(hours=1))
    assert token
    assert command("results", "--since", "1h", "--json", "--page-token", token).numbers == [1]
    assert "of another question" in command("results", "--since", "2h", "--page-token", token).err


OTHER_QUESTIONS = [
    ("failed", OTHER),
    ("failed", BATCH, "--status", "FAILED"),
    ("failed", BATCH, "--error", "E"),
    ("failed", BATCH, "--stack", "another"),
    ("results", BATCH),
    ("results",),
]


def test_a_token_of_another_question_is_refused(stack: App, command: Callable[..., Said]) -> None:
    for number in (1, 2):
        put(stack, number, FAILED)
    token = command("failed", BATCH, "--limit", "1", "--json").token
    assert token
    own = f"batch-processor failed '{BATCH}'"
    said = f"error: --page-token: is of another question: give it with `{own}`, or leave it out\n"
    for words in OTHER_QUESTIONS:
        assert (words, *command(*words, "--page-token", token, "--json")) == (words, 2, "", said)


def test_a_damaged_token_is_refused(stack: App, command: Callable[..., Said]) -> None:
    for number in (1, 2):
        put(stack, number, FAILED)
    token = command("failed", BATCH, "--limit", "1", "--json").token
    assert token
    for damaged in (token[:-1], token.swapcase(), token + " ", "", "1"):
        said = command("failed", BATCH, "--page-token", damaged)
        assert (damaged, said.code, said.out) == (damaged, 2, "")
        assert "copy the whole token, or leave --page-token out to begin again" in said.err


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_a_terminal_is_shown_fifty(stack: App, command: Callable[..., Said]) -> None:
    for number in range(51):
        put(stack, number, FAILED)
    for limit, shown in ((None, 50), (51, 51), (60, 51), (7, 7)):
        said = command("failed", BATCH, *(["--limit", str(limit)] if limit else []), terminal=True)
        assert (limit, said.out.count("why")) == (limit, shown)
        assert (limit, "--page-token" in said.err) == (limit, shown < 51)
    stack.dynamodb.delete_item(
        TableName=stack.settings.results_table, Key={"batch_id": {"S": BATCH}, "row_id": {"S": row_id(50)}}
    )
    assert command("failed", BATCH, terminal=True).err == ""


def test_what_is_asked_of_the_table_is_what_is_shown_and_one_row_more(stack: App, command: Callable[..., Said]) -> None:
    asked: list[Any] = []
    client = ResultItem._get_connection().connection.client
    client.meta.events.register("provide-client-params.dynamodb.Query", lambda params, **_: asked.append(params))
    for number in range(9):
        put(stack, number, FAILED)
    for words, limits in ((("--limit", "3", "--json"), [4]), (("--json",), [None])):
        asked.clear()
        command("failed", BATCH, *words)
        assert [params.get("Limit") for params in asked] == limits


def test_a_pipe_is_given_everything(stack: App, command: Callable[..., Said]) -> None:
    for number in range(60):
        put(stack, number, FAILED)
    said = command("failed", BATCH)
    assert (said.out.count("why"), said.err) == (60, "")
    assert command("failed", BATCH, "--json", terminal=True).out.count("\n") == 60


@pytest.mark.usefixtures("stack")
def test_no_rows(command: Callable[..., Said]) -> None:
    for words in (("failed", BATCH), ("results", BATCH), ("results", *SPAN)):
        assert (words, *command(*words)) == (words, 0, "", "no such rows\n")
        assert (words, *command(*words, "--json")) == (words, 0, "", "")


def test_a_type_of_error_that_no_row_has(stack: App, command: Callable[..., Said]) -> None:
    for number in range(20):
        put(stack, number, FAILED, kind=f"E{number % 14:02d}")
    names = ", ".join(f"E{number:02d}" for number in range(12))
    for form in ((), ("--json",)):
        said = command("failed", BATCH, "--error", "e01", *form)
        assert said == (0, "", f"no row has an error of type 'e01'; there are {names}, …\n")
        assert command("failed", BATCH, "--error", "E01", *form).err == ""


COUNTS = [
    (("failed", BATCH), {"FAILED": 3, "TIMEOUT": 1, "INVALID_INPUT": 0, "EXTRACTION_FAILED": 0}),
    (("failed", BATCH, "--status", "FAILED"), {"FAILED": 3}),
    (("failed", BATCH, "--status", "FAILED", "--error", "A"), {"FAILED": 1}),
    (("failed", BATCH, "--status", "UNKNOWN"), {"UNKNOWN": 0}),
    (("results", BATCH), {"SUCCESS": 2, "FAILED": 3, "TIMEOUT": 1, "INVALID_INPUT": 0, "EXTRACTION_FAILED": 0}),
    (("results", BATCH, "--status", "SUCCESS"), {"SUCCESS": 2}),
    (("results", BATCH, "--status", "FAILED", "--since", "2024-11-22T12:00:03Z"), {"FAILED": 2}),
]


def test_counts(stack: App, command: Callable[..., Said]) -> None:
    for number, status in enumerate([SUCCESS, SUCCESS, FAILED, FAILED, FAILED, TIMEOUT]):
        put(stack, number, status, NOON + timedelta(seconds=number), kind="A" if number == 4 else "B")
    for words, counts in COUNTS:
        assert (words, *command(*words, "--count", "--json")) == (words, 0, json.dumps(counts) + "\n", "")
        plain = command(*words, "--count")
        lines = [line.split() for line in plain.out.splitlines()]
        assert (words, lines) == (words, [[name, str(number)] for name, number in counts.items() if number])
        assert (words, plain.err) == (words, "" if any(counts.values()) else "no such rows\n")


# --- refusals --------------------------------------------------------------------------------------------------------


REFUSED = [
    (("failed", BATCH, "--count", "--limit", "3"), "--count does not go with --limit"),
    (("results", BATCH, "--count", "--page-token", "x"), "--count does not go with --page-token"),
    (("results", "--count"), "--count needs a BATCH"),
    (("results", "--follow", "--until", "1h", "--limit", "2"), "--follow does not go with --until, --limit"),
    (("results", "--follow", "--count"), "--follow does not go with --count"),
    (("results", "--follow", "--page-token", ""), "--follow does not go with --page-token"),
    (("results", "--since", "1h", "--until", "2h"), "--since: the span would begin at"),
    (("results", "--until", "2d"), "--since: the span would begin at"),
    (("results", BATCH, "--since", "2026-01-02", "--until", "2026-01-01"), "begin at 2026-01-02T00:00:00.000Z and"),
    (("results", "--since", "soon"), "--since: 'soon' is neither a span"),
    (("results", "--until", "99999999d"), "--until: '99999999d' is neither a span"),
    (("results", "--since", "0001-01-01T00:00+05:00"), "is neither a span"),
    (("failed", "nothing"), "there is no batch 'nothing'"),
]


@pytest.mark.usefixtures("stack")
def test_wrong_use_is_refused(command: Callable[..., Said]) -> None:
    for words, why in REFUSED:
        said = command(*words)
        assert (words, said.code, said.out) == (words, 2, "")
        assert why in said.err


def test_no_days_to_come_are_looked_through(stack: App, command: Callable[..., Said]) -> None:
    put(stack, 1, stored=datetime.now(UTC) - timedelta(hours=1))
    asked: list[Any] = []
    client = ResultItem._get_connection().connection.client
    client.meta.events.register("provide-client-params.dynamodb.Query", lambda params, **_: asked.append(params))
    assert command("results", "--until", "9999-12-31", "--json").numbers == [1]
    assert len(asked) == 2 * results.SHARDS


def test_a_span_in_another_zone_covers_its_days(stack: App, command: Callable[..., Said]) -> None:
    put(stack, 1, stored=datetime(2024, 11, 21, 23, 30, tzinfo=UTC))
    said = command("results", "--since", "2024-11-22T01:00+02:00", "--until", "2024-11-22T02:00+02:00", "--json")
    assert said.numbers == [1]


# --- rows as they arrive ---------------------------------------------------------------------------------------------


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What happens in one pause after the other; when there is no more, Ctrl-C."""
    ahead: list[Callable[[], None]] = []

    def pause() -> None:
        if not ahead:
            raise KeyboardInterrupt
        ahead.pop(0)()

    monkeypatch.setattr(cli_rows, "_pause", pause)
    return ahead


def just_stored(app: App, number: int, status: str = SUCCESS, batch_id: str = BATCH) -> Callable[[], None]:
    """Stores a row when it is called, and as of then."""
    return lambda: put(app, number, status, datetime.now(UTC), batch_id=batch_id)


def test_rows_of_all_batches_as_they_arrive_until_ctrl_c(
    stack: App, command: Callable[..., Said], pauses: list[Callable[[], None]]
) -> None:
    put(stack, 1, stored=datetime.now(UTC) - timedelta(hours=1))
    pauses += [just_stored(stack, 2), just_stored(stack, 3, FAILED, OTHER), lambda: None]
    said = command("results", "--follow", "--json")
    assert (said.code, said.numbers) == (130, [2, 3])
    assert "Traceback" not in said.err
    said = command("results", "--follow", "--since", "2h", "--json")
    assert (said.code, said.numbers) == (130, [1, 2, 3])
    said = command("results", "--follow", "--since", "2h", "--status", "FAILED")
    assert said.out[19:] == f"  {OTHER}  row 3  FAILED  E: why 3\n"


def test_each_row_is_out_before_the_next_round(
    stack: App, command: Callable[..., Said], pauses: list[Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    monkeypatch.setattr(sys.stdout, "flush", lambda: seen.append("flushed"))
    put(stack, 1, stored=datetime.now(UTC))
    pauses.append(lambda: seen.append("paused"))
    command("results", "--follow", "--since", "1h", "--json")
    assert seen[:2] == ["flushed", "paused"]


def test_following_a_batch_ends_with_it(
    stack: App, command: Callable[..., Said], pauses: list[Callable[[], None]]
) -> None:
    running = stack.stepfunctions.start_execution(stateMachineArn=make_agent(stack, registered=None))["executionArn"]
    record(stack, "echo#run", "RUNNING", running)

    def end() -> None:
        stack.records.update("echo#run", status="PARTIAL")
        just_stored(stack, 2, batch_id="echo#run")()

    pauses += [
        just_stored(stack, 1, batch_id="echo#run"),
        just_stored(stack, 9),  # of another batch
        lambda: None,
        end,
        just_stored(stack, 3, FAILED, "echo#run"),  # as if the index had it only now
        lambda: None,
    ]
    said = command("results", "echo#run", "--follow")
    shown = [line[21:] for line in said.out.splitlines()]
    assert (said.code, shown) == (0, ["row 1  SUCCESS", "row 2  SUCCESS", "row 3  FAILED  E: why 3"])
    assert said.err == "batch echo#run has ended: PARTIAL\n"
    assert pauses == []


@pytest.mark.usefixtures("stack")
def test_following_a_batch_that_has_ended_looks_twice(
    command: Callable[..., Said], pauses: list[Callable[[], None]]
) -> None:
    pauses.append(lambda: None)
    said = command("results", BATCH, "--follow", "--json")
    assert (said, pauses) == ((0, "", f"batch {BATCH} has ended: PARTIAL\n"), [])
