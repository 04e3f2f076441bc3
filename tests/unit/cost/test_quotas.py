"""How long a batch takes, and which quota of AWS sets its pace: each of them made to bind, and one case by hand."""

from __future__ import annotations

import importlib.util
import math
from typing import Any

import pytest
from places import ROOT

from service.cost.case import Account, Case
from service.cost.forecast import Forecast, forecast, tightest
from service.cost.quotas import PREPARE_SECONDS, QUOTAS, SHARDS
from service.cost.workload import Durations, Profile
from service.limits import LONGEST_RUN
from service.mapping.input_plan import InputPlan
from service.request.chunking import Layout
from service.request.models import ExecutionConfig
from service.request.targets import ResolvedTarget
from service.source import pace
from service.source.csv_rows import Record
from service.store import results

AT_ONCE: dict[str, Any] = {"concurrency": 10_000, "rows_per_chunk": 45}
MANY = Account(functions_at_once=1_000_000, partitions=1_000)


def case_of(name: str) -> Forecast:
    """Return a forecast of a batch in which the quota of that name is the tightest."""
    express = Profile(**AT_ONCE, children="EXPRESS")
    small = Profile(**AT_ONCE, row_bytes=100)
    agent = Profile(**AT_ONCE, kind="agent")
    cases: dict[str, Forecast] = {
        "state transitions": forecast(10**6, 0.1, small, Account(functions_at_once=10**6, large_region=False)),
        "executions started": forecast(10**6, 1, agent, MANY),
        "chunks at once": forecast(10**7, 600, Profile(concurrency=60_000, kind="agent", synchronous=True), MANY),
        "functions at once": forecast(10**6, 20, Profile(**AT_ONCE), Account()),
        "calls of functions": forecast(10**6, 0.0, express, Account(functions_at_once=50, partitions=99)),
        "new environments": forecast(40_000, 20, Profile(**AT_ONCE), MANY),
        "writes to the table": forecast(10**6, 0.5, Profile(**AT_ONCE, children="EXPRESS", row_bytes=400), MANY),
        "writes to a partition": forecast(10**7, 0.5, express, Account(functions_at_once=10**6)),
        "failures in status-index": forecast(10**6, 0.2, express, MANY, failures=0.5),
        "outputs put to S3": forecast(
            10**6, 0.5, Profile(**AT_ONCE, children="EXPRESS", output_bytes=5_000, item_bytes=900), MANY
        ),
        "time of PrepareBatch": forecast(10**8, 0.1, express, MANY),
        "time of a run": forecast(10**6, 60, Profile(), Account()),
        "parts of an upload": forecast(10**7, 1, Profile(concurrency=2_000, row_bytes=100_000), MANY),
    }
    return cases[name]


@pytest.mark.parametrize(
    "name",
    [
        "state transitions",
        "executions started",
        "chunks at once",
        "functions at once",
        "calls of functions",
        "new environments",
        "writes to the table",
        "writes to a partition",
        "failures in status-index",
        "outputs put to S3",
        "time of PrepareBatch",
        "time of a run",
        "parts of an upload",
    ],
)
def test_each_quota_can_bind(name: str) -> None:
    found = case_of(name)
    assert found.binding is not None
    assert found.binding.name == name, sorted((one.rate(found.case), one.name) for one in QUOTAS if one.rate)[:3]


def rate_of(name: str, **given: Any) -> float:
    (quota,) = (one for one in QUOTAS if one.name == name)
    asked = {"rows": 10**6, "seconds": 1.0, "profile": Profile(), **given}
    allows = quota.rate or quota.most
    assert allows is not None
    return allows(Case(**asked))


def test_those_that_others_come_before() -> None:
    """With AWS's defaults another quota is tighter in every batch; the numbers are right all the same."""
    assert rate_of("writes to timestamp-index") == SHARDS * 1_000
    long_rows = Profile(row_bytes=1_000, rows_per_chunk=50)
    assert rate_of("reads of the source", profile=long_rows) == pytest.approx(5_500 / (1 + 1 / 50))
    assert rate_of("reads of the source", profile=Profile(rows_per_chunk=50)) == 5_500 * 50
    assert rate_of("size of a manifest", profile=Profile(rows_per_chunk=50)) == pytest.approx(10e9 / 80 * 50)
    assert rate_of("reads of a partition", profile=Profile(item_bytes=4_096)) == 3_000


