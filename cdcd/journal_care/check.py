"""Reads the whole journal and says exactly what is damaged: checksums, shapes, order, and SQLite's own opinion of its pages."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from cdcd.journal import Journal, Kind
from cdcd.journal_care.checksums import HEADER_COLUMNS, is_header_whole
from cdcd.model import ABSENT, Relation
from cdcd.sqlite_driver import sqlite
from cdcd.stored_rows import looked_through

PAGE_ENTRIES: Final = 500
QUICK_CHECK_MAX: Final = 20
Part = Literal["header", "body", "part", "shape", "missing", "unreadable"]
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
_decode_relation: Final = msgspec.msgpack.Decoder(Relation).decode


class Damage(msgspec.Struct, frozen=True):
    """An entry that is not what was written; or entries `seq` to `through` that are not there.

    `part`: what is damaged. Of a damaged "header" nothing can be trusted, neither source nor position; of "missing" and
    "unreadable" entries nothing is known. `needed`: not resolved yet (by everybody), so that resolve stops before it.
    """

    seq: int
    through: int
    part: Part
    what: str
    needed: bool
    source: str = ""
    kind: str = ""
    position: str = ""
    committed_at_us: int = 0
    journaled_at_us: int = 0


class Shape(msgspec.Struct, frozen=True):
    """A table's shape, by its number, that is damaged; `copy` is what SQLite's index still has of it, if that is whole."""

    number: int
    source: str
    copy: bytes | None


class Verdict(msgspec.Struct, frozen=True):
    """What was read and what was found. `pages`: what SQLite says of the file itself; empty when it is sound."""

    entries: int
    parts: int
    size_bytes: int
    damaged: tuple[Damage, ...]
    shapes: tuple[Shape, ...]
    pages: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        """Whether nothing at all was found."""
        return not (self.damaged or self.shapes or self.pages)


class Checker:
    """Checks one journal. Bounded in memory: a part of an entry at a time; holds up no writer."""

    def __init__(self, path: Path, needed_after: int, progress: Callable[[int], None] = lambda _seq: None) -> None:
        """`needed_after`: resolve has passed everything through it (State.needed_after). `progress` is told each seq."""
        self._journal = Journal(path, read_only=True)
        self._connection = self._journal.database.connection
        self._needed_after = needed_after
        self._progress = progress
        self._damaged: list[Damage] = []
        self._bad_shapes: set[int] = set()
        self._known_shapes: set[int] = set()
        self._counts = [0, 0, 0]
        self._reached = 0

    def check(self) -> Verdict:
        """Read everything once."""
        try:
            pages = self._pages()
            shapes = tuple(self._shapes())
            self._entries()
        finally:
            self._journal.close()
        entries, parts, size_bytes = self._counts
        return Verdict(entries, parts, size_bytes, tuple(self._damaged), shapes, pages)

    def _pages(self) -> tuple[str, ...]:
        try:
            found = self._connection.execute(f"PRAGMA quick_check({QUICK_CHECK_MAX})").fetchall()
        except sqlite.DatabaseError as error:
            found = [(str(error),)]
        if found != [("ok",)]:
            self._read_on()
        return tuple(str(line) for (line,) in found if line != "ok")

    def _read_on(self) -> None:
        self._journal.read_on()
        self._connection = self._journal.database.connection

    # ---- shapes ----------------------------------------------------------------------------------------------

    def _shapes(self) -> Iterator[Shape]:
        """Every shape against its checksum, and against the copy of it that the index on it holds."""
        try:
            rows = self._connection.execute("SELECT id, source, body, checksum FROM relations").fetchall()
        except sqlite.DatabaseError:
            self._read_on()
            return  # the pages say so
        for number, source, body, expected in rows:
            copies = self._connection.execute(
                "SELECT body FROM relations INDEXED BY sqlite_autoindex_relations_1 WHERE source >= '' AND id = ?",
                (number,),
            ).fetchall()
            copy = copies[0][0] if copies else None
            if _is_shape(body, expected) and (expected is not None or copy == body):
                self._known_shapes.add(number)
                continue
            self._bad_shapes.add(number)
            yield Shape(number, source, copy if copy is not None and _is_shape(copy, expected) else None)

    # ---- entries ---------------------------------------------------------------------------------------------

    def _entries(self) -> None:
        after: int | None = 0
        last = self._last_seq()
        while after is not None:
            self._reached = after
            try:
                after = self._page(after)
            except sqlite.DatabaseError as error:
                self._read_on()
                after = self._skip(self._reached, last, str(error))
        missing = max(self._reached, self._needed_after)
        if last > missing:
            self._miss(missing + 1, last)

    def _last_seq(self) -> int:
        try:
            return self._journal.last_seq()
        except sqlite.DatabaseError:
            self._read_on()
            return 0

    def _page(self, after: int, only: int | None = None) -> int | None:
        """Check some entries, or the `only` one; return the last one's seq, None when there was none."""
        rows = self._connection.execute(
            f"SELECT seq, journaled_at_us, body, checksum, {HEADER_COLUMNS} FROM entries"
            f" WHERE {'seq > ?' if only is None else 'seq = ?'} ORDER BY seq LIMIT {PAGE_ENTRIES}",
            (after if only is None else only,),
        )
        for seq, at_us, body, expected, *header in rows:
            if self._reached and seq > self._reached + 1 and seq - 1 > self._needed_after:
                self._miss(max(self._reached, self._needed_after) + 1, seq - 1)
            self._entry(seq, at_us, body, expected, header)
            self._reached = seq
            self._progress(seq)
        return self._reached if self._reached > after else None

    def _entry(self, seq: int, at_us: int, body: bytes | None, expected: int, header: list[Any]) -> None:
        found = self._fault(body, expected, header)
        self._counts[0] += 1
        self._counts[2] += len(body or b"")
        if found is not None:
            part, what = found
            source, kind, position, committed_at_us, *_ = header
            name = Kind(kind).name.lower() if kind in tuple(Kind) else f"kind {kind}"
            needed = seq > self._needed_after
            self._damaged.append(Damage(seq, seq, part, what, needed, source, name, position, committed_at_us, at_us))

    def _fault(self, body: bytes | None, expected: int, header: list[Any]) -> tuple[Part, str] | None:
        """What is wrong with an entry, None when nothing is."""
        if not is_header_whole(header, expected):
            return "header", "the checksum of its description does not match"
        if expected & 0xFFFFFFFF != (zlib.crc32(body) if body else 0):
            return "body", "the checksum of its rows does not match"
        _, kind, _, _, changes, _, _, note, stage = header
        if kind == Kind.COMMAND:
            return None if note is not None else ("header", "it is a command without a word")
        rows, fault = self._rows(body) if body else (0, None)
        if fault is None and stage is not None:
            more, fault = self._parts(stage)
            rows += more
        if fault is None and rows != changes:
            fault = "part", f"it holds {rows:,} rows of {changes:,}"
        return fault

    def _rows(self, body: bytes) -> tuple[int, tuple[Part, str] | None]:
        """How many rows a body holds, and what is wrong with it."""
        try:
            runs = [(int(number), looked_through(rows) or 1) for number, _, rows, _ in _decode(body)]
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            return 0, ("body", f"it cannot be decoded: {error}")
        bad = {number for number, _ in runs} - self._known_shapes
        fault: tuple[Part, str] | None = None
        if bad:
            fault = "shape", f"the shape of a table is damaged or missing (number {', '.join(map(str, sorted(bad)))})"
        return sum(count for _, count in runs), fault

    def _parts(self, stage: int) -> tuple[int, tuple[Part, str] | None]:
        """How many rows the parts of a large transaction hold, and what is wrong with them."""
        rows = number = 0
        parts = self._connection.execute(
            "SELECT part, body, checksum FROM stages WHERE stage=? ORDER BY part", (stage,)
        )
        for part, body, expected in parts:
            if part != number:
                return rows, ("part", f"its part {number} is missing")
            if zlib.crc32(body) != expected:
                return rows, ("part", f"the checksum of its part {part} does not match")
            count, fault = self._rows(body)
            if fault is not None:
                return rows, (fault[0], f"{fault[1]}, in its part {part}")
            rows += count
            number += 1
            self._counts[1] += 1
            self._counts[2] += len(body)
        return rows, None if number else ("part", "its parts are missing")

    # ---- what is not there -----------------------------------------------------------------------------------

    def _miss(self, seq: int, through: int) -> None:
        what = "it is not there" if seq == through else "they are not there"
        self._damaged.append(Damage(seq, through, "missing", what, needed=True))

    def _skip(self, after: int, last: int, cause: str) -> int | None:
        """Pass over entries on pages that cannot be read, and check the next one; return its seq, None at the end."""
        seq = next((seq for seq in range(after + 1, last + 1) if self._is_readable(seq)), last + 1)
        if seq - 1 > after:
            self._damaged.append(Damage(after + 1, seq - 1, "unreadable", cause, seq - 1 > self._needed_after))
        self._reached = seq - 1
        return None if seq > last else self._page(seq - 1, seq)

    def _is_readable(self, seq: int) -> bool:
        try:
            row = self._connection.execute(f"SELECT {HEADER_COLUMNS}, body FROM entries WHERE seq=?", (seq,)).fetchone()
        except sqlite.DatabaseError:
            self._read_on()
            return False
        return row is not None


def _is_shape(body: bytes, expected: int | None) -> bool:
    if expected is not None:
        return zlib.crc32(body) == expected
    try:
        _decode_relation(body)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return False
    return True
