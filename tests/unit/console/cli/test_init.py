"""The commands `describe` and `init`, from their words to what they print, write and exit with."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from places import ROOT

from service.console import runs, stacks, yaml_core
from service.console.cli import init as cli_init
from service.console.cli import main
from service.mapping.input_mapping import compile_input_mapping

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from service.app import App

ADDRESSES = str(ROOT / "examples" / "addresses.csv")
OUTPUT = str(ROOT / "examples" / "outputs" / "broadband.json")
ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:agent-line"
SCHEMA = {"properties": {"address": {"type": "string"}, "post_code": {}, "country": {}}, "required": ["country"]}


class Said(NamedTuple):
    """What a command came to."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    for name in ("BATCH_PROCESSOR_STACK", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "dumb")

    def run(*words: str) -> Said:
        monkeypatch.setattr(sys, "argv", ["batch-processor", *words])
        with pytest.raises(SystemExit) as ended:
            main.main()
        printed = capsys.readouterr()
        return Said(ended.value.code, printed.out, printed.err)  # type: ignore[arg-type]

    return run


@pytest.fixture
def no_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> Any:
        raise AssertionError("a stack was asked for")

    monkeypatch.setattr(cli_init, "open_stack", fail)


@pytest.fixture
def stack(app: App, monkeypatch: pytest.MonkeyPatch) -> App:
    monkeypatch.setattr(cli_init, "open_stack", lambda _: stacks.Stack(app, "test", "machine", "aggregator"))
    app.registry.amend("line", {"tool_type": "state_machine", "resource_arn": ARN, "input_schema": SCHEMA})
    app.s3.upload_file(ADDRESSES, app.settings.data_bucket, "in.csv")
    return app


# -- describe ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_stack")
def test_a_file_is_described(command: Callable[..., Said]) -> None:
    said = command("describe", ADDRESSES)
    assert said.code == 0
    assert f"{ADDRESSES}  12 rows, 525 bytes, utf-8, delimiter ,\n" in said.out
    (line,) = [line for line in said.out.splitlines() if line.startswith("postcode")]
    assert line.split() == ["postcode", "text", "0", "12", "TN23", "9QX", "|", "NE46", "7ZD", "|", "S10", "9WB"]


@pytest.mark.usefixtures("no_stack")
def test_a_file_is_described_in_json(command: Callable[..., Said]) -> None:
    known = json.loads(command("describe", ADDRESSES, "--json", "--rows", "2").out)
    assert known["row_count"] == 12
    assert known["columns"][0]["different"] == 2
    assert len(known["sample"]) == 2


@pytest.mark.usefixtures("no_stack")
def test_what_moves_a_cursor_is_not_printed(command: Callable[..., Said], tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("a\n\x1b[2J[bold]x\n")
    said = command("describe", str(tmp_path / "in.csv"))
    assert "?[2J[bold]x" in said.out


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("no.csv",), "no.csv: there is no such file"),
        ((ADDRESSES, "--encoding", "klingon"), "--encoding: 'klingon' is not supported"),
        ((ADDRESSES, "--rows", "0"), "--rows"),
        ((), "Missing argument"),
    ],
)
def test_a_source_that_cannot_be_described(command: Callable[..., Said], words: tuple[str, ...], told: str) -> None:
    said = command("describe", *words)
    assert (said.code, said.out) == (2, "")
    assert told in said.err


def test_an_object_is_described(command: Callable[..., Said], stack: App) -> None:
    said = command("describe", f"s3://{stack.settings.data_bucket}/in.csv", "--json")
    assert json.loads(said.out)["row_count"] == 12
    assert command("describe", f"s3://{stack.settings.data_bucket}/none.csv").code == 2


# -- init -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_stack")
def test_a_mapping_from_a_sample(command: Callable[..., Said], tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    said = command("init", ADDRESSES, "--sample-output", OUTPUT, "-o", str(file))
    assert (said.code, said.out) == (0, "")
    given = runs.read_mapping(file)
    assert given["output_mapping"]["extraction_methods"][0]["tool_name"] == "browser_broadband"
    compile_input_mapping(given["input_mapping"], ["address", "postcode"])
    tried = command("schema", "check", str(file), "--sample", OUTPUT)
    assert tried.code == 0
    again = command("init", ADDRESSES, "--sample-output", OUTPUT, "-o", str(file))
    assert again.code == 2
    assert "--force replaces it" in again.err
    assert command("init", ADDRESSES, "--sample-output", OUTPUT, "-o", str(file), "--force").code == 0


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize("more", [(), ("-o", "-")])
def test_a_mapping_on_stdout(command: Callable[..., Said], more: tuple[str, ...]) -> None:
    said = command("init", ADDRESSES, "--sample-output", OUTPUT, *more, "--delimiter", ",")
    given = yaml_core.read(said.out)
    assert list(given) == ["source", "input_mapping", "output_mapping"]
    assert given["source"] == {"delimiter": ","}


@pytest.mark.usefixtures("no_stack")
def test_a_mapping_in_json(command: Callable[..., Said], tmp_path: Path) -> None:
    made = json.loads(command("init", ADDRESSES, "--sample-output", OUTPUT, "--json").out)
    assert yaml_core.read(made["text"]) == made["mapping"]
    assert made["file"] is None
    file = str(tmp_path / "my.yaml")
    made = json.loads(command("init", ADDRESSES, "--sample-output", OUTPUT, "--json", "-o", file).out)
    assert made["file"] == file


def test_a_mapping_for_a_target(command: Callable[..., Said], stack: App) -> None:
    said = command("init", f"s3://{stack.settings.data_bucket}/in.csv", "--target", "line")
    assert said.code == 0
    mapped = yaml_core.read(said.out)["input_mapping"]["column_mappings"]
    assert mapped == {"address": "address", "postcode": "post_code"}
    assert "requires the field 'country'" in said.err
    assert "# COLUMN: country" in said.out
    both = command("init", ADDRESSES, "--target", "line", "--sample-output", OUTPUT)
    assert yaml_core.read(both.out)["output_mapping"]["type"] == "agent"


@pytest.mark.usefixtures("stack")
def test_a_target_that_is_not_registered(command: Callable[..., Said]) -> None:
    said = command("init", ADDRESSES, "--target", "lime")
    assert said.code == 2
    assert "did you mean 'line'?" in said.err


@pytest.mark.usefixtures("no_stack")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((ADDRESSES,), "give --target NAME, --sample-output OUTPUT.json, or both"),
        ((ADDRESSES, "--sample-output", "no.json"), "no.json"),
        (("no.csv", "--sample-output", OUTPUT), "there is no such file"),
        ((ADDRESSES, "--sample-output", OUTPUT, "-o", "s3://b/k.yaml"), "a file on this machine"),
        ((ADDRESSES, "--sample-output", OUTPUT, "-o", "my.json"), "name it .yaml"),
        ((ADDRESSES, "--sample-output", OUTPUT, "-o", "no/such/my.yaml"), "there is no folder"),
        ((ADDRESSES, "--sample-output", OUTPUT, "-o", str(ROOT)), "is a folder"),
        ((ADDRESSES, "--sample-output", OUTPUT, "-o", ADDRESSES, "--force"), "-o"),
    ],
)
def test_wrong_use(command: Callable[..., Said], words: tuple[str, ...], told: str) -> None:
    said = command("init", *words)
    assert (said.code, said.out) == (2, "")
    assert told in said.err
