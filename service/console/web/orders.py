"""What was ordered from the web view and goes on after the answer: a run of rows again, the CSV again.

The order of a run is known until the batch's record has claimed it: from then on the record tells how it goes. A CSV is
made by the aggregator in a call that takes as long as it takes, so a thread waits for it.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from service.batch.progress import check_ready
from service.console import runs
from service.errors import BatchProcessorError, BatchRefused, Problem
from service.models import now_iso
from service.request import destination

if TYPE_CHECKING:
    from service.console.stacks import Stack
    from service.record import BatchRecord

RUN, CSV = "run", "csv"
GOING, DONE, FAILED = "going", "done", "failed"


@dataclass
class Order:
    """One order and how far it is; `problem` says why it came to nothing."""

    kind: str
    begun_at: str
    state: str = GOING
    problem: str = ""
    ended_at: str | None = None
    execution_arn: str | None = None

    def end(self, problem: str = "") -> None:
        """Note that it came to its end."""
        self.problem, self.ended_at = problem, now_iso()
        self.state = FAILED if problem else DONE


class Orders:
    """The last order of each batch."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._lock = threading.Lock()  # of the orders
        self._aggregating = threading.Lock()  # a session makes one client at a time
        self._by_batch: dict[str, Order] = {}

    def going(self) -> list[str]:
        """Batches whose CSV is being made."""
        return [batch for batch, order in self._by_batch.items() if (order.kind, order.state) == (CSV, GOING)]

    def of(self, record: BatchRecord) -> Order | None:
        """Return what was ordered for a batch and is not told by its record.

        An order that failed stays until the next.
        """
        order = self._by_batch.get(record.batch_id)
        if order is None or order.kind == CSV or order.state != GOING:
            return order
        if record.execution_arn == order.execution_arn:
            order.end()
            return order
        execution = self._stack.app.stepfunctions.describe_execution(executionArn=order.execution_arn)
        if execution["status"] != "RUNNING":
            self._end_run(record, order, execution)
        return order

    def _end_run(self, record: BatchRecord, order: Order, execution: dict[str, str]) -> None:
        """End the order of a run whose execution ended and whose record, as it was read, knows nothing of it."""
        if self._stack.app.records.get(record.batch_id).execution_arn == order.execution_arn:
            order.end()
            return
        try:
            runs.ended(self._stack, record.batch_id, execution)
        except BatchProcessorError as error:
            order.end(str(error))
        else:
            order.end("the execution ended without running a row")

    def run_again(self, record: BatchRecord) -> None:
        """Start a run of the rows that did not succeed; raise BatchRefused, BatchRunning, BatchExpired."""
        with self._lock:
            self._check_free(record)
            which = {"batch_id": record.batch_id, "status": None, "rows": None, "stored_input": False}
            arn = runs.start_rerun(self._stack, {"rerun_of": which})
            self._by_batch[record.batch_id] = Order(RUN, now_iso(), execution_arn=arn)

    def make_csv(self, record: BatchRecord) -> None:
        """Begins to make the CSV again; raises BatchRefused, BatchRunning, BatchExpired."""
        with self._lock:
            self._check_free(record)
            order = self._by_batch[record.batch_id] = Order(CSV, now_iso())
        location = destination.decide(self._stack.app.settings, record.batch_id, record.csv_format, record=record)
        threading.Thread(target=self._aggregate, args=(record.batch_id, location, order), daemon=True).start()

    def _check_free(self, record: BatchRecord) -> None:
        check_ready(record, own=False)
        order = self.of(record)
        if order is not None and order.state == GOING:
            raise BatchRefused([Problem("", f"something is under way for batch {record.batch_id}: wait for its end")])

    def _aggregate(self, batch_id: str, location: tuple[str, str], order: Order) -> None:
        with self._aggregating:
            try:
                runs.aggregate(self._stack, batch_id, location, {})
            except (BatchProcessorError, BotoCoreError, ClientError) as error:
                order.end(str(error))
            except BaseException:
                order.end("it broke off: the terminal of the web view has more")
                raise
            else:
                order.end()
