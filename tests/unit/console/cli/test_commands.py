"""Help: every command has it, with examples; the page of it is what the commands print; completion knows the stack."""

from __future__ import annotations

import importlib.util
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.shell_completion import ShellComplete

from service.console.cli import complete
from service.console.cli.main import cli
from service.console.local.stack import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

spec = importlib.util.spec_from_file_location("make_commands", CHECKOUT / "docs" / "make_commands.py")
assert spec is not None
assert spec.loader is not None
made: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(made)
LEAVES = {" ".join(path): command for path, command in made.commands(cli) if not isinstance(command, click.Group)}


def test_the_page_of_commands_is_their_help() -> None:
    assert made.PAGE.read_text(encoding="utf-8") == made.page(), "`make docs` writes it again"


@pytest.mark.parametrize("name", LEAVES)
def test_a_command_says_what_it_does_how_and_with_which_options(name: str) -> None:
    command = LEAVES[name]
    shown = made.help_of(command, tuple(name.split()))
    assert command.help
    assert len([line for line in shown.splitlines() if name in line]) >= 2, "usage, and an example"
    for option in command.params:
        assert isinstance(option, click.Argument) or option.help, option.name


@pytest.mark.parametrize("name", sorted(LEAVES.keys() - {"batch-processor completion", "batch-processor ui"}))
def test_every_command_answers_in_json(name: str) -> None:
    assert "--json" in {word for option in LEAVES[name].params for word in option.opts}


def test_every_command_is_in_the_readme_or_the_usage() -> None:
    pages = "".join((CHECKOUT / page).read_text() for page in ("README.md", "docs/usage.md", "docs/commands.md"))
    assert [name for name in LEAVES if name not in pages] == []


@pytest.fixture
def stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def newest(limit: int) -> Iterator[Any]:
        assert limit
        running = {"batch_id": "echo#b", "status": "RUNNING", "started_at": None, "row_count": None, "error": None}
        refused = {**running, "batch_id": "echo#r", "status": "FAILED", "error": {"type": "BatchRefused"}}
        return iter([SimpleNamespace(**refused), SimpleNamespace(**running)])

    records, registry = SimpleNamespace(newest=newest), SimpleNamespace(names=lambda: ["echo", "extract", "other"])
    app = SimpleNamespace(records=records, registry=registry)
    monkeypatch.delenv("BATCH_PROCESSOR_STACK", raising=False)
    monkeypatch.setattr(complete.stacks, "embedded", lambda _: SimpleNamespace(app=app))


def completions(*words: str) -> list[str]:
    shell = ShellComplete(cli, {}, complete.PROGRAM, complete._VARIABLE)
    return [item.value for item in shell.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.usefixtures("stack")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("status", ""), ["last", "echo#b"]),
        (("rerun", "ec"), ["echo#b"]),
        (("failed", "x"), []),
        (("run", "in.csv", "--target", "e"), ["echo", "extract"]),
        (("check", "in.csv", "--target", ""), ["echo", "extract", "other"]),
        (("rer",), ["rerun"]),
        (("rerun", "last", "--status", "T"), ["TIMEOUT"]),
    ],
)
def test_completion(words: tuple[str, ...], expected: list[str]) -> None:
    assert completions(*words) == expected


def test_a_stack_that_cannot_be_reached_completes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise RuntimeError("not running")

    monkeypatch.setattr(complete.stacks, "embedded", fail)
    assert completions("status", "") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_for_a_shell(shell: str) -> None:
    from click.testing import CliRunner  # noqa: PLC0415

    done = CliRunner().invoke(cli, ["completion", shell])
    assert done.exit_code == 0
    assert f"_BATCH_PROCESSOR_COMPLETE={shell}_complete" in done.output
