"""What a batch costs: the model against the state machine's own definition, the template, and numbers made by hand."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import ROOT
from samtranslator.yaml_helper import yaml_parse

from service.cost import prices, usage
from service.cost.estimate import TargetCost, estimate, money, spent, total
from service.cost.workload import Durations, Profile, Work
from service.export import run
from service.models import Result, error_of, row_id
from service.plan import Plan, RetryPolicy
from service.store import results

DEFINITION = json.loads((ROOT / "infra" / "batch_processor.asl.json").read_text())
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
RESOURCES = TEMPLATE["Resources"]
INDEXES = {
    name: item["Properties"].get("GlobalSecondaryIndexes", [])
    for name, item in RESOURCES.items()
    if item["Type"] == "AWS::DynamoDB::Table"
}
MACHINE = RESOURCES["BatchProcessorStateMachine"]["Properties"]
unhurried = settings(deadline=None)  # others may be at work on the same cores
ATTEMPTS = 3
KINDS = ("tool", "agent", "sync_agent")
WORDS = {"tool": "Tool", "agent": "Agent", "sync_agent": "SyncAgent"}
THROTTLED = {
    "tool": "Lambda.TooManyRequestsException",
    "agent": "StepFunctions.ThrottlingException",
    "sync_agent": "Sfn.ThrottlingException",
}
MODEL_NAMES = {
    "PrepareBatchFunction": "PrepareBatch",
    "InputMapperFunction": "TransformInput",
    "OutputWriterFunction": "WriteResult",
    "ResultAggregatorFunction": "AggregateResults",
}


# --- a walk through the definition ------------------------------------------------------------------------------------


@dataclass
class Chunk:
    """`calls` of each row that can be mapped: ok, fail or throttled, in their order."""

    calls: list[list[str]]
    invalid: int = 0
    stopped: int = 0  # rows of a chunk that is not run
    unfinished: bool = False  # by an EXPRESS execution, which calls none of them


class Walk:
    """Follows Next, Choices, Retry and Catch as Step Functions does; what tasks say is given by the chunks' scripts."""

    def __init__(
        self, chunks: list[Chunk], kind: str = "tool", continuations: int = 0, children: str = "STANDARD"
    ) -> None:
        self.entered: Counter[str] = Counter()
        self.retries = self.children = self.free = 0
        self._left = chunks
        self.functions: Counter[str] = Counter()
        self._chunks, self._kind, self._continuations = chunks, kind, continuations
        rows = sum(len(chunk.calls) + chunk.invalid + chunk.stopped for chunk in chunks)
        self._machine(DEFINITION, {"$.batch.rows_to_run": rows, "$.batch.children": children})

    @property
    def transitions(self) -> int:
        """What is paid for: not those of EXPRESS executions."""
        express = sum(count for name, count in self.entered.items() if name in IN_EXPRESS)
        return self.entered.total() - express + self.retries + self.children

    def _machine(self, machine: dict[str, Any], values: dict[str, Any]) -> None:
        name: str | None = machine["StartAt"]
        while name is not None:
            self.entered[name] += 1
            name = self._after(name, machine["States"][name], values)

    def _after(self, name: str, state: dict[str, Any], values: dict[str, Any]) -> str | None:
        following: str | None = state.get("Next")
        if state["Type"] == "Choice":
            chosen = (choice["Next"] for choice in state["Choices"] if holds(choice, values))
            following = next(chosen, state["Default"])
        elif state["Type"] == "Map":
            self._map(state, values)
        elif state["Type"] == "Task":
            error = self._task(name, state, values)
            if error is not None:
                following = next(c["Next"] for c in state["Catch"] if error in c["ErrorEquals"] or all_of(c))
        return following

    def _map(self, state: dict[str, Any], values: dict[str, Any]) -> None:
        if state["ItemProcessor"]["ProcessorConfig"]["Mode"] == "DISTRIBUTED":
            self.children += len(self._left)
            chunks, self._left = self._left, []
            for chunk in chunks:
                if chunk.unfinished and state["ItemProcessor"]["ProcessorConfig"]["ExecutionType"] == "EXPRESS":
                    self._left.append(chunk)
                else:
                    self._machine(state["ItemProcessor"], {"chunk": chunk})
        else:
            for calls in values["chunk"].calls:
                self._machine(state["ItemProcessor"], {"calls": list(calls)})

    def _task(self, name: str, state: dict[str, Any], values: dict[str, Any]) -> str | None:
        retried: Counter[int] = Counter()
        while True:
            error = self._said(name, state, values)
            found = [at for at, r in enumerate(state["Retry"]) if error in r["ErrorEquals"] or all_of(r)]
            if error is None or not found or retried[found[0]] >= state["Retry"][found[0]]["MaxAttempts"]:
                return error
            retried[found[0]] += 1
            self.retries += 1

    def _said(self, name: str, state: dict[str, Any], values: dict[str, Any]) -> str | None:
        """The error of a task, if any; what it returns is put where the Choices look for it."""
        parameters = state["Parameters"]
        if own := re.fullmatch(r"\$\{(\w+)Arn\}", parameters.get("FunctionName", "")):
            self.functions[own[1]] += 1
        name = name.removeprefix("Express")
        if name == "TransformInput":
            values["$.kind"] = self._kind
        elif name == "FindUnfinished":
            values["$.batch.rows_to_run"] = len(self._left)
        elif name.startswith("Invoke"):
            said = values["calls"].pop(0)
            return None if said == "ok" else THROTTLED[self._kind] if said == "throttled" else "ProbeFailure"
        elif name.startswith("Handle"):
            values["$.row.call.action"] = "retry" if values["calls"] else "done"
        elif name == "AggregateResults":
            values.pop("$.aggregation.result.continuation", None)
            values["$.aggregation.result.status"] = "PARTIAL"
            if self._continuations:
                self._continuations -= 1
                values["$.aggregation.result.continuation"] = {}
        return None


