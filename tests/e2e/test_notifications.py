"""What a stack tells others when its parameters ask for it: events, a message, rows as their chunks finish."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from deployed import eventually

from service.console.local.stack import REGION, STACK
from service.models import batch_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

TOLD = {"EventBusName": "default", "StreamRows": "true", "ResultsStream": "true"}


class Listening:
    """The embedded stack with the parameters, and queues that hear what it tells."""

    def __init__(self, deployed: Any) -> None:
        self.deployed = deployed
        client = deployed.embedded.session().client
        place = {"region_name": REGION, "endpoint_url": deployed.embedded.endpoint}
        self.cloudformation, self.sqs = client("cloudformation", **place), client("sqs", **place)
        self.events, self.sns = client("events", **place), client("sns", **place)
        self.queues = {name: self.queue(name) for name in ("events", "messages")}

    def queue(self, name: str) -> tuple[str, str]:
        url = self.sqs.create_queue(QueueName=f"heard-{name}")["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        return url, arn

    def listen(self) -> str:
        """Have events and messages come to the queues; return the topic."""
        pattern = json.dumps({"source": ["batch-processor"]})
        self.events.put_rule(Name="heard", EventPattern=pattern)
        self.events.put_targets(Rule="heard", Targets=[{"Id": "queue", "Arn": self.queues["events"][1]}])
        topic = self.sns.create_topic(Name="batches")["TopicArn"]
        self.sns.subscribe(TopicArn=topic, Protocol="sqs", Endpoint=self.queues["messages"][1])
        return str(topic)

    def update(self, parameters: dict[str, str]) -> None:
        """Deploy again with parameters alone, as `sam deploy --parameter-overrides` would."""
        (stack,) = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        given = [
            {"ParameterKey": one["ParameterKey"], "ParameterValue": parameters[one["ParameterKey"]]}
            if one["ParameterKey"] in parameters
            else {"ParameterKey": one["ParameterKey"], "UsePreviousValue": True}
            for one in stack["Parameters"]
        ]
        capabilities = ["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"]
        self.cloudformation.update_stack(
            StackName=STACK, UsePreviousTemplate=True, Parameters=given, Capabilities=capabilities
        )
        done = eventually(self._updated, 60)
        assert done == "UPDATE_COMPLETE"

    def _updated(self) -> str | None:
        (stack,) = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"]
        status = str(stack["StackStatus"])
        return None if status.endswith("IN_PROGRESS") else status

    def heard(self, name: str) -> list[Any]:
        """What has come to a queue since the last time."""
        found: list[Any] = []
        while True:
            answer = self.sqs.receive_message(QueueUrl=self.queues[name][0], MaxNumberOfMessages=10)
            for message in answer.get("Messages", []):
                found.append(json.loads(message["Body"]))
                self.sqs.delete_message(QueueUrl=self.queues[name][0], ReceiptHandle=message["ReceiptHandle"])
            if not answer.get("Messages"):
                return found


@pytest.fixture(scope="module")
def listening(deployed: Any) -> Iterator[Listening]:
    made = Listening(deployed)
    made.update({**TOLD, "TopicArn": made.listen()})
    yield made
    made.update({"EventBusName": "", "StreamRows": "false", "ResultsStream": "false", "TopicArn": ""})


def test_a_batch_is_told_while_it_runs_and_when_it_has_ended(deployed: Any, listening: Listening) -> None:
    deployed.write("told.csv", "id,fail\n" + "".join(f"{n},{'broken' if n == 7 else ''}\n" for n in range(1, 61)))
    deployed.write("told.yaml", "execution_config: {max_concurrency: 10, retry_policy: {max_attempts: 1}}\n")
    done = deployed.command("run", "told.csv", "--target", "echo", "--mapping", "told.yaml", "--json")
    result = json.loads(done.stdout)
    heard: list[Any] = []

    def ended() -> Any:
        heard.extend(listening.heard("events"))
        return [one for one in heard if one["detail-type"] == "Batch Ended"]

    (end,) = eventually(ended, 60)
    assert end["source"] == "batch-processor"
    detail = end["detail"]
    assert (detail["batch_id"], detail["status"]) == (result["batch_id"], "PARTIAL")
    assert detail["counts"] == result["counts"]
    assert detail["csv_location"] == result["csv_location"]
    assert detail["errors"][0]["message"] == "broken"
    kinds = [one["detail-type"] for one in heard]
    assert kinds[0] == "Batch Started"
    progress = [one["detail"]["rows_done"] for one in heard if one["detail-type"] == "Batch Progress"]
    assert progress == sorted(progress)
    assert progress
    assert len({one["detail"]["key"] for one in heard}) == len(heard)

    (message,) = eventually(lambda: listening.heard("messages"), 30)
    assert message["Subject"] == f"PARTIAL: batch {result['batch_id']}"
    assert "60 rows: 59 SUCCESS, 1 FAILED" in message["Message"]

    app = deployed.stack.app
    prefix = f"stream/{batch_hash(result['batch_id'])}/run-0001/"
    found = app.s3.list_objects_v2(Bucket=app.settings.data_bucket, Prefix=prefix)["Contents"]
    bodies = [app.s3.get_object(Bucket=app.settings.data_bucket, Key=one["Key"])["Body"].read() for one in found]
    rows = [json.loads(line) for body in bodies for line in body.splitlines()]
    assert sorted(row["row_number"] for row in rows) == list(range(1, 61))
    assert [row["row_number"] for row in rows if row["status"] == "FAILED"] == [7]


def test_the_results_have_a_stream_of_their_own(deployed: Any, listening: Listening) -> None:
    table = deployed.stack.app.dynamodb.describe_table(TableName=deployed.stack.app.settings.results_table)["Table"]
    assert table["StreamSpecification"] == {"StreamEnabled": True, "StreamViewType": "NEW_IMAGE"}
    outputs = {
        one["OutputKey"]: one["OutputValue"]
        for one in listening.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]["Outputs"]
    }
    assert outputs["ResultsStreamArn"] == table["LatestStreamArn"]


def test_a_file_with_an_order_beside_it_starts_a_batch(deployed: Any, listening: Listening) -> None:
    listening.update({"InboxPrefix": "inbox/"})
    app, bucket = deployed.stack.app, deployed.stack.app.settings.data_bucket
    order = {"target": "echo", "output_key": "results/by-itself.csv"}
    app.s3.put_object(Bucket=bucket, Key="inbox/rows.json", Body=json.dumps(order).encode())
    app.s3.put_object(Bucket=bucket, Key="inbox/rows.csv", Body=b"id,text\n1,a\n2,b\n")
    try:

        def ended() -> Any:
            newest = deployed.rows("batches", "--limit", "1")[0]
            mine = newest["source_uri"] == f"s3://{bucket}/inbox/rows.csv"
            return newest if mine and newest["ended_at"] else None

        batch = eventually(ended, 60)
        assert (batch["status"], batch["row_count"]) == ("SUCCEEDED", 2)
        assert batch["csv_location"] == f"s3://{bucket}/results/by-itself.csv"
        app.s3.put_object(Bucket=bucket, Key="inbox/rows.csv", Body=b"id,text\n1,a\n2,b\n")  # as it was
        name = deployed.rows("batches", "--limit", "1")[0]["batch_id"]
        listening.heard("events")
        app.s3.put_object(Bucket=bucket, Key="inbox/more.csv", Body=b"id,text\n1,a\n")
        app.s3.put_object(Bucket=bucket, Key="inbox/more.json", Body=json.dumps({"target": "echo"}).encode())
        eventually(lambda: deployed.rows("batches", "--limit", "1")[0]["batch_id"] != name, 60)
        newest = deployed.rows("batches", "--limit", "2")
        assert [one["source_uri"].rpartition("/")[2] for one in newest] == ["more.csv", "rows.csv"]
        assert newest[1]["batch_id"] == name
    finally:
        listening.update({"InboxPrefix": ""})
