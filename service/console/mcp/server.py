"""The server: tools, tasks and pages over one stack, by the official SDK."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer

from service.console.mcp.opened import Stacks
from service.console.mcp.pages import resources
from service.console.mcp.tasks import Tasks
from service.console.mcp.tools import tools

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.console.stacks import Stack

_INSTRUCTIONS = (
    "Runs a CSV, row by row, through a tool (Lambda function) or an agent (state machine). The usual way: "
    "describe_source, list_targets, suggest_mapping, check_batch, start_batch with execution_config.sample for a few "
    "rows, then rerun_batch for the others; batch_status until it has ended; failed_rows and batch_result. What costs "
    "more is quoted and must be agreed to by a person. batch-processor://docs/usage has statuses and limits, "
    "batch-processor://docs/mapping the mapping language."
)


def create(open_stack: Callable[[], Stack]) -> MCPServer[Any]:
    """Return the server; `open_stack` is called by the first call that needs the stack.

    Nothing is kept but the connection to it: whatever a task or a question needs is in the stack, or in the request.
    """
    stacks = Stacks(open_stack)
    return MCPServer(
        "batch-processor",
        title="Batch processor",
        instructions=_INSTRUCTIONS,
        version=version("batch-processor"),
        tools=list(tools(stacks)),
        resources=list(resources()),
        extensions=[Tasks(stacks)],
        log_level="WARNING",
        subscriptions=False,
    )
