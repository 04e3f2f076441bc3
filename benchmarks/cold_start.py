"""The cold start of every handler against that of the bare client, in fresh processes.

    .venv/bin/python benchmarks/cold_start.py [turns]

What is timed is what a function does before it can do its first work: importing its handler, and making the client of
DynamoDB and the parts of the application that its first call asks for. The interpreter's own start is left out. Each
figure is the median of processes that take turns; what has no bytecode yet gets it in a turn that is not counted. On
a machine that does other things too, compare the time of the processor (CPU ms, and the columns after it).

bare             `import boto3; boto3.client("dynamodb")`: the least that a function of boto3's does.
every client     With the clients of the other services that its first call asks for too, against boto3's of the same.
sources alone    With no bytecode but that of botocore and of Python, as from a package that holds sources alone.

The processes see boto3 and what it needs, as the Lambda runtime has them, and what the functions' packages hold, but
neither awscrt nor pyOpenSSL, which botocore loads where it finds them (70 ms here) and the runtime does not have.
Compare ratios of one run.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
TURNS = 9
NOT_IN_THE_RUNTIME = ("awscrt", "_awscrt", "OpenSSL", "cryptography")
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "RESULTS_TABLE": "results",
    "BATCHES_TABLE": "batches",
    "REGISTRY_TABLE": "registry",
    "DATA_BUCKET": "bucket",
}


class Start(NamedTuple):
    """What the first call of a handler asks the application for, and the other services that it calls."""

    parts: tuple[str, ...]
    clients: dict[str, str]


S3 = {"s3": "s3"}
HANDLERS = {
    "write_result": Start(("store", "plans"), {}),
    "transform_input": Start(("store", "plans"), S3),
    "aggregate_results": Start(("records", "reader"), S3),
    "prepare_batch": Start(("records", "registry", "plans"), {**S3, "lambda_client": "lambda"}),
}


def bare(*services: str) -> str:
    return "import boto3\n" + "\n".join(f"boto3.client({service!r})" for service in services)


def handler(name: str, *parts: str) -> str:
    asked = "\n".join(f"app.{part}" for part in ("dynamodb", *parts))
    return f"from handlers.{name} import from_environment\napp = from_environment()\n{asked}"


def cases() -> dict[str, str]:
    """Return what is run, by name; `every` and `sources` stand before a handler's name."""
    made = {"bare": bare("dynamodb")}
    for name, (parts, clients) in HANDLERS.items():
        made[name] = handler(name, *parts)
        made[f"bare {name}"] = bare("dynamodb", *clients.values())
        made[f"every {name}"] = handler(name, *parts, *clients)
        # From here on Python looks for bytecode in a folder that is not there.
        nothing = "import botocore.session\nsys.pycache_prefix = '/nowhere'\nsys.dont_write_bytecode = True\n"
        made[f"sources {name}"] = nothing + made[name]
    return made


class Taken(NamedTuple):
    """Milliseconds by the clock, and of the processor alone."""

    clock: float
    cpu: float


def start(code: str, paths: list[str]) -> Taken:
    """Return what the code takes in a process of its own."""
    timed = (
        f"import sys, time\nsys.path[:0] = {paths!r}\nclock, cpu = time.perf_counter(), time.process_time()\n{code}\n"
        "print(time.perf_counter() - clock, time.process_time() - cpu)"
    )
    command = [sys.executable, "-I", "-S", "-c", timed]
    done = subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True, check=True)
    clock, cpu = map(float, done.stdout.split())
    return Taken(clock * 1000, cpu * 1000)


def packages(folder: Path) -> Path:
    """Return a folder with links to all that is installed here, but for what the runtime has not."""
    for path in Path(sysconfig.get_path("purelib")).iterdir():
        if not path.name.startswith(NOT_IN_THE_RUNTIME):
            (folder / path.name).symlink_to(path)
    return folder


def measured(turns: int) -> dict[str, Taken]:
    """Return the medians of the turns of every case."""
    taken: dict[str, list[Taken]] = {name: [] for name in cases()}
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(ROOT), str(packages(Path(folder)))]
        for turn in range(turns + 1):
            for name, code in cases().items():
                one = start(code, paths)
                if turn:
                    taken[name].append(one)
    return {name: Taken(*map(statistics.median, zip(*each, strict=True))) for name, each in taken.items()}


def main() -> None:
    turns = int(sys.argv[1]) if sys.argv[1:] else TURNS
    print(f"Cold starts, {turns} turns, Python {sys.version.split()[0]}")
    taken = measured(turns)
    print(f"\n{'handler':<20}{'ms':>6}{'x bare':>8}{'CPU ms':>9}{'x bare':>8}", end="")
    print(f"{'every client':>15}{'x bare':>8}{'sources alone':>16}{'x bare':>8}")
    plain = taken["bare"]
    for name in ("bare", *HANDLERS):
        own = taken[name]
        print(f"{name:<20}{own.clock:>6.0f}{own.clock / plain.clock:>8.2f}", end="")
        print(f"{own.cpu:>9.0f}{own.cpu / plain.cpu:>8.2f}", end="")
        if name in HANDLERS:
            every, of_boto3, sources = (taken[f"{what} {name}"].cpu for what in ("every", "bare", "sources"))
            print(f"{every:>15.0f}{every / of_boto3:>8.2f}{sources:>16.0f}{sources / plain.cpu:>8.2f}", end="")
        print()


if __name__ == "__main__":
    main()
