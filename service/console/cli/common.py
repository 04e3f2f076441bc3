"""What every group of commands shares: names that are nearly right, --stack and --json, the stack spoken to."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from service.console import display, stacks
from service.console.saving import STDOUT, STDOUT_NAMES
from service.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


class Commands(click.Group):
    """A group that answers an unknown name with the nearest known one."""

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        """Return the command of that name; raises UsageError with what there is instead."""
        name = args[0]
        if self.get_command(ctx, name) is None and not name.startswith("-"):
            whole = f"{ctx.info_name} {name}" if ctx.parent is not None else name
            raise click.UsageError(f"there is no command `{whole}`; {nearest(name, self.list_commands(ctx))}")
        return super().resolve_command(ctx, args)


def examples(*commands: str) -> str:
    """Return the end of a command's help: how it is given, a line each."""
    lines = "\n".join(f"  {command}" for command in commands)
    return f"\b\nExamples:\n{lines}"  # \b is click's mark for lines that are kept as they are


def with_json(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json, which every command has."""
    return click.option("--json", "as_json", is_flag=True, help="JSON on stdout and nothing else.")(command)


def common(command: Callable[..., Any]) -> Callable[..., Any]:
    """--stack and --json, which every command that speaks to a stack has."""
    named = click.option("--stack", "stack_name", metavar="NAME", help="A stack on AWS; without it the embedded one.")
    return named(with_json(command))


def _destination(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is not None and not given.strip():
        raise click.BadParameter("is empty: name a file, or leave it out")
    return STDOUT if given in STDOUT_NAMES else given


def output_option(metavar: str, help_text: str) -> Callable[[Any], Any]:
    """-o, where a command writes; whatever name stdout is given, it is `-`."""
    return click.option("-o", "--output", metavar=metavar, help=help_text, callback=_destination)


def output_again(command: Callable[..., Any]) -> Callable[..., Any]:
    """-o of a command that makes the results of a batch again."""
    made: Callable[..., Any] = output_option("FILE|s3://…", "Where to, as with run; without it <source>-results.csv.")(
        command
    )
    return made


def source_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --encoding and --delimiter, which every command that reads a new source has."""
    encoding = click.option("--encoding", metavar="NAME", help="What the source is written in (cp1250, gb18030, …).")
    return encoding(click.option("--delimiter", metavar="CHARACTER", help="What divides its cells, or `tab`.")(command))


def said_of_source(given: Mapping[str, Any], encoding: str | None, delimiter: str | None) -> dict[str, Any]:
    """Return what the options say of the source, beside what the mapping does; nothing when they say nothing."""
    said = {name: value for name, value in (("encoding", encoding), ("delimiter", delimiter)) if value is not None}
    own = given.get("source")
    return {"source": {**(own if isinstance(own, dict) else {}), **said}} if said else {}


idempotent_option = click.option(
    "--idempotent", is_flag=True, help="A row may be given to the target twice: its chunks may cost less."
)
keep_going_option = click.option(
    "--keep-going", is_flag=True, help="Go on when the first 20 rows all fail for one cause."
)


def said_of_run(given: Mapping[str, Any], target: str | None, *, idempotent: bool, keep_going: bool) -> dict[str, Any]:
    """Return what the options say of the target and of how rows are run, beside what the mapping does."""
    said: dict[str, Any] = {}
    if target is not None:
        said["target"] = {"name": target, "idempotent": True} if idempotent else target
    if keep_going:
        said["execution_config"] = {**(given.get("execution_config") or {}), "keep_going": True}
    return said


def open_stack(name: str | None, *, start: bool = False) -> stacks.Stack:
    """Return the stack a command speaks to, named on stderr."""
    wanted = stacks.chosen(name)
    if wanted is not None:
        stack = stacks.on_aws(wanted)
    else:
        local = stacks.local_stack()
        if start:
            local.start(display.tell)
        stack = stacks.embedded(local)
    display.stderr().print(f"[dim]{escape(stack.label)}[/]")
    return stack


force_option = click.option("--force", is_flag=True, help="Replace a file that is there.")


def may_replace(path: Path, *, force: bool) -> bool:
    """Whether a file may be replaced: with --force, or when somebody at a terminal says so; aborts when not."""
    if force or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return force
    return click.confirm(f"{path} exists. Replace it?", abort=True, err=True)
