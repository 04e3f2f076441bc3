"""Where a command writes: looked at before a row is run, written whole or not at all."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.errors import BatchProcessorError, BatchRefused, Problem
from service.models import split_s3_uri
from service.request.columns import file_name, format_of
from service.s3 import bodies

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STDOUT = "-"
STDOUT_NAMES = frozenset({STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"})
_OTHER_FORMATS = frozenset(
    {".xlsx", ".xlsm", ".xls", ".ods", ".tsv", ".json", ".xml", ".yaml", ".yml", ".pdf", ".db", ".sqlite", ".avro"}
    | {".orc", ".arrow", ".feather", ".zip", ".tar", ".7z", ".bz2", ".xz", ".zst"}
)


class NotSaved(BatchProcessorError):
    """The results could not be written where they should go; they are whole in S3."""


def s3_place(destination: str) -> tuple[str, str] | None:
    """Bucket and key of a destination in S3, None of a local one; raises BatchRefused."""
    if not destination.startswith("s3://"):
        return None
    place = split_s3_uri(destination)
    if place is None:
        raise _refused(f"{destination!r} is not of the form s3://bucket/key")
    return place


def check(destination: str, *, inputs: Iterable[str] = (), replaces: Callable[[Path], bool]) -> None:
    """Refuse a destination that could not be written, or that holds something which is to stay.

    `inputs` are files and s3:// URIs that the command reads. `replaces` says whether a file that is there may go.
    """
    if destination == STDOUT:
        return
    if s3_place(destination) is None:
        _check_file(Path(destination), inputs, replaces)
    elif destination in inputs:
        raise _refused(f"{destination} is the source: give the results another key")


def _check_file(path: Path, inputs: Iterable[str], replaces: Callable[[Path], bool]) -> None:
    _check_name(str(path))
    for given in inputs:
        if _is_same(path, given):
            raise _refused(f"{path} is {given}, which is read: give the results another name")
    if path.is_dir():
        raise _refused(f"{path} is a folder: name a file in it, such as {path / 'results.csv'}")
    if path.exists() and not path.is_file():  # a device or a pipe
        return
    _try_folder(path)
    for each in (path, *_further_files(path)):
        if not each.exists():
            continue
        if not os.access(each, os.W_OK):
            raise _refused(f"{each} may not be written")
        if not replaces(each):
            raise _refused(f"{each} exists: --force replaces it, or give another name with -o")


def _further_files(path: Path) -> list[Path]:
    """Files that are there under the names that an export of several files would take (X-0002.parquet and so on)."""
    if format_of(path.name) != "parquet":
        return []
    numbered = re.compile(re.escape(file_name(path.name, 2)).replace("0002", "[0-9]{4,}"))
    return sorted(each for each in path.parent.iterdir() if numbered.fullmatch(each.name))


def _refused(message: str) -> BatchRefused:
    return BatchRefused([Problem("-o", message)])


def _check_name(destination: str) -> None:
    plain = destination.lower().removesuffix(".gz")
    suffix = Path(plain).suffix
    if suffix in _OTHER_FORMATS:
        raise _refused(f"{destination}: results are .csv, .jsonl or .parquet, the first two with .gz too; not {suffix}")


def _is_same(path: Path, given: str) -> bool:
    with suppress(OSError):
        return path.samefile(given)
    return False


def _try_folder(path: Path) -> None:
    """Refuse a place in which no file can be made, by making one."""
    folder = Path(os.path.realpath(path)).parent
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".batch-processor-"):
            return
    except OSError as error:
        if not folder.exists():
            raise _refused(f"{path}: there is no folder {folder}") from None
        raise _refused(f"{path}: {folder} cannot be written: {error.strerror or error}") from error


def is_copy(s3: Any, uri: str, path: Path) -> bool:
    """Tell whether a file is a copy of an object, byte for byte."""
    bucket, key = split_s3_uri(uri) or ("", "")
    try:
        size = int(s3.head_object(Bucket=bucket, Key=key)["ContentLength"]) if key else -1
    except s3.exceptions.ClientError:
        return False
    if path.stat().st_size != size:
        return False
    _, blocks = bodies.opened(s3, bucket, key)
    with path.open("rb") as file:
        return all(file.read(len(block)) == block for block in blocks)


def fetch(s3: Any, uri: str, path: Path, batch_id: str, *, new: bool = False) -> None:
    """Write an object of S3 to a file, a device or a pipe; raises NotSaved, and leaves no half file.

    A file appears whole, beside which it was written; a symbolic link stays one, and what it leads to is replaced. With
    `new` there was none when the command began: one that something else has made since then stays.
    """
    bucket, key = split_s3_uri(uri) or ("", "")
    _, blocks = bodies.opened(s3, bucket, key)
    try:
        write(path, blocks, new=new)
    except OSError as error:
        why = (
            "something else has made it meanwhile"
            if isinstance(error, FileExistsError)
            else error.strerror or str(error)
        )
        raise NotSaved(
            f"{path} could not be written: {why}\nThe results are whole at {uri}; to fetch them elsewhere:\n"
            f"  batch-processor aggregate '{batch_id}' -o FILE"
        ) from error


def write(path: Path, blocks: Iterable[bytes], *, new: bool = False) -> None:
    """Write a file whole or not at all, a `new` one only where there is none; a device or a pipe is written to.

    Raises OSError, FileExistsError of a new one that is there.
    """
    if path.exists() and not path.is_file():
        with path.open("wb") as file:
            for block in blocks:
                file.write(block)
        return
    target = Path(os.path.realpath(path))
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}-", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                file.write(block)
            os.fchmod(file.fileno(), _mode(target))
        if new:
            os.link(name, target)  # unlike a replacement, this fails where there is a file
            Path(name).unlink()
        else:
            Path(name).replace(target)
    except BaseException:
        with suppress(OSError):
            Path(name).unlink()
        raise


def _mode(target: Path) -> int:
    """Return the permissions of the file that is replaced, else those of a new one."""
    with suppress(OSError):
        return stat.S_IMODE(target.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def to_stdout(s3: Any, uri: str) -> None:
    """Write an object of S3 to stdout, as far as somebody reads it."""
    bucket, key = split_s3_uri(uri) or ("", "")
    blocks: Iterator[bytes]
    _, blocks = bodies.opened(s3, bucket, key)
    try:
        for block in blocks:
            sys.stdout.buffer.write(block)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
