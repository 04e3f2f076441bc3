"""Tools that check an order and carry it out: nothing above a few rows is paid for before the quote is accepted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, Literal

from mcp.server.mcpserver import Context  # noqa: TC002 - the SDK reads the annotation
from mcp_types import ElicitRequest, ElicitRequestFormParams, ElicitResult, InputRequiredResult
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from service.batch import closing
from service.console import runs
from service.console.display import rows_text
from service.console.mcp import orders, quote, state
from service.console.mcp.opened import in_s3
from service.console.mcp.short import shortened
from service.errors import BatchRefused, NotFound
from service.models import OPEN

if TYPE_CHECKING:
    from service.console.mcp.opened import Stacks
    from service.console.mcp.orders import Started
    from service.console.mcp.quote import Quote

_PROBLEMS = 30  # problems in an answer
_ASKED = "go-on-"  # how the key of a question begins; the quote's token follows
_ACCEPTED = "go_on"
_STOPPED = "rows in flight are stored, no others are begun"
_DECLINED = "the quote was declined: nothing was started"
_FEWER, _FEWER_AGAIN = "execution_config.sample or .limit", "`rows` or execution_config.limit"
_STOPPABLE = "stop_batch ends it early: what is in flight is stored"

Source = Annotated[str, Field(description="The source: s3://bucket/key, or the whole path of a local file.")]
Target = Annotated[str | dict[str, Any], Field(description="A registered name, an ARN, or an object.")]
Object = dict[str, Any] | None
Answer = dict[str, Any] | InputRequiredResult
Statuses = list[Literal["FAILED", "TIMEOUT", "INVALID_INPUT", "EXTRACTION_FAILED", "NOT_RUN", "MISSING", "UNKNOWN"]]
Name = Annotated[
    str | None,
    Field(
        description="A name of your own for this order, such as reviews-2026-11: given again with it, the same "
        "order starts nothing new, even after a lost answer."
    ),
]
Confirm = Annotated[
    str | None, Field(description="`confirm` of the answer with the quote, once a person has agreed to the quote.")
]


@dataclass(frozen=True)
class _Order:
    """An order that is in order, and its quote."""

    name: str
    given: dict[str, Any]
    quote: Quote
    tool: str
    fewer: str  # arguments by which fewer rows are run
    is_unnamed: bool = False


class Acting:
    """The tools; each method's arguments are the tool's."""

    def __init__(self, stacks: Stacks) -> None:
        self._stacks = stacks

    def check_batch(  # noqa: PLR0913 - one argument for each key of the input
        self,
        csv_s3_uri: Source,
        target: Target,
        input_mapping: Object = None,
        output_mapping: Object = None,
        output_mappings: Object = None,
        execution_config: Object = None,
        source: Object = None,
        csv: Object = None,
        output_bucket: str | None = None,
        output_key: str | None = None,
    ) -> dict[str, Any]:
        """Return every problem of an order, or its quote."""
        given = _given(locals())
        opened = self._stacks.get()
        try:
            given["csv_s3_uri"] = in_s3(opened.stack, csv_s3_uri)
            found = quote.of_order(opened, given, orders.execution_name(None))
        except BatchRefused as refused:
            problems = [{"path": one.path, "message": f"{one.message}{one.detail}"} for one in refused.problems]
            told = {"in_order": False, "found": len(problems), "problems": problems[:_PROBLEMS]}
            return shortened(told, "Correct these and check again: the others will be shown then")
        told = {
            "in_order": True,
            "quote": found.sentence,
            **found.to_json(),
            "csv_s3_uri": given["csv_s3_uri"],
            "asks_before_start": found.asks,
            "next": ["start_batch with the same arguments; execution_config.sample tries a few rows first"],
        }
        return shortened(told)

    def start_batch(  # noqa: PLR0913 - one argument for each key of the input
        self,
        ctx: Context[Any, Any],
        csv_s3_uri: Source,
        target: Target,
        input_mapping: Object = None,
        output_mapping: Object = None,
        output_mappings: Object = None,
        execution_config: Object = None,
        source: Object = None,
        csv: Object = None,
        output_bucket: str | None = None,
        output_key: str | None = None,
        name: Name = None,
        confirm: Confirm = None,
    ) -> Answer:
        """Start a batch, or ask whether it is to be started."""
        given = _given(locals())
        opened = self._stacks.get()
        execution = orders.execution_name(name)
        given["csv_s3_uri"] = in_s3(opened.stack, csv_s3_uri)
        if name is not None and (started := orders.found(opened.stack, execution, given)) is not None:
            return _told(started, None)
        order = _Order(execution, given, quote.of_order(opened, given, execution), "start_batch", _FEWER, name is None)
        return self._begun(ctx, order, confirm)

    def rerun_batch(  # noqa: PLR0913 - one argument for each key of the input
        self,
        ctx: Context[Any, Any],
        batch_id: Annotated[
            str, Field(description="A batch that has ended: its batch_id, the beginning of it, `last`.")
        ],
        status: Annotated[Statuses | None, Field(description="Only rows of these statuses.")] = None,
        rows: Annotated[str | None, Field(description="Only these rows, such as 7,12-40.")] = None,
        stored_input: Annotated[bool, Field(description="Run rows as stored: the source was replaced.")] = False,  # noqa: FBT002 - given by name
        input_mapping: Object = None,
        output_mapping: Object = None,
        output_mappings: Object = None,
        execution_config: Object = None,
        name: Name = None,
        confirm: Confirm = None,
    ) -> Answer:
        """Run the rows of a batch that did not succeed again, or ask whether they are to be run."""
        opened = self._stacks.get()
        stack = opened.stack
        record = closing.refreshed(stack.app, runs.find(stack, batch_id))
        changes = {
            "input_mapping": input_mapping,
            "output_mapping": output_mapping,
            "output_mappings": output_mappings,
            "execution_config": execution_config,
        }
        which = {"batch_id": record.batch_id, "status": status or None, "rows": rows, "stored_input": stored_input}
        given = {"rerun_of": which, **{key: value for key, value in changes.items() if value is not None}}
        execution = orders.execution_name(name)
        if name is not None and (started := orders.found(stack, execution, given)) is not None:
            return _told(started, None)
        found = quote.of_rerun(opened, record, given)
        if not found.rows:
            note = "nothing to run again: every row that was asked for has succeeded"
            return {"started": False, "batch_id": record.batch_id, "note": note}
        return self._begun(ctx, _Order(execution, given, found, "rerun_batch", _FEWER_AGAIN, name is None), confirm)

    def stop_batch(
        self,
        batch_id: Annotated[str, Field(description="The batch_id, the beginning of it, or the task_id of a rerun.")],
    ) -> dict[str, Any]:
        """Stop a batch."""
        stack = self._stacks.get().stack
        try:
            record = None if orders.is_later_run(batch_id) else runs.find(stack, batch_id)
        except NotFound:  # its record comes a moment after its execution
            record = None
        if record is None:
            state.stop(stack, batch_id)
            return {**state.soon_of(stack, batch_id), "note": _STOPPED}
        record = closing.refreshed(stack.app, record)
        if record.status not in OPEN:
            return {**state.status_of(stack, record), "note": "it had ended already: nothing was stopped"}
        record = closing.stop(stack.app, record.batch_id)
        return {**state.status_of(stack, record), "note": _STOPPED}

    def _begun(self, ctx: Context[Any, Any], order: _Order, confirm: str | None) -> Answer:
        """Start an order of few rows, or one whose quote was accepted; else ask, or say how it is accepted."""
        found = order.quote
        if found.asks and confirm != found.token:
            answer = _answer(ctx, found)
            if answer is None and _can_be_asked(ctx):
                return _question(found)
            if answer is None:
                return _unconfirmed(order, confirm)
            if not _accepts(answer):
                return {"started": False, "quote": found.sentence, "note": _DECLINED}
        if found.asks and order.is_unnamed:  # one yes is for one batch, however often it arrives
            order = replace(order, name=f"quoted-{found.token}")
        return _told(orders.start(self._stacks.get().stack, order.name, order.given), found)


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the input of a batch: the arguments of its keys that were given."""
    others = ("self", "ctx", "name", "confirm")
    return {key: value for key, value in arguments.items() if key not in others and value is not None}


