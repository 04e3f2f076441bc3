"""Schema and target files: read, checked with every problem, and tried on samples as a batch would."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from places import ROOT

from service.console import explain, mapping_files, target_files, yaml_core
from service.console.cli.main import cli, main
from service.console.runs import FILE_KEYS
from service.errors import BatchRefused
from service.extraction.compiler import compile_output_mapping
from service.mapping.schema import PATH, compile_input_schema
from service.models import kind_of_arn

CASES = sorted((ROOT / "tests" / "cases").glob("mapping_*.json"))
TOOL = "arn:aws:lambda:eu-west-1:123456789012:function:line"
AGENT = "arn:aws:states:eu-west-1:123456789012:stateMachine:line"
SCHEMA = {
    "agent": "line",
    "version": 3,
    "fields": [
        {"name": "exchange", "type": "string", "required": True, "extraction": [{"type": "direct", "path": "e.name"}]},
        {
            "name": "cabinet",
            "type": "integer",
            "extraction": [{"type": "tool_result", "tool": "look", "pattern": r"Cabinet: (\S+)"}, {"type": "direct"}],
        },
        {"name": "speed", "default": "slow"},
    ],
}
LOOKED = {"type": "tool_result", "name": "look", "content": "Cabinet: n/a"}
OUTPUT = {"messages": [{"role": "user", "content": [LOOKED]}], "output": {"e": {"name": "X"}, "cabinet": "7"}}


def problems(refused: pytest.ExceptionInfo[BatchRefused]) -> dict[str, str]:
    return {problem.path: problem.message for problem in refused.value.problems}


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of the command."""
    monkeypatch.setattr(sys, "argv", ["batch-processor", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    printed = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, printed.out, printed.err


# -- documents


def test_what_is_no_json_is_named_with_its_place(tmp_path: Path) -> None:
    with pytest.raises(BatchRefused) as refused:
        mapping_files.read_document(
            write(tmp_path, "a.yaml", "fields:\n- {name: x, default: 2024-01-01}\nyes: .inf\n12: a\n")
        )
    found = problems(refused)
    assert found.keys() == {"", "yes"}, "a date is the text that it looks like"
    assert "in quotes" in found["yes"]
    assert "the key 12 is read as a number" in found[""]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.yaml", "a: [", "YAML or JSON"),
        ("a.json", '{"a": 1,}', "cannot be read as JSON"),
        ("a.yaml", "", "holds nothing"),
        ("a.yaml", "&a [*a]", "holds itself"),
        ("a.json", "[" * 100_000, "nested too deeply"),
        ("none.yaml", None, "No such file"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, name: str, text: str | None, told: str) -> None:
    path = tmp_path / name if text is None else write(tmp_path, name, text)
    with pytest.raises(BatchRefused, match=told) as refused:
        mapping_files.read_document(path)
    assert str(path) in str(refused.value)


def test_samples_are_json_or_json_lines(tmp_path: Path) -> None:
    assert mapping_files.read_outputs(write(tmp_path, "one.json", '[\n {"a": 1},\n 2\n]')) == [[{"a": 1}, 2]]
    assert mapping_files.read_outputs(write(tmp_path, "two.jsonl", '\ufeff{"a": "\u2028"}\n\nnull\r\n')) == [
        {"a": "\u2028"},
        None,
    ]
    with pytest.raises(BatchRefused, match="line 2"):
        mapping_files.read_outputs(write(tmp_path, "bad.jsonl", '{"a": 1}\nplain text\n'))
    with pytest.raises(BatchRefused, match="in double quotes"):
        mapping_files.read_outputs(write(tmp_path, "text.json", "plain text"))
    with pytest.raises(BatchRefused, match="no output"):
        mapping_files.read_outputs(write(tmp_path, "empty.json", " \n"))


# -- mappings in documents


DIRECT = {"extraction_methods": [{"method": "direct", "paths": {"a": "b"}}]}


@pytest.mark.parametrize(
    ("document", "names"),
    [
        (SCHEMA, ["line"]),
        (DIRECT, [None]),
        ({"columns": ["a"]}, [None]),
        ({"structured_output_fields": ["a"]}, [None]),
        ({"input_mapping": {}, "output_mapping": DIRECT}, [None]),
        ({"output_mappings": {"x": DIRECT, "y": DIRECT}, "csv": {}}, ["x", "y"]),
        ({"output_mapping": {"output_mappings": {"x": DIRECT}}}, ["x"]),
        ({"x": DIRECT, "y": DIRECT, "add_metadata": False}, ["x", "y"]),
        ({"execution_config": {}}, [None]),
    ],
)
def test_every_form_is_found(document: Any, names: list[str | None]) -> None:
    assert [checked.target for checked in mapping_files.check_document(document)] == names


def test_one_of_several_targets() -> None:
    (checked,) = mapping_files.check_document({"x": DIRECT, "y": SCHEMA, "add_metadata": False}, "y")
    assert checked.mapping == {**SCHEMA, "add_metadata": False}
    assert checked.plan.columns == ("exchange", "cabinet", "speed")
    assert checked.plan.add_metadata is False
    with pytest.raises(BatchRefused, match="target 'z' has no mapping"):
        mapping_files.check_document({"x": DIRECT, "y": SCHEMA}, "z")


def test_every_problem_with_its_place_in_the_document() -> None:
    bad = {"extraction_methods": [{"method": "direct", "paths": {"a": "b[", "c": "d..e"}}], "typ": "tool"}
    inside = {
        "extraction_methods[0].paths.a": "the expression ends too early\n  b[\n    ^",
        "extraction_methods[0].paths.c": "",
        "typ": "",
    }
    for document, place in (
        (bad, ""),
        ({"output_mapping": bad}, "output_mapping."),
        ({"output_mappings": {"x": bad, "y": DIRECT}}, "output_mappings.x."),
        ({"x": bad, "y": DIRECT}, "x."),
    ):
        with pytest.raises(BatchRefused) as refused:
            mapping_files.check_document(document)
        found = problems(refused)
        assert found.keys() == {place + path for path in inside}
        assert found[f"{place}extraction_methods[0].paths.a"] == inside["extraction_methods[0].paths.a"]


def test_a_file_of_mappings_has_known_keys() -> None:
    with pytest.raises(BatchRefused) as refused:
        mapping_files.check_document(
            {"output_mapping": DIRECT, "execution_confg": {}, "output_mappings": {"a": DIRECT}}
        )
    assert problems(refused).keys() == {"execution_confg", "output_mappings"}
    assert mapping_files.FILE_KEYS == FILE_KEYS
    for document in ([], "text", {}, None):
        with pytest.raises(BatchRefused, match="no schema and no mapping"):
            mapping_files.check_document(document)


def test_outline() -> None:
    (checked,) = mapping_files.check_document(SCHEMA)
    outline = mapping_files.outline(checked)
    assert (outline["target"], outline["each_by_its_own"]) == ("line", True)
    exchange, cabinet, speed = outline["fields"]
    assert (exchange["type"], exchange["required"], speed["default"]) == ("string", True, "slow")
    assert [(step["method"], step["expression"]) for step in cabinet["steps"]] == [
        ("tool_result(look)", r"Cabinet: (\S+)"),
        ("direct", None),
    ]


# -- traces


def test_each_field_says_what_found_it_and_what_did_not() -> None:
    (checked,) = mapping_files.check_document(SCHEMA)
    trace = explain.traced(checked.plan, OUTPUT)
    assert (trace["status"], trace["method"]) == ("SUCCESS", "direct")
    exchange, cabinet, speed = trace["fields"]
    assert (exchange["value"], exchange["type"], exchange["found_by"]) == ("X", "string", "direct")
    assert (cabinet["value"], cabinet["type"]) == (7, "integer")
    assert [(step["method"], step["found"], step["reason"]) for step in cabinet["steps"]] == [
        ("tool_result(look)", False, "'n/a' is not of the type integer"),
        ("direct", True, None),
    ]
    assert (speed["value"], speed["default"], speed["found_by"]) == ("slow", True, None)
    assert "found no value for 'speed'" in speed["steps"][0]["reason"]


def test_a_required_field_that_is_missing_fails_the_row() -> None:
    (checked,) = mapping_files.check_document(SCHEMA)
    trace = explain.traced(checked.plan, {"cabinet": 4})
    assert trace["status"] == "EXTRACTION_FAILED"
    assert [(field["name"], field["value"], field["required"]) for field in trace["fields"][:2]] == [
        ("exchange", None, True),
        ("cabinet", 4, False),
    ]


def test_the_first_method_that_finds_anything_gives_every_field() -> None:
    mapping = {
        "extraction_methods": [
            {"method": "structured_output", "tool_name": "report", "paths": {"a": "a", "b": "b"}},
            {"method": "direct", "paths": {"a": {"path": "x", "required": True}, "b": "y"}},
            {
                "method": "jmespath",
                "paths": {"a": {"path": "p.a", "type": "number"}, "b": {"path": "p.b", "default": 0}},
            },
        ]
    }
    (checked,) = mapping_files.check_document(mapping)
    a, b = explain.traced(checked.plan, {"y": 1, "p": {"a": "2.5"}})["fields"]
    assert (a["value"], a["type"], a["found_by"]) == (2.5, "number", "jmespath")
    assert (b["value"], b["found_by"], b["default"]) == (0, None, True)
    assert "no structured output of tool 'report'" in a["steps"][0]["reason"]
    assert "the required field 'a'" in b["steps"][1]["reason"]
    assert "found no value for 'b'" in b["steps"][2]["reason"]


def test_a_value_that_its_format_does_not_take_is_not_found() -> None:
    """Beside a field that is found, where the row is a success all the same."""
    paths = {"day": {"path": "day", "format": "%d/%m/%Y"}, "name": "name"}
    (checked,) = mapping_files.check_document({"extraction_methods": [{"method": "direct", "paths": paths}]})
    trace = explain.traced(checked.plan, {"day": "soon", "name": "X"})
    assert (trace["status"], [field["value"] for field in trace["fields"]]) == ("SUCCESS", [None, "X"])
    assert [field["found_by"] for field in trace["fields"]] == [None, "direct"]
    assert "'soon'" in trace["fields"][0]["steps"][0]["reason"]


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (None, ("EXTRACTION_FAILED", "ExtractionFailed", False, None)),
        ({"isError": True, "content": [{"type": "text", "text": "no"}]}, ("FAILED", "ToolError", False, None)),
        (
            {"statusCode": 429, "headers": {"Retry-After": "2"}, "body": '{"e": {"name": "X"}, "b": 1}'},
            ("FAILED", "StatusCode429", True, 2.0),
        ),
        ({"success": False, "e": {"name": "X"}, "b": 1}, ("FAILED", "ToolError", False, None)),
        (
            {"role": "assistant", "stop_reason": "max_tokens", "content": '{"e": {"name": "X"}, "b": 1}'},
            ("EXTRACTION_FAILED", "OutputTruncated", False, None),
        ),
    ],
)
@pytest.mark.parametrize("mapping", [SCHEMA, DIRECT])
def test_an_output_refused_as_a_whole_has_no_fields(mapping: Any, output: Any, said: tuple[Any, ...]) -> None:
    (checked,) = mapping_files.check_document(mapping)
    trace = explain.traced(checked.plan, output)
    assert (trace["status"], trace["error_type"], trace["retry"], trace["retry_after_seconds"]) == said
    assert trace["fields"] == []
    assert trace["message"]


def test_without_a_mapping_every_key_is_a_field() -> None:
    (checked,) = mapping_files.check_document({"execution_config": {}})
    trace = explain.traced(checked.plan, {"a": [1], "b": None})
    assert [(field["name"], field["value"], field["found_by"]) for field in trace["fields"]] == [
        ("a", [1], "direct"),
        ("b", None, None),
    ]


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_trace_says_what_a_batch_stores(path: Path) -> None:
    """For every case of the mappings' own: the same values, the same status, and a step for each value."""
    for suite in json.loads(path.read_text()):
        for case in suite["cases"]:
            if "error" in case or "given" not in {**suite, **case}:
                continue
            mapping = case.get("mapping", suite.get("mapping"))
            output = case.get("given", suite.get("given"))
            plan = compile_output_mapping(mapping, target=case.get("target"), kind=case.get("kind"))
            extraction, trace = plan.extract(output), explain.traced(plan, output)
            assert (trace["status"] == "SUCCESS") == extraction.ok
            values = {field["name"]: field["value"] for field in trace["fields"]}
            if extraction.ok:
                assert values == extraction.fields, case
            for field in trace["fields"]:
                assert (field["value"] is None) or field["found_by"] or field["default"], case
                assert all(step["found"] == (step["reason"] is None) for step in field["steps"])


# -- targets


def test_one_target_and_a_list(tmp_path: Path) -> None:
    write(tmp_path, "out.yaml", json.dumps(SCHEMA))
    one = {"name": "line", "arn": AGENT, "tool_type": "agent", "output_schema": {"file": "out.yaml"}}
    (found,) = target_files.check_targets(one, tmp_path)
    assert found == {
        "tool_name": "line",
        "tool_type": "state_machine",
        "resource_arn": AGENT,
        "output_schema": SCHEMA,
    }
    two = {"targets": [one, {"tool_name": "t", "resource_arn": f"{TOOL}:live", "input_schema": None}]}
    assert target_files.check_targets(two, tmp_path)[1] == {
        "tool_name": "t",
        "tool_type": "lambda",
        "resource_arn": f"{TOOL}:live",
        "input_schema": None,
    }


def test_conditions_of_a_target(tmp_path: Path) -> None:
    for given, stored in (("a > `1`", "a > `1`"), (False, "false"), ([None, "b"], ["false", "b"]), (None, None)):
        target = {"name": "t", "arn": TOOL, "fail_when": given, "retry_when": given}
        (found,) = target_files.check_targets(target, tmp_path)
        assert (found["fail_when"], found["retry_when"]) == (stored, stored)
    with pytest.raises(BatchRefused) as refused:
        target_files.check_targets({"name": "t", "arn": TOOL, "fail_when": ["a", "b =="], "retry_when": 5}, tmp_path)
    assert [problem.path for problem in refused.value.problems] == ["fail_when[1]", "retry_when"]
    assert "b ==\n      ^" in str(refused.value)


def test_every_problem_of_every_target(tmp_path: Path) -> None:
    write(tmp_path, "bad.yaml", "fields: [{name: a, type: text}]")
    given = {
        "targets": [
            {"name": "a#b", "arn": TOOL, "tool_type": "agent", "descripton": "x"},
            {"name": "t", "arn": AGENT.replace(":stateMachine:", ":execution:"), "tool_type": "machine"},
            {"name": "t", "input_schema": {"type": "strng"}, "output_schema": {"file": "bad.yaml"}, "version": 2},
            {"tool_name": "u", "name": "u", "arn": TOOL, "input_schema": [], "output_schema": {"file": "none.yaml"}},
            {"name": "v", "arn": TOOL, "output_schema": {"type": "agent", **DIRECT}, "description": 5},
            {"name": "w", "arn": TOOL, "output_schema": {"add_metadata": False}},
            "x",
        ]
    }
    with pytest.raises(BatchRefused) as refused:
        target_files.check_targets(given, tmp_path)
    found = problems(refused)
    assert found.keys() == {
        "targets[0].tool_name", "targets[0].tool_type", "targets[0].descripton",
        "targets[1].resource_arn", "targets[1].tool_type",
        "targets[2].resource_arn", "targets[2].version", "targets[2].input_schema.type",
        "targets[2].output_schema (bad.yaml).fields[0].type",
        "targets[3].name", "targets[3].input_schema", "targets[3].output_schema.file",
        "targets[4].output_schema.type", "targets[4].description",
        "targets[5].output_schema", "targets[6]", "targets",
    }  # fmt: skip
    assert "'description'" in found["targets[0].descripton"]
    assert "that of a lambda" in found["targets[0].tool_type"]
    assert "there twice" in found["targets"]


def test_a_schema_that_is_too_large_for_an_item() -> None:
    fields = [{"name": f"f{number}", "description": "x" * 1000} for number in range(200)]
    with pytest.raises(BatchRefused, match="can be registered"):
        target_files.registrable({"fields": fields}, None, None)
    with pytest.raises(BatchRefused, match="can be registered"):
        target_files.check_targets({"name": "a", "arn": TOOL, "input_schema": {"description": "x" * 200_000}}, Path())


@pytest.mark.parametrize(
    ("arn", "kind"),
    [
        (TOOL, "tool"),
        (AGENT, "agent"),
        (f"{TOOL}:1", "tool"),
        (f"{AGENT}:live", "agent"),
        ("arn:aws:lambda:eu-west-1:12:function:x", None),
        ("line", None),
        (f"{TOOL}:a:b", None),
        ("", None),
        (5, None),
        (None, None),
    ],
)
def test_an_arn_tells_the_type(arn: Any, kind: str | None) -> None:
    assert kind_of_arn(arn) == kind
    if kind is None:
        with pytest.raises(BatchRefused, match="resource_arn"):
            target_files.check_targets({"name": "x", "arn": arn}, Path())
    else:
        (target,) = target_files.check_targets({"name": "x", "arn": arn}, Path())
        assert target["tool_type"] == {"tool": "lambda", "agent": "state_machine"}[kind]


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"type": "object", "properties": {"a": {"pattern": r"^\d+$"}}, "required": ["a"]},
        {"$schema": "http://json-schema.org/draft-07/schema#", "items": [{"type": "string"}]},
        {"$defs": {"a": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/a"}}},
    ],
)
def test_an_input_schema_that_a_batch_takes_is_registered(schema: Any) -> None:
    compile_input_schema(schema)
    (target,) = target_files.check_targets({"name": "x", "arn": TOOL, "input_schema": schema}, Path())
    assert target["input_schema"] == schema


