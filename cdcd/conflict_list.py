"""Conflicts for a person to look at: by names, with what the record holds instead and who owns it. Reads only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from cdcd.conflicts import OPEN, Conflict, listed
from cdcd.model import ABSENT
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import decode_key
from cdcd.resolve.ownership import LATEST, NOBODY, SUM
from cdcd.resolve.plan import EntityPlan, Plan
from cdcd.resolve.rights import Rights
from cdcd.sensitive import Masks
from cdcd.state import OPEN_CONFLICTS, State

_NO_SYSTEM: Final = {NOBODY: "", LATEST: "latest", SUM: "sum"}


class Wanted(msgspec.Struct, frozen=True):
    """Which conflicts: of an entity, a record (its key), a field, a system, a kind; by default all that are open.

    `kept` are those that only keep what was lost. A kind that is named needs no more.
    """

    entity: str | None = None
    key: bytes | None = None
    field: str | None = None
    system: str | None = None
    kind: str | None = None
    kept: bool = False


class Shown(msgspec.Struct, frozen=True):
    """A conflict by names. `field` is None where it is about the whole record. `owner` is who owns it now, if anybody.

    `value` is what lost, `golden` what the record holds; of a record as a whole all fields, by name.
    """

    entity: str
    key: tuple[Any, ...]
    field: str | None
    system: str
    kind: str
    open: bool
    seq: int
    at_us: int
    owner: str
    value: Any
    golden: Any


def find(state: State, plan: Plan, wanted: Wanted, limit: int = -1) -> list[Conflict]:
    """The conflicts that are wanted, oldest first; those of entities that the configuration has no more are left out."""
    where: list[str] = []
    parameters: list[Any] = []
    for column, value in _numbers(plan, wanted):
        where.append(f"{column} IN ({','.join('?' * len(value))})")
        parameters += value
    if wanted.kind is None and not wanted.kept:
        where.append(f"kind IN ({','.join('?' * len(OPEN_CONFLICTS))})")
        parameters += OPEN_CONFLICTS
    return listed(state.connection, " AND ".join(where), tuple(parameters), limit)


def _numbers(plan: Plan, wanted: Wanted) -> Iterator[tuple[str, list[Any]]]:
    entities = [e for e in plan.entities.values() if wanted.entity in (None, e.name)]
    yield "entity", [entity.number for entity in entities]
    if wanted.key is not None:
        yield "key", [wanted.key]
    if wanted.system is not None:
        yield "system", [plan.vocabulary.systems.index(wanted.system)]
    if wanted.kind is not None:
        yield "kind", [wanted.kind]
    if wanted.field is not None:
        named = [(e.number, slot) for e in entities for slot, f in enumerate(e.fields) if f.name == wanted.field]
        yield "entity * 65536 + coalesce(slot, -1)", [number * 65536 + slot for number, slot in named]


def show(state: State, masks: Masks, conflict: Conflict) -> Shown:
    """A conflict by names, beside what the record holds."""
    plan = masks.plan
    entity = next(entity for entity in plan.entities.values() if entity.number == conflict.entity)
    records = GoldenRecords(state, {e.number: len(e.fields) for e in plan.entities.values()})
    record = records.get(entity.number, conflict.key)
    slot = conflict.slot
    return Shown(
        entity.name,
        masks.key(entity, decode_key(conflict.key, entity.key_width)),
        None if slot is None else entity.fields[slot].name,
        plan.vocabulary.systems[conflict.system],
        conflict.kind,
        conflict.kind in OPEN,
        conflict.seq,
        conflict.at_us,
        "" if slot is None or record is None else _owner(plan, entity, records, conflict.key, record, slot),
        _by_name(masks, entity, conflict.value) if slot is None else masks.value(entity, slot, _plain(conflict.value)),
        _golden(masks, entity, record, slot),
    )


def _golden(masks: Masks, entity: EntityPlan, record: Record | None, slot: int | None) -> Any:
    if record is None or not record.alive:
        return None
    if slot is None:
        return _by_name(masks, entity, record.values)
    return masks.value(entity, slot, _plain(record.values[slot]))


def _by_name(masks: Masks, entity: EntityPlan, values: list[Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    slots = [slot for slot in entity.live_slots if slot < len(values)]
    return {entity.fields[slot].name: masks.value(entity, slot, _plain(values[slot])) for slot in slots}


def _plain(value: Any) -> Any:
    return None if value is ABSENT else value


def _owner(plan: Plan, entity: EntityPlan, records: GoldenRecords, key: bytes, record: Record, slot: int) -> str:
    """The system that owns the field as the record is now; "latest" or "sum" where several share it."""
    rights = Rights(plan, entity, records)
    owner = rights.ownership.owners(rights.judged(key, record).values)[slot]
    return plan.vocabulary.systems[owner] if owner >= 0 else _NO_SYSTEM[owner]
