"""Copies of tables under way: which tables are read again, what for, and how far. They ride in their source's stream.

A table has one copy at a time. One of the whole table takes the place of any other; one of some of its rows begins only
where no other is under way. Progress is committed with the chunks themselves, by `Journal.append`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from cdcd.adapter import RowFilter
from cdcd.model import ABSENT, Row
from cdcd.sqlite_driver import sqlite

TABLES: Final = """
CREATE TABLE IF NOT EXISTS backfills (
    source TEXT NOT NULL, "table" TEXT NOT NULL, ordinal INTEGER NOT NULL, run INTEGER NOT NULL, done INTEGER NOT NULL,
    last_key BLOB, rows INTEGER NOT NULL, subject TEXT NOT NULL DEFAULT '', filter BLOB,
    paused INTEGER NOT NULL DEFAULT 0, estimate INTEGER NOT NULL DEFAULT 0, chunks INTEGER NOT NULL DEFAULT 0,
    started_at_us INTEGER NOT NULL DEFAULT 0, read_at_us INTEGER NOT NULL DEFAULT 0, ended TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (source, "table")) STRICT;
"""
UPGRADE: Final = """
ALTER TABLE backfills ADD COLUMN subject TEXT NOT NULL DEFAULT '';
ALTER TABLE backfills ADD COLUMN filter BLOB;
ALTER TABLE backfills ADD COLUMN paused INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backfills ADD COLUMN estimate INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backfills ADD COLUMN chunks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backfills ADD COLUMN started_at_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backfills ADD COLUMN read_at_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE backfills ADD COLUMN ended TEXT NOT NULL DEFAULT ''
"""
CANCELLED: Final = "cancelled"
"""Why a copy ended that was not read to its end, beside what its filter was refused for."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode_key: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
_decode_filter: Final = msgspec.msgpack.Decoder(RowFilter).decode


class NewCopy(msgspec.Struct, frozen=True):
    """A table to be copied. `subject` is what an operator wants compared; empty where nobody asked for it by name."""

    source: str
    table: str
    subject: str = ""
    filter: RowFilter | None = None


def encode_filter(row_filter: RowFilter) -> bytes:
    """As it is stored."""
    return _encode(row_filter)


class Backfill(msgspec.Struct, frozen=True):
    """A table copy: rows after `last_key` are still to be read, unless it is done.

    `estimate` is the server's guess of how many there will be, 0 when unknown. `ended` says why it was not read to its end.
    """

    table: str
    run: int
    done: bool
    last_key: Row | None
    rows: int
    subject: str = ""
    filter: RowFilter | None = None
    paused: bool = False
    estimate: int = 0
    chunks: int = 0
    started_at_us: int = 0
    read_at_us: int = 0
    ended: str = ""

    @property
    def rows_per_second(self) -> float:
        """From its beginning to its last chunk."""
        elapsed_us = self.read_at_us - self.started_at_us
        return self.rows * 1e6 / elapsed_us if self.started_at_us and elapsed_us > 0 else 0.0


def ensure(connection: sqlite.Connection, source: str, tables: Sequence[str], now_us: int) -> None:
    """Start a copy (run 0) of every table that was never copied, in the given order, in the open transaction."""
    known = {backfill.table for backfill in of_source(connection, source)}
    for ordinal, table in enumerate(tables):
        if table not in known:
            _put(connection, NewCopy(source, table), ordinal, 0, now_us)


def begin(connection: sqlite.Connection, copies: Iterable[NewCopy], run: int, now_us: int) -> None:
    """Start copies in place of whatever was known of their tables, in the open transaction."""
    for ordinal, copy in enumerate(copies):
        _put(connection, copy, ordinal, run, now_us)


def _put(connection: sqlite.Connection, copy: NewCopy, ordinal: int, run: int, now_us: int) -> None:
    estimate = len(copy.filter.keys) if copy.filter is not None else 0
    connection.execute(
        'INSERT OR REPLACE INTO backfills (source, "table", ordinal, run, done, last_key, rows, subject, filter, estimate,'
        " started_at_us) VALUES (?,?,?,?,0,NULL,0,?,?,?,?)",
        (
            copy.source,
            copy.table,
            ordinal,
            run,
            copy.subject,
            None if copy.filter is None else _encode(copy.filter),
            estimate,
            now_us,
        ),
    )


def of_source(connection: sqlite.Connection, source: str) -> list[Backfill]:
    """All copies of this source, in their order: those that read a few rows come before those of whole tables."""
    found = connection.execute(
        'SELECT "table", run, done, last_key, rows, subject, filter, paused, estimate, chunks, started_at_us, read_at_us,'
        ' ended FROM backfills WHERE source=? ORDER BY filter IS NULL, run, ordinal, "table"',
        (source,),
    )
    return [
        Backfill(
            table,
            run,
            bool(done),
            None if last_key is None else _decode_key(last_key),
            rows,
            subject,
            None if row_filter is None else _decode_filter(row_filter),
            bool(paused),
            *rest,
        )
        for table, run, done, last_key, rows, subject, row_filter, paused, *rest in found
    ]


def advance(connection: sqlite.Connection, source: str, backfill: Backfill, now_us: int) -> None:
    """Keep how far a copy has come; one that was cancelled meanwhile, or began anew, stays as it is."""
    connection.execute(
        "UPDATE backfills SET done=?, last_key=?, rows=?, estimate=?, chunks=chunks+1, read_at_us=?"
        ' WHERE source=? AND "table"=? AND run=? AND NOT done',
        (
            backfill.done,
            _encode(backfill.last_key),
            backfill.rows,
            backfill.estimate,
            now_us,
            source,
            backfill.table,
            backfill.run,
        ),
    )


def end(connection: sqlite.Connection, source: str, table: str, why: str) -> None:
    """End a copy that is under way before all of it was read."""
    connection.execute(
        'UPDATE backfills SET done=1, paused=0, ended=? WHERE source=? AND "table"=? AND NOT done', (why, source, table)
    )


def set_paused(connection: sqlite.Connection, source: str, table: str, *, paused: bool) -> None:
    """Have a copy that is under way wait after the chunk in work, or go on."""
    connection.execute(
        'UPDATE backfills SET paused=? WHERE source=? AND "table"=? AND NOT done', (paused, source, table)
    )
