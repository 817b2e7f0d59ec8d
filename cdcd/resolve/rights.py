"""Who may do what to the records of one entity: change fields, create, delete, restore, be heard, be told."""

from __future__ import annotations

from collections.abc import Iterable

from cdcd.config import NotOwner
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.moment import Moment
from cdcd.resolve.ownership import NO_CLAIM, NOBODY, Ownership
from cdcd.resolve.plan import EntityPlan, Plan


class Rights:
    """The rights in one entity, with systems as numbers. A child collection goes by its parent's record."""

    def __init__(self, plan: Plan, entity: EntityPlan, golden: GoldenRecords) -> None:
        self._golden = golden
        self._key_width = entity.key_width
        systems = plan.vocabulary.systems

        def numbers(names: Iterable[str]) -> frozenset[int]:
            return frozenset(systems.index(name) for name in names)

        parent = None if entity.parent is None else plan.entities[entity.parent]
        self.parent_width = 0 if parent is None else parent.key_width
        self.ownership = Ownership(entity, parent or entity, systems)
        self._judged_number = entity.number if parent is None else parent.number
        self.creators = numbers(entity.create)
        self._deleters = numbers(entity.delete)
        self._restorers = numbers(entity.restore)
        self.members_by = NOBODY if entity.members_by is None else systems.index(entity.members_by)
        self.published_by = numbers(entity.publish)
        self.told_to = numbers(entity.subscribe)
        self.on_create: NotOwner = entity.on_create
        self.on_delete: NotOwner = entity.on_delete

    # ---- by whose state --------------------------------------------------------------------------------------

    def parent_of(self, key: bytes) -> Record | None:
        """The golden record of a child's parent, None when it is deleted or never was."""
        parent = self._golden.get(self._judged_number, self._judged_key(key))
        return parent if parent is not None and parent.alive else None

    def _judged_key(self, key: bytes) -> bytes:
        """The key of the record whose state decides: the parent's, for a child."""
        if not self.parent_width:
            return key
        return encode_key(decode_key(key, self._key_width)[: self.parent_width])

    def judged_at(self, key: bytes) -> tuple[int, bytes]:
        """The entity (by number) and key of the record whose state decides."""
        return self._judged_number, self._judged_key(key)

    def judged(self, key: bytes, record: Record) -> Record:
        """The record whose state decides about this one: its parent, or itself."""
        parent = self._golden.get(self._judged_number, self._judged_key(key)) if self.parent_width else None
        return record if parent is None else parent

    def claim(self, moment: Moment, key: bytes) -> int:
        """By what the record had its owner before this transaction: a transaction is judged by the state it found."""
        if not self.ownership.moves:
            return NO_CLAIM
        judged_key = self._judged_key(key)
        before = moment.before.get((self._judged_number, judged_key))
        if before is not None:
            return before
        judged = self._golden.get(self._judged_number, judged_key)
        return NO_CLAIM if judged is None else self.ownership.claim(judged.values)

    def owners(self, moment: Moment, key: bytes) -> tuple[int, ...]:
        """Who owns each slot."""
        return self.ownership.by_slot(self.ownership.claimed_by(self.claim(moment, key)))

    def handed_over(self, moment: Moment, number: int, key: bytes, record: Record, claim: int) -> None:
        """Remember by what claim the record was owned until now, if this change makes it somebody else's."""
        ownership = self.ownership
        if not ownership.moves or self.parent_width:
            return
        if ownership.by_state(record.values) != ownership.claimed_by(claim):
            moment.before.setdefault((number, key), claim)

    # ---- records as a whole ----------------------------------------------------------------------------------

    def may_create(self, moment: Moment, system: int, key: bytes) -> bool:
        """Whether `system` may create this record."""
        return self._may(self.creators, moment, system, key)

    def may_delete(self, moment: Moment, system: int, key: bytes) -> bool:
        """Whether `system` may delete it."""
        return self._may(self._deleters, moment, system, key)

    def may_restore(self, moment: Moment, system: int, key: bytes) -> bool:
        """Whether `system` may have it come back after it was deleted."""
        return self._may(self._restorers, moment, system, key)

    def _may(self, right: frozenset[int], moment: Moment, system: int, key: bytes) -> bool:
        """Children follow the owner of their collection, else that of their parent's state."""
        if not self.parent_width:
            return system in right
        if self.parent_of(key) is None:
            return False
        if self.members_by != NOBODY:
            return system == self.members_by
        if not self.ownership.moves:
            return system in self.creators
        return self.ownership.claimed_by(self.claim(moment, key)) in (system, NOBODY)

    def may_spread(self, record: Record) -> bool:
        """Whether systems that lack the record are to get it: not one that only others than creators ever had."""
        return bool(self.parent_width) or record.existence_by in self.creators
