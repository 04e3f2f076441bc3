"""Commands of the registry: output schemas tried and registered, targets registered and shown."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from service.console import (
    definitions,
    display,
    display_explain,
    explain,
    invocation,
    mapping_files,
    target_files,
    yaml_core,
)
from service.console.cli.common import Commands, common, open_stack, with_json
from service.errors import BatchRefused, NotFound, Problem, nearest
from service.export.fill_rates import Seen, never
from service.models import KIND_OF_TYPE
from service.request.targets import NotAllowed, check_exists

if TYPE_CHECKING:
    from collections.abc import Iterable

    from service.app import App
    from service.console.mapping_files import CheckedMapping
    from service.store.registry import RegisteredTarget, Registry

_FILE = click.Path(path_type=Path)
_version = click.option("--version", type=click.IntRange(min=0), metavar="N", help="An older version.")


@click.group(cls=Commands)
def schema() -> None:
    """How a target's output is read: try a mapping on a sample, register it."""


@schema.command("check")
@click.argument("file", type=_FILE)
@click.option(
    "--sample", type=_FILE, metavar="OUTPUT.json", help="The target's output as JSON, or several as JSON Lines."
)
@click.option("--target", metavar="NAME", help="Only the mapping of this target, in a file of several.")
@with_json
def schema_check(file: Path, sample: Path | None, target: str | None, *, as_json: bool) -> int:
    """Check a schema or output mapping, and try it on a sample of the target's output. Needs no stack.

    \b
    batch-processor schema check my-mapping.yaml
    batch-processor schema check my-mapping.yaml --sample output.json

    FILE is YAML or JSON: a registry schema, an output mapping in any form, or a whole mapping file. With a sample,
    each field is shown with its value, the step that found it, and why the steps before it did not. Exit code 0 when
    every output of the sample would be a SUCCESS and each field is found in one of them at least, 1 when not, 2 when
    FILE is faulty.
    """  # noqa: D301 - \b is click's mark for lines that are kept as they are
    checked = mapping_files.check_document(mapping_files.read_document(file), target)
    if sample is None:
        _show_outlines(checked, as_json=as_json)
        return 0
    if len(checked) > 1:
        names = ", ".join(repr(one.target) for one in checked)
        raise BatchRefused(
            [Problem("--target", f"say of which target the sample is: the file has mappings of {names}")]
        )
    return _try(checked[0], mapping_files.read_outputs(sample), as_json=as_json)


def _show_outlines(checked: list[CheckedMapping], *, as_json: bool) -> None:
    outlines = [mapping_files.outline(one) for one in checked]
    if as_json:
        display.print_json({"valid": True, "mappings": outlines})
        return
    for outline in outlines:
        display_explain.mapping_outline(outline)


def _try(checked: CheckedMapping, outputs: list[Any], *, as_json: bool) -> int:
    """Show what the mapping makes of every output; 0 when all of them give a success and every field is found once."""
    counts: Counter[str] = Counter()
    seen = Seen()
    seen.know(checked.plan.columns or ())
    for number, output in enumerate(outputs, 1):
        trace = explain.traced(checked.plan, output)
        for one in trace["fields"]:
            seen.add(one["name"], one["found_by"] is not None)
        counts[trace["status"]] += 1
        if as_json:
            display.print_json({"output": number, **trace})
        else:
            display_explain.extraction_trace(trace, number, len(outputs))
    if len(outputs) > 1:
        shown = ("SUCCESS", *sorted(counts.keys() - {"SUCCESS"}))
        display.tell(f"{len(outputs)} outputs: " + ", ".join(f"{counts[status]} {status}" for status in shown))
    absent = [one["name"] for one in never(seen.told(len(outputs)))]
    if absent:
        whole = "the output" if len(outputs) == 1 else f"any of the {len(outputs)} outputs"
        display.tell(f"not found in {whole}: {', '.join(absent)}; correct its paths, or leave the field out")
    return 0 if counts["SUCCESS"] == len(outputs) and not absent else 1


