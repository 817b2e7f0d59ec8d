"""The first copy of an entity: what each system holds is put side by side, then ownership says what is true.

Until every system that has the entity has been read whole, nothing is delivered for it: a target's own fields would
be overwritten before they were known. Rows of copies and changes of the log both go into the seeds; the journal's
order makes the later one win. Then each record is settled once and only real differences are told.

When the state was lost (`cdcd recover`) the systems were in step before. Then a delete that a log shows of a record that was
there before is judged like any other when the record is settled. And a record that a system lacks is not made there like in a
first copy: only if it was created since, as far as the logs show. What they do not explain waits for a person.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec import structs

from cdcd.model import ABSENT, Absences
from cdcd.outbox import RecordWrite
from cdcd.resolve.golden import PAGE_BYTES, Record, widened
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import NOBODY
from cdcd.resolve.runs import RunDecider
from cdcd.state import State

_encode: Final = msgspec.msgpack.Encoder().encode
PAGE_RECORDS: Final = 1_000


_absences: Final = Absences()
_decode: Final = msgspec.msgpack.Decoder(ext_hook=_absences).decode


class SeedPage(msgspec.Struct):
    """Records in key order with what each system holds. So many of these values are `absent`."""

    records: list[tuple[bytes, dict[int, list[Any]]]]
    absent: int


class Recovery(msgspec.Struct, frozen=True, array_like=True):
    """What is copied because the state was lost: entities, and the systems whose logs show all that was done since.

    But for the `blind` ones (entity, system): their logs showed deletes of rows by ids that nobody knows any more.
    """

    entities: frozenset[int] = frozenset()
    complete: frozenset[int] = frozenset()
    blind: frozenset[tuple[int, int]] = frozenset()

    def shows_deletes(self, entity: int, system: int) -> bool:
        """Whether a record that was deleted in the system since is known to be."""
        return system in self.complete and (entity, system) not in self.blind


class Seeds:
    """What each system holds of entities that are still being copied."""

    def __init__(self, state: State, widths: Mapping[int, int]) -> None:
        """`widths` are the numbers of slots by entity (see `GoldenRecords`)."""
        self._connection = state.connection
        self._widths = widths
        self._state = state
        self._dirty: dict[tuple[int, bytes, int], bytes | None] = {}
        self._events: dict[tuple[int, bytes, int], bool | None] = {}
        self.recovery = Recovery()
        self._load()

    def _load(self) -> None:
        stored = self._state.get("recovery")
        self.recovery = Recovery() if stored is None else msgspec.msgpack.decode(stored, type=Recovery)

    def recover(self, entities: Iterable[int], complete: Iterable[int]) -> None:
        """These entities are copied because the state was lost; the logs of the `complete` systems show all since."""
        self._put_recovery(Recovery(frozenset(entities), frozenset(complete)))

    def lost_sight(self, entity: int, system: int) -> None:
        """A row was deleted, and there is no telling which record it was."""
        if entity in self.recovery.entities and (entity, system) not in self.recovery.blind:
            self._put_recovery(structs.replace(self.recovery, blind=self.recovery.blind | {(entity, system)}))

    def _put_recovery(self, recovery: Recovery) -> None:
        self.recovery = recovery
        self._state.put("recovery", _encode(recovery))

    def settled(self, entity: int) -> None:
        """An entity is live."""
        self._connection.execute("DELETE FROM seed_events WHERE entity=?", (entity,))
        if entity in self.recovery.entities:
            self._put_recovery(structs.replace(self.recovery, entities=self.recovery.entities - {entity}))

    def put(self, entity: int, key: bytes, system: int, values: list[Any], slots: Sequence[int]) -> None:
        """A row of `system` holds these values now; ABSENT in one of its `slots` leaves what was there."""
        if any(values[slot] is ABSENT for slot in slots):
            known = self._get(entity, key, system)
            if known is not None:
                values = [old if new is ABSENT else new for new, old in zip(values, known, strict=True)]
        self._dirty[entity, key, system] = _encode(values)

    def put_all(self, entity: int, keys: Sequence[bytes], system: int, rows: Sequence[list[Any]]) -> None:
        """The same for many rows, of which none is ABSENT in a slot that the system has."""
        self._dirty.update(
            {(entity, key, system): _encode(values) for key, values in zip(keys, rows, strict=True)},
        )

    def created(self, entity: int, key: bytes, system: int) -> None:
        """An application of `system` has made the row that is put."""
        if entity in self.recovery.entities and self._event(entity, key, system) is None:
            self._events[entity, key, system] = False

    def delete(self, entity: int, key: bytes, system: int, *, by_application: bool) -> None:
        """The row is gone from `system`: deleted by an application, or as we told it."""
        self._dirty[entity, key, system] = None
        if by_application and entity in self.recovery.entities:
            was_created = self._event(entity, key, system) is False
            self._events[entity, key, system] = None if was_created else True

    def _event(self, entity: int, key: bytes, system: int) -> bool | None:
        """What became of a record that was there: deleted (True); or of one that was not: created (False)."""
        at = (entity, key, system)
        if at in self._events:
            return self._events[at]
        row = self._connection.execute(
            "SELECT deleted FROM seed_events WHERE entity=? AND key=? AND system=?", at
        ).fetchone()
        return None if row is None else bool(row[0])

    def _get(self, entity: int, key: bytes, system: int) -> list[Any] | None:
        at = (entity, key, system)
        if at in self._dirty:
            body = self._dirty[at]
        else:
            found = self._connection.execute("SELECT body FROM seeds WHERE entity=? AND key=? AND system=?", at)
            (body,) = found.fetchone() or (None,)
        return None if body is None else widened(_decode(body), self._widths[entity])

    def flush(self) -> None:
        """Write into the state's open transaction."""
        gone = [at for at, body in self._dirty.items() if body is None]
        kept = [(*at, body) for at, body in self._dirty.items() if body is not None]
        self._connection.executemany("DELETE FROM seeds WHERE entity=? AND key=? AND system=?", gone)
        self._connection.executemany("INSERT OR REPLACE INTO seeds VALUES (?,?,?,?)", kept)
        if self._events:
            gone = [at for at, deleted in self._events.items() if deleted is None]
            events = [(*at, deleted) for at, deleted in self._events.items() if deleted is not None]
            self._connection.executemany("DELETE FROM seed_events WHERE entity=? AND key=? AND system=?", gone)
            self._connection.executemany("INSERT OR REPLACE INTO seed_events VALUES (?,?,?,?)", events)
        self._dirty.clear()
        self._events.clear()

    def discard(self) -> None:
        """Forget what is not written, after a step that failed."""
        self._dirty.clear()
        self._events.clear()
        self._load()

    def forget(self, entity: int, system: int) -> None:
        """What a system has shown of an entity is read anew."""
        self.flush()
        self._connection.execute("DELETE FROM seeds WHERE entity=? AND system=?", (entity, system))
        self._connection.execute("DELETE FROM seed_events WHERE entity=? AND system=?", (entity, system))

    def take_page(self, entity: int, limit: int) -> SeedPage:
        """The next records in key order with what each system holds; they are removed from the seeds."""
        self.flush()
        rows = self._connection.execute(
            "SELECT key, system, body FROM seeds WHERE entity=? ORDER BY key, system", (entity,)
        )
        page: dict[bytes, dict[int, list[Any]]] = {}
        left, width, before, added = PAGE_BYTES, self._widths[entity], _absences.count, 0
        for key, system, body in rows:
            if key not in page:
                if left <= 0 or len(page) == limit:
                    break
                page[key] = {}
            left -= len(body)
            values = _decode(body)
            added += width - len(values)
            page[key][system] = widened(values, width) if len(values) < width else values
        rows.close()
        if page:
            self._connection.execute("DELETE FROM seeds WHERE entity=? AND key<=?", (entity, next(reversed(page))))
        return SeedPage(list(page.items()), _absences.count - before + added)

    def events(self, entity: int, first: bytes, last: bytes) -> dict[bytes, dict[int, bool]]:
        """What logs showed of records from `first` through `last`: by key and system, whether it was deleted, or else created."""
        found: dict[bytes, dict[int, bool]] = {}
        for key, system, deleted in self._connection.execute(
            "SELECT key, system, deleted FROM seed_events WHERE entity=? AND key BETWEEN ? AND ?", (entity, first, last)
        ):
            found.setdefault(key, {})[system] = bool(deleted)
        return found


