"""Targets in files: their attributes, and their schemas as they can be registered."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from service.console.mapping_files import check_document, read_document
from service.errors import BatchRefused, Problem, nearest
from service.expressions.values import kind_of
from service.extraction.parts import CONDITION_KEYS, Reader
from service.mapping.schema import PATH, compile_input_schema
from service.models import KINDS, TYPE_OF_KIND, kind_of_arn

if TYPE_CHECKING:
    from pathlib import Path

TARGET_KEYS = (
    "tool_name",
    "tool_type",
    "resource_arn",
    "description",
    "input_schema",
    "output_schema",
    "price_per_row_usd",
    "idempotent",
    *CONDITION_KEYS,
)
_SYNONYMS = {"name": "tool_name", "arn": "resource_arn"}
_NAME = re.compile(r"[^#/\\\x00-\x1f\x7f]{1,128}")  # as a batch's input has it: part of batch ids and of keys in S3
_LONGEST = 180_000  # bytes of one schema: an item holds 400 KB and has two


def check_targets(document: Any, folder: Path) -> list[dict[str, Any]]:
    """Return the attributes that a file gives of its targets, one or a list under `targets`.

    Those it leaves out are absent.

    A schema may be `{file: path}`, relative to the folder. Raises BatchRefused with every problem.
    """
    reader = Reader(None)
    if isinstance(document, dict) and "targets" in document:
        reader.known(document, ("targets",), "")
        entries = reader.items(document["targets"], "targets", "targets")
        targets = [_target(reader, entry, f"targets[{i}]", folder) for i, entry in enumerate(entries)]
    else:
        targets = [_target(reader, document, "", folder)]
    names = [target.get("tool_name") for target in targets]
    for name in dict.fromkeys(name for name in names if name and names.count(name) > 1):
        reader.refuse("targets", f"the target {name!r} is there twice")
    if reader.problems:
        raise BatchRefused(Problem(problem.path.lstrip("."), problem.message) for problem in reader.problems)
    return targets


def _target(reader: Reader, entry: Any, path: str, folder: Path) -> dict[str, Any]:
    if not reader.is_object(entry, path, "a target"):
        return {}
    given = _renamed(reader, entry, path)
    name, arn = given.get("tool_name"), given.get("resource_arn")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        reader.refuse(f"{path}.tool_name", "is a name of up to 128 characters, without # / and \\")
    kind = kind_of_arn(arn)
    if kind is None:
        wanted = "the ARN of a Lambda function or of a Step Functions state machine"
        reader.refuse(f"{path}.resource_arn", f"is missing: {wanted}" if arn is None else f"{arn!r} is not {wanted}")
    _check_type(reader, given.get("tool_type"), kind, path)
    target = {"tool_name": name, "tool_type": TYPE_OF_KIND.get(kind or ""), "resource_arn": arn}
    if "description" in given:
        target["description"] = _description(reader, given["description"], path)
    if "input_schema" in given:
        target["input_schema"] = _input_schema(reader, given["input_schema"], f"{path}.input_schema", folder)
    if "output_schema" in given:
        schema, place = _inlined(reader, given["output_schema"], f"{path}.output_schema", folder)
        named = name if isinstance(name, str) else None
        target["output_schema"] = None if schema is None else _output_schema(reader, schema, place, named, kind)
    readers = {"price_per_row_usd": _price, "idempotent": _truth, **dict.fromkeys(CONDITION_KEYS, _conditions)}
    return target | {key: read(reader, given[key], f"{path}.{key}") for key, read in readers.items() if key in given}


def _conditions(reader: Reader, given: Any, path: str) -> Any:
    """Conditions that compile; null takes them away, `false` is stored as text so that it is something."""
    if given is None:
        return None
    reader.conditions(given, path)
    entries = ["false" if one in (False, None) else one for one in (given if isinstance(given, list) else [given])]
    return entries if isinstance(given, list) else entries[0]


def _truth(reader: Reader, given: Any, path: str) -> bool | None:
    if given is not None and not isinstance(given, bool):
        reader.refuse(path, f"is true when a row may be given to the target twice, else false, not {given!r}")
        return None
    return given or None


def _price(reader: Reader, given: Any, path: str) -> float | None:
    """US dollars of one call."""
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 10_000:
        reader.refuse(path, f"is what a call of the target costs, in US dollars, not {given!r}")
        return None
    return float(given)


def _renamed(reader: Reader, entry: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the entry with every key by the registry's own word; one that is neither is a problem."""
    given: dict[str, Any] = {}
    for key, value in entry.items():
        word = _SYNONYMS.get(key, key)
        if word == "version":
            reader.refuse(f"{path}.version", "the registry counts versions itself: leave it out")
        elif word in given:
            synonym = next(other for other, its_word in _SYNONYMS.items() if its_word == word)
            reader.refuse(f"{path}.{key}", f"give only one of {word} and {synonym}")
        else:
            given[word] = value
    reader.known(given, TARGET_KEYS, path)
    return given


