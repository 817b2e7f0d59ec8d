"""Mends a damaged journal: what the source's log still shows is put back in its place; for the rest, who must be resynced.

Nothing is skipped (Invariants 8 and 10): an entry that cannot be read again becomes the command `lost` in its place, which
tells resolve whose records it cannot trust from there on, and their tables are copied anew.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from cdcd.errors import CdcdError
from cdcd.journal import Command, Journal, Kind, decode_chunk_note, encode_note
from cdcd.journal_care.check import Damage, Shape
from cdcd.journal_care.checksums import HEADER_COLUMNS, LOST, checksum, is_header_whole
from cdcd.journal_care.rereading import Reread
from cdcd.model import Relation

Subjects = Mapping[str, Sequence[tuple[str, str]]]
"""The (system, table) pairs of every entity, and of the plain copies of a table (Blueprint.entity_tables)."""
_relation: Final = msgspec.msgpack.Decoder(Relation)


class NotTheSame(CdcdError):
    """What the log shows now is not what was journalled."""

    default_code = "reread-differs"


class Place(msgspec.Struct, frozen=True):
    """Where a lost transaction stands in its source's log: the `number`-th after `position`."""

    position: str
    number: int


def restore_shapes(journal: Journal, shapes: Iterable[Shape]) -> list[int]:
    """Write shapes back of which the index has kept a whole copy; return the numbers of those that are whole again."""
    restored = []
    for shape in shapes:
        if shape.copy is not None:
            with journal.database.transaction() as connection:
                connection.execute(
                    "REINDEX relations"
                )  # the index does not know the damaged body, and could not change it
                connection.execute(
                    "UPDATE relations SET body=?, checksum=? WHERE id=?",
                    (shape.copy, zlib.crc32(shape.copy), shape.number),
                )
            restored.append(shape.number)
    return restored


def place_of(journal: Journal, damage: Damage, systems: Iterable[str]) -> Place | None:
    """From where to read a damaged transaction again; None when it is none, or nothing before it is kept."""
    if damage.kind != "log" or damage.source not in systems or damage.through != damage.seq:
        return None
    rows = journal.database.connection.execute(
        f"SELECT checksum, {HEADER_COLUMNS} FROM entries WHERE source=? AND kind=? AND seq<? ORDER BY seq DESC",
        (damage.source, Kind.LOG, damage.seq),
    )
    for number, (expected, *header) in enumerate(rows, start=1):
        if is_header_whole(header, expected):
            return Place(header[2], number)
    return None


def put_back(journal: Journal, damage: Damage, found: Reread) -> None:
    """Put a transaction that was read again into its place. Raises NotTheSame when it is another one."""
    connection = journal.database.connection
    row = connection.execute(
        f"SELECT journaled_at_us, {HEADER_COLUMNS} FROM entries WHERE seq=?", (damage.seq,)
    ).fetchone()
    if row is None:
        return  # trimmed meanwhile: then nobody needs it
    _, source, _, position, committed_at_us, changes, *_, old_stage = row
    by_position = found.position == position and (found.changes == changes or damage.part == "header")
    by_the_rest = damage.part == "header" and (found.committed_at_us, found.changes) == (committed_at_us, changes)
    if not (by_position or by_the_rest):
        raise NotTheSame(
            f"what the log of {source} shows in the place of journal entry {damage.seq} is another transaction",
            cause=f"{found.changes:,} changes at {found.position}, not {changes:,} at {position}",
        )
    after, through = found.units or (None, None)
    _write(
        journal,
        damage.seq,
        (source, Kind.LOG, found.position, found.committed_at_us, found.changes, after, through, None, found.stage),
        found.body or None,
        old_stage,
    )


def touched(journal: Journal, damage: Damage, subjects: Subjects) -> list[str]:
    """The entities and plain copies of which the entry may have held rows."""
    if damage.part in ("header", "missing", "unreadable"):
        return sorted(subjects)
    connection = journal.database.connection
    if damage.kind == "chunk":
        note = connection.execute("SELECT note FROM entries WHERE seq=?", (damage.seq,)).fetchone()[0]
        tables = {decode_chunk_note(note).table}
    else:
        bodies = connection.execute("SELECT body FROM relations WHERE source=?", (damage.source,)).fetchall()
        tables = {name for (body,) in bodies if (name := _table(body)) is not None}
    return sorted(subject for subject, of in subjects.items() if any(s == damage.source and t in tables for s, t in of))


def replace(journal: Journal, seq: int, through: int, source: str, subjects: Sequence[str]) -> None:
    """Put the command `lost` in the place of entries that are gone. Resyncs of the subjects must be journalled before."""
    known = {
        row[0]: row[1:]
        for row in journal.database.connection.execute(
            "SELECT seq, mark_after, mark_through, stage FROM entries WHERE seq BETWEEN ? AND ?", (seq, through)
        )
    }
    note = encode_note(Command(LOST, {"source": source, "subjects": list(subjects)}))
    for number in range(seq, through + 1):
        after, last, stage = known.get(number, (None, None, None))
        units = (after, last) if source else (None, None)
        at_us = _journaled_at_us(journal, number)
        _write(journal, number, (source or "operator", Kind.COMMAND, "", at_us, 0, *units, note, None), None, stage)


def _journaled_at_us(journal: Journal, seq: int) -> int:
    """When it was journalled; of one that is gone, when the next one was."""
    query = "SELECT journaled_at_us FROM entries WHERE seq>=? ORDER BY seq LIMIT 1"
    row = journal.database.connection.execute(query, (seq,)).fetchone()
    return time.time_ns() // 1000 if row is None else int(row[0])


def _write(journal: Journal, seq: int, header: tuple[object, ...], body: bytes | None, old_stage: int | None) -> None:
    values = (*header, body, checksum(header, body))
    with journal.database.transaction() as connection:
        journaled_at_us = _journaled_at_us(journal, seq)
        connection.execute(
            f"INSERT OR REPLACE INTO entries (seq, journaled_at_us, {HEADER_COLUMNS}, body, checksum)"
            f" VALUES (?,?,{','.join('?' * len(values))})",
            (seq, journaled_at_us, *values),
        )
        if old_stage is not None and old_stage != header[-1]:
            connection.execute(
                "DELETE FROM stages WHERE stage=? AND stage NOT IN (SELECT stage FROM entries WHERE stage IS NOT NULL)",
                (old_stage,),
            )


def _table(body: bytes) -> str | None:
    try:
        return _relation.decode(body).table
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