@pytest.mark.parametrize(
    "schema",
    [
        [],
        False,
        "object",
        {"type": "strng", "properties": {"a": {"minLength": -1}}},
        {"properties": {"a": {"pattern": "(?=x)"}}},
        {"$ref": "#/$defs/none"},
        {"$ref": "https://example.com/schema.json"},
        {"$ref": "#"},
        {"$schema": "https://example.com/dialect"},
        {"$schema": 5},
        {"patternProperties": {"a": {}}, "unevaluatedProperties": False},
    ],
)
def test_an_input_schema_that_a_batch_refuses_is_not_registered(tmp_path: Path, schema: Any) -> None:
    """With the same words, whether the schema stands in place or in a file of its own."""
    with pytest.raises(BatchRefused) as of_batch:
        compile_input_schema(schema)
    write(tmp_path, "in.json", json.dumps(schema))
    for given, place in ((schema, "input_schema"), ({"file": "in.json"}, "input_schema (in.json)")):
        with pytest.raises(BatchRefused) as refused:
            target_files.check_targets({"name": "x", "arn": TOOL, "input_schema": given}, tmp_path)
        told = {place + path.removeprefix(PATH): message for path, message in problems(of_batch).items()}
        assert problems(refused) == told


def test_yaml_comes_back_as_it_was(tmp_path: Path) -> None:
    value = {"b": ["é 😀", "yes", "1.0", "2024-01-01", "", None, 1.5, "a: b # c\nd"], "a": {"x" * 150: True}}
    assert mapping_files.read_document(write(tmp_path, "v.yaml", yaml_core.write(value))) == value
    assert list(mapping_files.read_document(tmp_path / "v.yaml")) == ["b", "a"]


