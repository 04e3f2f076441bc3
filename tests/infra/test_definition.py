"""Rules of the state machine's definition that neither CloudFormation nor Step Functions checks when it is deployed."""

from __future__ import annotations

import json
import re
import runpy
import shutil
import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from places import ROOT
from samtranslator.yaml_helper import yaml_parse

from service.cost.workload import chunk_rows
from service.limits import CHUNK_ROWS, EXPRESS_SECONDS
from service.models import call_name
from service.source.csv_rows import Record
from service.source.row_payload import place_of, room_beside_the_output
from service.throttling import throttle_waits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = (ROOT / "infra" / "batch_processor.asl.json").read_text()
MAKER = runpy.run_path(str(ROOT / "infra" / "make_definition.py"))
DEFINITION: dict[str, Any] = json.loads(TEXT)
MACHINE = yaml_parse((ROOT / "template.yaml").read_text())["Resources"]["BatchProcessorStateMachine"]["Properties"]
SUBSTITUTION = re.compile(r"\$\{([^}]*)\}")
ASL_VALIDATOR = "asl-validator@4.0.0"

# Fields by type of state: Amazon States Language, "State type" and its sections, of JSONPath states.
COMMON = {"Type", "Comment", "QueryLanguage"}
PATHS = {"InputPath", "OutputPath"}
MOVES = {"Next", "End"}
RESULT = {"ResultPath", "Parameters", "Assign"}
FAILURE = {"Retry", "Catch", "ResultSelector"}
FIELDS = {
    "Task": COMMON
    | PATHS
    | MOVES
    | RESULT
    | FAILURE
    | {"Resource", "Credentials", "TimeoutSeconds", "TimeoutSecondsPath", "HeartbeatSeconds", "HeartbeatSecondsPath"},
    "Pass": COMMON | PATHS | MOVES | RESULT | {"Result"},
    "Wait": COMMON | PATHS | MOVES | {"Assign", "Seconds", "SecondsPath", "Timestamp", "TimestampPath"},
    "Choice": COMMON | PATHS | {"Assign", "Choices", "Default"},
    "Fail": COMMON | {"Error", "ErrorPath", "Cause", "CausePath"},
    "Succeed": COMMON | PATHS,
    "Map": COMMON
    | PATHS
    | MOVES
    | RESULT
    | FAILURE
    | {"ItemProcessor", "ItemSelector", "ItemsPath", "MaxConcurrency", "MaxConcurrencyPath"},
}
# Step Functions guide, "Using Map state in Distributed mode": fields that an inline Map does not take.
DISTRIBUTED = {"Label", "ItemReader", "ItemBatcher", "ResultWriter"} | {
    f"ToleratedFailure{measure}{path}" for measure in ("Count", "Percentage") for path in ("", "Path")
}
LEVEL = {"Comment", "StartAt", "States", "TimeoutSeconds", "Version", "QueryLanguage", "ProcessorConfig"}
RETRIER = {"ErrorEquals", "IntervalSeconds", "MaxAttempts", "BackoffRate", "MaxDelaySeconds", "JitterStrategy"}
CATCHER = {"ErrorEquals", "Next", "ResultPath", "Comment", "Assign"}
READER = {"Resource", "ReaderConfig", "Parameters"}
READER_CONFIG = {"InputType", "CSVHeaderLocation", "CSVHeaders", "CSVDelimiter", "MaxItems", "MaxItemsPath"}
WRITER = {"Resource", "Parameters", "WriterConfig"}
CHOICE = {"Variable", "Next", "Comment", "And", "Or", "Not", "Assign"}
COMPARISON = re.compile(
    r"Is(Present|Null|String|Numeric|Boolean|Timestamp)|StringMatches|BooleanEquals(Path)?"
    r"|(String|Numeric|Timestamp)(Equals|LessThan|GreaterThan|LessThanEquals|GreaterThanEquals)(Path)?"
)


class Level(NamedTuple):
    """A machine of its own: the whole, or the ItemProcessor of a Map."""

    name: str
    machine: dict[str, Any]

    @property
    def states(self) -> dict[str, dict[str, Any]]:
        return self.machine["States"]


