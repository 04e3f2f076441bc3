"""Failures grouped by cause: the words of a message count, its numbers, ids, quoted values and addresses do not.

The commonest causes are found in bounded memory by the space-saving algorithm (Metwally, Agrawal, El Abbadi, "Efficient
computation of frequent and top-k elements in data streams", 2005): a cause for which there is no room takes the place
of the rarest, with that one's count as what it may have had unseen. A cause of more than 1/`room` of all failures is
always among those kept. What is told of each is how many were surely seen.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Generic, TypeVar

from service.excerpt import excerpt_for_json

_Example = TypeVar("_Example")

ROOM = 100  # causes that are followed
MESSAGE = 300  # characters of a message that are shown
KIND = 100  # characters of an error's name
_COMPARED = 150  # characters of a template: whatever is cut at MESSAGE has the same one

# One pass: the first alternative that fits takes the text. A status of HTTP is a word, not a number.
_VARIABLE = re.compile(
    r"""
    (?P<keep>(?:\b(?:status(?:[ _]?code)?|http(?:/[12](?:\.[01])?)?|code|error)\b[^\w\n]{0,3}[1-5]|^[45])[0-9]{2}\b)
  | (?P<url>\b[a-z][a-z0-9+.-]{1,20}://[^\s"'<>]+)
  | (?P<arn>\barn:[a-z-]{1,20}:[^\s"'<>]+)
  | (?P<value>(?<!\w)'[^'\n]{0,300}'(?!\w) | "[^"\n]{0,300}" | `[^`\n]{0,300}`)
  | (?P<time>\b[0-9]{4}-[0-9]{2}-[0-9]{2}
      (?:[T\ ][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?(?:Z|[+-][0-9]{2}:?[0-9]{2})?)?)
  | (?P<id>\b(?:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|0x[0-9a-f]+|row_[0-9]+
      |(?=[a-z_]{0,40}[0-9])(?=[0-9_]{0,40}[a-z])\w{8,})\b)
  | (?P<n>[+-]?[0-9]+(?:[.,:][0-9]+)*)
    """,
    re.VERBOSE | re.IGNORECASE,
)


@lru_cache(maxsize=2048)
def template(message: str) -> str:
    """Return what messages of one cause have in common: `rate limit: retry after {n} s`."""
    return " ".join(_VARIABLE.sub(_name, message).split())[:_COMPARED]


def _name(found: re.Match[str]) -> str:
    return found[0] if found.lastgroup == "keep" else f"{{{found.lastgroup}}}"


@dataclass
class Group(Generic[_Example]):
    """Failures of one cause: `error` and `message` of the first of them, `unsure` of `count` may be of others."""

    status: str
    error: str
    message: str
    count: int = 0
    unsure: int = 0
    alike: bool = False  # the messages of the others are not the very same
    examples: list[_Example] = field(default_factory=list)

    def told(self) -> dict[str, Any]:
        """Status, error, message and count; what is only sometimes so is there only then."""
        return {
            "status": self.status,
            "error": self.error,
            "message": self.message,
            "count": self.count - self.unsure,
            **({"alike": True} if self.alike else {}),
            **({"at_least": True} if self.unsure else {}),
        }


class Causes(Generic[_Example]):
    """Groups of failures, at most `room` of them, the rarest forgotten first."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._groups: dict[tuple[str, str, str], Group[_Example]] = {}
        self._forgotten = 0  # the most that a cause which is not kept may have had

    def add(self, status: str, error: str, message: str) -> Group[_Example]:
        """Count a failure; return its group."""
        error = excerpt_for_json(error, KIND)
        key = (status, error, template(message[: 2 * MESSAGE]))
        group = self._groups.get(key)
        if group is None:
            self._make_room(self._room - 1)
            group = Group(status, error, excerpt_for_json(message, MESSAGE), self._forgotten, self._forgotten)
            self._groups[key] = group
        elif not group.alike and not message.startswith(group.message.removesuffix("…")):
            group.alike = True
        group.count += 1
        return group

    def find(self, status: str, error: str, message: str) -> Group[_Example] | None:
        """Return the group in which such a failure is counted, if it is kept."""
        return self._groups.get((status, excerpt_for_json(error, KIND), template(message[: 2 * MESSAGE])))

    def groups(self) -> list[Group[_Example]]:
        """Return the groups, those of which the most were surely seen first."""
        return sorted(self._groups.values(), key=lambda group: group.unsure - group.count)

    def state(self, most: int) -> dict[str, Any]:
        """Return what counting goes on from, in at most so many characters of JSON: the rarest are left out."""
        while True:
            kept = [
                [one.status, one.error, one.message, one.count, one.unsure, int(one.alike), one.examples, words]
                for (*_, words), one in self._groups.items()
            ]
            state = {"forgotten": self._forgotten, "groups": kept}
            if len(json.dumps(state)) <= most or not kept:
                return state
            self._make_room(len(kept) * 3 // 4)

    @classmethod
    def of(cls, state: dict[str, Any] | None, room: int = ROOM) -> Causes[_Example]:
        """Return the causes of an earlier state, None of a new one."""
        made = cls(room)
        for status, error, message, count, unsure, alike, examples, words in (state or {}).get("groups", ()):
            group = Group(status, error, message, count, unsure, bool(alike), list(examples))
            made._groups[(status, error, words)] = group
        made._forgotten = (state or {}).get("forgotten", 0)
        return made

    def _make_room(self, most: int) -> None:
        """Forgets the rarest groups until there are at most so many."""
        excess = len(self._groups) - most
        if excess == 1:
            rarest = [min(self._groups, key=lambda key: self._groups[key].count)]
        else:
            rarest = sorted(self._groups, key=lambda key: self._groups[key].count)[: max(0, excess)]
        for key in rarest:
            self._forgotten = max(self._forgotten, self._groups.pop(key).count)