def _can_be_asked(ctx: Context[Any, Any]) -> bool:
    """Whether the client asks people for us: by InputRequiredResult, of 2026-07-28, with a form.

    An elicitation capability that names no mode is one of forms (MCP specification 2026-07-28, client/elicitation,
    "Capabilities").
    """
    known = ctx.client_capabilities
    asks = None if known is None else known.elicitation
    return (
        asks is not None
        and (asks.form is not None or asks.url is None)
        and (ctx.protocol_version in MODERN_PROTOCOL_VERSIONS)
    )


def _question(found: Quote) -> InputRequiredResult:
    """Return the question; its key names the order, so that an answer to another one is none to this."""
    schema = {
        "type": "object",
        "properties": {
            _ACCEPTED: {"type": "boolean", "title": "Go on", "description": "Start it, at this cost."},
        },
        "required": [_ACCEPTED],
    }
    asked = ElicitRequest(params=ElicitRequestFormParams(message=found.question, requested_schema=schema))
    return InputRequiredResult(input_requests={f"{_ASKED}{found.token}": asked})


def _answer(ctx: Context[Any, Any], found: Quote) -> ElicitResult | None:
    answer = (ctx.input_responses or {}).get(f"{_ASKED}{found.token}")
    return answer if isinstance(answer, ElicitResult) else None


def _accepts(answer: ElicitResult) -> bool:
    return answer.action == "accept" and (answer.content or {}).get(_ACCEPTED) is True


def _unconfirmed(order: _Order, confirm: str | None) -> dict[str, Any]:
    found = order.quote
    other = "" if confirm is None else "`confirm` is of another order, or the source has changed since. "
    step = f"{other}Show the quote to the person. If they agree: {order.tool} with the same arguments and `confirm`"
    told = {
        "started": False,
        "confirmation_needed": True,
        "question": found.question,
        **found.to_json(),
        "confirm": found.token,
        "next": [step, f"{order.fewer} runs fewer rows"],
    }
    return shortened(told)


def _told(started: Started, found: Quote | None) -> dict[str, Any]:
    rows = "" if found is None else f": {rows_text(found.rows)}"
    told = {
        "started": True,
        "batch_id": started.batch_id,
        "task_id": started.task_id,
        "note": f"the same order had been started before{rows}" if started.again else f"started{rows}",
        "quote": None if found is None else found.sentence,
        "recommended_wait_seconds": state.FIRST_LOOK,
        "next": [f"batch_status with batch_id {started.task_id}, after the recommended wait", _STOPPABLE],
    }
    return {key: value for key, value in told.items() if value is not None}
