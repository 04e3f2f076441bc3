"""Every example of docs/mapping.md does what the page says.

A fenced block says what it is in its first line, after the language:

    yaml mapping, json output, text output      an output mapping and what a target gave
    json fields, text method                    what comes of them; closes the example
    text error                                  why the mapping is refused
    text failure                                why nothing was found
    text status                                 the row's status and cause, and when the target is called again
    yaml input_mapping, csv rows, json input    the same for an input mapping; `json input` has a line for each row
    text row_error                              why a row cannot be mapped
    text input_error                            why an input mapping is refused
    json value, and a table of `expression` and `finds`

A block stays until another of its kind takes its place, so that one output can serve several mappings.
"""

from __future__ import annotations

import csv
import io
import json
import re
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from places import ROOT

from service.console import yaml_core
from service.errors import BatchRefused
from service.expressions.functions import FUNCTIONS
from service.expressions.language import compile_expression
from service.expressions.values import TRANSFORMS, TYPES
from service.extraction.compiler import compile_output_mapping
from service.extraction.forms import FORMS
from service.extraction.methods import METHODS
from service.mapping.conversions import TYPES as CELL_TYPES
from service.mapping.conversions import RowNotMapped
from service.mapping.input_mapping import compile_input_mapping
from service.mapping.transformations import TRANSFORMATIONS

if TYPE_CHECKING:
    from pathlib import Path

PAGE = ROOT / "docs" / "mapping.md"
TEXT = PAGE.read_text(encoding="utf-8")
GIVEN = {"yaml mapping", "json output", "text output", "yaml input_mapping", "csv rows", "json value"}
SHOWN = {
    "json fields",
    "text method",
    "text status",
    "text error",
    "text failure",
    "json input",
    "text row_error",
    "text input_error",
}
EXAMPLE_OUTPUTS = sorted((ROOT / "examples" / "outputs").glob("*.json"))


class Part(NamedTuple):
    """A fenced block or a table of the page, and the line where it begins."""

    line: int
    kind: str
    body: str


def parts() -> list[Part]:
    found, lines = [], TEXT.splitlines()
    start, kind = None, ""
    for number, line in enumerate(lines):
        if start is None and line.startswith("```"):
            start, kind = number, line[3:].strip()
        elif start is not None and line == "```":
            found.append(Part(start + 1, kind, "\n".join(lines[start + 1 : number])))
            start = None
        elif start is None and line.startswith("| expression | finds"):
            end = next(i for i in range(number, len(lines) + 1) if i == len(lines) or not lines[i].startswith("|"))
            found.append(Part(number + 1, "table", "\n".join(lines[number + 2 : end])))
    assert start is None, "a block without an end"
    return found


def examples() -> list[Any]:
    """Each block that shows a result, with what was given before it."""
    given: dict[str, str] = {}
    found = []
    for part in parts():
        if part.kind in GIVEN:
            given.pop({"json output": "text output", "text output": "json output"}.get(part.kind, ""), None)
            given[part.kind] = part.body
        elif part.kind in SHOWN or part.kind == "table":
            found.append(pytest.param(part, dict(given), id=f"line {part.line}"))
    return found


def output_of(given: dict[str, str]) -> Any:
    return given["text output"] if "text output" in given else json.loads(given["json output"])


@pytest.mark.parametrize(("part", "given"), examples())
def test_an_example_is_true(part: Part, given: dict[str, str]) -> None:
    if part.kind == "table":
        check_table(part.body, json.loads(given["json value"]))
    elif part.kind in {"json input", "text row_error", "text input_error"} or (
        part.kind == "text error" and "input_mapping" in part.body
    ):
        check_input(part, given)
    else:
        check_output(part, given)


def check_output(part: Part, given: dict[str, str]) -> None:
    mapping = yaml_core.read(given["yaml mapping"])
    if part.kind == "text error":
        with pytest.raises(BatchRefused) as raised:
            compile_output_mapping(mapping)
        assert str(raised.value) == part.body
        return
    extraction = compile_output_mapping(mapping).extract(output_of(given))
    if part.kind == "json fields":
        assert extraction.ok, extraction.message
        assert json.dumps(extraction.fields) == json.dumps(json.loads(part.body))
    elif part.kind == "text method":
        assert extraction.method == part.body
    elif part.kind == "text status":
        again = f", again after {extraction.retry_after_seconds:g} s" if extraction.retry else ""
        assert f"{extraction.status} {extraction.error_type}{again}" == part.body
    else:
        assert extraction.message == " ".join(part.body.split())


