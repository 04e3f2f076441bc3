"""One row's result: what the target gave becomes fields, a failure becomes a retry or a stored failure."""

from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from service.batch import governed_run
from service.batch.failing_alike import count_failure
from service.batch.stopping import count_chunk, count_failures
from service.errors import BatchRefused, ChunkUnfinished, OutputRefused, Problem
from service.extraction.stored_plan import of_json
from service.limits import ITEM_BYTES, KEPT_IN_ITEM
from service.models import (
    FAILURES,
    Result,
    RowStatus,
    batch_hash,
    call_name,
    elapsed_ms,
    error_of,
    now_iso,
    row_number,
)
from service.steps.agent_execution import Finished, Running, find_out, output_of
from service.steps.failure import (
    TASK_TIMEOUT,
    TOO_LARGE,
    Failure,
    describe_failure,
    may_retry,
    wait_seconds,
)
from service.steps.target_errors import fate
from service.store.results import item_bytes, to_item
from service.throttling import LONGEST_STATED_WAIT, stated_wait, throttle_seconds, throttle_waits, waits_after

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from service.app import App
    from service.events import (
        AnsweredRow,
        Call,
        ChunkPlace,
        Decision,
        FailedRow,
        FinishedChunk,
        LostChunk,
        RefusedRow,
        RowEvent,
        RunEvent,
    )
    from service.extraction.fields import Extraction, OutputPlan
    from service.plan import Plan, RetryPolicy
    from service.store.plans import Plans

UNFINISHED = "UNFINISHED"  # of a row in a chunk's results: no result, since its execution had no time left for it
_PLAIN_TTL = 14 * 86_400  # seconds that results of plain events are kept: as those of a batch by default
_NOT_STORED = "the row ran, and its result could not be stored"
_LEVEL = 6  # of compression: 9 takes a quarter longer for 0.2 % of an output of 60 KB, 1 leaves one of 6 KB 6 % larger


@lru_cache(maxsize=32)
def _output_plan(plans: Plans, batch_id: str, digest: str) -> OutputPlan:
    """Return the output mapping of a plan, made once while the function is warm."""
    return of_json(plans.load(batch_id, digest).output_plan)


def write_output(app: App, event: AnsweredRow) -> dict[str, str]:
    """Extract the fields of an output and store the result: SUCCESS, or FAILED or EXTRACTION_FAILED with why.

    `event`: batch_id, run, plan, row_id, row (its cells or its place), attempt, output, started_at and stopped_at
    (ISO 8601). Raises OutputRefused, and stores nothing, when the target is to be called again.
    """
    plan, output = app.plans.load(event["batch_id"], event["plan"]), event["output"]
    if plan.synchronous:
        output = output_of(output)
        if isinstance(output, Failure):
            return _fail(app, event, plan, output)
    extraction = _output_plan(app.plans, event["batch_id"], event["plan"]).extract(output)
    if extraction.retry:
        _refuse_for_another_call(app, plan, event, _failure_of(extraction))
    result = _result(app, event, plan, extraction.status)
    result.execution_time_ms = elapsed_ms(event.get("started_at"), event.get("stopped_at"))
    if extraction.ok:
        result.output_data = extraction.fields
        result.method = extraction.method
    else:
        result.error = error_of(extraction.error_type, extraction.message)
    if plan.keep_output:
        _keep_output(app, result, output)
    return _store(app, result, plan, event)


def _fail(app: App, event: AnsweredRow, plan: Plan, failure: Failure) -> dict[str, str]:
    """Store the failure of an execution that answered its call; raises OutputRefused for another call."""
    _refuse_for_another_call(app, plan, event, failure)
    status = _store_failure(app, event, plan, failure)
    return {"batch_id": event["batch_id"], "row_id": event["row_id"], "status": status}


def _failure_of(extraction: Extraction) -> Failure:
    """Return what an output that means "call again" says as the failure of its call."""
    kind, stated = extraction.error_type, extraction.retry_after_seconds
    said = fate((kind,), extraction.message) == "throttled"
    return Failure(
        kind, extraction.message, extraction.status, OutputRefused.__name__, None, stated, said_throttled=said
    )


