"""Commands of the embedded stack: start, stop, status."""

from __future__ import annotations

from typing import Any

import click
from rich.markup import escape

from service.console import display, stacks
from service.console.cli.common import Commands, examples


@click.group(cls=Commands)
def local() -> None:
    """Run the whole application on this machine: the embedded stack."""


@local.command("start", epilog=examples("batch-processor local start"))
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout and nothing else.")
def local_start(*, as_json: bool) -> int:
    """Start it and deploy what has changed; it runs until `local stop`."""
    embedded = stacks.local_stack()
    embedded.start(display.tell)
    return _local_status(embedded, as_json=as_json)


@local.command("stop", epilog=examples("batch-processor local stop"))
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout and nothing else.")
def local_stop(*, as_json: bool) -> int:
    """Stop it; batches and results are kept."""
    embedded = stacks.local_stack()
    was_running = embedded.stop(display.tell)
    if as_json:
        display.print_json({"running": False, "was_running": was_running})
    else:
        display.stdout().print("stopped; its data are kept" if was_running else "it was not running")
    return 0


@local.command("status", epilog=examples("batch-processor local status --json"))
@click.option("--json", "as_json", is_flag=True, help="JSON on stdout and nothing else.")
def local_status(*, as_json: bool) -> int:
    """Say whether it runs, where, and where its data are."""
    return _local_status(stacks.local_stack(), as_json=as_json)


def _local_status(embedded: Any, *, as_json: bool) -> int:
    running = embedded.running()
    known = {
        "running": running,
        "endpoint": embedded.endpoint if running else None,
        "pid": embedded.owner.get("pid") if running else None,
        "data": str(embedded.root),
        "unsaved": embedded.unsaved() if running else None,
        "targets": stacks.embedded(embedded).app.registry.names() if running else None,
    }
    if as_json:
        display.print_json(known)
    elif running:
        display.stdout().print(f"running at {known['endpoint']}, data in {escape(str(known['data']))}")
        display.stdout().print(f"targets: {escape(', '.join(known['targets']))}")
        if known["unsaved"]:
            display.stdout().print(escape(str(known["unsaved"])))
    else:
        display.stdout().print("not running: batch-processor local start")
    return 0