def _check_type(reader: Reader, said: Any, kind: str | None, path: str) -> None:
    if said is None:
        return
    if not isinstance(said, str) or said not in KINDS:
        reader.refuse(f"{path}.tool_type", f"there is no type {said!r}: {nearest(str(said), KINDS)}")
    elif kind is not None and KINDS[said] != kind:
        reader.refuse(f"{path}.tool_type", f"says {said!r}, but resource_arn is that of a {TYPE_OF_KIND[kind]}")


def _description(reader: Reader, given: Any, path: str) -> str:
    if given is not None and not isinstance(given, str):
        reader.refuse(f"{path}.description", f"is text, not {kind_of(given)}")
    return given if isinstance(given, str) else ""


def _inlined(reader: Reader, given: Any, path: str, folder: Path) -> tuple[Any, str]:
    """Return a schema, read where it is `{file: path}`, and the place of its problems."""
    name = given.get("file") if isinstance(given, dict) and len(given) == 1 else None
    if not isinstance(name, str):
        return given, path
    try:
        return read_document(folder / name), f"{path} ({name})"
    except BatchRefused as refused:
        for problem in refused.problems:
            reader.refuse(f"{path}.file", str(problem))
        return None, path


def _input_schema(reader: Reader, given: Any, path: str, folder: Path) -> Any:
    """Return a schema that the preparation of a batch takes as well, for the same code compiles it."""
    schema, place = _inlined(reader, given, path, folder)
    try:
        compile_input_schema(schema)
    except BatchRefused as refused:
        for problem in refused.problems:
            reader.refuse(place + problem.path.removeprefix(PATH), problem.message)
    else:
        reader.problems += [Problem(place, problem.message) for problem in _too_large(schema)]
    return schema


def _output_schema(reader: Reader, schema: Any, place: str, name: str | None, kind: str | None) -> Any:
    try:
        return registrable(schema, name, kind)
    except BatchRefused as refused:
        for problem in refused.problems:
            reader.refuse(f"{place}.{problem.path}" if problem.path else place, problem.message)
        return None


def registrable(document: Any, name: str | None, kind: str | None) -> dict[str, Any]:
    """Return the output schema of a target in a document, which says how to find something; raises BatchRefused."""
    checked = check_document(document, name, kind)[0]
    if checked.mapping is None or not (checked.plan.methods or checked.plan.chains):
        message = "says nothing of how fields are found; without a schema, an output's top-level keys are the fields"
        raise BatchRefused([Problem("", message)])
    if problems := _too_large(checked.mapping):
        raise BatchRefused(problems)
    return checked.mapping


def _too_large(schema: Any) -> list[Problem]:
    size = len(json.dumps(schema))
    return [Problem("", f"takes {size:,} bytes as JSON; at most {_LONGEST:,} can be registered")] * (size > _LONGEST)