def _refuse_for_another_call(app: App, plan: Plan, event: AnsweredRow, failure: Failure) -> None:
    """Raise OutputRefused where the policy, the batch and the wait that the target asks for allow another call."""
    policy = plan.retry_policy
    attempt = int(event.get("attempt") or policy.max_attempts)  # a definition of before does not say
    throttled = _may_wait(policy, failure, int(event.get("waits") or 0))
    if (
        (throttled or attempt < policy.max_attempts)
        and may_retry(failure, policy.retry_on)
        and (failure.retry_after_seconds or 0) <= LONGEST_STATED_WAIT
        and not app.plans.stopped(event["batch_id"])
    ):
        raise OutputRefused(failure.retry_after_seconds, throttled=throttled)


def _may_wait(policy: RetryPolicy, failure: Failure, waits: int) -> bool:
    """Tell whether a call met throttling, and its row may wait for more of it after so many waits."""
    return failure.throttled and waits < throttle_waits(policy.throttled_seconds)


def _result(app: App, event: RowEvent, plan: Plan, status: RowStatus) -> Result:
    run = int(event["run"])
    return Result(
        event["batch_id"],
        event["row_id"],
        status,
        _row(app, plan, event["row"]),
        timestamp=now_iso(),
        attempts=int(event.get("attempts", run)),
        run=run,
        ttl=plan.ttl,
    )


def _row(app: App, plan: Plan, travelled: Any) -> dict[str, str]:
    """Return the row of what travelled: its cells, or its place in the source, where it is read again."""
    if isinstance(travelled, list):
        return dict(zip(plan.columns, travelled, strict=True))
    from service.source.row_payload import row_at  # noqa: PLC0415 - rows that are short do without

    return row_at(app.s3, plan, travelled)


def _keep_output(app: App, result: Result, output: Any) -> None:
    packed = gzip.compress(json.dumps(output, separators=(",", ":")).encode(), _LEVEL, mtime=0)
    if len(packed) <= KEPT_IN_ITEM:
        result.output = packed
        return
    key = f"outputs/{batch_hash(result.batch_id)}/{result.row_id}-{result.run}.json.gz"
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=packed, ContentType="application/json")
    result.output_s3_uri = f"s3://{app.settings.data_bucket}/{key}"


def _store(app: App, result: Result, plan: Plan | None = None, event: RowEvent | None = None) -> dict[str, str]:
    item = to_item(result)
    size = item_bytes(item)
    if size > ITEM_BYTES:
        item = _without_fields(result, size)
    status, new = app.store.put_item(item)
    if plan is not None and event is not None and new and result.status != RowStatus.SUCCESS:
        count_failures(app.plans, plan, event, 1, row_number(result.row_id) or 0)
        if "chunk_number" in event:
            count_failure(app, plan, event, event["chunk_number"], result)
    return {"batch_id": result.batch_id, "row_id": result.row_id, "status": str(status)}


def _without_fields(result: Result, size: int) -> dict[str, Any]:
    """Return the item of a result that no item can hold, made one that says so; a failure keeps its status."""
    what = f"the fields and the row take {size} bytes; a result holds at most {ITEM_BYTES}: map less of the output"
    result.output_data = {}
    result.method = None
    if result.status not in FAILURES:
        result.status = RowStatus.EXTRACTION_FAILED
    result.error = error_of("ResultTooLarge", what)
    item = to_item(result)
    if item_bytes(item) > ITEM_BYTES:  # of a plain event: our own rows are measured before they run
        raise BatchRefused([Problem("input_data", f"takes most of {size} bytes; a result holds at most {ITEM_BYTES}")])
    return item


