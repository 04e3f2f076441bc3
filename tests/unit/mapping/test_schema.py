"""A target's input_schema: what is refused before a batch is run, and what a row is told that does not fit."""

from __future__ import annotations

import csv
import json
import socket
import subprocess
import sys
from dataclasses import replace
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from places import EXAMPLES

from service.errors import BatchRefused
from service.mapping.conversions import RowNotMapped
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.schema import check_required, compile_input_schema

SENTIMENT = {
    "type": "object",
    "properties": {"text": {"type": "string", "minLength": 1}, "review": {"type": "string", "minLength": 1}},
    "anyOf": [{"required": ["text"]}, {"required": ["review"]}],
}
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


def fault(schema: Any, fields: dict[str, Any]) -> str:
    """What the row is told; "" when it fits."""
    compiled = compile_input_schema(schema)
    assert compiled is not None
    try:
        compiled.check(fields)
    except RowNotMapped as refused:
        return refused.message.removeprefix("the fields do not fit the target's input_schema: ")
    return ""


def problems(schema: Any) -> dict[str, str]:
    with pytest.raises(BatchRefused) as refused:
        compile_input_schema(schema)
    return {problem.path: problem.message for problem in refused.value.problems}


def of(**properties: Any) -> dict[str, Any]:
    return {"properties": properties}


@pytest.mark.parametrize(
    ("schema", "fields"),
    [
        (SENTIMENT, {"text": "good"}),
        (SENTIMENT, {"review": "good", "id": "7"}),
        (of(n={"type": "number"}), {"n": 1.5}),
        (of(n={"type": "integer"}), {"n": 7}),
        (of(n={"type": ["string", "null"]}), {"n": None}),
        (of(n={"type": "number"}), {}),
        (of(z={"pattern": "^[0-9]{5}$"}), {"z": "01234"}),
        (of(z={"pattern": "b"}), {"z": "abc"}),
        (of(z={"pattern": "b"}), {"z": 7}),
        (of(z={"pattern": r"^\p{L}+$"}), {"z": "größe"}),
        ({"patternProperties": {"^x_": {"type": "string"}}, "additionalProperties": False}, {"x_a": ""}),
        ({"patternProperties": {"^x_": True}, "additionalProperties": {"type": "number"}}, {"x_a": "", "b": 1}),
        (of(day={"format": "date"}), {"day": "yesterday"}),
        ({"properties": {"a": {"$ref": "#/$defs/n"}}, "$defs": {"n": {"type": "number"}}}, {"a": 1}),
        ({"properties": {"a": {"$ref": "n"}}, "$defs": {"n": {"$id": "n", "type": "number"}}}, {"a": 1}),
        ({"properties": {"a": {"$ref": "#n"}}, "$defs": {"n": {"$anchor": "n", "type": "number"}}}, {"a": 1}),
        ({"$id": "https://example.com/s", **of(a={"$ref": "https://example.com/s#/properties/b"}, b={})}, {"a": 1}),
        ({"properties": {"tree": {"$ref": "#"}}}, {"tree": {"tree": {"tree": 1}}}),
        ({"$schema": DRAFT_7, "properties": {"a": {"$ref": "#"}}}, {"a": {"a": 1}}),
        ({"$schema": DRAFT_7, "items": [{"type": "number"}]}, {}),
        (of(list={"uniqueItems": True}), {"list": [1, True, "1", [1], {"a": 1}, {"a": True}]}),
        (of(pattern={"type": "string", "default": "(?=x)"}), {"pattern": "(?=x)"}),
        ({"examples": [{"pattern": "(?=x)", "$schema": "x", "$ref": "x"}]}, {}),
        ({"const": {"$ref": 1, "pattern": "("}}, {"$ref": 1, "pattern": "("}),
        ({"unevaluatedProperties": False, **of(a={})}, {"a": 1}),
    ],
)
def test_what_fits(schema: Any, fields: dict[str, Any]) -> None:
    assert fault(schema, fields) == ""


