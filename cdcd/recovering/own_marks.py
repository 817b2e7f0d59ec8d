"""Whose transaction was that? Our own checkpoint row in a target's log says that we wrote it, and what it carries."""

from __future__ import annotations

from collections.abc import Collection

from cdcd.adapter import Identity
from cdcd.model import PrintedRows, Rows
from cdcd.printed import rows_of


def units_of(identity: Identity, lineages: Collection[str], checkpoint: Rows | PrintedRows) -> tuple[int, int] | None:
    """The outbox units (after, through] that rows of the checkpoint table show; None when the row is not this daemon's.

    `lineages`: under which it may have written, its own and those that were adopted.
    """
    at = {name: index for index, name in enumerate(checkpoint.relation.columns)}
    found = None
    for row in rows_of(checkpoint).rows:
        ours = row[at["daemon"]] == identity.daemon and row[at["lineage"]] in lineages
        if ours and row[at["system"]] == identity.system:
            after, through = row[at["batch_after"]], row[at["batch_through"]]
            assert isinstance(after, int)
            assert isinstance(through, int)
            found = (after, through)
    return found
