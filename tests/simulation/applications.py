"""What applications do in their own databases: what they may, what they may not, late, twice, and nothing at all."""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from cdcd_memory import MemoryServer
from cdcd_memory.server import MemoryTransaction
from values import POISON, draw, is_volatile, key_part, number_of
from world import STATUS, Column, Entity, Field, Key, Place, World, to_column, to_field


class LocalRow(msgspec.Struct):
    """A row of one system, as a record: by its fields' values, references by their keys."""

    row_id: int
    key: Key
    values: dict[str, Any]


def decoded(
    entity: Entity, place: Place, row: dict[str, Any], key_of: dict[tuple[str, int], Key], parent: Key = ()
) -> LocalRow:
    """A row as a record. `key_of` knows the key of a row by entity and id; where it does not, the id itself shows."""
    values = {}
    for name, column in place.columns.items():
        field, raw = entity.fields[name], row[column.name]
        if field.refers_to is not None:
            values[name] = None if raw is None else key_of.get((field.refers_to, raw), ("no row", raw))
        else:
            values[name] = to_field(field, column, raw)
    key = (*parent, *(values.pop(name) for name in entity.key))
    return LocalRow(row["id"], key, values)


class Local:
    """One system's rows as records."""

    def __init__(self, world: World, system: str, server: MemoryServer) -> None:
        self.world = world
        self.system = system
        self.server = server

    def records(self, name: str) -> dict[Key, LocalRow]:
        """The records of an entity that have a row here now."""
        key_of = self._keys()
        return {row.key: row for row in self._rows(self.world.entities[name], key_of)}

    def every_record(self) -> dict[str, dict[Key, LocalRow]]:
        """All records that have a row here now, by entity."""
        key_of = self._keys()
        living = [e for e in self.world.entities.values() if self.system in e.places]
        return {entity.name: {row.key: row for row in self._rows(entity, key_of)} for entity in living}

    def _keys(self) -> dict[tuple[str, int], Key]:
        found: dict[tuple[str, int], Key] = {}
        for entity in self.world.entities.values():
            if entity.parent is None and self.system in entity.places:
                place = entity.places[self.system]
                table = self.server.tables[place.table]
                at = [table.index[place.columns[name].name] for name in entity.key]
                found.update({(entity.name, row[0]): tuple([row[i] for i in at]) for row in table.rows.values()})
        return found

    def _rows(self, entity: Entity, key_of: dict[tuple[str, int], Key]) -> list[LocalRow]:
        place = entity.places[self.system]
        table = self.server.tables[place.table]
        found = []
        for row in table.rows.values():
            named = dict(zip(table.index, row, strict=True))
            parent: Key = ()
            if entity.parent is not None:
                parent = key_of.get((entity.parent, named["parent_id"]), ("orphan", named["parent_id"]))
            found.append(decoded(entity, place, named, key_of, parent))
        return found


class Numbers:
    """Which records there have been: numbers for new ones, and old ones to make again."""

    def __init__(self) -> None:
        self._last = 0
        self.legal: dict[str, set[Key]] = {}
        self.deleted: set[Key] = set()
        self.used: set[Key] = set()

    def new(self, *, volatile: bool) -> int:
        """A number that no record has had."""
        self._last += 1
        while is_volatile(self._last) != volatile:
            self._last += 1
        return self._last


