"""Turns the packets of a binary log into transactions of captured tables. Pure: no connection, no clock.

A transaction is a group of events: a GTID event (and BEGIN, on MySQL), table maps and rows, and the commit (XID or
COMMIT). A statement outside such a group is DDL. Positions are taken only between groups. What is not understood,
or could have changed a captured table, is a DecodeError before anything later is given out.

Two things can make one packet mean more than fits into memory: a compressed transaction, and the commit of a prepared
one. Then the assembler `is_busy`: it takes no packets, but `advance` a bounded part of the former, and for the latter
waits until the rows from the place in `recall` were handed to it.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import Commit, Event, Idle, Relation, Rows
from cdcd_mysql import binlog, groups, refusals
from cdcd_mysql.binlog import (
    ARTIFICIAL,
    CHECKSUM_SIZE,
    HEADER,
    HEADER_SIZE,
    IGNORABLE,
    IGNORED,
    NOT_INSIDE,
    UNCHECKED,
    EventType,
    Statement,
    has_checksum,
)
from cdcd_mysql.captured import CapturedTables, Shape
from cdcd_mysql.compression import payload_events, uncompress
from cdcd_mysql.gathering import Gathering, RowWatch
from cdcd_mysql.logged import first_word, read_statement
from cdcd_mysql.logplace import Gtid, LogPlace
from cdcd_mysql.positions import LogPosition, Place
from cdcd_mysql.prepared import PreparedGroup, xa_statement
from cdcd_mysql.rowevents import ROWS_KINDS, RowsKind, decode_rows

Handler: TypeAlias = Callable[[bytes, int, int, int], None]
"""Takes an event's bytes, where its body starts and ends, and its timestamp."""
_NO_TABLE_ID: Final = b"\xff\xff\xff\x00\x00\x00"
"""Table id of an empty rows event that only ends a statement."""
_MALFORMED: Final = (IndexError, KeyError, ValueError, OverflowError, struct.error, zlib.error, MemoryError)
"""What decoding wrong bytes raises."""


