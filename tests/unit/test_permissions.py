from __future__ import annotations

import pytest

from service.errors import BatchRefused
from service.permissions import allowed, check_output, check_source, check_target
from service.settings import Settings, SettingsMissing

TOOL = "arn:aws:lambda:us-east-1:123456789012:function:tool-a"
STACK = Settings(
    "results",
    "batches",
    "registry",
    "own",
    tool_arns=("arn:aws:lambda:*:*:function:tool-*",),
    agent_arns=("arn:aws:states:*:*:stateMachine:agent-?",),
    source_object_arns=("arn:aws:s3:::theirs/in/*",),
    output_object_arns=("arn:aws:s3:::theirs/out/*",),
)


@pytest.mark.parametrize(
    ("pattern", "arn", "fits"),
    [
        ("arn:*", "arn:a:b", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a[b]c", "abc", False),
        ("a[b]c", "a[b]c", True),
        ("abc", "ABC", False),
        ("ab", "abc", False),
    ],
)
def test_patterns_are_those_of_iam(pattern: str, arn: str, fits: bool) -> None:  # noqa: FBT001
    assert allowed((pattern,), arn) == fits


def test_targets() -> None:
    check_target(STACK, "tool", TOOL)
    check_target(STACK, "tool", f"{TOOL}:live")
    check_target(STACK, "agent", "arn:aws:states:us-east-1:123456789012:stateMachine:agent-a:3")
    with pytest.raises(BatchRefused, match=r"^target\.arn: .*parameter ToolArns and deploy again \(now: arn:"):
        check_target(STACK, "tool", TOOL.replace("tool-", "other-"))
    with pytest.raises(BatchRefused, match="AgentArns"):
        check_target(STACK, "agent", "arn:aws:states:us-east-1:123456789012:stateMachine:agent-long")


def test_sources() -> None:
    check_source(STACK, "own", "anything")
    check_source(STACK, "theirs", "in/rows.csv")
    with pytest.raises(BatchRefused, match=r"^csv_s3_uri: .*copy it to s3://own/.*SourceObjectArns"):
        check_source(STACK, "theirs", "out/rows.csv")


def test_outputs() -> None:
    check_output(STACK, "own", "results/a.csv")
    check_output(STACK, "theirs", "out/a.csv")
    for bucket, key, path in (
        ("theirs", "in/a.csv", "output_bucket"),
        ("own", "batches/a.csv", "output_key"),
        ("own", "outputs/a.csv", "output_key"),
        ("own", "uploads/a.csv", "output_key"),
        ("own", "folder/", "output_key"),
        ("own", "é" * 513, "output_key"),
    ):
        with pytest.raises(BatchRefused, match=f"^{path}: "):
            check_output(STACK, bucket, key)


def test_settings_that_are_not_set_are_all_named() -> None:
    with pytest.raises(SettingsMissing, match="RESULTS_TABLE, REGISTRY_TABLE, DATA_BUCKET not set"):
        Settings.from_environment({"BATCHES_TABLE": "b", "DATA_BUCKET": ""})


def test_settings_of_an_environment() -> None:
    names = {"RESULTS_TABLE": "r", "BATCHES_TABLE": "b", "REGISTRY_TABLE": "g", "DATA_BUCKET": "d"}
    settings = Settings.from_environment({**names, "TOOL_ARNS": "a, b ,", "OUTPUT_OBJECT_ARNS": ""})
    assert settings.tool_arns == ("a", "b")
    assert settings.output_object_arns == ()
    assert (settings.results_table, settings.data_bucket) == ("r", "d")
