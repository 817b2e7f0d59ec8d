"""How long a batch waits for more while its target is behind (what Kafka's producers call `linger.ms`).

A target that keeps up is given small batches, one at once after the other. Where the same records change again and again,
each of them updates nearly all of those records; what would be two such batches is half the work for it as one. So while
batches fold well, and what they hold is late already, the next one waits until it is full. It is not felt: never longer
than a tenth of how late its changes are, nor much longer than it takes for more to arrive.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from cdcd.outbox import StoredUnits

LAG_SHARE: Final = 0.1
MAX_SECONDS: Final = 1.0
QUIET_SECONDS: Final = (0.05, 0.5)
"""When nothing has come for twice the time that it took lately, but at least and at most so long, nothing is about to come."""
WORTH_CHANGES: Final = 1_000
"""A batch of fewer is no sign that the target is behind."""
FOLDING_READS: Final = 4
"""A batch that folds may be as large as so many others: little is left of it before it is written."""


class Linger:
    """Decides it for one target, from what its last batch came to."""

    def __init__(self) -> None:
        self.pays = False
        """Whether waiting makes the target's work less, as far as the last batch tells."""
        self._changes = 0
        self._began_at: float | None = None
        self._grew_at = 0.0
        self._quiet_seconds = sum(QUIET_SECONDS) / 4

    def folded(self, changes: int, rows: int) -> None:
        """A batch of so many changes has become so many rows of the target. The next one has not waited yet."""
        self.pays = changes >= WORTH_CHANGES and 2 * rows <= changes
        self._began_at = None

    @property
    def full_reads(self) -> int:
        """How large the next batch may be (see `Backlog.full_reads`)."""
        return FOLDING_READS if self.pays else 1

    def left_seconds(
        self, batch: Sequence[StoredUnits], now: float, now_us: int, *, more_is_journalled: bool = True
    ) -> float:
        """How long a batch that is not full should still wait; 0 when it should go.

        `now` is of a clock that only goes forward, in seconds; `now_us` is the time, as commits are told, in microseconds.
        Unless `more_is_journalled`, which resolve is about to bring, more must still come from a source: that is not waited for long.
        """
        if not self.pays or not batch:
            return 0.0
        changes = sum([row.writes for row in batch])
        if self._began_at is None:
            self._began_at, self._grew_at = now, now
        elif changes > self._changes:
            self._learn(2 * (now - self._grew_at))
            self._grew_at = now
        self._changes = changes
        late_seconds = (now_us - batch[0].committed_at_us) / 1e6
        longest = self._began_at + min(MAX_SECONDS, LAG_SHARE * late_seconds) - now
        quiet = self._grew_at + (self._quiet_seconds if more_is_journalled else QUIET_SECONDS[0]) - now
        if quiet <= 0 and more_is_journalled:
            self._learn(2 * self._quiet_seconds)  # it was too early
        return max(0.0, min(longest, quiet))

    def _learn(self, quiet_seconds: float) -> None:
        least, most = QUIET_SECONDS
        self._quiet_seconds = min(most, max(least, quiet_seconds, self._quiet_seconds / 2))
