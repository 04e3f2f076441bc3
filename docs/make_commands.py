"""Writes docs/commands.md, the help of every command; `make docs` runs it and a test compares.

.venv/bin/python docs/make_commands.py
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from service.console.cli.main import cli

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).with_name("commands.md")
WIDTH = 100  # characters of a line of help
HEAD = """# Commands

The help of every command, as `--help` prints it. [usage.md](usage.md) tells what the commands do in detail.

BATCH is a full id, a unique prefix of it or of its execution's name, or `last`. `--stack NAME`, or
`BATCH_PROCESSOR_STACK`, names a stack on AWS; without either the embedded stack is meant. Exit codes: 0 every row
succeeded, or the question was answered; 1 some rows did not succeed; 2 wrong use or bad input; 3 it could not run; 130
Ctrl-C.

`batch-processor completion bash` (or `zsh`, `fish`) prints the script by which the Tab key completes commands, options,
batches and targets: put `eval "$(batch-processor completion bash)"` into `~/.bashrc`.
"""


def commands(
    command: click.Command, path: tuple[str, ...] = ("batch-processor",)
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command below this one with the words that call it, in order."""
    yield path, command
    if isinstance(command, click.Group):
        for name, inner in sorted(command.commands.items()):
            yield from commands(inner, (*path, name))


def help_of(command: click.Command, path: tuple[str, ...]) -> str:
    """Return what `--help` prints."""
    settings = {**command.context_settings, "terminal_width": WIDTH, "help_option_names": ["-h", "--help"]}
    context = click.Context(command, info_name=" ".join(path), **settings)
    return command.get_help(context)


def page() -> str:
    """Return the whole page."""
    parts = [HEAD]
    parts += [f"## {' '.join(path)}\n\n```\n{help_of(command, path)}\n```\n" for path, command in commands(cli)]
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
