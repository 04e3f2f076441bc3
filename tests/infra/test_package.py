"""Packages as `sam build` makes them: what is in them, for which runtime, and that they need nothing else.

pip downloads wheels here: the tests need the package registry, and are skipped where it does not answer.
"""

from __future__ import annotations

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from places import ROOT
from samtranslator.yaml_helper import yaml_parse

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = (
    "template.yaml",
    "samconfig.toml",
    "Makefile",
    "constraints.txt",
    "pyproject.toml",
    "infra",
    "handlers",
    "service",
)
RESOURCES = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]
HANDLERS = {
    name: resource["Properties"]["Handler"].rpartition(".")[0]
    for name, resource in RESOURCES.items()
    if resource["Type"] == "AWS::Serverless::Function"
}
MIB = 1 << 20
# Unzipped sizes, about a third above what they are: every MiB is read at a cold start.
BOUNDS = {
    "PrepareBatchFunction": 14 * MIB,
    "InputMapperFunction": 5 * MIB,
    "OutputWriterFunction": 3 * MIB,
    "ResultAggregatorFunction": 2 * MIB,
    "RegistrarFunction": 9 * MIB,
    "NotifierFunction": 2 * MIB,
    "StarterFunction": 1 * MIB,
    "AgentToolsFunction": 2 * MIB,
}
NOT_IN_A_PACKAGE = {"boto3", "botocore", "s3transfer", "click", "rich", "ministack", "moto", "pytest", "samcli", "yaml"}
LAYERED = "pyarrow"  # of the aggregator: a layer has it, and without one whoever wants it is refused
# What a package is imported with beside itself: boto3 and its own dependencies, which the Lambda runtime has.
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "urllib3", "dateutil", "six.py")


def build(folder: Path, variables: dict[str, str]) -> Path:
    """`sam build` of a copy of the sources, so that what is built in place leaves nothing in the checkout."""
    checkout = folder / "checkout"
    checkout.mkdir()
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, checkout / name)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "BATCH_PROCESSOR_"))}
    environment = {
        **kept,
        "AWS_DEFAULT_REGION": "us-east-1",
        "SAM_CLI_TELEMETRY": "0",
        "BUILD_PYTHON": sys.executable,
        **variables,
    }
    sam = str(Path(sys.executable).with_name("sam"))
    built = folder / "built"
    command = [sam, "build", "--build-in-source", "--build-dir", str(built), "--config-file", "samconfig.toml"]
    done = subprocess.run(
        command, cwd=checkout, env=environment, capture_output=True, text=True, check=False, timeout=600
    )
    said = done.stdout + done.stderr
    if done.returncode and re.search(r"Connection|Temporary failure in name resolution|Read timed out", said):
        pytest.skip(f"the package registry does not answer: {said[-300:]}")
    assert done.returncode == 0, said
    return built


@pytest.fixture(scope="module")
def for_aws(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("aws"), {})


@pytest.fixture(scope="module")
def for_here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("local"), {"BATCH_PROCESSOR_BUILD": "local"})


def files(package: Path) -> Iterator[Path]:
    return (path for path in package.rglob("*") if path.is_file())


@pytest.mark.parametrize("function", HANDLERS)
def test_a_package_holds_its_handler_and_what_it_calls(for_aws: Path, function: str) -> None:
    package = for_aws / function
    own = HANDLERS[function].replace(".", "/") + ".py"
    assert {path.name for path in (package / "handlers").iterdir()} == {"__init__.py", Path(own).name}
    for name in ("app.py", "settings.py", "models.py"):
        assert (package / "service" / name).read_text() == (ROOT / "service" / name).read_text()


@pytest.mark.parametrize("function", HANDLERS)
def test_a_package_holds_nothing_else(for_aws: Path, function: str) -> None:
    package = for_aws / function
    tops = {path.name.partition(".")[0] for path in package.iterdir()}
    assert tops & (NOT_IN_A_PACKAGE | {LAYERED, "tests", "test", "bin", "examples", "infra"}) == set()
    assert not (package / "service" / "console").exists()
    names = [str(path.relative_to(package)) for path in files(package)]
    assert not [name for name in names if "/tests/" in f"/{name}" or "__pycache__" in name or name.endswith(".pyc")]


@pytest.mark.parametrize("function", HANDLERS)
def test_a_package_is_small(for_aws: Path, function: str) -> None:
    size = sum(path.stat().st_size for path in files(for_aws / function))
    assert size <= BOUNDS[function], f"{size / MIB:.1f} MiB"
    assert BOUNDS[function] <= 250 * MIB  # Lambda quotas, "deployment package size", unzipped


def test_compiled_extensions_are_those_of_the_runtime(for_aws: Path) -> None:
    """python3.13 on arm64, whatever Python and processor build it."""
    compiled = [path for function in HANDLERS for path in files(for_aws / function) if path.suffix in (".so", ".pyd")]
    assert {path.name.split(".")[0] for path in compiled} >= {"_pydantic_core", "_re2"}
    assert {path.name.partition(".")[2] for path in compiled} == {"cpython-313-aarch64-linux-gnu.so"}
    for path in compiled:
        # ELF header: class 2 is 64 bits, machine 0xB7 is AArch64
        head = path.read_bytes()[:20]
        assert (head[:5], head[18:20]) == (b"\x7fELF\x02", b"\xb7\x00")