def handle_failure(app: App, event: FailedRow) -> Decision:
    """Decide how long to wait for the next call, or store the failure.

    `event`: batch_id, run, plan, row_id, row, call (attempt, name, waits) and failure (Error, Cause).
    Returns action (`retry` or `done`), attempt, waits, name, wait_seconds, status.

    The call's name stands for one attempt, so a repeated InvokeAgent meets the execution it began: its output is
    fetched and no agent runs twice for one attempt. A new attempt has a new name, and is made only when the one before
    has ended: an agent that outlived the time-out is stopped first, and if it got ready meanwhile its output counts. A
    Lambda function cannot be stopped: a tool that outlived its time-out may still be at work beside the next attempt.
    """
    plan = app.plans.load(event["batch_id"], event["plan"])
    failure, call = describe_failure(event["failure"]), event["call"]
    if plan.kind == "agent" and not plan.synchronous:
        met = find_out(app.stepfunctions, plan, call, failure)
        if isinstance(met, Running):
            return _decision(call, "retry", met.wait_seconds)
        if isinstance(met, Finished):
            try:
                return _decision(call, "done", status=write_output(app, _answered(event, met))["status"])
            except OutputRefused as error:
                return _call_after(app, plan, event, error.retry_after_seconds, throttled=error.throttled)
        failure = met
    again = _again(app, plan, event, failure)
    if again is None:
        return _decision(call, "done", status=_store_failure(app, event, plan, failure))
    return _in_time(event, plan, again)


def _answered(event: FailedRow, met: Finished) -> AnsweredRow:
    """Return the row of an agent that was met when it had finished."""
    answered: AnsweredRow = {
        "waits": int(event["call"].get("waits") or 0),
        "batch_id": event["batch_id"],
        "run": event["run"],
        "plan": event["plan"],
        "row_id": event["row_id"],
        "row": event["row"],
        "attempt": event["call"]["attempt"],
        "output": met.output,
        "started_at": met.started_at,
        "stopped_at": met.stopped_at,
    }
    if "attempts" in event:
        answered["attempts"] = event["attempts"]
    if "chunk_number" in event:
        answered["chunk_number"] = event["chunk_number"]
    return answered


def handle_refusal(app: App, event: RefusedRow) -> dict[str, Any]:
    """Make the target's input and the next call of a row whose output WriteResult refused.

    `event`: as of handle_failure, with refusal (Error, Cause) in the place of failure. Returns the row as it travels,
    with the decision as its call.
    """
    from service.source.row_payload import target_input_again  # noqa: PLC0415 - rows that are not called again do without

    plan = app.plans.load(event["batch_id"], event["plan"])
    failure, row = describe_failure(event["refusal"]), _row(app, plan, event["row"])
    if row:
        stated, throttled = failure.retry_after_seconds, failure.throttled
        call = _in_time(event, plan, _call_after(app, plan, event, stated, throttled=throttled))
        given = target_input_again(app.plans, event, row)
    else:
        why = replace(failure, message="the target is to be called again, and the source was replaced: no row to read")
        call, given = _decision(event["call"], "done", status=_store_failure(app, event, plan, why)), None
    return {"row_id": event["row_id"], "row": event["row"], "target_input": given, "call": call}


def _again(app: App, plan: Plan, event: FailedRow, failure: Failure) -> Decision | None:
    """Return the decision to call again, None when there is to be no further call.

    Throttling uses no attempt: its waits have a budget of their own, in time.
    """
    call, policy = event["call"], plan.retry_policy
    throttled = _may_wait(policy, failure, int(call.get("waits") or 0))
    if (failure.retry_after_seconds or 0) > LONGEST_STATED_WAIT:
        return None
    if not throttled and (int(call["attempt"]) >= policy.max_attempts or not may_retry(failure, policy.retry_on)):
        return None
    if app.plans.stopped(event["batch_id"]):
        return None
    stated, reached = failure.retry_after_seconds, not failure.refused_for_now
    return _call_after(app, plan, event, stated, throttled=throttled, reached=reached)


def _call_after(  # noqa: PLR0913 - whose call it was, and how it ended
    app: App,
    plan: Plan,
    event: FailedRow | RefusedRow,
    stated: float | None,
    *,
    throttled: bool,
    reached: bool = True,
) -> Decision:
    """Return the decision to make the same attempt again after throttling, or the next one after anything else.

    `stated`: the wait that the target asks for, in seconds. `reached`: whether the call came to the target.
    """
    if throttled:
        return _wait(app, plan, event, stated, reached=reached)
    return _next_call(plan, event, stated_wait(stated))


