from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.loaders import JSONFileLoader
from hypothesis import settings as hypothesis_settings
from moto import mock_aws
from samtranslator.yaml_helper import yaml_parse

from service.app import App
from service.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

hypothesis_settings.register_profile("a busy machine", deadline=None)  # how long an example takes says nothing there
hypothesis_settings.load_profile("a busy machine")

REGION = "us-east-1"
TEMPLATE = Path(__file__).parents[1] / "template.yaml"
TABLE_PROPERTIES = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
SETTINGS = Settings(
    results_table="batch_processor_results",
    batches_table="batch_processor_batches",
    registry_table="batch_processor_registry",
    data_bucket="batch-processor-data",
    tool_arns=("arn:aws:lambda:*:*:function:tool-*",),
    agent_arns=("arn:aws:states:*:*:stateMachine:agent-*",),
)


@pytest.fixture(scope="session", autouse=True)
def models_read_once() -> Iterator[None]:
    """botocore's descriptions of the services: each session reads them anew, which takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        read = cache(JSONFileLoader().load_file)
        patch.setattr(JSONFileLoader, "load_file", lambda _, path: read(path))
        yield


@pytest.fixture
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    monkeypatch.setenv("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS", "true")
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    monkeypatch.setenv("AWS_REGION", REGION)
    with mock_aws():
        yield


@pytest.fixture
def settings() -> Settings:
    return SETTINGS


@cache
def resources() -> dict[str, Any]:
    """The template's resources by logical id."""
    found: dict[str, Any] = yaml_parse(TEMPLATE.read_text())["Resources"]
    return found


@pytest.fixture
def tables(aws: None, settings: Settings) -> dict[str, Any]:  # noqa: ARG001 - in the mock
    """The tables as the template defines them, by logical id."""
    names = {
        "ResultsTable": settings.results_table,
        "BatchesTable": settings.batches_table,
        "RegistryTable": settings.registry_table,
    }
    dynamodb = boto3.client("dynamodb", region_name=REGION)
    defined = {
        logical_id: resource["Properties"]
        for logical_id, resource in resources().items()
        if resource["Type"] == "AWS::DynamoDB::Table"
    }
    assert defined.keys() == names.keys()
    for logical_id, properties in defined.items():
        schema = {name: properties[name] for name in TABLE_PROPERTIES if name in properties}
        dynamodb.create_table(TableName=names[logical_id], **schema)
    return defined


@pytest.fixture
def bucket(aws: None, settings: Settings) -> str:  # noqa: ARG001 - in the mock
    boto3.client("s3", region_name=REGION).create_bucket(Bucket=settings.data_bucket)
    return settings.data_bucket


@pytest.fixture
def app(tables: dict[str, Any], bucket: str, settings: Settings) -> App:  # noqa: ARG001 - they are there
    """The app of a stack whose tables and bucket are there; `app.records` and `app.registry` bind the models to it."""
    return App(settings, boto3.Session(region_name=REGION))
