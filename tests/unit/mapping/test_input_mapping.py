"""The input mapping: its forms, its refusals, and what targets are given."""

from __future__ import annotations

import json
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import BatchRefused
from service.mapping.conversions import TYPES, RowNotMapped, convert
from service.mapping.envelope import target_input
from service.mapping.input_mapping import compile_input_mapping

COLUMNS = ["id", "Title", "body text", "postal_code"]
ROW = {"id": "7", "Title": "Dune", "body text": "{id} sand", "postal_code": "01234"}


def problems_of(mapping: Any, columns: list[str] = COLUMNS) -> dict[str, str]:
    with pytest.raises(BatchRefused) as refused:
        compile_input_mapping(mapping, columns)
    return {problem.path: problem.message for problem in refused.value.problems}


@pytest.mark.parametrize(
    ("mapping", "fields"),
    [
        pytest.param(None, ROW, id="no mapping passes all"),
        pytest.param({}, ROW, id="an empty mapping passes all"),
        pytest.param({"column_mappings": {}}, ROW, id="empty column_mappings pass all"),
        pytest.param({"column_mappings": None, "columns": []}, ROW, id="null is absent"),
        pytest.param({"column_mappings": {"Title": "name", "id": "id"}}, {"name": "Dune", "id": "7"}, id="long"),
        pytest.param({"Title": "name", "body text": "text"}, {"name": "Dune", "text": "{id} sand"}, id="short"),
        pytest.param({"title": "name"}, {"name": "Dune"}, id="column in another case"),
        pytest.param({"Title": None, "id": "n"}, {"Title": "Dune", "n": "7"}, id="null keeps the name"),
        pytest.param(
            {"columns": [{"name": "a", "source": "id"}, {"name": "Title"}, {"name": "b", "source": "id"}]},
            {"a": "7", "Title": "Dune", "b": "7"},
            id="columns, one of them twice",
        ),
        pytest.param({"include_columns": ["postal_code", "TITLE"]}, {"postal_code": "01234", "Title": "Dune"}, id="in"),
        pytest.param({"exclude_columns": ["body text", "id"]}, {"Title": "Dune", "postal_code": "01234"}, id="ex"),
        pytest.param(
            {"column_mappings": {"Title": "name"}, "include_columns": ["id"]}, {"name": "Dune", "id": "7"}, id="map+in"
        ),
        pytest.param(
            {"column_mappings": {"Title": "name"}, "exclude_columns": ["id", "body text"]},
            {"name": "Dune", "postal_code": "01234"},
            id="renamed, and all others but the excluded",
        ),
        pytest.param({"static_values": {"lang": "en"}}, {**ROW, "lang": "en"}, id="static alone adds to all"),
        pytest.param(
            {"column_mappings": {"id": "id"}, "static_values": {"o": {"k": [1, None, True]}, "e": ""}},
            {"id": "7", "o": {"k": [1, None, True]}, "e": ""},
            id="static beside a selection",
        ),
        pytest.param(
            {"include_columns": [], "static_values": {"lang": "en"}}, {"lang": "en"}, id="an empty list selects none"
        ),
        pytest.param({"envelope": "none"}, ROW, id="envelope alone passes all"),
    ],
)
def test_fields_of_a_row(mapping: Any, fields: dict[str, Any]) -> None:
    made = compile_input_mapping(mapping, COLUMNS).fields(ROW)
    assert made == fields
    assert list(made) == list(fields)


@pytest.mark.parametrize(
    ("kind", "config", "value"),
    [
        ("concat", {"columns": ["Title", "id"]}, "Dune 7"),
        ("concat", {"columns": ["Title", "id", "Title"], "separator": "-"}, "Dune-7-Dune"),
        ("concat", {"columns": ["title", "id"], "separator": ""}, "Dune7"),
        ("concat", {"columns": ["title", "id"], "separator": None}, "Dune 7"),
        ("template", {"template": "Rate {Title} ({ID})."}, "Rate Dune (7)."),
        ("template", {"template": "{body text}|{body text}"}, "{id} sand|{id} sand"),
        ("template", {"template": 'Answer {{"id": {id}}}'}, 'Answer {"id": 7}'),
        ("template", {"template": "{{{id}}}"}, "{7}"),
        ("template", {"template": "{{x}} {id}"}, "{x} 7"),
        ("template", {"template": "{{}} {{ID: {id}}}"}, "{} {ID: 7}"),
    ],
)
def test_transformations(kind: Any, config: dict[str, Any], value: str) -> None:
    mapping = {"include_columns": [], "transformations": {"made": {"type": kind, "config": config}}}
    assert compile_input_mapping(mapping, COLUMNS).fields(ROW) == {"made": value}


