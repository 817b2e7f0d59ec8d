"""A record that gets another business key stays the same record: here, in what refers to it, and in every target.

Who may create such records, or owns the fields of the key, may rename them. The golden record moves, and its children
with it; targets change the key of their row. What refers to the record still holds the old key: it is followed when it is
read next, and before somebody else gets that key, all that refers is rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from cdcd.outbox import RecordWrite
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.masks import mask_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.owing import NOT_YET
from cdcd.resolve.ownership import NOBODY
from cdcd.resolve.plan import Plan
from cdcd.state import State

if TYPE_CHECKING:
    from cdcd.resolve.decide import EntityDecider
    from cdcd.resolve.golden import Crosswalk, GoldenRecords, Record

_PAGE_RECORDS: Final = 1_000
_LOOKUP_KEYS: Final = 400
References = Mapping[int, tuple[tuple[int, int, int], ...]]
"""By entity: the slots that refer to others, each with that entity and the width of its key."""


def references(plan: Plan) -> References:
    """Which slots of which entities refer to which."""
    found: dict[int, list[tuple[int, int, int]]] = {}
    for entity in plan.entities.values():
        for slot, field in enumerate(entity.fields):
            if field.refers_to is not None:
                other = plan.entities[field.refers_to]
                found.setdefault(entity.number, []).append((slot, other.number, other.key_width))
    return {number: tuple(slots) for number, slots in found.items()}


class Renames:
    """The old keys of records that were renamed: none of them is the key of a record that exists."""

    def __init__(self, state: State, refer: References) -> None:
        self._connection = state.connection
        self._refer = refer
        self._counts: dict[int, int] = {}

    def load(self) -> None:
        """Count what there is, so that the usual case costs nothing: at the start, and after a step that failed."""
        self._counts = dict(self._connection.execute("SELECT entity, count(*) FROM renamed GROUP BY entity"))

    def any(self, entity: int) -> bool:
        """Whether records of an entity were renamed."""
        return bool(self._counts) and self._counts.get(entity, 0) > 0

    def concern(self, entity: int, keys: Sequence[bytes]) -> bool:
        """Whether any of these keys is an old one, or what records of the entity refer to may have had another key."""
        if not self._counts:
            return False
        if any(self.any(other) for _, other, _ in self._refer.get(entity, ())):
            return True
        return self.any(entity) and any(
            self._connection.execute(
                f"SELECT 1 FROM renamed WHERE entity=? AND old IN ({','.join('?' * len(part))}) LIMIT 1",
                (entity, *part),
            ).fetchone()
            for part in (keys[start : start + _LOOKUP_KEYS] for start in range(0, len(keys), _LOOKUP_KEYS))
        )

    def followed(self, entity: int, key: bytes) -> bytes:
        """The present key of the record that was known by `key`."""
        while self._counts.get(entity, 0):
            row = self._connection.execute("SELECT new FROM renamed WHERE entity=? AND old=?", (entity, key)).fetchone()
            if row is None:
                break
            key = bytes(row[0])
        return key

    def former(self, entity: int, key: bytes) -> bytes | None:
        """The key that the record had before it got this one."""
        row = self._connection.execute("SELECT old FROM renamed WHERE entity=? AND new=?", (entity, key)).fetchone()
        return None if row is None else bytes(row[0])

    def note(self, entity: int, old: bytes, new: bytes) -> None:
        """The record is known by `new` from now on."""
        self.forget(entity, new)  # it may have had that key before
        self._connection.execute("INSERT INTO renamed VALUES (?,?,?)", (entity, old, new))
        self._counts[entity] = self._counts.get(entity, 0) + 1

    def forget(self, entity: int, old: bytes) -> None:
        """Nothing refers to a record by this key any more, or it has it again."""
        done = self._connection.execute("DELETE FROM renamed WHERE entity=? AND old=?", (entity, old))
        self._counts[entity] = self._counts.get(entity, 0) - done.rowcount

    def follow_references(self, entity: int, values: list[Any]) -> None:
        """Have the references of a record name what they refer to by its present key."""
        for slot, other, width in self._refer.get(entity, ()) if self._counts else ():
            value = values[slot]
            if not self.any(other) or value is None or isinstance(value, msgspec.msgpack.Ext):
                continue
            old = encode_key([value] if width == 1 else value)
            new = self.followed(other, old)
            if new != old:
                parts = decode_key(new, width)
                values[slot] = parts[0] if width == 1 else parts

    def referring_to(self, entity: int) -> Iterator[int]:
        """The entities that refer to this one."""
        return (number for number, slots in self._refer.items() if any(other == entity for _, other, _ in slots))


def free_key(renames: Renames, golden: GoldenRecords, crosswalk: Crosswalk, decider: EntityDecider, key: bytes) -> None:
    """Somebody else gets the old key of a renamed record: rewrite what still knows the record by it."""
    entity = decider.number
    now = renames.followed(entity, key)
    if now == key:
        return
    for number in renames.referring_to(entity):
        after = b""
        while page := golden.page(number, after, _PAGE_RECORDS):
            for other_key, record in page:
                renames.follow_references(number, record.values)
                golden.put(number, other_key, record)
            after = page[-1][0]
    for family in (decider, *decider.children):
        crosswalk.rekey(family.number, key, now)
    renames.forget(entity, key)


def rename(
    decider: EntityDecider, renames: Renames, moment: Moment, system: int, old: bytes, new: bytes
) -> bytes | None:
    """A row of `system` has got another key: the key under which it is to be judged from now on.

    None where that cannot be a rename: then the record under the old key is gone from there, and one with the new key came.
    """
    record = decider.golden.get(decider.number, old)
    if record is None or not record.alive:
        return None
    taken = decider.golden.get(decider.number, new)
    is_taken = taken is not None and taken.alive
    is_former = is_taken or renames.followed(decider.number, new) == old
    if is_former and decider.on_its_way(record, system) & mask_of(decider.entity.key):
        return old  # it has not been given its present key there
    if is_taken:
        return None
    if old[: len(old) - _own_length(decider, old)] != new[: len(new) - _own_length(decider, new)]:
        return None  # it went to another parent
    if _may_rename(decider, moment, system, old):
        _move(decider, renames, moment, system, record, old, new)
        return new
    if decider.policy_of(decider.entity.key[0]) != "revert" or system not in decider.told_slots:
        return None
    decider.decided(system, old, "revert", decider.rights.claim(moment, old))
    tell_key(decider, moment, system, record, new, old)
    return old


def _own_length(decider: EntityDecider, key: bytes) -> int:
    """How many bytes of a key are its own, without its parent's."""
    if not decider.parent_width:
        return len(key)
    parts = decode_key(key, decider.entity.key_width)
    return len(key) - len(encode_key(parts[: decider.parent_width]))


