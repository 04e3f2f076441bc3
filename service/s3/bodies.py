"""Bytes of objects in S3, counted: an answer that ends early, or that is not what was asked for, is asked for again."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from service.errors import SourceChanged

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

BLOCK = 1 << 20
BREAKS = 6  # in a row, with less than a block between them
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 5.0  # seconds
# GetObject's answers when the version asked for is not there; a range of that version is never beyond its end.
_GONE = ("PreconditionFailed", "412", "NoSuchKey", "NoSuchBucket", "InvalidRange")
# botocore wraps most of what breaks a body off (httpchecksum.py, response.py); urllib3 and sockets the rest.
_BROKEN = (BotoCoreError, HTTPError, OSError)
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")  # RFC 9110, 14.4


class BodyBroken(BotoCoreError):
    """An object could not be read whole, however often it was asked for: trouble of the infrastructure, to be retried.

    It is botocore's kind of error and not the product's own, so nothing takes it for a fault of the batch.
    """

    fmt = "{uri} broke off {breaks} times at byte {at} of {size} (last: {why}): try again"


@dataclass(frozen=True)
class SourceObject:
    """One version of an object: every read of it is conditional on the ETag."""

    bucket: str
    key: str
    etag: str
    size: int

    @classmethod
    def of(cls, src: Mapping[str, Any]) -> SourceObject:
        """Return the version that a plan or a record names."""
        return cls(src["bucket"], src["key"], src["etag"], int(src["size"]))

    @property
    def uri(self) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


def read(s3: Any, source: SourceObject, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Yield the bytes start to end (exclusive) in blocks, every one of them or an error.

    Raises SourceChanged when the object is another one by now, and BodyBroken when it breaks off again and again.
    """
    yield from _read(s3, source, start, source.size if end is None else end, None)


def whole(s3: Any, bucket: str, key: str) -> Iterator[bytes]:
    """Yield all of an object as it is now, in blocks; raises as `read` does, and ClientError when it is not there."""
    _, blocks = opened(s3, bucket, key)
    yield from blocks


def opened(s3: Any, bucket: str, key: str) -> tuple[int, Iterator[bytes]]:
    """Return the bytes of an object as it is now, and an iterator of its blocks, as `whole` yields them."""
    answer = s3.get_object(Bucket=bucket, Key=key)
    size = answer.get("ContentLength")  # absent from a chunked answer
    if size is None:
        size = s3.head_object(Bucket=bucket, Key=key, IfMatch=answer["ETag"])["ContentLength"]
    return size, _read(s3, SourceObject(bucket, key, answer["ETag"], size), 0, size, answer)


def lines(s3: Any, bucket: str, key: str) -> Iterator[bytes]:
    """Yield the lines of all of an object, without their ends."""
    rest = b""
    for block in whole(s3, bucket, key):
        *complete, rest = (rest + block).split(b"\n")
        yield from complete
    if rest:
        yield rest


def _read(s3: Any, source: SourceObject, at: int, end: int, answer: Any) -> Iterator[bytes]:
    """Yield the bytes at to end, the first of them out of `answer` if there is one."""
    breaks, good = 0, at
    while at < end:
        answer = answer or _asked(s3, source, at, end)
        try:
            for block in _blocks(answer, source, at, end):
                at += len(block)
                yield block
            why = "it ended early"
        except _BROKEN as error:
            why = f"{type(error).__name__}: {error}"
        answer = None
        if at < end:
            breaks, good = (1, at) if at - good >= BLOCK else (breaks + 1, good)
            if breaks >= BREAKS:
                raise BodyBroken(uri=source.uri, breaks=breaks, at=at, size=source.size, why=why)
            time.sleep(min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (breaks - 1)))


def _asked(s3: Any, source: SourceObject, start: int, end: int) -> Any:
    """Return the answer for the bytes of this version; raise SourceChanged when it is not there any more."""
    span = f"bytes={start}-{end - 1}"
    try:
        return s3.get_object(Bucket=source.bucket, Key=source.key, Range=span, IfMatch=source.etag)
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise SourceChanged(
                f"{source.uri} was replaced or deleted after the batch was prepared (its ETag was {source.etag}): "
                "start a new batch with the new file"
            ) from error
        raise


def _blocks(answer: Any, source: SourceObject, start: int, end: int) -> Iterator[bytes]:
    """Yield what an answer holds, never beyond the range; raise OSError when it is not the answer to that range."""
    given = _CONTENT_RANGE.fullmatch(answer.get("ContentRange") or "")
    span = (0, source.size) if given is None else (int(given[1]), int(given[2]) + 1)
    if span != (start, end) or (given is not None and given[3] not in ("*", str(source.size))):
        answer["Body"].close()
        what = "without a range" if given is None else f"for {given[0]}"
        raise OSError(f"bytes {start} to {end} were asked for and the answer is {what}")
    left = end - start
    try:
        for block in answer["Body"].iter_chunks(BLOCK):
            left -= len(block)
            if left < 0:
                raise OSError("the answer is longer than what was asked for")
            yield block
    finally:
        answer["Body"].close()
