"""The input of a batch as typed values, each part with its defaults."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from service.models import KINDS, target_name
from service.throttling import THROTTLED_SECONDS


def _number(given: Any) -> Any:
    """Refuse true and false, which Python takes for 1 and 0."""
    if isinstance(given, bool):
        raise PydanticCustomError("number", "input should be a number")
    return given


Whole = Annotated[int, BeforeValidator(_number)]
Real = Annotated[float, BeforeValidator(_number)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    keeps_null: ClassVar[frozenset[str]] = frozenset()  # keys whose null is a value of its own

    @model_validator(mode="before")
    @classmethod
    def _null_is_absent(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        return {key: value for key, value in given.items() if value is not None or key in cls.keeps_null}


class RetryPolicy(_Part):
    """How often the target is called for one run of a row, and how long is waited between calls (seconds).

    `throttled_seconds`: how long a row may wait, in all, for a target that says that too much is asked of it.
    """

    max_attempts: Whole = Field(3, ge=1, le=100)
    backoff_rate: Real = Field(2.0, ge=1, le=100)
    initial_seconds: Real = Field(1, ge=0, le=3600)
    max_seconds: Real = Field(60, ge=0, le=86_400)
    retry_on: tuple[str, ...] | None = None
    throttled_seconds: Whole = Field(THROTTLED_SECONDS, ge=0, le=86_400)


_STOPPING_RULES = ("max_failures", "max_failure_rate", "max_cost_usd")


class ExecutionConfig(_Part):
    """Limits of a batch: rows in flight, seconds for one call, failures, US dollars, rows at all, days of keeping."""

    keeps_null: ClassVar[frozenset[str]] = frozenset({"ttl_days"})

    max_concurrency: Whole = Field(10, ge=1, le=10_000)
    timeout_seconds: Whole = Field(300, ge=1, le=604_800)
    retry_policy: RetryPolicy = RetryPolicy()
    continue_on_error: bool = True
    max_failures: Whole | None = Field(None, ge=0)
    max_failure_rate: Real | None = Field(None, ge=0, lt=1)
    max_cost_usd: Real | None = Field(None, gt=0)
    limit: Whole | None = Field(None, ge=1)
    sample: Whole | None = Field(None, ge=1, le=10_000)
    ttl_days: Real | None = Field(7, gt=0, le=3650)
    keep_output: bool = True
    keep_going: bool = False
    chunks: Literal["auto", "express", "standard"] = "auto"

    def stopping_rules(self) -> dict[str, Any] | None:
        """Return the rules that stop a batch early, as its plan holds them; None when it has none."""
        rules = {name: getattr(self, name) for name in _STOPPING_RULES if getattr(self, name) is not None}
        if not self.continue_on_error:
            rules["max_failures"] = 0
        return rules or None


class SourceOptions(_Part):
    """How the source is read; None is detected."""

    encoding: str | None = None
    delimiter: str | None = None
    etag: str | None = None


class CsvOptions(_Part):
    """How the CSV is written."""

    format: Literal["csv", "jsonl", "parquet"] = "csv"
    column_style: Literal["prefixed", "plain"] = "prefixed"
    neutralise_formulas: bool = True


class Rerun(_Part):
    """Which rows of which batch are run again; without status and rows, all that did not succeed."""

    batch_id: str = Field("", min_length=1)
    status: str | list[str] | None = None
    rows: str | None = None
    stored_input: bool = False

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, given: Any) -> Any:
        return {"batch_id": given} if isinstance(given, str) else given


class Target(_Part):
    """What each row is given to: a registered name, or an ARN; `idempotent` when a row may be given to it twice."""

    type: Literal["agent", "tool"] | None = None
    name: str = ""
    arn: str | None = None
    idempotent: bool | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"name": given}
        if not isinstance(given, Mapping):
            return given
        named, kind = given.get("name"), given.get("type")
        read = {**given, "name": target_name(given) if isinstance(named, str | None) else named}
        if isinstance(named, str) and named.startswith("arn:") and given.get("arn") is None:
            read["arn"] = named
        if isinstance(kind, str):
            read["type"] = KINDS.get(kind.lower(), kind)
        return read


class BatchInput(_Part):
    """The whole input; csv_s3_uri and target are the two that have no default of use."""

    csv_s3_uri: str = ""
    target: Target = Target()
    input_mapping: dict[str, Any] = {}
    output_mapping: dict[str, Any] | None = None
    output_mappings: dict[str, Any] | None = None
    execution_config: ExecutionConfig = ExecutionConfig()
    source: SourceOptions = SourceOptions()
    csv: CsvOptions = CsvOptions()
    output_bucket: str | None = None
    output_key: str | None = None
    rerun_of: Rerun | None = None