def levels(name: str = "", machine: dict[str, Any] = DEFINITION) -> Iterator[Level]:
    yield Level(name, machine)
    for state_name, state in machine["States"].items():
        if "ItemProcessor" in state:
            yield from levels(state_name, state["ItemProcessor"])


LEVELS = list(levels())
STATES = {name: state for level in LEVELS for name, state in level.states.items()}
KINDS = {"": ("Tool", "Agent", "SyncAgent"), "Express": ("Tool", "SyncAgent")}  # by how the names of states begin
ROW_MAPS = tuple(f"{mark}EachRowBy{kind}" for mark, kinds in KINDS.items() for kind in kinds)
INVOKES = tuple(f"{mark}Invoke{kind}" for mark, kinds in KINDS.items() for kind in kinds)
CHUNK_MAPS = {"ProcessRows": "STANDARD", "ProcessRowsInExpress": "EXPRESS"}


def of_type(*kinds: str) -> list[str]:
    return [name for name, state in STATES.items() if state["Type"] in kinds]


def targets(state: dict[str, Any]) -> list[str]:
    """Every state that may follow."""
    choices = [*state.get("Choices", []), *state.get("Catch", [])]
    return [state[key] for key in ("Next", "Default") if key in state] + [choice["Next"] for choice in choices]


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)


def is_caught(state: dict[str, Any]) -> list[list[str]]:
    return [catcher["ErrorEquals"] for catcher in state["Catch"]]


# --- the file and the template ----------------------------------------------------------------------------------------


def test_the_file_is_what_its_maker_writes() -> None:
    assert MAKER["text"]() == TEXT, "run `make definition`"


def test_names_of_states_are_unique() -> None:
    assert len(STATES) == sum(len(level.states) for level in LEVELS)


def test_substitutions_are_those_of_the_template() -> None:
    """CloudFormation replaces the names of DefinitionSubstitutions in the file, and nothing else: `${AWS::Partition}`
    or `${Function.Arn}` would stay as they are (AWS::StepFunctions::StateMachine, DefinitionSubstitutions)."""
    used = set(SUBSTITUTION.findall(TEXT))
    assert used == set(MACHINE["DefinitionSubstitutions"])
    assert all(re.fullmatch(r"[A-Za-z0-9]+", name) for name in used)


def test_substitutions_stand_only_inside_strings_and_never_in_a_key() -> None:
    assert sum(len(SUBSTITUTION.findall(text)) for text in strings(DEFINITION)) == len(SUBSTITUTION.findall(TEXT))
    assert not [name for name in STATES if SUBSTITUTION.search(name)]


def test_functions_are_called_by_published_version() -> None:
    arns = {name: value for name, value in MACHINE["DefinitionSubstitutions"].items() if name.endswith("FunctionArn")}
    assert arns == {name: {"Ref": f"{name.removesuffix('Arn')}.Version"} for name in arns}
    assert len(arns) == 4


def test_no_account_or_region_is_written_down() -> None:
    arns = [text for text in strings(DEFINITION) if "arn:" in text]
    service_integrations = re.compile(r"arn:\$\{Partition\}:states:::(lambda|states|s3|aws-sdk:sfn):[A-Za-z.:0-9]+")
    assert arns
    assert [text for text in arns if not service_integrations.fullmatch(text)] == []
    assert not re.search(r"\d{12}|\b(?:us|eu|ap|sa|ca|me|af)-[a-z]+-\d\b", TEXT)


