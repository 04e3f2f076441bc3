from __future__ import annotations

import json
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import CASES as CASES_FOLDER

from service.errors import BatchRefused
from service.expressions.json_text import candidates, opened
from service.extraction.compiler import compile_output_mapping
from service.extraction.conversation import Reading
from service.extraction.methods import METHODS

if TYPE_CHECKING:
    from service.extraction.fields import OutputPlan

CASES = [
    case
    for path in sorted(CASES_FOLDER.glob("mapping_*.json"))
    for part in json.loads(path.read_text(encoding="utf-8"))
    for case in part["cases"]
]
# Keys and words by which outputs are recognised, so that chance values reach every branch.
KEY_NAMES = """messages message content role type name id tool_use_id input tool_calls function arguments toolUse
    toolResult output Output Status body statusCode Payload results structured_output tool_results function_calls
    choices is_error text json title exchange data lc kwargs call_id output_text args structured_response executionArn
    Body ContentType v"""
KEYS = st.sampled_from(KEY_NAMES.split())
PLAIN_WORDS = """tool_use tool_result assistant tool check_line text t1 NaN [1] { ai AIMessage constructor mcp_call
    function_call_output 2026-01-17 1e400 0.5"""
ODD_WORDS = ["", '{"title": 1}', "```json\n{}\n```", "Exchange: X", "Title: 5", '"\\"{}\\""', "[" * 2000, "\ud800"]
WORDS = st.sampled_from([*PLAIN_WORDS.split(), *ODD_WORDS, '{"messages": []}'])
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400), 1e308, 5e-324])
SCALARS = st.none() | st.booleans() | NUMBERS | st.text() | WORDS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=5),
    max_leaves=40,
)
BY_NAME = {"tool_result", "structured_output", "direct"}
MAPPINGS: list[Any] = [
    None,
    {"extraction_methods": [{"method": "direct"}]},
    {"extraction_methods": [{"method": name, "paths": {"title": "content"}} for name in METHODS]},
    {"extraction_methods": [{"method": name, "fields": ["title"]} for name in METHODS if name in BY_NAME]},
    {
        "extraction_methods": [
            {"method": "tool_result", "tool_name": "check_line", "transform": "parse_text"},
            {"method": "structured_output", "tool_name": "check_line"},
        ]
    },
    {
        "extraction_methods": [
            {
                "method": "jmespath",
                "paths": {
                    "title": {"path": "messages[-1].content | parse('(.)')", "type": "integer"},
                    "all": {"path": "@", "default": 5},
                    "sum": "sum(results[*].x)",
                    "number": {"path": "title", "transform": "to_number", "required": True},
                },
            },
            {"method": "jmespath", "paths": {"title": "content"}, "transform": "parse_text"},
        ]
    },
    {"columns": [{"name": kind, "source": "@", "type": kind} for kind in ("string", "json_string", "array", "object")]},
    {"columns": [{"name": form, "source": "v", "format": form} for form in (".2f", ",d", ".0%", ",", "g", ".3e")]},
    {"columns": [{"name": "v", "type": "date"}, {"name": "title", "format": "%d.%m.%Y %H:%M:%S.%f %z %%"}]},
    {"extract_fields": [{"name": "a", "pattern": "(.)(.)?", "group": 2}, {"name": "v", "path": "v", "pattern": "1"}]},
    {"structured_output_fields": ["title", "exchange"]},
    {"agent": "x", "fields": [{"name": "title", "type": "number", "extraction": {"type": "direct", "path": "title"}}]},
]  # fmt: skip
# One plan for every mapping of the cases that compiles.
PLANS = {
    json.dumps(case["mapping"]): compile_output_mapping(case["mapping"], target=case.get("target"))
    for case in CASES
    if "error" not in case
}
MAPPING_KEY_NAMES = """extraction_methods fields columns extract_fields structured_output_fields output_mappings method
    type paths path transform default name extraction pattern group tool source required format"""
