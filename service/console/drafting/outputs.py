"""From outputs to fields: what can be found in a sample, tried as a batch would try it."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from service.console import explain, mapping_files
from service.errors import BatchRefused
from service.excerpt import excerpt
from service.expressions.json_text import parse_text, stepped
from service.expressions.values import kind_of
from service.extraction.compiler import compile_output_mapping
from service.extraction.conversation import Reading, is_empty, messages_of, model_message
from service.models import KIND_OF_TYPE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from service.console.drafting.page import Page
    from service.extraction.fields import OutputPlan

_SHOWN = 40  # characters of a value in a comment
_MOST = 60  # fields of one method
_METHODS = 8  # and methods: a mapping names at most 500 fields
_OUTPUTS = 200  # outputs that are looked at
_DEEP = 2  # levels of objects that paths lead into
_LINE_NAME = re.compile(r"[^\W\d][\w ./()-]{0,39}")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Where a text of the model may stand, in the forms of output that are known; `@` is an output that is a text.
_TEXT_PATHS = (
    "messages[-1].content",
    "choices[0].message.content",
    "output.message.content",
    "output[-1].content",
    "candidates[0].content.parts",
    "result.content",
    "content",
    "[-1].content",
    "@",
)
# Taken as fields, these would no longer say that a call failed.
_SIGNS = frozenset({"error", "errors", "success", "Error", "Cause", "errorMessage", "errorType"}) | {
    "statusCode",
    "status_code",
    "StatusCode",
}
_WORDS_OF_FAILURE = frozenset({"status", "message", "code"})
_JSON_TYPES = {str: "text", bool: "boolean", int: "integer", float: "number", dict: "object", list: "list"}


@dataclass
class _Method:
    """A method that may find fields; `left_out` are fields of it, each with its path and why it is not written."""

    name: str
    tool: str | None = None
    why: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    left_out: dict[str, tuple[str, str]] = field(default_factory=dict)
    more: int = 0  # values beyond the most fields that are written

    @property
    def key(self) -> tuple[str, str | None, str]:
        """What makes two methods of two outputs the same."""
        return self.name, self.tool, self.why

    @property
    def paths_key(self) -> str:
        """The word under which its fields stand."""
        return "paths" if self.name == "jmespath" else "field_mappings"

    def to_json(self) -> dict[str, Any]:
        """Return the method as a mapping has it."""
        tool = {} if self.tool is None else {"tool_name": self.tool}
        return {"method": self.name, **tool, self.paths_key: dict(self.fields)}


def write_output(page: Page, target: dict[str, Any], outputs: list[Any]) -> None:
    """Write the section that says where in an output the fields are."""
    page.lines.append("")
    schema = target.get("output_schema")
    if not outputs:
        _without_sample(page, target)
        return
    kind = KIND_OF_TYPE.get(target.get("tool_type") or "")
    sound = _sound(page, outputs)
    methods = _methods(page, sound)
    if not methods:
        if sound:
            found = "No output_mapping: nothing was found in the sample that could be a field."
            single = f"An output that is {kind_of(sound[0])} is one field, `value`."
            registered = "The schema that the target is registered with is used."
            page.tell(found, *([registered] if schema else [] if isinstance(sound[0], dict) else [single]))
        return
    mapping: dict[str, Any] = {"type": kind} if kind else {}
    mapping["extraction_methods"] = [method.to_json() for method in methods]
    page.comment("Where in an output the fields are. The first method that finds any of its fields gives them all.")
    page.comment(f"Each was tried on the sample ({len(sound)} output{'' if len(sound) == 1 else 's'}).")
    if schema:
        page.comment("Without this section the schema that the target is registered with is used.")
    page.add(0, "output_mapping")
    if kind:
        page.add(1, "type", kind)
    page.add(1, "extraction_methods")
    wins = _wins(page, compile_output_mapping(mapping, kind=kind), sound)
    labels = [f"{one.name}({one.tool})" if one.tool else one.name for one in methods]
    for method, label in zip(methods, labels, strict=True):
        _write_method(page, method, idle=not wins[label])
    page.mapping["output_mapping"] = mapping


def _without_sample(page: Page, target: dict[str, Any]) -> None:
    """Write what holds without an output_mapping."""
    name, schema = target.get("tool_name"), target.get("output_schema")
    if not schema:
        page.tell(
            f"No output_mapping: {name or 'the target'} has no registered schema, so the top-level keys of an",
            "output are its fields. `init --sample-output OUTPUT.json` drafts one from a sample of the output.",
        )
        return
    try:
        columns = mapping_files.check_document(schema, name)[0].plan.columns
    except BatchRefused as refused:
        page.tell(f"The schema that {name} is registered with cannot be used: {refused.problems[0]}".splitlines()[0])
        return
    told = f" Its fields: {', '.join(columns)}." if columns else ""
    page.comment(f"No output_mapping is needed: the schema that {name} is registered with is used.{told}")


def _sound(page: Page, outputs: list[Any]) -> list[Any]:
    """Return the outputs that are answers; what says that the call failed has no fields."""
    plan = compile_output_mapping(None)
    sound = []
    if len(outputs) > _OUTPUTS:
        page.notes.append(f"of the sample's {len(outputs):,} outputs the first {_OUTPUTS} are looked at")
    for number, output in enumerate(outputs[:_OUTPUTS], 1):
        extraction = plan.extract(output)
        if extraction.fault is None and Reading(output).views != (None,):
            sound.append(output)
        else:
            page.notes.append(f"output {number} of the sample is left aside: {extraction.message}")
    if not sound:
        page.tell(
            "No output_mapping: every output of the sample says that the call failed or was cut off.",
            "Give --sample-output an output of a call that succeeded.",
        )
    return sound


def _methods(page: Page, outputs: list[Any]) -> list[_Method]:
    """Return the methods that find something, those that find the answer itself before what tools said on the way.

    A tool's word for a field comes before the model's.
    """
    known: dict[tuple[str, str | None, str], _Method] = {}
    for output in outputs:
        for method in _candidates(output):
            mine = known.setdefault(method.key, _Method(method.name, method.tool, method.why))
            mine.fields |= {name: path for name, path in method.fields.items() if name not in mine.fields}
            mine.left_out |= method.left_out
            mine.more = max(mine.more, method.more)
    tried = [method for method in known.values() if _try(method, outputs)]
    answers = {name for one in tried if one.name != "tool_result" for name in one.fields}
    told = [one for one in known.values() if one not in tried]
    for method in told:
        label = f"{method.name}({method.tool})" if method.tool else method.name
        page.notes.append(f"{label} is left out, for it finds nothing in the sample")

    def rank(method: _Method) -> int:
        if method.name == "tool_result":
            return 0 if answers & method.fields.keys() else 3
        return 1 if method.name == "structured_output" else 2

    found = sorted(tried, key=rank)
    if len(found) > _METHODS:
        page.notes.append(
            f"{len(found)} ways to find fields were found in the sample; the first {_METHODS} are written"
        )
    return found[:_METHODS]


def _candidates(output: Any) -> Iterator[_Method]:
    """Yield where the fields of one output may be."""
    reading = Reading(output)
    core, spoken = reading.core, reading.spoken
    is_talk = bool(reading.calls or reading.results) or any(
        model_message(item) is not None for view in reading.layers for item in messages_of(view)
    )
    if is_talk and (_is_talk(core) or core is None):
        yield from _of_talk(reading)
        return
    if isinstance(core, list) or (isinstance(core, dict) and _list_of_objects(core.get("results"))):
        yield from _of_results(core)
        return
    answer = core if isinstance(core, dict) else spoken
    if isinstance(answer, dict):
        yield _of_object(answer)
    elif isinstance(answer, list):
        yield from _of_results(answer)
    elif reading.text:
        yield from _of_lines(reading)


def _is_talk(core: Any) -> bool:
    """Tell whether a value is messages or a message, and not what they led to."""
    return any(model_message(item) is not None for item in messages_of(core)) or (
        isinstance(core, dict) and bool(Reading(core).calls or Reading(core).results)
    )


def _of_talk(reading: Reading) -> Iterator[_Method]:
    """Yield where the fields of a conversation may be: the structured answer, tools' results, the last text."""
    found = [*_structured(reading)]
    if isinstance(reading.spoken, dict):
        found.append(_of_object(reading.spoken, why="JSON in the model's last text"))
    elif _list_of_objects(reading.spoken):
        found += _of_results(reading.spoken)
    usable = {one.name: one for one in reading.results if not one.is_error and not is_empty(one.content)}
    for name, result in usable.items():
        found += _of_result(name, stepped(result.content))
    yield from found or _of_lines(reading)


