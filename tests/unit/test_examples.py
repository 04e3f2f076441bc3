"""The example targets do what examples/README.md says, and their files name only what exists."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
import sys
from collections import Counter
from contextlib import nullcontext
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import jmespath
import jsonschema
import pytest
import yaml
from places import EXAMPLES

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

MAPPINGS = sorted((EXAMPLES / "mappings").glob("*.yaml"))
FIELDS = ("exchange", "cabinet", "download_speed", "upload_speed")


def load(path: str) -> ModuleType:
    """Import one example by its path: three of them are called app.py."""
    file = EXAMPLES / path
    spec = importlib.util.spec_from_file_location(f"example_{file.parent.name}_{file.stem}", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class TemplateLoader(yaml.SafeLoader):
    """CloudFormation's short tags, read as what they are applied to."""


TemplateLoader.add_multi_constructor("!", lambda _loader, tag, node: f"{tag} {node.value}")


def template() -> dict[str, Any]:
    # A SafeLoader with two words of CloudFormation added.
    return yaml.load((EXAMPLES / "template.yaml").read_text(), TemplateLoader)


def targets() -> dict[str, dict[str, Any]]:
    listed = yaml.safe_load((EXAMPLES / "targets.yaml").read_text())["targets"]
    assert len({target["name"] for target in listed}) == len(listed)
    return {target["name"]: target for target in listed}


def read_rows(name: str) -> tuple[list[str], list[list[str]]]:
    with (EXAMPLES / name).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    return header, rows


@pytest.fixture(scope="module")
def sentiment() -> ModuleType:
    return load("sentiment/app.py")


@pytest.fixture(scope="module")
def echo() -> ModuleType:
    return load("echo/app.py")


@pytest.fixture(scope="module")
def broadband() -> ModuleType:
    return load("broadband_agent/app.py")


# --- sentiment


@pytest.mark.parametrize(
    ("text", "category"),
    [("I love it, wonderful", "positive"), ("a horrible, broken thing", "negative"), ("it is a camera", "neutral")],
)
def test_sentiment_names_the_category(sentiment: ModuleType, text: str, category: str) -> None:
    found = sentiment.handler({"text": text}, None)
    assert found["category"] == category
    assert set(found) == {"category", "confidence_score", "compound"}
    assert 0 <= found["confidence_score"] <= 1
    assert -1 <= found["compound"] <= 1


@pytest.mark.parametrize(
    ("compound", "category", "confidence"),
    [
        (0.05, "positive", 0.05),
        (0.0499, "neutral", 0.9501),
        (0.0, "neutral", 1.0),
        (-0.0499, "neutral", 0.9501),
        (-0.05, "negative", 0.05),
        (-1.0, "negative", 1.0),
    ],
)
def test_sentiment_thresholds(
    sentiment: ModuleType, monkeypatch: pytest.MonkeyPatch, compound: float, category: str, confidence: float
) -> None:
    class Fixed:
        def polarity_scores(self, _text: str) -> dict[str, float]:
            return {"compound": compound}

    monkeypatch.setattr(sentiment, "analyzer", Fixed)
    assert sentiment.classify("any") == {"category": category, "confidence_score": confidence, "compound": compound}


def test_sentiment_takes_the_envelope_the_bare_input_and_review(sentiment: ModuleType) -> None:
    bare = sentiment.handler({"text": "great value"}, None)
    assert sentiment.handler({"name": "sentiment", "id": "1", "input": {"text": "great value"}}, None) == bare
    assert sentiment.handler({"review": "great value"}, None) == bare
    assert sentiment.handler({"text": "", "review": "great value"}, None) == bare


@pytest.mark.parametrize("event", [{}, {"text": ""}, {"text": " \t\n"}, {"text": None}, {"input": {"text": ""}}])
def test_sentiment_refuses_a_blank_text(sentiment: ModuleType, event: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no text"):
        sentiment.handler(event, None)


def test_sentiment_makes_one_analyzer_and_only_when_called() -> None:
    fresh = load("sentiment/app.py")
    assert fresh.analyzer.cache_info().currsize == 0
    assert fresh.analyzer() is fresh.analyzer()


def test_sentiment_needs_no_package_but_vader(monkeypatch: pytest.MonkeyPatch) -> None:
    """The Makefile installs it without its declared dependency."""
    for name in [name for name in sys.modules if name.split(".")[0] in {"vaderSentiment", "requests"}]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "requests", None)
    assert load("sentiment/app.py").handler({"text": "great"}, None)["category"] == "positive"


