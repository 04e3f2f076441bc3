"""Who imports whom: the rules of the layout, read from the source without running it."""

from __future__ import annotations

import ast
import re
import sys
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
SERVICE = {path.stem: path for path in sorted((ROOT / "service").glob("*.py")) if path.stem != "__init__"}
HANDLERS = {path.stem: path for path in sorted((ROOT / "handlers").glob("*.py")) if path.stem != "__init__"}
AWS = {"boto3", "botocore", "pynamodb", "s3transfer", "ministack"}
PURE = (
    "source",
    *("encodings", "codepages", "guesses", "pace"),
    "mapping",
    "expressions",
    "extraction",
    "messages",
    "codec",
    "lines",
    "parquet",
    "cells",
    "columns",
    "wire",
    "tally",
    "arrivals",
    "page_tokens",
    *("report", "report_times", "report_rows", "report_words", "report_plots", "report_page"),
    "cost",
    "prices",
    "quantities",
    "workload",
    "models",
    "secrets_mask",
    "causes",
    "seen",
    "errors",
    "settings",
    "texts",
    "values",
    "interpreter",
    "methods",
    "output_parts",
    "output_forms",
    "output_mapping",
    "transformations",
    "blocks",
    *("drafts", "refusals", "stops", "waits"),
    "functions",
    "conversions",
    "envelope",
    "input_schema",
    "input_keywords",
    "schemas",
    "target_files",
    "traces",
)
SPEAKS_PYNAMODB = {"table", "records", "registry", "queries"}
MAKES_CLIENTS = {"app", "session", "stacks", "local"}
CHECKS_INPUT = {"batch_input", "input_models"}
SHOWS = {
    "cli",
    "cli_check",
    "cli_common",
    "cli_complete",
    "cli_local",
    "cli_registry",
    "cli_report",
    "cli_rerun",
    "cli_results",
    "cli_rows",
    "cli_ui",
    "display",
    "display_traces",
}  # the command line's modules that write to a terminal


class Import(NamedTuple):
    """A module that is imported, and when: with the module, or only when a function is called."""

    name: str
    at_import: bool


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)


