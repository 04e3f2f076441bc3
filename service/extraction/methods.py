"""The extraction methods: where each looks in an output for its fields, and what it says when there is nothing."""

from __future__ import annotations

from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import TYPE_CHECKING, Any, NamedTuple

from service.expressions.json_text import stepped
from service.expressions.model_text import is_schema, last_answer
from service.expressions.values import described, listed, named, shown
from service.extraction.conversation import is_empty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from service.expressions.language import Expression
    from service.expressions.values import Form
    from service.extraction.conversation import Reading

LAST_TEXT = "the model's last text"


class Field(NamedTuple):
    """One field of a method: by an expression, or by its own name when there is none."""

    name: str
    expression: Expression | None = None
    transform: str | None = None
    default: Any = None
    required: bool = False
    kind: str | None = None
    form: Form | None = None


@dataclass(frozen=True)
class Method:
    """One way to find fields; without `fields` it gives every key of what it finds.

    `label` is the method and its tool, for results and messages; `required` are the fields that have no default and
    must be there, `defaults` what stands for the others where nothing is found.
    """

    name: str
    tool_name: str | None = None
    fields: tuple[Field, ...] = ()
    transform: str | None = None
    label: str = dataclass_field(init=False)
    required: tuple[str, ...] = dataclass_field(init=False)
    defaults: tuple[tuple[str, Any], ...] = dataclass_field(init=False)

    def __post_init__(self) -> None:
        label = f"{self.name}({self.tool_name})" if self.tool_name else self.name
        object.__setattr__(self, "label", label)
        required = tuple(one.name for one in self.fields if one.required and one.default is None)
        object.__setattr__(self, "required", required)
        defaults = tuple((one.name, one.default) for one in self.fields if one.default is not None)
        object.__setattr__(self, "defaults", defaults)

    @property
    def is_fixed(self) -> bool:
        """Whether what it looks at does not depend on the fields that are wanted."""
        return self.name != "structured_output" or self.tool_name is not None


class Found(NamedTuple):
    """What a method looks at: roots for expressions, objects for names, or the reason why there is neither."""

    roots: Sequence[Any] = ()
    objects: Sequence[Any] = ()
    what: str = ""
    seen: Any = None
    reason: str = ""

    @property
    def there(self) -> str:
        """What there was to look at, for the message that nothing of it was the thing looked for."""
        return described(self.what, self.seen)


def _tool_result(method: Method, reading: Reading) -> Found:
    """Return the last result of the tool that is neither an error nor empty, as `content`."""
    results = [one for one in reading.results if _is_tool(one.name, method.tool_name)]
    usable = [one for one in results if not one.is_error and not is_empty(one.content)]
    if usable:
        content = usable[-1].content
        whole = stepped(content)
        roots = ({"content": content}, whole) if isinstance(whole, dict) else ({"content": content},)
        return Found(roots, (whole,), "the tool's result", whole)
    if not results:
        return Found(reason=_nothing("result", method, reading, (one.name for one in reading.results)))
    return Found(reason="the tool's result is an error" if results[-1].is_error else "the tool's result is empty")


def _structured_output(method: Method, reading: Reading) -> Found:
    """Return the structured object: a tool call's arguments, a `structured_output`, a tool result that is an object."""
    objects = _structured(method, reading)
    chosen = next(objects, None)
    if chosen is None:
        return Found(reason=_nothing("structured output", method, reading, (one.name for one in reading.calls)))
    if not method.tool_name:
        held = (value for value in (chosen, *objects) if any(_may_hold(one, value) for one in method.fields))
        chosen = next(held, chosen)
    return Found((chosen, {"structured_output": chosen}), (chosen,), "the structured output", chosen)


def _structured(method: Method, reading: Reading) -> Iterator[dict[str, Any]]:
    """Every object that may be the answer, the likeliest first."""
    calls = (one.arguments for one in reversed(reading.calls) if _is_tool(one.name, method.tool_name))
    views = [view for view in reading.views if isinstance(view, dict)]
    own = (stepped(view.get(key)) for view in views for key in ("structured_output", "structured_response"))
    # A call of the named tool is the answer; without a name, any tool's call comes after what calls itself the answer.
    for values in (calls, own) if method.tool_name else (own, calls):
        yield from (value for value in values if isinstance(value, dict) and value)
    for one in reversed(reading.results):
        if not one.is_error and (one.name is None or _is_tool(one.name, method.tool_name)):
            value = stepped(one.content)
            if isinstance(value, dict) and value:
                yield value


