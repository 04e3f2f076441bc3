"""The embedded AWS: ministack in a process of its own, mended where it does not do as AWS does.

Run by `service.console.local.stack` as `python -m service.console.local.server`. Every patch names what AWS does, and
`check` fails when ministack is no longer what a patch was written for; its test calls it. Written against ministack
1.5.33.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import json
import logging
import os
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from service.console.local import cut_stacks, dynamodb_patches, history, map_runs, saved_state, sync_executions

_PINNED = "1.5.33"
_context: contextvars.ContextVar[dict[str, Any]] = contextvars.ContextVar("task_context")
_RAISED = "__raised__"
_SCRIPT_ERROR = (
    '_real_stdout.write(json.dumps({"status": "error", "error": str(e), "trace": traceback.format_exc()}) + "\\n")'
)
_SCRIPT_RAISED = (
    '_real_stdout.write(json.dumps({"status": "ok", "result": {"' + _RAISED + '": {"errorMessage": str(e), '
    '"errorType": type(e).__name__}}}) + "\\n")'
)


class PatchMisfitError(Exception):
    """The installed ministack is not the one that a patch was written for."""


def check() -> None:
    """Raise PatchMisfitError naming what a patch no longer finds in the installed ministack."""
    from ministack.core import lambda_runtime  # noqa: PLC0415 - importing ministack reads its settings
    from ministack.services import lambda_svc, stepfunctions  # noqa: PLC0415

    expected = {
        "stepfunctions._execute_task": (stepfunctions, "_execute_task", ["state_def", "raw_input", "execution", "ctx"]),
        "stepfunctions._run_map_items": (
            stepfunctions,
            "_run_map_items",
            ["state_def", "raw_input", "execution", "ctx"],
        ),
        "stepfunctions._apply_result_selector": (stepfunctions, "_apply_result_selector", ["state_def", "data"]),
        "stepfunctions._resolve_params_obj": (stepfunctions, "_resolve_params_obj", ["template", "data", "ctx"]),
        "stepfunctions._resolve_path": (stepfunctions, "_resolve_path", ["path", "data"]),
        "lambda_svc._execute_function_warm": (lambda_svc, "_execute_function_warm", ["func", "event", "request_id"]),
        "lambda_runtime.reset": (lambda_runtime, "reset", []),
    }
    for name, (module, attribute, parameters) in expected.items():
        _fits(name, getattr(module, attribute, None), parameters)
    map_runs.check(stepfunctions, _fits)
    sync_executions.check(stepfunctions, _fits)
    if lambda_runtime._PYTHON_WORKER_SCRIPT.count(_SCRIPT_ERROR) != 1:  # noqa: SLF001
        raise PatchMisfitError(f"ministack's worker script reports errors in another way: pin ministack=={_PINNED}")
    drain = lambda_runtime.Worker._drain_stderr_bounded  # noqa: SLF001
    if list(inspect.signature(drain).parameters)[1:] != ["first_line_wait", "idle_confirm", "hard_cap"]:
        raise PatchMisfitError(f"ministack waits for log lines in another way: pin ministack=={_PINNED}")


def check_server() -> None:
    """Raise PatchMisfitError as `check`, for what is patched in the server: these modules start threads."""
    import hypercorn.asyncio  # noqa: PLC0415
    from ministack import app  # noqa: PLC0415
    from ministack.core import persistence  # noqa: PLC0415
    from ministack.services import cloudformation, cloudwatch_logs, dynamodb, stepfunctions  # noqa: PLC0415
    from ministack.services.cloudformation import drift  # noqa: PLC0415

    served = ["app", "config", "shutdown_trigger", "mode"]
    _fits("hypercorn.asyncio.serve", getattr(hypercorn.asyncio, "serve", None), served)
    _fits("app._build_persistence_save_dict", getattr(app, "_build_persistence_save_dict", None), [])
    _fits("persistence.save_all", getattr(persistence, "save_all", None), ["services"])
    _fits("persistence.save_state", getattr(persistence, "save_state", None), ["service", "data"])
    if getattr(persistence, "logger", None) is not logging.getLogger("persistence"):
        _fits("persistence.logger", None, ["persistence"])
    executions = getattr(stepfunctions, "_executions", None)
    _fits("stepfunctions._executions.all_values", getattr(executions, "all_values", None), [])
    dynamodb_patches.check(dynamodb, _fits)
    history.check(stepfunctions, cloudwatch_logs, _fits)
    cut_stacks.check(app, cloudformation, drift, _fits)


def _fits(name: str, found: Any, parameters: list[str]) -> None:
    if found is None or list(inspect.signature(found).parameters) != parameters:
        raise PatchMisfitError(f"ministack's {name} does not take {parameters}: pin ministack=={_PINNED}")


def patch() -> None:
    """Put every patch in place."""
    from ministack.services import stepfunctions  # noqa: PLC0415

    check()
    sync_executions.patch(stepfunctions)
    map_runs.patch(stepfunctions)
    _patch_paths()
    _patch_errors()
    _patch_quiet_functions()


def _patch_paths() -> None:
    """MaxConcurrencyPath and TimeoutSecondsPath count, and a ResultSelector sees the context object.

    Amazon States Language: "Map state" (MaxConcurrencyPath), "Timeouts" (TimeoutSecondsPath), "Payload Template".
    """
    from ministack.services import stepfunctions as sfn  # noqa: PLC0415

    execute_task, run_map_items = sfn._execute_task, sfn._run_map_items  # noqa: SLF001
    resolve_path, resolve_params = sfn._resolve_path, sfn._resolve_params_obj  # noqa: SLF001

    def with_timeout(state_def: dict[str, Any], raw_input: Any, execution: Any, ctx: dict[str, Any]) -> Any:
        if "TimeoutSecondsPath" in state_def:
            state_def = {**state_def, "TimeoutSeconds": resolve_path(state_def["TimeoutSecondsPath"], raw_input)}
        token = _context.set(ctx)
        try:
            return execute_task(state_def, raw_input, execution, ctx)
        finally:
            _context.reset(token)

    def with_concurrency(state_def: dict[str, Any], raw_input: Any, execution: Any, ctx: dict[str, Any]) -> Any:
        if "MaxConcurrencyPath" in state_def:
            state_def = {**state_def, "MaxConcurrency": resolve_path(state_def["MaxConcurrencyPath"], raw_input)}
        return run_map_items(state_def, raw_input, execution, ctx)

    def select(state_def: dict[str, Any], data: Any) -> Any:
        selector = state_def.get("ResultSelector")
        return resolve_params(selector, data, _context.get({})) if selector else data

    sfn._execute_task, sfn._run_map_items, sfn._apply_result_selector = with_timeout, with_concurrency, select  # noqa: SLF001


def _patch_errors() -> None:
    """Keep an exception's class as the error's name; an exception does not end the worker.

    AWS Lambda guide, "Python function errors": errorType is the class's name; the environment is used again.
    """
    from ministack.core import lambda_runtime  # noqa: PLC0415
    from ministack.services import lambda_svc  # noqa: PLC0415

    script = lambda_runtime._PYTHON_WORKER_SCRIPT  # noqa: SLF001
    lambda_runtime._PYTHON_WORKER_SCRIPT = script.replace(_SCRIPT_ERROR, _SCRIPT_RAISED)  # noqa: SLF001
    execute = lambda_svc._execute_function_warm  # noqa: SLF001

    def with_names(func: Any, event: Any, request_id: str) -> dict[str, Any]:
        result: dict[str, Any] = execute(func, event, request_id)
        body = result.get("body")
        if isinstance(body, dict) and _RAISED in body:
            return {"body": body[_RAISED], "error": True, "log": json.dumps(body[_RAISED])}
        return result

    lambda_svc._execute_function_warm = with_names  # noqa: SLF001


def _patch_quiet_functions() -> None:
    """Wait for no log of a function that writes none: AWS answers as soon as the function returns."""
    from ministack.core import lambda_runtime  # noqa: PLC0415

    lambda_runtime.Worker._drain_stderr_bounded.__defaults__ = (0.0, 0.005, 0.25)  # noqa: SLF001


def end_functions() -> None:
    """End every function's process, also one in the middle of a call."""
    from ministack.core import lambda_runtime  # noqa: PLC0415

    lambda_runtime.reset()


