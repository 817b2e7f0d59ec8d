"""Takes a record's rows out of the journal, and its name out of commands. The journal stays whole: its checksums match.

Two goes through it. The first writes nothing: it finds out by what all of the record's rows are known, as often as that
tells something new, since a row may be known only by one that comes later. What was found is kept in the journal's
controls; so the second, which erases, can be begun again at any time and finds the same.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from cdcd import backfills
from cdcd.adapter import RowFilter
from cdcd.errors import NeedsOperator
from cdcd.failpoints import reach
from cdcd.forgetting.job import CONTROL, ERASED, FORGET, Job, decode_rows, encode_rows
from cdcd.forgetting.rows import Found, RowFinder
from cdcd.journal import Command, Journal, Kind, decode_command, encode_note
from cdcd.journal_care.checksums import HEADER_COLUMNS, checksum, damaged, is_whole
from cdcd.model import Rows
from cdcd.resolve.plan import Plan
from cdcd.stored_rows import StoredRows

PAGE_ENTRIES: Final = 200
_CHANGES, _NOTE, _STAGE = 4, 7, 8
"""Places in a header (`HEADER_COLUMNS`)."""
Progress = Callable[[int], None]
_encode: Final = msgspec.msgpack.Encoder().encode


class _Entry(msgspec.Struct, frozen=True):
    """An entry as it is stored."""

    seq: int
    header: tuple[Any, ...]
    body: bytes | None
    checksum: int

    @property
    def stage(self) -> int | None:
        """The stage of its parts, if it has any."""
        found: int | None = self.header[_STAGE]
        return found


class JournalEraser:
    """Erases one record from one journal, through the entry that asked for it."""

    def __init__(self, plan: Plan, journal: Journal, job: Job, progress: Progress = lambda _seq: None) -> None:
        """`progress` is told how far the present go through the journal has come."""
        self._journal = journal
        self._connection = journal.database.connection
        self._job = job
        self._control = f"{CONTROL}{job.seq}"
        self._progress = progress
        self._family = {e.number for e in plan.entities.values() if e.family == self._name(plan)}
        self._names = {e.name for e in plan.entities.values() if e.number in self._family}
        self._plan = plan

    def _name(self, plan: Plan) -> str:
        return next(e.name for e in plan.entities.values() if e.number == self._job.entity)

    def erase(self) -> int:
        """Erase it; return how many rows and names were erased by this call. Raises NeedsOperator at a damaged entry."""
        finder = self._finder(self._known() or self._find())
        reach("forget.before-journal")
        erased = 0
        for entry in self._entries():
            erased += self._erase_from(entry, finder)
        self._erase_copies()
        reach("forget.after-journal")
        return erased

    def _finder(self, found: Found | None) -> RowFinder:
        return RowFinder(self._plan, self._job.entity, self._job.keys, self._job.ids, found)

    # ---- what is the record's --------------------------------------------------------------------------------

    def _known(self) -> Found | None:
        """What an earlier call has found."""
        value = self._journal.controls().get(self._control, "")
        if not value:
            return None
        ids, identities = decode_rows(value, tuple[list[Any], list[Any]])
        return Found(
            {(binding, part): {tuple(one) for one in known} for (binding, part), known in ids},
            {(system, table): {tuple(one) for one in known} for (system, table), known in identities},
        )

    def _find(self) -> Found:
        finder = self._finder(None)
        size = -1
        while size != finder.found.size:
            size = finder.found.size
            for entry in self._entries():
                for run in self._runs(entry):
                    finder.without(entry.header[0], run)
        found = finder.found
        ids = [(place, sorted(known)) for place, known in found.ids.items()]
        identities = [(place, sorted(known)) for place, known in found.identities.items()]
        self._journal.set_control(self._control, encode_rows((ids, identities)))
        return found

    # ---- reading ---------------------------------------------------------------------------------------------

    def _entries(self) -> Iterator[_Entry]:
        """Those through the one that asked, one in memory at a time (Invariant 11)."""
        after = 0
        while page := self._connection.execute(
            "SELECT seq FROM entries WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?",
            (after, self._job.seq, PAGE_ENTRIES),
        ).fetchall():
            for (seq,) in page:
                entry = self._entry(seq)
                if entry is not None:  # else it was trimmed meanwhile
                    yield entry
            after = page[-1][0]
            self._progress(after)

    def _entry(self, seq: int) -> _Entry | None:
        row = self._connection.execute(
            f"SELECT body, checksum, {HEADER_COLUMNS} FROM entries WHERE seq=?", (seq,)
        ).fetchone()
        if row is None:
            return None
        body, expected, *header = row
        if not is_whole(header, body, expected):
            raise damaged(seq, header[0], header[2])
        return _Entry(seq, tuple(header), body, expected)

    def _runs(self, entry: _Entry) -> Iterator[Rows]:
        if entry.body:
            yield from self._decoded(entry.body)
        for _, body in self._parts(entry):
            yield from self._decoded(body)

    def _decoded(self, body: bytes) -> Iterator[Rows]:
        return map(StoredRows.unpacked, self._journal.split(body))

    def _parts(self, entry: _Entry) -> Iterator[tuple[int, bytes]]:
        part = 0
        while entry.stage is not None:
            row = self._connection.execute(
                "SELECT body, checksum FROM stages WHERE stage=? AND part=?", (entry.stage, part)
            ).fetchone()
            if row is None:
                return
            if zlib.crc32(row[0]) != row[1]:
                raise damaged(entry.seq, entry.header[0], entry.header[2], "the checksum of a part does not match")
            yield part, row[0]
            part += 1

    # ---- writing ---------------------------------------------------------------------------------------------

    def _erase_from(self, entry: _Entry, finder: RowFinder) -> int:
        """Write the entry without what is the record's, in one commit; return how many rows or names that were."""
        header = list(entry.header)
        parts: dict[int, bytes] = {}
        if header[1] == Kind.COMMAND:
            note = self._note_without(entry)
            header[_NOTE] = note
            erased = int(note != entry.header[_NOTE])
            body = entry.body
        else:
            body, erased = self._without(entry, entry.body, finder)
            for part, content in self._parts(entry):
                left, more = self._without(entry, content, finder)
                if more:
                    parts[part] = left or _encode([])
                    erased += more
            header[_CHANGES] -= erased
        if erased:
            self._write(entry, tuple(header), body, parts)
        return erased

    def _without(self, entry: _Entry, body: bytes | None, finder: RowFinder) -> tuple[bytes | None, int]:
        """A body without the record's rows, and how many there were."""
        if not body:
            return body, 0
        kept, erased = [], 0
        for run in self._journal.split(body):
            left = finder.without(entry.header[0], run.unpacked())
            if left is None:
                kept.append([run.relation_number, run.op, run.packed_rows, run.packed_olds])
                continue
            erased += run.count - left.count
            if left.rows:
                kept.append([run.relation_number, run.op, left.rows, left.olds])
        return (body, 0) if not erased else (_encode(kept) if kept else None, erased)

    def _write(self, entry: _Entry, header: tuple[Any, ...], body: bytes | None, parts: dict[int, bytes]) -> None:
        with self._journal.database.transaction() as connection:
            for part, content in parts.items():
                connection.execute(
                    "UPDATE stages SET body=?, checksum=? WHERE stage=? AND part=?",
                    (content, zlib.crc32(content), entry.stage, part),
                )
            done = connection.execute(
                "UPDATE entries SET changes=?, note=?, body=?, checksum=? WHERE seq=? AND checksum=?",
                (header[_CHANGES], header[_NOTE], body, checksum(header, body), entry.seq, entry.checksum),
            )
            trimmed = connection.execute("SELECT 1 FROM entries WHERE seq=?", (entry.seq,)).fetchone() is None
            if not done.rowcount and not trimmed:
                raise NeedsOperator(
                    f"journal entry {entry.seq} was changed meanwhile",
                    code="forget-changed",
                    cause="the journal is being mended",
                    remedy="run 'cdcd forget --finish' when that is done",
                )

    # ---- commands and copies ---------------------------------------------------------------------------------

    def _note_without(self, entry: _Entry) -> bytes:
        note: bytes = entry.header[_NOTE]
        command = decode_command(note)
        return encode_note(Command(ERASED, {"was": command.name})) if self._names_it(command) else note

    def _names_it(self, command: Command) -> bool:
        arguments = command.arguments
        if command.name == FORGET:
            return self._is_its(arguments["entity"], arguments["key"])
        if command.name in ("retry", "owe"):
            return any(self._is_its(record[0], record[1]) for record in arguments["records"])
        if command.name == "conflicts":
            return any(self._is_its(one[0], one[1]) for one in arguments["conflicts"])
        if command.name == "edit":
            return self._is_its(arguments["correction"][1], arguments["correction"][2])
        if command.name == "resync" and arguments.get("filtered"):
            keys = arguments.get("keys") or ()
            is_family = arguments.get("entity") in self._names
            return is_family and (not keys or any(self._is_its(self._job.entity, key) for key in keys))
        return False

    def _is_its(self, entity: int, key: bytes) -> bool:
        return entity in self._family and any(bytes(key).startswith(own) for own in self._job.keys)

    def _erase_copies(self) -> None:
        """What ended copies of tables were to read, and which row they read last: nobody needs it any more."""
        nothing = backfills.encode_filter(RowFilter())
        with self._journal.database.transaction() as connection:
            connection.execute("UPDATE backfills SET last_key=NULL WHERE done=1")
            connection.execute("UPDATE backfills SET filter=? WHERE done=1 AND filter IS NOT NULL", (nothing,))
