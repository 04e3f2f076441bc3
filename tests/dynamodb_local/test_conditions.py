"""Conditional writes of many threads at once: some order of them, one after another, explains all that was answered."""

from __future__ import annotations

import gzip
import json
import random
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from made_results import BATCH, FUTURE, MOMENT, NOW, PAST, at_once, fill, kept, remap_of, requests_of, result, there
from test_results import CASES

from service.console import remap
from service.console.remap import Outcome
from service.models import RowStatus, row_id
from service.record import BatchRecord
from service.store import attribute_values
from service.store.batches import BatchTaken
from service.store.registry import RegisteredTarget
from service.store.results import extracted, extracts_the_same, to_item, with_extracted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from service.app import App
    from service.models import Result

SUCCESS, FAILED, TIMEOUT, EXTRACTION_FAILED = (
    RowStatus.SUCCESS,
    RowStatus.FAILED,
    RowStatus.TIMEOUT,
    RowStatus.EXTRACTION_FAILED,
)
ROWS = 60
NEW = {"extraction_methods": [{"method": "jmespath", "paths": {"y": "y", "twice": "sum([y, y])"}}]}
Item = dict[str, Any]


def test_what_may_replace_what(app: App) -> None:
    fill(app, [result(row, status, run=run, ttl=ttl) for row, ((status, run, ttl), _, _) in enumerate(CASES, 1)])
    before = there(app)
    puts = [result(row, status, run=run, attempts=9) for row, (_, (status, run), _) in enumerate(CASES, 1)]
    answers = at_once(partial(app.store.put, one) for one in puts)
    after = there(app)
    for put, answer, (old, _, replaces) in zip(puts, answers, CASES, strict=True):
        assert after[put.row_id] == (to_item(put) if replaces else before[put.row_id])
        assert answer == (put.status if replaces else old[0])


@pytest.mark.parametrize("before", [None, "ended"])
def test_of_many_that_claim_one_object_one_has_it(app: App, before: str | None) -> None:
    names, uri = [f"echo#claim-{number}" for number in range(12)], f"s3://bucket/{before}.csv"
    for name in names:
        app.records.create(BatchRecord(name, status="PREPARING", execution_arn=name, prepared_at=MOMENT))
    if before is not None:
        assert app.records.claim_output(uri, before, FUTURE) is None
    answers = at_once(partial(app.records.claim_output, uri, name, FUTURE) for name in names)
    (holder,) = [name for name, answer in zip(names, answers, strict=True) if answer is None]
    assert set(answers) == {None, holder}
    assert app.records.writer_of(uri, "another") == holder


# --- any interleaving ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Put:
    """A result that is put: its answer is the status that stands then, and whether it was written."""

    result: Result

    def make(self, app: App) -> Any:
        return app.store.put_item(to_item(self.result))

    def on(self, item: Item | None) -> tuple[Item, Any]:
        """What is there after it, and its answer, by the rules."""
        mine = to_item(self.result)
        if item is None or int(item["ttl"]["N"]) < NOW:
            return mine, (self.result.status, True)
        better = self.result.status == SUCCESS or int(item["run"]["N"]) < self.result.run
        if item["status"]["S"] != SUCCESS and better:
            return mine, (self.result.status, True)
        own = all(item.get(name) == mine.get(name) for name in ("timestamp", "run", "attempts", "status"))
        return item, (item["status"]["S"], own)


@dataclass(frozen=True)
class Remapped:
    """Fields that are put in the place of those of an item as it was read: its answer is None or what else is there."""

    read: Item
    fresh: Item

    def make(self, app: App) -> Any:
        return app.store.remap(self.read, self.fresh)

    def on(self, item: Item | None) -> tuple[Item | None, Any]:
        """What is there after it, and its answer, by the rules."""
        if item == self.read and int(item["ttl"]["N"]) >= NOW:
            return with_extracted(item, self.fresh), None
        own = item is not None and all(item[name] == self.read[name] for name in ("run", "timestamp"))
        return item, None if own and extracts_the_same(item or {}, self.fresh) else item or {}


class Call(NamedTuple):
    """A write that was made, when it was begun and answered (seconds), and its answer."""

    write: Put | Remapped
    began: float
    ended: float
    answer: Any


def made(app: App, write: Put | Remapped) -> Call:
    began = time.monotonic()
    answer = write.make(app)
    return Call(write, began, time.monotonic(), answer)


def explained(calls: Sequence[Call], item: Item | None, end: Item | None) -> bool:
    """Whether the calls, in some order that their times allow, lead from one item to the other with these answers."""
    if not calls:
        return item == end
    answered = min(call.ended for call in calls)
    for number, call in enumerate(calls):
        if call.began <= answered:
            after, answer = call.write.on(item)
            if answer == call.answer and explained([*calls[:number], *calls[number + 1 :]], after, end):
                return True
    return False


