"""Tools as the APIs of language models want them, judged by the APIs' own types."""

from __future__ import annotations

from typing import Any

import botocore.session
import pytest
from anthropic.types import ToolParam
from botocore.validate import ParamValidator
from jsonschema import Draft202012Validator
from mcp_types import Tool
from openai.types.chat import ChatCompletionFunctionToolParam
from openai.types.responses import FunctionToolParam
from pydantic import TypeAdapter

from service.console.definitions import APIS, definition
from service.errors import BatchRefused
from service.request import own_tool
from service.steps import agent_tools

COMBINED = {"properties": {"a": {"type": "string"}}, "anyOf": [{"required": ["a"]}], "type": "object"}
SCHEMAS = [own_tool.input_schema(), COMBINED, None, {}, {"description": "Anything.", "type": ["object", "null"]}]


def bedrock(made: Any) -> None:
    shape = botocore.session.get_session().get_service_model("bedrock-runtime").shape_for("Tool")
    assert ParamValidator().validate(made, shape).generate_report() == ""


def agentcore(made: Any) -> None:
    model = botocore.session.get_session().get_service_model("bedrock-agentcore-control")
    shape = model.shape_for("ToolDefinition")
    assert ParamValidator().validate(made, shape).generate_report() == ""
    allowed = model.shape_for("SchemaType").enum
    assert all(kind in allowed for kind in types_of(made["inputSchema"]))


def types_of(schema: Any) -> Any:
    yield schema["type"]
    for inner in (*schema.get("properties", {}).values(), *([schema["items"]] if "items" in schema else [])):
        yield from types_of(inner)


JUDGES = {
    "agentcore": agentcore,
    "anthropic": TypeAdapter(ToolParam).validate_python,
    "openai": TypeAdapter(FunctionToolParam).validate_python,
    "openai-chat": TypeAdapter(ChatCompletionFunctionToolParam).validate_python,
    "bedrock": bedrock,
    "mcp": Tool.model_validate,
}


def schema_of(made: Any) -> Any:
    """The schema of the input, wherever an API has it."""
    inner = made.get("function") or made.get("toolSpec") or made
    found = inner.get("input_schema") or inner.get("parameters") or inner.get("inputSchema")
    return found.get("json", found)


@pytest.mark.parametrize("schema", SCHEMAS, ids=["own", "combined", "none", "empty", "of two types"])
@pytest.mark.parametrize("api", APIS)
def test_an_api_takes_it(api: str, schema: Any) -> None:
    made = definition(api, own_tool.NAME, own_tool.DESCRIPTION, schema)
    JUDGES[api](made)
    given = schema_of(made)
    Draft202012Validator.check_schema(given)
    assert given["type"] == "object"
    assert not {"anyOf", "oneOf", "allOf"} & given.keys()


@pytest.mark.parametrize("api", APIS)
def test_every_api_has_a_judge_that_refuses(api: str) -> None:
    made = definition(api, own_tool.NAME, own_tool.DESCRIPTION, own_tool.input_schema())
    (made.get("function") or made.get("toolSpec") or made).pop("name")
    with pytest.raises((ValueError, AssertionError)):
        JUDGES[api](made)


@pytest.mark.parametrize("name", ["two words", "", "a" * 65, "größe"])
def test_a_name_that_they_refuse_is_refused(name: str) -> None:
    with pytest.raises(BatchRefused, match="register it under another name"):
        definition("anthropic", name, "x", None)


def test_a_gateway_has_the_two_tools_of_the_function() -> None:
    made = [definition("agentcore", *one) for one in own_tool.tools_that_do_not_wait()]
    assert [one["name"] for one in made] == list(agent_tools.TOOLS)
    for one in made:
        agentcore(one)
    start = made[0]["inputSchema"]
    assert start["required"] == ["name"]
    assert start["properties"]["target"]["type"] == "string"
    assert start["properties"]["execution_config"]["properties"]["retry_policy"]["type"] == "object"
    assert set(start["properties"]) == {"name", *own_tool.input_schema()["properties"]}


ODD: list[Any] = [
    {"type": "object", "properties": {"text": True, "none": False}},
    {"type": "object", "properties": {"list": {"items": [{"type": "string"}]}, "any": {"anyOf": [True, None]}}},
    {"type": "object", "properties": {"a": {"$ref": "#/$defs/a"}}, "$defs": {"a": {"$ref": "#/$defs/a"}}},
]


@pytest.mark.parametrize("schema", ODD, ids=["true", "items", "circle"])
def test_a_gateway_takes_odd_schemas(schema: Any) -> None:
    agentcore(definition("agentcore", "odd", "x", schema))


def test_a_gateway_has_the_types_of_what_is_referred_to_and_of_alternatives() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"$ref": "#/$defs/a"},
            "b": {"allOf": [{"properties": {"x": {"type": "integer"}}}]},
            "c": {"anyOf": [{"type": "null"}, {"type": "integer"}]},
            "d": {"items": {"type": "number"}},
        },
        "$defs": {"a": {"type": "object", "properties": {"y": {"type": "boolean"}}}},
    }
    made = definition("agentcore", "typed", "x", schema)["inputSchema"]["properties"]
    assert [made[name]["type"] for name in "abcd"] == ["object", "object", "integer", "array"]
    assert made["a"]["properties"]["y"]["type"] == "boolean"
    assert made["d"]["items"]["type"] == "number"


def test_what_an_api_refuses_is_refused_here_or_cut() -> None:
    with pytest.raises(BatchRefused, match="Größe"):
        definition("anthropic", "x", "x", {"type": "object", "properties": {"Größe in cm": {"type": "number"}}})
    made = definition("openai", "x", "y" * 3000, None)
    assert len(made["description"]) <= 1024
    assert made["parameters"] == {"type": "object", "properties": {}}
