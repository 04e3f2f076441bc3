"""A target as the APIs of language models want a tool described."""

from __future__ import annotations

import re
from typing import Any

from service.errors import BatchRefused, Problem

# Of Bedrock (ToolSpecification in botocore's model of bedrock-runtime), and no other is wider.
_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_COMBINED = ("anyOf", "oneOf", "allOf")


def definition(api: str, name: str, description: str, input_schema: dict[str, Any] | None) -> dict[str, Any]:
    """Return a tool's definition for one of APIS; raises BatchRefused where the API would refuse it."""
    if not _NAME.fullmatch(name):
        message = f"{name!r} is no name of a tool for these APIs: letters, digits, _ and -, at most 64"
        raise BatchRefused([Problem("tool_name", f"{message}; register it under another name")])
    schema = input_schema or {"type": "object"}
    if schema.get("type") != "object" or any(key in schema for key in _COMBINED):
        # Both are refused at the top by Anthropic and OpenAI; what they say is checked when the tool is called.
        schema = {"type": "object", **{key: value for key, value in schema.items() if key not in (*_COMBINED, "type")}}
    return APIS[api](name, description or name, schema)


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
    return {"name": name, "description": description, "inputSchema": simple(schema)}


def simple(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema of what a gateway knows: type, properties, required, items and description.

    SchemaDefinition in botocore's model of bedrock-agentcore-control. A value of several types is a text where it may
    be one, else of the first; what is left out is checked when the tool is called.
    """
    choices = schema.get("anyOf") or schema.get("oneOf") or ()
    chosen = next((one for one in choices if one.get("type") == "string"), choices[0] if choices else {})
    whole = {**chosen, **{key: value for key, value in schema.items() if key not in _COMBINED}}
    kind = whole.get("type", "object" if "properties" in whole else "string")
    kinds = [one for one in (kind if isinstance(kind, list) else [kind]) if one != "null"]
    made: dict[str, Any] = {"type": "string" if "string" in kinds or not kinds else kinds[0]}
    if "description" in whole:
        made["description"] = whole["description"]
    if made["type"] == "object" and "properties" in whole:
        made["properties"] = {name: simple(one) for name, one in whole["properties"].items()}
        required = [name for name in whole.get("required", ()) if name in made["properties"]]
        made |= {"required": required} if required else {}
    if made["type"] == "array":
        made["items"] = simple(whole.get("items") or {})
    return made


APIS = {
    "agentcore": _agentcore,
    "anthropic": _anthropic,
    "openai": _openai,
    "openai-chat": _openai_chat,
    "bedrock": _bedrock,
    "mcp": _mcp,
}
