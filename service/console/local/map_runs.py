"""A Map Run's concurrency follows its `maxConcurrency` while it runs, as UpdateMapRun says.

Step Functions API reference, "UpdateMapRun": it updates an in-progress Map Run's maximum concurrency. In ministack the
number is that of a pool's threads, which nothing changes afterwards.
"""

from __future__ import annotations

import contextvars
import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable

_NO_LIMIT = 64  # children at once where none is set: ministack's own number, each child being a thread
_starting: contextvars.ContextVar[bool] = contextvars.ContextVar("starting_a_map_run", default=False)
_STARTED_BY = ("ThreadPoolExecutor", "run_child", "futures_wait")


def check(stepfunctions: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is leaned on; `fits` raises for what is not as it was."""
    distributed = getattr(stepfunctions, "_run_distributed_map", None)
    takes = ["state_def", "raw_input", "effective", "iterator", "execution", "ctx"]
    fits("stepfunctions._run_distributed_map", distributed, takes)
    fits("stepfunctions._update_map_run", getattr(stepfunctions, "_update_map_run", None), ["data"])
    code = distributed.__code__  # type: ignore[union-attr]
    child = next((each for each in code.co_consts if getattr(each, "co_name", "") == "run_child"), None)
    names = {*code.co_names, *code.co_varnames, *code.co_cellvars}
    if child is None or "run" not in child.co_freevars or not names.issuperset(_STARTED_BY):
        fits("stepfunctions._run_distributed_map's children", None, ["run", "idx", "item"])


def patch(stepfunctions: Any) -> None:
    """Start the children of a Map Run by gates."""
    distributed, update = stepfunctions._run_distributed_map, stepfunctions._update_map_run  # noqa: SLF001
    pools = stepfunctions.ThreadPoolExecutor
    gates: dict[str, _Gate] = {}

    def run(*arguments: Any) -> Any:
        token = _starting.set(True)
        try:
            return distributed(*arguments)
        finally:
            _starting.reset(token)

    def pool(max_workers: int) -> Any:
        if not _starting.get():
            return pools(max_workers=max_workers)
        _starting.set(False)  # the children have pools of their own
        return _Gate(gates)

    def updated(data: dict[str, Any]) -> Any:
        answer = update(data)
        gate = gates.get(data.get("mapRunArn", ""))
        if gate is not None:
            gate.open()
        return answer

    stepfunctions._run_distributed_map, stepfunctions._update_map_run = run, updated  # noqa: SLF001
    stepfunctions.ThreadPoolExecutor = pool


class _Gate:
    """In the place of a Map Run's pool: starts children, a thread each, while fewer run than the Map Run says."""

    def __init__(self, gates: dict[str, _Gate]) -> None:
        self._gates = gates
        self._map_run: dict[str, Any] = {}
        self._waiting: deque[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = deque()
        self._running = 0
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Be forgotten: everybody has waited for the children."""
        self._gates.pop(self._map_run.get("mapRunArn", ""), None)

    def submit(self, call: Callable[..., Any], child: Callable[..., Any], *arguments: Any) -> Future[Any]:
        """Start `call(child, *arguments)` as soon as there is room; `child` knows the Map Run it belongs to."""
        if not self._map_run:
            places = child.__closure__ or ()
            self._map_run = places[child.__code__.co_freevars.index("run")].cell_contents
            self._gates[self._map_run["mapRunArn"]] = self
        future: Future[Any] = Future()
        with self._lock:
            self._waiting.append((future, call, (child, *arguments)))
        self.open()
        return future

    def open(self) -> None:
        """Start as many as there is room for."""
        while True:
            with self._lock:
                if not self._waiting or self._running >= (int(self._map_run["maxConcurrency"]) or _NO_LIMIT):
                    return
                self._running += 1
                started = self._waiting.popleft()
            threading.Thread(target=self._go, args=started, daemon=True).start()

    def _go(self, future: Future[Any], call: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        try:
            answer, error = call(*arguments), None
        except BaseException as raised:  # noqa: BLE001 - whoever waits for the future is told
            answer, error = None, raised
        with self._lock:
            self._running -= 1
        self.open()
        if error is None:
            future.set_result(answer)
        else:
            future.set_exception(error)
