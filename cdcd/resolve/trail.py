"""The trail: what was decided about every captured change, appended in order, part of each step's commit (Invariant 10).

A note is one decision about one record: the journal entry and the system it is about, what differed, and the outbox
units that tell the targets. Notes are written one after another, some hundred to a row, so that writing costs no
search: neither an index nor the golden record is touched. They are found again by digests: four bytes for each note,
in a table of their own that is small enough to be searched from its end (`notes_of`). When and where a change was
committed is the journal's to say; nothing of it is stored twice.
"""

from __future__ import annotations

import array
import sys
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, TypeAlias, cast

import msgspec

from cdcd.model import ABSENT
from cdcd.state import State

WRITTEN: Final = "written"
"""The decision that what a change held counts as it is."""
ROW_NOTES: Final = 128
"""Notes to a row. The last row is written anew until it is full."""
NOTE_BYTES: Final = 2_048
"""A note that would be longer keeps only the beginnings of its long values."""
HEAD_CHARACTERS: Final = 200
OPEN_NOTES: Final = 10 * ROW_NOTES
"""Notes after which they leave the memory for the state's open transaction."""
TRIM_ROWS: Final = 2_000
NO_RULE: Final = -1
"""No condition of the entity held: nobody owned what has no owner of its own."""
BORN: Final = -2
"""In the place of a rule: the record was born of the owner in this very transaction."""
BY_RULE: Final = -4
"""In the place of a field's owner (a system, NOBODY, LATEST, SUM): the condition that the note names decided."""
OWED_UNIT: Final = 0
"""In the place of a unit: the target is told later, when a schedule, a pause or a rewind has it (see `owing`)."""
_SHORTENED: Final = 2
_AFTER_KEY: Final = 7
"""Parts of a note."""
_DIGEST_BYTES: Final = 4
_NEWEST_ROW: Final = "SELECT t.id, k.through_seq, k.digests, t.body FROM trail t JOIN trail_keys k USING (id)"
_ARRAY_16: Final = b"\xdc"
_ARRAY_OF_8: Final = 0x98
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_plain: Final = msgspec.msgpack.Decoder().decode


class Shortened(msgspec.Struct, frozen=True):
    """The beginning of a long value, in place of all of it. `length` is in characters, of bytes in bytes."""

    head: str | bytes
    length: int


class Cell(msgspec.Struct, frozen=True, array_like=True):
    """One field that a change wanted otherwise.

    `decision` is about this field alone. `owner` is who always owns it (a system, NOBODY, LATEST, SUM), or BY_RULE.
    `old` is what was true before, `new` what the change held.
    """

    slot: int
    decision: str
    owner: int
    old: Any
    new: Any


class Telling(msgspec.Struct, frozen=True, array_like=True):
    """A target was told in `unit` (`OWED_UNIT`: it will be, later): `kind` is an `outbox.RecordWrite`; `initial` only where the record is new there."""

    target: int
    unit: int
    kind: int
    mask: int
    initial: int


class Note(msgspec.Struct, frozen=True, array_like=True):
    """One decision. `system` is whose change it is (NOBODY: an operator's command). `rule` is a number of `rules_of`.

    `held_by` are, of a first copy, the systems that had the record, as bits. `reason` is the code of a row that could
    not be taken.
    """

    seq: int
    entity: int
    key: bytes
    system: int
    decision: str
    rule: int = NO_RULE
    cells: tuple[Cell, ...] = ()
    told: tuple[Telling, ...] = ()
    held_by: int = 0
    reason: str = ""


def _found_ext(code: int, data: memoryview) -> Any:
    return Shortened(*_decode_plain(data)) if code == _SHORTENED else ABSENT


class _Written(msgspec.Struct, frozen=True, array_like=True):
    """How a `Note` is stored where all its cells are `WRITTEN`: most changes are, and the rest of what it says is nothing.

    `about` is the rule, the slots, and who owns each; of all changes of the same fields it is the same.
    """

    seq: int
    entity: int
    key: bytes
    system: int
    about: tuple[int, list[int], list[int]]
    olds: list[Any]
    news: list[Any]
    told: tuple[Telling, ...]


_decode_note: Final = msgspec.msgpack.Decoder(Note, ext_hook=_found_ext).decode
_decode_written: Final = msgspec.msgpack.Decoder(_Written, ext_hook=_found_ext).decode
_decode_row: Final = msgspec.msgpack.Decoder(list[msgspec.Raw]).decode


class _Taken(msgspec.Struct, array_like=True, gc=False):
    """A note while it is taken; stored it is a `Note`."""

    seq: int
    entity: int
    key: bytes
    system: int
    decision: str
    rule: int
    cells: Sequence[tuple[int, str, int, Any, Any]]
    told: Sequence[tuple[int, int, int, int, int]]
    held_by: int
    reason: str


