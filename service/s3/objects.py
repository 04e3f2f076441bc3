"""Objects in S3 as the batch processor finds and writes them: sources, multipart uploads."""

from __future__ import annotations

import secrets
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.errors import BatchProcessorError, BatchRefused, Problem
from service.limits import PART
from service.permissions import key_refused, not_readable
from service.s3.bodies import SourceObject

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from concurrent.futures import Future

# An object that is gone or may not be read; without s3:ListBucket, one that is gone answers AccessDenied.
UNREADABLE = ("AccessDenied", "NoSuchKey", "NoSuchBucket")
_GZIP = 31  # zlib's window bits for a gzip header; it has no time in it, so that the same rows are the same bytes
IN_FLIGHT = 3  # parts on their way while the next one is filled: with it 32 MiB
_OWN = "upload"  # metadata of an object: the token of the upload that made it


def find_source(s3: Any, bucket: str, key: str) -> SourceObject:
    """Return the object as it is now; raises BatchRefused when it is not there, not allowed or empty."""
    try:
        head = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("403", "AccessDenied"):
            message = not_readable(f"s3://{bucket}/{key}")
        elif code in ("404", "NoSuchKey", "NoSuchBucket"):
            message = f"there is no object s3://{bucket}/{key}: correct the name, or upload it first"
        else:
            raise
        raise BatchRefused([Problem("csv_s3_uri", message)]) from error
    if not head["ContentLength"]:
        raise BatchRefused(
            [Problem("csv_s3_uri", f"s3://{bucket}/{key} is empty: it holds no header that names columns")]
        )
    return SourceObject(bucket, key, head["ETag"], head["ContentLength"])


class UploadGone(BatchProcessorError):
    """The multipart upload to go on with was aborted or completed meanwhile."""


