"""The deployed stack itself: kept over a restart, updated, spoken to directly, given rows of any kind."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from deployed import PROBE_ARN, eventually
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.console.local.stack import CHECKOUT, STACK, _plain_environment

# ROUND_TRIP_ROWS=14000 for the long form
ROUND_TRIP_ROWS = int(os.environ.get("ROUND_TRIP_ROWS", "600"))


def read(deployed: Any, name: str) -> list[list[str]]:
    with (deployed.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def write(deployed: Any, name: str, rows: list[list[str]]) -> None:
    with (deployed.folder / name).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(rows)


def awkward(number: int) -> list[str]:
    texts = (
        f'line one of {number}\nline "two"',
        f"smile 😀 family 👨‍👩‍👧‍👦 {number}",
        "=HYPERLINK(1)",
        " leading and trailing ",
        "",
        "C:\\temp\\new",
        "\ttab, comma; semicolon | pipe",
        "é\r\nñ\u2028x",
        "'quoted'",
        "{braces} and ${dollars} $.path",
    )
    return [str(number), texts[number % len(texts)], texts[(number * 7 + 3) % len(texts)]]


def test_rows_come_back_cell_for_cell(deployed: Any) -> None:
    rows = [awkward(number) for number in range(ROUND_TRIP_ROWS)]
    write(deployed, "awkward.csv", [["id", "left", "right"], *rows])
    mapping = {
        "output_mapping": {
            "extraction_methods": [{"method": "direct", "paths": {"left": "echo.left", "right": "echo.right"}}]
        },
        "execution_config": {"max_concurrency": 16},
    }
    deployed.write("awkward.json", json.dumps(mapping))
    result = deployed.json("run", "awkward.csv", "--target", "echo", "--mapping", "awkward.json", "--raw-cells")
    assert result["status"] == "SUCCEEDED"
    header, *got = read(deployed, "awkward-results.csv")
    assert header[:5] == ["input_id", "input_left", "input_right", "output_left", "output_right"]
    assert [line[:3] for line in got] == rows
    assert [line[3:5] for line in got] == [row[1:] for row in rows]


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(CELLS, min_size=1, max_size=4), max_size=30), ends=st.sampled_from(["\n", "\r\n"]))
def test_rows_in_are_lines_out(deployed: Any, rows: list[list[str]], ends: str) -> None:
    """Whatever the cells, whole rows and ragged ones: each is one line, in its place."""
    text = io.StringIO()
    csv.writer(text, lineterminator=ends, quoting=csv.QUOTE_ALL).writerows([["a", "b"], *rows])
    deployed.write("any.csv", text.getvalue())
    deployed.write("any.json", json.dumps({"source": {"encoding": "utf-8", "delimiter": ","}}))
    result = deployed.json("run", "any.csv", "--target", "echo", "--mapping", "any.json", "--raw-cells")
    assert result["row_count"] == len(rows) == sum(result["counts"].values())
    _, *got = read(deployed, "any-results.csv")
    for row, line in zip(rows, got, strict=True):
        whole = len(row) == 2
        status = line[-4]
        assert (status == "SUCCESS") == whole
        assert line[: min(2, len(row))] == row[:2]


def test_results_survive_a_restart(deployed: Any) -> None:
    deployed.write("kept.csv", "id,fail\n1,\n2,broken\n3,\n")
    config = deployed.write("once.json", json.dumps({"execution_config": {"retry_policy": {"max_attempts": 1}}}))
    result = deployed.json("run", "kept.csv", "--target", "echo", "--mapping", config, "-o", "kept-first.csv")
    since = (datetime.now(UTC) - timedelta(minutes=30)).isoformat()

    assert deployed.json("local", "stop") == {"running": False, "was_running": True}
    assert not deployed.embedded.running()
    away = deployed.command("batches")
    assert away.returncode == 3
    assert "local start" in away.stderr
    assert deployed.json("local", "start")["running"] is True

    batch = result["batch_id"]
    (failed,) = deployed.rows("failed", batch)
    assert (failed["row_number"], failed["error"]["message"]) == (2, "broken")
    recent = [row for row in deployed.rows("results", "--since", since) if row["batch_id"] == batch]
    assert {row["row_number"] for row in recent} == {1, 2, 3}
    again = deployed.command("aggregate", batch, "-o", "kept-again.csv", "--json")
    assert again.returncode == 1
    assert json.loads(again.stdout)["counts"] == result["counts"]
    assert (deployed.folder / "kept-again.csv").read_bytes() == (deployed.folder / "kept-first.csv").read_bytes()


def test_a_stop_in_mid_batch_waits_for_no_call_and_the_batch_says_so(deployed: Any) -> None:
    deployed.write("cut.csv", "id,probe,wait_for\n1,cut,never\n")
    running = deployed.popen("run", "cut.csv", "--target", PROBE_ARN, "--json")
    eventually((deployed.folder / "probe" / "cut" / "notes").exists)
    assert deployed.json("local", "stop")["was_running"] is True
    eventually(lambda: f"{deployed.embedded.root}/tmp/" not in processes())  # one that was just begun ends by itself
    running.communicate(timeout=200)
    assert running.returncode == 3
    assert deployed.json("local", "start")["running"] is True
    status = deployed.json("status", "last")
    assert (status["status"], status["counts"]["NOT_RUN"]) == ("FAILED", 1)  # a call that was waited for has a result
    assert "restarted" in status["errors"][0]["message"]


def processes() -> str:
    return subprocess.run(["ps", "-eww", "-o", "args="], capture_output=True, text=True, check=True).stdout


def test_commands_find_a_batch_by_prefix_and_say_when_there_is_none(deployed: Any) -> None:
    deployed.write("one.csv", "id\n1\n")
    batch = deployed.json("run", "one.csv", "--target", "echo")["batch_id"]
    execution = batch.partition("#")[2]
    assert deployed.json("status", execution)["batch_id"] == batch
    assert deployed.json("status", "last")["batch_id"] == batch
    unknown = deployed.command("status", "nothing-like-it", "--json")
    assert (unknown.returncode, unknown.stdout) == (2, "")
    assert "batch-processor batches" in unknown.stderr
    (listed,) = deployed.rows("batches", "--limit", "1")
    keys = [
        "batch_id",
        "status",
        "target",
        "source_uri",
        "row_count",
        "counts",
        "started_at",
        "ended_at",
        "csv_location",
    ]
    assert list(listed) == keys
    status = deployed.json("status", batch)
    assert list(status) == [
        "batch_id", "status", "target", "source", "row_count", "rows_done", "counts", "counts_exact", "rate_per_s",
        "eta_s", "chunks", "stop_reason",
        "errors", "fields", "guarded_cells", "started_at", "ended_at", "expires_at", "execution_arn", "runs",
        "cost_usd", "csv_location", "next",
    ]  # fmt: skip
    (row,) = deployed.rows("results", batch)
    assert list(row) == [
        "batch_id", "row_id", "row_number", "status", "error", "attempts", "execution_time_ms", "timestamp",
        "input_data", "output_data",
    ]  # fmt: skip


def function(deployed: Any, logical_id: str) -> str:
    client = deployed.stack.app.client("cloudformation")
    return client.describe_stack_resource(StackName=STACK, LogicalResourceId=logical_id)["StackResourceDetail"][
        "PhysicalResourceId"
    ]


def invoke(deployed: Any, logical_id: str, event: dict[str, Any]) -> Any:
    name = function(deployed, logical_id)
    answer = deployed.stack.app.lambda_client.invoke(FunctionName=name, Payload=json.dumps(event).encode())
    return json.loads(answer["Payload"].read())


def test_the_plain_events_of_the_functions(deployed: Any) -> None:
    for number, status in ((1, "SUCCESS"), (2, None)):
        event = {
            "batch_id": "elsewhere#1",
            "row_id": f"row_{number:03d}",
            "input_data": {"q": str(number)},
            "output_data": {"a": number * 1.5},
            "execution_time_ms": 7,
        }
        stored = invoke(deployed, "OutputWriterFunction", {**event, **({"status": status} if status else {})})
        assert stored == {"batch_id": "elsewhere#1", "row_id": f"row_{number:03d}", "status": status or "UNKNOWN"}
    bucket = deployed.stack.app.settings.data_bucket
    place = {"output_bucket": bucket, "output_key": "plain/out.csv"}
    result = invoke(deployed, "ResultAggregatorFunction", {"batch_id": "elsewhere#1", **place})
    assert (result["row_count"], result["csv_location"]) == (2, f"s3://{bucket}/plain/out.csv")
    assert result["counts"]["SUCCESS"] == result["counts"]["UNKNOWN"] == 1
    body = deployed.stack.app.s3.get_object(Bucket=bucket, Key="plain/out.csv")["Body"].read().decode()
    got = list(csv.DictReader(io.StringIO(body)))
    assert [(line["input_q"], line["output_a"], line["_row_id"], line["_status"]) for line in got] == [
        ("1", "1.5", "row_001", "SUCCESS"),
        ("2", "3", "row_002", "UNKNOWN"),
    ]


def test_the_batch_processor_is_itself_a_tool(deployed: Any) -> None:
    """An agent's state machine calls it with startExecution.sync:2 and sees the summary, or an error."""
    stack = deployed.stack
    bucket = stack.app.settings.data_bucket
    stack.app.s3.put_object(Bucket=bucket, Key="in/called.csv", Body=b"id,fail\n1,\n2,broken\n")
    caller = {
        "StartAt": "Batch",
        "States": {
            "Batch": {
                "Type": "Task",
                "Resource": "arn:aws:states:::states:startExecution.sync:2",
                "Parameters": {"StateMachineArn": stack.state_machine_arn, "Input.$": "$"},
                "OutputPath": "$.Output",
                "End": True,
            }
        },
    }
    states = stack.app.stepfunctions
    role = "arn:aws:iam::000000000000:role/caller"
    arn = states.create_state_machine(name="caller", definition=json.dumps(caller), roleArn=role)["stateMachineArn"]
    once = {"retry_policy": {"max_attempts": 1}}

    def call(given: dict[str, Any]) -> dict[str, Any]:
        started = states.start_execution(stateMachineArn=arn, input=json.dumps({"target": "echo", **given}))
        return eventually(lambda: _ended(states, started["executionArn"]), 60)

    uri = f"s3://{bucket}/in/called.csv"
    good = call({"csv_s3_uri": uri, "execution_config": once, "AWS_STEP_FUNCTIONS_STARTED_BY_EXECUTION_ID": "x"})
    summary = json.loads(good["output"])
    assert (good["status"], summary["status"], summary["row_count"]) == ("SUCCEEDED", "PARTIAL", 2)
    refused = call({"csv_s3_uri": uri, "wrong_key": 1})
    assert refused["status"] == "FAILED"
    assert "wrong_key: unknown key" in refused["cause"]
    stack.app.s3.put_object(Bucket=bucket, Key="in/all-fail.csv", Body=b"id,fail\n1,broken\n")
    failed = call({"csv_s3_uri": f"s3://{bucket}/in/all-fail.csv", "execution_config": once})
    assert failed["status"] == "FAILED"
    assert json.loads(failed["cause"])["counts"]["FAILED"] == 1