def beginnings(chance: random.Random) -> list[Result]:
    """What four rows in five begin with; the others begin with nothing."""
    kinds = [(SUCCESS, PAST), (FAILED, PAST), (SUCCESS, FUTURE), (EXTRACTION_FAILED, FUTURE), None]
    drawn = enumerate(chance.choices(kinds, k=ROWS), 1)
    return [result(row, kind[0], ttl=kind[1]) for row, kind in drawn if kind is not None]


def writes(chance: random.Random, row: int, first: Item | None) -> list[Put | Remapped]:
    """Results of up to three runs, some of them more than once, and remaps of what was there at first."""
    statuses = [FAILED, TIMEOUT, EXTRACTION_FAILED] + [SUCCESS] * chance.randint(0, 1)
    puts: list[Put | Remapped] = [
        Put(result(row, chance.choice(statuses), run=chance.randint(1, 3), output_data={"by": number}))
        for number in range(chance.randint(1, 5))
    ]
    puts += chance.choices(puts, k=2)
    if first is not None:
        puts += [
            Remapped(first, extracted(result(row, status, output_data={"remap": number})))
            for number, status in enumerate(chance.choices([SUCCESS, EXTRACTION_FAILED], k=2))
        ]
    chance.shuffle(puts)
    return puts


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_interleaving_is_as_one_write_after_another(app: App, seed: int) -> None:
    chance = random.Random(seed)
    fill(app, beginnings(chance))
    before = there(app)
    rows = {row_id(row): writes(chance, row, before.get(row_id(row))) for row in range(1, ROWS + 1)}
    calls = at_once(partial(made, app, write) for of_row in rows.values() for write in of_row)
    after = there(app)
    assert after.keys() == rows.keys()
    for row, wrote in rows.items():
        of_row = [calls.pop(0) for _ in wrote]
        assert explained(of_row, before.get(row), after[row]), (before.get(row), of_row, after[row])
        succeeded = any(isinstance(call.write, Put) and call.write.result.status == SUCCESS for call in of_row)
        remapped = any(isinstance(call.write, Remapped) and call.answer is None for call in of_row)
        assert after[row]["status"] == {"S": SUCCESS} or not succeeded or remapped


def test_of_one_runs_failures_the_first_stands_and_every_other_is_told_which(app: App) -> None:
    fill(app, [result(row, SUCCESS, ttl=PAST) for row in range(1, 11)])
    puts = [result(row, chosen) for row in range(1, 11) for chosen in (FAILED, TIMEOUT, EXTRACTION_FAILED) * 2]
    answers = at_once(partial(app.store.put, put) for put in puts)
    after = there(app)
    stands = {row: item["status"]["S"] for row, item in after.items()}
    assert [(put.row_id, answer) for put, answer in zip(puts, answers, strict=True)] == [
        (put.row_id, stands[put.row_id]) for put in puts
    ]
    assert SUCCESS not in stands.values()


def test_the_same_result_many_times_is_one_result(app: App) -> None:
    again = [result(row, status, output_data={"x": 1}) for row, status in enumerate((SUCCESS, FAILED), 1)] * 8
    assert at_once(partial(app.store.put, one) for one in again) == [SUCCESS, FAILED] * 8
    assert there(app) == {one.row_id: to_item(one) for one in again}
    assert [row["row_id"] for row in app.queries.failed(BATCH)] == [row_id(2)]


# --- remaps ----------------------------------------------------------------------------------------------------------


def test_of_many_remaps_of_one_version_one_is_written_and_the_others_are_told_which(app: App) -> None:
    fill(app, [result(row, EXTRACTION_FAILED) for row in range(1, 6)])
    before = there(app)
    fresh = [extracted(result(1, SUCCESS, output_data={"by": number})) for number in range(6)]
    for row, item in before.items():
        answers = at_once(partial(app.store.remap, item, one) for one in fresh)
        after = there(app)[row]
        assert answers.count(None) == 1
        assert after == with_extracted(item, fresh[answers.index(None)])
        assert [answer for answer in answers if answer is not None] == [after] * 5


OTHERWISE = {
    "run": {"N": "2"},
    "timestamp": {"S": "2031-01-01T00:00:00.000Z"},
    "ttl": {"N": str(PAST)},
    "status": {"S": FAILED},
    "output_data": {"M": {"x": {"N": "7"}}},
    "method": {"S": "direct"},
    "error": {"M": {}},
}


