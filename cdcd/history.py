"""The history of one record: every change that the trail knows of it, also under another key, and what it is now.

Reads the state directory and changes nothing in it, whether the daemon runs or not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec

from cdcd.history_changes import Change, ChangeTeller, named
from cdcd.journal import Journal
from cdcd.record_names import key_text
from cdcd.resolve import suspension, trail
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.ownership import Ownership
from cdcd.resolve.plan import EntityPlan, Plan
from cdcd.resolve.renaming import Renames
from cdcd.resolve.trail import Note
from cdcd.sensitive import Masks
from cdcd.state import State
from cdcd.state_directory import StateDirectory

_BEGINNINGS: Final = ("created", "restored", "settled")
_TAKEN: Final = ("written", "accept", "edited")
"""What changes the golden value."""


class FieldNow(msgspec.Struct, frozen=True):
    """A field as it is now, and who owns it: a system, "nobody", "latest" or "sum"."""

    field: str
    value: Any
    owner: str


class History(msgspec.Struct, frozen=True):
    """What is known of a record. `changes` oldest first; `earlier` says why there are no older ones ("" if there never were).

    `parked`: by system that has it parked now, why. `remarks`: what keeps newer changes from being seen here.
    """

    entity: str
    key: tuple[Any, ...]
    alive: bool
    systems: tuple[str, ...]
    fields: tuple[FieldNow, ...]
    changes: tuple[Change, ...]
    earlier: str
    parked: dict[str, str]
    remarks: tuple[str, ...]


class _Move(msgspec.Struct, frozen=True):
    """A record (or its parent) got the key `key`; before, it was `before`."""

    seq: int
    key: bytes
    before: bytes


class Reader:
    """Reads histories from one state directory."""

    def __init__(self, directory: StateDirectory, plan: Plan, keep: str) -> None:
        """`keep` is the journal's keep time as the configuration says it. Raises CdcdError when a file cannot be read."""
        self.state = State(directory.state, read_only=True)
        self.journal = Journal(directory.journal, read_only=True)
        self._plan = plan
        self._directory = directory
        self._keep = keep
        self._systems = plan.vocabulary.systems
        self.masks = Masks(plan, directory.path)

    def read(
        self, entity: EntityPlan, key: bytes, *, field: str | None = None, since_us: int = 0, limit: int = 100
    ) -> History | None:
        """The newest `limit` changes of a record (or of one field) since a moment; None when nothing is known of it."""
        record = read_record(self.state, entity, key)
        slot = None if field is None else [told.name for told in entity.fields].index(field)
        teller = ChangeTeller(self._directory, self._plan, self.state, self.journal, entity, key, self.masks)
        since_seq = self.journal.seq_at(since_us) + 1 if since_us else 0
        notes = (n for n in self._notes(entity, key, since_seq) if n.seq >= since_seq and _concerns(n, slot))
        found: list[Change] = []
        earlier = self._not_kept()
        values = None if record is None else list(record.values)
        for note, repeated in _folded(notes):
            if len(found) == limit:
                earlier = f"older changes are left out: --limit {limit}"
                break
            born = note.decision in _BEGINNINGS and values is not None
            found.append(teller.change(note, slot, repeated, values if born else None))
            values = None if values is None or born else _before(note, values)
        if record is None and not found:
            return None
        return History(
            entity.name,
            self._key(entity, key),
            record is not None and record.alive,
            () if record is None else named(self._systems, record.present),
            () if record is None else tuple(self._now(entity, key, record, slot)),
            tuple(reversed(found)),
            earlier,
            teller.parked(),
            (*self._renamed(entity, key), *self.remarks(entity)),
        )

    def _renamed(self, entity: EntityPlan, key: bytes) -> Iterator[str]:
        renames = Renames(self.state, {})
        renames.load()
        now = renames.followed(entity.number, key)
        if now != key:
            yield f"it is {entity.name} {key_text(self._key(entity, now))} by now"

    def _key(self, entity: EntityPlan, key: bytes) -> tuple[Any, ...]:
        """As people are shown it."""
        return self.masks.key(entity, decode_key(key, entity.key_width))

    def _notes(self, entity: EntityPlan, key: bytes, since_seq: int) -> Iterator[Note]:
        """The notes about a record, newest first, also of the time when it, or its parent, had another key."""
        moves = list(self._parents_moves(entity, key, since_seq))
        through = self.journal.last_seq() + 1
        while True:
            moved = next((move for move in moves if move.seq <= through and key.startswith(move.key)), None)
            for note in trail.notes_of(self.state, entity.number, key, since_seq):
                before = _key_before(entity, note)
                if note.seq > through or (before == key and note.seq == through):
                    continue  # it is about another record of this key; or tells the same rename from the other side
                if moved is not None and note.seq < moved.seq:
                    break
                yield note
                if before not in (None, key):
                    moved = _Move(note.seq, key, before)
                    break
            if moved is None:
                return
            key, through = moved.before + key[len(moved.key) :], moved.seq

    def _parents_moves(self, entity: EntityPlan, key: bytes, since_seq: int) -> Iterator[_Move]:
        """When and from where the record's parent moved to its present key, newest first."""
        if entity.parent is None:
            return
        parent = self._plan.entities[entity.parent]
        above = encode_key(decode_key(key, entity.key_width)[: parent.key_width])
        for note in self._notes(parent, above, since_seq):
            before = _key_before(parent, note)
            if before is not None and before != note.key:
                yield _Move(note.seq, note.key, before)

    def remarks(self, entity: EntityPlan) -> tuple[str, ...]:
        """What keeps changes from being seen: rows not resolved yet, a first copy, a suspension."""
        found = []
        behind = suspension.load(self.state).get(entity.family)
        if behind is not None:
            found.append(
                f"{entity.family} is suspended at journal entry {behind.position:,}: {behind.what} [{behind.code}]"
            )
        phase = self.state.connection.execute("SELECT phase FROM phases WHERE entity=?", (entity.name,)).fetchone()
        if phase is not None and phase[0] == "seeding":
            found.append(f"{entity.name} is being copied for the first time: nothing is decided before that is done")
        unresolved = self.journal.last_seq() - self.state.position
        if unresolved > 0:
            found.append(f"{unresolved:,} journal entr{'y is' if unresolved == 1 else 'ies are'} not resolved yet")
        return tuple(found)

    def _not_kept(self) -> str:
        first = self.journal.first_after(0)
        kept_from = self.journal.last_seq() + 1 if first is None else first[0]
        return f"older history was trimmed (journal.keep = {self._keep})" if kept_from > 1 else ""

    def _now(self, entity: EntityPlan, key: bytes, record: Record, slot: int | None) -> Iterator[FieldNow]:
        parent = None if entity.parent is None else self._plan.entities[entity.parent]
        judged = record
        if parent is not None:
            parts = decode_key(key, entity.key_width)[: parent.key_width]
            judged = read_record(self.state, parent, encode_key(parts)) or record
        ownership = Ownership(entity, parent or entity, self._systems)
        claim = ownership.claim(judged.values)
        for number in entity.live_slots if slot is None else (slot,):
            told = entity.fields[number]
            owner = ownership.by_slot(ownership.claimed_by(claim))[number]
            named = told.owner or (self._systems[owner] if owner >= 0 else "nobody")
            yield FieldNow(told.name, self.masks.value(entity, number, record.values[number]), named)

    def close(self) -> None:
        """Close the files."""
        self.state.close()
        self.journal.close()


