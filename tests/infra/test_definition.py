"""Rules of the state machine's definition that neither CloudFormation nor Step Functions checks when it is deployed."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from samtranslator.yaml_helper import yaml_parse

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "infra" / "batch_processor.asl.json").read_text()
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
ROW_MAPS = ("EachRowByTool", "EachRowByAgent")
INVOKES = ("InvokeTool", "InvokeAgent")


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
    service_integrations = re.compile(r"arn:\$\{Partition\}:states:::(lambda|states|s3):[A-Za-z.:0-9]+")
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
    assert STATES["ProcessRows"]["ToleratedFailurePercentage"] == 100
    assert {catcher["Next"] for catcher in STATES["ProcessRows"]["Catch"]} == {"AggregateResults"}


def test_our_own_functions_are_retried_longer_than_a_throttling_lasts() -> None:
    for name in of_type("Task"):
        if name in INVOKES or not name.startswith(("Write", "Handle")):
            continue
        (retrier,) = STATES[name]["Retry"]
        waits = [
            min(retrier["MaxDelaySeconds"], retrier["IntervalSeconds"] * retrier["BackoffRate"] ** attempt)
            for attempt in range(retrier["MaxAttempts"])
        ]
        assert retrier["JitterStrategy"] == "FULL"
        assert sum(waits) > 300, name


# --- size: a state's payload is at most 256 KiB -----------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in of_type("Task") if name not in LEVELS[0].states])
def test_tasks_inside_the_map_keep_only_what_is_named(name: str) -> None:
    """`.sync:2` returns the child's Input beside its Output, lambda:invoke its metadata beside the Payload."""
    state = STATES[name]
    selected = state.get("ResultSelector")
    if selected is None:
        assert state["OutputPath"] == "$.Payload"
        assert "ResultPath" not in state
    else:
        assert "$" not in selected.values()
        assert all(value.startswith(("$.", "$$.")) for value in selected.values())


@pytest.mark.parametrize("name", of_type("Task", "Map"))
def test_a_caught_error_cannot_outgrow_the_payload(name: str) -> None:
    """An error's Cause may have 32,768 characters. Beside a large state it would end the execution with
    States.DataLimitExceeded, which no Catch meets any more. So what only ends takes the error alone (a Fail) or
    nothing of it (a Pass); only what needs both keeps both."""
    keeps_both = {"HandleToolFailure", "HandleAgentFailure", "AggregateResults", "AbandonUpload"}
    for catcher in STATES[name]["Catch"]:
        following = catcher["Next"]
        if following == "AggregationFailed":
            assert catcher["ResultPath"] is None, "why there is no CSV stays the error"
        elif STATES[following]["Type"] == "Fail":
            assert "ResultPath" not in catcher, "the default: the error takes the place of the state"
        elif STATES[following]["Type"] == "Pass":
            assert catcher["ResultPath"] is None
        else:
            assert following in keeps_both
            assert catcher["ResultPath"] in ("$.failure", "$.map_failure")


@pytest.mark.parametrize(
    ("name", "place"), [("BatchRefused", "$"), ("ChunkLost", "$"), ("AggregationFailed", "$.failure")]
)
def test_a_fail_state_passes_the_caught_error_on(name: str, place: str) -> None:
    assert (STATES[name]["ErrorPath"], STATES[name]["CausePath"]) == (f"{place}.Error", f"{place}.Cause")


def test_a_csv_that_cannot_be_made_leaves_no_upload() -> None:
    for catcher in STATES["AggregateResults"]["Catch"]:
        assert (catcher["Next"], catcher["ResultPath"]) == ("AbandonUpload", "$.failure")
    abandon = STATES["AbandonUpload"]
    assert abandon["Parameters"]["Payload.$"] == "$"  # with the continuation, and `failure`, by which it is known
    assert (abandon["ResultPath"], abandon["Next"]) == (None, "AggregationFailed")


def test_the_parent_does_not_grow_with_its_children() -> None:
    processor = STATES["ProcessRows"]
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
    for state in ends.values():
        made = state["ResultSelector"] if state["Type"] == "Task" else state["Parameters"]
        assert {key.removesuffix(".$") for key in made} == {"row_id", "status"}
        assert "ResultPath" not in state
        assert "OutputPath" not in state


@pytest.mark.parametrize("name", INVOKES)
def test_an_output_takes_the_place_of_the_target_input(name: str) -> None:
    """So that both need never fit together."""
    state = STATES[name]
    assert state["ResultPath"] == "$.row.target_input"
    sent = state["Parameters"].get("Payload.$") or state["Parameters"].get("Input.$")
    assert sent == state["ResultPath"]
    written = STATES[state["Next"]]["Parameters"]["Payload"]
    assert written["output.$"] == f"{state['ResultPath']}.output"
    assert written["started_at.$"] == f"{state['ResultPath']}.started_at"


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
    assert {"action.$", "attempt.$", "name.$", "wait_seconds.$", "status.$"} == set(handle["ResultSelector"])
    assert handle["Parameters"]["Payload"]["call.$"] == handle["ResultPath"]


@pytest.mark.parametrize("name", INVOKES)
def test_what_was_caught_is_what_is_handled(name: str) -> None:
    for catcher in STATES[name]["Catch"]:
        assert STATES[catcher["Next"]]["Parameters"]["Payload"]["failure.$"] == catcher["ResultPath"]


def renamed(value: Any) -> Any:
    """A part of the definition with the kinds of target left out of its names."""
    if isinstance(value, dict):
        return {renamed(key): renamed(item) for key, item in value.items()}
    if isinstance(value, list):
        return [renamed(item) for item in value]
    return (
        re.sub(r"(?<=[a-z])(Tool|Agent)|^(Tool|Agent)(?=[A-Z])", "Target", value) if isinstance(value, str) else value
    )


def test_the_two_maps_of_rows_are_the_same_but_for_the_call() -> None:
    tool, agent = (renamed(STATES[name]) for name in ROW_MAPS)
    calls = [machine["ItemProcessor"]["States"].pop("InvokeTarget") for machine in (tool, agent)]
    assert tool == agent
    for call in calls:
        del call["Resource"], call["Parameters"], call["Retry"]
        call["ResultSelector"].pop("output.$")
    assert calls[0] == calls[1]


def test_concurrency_and_time_come_from_the_batch() -> None:
    assert STATES["ProcessRows"]["MaxConcurrencyPath"] == "$.batch.outer"
    assert {STATES[name]["MaxConcurrencyPath"] for name in ROW_MAPS} == {"$.inner"}
    assert {STATES[name]["TimeoutSecondsPath"] for name in INVOKES} == {"$.timeout_seconds"}


def test_agents_are_waited_for() -> None:
    """`.sync:2` needs STANDARD children."""
    assert STATES["InvokeAgent"]["Resource"].endswith(":states:::states:startExecution.sync:2")
    assert STATES["ProcessRows"]["ItemProcessor"]["ProcessorConfig"] == {
        "Mode": "DISTRIBUTED",
        "ExecutionType": "STANDARD",
    }
    assert {STATES[name]["ItemProcessor"]["ProcessorConfig"]["Mode"] for name in ROW_MAPS} == {"INLINE"}
