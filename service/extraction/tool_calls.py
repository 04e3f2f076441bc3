"""Tool calls and tool results, as the blocks and messages of different makers hold them."""

from __future__ import annotations

from typing import Any, NamedTuple

from service.expressions.json_text import opened, stepped, text_of

# Keys under which messages, their blocks and their calls are kept; nothing else of an output is searched.
_CALL_HOLDERS = frozenset({"tool_calls", "function_calls", "function_call"})
_HOLDERS = (
    _CALL_HOLDERS
    | {"messages", "message", "choices", "output", "content", "tool_results"}
    | {
        "candidates",  # Gemini's answers
        "parts",  # and their blocks; those of pydantic-ai
    }
)
# messages > message > content > block; the rest is room for wrappers.
MAX_DEPTH = 16
_CALL_TYPES = frozenset({"tool_use", "server_tool_use", "mcp_tool_use", "function_call", "custom_tool_call"}) | {
    "tool-call"
}
_RESULT_TYPES = frozenset({"tool_result", "mcp_tool_result", "web_search_tool_result", "tool"}) | {
    "tool-result",
    "function_call_output",
    "custom_tool_call_output",
}
# LangChain's messages as its `messages_to_dict` writes them, and as its `dumps` does.
_CHAIN_TYPES = frozenset({"ai", "AIMessageChunk", "tool", "human", "system", "function"})
_CHAIN_CLASSES = {"AIMessage": "ai", "AIMessageChunk": "ai", "ToolMessage": "tool", "FunctionMessage": "function"}
# The id that joins a result to its call, wherever it stands, and the tool's name.
_IDS = ("tool_use_id", "tool_call_id", "toolUseId", "toolCallId", "call_id", "id")
_UNTYPED = frozenset({"functionCall", "functionResponse", "part_kind"})
_NAMES = ("name", "tool_name", "toolName", "tool")


class ToolCall(NamedTuple):
    """One call of a tool: its arguments, opened when they are JSON in a text."""

    id: str | None
    name: str | None
    arguments: Any


class ToolResult(NamedTuple):
    """One answer of a tool; `name` is the tool's, from the result itself or from the call that it answers."""

    id: str | None
    name: str | None
    content: Any
    is_error: bool = False


def plain_block(block: dict[str, Any]) -> dict[str, Any]:
    """Return a message as it would be without LangChain's wrapper around its fields."""
    kind, fields = block.get("type"), block.get("data")
    if "lc" in block and isinstance(block.get("kwargs"), dict):
        path, fields = block.get("id"), block["kwargs"]
        kind = _CHAIN_CLASSES.get(str(path[-1])) if isinstance(path, list) and path else None
    elif not (isinstance(fields, dict) and isinstance(kind, str) and kind in _CHAIN_TYPES):
        return block
    return {**fields, "type": kind}


def collect(value: Any, holder: str, found: list[ToolCall | ToolResult], seen: dict[int, Any], depth: int) -> None:
    """Tool calls and results in document order; what was given to a tool, or came from one, is not searched."""
    if isinstance(value, list):
        for item in value if depth else ():
            # Most blocks of a conversation are texts, with nothing in them to find.
            if isinstance(item, list) or (isinstance(item, dict) and item.get("type") != "text"):
                collect(item, holder, found, seen, depth - 1)
    elif isinstance(value, dict) and id(value) not in seen and depth:
        seen[id(value)] = value  # held, so that no other object gets its id
        block = value if "data" not in value and "lc" not in value else plain_block(value)
        recognised = _recognised(block, holder)
        found.extend(recognised)
        for key in () if recognised else block:
            if key in _HOLDERS:
                inner = block[key]
                if not isinstance(inner, str):
                    collect(inner, key, found, seen, depth - 1)
                elif key != "content":
                    collect(stepped(inner), key, found, seen, depth - 1)


def _recognised(block: dict[str, Any], holder: str) -> tuple[ToolCall | ToolResult, ...]:
    """Return the tool call or tool result that a block is, in the forms of Anthropic, OpenAI, Bedrock and LangChain."""
    kind = block.get("type")
    if holder in _CALL_HOLDERS or (isinstance(kind, str) and kind in _CALL_TYPES):
        function = block.get("function")
        return (_call(block, function if isinstance(function, dict) else block),)
    if holder == "tool_results" or (isinstance(kind, str) and kind in _RESULT_TYPES):
        return (_result(block),)
    if kind == "mcp_call":  # both in one
        return (_call(block, block), _result(block))
    if "toolUse" in block and isinstance(block["toolUse"], dict):
        return (_call(block["toolUse"], block["toolUse"]),)
    if "toolResult" in block and isinstance(block["toolResult"], dict):
        return (_result(block["toolResult"]),)
    if holder == "parts" and kind is None and not _UNTYPED.isdisjoint(block):
        return _untyped(block)
    role = block.get("role")
    if role not in ("tool", "function"):
        return ()
    # Some agents keep whole result blocks in a message of the role `tool`: those are found one by one.
    content = block.get("content")
    blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    holds = any("toolResult" in one or one.get("type") in ("tool_result", "tool-result") for one in blocks)
    return () if holds else (_result(block),)


def _untyped(block: dict[str, Any]) -> tuple[ToolCall | ToolResult, ...]:
    """Return the same of the parts of Gemini and of pydantic-ai, which say by other words what they are."""
    call, answer, kind = block.get("functionCall"), block.get("functionResponse"), block.get("part_kind")
    if isinstance(call, dict):
        return (_call(call, call),)
    if isinstance(answer, dict):
        return (_result(answer),)
    if kind == "tool-call":
        return (_call(block, block),)
    return (_result(block),) if kind == "tool-return" else ()


def _id(block: dict[str, Any]) -> str | None:
    get = block.get
    found = (
        get("tool_use_id")
        or get("tool_call_id")
        or get("toolUseId")
        or get("toolCallId")
        or get("call_id")
        or get("id")
    )
    return found if isinstance(found, str) else text_under(block, _IDS)


def _call(block: dict[str, Any], function: dict[str, Any]) -> ToolCall:
    arguments = _first(function, ("input", "arguments", "args"))
    return ToolCall(_id(block), text_under(function, _NAMES), opened(arguments))


def _result(block: dict[str, Any]) -> ToolResult:
    content = _first(block, ("content", "output", "result", "response"))
    if isinstance(content, dict) and content.keys() == {"type", "value"}:  # the Vercel AI SDK's {"type": "json", …}
        content = content["value"]
    error = is_error(block) or block.get("status") == "error"
    return ToolResult(_id(block), text_under(block, _NAMES), content_of(content), error)


def text_under(block: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first of these keys that is a text with something in it."""
    for key in keys:
        value = block.get(key)
        if value and isinstance(value, str):
            return value
    return None


def _first(block: dict[str, Any], keys: tuple[str, ...]) -> Any:
    for key in keys:
        if key in block:
            return block[key]
    return None


def is_error(block: dict[str, Any]) -> bool:
    """Whether a tool's result says that it is an error."""
    return block.get("is_error") is True or block.get("isError") is True


def content_of(content: Any) -> Any:
    """Return a content without its blocks.

    The text of text blocks, the object of a `json` block, else the content itself.
    """
    if not isinstance(content, list):
        return content
    objects = [block["json"] for block in content if isinstance(block, dict) and set(block) == {"json"}]
    if objects:
        return objects[0] if len(objects) == 1 else objects
    text = text_of(content)
    return content if text is None else text
