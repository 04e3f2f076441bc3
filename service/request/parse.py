"""The input of a batch, checked: every problem at once, each with its path and the next step."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from service.errors import Problem, nearest
from service.excerpt import excerpt
from service.models import split_s3_uri
from service.request.models import BatchInput, CsvOptions, ExecutionConfig, Rerun, RetryPolicy, SourceOptions, Target
from service.request.older_keys import Renamed

if TYPE_CHECKING:
    from pydantic import BaseModel

IGNORED_PREFIX = "AWS_STEP_FUNCTIONS_"  # what Step Functions itself adds to an input
# A name becomes part of batch ids (after which a # follows) and of keys in S3.
_TARGET_NAME = re.compile(r"[^#/\\\x00-\x1f\x7f]{1,128}")


def read_input(given: Any, *, whole: bool = True) -> tuple[BatchInput, list[Problem]]:
    """Return the input as checked values, what is wrong left out of it, and every problem.

    An order of a rerun, and an input that is not a `whole` one, needs neither source nor target: its batch has them.
    """
    if not isinstance(given, Mapping):
        return BatchInput(), [Problem("", f"the input must be a JSON object, not {type(given).__name__}")]
    known = {key: value for key, value in given.items() if not str(key).startswith(IGNORED_PREFIX)}
    if problems := _half_characters(known):
        return BatchInput(), problems
    renamed = Renamed(known)
    parsed, faults = _sound_part(renamed.given)
    problems = [*renamed.problems, *(renamed.said(_problem(fault)) for fault in faults)]
    wrong = {str(fault["loc"][0]) for fault in faults}
    is_new = known.get("rerun_of") is None and whole
    return parsed, [*problems, *_contradictions(parsed, wrong, is_new=is_new)]


def _sound_part(known: dict[str, Any]) -> tuple[BatchInput, list[Any]]:
    """Return the input without what is wrong in it, so that the rest can be checked in the same go; and the faults."""
    try:
        return BatchInput.model_validate(known), []
    except ValidationError as error:
        faults = error.errors()
    sound = copy.deepcopy(known)
    for fault in faults:
        _leave_out(sound, fault["loc"])
    try:
        return BatchInput.model_validate(sound), faults
    except ValidationError:  # of what cannot be told apart, nothing is left
        return BatchInput(), faults


def _leave_out(sound: dict[str, Any], place: tuple[int | str, ...]) -> None:
    """Remove the deepest key of a JSON object that leads to the place."""
    holder, key = sound, place[0]
    for part in place[1:]:
        inner = holder.get(str(key))
        if not isinstance(inner, dict) or part not in inner:
            break
        holder, key = inner, part
    holder.pop(str(key), None)


def _half_characters(known: dict[str, Any]) -> list[Problem]:
    """Lone surrogates, which JSON can name but UTF-8 cannot hold: no function could return them."""
    problems = []
    for key, value in known.items():
        try:
            json.dumps([key, value], ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError as error:
            code = ord(error.object[error.start])
            message = f"holds half a character (\\u{code:04x} alone), which is no text: correct or remove it"
            problems.append(Problem(key.encode(errors="replace").decode(), message))
    return problems


def _contradictions(parsed: BatchInput, wrong: set[str], *, is_new: bool) -> list[Problem]:
    problems = []
    if "csv_s3_uri" not in wrong and (is_new or "csv_s3_uri" in parsed.model_fields_set):
        if not parsed.csv_s3_uri:
            problems.append(Problem("csv_s3_uri", "is required: the source, as s3://bucket/key"))
        elif split_s3_uri(parsed.csv_s3_uri) is None:
            problems.append(Problem("csv_s3_uri", f"{parsed.csv_s3_uri!r} is not of the form s3://bucket/key"))
    if not parsed.target.name:
        if "target" not in wrong and (is_new or "target" in parsed.model_fields_set):
            problems.append(Problem("target", "is required: name a registered target, or give its ARN"))
    elif not _TARGET_NAME.fullmatch(parsed.target.name):
        what = "a name has at most 128 characters, and no #, slash or control character"
        problems.append(Problem("target.name", f"{excerpt(repr(parsed.target.name), 60)}: {what}"))
    config = parsed.execution_config
    if config.limit is not None and config.sample is not None:
        message = "give limit, the first N rows, or sample, N rows of all, not both"
        problems.append(Problem("execution_config.sample", message))
    if parsed.output_mapping and parsed.output_mappings:
        problems.append(Problem("output_mappings", "give output_mapping or output_mappings, not both"))
    return problems


_MODELS: dict[str, type[BaseModel]] = {
    "execution_config": ExecutionConfig,
    "execution_config.retry_policy": RetryPolicy,
    "source": SourceOptions,
    "csv": CsvOptions,
    "rerun_of": Rerun,
    "target": Target,
}
_MUST_BE = {"model_type": "must be an object", "dict_type": "must be an object", "tuple_type": "must be a list"}


def _problem(fault: Any) -> Problem:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"]).lstrip(".")
    if fault["type"] == "extra_forbidden":
        *parents, key = map(str, fault["loc"])
        model = _MODELS.get(".".join(parents), BatchInput)
        return Problem(path, f"unknown key; {nearest(key, model.model_fields)}")
    message = _MUST_BE.get(fault["type"]) or fault["msg"][0].lower() + fault["msg"][1:]
    if path == "target":
        message = "must be a name, an ARN, or an object with name or arn"
    return Problem(path, f"{message}, not {excerpt(repr(fault['input']), 60)}")