def test_columns_used_are_those_the_plan_reads_in_source_order() -> None:
    mapping = {
        "column_mappings": {"postal_code": "zip"},
        "transformations": {"prompt": {"type": "template", "config": {"template": "{title} {id}"}}},
    }
    assert compile_input_mapping(mapping, COLUMNS).columns_used == ("id", "Title", "postal_code")
    assert compile_input_mapping(None, COLUMNS).columns_used == tuple(COLUMNS)
    assert compile_input_mapping({"exclude_columns": ["id"]}, COLUMNS).columns_used == tuple(COLUMNS[1:])


@pytest.mark.parametrize(
    ("mapping", "columns", "fields"),
    [
        ({"columns": "cols"}, ["columns"], {"cols": "v"}),
        ({"envelope": "letter"}, ["envelope"], {"letter": "v"}),
        ({"regex": "pattern"}, ["regex"], {"pattern": "v"}),
        ({"static_values": {"x": 1}}, ["static_values"], {"static_values": "v", "x": 1}),
    ],
)
def test_short_form_of_a_column_that_is_called_like_a_key(
    mapping: Any, columns: list[str], fields: dict[str, Any]
) -> None:
    assert compile_input_mapping(mapping, columns).fields({columns[0]: "v"}) == fields


@pytest.mark.parametrize(
    ("mapping", "path", "message"),
    [
        ({"column_mappings": {"titel": "t"}}, "column_mappings.titel", "did you mean 'Title'?"),
        ({"titel": "t"}, "titel", "no column 'titel': did you mean 'Title'?"),
        ({"column_mapping": {"id": "i"}}, "column_mapping", "did you mean 'column_mappings'"),
        ({"id": "i", "static_values": {"x": 1}}, "id", "put it under column_mappings"),
        ({"column_mappings": ["id"]}, "column_mappings", "must be an object, not ['id']"),
        ({"include_columns": "id"}, "include_columns", "must be a list, not 'id'"),
        ({"include_columns": [3]}, "include_columns[0]", "must be a text, not 3"),
        ({"column_mappings": {"id": 3}}, "column_mappings.id", "must be a text, not 3"),
        ({"column_mappings": {"id": ""}}, "column_mappings.id", "needs a name"),
        ({"column_mappings": {"id": "x", "Title": "x"}}, "column_mappings.Title", "column 'id' and column 'Title'"),
        ({"static_values": {"id": 1}}, "static_values.id", "two sources, column 'id' and static_values"),
        ({"static_values": {"day": date(2024, 1, 1)}}, "static_values.day", "write dates as text"),
        ({"static_values": {"x": float("nan")}}, "static_values.x", "not a JSON value"),
        ({"columns": ["id"]}, "columns[0]", "must be an object"),
        ({"columns": [{"source": "id"}]}, "columns[0]", "needs a name"),
        ({"columns": [{"name": "x", "source": "idd"}]}, "columns[0].source", "did you mean 'id'"),
        ({"columns": [{"name": "i", "from": "id"}]}, "columns[0].from", "unknown key"),
        ({"exclude_columns": ["secret"]}, "exclude_columns[0]", "known: 'id', 'Title', 'body text', 'postal_code'"),
        ({"exclude_columns": ["id"], "include_columns": ["id"]}, "exclude_columns", "give one of them"),
        ({"column_mappings": {"id": "x"}, "exclude_columns": ["id"]}, "exclude_columns", "mapped to a field"),
        ({"include_columns": []}, "", "gives the target no field"),
        ({"envelope": "bare"}, "envelope", "known: 'default', 'none'"),
        ({"conversions": {"id": "int"}}, "conversions", "unknown key"),
        ({"types": {"idd": "number"}}, "types.idd", "no field 'idd': did you mean 'id'?"),
        ({"types": {"id": "int"}}, "types.id", "no type 'int': did you mean 'integer'?"),
        ({"types": {"id": ["number"]}}, "types.id", "no type ['number']"),
        ({"types": {"id": 3}}, "types.id", "known: 'number', 'integer', 'boolean', 'json', 'string'"),
        ({"types": ["id"]}, "types", "must be an object"),
        ({"id": "i", "types": {"id": "number"}}, "id", "put it under column_mappings"),
        ({"column_mappings": {"id": "i"}, "types": {"id": "number"}}, "types.id", "no field 'id': did you mean 'i'"),
        ({"static_values": {"x": 1}, "types": {"x": "string"}}, "types.x", "has the type it is written with"),
        ({"columns": [{"name": "id", "type": "nubmer"}]}, "columns[0].type", "did you mean 'number'"),
        (
            {"columns": [{"name": "id", "type": "number"}], "types": {"id": "string"}},
            "types.id",
            "has a type already, at input_mapping.columns[0].type",
        ),
        ({"static_values": {"x": "\ud800"}}, "static_values.x", "half of a character"),
    ],
)
def test_refused(mapping: Any, path: str, message: str) -> None:
    found = problems_of(mapping)
    assert message in found["input_mapping" + (f".{path}" if path else "")]