@pytest.mark.parametrize(
    ("schema", "fields", "told"),
    [
        (SENTIMENT, {"id": "7"}, "needs 'text' or needs 'review'"),
        (SENTIMENT, {"text": ""}, "text: '' does not fit minLength 1"),
        (of(n={"type": "number"}), {"n": None}, "n: must be of type number, not null"),
        (of(n={"type": "number"}), {"n": True}, "n: must be of type number, not true"),
        (
            of(n={"type": ["number", "null"]}),
            {"n": "5"},
            "n: must be of type number or null, not '5'; a cell is text: name the field's type under input_mapping",
        ),
        ({"required": ["a", "b", "c"]}, {"b": 1}, "needs 'a' and 'c'"),
        (of(o={"required": ["a"]}), {"o": {}}, "o: needs 'a'"),
        (of(l={"items": {"type": "string"}}), {"l": ["a", 1]}, "l[1]: must be of type string, not 1"),
        (of(o=of(p={"const": 1})), {"o": {"p": 2}}, "o.p: must be 1, not 2"),
        (of(e={"enum": ["a", "b"]}), {"e": "c"}, "e: must be one of ['a', 'b'], not 'c'"),
        (of(z={"pattern": "^[0-9]+$"}), {"z": "x1"}, "z: 'x1' does not fit pattern '^[0-9]+$'"),
        (of(z={"maximum": 3}), {"z": 4}, "z: 4 does not fit maximum 3"),
        (of(z=False), {"z": 4}, "4 does not fit the schema `false`"),
        ({"additionalProperties": False, **of(a={})}, {"a": 1, "b": 2}, "has names that are not allowed: ['b']"),
        (
            {"patternProperties": {"^x_": True}, "additionalProperties": False},
            {"x_": 1, "b": 2},
            "has names that are not allowed: ['b']",
        ),
        ({"patternProperties": {"^x_": {"type": "number"}}}, {"x_a": True}, "x_a: must be of type number, not true"),
        ({"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}, {"a": 1, "b": 1}, "fits more than one schema of oneOf"),
        (
            {"anyOf": [of(a={"type": "null"}), of(a={"type": "number"})]},
            {"a": []},
            "a: must be of type null, not [] or",
        ),
        (of(l={"uniqueItems": True}), {"l": [1, {"a": 1}, {"a": 1.0}]}, "does not fit uniqueItems true"),
        ({"if": {"required": ["a"]}, "then": {"required": ["b"]}}, {"a": 1}, "needs 'b'"),
        ({"$schema": DRAFT_7, "dependencies": {"a": ["b"]}}, {"a": 1}, "does not fit dependencies"),
        ({"unevaluatedProperties": False, **of(a={})}, {"b": 1}, "does not fit unevaluatedProperties false"),
    ],
)
def test_what_does_not_fit(schema: Any, fields: dict[str, Any], told: str) -> None:
    assert told in fault(schema, fields)


@pytest.mark.parametrize("schema", [None, {}])
def test_no_schema_asks_for_nothing(schema: Any) -> None:
    assert compile_input_schema(schema) is None


@pytest.mark.parametrize(
    ("schema", "path", "message"),
    [
        ([], "", "must be an object, not []"),
        (False, "", "must be an object, not false"),
        ({"type": "objct"}, ".type", "'objct' is not valid"),
        (of(a={"minLength": "1"}), ".properties.a.minLength", "not of type 'integer'"),
        ({"allOf": [{"required": "a"}]}, ".allOf[0].required", "not of type 'array'"),
        ({"$schema": "https://example.com/mine"}, ".$schema", "no dialect 'https://example.com/mine'"),
        ({"$schema": 7}, ".$schema", "no dialect 7"),
        ({"$schema": DRAFT_7, "required": "a"}, ".required", "not of type 'array'"),
        (of(a={"$schema": DRAFT_7}), ".properties.a.$schema", "only at the top"),
        (of(a={"pattern": "a(?!b)"}), ".properties.a.pattern", "\n  a(?!b)\n   ^"),
        ({"$defs": {"a": {"pattern": "("}}}, ".$defs.a.pattern", "not supported"),
        ({"patternProperties": {"(a)\\1": {}}}, ".patternProperties", "without look-around and back-references"),
        ({"$ref": "#/components/a", "components": {"a": {"pattern": "("}}}, ".components.a.pattern", "not supported"),
        ({"$ref": "#/default", "default": {"pattern": "("}}, ".$ref.pattern", "not supported"),
        ({"$ref": "https://example.com/schema.json"}, ".$ref", "nothing is fetched: put it under $defs"),
        (of(a={"$ref": "file:///etc/passwd"}), ".properties.a.$ref", "nothing in this schema"),
        (of(a={"$ref": "#/$defs/none"}), ".properties.a.$ref", "'#/$defs/none' is nothing in this schema"),
        (of(a={"$ref": "other.json"}), ".properties.a.$ref", "nothing in this schema"),
        (of(a={"$dynamicRef": "#none"}), ".properties.a.$dynamicRef", "nothing in this schema"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, ".$ref", "nothing in this schema"),
        ({"$id": "https://example.com/a/", **of(a={"$ref": "b"})}, ".properties.a.$ref", "nothing in this schema"),
        ({"$ref": "#"}, "", "leads to itself"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#/$defs/a"}}}, "", "leads to itself"),
        ({"patternProperties": {"a": {}}, "allOf": [{"unevaluatedProperties": False}]}, "", "use one of them"),
    ],
)
def test_refused(schema: Any, path: str, message: str) -> None:
    assert message in problems(schema)["target.input_schema" + path]


def test_every_problem_is_reported() -> None:
    schema = of(a={"pattern": "("}, b={"$ref": "https://example.com"}, c={"patternProperties": {"(?=a)": {}}})
    assert set(problems(schema)) == {
        "target.input_schema.properties.a.pattern",
        "target.input_schema.properties.b.$ref",
        "target.input_schema.properties.c.patternProperties",
    }


def test_a_schema_that_is_nested_without_end_is_refused() -> None:
    schema: dict[str, Any] = {}
    for _ in range(2_000):
        schema = {"not": schema}
    assert "nested too deeply" in problems(schema)["target.input_schema"]


def test_nothing_is_fetched(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: Any, **_names: Any) -> Any:
        raise AssertionError("a connection was made")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    for reference in (
        "http://127.0.0.1:1/schema.json",
        "https://example.com/s",
        "ftp://example.com/s",
        "//example.com",
    ):
        assert "nothing is fetched" in problems({"$ref": reference})["target.input_schema.$ref"]


def test_no_cell_stalls_a_row() -> None:
    """A backtracking engine takes 2 ** 50_000 steps; comparing each item with each other one, 10 ** 9."""
    assert "pattern" in fault(of(a={"pattern": "^(a+)+$"}), {"a": "a" * 50_000 + "!"})
    name = "a" * 10_000 + "!"
    assert fault({"patternProperties": {"^(a+)+$": False}}, {name: 1}) == ""
    assert "not allowed" in fault({"patternProperties": {"^(a+)+$": True}, "additionalProperties": False}, {name: 1})
    assert fault(of(a={"uniqueItems": True}), {"a": [{"n": number} for number in range(30_000)]}) == ""


@pytest.mark.parametrize(
    "schema",
    [
        of(a={"type": "number"}),
        of(a={"const": "y"}),
        of(a={"maxLength": 5}),
        of(a={"enum": ["y"]}),
        of(a={"anyOf": [{"type": "number"}, {"const": 5}]}),
        of(a={"not": {}}),
        of(b={"additionalProperties": False}),
        of(b={"propertyNames": {"maxLength": 5}}),
        of(b={"additionalProperties": {"type": "number"}}),
        of(c={"items": False}),
        of(c={"contains": {"const": 1}}),
    ],
)
def test_little_of_what_a_row_holds_is_told(schema: Any) -> None:
    secret = "".join(chr(0x4E00 + number) for number in range(3_000))
    told = fault(schema, {"a": secret, "b": {secret: secret}, "c": [secret, {"d": secret}]})
    assert told
    longest = max(size for size in range(200) if secret[:size] in told)
    assert longest <= 60


def test_a_row_of_many_faults_is_told_three() -> None:
    told = fault({"additionalProperties": {"type": "number"}}, {f"f{number}": "" for number in range(1_000)})
    assert told.count("must be of type") == 3


def test_a_schema_that_loops_for_some_rows_is_that_rows_trouble() -> None:
    schema = of(a={"$ref": "#/$defs/a"})
    schema["$defs"] = {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}
    assert fault(schema, {}) == ""
    assert "cannot be checked against the target's input_schema (RecursionError)" in fault(schema, {"a": 1})


# -- required fields


@pytest.mark.parametrize(
    ("schema", "names", "told"),
    [
        ({"required": ["text"]}, ["txt", "id"], "no field 'text' (did you mean 'txt'?)"),
        ({"required": ["text", "lang"]}, ["id"], "'text' (known: 'id'), 'lang' (known: 'id')"),
    ],
)
def test_a_field_that_no_row_can_have(schema: Any, names: list[str], told: str) -> None:
    with pytest.raises(BatchRefused) as refused:
        check_required(schema, names)
    (problem,) = refused.value.problems
    assert problem.path == "input_mapping"
    assert told in problem.message


@pytest.mark.parametrize(
    "schema",
    [
        None,
        {},
        {"required": ["id"]},
        {"required": []},
        SENTIMENT,
        {"if": {"required": ["a"]}, "then": {"required": ["b"]}},
        of(o={"required": ["a"]}),
        {"$schema": DRAFT_7, "$ref": "#/definitions/a", "required": ["a"], "definitions": {"a": {}}},
    ],
)
def test_what_is_not_certain_is_left_to_the_rows(schema: Any) -> None:
    check_required(schema, ["id"])


@pytest.mark.parametrize(
    ("target", "source", "mapping"),
    [
        ("sentiment", "product_reviews.csv", "sentiment.yaml"),
        ("sentiment", "product_reviews.csv", None),
        ("broadband-agent", "addresses.csv", "broadband.yaml"),
        ("echo", "mixed_fates.csv", "mixed_fates_mended.yaml"),
        ("echo", "mixed_fates.csv", None),
    ],
)
def test_every_row_of_the_examples_fits(target: str, source: str, mapping: str | None) -> None:
    listed = yaml.safe_load((EXAMPLES / "targets.yaml").read_text())["targets"]
    schema = next(one["input_schema"] for one in listed if one["name"] == target)
    asked = yaml.safe_load((EXAMPLES / "mappings" / mapping).read_text())["input_mapping"] if mapping else None
    with (EXAMPLES / source).open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    plan = replace(compile_input_mapping(asked, header), schema=compile_input_schema(schema))
    check_required(schema, plan.names)
    for row in rows:
        if len(row) == len(header):
            plan.fields(dict(zip(header, row, strict=True)))


# -- against the library's own words, and whatever comes

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("ab1", max_size=3),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab", max_size=2), inner, max_size=3),
    max_leaves=10,
)
LEAVES = st.sampled_from(
    [
        {},
        True,
        False,
        {"type": "string"},
        {"type": ["number", "null"]},
        {"pattern": "^a+b?$"},
        {"uniqueItems": True},
        {"multipleOf": 0.1},
        {"enum": [1, "a", None]},
        {"required": ["a"]},
        {"maxProperties": 1},
        {"$ref": "#/$defs/d"},
        {"dependentRequired": {"a": ["b"]}},
    ]
)
SCHEMAS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(
            st.sampled_from(["properties"]), st.dictionaries(st.sampled_from(["a", "b"]), inner), min_size=1
        ),
        st.fixed_dictionaries({"patternProperties": st.dictionaries(st.sampled_from(["^a", "b$"]), inner)}),
        st.fixed_dictionaries({"patternProperties": st.just({"^a": True}), "additionalProperties": inner}),
        st.fixed_dictionaries({"items": inner}),
        st.fixed_dictionaries({"anyOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"oneOf": st.lists(inner, min_size=1, max_size=3)}),
        st.fixed_dictionaries({"not": inner}),
        st.fixed_dictionaries({"if": inner, "then": inner, "else": inner}),
    ),
    max_leaves=6,
)


@given(schema=SCHEMAS, fields=st.dictionaries(st.text("ab", max_size=2), VALUES, max_size=3))
def test_the_same_rows_fit_as_by_the_standard(schema: Any, fields: dict[str, Any]) -> None:
    """And check() raises nothing else, whatever it is given."""
    whole = {"allOf": [schema], "$defs": {"d": {"minLength": 2}}}
    assert (fault(whole, fields) == "") == jsonschema.Draft202012Validator(whole).is_valid(fields)


def test_the_library_is_loaded_for_a_schema_alone() -> None:
    code = (
        "import sys; from service.mapping.schema import compile_input_schema as c; c(None); "
        "heavy = {'jsonschema', 'referencing', 're2', 'jmespath'}; assert not heavy & sys.modules.keys(); "
        "c({'type': 'object'}); assert 'jsonschema' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_messages_are_json_ready() -> None:
    told = fault(of(a={"type": "number"}), {"a": "\x00é\n😀"})
    assert json.loads(json.dumps(told)) == told
    assert "\n" not in told
