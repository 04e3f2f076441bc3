"""What is seen of the cells of an export while its lines are made: how many fields have a value, how many are guarded.

Counted a column at a time, which costs next to nothing. A field has a value where its cell is not empty; a default
counts as one, for a result does not say where it came from.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from service.store.structs import Fields

FOLLOWED = 1_000  # fields that are counted,
_CHARACTERS = 20_000  # and characters of all their names: they travel to the next invocation
TOLD = 100  # fields of a result
_NAMED = 10  # fields of a warning


class Seen:
    """Values by field, in the order of the columns, and cells with a `'` that keeps a spreadsheet from running them."""

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        known = state or {}
        self.counts: dict[str, int] = dict(known.get("fields", ()))
        self.guarded = int(known.get("guarded", 0))
        self._characters = sum(map(len, self.counts))

    def know(self, names: Iterable[str]) -> tuple[str, ...]:
        """Fields that there are, found or not; returns those that are counted, as a rule all."""
        followed = []
        for name in names:
            if name not in self.counts:
                self._characters += len(name)
                if len(self.counts) >= FOLLOWED or self._characters > _CHARACTERS:
                    self._characters -= len(name)
                    continue
                self.counts[name] = 0
            followed.append(name)
        return tuple(followed)

    def add(self, name: str, found: int) -> None:
        """So many more results have a value."""
        if name in self.counts or self.know((name,)):
            self.counts[name] += found

    def maps(self, maps: Iterable[Fields]) -> None:
        """Count fields of whole maps, in the order in which their names come up."""
        found: Counter[str] = Counter()
        for fields in maps:
            for name, one in fields.items():
                found[name] += bool(one.S) if one.S is not None else not one.NULL
        for name, count in found.items():
            self.add(name, count)

    def state(self) -> dict[str, Any]:
        """Return what a later one goes on from; a list, for it keeps its order on the way."""
        return {"fields": list(self.counts.items()), "guarded": self.guarded}

    def told(self, of: int, most: int = TOLD) -> list[dict[str, Any]]:
        """Name, how many have a value, of how many, for each field; the emptiest of too many, in column order."""
        if not of:
            return []
        kept = set(sorted(self.counts, key=lambda name: self.counts[name])[:most])
        return [
            {"name": name, "found": min(found, of), "of": of} for name, found in self.counts.items() if name in kept
        ]


def never(fields: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the fields that no result has."""
    return [one for one in fields if not one["found"]]


def seldom(fields: Iterable[Mapping[str, Any]], most: int) -> list[Mapping[str, Any]]:
    """Return the emptiest of the fields that some results have and some have not."""
    some = [one for one in fields if 0 < one["found"] < one["of"]]
    return sorted(some, key=lambda one: one["found"])[:most]


def warning(fields: Iterable[Mapping[str, Any]]) -> str:
    """`score: found in 0 of 40 rows`, of every field that no result has; "" of none."""
    empty = never(fields)
    names = ", ".join(str(one["name"]) for one in empty[:_NAMED])
    more = f" and {len(empty) - _NAMED:,} more fields" if len(empty) > _NAMED else ""
    return f"{names}{more}: found in 0 of {empty[0]['of']:,} row{'' if empty[0]['of'] == 1 else 's'}" if empty else ""


def guarded(cells: int) -> str:
    """How many cells got a `'`, and how that is turned off; "" of none."""
    if not cells:
        return ""
    one = cells == 1
    return (
        f"{cells:,} cell{'' if one else 's'} that a spreadsheet would run {'begins' if one else 'begin'} with ' in the "
        "CSV (aggregate --raw-cells leaves them as they are)"
    )