@pytest.mark.parametrize(
    ("spec", "path", "message"),
    [
        ({"type": "jsonpath", "config": {"path": "a"}}, ".config.column", "must be a text, not null"),
        ({"type": "jsonpath", "config": {"column": "idd", "path": "a"}}, ".config.column", "did you mean 'id'?"),
        ({"type": "jsonpath", "config": {"source": "idd", "path": "a"}}, ".config.source", "did you mean 'id'?"),
        (
            {"type": "jsonpath", "config": {"column": "id", "source": "id", "path": "a"}},
            ".config.source",
            "one of them",
        ),
        ({"type": "jsonpath", "config": {"column": "id"}}, ".config.path", "must be a text, not null"),
        (
            {"type": "jsonpath", "config": {"column": "id", "path": "$.a["}},
            ".config.path",
            "too early\n  $.a[\n      ^",
        ),
        ({"type": "jsonpath", "config": {"column": "id", "path": "$..a"}}, ".config.path", "\n  $..a\n    ^"),
        ({"type": "jsonpath", "config": {"column": "id", "pth": "a"}}, ".config.pth", "did you mean 'path'"),
        (
            {"type": "jsonpath", "config": {"column": "id", "path": "a", "default": date(2024, 1, 1)}},
            ".config.default",
            "write dates as text",
        ),
        ({"type": "regex", "config": {"column": "id"}}, ".config.pattern", "must be a text, not null"),
        ({"type": "regex", "config": {"column": "id", "pattern": "(?=a)"}}, ".config.pattern", "not supported"),
        ({"type": "regex", "config": {"column": "id", "pattern": "(a)\\1"}}, ".config.pattern", "^"),
        ({"type": "regex", "config": {"column": "id", "pattern": "a("}}, ".config.pattern", "not supported"),
        ({"type": "regex", "config": {"column": "id", "pattern": "a", "group": 1}}, ".config.group", "no group 1"),
        ({"type": "regex", "config": {"column": "id", "pattern": "(a)", "group": True}}, ".config.group", "group true"),
        (
            {"type": "regex", "config": {"column": "id", "pattern": "(?P<x>a)", "group": "y"}},
            ".config.group",
            "1 groups, named 'x', and 0 is the whole match",
        ),
        ({"type": "conct", "config": {}}, ".type", "did you mean 'concat'?"),
        ({"config": {}}, ".type", "unknown transformation null"),
        ({"type": ["concat"], "config": {}}, ".type", "unknown transformation ['concat']"),
        ("concat", "", "must be an object"),
        ({"type": "concat", "columns": ["id"]}, ".columns", "unknown key"),
        ({"type": "concat"}, ".config", "must be an object, not null"),
        ({"type": "concat", "config": {"columns": []}}, ".config.columns", "at least one"),
        ({"type": "concat", "config": {"columns": ["id", "tilte"]}}, ".config.columns[1]", "'Title'"),
        ({"type": "concat", "config": {"columns": ["id"], "seperator": "-"}}, ".config.seperator", "'separator'"),
        ({"type": "concat", "config": {"columns": ["id"], "separator": 1}}, ".config.separator", "must be a text"),
        ({"type": "template", "config": {}}, ".config.template", "must be a text, not null"),
        ({"type": "template", "config": {"template": "a {titl}"}}, ".config.template", "did you mean 'Title'"),
        ({"type": "template", "config": {"template": "a {{ID}}"}}, ".config.template", "{{ID}} would be the text {ID}"),
        ({"type": "template", "config": {"template": "{id} {{ Title }}"}}, ".config.template", "write {Title} for the"),
        ({"type": "template", "config": {"template": "same\n"}}, ".config.template", "same text: 'same\\n'; write {"),
        ({"type": "template", "config": {"template": ""}}, ".config.template", "uses no column"),
        ({"type": "template", "config": {"template": "a {id"}}, ".config.template", "'{' without its counterpart at"),
        ({"type": "template", "config": {"template": "a id}"}}, ".config.template", "write '}}' for one"),
        ({"type": "template", "config": {"template": "{}"}}, ".config.template", "no column ''"),
    ],
)
def test_refused_transformations(spec: Any, path: str, message: str) -> None:
    assert message in problems_of({"transformations": {"made": spec}})[f"input_mapping.transformations.made{path}"]


