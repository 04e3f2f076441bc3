"""One row's output into DynamoDB: ours against the textbook, in CPU time for one row.

    .venv/bin/python benchmarks/write_result.py [rows]

A server in a process of its own answers PutItem on loopback as DynamoDB does, `x-amz-crc32` included. Each variant is
given the event of WriteResult as the bytes that a function's process receives, and decodes it, extracts the fields,
encodes the result and puts it. Two kinds of row: `agent`, a conversation of about 6 KB out of which five fields are
taken by a regular expression each and five from the arguments of a tool call; `tool`, a small object with six fields.

boto3 resource    The textbook, and what the ratios are of: `json.loads` with Decimals for floats, `jmespath.search`
                  and `re.search` for each field, `Table.put_item` of the row, the fields and the whole output, without
                  a condition. Expressions and patterns are not compiled beforehand, but jmespath keeps its last 512
                  expressions and re its last 512 patterns by themselves: after the first row nothing is compiled.
without output    The same without the output: there is nothing to extract from a second time.
same item         The same put on the condition that ours has, the output compressed as ours is.
PynamoDB          The textbook with a model's `save`.
ours              The handler WriteResult, given the event by `json.loads`, its answer written by `json.dumps`, as the
                  runtime does. The put is conditional, the item measured, the output compressed.
floor             `put_item` of an item of 20 bytes through our client: what signing, retries, endpoint and HTTP take.

CPU time is user and system of the process alone; each variant has one of its own, they take turns, and each figure is
the median of its turns. botocore signs in Python, as in the Lambda runtime: awscrt, which may be installed here, is
left out. All must find the same fields, which is checked before the clock runs. Compare ratios of one run.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import json
import os
import re
import socketserver
import statistics
import subprocess
import sys
import threading
import time
import zlib
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Callable

ROWS = 200
TURNS = 9
TABLE, BATCH, TIME = "results", "sentiment#run-1", "2026-01-31T12:00:00.000Z"
EXPIRES = 4_102_444_800
FIELDS = ("exchange", "cabinet", "price", "available", "topics", "summary")
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "x",
    "AWS_SECRET_ACCESS_KEY": "x",
    "AWS_DEFAULT_REGION": "us-east-1",
    "BOTO_DISABLE_CRT": "true",
    "RESULTS_TABLE": TABLE,
    "BATCHES_TABLE": "batches",
    "REGISTRY_TABLE": "registry",
    "DATA_BUCKET": "bucket",
}


# --- the rows ----------------------------------------------------------------------------------------------------


def tool_output(number: int) -> dict[str, Any]:
    return {
        "exchange": f"EXCH{number:05d}",
        "cabinet": number % 90 + 1,
        "price": number % 40 + 10.99,
        "available": number % 3 > 0,
        "topics": ["handle", "lid"],
        "summary": f"Customer {number} likes the kettle.",
    }


def agent_output(number: int) -> dict[str, Any]:
    """Return the conversation of the benchmark of extraction with the text of reviews: no two are alike."""
    import extraction  # noqa: PLC0415 - it stands beside this file

    reviews = (Path(__file__).parents[1] / "examples" / "product_reviews.csv").read_text().splitlines()
    said = "\n".join(reviews[(number * 40) % 3000 :])
    output = extraction.conversation(number)
    at = 0
    for message in output["messages"]:
        for block in message["content"]:
            text = block.get("text", "")
            if extraction.PROSE in text:
                block["text"] = said[at : at + len(text)]
                at += len(text)
    return output


def row(number: int) -> dict[str, str]:
    return {
        "review_id": f"R{number:07d}",
        "product": f"Example kettle {number % 50}",
        "stars": str(number % 5 + 1),
        "posted": "2026-01-31",
        "text": "It boils quickly, the handle stays cool and the lid closes well; " * 2,
    }


def event(kind: str, number: int) -> bytes:
    given = {
        "batch_id": BATCH,
        "run": 1,
        "plan": kind,
        "row_id": f"row_{number:010d}",
        "row": list(row(number).values()),
        "output": agent_output(number) if kind == "agent" else tool_output(number),
        "started_at": TIME,
        "stopped_at": TIME.replace(".000", ".250"),
    }
    return json.dumps(given).encode()


def expressions(kind: str) -> dict[str, str]:
    """Return what the textbook searches for, field by field."""
    import extraction  # noqa: PLC0415

    return extraction.mappings()["mixed"][0] if kind == "agent" else {name: name for name in FIELDS}


def plan(kind: str) -> dict[str, Any]:
    """Return the plan that ours loads, with the same mapping."""
    import extraction  # noqa: PLC0415

    from service.extraction.compiler import compile_output_mapping  # noqa: PLC0415
    from service.extraction.stored_plan import to_json  # noqa: PLC0415
    from service.plan import Plan  # noqa: PLC0415

    direct = {"extraction_methods": [{"method": "direct", "paths": {name: name for name in FIELDS}}]}
    mapping = extraction.mappings()["mixed"][1] if kind == "agent" else direct
    resolved = to_json(compile_output_mapping(mapping, target="broadband", kind=kind))
    return Plan(
        kind="agent" if kind == "agent" else "tool",
        target_name="broadband",
        target_arn="arn",
        output_plan=resolved,
        columns=list(row(0)),
        ttl=EXPIRES,
    ).to_json()


# --- the server --------------------------------------------------------------------------------------------------


def answers(kind: str) -> dict[bytes, bytes]:
    """Whole responses by operation, with the headers that DynamoDB sends."""
    packed = base64.b64encode(zlib.compress(json.dumps(plan(kind)).encode())).decode()
    bodies = {b"PutItem": b"{}", b"GetItem": json.dumps({"Item": {"plan": {"B": packed}}}).encode()}
    return {
        operation: b"HTTP/1.1 200 OK\r\nServer: Server\r\nDate: Sat, 31 Jan 2026 12:00:00 GMT\r\n"
        b"Content-Type: application/x-amz-json-1.0\r\nContent-Length: %d\r\nConnection: keep-alive\r\n"
        b"x-amzn-RequestId: %s\r\nx-amz-crc32: %d\r\n\r\n%s" % (len(body), b"A" * 52, binascii.crc32(body), body)
        for operation, body in bodies.items()
    }


def serve(kind: str) -> None:
    """Answers until its input ends; says its port first, and the last PutItem for every line of its input."""
    canned = answers(kind)
    last = [b""]

    class Handler(socketserver.StreamRequestHandler):
        disable_nagle_algorithm = True

        def handle(self) -> None:
            while self.rfile.readline().strip():
                headers: dict[bytes, bytes] = {}
                while (line := self.rfile.readline().strip()) != b"":
                    name, _, value = line.partition(b":")
                    headers[name.lower()] = value.strip()
                body = self.rfile.read(int(headers[b"content-length"]))
                operation = headers[b"x-amz-target"].rpartition(b".")[2]
                if operation == b"PutItem":
                    last[0] = body
                self.wfile.write(canned[operation])

    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    for _ in sys.stdin:
        print(last[0].decode(), flush=True)


# --- the variants: each is made, and then timed ------------------------------------------------------------------


def boto3_resource(kind: str, endpoint: str, kept: str = "output") -> Callable[[bytes], None]:
    import boto3  # noqa: PLC0415 - each variant loads its own
    from boto3.dynamodb.conditions import Attr  # noqa: PLC0415

    table = boto3.resource("dynamodb", endpoint_url=endpoint).Table(TABLE)
    extract = textbook(kind)
    absent = Attr("row_id").not_exists() | Attr("ttl").lt(EXPIRES) | Attr("status").ne("SUCCESS")
    condition = {"ConditionExpression": absent, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}

    def run(body: bytes) -> None:
        given = json.loads(body, parse_float=Decimal)
        item = result_of(given, extract(given["output"]))
        if kept == "output":
            item["output"] = given["output"]
        elif kept == "packed":
            item["output"] = gzip.compress(json.dumps(given["output"], default=float).encode())
        table.put_item(Item=item, **(condition if kept == "packed" else {}))

    return run


def without_output(kind: str, endpoint: str) -> Callable[[bytes], None]:
    return boto3_resource(kind, endpoint, kept="")


def same_item(kind: str, endpoint: str) -> Callable[[bytes], None]:
    return boto3_resource(kind, endpoint, kept="packed")


def pynamodb_model(kind: str, endpoint: str) -> Callable[[bytes], None]:
    from pynamodb.attributes import MapAttribute  # noqa: PLC0415

    from service.store.tables import ResultItem  # noqa: PLC0415

    class WholeResult(ResultItem):
        class Meta:
            table_name, host, region = TABLE, endpoint, "us-east-1"

        output: Any = MapAttribute()

    extract = textbook(kind)

    def run(body: bytes) -> None:
        given = json.loads(body)
        output = given["output"]
        WholeResult(**result_of(given, extract(output)), output=output).save()

    return run


def textbook(kind: str) -> Callable[[Any], dict[str, Any]]:
    import extraction  # noqa: PLC0415
    import jmespath  # noqa: PLC0415

    wanted = expressions(kind)

    def extract(output: Any) -> dict[str, Any]:
        return {name: jmespath.search(path, output, extraction.OPTIONS) for name, path in wanted.items()}

    return extract


def result_of(given: dict[str, Any], fields: dict[str, Any]) -> dict[str, Any]:
    return {
        "batch_id": given["batch_id"],
        "row_id": given["row_id"],
        "status": "SUCCESS",
        "input_data": dict(zip(row(0), given["row"], strict=True)),
        "output_data": fields,
        "execution_time_ms": 250,
        "timestamp": TIME,
        "ttl": EXPIRES,
        "attempts": given["run"],
        "run": given["run"],
        "time_bucket": "2026-01-31#07",
    }


def ours(kind: str, endpoint: str) -> Callable[[bytes], None]:  # noqa: ARG001 - the event names its plan
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    from handlers.write_result import handler  # noqa: PLC0415

    def run(body: bytes) -> None:
        assert json.dumps(handler(json.loads(body), None)).endswith('"SUCCESS"}')

    return run


def floor(kind: str, endpoint: str) -> Callable[[bytes], None]:  # noqa: ARG001
    os.environ["AWS_ENDPOINT_URL"] = endpoint
    from service.app import from_environment  # noqa: PLC0415

    dynamodb = from_environment().dynamodb
    item = {"batch_id": {"S": "b"}, "row_id": {"S": "r"}}
    return lambda _body: dynamodb.put_item(TableName=TABLE, Item=item)


VARIANTS = {
    "boto3 resource": boto3_resource,
    "  without output": without_output,
    "  same item": same_item,
    "PynamoDB": pynamodb_model,
    "ours": ours,
    "floor": floor,
}


def measure(kind: str, variant: str, endpoint: str, rows: str) -> None:
    """For each line of its input gives all rows to a variant, and prints seconds of CPU time for one."""
    bodies = [event(kind, number) for number in range(1, int(rows) + 1)]
    run = VARIANTS[variant](kind, endpoint)
    for _ in sys.stdin:
        started = time.process_time()
        for body in bodies:
            run(body)
        print((time.process_time() - started) / len(bodies), flush=True)


# --- what is compared --------------------------------------------------------------------------------------------


class Process:
    """A process of this file, with arguments: it answers line for line."""

    def __init__(self, *arguments: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not re.match("AWS_|PYTHON", name)}
        self._process = subprocess.Popen(
            [sys.executable, __file__, *arguments],
            env=kept | ENVIRONMENT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def asked(self) -> str:
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self.said()

    def said(self) -> str:
        return self._process.stdout.readline()

    def end(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def fields_of(put: str) -> dict[str, Any]:
    """Return the fields in a PutItem's body, numbers by value."""
    from service.store.attribute_values import decode  # noqa: PLC0415

    fields: dict[str, Any] = decode(json.loads(put)["Item"]["output_data"])
    return fields


