"""What agents and tools write, whoever made them: envelopes, messages, and what the model said last."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from service.expressions.json_text import candidates, is_prose, opened, text_of
from service.expressions.model_text import last_answer, without_reasoning
from service.extraction.tool_calls import (
    MAX_DEPTH,
    ToolCall,
    ToolResult,
    collect,
    content_of,
    is_error,
    plain_block,
    text_under,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Choose = Callable[[list[Any]], Any]

_Value = TypeVar("_Value")

# An envelope inside an envelope: Lambda's answer, a proxy response in it, a tool result in that; no output has more.
_MAX_ENVELOPES = 5
# An envelope's key, and the keys of which one must stand beside it: a field called `body` alone is no envelope.
_ENVELOPES = {
    "Output": frozenset({"ExecutionArn", "StateMachineArn", "Status"}),  # startExecution.sync, and DescribeExecution
    "output": frozenset({"executionArn", "stateMachineArn"}),
    "Payload": frozenset({"StatusCode", "ExecutedVersion"}),  # lambda:invoke
    "body": frozenset({"statusCode", "status_code"}),  # a Lambda proxy response, a line of OpenAI's batches
    "Body": frozenset({"ContentType"}),  # bedrock:invokeModel
    "ResponseBody": frozenset({"StatusCode"}),  # http:invoke
    "response": frozenset({"custom_id"}),  # a line of OpenAI's batches
    "modelOutput": frozenset({"recordId"}),  # a line of Bedrock's batches
}
_NO_ENVELOPE = object()
_MODEL_ROLES = frozenset({"assistant", "model", "ai", "AIMessageChunk", "response"})
_MESSAGE_LISTS = ("messages", "output", "choices", "candidates")


class _Once(Generic[_Value]):
    """A property that is worked out once, without the lock that functools.cached_property takes each time."""

    def __init__(self, work: Callable[[Any], _Value]) -> None:
        self._work, self._name, self.__doc__ = work, work.__name__, work.__doc__

    def __get__(self, reading: Any, _owner: Any = None) -> _Value:
        value = reading.__dict__[self._name] = self._work(reading)
        return value


class Reading:
    """One output, read on demand: its views, its tool calls and tool results, in the order in which they stand."""

    def __init__(self, output: Any, choose: Choose = last_answer, *, silent: bool = False) -> None:
        self.output = output
        self._choose = choose
        self._silent = silent

    @_Once
    def views(self) -> tuple[Any, ...]:
        """Return the output opened, what its envelopes hold before it, and the JSON of the last message after it."""
        return self.layers if self.spoken is None else (*self.layers, self.spoken)

    @_Once
    def layers(self) -> tuple[Any, ...]:
        """Return the output opened, and what its envelopes hold before it."""
        view = opened(self.output)
        if (
            isinstance(self.output, str)
            and view is not self.output
            and (is_prose(self.output) or isinstance(view, list))
        ):
            view = self._choose(candidates(self.output))
        found = [view]
        for _ in range(_MAX_ENVELOPES):
            inner = _inside(view)
            if inner is _NO_ENVELOPE:
                break
            view = inner
            found.insert(0, view)
        return tuple(found)

    @_Once
    def text(self) -> str | None:
        """Return the last text of the model, or the whole output when it is a text; without the model's reasoning."""
        if self._silent:
            return None
        found = (text for text in map(_last_text, self.layers) if text is not None)
        text = next(found, self.core if isinstance(self.core, str) else None)
        return None if text is None else without_reasoning(text)

    @_Once
    def spoken(self) -> Any:
        """Return the object or list that the last text of the model gives, prose around it or not.

        None when there is none.
        """
        text = self.text
        if text is None or ("{" not in text and "[" not in text):
            return None
        value = opened(text)
        if not is_prose(text) and isinstance(value, dict):
            return value
        options = candidates(text)
        return self._choose(options) if options else None

    @property
    def core(self) -> Any:
        """The output without its envelopes."""
        return self.layers[0]

    @_Once
    def failed(self) -> bool:
        """Whether the output as a whole is a tool's result that says it is an error."""
        return any(is_error(view) for view in self.views if isinstance(view, dict) and "content" in view)

    @_Once
    def _found(self) -> list[ToolCall | ToolResult]:
        found: list[ToolCall | ToolResult] = []
        seen: dict[int, Any] = {}
        for view in reversed(self.views):
            collect(view, "", found, seen, MAX_DEPTH)
        return found

    @_Once
    def calls(self) -> tuple[ToolCall, ...]:
        """Every call of a tool that the output tells of."""
        return tuple([found for found in self._found if isinstance(found, ToolCall)])

    @_Once
    def results(self) -> tuple[ToolResult, ...]:
        """Every result of a tool, named after its call where it bears no name itself."""
        names = {call.id: call.name for call in self.calls if call.id}
        results = [found for found in self._found if isinstance(found, ToolResult)]
        return tuple([_named(one, names) for one in results])