MAPPING_KEYS = st.sampled_from(MAPPING_KEY_NAMES.split())
MAPPING_TEXTS = "jmespath tool_result direct a.b parse('x') parse_text number agent x"
MAPPING_WORDS = st.sampled_from(MAPPING_TEXTS.split())
JSON = st.recursive(
    SCALARS | MAPPING_WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MAPPING_KEYS | st.text(max_size=3), inner, max_size=4),
    max_leaves=25,
)


@settings(max_examples=300, deadline=None)
@given(output=VALUES)
def test_extract_never_raises(output: Any) -> None:
    for plan in (*map(compile_output_mapping, MAPPINGS), *PLANS.values()):
        extraction = plan.extract(output)
        json.dumps(extraction.fields, allow_nan=False)
        assert extraction.ok == (not extraction.message)
        if extraction.ok:
            assert any(value is not None for value in extraction.fields.values())
            assert plan.columns is None or tuple(extraction.fields) == plan.columns
        else:
            assert extraction.failures


def compiled(mapping: Any, kind: str | None) -> OutputPlan | BatchRefused:
    try:
        return compile_output_mapping(mapping, target="x", kind=kind)
    except BatchRefused as refused:
        return refused


@settings(max_examples=300)
@given(mapping=JSON, kind=st.none() | st.sampled_from(["tool", "agent", "lambda", "other"]))
def test_a_mapping_compiles_or_is_refused_with_places(mapping: Any, kind: str | None) -> None:
    result = compiled(mapping, kind)
    if isinstance(result, BatchRefused):
        assert result.problems
        assert all(problem.path.startswith("output_mapping") and problem.message for problem in result.problems)


@settings(max_examples=30, deadline=None)
@given(value=VALUES, number=st.integers(0, len(CASES) - 1))
def test_extract_never_raises_beside_what_is_expected(value: Any, number: int) -> None:
    """A chance value in the place of each part of the output that a case gives."""
    given_output = CASES[number].get("given")
    for output in replacements(given_output, value):
        for plan in (PLANS.get(json.dumps(CASES[number]["mapping"])), *list(PLANS.values())[:20]):
            if plan is not None:
                json.dumps(plan.extract(output).fields, allow_nan=False)


def replacements(whole: Any, value: Any) -> list[Any]:
    """The whole with one of its parts replaced, for each part."""
    found = [value]
    if isinstance(whole, dict):
        for key, inner in whole.items():
            found += [{**whole, key: one} for one in replacements(inner, value)]
    elif isinstance(whole, list):
        for place, inner in enumerate(whole):
            found += [[*whole[:place], one, *whole[place + 1 :]] for one in replacements(inner, value)]
    return found


@given(text=st.text() | st.lists(WORDS, max_size=6).map(" ".join))
def test_what_stands_whole_in_a_text_is_found(text: str) -> None:
    assert all(isinstance(found, dict | list) for found in candidates(text))
    record = {"title": [1, {"a": "}"}]}
    before = text.replace("{", "(").replace("[", "(").replace("<", "(").replace('"', "'")
    assert candidates(before + json.dumps(record))[-1] == record


def test_a_broken_value_takes_linear_time() -> None:
    for text in ('{"a":' * 20_000, "[[" * 20_000, '["x"] ' * 20_000, '{"a": 1}\n' * 2_000 + "{", "{ " * 100_000):
        started = process_time()
        compile_output_mapping({"structured_output_fields": ["a"]}).extract({"role": "assistant", "content": text})
        compile_output_mapping(None).extract(text)
        assert process_time() - started < 5


def test_a_format_can_fail_only_for_the_value() -> None:
    with pytest.raises(BatchRefused, match="cannot be used for a date"):
        compile_output_mapping({"columns": [{"name": "v", "type": "date", "format": "%d\ud800"}]})
    extraction = compile_output_mapping({"columns": [{"name": "v", "format": ".2f"}]}).extract({"v": 10**400})
    assert "is too large for the format '.2f'" in extraction.message


