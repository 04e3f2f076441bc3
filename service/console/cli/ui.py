"""The command that serves the web view on this machine, until Ctrl-C."""

from __future__ import annotations

import logging
import os
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

import click

from service.console import display, loopback, stacks
from service.console.cli import results
from service.console.cli.common import common, examples, open_stack

if TYPE_CHECKING:
    from service.console.web.gate import Gate

_THREADS = 8  # requests answered at a time; each waits for AWS
_SCREENS = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")  # without one of them Linux has text browsers at the most


@click.command(epilog=examples("batch-processor ui", "batch-processor ui --stack my-stack --port 8080 --no-browser"))
@click.option("--port", type=click.IntRange(1, 65_535), help="The port on 127.0.0.1; a free one without it.")
@click.option("--no-browser", is_flag=True, help="Only print the address.")
@common
def ui(port: int | None, stack_name: str | None, *, no_browser: bool, as_json: bool) -> int:
    """Look at batches in a browser: progress, causes, rows; stop, rerun, make the CSV again.

    Serves on 127.0.0.1 alone, to whoever has the address that it prints; Ctrl-C ends it.
    """
    from waitress.server import create_server  # noqa: PLC0415 - other commands do without a web server

    from service.console.web import wsgi as web  # noqa: PLC0415 - nor its framework
    from service.console.web.gate import Gate  # noqa: PLC0415
    from service.console.web.orders import Orders  # noqa: PLC0415

    stack = open_stack(stack_name)
    listening = loopback.listen(port)
    gate, orders = Gate(listening.getsockname()[1]), Orders(stack)
    app = web.create(stack, gate, orders, stacks.chosen(stack_name))
    logging.getLogger("waitress").setLevel(logging.ERROR)
    server = create_server(app, sockets=[listening], threads=_THREADS, ident=None)
    if as_json:
        display.print_json({"url": gate.address(gate.token)})
    else:
        click.echo(gate.address(gate.token))
        display.tell("Ctrl-C ends it")
        if not no_browser and _has_person():
            _open(gate)
    server.run()  # until Ctrl-C, which it takes itself
    for batch_id in orders.going():
        display.tell(f"the CSV was still being made: batch-processor aggregate '{batch_id}' makes it again")
    return results.INTERRUPTED


def _has_person() -> bool:
    """Whether somebody is at the terminal, with a browser that has a window of its own."""
    has_screen = not sys.platform.startswith("linux") or any(os.environ.get(name) for name in _SCREENS)
    return has_screen and sys.stdin.isatty() and sys.stdout.isatty()


def _open(gate: Gate) -> None:
    """Open a browser, some of which come back only when they are closed."""
    address = gate.address(gate.once())
    threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