def _named(result: ToolResult, names: dict[str, str | None]) -> ToolResult:
    """Return a result with its tool's name, or that of the call whose id it answers."""
    if result.name or result.id is None:
        return result
    return ToolResult(result.id, names.get(result.id), result.content, result.is_error)


def is_empty(value: Any) -> bool:
    """Whether there is nothing in it: null, blank text, an empty list or object."""
    return value is None or (isinstance(value, str) and not value.strip()) or value in ([], {})


def _inside(view: Any) -> Any:
    """Return what an envelope holds, which may be null; _NO_ENVELOPE when the view is none."""
    if not isinstance(view, dict):
        return _NO_ENVELOPE
    if not _ENVELOPES.keys().isdisjoint(view):
        for key, marks in _ENVELOPES.items():
            if key in view and not marks.isdisjoint(view):
                return _whole(view[key])
            if len(view) == 1 and isinstance(view.get(key), str) and opened(view[key]) is not view[key]:
                return opened(view[key])
    if isinstance(view.get("structuredContent"), dict):
        return view["structuredContent"]
    if view.get("type") == "tool_result" or ("isError" in view and isinstance(view.get("content"), list)):
        return opened(content_of(view.get("content")))
    if "result" in view:
        inner = view["result"]
        # Strands' answer, which is a message, and a line of Anthropic's batches.
        if isinstance(inner, dict) and (text_under(inner, ("role",)) in _MODEL_ROLES or "custom_id" in view):
            return inner
    answered = isinstance(view.get("messages"), list) and view.get("output") is not None
    return opened(view["output"]) if answered else _NO_ENVELOPE


def _whole(value: Any) -> Any:
    """Return a service's JSON text read as a whole, so that `"done"` is the text done; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return opened(value)


def messages_of(view: Any) -> list[Any]:
    """Return the messages of a conversation or of a model's answer, in any of their forms.

    Or the view as the only one.
    """
    if isinstance(view, list):
        return view
    if not isinstance(view, dict):
        return []
    for key in _MESSAGE_LISTS:
        if isinstance(view.get(key), list):
            found: list[Any] = view[key]
            return found
    return [view, view.get("output")]


def model_message(item: Any) -> dict[str, Any] | None:
    """Return the message of a model that an item of a list of messages is or holds, in any form; None of any other."""
    if not isinstance(item, dict):
        return None
    inner = item.get("message")
    message = plain_block(inner if isinstance(inner, dict) else item)
    if text_under(message, ("role", "type", "kind")) in _MODEL_ROLES:
        return message
    inner = message.get("content")  # Gemini's candidates
    return inner if isinstance(inner, dict) and "parts" in inner and inner.get("role") in ("model", None) else None


def _last_text(view: Any) -> str | None:
    """Return the last text that the model wrote; None when it wrote none."""
    for item in reversed(messages_of(view)):
        message = model_message(item)
        if message is not None:
            text = text_of(message["content"] if "content" in message else _parts(message.get("parts")))
            if text is not None and text.strip():
                return text
    return text_under(view, ("output_text",)) if isinstance(view, dict) else None


def _parts(parts: Any) -> Any:
    """Gemini's parts as they are; those of pydantic-ai as blocks of text."""
    if not isinstance(parts, list):
        return None
    spoken = [one.get("content") for one in parts if isinstance(one, dict) and one.get("part_kind") == "text"]
    return [{"text": text} for text in spoken] or parts
