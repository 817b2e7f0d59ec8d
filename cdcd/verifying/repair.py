"""Putting right what a verification has found, by the verbs that there are, so that ownership decides.

What a system lacks, or has otherwise in fields that are not its own, it is told anew, as a retry tells it. Rows that cdcd does
not know, or that differ in what the system owns, are read again, as a resync reads them: what the system owns counts.

Where records are put together from several tables, resolve keeps their rows, and would go on believing in those that it was not
told are gone. There only what differs is told; the rest is a matter for a resync of all tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from cdcd.adapter import RowFilter
from cdcd.backfills import NewCopy
from cdcd.journal import Command
from cdcd.resolve.keys import decode_key
from cdcd.resolve.plan import Plan, root_of
from cdcd.verifying.results import Comparison, Difference

RECORDS_MAX = 1_000
"""So many in one command."""


class Step(msgspec.Struct, frozen=True):
    """One command, of `records` of an entity in a system; `copy` are the rows that it has read again."""

    system: str
    entity: str
    records: int
    command: Command
    copy: NewCopy | None = None


def steps(plan: Plan, comparison: Comparison, found: Sequence[Difference]) -> Iterator[Step]:
    """What puts right the differences of one comparison."""
    entity = plan.entities.get(comparison.subject)
    binding = None if entity is None else entity.bindings.get(comparison.system)
    if entity is None or binding is None:
        return
    found = [one for one in found if _is_mendable(one, is_gathered=binding.is_gathered)]
    told = [difference.key for difference in found if difference.mend == "tell"]
    for start in range(0, len(told), RECORDS_MAX):
        keys = told[start : start + RECORDS_MAX]
        records = [[entity.number, key] for key in keys]
        command = Command("retry", {"system": comparison.system, "records": records})
        yield Step(comparison.system, comparison.subject, len(keys), command)
    width = len(comparison.row_key)
    rows = [tuple(decode_key(d.row_id, width)) for d in found if d.mend == "read"]
    if rows:
        chosen = RowFilter(columns=comparison.row_key, keys=tuple(dict.fromkeys(rows)))
        root = root_of(comparison.subject)
        command = Command("resync", {"entity": root, "systems": [comparison.system], "filtered": True})
        copy = NewCopy(comparison.system, binding.table, root, chosen)
        yield Step(comparison.system, comparison.subject, len(rows), command, copy)


def _is_mendable(one: Difference, *, is_gathered: bool) -> bool:
    if is_gathered:
        return one.mend == "tell" and one.kind == "different"
    return bool(one.key if one.mend == "tell" else one.row_id)
