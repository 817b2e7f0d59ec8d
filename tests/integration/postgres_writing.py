"""An open PostgreSQL target, for tests that write to it batch by batch."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cdcd.model import Batch, TableWrite
from cdcd_postgres import PostgresTarget, adapter
from contract.postgres_harness import PostgresHarness


class OpenTarget:
    """`through` is the last unit that was written."""

    def __init__(self, harness: PostgresHarness, **options) -> None:
        self.target: PostgresTarget = adapter.open_target(
            harness.identity, msgspec.structs.replace(harness.options, **options)
        )
        self.through = self.target.open()

    def apply(self, *writes: TableWrite) -> Sequence[tuple[int, int]]:
        """One transaction with the next unit; what is missing."""
        missing = self.target.apply(writes, Batch(self.through, self.through + 1)).missing
        self.through += 1
        return missing