@pytest.mark.parametrize("function", HANDLERS)
def test_third_party_versions_are_the_pinned_ones(for_aws: Path, function: str) -> None:
    pins = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        name, _, version = line.partition("==")
        pins[re.sub(r"[-_.]+", "_", name).lower()] = version
    for info in (for_aws / function).glob("*.dist-info"):
        name, _, version = info.name.removesuffix(".dist-info").rpartition("-")
        assert pins[re.sub(r"[-_.]+", "_", name).lower()] == version


def runtime(folder: Path) -> Path:
    """A folder with boto3 and its dependencies, as the Lambda runtime has them, and nothing else."""
    folder.mkdir()
    packages = Path(sysconfig.get_path("purelib"))
    for name in RUNTIME:
        (folder / name).symlink_to(packages / name)
    return folder


def import_alone(package: Path, boto: Path, code: str) -> subprocess.CompletedProcess[str]:
    """Runs code with the package, boto3 and the standard library; no site-packages, no checkout, no environment."""
    text = f"import sys; sys.path[:0] = [{str(package)!r}, {str(boto)!r}]\n{code}"
    command = [sys.executable, "-I", "-S", "-c", text]
    return subprocess.run(command, cwd=package, env={}, capture_output=True, text=True, check=False, timeout=60)


PACKAGES = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "service").rglob("__init__.py")}


def imports(node: ast.AST) -> Iterator[str]:
    """What code imports when it runs, at once or when it is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module in PACKAGES:
            yield from (f"{child.module}.{alias.name}" for alias in child.names)
        elif isinstance(child, ast.ImportFrom) and child.module:
            yield child.module
        yield from imports(child)


def parts_of_app() -> dict[str, set[str]]:
    """What each attribute of App imports when it is asked for: a function asks for what it needs alone."""
    (app,) = [
        node
        for node in ast.parse((ROOT / "service" / "app.py").read_text()).body
        if isinstance(node, ast.ClassDef) and node.name == "App"
    ]
    methods = {node.name: node for node in app.body if isinstance(node, ast.FunctionDef)}
    parts = {name: set(imports(method)) for name, method in methods.items()}
    for name, method in methods.items():
        for called in re.findall(r"self\.(\w+)\(", ast.unparse(method)):
            parts[name] |= parts.get(called, set())
    return parts


def reached(package: Path, start: str) -> set[str]:
    """Our own modules, and those of others, that a handler loads at once or comes to import when it is called."""
    found: set[str] = set()
    ahead = {start}
    while ahead:
        name = ahead.pop()
        found.add(name)
        path = package / (name.replace(".", "/") + ".py")
        if name.startswith(("handlers.", "service.")):
            text = path.read_text()
            tree = ast.parse(text)
            tree.body = [node for node in tree.body if name != "service.app" or not isinstance(node, ast.ClassDef)]
            ahead |= set(imports(tree))
            ahead |= {part for asked in re.findall(r"\b_?app\.(\w+)", text) for part in PARTS.get(asked, ())}
        ahead -= found
    return found


PARTS = parts_of_app()


def test_what_a_function_reaches_is_seen() -> None:
    assert PARTS["records"] >= {"service.store.batches", "service.store.tables"}
    assert "pynamodb.models" in reached(ROOT, "handlers.aggregate_results")
    assert "pynamodb.models" not in reached(ROOT, "handlers.write_result")
    assert f"{LAYERED}.parquet" in reached(ROOT, "handlers.aggregate_results")
    assert {"re2", "jmespath", "service.store.plans", "service.store.results"} <= reached(ROOT, "handlers.write_result")


@pytest.mark.parametrize("function", HANDLERS)
def test_a_local_package_runs_by_itself(for_here: Path, tmp_path: Path, function: str) -> None:
    """Whatever it may come to import is in it, in boto3 and what that needs, or in the standard library."""
    package, boto = for_here / function, runtime(tmp_path / "runtime")
    names = sorted(name for name in reached(package, HANDLERS[function]) if name.partition(".")[0] != LAYERED)
    code = f"""
import importlib
for name in {names!r}:
    importlib.import_module(name)
assert callable(sys.modules[{HANDLERS[function]!r}].handler)
for name, module in list(sys.modules.items()):
    print(name, getattr(module, "__file__", None) or "")
"""
    done = import_alone(package, boto, code)
    assert done.returncode == 0, done.stderr
    origins = dict(line.partition(" ")[::2] for line in done.stdout.splitlines())
    standard = (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"))
    assert {name for name, origin in origins.items() if "site-packages" in origin} == set()
    allowed = (str(package), str(boto), *standard)
    assert {name: origin for name, origin in origins.items() if origin and not origin.startswith(allowed)} == {}
    ours = {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) - {"boto3", "botocore", "urllib3"}
    assert {name for name in ours if not (origins[name] or str(package)).startswith(str(package))} == set()


def test_nothing_of_the_checkout_is_in_reach_of_a_package(tmp_path: Path) -> None:
    """So that the test before this one proves what it says: from an empty package nothing can be imported."""
    empty, boto = tmp_path / "empty", runtime(tmp_path / "runtime")
    empty.mkdir()
    for name in ("service.app", "handlers.write_result", "pynamodb", "pydantic", "re2"):
        done = import_alone(empty, boto, f"import {name}")
        assert "ModuleNotFoundError" in done.stderr, name
