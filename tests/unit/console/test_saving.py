"""Where results go: what is refused before a row is run, and what is left when writing fails."""

from __future__ import annotations

import os
import stat
import threading
from typing import TYPE_CHECKING, Any

import pytest

from service.console import saving
from service.console.cli import results
from service.console.stacks import Stack
from service.errors import BatchRefused
from service.record import BatchRecord

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from service.app import App


def never(_path: Path) -> bool:
    return False


def said(destination: str, *inputs: str) -> str:
    with pytest.raises(BatchRefused) as refused:
        saving.check(destination, inputs=inputs, replaces=never)
    return str(refused.value)


def test_what_cannot_be_written_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_text("id\n1\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "in.csv")
    assert "is a folder: name a file in it" in said(str(tmp_path))
    assert f"there is no folder {tmp_path / 'no'}" in said(str(tmp_path / "no" / "out.csv"))
    assert "cannot be written" in said("/proc/out.csv")
    assert "--force replaces it" in said(str(tmp_path / "in.csv"))
    for name in ("in.csv", "link.csv"):
        assert "which is read" in said(str(tmp_path / name), str(tmp_path / "in.csv"))
    assert "is the source" in said("s3://bucket/in.csv", "s3://bucket/in.csv")
    assert "is not of the form s3://bucket/key" in said("s3://bucket")
    for name in ("out.xlsx", "out.JSON", "out.tsv.gz", "out.csv.zip"):
        assert "results are .csv, .jsonl or .parquet" in said(str(tmp_path / name))
    assert (tmp_path / "in.csv").read_text() == "id\n1\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.csv", "link.csv"], "trying leaves nothing"


def test_what_can_be_written_is_not_refused(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text("old")
    for destination in ("-", "/dev/null", str(tmp_path / "new.csv"), str(tmp_path / "plain"), "s3://bucket/out.csv"):
        saving.check(destination, inputs=["s3://bucket/in.csv"], replaces=never)
    saving.check(str(tmp_path / "old.csv"), replaces=lambda path: path.name == "old.csv")


def test_every_file_of_an_export_of_several_is_looked_at(tmp_path: Path) -> None:
    for name in ("x.parquet", "x-0003.parquet", "x-00022.parquet", "x-2.parquet", "y-0002.parquet", "x-0002.csv"):
        (tmp_path / name).write_text("kept")
    asked: list[str] = []
    saving.check(str(tmp_path / "x.parquet"), replaces=lambda path: asked.append(path.name) is None)
    assert asked == ["x.parquet", "x-00022.parquet", "x-0003.parquet"]
    (tmp_path / "x.parquet").unlink()
    assert "x-00022.parquet exists" in said(str(tmp_path / "x.parquet"))
    saving.check(str(tmp_path / "x.csv"), replaces=never)


def broken() -> Iterator[bytes]:
    yield b"half"
    raise OSError(28, "No space left on device")


def test_a_file_is_whole_or_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with pytest.raises(OSError, match="No space left"):
        saving.write(path, broken())
    assert list(tmp_path.iterdir()) == []
    saving.write(path, [b"one ", b"two"])
    path.chmod(0o640)
    with pytest.raises(OSError, match="No space left"):
        saving.write(path, broken())
    assert path.read_bytes() == b"one two"
    saving.write(path, [b"three"])
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"three", 0o640)
    assert [found.name for found in tmp_path.iterdir()] == ["out.csv"]


def test_a_link_stays_one_and_a_pipe_is_written_to(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    target, link, pipe = tmp_path / "kept" / "out.csv", tmp_path / "link.csv", tmp_path / "pipe"
    link.symlink_to(target)
    saving.write(link, [b"results"])
    assert link.is_symlink()
    assert target.read_bytes() == b"results"
    os.mkfifo(pipe)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    saving.write(pipe, [b"results"])
    reader.join(10)
    assert read == [b"results"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


def test_two_that_write_the_same_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"

    def slow() -> Iterator[bytes]:
        yield b"a"
        saving.write(path, [b"b" * 10])
        yield b"a" * 9

    saving.write(path, slow())
    assert path.read_bytes() == b"a" * 10


def test_a_full_disk_leaves_the_results_in_s3_and_says_how_to_fetch_them(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"s3://{app.settings.data_bucket}/results/out.csv"
    app.s3.put_object(Bucket=app.settings.data_bucket, Key="results/out.csv", Body=b"x" * 100)

    def full(_path: Path, _blocks: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(saving, "write", full)
        with pytest.raises(saving.NotSaved) as raised:
            saving.fetch(app.s3, uri, tmp_path / "out.csv", "echo#run-1")
    for part in ("No space left on device", uri, "batch-processor aggregate 'echo#run-1' -o FILE"):
        assert part in str(raised.value)
    saving.fetch(app.s3, uri, tmp_path / "out.csv", "echo#run-1")
    assert (tmp_path / "out.csv").read_bytes() == b"x" * 100


def test_a_copy_is_known_byte_for_byte(app: App, tmp_path: Path) -> None:
    body = bytes(range(256)) * 1000
    uri, path = f"s3://{app.settings.data_bucket}/results/out.csv", tmp_path / "out.csv"
    path.write_bytes(body)
    assert not saving.is_copy(app.s3, uri, path)
    app.s3.put_object(Bucket=app.settings.data_bucket, Key="results/out.csv", Body=body)
    assert saving.is_copy(app.s3, uri, path)
    for other in (body[:-1] + b"x", b"x" + body[1:], body[:100_000] + b"x" + body[100_001:], body[:-1], b""):
        path.write_bytes(other)
        assert not saving.is_copy(app.s3, uri, path)


def test_a_new_file_is_not_put_over_one_that_was_made_meanwhile(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    saving.write(path, [b"first"], new=True)
    with pytest.raises(FileExistsError):
        saving.write(path, [b"second"], new=True)
    assert path.read_bytes() == b"first"
    assert [file.name for file in tmp_path.iterdir()] == ["out.csv"]
    saving.write(path, [b"third"])
    assert path.read_bytes() == b"third"


def test_the_source_of_a_batch_is_not_replaced_even_by_force(app: App, tmp_path: Path) -> None:
    path, bucket = tmp_path / "in.csv", app.settings.data_bucket
    path.write_text("id\n1\n")
    app.s3.put_object(Bucket=bucket, Key="uploads/x/in.csv", Body=path.read_bytes())
    record = BatchRecord("echo#1", source={"uri": f"s3://{bucket}/uploads/x/in.csv"})
    stack = Stack(app, "stack", "machine", "aggregator")
    with pytest.raises(BatchRefused, match="is the batch's source"):
        results.checked(stack, str(path), record, force=True, as_json=False)
    path.write_text("id\n2\n")
    results.checked(stack, str(path), record, force=True, as_json=False)


def test_an_object_that_is_there_is_replaced_only_by_force(app: App) -> None:
    stack, bucket = Stack(app, "stack", "machine", "aggregator"), app.settings.data_bucket
    results.check_object(stack, f"s3://{bucket}/mine/out.csv")
    results.check_object(stack, "out.csv")
    app.s3.put_object(Bucket=bucket, Key="mine/out.csv", Body=b"x")
    with pytest.raises(BatchRefused, match="--force replaces it"):
        results.check_object(stack, f"s3://{bucket}/mine/out.csv")