@schema.command("register")
@click.argument("file", type=_FILE)
@click.option("--target", metavar="NAME", help="The registered target; without it the one that the schema names.")
@click.option("--arn", metavar="ARN", help="Registers the target too: the ARN of its function or state machine.")
@common
def schema_register(file: Path, target: str | None, arn: str | None, stack_name: str | None, *, as_json: bool) -> int:
    """Register how a target's output is read, as a new version of the target.

    \b
    batch-processor schema register examples/schemas/echo.yaml
    batch-processor schema register my-mapping.yaml --target my-agent
    batch-processor schema register my-agent.yaml --arn arn:aws:states:…:stateMachine:my-agent

    FILE is as for `schema check`. Batches that name no output mapping of their own use the newest version from then on;
    a batch that is prepared keeps the version it began with. A target that is not registered yet is registered in the
    same go by --arn; of one that is, --arn must be the ARN.
    """  # noqa: D301
    document = mapping_files.read_document(file)
    said = [one.target for one in mapping_files.check_document(document, target)]
    name = target or (said[0] if len(said) == 1 else None)
    if name is None:
        raise BatchRefused([Problem("--target", "is missing: say for which registered target this is")])
    stack = open_stack(stack_name)
    registry = stack.app.registry
    before = registry.find(name)
    if target is not None and said[0] not in (None, target):
        display.tell(f"the schema says it is of {said[0]!r}; registered for {target!r} as --target says")
    attributes = _attributes_by_arn(registry, before, name, arn, file)
    output_schema = target_files.registrable(document, name, KIND_OF_TYPE.get(attributes["tool_type"]))
    after = registry.amend(name, {**attributes, "output_schema": output_schema})
    _show_registered(before, after, as_json=as_json)
    return 0


def _attributes_by_arn(
    registry: Registry, before: RegisteredTarget | None, name: str, arn: str | None, file: Path
) -> dict[str, Any]:
    """Name, type and ARN of the target that a schema is registered for; raises NotFound and BatchRefused."""
    if before is None and arn is None:
        missing = f"there is no target {name!r} in the registry; {nearest(name, registry.names())}"
        raise NotFound(
            f"{missing}\nto register the target and its schema in one go, name its function or state machine:\n"
            f"batch-processor schema register {file} --target {name} --arn ARN"
        )
    if before is not None and arn not in (None, before.resource_arn):
        message = f"{name!r} is registered as {before.resource_arn}: leave --arn out, or change it by `tool register`"
        raise BatchRefused([Problem("--arn", message)])
    (target,) = target_files.check_targets({"tool_name": name, "resource_arn": arn or before.resource_arn}, Path())  # type: ignore[union-attr]
    return target


@schema.command("list")
@click.argument("target", required=False)
@common
def schema_list(target: str | None, stack_name: str | None, *, as_json: bool) -> int:
    """List the targets with the newest version of their schemas, or all versions of one TARGET.

    \b
    batch-processor schema list
    batch-processor schema list sentiment
    """  # noqa: D301
    registry = open_stack(stack_name).app.registry
    if target is None:
        found: Iterable[RegisteredTarget] = registry.targets()
    else:
        _found(registry, target)
        found = registry.versions(target)
    entries = map(_schema_entry, found)
    display.entries(entries, display.schema_table, as_json=as_json)
    return 0


def _schema_entry(target: RegisteredTarget) -> dict[str, Any]:
    """Return a version's fields: null without a schema, or when each output tells which there are."""
    fields, problem = None, None
    if target.output_schema is not None:
        try:
            plan = mapping_files.check_document(target.output_schema, target.tool_name)[0].plan
            fields = None if plan.columns is None else list(plan.columns)
        except BatchRefused as refused:
            problem = f"not a schema of ours: {refused.problems[0]}".splitlines()[0]
    return {
        "tool_name": target.tool_name,
        "version": target.version,
        "registered_at": target.registered_at,
        "has_schema": target.output_schema is not None,
        "fields": fields,
        "problem": problem,
    }


@schema.command("show")
@click.argument("target")
@_version
@common
def schema_show(target: str, version: int | None, stack_name: str | None, *, as_json: bool) -> int:
    """Show a target's output schema, as it can be registered again.

    \b
    batch-processor schema show sentiment
    batch-processor schema show sentiment --version 1 > old.yaml
    """  # noqa: D301
    found = _found(open_stack(stack_name).app.registry, target, version)
    if found.output_schema is None:
        none = f"{target} version {found.version} has no output schema: an output's top-level keys are its fields"
        raise NotFound(f"{none}; batch-processor schema register FILE --target {target}")
    _show(found, found.output_schema, as_json=as_json)
    return 0


@click.group(cls=Commands)
def tool() -> None:
    """Targets (tools and agents) by name, and the batch processor itself as a tool of agents."""


