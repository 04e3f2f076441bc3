"""The input of a batch, checked: every problem at once, each with its path and the next step."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import BatchRefused, Problem, nearest
from service.models import split_s3_uri, target_name

IGNORED_PREFIX = "AWS_STEP_FUNCTIONS_"  # what Step Functions itself adds to an input
KIND_SYNONYMS = {"agent": "agent", "state_machine": "agent", "tool": "tool", "lambda": "tool"}
_LATER = "is not available yet: leave it out"


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
    """How often the target is called for one run of a row, and how long is waited between calls (seconds)."""

    max_attempts: int = Field(3, ge=1, le=100)
    backoff_rate: float = Field(2.0, ge=1, le=100)
    initial_seconds: float = Field(1, ge=0, le=3600)
    max_seconds: float = Field(60, ge=0, le=86_400)
    retry_on: tuple[str, ...] | None = None


class ExecutionConfig(_Part):
    """Limits of a batch: rows in flight, seconds for one call, rows at all, days that results are kept."""

    keeps_null: ClassVar[frozenset[str]] = frozenset({"ttl_days"})

    max_concurrency: int = Field(10, ge=1, le=10_000)
    timeout_seconds: int = Field(300, ge=1, le=604_800)
    retry_policy: RetryPolicy = RetryPolicy()
    continue_on_error: bool = True
    max_failures: Any = None
    max_failure_rate: Any = None
    max_cost_usd: Any = None
    limit: int | None = Field(None, ge=1)
    ttl_days: float | None = Field(7, gt=0, le=3650)
    keep_output: bool = True


class SourceOptions(_Part):
    """How the source is read; None is detected."""

    encoding: str | None = None
    delimiter: str | None = None


class CsvOptions(_Part):
    """How the CSV is written."""

    format: str = "csv"
    column_style: Literal["prefixed", "plain"] = "prefixed"
    neutralise_formulas: bool = True


class Target(_Part):
    """What each row is given to: a registered name, or an ARN."""

    type: Literal["agent", "tool"] | None = None
    name: str = ""
    arn: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        if isinstance(given, str):
            given = {"arn": given} if given.startswith("arn:") else {"name": given}
        if isinstance(given, Mapping):
            kind = given.get("type")
            named = {**given, "name": target_name(given)}
            return {**named, "type": KIND_SYNONYMS.get(kind, kind)} if isinstance(kind, str) else named
        return given


class BatchInput(_Part):
    """The whole input."""

    csv_s3_uri: Annotated[str, Field(min_length=1)]
    target: Target
    input_mapping: dict[str, Any] = {}
    output_mapping: dict[str, Any] | None = None
    output_mappings: dict[str, Any] | None = None
    execution_config: ExecutionConfig = ExecutionConfig()
    source: SourceOptions = SourceOptions()
    csv: CsvOptions = CsvOptions()
    output_bucket: str | None = None
    output_key: str | None = None
    rerun_of: Any = None


def parse_input(given: Any) -> BatchInput:
    """The input as checked values; raises BatchRefused with every problem."""
    if not isinstance(given, Mapping):
        raise BatchRefused([Problem("", f"the input must be a JSON object, not {type(given).__name__}")])
    known = {key: value for key, value in given.items() if not str(key).startswith(IGNORED_PREFIX)}
    try:
        parsed = BatchInput.model_validate(known)
    except ValidationError as error:
        raise BatchRefused(_problem(fault) for fault in error.errors()) from None
    problems = [*_not_built(parsed), *_contradictions(parsed)]
    if problems:
        raise BatchRefused(problems)
    return parsed


def _not_built(parsed: BatchInput) -> list[Problem]:
    config = parsed.execution_config
    later = {
        "execution_config.max_failures": config.max_failures is not None,
        "execution_config.max_failure_rate": config.max_failure_rate is not None,
        "execution_config.max_cost_usd": config.max_cost_usd is not None,
        "execution_config.continue_on_error": not config.continue_on_error,
        "rerun_of": parsed.rerun_of is not None,
    }
    problems = [Problem(path, f"{path.rpartition('.')[2]} {_LATER}") for path, given in later.items() if given]
    if parsed.csv.format != "csv":
        problems.append(Problem("csv.format", f"{parsed.csv.format!r} {_LATER}, or use 'csv'"))
    return problems


def _contradictions(parsed: BatchInput) -> list[Problem]:
    problems = []
    if split_s3_uri(parsed.csv_s3_uri) is None:
        problems.append(Problem("csv_s3_uri", f"{parsed.csv_s3_uri!r} is not of the form s3://bucket/key"))
    if not parsed.target.name:
        problems.append(Problem("target", "name a registered target, or give its ARN"))
    if parsed.output_mapping is not None and parsed.output_mappings is not None:
        problems.append(Problem("output_mappings", "give output_mapping or output_mappings, not both"))
    return problems


_MODELS: dict[str, type[BaseModel]] = {
    "execution_config": ExecutionConfig,
    "execution_config.retry_policy": RetryPolicy,
    "source": SourceOptions,
    "csv": CsvOptions,
    "target": Target,
}


def _problem(fault: Any) -> Problem:
    path = ".".join(str(part) for part in fault["loc"])
    if fault["type"] == "extra_forbidden":
        parent, _, key = path.rpartition(".")
        model = _MODELS.get(parent, BatchInput)
        return Problem(path, f"unknown key; {nearest(key, model.model_fields)}")
    if fault["type"] == "missing":
        return Problem(path, "is required")
    message = fault["msg"][0].lower() + fault["msg"][1:]
    return Problem(path, f"{message}, not {_short(fault['input'])}")


def _short(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 60 else shown[:59] + "…"
