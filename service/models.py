"""Names that every part speaks: statuses, row and batch ids, results, counts and the outcome of a batch."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Self

from service.excerpt import excerpt
from service.secrets_mask import masked


class RowStatus(StrEnum):
    """The fate of a row; NOT_RUN and MISSING are those of rows without a result."""

    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    TIMEOUT = "TIMEOUT"
    INVALID_INPUT = "INVALID_INPUT"
    EXTRACTION_FAILED = "EXTRACTION_FAILED"
    NOT_RUN = "NOT_RUN"
    MISSING = "MISSING"
    UNKNOWN = "UNKNOWN"  # a plain event without a status


COUNTED = tuple(status for status in RowStatus if status is not RowStatus.UNKNOWN)
# Words for the two kinds of target: ours, and those of AWS that inputs and registries use.
KINDS = {"agent": "agent", "state_machine": "agent", "tool": "tool", "lambda": "tool"}
KIND_OF_TYPE = {"lambda": "tool", "state_machine": "agent"}  # by the registry's `tool_type`
TYPE_OF_KIND = {kind: kind_type for kind_type, kind in KIND_OF_TYPE.items()}
FAILURES = (RowStatus.FAILED, RowStatus.TIMEOUT, RowStatus.INVALID_INPUT, RowStatus.EXTRACTION_FAILED)


class BatchStatus(StrEnum):
    """The state of a batch record; the last five are final."""

    PREPARING = "PREPARING"
    RUNNING = "RUNNING"
    STOPPING = "STOPPING"
    AGGREGATING = "AGGREGATING"
    SUCCEEDED = "SUCCEEDED"
    PARTIAL = "PARTIAL"
    INCOMPLETE = "INCOMPLETE"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"


OPEN = (BatchStatus.PREPARING, BatchStatus.RUNNING, BatchStatus.STOPPING, BatchStatus.AGGREGATING)

_TOOL_ARN = re.compile(r"arn:[^:]+:lambda:[^:]+:\d{12}:function:[^:]+(:[^:]+)?")
_AGENT_ARN = re.compile(r"arn:[^:]+:states:[^:]+:\d{12}:stateMachine:[^:]+(:[^:]+)?")
_ROW_ID = re.compile(r"row_(\d{10})")
_ARN_NAME = re.compile(r"arn:[^:]*:(?:lambda:[^:]*:[^:]*:function|states:[^:]*:[^:]*:stateMachine):([^:]+)")
_S3_URI = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/(.+)", re.DOTALL)
MESSAGE_LIMIT = 1_000  # characters of an error's message that are kept
_LOOKED_THROUGH = 8 * MESSAGE_LIMIT  # of a message for secrets: one that begins before the cut is seen whole


def row_id(number: int) -> str:
    """`row_0000000001` of 1: the order of the strings is the order of the rows."""
    return f"row_{number:010d}"


def row_number(identifier: str) -> int | None:
    """1 of `row_0000000001`; None of an id of another form (plain events may use any)."""
    match = _ROW_ID.fullmatch(identifier)
    return int(match.group(1)) if match else None


def target_name(target: Any) -> str:
    """Return the name of an input's `target` (a name, an ARN, or an object with name or arn); "" if it has none."""
    given = target.get("name") or target.get("arn") or "" if isinstance(target, Mapping) else target
    if not isinstance(given, str):
        return ""
    match = _ARN_NAME.fullmatch(given) or _ARN_NAME.match(given)
    return match.group(1) if match else given


def kind_of_arn(arn: Any) -> Literal["tool", "agent"] | None:
    """`tool` of a Lambda function's ARN, `agent` of a state machine's, each with or without a qualifier; else None."""
    if not isinstance(arn, str):
        return None
    return "tool" if _TOOL_ARN.fullmatch(arn) else "agent" if _AGENT_ARN.fullmatch(arn) else None


def split_s3_uri(uri: str) -> tuple[str, str] | None:
    """Bucket and key of `s3://bucket/key`, or None."""
    match = _S3_URI.fullmatch(uri)
    return (match.group(1), match.group(2)) if match else None


def batch_id(tool_name: str, execution_name: str) -> str:
    """`{tool_name}#{execution name}`."""
    return f"{tool_name}#{execution_name}"


# Between a batch and a later run of it; no name of an execution may have it (StartExecution, API reference).
_RUN_MARK = "~"