TakenNote: TypeAlias = tuple[int, int, bytes, int, str, int, Sequence[Any], Sequence[Any], int, str]
"""The same as a tuple, of which there may be many."""
TakenWritten: TypeAlias = tuple[int, int, bytes, int, Any, Sequence[Any], Sequence[Any], Sequence[Any]]
"""A `_Written` while it is taken; `about` is `packed_about`."""


def packed_about(rule: int, slots: Sequence[int], owners: Sequence[int]) -> msgspec.Raw:
    """What all notes of changes of these slots have in common (see `_Written.about`)."""
    return msgspec.Raw(_encode((rule, slots, owners)))


class Trail:
    """Takes the notes of resolve's steps. What is noted is stored by `flush`, in the state's open transaction."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._seq = 0
        self._notes: list[_Taken] = []
        self._note: _Taken | None = None
        self._decided: _Taken | None = None
        self._echo: _Taken | None = None
        self._row_id = 1
        self._row: list[bytes] = []
        self._row_digests: list[int] = []
        self._row_seqs: list[int] = []
        """Of the newest row, while it is not whole, and behind it what is not stored yet: notes packed, digests, seqs."""
        self._stored = 0
        """So many of them are stored."""
        self.discard()

    def at(self, seq: int) -> None:
        """What follows is about this journal entry."""
        self._seq = seq
        self._note = self._decided = self._echo = None

    def note(
        self,
        entity: int,
        key: bytes,
        system: int,
        decision: str,
        rule: int = NO_RULE,
        cells: Sequence[tuple[int, str, int, Any, Any]] = (),
        held_by: int = 0,
        reason: str = "",
        told: Sequence[tuple[int, int, int, int, int]] = (),
    ) -> None:
        """A decision about a record. `cells` are as in `Cell`; what is told from here on about the record belongs to it.

        That our own write was read back is kept only where somebody is told something because of it: when the write was
        committed, the journal knows already.
        """
        self._make_room()
        note = self._note = self._decided = _Taken(
            self._seq, entity, key, system, decision, rule, cells, told, held_by, reason
        )
        self._echo = note if decision == "echo" else None
        if self._echo is None:
            self._notes.append(note)

    def note_run(self, notes: Sequence[TakenNote | TakenWritten]) -> None:
        """Decisions by which nothing more is told, in order. They are not many more than `OPEN_NOTES`."""
        if not notes:
            return
        self._make_room()
        self._pack()
        packed = [*map(_encode, notes)]
        if max(map(len, packed)) > NOTE_BYTES:
            packed = [*map(_bounded, packed, notes)]
        self._row += packed
        self._row_digests += [zlib.crc32(note[2], note[1]) for note in notes]
        self._row_seqs += [note[0] for note in notes]
        self._note = self._decided = self._echo = None

    def note_all(
        self,
        entity: int,
        keys: Sequence[bytes],
        system: int,
        decision: str,
        rule: int,
        told: tuple[tuple[int, int, int, int, int], ...],
        held_by: int = 0,
    ) -> None:
        """The same decision about many records, of which the same is told."""
        self._make_room()
        self._pack()
        seq = self._seq
        head = _encode((seq, entity, 0, *[0] * _AFTER_KEY))[: -1 - _AFTER_KEY]
        tail = _encode((system, decision, rule, (), told, held_by, ""))[1:]
        self._row += [b"%b%b%b" % (head, _encode(key), tail) for key in keys]
        self._row_digests += [zlib.crc32(key, entity) for key in keys]
        self._row_seqs += [seq] * len(keys)
        self._note = self._decided = self._echo = None

    def _make_room(self) -> None:
        """Keep what is open bounded (Invariant 11)."""
        if len(self._notes) + len(self._row) >= OPEN_NOTES:
            self.flush()

    def told(self, entity: int, key: bytes, target: int, unit: int, kind: int, mask: int, initial: int) -> None:
        """A target is told about a record, because of the last decision about it."""
        if self._echo is not None:
            self._notes.append(self._echo)
            self._echo = None
        note = self._note
        if note is None or note.key != key or note.entity != entity:
            note = self._note = self._noted_of(entity, key)
        note.told = (*note.told, (target, unit, kind, mask, initial))

    def _noted_of(self, entity: int, key: bytes) -> _Taken:
        """The last decision, if it was about this record; else this follows from it, and has a note of its own."""
        decided = self._decided
        if decided is not None and decided.key == key and decided.entity == entity:
            return decided
        is_kept = len(self._notes) + len(self._row) < OPEN_NOTES
        self.note(entity, key, -1, "told")
        note, self._decided = self._decided, decided if is_kept else None
        assert note is not None
        return note

    def flush(self) -> None:
        """Write what was noted into the state's open transaction."""
        self._pack()
        self._note = self._decided = self._echo = None
        if len(self._row) > self._stored:
            self._store()

    def _pack(self) -> None:
        notes = self._notes
        if notes:
            stored = [_as_stored(note) for note in notes]
            self._row += map(_bounded, map(_encode, stored), stored)
            self._row_digests += [zlib.crc32(note.key, note.entity) for note in notes]
            self._row_seqs += [note.seq for note in notes]
            notes.clear()

    def _store(self) -> None:
        row, digests, seqs = self._row, self._row_digests, self._row_seqs
        execute = self._connection.execute
        for start in range(0, len(row), ROW_NOTES):
            end = start + ROW_NOTES
            notes = row[start:end]
            body = b"".join([_ARRAY_16, len(notes).to_bytes(2, "big"), *notes])
            execute("INSERT OR REPLACE INTO trail VALUES (?,?)", (self._row_id, body))
            keys = (self._row_id, max(seqs[start:end]), _as_bytes(digests[start:end]))
            execute("INSERT OR REPLACE INTO trail_keys VALUES (?,?,?)", keys)
            self._row_id += len(notes) == ROW_NOTES
        whole = len(row) - len(row) % ROW_NOTES
        del row[:whole], digests[:whole], seqs[:whole]
        self._stored = len(row)

    def discard(self) -> None:
        """Forget what is not stored, after a step that failed, and go on after what is."""
        self._notes.clear()
        self._note = self._decided = self._echo = None
        newest = self._connection.execute(f"{_NEWEST_ROW} ORDER BY t.id DESC LIMIT 1").fetchone()
        self._row_id, self._row, self._row_digests, self._row_seqs = 1, [], [], []
        if newest is not None:
            self._row_id, through_seq, digests, body = newest
            self._row = [bytes(note) for note in _decode_row(body)]
            self._row_digests = list(_as_numbers(digests))
            self._row_seqs = [through_seq] * len(self._row)
            if len(self._row) == ROW_NOTES:
                self._row_id, self._row, self._row_digests, self._row_seqs = self._row_id + 1, [], [], []
        self._stored = len(self._row)

    def erase(self, records: Iterable[tuple[int, bytes]]) -> int:
        """Have the notes about these records, as (entity, key), say nothing any more; return how many there were.

        Their places stay, because digests are found by place. Searches all of the trail.
        """
        self.flush()
        wanted = set(records)
        marks = {zlib.crc32(key, entity) for entity, key in wanted}
        erased = 0
        after = 0
        while found := self._connection.execute(
            "SELECT id, digests FROM trail_keys WHERE id>? ORDER BY id LIMIT ?", (after, TRIM_ROWS)
        ).fetchall():
            after = found[-1][0]
            for row_id, digests in found:
                places = [place for place, mark in enumerate(_as_numbers(digests)) if mark in marks]
                erased += self._erase_of(row_id, digests, places, wanted) if places else 0
        self.discard()
        return erased

    def _erase_of(self, row_id: int, digests: bytes, places: Sequence[int], wanted: set[tuple[int, bytes]]) -> int:
        (body,) = self._connection.execute("SELECT body FROM trail WHERE id=?", (row_id,)).fetchone()
        notes: list[bytes] = [bytes(note) for note in _decode_row(body)]
        left = bytearray(digests)
        erased = 0
        for place in places:
            note = _note(notes[place])
            if (note.entity, note.key) in wanted:
                erased += 1
                notes[place] = _encode(_Taken(note.seq, note.entity, b"", -1, "forgotten", NO_RULE, (), (), 0, ""))
                nothing = zlib.crc32(b"", note.entity).to_bytes(_DIGEST_BYTES, "little")
                left[place * _DIGEST_BYTES : (place + 1) * _DIGEST_BYTES] = nothing
        body = b"".join([_ARRAY_16, len(notes).to_bytes(2, "big"), *notes])
        self._connection.execute("UPDATE trail SET body=? WHERE id=?", (body, row_id))
        self._connection.execute("UPDATE trail_keys SET digests=? WHERE id=?", (bytes(left), row_id))
        return erased

    def trim(self, before_seq: int) -> int:
        """Delete rows of notes that are all about entries before that one; return how many. Never the newest row."""
        rows = self._connection.execute(
            "SELECT id, through_seq FROM trail_keys WHERE id < (SELECT max(id) FROM trail_keys) ORDER BY id LIMIT ?",
            (TRIM_ROWS,),
        ).fetchall()
        gone = []
        for row_id, through_seq in rows:
            if through_seq >= before_seq:
                break
            gone.append((row_id,))
        self._connection.executemany("DELETE FROM trail WHERE id=?", gone)
        self._connection.executemany("DELETE FROM trail_keys WHERE id=?", gone)
        return len(gone)


