"""A batch as its quotas see it: rows, seconds of a call, how its chunks are laid out, and what the account has."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from service.cost.usage import EXPRESS_ROW_SECONDS
from service.cost.usage import EXPRESS_SECONDS as EXPRESS_CHUNK_SECONDS
from service.cost.workload import Profile, rows_of_a_chunk
from service.limits import CHUNK_BYTES

# Seconds beside the target's own, taken and not measured on AWS: of a row, two transitions and WriteResult; of a chunk,
# its start, TransformInput and FinishChunk.
ROW_SECONDS = {"STANDARD": 0.1, "EXPRESS": EXPRESS_ROW_SECONDS}
CHUNK_SECONDS = {"STANDARD": 0.3, "EXPRESS": EXPRESS_CHUNK_SECONDS}
_WIRE_BYTES = 100  # of a row on its way, beside its cells and what its target is given


@dataclass(frozen=True, slots=True)
class Account:
    """What an account has of those quotas that differ; `partitions`: of DynamoDB that hold the batch's results.

    A batch begins on one partition. DynamoDB divides one that stays busy, when and how often it does not say.
    """

    large_region: bool = True
    functions_at_once: int = 1_000
    partitions: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A batch as its quotas see it; `seconds` of a call of the target, `failures` the share of rows that fail."""

    rows: int
    seconds: float
    profile: Profile = field(default_factory=Profile)
    account: Account = field(default_factory=Account)
    failures: float = 0.0

    @property
    def calls(self) -> float:
        """Calls of the target for a row; one that fails is taken to use all its attempts."""
        return 1 + self.failures * (self.profile.max_attempts - 1)

    @property
    def row_seconds(self) -> float:
        """Seconds that a row is in flight."""
        return self.calls * (self.seconds + ROW_SECONDS[self.profile.children])

    @property
    def chunk_rows(self) -> int:
        """Rows of a chunk as they are laid out: by history, payload, and so that a small batch has enough chunks."""
        profile = self.profile
        by_payload = int(CHUNK_BYTES // (2 * profile.row_bytes + _WIRE_BYTES))
        most = max(1, min(profile.chunk_rows, by_payload))
        return rows_of_a_chunk(self.rows, most, profile.outer, profile.inner)

    @property
    def wanted_seconds(self) -> float:
        """Seconds in which max_concurrency alone would have run all rows: so many chunks at once, turn by turn."""
        turns, rest = divmod(self.rows, self.chunk_rows * self.profile.outer)
        last = self._chunk_seconds(min(rest, self.chunk_rows)) if rest else 0.0
        return turns * self._chunk_seconds(self.chunk_rows) + last

    def _chunk_seconds(self, rows: int) -> float:
        profile = self.profile
        return math.ceil(rows / profile.inner) * self.row_seconds + CHUNK_SECONDS[profile.children]

    @property
    def wanted_rate(self) -> float:
        """Rows a second that max_concurrency alone would give."""
        return self.rows / self.wanted_seconds if self.rows else 0.0
