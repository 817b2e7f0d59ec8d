"""The journal as people read it: which entries there are and what is in them. Writes nothing, and no writer waits for it.

An entry may be trimmed while it is looked at: then it is `Gone`. What is damaged raises NeedsOperator "journal-damaged".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd.errors import CdcdError
from cdcd.journal import Entry, Journal, Kind, decode_chunk_note, decode_command
from cdcd.journal_care.checksums import HEADER_COLUMNS, damaged, is_whole
from cdcd.model import Rows

PAGE_ENTRIES: Final = 500
SOURCE_OF_COMMANDS: Final = "operator"
_TOLD: Final = ("entity", "system", "systems", "limit", "on", "accept")
"""Arguments of commands that hold no key and no value."""


class Gone(CdcdError):
    """The entry was trimmed while it was read."""

    default_code = "journal-trimmed"


class Listed(msgspec.Struct, frozen=True):
    """An entry without its rows. `units`: our own transaction, which carried the outbox units (after, through]."""

    seq: int
    source: str
    kind: Kind
    position: str
    committed_at_us: int
    journaled_at_us: int
    changes: int
    units: tuple[int, int] | None
    note: bytes | None
    stage: int | None


class Command(msgspec.Struct, frozen=True):
    """An operator's command; of its arguments those that hold no key and no value."""

    name: str
    arguments: dict[str, Any]


class Copy(msgspec.Struct, frozen=True):
    """Which copy of a table a chunk belongs to, and whether it was its last."""

    table: str
    run: int
    done: bool


class Wanted(msgspec.Struct, frozen=True):
    """Which entries are looked for: of a source, and with rows of one of these (source, table); None: whatever it is.

    A table may be written without its schema.
    """

    source: str | None = None
    tables: frozenset[tuple[str | None, str]] | None = None

    def is_table(self, source: str, table: str) -> bool:
        """Whether rows of this table are wanted."""
        if self.tables is None:
            return True
        spelled = {table, table.rpartition(".")[2]}
        return any(system in (None, source) and name in spelled for system, name in self.tables)


Contents = Mapping[str, Mapping[str, int]]
"""By table, how many rows of each operation ("insert", "update", "delete", "read"); of "truncate" and the like, how often."""


class JournalView:
    """One state directory's journal, open for reading. Raises CdcdError when there is none, or it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.journal = Journal(path, read_only=True)
        self._connection = self.journal.database.connection

    def version(self) -> int:
        """Another number after any other process has written something (PRAGMA data_version): costs next to nothing."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def between(
        self, after: int, through: int, *, source: str | None = None, limit: int = PAGE_ENTRIES, newest: bool = False
    ) -> list[Listed]:
        """At most `limit` entries with `after` < seq <= `through` in their order: the oldest of them, or the `newest`."""
        chosen = "seq > ? AND seq <= ? AND (? IS NULL OR source = ?)"
        rows = self._connection.execute(
            f"SELECT seq, journaled_at_us, {HEADER_COLUMNS} FROM entries WHERE {chosen}"
            f" ORDER BY seq {'DESC' if newest else 'ASC'} LIMIT ?",
            (after, through, source, source, limit),
        ).fetchall()
        return [_listed(row) for row in (reversed(rows) if newest else rows)]

    def all_between(self, after: int, through: int, source: str | None = None) -> Iterator[Listed]:
        """All of them, a page at a time: nothing is held while the caller works on them."""
        while page := self.between(after, through, source=source):
            yield from page
            after = page[-1].seq

    def newest(self, count: int, wanted: Wanted) -> list[Listed]:
        """The newest `count` entries that are wanted, oldest first."""
        found: list[Listed] = []
        before = self.journal.last_seq() + 1
        while len(found) < count and (page := self.between(0, before - 1, source=wanted.source, newest=True)):
            for listed in reversed(page):
                if self.is_wanted(listed, wanted):
                    found.append(listed)
                if len(found) == count:
                    break
            before = page[0].seq
        return found[::-1]

    def is_wanted(self, listed: Listed, wanted: Wanted) -> bool:
        """Whether it has rows of the wanted tables; read no further than to the first of them."""
        if wanted.source not in (None, listed.source):
            return False
        if wanted.tables is None:
            return True
        try:
            return any(wanted.is_table(listed.source, run.relation.table) for run in self.runs(listed))
        except Gone:
            return False

    def runs(self, listed: Listed) -> Iterator[Rows]:
        """The runs of rows of an entry, a part at a time. Raises Gone when it was trimmed under way."""
        row = self._connection.execute(
            f"SELECT body, checksum, {HEADER_COLUMNS} FROM entries WHERE seq=?", (listed.seq,)
        ).fetchone()
        if row is None:
            raise _gone(listed.seq)
        body, expected, *header = row
        if not is_whole(header, body, expected):
            raise damaged(listed.seq, listed.source, listed.position)
        entry = Entry(
            listed.seq,
            listed.source,
            listed.kind,
            listed.committed_at_us,
            listed.changes,
            listed.units,
            listed.note,
            listed.stage,
            body,
            listed.journaled_at_us,
        )
        yield from self.journal.rows(entry)
        if listed.stage is not None and self.journal.origin(listed.seq) is None:
            raise _gone(listed.seq)

    def contents(self, listed: Listed) -> Contents:
        """What is in an entry, counted. Reads all of it."""
        found: dict[str, dict[str, int]] = {}
        for run in self.runs(listed):
            counts = found.setdefault(run.relation.table, {})
            name = run.op.name.lower()
            counts[name] = counts.get(name, 0) + (len(run.rows) or 1)
        return found

    def seq_of(self, place: str, moment_us: Callable[[str], int]) -> int:
        """The first seq at or after what a person wrote: a number, or a time as `moment_us` understands it."""
        if place.strip().isdecimal():
            return int(place)
        return self.journal.seq_at(moment_us(place)) + 1

    def close(self) -> None:
        """Close the file."""
        self.journal.close()


def command_of(listed: Listed) -> Command | None:
    """The operator's command that an entry is."""
    if listed.kind != Kind.COMMAND or listed.note is None:
        return None
    command = decode_command(listed.note)
    return Command(command.name, {name: command.arguments[name] for name in _TOLD if name in command.arguments})


def copy_of(listed: Listed) -> Copy | None:
    """The copy that an entry is a chunk of."""
    if listed.kind != Kind.CHUNK or listed.note is None:
        return None
    note = decode_chunk_note(listed.note)
    return Copy(note.table, note.run, note.done)


def _listed(row: tuple[Any, ...]) -> Listed:
    seq, journaled_at_us, source, kind, position, committed_at_us, changes, after, through, note, stage = row
    units = None if through is None else (after, through)
    return Listed(seq, source, Kind(kind), position, committed_at_us, journaled_at_us, changes, units, note, stage)


def _gone(seq: int) -> Gone:
    return Gone(
        f"journal entry {seq} was trimmed while it was read", remedy="ask for entries that 'journal.keep' still covers"
    )
