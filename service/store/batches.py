"""Batch records: one per batch, found by id or by time, with the counts of its finished chunks."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

from pynamodb.exceptions import DoesNotExist, PutError, UpdateError

from service.errors import BatchProcessorError, NotFound
from service.models import OPEN, BatchStatus
from service.store.tables import BatchItem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynamodb.expressions.condition import Condition

LISTING = "batch"
_RECORD = "batch"
_OUTPUT = "output"
_TRIES = 5  # of a claim that others make at the same moment


class BatchTaken(BatchProcessorError):
    """Another execution has a batch of this id already."""


class Records:
    """Reads and conditional updates of batch records."""

    def create(self, record: BatchItem) -> BatchItem:
        """Writes a new record; that of the same execution (a retried function) is opened again and returned.

        What was set in it meanwhile stays, a stop by hand above all. Raises BatchTaken when another execution wrote it.
        """
        record.item = _RECORD
        record.listing = LISTING
        try:
            record.save(condition=BatchItem.item.does_not_exist())
        except PutError as error:
            if error.cause_response_code != "ConditionalCheckFailedException":
                raise
            mine = BatchItem.execution_arn == record.execution_arn
            if not self.update(record.batch_id, mine, status=record.status, error=None, ended_at=None):
                message = f"there is a batch {record.batch_id} already: start the execution with another name"
                raise BatchTaken(message) from error
            return self.get(record.batch_id)
        return record

    def get(self, batch_id: str) -> BatchItem:
        """The record; raises NotFound."""
        try:
            return BatchItem.get(batch_id, _RECORD, consistent_read=True)
        except DoesNotExist:
            raise NotFound(f"there is no batch {batch_id!r} here: `batches` lists those there are") from None

    def find(self, batch_id: str) -> BatchItem | None:
        """The record, or None of a batch without one (plain events only)."""
        try:
            return self.get(batch_id)
        except NotFound:
            return None

    def newest(self, limit: int | None = None) -> Iterator[BatchItem]:
        """Records, the last prepared first."""
        yield from BatchItem.listing_index.query(LISTING, scan_index_forward=False, limit=limit)

    def update(self, batch_id: str, condition: Condition | None = None, **values: Any) -> bool:
        """Sets attributes of the record; False when the condition does not hold."""
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
        """Sets attributes of an ended batch; False when it was opened again, or has another run or plan by now."""
        over = BatchItem.status.is_in(*[status.value for status in BatchStatus if status not in OPEN])
        same = (BatchItem.run == in_run) & (BatchItem.plan_hash == of_plan)
        return self.update(batch_id, over & same, **values)

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
        """A batch that is being prepared has taken what it has claimed; later its record says where it writes."""
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

    def chunks(self, batch_id: str, run: int | None = None) -> Iterator[BatchItem]:
        """Records of finished chunks, of one run or of all."""
        prefix = "chunk#" if run is None else f"chunk#{run:04d}#"
        yield from BatchItem.query(batch_id, BatchItem.item.startswith(prefix), consistent_read=True)

    def chunk_counts(self, batch_id: str, run: int) -> Counter[str]:
        """Sum of the counts of a run's finished chunks."""
        total: Counter[str] = Counter()
        for chunk in self.chunks(batch_id, run):
            total.update(chunk.counts or {})
        return total


def document(value: Any) -> Any:
    """A JSON attribute as plain Python values."""
    return json.loads(json.dumps(value))
