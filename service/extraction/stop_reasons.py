"""Why a model stopped before its answer was whole: its limit of output tokens, or a refusal."""

from __future__ import annotations

from typing import Any

from service.expressions.values import shown
from service.extraction.conversation import messages_of, model_message
from service.extraction.refusals import Fault
from service.extraction.tool_calls import plain_block
from service.models import RowStatus

# stop_reason of Anthropic, stopReason of Bedrock's Converse, finish_reason of OpenAI, finishReason of Gemini,
# done_reason of Ollama, completionReason of Titan; incomplete_details.reason of OpenAI's responses is read by itself.
_KEYS = ("stop_reason", "stopReason", "finish_reason", "finishReason", "done_reason", "completionReason", "blockReason")
_CUT_OFF = frozenset({"max_tokens", "length", "max_output_tokens", "model_length", "model_context_window_exceeded"})
_REFUSED = frozenset(
    {"refusal", "content_filter", "content_filtered", "guardrail_intervened", "safety", "recitation"}
) | {
    "prohibited_content",
    "blocklist",
    "spii",
    "image_safety",
}
_WHOLE = frozenset({"end_turn", "tool_use", "stop_sequence"})  # Anthropic's other words: the commonest answers
# A model's answer has one of these; a tool's own field `length` or `finish_reason` does not stand beside them.
_SHAPES = frozenset({"content", "choices", "candidates", "messages", "message", "output", "promptFeedback"}) | {
    "response",
    "generation",
    "completion",
    "outputs",
    "results",
    "parts",
}
_INNER = ("response_metadata", "incomplete_details", "promptFeedback")
_SAYING = frozenset({*_KEYS, *_INNER, "refusal"})
_LISTS = ("messages", "output")


def stopped(core: Any) -> Fault | None:
    """Why the last answer of the model is not whole; None when it is, or when it is no model's."""
    if not isinstance(core, list) and not (isinstance(core, dict) and not _SHAPES.isdisjoint(core)):
        return None
    if isinstance(core, dict):
        word = core.get("stop_reason")
        if isinstance(word, str) and word in _WHOLE:
            return None
    items = messages_of(core)
    last = items[-1] if items else None
    message = model_message(last)
    if isinstance(core, dict) and not _SAYING.isdisjoint(core) and (fault := _said(core)) is not None:
        return fault
    for one in (message, last if message is not last and (message is not None or "messages" not in core) else None):
        if isinstance(one, dict) and one is not core and not _SAYING.isdisjoint(one):
            fault = _said(one)
            if fault is not None:
                return fault
    content = message.get("content") if message is not None else None
    if isinstance(content, list) and any(isinstance(one, dict) and one.get("type") == "refusal" for one in content):
        return _refusal("its message is a refusal")
    return None


def _said(holder: dict[str, Any]) -> Fault | None:
    """Return what an answer or a message says of its end, itself or in what it holds for it."""
    for key in _SAYING & holder.keys():
        word = holder[key]
        if isinstance(word, dict):
            fault = _said({"stop_reason": word["reason"]} if "reason" in word else word) if key in _INNER else None
            if fault is not None:
                return fault
        elif word and isinstance(word, str):
            plain_word = word.casefold()
            if plain_word in _CUT_OFF:
                return _cut_off(key, word)
            if plain_word in _REFUSED:
                return _refusal(f"{key} {shown(word)}")
            # OpenAI's refusal is a text beside a content that is null.
            if key == "refusal" and word.strip() and not holder.get("content"):
                return _refusal("its message is a refusal")
    return None


def _cut_off(key: str, word: str) -> Fault:
    message = (
        f"the model's answer was cut off at its limit of output tokens ({key} {shown(word)}): "
        "raise max_tokens of the target, or have it answer more briefly"
    )
    return Fault("OutputTruncated", message, RowStatus.EXTRACTION_FAILED)


def _refusal(said: str) -> Fault:
    message = f"the model refused to answer, or its answer was withheld ({said}): change the prompt or the input"
    return Fault("ModelRefused", message, RowStatus.EXTRACTION_FAILED)


def without_last(core: Any) -> Any:
    """Return the output without the answer that is not whole: what earlier messages and results say stays."""
    if isinstance(core, list):
        return _blanked(core)
    for key in _LISTS:
        if isinstance(core.get(key), list):
            rest = {name: value for name, value in core.items() if name != "output_text"}
            return {**rest, key: _blanked(core[key])}
    return {}


def _blanked(items: list[Any]) -> list[Any]:
    """Return the messages with an empty one in the place of the model's last, so that no other becomes the last."""
    last = items[-1] if items else None
    if not isinstance(last, dict) or (model_message(last) is None and "role" in plain_block(last)):
        return items
    return [*items[:-1], {"role": "assistant", "content": ""}]