class Settler:
    """Turns seeds into golden records and tells each system what it lacks."""

    def __init__(self, decider: RunDecider, seeds: Seeds) -> None:
        self._decider = decider
        self._seeds = seeds

    def settle_page(self, moment: Moment) -> bool:
        """Settle the next page of records; return whether there was one."""
        number = self._decider.number
        page = self._seeds.take_page(number, PAGE_RECORDS)
        records = page.records
        if not records:
            self._seeds.settled(number)
        elif not self._settle_alike(moment, page):
            events = self._seeds.events(number, records[0][0], records[-1][0])
            for key, held in records:
                self._settle(moment, key, held, events.get(key, {}))
        return bool(records)

    def _settle_alike(self, moment: Moment, page: SeedPage) -> bool:
        """Settle a page of records that one and the same system has, and may create; False where it is no such page."""
        decider = self._decider
        holders = {system for _, held in page.records for system in held}
        (system,) = holders if len(holders) == 1 else (NOBODY,)
        may = system in decider.rights.creators and system in decider.rights.published_by
        if not may or not decider.is_plain() or decider.number in self._seeds.recovery.entities:
            return False
        bound = decider.slots[system]
        if page.absent != len(page.records) * (len(decider.entity.fields) - len(bound)):
            return False
        keys = [key for key, _ in page.records]
        decider.settle_run(moment, system, keys, [held[system] for _, held in page.records], mask_of(bound))
        return True

    def _settle(self, moment: Moment, key: bytes, held: dict[int, list[Any]], events: Mapping[int, bool]) -> None:
        decider = self._decider
        gone = [system for system, deleted in events.items() if deleted and system not in held]
        heard = {system: values for system, values in held.items() if system in decider.rights.published_by}
        if not heard:
            for system in held:
                decider.decided(system, key, "not-published")
            return
        values, believed = self._believe(key, heard)
        record = decider.new_record(moment, values, held, believed)
        had = {*heard, *(system for system in gone if system in decider.rights.published_by)}
        record.existence_by = self._first_creator(had)
        if self._is_legitimate(key, had, believed):
            unexplained = self._unexplained(heard, held, events)
            self._tell_differences(moment, key, record, held, believed, {*unexplained, *gone})
            if unexplained:
                self._leave_to_a_person(moment, key, record, held)
            decider.golden.put(decider.number, key, record)
            for system in gone:
                decider.deleted(moment, system, key)
        elif not decider.parent_width:
            for system in heard:
                decider.decided(system, key, "unmatched")
                decider.conflict(moment, system, key, "unmatched", None, held[system])
            decider.golden.put(decider.number, key, record)
        else:
            for system in [s for s in held if decider.goes_with_parent(s, key)]:
                decider.decided(system, key, "revert", about="created")
                decider.delete_at(moment, system, key)

    def _is_legitimate(self, key: bytes, held: Collection[int], believed: int) -> bool:
        """Whether the record may exist everywhere; one that only systems without the right to create have is left alone.

        A child may when the owner of its collection, or of its parent's state, has it: that system's collection is the true one, unless it
        does not have the parent at all.
        """
        decider = self._decider
        if not decider.parent_width:
            return any(system in decider.rights.creators for system in held)
        parent = decider.rights.parent_of(key)
        if parent is None:
            return False
        owner = decider.rights.members_by
        if owner == NOBODY:
            owner = decider.ownership.by_state(parent.values) if decider.ownership.moves else believed
        return owner == NOBODY or owner in held or not parent.present >> owner & 1

    def _unexplained(
        self, heard: Collection[int], held: Collection[int], events: Mapping[int, bool]
    ) -> Collection[int]:
        """After a recovery, the systems that lack the record though no log says why.

        It was not created since, or the log would have shown it: then they lacked it before, or have deleted it. Where
        the log of those who have it does not reach back, they may have; unless a system whose log does lacks it.
        """
        decider, recovery = self._decider, self._seeds.recovery
        if decider.number not in recovery.entities or decider.parent_width:
            return ()
        if any(system in decider.rights.creators and system in events for system in heard):
            return ()
        lacking = [system for system in decider.told_slots if system not in held and system not in events]
        may_be_new = not recovery.complete.issuperset(heard)
        return [s for s in lacking if not (may_be_new and recovery.shows_deletes(decider.number, s))]

    def _tell_differences(
        self,
        moment: Moment,
        key: bytes,
        record: Record,
        held: Mapping[int, list[Any]],
        believed: int,
        spared: Collection[int],
    ) -> None:
        """Tell every system where it differs from the record, but for what was taken from it.

        The system that the record's state names may not be the one that was believed: then it is told, too. The `spared`
        are left alone.
        """
        decider = self._decider
        claim = decider.ownership.claim(decider.rights.judged(key, record).values)
        owners = decider.ownership.by_slot(believed if decider.ownership.moves else NOBODY)
        here = {system: self._wrong(system, record, held[system], owners) for system in held}
        cells = [
            decider.cell(slot, "revert", claim, held[system][slot], record.values[slot])
            for system, wrong in here.items()
            for slot in slots_of(wrong)
        ]
        decider.decided(record.existence_by, key, "settled", claim, cells, record.present)
        for target in decider.slots:
            if target not in held:
                if target not in spared:
                    decider.ensure(moment, target, key, record)
                continue
            if here[target]:
                decider.tell(moment, target, key, RecordWrite.UPDATE, record, here[target], 0)
            decider.level(moment, target, key, record)

    def _leave_to_a_person(self, moment: Moment, key: bytes, record: Record, held: Mapping[int, list[Any]]) -> None:
        """Whether the record is to be everywhere, or nowhere, is not known: it does not spread by itself."""
        decider, system = self._decider, min(held)
        record.existence_by = NOBODY
        decider.decided(system, key, "unmatched")
        decider.conflict(moment, system, key, "unmatched", None, held[system])

    def _wrong(self, system: int, record: Record, held: list[Any], owners: Sequence[int]) -> int:
        """The slots, as bits, in which a system is to be put right; totals are levelled instead."""
        decider = self._decider
        told = decider.told_slots.get(system, 0) & ~decider.ownership.sum_mask
        return mask_of(
            [
                slot
                for slot in decider.slots[system]
                if told >> slot & 1
                and held[slot] != record.values[slot]
                and owners[slot] != system
                and record.values[slot] is not ABSENT
            ]
        )

    def _first_creator(self, held: Iterable[int]) -> int:
        """The first of these systems that may create such records, else the first."""
        systems = sorted(held)
        return next((system for system in systems if system in self._decider.rights.creators), systems[0])

    def _believe(self, key: bytes, held: dict[int, list[Any]]) -> tuple[list[Any], int]:
        """The true values, and the system believed where ownership moves with the record's state.

        Each system's row is asked whom it names as owner. A system that names itself is believed; when several do,
        the one whose condition comes later, because a hand-over goes down the list. Of a shared field, the value of the
        system that is configured for it is true, else that of the first that shares it.
        """
        decider = self._decider
        believed = self._state_believed(key, held)
        first_held, *others = held.values()
        if all(other == first_held for other in others):
            return list(first_held), believed
        order = [believed, *(system for system in sorted(held) if system != believed)]
        values: list[Any] = []
        for slot, owner in enumerate(decider.ownership.fixed):
            first = decider.ownership.believed_first(slot) if owner < NOBODY else (owner,)
            told = (held[system][slot] for system in [*(s for s in first if s in held), *order])
            values.append(next((value for value in told if value is not ABSENT), ABSENT))
        return values, believed

    def _state_believed(self, key: bytes, held: dict[int, list[Any]]) -> int:
        decider = self._decider
        if not decider.ownership.moves:
            return self._first_creator(held)
        if decider.parent_width:
            parent = decider.rights.parent_of(key)
            owner = NOBODY if parent is None else decider.ownership.by_state(parent.values)
            return owner if owner in held else min(held)
        claims = [(decider.ownership.last_claim(values), system) for system, values in held.items()]
        own = [(place, system) for (place, owner), system in claims if owner == system]
        return max(own)[1] if own else self._first_creator(held)