def test_an_agent_calls_it_by_the_task_state_of_the_guide(deployed: Any) -> None:
    """The client's integration guide: Parameters by paths, and a ResultSelector of the summary."""
    stack = deployed.stack
    bucket, states = stack.app.settings.data_bucket, stack.app.stepfunctions
    stack.app.s3.put_object(Bucket=bucket, Key="in/guide.csv", Body=b"id,text\n1,a\n2,b\n")
    task = {
        "Type": "Task",
        "Resource": "arn:aws:states:::states:startExecution.sync:2",
        "Parameters": {
            "StateMachineArn.$": "$.tool.resource_arn",
            "Input": {
                "csv_s3_uri.$": "$.csv_uri",
                "target.$": "$.target_config",
                "input_mapping.$": "$.mapping_config",
            },
        },
        "ResultSelector": {
            "output_csv.$": "$.Output.csv_location",
            "processed_rows.$": "$.Output.row_count",
            "execution_time.$": "$.Output.execution_time_ms",
        },
        "End": True,
    }
    agent = {"StartAt": "Batch", "States": {"Batch": task}}
    role = "arn:aws:iam::000000000000:role/caller"
    arn = states.create_state_machine(name="guide", definition=json.dumps(agent), roleArn=role)["stateMachineArn"]
    given = {
        "tool": {"resource_arn": stack.state_machine_arn},
        "csv_uri": f"s3://{bucket}/in/guide.csv",
        "target_config": {"type": "lambda", "name": "echo"},
        "mapping_config": {"column_mappings": {"id": "id"}},
    }
    started = states.start_execution(stateMachineArn=arn, input=json.dumps(given))
    ended = eventually(lambda: _ended(states, started["executionArn"]), 60)
    summary = json.loads(ended["output"])
    assert summary["processed_rows"] == 2
    assert summary["output_csv"].startswith(f"s3://{bucket}/results/echo/")
    assert summary["execution_time"] > 0