@tool.command("register")
@click.argument("file", type=_FILE, required=False)
@click.option("--name", metavar="NAME", help="In place of FILE: the target's name.")
@click.option("--arn", metavar="ARN", help="The ARN of its Lambda function or Step Functions state machine.")
@click.option("--description", metavar="TEXT", help="What it does, for people and agents.")
@click.option("--input-schema", type=_FILE, metavar="FILE", help="JSON Schema of its input.")
@click.option("--output-schema", type=_FILE, metavar="FILE", help="How its output is read, as for `schema check`.")
@click.option("--idempotent", is_flag=True, default=None, help="A row may be given to it twice: its chunks cost less.")
@common
def tool_register(  # noqa: PLR0913 - one argument per option
    file: Path | None,
    name: str | None,
    arn: str | None,
    description: str | None,
    input_schema: Path | None,
    output_schema: Path | None,
    stack_name: str | None,
    *,
    idempotent: bool | None,
    as_json: bool,
) -> int:
    """Register targets from FILE, or one by options; a new version when anything differs.

    \b
    batch-processor tool register targets.yaml
    batch-processor tool register --name my-agent --arn arn:aws:states:…:stateMachine:my-agent

    FILE is YAML or JSON: one target, or a list under `targets`, with tool_name, resource_arn, tool_type (lambda or
    state_machine), description, input_schema, output_schema (in place, or {file: path}), price_per_row_usd,
    idempotent, fail_when, retry_when. What is left out stays as it was in the newest version; null takes it away.
    """  # noqa: D301
    options = {"tool_name": name, "resource_arn": arn, "description": description, "idempotent": idempotent}
    paths = {"input_schema": input_schema, "output_schema": output_schema}
    given: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
    given |= {key: {"file": str(path)} for key, path in paths.items() if path is not None}
    if (file is None) == (not given):
        raise click.UsageError("give a FILE, or --name and --arn")
    targets = target_files.check_targets(
        mapping_files.read_document(file) if file else given, file.parent if file else Path()
    )
    stack = open_stack(stack_name)
    _check_they_exist(stack.app, targets)
    registry = stack.app.registry
    own = stack.state_machine_arn
    for target in targets:
        before = registry.find(target["tool_name"])
        if before is not None and before.resource_arn == own != target["resource_arn"]:
            message = f"{target['tool_name']!r} is the stack's own entry: take another name"
            raise BatchRefused([Problem("tool_name", message)])
    for target in targets:
        before = registry.find(target["tool_name"])
        after = registry.amend(target["tool_name"], target)
        _show_registered(before, after, as_json=as_json)
    return 0


def _check_they_exist(app: App, targets: list[dict[str, Any]]) -> None:
    """Raise BatchRefused with every target that is not there; say of which it could not be seen."""
    problems = []
    for target in targets:
        name, arn = target["tool_name"], target["resource_arn"]
        try:
            check_exists(app, KIND_OF_TYPE[target["tool_type"]], arn)
        except NotAllowed:
            display.tell(f"{name}: your credentials may not look at {arn}, so it was not seen whether it is there")
        except BatchRefused as refused:
            problems += [Problem(f"{name}.resource_arn", problem.message) for problem in refused.problems]
    if problems:
        raise BatchRefused(problems)


@tool.command("list")
@common
def tool_list(stack_name: str | None, *, as_json: bool) -> int:
    """List the registered targets, each with its newest version.

    \b
    batch-processor tool list
    """  # noqa: D301
    targets = [_attributes(target) for target in open_stack(stack_name).app.registry.targets()]
    display.entries(targets, display.target_table, as_json=as_json)
    return 0


@tool.command("show")
@click.argument("name")
@_version
@common
def tool_show(name: str, version: int | None, stack_name: str | None, *, as_json: bool) -> int:
    """Show a target with its schemas, as it can be registered again.

    \b
    batch-processor tool show sentiment
    batch-processor tool show sentiment --version 1 --json
    """  # noqa: D301
    found = _found(open_stack(stack_name).app.registry, name, version)
    attributes = _attributes(found)
    _show(found, attributes if as_json else {key: attributes[key] for key in target_files.TARGET_KEYS}, as_json=as_json)
    return 0


def _found(registry: Registry, name: str, version: int | None = None) -> RegisteredTarget:
    """Return a target that is registered; raises NotFound with what there is instead."""
    found = registry.find(name, version)
    if found is not None:
        return found
    numbers = [str(target.version) for target in registry.versions(name)]
    if numbers:
        raise NotFound(f"{name} has no version {version}; it has {', '.join(reversed(numbers))}")
    raise NotFound(f"there is no target {name!r} in the registry; {nearest(name, registry.names())}")


