"""Batches that start by themselves: a source and the order beside it, each version of the two once.

The order is JSON: a batch's input without csv_s3_uri, as `NAME.json` beside `NAME.csv`, or `batch.json` for each source
in its folder. The name of the execution is a hash of both objects and their ETags, so an event that comes twice, or a
schedule whose source is as it was, starts nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from service.errors import BatchRefused, NotFound, Problem
from service.models import split_s3_uri
from service.s3 import bodies
from service.steps.agent_execution import execution_arn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App

_LOG = logging.getLogger(__name__)
_FOLDERS_OWN = "batch.json"
_NOT_SOURCES = (".json", "/")
_LONGEST_ORDER = 200_000  # bytes: an execution's input has at most 256 KiB
_ABSENT = ("404", "NoSuchKey", "NotFound")


@dataclass(frozen=True)
class Starter:
    """Starts executions of the machine for objects under the inbox (a prefix of the stack's bucket, "" for none)."""

    app: App
    machine_arn: str
    inbox: str = ""

    def start(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Start what the event asks for; return the executions, of which those that were there are not `new`.

        Raises BatchRefused for an order that is none, and NotFound for a schedule's source or order that is not there.
        """
        if "csv_s3_uri" in event:
            place = split_s3_uri(event["csv_s3_uri"])
            if place is None:
                raise BatchRefused(
                    [Problem("csv_s3_uri", f"{event['csv_s3_uri']!r} is not of the form s3://bucket/key")]
                )
            return self._answer([self._of_source(*place, wanted=True)])
        bucket, key = event["detail"]["bucket"]["name"], event["detail"]["object"]["key"]
        if not self.inbox or not key.startswith(self.inbox):
            return self._answer([])
        if not key.endswith(_NOT_SOURCES):
            return self._answer([self._of_source(bucket, key)])
        if key.endswith(".json") and not key.endswith(f"/{_FOLDERS_OWN}"):
            source = f"{key.removesuffix('.json')}.csv"
            return self._answer([self._of_source(bucket, source, key)])
        return self._answer([])  # a folder's order alone: it is for what comes after it

    def _answer(self, started: list[dict[str, Any] | None]) -> dict[str, Any]:
        return {"started": [one for one in started if one is not None]}

    def _of_source(self, bucket: str, key: str, order: str = "", *, wanted: bool = False) -> dict[str, Any] | None:
        """Start the batch of a source by its order; None while one of the two is not there, NotFound when `wanted`."""
        stem, folder = key.rpartition(".")[0] or key, key.rpartition("/")[0]
        own = f"{folder}/{_FOLDERS_OWN}" if folder else _FOLDERS_OWN
        source_etag = self._etag(bucket, key)
        named = order or next((name for name in (f"{stem}.json", own) if self._etag(bucket, name)), None)
        if source_etag is None or named is None:
            if wanted:
                missing = (
                    f"s3://{bucket}/{key}" if source_etag is None else f"an order beside it, s3://{bucket}/{stem}.json"
                )
                raise NotFound(f"the schedule's source s3://{bucket}/{key}: there is no {missing}")
            return None
        given, order_etag = self._order(bucket, named)
        self._check_output(bucket, given, named)
        identity = f"{bucket}/{key} {source_etag} {named} {order_etag}"
        name = hashlib.sha256(identity.encode()).hexdigest()
        return self._execution(name, {**given, "csv_s3_uri": f"s3://{bucket}/{key}"})

    def _etag(self, bucket: str, key: str) -> str | None:
        try:
            etag: str = self.app.s3.head_object(Bucket=bucket, Key=key)["ETag"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return etag

    def _order(self, bucket: str, key: str) -> tuple[dict[str, Any], str]:
        etag = self._etag(bucket, key) or ""
        size, blocks = bodies.opened(self.app.s3, bucket, key)
        uri = f"s3://{bucket}/{key}"
        if size > _LONGEST_ORDER:
            raise BatchRefused([Problem(uri, f"has {size:,} bytes; an order has at most {_LONGEST_ORDER:,}")])
        try:
            given = json.loads(b"".join(blocks))
        except ValueError as error:
            raise BatchRefused([Problem(uri, f"is no JSON: {error}")]) from error
        if not isinstance(given, dict):
            raise BatchRefused([Problem(uri, "must hold the input of a batch: an object with target and mappings")])
        return given, etag

    def _check_output(self, bucket: str, given: Mapping[str, Any], order: str) -> None:
        """Refuse results that would land under the inbox: they would be the next source, without end."""
        to = given.get("output_bucket") or self.app.settings.data_bucket
        key = given.get("output_key")
        if self.inbox and to == bucket and isinstance(key, str) and key.startswith(self.inbox):
            message = f"{key!r} is under the inbox {self.inbox!r}, where it would start a batch: use another prefix"
            raise BatchRefused([Problem(f"s3://{bucket}/{order}: output_key", message)])

    def _execution(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Start an execution of this name; one that ran, or runs, is told as it is."""
        arn = execution_arn(self.machine_arn, name)
        try:
            self.app.stepfunctions.start_execution(stateMachineArn=self.machine_arn, name=name, input=json.dumps(given))
        except self.app.stepfunctions.exceptions.ExecutionAlreadyExists:
            return {"execution_arn": arn, "new": False}
        _LOG.info("started %s", arn)
        return {"execution_arn": arn, "new": True}