def test_one_case_by_hand() -> None:
    """90,000 rows of 2 s, 10 at a time, in STANDARD executions of 45 rows.

    A chunk: 9 rounds of 5 rows of 2.1 s, and 0.3 s; 2,000 of them, 2 at a time: 1,000 x 19.2 s. PrepareBatch: 0.5 s,
    its start 0.5 s, 13 µs a row. AggregateResults: the same two, and the larger of 65 µs and 975 / 4,096 / 3,000 s.
    """
    found = forecast(90_000, 2.0, Profile(durations=Durations(prepare_row=13e-6), rows_per_chunk=45))
    assert found.phases["running"] == pytest.approx(19_200)
    assert found.phases["preparing"] == pytest.approx(2.17)
    assert found.phases["aggregating"] == pytest.approx(1 + 90_000 * 975 / 4_096 / 3_000)
    assert found.rate == pytest.approx(90_000 / 19_200)
    assert found.binding is None
    # 1,000 functions / (2 s + 12 ms + 0.12 ms + 43 ms / 45) are 496.7 rows a second, and each is 2.1 s in flight.
    assert found.useful_concurrency == math.floor(1_000 / (2 + 0.012 + 0.00012 + 0.043 / 45) * 2.1)


def test_a_row_that_fails_takes_all_its_attempts() -> None:
    whole, none = (forecast(9_000, 1.0, Profile(), failures=share) for share in (1.0, 0.0))
    assert whole.case.row_seconds == 3 * none.case.row_seconds
    assert whole.phases["running"] > 2.9 * none.phases["running"]


@pytest.mark.parametrize(
    ("rows", "profile", "chunk"),
    [
        (10**6, Profile(), 34),
        (10**6, Profile(max_attempts=10), 19),  # by the history of 25,000 events
        (10**6, Profile(children="EXPRESS", row_bytes=100), 100),
        (10**6, Profile(row_bytes=7_000), 10),  # by the payload
        (10**6, Profile(row_bytes=200_000), 1),
        (6, Profile(), 5),
        (40, Profile(concurrency=100), 5),
    ],
)
def test_rows_of_a_chunk(rows: int, profile: Profile, chunk: int) -> None:
    assert Case(rows=rows, seconds=1, profile=profile).chunk_rows == chunk


@pytest.mark.parametrize("chunks", ["standard", "auto"])
@pytest.mark.parametrize("rows", [1, 6, 40, 300, 2_000])
@pytest.mark.parametrize("at_once", [1, 10, 100])
def test_chunks_are_those_that_are_laid_out(rows: int, at_once: int, chunks: Any) -> None:
    config = ExecutionConfig(max_concurrency=at_once, timeout_seconds=10, chunks=chunks)
    target = ResolvedTarget("echo", "tool", "arn", idempotent=True)
    layout = Layout(config, target, InputPlan(("text",), passed=(("text", "text"),)))
    laid_out = layout.chunks((Record(number, number, 0, 1, ["x"]) for number in range(1, rows + 1)), ["text"])
    profile = Profile(concurrency=at_once, children=layout.children.type, rows_per_chunk=layout.rows_per_chunk)
    assert layout.children.type == ("STANDARD" if chunks == "standard" else "EXPRESS")
    assert len(laid_out) == math.ceil(rows / Case(rows=rows, seconds=1, profile=profile).chunk_rows)


def test_a_batch_without_rows_takes_its_two_functions() -> None:
    found = forecast(0, 1.0)
    assert (found.phases["running"], found.binding) == (0.0, None)
    assert found.seconds == pytest.approx(2.0)


def test_what_binds_is_named_with_its_number_and_the_next_step() -> None:
    found = case_of("time of a run")
    told = found.to_json()
    assert told["quota"]["is"] == "7 days, the time-out of the state machine"
    assert "max_concurrency" in told["quota"]["next"]
    assert told["seconds"] > LONGEST_RUN
    assert forecast(100, 1.0).to_json()["quota"] is None


def test_more_than_the_useful_concurrency_changes_nothing() -> None:
    most = forecast(10**6, 1.0, Profile(concurrency=100)).useful_concurrency
    times = [forecast(10**6, 1.0, Profile(concurrency=at_once)).seconds for at_once in (most * 2, most * 4)]
    assert times[0] == times[1]
    assert tightest(Case(rows=10**6, seconds=1.0))[1].name == "functions at once"


def test_every_quota_has_a_source_and_a_next_step() -> None:
    assert len({one.name for one in QUOTAS}) == len(QUOTAS)
    for one in QUOTAS:
        assert one.source, one.name
        assert one.ask, one.name
        assert (one.rate is None) != (one.most is None), one.name


def test_numbers_that_stand_elsewhere_too() -> None:
    assert SHARDS == results.SHARDS
    assert "Timeout: 900" in (ROOT / "template.yaml").read_text()
    assert PREPARE_SECONDS == 900 - pace.RESERVE


def test_the_page_of_scale_is_what_the_model_says() -> None:
    spec = importlib.util.spec_from_file_location("make_scale", ROOT / "docs" / "make_scale.py")
    assert spec is not None
    assert spec.loader is not None
    made: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    text = made.PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- end of {name} -->" in text for name in made.BLOCKS)
    assert text == made.page(text), "`make docs` writes it again"
