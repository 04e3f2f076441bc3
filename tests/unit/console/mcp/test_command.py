"""The command: what it needs, and what it says when that is not there."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from service.console.cli import main


def run(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    monkeypatch.setattr(sys, "argv", ["batch-processor", *words])
    with pytest.raises(SystemExit) as ended:
        main.main()
    return ended.value.code


def test_a_missing_sdk_is_named_with_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith(("service.console.mcp", "mcp.", "mcp_types"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mcp", None)
    assert run(monkeypatch, "mcp") == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "the MCP server needs the Python package" in said.err
    assert "pip install mcp uvicorn" in said.err


@pytest.mark.parametrize("words", [["--port", "8000"], ["--json"]])
def test_what_goes_with_http_alone_is_refused_without_it(monkeypatch: pytest.MonkeyPatch, words: list[str]) -> None:
    assert run(monkeypatch, "mcp", *words) == 2


def test_other_commands_do_not_load_the_sdk() -> None:
    import subprocess  # noqa: PLC0415 - this test alone

    code = (
        "import sys, service.console.cli.main; print([n for n in sys.modules if n in ('mcp', 'mcp_types', 'uvicorn')])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert told.strip() == "[]"