# -- the command


def test_check_without_a_sample(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    file = str(write(tmp_path, "s.yaml", yaml_core.write(SCHEMA)))
    code, out, _ = run(capsys, monkeypatch, "schema", "check", file)
    assert code == 0
    assert out.splitlines()[:5] == [
        "line: 3 fields, each by its own steps",
        "  exchange  string, required",
        "    1  direct  e.name",
        "  cabinet  integer",
        r"    1  tool_result(look)  Cabinet: (\S+)",
    ]
    code, out, _ = run(capsys, monkeypatch, "schema", "check", file, "--json")
    assert json.loads(out)["mappings"][0]["target"] == "line"


def test_check_with_samples(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    file = str(write(tmp_path, "s.yaml", yaml_core.write(SCHEMA)))
    long = {**OUTPUT, "output": {"e": {"name": "[bold]:smile: " + "y" * 100}}}
    one = str(write(tmp_path, "one.json", json.dumps(long)))
    two = str(write(tmp_path, "two.jsonl", f"{json.dumps(OUTPUT)}\n{{}}\n"))
    code, out, told = run(capsys, monkeypatch, "schema", "check", file, "--sample", one)
    assert code == 1
    assert told.startswith("not found in the output: cabinet")
    assert out.splitlines()[:3] == [
        "SUCCESS",
        "  exchange  [bold]:smile: " + "y" * 45 + "…  string",
        "    ✓ direct  e.name",
    ]
    assert "      'n/a' is not of the type integer\n" in out
    code, out, told = run(capsys, monkeypatch, "schema", "check", file, "--sample", two)
    assert code == 1
    assert "EXTRACTION_FAILED  output 2 of 2\n  exchange  not found, required\n" in out
    assert told.startswith("2 outputs: 1 SUCCESS, 1 EXTRACTION_FAILED\nnot found in any of the 2 outputs: speed")
    code, out, _ = run(capsys, monkeypatch, "schema", "check", file, "--sample", two, "--json")
    lines = [json.loads(line) for line in out.splitlines()]
    assert (code, [line["status"] for line in lines]) == (1, ["SUCCESS", "EXTRACTION_FAILED"])
    assert list(lines[0]) == [
        "output",
        "status",
        "error_type",
        "retry",
        "retry_after_seconds",
        "method",
        "message",
        "fields",
    ]


def test_check_of_a_sample_in_which_every_field_is_found_somewhere(
    capsys: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    mapping = {"extraction_methods": [{"method": "direct", "paths": {"a": "a", "b": "b"}}]}
    file = str(write(tmp_path, "m.json", json.dumps(mapping)))
    for outputs, code in (('{"a": 1}\n{"b": 2}\n', 0), ('{"a": 1}\n{"a": 2}\n', 1)):
        sample = str(write(tmp_path, "o.jsonl", outputs))
        found, _, told = run(capsys, monkeypatch, "schema", "check", file, "--sample", sample)
        assert found == code
        assert ("not found in any of the 2 outputs: b;" in told) == bool(code)


def test_check_tells_every_problem_and_nothing_else(capsys: Any, monkeypatch: Any, tmp_path: Path) -> None:
    file = str(write(tmp_path, "s.json", '{"columns": [{"name": "a", "source": "b..c"}, {"nam": "d"}]}'))
    code, out, told = run(capsys, monkeypatch, "schema", "check", file, "--json")
    assert (code, out) == (2, "")
    assert "error: columns[0].source: `.` is not expected here" in told
    assert "\n         b..c\n           ^\n" in told
    assert "columns[1]" in told
    several = str(write(tmp_path, "t.json", json.dumps({"x": DIRECT, "y": DIRECT})))
    code, _, told = run(capsys, monkeypatch, "schema", "check", several, "--sample", several)
    assert code == 2
    assert "mappings of 'x', 'y'" in told


def test_the_examples_compile(capsys: Any, monkeypatch: Any) -> None:
    examples = ROOT / "examples"
    files = [*(examples / "schemas").glob("*.yaml"), *(examples / "mappings").glob("*.yaml")]
    assert len(files) > 5
    for file in files:
        assert run(capsys, monkeypatch, "schema", "check", str(file))[0] == 0, file
    for file in (examples / "schemas").glob("*.yaml"):
        assert mapping_files.check_document(mapping_files.read_document(file))[0].target == file.stem


@pytest.mark.parametrize("group", ["schema", "tool"])
def test_every_command_has_an_example(group: str) -> None:
    commands = getattr(cli.commands[group], "commands")  # noqa: B009 - a group's, says click
    for name, command in commands.items():
        told = CliRunner().invoke(cli, [group, name, "--help"]).output
        assert f"  batch-processor {group} {name}" in told, told
        assert "\\b" not in told
        assert command.help
