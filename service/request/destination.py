"""Where the results of a batch go: the one place that decides it, and that says what stands in the way."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from service.errors import BatchRefused, Problem
from service.models import results_key
from service.permissions import check_output
from service.request.columns import SUFFIXES, check_format, keys_written, renamed

if TYPE_CHECKING:
    from service.record import BatchRecord
    from service.settings import Settings
    from service.store.batches import Records


class Place(NamedTuple):
    """An object in S3."""

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        """The same as s3://bucket/key."""
        return f"s3://{self.bucket}/{self.key}"


def own_place(settings: Settings, batch_id: str, suffix: str) -> Place:
    """Return where a batch's results go when nobody says otherwise; `suffix` is that of their format."""
    return Place(settings.data_bucket, results_key(batch_id, suffix))


def decide(  # noqa: PLR0913 - what is said, by whom
    settings: Settings,
    batch_id: str,
    form: str,
    *,
    bucket: str | None = None,
    key: str | None = None,
    record: BatchRecord | None = None,
) -> Place:
    """Return what is said, else where the batch's last results went, under a name of this format, else its own place.

    `form`: csv, jsonl or parquet. `bucket`, `key`: what is said, each None where nothing is.
    """
    if record is not None and record.output_key:
        return Place(bucket or record.output_bucket, key or renamed(record.output_key, form))
    own = own_place(settings, batch_id, SUFFIXES[form])
    return Place(bucket or own.bucket, key or own.key)


def check(settings: Settings, place: Place, form: str, source: tuple[str, str] | None, *, layer: bool = False) -> None:
    """Refuse a place that the results may not be written to, or a format that cannot be written there.

    `source`: bucket and key of the batch's source. `layer`: whether a layer brings pyarrow to the function that writes.
    Raises BatchRefused with every problem.
    """
    problems: list[Problem] = []
    try:
        check_format(form, place.key, layer=layer)
    except BatchRefused as refused:
        problems += refused.problems
    try:
        for written in keys_written(place.key, form):
            check_output(settings, place.bucket, written)
    except BatchRefused as refused:
        problems += refused.problems
    if place == source:
        message = f"{place.uri} is the batch's source, which the results would replace: give another key"
        problems.append(Problem("output_key", message))
    if problems:
        raise BatchRefused(problems)


def check_free(records: Records, place: Place, batch_id: str) -> None:
    """Refuse an object that another open batch will write: whichever ended last would replace the other's results."""
    _refuse_writer(place, records.writer_of(place.uri, batch_id))


def claim(records: Records, place: Place, batch_id: str, ttl: int | None) -> None:
    """Note that a batch writes to an object, for every batch that asks later; refuse as `check_free`."""
    _refuse_writer(place, records.claim_output(place.uri, batch_id, ttl))


def _refuse_writer(place: Place, writer: str | None) -> None:
    if writer is not None:
        message = f"{place.uri} is where batch {writer}, which is not over, writes: give another key"
        raise BatchRefused([Problem("output_key", message)])
