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
from service.models import split_s3_uri, target_name
from service.steps.agent_execution import execution_arn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.app import App

_LOG = logging.getLogger(__name__)
_FOLDERS_OWN = "batch.json"
SOURCES = ("csv", "tsv")  # kinds of objects that are sources, in lower or upper case
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
        stem, dot, kind = key.rpartition(".")
        if kind.lower() in SOURCES:
            return self._answer([self._of_source(bucket, key)])
        if f"{dot}{kind}" != ".json":
            return self._answer([])
        names = [f"{stem}.{each}" for one in SOURCES for each in (one, one.upper())]
        return self._answer([self._of_source(bucket, name, key) for name in names])

    def _answer(self, started: list[dict[str, Any] | None]) -> dict[str, Any]:
        return {"started": [one for one in started if one is not None]}

    def _of_source(self, bucket: str, key: str, order: str = "", *, wanted: bool = False) -> dict[str, Any] | None:
        """Start the batch of a source by its order; None while one of the two is not there, NotFound when `wanted`."""
        stem, folder = key.rpartition(".")[0] or key, key.rpartition("/")[0]
        shared = f"{folder}/{_FOLDERS_OWN}" if folder else _FOLDERS_OWN
        source_etag = self._etag(bucket, key)
        named = order or next((name for name in (f"{stem}.json", shared) if self._etag(bucket, name)), None)
        if source_etag is None or named is None:
            if wanted:
                what = "no such object" if source_etag is None else f"no order beside it, s3://{bucket}/{stem}.json"
                raise NotFound(f"the schedule's source s3://{bucket}/{key}: there is {what}")
            return None
        given, order_etag = self._order(bucket, named)
        self._check(bucket, given, named, is_shared=named == shared and named != f"{stem}.json")
        name = hashlib.sha256(f"{bucket}/{key} {source_etag} {named} {order_etag}".encode()).hexdigest()
        options = given.get("source")
        source = {**(options if isinstance(options, dict) else {}), "etag": source_etag}
        return self._execution(name, {**given, "csv_s3_uri": f"s3://{bucket}/{key}", "source": source})

    def _etag(self, bucket: str, key: str) -> str | None:
        try:
            etag: str = self.app.s3.head_object(Bucket=bucket, Key=key)["ETag"]
        except ClientError as error:
            if error.response["Error"]["Code"] in _ABSENT:
                return None
            raise
        return etag

    def _order(self, bucket: str, key: str) -> tuple[dict[str, Any], str]:
        """Return an order and its ETag, of one reading."""
        answer = self.app.s3.get_object(Bucket=bucket, Key=key)
        uri, size = f"s3://{bucket}/{key}", answer["ContentLength"]
        if size > _LONGEST_ORDER:
            raise BatchRefused([Problem(uri, f"has {size:,} bytes; an order has at most {_LONGEST_ORDER:,}")])
        try:
            given = json.loads(answer["Body"].read(), parse_constant=_refuse_constant)
        except ValueError as error:
            raise BatchRefused([Problem(uri, f"is no JSON: {error}")]) from error
        if not isinstance(given, dict) or not (target_name(given.get("target")) or given.get("rerun_of")):
            raise BatchRefused([Problem(uri, "must hold the input of a batch: an object with target and mappings")])
        return given, answer["ETag"]

    def _check(self, bucket: str, given: Mapping[str, Any], order: str, *, is_shared: bool) -> None:
        """Refuse results that would land under the inbox, and one place for the results of every source of a folder."""
        key, place = given.get("output_key"), f"s3://{bucket}/{order}: output_key"
        if not isinstance(key, str):
            return
        if is_shared:
            message = f"{key!r} would be the place of every source of the folder: leave it out, each has its own"
            raise BatchRefused([Problem(place, message)])
        own = self.app.settings.data_bucket
        if self.inbox and (given.get("output_bucket") or own) == own and key.startswith(self.inbox):
            message = f"{key!r} is under the inbox {self.inbox!r}, where it would start a batch: use another prefix"
            raise BatchRefused([Problem(place, message)])

    def _execution(self, name: str, given: dict[str, Any]) -> dict[str, Any]:
        """Start an execution of this name; one that ran, or runs, is told as it is."""
        arn = execution_arn(self.machine_arn, name)
        try:
            self.app.stepfunctions.start_execution(
                stateMachineArn=self.machine_arn, name=name, input=json.dumps(given, ensure_ascii=False)
            )
        except self.app.stepfunctions.exceptions.ExecutionAlreadyExists:
            return {"execution_arn": arn, "new": False}
        _LOG.info("started %s", arn)
        return {"execution_arn": arn, "new": True}


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no value of JSON")