def named(node: ast.AST) -> list[str]:
    """Modules that an import names; `from service import x` is service.x."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports are absolute"
        if node.module in ("service", "handlers"):
            return [f"{node.module}.{alias.name}" for alias in node.names]
        return [node.module or ""]
    return []


@lru_cache
def imports(path: Path) -> tuple[Import, ...]:
    """Everything a file imports when it runs; what only a type checker sees is left out."""
    found: list[Import] = []

    def look(node: ast.AST, *, at_import: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if is_type_checking(child):
                continue
            found.extend(Import(name, at_import) for name in named(child))
            inside = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            look(child, at_import=at_import and not inside)

    look(ast.parse(path.read_text()), at_import=True)
    return tuple(found)


def path_of(name: str) -> Path | None:
    """The file of one of our own modules."""
    package, _, module = name.partition(".")
    own = {"service": SERVICE, "handlers": HANDLERS}.get(package, {})
    return own.get(module.partition(".")[0])


def packages(path: Path) -> set[str]:
    """Packages that a file imports at any time."""
    return {item.name.partition(".")[0] for item in imports(path)}


def loaded(path: Path, *, when_called: bool = False) -> set[str]:
    """Packages that importing a file loads, through our own modules; with what it imports when it is called, or not."""
    found: set[str] = set()
    seen: set[Path] = set()
    ahead = [path]
    while ahead:
        here = ahead.pop()
        if here in seen:
            continue
        seen.add(here)
        for item in imports(here):
            if item.at_import or when_called:
                found.add(item.name.partition(".")[0])
                ahead += [own] if (own := path_of(item.name)) else []
    return found


def foreign(names: set[str]) -> set[str]:
    return names - set(sys.stdlib_module_names) - {"service", "handlers", "__future__"}


def test_the_modules_named_here_exist() -> None:
    assert {*PURE, *SPEAKS_PYNAMODB - {"queries"}, *MAKES_CLIENTS, "batch_input"} <= SERVICE.keys()
    assert HANDLERS.keys() == {"prepare_batch", "transform_input", "write_result", "aggregate_results"}


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_know_no_aws(name: str) -> None:
    """Nor do the modules that they import, at once or when they are called."""
    assert loaded(SERVICE[name], when_called=True) & AWS == set()


def test_only_the_tables_own_modules_speak_pynamodb() -> None:
    assert {name for name, path in SERVICE.items() if "pynamodb" in packages(path)} <= SPEAKS_PYNAMODB


def test_only_these_modules_make_clients() -> None:
    making = re.compile(r"(?<!\bapp)\.(client|create_client|resource)\(")  # `app.client` asks the one that makes them
    makers = {name for name, path in SERVICE.items() if making.search(path.read_text())}
    users = {name for name, path in SERVICE.items() if "boto3" in packages(path)}
    assert makers | users <= MAKES_CLIENTS


def test_service_imports_no_handlers() -> None:
    assert {name for name, path in SERVICE.items() if "handlers" in packages(path)} == set()


@pytest.mark.parametrize("name", HANDLERS)
def test_handlers_import_service_alone(name: str) -> None:
    assert foreign(packages(HANDLERS[name])) == set()
    assert "handlers" not in packages(HANDLERS[name])
    assert "service" in packages(HANDLERS[name])


@pytest.mark.parametrize(
    ("package", "modules"),
    [
        ("pydantic", CHECKS_INPUT),
        ("rich", SHOWS),
        ("click", SHOWS),
        ("ministack", {"embedded"}),
        ("flask", {"ui", "ui_actions", "ui_gate", "ui_pages"}),
        ("waitress", {"cli_ui"}),
        ("pyarrow", {"parquet"}),
    ],
)
def test_a_package_stands_where_it_belongs(package: str, modules: set[str]) -> None:
    assert {name for name, path in SERVICE.items() if package in packages(path)} <= modules


@pytest.mark.parametrize("name", ["transform_input", "write_result"])
def test_what_runs_for_every_row_starts_light(name: str) -> None:
    heavy = {"pydantic", "pynamodb", "click", "rich", "yaml", "ministack"}
    assert loaded(HANDLERS[name]) & heavy == set()


@pytest.mark.parametrize("name", HANDLERS)
def test_no_function_loads_the_command_line(name: str) -> None:
    assert loaded(HANDLERS[name]) & {"click", "rich", "yaml", "ministack", "samtranslator", "moto"} == set()


@pytest.mark.parametrize("path", [*HANDLERS.values(), SERVICE["parquet"]], ids=lambda path: path.stem)
def test_pyarrow_is_loaded_by_an_export_of_parquet_alone(path: Path) -> None:
    """A layer may have it, which is no reason to wait for it at every cold start."""
    assert "pyarrow" not in loaded(path)
    assert "pyarrow" in loaded(SERVICE["export"], when_called=True)


@pytest.mark.parametrize("name", HANDLERS)
def test_no_function_waits_for_boto3(name: str) -> None:
    """botocore is enough; boto3 loads resources and S3 transfers too."""
    assert "boto3" not in loaded(HANDLERS[name])


def test_the_rules_see_imports() -> None:
    """So that an empty reading of the source does not pass for a clean one."""
    assert {"botocore", "service"} <= packages(SERVICE["app"])
    assert "boto3" in packages(SERVICE["stacks"])
    assert {"pydantic", "pynamodb"} <= loaded(HANDLERS["prepare_batch"])
    assert "botocore" in loaded(HANDLERS["write_result"])
    assert "pynamodb" not in loaded(SERVICE["app"])
    assert Import("service.records", at_import=False) in imports(SERVICE["app"])
