"""A drafted mapping: columns by their names, paths that found something in the sample, and YAML that is read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT

from service.console import mapping_files, yaml_core
from service.console.describing import describe
from service.console.drafting.draft import Draft, draft
from service.extraction.compiler import compile_output_mapping
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema import compile_input_schema

OUTPUTS = ROOT / "examples" / "outputs"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def described(*columns: str, **types: str) -> dict[str, Any]:
    made = [
        {"name": name, "type": types.get(name, "text"), "empty": 0, "different": 1, "examples": ["x"]}
        for name in columns
    ]
    return {"source": "in.csv", "columns": made, "sample": [], "notes": []}


def target(schema: Any = None, output: Any = None, kind: str = "lambda") -> dict[str, Any]:
    return {"tool_name": "line", "tool_type": kind, "input_schema": schema, "output_schema": output}


def properties(*required: str, **each: Any) -> dict[str, Any]:
    return {"type": "object", "properties": each, "required": list(required)}


def checked(made: Draft, *columns: str) -> Draft:
    """Return the draft, after everything that a batch and `schema check` would refuse of it."""
    assert yaml_core.read(made.text) == made.mapping
    mapping_files.check_document(made.mapping)
    compile_input_mapping(made.mapping["input_mapping"], columns)
    compile_output_mapping(made.mapping.get("output_mapping"))
    return made


def columns_of(*columns: str, schema: Any = None, **types: str) -> Draft:
    return checked(draft(described(*columns, **types), target(schema), []), *columns)


def fields_of(*outputs: Any, **more: Any) -> tuple[list[dict[str, Any]], Draft]:
    made = checked(draft(described("a"), more.pop("target", None), list(outputs)), "a")
    return made.mapping.get("output_mapping", {}).get("extraction_methods", []), made


def sample(name: str) -> Any:
    return json.loads((OUTPUTS / f"{name}.json").read_text())


# -- columns ----------------------------------------------------------------------------------------------------------


def test_without_a_schema_every_column_has_its_own_name() -> None:
    made = columns_of("review text", "stars", stars="integer")
    assert made.mapping["input_mapping"] == {"column_mappings": {"review text": "review text", "stars": "stars"}}
    assert "  # types:" in made.text
    assert "  #   stars: integer" in made.text


@pytest.mark.parametrize(
    ("columns", "names", "required", "expected"),
    [
        (["text"], ["text"], [], {"text": "text"}),
        (["Review Text"], ["review_text"], [], {"Review Text": "review_text"}),
        (["post-code", "town"], ["postCode"], [], {"post-code": "postCode"}),
        (["Text", "text"], ["text"], [], {"text": "text"}),
        (["adress"], ["address"], [], {"adress": "address"}),
        (["customer address"], ["address"], [], {"customer address": "address"}),
        (["text", "review"], ["text", "reviews"], [], {"text": "text"}),  # a near name is not needed
        (["text", "review"], ["text", "reviews"], ["reviews"], {"text": "text", "review": "reviews"}),
        (["text", "review_id"], ["text", "review"], ["review"], {"text": "text"}),  # another thing
        (["x", "y"], ["text"], [], {"x": "x", "y": "y"}),  # at least something is passed
    ],
)
def test_columns_by_name(columns: list[str], names: list[str], required: list[str], expected: dict[str, str]) -> None:
    schema = properties(*required, **{name: {"type": "string"} for name in names})
    assert columns_of(*columns, schema=schema).mapping["input_mapping"]["column_mappings"] == expected


def test_a_near_name_is_told() -> None:
    made = columns_of("adress", schema=properties("address", address={"type": "string"}))
    assert "the column 'adress' is taken for the field 'address'" in made.notes[0]
    assert "check that this is meant" in made.text


def test_a_near_name_of_another_type_is_none() -> None:
    made = columns_of("text", "amounts", schema=properties("amount", text={}, amount={"type": "number"}))
    assert made.mapping["input_mapping"]["column_mappings"] == {"text": "text"}


def test_types_are_those_of_the_schema() -> None:
    schema = {
        "$defs": {"Count": {"type": "integer"}},
        "properties": {
            "n": {"$ref": "#/$defs/Count"},
            "price": {"anyOf": [{"type": "number"}, {"type": "null"}]},
            "on": {"type": "boolean"},
            "tags": {"type": "array"},
            "more": {"type": ["object", "null"]},
            "either": {"type": ["string", "number"]},
            "name": {"type": "string"},
            "any": {},
        },
    }
    names = list(schema["properties"])
    guessed = {"n": "integer", "price": "number", "on": "boolean", "tags": "json", "more": "json"}
    made = columns_of(*names, schema=schema, **guessed)
    expected = {"n": "integer", "price": "number", "on": "boolean", "tags": "json", "more": "json"}
    assert made.mapping["input_mapping"]["types"] == expected
    assert made.notes[:-1] == []


def test_rows_that_may_not_fit_are_told() -> None:
    known = described("n", "name")
    known["columns"][1]["empty"] = 2
    schema = properties(n={"type": "integer"}, name={"type": "string", "minLength": 1})
    notes = draft(known, target(schema), []).notes
    assert "the column 'n' holds text, such as 'x', where the target's field 'n' is integer" in notes[0]
    assert "'name' has 2 empty cells" in notes[1]


def test_a_required_field_without_a_column_is_a_comment_and_told() -> None:
    made = columns_of("text", schema=properties("text", "language", text={}, language={}))
    assert "    # COLUMN: language  # required by the target" in made.text
    assert "requires the field 'language'" in made.notes[0]
    assert made.mapping["input_mapping"] == {"column_mappings": {"text": "text"}}


def test_other_columns_are_comments_unless_the_schema_takes_more() -> None:
    schema = properties(text={})
    assert (
        "    # x: x  # text: x; the target's input_schema has no such field"
        in columns_of("text", "x", schema=schema).text
    )
    more = columns_of("text", "x", schema={**schema, "additionalProperties": True})
    assert more.mapping["input_mapping"]["column_mappings"] == {"text": "text", "x": "x"}


def test_a_column_called_as_a_field_that_another_column_is() -> None:
    schema = {**properties("address", address={}), "additionalProperties": True}
    made = columns_of("Address", "address", schema=schema)
    assert made.mapping["input_mapping"]["column_mappings"] == {"address": "address", "Address": "Address"}


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "#/$defs/X", "$defs": {"X": {"properties": {"a": {}}, "required": ["a"]}}},
        {"allOf": [{"properties": {"a": {}}}]},
        {"$ref": "#"},
        {"required": ["a"]},
        {"$ref": 1},
        {"properties": 1, "required": 2},
        {"properties": {"a": True, "b": {"type": 3}}},
    ],
)
def test_schemas_of_other_forms(schema: dict[str, Any]) -> None:
    made = checked(draft(described("a", "z"), target(schema), []), "a", "z")
    assert made.mapping["input_mapping"]["column_mappings"]["a"] == "a"


def test_what_had_to_be_said_of_the_source_stands_in_the_file() -> None:
    made = draft(described("a"), None, [{"x": 1}], source={"encoding": "cp1250", "delimiter": "|"})
    assert checked(made, "a").mapping["source"] == {"encoding": "cp1250", "delimiter": "|"}


def test_an_agent_is_shown_how_to_have_a_prompt() -> None:
    made = checked(draft(described("a"), target(kind="state_machine"), []), "a")
    shown = made.text[made.text.index("  # transformations:") :].split("\n\n")[0]
    uncommented = yaml.safe_load("\n".join(line.replace("# ", "", 1) for line in shown.splitlines()))
    compile_input_mapping({"column_mappings": {"a": "a"}, **uncommented}, ["a"])


# -- outputs ----------------------------------------------------------------------------------------------------------


def test_scalars_at_the_top_are_direct() -> None:
    methods, made = fields_of(sample("classification"))
    names = ["category", "confidence_score", "model"]
    assert methods == [{"method": "direct", "field_mappings": {name: name for name in names}}]
    assert "confidence_score: confidence_score  # number: 0.87" in made.text


def test_nested_objects_are_paths() -> None:
    output = {
        "ok": True,
        "place": {"id": 7, "geo": {"lat": 1.5, "far": {"x": 1}}},
        "id": "a",
        "no": None,
        "full name": 1,
    }
    (method,), made = fields_of(output)
    assert method == {
        "method": "jmespath",
        "paths": {
            "ok": "ok",
            "place_id": "place.id",
            "lat": "place.geo.lat",
            "far": "place.geo.far",
            "id": "id",
            "full name": '"full name"',
        },
    }
    assert "        # no: no  # null in the sample" in made.text


def test_a_list_of_results() -> None:
    (method,), _ = fields_of(sample("web_search"))
    assert method["method"] == "results_array"
    assert method["field_mappings"]["title"] == "results[0].title"
    assert method["field_mappings"]["query"] == "query"


def test_a_conversation_by_each_of_its_ways() -> None:
    outputs = [sample(name) for name in ("broadband", "broadband_structured", "broadband_text")]
    methods, made = fields_of(*outputs)
    tools = [(method["method"], method.get("tool_name")) for method in methods]
    assert tools == [("tool_result", "browser_broadband"), ("structured_output", "report_line"), ("jmespath", None)]
    plan = compile_output_mapping(made.mapping["output_mapping"])
    for output in outputs:
        fields = plan.extract(output).fields
        assert (fields["exchange"], fields["cabinet"]) == ("WHITEHALL", "12")
        assert fields["download_speed"] == "50.0-330.0 Mbps"
    assert made.notes == []


def test_the_answer_comes_before_what_a_tool_said_of_other_things() -> None:
    messages = [
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {"q": "x"}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": '{"rank": 3}'}]},
        {"role": "assistant", "content": 'So: {"category": "refund"}'},
    ]
    methods, made = fields_of({"messages": messages})
    assert [method["method"] for method in methods] == ["direct", "tool_result"]
    assert "in the sample a method above always finds something first" in made.text


ARGUMENTS = {"k": 1}
SPOKEN = {"role": "assistant", "content": '{"k": 1}'}
CALLED = {"type": "tool-call", "toolCallId": "c", "toolName": "r", "input": ARGUMENTS}
PARTS = {"role": "model", "parts": [{"functionCall": {"name": "r", "args": ARGUMENTS}}]}
FORMS: dict[str, Any] = {
    "gemini": {"candidates": [{"content": PARTS}]},
    "pydantic-ai": [{"kind": "response", "parts": [{"part_kind": "tool-call", "tool_name": "r", "args": ARGUMENTS}]}],
    "vercel": [{"role": "assistant", "content": [CALLED]}],
    "openai batch": {"custom_id": "1", "response": {"status_code": 200, "body": {"choices": [{"message": SPOKEN}]}}},
    "strands": {"result": {"role": "assistant", "content": [{"text": '{"k": 1}'}]}},
    "thought": '<think>{"k": 2}</think>\n{"k": 1}',
    "trailing comma": '{"k": 1,}',
    "proxy": {"statusCode": 200, "body": '{"k": 1}'},
    "structured": {"messages": [{"role": "assistant", "content": "done"}], "structured_output": {"k": 1}},
    "beside": {"messages": [{"role": "assistant", "content": "done"}], "output": {"k": 1}},
    "list": [{"k": 1}],
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_output(form: str) -> None:
    _, made = fields_of(FORMS[form])
    assert compile_output_mapping(made.mapping["output_mapping"]).extract(FORMS[form]).fields == {"k": 1}


@pytest.mark.parametrize(
    "output",
    [
        "It is fine.",
        {"choices": [{"message": {"role": "assistant", "content": "It is fine."}}]},
        {"messages": [{"role": "assistant", "content": [{"type": "text", "text": "It is fine."}]}]},
        {"role": "assistant", "content": [{"type": "text", "text": "It is fine."}]},
        [{"role": "assistant", "content": "It is fine."}],
    ],
)
def test_prose_is_an_answer(output: Any) -> None:
    _, made = fields_of(output)
    assert compile_output_mapping(made.mapping["output_mapping"]).extract(output).fields == {"answer": "It is fine."}


def test_signs_of_a_failed_call_are_no_fields() -> None:
    (method,), made = fields_of({"success": True, "error": None, "status": "ok", "k": 1})
    assert method["field_mappings"] == {"status": "status", "k": "k"}
    assert "# success: success  # taken as a field, it would no longer say that a call failed" in made.text
    assert not compile_output_mapping(made.mapping["output_mapping"]).extract({"success": False, "k": 1}).ok


def test_outputs_that_are_no_answers_are_left_aside() -> None:
    methods, made = fields_of({"statusCode": 429, "body": "slow down"}, {"k": 1})
    assert methods[0]["field_mappings"] == {"k": "k"}
    assert made.notes[0].startswith(
        "output 1 of the sample is left aside: the target answered with the status code 429"
    )
    methods, made = fields_of({"error": "typo"})
    assert (methods, "output_mapping" in made.mapping) == ([], False)
    assert "of a call that succeeded" in made.notes[-1]


def test_an_output_that_the_draft_does_not_read_is_told() -> None:
    _, made = fields_of({"k": 1}, 5)
    assert made.notes[-1].startswith("output 2 of the sample gives no fields")


@pytest.mark.parametrize("output", [5, [], {}, [1], {"x": None}, None, True])
def test_nothing_to_draft_from(output: Any) -> None:
    methods, made = fields_of(output)
    assert methods == []
    assert any("No output_mapping" in note for note in made.notes)


def test_very_many_fields_and_outputs() -> None:
    methods, made = fields_of(*[{f"k{n}": n for n in range(700)}] * 300)
    assert len(methods[0]["field_mappings"]) == 60
    assert "and 640 more" in made.text
    assert "first 200" in made.notes[0]


def test_a_registered_schema_needs_no_output_mapping() -> None:
    schema = {"agent": "line", "version": 1, "fields": [{"name": "k", "extraction": [{"type": "direct", "path": "k"}]}]}
    made = checked(draft(described("a"), target(output=schema), []), "a")
    assert "output_mapping" not in made.mapping
    assert "the schema that line is registered with is used. Its fields: k." in made.text
    _, made = fields_of({"k": 1}, target=target(output=schema))
    assert made.mapping["output_mapping"]["type"] == "tool"
    assert "Without this section the schema" in made.text
    assert "registered schema" in draft(described("a"), target(), []).notes[0]
    assert "cannot be used" in draft(described("a"), target(output={"fields": 1}), []).notes[0]


# -- whatever is given ------------------------------------------------------------------------------------------------


@given(st.lists(st.text(min_size=1, max_size=8), min_size=1, max_size=4, unique=True), st.lists(JSON, max_size=2))
@settings(max_examples=150)
def test_every_draft_is_read_back_and_compiles(names: list[str], outputs: list[Any]) -> None:
    columns = [name.encode(errors="replace").decode() for name in names]
    columns = [name for name in dict.fromkeys(columns) if name.strip()] or ["a"]
    made = checked(draft(described(*columns), None, outputs), *columns)
    plan = compile_output_mapping(made.mapping.get("output_mapping"))
    if "output_mapping" in made.mapping:
        assert any(plan.extract(output).ok for output in outputs)


@pytest.mark.parametrize(
    "name",
    [
        "null",
        "yes",
        "1.10",
        "a: b",
        "# x",
        "x #y",
        "- x",
        "'q'",
        '"',
        "a\nb",
        "\x7f",
        "é\u2028",
        "😀",
        "k" * 2000,
        " pad ",
        "a  b",
        "{x}",
        "[",
        "&a",
        "*a",
        "!t",
        "%",
        "@",
        "`",
        "?",
        "0E0",
        "~",
    ],
)
def test_odd_names(name: str) -> None:
    made = columns_of(name, "b", schema=properties(**{name: {"type": "string"}}))
    assert made.mapping["input_mapping"]["column_mappings"] == {name: name}
    assert "\n# " in made.text, "the comments are there"
    fields, _ = fields_of({name: 1, "in": {name: {"k": 2}}})
    assert "k" in fields[0]["paths"]


@pytest.mark.parametrize("source", ["addresses", "mixed_fates", "product_reviews"])
@pytest.mark.parametrize("name", ["sentiment", "echo", "broadband-agent"])
def test_the_examples(source: str, name: str) -> None:
    registered = {
        one["name"]: one for one in yaml.safe_load((ROOT / "examples" / "targets.yaml").read_text())["targets"]
    }
    known = describe(str(ROOT / "examples" / f"{source}.csv"))
    columns = [one["name"] for one in known["columns"]]
    made = checked(draft(known, {"tool_name": name, **registered[name]}, []), *columns)
    plan = compile_input_mapping(made.mapping["input_mapping"], columns)
    fits = (source, name) in {("addresses", "broadband-agent"), ("product_reviews", "sentiment")} or name == "echo"
    if fits:
        schema = compile_input_schema(registered[name]["input_schema"])
        assert schema is not None
        schema.check(plan.fields(known["sample"][0]))


def test_fields_of_which_some_are_required_are_told() -> None:
    """As of the example `sentiment`: one of two texts."""
    schema = {
        "type": "object",
        "properties": {"text": {"type": "string"}, "review": {"type": "string"}},
        "anyOf": [{"required": ["text"]}, {"required": ["review"]}],
    }
    target = {"tool_name": "sentiment", "tool_type": "lambda", "input_schema": schema}

    def notes(column: str) -> str:
        known = {"name": column, "type": "text", "empty": 0, "different": 1, "examples": ["a"]}
        return " ".join(draft({"source": "in.csv", "columns": [known]}, target, []).notes)

    assert "requires 'text' or 'review'" in notes("Customer Message")
    assert "requires" not in notes("text")