class Assembler:
    """Reads packets from the start position on. `take` gives what they made of it.

    A start position without a file means that the server finds the place by GTIDs: no position is given out before it is
    known. `started` tells that the server has begun to send, from the right place: until then the position is being verified.
    `between_groups`, when set, is called after every packet that is not inside a group; `row_watch` for captured rows.
    `is_read` tells that the transaction to recall was read. With `tolerates_unknown` the commit of a prepared transaction that was never seen is passed over.
    """

    def __init__(
        self, tables: CapturedTables, start: LogPosition, *, is_mariadb: bool, verify: bool, recalls: str = ""
    ) -> None:
        """With `recalls` the prepared transaction of that id, which must begin at `start`, is read as if it were committed."""
        self.started = False
        self.tolerates_unknown = False
        self.between_groups: Callable[[], None] | None = None
        self.recall: PreparedGroup | None = None
        self._recalls = recalls
        self.is_read = False
        self._out = Gathering()
        self._preparing = ""
        self.decided = ""
        self._inner: Iterator[bytes] | None = None
        self._tables = tables
        self._expected = start if verify else None
        self._begun_at = start
        self._log = LogPlace(start, is_mariadb=is_mariadb)
        self._gtid: Gtid | None = None
        self._committed_at_us = 0
        self._in_group = False
        self._has_begun = False
        self._has_prepared_rows = False
        self._is_decided = True
        self._moved = False
        self._shapes: dict[bytes, Shape | None] = {}
        self._timestamp = self.written_at = 0
        """`written_at`: when the last transaction that was read was written, in seconds by the server's clock; 0: not known."""
        self._server_id = 0
        self._handlers = self._starting_handlers() if self._expected and start.mark_size else self._running_handlers()

    # ---- packets -------------------------------------------------------------------------------------------------------

    def consume(self, data: bytes, place: int, end: int) -> bool:
        """Take one event: `data[place:end]`, without the packet's header and status byte. Raises DecodeError.

        Returns whether it `is_busy` then.
        """
        log = self._log
        try:
            timestamp, kind, self._server_id, _, offset, flags = HEADER(data, place)
            if offset and not flags & ARTIFICIAL:
                if self._in_group and offset > log.offset:
                    log.offset = offset  # as `move` would, which is a call for each of many small events
                else:
                    log.move(offset, in_group=self._in_group)
            body_end = end - log.checksum_size
            if body_end != end and not has_checksum(data, place, end) and kind not in UNCHECKED:
                raise refusals.damaged_event(str(log))
            log.event = (data, place, end)
            handler = self._handlers.get(kind)
            if handler is not None:
                handler(data, place + HEADER_SIZE, body_end, timestamp)
            elif not flags & IGNORABLE:  # also outside of transactions: it may be a new kind of GTID
                raise self._unknown(kind)
        except _MALFORMED as error:
            raise refusals.malformed_event(error, str(log)) from error
        if self.between_groups is not None and not self._in_group:
            self.between_groups()
        return self._inner is not None or self.recall is not None or self.is_read

    def _unknown(self, kind: int) -> DecodeError:
        return refusals.unknown_event(binlog.event_name(kind), str(self._log))

    @property
    def is_busy(self) -> bool:
        """Whether no packet can be taken now (see the module)."""
        return self._inner is not None or self.recall is not None or self.is_read

    def advance(self, size_max: int) -> None:
        """Take about `size_max` bytes of the compressed transaction under way, if there is one. Raises DecodeError."""
        size = 0
        try:
            while self._inner is not None and size < size_max:
                size += self._advance(self._inner)
        except _MALFORMED as error:
            raise refusals.malformed_event(error, str(self._log)) from error
        if self.between_groups is not None and not self._in_group and not self.is_busy:
            self.between_groups()

    def _advance(self, events: Iterator[bytes]) -> int:
        data = next(events, None)
        if data is None:
            self._inner = None
            if self._in_group and self.recall is None:
                raise DecodeError(f"a compressed transaction without its end at {self._log}")
            return 0
        timestamp, kind, _, _, _, flags = HEADER(data, 0)
        if not self._in_group or kind in NOT_INSIDE:
            raise DecodeError(f"a compressed transaction that goes on after its end at {self._log}")
        handler = self._handlers.get(kind)
        if handler is not None:
            handler(data, HEADER_SIZE, len(data), timestamp)
        elif not flags & IGNORABLE:
            raise self._unknown(kind)
        return len(data)

    def recalled(self, rows: Rows) -> None:
        """Rows of the transaction in `recall`, read again."""
        self._out.add(rows.relation, rows.op, rows.rows, rows.olds)

    def end_recall(self) -> None:
        """All rows of the transaction in `recall` were handed over: it is committed."""
        self.recall = None
        self._end_group(self._timestamp)
        if self.between_groups is not None:
            self.between_groups()

    # ---- what was read -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> LogPosition:
        """The place up to which everything was read, between groups."""
        return self._log.position(in_group=self._in_group)

    @property
    def row_watch(self) -> RowWatch | None:
        """Is called for all captured rows."""
        return self._out.row_watch

    @row_watch.setter
    def row_watch(self, watch: RowWatch | None) -> None:
        self._out.row_watch = watch

    @property
    def begun_at(self) -> LogPosition:
        """The start position, with what the server told of its file."""
        return self._begun_at

    @property
    def place(self) -> Place:
        """Where the last event that was read ends."""
        return self._log.place

    @property
    def in_group(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._in_group

    @property
    def last_end(self) -> Place:
        """Where the last transaction ended."""
        return self._log.last_end

    @property
    def gtid_under_way(self) -> str:
        """The MySQL GTID of the transaction that has begun; empty when there is none."""
        return f"{self._gtid[0]}:{self._gtid[1]}" if self._gtid is not None and len(self._gtid) == 2 else ""

    def put(self, event: Event) -> None:
        """Add an event of one's own, between groups."""
        self._out.put(event)

    def take(self) -> list[Event]:
        """The events since the last call; an Idle last, when the log moved on without rows of ours."""
        if self._moved and self._log.created and self._log.is_known and not self._out.has_rows:
            self._out.put(Idle(str(self.position)))
            self._moved = False
        return self._out.take()

    # ---- beginning ----------------------------------------------------------------------------------------------------

    def _running_handlers(self) -> dict[int, Handler]:
        handlers: dict[int, Handler] = dict.fromkeys(IGNORED, self._ignore)
        handlers |= {
            EventType.ROTATE: self._rotate,
            EventType.FORMAT_DESCRIPTION: self._format_description,
            EventType.HEARTBEAT: self._heartbeat,
            EventType.GTID: self._mysql_gtid,
            EventType.ANONYMOUS_GTID: self._anonymous_gtid,
            EventType.GTID_TAGGED: self._tagged_gtid,
            EventType.MARIADB_GTID: self._mariadb_gtid,
            EventType.QUERY: self._query,
            EventType.QUERY_COMPRESSED: self._compressed_query,
            EventType.EXECUTE_LOAD_QUERY: self._load_query,
            EventType.XID: self._xid,
            EventType.XA_PREPARE: self._xa_prepare,
            EventType.TABLE_MAP: self._table_map,
            EventType.TRANSACTION_PAYLOAD: self._payload,
            EventType.INCIDENT: self._incident,
        }
        handlers |= {kind: partial(self._rows, meaning) for kind, meaning in ROWS_KINDS.items()}
        return handlers

    def _starting_handlers(self) -> dict[int, Handler]:
        """While the first event, which was read before, has not been compared."""
        handlers: dict[int, Handler] = dict.fromkeys(EventType, self._verify_mark)
        handlers |= dict.fromkeys((EventType.START_ENCRYPTION, EventType.GTID_LIST, EventType.HEARTBEAT), self._ignore)
        handlers[EventType.ROTATE] = self._rotate
        handlers[EventType.FORMAT_DESCRIPTION] = self._format_description
        return handlers

    def _verify_mark(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        assert self._expected is not None
        size, crc = self._log.measure()
        if (self._log.offset, size, crc) != (self._expected.offset, self._expected.mark_size, self._expected.mark_crc):
            raise refusals.other_log(self._expected)
        self._log.between = self._log.offset
        self._handlers = self._running_handlers()
        self.started = True

    # ---- files ----------------------------------------------------------------------------------------------------------

    def _ignore(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        self._moved = self._moved or not self._in_group

    def _rotate(self, data: bytes, place: int, _end: int, _timestamp: int) -> None:
        _, start, stop = self._log.event
        file, offset = binlog.decode_rotate(data, place, stop - CHECKSUM_SIZE * has_checksum(data, start, stop))
        if file != self._log.file:
            self._abandon_group()
            self._log.open_file(file, offset)
            self._moved = True

    def _format_description(self, data: bytes, _place: int, _end: int, timestamp: int) -> None:
        self._abandon_group()
        _, place, end = self._log.event
        self._log.checksum_size = binlog.decode_checksum_size(data, place + HEADER_SIZE, end)
        expected = self._expected
        if expected is not None and not self.started and expected.created not in (0, timestamp):
            raise refusals.other_log(expected)
        if not self.started:
            self._begun_at = msgspec.structs.replace(self._begun_at, created=timestamp)
        self._log.describe_file(timestamp)
        self._shapes.clear()
        self.started = self.started or expected is None or not expected.mark_size

    def _heartbeat(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        """The server has nothing more to send; the offset of its header is where it stands."""
        self._log.is_known = self._log.is_known or not self._in_group
        if not self._in_group and self._log.offset != self._log.between:
            self._moved = True

    def _abandon_group(self) -> None:
        """A file that ends inside a transaction: the server died while writing it, and never committed it.

        What was not given out yet is dropped. What was must be forgotten by the core too: it starts again, and then gets
        it whole in one go, unless it is too large.
        """
        if not self._in_group:
            return
        if self._out.was_given_out:
            raise refusals.torn_transaction(self._log.file)
        self._out.abandon()
        self._gtid = None
        self._preparing = ""
        self._in_group = self._has_begun = False

    # ---- groups -----------------------------------------------------------------------------------------------------------

    def _begin_group(self, gtid: Gtid | None, *, has_begun: bool) -> None:
        if self._in_group:
            raise DecodeError(f"a transaction begins inside another at {self._log}")
        self._gtid = gtid
        self._committed_at_us = 0
        self._in_group = True
        self._out.begin()
        self._has_begun = has_begun
        self._preparing = ""
        self._has_prepared_rows = False
        self._is_decided = True
        self._shapes.clear()

    def _mariadb_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        gtid = groups.decode_mariadb_gtid(data, place, end)
        self._begin_group((gtid.domain, self._server_id, gtid.sequence), has_begun=not gtid.is_standalone)
        self._preparing = gtid.prepares
        self._is_decided = gtid.is_decided

    def _mysql_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        source, number, committed_at_us = groups.decode_mysql_gtid(data, place, end)
        self._begin_group((source, number), has_begun=False)
        self._committed_at_us = committed_at_us

    def _anonymous_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        self._begin_group(None, has_begun=False)
        self._committed_at_us = groups.decode_mysql_gtid(data, place, end).committed_at_us

    def _tagged_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        source, number, committed_at_us = groups.decode_tagged_gtid(data, place, end)
        self._begin_group((source, number), has_begun=False)
        self._committed_at_us = committed_at_us

    def _end_group(self, timestamp: int) -> None:
        if self._recalls and not self.is_read:
            raise refusals.other_prepared(str(self._log))
        self._log.end_group(self._gtid)
        self.written_at = timestamp
        self._gtid = None
        self._in_group = self._has_begun = False
        if self._out.has_rows:
            position = self._log.position_text()
            self._out.put(Commit(position, self._committed_at_us or timestamp * 1_000_000))
            self._out.end()
            self._moved = False
        else:
            self._moved = True

    def _xid(self, _data: bytes, _place: int, _end: int, timestamp: int) -> None:
        self._end_group(timestamp)

    def _payload(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        if not self._in_group:
            raise DecodeError(f"a compressed transaction without its GTID at {self._log}")
        self._inner = payload_events(data, place, end)

    # ---- prepared transactions ------------------------------------------------------------------------------------------

    def _xa_prepare(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        """The group ends here; with one phase it is committed, and its rows are read again at once."""
        prepare = groups.decode_prepare(data, place, end)
        if prepare.xid != self._preparing or not self._in_group:
            raise DecodeError(f"a two-phase transaction is prepared that did not begin, at {self._log}")
        if self._recalls == prepare.xid:
            self.is_read = True
            self._end_group(timestamp)
            return
        group = PreparedGroup(self._log.file, self._log.between, self._has_prepared_rows)
        if not prepare.is_one_phase:
            self._log.prepared.add(prepare.xid, group)
            self._end_group(timestamp)
        else:
            self._commit_prepared(prepare.xid, group, timestamp)

    def _xa_decided(self, verb: str, xid: str, timestamp: int) -> None:
        group = self._log.prepared.pop(xid)
        if verb == "ROLLBACK":
            self._end_group(timestamp)
        elif group is not None:
            self._commit_prepared(xid, group, timestamp)
        elif self.tolerates_unknown:
            self._end_group(timestamp)
        else:
            raise refusals.unknown_prepared(str(self._log))

    def _commit_prepared(self, xid: str, group: PreparedGroup, timestamp: int) -> None:
        if not group.has_rows:
            self._end_group(timestamp)
            return
        if not group.file:
            raise refusals.unknown_prepared(str(self._log))
        self.recall, self.decided, self._timestamp = group, xid, timestamp

    # ---- statements -------------------------------------------------------------------------------------------------------

    def _query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        if data[end - 6 : end] == b"\0BEGIN":
            self._statement_begins()
        else:
            self._statement(binlog.decode_statement(data, place, end), timestamp)

    def _compressed_query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        packed = binlog.decode_statement(data, place, end)
        self._statement(packed._replace(text=uncompress(packed.text)), timestamp)

    def _load_query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        self._statement(binlog.decode_statement(data, place, end, extra_size=13), timestamp)

    def _statement_begins(self) -> None:
        if not self._in_group:
            self._begin_group(None, has_begun=True)
        self._has_begun = True

    def _statement(self, statement: Statement, timestamp: int) -> None:
        word = first_word(statement.text)
        if word == "BEGIN" and not self._has_begun:
            self._statement_begins()
        elif word == "XA":
            self._xa(statement, timestamp)
        elif word == "COMMIT" and self._has_begun:
            self._end_group(timestamp)
        elif word == "ROLLBACK" and self._has_begun:
            self._rolled_back(statement, timestamp)
        else:
            self._other_statement(word, statement, timestamp)

    def _other_statement(self, word: str, statement: Statement, timestamp: int) -> None:
        """Outside of BEGIN it is DDL, and a group of its own. A changed table shows in its next TABLE_MAP."""
        if not self._in_group:
            self._begin_group(None, has_begun=False)
        for op, spelled in read_statement(word, statement, self._tables, str(self._log)):
            if self._is_decided:
                self._out.add(Relation(spelled, (), (), ()), op, [], None)
        if not self._has_begun:
            self._end_group(timestamp)

    def _xa(self, statement: Statement, timestamp: int) -> None:
        if not self._in_group:
            self._begin_group(None, has_begun=False)
        found = xa_statement(statement.text)
        if found is None:  # XA END
            return
        verb, xid = found
        if verb == "START":
            self._has_begun = True
            self._preparing = xid
        else:
            self._xa_decided(verb, xid, timestamp)

    def _rolled_back(self, statement: Statement, timestamp: int) -> None:
        if self._out.has_rows:
            raise refusals.logged_rollback(str(self._log))
        if b" TO " not in statement.text.upper():
            self._end_group(timestamp)

    # ---- rows -------------------------------------------------------------------------------------------------------------

    def _table_map(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        self._shapes[data[place : place + 6]] = self._tables.shape(data[place + 8 : end])

    def _rows(self, kind: RowsKind, data: bytes, place: int, end: int, _timestamp: int) -> None:
        table_id = data[place : place + 6]
        shape = self._shapes.get(table_id)
        if shape is None or not self._has_begun:
            if table_id == _NO_TABLE_ID or (self._has_begun and table_id in self._shapes):
                return
            raise DecodeError(f"rows of a table that was not described before them, at {self._log}")
        if self._preparing != self._recalls:
            self._has_prepared_rows = True
            return
        rows, olds = decode_rows(kind, shape, data, place, end)
        self._out.add(shape.relation, kind.op, rows, olds)

    def _incident(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        raise refusals.incident(str(self._log))