class MultipartUpload:
    """Bytes written to one object in parts, some on their way while more is written; `complete` makes it appear whole.

    `abort` leaves nothing. What ends below one part is put at once. A key that ends in .gz is compressed, one member
    per part, which readers of gzip take as one text (RFC 1952, 2.2). `metadata` is kept with the object. With an
    `upload_id` it goes on after the first `parts` parts of an upload of an earlier invocation: what an invocation sent
    beyond them before it broke off is sent again; `token` is then that upload's. Raises UploadGone.
    """

    def __init__(  # noqa: PLR0913 - what an upload is made of
        self,
        s3: Any,
        bucket: str,
        key: str,
        *,
        content_type: str = "text/csv; charset=utf-8",
        metadata: Mapping[str, str] | None = None,
        upload_id: str | None = None,
        parts: int = 0,
        token: str | None = None,
    ) -> None:
        self._s3 = s3
        self._where = {"Bucket": bucket, "Key": key}
        self._gzip = key.endswith(".gz")
        self._about: dict[str, Any] = {"ContentType": "application/gzip" if self._gzip else content_type}
        self._about |= {"Metadata": metadata} if metadata else {}
        self._token = token
        self._member: Any = None
        self._buffer = bytearray()
        self.upload_id = upload_id
        self._sent: list[dict[str, Any] | Future[dict[str, Any]]] = []
        self._sent += [] if upload_id is None else self._first(parts)
        self._pool: ThreadPoolExecutor | None = None

    @property
    def parts(self) -> int:
        """How many parts were sent."""
        return len(self._sent)

    def _first(self, count: int) -> list[dict[str, Any]]:
        """Return the first parts of those that S3 has already; ListParts gives their ETags back."""
        pages = self._s3.get_paginator("list_parts").paginate(**self._where, UploadId=self.upload_id)
        try:
            there = {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}
        except self._s3.exceptions.NoSuchUpload as error:
            raise UploadGone(f"upload {self.upload_id} of {self._where['Key']} is not there any more") from error
        if not there.keys() >= set(range(1, count + 1)):
            raise UploadGone(f"upload {self.upload_id} of {self._where['Key']} has lost parts")
        return [{"ETag": there[number], "PartNumber": number} for number in range(1, count + 1)]

    def write(self, chunk: bytes) -> None:
        """Add bytes to what is yet to be sent."""
        if self._gzip:
            self._member = self._member or zlib.compressobj(wbits=_GZIP)
            chunk = self._member.compress(chunk)
        self._buffer += chunk

    def flush(self) -> bool:
        """Send what is there as one part if it is large enough for one; whether it did. Raises what a part raised."""
        if len(self._buffer) < PART:
            return False
        self._send()
        return True

    def state(self) -> dict[str, Any]:
        """Return what the next invocation needs to go on with it."""
        return {"upload_id": self.upload_id, "parts": self.parts, "token": self._token}

    def seal(self) -> None:
        """Send all that is left, however little: then nothing more may be written, and `complete` has little to do."""
        if self._buffer or self._member is not None:
            self._send()
        self.settle()

    def settle(self) -> None:
        """Wait for the parts on their way; raise what one of them raised."""
        self._sent = [part if isinstance(part, dict) else part.result() for part in self._sent]
        self._end()

    def _send(self) -> None:
        if self.upload_id is None:
            self._token = secrets.token_hex(8)
            about = {**self._about, "Metadata": {**self._about.get("Metadata", {}), _OWN: self._token}}
            with self._keyed():
                created = self._s3.create_multipart_upload(**self._where, **about)
            self.upload_id = created["UploadId"]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="parts")
        oldest = len(self._sent) - IN_FLIGHT
        if oldest >= 0 and not isinstance(part := self._sent[oldest], dict):
            self._sent[oldest] = part.result()  # what is held stays bounded
        self._sent.append(self._pool.submit(self._part, len(self._sent) + 1, self._rest()))

    def _part(self, number: int, body: bytes) -> dict[str, Any]:
        with self._keyed():
            sent = self._s3.upload_part(**self._where, UploadId=self.upload_id, PartNumber=number, Body=body)
        return {"ETag": sent["ETag"], "PartNumber": number}

    def _rest(self) -> bytes:
        """Return what was not sent, as a whole member where it is compressed."""
        if self._member is not None:
            self._buffer += self._member.flush()
            self._member = None
        body = bytes(self._buffer)
        self._buffer.clear()
        return body

    def complete(self) -> None:
        """Make the object, replacing what was there."""
        if self.upload_id is None:
            with self._keyed():
                self._s3.put_object(**self._where, Body=self._rest(), **self._about)
            return
        self.seal()
        try:
            with self._keyed():
                self._s3.complete_multipart_upload(
                    **self._where, UploadId=self.upload_id, MultipartUpload={"Parts": self._sent}
                )
        except self._s3.exceptions.NoSuchUpload:
            # Also the answer for an upload that is completed (S3 API, CompleteMultipartUpload, NoSuchUpload): the first
            # answer was lost, and botocore sent it again.
            if not self._is_made():
                raise

    def _is_made(self) -> bool:
        """Whether the object is there, made by this very upload."""
        try:
            head = self._s3.head_object(**self._where)
        except ClientError:
            return False
        return self._token is not None and bool(head["Metadata"].get(_OWN) == self._token)

    @contextmanager
    def _keyed(self) -> Iterator[None]:
        """Raise BatchRefused where S3 refuses the bucket's KMS key: a repetition would change nothing."""
        try:
            yield
        except ClientError as error:
            message = key_refused("s3://{Bucket}/{Key}".format(**self._where), error.response["Error"])
            if message is None:
                raise
            raise BatchRefused([Problem("output_bucket", message)]) from error

    def abort(self) -> None:
        """Forgets what was sent; its own failure is passed over, since an error that matters more is on its way."""
        self._end()  # a part that arrives after the abort would stay
        if self.upload_id is not None:
            with suppress(ClientError, BotoCoreError):
                self._s3.abort_multipart_upload(**self._where, UploadId=self.upload_id)

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None
