"""Completion in the shell: the script that switches it on, and the values that only a stack knows."""

from __future__ import annotations

from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem, get_completion_class

from service.console import runs, stacks
from service.console.cli.common import examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

PROGRAM = "batch-processor"
_VARIABLE = "_BATCH_PROCESSOR_COMPLETE"
_BATCHES = 30  # that are offered, the newest first
_LOOKED_AT = 200  # among orders that were refused
_SHELLS = ("bash", "fish", "zsh")


@click.command(epilog=examples('eval "$(batch-processor completion bash)"', "batch-processor completion fish | source"))
@click.argument("shell", type=click.Choice(_SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> int:
    """Print the script that completes commands, options, batches and targets with the Tab key.

    Put it into the shell's start-up file: ~/.bashrc, ~/.zshrc or ~/.config/fish/config.fish. bash must be 4.4 or later.
    """
    made = get_completion_class(shell)
    assert made is not None  # every choice is one of click's own
    click.echo(made(context.find_root().command, {}, PROGRAM, _VARIABLE).source())
    return 0


def batch_argument(*, required: bool = True) -> Callable[[Any], Any]:
    """BATCH: a full id, a unique prefix, or `last`."""
    return click.argument("batch", required=required, shell_complete=_batches)


def target_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--target, which names what the rows go through."""
    help_text = "A registered target, or an ARN."
    option = click.option("--target", required=True, metavar="NAME|ARN", help=help_text, shell_complete=targets)
    return option(command)


def _batches(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    def found(app: Any) -> Iterable[CompletionItem]:
        yield CompletionItem("last", help="the newest batch")
        for record in islice(runs.ran(app.records.newest(limit=_LOOKED_AT)), _BATCHES):
            yield CompletionItem(record.batch_id, help=f"{record.status} {record.started_at or ''}")

    return _of_stack(context, found, incomplete)


def targets(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return names of registered targets that begin with what was typed."""
    return _of_stack(context, lambda app: map(CompletionItem, app.registry.names()), incomplete)


def _of_stack(
    context: click.Context, found: Callable[[Any], Iterable[CompletionItem]], incomplete: str
) -> list[CompletionItem]:
    """Return what a stack that can be reached knows; nothing of another, for a shell has no place for its error."""
    with suppress(Exception):
        wanted = stacks.chosen(context.params.get("stack_name"))
        stack = stacks.embedded(stacks.local_stack()) if wanted is None else stacks.on_aws(wanted)
        return [item for item in found(stack.app) if item.value.startswith(incomplete)]
    return []
