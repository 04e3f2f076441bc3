"""What agents and tools write, whoever made them: envelopes, messages, tool calls and their results."""

from __future__ import annotations

import json
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

from service.texts import opened, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

# An envelope inside an envelope: Lambda's answer, a proxy response in it, a tool result in that; no output has more.
_MAX_ENVELOPES = 5
# Keys under which messages, their blocks and their calls are kept; nothing else of an output is searched.
_CALL_HOLDERS = frozenset({"tool_calls", "function_calls", "function_call"})
_HOLDERS = _CALL_HOLDERS | {"messages", "message", "choices", "output", "content", "tool_results"}
# messages > message > content > block; the rest is room for wrappers.
_MAX_DEPTH = 16
# An envelope's key, and the keys of which one must stand beside it: a field called `body` alone is no envelope.
_ENVELOPES = {
    "Output": frozenset({"ExecutionArn", "StateMachineArn", "Status"}),
    "Payload": frozenset({"StatusCode", "ExecutedVersion"}),
    "body": frozenset({"statusCode"}),
}
_NO_ENVELOPE = object()
_MODEL_ROLES = frozenset({"assistant", "model", "ai"})
_RESULT_TYPES = frozenset({"tool_result", "function_call_output", "tool"})
# The id that joins a result to its call, wherever it stands, and the tool's name.
_IDS = ("tool_use_id", "tool_call_id", "toolUseId", "call_id", "id")
_NAMES = ("name", "tool_name", "tool")


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


class Reading:
    """One output, read on demand: its views, its tool calls and tool results, in the order in which they stand."""

    def __init__(self, output: Any) -> None:
        self.output = output

    @cached_property
    def views(self) -> tuple[Any, ...]:
        """The output opened, what its envelopes hold before it, and the JSON of the last message after it."""
        return self._layers if self.spoken is None else (*self._layers, self.spoken)

    @cached_property
    def _layers(self) -> tuple[Any, ...]:
        view = opened(self.output)
        found = [view]
        for _ in range(_MAX_ENVELOPES):
            inner = _inside(view)
            if inner is _NO_ENVELOPE:
                break
            view = inner
            found.insert(0, view)
        return tuple(found)

    @cached_property
    def spoken(self) -> Any:
        """The object or list in the last message of the model, None when there is none."""
        return next((last for last in map(_last_message, self._layers) if last is not None), None)

    @property
    def core(self) -> Any:
        """The output without its envelopes."""
        return self._layers[0]

    @cached_property
    def failed(self) -> bool:
        """Whether the output as a whole is a tool's result that says it is an error."""
        return any(isinstance(view, dict) and "content" in view and _is_error(view) for view in self.views)

    @cached_property
    def _found(self) -> tuple[ToolCall | ToolResult, ...]:
        seen: dict[int, Any] = {}
        return tuple(found for view in reversed(self.views) for found in _walk(view, "", seen, _MAX_DEPTH))

    @cached_property
    def calls(self) -> tuple[ToolCall, ...]:
        """Every call of a tool that the output tells of."""
        return tuple(found for found in self._found if isinstance(found, ToolCall))

    @cached_property
    def results(self) -> tuple[ToolResult, ...]:
        """Every result of a tool, named after its call where it bears no name itself."""
        names = {call.id: call.name for call in self.calls if call.id}
        results = (found for found in self._found if isinstance(found, ToolResult))
        return tuple(one if one.name else one._replace(name=names.get(one.id or "")) for one in results)


def is_empty(value: Any) -> bool:
    """Whether there is nothing in it: null, blank text, an empty list or object."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def _inside(view: Any) -> Any:
    """What an envelope holds, which may be null; _NO_ENVELOPE when the view is none."""
    if not isinstance(view, dict):
        return _NO_ENVELOPE
    for key, marks in _ENVELOPES.items():
        if key in view and not marks.isdisjoint(view):
            return _whole(view[key])
        if len(view) == 1 and isinstance(view.get(key), str) and opened(view[key]) is not view[key]:
            return opened(view[key])
    if isinstance(view.get("structuredContent"), dict):
        return view["structuredContent"]
    if view.get("type") == "tool_result" or ("isError" in view and isinstance(view.get("content"), list)):
        return opened(_content(view.get("content")))
    answered = isinstance(view.get("messages"), list) and view.get("output") is not None
    return opened(view["output"]) if answered else _NO_ENVELOPE


def _whole(value: Any) -> Any:
    """A service's JSON text read as a whole, so that `"done"` is the text done; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return opened(value)


