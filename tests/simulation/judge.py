"""Says what must be true at rest, from what the servers committed and the order in which it was journalled.

The rules of ownership once more, as plainly as they can be written, over the rows that each server's own log showed:
nothing here uses the line's mapping, deciding, folding or state. Where systems raced and the design leaves the outcome
open, the judge says so (`Truth.open`) and asks only that all agree.
"""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any, Final

import msgspec

from applications import LocalRow, decoded
from cdcd.model import CHECKPOINT_TABLE, Op, Rows
from values import POISON
from world import STATUS, Entity, Field, Key, World

UNTOLD: Final = ("untold",)
"""The value of a field that no system with a column for it has shown yet."""
Record = tuple[str, Key]


class Truth(msgspec.Struct):
    """What a record is. `spread` is not set for one that only systems without the right to create it have."""

    values: dict[str, Any]
    alive: bool
    by: str
    spread: bool = True
    changed_us: dict[str, int] = {}
    """When a field that the latest change decides was changed last."""


class Chunk(msgspec.Struct, frozen=True):
    """Part of a table's copy."""

    table: str
    run: int
    done: bool
    runs: list[Rows]


class Judge:
    """Follows the journal. Give it each entry in order, then ask."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.truths: dict[Record, Truth] = {}
        self.standing: dict[tuple[str, str, Key, str], Any] = {}
        """By system, record and field: what stands there against the owner, by policy."""
        self.kept: set[tuple[str, str, Key]] = set()
        """Rows that were made by systems that may not, and left there."""
        self.lacking: set[tuple[str, str, Key]] = set()
        """Rows that were deleted by systems that may not, and left so."""
        self.open: set[tuple[str, Key, str]] = set()
        """Fields of records of which the judge cannot say what they must be, only that all systems agree."""
        self.seeding = set(world.entities)
        self._now_us = 0
        self._parked: Collection[Record] = ()
        self._counted: set[tuple[str, str, Key]] = set()
        """Rows whose totals have been seen since the record came into being: only their changes add up."""
        self._raw: dict[tuple[str, str], dict[int, dict[str, Any]]] = {}
        self._shown: dict[tuple[str, str], dict[int, LocalRow]] = {}
        self._key_of: dict[str, dict[tuple[str, int], Key]] = {system: {} for system in world.systems}
        self._read: set[tuple[str, str]] = set()
        self._copied: dict[tuple[str, str, int], set[int]] = {}
        self._agreed: dict[tuple[str, Key, str], Any] = {}
        self._before: dict[Record, dict[str, Any] | None] = {}
        self._born: set[Record] = set()

    # ---- the journal ---------------------------------------------------------------------------------------------

    def transaction(self, system: str, events: tuple[Rows, ...], at_us: int, *, is_ours: bool) -> None:
        """A committed transaction of that system, ours or an application's."""
        self._before, self._born, self._now_us = {}, set(), at_us
        for event in events:
            if event.relation.table != CHECKPOINT_TABLE:
                entity = self.world.at(system, event.relation.table)
                for row in event.rows:
                    self._row(system, entity, event.op, dict(zip(event.relation.columns, row, strict=True)), is_ours)

    def chunk(self, system: str, chunk: Chunk, at_us: int) -> None:
        """Rows of a copy, as they are after what was given until now."""
        self._before, self._born, self._now_us = {}, set(), at_us
        entity = self.world.at(system, chunk.table)
        seen = self._copied.setdefault((system, chunk.table, chunk.run), set())
        for run in chunk.runs:
            for row in run.rows:
                named = dict(zip(run.relation.columns, row, strict=True))
                seen.add(named["id"])
                self._row(system, entity, Op.READ, named, is_ours=False)
        if chunk.done:
            self._swept(system, entity, chunk)
            self._read.add((system, chunk.table))
            self._settle_what_is_read()

    def _row(self, system: str, entity: Entity, op: Op, named: dict[str, Any], is_ours: bool) -> None:
        at = (system, entity.name)
        row_id = named["id"]
        for (_, table, _), seen in self._copied.items():
            if table == entity.places[system].table:
                seen.add(row_id)  # whatever a copy leaves out, the log has shown
        if entity.name in self.seeding:
            self._seed(at, op, named)
            return
        old = self._shown.setdefault(at, {}).get(row_id)
        if op == Op.DELETE:
            self._shown[at].pop(row_id, None)
            if old is not None:
                self._counted.discard((*at, old.key))
            if old is not None and not is_ours:
                self._deleted(system, entity, old.key)
            return
        row = self._decoded(system, entity, named)
        self._shown[at][row_id] = row
        if is_ours or (op == Op.READ and old is not None):
            self._counted.add((*at, row.key))
            return  # a copy can show nothing new of a row that the log has shown
        if old is not None and old.key != row.key:
            self._deleted(system, entity, old.key)
            old, op = None, Op.INSERT
        if system in entity.publish:
            self._changed(system, entity, row, old, op)
        else:
            self._unheard(system, entity, row, old)
        self._counted.add((*at, row.key))

    def _seed(self, at: tuple[str, str], op: Op, named: dict[str, Any]) -> None:
        rows = self._raw.setdefault(at, {})
        if op == Op.DELETE:
            rows.pop(named["id"], None)
        else:
            rows[named["id"]] = named

    def _decoded(self, system: str, entity: Entity, named: dict[str, Any]) -> LocalRow:
        keys = self._key_of[system]
        parent: Key = ()
        if entity.parent is not None:
            parent = keys.get((entity.parent, named["parent_id"]), ("orphan", named["parent_id"]))
        row = decoded(entity, entity.places[system], named, keys, parent)
        if entity.parent is None:
            keys[entity.name, row.row_id] = row.key
        return row

    # ---- first copies and resyncs --------------------------------------------------------------------------------

    def _swept(self, system: str, entity: Entity, chunk: Chunk) -> None:
        """After a whole copy that is not the first: what it did not show is gone."""
        seen = self._copied.pop((system, chunk.table, chunk.run), set())
        if entity.name in self.seeding or (system, chunk.table) not in self._read:
            return
        shown = self._shown.get((system, entity.name), {})
        for row_id in [row_id for row_id in shown if row_id not in seen]:
            self._deleted(system, entity, shown.pop(row_id).key)

    def _settle_what_is_read(self) -> None:
        for entity in self.world.entities.values():
            tables = {(system, place.table) for system, place in entity.places.items()}
            before = {entity.parent, *(field.refers_to for field in entity.fields.values())} - {None, entity.name}
            if entity.name in self.seeding and tables <= self._read and not before & self.seeding:
                self.seeding.discard(entity.name)
                self._settle(entity)

    def _settle(self, entity: Entity) -> None:
        held: dict[Key, dict[str, dict[str, Any]]] = {}
        for system in entity.places:
            shown = self._shown.setdefault((system, entity.name), {})
            for row_id, named in self._raw.pop((system, entity.name), {}).items():
                row = shown[row_id] = self._decoded(system, entity, named)
                held.setdefault(row.key, {})[system] = row.values
        for key, rows in held.items():
            self._settle_record(entity, key, rows)

    def _settle_record(self, entity: Entity, key: Key, held: dict[str, dict[str, Any]]) -> None:
        self._counted.update((system, entity.name, key) for system in held)
        for system in [system for system in held if system not in entity.publish]:
            self._unheard(system, entity, LocalRow(0, key, held[system]), None)
        held = {system: values for system, values in held.items() if system in entity.publish}
        if not held:
            return
        first = next((s for s in self.world.systems if s in held and s in entity.create), None)
        believed = self._believed(entity, key, held, first)
        spread = first is not None
        if entity.parent is not None:
            parent = self._parent(entity, key)
            if parent is None or not parent.alive:
                if parent is None and entity.on_create != "revert":
                    self.kept.update((system, entity.name, key) for system in held)
                return
            owner = (
                self._owner_by(self.world.judged_by(entity), parent.values)
                if self._judge_of(entity).states
                else believed
            )
            has_parent = owner is None or self._has(owner, self.world.judged_by(entity), key[:-1])
            if not (owner is None or owner in held or not has_parent):
                return
            spread = True
        values = {}
        order = [believed, *(system for system in self.world.systems if system in held and system != believed)]
        for field in entity.fields.values():
            asked = [*self._true_at_first(entity, field), *order]
            values[field.name] = next(
                (held[s][field.name] for s in asked if s in held and field.name in held[s]), UNTOLD
            )
        by = first or next(system for system in self.world.systems if system in held)
        changed_us = {field.name: self._now_us for field in entity.fields.values()}
        self.truths[entity.name, key] = Truth(values, True, by, spread, changed_us)

    def _true_at_first(self, entity: Entity, field: Field) -> list[str]:
        """The systems whose value counts when an entity is first copied: the owner; or who shares it, creators of totals first."""
        if field.is_shared:
            return [*(entity.create if field.owner == "sum" else ()), *entity.places]
        return [] if field.owner is None else [field.owner]

    def _believed(self, entity: Entity, key: Key, held: dict[str, Any], first: str | None) -> str:
        """The system whose row counts: one that owns the record by its own row; of several the one that comes last."""
        fallback = first or next(system for system in self.world.systems if system in held)
        states = self._judge_of(entity).states
        if not states:
            return fallback
        if entity.parent is not None:
            parent = self._parent(entity, key)
            owner = None if parent is None else states.get(parent.values.get(STATUS, ""))
            return owner if owner in held else next(system for system in self.world.systems if system in held)
        order = list(dict.fromkeys(states.values()))
        claims = {system: states.get(values[STATUS]) for system, values in held.items()}
        own = [system for system, owner in claims.items() if owner == system]
        return max(own, key=order.index) if own else fallback

    # ---- changes by applications ---------------------------------------------------------------------------------

    def _changed(self, system: str, entity: Entity, row: LocalRow, old: LocalRow | None, op: Op) -> None:
        truth = self.truths.get((entity.name, row.key))
        if truth is None or not truth.alive:
            self._appeared(system, entity, row, op, truth)
            return
        if truth is not None and op == Op.INSERT:
            self.lacking.discard((system, entity.name, row.key))
        owner_by_state = self._state_owner(system, entity, row.key)
        self._remember(entity, row.key)
        changes = self._accepted(system, entity, row, old, truth, owner_by_state)
        for name, value in changes.items():
            truth.values[name] = value
            self.standing.pop((system, entity.name, row.key, name), None)

    def _accepted(
        self,
        system: str,
        entity: Entity,
        row: LocalRow,
        old: LocalRow | None,
        truth: Truth,
        owner_by_state: str | None,
    ) -> dict[str, Any]:
        """The fields of the record that the change changes, and their values then; what is not accepted may stand there."""
        changes: dict[str, Any] = {}
        for name, value in row.values.items():
            is_same = truth.values.get(name, UNTOLD) == value and entity.fields[name].owner != "sum"
            if is_same or (old is not None and old.values[name] == value):
                continue
            field = entity.fields[name]
            owner = field.owner or owner_by_state
            if owner == "sum":
                changes[name] = self._added_up(system, entity, row, old, name, truth)
            elif owner == "latest" and self._is_later(truth, name, old):
                changes[name] = value
                truth.changed_us[name] = max(self._now_us, truth.changed_us.get(name, 0) + 1)
            elif owner in (None, system):
                changes[name] = value
            elif owner != "latest" and field.policy != "revert":
                self.standing[system, entity.name, row.key, name] = value
        return changes

    def _added_up(
        self, system: str, entity: Entity, row: LocalRow, old: LocalRow | None, name: str, truth: Truth
    ) -> Any:
        """The total after what the system has changed of it; a row that was never seen before changes nothing."""
        total = truth.values[name]
        if old is None or (system, entity.name, row.key) not in self._counted:
            return total
        return Decimal(total or 0) + Decimal(row.values[name] or 0) - Decimal(old.values[name] or 0)

    def _is_later(self, truth: Truth, name: str, old: LocalRow | None) -> bool:
        """Whether a change is the latest: by the clock, or because the system had seen the one before."""
        if old is not None and old.values[name] == truth.values.get(name, UNTOLD):
            return True
        return self._now_us > truth.changed_us.get(name, 0)

    def _unheard(self, system: str, entity: Entity, row: LocalRow, old: LocalRow | None) -> None:
        """A system that nobody listens to: what it writes stands there until it is told otherwise."""
        if old is None:
            self.kept.add((system, entity.name, row.key))
        for name, value in row.values.items():
            if old is None or old.values[name] != value:
                self.standing[system, entity.name, row.key, name] = value

    def _appeared(self, system: str, entity: Entity, row: LocalRow, op: Op, dead: Truth | None) -> None:
        at = (system, entity.name, row.key)
        if dead is not None and (op == Op.UPDATE or (op == Op.READ and dead.by != system)):
            return
        right = entity.create if dead is None else (*entity.create, *entity.delete)
        if self._may(system, entity, row.key, right):
            self._create(system, entity, row, dead)
        elif entity.on_create != "revert" or op != Op.INSERT:
            self.kept.add(at)

    def _create(self, system: str, entity: Entity, row: LocalRow, dead: Truth | None) -> None:
        self._remember(entity, row.key)
        self._born.add((entity.name, row.key))
        former = {} if dead is None else dead.values
        changed_us = {field.name: self._now_us for field in entity.fields.values()}
        truth = Truth({**former, **row.values}, True, system, True, changed_us)
        self._counted = {at for at in self._counted if at[1:] != (entity.name, row.key)}
        self.truths[entity.name, row.key] = truth
        if dead is not None:
            self._reopen(system, entity, row.key)
        for other in entity.places:
            left = self._shown_by_key(other, entity, row.key) if other != system else None
            if left is not None:  # its row was there: what it owns, it has
                for name, value in left.values.items():
                    if entity.fields[name].owner == other:
                        truth.values[name] = value
            self.kept.discard((other, entity.name, row.key))
            self.lacking.discard((other, entity.name, row.key))

    def _reopen(self, system: str, entity: Entity, key: Key) -> None:
        """What others own of a record that is made again: their rows may not have gone yet, and keep it."""
        owner_by_state = self._state_owner(system, entity, key)
        for field in entity.fields.values():
            if (field.owner or owner_by_state) != system:
                self.open.add((entity.name, key, field.name))

    def _deleted(self, system: str, entity: Entity, key: Key) -> None:
        self.kept.discard((system, entity.name, key))
        for at in [at for at in self.standing if at[:3] == (system, entity.name, key)]:
            del self.standing[at]
        truth = self.truths.get((entity.name, key))
        if truth is None or not truth.alive:
            return
        if system in entity.publish and self._may(system, entity, key, entity.delete):
            self._remember(entity, key)
            self._gone(system, entity, key, truth)
            return
        if entity.on_delete != "revert" or system not in entity.publish:
            self.lacking.add((system, entity.name, key))
        for name in entity.places[system].columns:
            self.open.add((entity.name, key, name))  # a unit on its way may make the row again, without what it had

    def _gone(self, system: str, entity: Entity, key: Key, truth: Truth) -> None:
        truth.alive, truth.by = False, system
        child = self.world.child_of(entity.name)
        for (name, child_key), line in self.truths.items():
            if child is not None and name == child.name and child_key[:-1] == key and line.alive:
                self._gone(system, child, child_key, line)

    # ---- who may -------------------------------------------------------------------------------------------------

    def _may(self, system: str, entity: Entity, key: Key, right: tuple[str, ...]) -> bool:
        if entity.parent is None:
            return system in right
        parent = self._parent(entity, key)
        if parent is None or not parent.alive:
            return False
        if not self._judge_of(entity).states:
            return system in entity.create
        return self._state_owner(system, entity, key) in (None, system)

    def _state_owner(self, system: str, entity: Entity, key: Key) -> str | None:
        """Who owns what has no owner of its own, by the state that the transaction found."""
        judge = self._judge_of(entity)
        if not judge.states:
            return None
        judged = (judge.name, key[: len(judge.key)])
        if judged in self._born:
            return system
        values = self._before[judged] if judged in self._before else self._values(judged)
        return None if values is None else self._owner_by(judge, values)

    def _owner_by(self, judge: Entity, values: dict[str, Any]) -> str | None:
        status = values.get(STATUS)
        return judge.states.get(status) if isinstance(status, str) else None

    def _values(self, record: Record) -> dict[str, Any] | None:
        truth = self.truths.get(record)
        return None if truth is None else truth.values

    def _remember(self, entity: Entity, key: Key) -> None:
        """Keep what the record was before this transaction."""
        values = self._values((entity.name, key))
        self._before.setdefault((entity.name, key), None if values is None else dict(values))

    def _judge_of(self, entity: Entity) -> Entity:
        return self.world.judged_by(entity)

    def _parent(self, entity: Entity, key: Key) -> Truth | None:
        return self.truths.get((self._judge_of(entity).name, key[: len(self._judge_of(entity).key)]))

    def _has(self, system: str, entity: Entity, key: Key) -> bool:
        return self._shown_by_key(system, entity, key) is not None

    def _shown_by_key(self, system: str, entity: Entity, key: Key) -> LocalRow | None:
        rows = self._shown.get((system, entity.name), {}).values()
        return next((row for row in rows if row.key == key), None)

    # ---- what must be --------------------------------------------------------------------------------------------

    def stuck(self, system: str, rows: dict[str, dict[Key, LocalRow]], *, is_picky: bool) -> set[Record]:
        """What a system cannot have as it must be: records with poison, if it is picky, and what needs a row that it lacks;

        and rows that must go, but on which others hang that policy lets stand there.
        """
        found = {
            (entity.parent, key[:-1])
            for name, key in [(name, key) for at, name, key in self.kept if at == system]
            if (entity := self.world.entities[name]).parent is not None and key in rows[name]
        }
        found = {record for record in found if self._must_go(system, record, rows)}
        for (name, key), truth in self.truths.items() if is_picky else ():
            if self._lacks(system, self.world.entities[name], key, truth, rows, found):
                found.add((name, key))
        return found

    def _must_go(self, system: str, record: Record, rows: dict[str, dict[Key, LocalRow]]) -> bool:
        truth = self.truths.get(record)
        is_there = record[1] in rows[record[0]] and (system, *record) not in self.kept
        place = self.world.entities[record[0]].places[system]
        return is_there and not (truth is not None and truth.alive) and place.on_delete == "delete"

    def _lacks(
        self,
        system: str,
        entity: Entity,
        key: Key,
        truth: Truth,
        rows: dict[str, dict[Key, LocalRow]],
        found: set[Record],
    ) -> bool:
        if system not in entity.subscribe or not truth.alive:
            return False
        is_missing = key not in rows[entity.name]
        if is_missing and not self._must_have(system, entity, key, truth, rows, found):
            return False
        columns = entity.places[system].columns
        told = {n: truth.values.get(n) for n in columns if entity.fields[n].owner != system or is_missing}
        needed = {(entity.fields[name].refers_to, value) for name, value in told.items()}
        needed.add((entity.parent, key[:-1]))
        return POISON in told.values() or any(
            record in found and record[0] is not None and record[1] not in rows[record[0]] for record in needed
        )

    def differences(
        self, system: str, rows: dict[str, dict[Key, LocalRow]], parked: Collection[Record] = ()
    ) -> list[str]:
        """Where the rows that a system has at rest are not what they must be, apart from records that are parked."""
        self._parked = parked
        found: list[str] = []
        for entity in self.world.entities.values():
            if system in entity.subscribe:
                found += self._differences(system, entity, rows)
        return found

    def _differences(self, system: str, entity: Entity, rows: dict[str, dict[Key, LocalRow]]) -> list[str]:
        here = rows[entity.name]
        keys = {key for name, key in self.truths if name == entity.name} | here.keys()
        keys |= {key for at, name, key in self.kept if (at, name) == (system, entity.name)}
        found: list[str] = []
        for key in sorted(keys, key=repr):
            what = self._difference(system, entity, key, here.get(key), rows)
            if what is not None:
                found.append(f"{system}: {entity.name} {key!r} {what}")
        return found

    def _difference(
        self, system: str, entity: Entity, key: Key, row: LocalRow | None, rows: dict[str, dict[Key, LocalRow]]
    ) -> str | None:
        truth = self.truths.get((entity.name, key))
        at = (system, entity.name, key)
        if (entity.name, key) in self._parked:
            return None
        if truth is None and row is None and at in self.kept and not entity.parent and entity.on_create != "revert":
            return "was taken away, though it was to be left alone"
        if truth is None or not truth.alive:
            return None if row is None or at in self.kept or self._may_stay(system, entity) else "is not gone"
        if row is None:
            return "is missing" if self._must_have(system, entity, key, truth, rows, ()) else None
        for name, value in row.values.items():
            wanted = truth.values.get(name, UNTOLD)
            if (entity.name, key, name) in self.open and (*at, name) not in self.standing:
                wanted = self._agreed.setdefault((entity.name, key, name), value)
            if wanted is UNTOLD or value == wanted:
                continue  # where nobody who may has said anything, what somebody else has is left
            if entity.fields[name].owner == "sum" and Decimal(value or 0) == Decimal(wanted or 0):
                continue
            stands = (*at, name) in self.standing
            if stands and (self.standing[(*at, name)] == value or entity.fields[name].owner == "sum"):
                continue  # in a total, what nobody heard of stands beside what was added since
            return f"{name} is {value!r}, not {wanted!r}"
        return None

    def _must_have(
        self,
        system: str,
        entity: Entity,
        key: Key,
        truth: Truth,
        rows: dict[str, dict[Key, LocalRow]],
        coming: Collection[Record],
    ) -> bool:
        """Whether a record must be in a system: a child where its parent is, or is `coming`."""
        if (system, entity.name, key) in self.lacking:
            return False
        if entity.parent is not None:
            parent = (self._judge_of(entity).name, key[: len(self._judge_of(entity).key)])
            return parent in coming or parent[1] in rows[parent[0]]
        return truth.spread

    def _may_stay(self, system: str, entity: Entity) -> bool:
        """Whether the row of a deleted record may be there: where deleting is not deleting, and nobody there did it."""
        place = self._judge_of(entity).places[system]
        return place.on_delete != "delete"
