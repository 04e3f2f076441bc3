"""Ten million rows: a source really prepared, and as many results really written to a CSV, on this machine.

    .venv/bin/python benchmarks/ten_million.py [rows]

Each part runs once, in a process of its own that reports its rows a second (by the clock, and by its own CPU time) and
its peak memory.

prepare           PrepareBatch as its function runs it, from the input to the record: source read, rows counted and
                  measured, chunks made and dealt, plan and both lists of chunks written. Its clients are canned: the
                  source is a body that repeats one megabyte of rows, what is written is counted and thrown away.
                  Once with rows of 60 bytes, once of 480, and once where every row has to be made to be measured, since
                  a field of it is a number.
aggregate         AggregateResults, from canned Query pages on loopback as in benchmarks/aggregation.py, with what would
                  go to S3 thrown away; results repeat after 10,000, with row ids of their own.
in turns          The same for a tenth of the rows, an invocation for each part of 8 MiB, which hands over to the next
                  by the continuation that the state machine carries.

PrepareBatch has 900 s on AWS, of which 60 are kept for the end, on one vCPU (1,769 MB): compare with that.
"""

from __future__ import annotations

import csv
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, overload

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import aggregation  # noqa: E402 - beside this file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROWS = 10_000_000
ARN = "arn:aws:lambda:us-east-1:123456789012:function:sentiment:1"
COLUMNS = ("review_id", "product", "stars", "posted", "text")
PHRASE = "It boils quickly, the handle stays cool and the lid closes well; "


# --- preparing ---------------------------------------------------------------------------------------------------


class Body:
    """The body of an object: a header, and the same rows over and over."""

    def __init__(self, rows: int, length: int) -> None:
        text = (PHRASE * 8)[: length - 36]
        lines = [
            f'R{number:07d},kettle {number % 90 + 10},{number % 5 + 1},2026-01-31,"{text}"\r\n'
            for number in range(10_000)
        ]
        assert {len(lines[0]), len(lines[-1])} == {length}
        assert len(next(csv.reader(lines))) == len(COLUMNS), "a ragged row would not be measured"
        self._header = ",".join(COLUMNS).encode() + b"\r\n"
        self._rows, self._many = rows, "".join(lines).encode()
        self._line = len(lines[0])
        self.size = len(self._header) + rows * self._line

    def iter_chunks(self, _size: int) -> Iterator[bytes]:
        yield self._header
        whole, rest = divmod(self._rows, 10_000)
        for _ in range(whole):
            yield self._many
        if rest:
            yield self._many[: rest * self._line]

    def close(self) -> None: ...


class CannedS3:
    """Gives the source, takes what is written and counts it."""

    def __init__(self, body: Body) -> None:
        self.body, self.written = body, {}

    def head_object(self, **_: Any) -> dict[str, Any]:
        return {"ContentLength": self.body.size, "ETag": '"etag"'}

    def get_object(self, **_: Any) -> dict[str, Any]:
        return {"Body": self.body, "ETag": '"etag"'}

    def put_object(self, Key: str, Body: bytes, **_: Any) -> None:  # noqa: N803 - S3's own names
        self.written[Key.rpartition("/")[2]] = (Body.count(b"\n"), len(Body))


