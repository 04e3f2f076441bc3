"""The only place where AWS clients are made; everything else is given what it needs."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from botocore.config import Config

from service.session import Session
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from service.store.batches import Records
    from service.store.governing import Governings
    from service.store.page_reader import PageReader
    from service.store.plans import Plans
    from service.store.registry import Registry
    from service.store.results import ResultStore

# Throttling is met here first; what outlasts it is raised, so that the state machine's Retry takes over.
ATTEMPTS = 9  # requests for one call, the first one too
_READ_SECONDS = 60
_DYNAMODB_SECONDS = 10  # far below a function's own time-out, so that an answer that hangs is asked for again


class App:
    """Clients and stores of one stack, each made when it is first asked for.

    `attempts` is how many requests one call may take, the first one included.
    """

    def __init__(
        self, settings: Settings, session: Any = None, *, endpoint_url: str | None = None, attempts: int = ATTEMPTS
    ) -> None:
        self.settings = settings
        self.session: Any = session or Session()
        self.endpoint_url = endpoint_url
        self.attempts = attempts

    def allowing(self, patterns: Mapping[str, str]) -> App:
        """Return the same app with other lists of what may be called, read and written."""
        allowed = self.settings.allowing(patterns)
        return App(allowed, self.session, endpoint_url=self.endpoint_url, attempts=self.attempts)

    def client(self, service: str, *, read_timeout: int = _READ_SECONDS, attempts: int | None = None) -> Any:
        """Return a client with the product's retries and time-outs (seconds)."""
        config = Config(
            # total_max_attempts counts the first request too; max_attempts would not (botocore.config.Config).
            retries={"mode": "standard", "total_max_attempts": attempts or self.attempts},
            # A NAT gateway forgets a connection that is silent for 350 s; an aggregation answers after up to 900.
            tcp_keepalive=True,
            connect_timeout=5,
            read_timeout=read_timeout,
            # Items come here in wire form, and DynamoDB refuses what is none; PynamoDB makes its own clients so too.
            parameter_validation=service != "dynamodb",
        )
        return self.session.client(service, config=config, endpoint_url=self.endpoint_url)

    @cached_property
    def dynamodb(self) -> Any:
        """Client of DynamoDB."""
        from service.store.put_body import write_bodies  # noqa: PLC0415 - a function loads only what it calls

        dynamodb = self.client("dynamodb", read_timeout=_DYNAMODB_SECONDS)
        write_bodies(dynamodb)
        return dynamodb

    @cached_property
    def s3(self) -> Any:
        """Client of S3."""
        return self.client("s3")

    @cached_property
    def stepfunctions(self) -> Any:
        """Client of Step Functions."""
        return self.client("stepfunctions")

    @cached_property
    def lambda_client(self) -> Any:
        """Client of Lambda."""
        return self.client("lambda")

    @cached_property
    def events(self) -> Any:
        """Client of EventBridge."""
        return self.client("events")

    @cached_property
    def sns(self) -> Any:
        """Client of SNS."""
        return self.client("sns")

    @cached_property
    def store(self) -> ResultStore:
        """Results by row, in order."""
        from service.store.results import ResultStore  # noqa: PLC0415

        return ResultStore(self.dynamodb, self.settings.results_table)

    @cached_property
    def reader(self) -> PageReader:
        """The same results as typed structs, page by page."""
        from service.store.page_reader import PageReader  # noqa: PLC0415

        return PageReader(self.dynamodb, self.settings.results_table)

    @cached_property
    def plans(self) -> Plans:
        """Plans by batch and hash, and the stop flag."""
        from service.store.plans import Plans  # noqa: PLC0415

        return Plans(self.dynamodb, self.settings.batches_table)

    @cached_property
    def governings(self) -> Governings:
        """How far the concurrency of runs follows throttling."""
        from service.store.governing import Governings  # noqa: PLC0415

        return Governings(self.dynamodb, self.settings.batches_table)

    @cached_property
    def records(self) -> Records:
        """Batch records."""
        from service.store.batches import Records  # noqa: PLC0415

        self._bind()
        return Records()

    @cached_property
    def registry(self) -> Registry:
        """Targets by name and version."""
        from service.store.registry import Registry  # noqa: PLC0415

        self._bind()
        return Registry()

    @cached_property
    def queries(self) -> Any:
        """The module of queries by index, its models bound to this stack."""
        from service.store import queries  # noqa: PLC0415

        self._bind()
        return queries

    def _bind(self) -> None:
        from service.store import tables  # noqa: PLC0415

        tables.bind(self.settings, self.dynamodb)


@lru_cache(maxsize=1)
def from_environment() -> App:
    """Return the app of a Lambda function, made once per process."""
    return App(Settings.from_environment(os.environ))