def _ended(states: Any, arn: str) -> Any:
    execution = states.describe_execution(executionArn=arn)
    return None if execution["status"] == "RUNNING" else execution


def test_a_deployed_stack_is_updated_while_a_batch_runs(deployed: Any) -> None:
    """By `sam build` and `sam deploy`, as a user does; the running batch keeps the functions it began with."""
    deployed.write("during.csv", "id,probe,wait_for\n" + "".join(f"{n},during,go\n" for n in range(6)))
    running = deployed.popen("run", "during.csv", "--target", PROBE_ARN, "--json")
    eventually((deployed.folder / "probe" / "during" / "notes").exists)
    before = deployed.stack.app.stepfunctions.describe_state_machine(stateMachineArn=deployed.stack.state_machine_arn)
    checkout = deployed.folder / "checkout"
    subprocess.run(["git", "clone", "--quiet", CHECKOUT, checkout], check=True)
    for name in ("template.yaml", "Makefile", "constraints.txt", "samconfig.toml"):
        (checkout / name).write_bytes((CHECKOUT / name).read_bytes())
    for folder in ("service", "handlers", "infra"):
        for file in (CHECKOUT / folder).glob("*.*"):
            (checkout / folder / file.name).write_bytes(file.read_bytes())
    handler = checkout / "handlers" / "write_result.py"
    handler.write_text(handler.read_text() + "\n# another version\n")
    environment = {
        **_plain_environment(),
        "AWS_ENDPOINT_URL": deployed.embedded.endpoint,
        "BATCH_PROCESSOR_BUILD": "local",
        "BUILD_PYTHON": sys.executable,
        "SAM_CLI_TELEMETRY": "0",
        "SAM_CLI_POLL_DELAY": "0.3",
    }
    sam = str(Path(sys.executable).with_name("sam"))
    tools = "ToolArns=arn:aws:lambda:us-east-1:000000000000:function:*"
    for command in ([sam, "build"], [sam, "deploy", "--region", "us-east-1", "--parameter-overrides", tools]):
        done = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    after = deployed.stack.app.stepfunctions.describe_state_machine(stateMachineArn=deployed.stack.state_machine_arn)
    assert before["definition"] != after["definition"], "the machine calls the new version"
    (deployed.folder / "probe" / "during" / "go").touch()
    printed, messages = running.communicate(timeout=120)
    assert running.returncode == 0, messages
    assert json.loads(printed)["counts"]["SUCCESS"] == 6
    deployed.write("after.csv", "id\n1\n")
    assert deployed.json("run", "after.csv", "--target", "echo")["status"] == "SUCCEEDED"
