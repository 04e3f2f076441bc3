"""Errors that a person reads: each names the thing, the place and the next step."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Problem:
    """One fault in what was given: `path` is the place (`output_mapping.extraction_methods[0].paths.title`).

    `detail` is for the record and for people alone: what holds cells must reach no log, and Lambda logs what is raised.
    """

    path: str
    message: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class BatchProcessorError(Exception):
    """Base of every error that this product raises on purpose."""


class BatchRefused(BatchProcessorError):
    """The batch cannot be run as given; holds every problem found, not only the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))

    @property
    def detailed(self) -> str:
        """Every problem with its detail."""
        return "\n".join(f"{problem}{problem.detail}" for problem in self.problems)


class SourceChanged(BatchProcessorError):
    """The source object was replaced while the batch was running (its ETag differs)."""


class OutputRefused(BatchProcessorError):
    """The target's output says that another call may be answered; Lambda logs it, so it says nothing of the output."""

    def __init__(self, retry_after_seconds: float | None, *, throttled: bool = False) -> None:
        self.retry_after_seconds = retry_after_seconds
        self.throttled = throttled
        super().__init__(json.dumps({"retry_after_seconds": retry_after_seconds, "throttled": throttled}))


class ChunkUnfinished(BatchProcessorError):
    """An EXPRESS execution had no time left for rows of its chunk: a STANDARD one is to run them."""


class NotFound(BatchProcessorError):
    """There is no such batch, target or stack."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`Did you mean …?` with up to three known names, or the known names when none is near; never empty-handed."""
    names = list(known)
    lowered = {name.lower(): name for name in names}
    close = difflib.get_close_matches(word.lower(), lowered, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(lowered[name]) for name in close) + "?"
    if not names:
        return "there are none"
    shown = ", ".join(repr(name) for name in names[:12])
    return f"known: {shown}" + (f" and {len(names) - 12} more" if len(names) > 12 else "")