def _structured(reading: Reading) -> Iterator[_Method]:
    """Yield what calls itself the answer, and calls of tools that nothing answers, whose arguments are one."""
    for view in reading.views:
        for key in ("structured_output", "structured_response"):
            held = stepped(view.get(key)) if isinstance(view, dict) else None
            if isinstance(held, dict) and held:
                yield _of_object(held, "structured_output", why="what the output itself calls its answer")
    for number, call in enumerate(reading.calls, 1):
        if isinstance(call.arguments, dict) and call.arguments:
            answers = [
                one for one in reading.results if (one.id == call.id if one.id and call.id else one.name == call.name)
            ]
            # An agent that reports by a call is told no more than that it was taken.
            noted = number == len(reading.calls) and not any(one.is_error or _tells(one.content) for one in answers)
            if noted or not answers:
                why = "the arguments of a call that " + ("tells nothing back" if answers else "nothing answers")
                yield _of_object(call.arguments, "structured_output", call.name, why)


def _tells(content: Any) -> bool:
    """Tell whether a tool's result has something that could be a field."""
    return any(True for _ in _of_result(None, stepped(content)))


def _of_result(name: str | None, content: Any) -> Iterator[_Method]:
    why = "what the tool said"
    if isinstance(content, dict) and _list_of_objects(content.get("results")):
        made = _of_leaves(_leaves_of_list(content), "tool_result", name, why)
    elif isinstance(content, dict):
        made = _of_object(content, "tool_result", name, why)
    elif _list_of_objects(content):
        leaves = [(("results", *path), f"content[0].{rest}", value) for path, rest, value in _leaves(content[0])]
        made = _of_leaves(leaves, "tool_result", name, why)
    else:
        lines = _lines(content)
        fields = {_snake(key): f"parse_text(content).{_step(key)}" for key in lines}
        made = _Method("tool_result", name, why, fields)
    if made.fields:
        yield made


