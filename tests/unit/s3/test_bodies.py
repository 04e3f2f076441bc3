"""Bytes of objects from a server that breaks answers off, cuts them, and answers something else."""

from __future__ import annotations

import re
import socket
import struct
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from service.errors import BatchProcessorError, SourceChanged
from service.s3 import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTENT = b"".join(b"row %07d\n" % number for number in range(300_000))
ETAG = '"one"'


class Broken:
    """What a server does to its answers: one of `faults` an answer, then `for_ever`."""

    def __init__(self, content: bytes = CONTENT) -> None:
        self.content = content
        self.etag = ETAG
        self.faults: list[str] = []
        self.for_ever = ""
        self.ranges: list[str | None] = []

    def fault(self) -> str:
        return self.faults.pop(0) if self.faults else self.for_ever


def handler_of(broken: Broken) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - one small method per fault
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def do_HEAD(self) -> None:
            self.send_response(200)
            self.send_header("ETag", broken.etag)
            self.send_header("Content-Length", str(len(broken.content)))
            self.end_headers()

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            broken.ranges.append(asked)
            self.close_connection = True
            if self.headers.get("If-Match") not in (None, broken.etag):
                self.answer(412, b"<Error><Code>PreconditionFailed</Code></Error>", length=True)
                return
            fault = broken.fault()
            first, last = 0, len(broken.content) - 1
            ranged = asked is not None and fault != "ignores the range"
            if ranged:
                first, last = map(int, re.findall(r"\d+", asked or ""))
            body = broken.content[first : last + 1]
            if ranged and fault == "another range":
                first, body = first + 1, broken.content[first + 1 : last + 1]
            self.send_response(206 if ranged else 200)
            self.send_header("ETag", broken.etag)
            self.send_header("Connection", "close")
            if ranged:
                self.send_header("Content-Range", f"bytes {first}-{last}/{len(broken.content)}")
            getattr(self, fault.replace(" ", "_") or "whole", self.whole)(body)

        def answer(self, status: int, body: bytes, *, length: bool) -> None:
            self.send_response(status)
            self.send_header("Connection", "close")
            if length:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def whole(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def closes_early(self, body: bytes) -> None:
            """Without Content-Length: the end of the connection is the end of the body."""
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])

        def closes_at_the_end(self, body: bytes) -> None:
            self.end_headers()
            self.wfile.write(body)

        def ends_chunked_early(self, body: bytes) -> None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            half = body[: len(body) // 2]
            self.wfile.write(b"%x\r\n%s\r\n0\r\n\r\n" % (len(half), half))

        def breaks_a_chunk_off(self, body: bytes) -> None:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s" % (len(body), body[: len(body) // 2]))

        def cuts(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2])

        def resets(self, body: bytes) -> None:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 3])
            self.wfile.flush()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

        def gives_nothing(self, _: bytes) -> None:
            self.end_headers()

        def gives_more(self, body: bytes) -> None:
            self.end_headers()
            self.wfile.write(body + b"more")

    return Handler


@contextmanager
def served(broken: Broken) -> Iterator[Any]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler_of(broken))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield boto3.client(
            "s3",
            region_name="us-east-1",
            endpoint_url=f"http://127.0.0.1:{server.server_port}",
            aws_access_key_id="a",
            aws_secret_access_key="b",
            config=Config(s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, proxies={}),
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(autouse=True)
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    slept: list[float] = []
    monkeypatch.setattr(bodies, "time", SimpleNamespace(sleep=slept.append))
    return slept


SOURCE = bodies.SourceObject("bucket", "key", ETAG, len(CONTENT))
FAULTS = [
    "closes early",
    "ends chunked early",
    "breaks a chunk off",
    "cuts",
    "resets",
    "gives nothing",
    "another range",
]
READS: dict[str, tuple[Callable[[Any], Iterator[bytes]], bytes]] = {
    "all": (lambda s3: bodies.read(s3, SOURCE), CONTENT),
    "a range": (lambda s3: bodies.read(s3, SOURCE, 1_000, 2_500_000), CONTENT[1_000:2_500_000]),
    "a whole object": (lambda s3: bodies.whole(s3, "bucket", "key"), CONTENT),
}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("fault", ["", "closes at the end", *FAULTS])
def test_every_byte_arrives_however_an_answer_breaks_off(name: str, fault: str) -> None:
    broken = Broken()
    broken.faults = [fault, "", fault]
    read, expected = READS[name]
    with served(broken) as s3:
        assert b"".join(read(s3)) == expected
    if fault not in ("", "closes at the end") and not (fault == "another range" and name == "a whole object"):
        assert len(broken.ranges) > 1


@pytest.mark.parametrize("fault", ["ignores the range", "gives more"])
def test_an_answer_longer_than_what_was_asked_for_is_not_taken(fault: str) -> None:
    broken = Broken()
    broken.faults = [fault]
    with served(broken) as s3:
        assert b"".join(bodies.read(s3, SOURCE, 10, 2_000)) == CONTENT[10:2_000]
    assert len(broken.ranges) == 2


@pytest.mark.parametrize("fault", [*FAULTS, "ignores the range"])
def test_what_never_becomes_whole_is_an_error_that_is_retried(fault: str, waits: list[float]) -> None:
    broken = Broken()
    broken.for_ever = fault
    got: list[bytes] = []
    with served(broken) as s3, pytest.raises(bodies.BodyBroken, match="s3://bucket/key broke off 6 times") as error:
        got.extend(bodies.read(s3, SOURCE, 5, 200_000))
    assert isinstance(error.value, BotoCoreError)  # the state machine's Retry knows no such name as final
    assert not isinstance(error.value, BatchProcessorError)
    assert CONTENT[5:200_000].startswith(b"".join(got))
    assert len(waits) == bodies.BREAKS - 1
    assert waits == sorted(waits)


def test_only_what_is_missing_is_asked_for_again() -> None:
    broken = Broken()
    broken.faults = ["closes early"]
    with served(broken) as s3:
        assert b"".join(bodies.read(s3, SOURCE)) == CONTENT
    half = len(CONTENT) // 2
    assert broken.ranges == [f"bytes=0-{len(CONTENT) - 1}", f"bytes={half}-{len(CONTENT) - 1}"]


def test_breaks_with_much_between_them_are_not_counted_together() -> None:
    content = CONTENT * 3
    broken = Broken(content)
    broken.faults = ["closes early"] * 2 + ["gives nothing"] * 4 + [""]
    with served(broken) as s3:
        found = bodies.SourceObject("bucket", "key", ETAG, len(content))
        assert b"".join(bodies.read(s3, found)) == content


@pytest.mark.parametrize("name", READS)
def test_the_rest_is_never_taken_from_another_object(name: str) -> None:
    broken = Broken()
    broken.faults = ["closes early"]
    with served(broken) as s3:
        blocks = READS[name][0](s3)
        next(blocks)
        broken.etag = '"two"'
        with pytest.raises(SourceChanged):
            list(blocks)


@pytest.mark.parametrize("fault", ["closes early", "ends chunked early", "closes at the end", "cuts"])
@pytest.mark.parametrize("content", [b"", b"\n", b"a", b"a\n", b"a\n\nb\nc", CONTENT])
def test_lines_are_all_of_an_object(content: bytes, fault: str) -> None:
    """A manifest that is cut at a line's end is good JSON, line by line."""
    broken = Broken(content)
    broken.faults = [fault]
    with served(broken) as s3:
        assert list(bodies.lines(s3, "bucket", "key")) == content.splitlines()
