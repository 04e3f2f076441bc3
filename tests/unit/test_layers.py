"""What a function loads when it starts, and who makes clients. Who may import whom: the contracts in pyproject.toml."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache

import pytest
from places import ROOT

HANDLERS = sorted(path.stem for path in (ROOT / "handlers").glob("*.py") if path.stem != "__init__")
MAKES_CLIENTS = {"app.py", "session.py", "console/stacks.py", "console/local/stack.py"}
CONSOLE = {"click", "rich", "yaml", "flask", "ministack", "samtranslator", "moto"}


@cache
def loaded(module: str) -> frozenset[str]:
    """Top-level packages, and our own modules, that a new process holds when it has imported a module."""
    code = f"import sys, {module}; print(*sys.modules)"
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = told.split()
    return frozenset({name.partition(".")[0] for name in names} | {n for n in names if n.startswith("service.")})


def test_there_is_a_handler_for_each_function() -> None:
    of_machine = {"aggregate_results", "prepare_batch", "transform_input", "write_result"}
    assert {*HANDLERS} == {*of_machine, "agent_tools", "notify", "register_itself", "start"}


@pytest.mark.parametrize("name", ["transform_input", "write_result"])
def test_what_runs_for_every_row_starts_light(name: str) -> None:
    assert loaded(f"handlers.{name}") & {"pydantic", "pynamodb", "yaml"} == set()


@pytest.mark.parametrize("name", ["transform_input", "write_result"])
def test_mappings_are_read_before_a_row_runs(name: str) -> None:
    """What a plan holds is resolved: neither function reads a mapping as somebody wrote it."""
    readers = {"extraction.compiler", "extraction.forms", "extraction.parts", "mapping.input_mapping", "request"}
    assert loaded(f"handlers.{name}") & {f"service.{module}" for module in readers} == set()


@pytest.mark.parametrize("name", HANDLERS)
def test_no_function_loads_the_console(name: str) -> None:
    found = loaded(f"handlers.{name}")
    assert found & CONSOLE == set()
    assert not [module for module in found if module.startswith("service.console")]


@pytest.mark.parametrize("name", HANDLERS)
def test_no_function_waits_for_boto3(name: str) -> None:
    """botocore is enough; boto3 loads resources and S3 transfers too."""
    assert "boto3" not in loaded(f"handlers.{name}")


@pytest.mark.parametrize("module", [*(f"handlers.{name}" for name in HANDLERS), "service.export.parquet_file"])
def test_pyarrow_is_loaded_by_an_export_of_parquet_alone(module: str) -> None:
    """A layer may have it, which is no reason to wait for it at every cold start."""
    assert "pyarrow" not in loaded(module)


def test_only_these_modules_make_clients() -> None:
    making = re.compile(r"(?<!\bapp)\.(client|create_client|resource)\(")  # `app.client` asks the one that makes them
    service = ROOT / "service"
    sources = {path.relative_to(service).as_posix(): path.read_text() for path in service.rglob("*.py")}
    del sources["console/invocation.py"]  # the code that it prints makes one
    makers = {
        name for name, text in sources.items() if making.search(text) or re.search(r"^import boto3", text, re.MULTILINE)
    }
    assert makers == MAKES_CLIENTS


def test_the_command_line_loads_no_models_to_begin_with() -> None:
    """Every command, also `--help` and a completion, waits for what it loads at its start."""
    assert loaded("service.console.cli.main") & {"pydantic", "mcp", "jsonschema", "flask", "vl_convert"} == set()


def test_the_rules_see_what_is_loaded() -> None:
    """So that an empty answer does not pass for a light one."""
    assert {"pydantic", "service.steps.prepare_batch"} <= loaded("handlers.prepare_batch")
    assert {"botocore", "service.app"} <= loaded("handlers.write_result")


def test_no_test_changes_the_clock_of_the_process() -> None:
    """A thread of another test would run on that clock: a module's own name `time` is what a test replaces."""
    changes = re.compile(r"""setattr\(\s*(?:time,|"time\.|[\w.]+\.time,|"[\w.]+\.time\.)""")
    found = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py") if changes.search(path.read_text())]
    assert found == []
