"""A batch's results out of DynamoDB and into a CSV: ours against the textbook, from canned pages of 1 MB.

    .venv/bin/python benchmarks/aggregation.py [rows]

A server in a process of its own answers Query on loopback with pages made beforehand, `x-amz-crc32` included, as
DynamoDB gives them: results of about 0.6 KB, five columns in and five fields out. What would go to S3 is counted and
thrown away, so that reading, decoding and writing are measured and nothing else. Each variant runs once, in a process
of its own that reports its rows a second (of the wall clock, imports not counted) and its peak memory.

boto3 resource    The textbook: `table.query` until there is no LastEvaluatedKey, every item in one list, then
                  `csv.DictWriter` into one text and one `put_object`.
awswrangler       `read_items` into a pandas frame, and `to_csv`: where AWSWRANGLER_PYTHON names a Python that has it:
                  it wants other versions of what the application pins, so `make bench` makes an environment for it.
PynamoDB          The same by a model's `query`, whose pages it follows by itself.
ours              `Export` as the function AggregateResults runs it: also row order, rows without a result, formulas
                  neutralised, errors grouped, parts of 8 MiB.
floor             Pages received by botocore's own HTTP session and decoded to dicts by `msgspec.json.decode`, no more.

Compare ratios of one run: figures of different machines say little.
"""

from __future__ import annotations

import binascii
import csv
import io
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ROWS = 100_000
PAGE = 1_000_000  # bytes of items, nearly: what a Query reads at most is 1 MB
BATCH, TABLE = "sentiment#run-1", "results"
INPUTS = ("review_id", "product", "stars", "posted", "text")
OUTPUTS = ("sentiment", "score", "confident", "topics", "summary")
REVIEW = "It boils quickly, the handle stays cool and the lid closes well; "
KEYS = {"batch_id": "HASH", "row_id": "RANGE"}
DESCRIPTION = json.dumps(
    {
        "Table": {
            "TableName": TABLE,
            "KeySchema": [{"AttributeName": name, "KeyType": kind} for name, kind in KEYS.items()],
            "AttributeDefinitions": [{"AttributeName": name, "AttributeType": "S"} for name in KEYS],
        }
    }
).encode()
REGION = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_DEFAULT_REGION": "us-east-1"}


def item(number: int) -> dict[str, Any]:
    """Return a stored result in wire form."""
    row = (f"R{number:07d}", f"Example kettle {number % 50}", str(number % 5 + 1), "2026-01-31", REVIEW * 2)
    fields = (
        {"S": ("positive", "negative", "neutral")[number % 3]},
        {"N": f"0.{number % 9000 + 1000}"},
        {"BOOL": number % 2 == 0},
        {"L": [{"S": "handle"}, {"S": "lid"}]},
        {"S": f"Customer {number} likes the kettle."},
    )
    return {
        "row_id": {"S": f"row_{number:010d}"},
        "status": {"S": "SUCCESS"},
        "input_data": {"M": {name: {"S": value} for name, value in zip(INPUTS, row, strict=True)}},
        "output_data": {"M": dict(zip(OUTPUTS, fields, strict=True))},
        "execution_time_ms": {"N": str(number % 400)},
        "timestamp": {"S": "2026-01-31T12:00:00.000Z"},
        "ttl": {"N": "4102444800"},
    }


# --- the server --------------------------------------------------------------------------------------------------


def answer(items: Sequence[bytes], asked: dict[str, Any]) -> bytes:
    """Return a page as DynamoDB answers it: after ExclusiveStartKey, up to 1 MB or the last row asked for."""
    begin = int(asked.get("ExclusiveStartKey", {}).get("row_id", {}).get("S", "row_0")[4:])
    until = int(asked["ExpressionAttributeValues"].get(":last", {}).get("S", f"row_{len(items)}")[4:])
    size, end = 0, begin
    while end < until and size < PAGE:
        size += len(items[end])
        end += 1
    key = {"batch_id": {"S": BATCH}, "row_id": {"S": f"row_{end:010d}"}}
    last = b',"LastEvaluatedKey":' + json.dumps(key).encode() if size >= PAGE else b""
    head = b'{"Count":%d,"ScannedCount":%d,"Items":[' % (end - begin, end - begin)
    return head + b",".join(items[begin:end]) + b"]" + last + b"}"


