"""What a person reads of a mapping: its fields and steps, and what they made of one output."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.markup import escape

from service.console.display import short, stdout
from service.models import RowStatus

if TYPE_CHECKING:
    from collections.abc import Mapping


def mapping_outline(checked: Mapping[str, Any]) -> None:
    """Show a compiled output mapping: its fields, each with the steps that look for it, in order."""
    console = stdout()
    fields = checked["fields"]
    name = f"{checked['target']}: " if checked["target"] else ""
    if not fields:
        found = ", then ".join(checked["methods"]) or "the output"
        console.print(f"{escape(name)}every key of what is found is a field: {escape(found)}", emoji=False)
        return
    how = "each by its own steps" if checked["each_by_its_own"] else "all by the first method that finds any of them"
    count = f"{len(fields)} field{'' if len(fields) == 1 else 's'}"
    console.print(f"{escape(name)}{count}, {how}", emoji=False)
    for field in fields:
        said = [field["type"], "required" if field["required"] else None]
        said += [None if field["default"] is None else f"default {short(field['default'])}"]
        options = ", ".join(word for word in said if word)
        console.print(
            f"  [bold]{escape(field['name'])}[/]{f'  [dim]{escape(options)}[/]' if options else ''}", emoji=False
        )
        for number, step in enumerate(field["steps"], 1):
            transform = f" → {step['transform']}" if step["transform"] else ""
            console.print(f"    {number}  {escape(_step_text(step) + transform)}", emoji=False)


def extraction_trace(trace: Mapping[str, Any], number: int, total: int) -> None:
    """Show what a mapping made of one output: each field's value, the step that found it and why others did not."""
    console = stdout()
    style = "green" if trace["status"] == RowStatus.SUCCESS else "red"
    of = f"  output {number} of {total}" if total > 1 else ""
    cause = f"  {trace['error_type']}" if trace["error_type"] not in {None, "ExtractionFailed"} else ""
    console.print(f"[bold {style}]{trace['status']}[/]{escape(cause)}{of}", emoji=False)
    if not trace["fields"] and trace["message"]:
        if trace["retry"]:
            seconds = trace["retry_after_seconds"]
            after = "" if seconds is None else f", after {seconds:g} s as the target asks"
            console.print(f"  the target would be called again{after}")
        console.print(f"  {escape(trace['message'])}", emoji=False)
    for field in trace["fields"]:
        kind = f"  [dim]{field['type']}[/]" if field["type"] else ""
        missing = "[red]not found, required[/]" if field["required"] else "[yellow]not found[/]"
        value = missing if field["value"] is None else escape(short(field["value"]))
        default = "  [yellow]by default[/]" if field["default"] else ""
        console.print(f"  [bold]{escape(field['name'])}[/]  {value}{kind}{default}", emoji=False)
        for step in field["steps"]:
            mark = "[green]✓[/]" if step["found"] else "[red]✗[/]"
            console.print(f"    {mark} {escape(_step_text(step))}", emoji=False)
            if step["reason"]:
                console.print(f"      [dim]{escape(step['reason'])}[/]", emoji=False)


def _step_text(step: Mapping[str, Any]) -> str:
    return f"{step['method']}  {step['expression']}" if step["expression"] else str(step["method"])
