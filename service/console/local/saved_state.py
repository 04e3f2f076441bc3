"""What the embedded AWS keeps on disk: one process owns the folder, and what it holds is saved while it runs.

ministack saves on a clean stop only (its app.py, `lifespan.shutdown`). Here a child of a fork writes what has changed
every few seconds: it sees one moment of the whole, and the server goes on meanwhile. Each file is written beside the
old one and takes its place (its core/persistence.py, `save_state`), so that there is never half a file.
"""

from __future__ import annotations

import contextlib
import copy
import fcntl
import json
import logging
import os
import signal
import sys
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable
    from pathlib import Path

TAKEN = 75  # exit code: the folder belongs to another server (EX_TEMPFAIL of sysexits.h)
_OWNER = "server.json"
_EVERY_SECONDS = 1.0
_AGAIN_SECONDS = 4.0  # after a saving that failed
_LONGEST_SAVE = 300
_ALL = "*"
_LAST = "cloudformation"
_WORDS = 4000  # of a failure; a pipe holds more
STANDING = "/_batch_processor/saved"  # where the server says what of its state is on disk
_READS = ("Get", "BatchGet", "Query", "Scan", "Describe", "List", "TransactGet")


def held(root: Path) -> bool:
    """Whether a server owns the folder: the kernel gives its lock back when its process ends, however it ends."""
    try:
        folder = os.open(root / "state", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(folder)
    return False


def owner(root: Path) -> dict[str, Any]:
    """Process and port of the server that owns the folder, as it wrote them; empty when it has not yet."""
    try:
        written: dict[str, Any] = json.loads((root / _OWNER).read_text())
    except (OSError, ValueError):
        return {}
    return written


def own(root: Path, port: int) -> int:
    """Take the folder for the life of this process; end it with TAKEN when another has it.

    The lock is on the folder `state` itself: a file could be removed, and a second server would lock a new one.
    """
    folder = os.open(root / "state", os.O_RDONLY)
    for _ in range(20):  # a look from `held` takes the lock for an instant
        with contextlib.suppress(BlockingIOError):
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _sign(root, port)
            return folder
        time.sleep(0.05)
    sys.stderr.write(f"{root} belongs to another embedded AWS\n")
    sys.exit(TAKEN)


def _sign(root: Path, port: int) -> None:
    written = root / f"{_OWNER}.tmp"
    written.write_text(json.dumps({"pid": os.getpid(), "port": port}))
    written.replace(root / _OWNER)


def changes(scope: dict[str, Any]) -> str | None:
    """Which service's state a request may change: its key, "*" for any, None for a read."""
    if scope["type"] != "http":
        return None
    headers = dict(scope.get("headers") or ())
    target = headers.get(b"x-amz-target", b"").decode("latin-1")
    if target:
        service, _, action = target.partition(".")
        known = {"DynamoDB_20120810": "dynamodb", "AWSStepFunctions": "stepfunctions"}.get(service, _ALL)
        return None if action.startswith(_READS) else known
    if scope["method"] in ("GET", "HEAD", "OPTIONS") or scope["path"].endswith("/invocations"):
        return None
    return "s3" if b"amz-sdk-request" in headers and b"x-amz-content-sha256" in headers else _ALL


def _in_order(services: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """CloudFormation last: a stack that was saved has its resources, wherever a kill cut the saving."""
    return dict(sorted(services.items(), key=lambda item: item[0] == _LAST))


def _dump(whole: Any, file: Any, **arguments: Any) -> None:
    file.write(json.dumps(whole, **arguments))


class _Failures(logging.Handler):
    """What ministack's persistence says as an error: it goes on past what it could not save."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.said: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage().removeprefix("Persistence: "))


@dataclass
class Saver:
    """Saves, in a child process, the services that were spoken to since they were last saved."""

    root: Path
    port: int
    services: Callable[[], dict[str, Callable[[], Any]]]
    save_all: Callable[[dict[str, Callable[[], Any]]], None]
    running: Callable[[], bool]
    locks: tuple[Any, ...] = ()
    standing: dict[str, Any] = field(default_factory=lambda: {"unsaved": None, "since": None, "refused": 0})
    _changed: set[str] = field(default_factory=set)
    _saving: Any = field(default_factory=threading.Lock)
    _child: int = 0

    def watching(self, app: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        """Return the same app; what its requests may have changed is saved after they are done."""

        async def watched(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["path"] == STANDING:
                await _answer(send, self.standing)
                return
            try:
                await app(scope, receive, send)
            finally:
                if (service := changes(scope)) is not None:
                    self._changed.add(service)

        return watched

    def start(self) -> None:
        """Save from now on, until the process ends."""
        threading.Thread(target=self._go_on, name="saver", daemon=True).start()

    def save(self) -> bool:
        """Save everything now, in place of a child that is at it; whether it could be saved."""
        child = self._child
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        done = self._save({_ALL})
        self.standing["refused"] += not done
        return done

    def _go_on(self) -> None:
        was_running = False
        while True:
            time.sleep(_EVERY_SECONDS)
            began = time.monotonic()
            try:
                if not (self.root / _OWNER).exists():
                    _sign(self.root, self.port)
                is_running = self.running()
            except (OSError, RuntimeError) as error:  # the saving goes on, whatever else does not
                self._note(str(error))
                is_running = True
            if is_running or was_running:
                self._changed.update(("stepfunctions", "cloudwatch_logs"))
            was_running = is_running
            changed = set(self._changed)
            self._changed -= changed  # before what it is saved from is looked at: what comes meanwhile is saved next
            if changed and not self._save(changed):
                self._changed |= changed
                time.sleep(_AGAIN_SECONDS)
            time.sleep(time.monotonic() - began)  # at most half the time is spent on it, however much there is

    def _save(self, changed: Iterable[str]) -> bool:
        try:
            why = self._save_in_child(changed)
        except OSError as error:  # no memory for a child, no file for its words
            why = str(error)
        self._note(why)
        return not why

    def _note(self, why: str) -> None:
        if why != (self.standing["unsaved"] or ""):
            sys.stderr.write(f"its state is not saved: {why}\n" if why else "its state is saved again\n")
        if not why:
            self.standing.update(unsaved=None, since=None)
        elif not self.standing["unsaved"]:
            self.standing.update(unsaved=why, since=time.time())
        else:
            self.standing["unsaved"] = why

    def _save_in_child(self, changed: Iterable[str]) -> str:
        """Save what changed as it is while the locks are held; why it could not be, in the words of the child."""
        services = _in_order(self.services())
        chosen = services if _ALL in changed else {key: get for key, get in services.items() if key in changed}
        with self._saving:
            words, told = os.pipe()
            with os.fdopen(words, encoding="utf-8", errors="replace") as said:
                try:
                    with contextlib.ExitStack() as still:
                        for lock in self.locks:
                            still.enter_context(lock)
                        self._child = child = os.fork()
                    if child == 0:
                        self._write(chosen, told)
                finally:
                    os.close(told)
                why = said.read()
            _, status = os.waitpid(child, 0)
            self._child = 0
        return why or ("" if status == 0 else f"the saving process ended with {os.waitstatus_to_exitcode(status)}")

    def _write(self, chosen: dict[str, Callable[[], Any]], told: int) -> None:
        """In the child: writes and ends; it is ended by the alarm if a lock that a lost thread held stops it."""
        failures = _Failures()
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.alarm(_LONGEST_SAVE)
            logging.getLogger("persistence").addHandler(failures)
            vars(copy)["deepcopy"] = lambda whole, *_: whole  # nothing else changes it in this process
            vars(json)["dump"] = _dump  # in C, which json's own is not
            if _LAST in chosen:
                last = chosen[_LAST]
                chosen[_LAST] = lambda: None if failures.said else last()  # None leaves its file as it is
            self.save_all(chosen)
        except BaseException as error:  # noqa: BLE001 - whatever it was, it is told
            failures.said.append(str(error) or type(error).__name__)
        os.write(told, "; ".join(failures.said)[:_WORDS].encode())
        os._exit(int(bool(failures.said)))


async def _answer(send: Callable[[dict[str, Any]], Awaitable[None]], known: dict[str, Any]) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(known).encode()})
