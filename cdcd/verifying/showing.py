"""The values of records that differ, for a person who asks: read again, beside the daemon, from state and live tables.

By then they may be others than those that were compared. What is sensitive is masked.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from cdcd import plugins
from cdcd.adapter import Identity
from cdcd.blueprint import Blueprint
from cdcd.resolve.plan import Plan
from cdcd.sensitive import Masks
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.verifying import live_records, reference, scratch
from cdcd.verifying.judging import Shown
from cdcd.verifying.live_records import Tables
from cdcd.verifying.reference import Reference

Values = dict[str, tuple[Any, Any]]
"""By field: what the row holds, and what it should hold."""


def values(drawn: Blueprint, wanted: Iterable[tuple[str, str, bytes]]) -> dict[tuple[str, str, bytes], Values]:
    """What rows hold, named by entity, system and row id; those that are not there any more are left out.

    Raises Unavailable, NeedsOperator.
    """
    grouped: dict[tuple[str, str], list[bytes]] = {}
    for entity, system, row_id in wanted:
        grouped.setdefault((entity, system), []).append(row_id)
    directory = StateDirectory(Path(drawn.config.daemon.state_dir))
    with closing(State(directory.state, read_only=True)) as state:
        plan = msgspec.structs.replace(drawn, vocabulary=state.get("vocabulary") or b"").plan()
    found: dict[tuple[str, str, bytes], Values] = {}
    with reference.opened(plan, directory.path) as known:
        for (entity, system), row_ids in grouped.items():
            of_rows = _of_rows(drawn, plan, known, directory.path, entity, system, row_ids)
            found |= {(entity, system, row_id): held for row_id, held in of_rows.items()}
    return found


def _of_rows(
    drawn: Blueprint, plan: Plan, known: Reference, path: Path, entity: str, system: str, row_ids: list[bytes]
) -> dict[bytes, Values]:
    with ExitStack() as opened:
        system_of = drawn.systems[system]
        adapter = plugins.load(system_of.reference, extra=system_of.adapter)
        options = plugins.options(drawn.config, drawn.file, system, adapter)
        reader = opened.enter_context(
            closing(adapter.open_reader(Identity(drawn.config.daemon.name, system, ""), options))
        )
        shown = path / scratch.SHOWN
        records = live_records.of_entity(plan, entity, system, Tables(reader), known, lambda _rows: None, shown)
        rows = records.again(row_ids)
        with known.moment():
            masks = Masks(plan, path)
            return {one.row_id: _values(known, masks, entity, one) for one in records.shown(rows) if not one.refused}


def _values(known: Reference, masks: Masks, entity: str, shown: Shown) -> Values:
    assert shown.key is not None, "a row that was understood has a key"
    plan = known.plan.entities[entity]
    record = known.golden.get(plan.number, shown.key)
    should = [None] * len(shown.values) if record is None else record.values
    return {
        plan.fields[slot].name: (masks.value(plan, slot, shown.values[slot]), masks.value(plan, slot, should[slot]))
        for slot in plan.live_slots
    }