def _of_lines(reading: Reading) -> Iterator[_Method]:
    """Yield the method for the model's last text: its `Name: value` lines, else the whole of it."""
    lines = _lines(reading.text)
    for path in _TEXT_PATHS if reading.text else ():
        fields = {_snake(key): f"parse_text({path}).{_step(key)}" for key in lines}
        why = f'"Name: value" lines of the text at {path}' if lines else "the model's last text"
        method = _Method("jmespath", None, why, fields or {"answer": f"{path} | parse('(?s).+')"})
        tried = _Method("jmespath", None, "", dict(method.fields))
        if _try(tried, [reading.output]) and (lines or tried.values["answer"].strip() == str(reading.text).strip()):
            yield method
            return


def _lines(text: Any) -> dict[str, str]:
    """Return the "Name: value" lines of a text; a sentence with a colon in it is none."""
    found = parse_text(text) if isinstance(text, str | list) else None
    lines = found if isinstance(found, dict) else {}
    return {
        key: value
        for key, value in lines.items()
        if isinstance(value, str) and value and _LINE_NAME.fullmatch(key) and len(key.split()) <= 4
    }


def _snake(name: str) -> str:
    return re.sub(r"\W+", "_", name.casefold()).strip("_")


def _of_results(value: Any) -> Iterator[_Method]:
    """Yield the method for a list of results, of which the first is taken."""
    whole = {"results": value} if isinstance(value, list) else value
    if _list_of_objects(whole["results"]):
        yield _of_leaves(_leaves_of_list(whole), "results_array", None, "the first of a list of results")


def _leaves_of_list(whole: dict[str, Any]) -> list[tuple[tuple[str, ...], str, Any]]:
    beside = {key: value for key, value in whole.items() if key != "results"}
    first = [(("results", *path), f"results[0].{rest}", value) for path, rest, value in _leaves(whole["results"][0])]
    return [*first, *_leaves(beside)]