def _attributes(target: RegisteredTarget) -> dict[str, Any]:
    return {key: getattr(target, key) for key in (*target_files.TARGET_KEYS, "version", "registered_at")}


def _show(target: RegisteredTarget, value: Any, *, as_json: bool) -> None:
    """Show a document of the registry, in YAML under a comment that says which."""
    if as_json:
        display.print_json(value)
        return
    when = f", registered {target.registered_at}" if target.registered_at else ""
    click.echo(f"# {target.tool_name} version {target.version}{when}")
    click.echo(yaml_core.write(value), nl=False)


def _show_registered(before: RegisteredTarget | None, after: RegisteredTarget, *, as_json: bool) -> None:
    """Whether there is a new version, and which is the newest now."""
    new = before is None or before.version != after.version
    if as_json:
        display.print_json({"tool_name": after.tool_name, "version": after.version, "new_version": new})
        return
    said = "registered" if new else "nothing differs from"
    click.echo(f"{after.tool_name}: {said} version {after.version}")


@tool.command("remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def tool_remove(name: str, stack_name: str | None, *, yes: bool, as_json: bool) -> int:
    """Remove a target from the registry, with all its versions. What it names is left as it is.

    \b
    batch-processor tool remove my-agent

    Batches that are prepared go on: they keep what they began with.
    """  # noqa: D301
    stack = open_stack(stack_name)
    registry = stack.app.registry
    found = _found(registry, name)
    if not yes:
        if not (sys.stdin.isatty() and sys.stderr.isatty()):
            raise click.UsageError(f"it removes {name} with all its versions: give --yes, since nobody can be asked")
        click.confirm(f"Remove {name} with all its versions?", abort=True, err=True)
    if found.resource_arn == stack.state_machine_arn:
        display.tell(
            "this is the stack's own entry: only a deploy of another version of the application brings it back"
        )
    removed = registry.remove(name)
    if as_json:
        display.print_json({"tool_name": name, "versions_removed": removed})
    else:
        click.echo(f"{name}: removed, {removed} {'version' if removed == 1 else 'versions'}")
    return 0


@tool.command("definition")
@click.argument("name", required=False)
@click.option("--for", "api", type=click.Choice(list(definitions.APIS)), required=True, help="Whose form it has.")
@common
def tool_definition(name: str | None, api: str, stack_name: str | None, *, as_json: bool) -> int:
    """Print a tool as the API of a language model wants it: the batch processor itself, or a registered NAME.

    \b
    batch-processor tool definition --for anthropic
    batch-processor tool definition sentiment --for bedrock

    openai is for the Responses API, openai-chat for Chat Completions, mcp an entry of tools/list; agentcore is the
    tool schema of a Lambda target of AgentCore Gateway, with the two tools of the stack's AgentToolsFunction. Without
    NAME no stack is needed.
    """  # noqa: D301
    from service.request import own_tool  # noqa: PLC0415 - it brings pydantic, which other commands do without

    made: Any
    if name is None and api == "agentcore":
        made = [definitions.definition(api, *one) for one in own_tool.tools_that_do_not_wait()]
    elif name is None:
        made = definitions.definition(api, own_tool.NAME, own_tool.DESCRIPTION, own_tool.input_schema())
    else:
        found = _found(open_stack(stack_name).app.registry, name)
        made = definitions.definition(api, found.tool_name, found.description, found.input_schema)
    _print(made, as_json=as_json)
    return 0


@tool.command("invocation")
@click.option("--as", "way", type=click.Choice(invocation.WAYS), default="agent-state", show_default=True, help="Who.")
@common
def tool_invocation(way: str, stack_name: str | None, *, as_json: bool) -> int:
    """Print how an agent or a program calls the batch processor and waits for it, with the rights that it needs.

    \b
    batch-processor tool invocation
    batch-processor tool invocation --as aws-sdk

    agent-state: states for an agent's state machine (Step Functions), a machine by themselves; aws-sdk: Python; cli:
    commands. The policy is for the role of the caller.
    """  # noqa: D301
    stack = open_stack(stack_name)
    made = invocation.invocation(way, stack.state_machine_arn, stack.app.settings.data_bucket)
    if as_json or "code" not in made:
        _print(made, as_json=as_json)
        return 0
    click.echo(made["code"])
    click.echo("# The policy of the caller's role:")
    _print(made["policy"], as_json=False)
    return 0


def _print(document: Any, *, as_json: bool) -> None:
    """Print JSON, on one line with --json."""
    if as_json:
        display.print_json(document)
    else:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
