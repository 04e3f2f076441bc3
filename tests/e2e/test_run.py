"""Batches through the deployed application, by the command line."""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import os
import signal
import subprocess
import threading
from typing import Any

import pytest
from deployed import PROBE_ARN, eventually

from service.console.local.stack import CHECKOUT, STACK
from service.models import Result

EXAMPLES = CHECKOUT / "examples"
RESULT_KEYS = [
    "status",
    "batch_id",
    "csv_location",
    "row_count",
    "execution_time_ms",
    "counts",
    "errors",
    "fields",
    "guarded_cells",
    "chunks",
    "stop_reason",
]
COUNTS = ["SUCCESS", "FAILED", "TIMEOUT", "INVALID_INPUT", "EXTRACTION_FAILED", "NOT_RUN", "MISSING"]


def lines(deployed: Any, name: str) -> list[dict[str, str]]:
    with (deployed.folder / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def document(done: Any) -> Any:
    assert done.stdout, done.stderr
    return json.loads(done.stdout)


def probe_mapping(deployed: Any, **config: Any) -> str:
    return deployed.write("probe.json", json.dumps({"execution_config": config}))


def test_a_tool_by_its_registered_schema(deployed: Any) -> None:
    with (EXAMPLES / "product_reviews.csv").open(encoding="utf-8", newline="") as file:
        reviews = list(csv.reader(file))[:251]
    with (deployed.folder / "reviews.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows(reviews)
    done = deployed.command("run", "reviews.csv", "--target", "sentiment", "--json")
    result = document(done)
    assert done.returncode == 0
    assert list(result) == RESULT_KEYS
    assert list(result["counts"]) == COUNTS
    assert (result["status"], result["row_count"], result["counts"]["SUCCESS"]) == ("SUCCEEDED", 250, 250)
    got = lines(deployed, "reviews-results.csv")
    assert [line["input_text"] for line in got] == [row[2] for row in reviews[1:]]
    assert [line["_row_id"] for line in got] == [f"row_{number:010d}" for number in range(1, 251)]
    assert {line["output_category"] for line in got} == {"positive", "neutral", "negative"}
    assert all(0 <= float(line["output_confidence_score"]) <= 1 for line in got)


def test_an_agent_by_mapping(deployed: Any) -> None:
    result = deployed.json(
        "run", str(EXAMPLES / "addresses.csv"), "--target", "broadband-agent", "-o", "broadband.csv",
        "--mapping", str(EXAMPLES / "mappings" / "broadband.yaml"),
    )  # fmt: skip
    assert result["status"] == "SUCCEEDED"
    got = lines(deployed, "broadband.csv")
    assert len(got) == result["row_count"] == 12
    assert all(line["output_exchange"].isupper() for line in got)
    assert all("Mbps" in line["output_download_speed"] for line in got)


def test_the_name_of_the_output_says_its_form(deployed: Any) -> None:
    mapping = str(EXAMPLES / "mappings" / "mixed_fates.yaml")
    source = str(EXAMPLES / "mixed_fates.csv")
    asked = ("run", source, "--target", "echo", "--mapping", mapping, "-o", "mixed.jsonl.gz", "--json")
    result = document(deployed.command(*asked))
    assert result["csv_location"].endswith(".jsonl.gz")
    with gzip.open(deployed.folder / "mixed.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    shown = [json.loads(line) for line in deployed.command("results", "last", "--json").stdout.splitlines()]
    assert [{**row, "output_data": None} for row in rows] == [{**row, "output_data": None} for row in shown]
    assert [row["row_number"] for row in rows] == list(range(1, 25))
    again = document(deployed.command("aggregate", "last", "-o", "mixed.csv.gz", "--json"))
    assert (again["csv_location"][-7:], again["counts"]) == (".csv.gz", result["counts"])
    with gzip.open(deployed.folder / "mixed.csv.gz", "rt", encoding="utf-8", newline="") as file:
        assert [line["_status"] for line in csv.DictReader(file)] == [row["status"] for row in rows]


def test_rows_that_fail_are_found_by_cause(deployed: Any) -> None:
    mapping = str(EXAMPLES / "mappings" / "mixed_fates.yaml")
    done = deployed.command(
        "run", str(EXAMPLES / "mixed_fates.csv"), "--target", "echo", "--mapping", mapping, "-o", "mixed.csv", "--json"
    )
    assert done.returncode == 1
    result = document(done)
    expected = {"SUCCESS": 14, "FAILED": 5, "TIMEOUT": 1, "INVALID_INPUT": 2, "EXTRACTION_FAILED": 2}
    assert result["status"] == "PARTIAL"
    assert result["counts"] == {**dict.fromkeys(COUNTS, 0), **expected}
    causes = {(group["error"], group["message"]): group["count"] for group in result["errors"]}
    assert causes["EchoFailure", "quota exceeded for model"] == 3
    assert causes["EchoFailure", "document not readable"] == 2
    batch = result["batch_id"]

    failed = deployed.rows("failed", batch)
    assert [row["row_number"] for row in failed] == [13, 22, 3, 6, 9, 17, 20, 8, 15, 11]
    only = deployed.rows("failed", batch, "--status", "FAILED", "--limit", "2")
    assert [(row["row_number"], row["status"]) for row in only] == [(3, "FAILED"), (6, "FAILED")]
    assert only[0]["input_data"]["fail"] == only[0]["error"]["message"] == "quota exceeded for model"
    assert len(deployed.rows("failed", batch, "--error", "EchoFailure")) == 5

    got = lines(deployed, "mixed.csv")
    assert len(got) == 24
    assert {line["_status"] for line in got} == set(expected)
    assert got[10]["_status"] == "TIMEOUT"
    assert "6 cells" in got[14]["_error"]

    status = deployed.json("status", batch)
    assert (status["rows_done"], status["counts"], status["counts_exact"]) == (24, result["counts"], True)
    assert status["next"][0] == f"batch-processor failed '{batch}'"


BAD_INPUT = {
    "no such file": ([], None, "there is no such file"),
    "no such object": (["s3://{bucket}/nowhere.csv"], None, "there is no object"),
    "not allowed": (["s3://somebody-elses/in.csv"], None, "may not read"),
    "empty": ([], "", "empty"),
    "duplicate names": ([], "a,b,a\n1,2,3\n", "'a' is 2 times"),
    "blank name": ([], "a,,c\n1,2,3\n", "column 2"),
    "unbalanced quote": ([], 'a,b\n1,"x\n2,y\n', "line 2"),
    "undecodable": ([], b"a,b\n\xc3\xa9,1\nx\xff,2\n", "row 2"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_INPUT)
def test_a_bad_source_is_refused_with_one_clear_error(deployed: Any, case: str) -> None:
    words, content, said = BAD_INPUT[case]
    source = words[0].format(bucket=deployed.stack.app.settings.data_bucket) if words else "bad.csv"
    (deployed.folder / "bad.csv").unlink(missing_ok=True)
    if content is not None:
        (deployed.folder / "bad.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(deployed, ["run", source, "--target", "echo"], said)


@pytest.mark.parametrize(
    ("mapping", "words", "said"),
    [
        ({"input_mapping": {"column_mappings": {"txt": "text"}}}, ["--target", "echo"], "did you mean 'text'"),
        ({}, ["--target", "ecko"], "did you mean 'echo'"),
        ({"execution_config": {"max_concurency": 3}}, ["--target", "echo"], "did you mean 'max_concurrency'"),
        (
            {"execution_config": {"max_failures": -3}},
            ["--target", "echo"],
            "execution_config.max_failures: input should be greater than or equal to 0",
        ),
        ({"input_maping": {}}, ["--target", "echo"], "did you mean 'input_mapping'"),
        ({}, ["--target", "echo", "-o", "s3://elsewhere/out.csv"], "may not write"),
        ({}, ["--target", "arn:aws:lambda:us-east-1:000000000000:function:secret"], "may not call"),
        ({"csv": {"format": "xlsx"}}, ["--target", "echo"], "csv.format: input should be"),
    ],
)
def test_a_bad_order_is_refused_with_one_clear_error(deployed: Any, mapping: Any, words: list[str], said: str) -> None:
    deployed.write("good.csv", "id,text\n1,x\n")
    deployed.write("order.json", json.dumps(mapping))
    refused(deployed, ["run", "good.csv", "--mapping", "order.json", *words], said)


def refused(deployed: Any, words: list[str], said: str) -> None:
    done = deployed.command(*words, "--json")
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_several_problems_are_in_one_error(deployed: Any) -> None:
    deployed.write("good.csv", "id,text\n1,x\n")
    mapping = {"input_mapping": {"column_mappings": {"txt": "a", "idd": "b"}}, "output_mapping": {"columns": "x"}}
    deployed.write("order.json", json.dumps(mapping))
    done = deployed.command("run", "good.csv", "--target", "ecko", "--mapping", "order.json")
    assert done.returncode == 2
    for said in ("ecko", "input_mapping.column_mappings.txt", "input_mapping.column_mappings.idd", "output_mapping"):
        assert said in done.stderr


def test_a_target_that_answers_that_it_is_busy_is_called_again(deployed: Any) -> None:
    """In its place beside the others; the row is FAILED with the answer's own cause when it stays busy.

    Six waits for throttling use no attempt, and then it has its three attempts.
    """
    long = "x" * 2_000  # a row that does not travel beside the output, and is read again
    rows = [
        f"busy,{number},{busy},{text}\n" for number, busy, text in ((1, 0, ""), (2, 1, ""), (3, 2, long), (4, 9, ""))
    ]
    deployed.write("busy.csv", "probe,id,busy,more\n" + "".join(rows))
    mapping = probe_mapping(deployed, retry_policy={"max_attempts": 3, "initial_seconds": 1})
    done = deployed.command("run", "busy.csv", "--target", PROBE_ARN, "--mapping", mapping, "--json")
    result = document(done)
    assert (done.returncode, result["status"]) == (1, "PARTIAL")
    assert [(line["_status"], line["output_calls"]) for line in lines(deployed, "busy-results.csv")] == [
        ("SUCCESS", "1"), ("SUCCESS", "2"), ("SUCCESS", "3"), ("FAILED", ""),
    ]  # fmt: skip
    assert [(group["error"], group["message"]) for group in result["errors"]] == [
        ("StatusCode429", "the target answered with the status code 429: busy at 4")
    ]
    calls = deployed.folder / "probe" / "busy"
    assert [(calls / f"calls-{number}").stat().st_size for number in (1, 2, 3, 4)] == [1, 2, 3, 9]


def test_no_log_holds_what_a_row_holds(deployed: Any) -> None:
    """Whatever becomes of the row: a success, a failure, an answer that is refused, a row that cannot be mapped."""
    rows = ["logged,1,0,0,kestrel1\n", "logged,2,9,0,kestrel2\n", "logged,3,0,9,kestrel3\n", "logged,4,kestrel4\n"]
    deployed.write("logged.csv", "probe,id,fails,busy,more\n" + "".join(rows))
    mapping = probe_mapping(deployed, retry_policy={"max_attempts": 2, "initial_seconds": 1})
    result = document(deployed.command("run", "logged.csv", "--target", PROBE_ARN, "--mapping", mapping, "--json"))
    assert [result["counts"][status] for status in ("SUCCESS", "FAILED", "INVALID_INPUT")] == [1, 2, 1]
    logs = deployed.stack.app.client("logs")
    groups = {group["logGroupName"] for group in logs.describe_log_groups()["logGroups"]}
    assert sum(STACK in group for group in groups) >= 4, "each of our functions logs"
    said = "".join(
        event["message"]
        for group in groups
        for page in logs.get_paginator("filter_log_events").paginate(logGroupName=group)
        for event in page["events"]
    )
    assert "OutputRefused" in said, "what is looked through is what was logged"
    for text in (said, deployed.embedded.log.read_text(encoding="utf-8", errors="replace")):
        assert "kestrel" not in text


def test_a_header_alone_is_a_batch_of_no_rows(deployed: Any) -> None:
    deployed.write("header.csv", "id,text\n")
    done = deployed.command("run", "header.csv", "--target", "echo", "--json")
    assert done.returncode == 0
    result = document(done)
    assert (result["status"], result["row_count"]) == ("SUCCEEDED", 0)
    header = (deployed.folder / "header-results.csv").read_text().splitlines()
    assert header == ['input_id,input_text,"_row_id",_status,_error,_execution_time_ms,_timestamp']


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_encodings_are_read_as_they_are(deployed: Any, encoding: str) -> None:
    text = "id;text\r\n1;Prix: 5 € à côté\r\n2;naïve\r\n"
    (deployed.folder / "encoded.csv").write_bytes(text.encode(encoding))
    result = deployed.json("run", "encoded.csv", "--target", "echo")
    assert result["status"] == "SUCCEEDED"
    assert [line["input_text"] for line in lines(deployed, "encoded-results.csv")] == ["Prix: 5 € à côté", "naïve"]


def test_ragged_rows_are_rows(deployed: Any) -> None:
    deployed.write("ragged.csv", "id,text\n1,a\n2\n3,c,d\n4,e\n")
    result = deployed.json("run", "ragged.csv", "--target", "echo")
    assert result["counts"]["SUCCESS"] == result["counts"]["INVALID_INPUT"] == 2
    got = lines(deployed, "ragged-results.csv")
    assert [(line["input_id"], line["_status"]) for line in got] == [
        ("1", "SUCCESS"), ("2", "INVALID_INPUT"), ("3", "INVALID_INPUT"), ("4", "SUCCESS"),
    ]  # fmt: skip


def test_a_limit_alone_is_no_failure(deployed: Any) -> None:
    deployed.write("many.csv", "id\n" + "".join(f"{number}\n" for number in range(250)))
    done = deployed.command("run", "many.csv", "--target", "echo", "--limit", "120", "--json")
    result = document(done)
    assert done.returncode == 0
    assert result["status"] == "INCOMPLETE"
    assert (result["counts"]["SUCCESS"], result["counts"]["NOT_RUN"]) == (120, 130)
    got = lines(deployed, "many-results.csv")
    assert [line["input_id"] for line in got] == [str(number) for number in range(250)]
    assert [line["_status"] for line in got] == ["SUCCESS"] * 120 + ["NOT_RUN"] * 130


@pytest.mark.parametrize("concurrency", [1, 3, 12])
def test_rows_in_flight_never_exceed_max_concurrency(deployed: Any, concurrency: int) -> None:
    probe = f"flight-{concurrency}"
    sleep = 0.05 * concurrency  # long enough for cold workers to come up beside each other
    deployed.write("flight.csv", "id,probe,sleep_s\n" + "".join(f"{n},{probe},{sleep}\n" for n in range(36)))
    mapping = probe_mapping(deployed, max_concurrency=concurrency)
    result = deployed.json("run", "flight.csv", "--target", PROBE_ARN, "--mapping", mapping)
    assert result["counts"]["SUCCESS"] == 36
    most = deployed.in_flight(probe)
    assert most <= concurrency
    assert most > concurrency // 2


def test_a_target_that_fails_twice_and_then_answers(deployed: Any) -> None:
    deployed.write("flaky.csv", "id,probe,fails\n1,flaky,2\n2,flaky,0\n3,flaky,5\n")
    mapping = probe_mapping(deployed, retry_policy={"max_attempts": 3, "backoff_rate": 1})
    result = deployed.json("run", "flaky.csv", "--target", PROBE_ARN, "--mapping", mapping)
    assert (result["counts"]["SUCCESS"], result["counts"]["FAILED"]) == (2, 1)
    assert [line["output_calls"] for line in lines(deployed, "flaky-results.csv")] == ["3", "1", ""]
    (group,) = result["errors"]
    assert (group["error"], group["message"]) == ("ProbeFailure", "call 3 of 3 fails")
    assert (deployed.folder / "probe" / "flaky" / "calls-3").stat().st_size == 3


def test_rows_of_a_lost_chunk_are_missing_and_in_the_csv(deployed: Any) -> None:
    """The source is replaced while the first chunk waits: the other chunks' reads are refused by its ETag."""
    source = "id,probe,wait_for\n" + "".join(f"{n},lost,go\n" for n in range(8))
    bucket = deployed.stack.app.settings.data_bucket
    s3 = deployed.stack.app.s3
    s3.put_object(Bucket=bucket, Key="in/lost.csv", Body=source.encode())
    mapping = probe_mapping(deployed, max_concurrency=1)
    running = deployed.popen(
        "run", f"s3://{bucket}/in/lost.csv", "--target", PROBE_ARN, "--mapping", mapping, "--json", "-o", "lost.csv"
    )
    eventually((deployed.folder / "probe" / "lost" / "notes").exists)
    s3.put_object(Bucket=bucket, Key="in/lost.csv", Body=source.replace("lost", "other").encode())
    (deployed.folder / "probe" / "lost" / "go").touch()
    printed, messages = running.communicate(timeout=120)
    assert running.returncode == 1, messages
    result = json.loads(printed)
    assert result["status"] == "INCOMPLETE"
    assert result["counts"]["SUCCESS"] >= 1
    assert result["counts"]["MISSING"] == 8 - result["counts"]["SUCCESS"] > 0
    got = lines(deployed, "lost.csv")
    assert [line["_row_id"] for line in got] == [f"row_{number:010d}" for number in range(1, 9)]
    assert [line["_status"] for line in got].count("MISSING") == result["counts"]["MISSING"]


def test_rows_of_a_chunk_whose_function_dies_are_missing(deployed: Any) -> None:
    """Every process of TransformInput is killed from the moment that the first chunk has been read."""
    running = slow_batch(deployed, "dying", max_concurrency=1)
    package = f"{deployed.embedded.root}/tmp/ministack-lambda-{STACK}-InputMapper"
    ended = threading.Event()

    def kill() -> None:
        while not ended.wait(0.02):
            listed = subprocess.run(
                ["ps", "-eww", "-o", "pid=", "-o", "args="], capture_output=True, text=True, check=False
            ).stdout
            for pid in [line.split()[0] for line in listed.splitlines() if package in line]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        (deployed.folder / "probe" / "dying" / "go").touch()
        printed, messages = running.communicate(timeout=200)
    finally:
        ended.set()
        killer.join()
    assert running.returncode == 1, messages
    result = json.loads(printed)
    assert result["status"] == "INCOMPLETE"
    assert result["counts"]["SUCCESS"] >= 1
    assert result["counts"]["SUCCESS"] + result["counts"]["MISSING"] == 12
    got = lines(deployed, "dying-results.csv")
    assert [line["input_id"] for line in got] == [str(number) for number in range(12)]
    assert [line["_status"] for line in got].count("MISSING") == result["counts"]["MISSING"]


def slow_batch(deployed: Any, probe: str, max_concurrency: int = 2) -> Any:
    deployed.write(f"{probe}.csv", "id,probe,wait_for\n" + "".join(f"{n},{probe},go\n" for n in range(12)))
    mapping = probe_mapping(deployed, max_concurrency=max_concurrency)
    running = deployed.popen("run", f"{probe}.csv", "--target", PROBE_ARN, "--mapping", mapping, "--json")
    eventually((deployed.folder / "probe" / probe / "notes").exists)
    return running


def test_stop_stores_what_is_in_flight_and_runs_no_more(deployed: Any) -> None:
    running = slow_batch(deployed, "stopped")
    assert deployed.json("stop", "last")["status"] == "STOPPING"
    (deployed.folder / "probe" / "stopped" / "go").touch()
    printed, _ = running.communicate(timeout=120)
    result = json.loads(printed)
    assert running.returncode == 1
    assert result["status"] == "INCOMPLETE"
    assert result["counts"]["SUCCESS"] >= 1
    assert result["counts"]["SUCCESS"] + result["counts"]["NOT_RUN"] == 12
    got = lines(deployed, "stopped-results.csv")
    assert [line["input_id"] for line in got] == [str(number) for number in range(12)]
    again = deployed.command("stop", result["batch_id"])
    assert again.returncode == 2
    assert "has ended" in again.stderr


def test_ctrl_c_leaves_the_batch_running(deployed: Any) -> None:
    running = slow_batch(deployed, "left")
    running.send_signal(signal.SIGINT)
    _, messages = running.communicate(timeout=200)
    assert running.returncode == 130
    assert "goes on" in messages
    assert "--follow" in messages
    assert deployed.embedded.running()
    assert deployed.json("status", "last")["status"] == "RUNNING"
    (deployed.folder / "probe" / "left" / "go").touch()
    assert deployed.json("status", "last", "--follow")["status"] == "SUCCEEDED"


def test_an_aborted_execution_closes_the_record(deployed: Any) -> None:
    running = slow_batch(deployed, "aborted")
    status = deployed.json("status", "last")
    stack = deployed.stack
    stack.app.stepfunctions.stop_execution(executionArn=status["execution_arn"], cause="not needed any more")
    record = eventually(lambda: _closed(stack, status["batch_id"]))
    (deployed.folder / "probe" / "aborted" / "go").touch()
    running.communicate(timeout=200)
    assert running.returncode == 1
    assert record.error["type"] == "ABORTED"
    assert sum(record.counts.values()) == 12


def test_a_csv_that_cannot_be_made_ends_the_batch_as_an_error(deployed: Any) -> None:
    running = slow_batch(deployed, "foreign")
    batch = deployed.json("status", "last")["batch_id"]
    deployed.stack.app.store.put(Result(batch, "row_of_something_else", "SUCCESS", {}))
    (deployed.folder / "probe" / "foreign" / "go").touch()
    printed, messages = running.communicate(timeout=200)
    assert (running.returncode, printed) == (3, "")
    assert "something else has written results under this batch's id" in messages
    known = deployed.json("status", batch)
    assert (known["status"], known["csv_location"], known["counts"]["SUCCESS"]) == ("INCOMPLETE", None, 12)


def _closed(stack: Any, batch_id: str) -> Any:
    record = stack.app.records.get(batch_id)
    return record if record.ended_at else None
