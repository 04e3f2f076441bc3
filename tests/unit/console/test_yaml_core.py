"""Mapping files say what they look like: YAML 1.2's core schema, and no silent change of a constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.console import mapping_files, yaml_core
from service.errors import BatchRefused

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("NO", "NO"),
        ("no", "no"),
        ("Yes", "Yes"),
        ("on", "on"),
        ("off", "off"),
        ("y", "y"),
        ("12:30", "12:30"),
        ("1:2:3", "1:2:3"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01T10:00:00Z", "2024-01-01T10:00:00Z"),
        ("1_000", "1_000"),
        ("=", "="),
        ("0b1", "0b1"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0o17", 15),
        ("0x1F", 31),
        ("1.5", 1.5),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("-1.5E-2", -0.015),
        ("1.2.3", "1.2.3"),
        ("'12'", "12"),
        ('"no"', "no"),
        ("!!str 12", "12"),
    ],
)
def test_scalars_of_the_core_schema(text: str, value: Any) -> None:
    found = yaml_core.read(f"[{text}]" if text else "[ ~ ]")
    assert found == [value]
    assert type(found[0]) is type(value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("static_values: {zip: 01234}", r"line 1, column 22: 01234 is read as the number 1234: write it in quotes"),
        ("execution_config: {limit: 010}", r"010 is read as the number 10"),
        ("static_values:\n  version: 1.10", r"line 2, column 12: 1.10 is read as the number 1.1"),
        ("static_values: {a: [{b: 1e3}]}", r"1e3 is read as the number 1000.0"),
        ("fields: [{name: x, default: 0x1F}]", r"0x1F is read as the number 31"),
        ("a: 1\nb: 2\na: 3", r"line 3, column 1: the key 'a' is there twice, first in line 1"),
        ("{a: {b: 1, b: 2}}", r"the key 'b' is there twice"),
        ("a:\n\t- 1", r"tab"),
        ("a: 1\n---\nb: 2", r"one document"),
        ("a: [1", r"line 1, column"),
        ("a: !!python/object:os.system x", r"could not determine a constructor"),
        ("a: *b", r"undefined alias"),
    ],
)
def test_what_would_change_unseen_is_refused_with_its_place(text: str, told: str) -> None:
    with pytest.raises(yaml_core.YamlFault, match=told):
        yaml_core.read(text)


def test_a_number_elsewhere_is_a_number() -> None:
    assert yaml_core.read("execution_config: {max_cost_usd: 1.50}") == {"execution_config": {"max_cost_usd": 1.5}}
    assert yaml_core.read("static_values: {score: 1.5, n: -2, text: '1.10', big: 12345678901234567890}") == {
        "static_values": {"score": 1.5, "n": -2, "text": "1.10", "big": 12345678901234567890}
    }


def test_anchors_and_merge_keys_are_followed_but_not_without_end() -> None:
    text = "base: &base {a: 1, b: 2}\nmore: {<<: *base, b: 3}"
    assert yaml_core.read(text)["more"] == {"a": 1, "b": 3}
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(yaml_core.YamlFault, match="aliases"):
        yaml_core.read("\n".join(lines))


# PyYAML folds keys at control characters and line separators, and then does not read them again.
LETTERS = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])


NUMBERS = st.from_regex(r"[-+]?(0[ox])?[0-9]*\.?[0-9_:]*([eE][-+]?[0-9]+)?", fullmatch=True, alphabet=LETTERS)


@settings(deadline=None)
@given(
    st.recursive(
        st.text(LETTERS) | NUMBERS | st.integers() | st.booleans() | st.none(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(LETTERS), inner),
    )
)
def test_what_is_written_for_people_is_read_as_it_was(value: Any) -> None:
    assert yaml_core.read(yaml_core.write(value)) == value


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"a": 1, "a": 2}', "the key 'a' is there twice"),
        ('{"x": [{"b": 1, "b": 1}]}', "the key 'b' is there twice"),
        ('{"n": 0.12345678901234567890123}', "more digits"),
    ],
)
def test_json_that_would_change_unseen_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(BatchRefused, match=told):
        mapping_files.read_document(path)