def _whole_output(_method: Method, reading: Reading) -> Found:
    """Return the output itself, and what its envelopes and its last message hold."""
    if reading.spoken is not None:
        return Found(reading.views, reading.views, "the last message", reading.spoken)
    return Found(reading.views, reading.views, "the output", reading.core)


def _results_array(_method: Method, reading: Reading) -> Found:
    """Return the output, or a tool's result, with its `results`; a bare list counts as `results`."""
    answers = [stepped(one.content) for one in reversed(reading.results) if not one.is_error]
    roots = [{"results": view} if isinstance(view, list) else view for view in (*reading.views, *answers)]
    # One list, never the title of one and the address of another.
    holding = [root for root in roots if isinstance(root, dict) and stepped(root.get("results"))][:1]
    if not holding:
        return Found(roots, (), "the output", reading.core)
    others = [view for view in reading.views if not isinstance(view, dict) or "results" not in view]
    results = stepped(holding[0]["results"])
    first = isinstance(results, list)
    return Found([*holding, *others], (), "results[0]" if first else "results", results[0] if first else results)


def _last_text(_method: Method, reading: Reading) -> Found:
    """Return the output as for a path, and what the model wrote last under a name that no output has."""
    if reading.text is None:
        return _whole_output(_method, reading)
    named_text = {LAST_TEXT: reading.text}
    return Found((named_text, *reading.views), reading.views, "the output", reading.core)


METHODS: dict[str, Callable[[Method, Reading], Found]] = {
    "tool_result": _tool_result,
    "structured_output": _structured_output,
    "jmespath": _whole_output,
    "results_array": _results_array,
    "direct": _whole_output,
}

# The five, and what only an older form of a mapping asks for.
FINDERS = {**METHODS, "extract_fields": _last_text}


def _is_tool(name: str | None, wanted: str | None) -> bool:
    return wanted is None or name == wanted or (name is not None and name.casefold() == wanted.casefold())


def _nothing(what: str, method: Method, reading: Reading, seen: Iterable[str | None]) -> str:
    """Return that the output has none of it, and the tools or else the names that it has."""
    tools = dict.fromkeys(name for name in seen if name)
    there = f"tools in it: {listed(tools)}" if tools else described("it", reading.core)
    of = f" of tool {shown(method.tool_name)}" if method.tool_name else ""
    return f"the output has no {what}{of} ({there})"


def chooser(alternatives: Sequence[Sequence[Sequence[Field]]]) -> Callable[[list[Any]], Any]:
    """Which of a text's values is the answer: the last that has every wanted field, or else the last that has any.

    Each alternative is one method's fields, and a field the ways to find it. A JSON schema comes after all others.
    """

    def rank(value: Any) -> tuple[bool, int]:
        whole = {"results": value} if isinstance(value, list) else value
        held = 0
        for fields in alternatives:
            there = [any(_holds(one, value) or _holds(one, whole) for one in ways) for ways in fields]
            held = max(held, 2 if all(there) else int(any(there)))
        return not is_schema(value) and held > 0, held

    def choose(values: list[Any]) -> Any:
        ranks = [rank(value) for value in values]
        best = max(ranks)
        return values[-1 - ranks[::-1].index(best)] if best[1] else last_answer(values)

    return choose


def _holds(one: Field, value: Any) -> bool:
    if one.expression is None:
        return named(value, one.name) is not None
    names = one.expression.names
    return not (names and isinstance(value, dict) and names.isdisjoint(value)) and (
        one.expression.find(value) is not None
    )


def _may_hold(one: Field, value: dict[str, Any]) -> bool:
    if one.expression is None:
        return named(value, one.name) is not None
    return not one.expression.names.isdisjoint(value)