def test_asl_validator_accepts_it(tmp_path: Path) -> None:
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        pytest.skip("asl-validator needs npm and node on PATH")
    folder = ROOT / "build" / "asl-validator"
    program = folder / "node_modules" / "asl-validator" / "dist" / "bin" / "asl-validator.js"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        install = [npm, "install", "--prefix", str(folder), "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run([*install, ASL_VALIDATOR], capture_output=True, text=True, check=False, timeout=300)
        if done.returncode:
            pytest.skip(f"npm could not install {ASL_VALIDATOR}: {done.stderr[-500:]}")

    def check(text: str) -> subprocess.CompletedProcess[str]:
        file = tmp_path / "definition.asl.json"
        file.write_text(text)
        command = [node, str(program), "--json-path", str(file)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    arn = "arn:aws:lambda:us-east-1:123456789012:function:sample:1"
    sample = {"Partition": "aws", "DataBucket": "sample-bucket"}
    text = SUBSTITUTION.sub(lambda found: sample.get(found[1], arn), TEXT)
    accepted = check(text)
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    assert check(text.replace('"Default": "BatchDone"', '"Default": "Nowhere"')).returncode != 0


# --- structure --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name or "machine")
def test_every_transition_leads_somewhere_and_every_state_is_reached(level: Level) -> None:
    named = [level.machine["StartAt"], *(target for state in level.states.values() for target in targets(state))]
    assert [name for name in named if name not in level.states] == []
    reached: set[str] = set()
    ahead = [level.machine["StartAt"]]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached.add(name)
            ahead += targets(level.states[name])
    assert set(level.states) - reached == set()


@pytest.mark.parametrize("level", LEVELS, ids=lambda level: level.name or "machine")
def test_every_state_can_come_to_an_end(level: Level) -> None:
    ends = {name for name, state in level.states.items() if state.get("End") or state["Type"] in ("Fail", "Succeed")}
    while more := {name for name, state in level.states.items() if ends.intersection(targets(state))} - ends:
        ends |= more
    assert set(level.states) == ends


@pytest.mark.parametrize("name", STATES)
def test_a_state_moves_on_or_ends_but_not_both(name: str) -> None:
    state = STATES[name]
    moves = [key for key in ("Next", "End") if key in state]
    assert len(moves) == (0 if state["Type"] in ("Choice", "Fail", "Succeed") else 1)
    if state["Type"] == "Choice":
        assert "Default" in state, "no choice matched would be States.NoChoiceMatched, which a Choice cannot catch"


@pytest.mark.parametrize("name", STATES)
def test_only_documented_fields(name: str) -> None:
    state = STATES[name]
    allowed = FIELDS[state["Type"]]
    if state["Type"] == "Map" and state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED":
        allowed = allowed | DISTRIBUTED
    assert set(state) - allowed == set()
    for retrier in state.get("Retry", []):
        assert set(retrier) - RETRIER == set()
    for catcher in state.get("Catch", []):
        assert set(catcher) - CATCHER == set()
    for choice in state.get("Choices", []):
        others = set(choice) - CHOICE
        assert len(others) == 1
        assert COMPARISON.fullmatch(others.pop())


def test_only_documented_fields_of_machines_readers_and_writers() -> None:
    for level in LEVELS:
        assert set(level.machine) - LEVEL == set()
        assert ("ProcessorConfig" in level.machine) == bool(level.name)
    processor = STATES["ProcessRows"]
    assert set(processor["ItemReader"]) - READER == set()
    assert set(processor["ItemReader"]["ReaderConfig"]) - READER_CONFIG == set()
    assert set(processor["ResultWriter"]) - WRITER == set()


def test_the_whole_is_jsonpath() -> None:
    assert not [text for text in strings(DEFINITION) if text == "QueryLanguage" or text.startswith("{%")]


def test_limits_of_the_machine() -> None:
    assert DEFINITION["TimeoutSeconds"] == 604_800
    assert len(TEXT.encode()) < 1024 * 1024  # Step Functions quotas, "definition size"
    assert all(len(name) <= 80 for name in STATES)  # Amazon States Language, "States"


# --- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type("Task"))
def test_every_task_is_retried_and_caught(name: str) -> None:
    assert STATES[name]["Retry"]
    assert STATES[name]["Catch"]


@pytest.mark.parametrize("name", of_type("Task", "Map"))
def test_every_failure_is_caught(name: str) -> None:
    """Step Functions guide, "Handling errors": States.ALL stands alone and last, and does not catch
    States.DataLimitExceeded."""
    state = STATES[name]
    assert is_caught(state)[-1] == ["States.ALL"]
    assert ["States.DataLimitExceeded"] in is_caught(state)[:-1]
    for errors in (is_caught(state), [retrier["ErrorEquals"] for retrier in state.get("Retry", [])]):
        assert all("States.ALL" not in some for some in errors[:-1])
        assert all(some == ["States.ALL"] for some in errors if "States.ALL" in some)


def test_calls_of_targets_are_retried_for_throttling_and_service_errors_alone() -> None:
    for name in INVOKES:
        errors = [error for retrier in STATES[name]["Retry"] for error in retrier["ErrorEquals"]]
        assert not [error for error in errors if error.startswith("States.")]


def test_no_iteration_of_a_row_can_fail() -> None:
    """One failed iteration aborts its neighbours' paid calls."""
    for map_name in ROW_MAPS:
        states = STATES[map_name]["ItemProcessor"]["States"]
        assert "Fail" not in {state["Type"] for state in states.values()}


def test_a_chunk_that_fails_does_not_end_the_batch() -> None:
    for name, following in {"ProcessRows": "AggregateResults", "ProcessRowsInExpress": "FindUnfinished"}.items():
        assert STATES[name]["ToleratedFailurePercentage"] == 100
        assert {catcher["Next"] for catcher in STATES[name]["Catch"]} == {following}
        assert STATES[name]["Next"] == following
    assert {catcher["Next"] for catcher in STATES["FindUnfinished"]["Catch"]} == {"AggregateResults"}


def waits(retrier: dict[str, Any]) -> float:
    """Seconds that a retrier waits in all, on average: with full jitter half of the longest."""
    assert retrier["JitterStrategy"] == "FULL"
    longest = (
        retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempt for attempt in range(retrier["MaxAttempts"])
    )
    return sum(min(retrier["MaxDelaySeconds"], seconds) for seconds in longest) / 2


@pytest.mark.parametrize("name", ["WriteToolResult", "WriteAgentResult", "WriteSyncAgentResult", "FinishChunk"])
def test_what_was_paid_for_waits_half_an_hour_for_its_function(name: str) -> None:
    """Other functions of the account may use up its concurrency meanwhile."""
    assert waits(STATES[name]["Retry"][-1]) > 30 * 60


def test_failures_are_retried_longer_than_a_throttling_lasts() -> None:
    for name in of_type("Task"):
        if name.startswith("Handle"):
            assert waits(STATES[name]["Retry"][-1]) > 120, name


def test_an_express_execution_has_time_for_every_retry_beside_its_rows() -> None:
    """It ends after five minutes (Step Functions guide, "Choosing workflow type"): what has to be done before the first
    call and after the last one, each retried as often as it may be, fits beside the seconds that rows are given."""
    states = {name: state for name, state in STATES.items() if name.startswith("Express") and state["Type"] == "Task"}
    around = sum(
        2 * waits(retrier)  # full jitter: at most twice the mean
        for name in ("ExpressTransformInput", "ExpressWriteToolResult", "ExpressFinishChunk")
        for retrier in states[name]["Retry"]
        if retrier["MaxAttempts"]
    )
    assert EXPRESS_SECONDS + around <= 300
    for state in states.values():
        assert all(2 * waits(retrier) <= 20 for retrier in state["Retry"] if retrier["MaxAttempts"])


def test_what_an_express_execution_does_not_finish_has_no_record_and_is_run_again() -> None:
    """So that FindUnfinished finds it: nothing but FinishChunk records a chunk there, and every other end fails."""
    inner = STATES["ProcessRowsInExpress"]["ItemProcessor"]["States"]
    ends = {name for name, state in inner.items() if state.get("End") or state["Type"] == "Fail"}
    assert ends == {"ExpressFinishChunk", "ExpressChunkUnfinished"}
    caught = {
        catcher["Next"]
        for name in ("ExpressTransformInput", "ExpressFinishChunk", *ROW_MAPS[-2:])
        for catcher in inner[name]["Catch"]
    }
    assert caught == {"ExpressChunkUnfinished"}
    assert inner["ExpressFinishChunk"]["Retry"][0] == {"ErrorEquals": ["ChunkUnfinished"], "MaxAttempts": 0}
    assert STATES["FindUnfinished"]["Next"] == "AnyUnfinished"
    assert targets(STATES["AnyUnfinished"]) == ["AggregateResults", "ProcessRows"]


def test_an_express_execution_waits_for_no_other_one() -> None:
    """`.sync` is refused in EXPRESS executions at creation (Step Functions guide, "Run a Job (.sync)")."""
    inside = strings(STATES["ProcessRowsInExpress"]["ItemProcessor"])
    assert not [text for text in inside if ".sync" in text or "waitForTaskToken" in text]


def test_an_output_that_is_refused_is_not_written_again_and_again() -> None:
    for mark, kind in ((mark, kind) for mark, kinds in KINDS.items() for kind in kinds):
        write = STATES[f"{mark}Write{kind}Result"]
        assert write["Retry"][0] == {"ErrorEquals": ["OutputRefused"], "MaxAttempts": 0}
        refused = write["Catch"][0]
        assert (refused["ErrorEquals"], refused["Next"]) == (["OutputRefused"], f"{mark}Handle{kind}Refusal")
        assert refused["ResultPath"] == "$.row.target_input", "the error takes the place of the output"
        handle = STATES[refused["Next"]]
        assert handle["Parameters"]["Payload"]["refusal.$"] == refused["ResultPath"]
        assert handle["ResultPath"] == "$.row"
        assert set(handle["ResultSelector"]) == {"row_id.$", "row.$", "target_input.$", "call.$"}


def events_of(state: dict[str, Any]) -> int:
    """Events that a state leaves in the history at most: entered, scheduled, started, ended, exited; three more for
    every retry (Step Functions API reference, HistoryEvent)."""
    if state["Type"] != "Task":
        return 2
    return 5 + 3 * sum(retrier["MaxAttempts"] for retrier in state["Retry"])


@pytest.mark.parametrize("attempts", [1, 2, 3, 4, 10, 100])
@pytest.mark.parametrize("throttled_seconds", [0, 600, 1_800, 3_600, 86_400])
@pytest.mark.parametrize("kind", ["Tool", "Agent", "SyncAgent"])
def test_a_chunks_history_has_room_for_every_retry(kind: str, throttled_seconds: int, attempts: int) -> None:
    """25,000 events (Step Functions quotas), after which the execution fails with all that it has under way."""
    invoke, write, failed, refused, again, wait = (
        events_of(STATES[name])
        for name in (
            f"Invoke{kind}",
            f"Write{kind}Result",
            f"Handle{kind}Failure",
            f"Handle{kind}Refusal",
            f"Retry{kind}",
            f"WaitFor{kind}",
        )
    )
    refusal = invoke + write + refused + again + wait
    throttling = invoke + failed + again + wait
    row = (
        2
        + (attempts - 1 + throttle_waits(throttled_seconds)) * max(refusal, throttling)
        + invoke
        + write
        + failed
        + again
        + 2
    )
    around = ("TransformInput", "ByKind", "FinishChunk", "ChunkNotCounted", "RecordLostChunk")
    chunk = 2 + sum(events_of(STATES[name]) for name in around)
    rows = chunk_rows(attempts, throttled_seconds)
    assert chunk + 10 + rows * row <= 25_000
    assert rows == 1 or rows >= 0.9 * (25_000 - chunk) // row or rows == CHUNK_ROWS, "no smaller than it must be"


# --- size: a state's payload is at most 256 KiB -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in of_type("Task") if name not in LEVELS[0].states])
def test_tasks_inside_the_map_keep_only_what_is_named(name: str) -> None:
    """`.sync:2` returns the child's Input beside its Output, lambda:invoke its metadata beside the Payload."""
    state = STATES[name]
    selected = state.get("ResultSelector")
    if selected is None and "ResultPath" in state:
        assert state["ResultPath"] is None, "nothing of it is kept"
    elif selected is None:
        assert state["OutputPath"] == "$.Payload"
    else:
        kept = [value for value in strings(selected) if value.startswith("$")]
        assert "$" not in kept
        assert len(kept) == len([key for key in strings(selected) if key.endswith(".$")])


@pytest.mark.parametrize("name", of_type("Task", "Map"))
def test_a_caught_error_cannot_outgrow_the_payload(name: str) -> None:
    """An error's Cause may have 32,768 characters. Beside a large state it would end the execution with
    States.DataLimitExceeded, which no Catch meets any more. So what only ends takes the error alone (a Fail) or
    nothing of it (a Pass); only what needs both keeps both."""
    keeps_both = {"AggregateResults", "AbandonUpload", "RecordLostChunk"}
    keeps_both |= {f"{mark}Handle{kind}Failure" for mark, kinds in KINDS.items() for kind in kinds}
    for catcher in STATES[name]["Catch"]:
        following = catcher["Next"]
        if following in ("AggregationFailed", "ChunkLost"):
            assert catcher["ResultPath"] is None, "why there is no CSV, or no chunk, stays the error"
        elif following == "FindUnfinished":
            assert catcher["ResultPath"] is None, "chunks without a record say what is left to do"
        elif following.endswith("RowLost") or STATES[following]["Type"] == "Fail":
            assert "ResultPath" not in catcher, "the default: the error takes the place of the state"
        elif STATES[following]["Type"] == "Pass":
            assert catcher["ResultPath"] is None
        elif following.endswith("Refusal"):
            assert catcher["ResultPath"] == "$.row.target_input", "in the place of the output"
        else:
            assert following in keeps_both
            assert catcher["ResultPath"] in ("$.failure", "$.map_failure", "$.lost")


@pytest.mark.parametrize(
    ("name", "place"), [("BatchRefused", "$"), ("ChunkLost", "$.lost"), ("AggregationFailed", "$.failure")]
)
def test_a_fail_state_passes_the_caught_error_on(name: str, place: str) -> None:
    assert (STATES[name]["ErrorPath"], STATES[name]["CausePath"]) == (f"{place}.Error", f"{place}.Cause")


def test_a_csv_that_cannot_be_made_leaves_no_upload() -> None:
    for catcher in STATES["AggregateResults"]["Catch"]:
        assert (catcher["Next"], catcher["ResultPath"]) == ("AbandonUpload", "$.failure")
    abandon = STATES["AbandonUpload"]
    # with the continuation, and `failure`, by which it is known
    assert abandon["Parameters"]["Payload"]["state.$"] == "$"
    assert (abandon["ResultPath"], abandon["Next"]) == (None, "AggregationFailed")


def test_the_parent_does_not_grow_with_its_children() -> None:
    for name in CHUNK_MAPS:
        processor = STATES[name]
        assert processor["ResultPath"] is None
        assert processor["ResultWriter"]["Resource"].endswith(":states:::s3:putObject")
        assert processor["ResultWriter"]["Parameters"] == {
            "Bucket": "${DataBucket}",
            "Prefix.$": "$.batch.map_results_prefix",
        }
        assert 0 < len(processor["Label"]) <= 40
        assert not re.search(r'[\s?*<>{}\[\]:;,\\|^~$#%&`"]', processor["Label"])


@pytest.mark.parametrize("map_name", ROW_MAPS)
def test_an_iteration_ends_with_two_words(map_name: str) -> None:
    """A chunk's results travel beside its rows."""
    ends = {name: state for name, state in STATES[map_name]["ItemProcessor"]["States"].items() if state.get("End")}
    assert len(ends) == 3
    for name, state in ends.items():
        made = state["ResultSelector"] if state["Type"] == "Task" else state["Parameters"]
        more = {"error"} if name.endswith("RowLost") else set()  # an error's name, of at most 256 characters
        assert {key.removesuffix(".$") for key in made} == {"row_id", "status"} | more
        assert "ResultPath" not in state
        assert "OutputPath" not in state


@pytest.mark.parametrize("name", INVOKES)
def test_an_output_takes_the_place_of_the_target_input(name: str) -> None:
    """So that both need never fit together."""
    state = STATES[name]
    assert state["ResultPath"] == "$.row.target_input"
    sent = state["Parameters"].get("Payload.$") or state["Parameters"].get("Input.$")
    assert sent.removeprefix("States.JsonToString(").rstrip(")") == state["ResultPath"]
    written = STATES[state["Next"]]["Parameters"]["Payload"]
    assert written["output.$"] == f"{state['ResultPath']}.output"
    assert written["started_at.$"] == f"{state['ResultPath']}.started_at"


# What the three integrations answer, with the shortest values that they can have; the names are those of recorded
# executions (localstack's validated snapshots: test_lambda_task_service, test_sfn_task_service; Step Functions guide,
# "Start workflow executions from a task state").
_HEADERS = {
    "X-Amz-Executed-Version": "1",
    "x-amzn-Remapped-Content-Length": "0",
    "Connection": "keep-alive",
    "x-amzn-RequestId": "0f0d3c5e-8a0e-4a83-9f5e-2f6b5d1c7a10",
    "Content-Length": "262000",
    "Date": "Wed, 06 Nov 2025 12:31:47 GMT",
    "X-Amzn-Trace-Id": "Root=1-5fa456b2-beda73b8340f62daf4d397fe;Sampled=0",
    "Content-Type": "application/json",
}
TARGETS = {
    "tool": "arn:aws:lambda:us-east-1:123456789012:function:t",
    "agent": "arn:aws:states:us-east-1:123456789012:stateMachine:a",
    "sync_agent": "arn:aws:states:us-east-1:123456789012:stateMachine:a",
}
WORDS = {"tool": "Tool", "agent": "Agent", "sync_agent": "SyncAgent"}


def answer(kind: str, output: Any, sent: Any, name: str) -> dict[str, Any]:
    if kind == "tool":
        every = {header: [value] for header, value in _HEADERS.items()}
        return {
            "ExecutedVersion": "1",
            "Payload": output,
            "SdkHttpMetadata": {"AllHttpHeaders": every, "HttpHeaders": _HEADERS, "HttpStatusCode": 200},
            "SdkResponseMetadata": {"RequestId": _HEADERS["x-amzn-RequestId"]},
            "StatusCode": 200,
        }
    answered = {
        "ExecutionArn": f"{TARGETS['agent'].replace('stateMachine', 'execution')}:{name}",
        "Input": sent,
        "InputDetails": {"Included": True},
        "Name": name,
        "Output": output,
        "OutputDetails": {"Included": True},
        "StartDate": 1_700_000_000_000,
        "StateMachineArn": TARGETS["agent"],
        "Status": "SUCCEEDED",
        "StopDate": 1_700_000_000_000,
    }
    if kind == "agent":
        return answered
    return {  # input and output are texts, and so escaped once more (Step Functions API reference)
        **answered,
        "BillingDetails": {"BilledDurationInMilliseconds": 0, "BilledMemoryUsedInMB": 0},
        "ExecutionArn": f"{TARGETS['agent'].replace('stateMachine', 'express')}:{name}:{'0' * 36}",
        "Input": json.dumps(sent, separators=(",", ":")),
    }


def bytes_of(value: Any) -> int:
    return len(json.dumps(value, separators=(",", ":")).encode())


def filled(template: Any, state: dict[str, Any], context: dict[str, Any]) -> Any:
    """A payload template with its paths looked up."""
    if not isinstance(template, dict):
        return template
    made = {}
    for key, value in template.items():
        if not key.endswith(".$"):
            made[key] = filled(value, state, context)
            continue
        if value.startswith("$.."):
            made[key.removesuffix(".$")] = [state[value[3:]]] if value[3:] in state else []
            continue
        found: Any = context if value.startswith("$$.") else state
        for step in value.lstrip("$").strip(".").split("."):
            found = found[step] if step else found
        made[key.removesuffix(".$")] = found
    return made


@pytest.mark.parametrize("name_length", [1, 120])
@pytest.mark.parametrize("cells", [1, 40])
@pytest.mark.parametrize("kind", ["tool", "agent", "sync_agent"])
def test_no_answer_that_is_taken_can_outgrow_the_payload_afterwards(kind: str, cells: int, name_length: int) -> None:
    """The worst case: an answer of just the size that is still no States.DataLimitExceeded, and beside it the longest
    row that TransformInput lets travel. The state after Invoke, and the call of WriteResult, must not be larger."""
    shared = {
        "batch_id": "t" * name_length + "#" + "e" * 80,
        "run": 99,
        "attempts": 99,
        "plan": "0" * 16,
        "until": 9_999_999_999,
    }
    chunk = {
        **shared,
        "chunk": {"number": 10**8},
        "kind": kind,
        "target_arn": TARGETS[kind],
        "timeout_seconds": 604_800,
    }
    name = call_name(shared["batch_id"], 10**10 - 1, 99, 100)
    # An agent's answer holds its input: of the longest ids, an input of a few words leaves room for the row's place.
    said = "x" * (150 if name_length > 1 else 70)
    sent = {"messages": [{"role": "user", "content": said}], "input": {"text": said}}
    room = room_beside_the_output(chunk) + (0 if kind == "tool" else len(json.dumps(sent, separators=(",", ":"))))
    # its place, where its cells are too long
    row: Any = place_of(Record(10**10 - 1, 10**10, 10**13, 10**13, []))
    longest = ["x" * max(0, room // cells - 5)] * cells
    if bytes_of(longest) <= room:
        row = longest
    assert name_length > 1 or kind != "tool" or row is longest, "short ids leave room for a row"
    call = {"action": "retry", "attempt": 100, "waits": 4, "name": name, "wait_seconds": 604_800, "status": ""}
    item = {"row_id": "row_9999999999", "row": row, "target_input": sent, "call": call}
    context = {"Map": {"Item": {"Value": item}}, "State": {"EnteredTime": "2025-01-01T00:00:00.000Z"}}

    each = STATES[f"EachRowBy{WORDS[kind]}"]
    invoke, write = STATES[f"Invoke{WORDS[kind]}"], STATES[f"Write{WORDS[kind]}Result"]
    state = filled(each["ItemSelector"], chunk, context)
    output = "x" * (262_144 - bytes_of(answer(kind, "", sent, name)))
    given = answer(kind, output, sent, name)
    assert bytes_of(given) == 262_144
    assert invoke["ResultPath"] == "$.row.target_input"
    state["row"]["target_input"] = filled(invoke["ResultSelector"], given, context)
    assert bytes_of(state) <= 262_144
    called = filled(write["Parameters"], state, context)
    called["FunctionName"] = "x" * 140
    assert bytes_of(called) <= 262_144


# --- what one state produces and another reads ------------------------------------------------------------------------


@pytest.mark.parametrize("name", of_type("Wait"))
def test_a_waits_path_is_produced(name: str) -> None:
    (path,) = [value for key, value in STATES[name].items() if key.endswith("Path")]
    where, _, field = path.rpartition(".")
    makers = [state for state in STATES.values() if state["Type"] == "Task" and state.get("ResultPath") == where]
    assert makers
    assert all(f"{field}.$" in state["ResultSelector"] for state in makers)


@pytest.mark.parametrize("map_name", ROW_MAPS)
def test_rows_read_only_what_their_map_selects(map_name: str) -> None:
    selected = {key.removesuffix(".$") for key in STATES[map_name]["ItemSelector"]} | {"failure"}
    for state in STATES[map_name]["ItemProcessor"]["States"].values():
        given = {key: value for key, value in state.items() if key not in ("ResultSelector", "Comment")}
        read = {match[1] for text in strings(given) if (match := re.match(r"\$\.([a-z_]+)", text))}
        assert read - selected == set()


def test_a_row_is_invoked_again_by_the_name_of_its_attempt() -> None:
    """HandleFailure answers with the next attempt's name in the place where InvokeAgent reads it."""
    assert STATES["InvokeAgent"]["Parameters"]["Name.$"] == "$.row.call.name"
    handle = STATES["HandleAgentFailure"]
    assert handle["ResultPath"] == "$.row.call"
    assert {"action.$", "attempt.$", "waits.$", "name.$", "wait_seconds.$", "status.$"} == set(handle["ResultSelector"])
    assert handle["Parameters"]["Payload"]["call.$"] == handle["ResultPath"]


@pytest.mark.parametrize("name", INVOKES)
def test_what_was_caught_is_what_is_handled(name: str) -> None:
    for catcher in STATES[name]["Catch"]:
        assert STATES[catcher["Next"]]["Parameters"]["Payload"]["failure.$"] == catcher["ResultPath"]


def test_concurrency_and_time_come_from_the_batch() -> None:
    assert {STATES[name]["MaxConcurrencyPath"] for name in CHUNK_MAPS} == {"$.batch.outer"}
    assert {STATES[name]["MaxConcurrencyPath"] for name in ROW_MAPS} == {"$.inner"}
    assert {STATES[name]["TimeoutSecondsPath"] for name in INVOKES} == {"$.timeout_seconds"}


def test_agents_are_waited_for() -> None:
    """`.sync:2` needs STANDARD children."""
    assert STATES["InvokeAgent"]["Resource"].endswith(":states:::states:startExecution.sync:2")
    for name, children in CHUNK_MAPS.items():
        processor = STATES[name]["ItemProcessor"]["ProcessorConfig"]
        assert processor == {"Mode": "DISTRIBUTED", "ExecutionType": children}
        assert STATES[name]["ItemSelector"]["children"] == children
    assert {STATES[name]["ItemProcessor"]["ProcessorConfig"]["Mode"] for name in ROW_MAPS} == {"INLINE"}
