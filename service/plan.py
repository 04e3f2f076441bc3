"""The plan of a batch: mappings, limits and columns as PrepareBatch resolved them, for all that runs its rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from service.throttling import THROTTLED_SECONDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often the target is called for one run of a row, and the waits between calls (seconds).

    `throttled_seconds`: how long a row may wait, in all, for a target that says that too much is asked of it.
    """

    max_attempts: int = 3
    backoff_rate: float = 2.0
    initial_seconds: float = 1
    max_seconds: float = 60
    retry_on: Sequence[str] | None = None
    throttled_seconds: float = THROTTLED_SECONDS


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What the rows of a batch are run by.

    `input_mapping`, `output_mapping`: as they were written, for people and for a rerun. `input_plan`, `output_plan`:
    the same resolved, in the one form that functions run by (`service/mapping/input_plan.py`,
    `service/extraction/stored_plan.py`). `conditions`: when an output is that of a failed call, as the target is
    registered. `source`: place, version and form of the source (`SourceObject.of` and `SourceFormat.of` read it).
    `synchronous`: whether the target is an Express state machine, which answers its call. `children`: the type of the
    executions that run chunks. `columns`: names in its header; `output_columns`: the fields, None where only the
    results name them. `inner`: rows in flight within one chunk. `call_seconds`: how long a call lasts at most, by the
    function's own time-out too. `stopping`: rules that end the batch early, None without any. `profile`: what the costs
    are estimated by. `ttl`: when the results expire, in seconds since 1970, None for never.
    """

    kind: Literal["tool", "agent"]
    synchronous: bool = False
    children: Literal["EXPRESS", "STANDARD"] = "STANDARD"
    target_name: str
    target_arn: str
    target_version: int | None = None
    input_mapping: Any = field(default_factory=dict)
    input_plan: dict[str, Any] = field(default_factory=dict)
    input_schema: dict[str, Any] | None = None
    output_mapping: Any = None
    output_plan: dict[str, Any] = field(default_factory=dict)
    conditions: dict[str, Any] = field(default_factory=dict)
    output_columns: Sequence[str] | None = None
    columns: Sequence[str] = field(default_factory=list)
    source: dict[str, Any] = field(default_factory=dict)
    inner: int = 1
    timeout_seconds: int = 300
    call_seconds: float = 300
    retry_policy: RetryPolicy = RetryPolicy()
    keep_output: bool = True
    execution_config: dict[str, Any] = field(default_factory=dict)
    stopping: dict[str, Any] | None = None
    price_per_row_usd: float | None = None
    profile: dict[str, float] = field(default_factory=dict)
    ttl: int | None = None

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Plan:
        """Return the plan of its JSON; what an older plan does not name has its default."""
        names = {one.name for one in fields(cls)}
        given = {name: value for name, value in stored.items() if name in names}
        given["retry_policy"] = RetryPolicy(**given.get("retry_policy", {}))
        return cls(**given)

    def to_json(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)
