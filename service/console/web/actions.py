"""What the web view changes: a batch stopped, rows run again, the CSV made again; and the download of results."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError
from flask import Response, abort, redirect, request, url_for

from service.batch import closing
from service.export import multi_file
from service.models import split_s3_uri
from service.request.columns import file_name, suffix_of
from service.s3 import bodies
from service.s3.objects import UNREADABLE

if TYPE_CHECKING:
    from werkzeug.wrappers import Response as AnyResponse

    from service.console.stacks import Stack
    from service.console.web.orders import Orders
    from service.record import BatchRecord


@dataclass(frozen=True)
class Actions:
    """What is done; every one of them leads back to the batch's page."""

    stack: Stack
    orders: Orders

    def stop(self) -> AnyResponse:
        """Begins no further row of the batch."""
        closing.stop(self.stack.app, self._record().batch_id)
        return self._back()

    def run_again(self) -> AnyResponse:
        """Start a run of the rows that did not succeed."""
        self.orders.run_again(closing.refreshed(self.stack.app, self._record()))
        return self._back()

    def make_csv(self) -> AnyResponse:
        """Begins to make the CSV again."""
        self.orders.make_csv(closing.refreshed(self.stack.app, self._record()))
        return self._back()

    def download(self) -> Response:
        """Return the batch's results as they are in S3, piece by piece; `file` is the number of one of several."""
        record = self._record()
        place = split_s3_uri(record.csv_location or "")
        if place is None:
            abort(404, f"no CSV of batch {record.batch_id} was made yet")
        keys = multi_file.keys_of(self.stack.app.s3, *place)
        number = request.args.get("file", 1, type=int)
        if not 1 <= number <= len(keys):
            abort(404, f"the results of batch {record.batch_id} have {len(keys)} files")
        try:
            size, blocks = bodies.opened(self.stack.app.s3, place[0], keys[number - 1])
        except ClientError as error:
            if error.response["Error"]["Code"] not in UNREADABLE:
                raise
            abort(404, f"{record.csv_location} cannot be read: it is not there any more, or not for you")
        answer = Response(blocks, mimetype="application/octet-stream")
        answer.content_length = size
        name = file_name(f"{record.batch_id.replace('#', '-')}-results{suffix_of(place[1])}", number)
        answer.headers.set("Content-Disposition", "attachment", filename=_plain(name))
        return answer

    def _record(self) -> BatchRecord:
        return self.stack.app.records.get(request.values.get("id", ""))

    def _back(self) -> AnyResponse:
        return redirect(url_for("batch", id=request.values["id"]), 303)


def _plain(name: str) -> str:
    """Return a name that any file system takes."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "-_.") else "-" for one in name)