def _wait(app: App, plan: Plan, event: FailedRow | RefusedRow, stated: float | None, *, reached: bool) -> Decision:
    """Return the decision to make the same attempt again when less is asked of the target; the batch asks for less.

    An agent that was reached has an execution of that name, which has ended: the next one needs another.
    """
    governed_run.count_throttling(app.governings, app.stepfunctions, plan, event["batch_id"], int(event["run"]))
    call = event["call"]
    waits, attempt = int(call.get("waits") or 0), int(call["attempt"])
    seconds = throttle_seconds(waits, stated)
    waits = waits_after(waits, seconds)
    name = call["name"]
    if reached:
        number = row_number(event["row_id"]) or 0
        name = call_name(event["batch_id"], number, int(event["run"]), attempt, waits)
    return _decision({**call, "waits": waits, "name": name}, "retry", seconds)


def _next_call(plan: Plan, event: FailedRow | RefusedRow, at_least: int = 0) -> Decision:
    """Return the decision to make the next attempt, after the policy's wait or a longer one."""
    call = event["call"]
    attempt = int(call["attempt"])
    name = call_name(event["batch_id"], row_number(event["row_id"]) or 0, int(event["run"]), attempt + 1)
    seconds = max(at_least, wait_seconds(plan.retry_policy, attempt))
    return _decision({**call, "attempt": attempt + 1, "name": name}, "retry", seconds)


def _in_time(event: RowEvent, plan: Plan, decision: Decision) -> Decision:
    """Return the decision; to leave the row to a STANDARD execution where the time of an EXPRESS one will not do."""
    until = event.get("until") or 0
    if until and time.time() + decision["wait_seconds"] + plan.call_seconds > until:
        return {**decision, "action": "done", "wait_seconds": 0, "status": UNFINISHED}
    return decision


def _store_failure(app: App, event: RowEvent, plan: Plan, failure: Failure) -> str:
    result = _result(app, event, plan, failure.status)
    message = failure.message
    if failure.caught == TOO_LARGE:
        message = "output too large: row and output together exceed the 256 KiB that a state's payload may have"
    result.error = error_of(failure.kind, message)
    result.execution_time_ms = failure.took_ms
    if failure.caught == TASK_TIMEOUT and failure.took_ms is None:
        result.execution_time_ms = plan.timeout_seconds * 1000
    return _store(app, result, plan, event)["status"]


def _decision(call: Call, action: str, seconds: int = 0, status: str = "") -> Decision:
    return {
        "action": action,
        "attempt": int(call["attempt"]),
        "waits": int(call.get("waits") or 0),
        "name": call["name"],
        "wait_seconds": seconds,
        "status": status,
    }


def finish_chunk(app: App, event: FinishedChunk) -> dict[str, Any]:
    """Write the record of a finished chunk.

    `event`: batch_id, run, plan, chunk (number, first_row, rows), stored (counts of rows that did not travel), row_ids
    of the rows that did, and results in their order: row_id and status, or status MISSING and the error's name. Raises
    ChunkUnfinished, and writes nothing, when rows that an EXPRESS execution (with `until`) had are not stored.
    """
    if event.get("until"):
        left = sum(result["status"] in (UNFINISHED, RowStatus.MISSING) for result in event["results"])
        if left:
            raise ChunkUnfinished(f"chunk {event['chunk']['number']}: {left} rows are left to a STANDARD execution")
    plan = app.plans.load(event["batch_id"], event["plan"])
    counts: Counter[str] = Counter(event["stored"])
    counts.update(result["status"] for result in event["results"])
    lost = {
        str(row_number(row_id) or row_id): (str(result.get("error") or "Unknown"), _NOT_STORED)
        for row_id, result in zip(event["row_ids"], event["results"], strict=True)
        if result["status"] == RowStatus.MISSING
    }
    _save_chunk(app.plans, plan, event, event["chunk"], counts, lost)
    rows = len(event["row_ids"])
    governed_run.count_chunk(app.governings, app.stepfunctions, plan, event["batch_id"], int(event["run"]), rows)
    return {"chunk": event["chunk"]["number"], "counts": dict(counts)}