class Canned:
    """A store or client of which every call answers the same."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *given, **_: self._answers.get(name, given[0] if given else None)


def prepare(rows: int, length: int, *, typed: bool) -> list[str]:
    """Prepare a batch; return what was made, in words."""
    from service.app import App  # noqa: PLC0415 - a process loads what it measures
    from service.settings import Settings  # noqa: PLC0415
    from service.steps.prepare_batch import prepare as prepare_batch  # noqa: PLC0415

    settings = Settings("results", "batches", "registry", "data-bucket", tool_arns=("*",), source_object_arns=("*",))
    app, s3 = App(settings), CannedS3(Body(rows, length))
    app.__dict__.update(
        s3=s3,
        records=Canned(),
        registry=Canned(find=None),
        plans=Canned(save="0" * 20),
        lambda_client=Canned(get_function_configuration={"Timeout": 60}),
    )
    order: dict[str, Any] = {"csv_s3_uri": "s3://source/in.csv", "target": {"name": "sentiment", "arn": ARN}}
    if typed:
        order["input_mapping"] = {"column_mappings": {"stars": "stars", "text": "text"}, "types": {"stars": "integer"}}
    event = {"input": order, "execution_name": "run-1", "execution_arn": "arn"}
    told = prepare_batch(app, event, lambda: 1e9)
    assert told["row_count"] == told["rows_to_run"] == rows
    lines, size = s3.written["run-1.jsonl"]
    assert lines == s3.written["chunks.jsonl"][0]
    return [f"{s3.body.size / 1e6:,.0f} MB", f"{lines:,} chunks, a list of {size / 1e6:.1f} MB"]


# --- aggregating -------------------------------------------------------------------------------------------------


class Repeated(Sequence[bytes]):
    """So many results of which 10,000 differ but for their row ids; none is made before it is asked for."""

    def __init__(self, rows: int) -> None:
        ends = [one.partition(b'"}')[2] for one in aggregation.made(min(rows, 10_000))]
        self._rows, self._ends = rows, ends

    def __len__(self) -> int:
        return self._rows

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> list[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | list[bytes]:
        if isinstance(place, slice):
            return list(map(self.__getitem__, range(*place.indices(self._rows))))
        return b'{"row_id":{"S":"row_%010d"}%b' % (place + 1, self._ends[place % len(self._ends)])


class PartsS3(aggregation.NullS3):
    """Knows the parts that it was given, as a later invocation asks for them."""

    class exceptions:  # noqa: N801 - as botocore's clients have it
        NoSuchUpload = KeyError

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[int] = []

    def upload_part(self, Body: bytes, **given: Any) -> dict[str, str]:  # noqa: N803
        self.parts.append(given["PartNumber"])
        return super().upload_part(Body=Body)

    def get_paginator(self, _name: str) -> Any:
        parts = [{"PartNumber": number, "ETag": "etag"} for number in self.parts]
        return SimpleNamespace(paginate=lambda **_: [{"Parts": parts}])


def aggregate(rows: int, endpoint: str, *, in_turns: bool) -> list[str]:
    """Make the CSV of a batch; return what was made, in words."""
    from service.app import App  # noqa: PLC0415
    from service.record import BatchRecord  # noqa: PLC0415
    from service.settings import Settings  # noqa: PLC0415
    from service.steps.aggregate_results import aggregate as aggregate_results  # noqa: PLC0415

    record = BatchRecord(
        aggregation.BATCH,
        status="RUNNING",
        row_count=rows,
        rows_to_run=rows,
        execution_arn="arn",
        runs=[{"run": 1, "execution_arn": "arn"}],
        source={"columns": list(aggregation.INPUTS)},
        output_columns=list(aggregation.OUTPUTS),
        output_bucket="data-bucket",
        output_key="results/sentiment/run-1.csv",
    )
    settings = Settings(aggregation.TABLE, "batches", "registry", "data-bucket", output_object_arns=("*",))
    app, s3 = App(settings, endpoint_url=endpoint), PartsS3()
    app.__dict__.update(s3=s3, records=Canned(find=record, get=record))
    event: dict[str, Any] = {"batch": {"batch_id": aggregation.BATCH, "run": 1}}
    turns, told = 0, {"continuation": None}
    while "continuation" in told:
        turns += 1
        carried = json.loads(json.dumps({**event, "aggregation": {"result": told}}))
        told = aggregate_results(app, carried, lambda: 0 if in_turns else 900_000)
    assert told["counts"]["SUCCESS"] == rows == s3.lines - 1
    return [f"{s3.bytes / 1e6:,.0f} MB", f"{turns} invocation{'s' * (turns != 1)}, {max(1, len(s3.parts))} parts"]


# --- what is measured --------------------------------------------------------------------------------------------

PARTS: dict[str, tuple[float, Callable[[int, str], list[str]]]] = {
    "prepare, 60 bytes": (1, lambda rows, _: prepare(rows, 60, typed=False)),
    "prepare, 480 bytes": (1, lambda rows, _: prepare(rows, 480, typed=False)),
    "prepare, typed": (0.1, lambda rows, _: prepare(rows, 60, typed=True)),
    "aggregate": (1, lambda rows, endpoint: aggregate(rows, endpoint, in_turns=False)),
    "aggregate, in turns": (0.1, lambda rows, endpoint: aggregate(rows, endpoint, in_turns=True)),
}


def measure(name: str, rows: str, endpoint: str) -> None:
    """Run one part and print seconds, CPU seconds, peak memory (KiB) and what was made."""
    clock, cpu = time.perf_counter(), time.process_time()
    made = PARTS[name][1](int(rows), endpoint)
    seconds = (time.perf_counter() - clock, time.process_time() - cpu)
    print(json.dumps([*seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, *made]))


def measured(name: str, rows: int) -> list[Any]:
    """Run one part in a process of its own, with a server of as many results beside it."""
    script = [sys.executable, str(Path(__file__))]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    server = subprocess.Popen([*script, "serve", str(rows)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port, _ = server.stdout.readline().split()
        command = [*script, "measure", name, str(rows), f"http://127.0.0.1:{port}"]
        done = subprocess.run(command, env=kept | aggregation.REGION, stdout=subprocess.PIPE, text=True, check=True)
    finally:
        server.stdin.close()
        server.wait()
    return list(json.loads(done.stdout))


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    print(f"{rows:,} rows, Python {sys.version.split()[0]}")
    print(f"\n{'part':<21}{'rows':>12}{'s':>8}{'rows/s':>10}{'rows/CPU s':>12}{'peak MB':>9}  made")
    for name, (share, _) in PARTS.items():
        count = max(1, round(rows * share))
        clock, cpu, peak, *made = measured(name, count)
        print(f"{name:<21}{count:>12,}{clock:>8.1f}{count / clock:>10,.0f}{count / cpu:>12,.0f}", end="")
        print(f"{peak / 1024:>9,.0f}  {'; '.join(made)}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        aggregation.serve(Repeated(int(sys.argv[2])))
    elif sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
