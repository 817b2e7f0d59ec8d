"""What a step has changed and not written yet: bounded whatever the step holds (Invariant 11), and written as rarely as can be.

A record that changes often is written once a step: a record costs SQLite 10 µs where each lies on a page of its own.
"""

from __future__ import annotations

from typing import Final

from cdcd.journal import Journal
from cdcd.outbox import OutboxWriter
from cdcd.resolve.golden import Crosswalk, GoldenRecords
from cdcd.resolve.owing import Owed
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.trail import Trail

OPEN_ROWS: Final = 2_500
OPEN_BYTES: Final = 4 * 2**20
"""Rows, and journalled bytes, after which it is looked what leaves the memory for the state's open transaction."""
OPEN_RECORDS: Final = 2_500
"""Changed golden records that do then. Of rows about the same few records, they stay until they are that many bytes."""

_ROWS_A_RECORD: Final = 4


class OpenChanges:
    """The changes of a step, in all that collects them."""

    def __init__(
        self,
        journal: Journal,
        golden: GoldenRecords,
        crosswalk: Crosswalk,
        seeds: Seeds,
        owed: Owed,
        trail: Trail,
        outbox: OutboxWriter,
    ) -> None:
        self._journal = journal
        self._golden = golden
        self._crosswalk = crosswalk
        self._seeds = seeds
        self._owed = owed
        self._trail = trail
        self._outbox = outbox
        self._rows = 0
        self._looked_at_bytes = 0
        self._step_rows = 0

    def begin(self) -> None:
        """A step begins."""
        self._step_rows = 0

    def took(self, rows: int) -> None:
        """So many rows more were taken: write what has become much."""
        self._rows += rows
        self._step_rows += rows
        is_long = self._journal.decoded_bytes - self._looked_at_bytes >= OPEN_BYTES
        if self._rows < OPEN_ROWS and not is_long:
            return
        self._rows, self._looked_at_bytes = 0, self._journal.decoded_bytes
        is_many = self._golden.changed >= OPEN_RECORDS or self._golden.is_full
        if is_many or (is_long and self._golden.pack() >= OPEN_BYTES):
            self._golden.put_away()
        self._crosswalk.flush()
        self._seeds.flush()
        self._owed.flush()
        if is_long:  # else these bound themselves
            self._trail.flush()
            self._outbox.put_aside()

    def are_of_few_records(self, rows_max: int) -> bool:
        """Whether so far the step's rows, fewer than `rows_max`, are about the same records: then further ones may be, too."""
        return self._step_rows < rows_max and 0 < _ROWS_A_RECORD * self._golden.changed <= self._step_rows

    def write(self) -> None:
        """Write all of it into the state's open transaction, but for the outbox's."""
        self._golden.put_away()
        self._crosswalk.flush()
        self._seeds.flush()
        self._owed.flush()
        self._trail.flush()

    def discard(self) -> None:
        """Forget what is not written, after a step that failed."""
        self._golden.discard()
        self._crosswalk.discard()
        self._seeds.discard()
        self._trail.discard()
