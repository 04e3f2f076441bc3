from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.models import (
    COUNTED,
    MESSAGE_LIMIT,
    call_name,
    elapsed_ms,
    empty_counts,
    error_of,
    now_iso,
    outcome,
    parse_iso,
    row_id,
    row_number,
    split_s3_uri,
    target_name,
)


def test_row_ids_sort_as_their_numbers() -> None:
    numbers = [1, 2, 9, 10, 99, 1_000, 9_999_999, 10_000_000]
    assert sorted(map(row_id, numbers)) == list(map(row_id, numbers))
    assert [row_number(row_id(number)) for number in numbers] == numbers
    assert row_number("row_001") is None


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("echo", "echo"),
        ({"name": "echo", "arn": "arn:aws:lambda:eu-west-1:123456789012:function:f"}, "echo"),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f", "f"),
        ("arn:aws:lambda:eu-west-1:123456789012:function:f:live", "f"),
        ({"arn": "arn:aws-cn:states:cn-north-1:123456789012:stateMachine:m:3"}, "m"),
        ({"type": "tool"}, ""),
        (None, ""),
        (5, ""),
        ({"name": 5}, ""),
    ],
)
def test_the_name_of_a_target(target: object, name: str) -> None:
    assert target_name(target) == name


def test_names_of_calls_are_those_that_step_functions_takes() -> None:
    name = call_name("a name of a tool" * 20 + "#" + "e" * 80, 9_999_999_999, 9_999, 100)
    assert len(name) <= 80
    assert set(name) <= set("0123456789abcdef-")


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("s3://my-bucket/a/b c.csv", ("my-bucket", "a/b c.csv")),
        ("s3://my-bucket/", None),
        ("s3://My_Bucket/a", None),
        ("https://my-bucket/a", None),
        ("s3:///a", None),
    ],
)
def test_s3_uris(uri: str, parts: tuple[str, str] | None) -> None:
    assert split_s3_uri(uri) == parts


def test_times_are_utc_whatever_zone_they_are_given_in() -> None:
    moment = datetime(2025, 3, 1, 1, 30, 0, 123_999, tzinfo=timezone(timedelta(hours=2)))
    assert now_iso(moment) == "2025-02-28T23:30:00.123Z"
    assert parse_iso("2025-02-28T23:30:00.123Z") == datetime(2025, 2, 28, 23, 30, 0, 123_000, tzinfo=UTC)
    assert parse_iso("2025-02-28T23:30:00").tzinfo is UTC


def test_elapsed_time() -> None:
    assert elapsed_ms("2025-01-01T00:00:00Z", "2025-01-01T00:00:01.5Z") == 1_500
    assert elapsed_ms("2025-01-01T00:00:01Z", "2025-01-01T00:00:00Z") == 0
    assert elapsed_ms(None, "2025-01-01T00:00:00Z") is None


def test_long_messages_are_cut() -> None:
    assert error_of("E", "x" * 5_000)["message"] == "x" * (MESSAGE_LIMIT - 1) + "…"
    assert error_of("E", "x") == {"type": "E", "message": "x"}


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ({}, "SUCCEEDED"),
        ({"SUCCESS": 3}, "SUCCEEDED"),
        ({"SUCCESS": 3, "FAILED": 1}, "PARTIAL"),
        ({"SUCCESS": 3, "FAILED": 1, "NOT_RUN": 1}, "INCOMPLETE"),
        ({"SUCCESS": 3, "MISSING": 1}, "INCOMPLETE"),
        ({"FAILED": 1, "NOT_RUN": 5}, "FAILED"),
        ({"NOT_RUN": 5}, "FAILED"),
        ({"SUCCESS": 1, "UNKNOWN": 1}, "PARTIAL"),
    ],
)
def test_the_outcome_of_counts(counts: dict[str, int], status: str) -> None:
    assert outcome({**empty_counts(), **counts}) == status


def test_counts_hold_every_counted_status() -> None:
    assert list(empty_counts()) == [status.value for status in COUNTED]
    assert len(empty_counts()) == 7
