"""Turns the packets of a binary log into transactions of captured tables. Pure: no connection, no clock.

A transaction is a group of events: a GTID event (and BEGIN, on MySQL), table maps and rows, and the commit (XID or
COMMIT). A statement outside such a group is DDL. Positions are taken only between groups. What is not understood
inside a group, or could have changed a captured table, is a DecodeError before anything later is given out.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from functools import partial
from typing import Final, TypeAlias

import msgspec

from cdcd.errors import DecodeError
from cdcd.model import Commit, Event, Idle, Op, Relation, Row, Rows
from cdcd_mysql import binlog, refusals
from cdcd_mysql.binlog import ARTIFICIAL, CHECKSUM_SIZE, HEADER, HEADER_SIZE, IGNORABLE, EventType, Statement
from cdcd_mysql.captured import CapturedTables, Shape, TableName
from cdcd_mysql.positions import (
    LogPosition,
    MariaDbGtids,
    MySqlGtids,
    Place,
    format_position,
    place_of,
    position_facts,
)

Handler: TypeAlias = Callable[[bytes, int, int, int], None]
"""Takes an event's bytes, where its body starts and ends, and its timestamp."""
RowWatch: TypeAlias = Callable[[Relation, Op, list[Row], list[Row | None] | None], None]
_RUN_ROWS_MAX: Final = 1000
"""Rows of one kind are gathered into events of about this many."""
_NO_TABLE_ID: Final = b"\xff\xff\xff\x00\x00\x00"
"""Table id of an empty rows event that only ends a statement."""
_MALFORMED: Final = (IndexError, KeyError, ValueError, OverflowError, struct.error, zlib.error)
"""What decoding wrong bytes raises."""
_UNCHECKED: Final = frozenset({EventType.ROTATE, EventType.FORMAT_DESCRIPTION, EventType.HEARTBEAT})
"""Events that the server makes or changes when it sends them."""
_CHANGES_ROWS: Final = frozenset(
    {"INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO", "CALL", "TRUNCATE"}
)
_IGNORED: Final = (
    EventType.STOP,
    EventType.INTVAR,
    EventType.APPEND_BLOCK,
    EventType.DELETE_FILE,
    EventType.RAND,
    EventType.USER_VAR,
    EventType.BEGIN_LOAD_QUERY,
    EventType.IGNORABLE,
    EventType.ROWS_QUERY,
    EventType.PREVIOUS_GTIDS,
    EventType.TRANSACTION_CONTEXT,
    EventType.VIEW_CHANGE,
    EventType.HEARTBEAT_V2,
    EventType.ANNOTATE_ROWS,
    EventType.BINLOG_CHECKPOINT,
    EventType.GTID_LIST,
    EventType.START_ENCRYPTION,
)