def _last_message(view: Any) -> Any:
    """The object or list in the last message of the model that has text; None when that text is not JSON."""
    messages = view.get("messages") if isinstance(view, dict) else view
    if isinstance(view, dict) and not isinstance(messages, list):
        answer = view.get("output")
        choices = view.get("choices") if isinstance(view.get("choices"), list) else [answer, {"message": view}]
        messages = [choice.get("message") for choice in choices or [] if isinstance(choice, dict)]
    for message in reversed(messages if isinstance(messages, list) else []):
        if isinstance(message, dict) and _text(message, ("role",)) in _MODEL_ROLES:
            text = _content(message.get("content"))
            if isinstance(text, str) and text.strip():
                value = opened(text)
                return None if isinstance(value, str) else value
    return None


def _walk(value: Any, holder: str, seen: dict[int, Any], depth: int) -> Iterator[ToolCall | ToolResult]:
    """Tool calls and results in document order; what was given to a tool, or came from one, is not searched."""
    if depth == 0 or id(value) in seen:
        return
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, holder, seen, depth - 1)
    elif isinstance(value, dict):
        seen[id(value)] = value  # held, so that no other object gets its id
        found = _recognised(value, holder)
        if found is not None:
            yield found
            return
        for key, inner in value.items():
            if key in _HOLDERS:
                yield from _walk(opened(inner) if key != "content" else inner, key, seen, depth - 1)


def _recognised(block: dict[str, Any], holder: str) -> ToolCall | ToolResult | None:
    """The tool call or tool result that a block is, in the forms of Anthropic, OpenAI, Bedrock and home-made agents."""
    kind, role = _text(block, ("type",)), _text(block, ("role",))
    if kind == "tool_use":
        return _call(block, block)
    if isinstance(block.get("toolUse"), dict):
        return _call(block["toolUse"], block["toolUse"])
    if kind == "function_call" or holder in _CALL_HOLDERS:
        function = block.get("function")
        return _call(block, function if isinstance(function, dict) else block)
    if isinstance(block.get("toolResult"), dict):
        return _result(block["toolResult"])
    if kind in _RESULT_TYPES or holder == "tool_results":
        return _result(block)
    # Some agents keep whole result blocks in a message of the role `tool`: those are found one by one.
    content = block.get("content")
    blocks = [one for one in content if isinstance(one, dict)] if isinstance(content, list) else []
    holds = any("toolResult" in one or one.get("type") == "tool_result" for one in blocks)
    return _result(block) if role in {"tool", "function"} and not holds else None


def _call(block: dict[str, Any], function: dict[str, Any]) -> ToolCall:
    arguments = next((function[key] for key in ("input", "arguments", "args") if key in function), None)
    return ToolCall(_text(block, _IDS), _text(function, _NAMES), opened(arguments))


def _result(block: dict[str, Any]) -> ToolResult:
    content = next((block[key] for key in ("content", "output", "result") if key in block), None)
    error = _is_error(block) or block.get("status") == "error"
    return ToolResult(_text(block, _IDS), _text(block, _NAMES), _content(content), error)


def _text(block: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """The first of these keys that is a text with something in it."""
    return next((block[key] for key in keys if isinstance(block.get(key), str) and block[key]), None)


def _is_error(block: dict[str, Any]) -> bool:
    return block.get("is_error") is True or block.get("isError") is True


def _content(content: Any) -> Any:
    """A content without its blocks: the text of text blocks, the object of a `json` block, else the content itself."""
    if not isinstance(content, list):
        return content
    objects = [block["json"] for block in content if isinstance(block, dict) and set(block) == {"json"}]
    if objects:
        return objects[0] if len(objects) == 1 else objects
    text = text_of(content)
    return content if text is None else text
