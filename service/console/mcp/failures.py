"""What went wrong, as an agent reads it: the product's own words, never a stack trace."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from mcp_types import CallToolResult, TextContent

from service.console.outputs import NoStack
from service.errors import BatchProcessorError, BatchRefused
from service.excerpt import excerpt
from service.secrets_mask import masked
from service.store.tables import TableError

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.console.mcp.opened import Stacks

REACHED = (BotoCoreError, ClientError, TableError)  # errors of AWS, or of the way to it
_MESSAGE = 4_000  # characters of an error


def told(error: BaseException) -> str:
    """Return an error's own words, secrets masked and cut."""
    if isinstance(error, BatchRefused):
        text = error.detailed
    elif isinstance(error, OSError):
        place = f"{error.filename}: " if error.filename else ""
        text = f"{place}{error.strerror or error}"
    else:
        text = str(error)
    shown = masked(text) or type(error).__name__
    if len(shown) > _MESSAGE:
        return excerpt(shown, _MESSAGE) + f"\n({len(shown):,} characters, cut: correct these first)"
    return shown


def as_error(text: str) -> CallToolResult:
    """Return the answer of a tool that did not do what was asked."""
    return CallToolResult(content=[TextContent(type="text", text=text)], is_error=True)


def answering(stacks: Stacks, tool: Callable[..., Any]) -> Callable[..., Any]:
    """Return the tool with errors of the product and of AWS as its answers; a lost stack is opened anew next time.

    What is nobody's doing but ours is left to the SDK: it answers in general words and logs to stderr.
    """

    @functools.wraps(tool)
    def answered(*args: Any, **kwargs: Any) -> Any:
        try:
            return tool(*args, **kwargs)
        except NoStack as error:
            stacks.forget()
            return as_error(told(error))
        except BatchProcessorError as error:
            return as_error(told(error))
        except REACHED as error:
            stacks.forget()
            return as_error(f"AWS could not be asked, or refused: {told(error)}")
        except OSError as error:
            return as_error(told(error))

    return answered
