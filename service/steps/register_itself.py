"""The stack's own entry in the registry: made when it is deployed, removed when it is deleted.

CloudFormation calls this as the provider of a custom resource and waits for an answer at a URL of the event ("Custom
resource request objects" and "response objects", CloudFormation User Guide). It would wait for an hour, so an answer is
always sent.
"""

from __future__ import annotations

import json
import logging
import urllib.request
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError
from service.request import own_tool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App

_LOG = logging.getLogger(__name__)
_SECONDS = 30  # for the answer to arrive
_LONGEST_REASON = 1000  # characters: an answer of more than 4,096 bytes is not taken


class NameTaken(BatchProcessorError):
    """The registry has another target of that name."""


def answer(app: App, event: Mapping[str, Any]) -> None:
    """Do what CloudFormation asks for and send it the answer; raise OSError only when that cannot be sent."""
    properties = event["ResourceProperties"]
    reason = ""
    try:
        _do(app, event["RequestType"], properties["ToolName"], properties["ResourceArn"])
    except BatchProcessorError as error:
        reason = str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, CloudFormation waits for an answer
        reason = f"{type(error).__name__}: {error}"
        _LOG.warning("registration failed: %s", reason)
    _send(event, reason)


def _do(app: App, request: str, name: str, arn: str) -> None:
    registry = app.registry
    if request == "Delete":
        registry.remove(name, arn=arn)
        return
    known = registry.find(name)
    if known is not None and known.resource_arn != arn:
        raise NameTaken(
            f"the registry {app.settings.registry_table} has a target {name!r} already, {known.resource_arn}: deploy "
            f"with another RegisteredName, or remove that one (batch-processor tool remove {name})"
        )
    attributes = {
        "tool_type": "state_machine",
        "resource_arn": arn,
        "description": own_tool.DESCRIPTION,
        "input_schema": own_tool.input_schema(),
    }
    registry.amend(name, attributes)


def _send(event: Mapping[str, Any], reason: str) -> None:
    """Put the answer where CloudFormation waits for it; a name that changes makes another resource of it."""
    body = json.dumps(
        {
            "Status": "FAILED" if reason else "SUCCESS",
            "Reason": reason[:_LONGEST_REASON],
            "PhysicalResourceId": event["ResourceProperties"]["ToolName"],
            "StackId": event["StackId"],
            "RequestId": event["RequestId"],
            "LogicalResourceId": event["LogicalResourceId"],
        }
    ).encode()
    # The URL is signed without a type of content, and urllib would add one.
    request = urllib.request.Request(event["ResponseURL"], body, {"Content-Type": ""}, method="PUT")  # noqa: S310
    with urllib.request.urlopen(request, timeout=_SECONDS):  # noqa: S310 - CloudFormation's own URL
        pass
