"""Batch records: one per batch, found by id or by time, with the counts of its finished chunks."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, PutError, UpdateError

from service.errors import BatchProcessorError, NotFound
from service.models import OPEN, BatchStatus
from service.record import RECORD_FIELDS, BatchRecord, ChunkRecord
from service.store.tables import BatchItem

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pynamodb.expressions.condition import Condition

LISTING = "batch"
_RECORD = "batch"
_OUTPUT = "output"
_TRIES = 5  # of a claim that others make at the same moment


class BatchTaken(BatchProcessorError):
    """Another execution has a batch of this id already."""


class Records:
    """Reads and conditional updates of batch records."""

    def create(self, record: BatchRecord) -> BatchRecord:
        """Write a new record; that of the same execution (a retried function) is opened again and returned.

        What was set in it meanwhile stays, a stop by hand above all. Raises BatchTaken when another execution wrote it.
        """
        try:
            _item(record).save(condition=BatchItem.item.does_not_exist())
        except PutError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise
            # Step Functions frees a name 90 days after its execution has ended: the same ARN may be another execution.
            began = BatchItem.started_at
            same_start = began.does_not_exist() if record.started_at is None else began == record.started_at
            mine = (BatchItem.execution_arn == record.execution_arn) & same_start
            if not self.update(record.batch_id, mine, status=record.status, error=None, ended_at=None):
                message = f"there is a batch {record.batch_id} already: start the execution with another name"
                raise BatchTaken(message) from error
            return self.get(record.batch_id)
        return record

    def get(self, batch_id: str) -> BatchRecord:
        """Return the record; raises NotFound."""
        try:
            return _record(BatchItem.get(batch_id, _RECORD, consistent_read=True))
        except DoesNotExist:
            raise NotFound(f"there is no batch {batch_id!r} here: `batches` lists those there are") from None

    def find(self, batch_id: str) -> BatchRecord | None:
        """Return the record, or None of a batch without one (plain events only)."""
        try:
            return self.get(batch_id)
        except NotFound:
            return None

    def newest(self, limit: int | None = None, after: tuple[str, str] | None = None) -> Iterator[BatchRecord]:
        """Yield records, the last prepared first; with `after`, those that follow this prepared_at and batch_id."""
        key = None
        if after is not None:
            values = {"listing": LISTING, "prepared_at": after[0], "batch_id": after[1], "item": _RECORD}
            key = {name: {"S": value} for name, value in values.items()}
        found = BatchItem.listing_index.query(LISTING, scan_index_forward=False, limit=limit, last_evaluated_key=key)
        yield from map(_record, found)

    def update(self, batch_id: str, condition: Condition | None = None, **values: Any) -> bool:
        """Set attributes of the record; False when the condition does not hold."""
        actions = [getattr(BatchItem, name).set(value) for name, value in values.items() if value is not None]
        actions += [getattr(BatchItem, name).remove() for name, value in values.items() if value is None]
        exists = BatchItem.item.exists()
        try:
            BatchItem(batch_id, _RECORD).update(
                actions=actions, condition=exists if condition is None else exists & condition
            )
        except UpdateError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise
            return False
        return True

    def update_open(self, batch_id: str, execution_arn: str | None = None, **values: Any) -> bool:
        """Set attributes unless the batch has ended; False when it has.

        With an `execution_arn`, only if that execution is the one that runs it: a batch that was run again since then
        is another's.
        """
        condition = BatchItem.status.is_in(*[status.value for status in OPEN])
        if execution_arn is not None:
            condition &= BatchItem.execution_arn == execution_arn
        return self.update(batch_id, condition, **values)

    def update_ended(self, batch_id: str, in_run: int, of_plan: str, **values: Any) -> bool:
        """Set attributes of an ended batch; False when it was opened again, or has another run or plan by now."""
        over = BatchItem.status.is_in(*[status.value for status in BatchStatus if status not in OPEN])
        same = (BatchItem.run == in_run) & (BatchItem.plan_hash == of_plan)
        return self.update(batch_id, over & same, **values)

    def stop(self, batch_id: str, reason: str) -> bool:
        """Note that no further row is to be begun; False of a batch that has none to begin any more."""
        runs_rows = BatchItem.status.is_in(*[status.value for status in OPEN if status != BatchStatus.AGGREGATING])
        if not self.update(batch_id, runs_rows, stop=True, stop_reason=reason):
            return False
        self.update(batch_id, BatchItem.status == BatchStatus.RUNNING.value, status=BatchStatus.STOPPING.value)
        return True

    def give_reason(self, batch_id: str, execution_arn: str, reason: str) -> bool:
        """Note why not every row is run, unless a reason is noted already."""
        mine = BatchItem.execution_arn == execution_arn
        return self.update(batch_id, mine & BatchItem.stop_reason.does_not_exist(), stop_reason=reason)

    def keep_stopped(self, batch_id: str, execution_arn: str) -> bool:
        """Say STOPPING of a run that was stopped while it was prepared, unless it has ended; whether it was so."""
        mine = (BatchItem.execution_arn == execution_arn) & (BatchItem.status == BatchStatus.RUNNING.value)
        stopped = BatchItem.stop == True  # noqa: E712 - a condition
        return self.update(batch_id, mine & stopped, status=BatchStatus.STOPPING.value)

    def writer_of(self, uri: str, own: str) -> str | None:
        """Return the open batch that is to write to an object, None when it is `own` or there is none."""
        try:
            holder = BatchItem.get(uri, _OUTPUT, consistent_read=True).holder
        except DoesNotExist:
            return None
        return holder if holder != own and self._writes_to(holder, uri) else None

    def _writes_to(self, batch_id: str, uri: str) -> bool:
        """Tell whether a batch writes to an object.

        What it has claimed while it is prepared, what its record says later.
        """
        record = self.find(batch_id)
        if record is None or record.status not in OPEN:
            return False
        known = f"s3://{record.output_bucket}/{record.output_key}"
        return record.status == BatchStatus.PREPARING or known == uri

    def claim_output(self, uri: str, batch_id: str, ttl: int | None) -> str | None:
        """Note that a batch is to write to an object; return the open batch that has noted it before, or None.

        The condition of the write decides between two that claim an object at the same moment.
        """
        there: BatchItem | None = None
        for _ in range(_TRIES):
            free = BatchItem.item.does_not_exist() | (BatchItem.holder == batch_id)
            if there is not None:
                free |= BatchItem.holder == there.holder
            try:
                BatchItem(uri, _OUTPUT, holder=batch_id, ttl=ttl).save(condition=free)
            except PutError as error:
                if error.cause_response_code != "ConditionalCheckFailedException":
                    raise
            else:
                return None
            there = next(BatchItem.query(uri, BatchItem.item == _OUTPUT, consistent_read=True), None)
            if there is not None and self._writes_to(there.holder, uri):
                return str(there.holder)
        return str(there.holder) if there is not None else None

    def chunks(self, batch_id: str, run: int | None = None) -> Iterator[ChunkRecord]:
        """Yield the records of finished chunks, of one run or of all."""
        prefix = "chunk#" if run is None else f"chunk#{run:04d}#"
        yield from map(_chunk, BatchItem.query(batch_id, BatchItem.item.startswith(prefix), consistent_read=True))

    def chunk_counts(self, batch_id: str, run: int) -> Counter[str]:
        """Return the sum of the counts of a run's finished chunks."""
        total: Counter[str] = Counter()
        for chunk in self.chunks(batch_id, run):
            total.update(chunk.counts)
        return total


def of_image(image: Mapping[str, Any]) -> BatchRecord:
    """Return the record that an image of a stream is of, in wire form."""
    return _record(BatchItem.from_raw_data(dict(image)))


def _item(record: BatchRecord) -> BatchItem:
    """Return the item of a new record; what says nothing is left out."""
    bare = BatchRecord(record.batch_id)
    values = {name: getattr(record, name) for name in RECORD_FIELDS}
    said = {
        name: value for name, value in values.items() if name in ("batch_id", "run") or value != getattr(bare, name)
    }
    return BatchItem(item=_RECORD, listing=LISTING, **said)


def _record(item: BatchItem) -> BatchRecord:
    values = {name: getattr(item, name) for name in RECORD_FIELDS}
    if item.error is not None:
        values["error"] = dict(item.error.attribute_values)
    values["slowest"] = [(name, took) for name, took in item.slowest or ()]
    return BatchRecord(**{name: value for name, value in values.items() if value is not None})


def _chunk(item: BatchItem) -> ChunkRecord:
    _, run, number = item.item.split("#")
    lost, counts = item.lost or {}, item.counts or {}
    return ChunkRecord(int(run), int(number), int(item.first_row), int(item.rows), counts, lost, item.ended_at)
