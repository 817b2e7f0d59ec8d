"""Where reading stands in the log, and everything that a position says about that place (`positions`). Pure."""

from __future__ import annotations

import zlib
from typing import TypeAlias

from cdcd_mysql.positions import (
    LogPosition,
    MariaDbGtids,
    MySqlGtids,
    Place,
    format_position,
    place_of,
    position_facts,
)
from cdcd_mysql.prepared import PreparedTransactions

Gtid: TypeAlias = tuple[int, int, int] | tuple[str, int]
"""MariaDB's domain, server id and sequence number, or MySQL's source and number."""


class LogPlace:
    """File and offset of the last event read, and what was read up to there.

    `between` is where the last event outside of transactions ends. `is_known` is False after a start by GTIDs, until the
    first place between transactions shows that everything up to it was read.
    """

    def __init__(self, start: LogPosition, *, is_mariadb: bool) -> None:
        self.file = start.file
        self.offset = start.offset
        self.between = start.offset
        self.created = start.created
        self.is_known = bool(start.file)
        self.last_end: Place = start.place
        self.prepared = PreparedTransactions(start.prepared)
        self.checksum_size = 0
        self._server = start.server
        self._file_number, _ = start.place
        self._facts = position_facts(start.created, start.server)
        self._mark = (start.offset, start.mark_size, start.mark_crc)
        self._mariadb_gtids = MariaDbGtids(start.gtids) if is_mariadb else None
        self._mysql_gtids = None if is_mariadb or not start.gtids else MySqlGtids(start.gtids)
        self.event = (b"", 0, 0)
        """The event of the log that is being handled: its bytes, where it starts and ends."""

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"

    @property
    def place(self) -> Place:
        """In an order that follows the log."""
        return self._file_number, self.offset

    def move(self, offset: int, *, in_group: bool) -> None:
        """An event ends at `offset`, of which its header has 32 bits: one huge transaction can make a file longer."""
        if not in_group:
            self.between = self.offset
        if offset < self.offset:
            offset |= self.offset >> 32 << 32
            offset += (1 << 32) * (offset < self.offset)
        self.offset = offset

    def measure(self) -> tuple[int, int]:
        """Size and checksum of the event that is being handled."""
        data, place, end = self.event
        if self.checksum_size:
            return end - place, int.from_bytes(data[end - self.checksum_size : end], "little")
        return end - place, zlib.crc32(data[place:end])

    def open_file(self, file: str, offset: int) -> None:
        """The log goes on in another file."""
        self.file, self.offset, self.between, self.created = file, offset, offset, 0
        self._file_number, _ = place_of(file, 0)

    def describe_file(self, created: int) -> None:
        """The file was begun then."""
        self.created = created
        self._facts = position_facts(created, self._server)

    def end_group(self, gtid: Gtid | None) -> None:
        """The event that is being handled ends a transaction."""
        if gtid is not None:
            if len(gtid) == 3 and self._mariadb_gtids is not None:
                self._mariadb_gtids.add(*gtid)
            elif len(gtid) == 2 and self._mysql_gtids is not None:
                self._mysql_gtids.add(*gtid)
        self._mark = (self.offset, *self.measure())
        self.last_end = (self._file_number, self.offset)
        self.is_known = True

    def position_text(self) -> str:
        """The position just after a transaction."""
        _, size, crc = self._mark
        gtids = self._gtids_text()
        return format_position(self.file, self.offset, self._facts, size, crc, gtids, str(self.prepared))

    def position(self, *, in_group: bool) -> LogPosition:
        """The place up to which everything was read, between transactions."""
        offset = self.between if in_group else self.offset
        marked_at, size, crc = self._mark
        is_marked = marked_at == offset
        return LogPosition(
            self.file,
            offset,
            self._server,
            self.created,
            size if is_marked else 0,
            crc if is_marked else 0,
            self._gtids_text(),
            str(self.prepared),
        )

    def _gtids_text(self) -> str:
        gtids = self._mariadb_gtids or self._mysql_gtids
        return str(gtids) if gtids is not None else ""