@given(value=VALUES)
def test_opened_gives_an_object_a_list_or_the_value_itself(value: Any) -> None:
    result = opened(value)
    assert result is value or (isinstance(value, str) and isinstance(result, dict | list))


@given(value=st.dictionaries(st.text(), st.text()))
@pytest.mark.parametrize("form", ["{}", "```json\n{}\n```", "It is:\n```\n{}\n```\nSo.", "\ufeff {} ", "```JSON\n{}"])
def test_opened_reads_json_in_text(form: str, value: dict[str, str]) -> None:
    assert opened(form.replace("{}", json.dumps(value))) == value
    assert opened(form.replace("{}", json.dumps([value]))) == [value]


@pytest.mark.parametrize(
    "text", ["5", "1.50", "true", "null", '"x"', "{not json}", "[", "``` x ```", "``` [1] ``x", "", "NaN", "a {} b"]
)
def test_opened_leaves_other_text(text: str) -> None:
    assert opened(text) == text


@pytest.mark.parametrize("case", [case for case in CASES if "error" not in case])
def test_a_message_holds_little_of_the_output(case: dict[str, Any]) -> None:
    options = {key: case[key] for key in ("target", "kind") if key in case}
    plan = compile_output_mapping(case["mapping"], **options)
    long = "confidential " * 20
    for output in (
        long,
        {"content": long, "title": long},
        {"messages": [{"role": "tool", "name": long, "content": long}]},
        {long: None, f"2{long}": [], f"3{long}": 1},
        {"results": [{long: long}], "structured_output": {long: None}},
    ):
        assert long[:60] not in plan.extract(output).message


@pytest.mark.parametrize(
    ("mapping", "chosen"),
    [
        (None, (True, True)),
        ({"include_original": False}, (False, True)),
        ({"add_metadata": False, "include_original": None}, (True, False)),
        (
            {"include_original": False, "add_metadata": False, "extraction_methods": [{"method": "direct"}]},
            (False,) * 2,
        ),
        ({"fields": [{"name": "a"}], "add_metadata": False}, (True, False)),
        ({"structured_output_fields": ["a"], "include_original": False}, (False, True)),
        ({"columns": ["a"], "include_original": False}, (False, True)),
        ({"output_mappings": {"t": {"columns": ["a"]}}, "include_original": False}, (False, True)),
        ({"output_mappings": {"t": {"add_metadata": False}, "u": {"include_original": False}}}, (True, False)),
        ({"output_mappings": {"t": {"add_metadata": True}}, "add_metadata": False}, (True, True)),
        ({"t": {"columns": ["a"], "include_original": False}, "add_metadata": False}, (False, False)),
    ],
)
def test_a_plan_says_which_columns_the_csv_has(mapping: Any, chosen: tuple[bool, bool]) -> None:
    plan = compile_output_mapping(mapping, target="t")
    assert (plan.include_original, plan.add_metadata) == chosen


def test_fields_are_copies() -> None:
    output = {"a": [{"b": [1]}], "text": '{"list": [1]}'}
    plan = compile_output_mapping({"columns": ["a", {"name": "list", "source": "text.list"}]})
    fields = plan.extract(output).fields
    fields["a"][0]["b"].append(2)
    fields["list"].append(2)
    assert plan.extract(output).fields == {"a": [{"b": [1]}], "list": [1]}


def test_what_json_cannot_hold_is_named() -> None:
    output = {"a": float("nan"), "b": [float("inf"), {"c": -float("inf")}]}
    fields = {"a": "NaN", "b": ["Infinity", {"c": "-Infinity"}]}
    assert compile_output_mapping(None).extract(output).fields == fields
    assert compile_output_mapping({"columns": ["a", "b"]}).extract(output).fields == fields