def later_run_id(identifier: str, execution_name: str) -> str:
    """`{batch id}~{execution name}`: a later run of a batch, by itself."""
    return f"{identifier}{_RUN_MARK}{execution_name}"


def split_run_id(given: str) -> tuple[str, str]:
    """Return the batch of a run's id and the execution's name of a later run, "" of the first.

    The mark is looked for behind the `#`: a target's name may have it.
    """
    target, divided, rest = given.partition("#")
    name, _, later = rest.partition(_RUN_MARK)
    return f"{target}{divided}{name}", later


@lru_cache(maxsize=32)  # every row of a batch asks for it
def batch_hash(identifier: str) -> str:
    """20 hexadecimal digits: a batch id in places that take no `#` (execution names, S3 keys)."""
    return hashlib.sha256(identifier.encode()).hexdigest()[:20]


def results_key(identifier: str, suffix: str) -> str:
    """Where in the stack's bucket a batch's results are made; without a `#` it is no batch of ours."""
    tool, _, execution = identifier.partition("#")
    return f"results/{tool}/{execution or 'plain'}{suffix}"


def call_name(identifier: str, number: int, run: int, attempt: int, waits: int = 0) -> str:
    """Name of an agent's execution for one attempt: at most 80 characters, the same when the attempt is repeated.

    `waits`: how many waits for throttling were before it, where the target said so: what said so has ended.
    """
    name = f"{batch_hash(identifier)}-{number}-{run}-{attempt}"
    return f"{name}-{waits}" if waits else name


def now_iso(moment: datetime | None = None) -> str:
    """UTC, ISO 8601 with milliseconds and `Z`; `moment` has a zone, any (boto3 gives the machine's own)."""
    return (moment or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def parse_iso(text: str) -> datetime:
    """Return the moment of an ISO 8601 text; without a zone it is UTC."""
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def elapsed_ms(started_at: str | None, stopped_at: str | None) -> int | None:
    """Milliseconds between two ISO texts; None when either is not known."""
    if not started_at or not stopped_at:
        return None
    return max(0, round((parse_iso(stopped_at) - parse_iso(started_at)).total_seconds() * 1000))


class Position(NamedTuple):
    """The last row shown: what each of the orders of rows goes by."""

    timestamp: str
    batch_id: str
    row_id: str
    status: str

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> Self:
        """Return the position of a row as queries give it."""
        return cls(*(str(row[name]) for name in cls._fields))


@dataclass(slots=True)
class Result:
    """What is stored for one row; `execution_time_ms` is None when it could not be measured."""

    batch_id: str
    row_id: str
    status: str
    input_data: Mapping[str, Any]
    output_data: Mapping[str, Any] = field(default_factory=dict)
    execution_time_ms: int | None = None
    timestamp: str = ""
    ttl: int | None = None
    attempts: int = 1
    run: int = 1
    error: dict[str, str] | None = None
    method: str | None = None
    output: bytes | None = None
    output_s3_uri: str | None = None


def error_of(kind: str, message: str) -> dict[str, str]:
    """Return the `error` attribute: secrets masked, then its message cut at MESSAGE_LIMIT characters."""
    shown = masked(message[:_LOOKED_THROUGH])
    return {"type": masked(kind[:MESSAGE_LIMIT]), "message": excerpt(shown, MESSAGE_LIMIT)}


def empty_counts() -> dict[str, int]:
    """Every counted status with 0, in the order of the contract."""
    return {status.value: 0 for status in COUNTED}


def outcome(counts: Mapping[str, int], *, stopped: bool = False) -> BatchStatus:
    """SUCCEEDED, PARTIAL, INCOMPLETE or FAILED, of the counts of all rows.

    `stopped`: the batch was stopped because its first rows failed alike, so what the others would do is not known.
    """
    total = sum(counts.values())
    succeeded = counts.get(RowStatus.SUCCESS, 0)
    if succeeded == total:
        return BatchStatus.SUCCEEDED
    if succeeded == 0 and not (stopped and counts.get(RowStatus.NOT_RUN, 0)):
        return BatchStatus.FAILED
    if counts.get(RowStatus.NOT_RUN, 0) or counts.get(RowStatus.MISSING, 0):
        return BatchStatus.INCOMPLETE
    return BatchStatus.PARTIAL