def made(rows: int) -> list[bytes]:
    """Return so many stored results in wire form."""
    return [json.dumps(item(number), separators=(",", ":")).encode() for number in range(1, rows + 1)]


def serve(items: Sequence[bytes]) -> None:
    """Answers Query from results made beforehand; says its port and the size of one, and ends with its input."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # or the end of a page waits 40 ms for the client's acknowledgement

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            described = (self.headers["X-Amz-Target"] or "").endswith("DescribeTable")
            body = DESCRIPTION if described else answer(items, asked)
            self.send_response(200)
            self.send_header("Content-Type", "application/x-amz-json-1.0")
            self.send_header("x-amz-crc32", str(binascii.crc32(body)))
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, len(items[0]), flush=True)
    sys.stdin.read()


# --- the variants: each is made, and then timed ------------------------------------------------------------------


class NullS3:
    """Takes what S3 would be given, and counts it."""

    def __init__(self) -> None:
        self.bytes = self.lines = 0

    def create_multipart_upload(self, **_: Any) -> dict[str, str]:
        return {"UploadId": "upload"}

    def upload_part(self, Body: bytes, **_: Any) -> dict[str, str]:  # noqa: N803 - S3's own name
        self.bytes += len(Body)
        self.lines += Body.count(b"\r\n")
        return {"ETag": "etag"}

    def complete_multipart_upload(self, **_: Any) -> None: ...

    def abort_multipart_upload(self, **_: Any) -> None: ...

    put_object = upload_part


def plain(found: Any) -> Any:
    """Return what DictWriter is to write for a value: nested ones as JSON."""
    return json.dumps(found, default=str) if isinstance(found, dict | list) else found


def textbook_row(stored: dict[str, Any]) -> dict[str, Any]:
    line = {f"input_{name}": plain(found) for name, found in stored["input_data"].items()}
    line |= {f"output_{name}": plain(found) for name, found in stored["output_data"].items()}
    last = ("row_id", "status", "error", "execution_time_ms", "timestamp")
    return line | {f"_{name}": plain(stored.get(name, "")) for name in last}


def written(items: list[dict[str, Any]], s3: NullS3) -> None:
    lines = [textbook_row(stored) for stored in items]
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(lines[0]))
    writer.writeheader()
    writer.writerows(lines)
    s3.put_object(Body=text.getvalue().encode())


def boto3_resource(endpoint: str, s3: NullS3) -> Callable[[], None]:
    import boto3  # noqa: PLC0415 - each variant loads its own
    from boto3.dynamodb.conditions import Key  # noqa: PLC0415

    table = boto3.resource("dynamodb", endpoint_url=endpoint).Table(TABLE)

    def run() -> None:
        arguments: dict[str, Any] = {"KeyConditionExpression": Key("batch_id").eq(BATCH)}
        answer = table.query(**arguments)
        items = answer["Items"]
        while "LastEvaluatedKey" in answer:
            answer = table.query(**arguments, ExclusiveStartKey=answer["LastEvaluatedKey"])
            items += answer["Items"]
        assert isinstance(items[0]["output_data"]["score"], Decimal)
        written(items, s3)

    return run


def pynamodb_models(endpoint: str, s3: NullS3) -> Callable[[], None]:
    from service.store.tables import ResultItem  # noqa: PLC0415

    ResultItem.Meta.host, ResultItem.Meta.region = endpoint, "us-east-1"

    def run() -> None:
        found = list(ResultItem.query(BATCH, consistent_read=True))
        names = ("row_id", "status", "error", "execution_time_ms", "timestamp")
        items = [
            {
                "input_data": one.input_data.as_dict(),
                "output_data": one.output_data.as_dict(),
                **{name: getattr(one, name) for name in names},
            }
            for one in found
        ]
        written(items, s3)

    return run


def awswrangler(endpoint: str, s3: NullS3) -> Callable[[], None]:
    import awswrangler as wr  # noqa: PLC0415
    import pandas as pd  # noqa: PLC0415
    from boto3.dynamodb.conditions import Key  # noqa: PLC0415

    wr.config.dynamodb_endpoint_url = endpoint

    def run() -> None:
        asked = Key("batch_id").eq(BATCH)
        frame = wr.dynamodb.read_items(TABLE, key_condition_expression=asked, consistent=True)
        maps = {"input_data": "input_", "output_data": "output_"}
        nested = [pd.DataFrame(frame[name].tolist()).add_prefix(prefix) for name, prefix in maps.items()]
        lines = nested[0].join(nested[1]).map(plain).join(frame[["row_id", "status", "execution_time_ms", "timestamp"]])
        s3.put_object(Body=lines.to_csv(index=False, lineterminator="\r\n").encode())

    return run


def ours(endpoint: str, s3: NullS3) -> Callable[[], None]:
    from service.app import App  # noqa: PLC0415
    from service.export.run import Export  # noqa: PLC0415
    from service.record import BatchRecord  # noqa: PLC0415

    settings: Any = SimpleNamespace(results_table=TABLE)
    app = App(settings, endpoint_url=endpoint)
    app.__dict__["s3"] = s3
    row_count, columns = int(os.environ["BENCH_ROWS"]), list(OUTPUTS)
    record = BatchRecord(
        BATCH,
        row_count=row_count,
        rows_to_run=row_count,
        source={"columns": list(INPUTS)},
        output_columns=columns,
    )
    export = Export(app, BATCH, record, "bucket", "key", {})
    assert app.reader

    def run() -> None:
        assert export.run(lambda: 900_000) is None
        assert export.tally.counts["SUCCESS"] == row_count

    return run


def floor(endpoint: str, s3: NullS3) -> Callable[[], None]:
    import msgspec  # noqa: PLC0415
    from botocore.awsrequest import AWSRequest  # noqa: PLC0415
    from botocore.httpsession import URLLib3Session  # noqa: PLC0415

    session = URLLib3Session(socket_options=[(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)])  # as its clients do

    def run() -> None:
        query: Any = {"ExpressionAttributeValues": {":batch": {"S": BATCH}}}
        key: Any = {}
        while key is not None:
            asked = AWSRequest("POST", endpoint, data=msgspec.json.encode(query | key))
            answer = msgspec.json.decode(session.send(asked.prepare()).content)
            s3.lines += len(answer["Items"])
            key = {"ExclusiveStartKey": last} if (last := answer.get("LastEvaluatedKey")) else None

    return run


VARIANTS = {
    "boto3 resource": boto3_resource,
    "PynamoDB": pynamodb_models,
    "awswrangler": awswrangler,
    "ours": ours,
    "floor": floor,
}


def measure(variant: str, endpoint: str) -> None:
    """Run one variant and print seconds, lines and peak memory (KiB)."""
    s3 = NullS3()
    run = VARIANTS[variant](endpoint, s3)
    started = time.perf_counter()
    run()
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, s3.lines, s3.bytes, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    script = [sys.executable, str(Path(__file__))]
    server = subprocess.Popen([*script, "serve", str(rows)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        port, size = map(int, server.stdout.readline().split())
        print(f"{rows:,} results of {size} bytes, Python {sys.version.split()[0]}")
        print(f"\n{'variant':<18}{'rows/s':>9}{'x textbook':>12}{'peak MB':>9}{'x textbook':>12}{'CSV MB':>9}")
        textbook: tuple[float, float] | None = None
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        for name in VARIANTS:
            python = os.environ.get("AWSWRANGLER_PYTHON") if name == "awswrangler" else sys.executable
            if not python:
                continue
            command = [python, str(Path(__file__)), "measure", name, f"http://127.0.0.1:{port}"]
            environment = {**kept, **REGION, "BENCH_ROWS": str(rows)}
            done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
            seconds, lines, made, peak = json.loads(done.stdout)
            assert lines == rows + (name != "floor"), f"{name}: {lines} lines"
            speed, memory = rows / seconds, peak / 1024
            textbook = textbook or (speed, memory)
            print(f"{name:<18}{speed:>9,.0f}{speed / textbook[0]:>12.1f}{memory:>9.0f}", end="")
            print(f"{memory / textbook[1]:>12.2f}{made / 1e6:>9.1f}", flush=True)
    finally:
        server.stdin.close()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(made(int(sys.argv[2])))
    elif sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