def _as_stored(note: _Taken) -> TakenNote | TakenWritten:
    seq, entity, key, system, decision, rule, cells, told, held_by, reason = msgspec.structs.astuple(note)
    if decision != WRITTEN or not cells or held_by or reason or any(cell[1] != WRITTEN for cell in cells):
        return (seq, entity, key, system, decision, rule, cells, told, held_by, reason)
    slots, _, owners, olds, news = zip(*cells, strict=True)
    return (seq, entity, key, system, (rule, slots, owners), olds, news, told)


def _bounded(packed: bytes, note: TakenNote | TakenWritten) -> bytes:
    """The note packed, with the beginnings of its long values where it is long."""
    if len(packed) <= NOTE_BYTES:
        return packed
    if packed[0] == _ARRAY_OF_8:
        *head, olds, news, told = cast("TakenWritten", note)
        return _encode((*head, [*map(_short, olds)], [*map(_short, news)], told))
    taken = _Taken(*cast("TakenNote", note))
    taken.cells = [(slot, decision, owner, _short(old), _short(new)) for slot, decision, owner, old, new in taken.cells]
    return _encode(taken)


def _short(value: Any) -> Any:
    """The value, or its beginning where it is long."""
    if not isinstance(value, str | bytes) or len(value) <= HEAD_CHARACTERS:
        return value
    return msgspec.msgpack.Ext(_SHORTENED, _encode((value[:HEAD_CHARACTERS], len(value))))


