"""One DynamoDB Local for all tests here; each has tables of its own in it, made from the template's definitions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from dynamodb_server import NotInstalled, install, java, running

from service.app import App
from service.session import Session

if TYPE_CHECKING:
    from collections.abc import Iterator

    from service.settings import Settings

REGION = "us-east-1"


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of DynamoDB Local; where it cannot be had the tests are skipped, and in CI they fail."""
    try:
        java()
        folder = install()
    except NotInstalled as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))
    with running(folder, tmp_path_factory.mktemp("dynamodb-local") / "log") as url:
        yield url


@pytest.fixture(scope="session")
def session() -> Session:
    """The product's session, one for all: each reads the description of DynamoDB anew."""
    return Session()


@pytest.fixture
def aws(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_REGION", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint)
    client = boto3.client("dynamodb")
    yield
    for name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)


@pytest.fixture
def app(tables: dict[str, Any], endpoint: str, settings: Settings, session: Session) -> App:  # noqa: ARG001
    """The app of a stack of which there are the tables only."""
    return App(settings, session, endpoint_url=endpoint)
