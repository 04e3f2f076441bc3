"""A target as the APIs of language models want a tool described."""

from __future__ import annotations

import re
from typing import Any

from service.errors import BatchRefused, Problem
from service.excerpt import excerpt
from service.mapping.schema_keywords import referred

# Of Bedrock (ToolSpecification in botocore's model of bedrock-runtime), and no other is wider.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_COMBINED = ("anyOf", "oneOf", "allOf")
_NOT_AT_THE_TOP = (*_COMBINED, "type", "enum", "not")
_KEY = re.compile(r"[a-zA-Z0-9_.-]{1,64}")  # Anthropic's answer to others: "Property keys should match pattern …"
_DEEPEST = 20  # references in each other
_LONGEST = 1024  # characters of a description, of OpenAI's functions


def definition(api: str, name: str, description: str, input_schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return a tool's definition for one of APIS; raises BatchRefused where the API would refuse it."""
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name of a tool for these APIs: letters, digits, _ and -, at most 64"
        raise BatchRefused([Problem("tool_name", f"{message}; register it under another name")])
    # Anthropic and OpenAI refuse these at the top; what they say is checked when the tool is called. OpenAI wants
    # properties, also where there are none.
    kept = {key: value for key, value in (input_schema or {}).items() if key not in _NOT_AT_THE_TOP}
    schema = {"type": "object", "properties": {}, **kept}
    odd = [key for key in schema["properties"] if not _KEY.fullmatch(key)] if api == "anthropic" else []
    if odd:
        message = f"{odd[0]!r} is no name of a field for this API: letters, digits, _ . and -, at most 64"
        raise BatchRefused([Problem(f"input_schema.properties.{odd[0]}", message)])
    return APIS[api](name, excerpt(description or name, _LONGEST), schema)


def _anthropic(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Messages API: an entry of `tools`."""
    return {"name": name, "description": description, "input_schema": schema}


def _openai(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Responses API: an entry of `tools`. Not strict: that would make every property required."""
    return {"type": "function", "name": name, "description": description, "parameters": schema, "strict": False}


def _openai_chat(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Chat Completions API: an entry of `tools`."""
    return {"type": "function", "function": {"name": name, "description": description, "parameters": schema}}


def _bedrock(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Converse API: an entry of `toolConfig.tools`."""
    return {"toolSpec": {"name": name, "description": description, "inputSchema": {"json": schema}}}


def _mcp(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Model Context Protocol: an entry of the answer to `tools/list`."""
    hints = {"readOnlyHint": False, "destructiveHint": False, "idempotentHint": False, "openWorldHint": True}
    return {"name": name, "description": description, "inputSchema": schema, "annotations": hints}


def _agentcore(name: str, description: str, schema: dict[str, Any]) -> dict[str, Any]:
    """Bedrock AgentCore Gateway: an entry of a Lambda target's `toolSchema.inlinePayload`."""
    return {"name": name, "description": description, "inputSchema": simple(schema, schema)}


def simple(schema: Any, root: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of what a gateway knows: type, properties, required, items and description.

    SchemaDefinition in botocore's model of bedrock-agentcore-control. A value of several types is a text where it may
    be one, else of the first; what is left out is checked when the tool is called.
    """
    whole = _resolved(schema, root)
    kind = whole.get("type") or ("object" if "properties" in whole else "array" if "items" in whole else "string")
    kinds = [one for one in (kind if isinstance(kind, list) else [kind]) if one != "null"]
    made: dict[str, Any] = {"type": "string" if "string" in kinds or not kinds else kinds[0]}
    if isinstance(whole.get("description"), str):
        made["description"] = whole["description"]
    properties = whole.get("properties")
    if made["type"] == "object" and isinstance(properties, dict):
        made["properties"] = {name: simple(one, root) for name, one in properties.items()}
        required = [name for name in whole.get("required", ()) if name in properties]
        made |= {"required": required} if required else {}
    if made["type"] == "array":
        made["items"] = simple(whole.get("items"), root)
    return made


def _resolved(schema: Any, root: dict[str, Any], depth: int = 0) -> dict[str, Any]:
    """Return a schema with what it refers to and the alternative that is taken; {} of what is none."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return {}
    found = {key: value for key, value in schema.items() if key not in (*_COMBINED, "$ref")}
    if isinstance(schema.get("$ref"), str):
        found = {**_resolved(referred(root, schema["$ref"]), root, depth + 1), **found}
    for part in schema.get("allOf") or ():
        found = {**_resolved(part, root, depth + 1), **found}
    choices = [_resolved(one, root, depth + 1) for one in schema.get("anyOf") or schema.get("oneOf") or ()]
    choices = [one for one in choices if one and one.get("type") != "null"]
    chosen = next((one for one in choices if one.get("type") == "string"), choices[0] if choices else {})
    return {**chosen, **found}


APIS = {
    "agentcore": _agentcore,
    "anthropic": _anthropic,
    "openai": _openai,
    "openai-chat": _openai_chat,
    "bedrock": _bedrock,
    "mcp": _mcp,
}
