"""What a batch takes, counted in real runs on the embedded stack, beside what the model says of it.

    .venv/bin/python benchmarks/counted_cost.py [rows …]

Each run starts from the command line's own code on a stack of its own, in a folder that is removed afterwards: rows of
480 bytes through the example `echo`, which may be called twice, so its chunks run in EXPRESS executions. Counted are

transitions      the states that the machine entered, and one for each child that its Map Runs started
chunks           children that the Map Runs started
requests         functions called: tasks in the histories of machine and children, without those of the target (where
                 the embedded stack has kept the histories of all children: of the 100 latest)
write units      those of the items as they are stored: each of the results and chunk records in units of 1 KB, one more
                 for its entry in timestamp-index (tests/e2e/test_cost.py holds this rule to the table's own answer)

and the run's seconds and rows a second, which say how fast this machine's embedded stack is, and the peak memory of its
server. Default: 50 and 1,000 rows.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.batch.stopping import profile_of
from service.console import runs, stacks
from service.console.local.stack import Embedded
from service.cost.estimate import money, spent
from service.cost.workload import rows_of_a_chunk
from service.store.results import item_bytes

if TYPE_CHECKING:
    from service.console.stacks import Stack
    from service.record import BatchRecord

ROW_BYTES = 480
CONCURRENCY = 40
KB = 1_024


def main() -> None:
    """Run and print."""
    sizes = [int(word) for word in sys.argv[1:]] or [50, 1_000]
    with tempfile.TemporaryDirectory() as folder:
        embedded = Embedded(Path(folder) / "home")
        embedded.start(lambda _: None)
        try:
            stack = stacks.embedded(embedded)
            for rows in sizes:
                report(stack, rows, Path(folder), embedded)
        finally:
            embedded.stop()


def report(stack: Stack, rows: int, folder: Path, embedded: Embedded) -> None:
    """Run a batch of so many rows, and print what it took beside what the model says."""
    path = folder / f"{rows}.csv"
    with path.open("w") as file:
        file.write("id,text\n")
        for number in range(1, rows + 1):
            cell = f"{number} "
            file.write(f"{number},{(cell * ROW_BYTES)[: ROW_BYTES - len(str(number)) - 2]}\n")
    given = {
        "csv_s3_uri": runs.upload(stack, path),
        "target": {"name": "echo", "idempotent": True},
        "execution_config": {"max_concurrency": CONCURRENCY, "timeout_seconds": 5},
    }
    begun = time.monotonic()
    batch_id, arn = runs.start(stack, given, "out.csv")
    client = stack.app.stepfunctions
    while client.describe_execution(executionArn=arn)["status"] == "RUNNING":
        time.sleep(0.5)
    took = time.monotonic() - begun
    record = stack.app.records.get(batch_id)
    counts = {status: count for status, count in (record.counts or {}).items() if count}
    print(
        f"\n{rows:,} rows: {counts}, {record.chunks['type']} chunks, {took:.0f} s, {rows / took:.0f} rows/s, ", end=""
    )
    print(f"server's peak {peak_mb(embedded)} MB")
    counted, sizes = count(stack, record)
    plan = stack.app.plans.load(batch_id, record.plan_hash)
    profile = profile_of(plan, item_bytes=sizes)
    cost = spent(counts, profile, chunks=counted["chunks"], retries=0)
    modelled = {
        "chunks": math.ceil(rows / rows_of_a_chunk(rows, profile.chunk_rows, profile.outer, profile.inner)),
        "transitions": cost.parts["transitions"].quantity,
        "requests": cost.parts["lambda_requests"].quantity,
        "write units": sum(term.quantity for term in cost.terms if term.part == "write_units" and of_items(term.of)),
    }
    for name, quantity in modelled.items():
        print(f"  {name:<12} counted {counted.get(name, math.nan):>10,.0f}   model {quantity:>10,.0f}")
    print(f"  by the model {money(cost.own_usd)}, a million of them {money(cost.own_usd / rows * 1e6)}")


def of_items(named: str) -> bool:
    """Whether write units are those of results or of the records of chunks."""
    return named.startswith(("results", "failures", "records of chunks"))


def count(stack: Stack, record: BatchRecord) -> tuple[dict[str, float], list[int]]:
    """Return what is counted of a run, and the sizes of its results."""
    client = stack.app.stepfunctions
    mapped = client.list_map_runs(executionArn=record.execution_arn)["mapRuns"]
    started = [client.describe_map_run(mapRunArn=each["mapRunArn"])["executionCounts"]["total"] for each in mapped]
    parent = events(client, record.execution_arn)
    entered = sum(count for kind, count in parent.items() if kind.endswith("StateEntered"))
    sizes = [item_bytes(item) for page in stack.app.store.pages(record.batch_id) for item in page]
    records = len(list(stack.app.records.chunks(record.batch_id)))
    counted = {
        "chunks": sum(started),
        "transitions": entered + sum(started),
        "write units": sum(math.ceil(size / KB) for size in sizes) + len(sizes) + records,
    }
    pages = client.get_paginator("list_executions").paginate(mapRunArn=mapped[0]["mapRunArn"])
    children = [events(client, child["executionArn"]) for page in pages for child in page["executions"]]
    if len(children) == sum(started) and all(child["TaskScheduled"] for child in children):
        calls = sum((record.counts or {}).values())
        counted["requests"] = parent["TaskScheduled"] + sum(child["TaskScheduled"] for child in children) - calls
    return counted, sizes


def events(client: Any, arn: str) -> Counter[str]:
    """Return the events of an execution by type."""
    pages = client.get_paginator("get_execution_history").paginate(executionArn=arn)
    return Counter(event["type"] for page in pages for event in page["events"])


def peak_mb(embedded: Embedded) -> int:
    """Return the most memory that the stack's server has held, in MB."""
    status = Path(f"/proc/{embedded.owner['pid']}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1_024


if __name__ == "__main__":
    main()
