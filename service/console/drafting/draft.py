"""A mapping file drafted for a source and a target: what fits is written, and what was guessed is said beside it.

No path is written that found nothing in the sample of outputs: each was tried as a batch would try it.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from service.console import yaml_core
from service.console.drafting.inputs import write_input
from service.console.drafting.outputs import write_output
from service.console.drafting.page import Page

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Draft:
    """A mapping file: as YAML with comments, as the object which that YAML is, and what its reader should know."""

    text: str
    mapping: dict[str, Any]
    notes: list[str]


def draft(
    description: dict[str, Any],
    target: dict[str, Any] | None,
    outputs: list[Any],
    *,
    source: Mapping[str, str] | None = None,
) -> Draft:
    """Return a mapping from a source, as `describe` returns it, to a target and out of its outputs.

    `target` has tool_name, tool_type, input_schema and output_schema; without one every column is passed under its own
    name. `outputs` are samples of what it answers. `source`: encoding and delimiter, where a person had to say them.
    """
    page = Page()
    name = (target or {}).get("tool_name") or "NAME"
    page.comment(f"A draft for {description['source']}: look it through, then try it on a few rows and run all:")
    words = f"{shlex.quote(description['source'])} --target {shlex.quote(name)} --mapping THIS_FILE"
    for command in ("check", "run"):
        page.comment(f"  batch-processor {command} {words}")
    page.comment("docs/mapping.md has everything else that can stand here.")
    if source:
        page.add(0, "source")
        page.mapping["source"] = dict(source)
        for key, value in source.items():
            page.add(1, key, value)
    write_input(page, description["columns"], target or {})
    write_output(page, target or {}, outputs)
    text = "\n".join(page.lines) + "\n"
    if _read(text) != page.mapping:  # names so odd that they cannot stand beside comments
        text = yaml_core.write(page.mapping)
    return Draft(text, page.mapping, page.notes)


def _read(text: str) -> Any:
    try:
        return yaml_core.read(text)
    except yaml_core.YamlFault:
        return None
