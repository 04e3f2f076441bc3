"""The command `ui`: what it prints, when it opens a browser, how it ends."""

from __future__ import annotations

import json
import queue
import socket
import sys
import webbrowser
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import waitress.server
from made_ui import MACHINE, bare_app

from service.console.cli import main, ui
from service.console.stacks import Stack
from service.console.web.orders import Orders

if TYPE_CHECKING:
    from collections.abc import Callable


class Served:
    """A server that ends at once, as after Ctrl-C, and notes how it was begun."""

    options: dict[str, Any]

    def __init__(self, app: Any, **options: Any) -> None:
        self.app = app
        Served.options = options

    def run(self) -> None:
        (listening,) = self.options["sockets"]
        Served.options["at"] = listening.getsockname()
        listening.close()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Gives a command; returns its exit code."""
    monkeypatch.setattr(ui, "open_stack", lambda _: Stack(bare_app(), "a stack", MACHINE, "aggregator"))
    monkeypatch.setattr(waitress.server, "create_server", Served)

    def given(*words: str) -> int:
        monkeypatch.setattr(sys, "argv", ["batch-processor", "ui", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return given


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A Linux machine with a screen, and somebody at its terminal."""
    made = SimpleNamespace(platform="linux", stdin=SimpleNamespace(), stdout=SimpleNamespace())
    made.stdin.isatty = made.stdout.isatty = lambda: True
    monkeypatch.setattr(ui, "sys", made)
    for name in ui._SCREENS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DISPLAY", ":0")
    return made


def test_the_address_is_one_line_and_a_ctrl_c_the_end(
    run: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run() == 130
    host, port = Served.options["at"]
    assert host == "127.0.0.1"
    said = capsys.readouterr()
    assert said.out.startswith(f"http://127.0.0.1:{port}/?token=")
    assert said.out.count("\n") == 1
    assert "Ctrl-C ends it" in said.err
    assert run("--json") == 130
    assert json.loads(capsys.readouterr().out)["url"].startswith("http://127.0.0.1:")


def test_a_port_that_is_taken_is_wrong_use(run: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert run("--port", port) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert f"--port: {port}: " in said.err
    assert run("--port", port) == 130
    assert Served.options["at"] == ("127.0.0.1", int(port))
    assert run("--port", "0") == run("--port", "65536") == 2


@pytest.mark.usefixtures("terminal")
def test_a_browser_is_opened_with_a_token_of_its_own(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: queue.Queue[str] = queue.Queue()
    monkeypatch.setattr(webbrowser, "open", opened.put)
    run()
    address, printed = opened.get(timeout=60), capsys.readouterr().out.strip()
    assert address.partition("=")[0] == printed.partition("=")[0]
    assert address != printed


@pytest.mark.parametrize(
    ("words", "without"),
    [(["--no-browser"], ""), (["--json"], ""), ([], "DISPLAY"), ([], "stdin"), ([], "stdout")],
)
def test_no_browser_is_opened_where_nobody_would_see_it(
    run: Callable[..., int], terminal: Any, monkeypatch: pytest.MonkeyPatch, words: list[str], without: str
) -> None:
    opened: list[Any] = []
    monkeypatch.setattr(ui, "_open", opened.append)
    run()
    assert len(opened) == 1
    monkeypatch.delenv(without, raising=False)
    if without.startswith("std"):
        getattr(terminal, without).isatty = lambda: False
    run(*words)
    assert len(opened) == 1


@pytest.mark.parametrize(("platform", "name"), [("darwin", None), ("win32", None), ("linux", "BROWSER")])
def test_where_a_browser_has_a_window(
    terminal: Any, monkeypatch: pytest.MonkeyPatch, platform: str, name: str | None
) -> None:
    monkeypatch.delenv("DISPLAY")
    assert not ui._has_person()
    terminal.platform = platform
    if name:
        monkeypatch.setenv(name, "some-browser")
    assert ui._has_person()


def test_a_csv_that_is_being_made_is_named_at_the_end(
    run: Callable[..., int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Orders, "going", lambda _: ["echo#1"])
    assert run() == 130
    assert "batch-processor aggregate 'echo#1'" in capsys.readouterr().err