def check_input(part: Part, given: dict[str, str]) -> None:
    mapping = yaml_core.read(given["yaml input_mapping"])
    rows = list(csv.DictReader(io.StringIO(given["csv rows"])))
    if part.kind in {"text error", "text input_error"}:
        with pytest.raises(BatchRefused) as raised:
            compile_input_mapping(mapping, list(rows[0]))
        assert str(raised.value) == part.body
        return
    plan = compile_input_mapping(mapping, list(rows[0]))
    if part.kind == "text row_error":
        with pytest.raises(RowNotMapped) as trouble:
            plan.fields(rows[-1])
        assert str(trouble.value) == " ".join(part.body.split())
        return
    shown = [json.loads(line) for line in part.body.splitlines()]
    assert json.dumps([plan.fields(row) for row in rows]) == json.dumps(shown)


def check_table(body: str, value: Any) -> None:
    for line in body.splitlines():
        # `\|` is how a table holds a `|`.
        expression, found = (cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:3])
        text = code(expression).replace("\\|", "|")
        assert json.dumps(compile_expression(text).find(value)) == json.dumps(json.loads(code(found))), text


def code(cell: str) -> str:
    """What stands between a cell's backticks, which are two where it holds one itself."""
    ticks = "``" if cell.startswith("``") else "`"
    assert cell.startswith(ticks), cell
    assert cell.endswith(ticks), cell
    return cell.removeprefix(ticks).removesuffix(ticks)


def test_every_block_says_what_it_is() -> None:
    kinds = {part.kind for part in parts()}
    assert kinds <= GIVEN | SHOWN | {"table", "text"}  # `text` alone is a picture
    assert kinds >= GIVEN | SHOWN


def test_there_is_an_example_of_everything_by_name() -> None:
    tables = "\n".join(part.body for part in parts() if part.kind == "table")
    for name in FUNCTIONS.FUNCTION_TABLE:
        assert f"{name}(" in tables, name
    blocks = "\n".join(part.body for part in parts() if part.kind.startswith("yaml"))
    for name in (*METHODS, *FORMS, *TRANSFORMS, *TRANSFORMATIONS, "column_mappings", "static_values", "types"):
        assert re.search(rf"\b{name}\b", blocks), name
    for name in (*TYPES, *CELL_TYPES, "include_columns", "exclude_columns", "include_original", "add_metadata"):
        assert f"`{name}`" in TEXT, name


def test_every_link_leads_somewhere() -> None:
    headings = {
        re.sub(r"[^a-z0-9 -]", "", line.lstrip("# ").lower()).replace(" ", "-")
        for line in TEXT.splitlines()
        if re.match(r"#+ ", line)
    }
    for target in re.findall(r"\]\(([^)]+)\)", TEXT):
        if target.startswith("#"):
            assert target[1:] in headings, target
        elif not target.startswith("https://"):
            assert (PAGE.parent / target).exists(), target


@pytest.mark.parametrize("path", EXAMPLE_OUTPUTS, ids=lambda path: path.stem)
def test_an_example_mapping_reads_the_output_beside_it(path: Path) -> None:
    mapping = ROOT / "examples" / "mappings" / f"{path.stem}.yaml"
    if not mapping.exists():  # another output for the same mapping, as broadband_text is for broadband
        mapping = mapping.with_stem(path.stem.partition("_")[0])
    plan = compile_output_mapping(yaml_core.read(mapping.read_text())["output_mapping"])
    extraction = plan.extract(json.loads(path.read_text()))
    line = {
        "exchange": "WHITEHALL",
        "cabinet": "12",
        "download_speed": "50.0-330.0 Mbps",
        "upload_speed": "9.0-50.0 Mbps",
    }
    expected = {
        "broadband": ("tool_result(browser_broadband)", line),
        "broadband_structured": ("structured_output", line),
        "broadband_text": ("jmespath", line),
        "web_search": ("results_array", {"title": "Check your line", "url": "https://example.org/check"}),
        "classification": ("direct", {"category": "billing", "confidence_score": 0.87}),
    }
    assert (extraction.method, extraction.fields) == expected[path.stem]