def all_of(matcher: dict[str, Any]) -> bool:
    return matcher["ErrorEquals"] == ["States.ALL"]


def holds(choice: dict[str, Any], values: dict[str, Any]) -> bool:
    value = values.get(choice["Variable"])
    if "IsPresent" in choice:
        return (choice["Variable"] in values) == choice["IsPresent"]
    if "NumericGreaterThan" in choice:
        return bool(value > choice["NumericGreaterThan"])
    if "NumericEquals" in choice:
        return bool(value == choice["NumericEquals"])
    return bool(value == choice["StringEquals"])


def names_of(machine: dict[str, Any]) -> set[str]:
    """Of the states of a machine, and of those within its maps."""
    inside = [names_of(state["ItemProcessor"]) for state in machine["States"].values() if "ItemProcessor" in state]
    return set(machine["States"]).union(*inside)


IN_EXPRESS = names_of(DEFINITION["States"]["ProcessRowsInExpress"]["ItemProcessor"])


def profile_of(kind: str, **more: Any) -> Profile:
    synchronous = kind == "sync_agent"
    return Profile(kind="tool" if kind == "tool" else "agent", synchronous=synchronous, **more)


OK, CURED, LOST = ["ok"], ["fail", "fail", "ok"], ["fail"] * ATTEMPTS
HAND_MADE: dict[str, tuple[list[Chunk], dict[str, int], int, int]] = {
    # chunks, counts, calls made again, transitions
    "no row": ([], {}, 0, 5),
    "a row": ([Chunk([OK])], {"SUCCESS": 1}, 0, 6 + 5 + 2),
    "a row that fails three times": ([Chunk([LOST])], {"FAILED": 1}, 2, 6 + 5 + 12),
    "a row that answers at the third call": ([Chunk([CURED])], {"SUCCESS": 1}, 2, 6 + 5 + 8 + 2),
    "a row that cannot be mapped": ([Chunk([], invalid=1)], {"INVALID_INPUT": 1}, 0, 6 + 5),
    "a chunk that is not run": ([Chunk([], stopped=7)], {"NOT_RUN": 7}, 0, 6 + 5),
    "several": (
        [Chunk([OK, OK, LOST]), Chunk([CURED, OK], invalid=2), Chunk([], stopped=4)],
        {"SUCCESS": 4, "FAILED": 1, "INVALID_INPUT": 2, "NOT_RUN": 4},
        4,
        6 + 15 + 3 * 2 + 12 + 10,
    ),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("case", HAND_MADE)
def test_transitions_by_hand_by_the_definition_and_by_the_model(case: str, kind: Any) -> None:
    chunks, counts, retries, expected = HAND_MADE[case]
    assert Walk(chunks, kind).transitions == expected
    modelled = spent(counts, profile_of(kind), chunks=len(chunks), retries=retries)
    assert modelled.parts["transitions"].quantity == expected


def test_a_row_takes_two_transitions_whatever_it_is_given_to() -> None:
    for kind in KINDS:
        assert Walk([Chunk([OK] * 9)], kind).transitions - Walk([Chunk([OK] * 8)], kind).transitions == 2


@pytest.mark.parametrize("kind", ["tool", "sync_agent"])
def test_an_express_chunk_takes_one_transition_and_one_that_it_does_not_finish_those_of_a_standard_one(
    kind: Any,
) -> None:
    rows = [Chunk([OK] * 4) for _ in range(5)]
    walk = Walk(rows, kind, children="EXPRESS")
    express = profile_of(kind, children="EXPRESS")
    modelled = spent({"SUCCESS": 20}, express, chunks=5, retries=0)
    assert modelled.parts["transitions"].quantity == walk.transitions == 6 + 2 + 5
    assert modelled.parts["lambda_requests"].quantity == walk.functions.total() == 2 + 5 * 2 + 20 + 1

    walk = Walk([*rows[:3], *(replace(chunk, unfinished=True) for chunk in rows[3:])], kind, children="EXPRESS")
    modelled = spent({"SUCCESS": 20}, express, chunks=5, retries=0, run_again=2)
    assert modelled.parts["transitions"].quantity == walk.transitions == 6 + 2 + 5 + 1 + 2 * 5 + 8 * 2
    # a chunk that was begun in vain has called TransformInput too, which the walk passes by
    assert modelled.parts["lambda_requests"].quantity == walk.functions.total() + 4


ROWS = st.integers(0, ATTEMPTS - 1).map(lambda fails: ["fail"] * fails + ["ok"]) | st.just(LOST)
CHUNKS = st.lists(
    st.builds(Chunk, st.lists(ROWS, max_size=8), st.integers(0, 3))
    | st.builds(Chunk, st.just([]), st.just(0), st.just(5)),
    max_size=6,
)


@unhurried
@given(chunks=CHUNKS.filter(lambda chunks: all(chunk.calls or chunk.invalid or chunk.stopped for chunk in chunks)))
def test_any_batch_takes_the_transitions_and_requests_that_the_model_says(chunks: list[Chunk]) -> None:
    calls = [row for chunk in chunks for row in chunk.calls]
    failed = sum(row[-1] == "fail" for row in calls)
    counts = {
        "SUCCESS": len(calls) - failed,
        "TIMEOUT": failed,
        "INVALID_INPUT": sum(chunk.invalid for chunk in chunks),
        "NOT_RUN": sum(chunk.stopped for chunk in chunks),
    }
    modelled = spent(counts, chunks=len(chunks), retries=sum(map(len, calls)) - len(calls))
    for kind in KINDS:
        walk = Walk(chunks, kind)
        assert modelled.parts["transitions"].quantity == walk.transitions
        assert modelled.parts["lambda_requests"].quantity == walk.functions.total()
        assert modelled.calls == sum(map(len, calls)) == walk.entered[f"Invoke{WORDS[kind]}"]


@pytest.mark.parametrize("kind", KINDS)
def test_retries_of_a_state_and_continuations_of_the_aggregation(kind: Any) -> None:
    walk = Walk([Chunk([["throttled", "throttled", "ok"], OK])], kind, continuations=4)
    work = replace(RUN, lines=2, results=2, mapped=2, answered=2, stored=2, chunks=1, aggregations=5, state_retries=2)
    assert parts(work)["transitions"] == walk.transitions == 4 + 2 * 5 + 5 + 2 * 2 + 2
    assert parts(work)["lambda_requests"] == walk.functions.total() == 1 + 2 + 2 + 5


def test_a_walk_sees_another_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the walk is one through the definition, and not one beside it."""
    other = json.loads(json.dumps(DEFINITION).replace('"Default": "BatchDone"', '"Default": "AnotherState"'))
    other["States"]["AnotherState"] = {"Type": "Pass", "Next": "BatchDone"}
    monkeypatch.setitem(globals(), "DEFINITION", other)
    assert Walk([Chunk([OK])]).transitions == HAND_MADE["a row"][3] + 1


# --- other quantities, by hand ----------------------------------------------------------------------------------------

NONE = {"lines": 0, "results": 0, "mapped": 0, "answered": 0, "failed": 0, "retried": 0, "stored": 0}
RUN = Work(**NONE, unsuccessful=0, chunks=0)
TINY = Work(  # 12 rows in two chunks: 8 succeed, two of them at the second call; 2 fail for good; 2 cannot be mapped
    lines=12, results=12, mapped=12, answered=8, failed=8, retried=6, stored=12, unsuccessful=4, chunks=2
)  # fmt: skip


def parts(work: Work, profile: Profile | None = None) -> Counter[str]:
    found: Counter[str] = Counter()
    for term in usage.terms(work, profile or Profile()):
        found[term.part] += term.quantity  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("profile", "part", "expected"),
    [
        (Profile(), "transitions", 6 + 2 * 5 + 8 * 2 + 8 * 4),
        (Profile(), "lambda_requests", 1 + 2 + 8 + 8 + 2 + 1),
        # 12 results, 12 + 4 entries of indexes, 4 failures, 2 chunks twice, plan, record of 3 units 9 times
        (Profile(item_bytes=1024), "write_units", 12 + 16 + 4 + 2 + 2 + 1 + 27),
        (Profile(item_bytes=1025), "write_units", 24 + 16 + 4 + 2 + 2 + 1 + 27),
        (Profile(item_bytes=(100, 2049)), "write_units", 12 * 2 + 16 + 4 + 2 + 2 + 1 + 27),  # 1 and 3: 2 on average
        (
            Profile(item_bytes=100, row_bytes=900, error_bytes=900),
            "write_units",
            12 + 8 + 4 * 2 + 4 * 3 + 4 + 2 + 2 + 1 + 27,
        ),
        # 3 for 12 results, one page, 2 chunks, 6 retries, 12 times the plan, 3 times the record, the target
        (Profile(item_bytes=1024), "read_units", 3 + 1 + 2 + 6 + 12 + 3 + 1),
        (Profile(item_bytes=1024, columns_known=False), "read_units", 6 + 2 + 2 + 6 + 12 + 3 + 1),
        (Profile(item_bytes=1024, record_bytes=4097), "read_units", 3 + 1 + 4 + 12 + 12 + 6 + 1),
        (Profile(), "s3_puts", 5 + 1),
        (Profile(output_bytes=4097), "s3_puts", 5 + 1 + 8),
        (Profile(row_bytes=2 << 20), "s3_puts", 5 + 2 + 4),
        (Profile(), "s3_gets", 3 + 2),
        (Profile(), "traces", 3),
        (Profile(row_bytes=481), "s3_gets", 3 + 2 + 16),  # rows too long to stand beside an output are read again
        (Profile(kind="agent", row_bytes=481), "s3_gets", 3 + 2),
        (Profile(kept_days=30.4, item_bytes=900), "backup_gb_months", 12 * 1000 / 1e9),
        (
            Profile(kept_days=15.2, item_bytes=900, row_bytes=100, error_bytes=50),
            "storage_gb_months",
            (12 * (1000 + 290) + 4 * 500) / 2e9,
        ),
        (Profile(children="EXPRESS"), "transitions", 6 + 2 + 2),
        (Profile(children="EXPRESS"), "express_requests", 2),
        (Profile(children="EXPRESS", call_seconds=0.97), "express_gb_seconds", (2 * 0.2 + 16 / 5) / 16),
    ],
)
def test_quantities_of_a_tiny_batch_by_hand(profile: Profile, part: str, expected: float) -> None:
    assert parts(TINY, profile)[part] == pytest.approx(expected, rel=1e-12)


def test_gb_seconds_of_a_tiny_batch_by_hand() -> None:
    took = Durations(1, 0.1, 2, 0.2, 3, 4, 5, 6, 0.3, 7)
    profile = Profile(durations=took, concurrency=4)
    prepare, aggregate = 1 + 12 * 0.1 + 7, 6 + 12 * 0.3 + 7
    transform, write = 2 * 2 + 12 * 0.2 + 1 * 7, 8 * 3 + 8 * 4 + 2 * 5 + 4 * 7
    expected = 1769 / 1024 * (prepare + aggregate) + 0.5 * (transform + write)
    assert parts(TINY, profile)["lambda_gb_seconds"] == pytest.approx(expected, rel=1e-12)


def test_a_rerun_writes_more_and_reads_the_whole_batch() -> None:
    first = spent({"SUCCESS": 3, "FAILED": 1}, Profile(item_bytes=1024), chunks=1, retries=0)
    again = spent({"SUCCESS": 1}, Profile(item_bytes=1024), chunks=1, retries=0, replaced=1, batch_rows=4)
    alone = spent({"SUCCESS": 1}, Profile(item_bytes=1024), chunks=1, retries=0)
    assert again.parts["write_units"].quantity - alone.parts["write_units"].quantity == 2  # two entries are removed
    assert again.parts["read_units"].quantity - alone.parts["read_units"].quantity == 3 / 4
    both = total([first, again])
    assert both.own_usd == pytest.approx(first.own_usd + again.own_usd, rel=1e-12)
    assert both.calls == 5
    assert total([]).total_usd == 0


def test_what_was_not_counted_is_taken_at_its_most() -> None:
    unknown = spent({"SUCCESS": 5, "FAILED": 2, "TIMEOUT": 1}, Profile(max_attempts=4), chunks=1)
    assert unknown.calls == 5 + 3 * 4
    assert spent({"MISSING": 3}, chunks=1).terms == spent({"SUCCESS": 3}, chunks=1).terms


def test_an_estimate_is_what_will_be_spent() -> None:
    counts = {"SUCCESS": 240, "FAILED": 5, "INVALID_INPUT": 3, "EXTRACTION_FAILED": 2}
    expected = estimate(250, failures=5, invalid=3, unextracted=2, retries=11)
    assert expected == spent(counts, chunks=8, retries=11)
    assert estimate(250, chunks=50) == spent({"SUCCESS": 250}, chunks=50)
    with pytest.raises(ValueError, match="2 \\+ 1 \\+ 1 of 3 rows cannot go wrong"):
        estimate(3, failures=2, invalid=1, unextracted=1)


def test_a_csv_that_takes_several_invocations() -> None:
    longest = int(810 / Durations().aggregate_row)
    assert [usage.aggregations(rows, Profile()) for rows in (0, 1, longest, longest + 1)] == [1, 1, 1, 2]
    assert usage.aggregations(longest, Profile(columns_known=False)) == 2


def test_the_profile_of_a_plan() -> None:
    plan = Plan(
        kind="agent",
        target_name="line",
        target_arn="arn:line",
        retry_policy=RetryPolicy(max_attempts=7),
        output_columns=["a"],
    )
    assert Profile.of_plan(plan, row_bytes=70) == Profile(kind="agent", max_attempts=7, row_bytes=70)
    told = Profile.of_plan(replace(plan, keep_output=False, output_columns=None))
    assert (told.output_bytes, told.columns_known) == (0, False)


def test_agents_need_standard_children() -> None:
    with pytest.raises(ValueError, match="EXPRESS"):
        Profile(kind="agent", children="EXPRESS")


# --- what always holds ------------------------------------------------------------------------------------------------

SIZES = st.floats(0, 400_000)
PROFILES = st.builds(
    Profile,
    row_bytes=SIZES,
    fields_bytes=SIZES,
    output_bytes=SIZES,
    error_bytes=st.floats(0, 4_000),
    concurrency=st.integers(1, 10_000),
    children=st.sampled_from(["STANDARD", "EXPRESS"]),
    columns_known=st.booleans(),
    kept_days=st.floats(0, 4_000),
)
MANY = st.integers(0, 10_000_000)


@unhurried
@given(profile=PROFILES, rows=MANY, more=MANY)
def test_more_rows_are_never_cheaper(profile: Profile, rows: int, more: int) -> None:
    few, many = estimate(rows, profile), estimate(rows + more, profile)
    for name, part in few.parts.items():
        assert part.quantity <= many.parts[name].quantity * (1 + 1e-12), name
    assert few.own_usd <= many.own_usd * (1 + 1e-12)


@unhurried
@given(profile=PROFILES, rows=st.integers(1, 10_000), failed=st.integers(0, 10_000), retries=st.integers(0, 10_000))
def test_failures_and_retries_are_never_cheaper(profile: Profile, rows: int, failed: int, retries: int) -> None:
    failures = min(rows, failed)
    clean = estimate(rows, replace(profile, output_bytes=0), retries=0)
    worse = estimate(rows, replace(profile, output_bytes=0), failures=failures, retries=0)
    worst = estimate(rows, replace(profile, output_bytes=0), failures=failures, retries=retries)
    assert clean.own_usd <= worse.own_usd * (1 + 1e-12)
    assert worse.own_usd <= worst.own_usd * (1 + 1e-12)


@unhurried
@given(profile=PROFILES, rows=st.integers(0, 100_000), price=st.floats(0, 10))
def test_a_cost_is_the_sum_of_its_parts(profile: Profile, rows: int, price: float) -> None:
    found = estimate(rows, profile, TargetCost(price))
    assert found.own_usd == pytest.approx(math.fsum(part.usd for part in found.parts.values()))
    assert found.target_usd == rows * price
    assert found.total_usd == pytest.approx(found.own_usd + rows * price)
    assert all(part.quantity > 0 for part in found.parts.values())
    document = json.loads(json.dumps(found.to_json()))
    assert document["parts"].keys() == found.parts.keys()


@unhurried
@given(profile=PROFILES, calls=st.floats(1, 10))
def test_one_row_more_costs_what_a_large_batch_says(profile: Profile, calls: float) -> None:
    rows = 3_000_000
    whole = estimate(rows, profile, TargetCost(0.001), retries=(calls - 1) * rows).total_usd
    one, two = (
        estimate(few, profile, TargetCost(0.001), retries=(calls - 1) * few).total_usd for few in (100_000, 200_000)
    )
    assert (two - one) / 100_000 == pytest.approx(whole / rows, rel=0.01)


# --- against what is deployed -----------------------------------------------------------------------------------------


def test_functions_are_those_of_the_template() -> None:
    functions = {name: item["Properties"] for name, item in RESOURCES.items() if item["Type"].endswith("::Function")}
    of_machine = {
        name: function for name, function in functions.items() if f"{name}Arn" in MACHINE["DefinitionSubstitutions"]
    }
    assert {MODEL_NAMES[name]: function["MemorySize"] for name, function in of_machine.items()} == usage.MEMORY
    shared = TEMPLATE["Globals"]["Function"]
    assert shared["Architectures"] == ["arm64"]
    assert "arm64" in prices.PRICES["lambda_gb_seconds"].source
    timeout = functions["ResultAggregatorFunction"]["Timeout"]
    assert timeout - run.ENOUGH_TIME / 1000 == usage.AGGREGATION_SECONDS


def test_nothing_is_logged_for_a_row() -> None:
    """The model has no log: Lambda's lines for every call are of level INFO, and the machine has none."""
    assert TEMPLATE["Globals"]["Function"]["LoggingConfig"]["SystemLogLevel"] == "WARN"
    assert "Logging" not in MACHINE
    assert MACHINE["Tracing"]["Enabled"] is True


def test_indexes_are_those_that_the_model_writes() -> None:
    names = {table: {index["IndexName"] for index in listed} for table, listed in INDEXES.items()}
    assert names["ResultsTable"] == {"status-index", "timestamp-index"}
    assert names["BatchesTable"] == {"listing-index"}
    assert RESOURCES["ResultsTable"]["Properties"]["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"]


@pytest.mark.parametrize("columns", [1, 5, 20])
@pytest.mark.parametrize("error", [None, error_of("ProbeFailure", "call 3 of row_0000000007 fails")])
def test_an_item_is_about_as_large_as_the_model_says(columns: int, error: dict[str, str] | None) -> None:
    row = {f"column {number}": "x" * 40 for number in range(columns)}
    fields = {"category": "positive", "score": "0.913"}
    result = Result(
        "sentiment#20261122T135607-805de0", row_id(7), "FAILED" if error else "SUCCESS", row,
        {} if error else fields, 1234, "2026-11-22T13:56:07.123Z", 1_795_000_000, error=error, method="jmespath",
        output=None if error else b"x" * 150,
    )  # fmt: skip
    profile = Profile(
        row_bytes=sum(len(name) + len(cell) for name, cell in row.items()),
        fields_bytes=0 if error else sum(len(name) + len(value) for name, value in fields.items()),
        output_bytes=0 if error else 150,
        error_bytes=0 if error is None else sum(len(name) + len(text) for name, text in error.items()),
    )
    item = results.to_item(result)
    size = results.item_bytes(item)
    modelled = profile.item_mean + profile.error_bytes
    assert abs(modelled - size) <= 60 + columns, (modelled, size)
    for index, beside in (("status-index", usage.STATUS_ENTRY), ("timestamp-index", usage.TIMESTAMP_ENTRY)):
        held = results.item_bytes({name: value for name, value in item.items() if name in projected(index)})
        rest = beside + profile.error_bytes + (profile.row_bytes if index == "status-index" else 0)
        if error or index == "timestamp-index":
            assert abs(rest - held) <= 60 + columns, (index, rest, held)


def projected(index: str) -> set[str]:
    """The attributes that an index of the results holds."""
    (entry,) = [entry for entry in INDEXES["ResultsTable"] if entry["IndexName"] == index]
    keys = {key["AttributeName"] for key in entry["KeySchema"]}
    return {"batch_id", "row_id"} | keys | set(entry["Projection"]["NonKeyAttributes"])


# --- the target for cost (a million rows) -----------------------------------------------------------------------------

MILLION = Profile(row_bytes=480, item_bytes=1024, call_seconds=0.2)


def test_a_million_rows_by_a_tool() -> None:
    """Rows of 480 B, items of 1 KB, the target's own cost left out."""
    today = estimate(1_000_000, MILLION)
    assert today.parts["transitions"].usd == pytest.approx(53.677, abs=0.001)
    assert 54 < today.own_usd < 56
    express = estimate(1_000_000, replace(MILLION, children="EXPRESS"))
    assert express.parts["transitions"].usd == pytest.approx(0.25, abs=0.001)
    assert 1.5 < express.own_usd < 2


# --- prices and words -------------------------------------------------------------------------------------------------


def test_prices_have_a_region_a_date_and_a_source() -> None:
    assert (prices.REGION, re.fullmatch(r"20\d\d-(0[1-9]|1[0-2])", prices.DATE) is not None) == ("us-east-1", True)
    assert all("pricing" in price.source for price in prices.PRICES.values())
    million = {name: round(price.of(1e6), 4) for name, price in prices.PRICES.items() if price.per > 1}
    assert million == {
        "transitions": 25,
        "express_requests": 1,
        "express_gb_seconds": 16.6667,
        "lambda_requests": 0.2,
        "lambda_gb_seconds": 13.3334,
        "lambda_gb_seconds_x86": 16.6667,
        "write_units": 0.625,
        "read_units": 0.125,
        "s3_puts": 5,
        "s3_gets": 0.4,
        "traces": 5,
    }


def test_formulas_are_lines_that_can_be_read() -> None:
    lines = estimate(3708, failures=6, retries=14).explain()
    assert lines[0] == "2 transitions × 3,702 calls that gave an output × $25 / million = $0.19"
    assert lines[1] == "5 transitions × 110 chunks × $25 / million = $0.01"
    assert re.fullmatch(r"\d+ items that cost less = \$0\.\d+", lines[-3])
    assert lines[-2] == "what the target itself costs is not known: register it with price_per_row_usd"
    assert lines[-1] == "prices of us-east-1, 2026-11, without free tiers, discounts and taxes"
    assert len(lines) < 12


def test_every_formula_can_be_shown_and_names_what_it_counts() -> None:
    found = estimate(1, Profile(kept_days=14), TargetCost(0.004, "registered"), failures=1, retries=2)
    lines = found.explain(least=0)
    assert len(lines) == len(found.terms) + 2
    assert lines[-2] == "$0.0040 × 3 calls of the target (registered) = $0.01"
    assert "5 transitions × 1 chunk × $25 / million = $0.00013" in lines
    assert "1 request × 3 calls that failed: HandleFailure × $0.2 / million = $0.00000060" in lines
    assert any(line.startswith("5 PUT × 1 run: ") and " × $0.005 / 1,000 = " in line for line in lines)
    assert not [line for line in lines if re.search(r" 1 [a-z]+s\b(?! of)", line) and "itself" not in line]


@pytest.mark.parametrize(
    ("usd", "text"),
    [
        (0, "$0.00"),
        (52.881, "$52.88"),
        (1234.5, "$1,234.50"),
        (0.19, "$0.19"),
        (0.0099, "$0.0099"),
        (0.00423, "$0.0042"),
        (0.0000012, "$0.0000012"),
    ],
)
def test_money_for_people(usd: float, text: str) -> None:
    assert money(usd) == text


def test_a_target_without_a_price_is_not_taken_for_free() -> None:
    found = estimate(10)
    assert found.target_usd is None
    assert found.total_usd == found.own_usd
    assert found.to_json()["target_usd"] is None
    assert estimate(10, target=TargetCost(0.0)).target_usd == 0


def test_what_a_function_costs_by_itself() -> None:
    """AWS Lambda pricing: 0.20 a million requests; 1 GB-second of x86 is 0.0000166667, of arm64 0.0000133334."""
    assert TargetCost.of_function(1024, 1).usd_per_call == pytest.approx(2e-7 + 1.33334e-5)
    assert TargetCost.of_function(2048, 0.5, x86=True).usd_per_call == pytest.approx(2e-7 + 1.66667e-5)


def test_a_json_document_of_a_cost() -> None:
    document = estimate(100, target=TargetCost(0.01)).to_json()
    assert list(document) == ["total_usd", "own_usd", "target_usd", "parts", "prices"]
    assert document["target_usd"] == 1
    assert document["parts"]["transitions"] == {"quantity": 221, "unit": "transition", "usd": 0.005525}
    assert document["prices"] == {"region": "us-east-1", "date": "2026-11"}