def test_every_problem_is_reported() -> None:
    mapping = {
        "column_mappings": {"titel": "t", "id": "x", "Title": "x"},
        "static_values": {"x": 1},
        "transformations": {
            "y": {"type": "regex", "config": {"column": "idd", "pattern": "("}},
            "z": {"type": "template", "config": {"template": "{"}},
        },
        "types": {"t": "text"},
        "colour": 1,
    }
    assert set(problems_of(mapping)) == {
        "input_mapping.column_mappings.titel",
        "input_mapping.column_mappings.Title",
        "input_mapping.static_values.x",
        "input_mapping.transformations.y.config.column",
        "input_mapping.transformations.y.config.pattern",
        "input_mapping.transformations.z.config.template",
        "input_mapping.types.t",
        "input_mapping.colour",
    }


def test_case_is_ignored_only_when_that_is_unambiguous() -> None:
    columns = ["ID", "Id", "name"]
    assert compile_input_mapping({"Id": "x"}, columns).fields({"ID": "1", "Id": "2", "name": "n"}) == {"x": "2"}
    assert "it could be 'ID' or 'Id'" in problems_of({"id": "x"}, columns)["input_mapping.id"]


@pytest.mark.parametrize("mapping", ["all", ["id"], 3])
def test_a_mapping_that_is_no_object_is_refused(mapping: Any) -> None:
    assert "must be an object" in problems_of(mapping)["input_mapping"]


def test_a_row_without_the_column_is_that_rows_trouble() -> None:
    plan = compile_input_mapping({"postal_code": "zip"}, COLUMNS)
    with pytest.raises(RowNotMapped, match="no cell for the column 'postal_code'"):
        plan.fields({"id": "7"})


def test_envelope_is_part_of_the_plan() -> None:
    assert compile_input_mapping(None, COLUMNS).envelope == "default"
    assert compile_input_mapping({"envelope": "none", "exclude_columns": ["id"]}, COLUMNS).envelope == "none"


@pytest.mark.parametrize("kind", ["tool", "agent"])
def test_envelope_none_gives_the_bare_fields(kind: Any) -> None:
    assert target_input(kind, "rate", "row_1", {"prompt": "x"}, "none") == {"prompt": "x"}


def test_a_tool_is_given_its_name_and_the_call() -> None:
    given = target_input("tool", "rate", "row_1", {"a": 1})
    assert given == {"name": "rate", "id": "row_1", "input": {"a": 1}}


@pytest.mark.parametrize(
    ("fields", "prompt"),
    [
        ({"prompt": "Rate it", "id": "7"}, "Rate it"),
        ({"prompt": " ", "id": "7"}, "Id: 7"),
        ({"postal_code": "01234", "größe": "3", "body text": "a\nb"}, "Postal code: 01234\nGröße: 3\nBody text: a\nb"),
        ({"iPhone model": "x", "SKU_ID": "", "_": "u"}, "iPhone model: x\nSKU ID: \n_: u"),
        ({"tags": ["ü", 1], "none": None, "yes": True}, 'Tags: ["ü", 1]\nNone: null\nYes: true'),
        ({"prompt": {"text": "x"}}, 'Prompt: {"text": "x"}'),
    ],
)
def test_an_agent_is_given_a_prompt_and_the_fields(fields: dict[str, Any], prompt: str) -> None:
    given = target_input("agent", "rate", "row_1", fields)
    assert given == {"messages": [{"role": "user", "content": prompt}], "input": fields}
    assert json.loads(json.dumps(given)) == given


def test_an_agent_without_anything_to_say_is_not_called() -> None:
    with pytest.raises(RowNotMapped, match="'prompt' is blank"):
        target_input("agent", "rate", "row_1", {"prompt": " "})
    assert target_input("agent", "rate", "row_1", {"prompt": " "}, "none") == {"prompt": " "}
    assert target_input("tool", "rate", "row_1", {"prompt": ""})["input"] == {"prompt": ""}