# --- echo


@pytest.mark.parametrize("wrap", [lambda given: given, lambda given: {"name": "echo", "id": "7", "input": given}])
def test_echo_gives_back_its_input(echo: ModuleType, wrap: Any) -> None:
    given = {"id": "1", "text": "", "fail": "", "sleep_ms": "", "output_json": ""}
    assert echo.handler(wrap(given), None) == {"echo": given}


def test_echo_with_a_column_called_input_is_still_the_bare_input(echo: ModuleType) -> None:
    assert echo.handler({"input": "a cell"}, None) == {"echo": {"input": "a cell"}}


@pytest.mark.parametrize(("text", "value"), [('{"message": "no result"}', {"message": "no result"}), ("[1]", [1])])
def test_echo_answers_with_output_json(echo: ModuleType, text: str, value: Any) -> None:
    assert echo.handler({"output_json": text}, None) == value


def test_echo_sleeps_first_and_then_fails(echo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr(echo, "time", SimpleNamespace(sleep=slept.append))
    with pytest.raises(echo.EchoFailure, match=r"^quota exceeded$"):
        echo.handler({"fail": "quota exceeded", "sleep_ms": "250", "output_json": "[]"}, None)
    assert slept == [0.25]


# --- broadband


def ask(broadband: ModuleType, address: str, postcode: str = "") -> dict[str, Any]:
    event = {
        "messages": [{"role": "user", "content": "Which line?"}],
        "input": {"address": address, "postcode": postcode},
    }
    return broadband.handler(event, None)


def test_broadband_is_a_conversation_with_one_answered_tool_call(broadband: ModuleType) -> None:
    prompt, call, answer, final = ask(broadband, "1 High Street", "AB1 2CD")["messages"]
    assert prompt == {"role": "user", "content": "Which line?"}
    text, tool_use = call["content"]
    (tool_result,) = answer["content"]
    assert [call["role"], answer["role"], final["role"]] == ["assistant", "user", "assistant"]
    assert (text["type"], tool_use["type"], tool_result["type"]) == ("text", "tool_use", "tool_result")
    assert tool_use["name"] == "browser_broadband"
    assert tool_use["input"] == {"address": "1 High Street", "postcode": "AB1 2CD"}
    assert tool_result["tool_use_id"] == tool_use["id"]


def test_broadband_is_the_same_each_time_and_for_each_spelling(broadband: ModuleType) -> None:
    first = ask(broadband, "1 High Street", "AB1 2CD")
    assert ask(load("broadband_agent/app.py"), "1 High Street", "AB1 2CD") == first
    assert broadband.look_up(" 1  HIGH street", "ab1 2cd") == broadband.look_up("1 High Street", "AB1 2CD")
    assert broadband.look_up("2 High Street", "AB1 2CD")["id"] != broadband.look_up("1 High Street", "AB1 2CD")["id"]
    # Pinned: the figures in the documentation are these.
    assert broadband.look_up("14 Larkspur Lane, Ashford", "TN23 9QX") == {
        "id": "toolu_217d408fdccd02ceaf",
        "exchange": "MILLBROOK",
        "cabinet": 65,
        "download_speed": "28.0-80.0 Mbps",
        "upload_speed": "6.0-20.0 Mbps",
        "answers_structured": False,
    }


def test_broadband_takes_the_envelope_and_the_bare_input(broadband: ModuleType) -> None:
    given = {"address": "1 High Street", "postcode": "AB1 2CD"}
    bare = broadband.handler(given, None)
    assert broadband.handler({"name": "broadband-lookup", "id": "1", "input": given}, None) == bare
    assert bare["messages"][0]["role"] == "user"
    assert bare["messages"][1:] == ask(broadband, **given)["messages"][1:]


@pytest.mark.parametrize("event", [{}, {"address": " "}, {"messages": [], "input": {"address": ""}}])
def test_broadband_refuses_a_blank_address(broadband: ModuleType, event: dict[str, Any]) -> None:
    with pytest.raises(broadband.BlankAddress):
        broadband.handler(event, None)


def test_the_three_places_of_the_agents_output_agree_and_are_where_the_schema_and_mapping_look(
    broadband: ModuleType,
) -> None:
    schema = targets()["broadband-agent"]["output_schema"]["fields"]
    methods = yaml.safe_load((EXAMPLES / "mappings/broadband.yaml").read_text())["output_mapping"]["extraction_methods"]
    paths = {method["method"]: method.get("field_mappings") or method["paths"] for method in methods}
    structured = 0
    _, rows = read_rows("addresses.csv")
    for address, postcode in rows:
        output = ask(broadband, address, postcode)
        page = output["messages"][2]["content"][0]["content"][0]["text"]
        by_schema = {field["name"]: re.search(field["extraction"][0]["pattern"], page)[1] for field in schema}
        by_method = {
            name: re.search(re.search(r"^content \| parse\('(.+)'\)$", path)[1], page)[1]
            for name, path in paths["tool_result"].items()
        }
        text = {jmespath.search(path, output) for path in paths["jmespath"].values()}.pop()
        last = dict(line.split(": ") for line in text.splitlines()[1:])
        assert tuple(by_schema) == FIELDS
        assert by_schema == by_method == last
        if "structured_output" in output:
            structured += 1
            assert {name: str(value) for name, value in output["structured_output"].items()} == last
    assert 0 < structured < len(rows)


# --- all three


@pytest.mark.parametrize(
    ("path", "event", "line"),
    [
        ("sentiment/app.py", {"text": "a secret"}, "sentiment: ok"),
        ("sentiment/app.py", {"text": ""}, "sentiment: refused"),
        ("echo/app.py", {"text": "a secret"}, "echo: ok"),
        ("echo/app.py", {"fail": "a secret"}, "echo: failing"),
        ("broadband_agent/app.py", {"address": "a secret"}, "broadband-lookup: ok"),
        ("broadband_agent/app.py", {"address": ""}, "broadband-lookup: refused"),
    ],
)
def test_each_call_logs_one_line_without_the_row(
    capsys: pytest.CaptureFixture[str], path: str, event: dict[str, Any], line: str
) -> None:
    expected = nullcontext() if line.endswith("ok") else pytest.raises(Exception, match=r"no text|a secret|no address")
    with expected:
        load(path).handler(event, None)
    assert capsys.readouterr() == ("", line + "\n")


# --- the template, the state machine, the registry's list


def test_every_target_is_a_resource_with_its_arn_as_an_output() -> None:
    stack = template()
    kinds = {"lambda": "AWS::Serverless::Function", "state_machine": "AWS::Serverless::StateMachine"}
    assert set(targets()) == {"sentiment", "echo", "broadband-agent"}
    for name, target in targets().items():
        resource = stack["Resources"][target["resource"]]
        assert resource["Type"] == kinds[target["tool_type"]]
        assert name == resource["Properties"].get("FunctionName", resource["Properties"].get("Name"))
        assert stack["Outputs"][target["resource"] + "Arn"]["Value"] == f"GetAtt {target['resource']}.Arn"


def test_every_function_has_its_code_its_build_rule_and_a_role_of_its_own() -> None:
    resources = template()["Resources"]
    functions = {k: v for k, v in resources.items() if v["Type"] == "AWS::Serverless::Function"}
    assert len({v["Properties"]["Role"] for v in functions.values()}) == len(functions) == 3
    for name, function in functions.items():
        folder = EXAMPLES / function["Properties"]["CodeUri"]
        assert (folder / "app.py").is_file()
        assert f"\nbuild-{name}:\n" in "\n" + (folder / "Makefile").read_text()


def test_no_role_may_do_everything_or_touch_everything() -> None:
    roles = [v for v in template()["Resources"].values() if v["Type"] == "AWS::IAM::Role"]
    statements = [
        statement
        for role in roles
        for policy in role["Properties"]["Policies"]
        for statement in policy["PolicyDocument"]["Statement"]
    ]
    assert len(statements) == len(roles) == 4
    assert all("*" not in json.dumps(statement) for statement in statements)


def test_the_state_machine_is_whole() -> None:
    machine = template()["Resources"]["BroadbandAgentStateMachine"]["Properties"]
    text = (EXAMPLES / machine["DefinitionUri"]).read_text()
    definition = json.loads(text)
    states = definition["States"]
    assert set(re.findall(r"\$\{(\w+)\}", text)) == set(machine["DefinitionSubstitutions"])
    assert definition["StartAt"] in states
    named = set(re.findall(r'"(?:Next|Default)": "(\w+)"', text)) | {definition["StartAt"]}
    assert named == set(states)
    assert states["Converse"]["Retry"]
    assert [catch["Next"] for catch in states["Converse"]["Catch"]] == ["BlankAddress", "LookupFailed"]
    assert states["BlankAddress"]["Error"] == "BlankAddress"


def test_the_targets_schemas_fit_what_they_take_and_give(sentiment: ModuleType, broadband: ModuleType) -> None:
    registered = targets()
    for target in registered.values():
        jsonschema.Draft202012Validator.check_schema(target["input_schema"])
        if "output_schema" in target:
            assert target["output_schema"]["agent"] == target["name"]
    header, rows = read_rows("product_reviews.csv")
    jsonschema.validate(dict(zip(header, rows[0], strict=True)), registered["sentiment"]["input_schema"])
    header, rows = read_rows("addresses.csv")
    jsonschema.validate(dict(zip(header, rows[0], strict=True)), registered["broadband-agent"]["input_schema"])
    fields = {field["name"]: field for field in registered["sentiment"]["output_schema"]["fields"]}
    assert set(fields) == set(sentiment.classify("good"))
    assert {field["name"] for field in registered["broadband-agent"]["output_schema"]["fields"]} == set(FIELDS)
    tools = {
        method["tool"]
        for field in registered["broadband-agent"]["output_schema"]["fields"]
        for method in field["extraction"]
        if method["type"] == "tool_result"
    }
    assert tools == {broadband.TOOL}
    assert "output_schema" not in registered["echo"]


# --- mappings


@pytest.mark.parametrize("path", MAPPINGS, ids=lambda path: path.stem)
def test_a_mapping_names_known_parts_and_existing_columns(path: Path) -> None:
    mapping = yaml.safe_load(path.read_text())
    source = {"sentiment": "product_reviews.csv", "broadband": "addresses.csv"}.get(path.stem, "mixed_fates.csv")
    header, _ = read_rows(source)
    assert set(mapping) <= {"input_mapping", "output_mapping", "execution_config"}
    assert mapping["output_mapping"]["type"] == ("agent" if path.stem in {"broadband", "web_search"} else "tool")
    given = mapping.get("input_mapping", {})
    assert set(given) <= {"column_mappings", "transformations", "exclude_columns"}
    assert {*given.get("column_mappings", {}), *given.get("exclude_columns", [])} <= set(header)
    for transformation in given.get("transformations", {}).values():
        assert set(re.findall(r"\{(\w+)\}", transformation["config"]["template"])) <= set(header)
    for method in mapping["output_mapping"]["extraction_methods"]:
        key = "paths" if method["method"] == "jmespath" else "field_mappings"
        for expression in method[key].values():
            jmespath.compile(expression)


def test_the_mappings_are_all_there() -> None:
    assert {path.stem for path in MAPPINGS} == {
        "sentiment",
        "echo",
        "broadband",
        "mixed_fates",
        "mixed_fates_mended",
        "web_search",
        "classification",
    }


# --- data


def fate(echo: ModuleType, header: list[str], cells: list[str], mapping: dict[str, Any]) -> str:
    """What should become of one row, by the mapping's own timeout and paths."""
    if len(cells) != len(header):
        return "INVALID_INPUT"
    row = dict(zip(header, cells, strict=True))
    if float(row["sleep_ms"] or 0) / 1000 > mapping["execution_config"]["timeout_seconds"]:
        return "TIMEOUT"
    try:
        output = echo.handler(row, None)
    except echo.EchoFailure as failure:
        return f"FAILED {failure}"
    paths = mapping["output_mapping"]["extraction_methods"][0]["field_mappings"].values()
    found = [jmespath.search(path, output) for path in paths]
    return "SUCCESS" if any(value is not None for value in found) else "EXTRACTION_FAILED"


def test_mixed_fates_has_the_fates_that_the_readme_counts(echo: ModuleType) -> None:
    header, rows = read_rows("mixed_fates.csv")
    mapping = yaml.safe_load((EXAMPLES / "mappings/mixed_fates.yaml").read_text())
    assert header == ["id", "text", "fail", "sleep_ms", "output_json"]
    assert [cells[0] for cells in rows] == [str(number) for number in range(1, 25)]
    assert Counter(fate(echo, header, cells, mapping) for cells in rows) == {
        "SUCCESS": 14,
        "FAILED quota exceeded for model": 3,
        "FAILED document not readable": 2,
        "EXTRACTION_FAILED": 2,
        "INVALID_INPUT": 2,
        "TIMEOUT": 1,
    }
    ragged = sorted(len(cells) - len(header) for cells in rows if len(cells) != len(header))
    assert ragged == [-3, 1]


def test_mixed_fates_mended_leaves_only_the_ragged_rows(echo: ModuleType) -> None:
    header, rows = read_rows("mixed_fates.csv")
    mapping = yaml.safe_load((EXAMPLES / "mappings/mixed_fates_mended.yaml").read_text())
    excluded = {header.index(name) for name in mapping["input_mapping"]["exclude_columns"]}
    mended = [["" if place in excluded else cell for place, cell in enumerate(cells)] for cells in rows]
    assert Counter(fate(echo, header, cells, mapping) for cells in mended) == {"SUCCESS": 22, "INVALID_INPUT": 2}


def test_addresses_are_twelve_different_ones() -> None:
    header, rows = read_rows("addresses.csv")
    assert header == ["address", "postcode"]
    assert len({tuple(cells) for cells in rows}) == len(rows) == 12
    assert all(re.fullmatch(r"[A-Z]{1,2}\d{1,2} \d[A-Z]{2}", postcode) for _, postcode in rows)


def test_the_reviews_are_all_there() -> None:
    header, rows = read_rows("product_reviews.csv")
    assert header == ["review_id", "human_rating", "text"]
    assert len(rows) == 3708


# --- agreement.py


@pytest.mark.parametrize(
    ("rating", "category"),
    [(0.5, "positive"), (0.49, "neutral"), (0.0, "neutral"), (-0.49, "neutral"), (-0.5, "negative"), (4, "positive")],
)
def test_a_rating_that_rounds_to_zero_is_neutral(rating: float, category: str) -> None:
    assert load("agreement.py").human_category(rating) == category


def test_agreement_of_a_results_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results.csv"
    results.write_text(
        "input_human_rating,output_category,_status\n"
        "2.5,positive,SUCCESS\n-1,positive,SUCCESS\n0.1,neutral,SUCCESS\n-3,,FAILED\n",
        encoding="utf-8-sig",
    )
    assert load("agreement.py").main([str(results)]) == 0
    first, *table = capsys.readouterr().out.splitlines()
    assert first == "2 of 3 (66.7 %) agree with the human ratings; 1 without a category left out"
    assert [line.split() for line in table[1:]] == [
        ["positive", "1", "0", "0"],
        ["neutral", "0", "1", "0"],
        ["negative", "1", "0", "0"],
    ]


def test_agreement_of_all_the_reviews(sentiment: ModuleType) -> None:
    header, rows = read_rows("product_reviews.csv")
    lines = []
    for cells in rows:
        review = dict(zip(header, cells, strict=True))
        found = sentiment.classify(review["text"])
        lines.append({"input_human_rating": review["human_rating"], "output_category": found["category"]})
    assert load("agreement.py").agreement(lines).startswith("2,220 of 3,708 (59.9 %) agree with the human ratings\n")


def test_agreement_of_no_rows_has_no_percentage() -> None:
    assert load("agreement.py").agreement([]).startswith("0 of 0 agree with the human ratings\n")


@pytest.mark.parametrize("arguments", [[], [str(EXAMPLES / "addresses.csv")]])
def test_agreement_says_what_is_wrong(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert load("agreement.py").main(arguments) == 2
    assert re.search(r"usage|no column", capsys.readouterr().err)