@pytest.mark.parametrize(("value", "shown"), [(float("nan"), "'NaN'"), (-float("inf"), "'-Infinity'"), ("1e999",) * 2])
@pytest.mark.parametrize("options", [{"type": "number"}, {"type": "integer"}, {"format": ".2f"}])
def test_a_number_that_is_not_finite_is_told(value: Any, shown: str, options: dict[str, Any]) -> None:
    paths = {"a": {"path": "a", **options}}
    plan = compile_output_mapping({"extraction_methods": [{"method": "jmespath", "paths": paths}]})
    message = plan.extract({"a": value}).message
    assert shown.strip("'") in message
    assert "is not a finite number" in message
    paths["a"] = {"path": "a", "transform": "to_number"}
    plan = compile_output_mapping({"extraction_methods": [{"method": "jmespath", "paths": paths}]})
    assert "is not a finite number" in plan.extract({"a": value}).message


def test_a_bottomless_output_is_a_failure_of_the_row() -> None:
    deep: Any = {}
    for _ in range(100_000):
        deep = {"messages": [deep], "content": [deep]}
    for mapping in MAPPINGS:
        assert isinstance(compile_output_mapping(mapping).extract(deep).failures, tuple)
    assert compile_output_mapping(None).extract(deep).message == "the output is nested too deeply"


def test_an_output_of_many_messages_is_read_once() -> None:
    results = [{"type": "tool_result", "name": "t", "content": str(number)} for number in range(2000)]
    reading = Reading({"messages": [{"role": "user", "content": [result]} for result in results]})
    assert [result.content for result in reading.results] == [str(number) for number in range(2000)]
    assert reading.results is reading.results


def test_extraction_says_what_it_tried_in_order() -> None:
    methods = [{"method": "tool_result", "tool_name": "a", "fields": ["x"]}, {"method": "direct", "fields": ["x"]}]
    extraction = compile_output_mapping({"extraction_methods": methods}).extract({"y": 1})
    assert not extraction.ok
    assert extraction.failures == (
        "tool_result(a): the output has no result of tool 'a' (it has 'y')",
        "direct: found no value for 'x' (the output has 'y')",
    )
    assert extraction.message == "; ".join(extraction.failures)


def test_a_required_field_fails_the_row_with_every_method_that_was_tried() -> None:
    mapping = {
        "extraction_methods": [
            {"method": "tool_result", "tool_name": "a", "paths": {"x": {"path": "content", "required": True}}},
            {"method": "jmespath", "paths": {"x": {"path": "answer.x", "required": True}, "y": "y"}},
        ]
    }
    plan = compile_output_mapping(mapping)
    assert plan.extract({"y": 1}).failures == (
        "tool_result(a): the required field 'x' is not there, the output has no result of tool 'a' (it has 'y')",
        "jmespath: the required field 'x' is not there, the output has 'y'",
    )
    assert plan.extract({"answer": {"x": 2}}).method == "jmespath"


def test_the_winner_of_each_row_is_told() -> None:
    fields = [
        {"name": "x", "extraction": [{"type": "structured", "tool": "t"}, {"type": "direct"}]},
        {"name": "y", "extraction": [{"type": "structured", "tool": "t"}, {"type": "direct"}]},
    ]
    plan = compile_output_mapping({"agent": "a", "fields": fields})
    call = {"type": "tool_use", "name": "t", "input": {"x": 1}}
    assert plan.extract({"content": [call], "y": 2}).method == "structured_output(t)+direct"
    assert plan.extract({"x": 1, "y": 2}).method == "direct"


def test_there_is_one_function_for_each_method() -> None:
    assert list(METHODS) == ["tool_result", "structured_output", "jmespath", "results_array", "direct"]


def test_every_case_of_an_error_names_its_place() -> None:
    assert all(path.startswith("output_mapping") for case in CASES for path in case.get("error", {}))