@pytest.mark.parametrize("status", [SUCCESS, EXTRACTION_FAILED])
def test_a_remap_of_another_version_writes_nothing(app: App, status: str) -> None:
    fill(app, [result(row, status) for row, _ in enumerate(OTHERWISE, 1)])
    read = there(app)
    changed = {row: {**read[row], name: value} for row, (name, value) in zip(read, OTHERWISE.items(), strict=True)}
    for item in changed.values():
        app.dynamodb.put_item(TableName=app.settings.results_table, Item=item)
    gone = {**next(iter(read.values())), "row_id": {"S": row_id(99)}}
    fresh = [extracted(result(1, after, output_data={"y": 1})) for after in (SUCCESS, EXTRACTION_FAILED)]
    for one in fresh:
        assert {row: app.store.remap(item, one) for row, item in read.items()} == changed
        assert app.store.remap(gone, one) == {}
    assert there(app) == changed


def test_a_remap_beside_a_run_leaves_every_result_with_the_fields_of_its_own_output(app: App) -> None:
    rows = range(1, 101)
    fill(app, [result(row, EXTRACTION_FAILED, output=kept({"y": row})) for row in rows])
    order = remap_of(app, NEW)
    rerun = [result(row, SUCCESS, run=2, output_data={"x": 1}, output=kept({"y": -row})) for row in rows]
    random.Random(1).shuffle(rerun)
    puts = [partial(app.store.put, one) for one in rerun]
    shown: list[int] = []
    at_once(puts[:10])
    tally, *_ = at_once([partial(remap.remap, app, order, shown.append), *puts[10:90]])
    assert shown == [100]
    assert tally.counts.total() == 100
    assert tally.counts[Outcome.OVERTAKEN] == 0
    after = there(app)
    assert {item["run"]["N"] for item in after.values()} == {"1", "2"}
    for item in after.values():
        y = json.loads(gzip.decompress(item["output"]["B"]))["y"]
        assert attribute_values.decode(item["output_data"]) == {"y": y, "twice": 2 * y}
        assert (y < 0) == (item["run"]["N"] == "2")
    assert list(app.queries.failed(BATCH)) == []


def test_a_remap_given_again_writes_nothing(app: App) -> None:
    spelled = [1.0, -0.0, 1e22, 0.1, 10**37, 1.5e-7, 5e-324, "", None, True, [], {"": 1}, {"a": [1e125]}]
    mapping = {"extraction_methods": [{"method": "direct", "paths": {"v": "v", "w": "w"}}]}
    fill(app, [result(row, output=kept({"v": value, "w": 1})) for row, value in enumerate(spelled, 1)])
    assert remap.remap(app, remap_of(app, mapping), print).counts == {Outcome.CHANGED: len(spelled)}
    before, updates = there(app), requests_of(app, "UpdateItem")
    assert remap.remap(app, remap_of(app, mapping), print).counts == {Outcome.SAME: len(spelled)}
    assert there(app) == before
    assert [update for update in updates if update["TableName"] == app.settings.results_table] == []


# --- records and versions --------------------------------------------------------------------------------------------


def test_of_many_executions_of_one_name_one_has_the_batch(app: App) -> None:
    app.records.find(BATCH)  # the models are bound

    def create(number: int) -> str | None:
        record = BatchRecord(BATCH, prepared_at=MOMENT, status="PREPARING", execution_arn=f"arn:{number % 4}", run=1)
        try:
            return app.records.create(record).execution_arn
        except BatchTaken:
            return None

    answers = at_once(partial(create, number) for number in range(16))
    owner = app.records.get(BATCH).execution_arn
    assert answers == [owner if f"arn:{number % 4}" == owner else None for number in range(16)]


def test_what_is_counted_at_once_is_counted_whole(app: App) -> None:
    counts = [{"failures": 1}, {"chunks": 1, "SUCCESS": 7, "EXTRACTION_FAILED": 2}] * 12
    tallies = at_once(
        partial(app.plans.add_to_tally, BATCH, 1, count, FUTURE, number, f"call {number}")
        for number, count in enumerate(counts)
    )
    assert sorted(tally["failures"] for tally in tallies[::2]) == list(range(1, 13))
    assert sorted(tally["chunks"] for tally in tallies[1::2]) == list(range(1, 13))
    whole = app.plans.add_to_tally(BATCH, 1, {"failures": 0}, None, 30, "another")
    assert whole.items() >= {"failures": 12, "chunks": 12, "SUCCESS": 84, "EXTRACTION_FAILED": 24}.items()
    assert app.plans.add_to_tally(BATCH, 2, {"failures": 1}, None, 0, "call").items() >= {"failures": 1}.items()


def test_versions_registered_at_once_are_all_there(app: App) -> None:
    targets = [RegisteredTarget("echo", "lambda", f"arn:{number}") for number in range(8)]
    stored = at_once(partial(app.registry.register, target) for target in targets)
    assert sorted(target.version for target in stored) == list(range(1, 9))
    found = {target.version: target.resource_arn for target in app.registry.versions("echo")}
    assert found == {target.version: target.resource_arn for target in stored}