def main() -> None:
    """Serve until it is told to stop (SIGTERM); its data are written by then.

    It ends its functions' processes and itself at once: Python would first wait for the thread of every call, and the
    server for every client that does not read what it asked for.
    """
    port = int(os.environ["GATEWAY_PORT"])
    root = Path(os.environ["BATCH_PROCESSOR_HOME"])
    saved_state.own(root, port)
    threading.stack_size(512 * 1024)  # a thread for each row in flight
    check_server()
    patch()
    patch_server()
    _patch_serving(_saver(root, port))
    from ministack.app import main as serve  # noqa: PLC0415

    code: Any = 1
    try:
        serve()
        code = 0
    except SystemExit as ended:
        code = ended.code
    except BaseException:  # noqa: BLE001 - whatever it was, it is printed and the process ends with 1
        traceback.print_exc()
    _end(code if isinstance(code, int) else int(code is not None))


def patch_server() -> None:
    """Put the patches in place that only the server needs."""
    from ministack import app  # noqa: PLC0415
    from ministack.core.responses import set_request_account_id, set_request_region  # noqa: PLC0415
    from ministack.services import cloudformation, dynamodb  # noqa: PLC0415
    from ministack.services.cloudformation import drift  # noqa: PLC0415

    def within(account: str, region: str) -> None:
        set_request_account_id(account)
        set_request_region(region)

    dynamodb_patches.patch(dynamodb)
    cut_stacks.patch(app, cloudformation, drift, within)


def _saver(root: Path, port: int) -> saved_state.Saver:
    from ministack import app  # noqa: PLC0415
    from ministack.core import persistence  # noqa: PLC0415
    from ministack.services import dynamodb, stepfunctions  # noqa: PLC0415

    def running() -> bool:
        return any(each.get("status") == "RUNNING" for each in list(stepfunctions._executions.all_values()))  # noqa: SLF001

    services = app._build_persistence_save_dict  # noqa: SLF001
    return saved_state.Saver(root, port, services, persistence.save_all, running, (dynamodb._lock,))  # noqa: SLF001


def _patch_serving(saver: saved_state.Saver) -> None:
    """Save while it serves; SIGTERM saves and end, whoever still waits for an answer.

    No write is answered after the last saving began: answers are sent by the loop, which the saving keeps busy. When
    it cannot be saved, it goes on serving: what it holds would be lost.
    """
    import hypercorn.asyncio  # noqa: PLC0415
    from ministack.services import cloudwatch_logs, stepfunctions  # noqa: PLC0415

    serve = hypercorn.asyncio.serve

    async def serving(app: Any, config: Any) -> None:
        told = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, told.set)

        async def until_told() -> None:
            while True:
                await told.wait()
                told.clear()
                if saver.save():
                    _end(0)

        saver.start()
        forgetting = asyncio.create_task(history.go_on(stepfunctions, cloudwatch_logs))
        try:
            await serve(saver.watching(app), config, shutdown_trigger=until_told)
        finally:
            forgetting.cancel()

    hypercorn.asyncio.serve = serving  # type: ignore[assignment]


def _end(code: int) -> None:
    end_functions()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
