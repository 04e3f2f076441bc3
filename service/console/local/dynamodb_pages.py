"""Pages of the embedded DynamoDB: a page of a Query costs about a page, however large the partition is.

ministack sorts the whole partition and compares each of its items for every page, so that reading a batch took time
with the square of its rows. Here the keys of a partition that is read are kept in order, and ministack's own `_query`
is given a table of only those items that its page can hold: what it answers is its own. A request whose condition, key
types or start key are not of the plain kind is answered from the whole, as before.
"""

from __future__ import annotations

import types
from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Key = tuple[str, ...]
    Tokens = Sequence[tuple[str, str]]

_ORDERS = "(orders)"  # beside the indexes' names, which have no parentheses; ministack drops it with them
_KEPT = 64  # partitions in order, of each table
_COMPARISONS = {"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">="}
_LAST = "\U0010ffff"
Bounds = tuple[str, str | None]  # the first text, and the first one behind the last


def bounds(tokens: Tokens, names: Any, values: Any, hash_name: str, range_name: str | None) -> Bounds | None:
    """Return which texts of the sort key a key condition is met by; None when it is not of the plain kind.

    Plain is `hash = :value`, alone or with one comparison, BETWEEN or begins_with of the sort key, all of texts.
    """
    words = [token for token in tokens if token[0] != "EOF"]
    if len(words) > 1 and words[0][0] == "LPAREN" and words[-1][0] == "RPAREN":
        words = words[1:-1]
    met: dict[str, Bounds] = {}
    while words:
        clause = _clause(words, names, values)
        if clause is None:
            return None
        name, length, span, plain = clause
        if name in met or name not in (hash_name, range_name) or (name == hash_name and not plain):
            return None
        met[name] = span
        words = words[length:]
        if words and (len(words) == 1 or not _is(words[0], "AND")):
            return None
        words = words[1:]
    return met.get(range_name or "", ("", None)) if hash_name in met else None


def _clause(words: Tokens, names: Any, values: Any) -> tuple[str, int, Bounds, bool] | None:
    """Return the first clause: its attribute, how many tokens it has, its bounds and whether it is an equality."""
    kinds = [kind for kind, _ in words[:6]]
    text = [text for _, text in words[:6]]
    if kinds == ["IDENT", "LPAREN", *kinds[2:3], "COMMA", "VALUE_REF", "RPAREN"] and text[0] == "begins_with":
        name, start = _name(words[2], names), _text(text[4], values)
        return None if name is None or start is None else (name, 6, (start, _behind_all(start)), False)
    name = _name(words[0], names)
    if name is None:
        return None
    if kinds[2:5] == ["VALUE_REF", "IDENT", "VALUE_REF"] and _is(words[1], "BETWEEN") and _is(words[3], "AND"):
        first, last = _text(text[2], values), _text(text[4], values)
        return None if first is None or last is None else (name, 5, (first, last + "\0"), False)
    if kinds[1:3] == [*kinds[1:2], "VALUE_REF"] and kinds[1] in _COMPARISONS:
        value = _text(text[2], values)
        return None if value is None else (name, 3, _compared(_COMPARISONS[kinds[1]], value), kinds[1] == "EQ")
    return None


def _is(word: tuple[str, str], keyword: str) -> bool:
    return word[0] == "IDENT" and word[1].upper() == keyword


def _name(word: tuple[str, str], names: Any) -> str | None:
    given = names.get(word[1]) if word[0] == "NAME_REF" else word[1] if word[0] == "IDENT" else None
    return given if isinstance(given, str) else None


def _text(reference: str, values: Any) -> str | None:
    """Return the text of a value; an empty one is refused by ministack itself."""
    found = texts((reference,), values)
    return found[0] if found else None


def texts(names: Iterable[str], attributes: Any) -> Key:
    """Return the texts of attributes; nothing when one is missing or is of another type."""
    found = []
    for name in names:
        value = attributes.get(name)
        if not isinstance(value, dict) or len(value) != 1 or not isinstance(value.get("S"), str) or not value["S"]:
            return ()
        found.append(value["S"])
    return tuple(found)


def _compared(comparison: str, value: str) -> Bounds:
    """Return the bounds of a comparison: the text with a zero more is the next one."""
    if comparison == "=":
        return value, value + "\0"
    if comparison.startswith("<"):
        return "", value + "\0" if comparison == "<=" else value
    return (value if comparison == ">=" else value + "\0"), None


def _behind_all(start: str) -> str | None:
    """Return the first text behind all that begin with this one."""
    start = start.rstrip(_LAST)
    return start[:-1] + chr(ord(start[-1]) + 1) if start else None


class Pages:
    """Answers queries of ministack's DynamoDB; `dynamodb` is that module."""

    def __init__(self, dynamodb: Any) -> None:
        self._db = dynamodb
        self._whole = dynamodb._query  # noqa: SLF001
        self._index_item = dynamodb._index_item  # noqa: SLF001
        self._members = dynamodb._INDEX_MEMBERS  # noqa: SLF001

    def query(self, data: dict[str, Any]) -> Any:
        """Answer as ministack's `_query`."""
        page = self._page(data)
        if page is None:
            return self._whole(data)
        name = self._db._normalize_table_name(data["TableName"])  # noqa: SLF001
        own = {**vars(self._db), "_tables": {name: page}}
        return types.FunctionType(self._whole.__code__, own)(data)

    def index_item(self, table: Any, base_pk: Any, base_sk: Any, item: Any, add: bool) -> None:  # noqa: FBT001 - as its caller's
        """Keep the orders as ministack's `_index_item` keeps the indexes: it is called for all that is written."""
        self._index_item(table, base_pk, base_sk, item, add)
        orders = (table.get(self._members) or {}).get(_ORDERS)
        if not orders:
            return
        keys = ((None, [table["pk_name"]], [table["sk_name"]]), *self._db._index_key_schemas(table))  # noqa: SLF001
        for index, hashes, ranges in keys:
            found = (index, self._db._index_partition(item, hashes, ranges))  # noqa: SLF001
            if found in orders:
                _move(orders, found, texts(_order(table, ranges), item), add=add)

    def _page(self, data: dict[str, Any]) -> dict[str, Any] | None:
        """Return the table with the items of this page alone; None when the request is not of the plain kind."""
        name, condition, limit = data.get("TableName"), data.get("KeyConditionExpression"), data.get("Limit")
        plain = isinstance(name, str) and isinstance(condition, str) and not data.get("KeyConditions")
        if not plain or not (limit is None or (type(limit) is int and limit > 0)):
            return None
        table = self._db._tables.get(self._db._normalize_table_name(name))  # noqa: SLF001
        if not table or not table.get("sk_name"):
            return None
        hash_name, range_name, order = self._keys(table, data.get("IndexName"))
        if hash_name is None:
            return None
        names, values = data.get("ExpressionAttributeNames") or {}, data.get("ExpressionAttributeValues") or {}
        if not isinstance(names, dict) or not isinstance(values, dict):
            return None
        tokens = self._db._tokenize(condition)  # noqa: SLF001
        span = bounds(tokens, names, values, hash_name, range_name)
        if span is None:
            return None
        partition = self._db._extract_pk_from_condition(condition, values, names, hash_name)  # noqa: SLF001
        return self._cut(table, data, (hash_name, partition), order, span)

    def _keys(self, table: Any, index_name: Any) -> tuple[str | None, str | None, list[str]]:
        """Return the hash key, the sort key and what orders a partition; no hash key when a key is not a text."""
        hash_name, range_name = table["pk_name"], table["sk_name"]
        if index_name:
            index = self._db._index_def(table, index_name)  # noqa: SLF001
            hashes, ranges = self._db._index_key_lists(index or {})  # noqa: SLF001
            if len(hashes) != 1 or len(ranges) > 1:
                return None, None, []
            hash_name, range_name = hashes[0], ranges[0] if ranges else None
        order = _order(table, [range_name] if range_name else [])
        if any(self._db._get_attr_type(table, name) != "S" for name in (hash_name, *order)):  # noqa: SLF001
            return None, None, []
        return hash_name, range_name, order

    def _cut(
        self, table: Any, data: dict[str, Any], of: tuple[str, Any], order: list[str], span: Bounds
    ) -> dict[str, Any] | None:
        """Return the table with what this page holds of a partition, `of` its hash key and value."""
        index, forward = data.get("IndexName") or None, bool(data.get("ScanIndexForward", True))
        keys = self._ordered(table, index, of[1], order)
        first = bisect_left(keys, (span[0],))
        end = len(keys) if span[1] is None else bisect_left(keys, (span[1],))
        start = data.get("ExclusiveStartKey")
        if start:
            cursor = texts(order, start) if isinstance(start, dict) else ()
            within = cursor and span[0] <= cursor[0] and (span[1] is None or cursor[0] < span[1])
            if not within or texts((of[0],), start) != (of[1],):
                return None  # ministack says why it refuses it
            first, end = (bisect_right(keys, cursor), end) if forward else (first, bisect_left(keys, cursor))
        places = range(first, end) if forward else range(end - 1, first - 1, -1)
        held = self._held(table, (keys[at] for at in places), order, index, data.get("Limit"))
        if held is None:
            table[self._members].pop(_ORDERS)
            return None
        items: dict[Any, dict[Any, Any]] = {}
        for base, item in held.items():
            items.setdefault(base[0], {})[base[1]] = item
        members = {index: {of[1]: dict.fromkeys(held)}} if index else {}
        return {**table, "items": items, self._members: members}

    def _held(
        self, table: Any, keys: Iterable[Key], order: list[str], index: str | None, limit: int | None
    ) -> dict[tuple[Any, Any], Any] | None:
        """Return the items of a page by their keys: up to its limit, or to the one that is too much for 1 MB."""
        size, held = 0, {}
        pk, sk = order.index(table["pk_name"]), order.index(table["sk_name"])
        for key in keys:
            item = table["items"].get(key[pk], {}).get(key[sk]) if key else None
            if item is None or texts(order, item) != key:
                return None
            held[key[pk], key[sk]] = item
            size += self._db._item_size_bytes(self._db._apply_index_projection(item, table, index))  # noqa: SLF001
            if size >= self._db._DDB_PAGE_SIZE_BYTES or len(held) == limit:  # noqa: SLF001
                break
        return held

    def _ordered(self, table: Any, index: str | None, partition: Any, order: list[str]) -> list[Key]:
        """Return the keys of a partition in order; they are gathered when it is read first, or no longer fits."""
        members = self._db._index_members(table)  # noqa: SLF001
        orders = members.setdefault(_ORDERS, {})
        there = members[index].get(partition, {}) if index else table["items"].get(partition, {})
        known: list[Key] | None = orders.get((index, partition))
        if known is None or len(known) != len(there):
            items = (table["items"][pk][sk] for pk, sk in there) if index else there.values()
            known = sorted(texts(order, item) for item in items)
            while len(orders) >= _KEPT:
                del orders[next(iter(orders))]
            orders[index, partition] = known
        return known


def _order(table: Any, ranges: list[str]) -> list[str]:
    """Return what orders a partition, as ministack's `_index_order_keys`: its sort key, then the table's own keys."""
    return list(dict.fromkeys((*ranges, table["pk_name"], table["sk_name"])))


def _move(orders: dict[Any, list[Key]], found: Any, key: Key, *, add: bool) -> None:
    """Put a key into an order, or take it out; one that does not fit is gathered anew when it is read."""
    keys = orders[found]
    at = bisect_left(keys, key)
    there = at < len(keys) and keys[at] == key
    if add == there:
        del orders[found]
    elif add:
        keys.insert(at, key)
    else:
        del keys[at]
