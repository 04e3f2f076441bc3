"""The command that lets agents use the batch processor: a server of the Model Context Protocol."""

from __future__ import annotations

import functools
import sys

import click

from service.console import display, loopback
from service.console.cli import results
from service.console.cli.common import common, examples, open_stack
from service.console.outputs import NoStack

_NEEDED = ("mcp", "mcp_types", "uvicorn", "starlette")


class NotInstalled(NoStack):
    """The SDK is an extra, and it is not there."""


@click.command(
    "mcp",
    epilog=examples(
        "batch-processor mcp --stack my-stack",
        "batch-processor mcp --http --port 8765",
    ),
)
@click.option("--http", is_flag=True, help="Serve HTTP on 127.0.0.1 in the place of stdin and stdout.")
@click.option("--port", type=click.IntRange(1, 65_535), help="The port with --http; a free one without it.")
@common
def mcp(port: int | None, stack_name: str | None, *, http: bool, as_json: bool) -> int:
    """Serve agents: an MCP server with tools that describe, check, start, watch and rerun batches.

    Speaks on stdin and stdout, or over HTTP to whoever has the token that it prints. A batch goes on without it.
    """
    if port is not None and not http:
        raise click.UsageError("--port goes with --http alone")
    if as_json and not http:
        raise click.UsageError("--json goes with --http alone: without it stdout carries the protocol")
    try:
        from service.console.mcp import over_http, server  # noqa: PLC0415 - an extra, and it takes a second
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise NotInstalled(
            f"the MCP server needs the Python package {error.name!r}, which is not installed:\npip install mcp uvicorn"
        ) from error
    served = server.create(functools.partial(open_stack, stack_name))
    if not http:
        if sys.stdin.isatty():
            display.tell(
                "serving the Model Context Protocol on stdin and stdout, for a client that starts it; Ctrl-C ends it"
            )
        served.run("stdio")
        return 0
    token, listening = over_http.new_token(), loopback.listen(port)
    host, bound = listening.getsockname()
    url = f"http://{host}:{bound}{over_http.PATH}"
    if as_json:
        display.print_json({"url": url, "token": token})
    else:
        display.tell(url)
        display.tell(f"Authorization: Bearer {token}")
        display.tell("Ctrl-C ends it")
    over_http.serve(over_http.application(served, bound, token), listening)
    return results.INTERRUPTED