def _as_bytes(digests: Iterable[int]) -> bytes:
    numbers = array.array("I", digests)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers.tobytes()


def _as_numbers(digests: bytes) -> array.array[int]:
    numbers = array.array("I")
    numbers.frombytes(digests)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


# ---- reading ---------------------------------------------------------------------------------------------------


def notes_of(state: State, entity: int, key: bytes, since_seq: int = 0) -> Iterator[Note]:
    """The notes about a record, newest first, of rows that hold any about entries from `since_seq` on.

    Searches as far as it is asked to go on: about 0.1 s for ten million notes.
    """
    digest = zlib.crc32(key, entity).to_bytes(_DIGEST_BYTES, "little")
    rows = state.connection.execute("SELECT id, through_seq, digests FROM trail_keys ORDER BY id DESC")
    for row_id, through_seq, digests in rows:
        if through_seq >= since_seq and digest in digests:
            places = list(_places(digests, digest))
            yield from (note for note in _notes_at(state, row_id, reversed(places)) if _is_of(note, entity, key))


def _note(packed: bytes) -> Note:
    if packed[0] != _ARRAY_OF_8:
        return _decode_note(packed)
    found = _decode_written(packed)
    rule, slots, owners = found.about
    cells = zip(slots, owners, found.olds, found.news, strict=True)
    written = tuple([Cell(slot, WRITTEN, owner, old, new) for slot, owner, old, new in cells])
    return Note(found.seq, found.entity, found.key, found.system, WRITTEN, rule, written, found.told)


def _is_of(note: Note, entity: int, key: bytes) -> bool:
    return note.entity == entity and note.key == key


def _places(digests: bytes, digest: bytes) -> Iterator[int]:
    at = digests.find(digest)
    while at >= 0:
        if at % _DIGEST_BYTES == 0:
            yield at // _DIGEST_BYTES
        at = digests.find(digest, at + 1)


def _notes_at(state: State, row_id: int, places: Iterable[int]) -> Iterator[Note]:
    found = state.connection.execute("SELECT body FROM trail WHERE id=?", (row_id,)).fetchone()
    if found is not None:  # else it was trimmed meanwhile
        notes = _decode_row(found[0])
        yield from (_note(bytes(notes[place])) for place in places)


# ---- rules -----------------------------------------------------------------------------------------------------


class Rule(msgspec.Struct, frozen=True, array_like=True):
    """A condition of an entity's ownership, as it was written when it was first used."""

    entity: int
    when: str
    owner: str


def rules_of(state: State) -> list[Rule]:
    """All conditions that ever decided; their place is the number that notes have."""
    stored = state.get("rules")
    return [] if stored is None else msgspec.msgpack.decode(stored, type=list[Rule])


def number_rules(state: State, rules: Mapping[int, Iterable[tuple[str, str]]]) -> dict[int, tuple[int, ...]]:
    """By entity, the numbers of its conditions (when, owner); new ones are added, within the state's transaction."""
    known = {rule: number for number, rule in enumerate(rules_of(state))}
    before = len(known)
    found: dict[int, tuple[int, ...]] = {}
    for entity, conditions in rules.items():
        wanted = [Rule(entity, when, owner) for when, owner in conditions]
        found[entity] = tuple([known.setdefault(rule, len(known)) for rule in wanted])
    if len(known) > before:
        state.put("rules", _encode(list(known)))
    return found