def _list_of_objects(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and bool(value[0])


def _of_object(value: dict[str, Any], name: str = "", tool: str | None = None, why: str = "") -> _Method:
    """Return the method for an object: `direct` where all its values stand at the top, else `jmespath`."""
    leaves = list(_leaves(value))
    nested = any(len(path) > 1 for path, _, _ in leaves)
    return _of_leaves(leaves, name or ("jmespath" if nested else "direct"), tool, why)


def _of_leaves(
    leaves: list[tuple[tuple[str, ...], str, Any]], name: str, tool: str | None = None, why: str = ""
) -> _Method:
    """Return a method for values with their paths; a field is called as the last key where no other is."""
    method = _Method(name, tool, why)
    ends = Counter(path[-1] for path, _, _ in leaves)
    for path, expression, value in leaves:
        called = path[-1] if ends[path[-1]] == 1 else "_".join(path)
        while called in method.fields:
            called += "_"
        if value is None:
            method.left_out[called] = (expression, "null in the sample")
        elif path[0] in _SIGNS and name in ("direct", "jmespath"):
            method.left_out[called] = (expression, "taken as a field, it would no longer say that a call failed")
        elif len(method.fields) < _MOST:
            method.fields[called] = expression
        else:
            method.more += 1
    return method


def _leaves(value: dict[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, Any]]:
    """Yield the values of an object and of those in it, each with its keys and its path."""
    for key, inner in value.items():
        here = (*path, str(key))
        if isinstance(inner, dict) and inner and len(path) < _DEEP:
            yield from _leaves(inner, here)
        else:
            yield here, ".".join(map(_step, here)), inner


def _step(key: str) -> str:
    """Return a key as a path has it."""
    if _IDENTIFIER.fullmatch(key):
        return key
    return '"' + "".join(_json_escaped(letter) for letter in key) + '"'


def _json_escaped(letter: str) -> str:
    if letter in '"\\':
        return "\\" + letter
    return letter if letter.isprintable() or ord(letter) > 0xFFFF else f"\\u{ord(letter):04x}"


def _try(method: _Method, outputs: Iterable[Any]) -> bool:
    """Keep the fields of a method that it finds in some output, with their values; tell whether there are any."""
    for name in [name for name in method.fields if not _compiles(method, name)]:
        method.left_out[name] = (method.fields.pop(name), "cannot be written as a path")
    if not method.fields:
        return False
    plan = compile_output_mapping({"extraction_methods": [method.to_json()]})
    for output in outputs:
        for one in explain.traced(plan, output)["fields"]:
            if one["found_by"] is not None:
                method.values.setdefault(one["name"], one["value"])
    for name in [name for name in method.fields if name not in method.values]:
        method.left_out[name] = (method.fields.pop(name), "finds nothing in the sample")
    method.left_out = {name: left for name, left in method.left_out.items() if name not in method.fields}
    return bool(method.fields)


def _compiles(method: _Method, name: str) -> bool:
    alone = {**method.to_json(), method.paths_key: {name: method.fields[name]}}
    try:
        compile_output_mapping({"extraction_methods": [alone]})
    except BatchRefused:
        return False
    return True


def _wins(page: Page, plan: OutputPlan, outputs: list[Any]) -> Counter[str]:
    """Return how many outputs each method gives the fields of; what no method reads is told."""
    wins: Counter[str] = Counter()
    for number, output in enumerate(outputs, 1):
        extraction = plan.extract(output)
        if extraction.method is not None:
            wins[extraction.method] += 1
        else:
            page.notes.append(f"output {number} of the sample gives no fields: {extraction.message}")
    return wins


def _write_method(page: Page, method: _Method, *, idle: bool) -> None:
    said = method.why
    if idle:
        said = f"{said}; in the sample a method above always finds something first".lstrip("; ")
    page.add(2, "method", method.name, said, "- ")
    if method.tool is not None:
        page.add(3, "tool_name", method.tool)
    page.add(3, method.paths_key)
    for name, path in method.fields.items():
        value = method.values[name]
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        shown = excerpt(" ".join(text.split()), _SHOWN)
        comment = f"{_JSON_TYPES.get(type(value), 'text')}: {shown}"
        if name in _WORDS_OF_FAILURE and path == name and method.name in ("direct", "jmespath"):
            comment += "; as a field it no longer says that a call failed, leave it out if it should"
        page.add(4, name, path, comment)
    for name, (path, reason) in method.left_out.items():
        page.add(4, name, path, reason, "# ")
    if method.more:
        page.comment(f"and {method.more:,} more: a draft names {_MOST} fields of one object", 4)
