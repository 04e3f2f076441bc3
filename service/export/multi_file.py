"""An export that is several objects: a file for each invocation, all of them there only when all are whole."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from service.request.columns import file_name
from service.s3 import bodies, objects

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_FILE = "file"  # metadata of an object: its number among the files of its export
# HeadObject's answers for an object that is not there; without s3:ListBucket it is 403 (S3 API, HeadObject).
_NOT_THERE = ("403", "404", "NoSuchKey", "NoSuchBucket")


class Files:
    """Bytes written to `X.parquet`, those of the next invocation to `X-0002.parquet`, and so on.

    A file is an upload whose last part is sent when its invocation ends; `complete` makes the objects of all, the first
    one last, and removes what an earlier export of the same name had beyond them. Until then the earlier one stays as
    it was, and `abort` leaves nothing. `files` are the finished ones of earlier invocations. Raises UploadGone.
    """

    def __init__(
        self, s3: Any, bucket: str, key: str, *, content_type: str, files: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self._s3 = s3
        self._bucket = bucket
        self._key = key
        self._content_type = content_type
        self._uploads: list[objects.MultipartUpload] = []  # finished ones, then the one that is written
        self._made: list[str] = []
        self._finished = len(files)
        self._written = False
        try:
            for state in files:
                self._begin(**state)
        except objects.UploadGone:
            for number, state in enumerate(files, 1):
                self._forget(file_name(key, number), state["upload_id"])
            raise

    def write(self, chunk: bytes) -> None:
        """Send bytes on their way, as far as they fill parts; little is held, however many they are."""
        if not chunk:
            return
        self._written = True
        if len(self._uploads) == self._finished:
            self._begin()
        for start in range(0, len(chunk), bodies.BLOCK):
            self._uploads[-1].write(chunk[start : start + bodies.BLOCK])
            self._uploads[-1].flush()

    def flush(self) -> bool:
        """Whether anything was written since it was last asked: this invocation has got further, and may end."""
        written, self._written = self._written, False
        return written

    def settle(self) -> None:
        """Finishes the file of this invocation."""
        self._uploads[-1].seal()
        self._finished = len(self._uploads)

    def state(self) -> dict[str, Any]:
        """Return what the next invocation needs to go on."""
        return {"files": [upload.state() for upload in self._uploads[: self._finished]]}

    def complete(self) -> None:
        """Make the objects, replacing what was there."""
        count = len(self._uploads)
        while self._uploads:
            self._uploads[-1].complete()
            self._made.append(file_name(self._key, len(self._uploads)))
            self._uploads.pop()
        self._made.clear()  # they stay, whatever comes
        for left_over in reversed(list(following(self._s3, self._bucket, self._key, count))):
            self._s3.delete_object(Bucket=self._bucket, Key=left_over)

    def abort(self) -> None:
        """Forgets what was sent; its own failures are passed over, since an error that matters more is on its way."""
        for upload in self._uploads:
            upload.abort()
        for key in self._made:
            with suppress(ClientError, BotoCoreError):
                self._s3.delete_object(Bucket=self._bucket, Key=key)

    def _begin(self, **state: Any) -> None:
        number = len(self._uploads) + 1
        upload = objects.MultipartUpload(
            self._s3,
            self._bucket,
            file_name(self._key, number),
            content_type=self._content_type,
            metadata={_FILE: str(number)},
            **state,
        )
        self._uploads.append(upload)

    def _forget(self, key: str, upload_id: str) -> None:
        with suppress(ClientError, BotoCoreError):
            self._s3.abort_multipart_upload(Bucket=self._bucket, Key=key, UploadId=upload_id)


def keys_of(s3: Any, bucket: str, key: str) -> list[str]:
    """Return the key of an export's object, and those of its other files where it is the first of several."""
    return [key, *following(s3, bucket, key, 1)] if _is_file(s3, bucket, key, 1) else [key]


def following(s3: Any, bucket: str, key: str, number: int) -> Iterator[str]:
    """Keys of the files of an export beyond that number; an object that only has such a name is none of them."""
    while _is_file(s3, bucket, name := file_name(key, number + 1), number + 1):
        yield name
        number += 1


def _is_file(s3: Any, bucket: str, key: str, number: int) -> bool:
    try:
        head = s3.head_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if error.response["Error"]["Code"] not in _NOT_THERE:
            raise
        return False
    return bool(head["Metadata"].get(_FILE) == str(number))
