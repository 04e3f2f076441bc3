"""The embedded DynamoDB, mended: one request at a time, conditions that are read once, pages that cost a page."""

from __future__ import annotations

import functools
import inspect
import threading
from typing import TYPE_CHECKING, Any

from service.console.local.dynamodb_conditions import Conditions
from service.console.local.dynamodb_pages import Pages

if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECT = ("_put_item", "_get_item", "_delete_item", "_update_item")  # Step Functions calls these from its threads
_USED = {  # what the patches depend on that these functions call
    "_query": {"_tables", "_index_members", "_paginate_evaluated_items", "_apply_exclusive_start_key"},
    "_set_item": {"_index_item"},
    "_remove_item": {"_index_item"},
    "_ttl_reaper": {"_lock", "_remove_item"},
}


def check(dynamodb: Any, fits: Callable[[str, Any, list[str]], None]) -> None:
    """Look at all that is patched or leaned on; `fits` raises for what is not as it was."""
    expected = {
        "handle_request": ["method", "path", "headers", "body", "query_params"],
        **{name: ["data"] for name in (*_DIRECT, "_query")},
        "_set_item": ["table", "pk_val", "sk_val", "item"],
        "_remove_item": ["table", "pk_val", "sk_val"],
        "_items_replaced": ["table"],
        "_index_item": ["table", "base_pk", "base_sk", "item", "add"],
        "_index_members": ["table"],
        "_index_key_schemas": ["table"],
        "_index_partition": ["item", "hashes", "ranges"],
        "_index_order_keys": ["table", "sk_name"],
        "_apply_exclusive_start_key": ["candidates", "esk", "pk_name", "sk_name", "scan_forward", "table"],
        "_paginate_evaluated_items": ["items", "limit", "table", "index_name"],
        "_extract_pk_from_condition": ["condition", "attr_values", "attr_names", "pk_name"],
        "_evaluate_condition": ["expr", "item", "attr_values", "attr_names", "slot"],
        "_ExprEval": ["tokens", "item", "attr_values", "attr_names"],
        "_tokenize": ["expr"],
    }
    for name, parameters in expected.items():
        fits(f"dynamodb.{name}", getattr(dynamodb, name, None), parameters)
    for name, used in _USED.items():
        code = getattr(dynamodb, name).__code__
        if code.co_freevars or not used <= set(code.co_names):
            fits(f"dynamodb.{name}", None, [*code.co_varnames[: code.co_argcount]])
    if not hasattr(dynamodb, "_lock") or "await" in inspect.getsource(dynamodb.handle_request):
        fits("dynamodb._lock", None, [])


def patch(dynamodb: Any) -> None:
    """Put the patches in place, in a process that serves: the import of the module starts a thread."""
    _patch_lock(dynamodb)
    known = Conditions(dynamodb._evaluate_condition, dynamodb._tokenize, dynamodb._ExprEval)  # noqa: SLF001
    dynamodb._evaluate_condition = known.evaluate  # noqa: SLF001
    pages = Pages(dynamodb)
    dynamodb._index_item, dynamodb._query = pages.index_item, pages.query  # noqa: SLF001


def _patch_lock(dynamodb: Any) -> None:
    """Let one request be done after the other; ministack holds its lock only while it removes expired items.

    What is saved is what stands while the lock is held: a transaction is then all there or not at all
    (DynamoDB API, TransactWriteItems: "either all of them succeed or none of them succeeds").
    """
    lock = threading.RLock()  # a handler of some operations takes it again
    handle = dynamodb.handle_request

    @functools.wraps(handle)
    async def one_at_a_time(*given: Any) -> Any:
        with lock:  # it awaits nothing: no other request of the loop can come between
            return await handle(*given)

    def held(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(data: Any) -> Any:
            with lock:
                return function(data)

        return call

    dynamodb._lock, dynamodb.handle_request = lock, one_at_a_time  # noqa: SLF001
    for name in _DIRECT:
        setattr(dynamodb, name, held(getattr(dynamodb, name)))