def read_record(state: State, entity: EntityPlan, key: bytes) -> Record | None:
    """The golden record, also of a deleted record."""
    return GoldenRecords(state, {entity.number: len(entity.fields)}).get(entity.number, key)


def _folded(notes: Iterable[Note]) -> Iterator[tuple[Note, int]]:
    """The notes, with how many rows without news of one system came one after another (the newest stands for them)."""
    last: Note | None = None
    repeated = 1
    for note in notes:
        if last is not None and last.decision == "equal":
            if note.decision == "equal" and note.system == last.system:
                repeated += 1
                continue
            if note.decision == "renamed" and note.seq == last.seq:
                last = None  # but for its key the row had no news
        if last is not None:
            yield last, repeated
        last, repeated = note, 1
    if last is not None:
        yield last, repeated


def _before(note: Note, values: list[Any]) -> list[Any]:
    """What a record was before a change that left it with these values."""
    for cell in note.cells:
        if cell.decision in _TAKEN and cell.slot < len(values):
            values[cell.slot] = cell.old
    return values


def _concerns(note: Note, slot: int | None) -> bool:
    """Whether a note is about a field: it names it, tells somebody of it, or is about the record as a whole."""
    if slot is None:
        return True
    if note.decision == "equal":
        return False
    named = any(cell.slot == slot for cell in note.cells)
    return named or not note.cells or any((t.mask | t.initial) >> slot & 1 for t in note.told)


def _key_before(entity: EntityPlan, note: Note) -> bytes | None:
    """The key that a record had before the rename that a note is about; None when it is about none."""
    if note.decision != "renamed":
        return None
    parts = decode_key(note.key, entity.key_width)
    own = len(parts) - len(entity.key)
    old = {cell.slot: cell.old for cell in note.cells}
    return encode_key([*parts[:own], *(old.get(slot, parts[own + at]) for at, slot in enumerate(entity.key))])
