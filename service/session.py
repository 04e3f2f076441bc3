"""A session for the functions: what they use of boto3's, on botocore alone, since every cold start pays for it."""

from __future__ import annotations

from typing import Any

from botocore.config import Config
from botocore.loaders import Loader
from botocore.session import Session as BotocoreSession


class _Loader(Loader):
    """botocore's loader, which would look into the folders of all services, about 400, before it loads one."""

    def list_available_services(self, type_name: str) -> list[str]:  # noqa: ARG002 - as botocore calls it
        """Return the services that the functions call."""
        return ["dynamodb", "events", "lambda", "s3", "sns", "stepfunctions"]


class Session:
    """Region, credentials and clients of a function, from its environment; boto3 would load resources and S3 transfers.

    The User-Agent is fixed, or botocore puts it together twice for every request (its useragent.py, `to_string`).
    """

    def __init__(self) -> None:
        self._session = BotocoreSession()
        self._session.register_component("data_loader", _Loader())
        self._session.set_default_client_config(Config(user_agent=self._session.user_agent()))

    @property
    def region_name(self) -> str | None:
        """The region of the function."""
        region: str | None = self._session.get_config_variable("region")
        return region

    def get_credentials(self) -> Any:
        """Return the credentials of the function's role, as botocore finds and refreshes them."""
        return self._session.get_credentials()

    def client(self, service: str, **arguments: Any) -> Any:
        """Return a client of a service that the functions call; raises botocore's UnknownServiceError for others."""
        return self._session.create_client(service, **arguments)
