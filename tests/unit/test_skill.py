"""The skill for agents with a shell: a form that they read, and commands that there are."""

from __future__ import annotations

import re
import shlex
from typing import Any

import click
import pytest
import yaml
from places import ROOT

from service.console.cli.main import cli

SKILL = ROOT / "skills" / "batch-processor" / "SKILL.md"
PAGES = [SKILL, ROOT / "README.md", ROOT / "docs" / "integration.md", ROOT / "docs" / "usage.md"]


def commands(text: str) -> list[list[str]]:
    """Commands between backticks, and lines of blocks, as words."""
    spans = [" ".join(span.split()) for span in re.findall(r"`(batch-processor [^`]+)`", text)]
    lines = re.findall(r"^(?:\$ )?(batch-processor [^#\n]+)", text, re.MULTILINE)
    found = [shlex.split(re.sub(r"[\[\]…]", " ", one)) for one in [*spans, *lines]]
    return [words[1:] for words in found]


def checked(words: list[str]) -> str | None:
    """What is wrong with a command; several names of one word stand with | between them."""
    group: Any = cli
    names = []
    while isinstance(group, click.Group) and words:
        name = words.pop(0)
        if not re.fullmatch("[a-z|-]+", name):
            break
        names.append(name)
        missing = [each for each in name.split("|") if each not in group.commands]
        if missing:
            return f"no command {' '.join(names)}"
        group = group.commands[name.split("|")[0]]
    known = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    unknown = [word for word in words if word.startswith("-") and word != "-" and word not in known]
    return f"{' '.join(names)} has no {', '.join(unknown)}" if unknown else None


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_the_commands_are_there(page: Any) -> None:
    found = commands(page.read_text())
    assert len(found) >= 3
    assert [problem for words in found if (problem := checked(words))] == []


def test_an_agent_finds_it_and_knows_when_to_use_it() -> None:
    """Agent Skills specification: the frontmatter's name is the folder's, and its description has 1,024 characters."""
    _, front, body = SKILL.read_text().split("---\n", 2)
    told = yaml.safe_load(front)
    assert told.keys() == {"name", "description"}
    assert told["name"] == SKILL.parent.name
    assert re.fullmatch("[a-z0-9-]{1,64}", told["name"])
    assert len(told["description"]) <= 1024
    assert len(body.splitlines()) < 500
    for code in ("0", "1", "2", "3", "130"):
        assert f"| {code} |" in body
