"""What a text of a model says in the end: its reasoning left out, and the JSON values in it, the last of them last."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any, NamedTuple

# Tags that models and prompts set around reasoning: DeepSeek, Qwen and others <think>, Anthropic's and Amazon's guides
# <thinking> and <scratchpad>, Mistral [THINK], Cohere <|START_THINKING|>.
_NAMES = "think|thinking|thoughts?|reasoning|scratchpad|reflection|inner_monologue|seed:think"
_OPEN = rf"<(?:{_NAMES})(?:\s[^<>]*+)?>|\[THINK\]|<\|START_THINKING\|>"
_CLOSE = rf"</(?:{_NAMES})\s*+>|\[/THINK\]|<\|END_THINKING\|>"
_TAG = re.compile(f"(?P<open>{_OPEN})|(?P<close>{_CLOSE})", re.IGNORECASE)
_CLOSING_TAG = re.compile(_CLOSE, re.IGNORECASE)
# Possessive, so that no run of blanks is read twice.
_TOKEN = re.compile(
    rf"(?P<fence>```[A-Za-z0-9]*+\s*+(?=[\[{{]))|(?P<value>[\[{{](?=\s*+[\[{{\"]))|(?P<open>{_OPEN})|(?P<close>{_CLOSE})",
    re.IGNORECASE,
)
# OpenAI's Harmony format: what a model says to nobody stands in the channels analysis and commentary.
_CHANNEL = "<|channel|>"
_FINAL = f"{_CHANNEL}final<|message|>"
_MESSAGE_END = re.compile(r"<\|(?:end|return|start|call)\|>")
# What begins an answer at the end of a text that never gives it: a bracket, or a fence with its language.
_BEGUN = re.compile(r"(?:[\[{]|```[A-Za-z0-9]++)\s*+\Z")
_CLOSING_FENCE = re.compile(r"\s*+(?:```|\Z)")
_PART = re.compile(r'"(?:[^"\\]|\\.)*+"?|[\[\]{}]|,(?=\s*+[\]}])', re.DOTALL)
_DECODER = json.JSONDecoder()
_MAX_UNENDED = 20  # values without an end cost time linear in the whole text
_SCHEMA_WORDS = frozenset({"object", "array", "string", "number", "integer", "boolean", "null"})
_SCHEMA_PARTS = frozenset({"properties", "items", "required", "additionalProperties", "enum", "$defs", "definitions"})


class Spoken(NamedTuple):
    """A text without its reasoning, and the complete JSON values in it, each with whether it stood in a fence."""

    text: str
    values: tuple[tuple[Any, bool], ...]


def has_reasoning(text: str) -> bool:
    """Whether a tag of reasoning stands in it."""
    if _CHANNEL in text:
        return True
    return ("<" in text or ("[" in text and "THINK]" in text.upper())) and _TAG.search(text) is not None


def without_reasoning(text: str) -> str:
    """Return the text without what stands in tags of reasoning, a tag that is never closed or never opened too."""
    return spoken(text).text if has_reasoning(text) else text


@lru_cache(maxsize=32)
def spoken(text: str) -> Spoken:
    """Return the text read once, from its beginning to its end.

    A draft is no answer: where an answer follows that is broken or cut off, no value counts that stands before it.
    """
    text = _final_channel(text)
    pieces: list[str] = []
    read = 0  # characters of the text without reasoning up to the end of the last value
    values: list[tuple[Any, bool]] = []
    place = start = unended = 0
    while (token := _TOKEN.search(text, place)) is not None:
        kind = token.lastgroup
        if kind == "open":
            pieces.append(text[start : token.start()])
            closing = _CLOSING_TAG.search(text, token.end())
            start = place = closing.end() if closing else len(text)
        elif kind == "close":  # opened by the template, before the model's own text
            pieces, values, start, place = [], [], token.end(), token.end()
        else:
            at = token.end() if kind == "fence" else token.start()
            value, place = _value(text, at)
            if place < 0:
                # An object that has no end is an answer that was cut off: what stands before it is a draft.
                values = [] if text[at] == "{" or kind == "fence" else values
                unended += 1
                if unended == _MAX_UNENDED:
                    return Spoken("", ())
                tag = _TAG.search(text, at)
                if tag is None:
                    break
                place = tag.start()
            elif kind == "fence" and isinstance(value, dict | list) and _CLOSING_FENCE.match(text, place):
                values.append((value, True))
                read = sum(map(len, pieces)) + place - start
            elif isinstance(value, dict) or _is_records(value):
                values.append((value, False))
                read = sum(map(len, pieces)) + place - start
    whole = "".join(pieces) + text[start:]
    return Spoken(whole, () if _is_tried_again(whole[read:], [value for value, _ in values]) else tuple(values))


def _final_channel(text: str) -> str:
    """Return what stands in the final channel of a text in the Harmony format; any other text as it is."""
    if _CHANNEL not in text:
        return text
    _, found, final = text.rpartition(_FINAL)
    return _MESSAGE_END.split(final, maxsplit=1)[0] if found else ""


def _is_tried_again(rest: str, values: list[Any]) -> bool:
    """Tell whether an answer that cannot be read follows those that can: begun and cut off, or with their names in it.

    Prose in braces that has none of the names is no answer.
    """
    if "{" not in rest and "[" not in rest and "```" not in rest:
        return False
    if _BEGUN.search(rest):
        return True
    records = [record for value in values for record in (value if isinstance(value, list) else [value])]
    names = {name for record in records if isinstance(record, dict) for name in record if name.strip()}
    if not names:
        return False
    quote = "[\"'`\u2018\u2019\u201c\u201d]?"
    named = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.search(rf"[\[{{,]\s*+{quote}(?:{named}){quote}\s*+:", rest[rest.find("{") :]) is not None


def _is_records(value: Any) -> bool:
    """Whether it is a list of objects: `["so"]` in prose is no record."""
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def _value(text: str, start: int) -> tuple[Any, int]:
    """Return the JSON value that begins there and its end.

    None for one that is broken, the end -1 where it has none.
    """
    try:
        return _DECODER.raw_decode(text, start)
    except (ValueError, RecursionError):
        pass
    end, commas = _extent(text, start)
    if end < 0 or not commas:
        return None, end
    marks = [start, *(place + 1 for place in commas)]
    repaired = "".join(text[one:other] for one, other in zip(marks, [*commas, end], strict=True))
    try:
        return json.loads(repaired), end
    except (ValueError, RecursionError):
        return None, end


def _extent(text: str, start: int) -> tuple[int, list[int]]:
    """Where the bracket that opens there is closed, -1 for nowhere, and the commas in it that nothing follows."""
    depth, commas = 0, list[int]()
    for part in _PART.finditer(text, start):
        letter = part.group()[0]
        if letter in "[{":
            depth += 1
        elif letter in "]}":
            depth -= 1
            if depth == 0:
                return part.end(), commas
        elif letter == ",":
            commas.append(part.start())
    return -1, commas


def tolerant(text: str) -> Any:
    """Return the object or list that a whole text is but for commas that nothing follows; None of any other text."""
    value, end = _value(text, 0)
    return value if end == len(text) else None


def last_fenced(text: str) -> Any:
    """Return the last fenced object or list outside the reasoning.

    An echo of a JSON schema only where there is no other.
    """
    fenced = [value for value, is_fenced in spoken(text).values if is_fenced]
    return last_answer(fenced) if fenced else None


def last_answer(values: list[Any]) -> Any:
    """Return the last value that is no echo of a JSON schema; the last of all where every one is."""
    return next((value for value in reversed(values) if not is_schema(value)), values[-1])


def is_schema(value: Any) -> bool:
    """Whether it is a JSON schema, or its properties, as a model repeats them before it answers."""
    if not isinstance(value, dict) or not value:
        return False
    kind = value.get("type")
    if "$schema" in value or (kind in ("object", "array") and (len(value) == 1 or not _SCHEMA_PARTS.isdisjoint(value))):
        return True
    kinds = [inner.get("type") if isinstance(inner, dict) else inner for inner in value.values()]
    return all(isinstance(one, str) and one in _SCHEMA_WORDS for one in kinds)
