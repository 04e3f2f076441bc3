"""The columns of a CSV, how its header names them, and the options it is made with."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from service.errors import BatchRefused, Problem, nearest

OPTIONS: dict[str, tuple[Any, ...]] = {
    "format": ("csv", "jsonl", "parquet"),
    "column_style": ("prefixed", "plain"),
    "neutralise_formulas": (True, False),
    "include_original": (True, False),
    "add_metadata": (True, False),
}
# Of a result's key, by format; `.gz` may follow, but not where the format is compressed in itself.
SUFFIXES = {"csv": ".csv", "jsonl": ".jsonl", "parquet": ".parquet"}
METADATA = ("_row_id", "_status", "_error", "_execution_time_ms", "_timestamp")
# The last names of a header whose file has guarded cells: quotes around a name that needs none are nothing to a reader
# of CSV, and tell us later that a `'` before a formula is ours. A file that went through another program has lost them,
# or has quotes around the other names too: then its cells are read as they are, which changes none of them.
GUARDED = ",".join([f'"{METADATA[0]}"', *METADATA[1:]])
NO_PYARROW = (
    "Parquet needs pyarrow, which this stack does not have: on AWS, deploy it with the parameter ParquetLayerArn "
    "(docs/usage.md says which layers hold it); on the embedded stack, pip install pyarrow"
)
_COMPRESSED = "Parquet is compressed inside the file: leave .gz away"


def has_guarded_cells(header: str) -> bool:
    """Whether a CSV is an export of ours with guarded cells, by its first line as it stands in the file."""
    names = header.rstrip("\r\n")
    return names == GUARDED or names.endswith("," + GUARDED)


def csv_option_problems(options: Any) -> list[Problem]:
    """Return what is wrong with the options of a CSV that is made again.

    None: no options; null keeps the batch's own.
    """
    if not isinstance(options, dict | None):
        return [Problem("csv", "must be an object")]
    problems = []
    for name, value in (options or {}).items():
        if name not in OPTIONS:
            problems.append(Problem(f"csv.{name}", f"unknown key; {nearest(str(name), OPTIONS)}"))
        elif value is not None and not any(type(value) is type(one) and value == one for one in OPTIONS[name]):
            shown = ", ".join(json.dumps(one) for one in OPTIONS[name])
            problems.append(Problem(f"csv.{name}", f"must be one of {shown}"))
    return problems


def format_of(name: str) -> str | None:
    """Return the format that a file's or key's name says, or None of another name.

    Raises BatchRefused of `.parquet.gz`.
    """
    plain = name.lower().removesuffix(".gz")
    form = next((form for form, suffix in SUFFIXES.items() if plain.endswith(suffix)), None)
    if form == "parquet" and plain != name.lower():
        raise BatchRefused([Problem("", f"{name!r}: {_COMPRESSED}")])
    return form


def suffix_of(name: str) -> str:
    """`.csv`, `.jsonl.gz` and so on; "" of another name."""
    form = format_of(name)
    return "" if form is None else SUFFIXES[form] + (".gz" if name.lower().endswith(".gz") else "")


def renamed(key: str, form: str) -> str:
    """Return a key for another format: its suffix changes where it says a format that is not that one."""
    if format_of(key) in (None, form):
        return key
    suffix = suffix_of(key)
    return key[: -len(suffix)] + SUFFIXES[form] + (".gz" if suffix.endswith(".gz") and form != "parquet" else "")


def file_name(first: str, number: int) -> str:
    """Return the name or key of an export's file of that number.

    The first one's own, then `X-0002.parquet` and so on.
    """
    if number == 1:
        return first
    suffix = SUFFIXES["parquet"]
    stem = first[: -len(suffix)] if first.lower().endswith(suffix) else first
    return f"{stem}-{number:04d}{suffix}"


def keys_written(key: str, form: str) -> tuple[str, ...]:
    """Return the key of an export, and of Parquet one of those that a second file would have: all must be allowed."""
    return (key, file_name(key, 2)) if form == "parquet" else (key,)


def check_format(form: str, key: str, *, layer: bool = False) -> None:
    """Refuses Parquet under a name that says gzip, and without pyarrow; a `layer` brings it where it is needed.

    Raises BatchRefused with both problems.
    """
    gzipped = key.lower().endswith(".gz" if form == "parquet" else ".parquet.gz")
    problems = [Problem("output_key", f"{key!r}: {_COMPRESSED}")] if gzipped else []
    if form == "parquet" and not layer and find_spec("pyarrow") is None:
        problems.append(Problem("csv.format", NO_PYARROW))
    if problems:
        raise BatchRefused(problems)


@dataclass(frozen=True)
class Columns:
    """Names of the source's columns and of the output's fields, and how the header writes them."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    style: str = "prefixed"
    metadata: bool = True

    @property
    def last(self) -> tuple[str, ...]:
        """Names of the columns about the row itself."""
        return METADATA if self.metadata else ()

    def header(self) -> list[str]:
        """Return the header; `plain` leaves the prefixes away where no two names collide."""
        if self.style == "prefixed":
            named = [*(f"input_{name}" for name in self.inputs), *(f"output_{name}" for name in self.outputs)]
            return [*named, *self.last]
        prefixed: set[str] = set()
        while True:
            inputs = [f"input_{name}" if name in prefixed else name for name in self.inputs]
            outputs = [f"output_{name}" if name in prefixed else name for name in self.outputs]
            header = [*inputs, *outputs, *self.last]
            twice = {name for name, count in Counter(header).items() if count > 1}
            plain = (twice & {*self.inputs, *self.outputs}) - prefixed  # a prefix may meet another column's own name
            if not plain:
                return header
            prefixed |= plain
