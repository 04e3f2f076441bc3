"""Schemas and targets registered by the command line, and a batch that uses them; `echo` is put back as it was."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from deployed import PROBE_ARN

from service.console.local.stack import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = CHECKOUT / "examples" / "schemas"


def plain(deployed: Any, *words: str) -> str:
    """What a command prints for people."""
    done = deployed.command(*words)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@pytest.fixture
def echo(deployed: Any) -> Iterator[dict[str, Any]]:
    """The target `echo` as registered; afterwards its newest version is the same again."""
    before = deployed.json("tool", "show", "echo")
    yield before
    kept = {key: before[key] for key in ("tool_name", "resource_arn", "description", "input_schema", "output_schema")}
    deployed.write("echo-before.json", json.dumps(kept))
    assert deployed.json("tool", "register", "echo-before.json")["tool_name"] == "echo"


def test_a_batch_uses_a_schema_that_was_just_registered(deployed: Any, echo: dict[str, Any]) -> None:
    deployed.write("lines.csv", "id,text\n1,one\n2,\n3,three\n")
    registered = deployed.json("schema", "register", str(SCHEMAS / "echo.yaml"))
    assert registered == {"tool_name": "echo", "version": echo["version"] + 1, "new_version": True}
    again = deployed.json("schema", "register", str(SCHEMAS / "echo.yaml"))
    assert again == {**registered, "new_version": False}

    result = deployed.json("run", "lines.csv", "--target", "echo")
    assert result["status"] == "SUCCEEDED"
    with (deployed.folder / "lines-results.csv").open(encoding="utf-8", newline="") as file:
        got = list(csv.DictReader(file))
    columns = ("output_id", "output_text", "output_length")
    assert [tuple(line[name] for name in columns) for line in got] == [
        ("1", "one", "3"),
        ("2", "", "0"),
        ("3", "three", "5"),
    ]
    record = deployed.stack.app.records.get(result["batch_id"])
    plan = deployed.stack.app.plans.load(record.batch_id, record.plan_hash)
    assert plan.target_version == registered["version"]

    (newest, *older) = deployed.rows("schema", "list", "echo")
    assert (newest["version"], newest["fields"]) == (registered["version"], ["id", "text", "length"])
    assert older[-1]["has_schema"] is False
    assert deployed.json("schema", "show", "echo")["fields"][0]["name"] == "id"
    assert yaml.safe_load(plain(deployed, "schema", "show", "echo")) == yaml.safe_load(
        (SCHEMAS / "echo.yaml").read_text()
    )
    shown = deployed.json("tool", "show", "echo")
    assert {key: shown[key] for key in ("description", "input_schema", "resource_arn", "tool_type")} == {
        key: echo[key] for key in ("description", "input_schema", "resource_arn", "tool_type")
    }


def test_a_schema_from_what_a_batch_was_mapped_with(deployed: Any, echo: dict[str, Any]) -> None:
    registered = deployed.json("schema", "register", str(CHECKOUT / "examples/mappings/echo.yaml"), "--target", "echo")
    assert registered["version"] > echo["version"]
    assert deployed.json("schema", "show", "echo")["extraction_methods"][0]["field_mappings"] == {"echo": "echo"}


def test_deploying_again_leaves_what_was_registered(deployed: Any, echo: dict[str, Any]) -> None:
    """The examples are registered when the embedded stack is deployed, but not over what people made of them."""
    made = deployed.json("schema", "register", str(SCHEMAS / "echo.yaml"))["version"]
    assert made > echo["version"]
    deployed.embedded._register_examples()
    assert deployed.json("tool", "show", "echo")["version"] == made


def test_two_register_at_once(deployed: Any, echo: dict[str, Any]) -> None:
    names = [deployed.write(f"s{number}.yaml", f"columns: [c{number}]\n") for number in range(3)]
    running = [deployed.popen("schema", "register", name, "--target", "echo", "--json") for name in names]
    made = [json.loads(process.communicate(timeout=60)[0])["version"] for process in running]
    assert sorted(made) == [echo["version"] + number for number in (1, 2, 3)]
    kept = [deployed.json("schema", "show", "echo", "--version", str(version))["columns"] for version in made]
    assert kept == [["c0"], ["c1"], ["c2"]]


def test_targets_by_file_and_by_options(deployed: Any) -> None:
    (deployed.folder / "schemas").mkdir(exist_ok=True)
    deployed.write("schemas/probe.yaml", "columns: [{name: probe, source: probe}]\n")
    target = {"name": "probe-by-file", "arn": PROBE_ARN, "output_schema": {"file": "schemas/probe.yaml"}}
    deployed.write("probe.yaml", yaml.safe_dump({"targets": [target, {**target, "name": "probe-too"}]}))
    said = plain(deployed, "tool", "register", "probe.yaml")
    assert said == "probe-by-file: registered version 1\nprobe-too: registered version 1\n"
    assert plain(deployed, "tool", "register", "probe.yaml").count("nothing differs from version 1") == 2

    options = ("tool", "register", "--name", "probe-too", "--arn", PROBE_ARN, "--description", "Probes.")
    assert deployed.json(*options) == {"tool_name": "probe-too", "version": 2, "new_version": True}
    shown = deployed.json("tool", "show", "probe-too")
    assert (shown["tool_type"], shown["description"], shown["version"]) == ("lambda", "Probes.", 2)
    assert shown["output_schema"] == {"columns": [{"name": "probe", "source": "probe"}]}, "what was left out stays"
    first = yaml.safe_load(plain(deployed, "tool", "show", "probe-too", "--version", "1"))
    assert (first["description"], "version" in first) == ("", False)

    listed = {target["tool_name"]: target["version"] for target in deployed.rows("tool", "list")}
    assert (listed["probe-by-file"], listed["probe-too"]) == (1, 2)
    for words in (("tool", "list"), ("schema", "list")):
        table = plain(deployed, *words)
        assert "probe-by-file" in table
        assert "sentiment" in table

    deployed.write("one.csv", "id\n1\n")
    assert deployed.json("run", "one.csv", "--target", "probe-by-file")["batch_id"].startswith("probe-by-file#")


def test_what_is_refused(deployed: Any) -> None:
    for words, told in (
        (("schema", "show", "ehco"), "did you mean 'echo'"),
        (("schema", "show", "sentiment", "--version", "99"), "sentiment has no version 99; it has 1"),
        (("schema", "list", "none"), "there is no target 'none'"),
        (("schema", "register", str(SCHEMAS / "echo.yaml"), "--target", "ehco"), "did you mean 'echo'"),
        (("schema", "register", str(CHECKOUT / "examples/mappings/echo.yaml")), "--target: is missing"),
        (("tool", "register", "--name", "x", "--arn", "arn:aws:s3:::x"), "resource_arn: 'arn:aws:s3:::x' is not"),
        (("tool", "register"), "give a FILE, or --name and --arn"),
    ):
        done = deployed.command(*words)
        assert (done.returncode, done.stdout) == (2, ""), done.stderr
        assert told in done.stderr
    assert deployed.command("schema", "show", "sentiment", "--json").returncode == 0
