"""One row's result with everything that is stored of it, the target's whole output included."""

from __future__ import annotations

import json
import time
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.console.remap import REMAPPED
from service.console.report.shown_rows import visible
from service.console.web.labels import WHOLE
from service.models import split_s3_uri
from service.s3 import bodies
from service.s3.objects import UNREADABLE
from service.store import attribute_values
from service.store.results import alive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App

_UNPACKED = 4_000_000  # bytes of it that are unpacked
_SHOWN = ("status", "error", "attempts", "run", "execution_time_ms", "timestamp", "method", "input_data", "output_data")
_GZIP = 31  # zlib's `wbits` for a gzip header (zlib manual, inflateInit2)


@dataclass(frozen=True)
class Output:
    """A stored output as text, where it is stored, and what is to be said of it."""

    text: str | None
    place: str = ""
    remark: str = ""


def stored(app: App, batch_id: str, row_id: str) -> dict[str, Any] | None:
    """Return the item of a row in wire form; None when there is none, or it is past its time."""
    key = {"batch_id": {"S": batch_id}, "row_id": {"S": row_id}}
    answer = app.dynamodb.get_item(TableName=app.settings.results_table, Key=key, ConsistentRead=True)
    item: dict[str, Any] | None = answer.get("Item")
    return item if item is not None and alive(item, int(time.time())) else None


def plain(item: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes of an item as JSON values, None of those it has not, without the packed output."""
    return dict.fromkeys(_SHOWN) | {
        name: attribute_values.decode(value) for name, value in item.items() if name != "output"
    }


def output_of(app: App, item: Mapping[str, Any]) -> Output | None:
    """Return the target's whole output, as far as it is stored and can be shown.

    None of a row for which it gave none.
    """
    if "output" in item:
        return _shown(item["output"]["B"], "in the result")
    uri = item.get("output_s3_uri", {}).get("S", "")
    place = split_s3_uri(uri)
    if place is None:
        answered = item["status"]["S"] in REMAPPED
        return Output(None, remark="It is not stored: the batch does not keep outputs.") if answered else None
    try:
        packed = b"".join(bodies.whole(app.s3, *place))
    except ClientError as error:
        if error.response["Error"]["Code"] not in UNREADABLE:
            raise
        return Output(None, uri, f"The target's output was stored at {uri} and cannot be read there any more.")
    return _shown(packed, uri)


def _shown(packed: bytes, place: str) -> Output:
    unpacking = zlib.decompressobj(_GZIP)
    try:
        unpacked = unpacking.decompress(packed, _UNPACKED)
    except zlib.error:
        return Output(None, place, "The stored output is damaged.")
    text = unpacked.decode(errors="replace")
    if unpacking.eof:
        text = _pretty(text)
    cut = not unpacking.eof or len(text) > WHOLE
    return Output(visible(text, WHOLE), place, f"Cut at {WHOLE:,} characters." if cut else "")


def _pretty(text: str) -> str:
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return text
