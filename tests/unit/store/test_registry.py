"""The registry: versions that nobody overwrites, and items of another shape."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError
from made import make_tool, prepared

from service.store import registry as registry_module
from service.store.registry import RegisteredTarget, Registry, RegistryBusy
from service.store.tables import TargetItem

if TYPE_CHECKING:
    from service.app import App

ARN = "arn:aws:lambda:us-east-1:123456789012:function:tool-line"
SCHEMA = {"fields": [{"name": "v"}]}
LINE = RegisteredTarget("line", "lambda", ARN, "Looks up a line.", {"type": "object"}, SCHEMA)


def put(app: App, **attributes: Any) -> None:
    """An item as somebody else wrote it, in wire form."""
    app.dynamodb.put_item(TableName=app.settings.registry_table, Item=attributes)


def test_a_version_for_every_difference(app: App) -> None:
    first = app.registry.register(LINE)
    assert (first.version, first.output_schema) == (1, SCHEMA)
    assert first.registered_at
    assert app.registry.register(LINE) == first
    second = app.registry.register(RegisteredTarget("line", "lambda", ARN, "Another.", None, SCHEMA))
    assert second.version == 2
    assert app.registry.find("line") == second
    assert app.registry.find("line", 1) == first
    assert app.registry.find("line", 3) is None
    assert app.registry.find("none") is None
    assert [target.version for target in app.registry.versions("line")] == [2, 1]
    assert list(app.registry.versions("none")) == []


def test_the_order_of_keys_is_a_difference(app: App) -> None:
    """It is the order of the columns."""
    for paths in ({"a": "a", "b": "b"}, {"b": "b", "a": "a"}):
        mapping = {"extraction_methods": [{"method": "direct", "paths": paths}]}
        app.registry.amend("line", {"resource_arn": ARN, "output_schema": mapping})
    assert [target.version for target in app.registry.versions("line")] == [2, 1]
    newest = app.registry.find("line")
    assert newest is not None
    assert newest.output_schema is not None
    assert list(newest.output_schema["extraction_methods"][0]["paths"]) == ["b", "a"]


def test_what_is_not_given_stays(app: App) -> None:
    app.registry.register(LINE)
    changed = app.registry.amend("line", {"output_schema": {"columns": ["a"]}})
    assert (changed.version, changed.description, changed.input_schema) == (2, "Looks up a line.", {"type": "object"})
    assert app.registry.amend("line", {"output_schema": {"columns": ["a"]}}) == changed
    assert app.registry.amend("line", {"output_schema": None}).output_schema is None
    made = app.registry.amend("new", {"tool_type": "lambda", "resource_arn": ARN})
    assert (made.tool_name, made.version, made.input_schema) == ("new", 1, None)
    assert app.registry.amend("new", {"input_schema": {}}).version == 1, "an empty schema is none"


def test_every_version_is_known(app: App) -> None:
    assert not app.registry.knows(LINE)
    app.registry.register(LINE)
    app.registry.amend("line", {"output_schema": None})
    assert app.registry.knows(LINE)
    assert not app.registry.knows(RegisteredTarget("line", "lambda", ARN, "Another."))


def test_the_newest_of_each(app: App) -> None:
    for name, description in (("b", "1"), ("a", "1"), ("b", "2"), ("b", "3")):
        app.registry.register(RegisteredTarget(name, "lambda", ARN, description))
    assert [(target.tool_name, target.version) for target in app.registry.targets()] == [("a", 1), ("b", 3)]
    assert app.registry.names() == ["a", "b"]


def test_somebody_else_takes_the_number(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    """The amendment is made again on top of theirs."""
    app.registry.register(LINE)
    find = Registry.find
    theirs: list[RegisteredTarget] = []

    def meanwhile(registry: Registry, name: str, version: int | None = None) -> RegisteredTarget | None:
        newest = find(registry, name, version)
        if not theirs:
            theirs.append(LINE)
            theirs[0] = registry.amend(name, {"description": "Theirs."})
        return newest

    monkeypatch.setattr(Registry, "find", meanwhile)
    mine = app.registry.amend("line", {"output_schema": {"columns": ["mine"]}})
    assert (theirs[0].version, mine.version, mine.description) == (2, 3, "Theirs.")
    assert find(app.registry, "line", 2) == theirs[0]


def test_who_never_gets_a_number_is_told(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    app.registry.register(LINE)
    monkeypatch.setattr(registry_module, "_put", lambda _target: False)
    with pytest.raises(RegistryBusy, match="try again"):
        app.registry.amend("line", {"description": "Mine."})


def test_many_at_once(app: App) -> None:
    registry = app.registry
    registry.register(LINE)

    def mine(number: int) -> RegisteredTarget:
        return registry.amend("line", {"description": str(number)})

    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(mine, range(8)))
    assert sorted(target.version for target in made) == list(range(2, 10))
    kept = {target.version: target.description for target in registry.versions("line")}
    assert {target.version: target.description for target in made}.items() <= kept.items()


def test_a_refusal_of_dynamodb_is_its_own(app: App) -> None:
    with pytest.raises(ClientError):
        app.registry.register(RegisteredTarget("line", "lambda", ARN, "x" * 500_000))


@pytest.mark.parametrize(
    ("written", "kind"), [("tool", "lambda"), ("agent", "state_machine"), ("Lambda", "lambda"), ("other", "other")]
)
def test_types_by_other_words(app: App, written: str, kind: str) -> None:
    put(app, tool_name={"S": "x"}, version={"N": "4"}, tool_type={"S": written}, resource_arn={"S": ARN})
    found = app.registry.find("x")
    assert found is not None
    assert (found.tool_type, found.version) == (kind, 4)


def test_schemas_as_maps_and_as_text(app: App) -> None:
    wire = {"M": {"fields": {"L": [{"M": {"name": {"S": "v"}, "default": {"N": "1.5"}, "required": {"BOOL": True}}}]}}}
    put(app, tool_name={"S": "map"}, version={"N": "1"}, resource_arn={"S": ARN}, output_schema=wire)
    put(app, tool_name={"S": "text"}, version={"N": "1"}, resource_arn={"S": ARN}, output_schema={"S": '{"a": 1}'})
    put(
        app, tool_name={"S": "twice"}, version={"N": "1"}, resource_arn={"S": ARN}, input_schema={"S": '"{\\"a\\": 1}"'}
    )
    put(app, tool_name={"S": "bad"}, version={"N": "1"}, resource_arn={"S": ARN}, output_schema={"S": "see wiki"})
    put(app, tool_name={"S": "none"}, version={"N": "1"}, resource_arn={"S": ARN}, output_schema={"NULL": True})
    found = {target.tool_name: target for target in app.registry.targets()}
    assert found["map"].output_schema == {"fields": [{"name": "v", "default": 1.5, "required": True}]}
    assert found["map"].tool_type == "lambda", "by its ARN, where nothing says it"
    assert found["text"].output_schema == found["twice"].input_schema == {"a": 1}
    assert found["bad"].output_schema == "see wiki", "whoever needs it is told that it is text"
    assert (found["none"].output_schema, found["none"].description) == (None, "")
    again = app.registry.amend("map", {"description": "Now ours."})
    assert (again.version, again.output_schema) == (2, found["map"].output_schema)
    assert app.registry.names() == ["bad", "map", "none", "text", "twice"]


def test_a_table_whose_items_have_no_version(app: App) -> None:
    name = "others_registry"
    app.dynamodb.create_table(
        TableName=name,
        KeySchema=[{"AttributeName": "tool_name", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "tool_name", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    app.dynamodb.put_item(TableName=name, Item={"tool_name": {"S": "x"}, "resource_arn": {"S": ARN}})
    registry = app.registry
    TargetItem.Meta.table_name = name
    TargetItem._connection = None
    (found,) = registry.targets()
    assert found == registry.find("x") == registry.find("x", 0)
    assert (found.version, found.tool_type, found.resource_arn) == (0, "lambda", ARN)


def test_a_batch_uses_the_newest_schema_and_keeps_it(app: App) -> None:
    make_tool(app, output_schema={"columns": ["a"]})
    app.registry.amend("echo", {"output_schema": {"columns": ["b", "c"]}})
    batch = prepared(app, "id\n1\n")
    plan = app.plans.load(batch["batch_id"], batch["plan"])
    app.registry.amend("echo", {"output_schema": {"columns": ["d"]}})
    assert (plan.target_version, plan.output_mapping) == (2, {"columns": ["b", "c"]})
    assert app.records.get(batch["batch_id"]).output_columns == ["b", "c"]


def test_conditions_are_kept_with_a_version(app: App) -> None:
    app.registry.register(LINE)
    for number, given in enumerate(({"fail_when": "a > `1`"}, {"fail_when": ["false", "b"], "retry_when": "c"}), 2):
        changed = app.registry.amend("line", given)
        assert changed.version == number
        found = app.registry.find("line")
        assert found == changed
        assert {key: getattr(found, key) for key in given} == given
        assert app.registry.amend("line", given) == changed
    assert app.registry.amend("line", {"fail_when": None}).fail_when is None


def test_a_batch_has_the_conditions_of_its_target(app: App) -> None:
    """Where its own mapping says nothing of that key."""
    make_tool(app, output_schema=SCHEMA, fail_when="v == 'no'", retry_when="busy")
    methods = {"extraction_methods": [{"method": "direct", "fields": ["v"]}]}
    for name, own, said in (
        ("a", {}, {**SCHEMA, "fail_when": "v == 'no'", "retry_when": "busy"}),
        ("b", {"output_mapping": methods}, {**methods, "fail_when": "v == 'no'", "retry_when": "busy"}),
        ("c", {"output_mapping": {**methods, "fail_when": None}}, {**methods, "fail_when": None, "retry_when": "busy"}),
    ):
        batch = prepared(app, "id\n1\n", name=name, **own)
        plan = app.plans.load(batch["batch_id"], batch["plan"])
        assert plan.output_mapping == said
        assert plan.conditions == {"fail_when": "v == 'no'", "retry_when": "busy"}


# --- a table that is there already -----------------------------------------------------------------------------------


@pytest.fixture(params=[["tool_name"], ["tool_name", "version"]], ids=["one key", "two keys"])
def existing(app: App, request: pytest.FixtureRequest) -> App:
    """A registry that somebody else made, whose items have attributes of their own."""
    name = app.settings.registry_table
    app.dynamodb.delete_table(TableName=name)
    types = {"tool_name": ("S", "HASH"), "version": ("N", "RANGE")}
    app.dynamodb.create_table(
        TableName=name,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": key, "AttributeType": types[key][0]} for key in request.param],
        KeySchema=[{"AttributeName": key, "KeyType": types[key][1]} for key in request.param],
    )
    put(app, tool_name={"S": "line"}, version={"N": "1"}, resource_arn={"S": ARN}, owner={"S": "ann"})
    return app


def test_a_new_version_keeps_what_others_wrote_beside_it(existing: App) -> None:
    after = existing.registry.amend("line", {"description": "Looks up a line."})
    assert (after.version, after.resource_arn) == (2, ARN)
    newest = existing.registry.find("line")
    assert newest == after
    items = existing.dynamodb.scan(TableName=existing.settings.registry_table)["Items"]
    assert [item["owner"] for item in items] == [{"S": "ann"}] * len(items)
    assert existing.registry.amend("line", {"description": "Looks up a line."}) == after


def test_two_at_once_in_an_existing_table_make_two_versions(existing: App) -> None:
    def register(number: int) -> int:
        return existing.registry.amend("line", {"description": f"By {number}."}).version

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(register, range(4))) == [2, 3, 4, 5]


def test_what_is_removed_is_gone_with_all_its_versions(existing: App) -> None:
    other = ARN + "-2"
    existing.registry.amend("line", {"resource_arn": other})
    existing.registry.amend("other", {"resource_arn": other})
    assert existing.registry.remove("line", arn=ARN + "-3") == 0
    kept = existing.registry.remove("line", arn=other)
    assert kept == 1
    existing.registry.remove("line")
    assert existing.registry.names() == ["other"]


def test_an_item_whose_price_is_no_number_hides_no_other(app: App) -> None:
    put(app, tool_name={"S": "odd"}, version={"N": "1"}, resource_arn={"S": ARN}, price_per_row_usd={"S": "abc"})
    app.registry.register(LINE)
    assert [target.tool_name for target in app.registry.targets()] == ["line", "odd"]
