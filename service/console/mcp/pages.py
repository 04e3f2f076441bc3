"""The pages of documentation as resources."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mcp.server.mcpserver.resources import FunctionResource

from service.console.local.stack import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp.server.mcpserver.resources import Resource

SCHEME = "batch-processor://docs/"
_TITLE = 200  # characters of a page's first line


def resources(folder: Path = CHECKOUT) -> Iterator[Resource]:
    """Yield a resource for each page that is there: README.md and docs/*.md of a checkout."""
    for path in (folder / "README.md", *sorted((folder / "docs").glob("*.md"))):
        if path.is_file():
            name = path.stem.lower()
            with path.open(encoding="utf-8") as file:
                title = file.readline(_TITLE).lstrip("# ").strip()
            yield FunctionResource(
                uri=f"{SCHEME}{name}",
                name=name,
                title=title,
                description=f"{title}: {path.name} of the batch processor's documentation.",
                mime_type="text/markdown",
                fn=partial(path.read_text, encoding="utf-8"),
            )