def _may_rename(decider: EntityDecider, moment: Moment, system: int, key: bytes) -> bool:
    if system not in decider.rights.published_by:
        return False
    owners = {decider.ownership.fixed[slot] for slot in decider.entity.key} - {NOBODY}
    return owners == {system} if owners else decider.rights.may_create(moment, system, key)


def _move(
    decider: EntityDecider, renames: Renames, moment: Moment, system: int, record: Record, old: bytes, new: bytes
) -> None:
    number, claim = decider.number, decider.rights.claim(moment, old)
    parts = decode_key(new, decider.entity.key_width)[decider.parent_width :]
    cells = [
        decider.cell(slot, "written", claim, record.values[slot], part)
        for slot, part in zip(decider.entity.key, parts, strict=True)
        if record.values[slot] != part
    ]
    _move_golden(decider, moment, system, record, old, new)
    _settle_owed(decider, moment, old, new)
    for slot, part in zip(decider.entity.key, parts, strict=True):
        record.values[slot] = part
    renames.note(number, old, new)
    decider.decided(system, old, "renamed", claim, cells)
    decider.decided(system, new, "renamed", claim, cells)
    decider.event(system, "updated")
    if decider.book.may_have(number, old):
        decider.book.clear(decider.book.of(number, old))
    known = record.present | record.sent
    for target in decider.told_slots:
        if target != system and known >> target & 1:
            tell_key(decider, moment, target, record, old, new)
    decider.golden.put(number, new, record)


def _move_golden(decider: EntityDecider, moment: Moment, system: int, record: Record, old: bytes, new: bytes) -> None:
    """The record, and its children with it, under the new key; nothing that exists under the old one."""
    for child in decider.children:
        for child_key, child_record in list(child.golden.with_prefix(child.number, old)):
            if child_record.alive:
                moved = new + child_key[len(old) :]
                child.golden.put(child.number, child_key, _tombstone(child_record, system, moment))
                child.golden.put(child.number, moved, child_record)
    decider.golden.put(decider.number, old, _tombstone(record, system, moment))
    record.changed_seq, record.changed_at_us = moment.seq, moment.committed_at_us
    decider.golden.put(decider.number, new, record)
    decider.golden.reread()


def _tombstone(record: Record, system: int, moment: Moment) -> Record:
    return type(record)(list(record.values), 0, 0, False, system, moment.seq, moment.committed_at_us)


def tell_key(decider: EntityDecider, moment: Moment, target: int, record: Record, known_as: bytes, key: bytes) -> None:
    """Have `target` give the row that it knows as `known_as` the key `key`."""
    told = record.told.get(target, [])
    is_there = record.present >> target & 1 or any(unit != NOT_YET for unit, _ in told)
    unit = NOT_YET
    if not decider.is_told_later(target, key, RecordWrite.REKEY, 0, known_as=known_as if is_there else None):
        parts = decode_key(known_as, decider.entity.key_width)
        unit = decider.tell_values(moment, target, key, RecordWrite.REKEY, 0, parts)
    record.told[target] = [*told, (unit, mask_of(decider.entity.key))]


def _settle_owed(decider: EntityDecider, moment: Moment, old: bytes, new: bytes) -> None:
    """What is owed under the old key is owed under the new one. A record that had that, and is no more, goes first."""
    owed = decider.owed
    if owed is None or not owed.lanes:
        return
    family = (decider, *decider.children)
    cleared = []
    for member in family:
        for target in member.told_slots:
            lane = target, member.number
            for key in owed.with_prefix(lane, new):
                debt = owed.take(lane, key)
                if owed.holds_back(lane):
                    cleared.append((lane, key))
                    continue
                with owed.told_now():
                    member.delete_at(moment, target, (debt and debt.known_as) or key)
    owed.renamed([member.number for member in family], old, new)
    for lane, key in cleared:
        owed.owe(lane, key, 0, clears=True)
