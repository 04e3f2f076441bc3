"""AgentTools: start_batch and batch_status for a gateway that calls functions; off unless a parameter asks for it."""

from __future__ import annotations

import os
from typing import Any

from service.app import from_environment
from service.steps.agent_tools import call


def handler(event: Any, context: Any) -> Any:
    """`event`: the arguments of the tool. Which tool it is stands in the client context (AgentCore Gateway)."""
    given = getattr(context.client_context, "custom", None) or {}
    name = given.get("bedrockAgentCoreToolName", "")
    return call(from_environment(), os.environ["STATE_MACHINE_ARN"], name, event)
