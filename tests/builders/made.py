"""What the tests of a batch's life begin with: targets that exist, sources in the bucket, batches that are prepared."""

from __future__ import annotations

import csv
import io
import json
import zipfile
from typing import TYPE_CHECKING, Any

from service.errors import BatchRefused
from service.plan import Plan
from service.request.parse import read_input
from service.steps.prepare_batch import prepare
from service.store.registry import RegisteredTarget

if TYPE_CHECKING:
    from service.app import App
    from service.request.models import BatchInput


def plan(**values: Any) -> Plan:
    """A plan of the tool `echo`, with these values."""
    return Plan(**{"kind": "tool", "target_name": "echo", "target_arn": "arn:echo", **values})


def parse_input(given: Any) -> BatchInput:
    """The input of a batch as checked values; raises BatchRefused with every problem."""
    parsed, problems = read_input(given)
    if problems:
        raise BatchRefused(problems)
    return parsed


MACHINE = "arn:aws:states:us-east-1:123456789012:stateMachine:batches"


def execution_arn(name: str) -> str:
    return f"{MACHINE.replace(':stateMachine:', ':execution:')}:{name}"


def role(app: App) -> str:
    """A role of its own for whoever asks."""
    policy = {"Version": "2012-10-17", "Statement": []}
    iam = app.client("iam")
    name = f"role-{len(iam.list_roles()['Roles'])}"
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(policy))
    arn: str = made["Role"]["Arn"]
    return arn


def make_tool(app: App, name: str = "tool-echo", registered: str | None = "echo", **schema: Any) -> str:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("app.py", "def handler(event, context): return event")
    arn: str = app.lambda_client.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role=role(app),
        Handler="app.handler",
        Code={"ZipFile": packed.getvalue()},
    )["FunctionArn"]
    if registered:
        app.registry.register(RegisteredTarget(registered, "lambda", arn, **schema))
    return arn


def make_agent(app: App, name: str = "agent-line", registered: str | None = "line", kind: str = "STANDARD") -> str:
    definition = {"StartAt": "End", "States": {"End": {"Type": "Succeed"}}}
    arn: str = app.stepfunctions.create_state_machine(
        name=name, definition=json.dumps(definition), roleArn=role(app), type=kind
    )["stateMachineArn"]
    if registered:
        app.registry.register(RegisteredTarget(registered, "state_machine", arn))
    return arn


def put_source(app: App, content: bytes | str, key: str = "in/rows.csv") -> str:
    body = content.encode() if isinstance(content, str) else content
    app.s3.put_object(Bucket=app.settings.data_bucket, Key=key, Body=body)
    return f"s3://{app.settings.data_bucket}/{key}"


def event_of(given: Any, name: str = "run-1") -> dict[str, Any]:
    return {
        "input": given,
        "execution_name": name,
        "execution_arn": execution_arn(name),
        "started_at": "2025-01-01T00:00:00.000Z",
    }


def lines_of(app: App, location: str) -> list[dict[str, str]]:
    """The lines of a CSV in S3, each by column."""
    bucket, _, key = location.removeprefix("s3://").partition("/")
    text = app.s3.get_object(Bucket=bucket, Key=key)["Body"].read().decode()
    return list(csv.DictReader(io.StringIO(text, newline="")))


def rows_csv(count: int) -> str:
    return "id,text\n" + "".join(f"{number},text {number}\n" for number in range(1, count + 1))


def prepared(app: App, content: bytes | str, target: str = "echo", name: str = "run-1", **given: Any) -> dict[str, Any]:
    """What PrepareBatch returns for a batch of this source; the target must be there."""
    uri = put_source(app, content, f"in/{name}.csv")
    return prepare(app, event_of({"csv_s3_uri": uri, "target": target, **given}, name))


def manifest(app: App, batch: dict[str, Any]) -> list[dict[str, Any]]:
    body = app.s3.get_object(Bucket=app.settings.data_bucket, Key=batch["manifest_key"])["Body"].read()
    return [json.loads(line) for line in body.splitlines()]


def chunk_event(batch: dict[str, Any], chunk: dict[str, Any]) -> dict[str, Any]:
    """What TransformInput is given for one line of the manifest."""
    return {**{name: batch[name] for name in ("batch_id", "run", "plan")}, "chunk": chunk}


def row_event(batch: dict[str, Any], row: int = 1, **more: Any) -> dict[str, Any]:
    """What WriteResult or HandleFailure is given for one row, but for its output or failure."""
    return {
        **{name: batch[name] for name in ("batch_id", "run", "plan")},
        "row_id": f"row_{row:010d}",
        "row": [str(row), f"text {row}"],
        "attempt": 1,
        **more,
    }


def finished(chunk: dict[str, Any], results: list[dict[str, Any]]) -> dict[str, Any]:
    """What FinishChunk is given of a chunk whose rows have these results."""
    return {**chunk, "row_ids": [result.get("row_id", "row_0000000001") for result in results], "results": results}


def stored(app: App, batch_id: str, row: int | str = 1) -> dict[str, Any]:
    """The item of a row in wire form; {} when there is none."""
    row_id = f"row_{row:010d}" if isinstance(row, int) else row
    key = {"batch_id": {"S": batch_id}, "row_id": {"S": row_id}}
    found: dict[str, Any] = app.dynamodb.get_item(TableName=app.settings.results_table, Key=key).get("Item", {})
    return found