class Application:
    """The software of one system: transactions that a seed picks, by what the system's own rows show at that moment."""

    def __init__(self, local: Local, numbers: Numbers) -> None:
        self._local = local
        self._world = local.world
        self._system = local.system
        self._numbers = numbers
        self._random = Random(0)

    def transact(self, seed: int) -> None:
        """One transaction of one to three changes."""
        self._random = Random(seed)
        with self._local.server.begin() as transaction:
            for _ in range(self._random.choice((1, 1, 1, 2, 3))):
                self._change(transaction)

    def _change(self, transaction: MemoryTransaction) -> None:
        living = [e for e in self._world.entities.values() if self._system in e.places]
        entity = self._random.choice(living) if living else None
        if entity is None:
            return
        records = self._local.records(entity.name)
        drawn = self._random.random()
        if entity.parent is not None:
            if drawn < 0.35:
                self._insert_child(transaction, entity, self._any_parent(entity))
                return
        elif drawn < 0.3 or not records:
            self._insert(transaction, entity, records)
            return
        if not records:
            return
        row = self._random.choice(list(records.values()))
        if drawn > 0.85 and (entity.parent is not None or is_volatile(number_of(row.key[0]))):
            self._delete(transaction, entity, row)
        else:
            self._update(transaction, entity, row)

    # ---- changes -------------------------------------------------------------------------------------------------

    def _insert(self, transaction: MemoryTransaction, entity: Entity, records: dict[Key, LocalRow]) -> None:
        """A new record: one that nobody has, or, where it may, one that is elsewhere or was here before."""
        is_legal = self._system in entity.create
        if not is_legal and self._random.random() > 0.3:
            return
        known = sorted(self._numbers.legal.get(entity.name, set()) - records.keys(), key=repr)
        if any(field.owner == "latest" for field in entity.fields.values()):
            known = []  # which of two changes around a creation is the later one is not settled between line and judge
        if entity.states:  # whose a record is that is made again over its rests, only the line's timing says
            known = [key for key in known if key not in self._numbers.deleted]
        if known and is_legal and self._random.random() < 0.3:
            key = self._random.choice(known)
        else:
            number = self._numbers.new(volatile=not is_legal or self._random.random() < 0.4)
            kinds = [entity.fields[name].type.partition("(")[0] for name in entity.key]
            key = tuple([key_part(kind, number if place == 0 else number % 4) for place, kind in enumerate(kinds)])
            if is_legal:
                self._numbers.legal.setdefault(entity.name, set()).add(key)
        place = entity.places[self._system]
        row = self._columns(entity, place, self._drawn(entity, place), key)
        row_id = transaction.insert(place.table, row)[0]
        child = self._world.child_of(entity.name)
        if child is not None and self._system in child.places:
            for _ in range(self._random.randint(0, 2)):
                self._insert_child(transaction, child, (row_id, key))

    def _any_parent(self, entity: Entity) -> tuple[Any, Key] | None:
        assert entity.parent is not None
        parents = list(self._local.records(entity.parent).values())
        row = self._random.choice(parents) if parents else None
        return None if row is None else (row.row_id, row.key)

    def _insert_child(self, transaction: MemoryTransaction, entity: Entity, parent: tuple[Any, Key] | None) -> None:
        if parent is None:
            return
        parent_id, parent_key = parent
        taken = {key[-1] for key in self._local.records(entity.name) if key[:-1] == parent_key}
        if any(field.is_shared for field in entity.fields.values()):
            taken |= {line for line in range(1, 5) if (*parent_key, line) in self._numbers.used}
        free = [line for line in range(1, 5) if line not in taken]
        if not free:
            return
        place = entity.places[self._system]
        line = self._random.choice(free)
        self._numbers.used.add((*parent_key, line))
        row = self._columns(entity, place, self._drawn(entity, place), (line,))
        transaction.insert(place.table, {**row, "parent_id": parent_id})

    def _delete(self, transaction: MemoryTransaction, entity: Entity, row: LocalRow) -> None:
        """A record goes with its children, as foreign keys have it."""
        child = self._world.child_of(entity.name)
        if child is not None and self._system in child.places:
            for key, line in self._local.records(child.name).items():
                if key[: len(row.key)] == row.key:
                    self._delete(transaction, child, line)
        self._numbers.deleted.add(row.key)
        table = entity.places[self._system].table
        transaction.delete(table, self._local.server.tables[table].rows[row.row_id,])

    def _update(self, transaction: MemoryTransaction, entity: Entity, row: LocalRow) -> None:
        """Some fields: mostly those that the system owns by what it sees, now and then any, or none at all."""
        place = entity.places[self._system]
        names = [name for name in row.values if entity.fields[name].type]
        if self._random.random() < 0.75:
            names = [name for name in names if self._owns(entity, row, entity.fields[name])]
        names = self._random.sample(names, min(len(names), self._random.randint(0, 3)))
        drawn = self._drawn(entity, place, names)
        changes = {place.columns[name].name: value for name, value in drawn.items()}
        self._write(transaction, place, row, changes)

    def _owns(self, entity: Entity, row: LocalRow, field: Field) -> bool:
        if field.owner is not None:
            return field.owner == self._system or field.is_shared
        judge = self._world.judged_by(entity)
        judged = row if entity.parent is None else self._local.records(judge.name).get(row.key[: len(judge.key)])
        status = None if judged is None else judged.values.get(STATUS)
        return judge.states.get(status, self._system) == self._system

    # ---- rows ----------------------------------------------------------------------------------------------------

    def _write(self, transaction: MemoryTransaction, place: Place, row: LocalRow, changes: dict[str, Any]) -> None:
        table = self._local.server.tables[place.table]
        transaction.update(place.table, table.rows[row.row_id,], changes)

    def _drawn(self, entity: Entity, place: Place, names: list[str] | None = None) -> dict[str, Any]:
        """Column values of these fields (by default of all that are not the key), by field."""
        wanted = [n for n in place.columns if n not in entity.key] if names is None else names
        return {name: self._value(entity.fields[name], place.columns[name]) for name in wanted}

    def _value(self, field: Field, column: Column) -> Any:
        if field.refers_to is None:
            value = draw(self._random, field.type)
            return to_column(column, "cured" if value == POISON and self._system == self._world.picky else value)
        rows = self._local.records(field.refers_to).values()
        lasting = [row.row_id for row in rows if not is_volatile(number_of(row.key[0]))]
        return self._random.choice(lasting) if lasting and self._random.random() < 0.9 else None

    def _columns(self, entity: Entity, place: Place, drawn: dict[str, Any], key: Key) -> dict[str, Any]:
        named = {place.columns[name].name: value for name, value in drawn.items()}
        return {**named, **{place.columns[n].name: part for n, part in zip(entity.key, key, strict=True)}}