def test_names_are_the_fields_of_every_row() -> None:
    mapping = {
        "include_columns": ["id"],
        "static_values": {"lang": "en"},
        "transformations": {"made": {"type": "concat", "config": {"columns": ["Title"]}}},
    }
    plan = compile_input_mapping(mapping, COLUMNS)
    assert plan.names == ("id", "lang", "made") == tuple(plan.fields(ROW))


def test_a_pattern_cannot_stall_a_row() -> None:
    """A backtracking engine takes 2 ** 50_000 steps for this one."""
    config = {"column": "id", "pattern": "^(a+)+$", "default": None}
    plan = compile_input_mapping(
        {"include_columns": [], "transformations": {"x": {"type": "regex", "config": config}}}, ["id"]
    )
    assert plan.fields({"id": "a" * 50_000 + "!"}) == {"x": None}


def test_little_of_a_cell_is_in_a_message() -> None:
    secret = "s3cret" * 100
    spec = {"j": {"type": "jsonpath", "config": {"column": "id", "path": "a"}}}
    for mapping in (
        {"types": {"id": "number"}},
        {"types": {"id": "boolean"}},
        {"types": {"id": "json"}},
        {"transformations": spec},
    ):
        with pytest.raises(RowNotMapped) as refused:
            compile_input_mapping(mapping, ["id"]).fields({"id": secret})
        assert "'id'" in refused.value.message
        assert secret[:40] not in refused.value.message


TRANSFORMS = {
    "j": {"type": "jsonpath", "config": {"column": "a", "path": "$.x[*].y | [0]"}},
    "k": {"type": "jsonpath", "config": {"column": "b", "path": "sum(@)", "default": {"none": None}}},
    "l": {
        "type": "jsonpath",
        "config": {"column": "a", "path": "parse_text(@) || to_number(@) || keys(@)", "default": 0},
    },
    "r": {"type": "regex", "config": {"column": "b", "pattern": "(?P<n>[0-9]+)|x", "group": "n", "default": None}},
    "s": {"type": "regex", "config": {"column": "a", "pattern": "."}},
    "t": {"type": "template", "config": {"template": "{a}/{b}"}},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyz"), inner, max_size=3),
    max_leaves=8,
)
CELLS = st.one_of(
    st.text(),
    st.text(alphabet='0123456789.eE+-_, naif"'),
    JSON.map(json.dumps),
    st.sampled_from(
        ["[" * 5_000, "1" * 5_000, "1e999", "1e-99999999999999999999", '"\\ud800"', "{}", " ", "\ud800", "nul"]
    ),
)


@given(
    row=st.dictionaries(st.sampled_from("abc"), CELLS) | st.fixed_dictionaries({"a": CELLS, "b": CELLS}),
    names=st.lists(st.sampled_from(list(TRANSFORMS)), max_size=3, unique=True),
    types=st.dictionaries(st.sampled_from(["a", "b", *TRANSFORMS]), st.sampled_from(list(TYPES)), max_size=3),
)
def test_a_row_is_mapped_or_refused_whatever_it_holds(
    row: dict[str, str], names: list[str], types: dict[str, str]
) -> None:
    types = {name: kind for name, kind in types.items() if name in ("a", "b", *names)}
    plan = compile_input_mapping(
        {"transformations": {name: TRANSFORMS[name] for name in names}, "types": types}, ["a", "b"]
    )
    try:
        fields = plan.fields(row)
    except RowNotMapped as refused:
        assert refused.message  # noqa: PT017 - one of two good ends
        return
    assert tuple(fields) == plan.names
    made = [value for name, value in fields.items() if name in types or name in TRANSFORMS]
    assert json.loads(json.dumps(made, allow_nan=False)) == made


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**53), 2**53))
def test_a_number_stays_what_it_is(number: float) -> None:
    found = convert("number", repr(number))
    assert found == number
    assert type(found) is type(number)


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_number_is_exact_or_refused(number: Decimal) -> None:
    try:
        found = convert("number", str(number))
    except ValueError as refused:
        assert "digits" in str(refused) or "no number" in str(refused)  # noqa: PT017
        return
    assert Decimal(repr(found)) == number


@given(CELLS)
def test_json_is_as_it_was_written(cell: str) -> None:
    try:
        found = convert("json", cell)
    except ValueError:
        return
    assert found is None or json.loads(cell) == found
