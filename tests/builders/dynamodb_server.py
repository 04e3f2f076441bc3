"""DynamoDB Local, AWS's own: taken once from the npm registry into `build/`, and run as a process that is ended here.

Its licence lets it be used for development and tests and not be given on, so nothing of it is in the repository. It has
no option for the address that it listens on and listens on all of them; it holds nothing but what the tests put there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import TYPE_CHECKING

from places import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

# The package brings the jar whole; its dependencies are those of its JavaScript, which is not used.
PACKAGE = "amplify-dynamodb-simulator@2.9.30"
SHA512 = (
    "c5379e44bbf311fab2779961ddb1f8734907bd21c79a6843e590ec1c5280439836665e89aa515dbad6908422c7cf1129e91cb5a3b4c1ea78"
    "88a17b9002749ec1"
)
FOLDER = ROOT / "build" / "dynamodb-local" / PACKAGE.rpartition("@")[2]
_JAR = "DynamoDBLocal.jar"
_INSIDE = "package/emulator/"  # of the package
_STARTS = 3  # another process may take the free port first
_FETCH_SECONDS, _READY_SECONDS = 180, 60
_JAVA = ("-Xmx1g", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")  # a process of seconds: compiling well does not pay


class NotInstalled(Exception):
    """What has to be installed first."""


def java() -> str:
    """The path of Java; raises NotInstalled."""
    return _program("java", "a Java runtime (17, say)")


def install(folder: Path = FOLDER) -> Path:
    """The folder that holds the jar, fetched unless it is there; raises NotInstalled, ValueError for another content.

    It comes into its place whole or not at all, so that one that broke off, or two at a time, do no harm.
    """
    if (folder / _JAR).exists():
        return folder
    npm = _program("npm", "npm (it comes with Node.js)")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        _unpack(_fetch(npm, scratch), Path(scratch))
        try:
            (Path(scratch) / _INSIDE).rename(folder)
        except OSError:  # another process was first
            if not (folder / _JAR).exists():
                raise
    return folder


def _program(name: str, what: str) -> str:
    path = shutil.which(name)
    if path is None:
        raise NotInstalled(f"DynamoDB Local needs {what} on PATH: install it and run the tests again")
    return path


def _fetch(npm: str, scratch: str) -> Path:
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--loglevel=error", "--pack-destination", scratch]
    try:
        subprocess.run(command, cwd=scratch, capture_output=True, text=True, check=True, timeout=_FETCH_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise NotInstalled(f"npm took too long to fetch {PACKAGE}") from error
    except subprocess.CalledProcessError as error:
        raise NotInstalled(f"npm could not fetch {PACKAGE}: {error.stderr[-500:]}") from error
    (archive,) = Path(scratch).glob("*.tgz")
    return archive


def _unpack(archive: Path, scratch: Path) -> None:
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512").hexdigest()
    if digest != SHA512:
        raise ValueError(f"{PACKAGE} is not what it was: its SHA-512 is {digest}")
    with tarfile.open(archive) as packed:  # its content is known by its digest
        packed.extractall(scratch, [one for one in packed.getmembers() if one.name.startswith(_INSIDE)])


@contextmanager
def running(folder: Path, log: Path) -> Iterator[str]:
    """The URL of a server with nothing in it, which ends with the block; what it says goes to `log`."""
    for _ in range(_STARTS):
        port = _free_port()
        process = _start(folder, port, log)
        try:
            if _ready(process, port):
                yield f"http://127.0.0.1:{port}"
                return
        finally:
            _end(process)
    raise RuntimeError(f"DynamoDB Local did not start: {log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _start(folder: Path, port: int, log: Path) -> subprocess.Popen[bytes]:
    library = folder / "DynamoDBLocal_lib"
    options = ["-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    command = [java(), *_JAVA, f"-Djava.library.path={library}", "-jar", str(folder / _JAR), *options]
    # without the tests' AWS_ settings: it takes some of them for its own
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    with log.open("ab") as said:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT
        )


def _ready(process: subprocess.Popen[bytes], port: int) -> bool:
    """Whether it answers; False when it has ended or takes too long."""
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        if _answers(port):
            return process.poll() is None
        time.sleep(0.05)
    return False


def _answers(port: int) -> bool:
    """Whether something answers as DynamoDB does, which gives every request a number."""
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/")
        return connection.getresponse().getheader("x-amzn-RequestId") is not None
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
