"""The first copy of an entity: what each system holds is put side by side, then ownership says what is true.

Until every system that has the entity has been read whole, nothing is delivered for it: a target's own fields would
be overwritten before they were known. Rows of copies and changes of the log both go into the seeds; the journal's
order makes the later one win. Then each record is settled once and only real differences are told.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT
from cdcd.outbox import RecordWrite
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import PAGE_BYTES, Record, widened
from cdcd.resolve.masks import mask_of, slots_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import NOBODY
from cdcd.state import State

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
PAGE_RECORDS: Final = 1_000


class Seeds:
    """What each system holds of entities that are still being copied."""

    def __init__(self, state: State, widths: Mapping[int, int]) -> None:
        """`widths` are the numbers of slots by entity (see `GoldenRecords`)."""
        self._connection = state.connection
        self._widths = widths
        self._dirty: dict[tuple[int, bytes, int], list[Any] | None] = {}

    def put(self, entity: int, key: bytes, system: int, values: list[Any], slots: Sequence[int]) -> None:
        """A row of `system` holds these values now; ABSENT in one of its `slots` leaves what was there."""
        if any(values[slot] is ABSENT for slot in slots):
            known = self._get(entity, key, system)
            if known is not None:
                values = [old if new is ABSENT else new for new, old in zip(values, known, strict=True)]
        self._dirty[entity, key, system] = values

    def delete(self, entity: int, key: bytes, system: int) -> None:
        """The row is gone from `system`."""
        self._dirty[entity, key, system] = None

    def _get(self, entity: int, key: bytes, system: int) -> list[Any] | None:
        at = (entity, key, system)
        if at in self._dirty:
            return self._dirty[at]
        row = self._connection.execute("SELECT body FROM seeds WHERE entity=? AND key=? AND system=?", at).fetchone()
        return None if row is None else widened(_decode(row[0]), self._widths[entity])

    def flush(self) -> None:
        """Write into the state's open transaction."""
        gone = [at for at, values in self._dirty.items() if values is None]
        kept = [(*at, _encode(values)) for at, values in self._dirty.items() if values is not None]
        self._connection.executemany("DELETE FROM seeds WHERE entity=? AND key=? AND system=?", gone)
        self._connection.executemany("INSERT OR REPLACE INTO seeds VALUES (?,?,?,?)", kept)
        self._dirty.clear()

    def discard(self) -> None:
        """Forget what is not written, after a step that failed."""
        self._dirty.clear()

    def take_page(self, entity: int, limit: int = PAGE_RECORDS) -> list[tuple[bytes, dict[int, list[Any]]]]:
        """The next records in key order with what each system holds; they are removed from the seeds."""
        self.flush()
        rows = self._connection.execute(
            "SELECT key, system, body FROM seeds WHERE entity=? AND key IN"
            " (SELECT DISTINCT key FROM seeds WHERE entity=? ORDER BY key LIMIT ?) ORDER BY key",
            (entity, entity, limit),
        )
        page: dict[bytes, dict[int, list[Any]]] = {}
        left = PAGE_BYTES
        for key, system, body in rows:
            if left <= 0 and key not in page:
                break
            left -= len(body)
            page.setdefault(key, {})[system] = widened(_decode(body), self._widths[entity])
        rows.close()
        if page:
            self._connection.execute("DELETE FROM seeds WHERE entity=? AND key<=?", (entity, next(reversed(page))))
        return list(page.items())


class Settler:
    """Turns seeds into golden records and tells each system what it lacks."""

    def __init__(self, decider: EntityDecider, seeds: Seeds) -> None:
        self._decider = decider
        self._seeds = seeds

    def settle_page(self, moment: Moment) -> bool:
        """Settle the next page of records; return whether there was one."""
        page = self._seeds.take_page(self._decider.number)
        for key, held in page:
            self._settle(moment, key, held)
        return bool(page)

    def _settle(self, moment: Moment, key: bytes, held: dict[int, list[Any]]) -> None:
        decider = self._decider
        heard = {system: values for system, values in held.items() if system in decider.rights.published_by}
        if not heard:
            for system in held:
                decider.decided(system, key, "not-published")
            return
        values, believed = self._believe(key, heard)
        record = decider.new_record(moment, values, held, believed)
        record.existence_by = self._first_creator(heard)
        if self._is_legitimate(key, heard, believed):
            self._tell_differences(moment, key, record, held, believed)
            decider.golden.put(decider.number, key, record)
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

    def _tell_differences(
        self, moment: Moment, key: bytes, record: Record, held: Mapping[int, list[Any]], believed: int
    ) -> None:
        """Tell every system where it differs from the record, but for what was taken from it.

        The system that the record's state names may not be the one that was believed: then it is told, too.
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
                decider.ensure(moment, target, key, record)
                continue
            if here[target]:
                decider.tell(moment, target, key, RecordWrite.UPDATE, record, here[target], 0)
            decider.level(moment, target, key, record)

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
