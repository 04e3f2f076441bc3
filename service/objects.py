"""Objects in S3 as the batch processor reads and writes them: streams, ranges under an ETag, multipart uploads."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.errors import BatchProcessorError, BatchRefused, Problem, SourceChanged

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 1 << 20
# GetObject's answers when the version asked for is not there; a range of that version is never beyond its end.
_GONE = ("PreconditionFailed", "412", "NoSuchKey", "NoSuchBucket", "InvalidRange")
# An object that is gone or may not be read; without s3:ListBucket, one that is gone answers AccessDenied.
UNREADABLE = ("AccessDenied", "NoSuchKey", "NoSuchBucket")
PART = 8 << 20  # bytes; S3 takes 10,000 parts of 5 MiB to 5 GiB, so 80 GB at this size


@dataclass(frozen=True)
class SourceObject:
    """One version of an object: every read of it is conditional on the ETag."""

    bucket: str
    key: str
    etag: str
    size: int

    @property
    def uri(self) -> str:
        """`s3://bucket/key`."""
        return f"s3://{self.bucket}/{self.key}"


def find_source(s3: Any, bucket: str, key: str) -> SourceObject:
    """The object as it is now; raises BatchRefused when it is not there, not allowed or empty."""
    try:
        head = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        code = error.response["Error"]["Code"]
        if code in ("403", "AccessDenied"):
            message = f"s3://{bucket}/{key} is not there or may not be read: see the parameter SourceObjectArns"
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


def read(s3: Any, source: SourceObject, start: int = 0, end: int | None = None) -> Iterator[bytes]:
    """Blocks of the bytes start to end (exclusive); raises SourceChanged when the object is another one by now."""
    last = (source.size if end is None else end) - 1
    if last < start:
        return
    try:
        answer = s3.get_object(Bucket=source.bucket, Key=source.key, Range=f"bytes={start}-{last}", IfMatch=source.etag)
    except ClientError as error:
        if error.response["Error"]["Code"] in _GONE:
            raise SourceChanged(
                f"{source.uri} was replaced or deleted after the batch was prepared (its ETag was {source.etag}): "
                "start a new batch with the new file"
            ) from error
        raise
    yield from answer["Body"].iter_chunks(BLOCK)


class UploadGone(BatchProcessorError):
    """The multipart upload to go on with was aborted or completed meanwhile."""


class MultipartUpload:
    """Bytes written to one object in parts; `complete` makes it appear whole, `abort` leaves nothing.

    What ends below one part is put at once. With an `upload_id` it goes on after the first `parts` parts of an upload
    of an earlier invocation: what an invocation sent beyond them before it broke off is sent again. Raises UploadGone.
    """

    def __init__(  # noqa: PLR0913 - what an upload is made of
        self,
        s3: Any,
        bucket: str,
        key: str,
        *,
        content_type: str = "text/csv; charset=utf-8",
        upload_id: str | None = None,
        parts: int = 0,
    ) -> None:
        self._s3 = s3
        self._where = {"Bucket": bucket, "Key": key}
        self._content_type = content_type
        self._buffer = bytearray()
        self.upload_id = upload_id
        self._sent = [] if upload_id is None else self._first(parts)

    @property
    def parts(self) -> int:
        """How many parts were sent."""
        return len(self._sent)

    def _first(self, count: int) -> list[dict[str, Any]]:
        """The first parts of those that S3 has already; ListParts gives their ETags back."""
        pages = self._s3.get_paginator("list_parts").paginate(**self._where, UploadId=self.upload_id)
        try:
            there = {part["PartNumber"]: part["ETag"] for page in pages for part in page.get("Parts", [])}
        except self._s3.exceptions.NoSuchUpload as error:
            raise UploadGone(f"upload {self.upload_id} of {self._where['Key']} is not there any more") from error
        if not there.keys() >= set(range(1, count + 1)):
            raise UploadGone(f"upload {self.upload_id} of {self._where['Key']} has lost parts")
        return [{"ETag": there[number], "PartNumber": number} for number in range(1, count + 1)]

    def write(self, chunk: bytes) -> None:
        """Adds bytes to what is yet to be sent."""
        self._buffer += chunk

    def flush(self) -> bool:
        """Sends what is there as one part if it is large enough for one; whether it did."""
        if len(self._buffer) < PART:
            return False
        self._send()
        return True

    def _send(self) -> None:
        if self.upload_id is None:
            created = self._s3.create_multipart_upload(**self._where, ContentType=self._content_type)
            self.upload_id = created["UploadId"]
        number = len(self._sent) + 1
        body = bytes(self._buffer)
        sent = self._s3.upload_part(**self._where, UploadId=self.upload_id, PartNumber=number, Body=body)
        self._sent.append({"ETag": sent["ETag"], "PartNumber": number})
        self._buffer.clear()

    def complete(self) -> None:
        """Makes the object, replacing what was there."""
        if self.upload_id is None:
            self._s3.put_object(**self._where, Body=bytes(self._buffer), ContentType=self._content_type)
            return
        if self._buffer:
            self._send()
        self._s3.complete_multipart_upload(
            **self._where, UploadId=self.upload_id, MultipartUpload={"Parts": self._sent}
        )

    def abort(self) -> None:
        """Forgets what was sent; its own failure is passed over, since an error that matters more is on its way."""
        if self.upload_id is not None:
            with suppress(ClientError, BotoCoreError):
                self._s3.abort_multipart_upload(**self._where, UploadId=self.upload_id)