class Assembler:
    """Reads packets from the start position on. `take` gives what they made of it.

    A start position without a file means that the server finds the place by GTIDs: no position is given out before it is
    known. `started` tells that the server has begun to send, from the right place: until then the position is being verified.
    `between_groups`, when set, is called after every packet that is not inside a group; `row_watch` for captured rows.
    """

    def __init__(self, tables: CapturedTables, start: LogPosition, *, is_mariadb: bool, verify: bool) -> None:
        self.started = False
        self.between_groups: Callable[[], None] | None = None
        self.row_watch: RowWatch | None = None
        self._tables = tables
        self._expected = start if verify else None
        self._begun_at = start
        self._server = start.server
        self._file = start.file
        self._file_number, _ = start.place
        self._facts = position_facts(start.created, start.server)
        self._created = start.created
        self._offset = start.offset
        self._group_start = start.offset
        self._mark = (start.offset, start.mark_size, start.mark_crc)
        self._last_end: Place = start.place
        self._mariadb_gtids = MariaDbGtids(start.gtids) if is_mariadb else None
        self._mysql_gtids = None if is_mariadb or not start.gtids else MySqlGtids(start.gtids)
        self._gtid: tuple[int, int, int] | tuple[str, int] | None = None
        self._committed_at_us = 0
        self._in_group = False
        self._has_begun = False
        self._has_rows = False
        self._moved = False
        self._given_out = False
        self._group_events = 0
        self._knows_place = bool(start.file)
        self._shapes: dict[bytes, Shape | None] = {}
        self._run: Rows | None = None
        self._events: list[Event] = []
        self._checksum_size = 0
        self._event = (0, 0)
        self._server_id = 0
        self._handlers = self._starting_handlers() if self._expected and start.mark_size else self._running_handlers()

    # ---- packets -------------------------------------------------------------------------------------------------------

    def consume(self, data: bytes, place: int, end: int) -> None:
        """Take one event: `data[place:end]`, without the packet's header and status byte. Raises DecodeError."""
        try:
            timestamp, kind, self._server_id, _, offset, flags = HEADER(data, place)
            if offset and not flags & ARTIFICIAL:
                if not self._in_group:
                    self._group_start = self._offset
                self._offset = offset if offset >= self._offset else self._unwrap(offset)
            body_end = end - self._checksum_size
            if body_end != end and kind not in _UNCHECKED and not binlog.has_checksum(data, place, end):
                raise refusals.damaged_event(self._where)
            handler = self._handlers.get(kind)
            if handler is not None:
                self._event = (place, end)
                handler(data, place + HEADER_SIZE, body_end, timestamp)
            elif self._in_group and not flags & IGNORABLE:
                raise refusals.unknown_event(binlog.event_name(kind), self._where)
        except _MALFORMED as error:
            raise refusals.malformed_event(error, self._where) from error
        if self.between_groups is not None and not self._in_group:
            self.between_groups()

    def _unwrap(self, offset: int) -> int:
        """Offsets in headers have 32 bits; a file that one huge transaction made longer wraps them."""
        offset |= self._offset >> 32 << 32
        return offset if offset >= self._offset else offset + (1 << 32)

    # ---- what was read -------------------------------------------------------------------------------------------------

    @property
    def position(self) -> LogPosition:
        """The place up to which everything was read, between groups."""
        offset = self._group_start if self._in_group else self._offset
        marked_at, size, crc = self._mark
        return LogPosition(
            self._file,
            offset,
            self._server,
            self._created,
            size if marked_at == offset else 0,
            crc if marked_at == offset else 0,
            self._gtids_text(),
        )

    @property
    def _where(self) -> str:
        """The place in the log, for messages."""
        return f"{self._file}:{self._offset}"

    def _gtids_text(self) -> str:
        gtids = self._mariadb_gtids or self._mysql_gtids
        return str(gtids) if gtids is not None else ""

    @property
    def begun_at(self) -> LogPosition:
        """The start position, with what the server told of its file."""
        return self._begun_at

    @property
    def place(self) -> Place:
        """Where the last event that was read ends."""
        return self._file_number, self._offset

    @property
    def in_group(self) -> bool:
        """Whether a transaction has begun and not ended."""
        return self._in_group

    @property
    def last_end(self) -> Place:
        """Where the last transaction ended."""
        return self._last_end

    @property
    def gtid_under_way(self) -> str:
        """The MySQL GTID of the transaction that has begun; empty when there is none."""
        return f"{self._gtid[0]}:{self._gtid[1]}" if self._gtid is not None and len(self._gtid) == 2 else ""

    def put(self, event: Event) -> None:
        """Add an event of one's own, between groups."""
        self._events.append(event)
        self._run = None

    def take(self) -> list[Event]:
        """The events since the last call; an Idle last, when the log moved on without rows of ours."""
        self._given_out = self._has_rows
        self._group_events = 0
        if self._moved and self._created and self._knows_place and not self._has_rows:
            self._events.append(Idle(str(self.position)))
            self._moved = False
        events, self._events, self._run = self._events, [], None
        return events

    # ---- beginning ----------------------------------------------------------------------------------------------------

    def _running_handlers(self) -> dict[int, Handler]:
        handlers: dict[int, Handler] = dict.fromkeys(_IGNORED, self._ignore)
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
            EventType.PARTIAL_UPDATE_ROWS: self._partial_update,
            EventType.INCIDENT: self._incident,
        }
        kinds = (
            (Op.INSERT, EventType.WRITE_ROWS_V1),
            (Op.UPDATE, EventType.UPDATE_ROWS_V1),
            (Op.DELETE, EventType.DELETE_ROWS_V1),
        )
        for op, kind in kinds:  # the four forms of each kind are numbered alike
            handlers[kind] = partial(self._rows, op, 8, False)
            handlers[kind + 7] = partial(self._rows, op, 10, False)
            handlers[kind + 143] = partial(self._rows, op, 8, True)
            handlers[kind + 146] = partial(self._rows, op, 10, True)
        return handlers

    def _starting_handlers(self) -> dict[int, Handler]:
        """While the first event, which was read before, has not been compared."""
        handlers: dict[int, Handler] = dict.fromkeys(EventType, self._verify_mark)
        handlers |= dict.fromkeys((EventType.START_ENCRYPTION, EventType.GTID_LIST, EventType.HEARTBEAT), self._ignore)
        handlers[EventType.ROTATE] = self._rotate
        handlers[EventType.FORMAT_DESCRIPTION] = self._format_description
        return handlers

    def _verify_mark(self, data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        assert self._expected is not None
        size, crc = self._measure(data)
        if (self._offset, size, crc) != (self._expected.offset, self._expected.mark_size, self._expected.mark_crc):
            raise refusals.other_log(self._expected)
        self._group_start = self._offset
        self._handlers = self._running_handlers()
        self.started = True

    def _measure(self, data: bytes) -> tuple[int, int]:
        """Size and checksum of the event being handled."""
        place, end = self._event
        if self._checksum_size:
            return end - place, int.from_bytes(data[end - self._checksum_size : end], "little")
        return end - place, zlib.crc32(data[place:end])

    # ---- files ----------------------------------------------------------------------------------------------------------

    def _ignore(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        self._moved = self._moved or not self._in_group

    def _rotate(self, data: bytes, place: int, _end: int, _timestamp: int) -> None:
        start, stop = self._event
        file, offset = binlog.decode_rotate(data, place, stop - CHECKSUM_SIZE * binlog.has_checksum(data, start, stop))
        if file != self._file:
            self._abandon_group()
            self._file, self._offset, self._created = file, offset, 0
            self._file_number, _ = place_of(file, 0)
            self._group_start = offset
            self._moved = True

    def _format_description(self, data: bytes, _place: int, _end: int, timestamp: int) -> None:
        self._abandon_group()
        place, end = self._event
        self._checksum_size = binlog.decode_checksum_size(data, place + HEADER_SIZE, end)
        expected = self._expected
        if expected is not None and not self.started and expected.created not in (0, timestamp):
            raise refusals.other_log(expected)
        if not self.started:
            self._begun_at = msgspec.structs.replace(self._begun_at, created=timestamp)
        self._created = timestamp
        self._facts = position_facts(timestamp, self._server)
        self._shapes.clear()
        self.started = self.started or expected is None or not expected.mark_size

    def _heartbeat(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        """The server has nothing more to send; the offset of its header is where it stands."""
        self._knows_place = self._knows_place or not self._in_group
        if not self._in_group and self._offset != self._group_start:
            self._moved = True

    def _abandon_group(self) -> None:
        """A file that ends inside a transaction: the server died while writing it, and never committed it.

        What was not given out yet is dropped. What was must be forgotten by the core too: it starts again, and then gets
        it whole in one go, unless it is too large.
        """
        if not self._in_group:
            return
        if self._given_out:
            raise refusals.torn_transaction(self._file)
        del self._events[self._group_events :]
        self._run = self._gtid = None
        self._in_group = self._has_begun = self._has_rows = False

    # ---- groups -----------------------------------------------------------------------------------------------------------

    def _begin_group(self, gtid: tuple[int, int, int] | tuple[str, int] | None, *, has_begun: bool) -> None:
        if self._in_group:
            raise DecodeError(f"a transaction begins inside another at {self._where}")
        self._gtid = gtid
        self._committed_at_us = 0
        self._in_group = True
        self._given_out = False
        self._group_events = len(self._events)
        self._has_begun = has_begun
        self._shapes.clear()

    def _mariadb_gtid(self, data: bytes, place: int, _end: int, _timestamp: int) -> None:
        sequence, domain, is_standalone = binlog.decode_mariadb_gtid(data, place)
        self._begin_group((domain, self._server_id, sequence), has_begun=not is_standalone)

    def _mysql_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        source, number, committed_at_us = binlog.decode_mysql_gtid(data, place, end)
        self._begin_group((source, number), has_begun=False)
        self._committed_at_us = committed_at_us

    def _anonymous_gtid(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        self._begin_group(None, has_begun=False)
        self._committed_at_us = binlog.decode_mysql_gtid(data, place, end).committed_at_us

    def _tagged_gtid(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        """We do not read tags: from here on the set of what was read is unknown, and file and offset must do."""
        self._begin_group(None, has_begun=False)
        self._mysql_gtids = None

    def _end_group(self, data: bytes, timestamp: int) -> None:
        gtid = self._gtid
        if gtid is not None:
            if len(gtid) == 3 and self._mariadb_gtids is not None:
                self._mariadb_gtids.add(*gtid)
            elif len(gtid) == 2 and self._mysql_gtids is not None:
                self._mysql_gtids.add(*gtid)
            self._gtid = None
        self._in_group = self._has_begun = False
        size, crc = self._measure(data)
        self._mark = (self._offset, size, crc)
        self._last_end = (self._file_number, self._offset)
        self._knows_place = True
        if self._has_rows:
            position = format_position(self._file, self._offset, self._facts, size, crc, self._gtids_text())
            self._events.append(Commit(position, self._committed_at_us or timestamp * 1_000_000))
            self._has_rows = self._moved = False
            self._run = None
        else:
            self._moved = True

    def _xid(self, data: bytes, _place: int, _end: int, timestamp: int) -> None:
        self._end_group(data, timestamp)

    def _xa_prepare(self, data: bytes, place: int, _end: int, timestamp: int) -> None:
        """The group ends here; with one phase it is committed, else whether it will be is not known yet."""
        is_one_phase = data[place] != 0
        if self._has_rows and not is_one_phase:
            raise refusals.two_phase_transaction(self._where)
        self._end_group(data, timestamp)

    # ---- statements -------------------------------------------------------------------------------------------------------

    def _query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        if data[end - 6 : end] == b"\0BEGIN":
            self._statement_begins()
        else:
            self._statement(binlog.decode_statement(data, place, end), data, timestamp)

    def _compressed_query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        packed = binlog.decode_statement(data, place, end)
        self._statement(packed._replace(text=binlog.uncompress(packed.text)), data, timestamp)

    def _load_query(self, data: bytes, place: int, end: int, timestamp: int) -> None:
        self._statement(binlog.decode_statement(data, place, end, extra_size=13), data, timestamp)

    def _statement_begins(self) -> None:
        if not self._in_group:
            self._begin_group(None, has_begun=True)
        self._has_begun = True

    def _statement(self, statement: Statement, data: bytes, timestamp: int) -> None:
        word = binlog.first_word(statement.text)
        if not self._has_begun:
            if word == "BEGIN" or statement.text[:8].upper() == b"XA START":
                self._statement_begins()
                return
            self._standalone(word, statement, data, timestamp)
        elif word == "COMMIT":
            self._end_group(data, timestamp)
        elif word == "ROLLBACK":
            self._rolled_back(statement, data, timestamp)
        elif word in _CHANGES_ROWS:
            self._refuse_statement(statement)

    def _standalone(self, word: str, statement: Statement, data: bytes, timestamp: int) -> None:
        """DDL, which tells us nothing: a changed table shows in its next TABLE_MAP. But TRUNCATE removes rows."""
        if not self._in_group:
            self._begin_group(None, has_begun=False)
        if word == "TRUNCATE" and self._tables.may_concern(statement.database, statement.text):
            spelled = self._tables.spelled(TableName(*binlog.truncated_table(statement)))
            if spelled is not None:
                self._add(Relation(spelled, (), (), ()), Op.TRUNCATE, [], None)
        elif word in _CHANGES_ROWS:
            self._refuse_statement(statement)
        self._end_group(data, timestamp)

    def _rolled_back(self, statement: Statement, data: bytes, timestamp: int) -> None:
        if self._has_rows:
            raise refusals.logged_rollback(self._where)
        if b" TO " not in statement.text.upper():
            self._end_group(data, timestamp)

    def _refuse_statement(self, statement: Statement) -> None:
        """A change logged as its statement may have changed a captured table, and we cannot know which rows."""
        if self._tables.may_concern(statement.database, statement.text):
            raise refusals.statement_logged(self._where)

    # ---- rows -------------------------------------------------------------------------------------------------------------

    def _table_map(self, data: bytes, place: int, end: int, _timestamp: int) -> None:
        self._shapes[data[place : place + 6]] = self._tables.shape(data[place + 8 : end])

    def _rows(
        self, op: Op, header_size: int, compressed: bool, data: bytes, place: int, end: int, _timestamp: int
    ) -> None:
        table_id = data[place : place + 6]
        if table_id not in self._shapes or not self._has_begun:
            if table_id == _NO_TABLE_ID:
                return
            raise DecodeError(f"rows of a table that was not described before them, at {self._where}")
        shape = self._shapes[table_id]
        if shape is None:
            return
        place += header_size
        if header_size == 10:  # version 2: the last two bytes are the size of extra data, themselves included
            place += int.from_bytes(data[place - 2 : place], "little") - 2
        if data[place : place + len(shape.encoded_count)] != shape.encoded_count:
            raise DecodeError(
                f"rows of table {shape.relation.table} have another number of columns than its description"
            )
        place += len(shape.encoded_count)
        present = data[place : (place := place + shape.bitmap_size)]
        after = data[place : (place := place + shape.bitmap_size)] if op is Op.UPDATE else b""
        if compressed:
            data = binlog.uncompress(data[place:end])
            place, end = 0, len(data)
        if op is Op.UPDATE:
            self._add(shape.relation, op, *shape.decoder.updates(data, place, end, present, after))
        else:
            self._add(shape.relation, op, shape.decoder.rows(data, place, end, present), None)

    def _add(self, relation: Relation, op: Op, rows: list[Row], olds: list[Row | None] | None) -> None:
        run = self._run
        if run is None or run.relation is not relation or run.op is not op or len(run.rows) >= _RUN_ROWS_MAX:
            run = self._run = Rows(relation, op, rows, olds)
            self._events.append(run)
        else:
            if run.olds is not None or olds is not None:
                run.olds = [*(run.olds or [None] * len(run.rows)), *(olds or [None] * len(rows))]
            run.rows += rows
        self._has_rows = True
        if self.row_watch is not None:
            self.row_watch(relation, op, rows, olds)

    # ---- what we do not read ------------------------------------------------------------------------------------------------

    def _payload(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        raise refusals.compressed_transaction(self._where)

    def _partial_update(self, data: bytes, place: int, _end: int, _timestamp: int) -> None:
        shape = self._shapes.get(data[place : place + 6])
        if shape is not None:
            raise refusals.partial_update(shape.relation.table)

    def _incident(self, _data: bytes, _place: int, _end: int, _timestamp: int) -> None:
        raise refusals.incident(self._where)
