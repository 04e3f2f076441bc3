"""The pages of the web view: batches, one batch, its rows that did not succeed, one row, what a rerun would run."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from flask import abort, render_template, request

from service.batch import closing
from service.batch.progress import BatchExpired, expired
from service.batch.stopping import cost_of
from service.console import batch_status
from service.console.page_tokens import Page, from_token, to_token
from service.console.web import labels, one_row
from service.console.web.orders import GOING
from service.export import multi_file
from service.models import FAILURES, OPEN, BatchStatus, Position, RowStatus, now_iso, row_id, row_number, split_s3_uri

if TYPE_CHECKING:
    from service.console.stacks import Stack
    from service.console.web.orders import Orders
    from service.record import BatchRecord

PAGE = 50  # batches, or rows, of a page


@dataclass(frozen=True)
class Pages:
    """What is read; `stack_name` is that of a stack on AWS, as the commands shown name it."""

    stack: Stack
    orders: Orders
    stack_name: str | None

    def batches(self) -> str:
        """Return the newest batches, or those prepared before the one that `before` and `after` name.

        Its time and id.
        """
        found = self._newest(request.args.get("before"), request.args.get("after"))
        records = list(islice(found, PAGE + 1))
        last = records[PAGE - 1] if len(records) > PAGE else None
        return render_template(
            "batches.html",
            batches=[labels.listed(batch_status.listed(record)) for record in records[:PAGE]],
            following={"before": last.prepared_at, "after": last.batch_id} if last is not None else None,
            is_first="before" not in request.args,
        )

    def _newest(self, prepared_at: str | None, batch_id: str | None) -> Any:
        after = (prepared_at, batch_id) if prepared_at and batch_id else None
        return self.stack.app.records.newest(limit=PAGE + 1, after=after)

    def batch(self) -> str:
        """One batch as it is now; the page asks for itself again while something is under way."""
        record = self._record()
        known, now = batch_status.status_of(self.stack, record), now_iso()
        record = self.stack.app.records.get(record.batch_id)
        order = self.orders.of(record)
        shown = labels.view(known, now)
        status, going = known["status"], order is not None and order.state == GOING
        over = status not in (*OPEN, BatchStatus.EXPIRED) and not going
        return render_template(
            "batch.html",
            batch=shown,
            runs=labels.runs(shown, record.stop_reason, now),
            order=order,
            going=going,
            revision=" ".join(map(str, (status, record.run, order and order.begun_at, order and order.state))),
            can_stop=status in (BatchStatus.PREPARING, BatchStatus.RUNNING),
            can_rerun=over and bool(shown["row_count"]) and shown["row_count"] != shown["counts"]["SUCCESS"],
            can_csv=over and shown["row_count"] is not None,
            files=self._files(record) if record.csv_location and not shown["is_open"] else 0,
            commands=labels.commands(shown, self.stack_name),
        )

    def _files(self, record: BatchRecord) -> int:
        """How many objects the results are: only Parquet may be several."""
        place = split_s3_uri(str(record.csv_location))
        if place is None or not place[1].lower().endswith(".parquet"):
            return 1
        return len(multi_file.keys_of(self.stack.app.s3, *place))

    def failed(self) -> str:
        """Rows that did not succeed, by status and in row order, from the page token on."""
        record = self._kept()
        status, error = request.args.get("status") or None, request.args.get("error") or None
        asked = {"command": "failed", "batch": record.batch_id, "--status": status, "--error": error}
        asked["--stack"] = self.stack_name
        question = {key: value for key, value in asked.items() if value is not None}
        token = request.args.get("page")
        page = from_token(token, question) if token else Page(question, None, None)
        rows = self.stack.app.queries.failed(record.batch_id, status, error, after=page.after, at_most=PAGE + 1)
        some = list(islice(rows, PAGE + 1))
        counts = None if record.status in OPEN else record.counts
        known = {group["error"] for group in record.errors if group["count"]}
        return render_template(
            "failed.html",
            batch_id=record.batch_id,
            rows=[labels.failure(row) for row in some[:PAGE]],
            following=to_token(page, Position.of(some[PAGE - 1])) if len(some) > PAGE else None,
            is_first=not token,
            status=status,
            error=error,
            statuses={each.value: None if counts is None else counts.get(each, 0) for each in FAILURES},
            errors=sorted(known - set(RowStatus)),
            without={each.value: (counts or {}).get(each, 0) for each in (RowStatus.NOT_RUN, RowStatus.MISSING)},
        )

    def row(self) -> str:
        """One row, by its number or its id: input, fields, error, the target's output."""
        record = self._kept()
        given = request.args.get("row", "").replace(",", "").strip()
        is_number = given.isascii() and given.isdigit()
        number, total = int(given[:11]) if is_number else None, record.rows
        identifier = row_id(number) if number is not None else given
        item = one_row.stored(self.stack.app, record.batch_id, identifier) if identifier else None
        if item is None and not (number and number <= total):
            abort(404, f"batch {record.batch_id} has no row {given!r}: it has {labels.rows(total)}")
        row = one_row.plain(item or {"row_id": {"S": identifier}})
        return render_template(
            "row.html",
            batch_id=record.batch_id,
            row=row,
            name=labels.label(row["row_id"]),
            number=number or row_number(row["row_id"]),
            total=total,
            stored=item is not None,
            is_open=record.status in OPEN,
            output=one_row.output_of(self.stack.app, item) if item is not None else None,
        )

    def rerun(self) -> str:
        """How many rows a rerun would run and what it costs; the button that starts it."""
        from service.batch import rerun  # noqa: PLC0415 - brings pydantic

        record = closing.refreshed(self.stack.app, self._record())
        plan, selection = rerun.preview(self.stack.app, record, {})
        chunks = max(1, -(-selection.count // 100))
        cost = cost_of(plan, {"SUCCESS": selection.count}, chunks).total_usd if selection.count else 0.0
        return render_template("rerun.html", batch_id=record.batch_id, selection=selection, cost=cost)

    def _kept(self) -> BatchRecord:
        """Return the record of a batch whose results are not past their time; raises BatchExpired."""
        record = self._record()
        if expired(record):
            last = record.csv_location or "none was made"
            raise BatchExpired(f"the results of batch {record.batch_id} have expired; its last CSV: {last}")
        return record

    def _record(self) -> BatchRecord:
        return self.stack.app.records.get(request.values.get("id", ""))
