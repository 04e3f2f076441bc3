"""Print the third-party packages of one function: a dependency group of pyproject.toml, with the groups it includes.

`pip install --group` would do the same, from pip 25.1 on; a new virtual environment often has an older one.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).parents[1] / "pyproject.toml"


def names_of(group: str, groups: dict[str, list[Any]]) -> set[str]:
    """Return the packages of a group (PEP 735), those of included groups among them."""
    names: set[str] = set()
    for entry in groups[group]:
        names |= names_of(entry["include-group"], groups) if isinstance(entry, dict) else {entry}
    return names


if __name__ == "__main__":
    names = names_of(sys.argv[1], tomllib.loads(PROJECT.read_text())["dependency-groups"])
    sys.stdout.write(" ".join(sorted(names)))