def lose_chunk(app: App, event: LostChunk) -> dict[str, Any]:
    """Write the record of a chunk whose execution cannot go on, with why: its rows without a result are MISSING.

    `event`: batch_id, run, plan, chunk (a line of the manifest, or as of finish_chunk) and lost (Error, Cause).
    """
    plan, chunk = app.plans.load(event["batch_id"], event["plan"]), event["chunk"]
    if "number" not in chunk:
        chunk = {"number": chunk["chunk"], "first_row": chunk["ranges"][0][0], "rows": chunk["rows"]}
    why = describe_failure(event["lost"])
    error = error_of(why.kind, why.message)
    lost = {"*": (error["type"], error["message"])}
    _save_chunk(app.plans, plan, event, chunk, {RowStatus.MISSING.value: chunk["rows"]}, lost)
    return {"chunk": chunk["number"]}


def _save_chunk(  # noqa: PLR0913 - whose chunk it is, and what is known of it
    plans: Plans,
    plan: Plan,
    event: RunEvent,
    chunk: ChunkPlace,
    counts: Mapping[str, int],
    lost: Mapping[str, Sequence[str]],
) -> None:
    new = plans.save_chunk(
        event["batch_id"],
        int(event["run"]),
        chunk["number"],
        first_row=chunk["first_row"],
        rows=chunk["rows"],
        counts=dict(counts),
        ttl=plan.ttl,
        lost=lost,
    )
    if new:
        count_chunk(plans, plan, event, chunk["number"], counts)
        count_failures(plans, plan, event, counts.get(RowStatus.MISSING.value, 0), chunk["number"])


def store_plain(app: App, event: Mapping[str, Any]) -> dict[str, str]:
    """Store a result as it is given.

    `event`: batch_id, row_id, and any of input_data, output_data, status (UNKNOWN without), execution_time_ms, error.
    """
    problems = [
        Problem(name, "is required: a text")
        for name in ("batch_id", "row_id")
        if not isinstance(event.get(name), str) or not event[name]
    ]
    status, took = event.get("status") or RowStatus.UNKNOWN, event.get("execution_time_ms")
    if not isinstance(status, str):
        problems.append(Problem("status", f"must be a text, such as SUCCESS or FAILED, not {status!r}"))
    if isinstance(took, bool) or not isinstance(took, int | float | None):
        problems.append(Problem("execution_time_ms", f"must be a number of milliseconds, not {took!r}"))
    if problems or (problems := _too_long(event["batch_id"], event["row_id"], status)):
        raise BatchRefused(problems)
    result = Result(
        event["batch_id"],
        event["row_id"],
        status,
        _given(event, "input_data"),
        _given(event, "output_data"),
        execution_time_ms=None if took is None else round(took),
        timestamp=now_iso(),
        ttl=int(time.time()) + _PLAIN_TTL,
        error=_given_error(event.get("error")),
    )
    return _store(app, result)


def _too_long(batch_id: str, row_id: str, status: str) -> list[Problem]:
    """Return what no key can hold.

    2,048 bytes of a partition key, 1,024 of a sort key, as `{status}#{row_id}` of an index is.

    Developer Guide, "Constraints in Amazon DynamoDB".
    """
    indexed = row_id if status == RowStatus.SUCCESS else f"{status}#{row_id}"
    sizes = {"batch_id": (len(batch_id.encode(errors="replace")), 2_048)}
    named = "status" if len(status) > len(row_id) else "row_id"
    sizes[named] = (len(indexed.encode(errors="replace")), 1_024)
    return [
        Problem(name, f"is too long: it makes a key of {size} bytes, and at most {most} are possible")
        for name, (size, most) in sizes.items()
        if size > most
    ]


def _given(event: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an object as given; null is an empty one, any other value its field `value`."""
    value = event.get(name)
    if value is None:
        return {}
    return value if isinstance(value, dict) else {"value": value}


def _given_error(error: Any) -> dict[str, str] | None:
    if not error:
        return None
    if isinstance(error, dict):
        kind = error.get("type") or error.get("Error") or error.get("errorType") or "Error"
        message = error.get("message") or error.get("Cause") or error.get("errorMessage") or json.dumps(error)
        return error_of(str(kind), str(message))
    return error_of("Error", str(error))
