"""From outbox units to what they would change: folded as delivery folds them, compared with the target's live rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cdcd import outbox
from cdcd.folding.fold import Folder
from cdcd.folding.folded import Folded, Grouped
from cdcd.model import TableShape, TableWrite
from cdcd.outbox import Unit
from cdcd.parking.parked import Subject
from cdcd.reader import Reader
from cdcd.rehearsal.copies import Copies
from cdcd.rehearsal.findings import SAMPLES_MAX, Change, FieldCount, Refusal
from cdcd.rehearsal.live import NO_CHANGE, LiveTables, RowChange
from cdcd.resolve.keys import decode_key
from cdcd.resolve.plan import Plan, place_of
from cdcd.sensitive import Masks, masked


class TargetOutcome:
    """What would happen in one target."""

    def __init__(self, masks: Masks, system: str, shapes: Mapping[str, TableShape], reader: Reader) -> None:
        plan = masks.plan
        self.changes: dict[str, Change] = {}
        self.refusals: dict[tuple[str, str], Refusal] = {}
        self._plan = plan
        self._masks = masks
        self._system = system
        self._shapes = shapes
        self._live = LiveTables(reader, shapes)
        self._names = {entity.number: name for name, entity in plan.entities.items()}
        self._fields = {name: _fields_by_column(plan, name, system) for name in plan.entities}

    def judge(self, copies: Copies) -> None:
        """Look at everything that the outbox has for this target."""
        folder = Folder(self._plan, self._system, self._shapes, copies.journal.relation)
        folded, _ = folder.fold(_units(copies, self._system), None)
        self._refused(folded)
        for group in folded.ordered(deletes_first=False).between(0):
            self._group(group)

    def _refused(self, folded: Folded) -> None:
        for found in folded.unwritable:
            self._refuse(found.subject, found.refused.code, found.refused.cause or found.refused.what)

    def _refuse(self, subject: Subject, code: str, cause: str) -> None:
        entity = self._entity(subject)
        refusal = self.refusals.setdefault((entity, code), Refusal(self._system, entity, code, cause))
        refusal.count += 1
        if len(refusal.samples) < SAMPLES_MAX:
            refusal.samples.append(self._key(subject))

    def _entity(self, subject: Subject) -> str:
        number = subject[0]
        if number >= 0:
            return self._names[number]
        route = next(route for route in self._plan.routes if route.number == -1 - number)
        return f"{route.source}:{route.source_table}"

    def _key(self, subject: Subject) -> list[Any]:
        number, key = subject
        if number < 0:
            return []
        entity = self._plan.entities[self._names[number]]
        return [_flat(part) for part in self._masks.key(entity, decode_key(key, entity.key_width))]

    def _row_key(self, write: TableWrite, number: int) -> list[Any]:
        """The key of a copied row."""
        hidden = self._masks.columns(self._system, write.table)
        parts = zip(write.key, write.rows[number], strict=False)
        return [self._masks.token(part) if column in hidden else _flat(part) for column, part in parts]

    # ---- rows ------------------------------------------------------------------------------------------------

    def _group(self, group: Grouped) -> None:
        """One change for each record, put together from the rows of all its tables."""
        found: dict[int, list[tuple[TableWrite, RowChange]]] = {}
        main = self._live.changes(group.write)
        for number, change in enumerate(main):
            found.setdefault(number, []).append((group.write, change))
        for part in [*group.before, *group.after]:
            for number, change in zip(part.numbers, self._live.changes(part.write), strict=True):
                found.setdefault(number, []).append((part.write, change))
        for number, rows in found.items():
            self._record(group, number, rows)

    def _record(self, group: Grouped, number: int, rows: Sequence[tuple[TableWrite, RowChange]]) -> None:
        subject = group.subjects[number]
        main = next((change for write, change in rows if write is group.write), NO_CHANGE)
        if main.kind == "missing":
            if not group.missing_is_fine:
                self._refuse(subject, "row-missing", "the target has no such row to change")
            return
        if all(change.kind in ("equal", "missing") for _, change in rows):
            return
        entity = self._entity(subject)
        change = self.changes.setdefault(entity, Change(self._system, entity))
        key = self._key(subject) if subject[0] >= 0 else self._row_key(group.write, number)
        if main.kind == "delete":
            change.deletes += 1
            _sample(change.deleted, key)
        elif main.kind == "create":
            change.creates += 1
            _sample(change.created, key)
        else:
            change.updates += 1
            for write, row in rows:
                self._values(change, entity, key, write, row)

    def _values(self, change: Change, entity: str, key: list[Any], write: TableWrite, row: RowChange) -> None:
        hidden = self._masks.columns(self._system, write.table)
        for column, (before, after) in row.columns.items():
            names = self._fields.get(entity, {}).get((write.table, column), [])
            name = names[0] if len(names) == 1 else f"{write.table}.{column}"
            field = change.fields.setdefault(name, FieldCount())
            field.count += 1
            if len(field.samples) < SAMPLES_MAX:
                hide = column in hidden
                field.samples.append((key, _flat(masked(before, hidden=hide)), _flat(masked(after, hidden=hide))))


def _sample(samples: list[list[Any]], key: list[Any]) -> None:
    if len(samples) < SAMPLES_MAX:
        samples.append(key)


def _flat(value: Any) -> Any:
    """A value as JSON and terminals take it."""
    if isinstance(value, bytes):
        return f"({len(value)} bytes)"
    return list(value) if isinstance(value, tuple) else value


def _units(copies: Copies, target: str) -> Iterator[Unit]:
    after = 0
    while stored := outbox.read(copies.state, target, after, 0):
        for part in stored:
            yield from part.units()
        after = stored[-1].id


def _fields_by_column(plan: Plan, entity: str, system: str) -> dict[tuple[str, str], list[str]]:
    """The names of the fields by the table and column that hold them in a system."""
    found: dict[tuple[str, str], list[str]] = {}
    binding = plan.entities[entity].bindings.get(system)
    if binding is None:
        return found
    tables = {"": binding.table} | {part.name: part.table for part in binding.parts}
    for bound in binding.columns:
        name = plan.entities[entity].fields[bound.slot].name
        for part, column in map(place_of, () if bound.is_computed else bound.columns):
            found.setdefault((tables.get(part, binding.table), column), []).append(name)
    return found