def compare(kind: str, rows: int) -> None:
    server = Process("serve", kind)
    running = {"server": server}
    try:
        endpoint = f"http://127.0.0.1:{int(server.said())}"
        running |= {name: Process("measure", kind, name, endpoint, str(rows)) for name in VARIANTS}
        puts = {}
        for name in VARIANTS:
            running[name].asked()  # warms up
            puts[name] = server.asked()
        fields = {name: fields_of(put) for name, put in puts.items() if name != "floor"}
        assert all(found == fields["ours"] and None not in found.values() for found in fields.values()), fields
        turns = [{name: float(running[name].asked()) for name in VARIANTS} for _ in range(TURNS)]
        seconds = {name: statistics.median(turn[name] for turn in turns) for name in VARIANTS}
        for name, taken in seconds.items():
            ratio = taken / seconds["boto3 resource"]
            print(f"{kind:<8}{name:<20}{taken * 1e6:>9,.0f}{ratio:>12.2f}{taken / seconds['floor']:>10.2f}")
    finally:
        for process in running.values():
            process.end()


def main() -> None:
    rows = int(sys.argv[1]) if sys.argv[1:] else ROWS
    sizes = " and ".join(f"{len(event(kind, 1)) / 1000:.1f} KB" for kind in ("agent", "tool"))
    print(f"{rows} rows, events of {sizes}, {TURNS} turns, CPU time, Python {sys.version.split()[0]}")
    print(f"\n{'row':<8}{'variant':<20}{'us/row':>9}{'x textbook':>12}{'x floor':>10}")
    for kind in ("agent", "tool"):
        compare(kind, rows)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2])
    elif sys.argv[1:2] == ["measure"]:
        measure(*sys.argv[2:])
    else:
        main()
