"""Rows that cannot be mapped to records yet: they wait for a row they refer to, or are held until a better version.

Both are known by binding and local id, so that a later version of the same row takes their place.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from typing import Final

import msgspec

from cdcd.model import ABSENT, Op, Relation, Row
from cdcd.resolve.decide import Moment
from cdcd.resolve.mapping import RowMapper, UnresolvedReference, entity_of_binding
from cdcd.state import State
from cdcd.values import ValueRefused

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
_decode_relation: Final = msgspec.msgpack.Decoder(Relation).decode


class WaitingRow(msgspec.Struct, frozen=True):
    """A row whose reference has been seen now. `op` is what had happened to it, in journal entry `seq`."""

    binding: int
    row_id: bytes
    seq: int
    relation: Relation
    op: Op
    row: Row


class UnmappedRows:
    """The state's `waiting` and `held` rows. Counts are kept in memory, so that the usual case costs nothing."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self.waiting = self.held = 0

    def load(self) -> None:
        """Count what there is: at the start, and after a step that failed."""
        self.waiting = self._connection.execute("SELECT count(*) FROM waiting").fetchone()[0]
        self.held = self._connection.execute("SELECT count(*) FROM held").fetchone()[0]

    def superseded(self, mapper: RowMapper, row: Row) -> None:
        """A newer version of the row has come: an older one need not wait any more."""
        if self.waiting and mapper.has_id:
            self._stop_waiting(mapper.number, mapper.row_id(row))

    def _stop_waiting(self, binding: int, row_id: bytes) -> None:
        done = self._connection.execute("DELETE FROM waiting WHERE binding=? AND row=?", (binding, row_id))
        self.waiting -= done.rowcount

    def forget(self, bindings: Iterable[int]) -> None:
        """Rows of these bindings, and rows that wait for them, mean nothing any more."""
        for binding in bindings:
            done = self._connection.execute("DELETE FROM waiting WHERE ? IN (binding, for_binding)", (binding,))
            self.waiting -= done.rowcount

    def wait(self, mapper: RowMapper, op: Op, row: Row, unresolved: UnresolvedReference, moment: Moment) -> None:
        """Keep the row until the row it refers to is seen."""
        own = _row_name(mapper, row) or _encode(row)
        self._stop_waiting(mapper.number, own)
        self._connection.execute(
            "INSERT INTO waiting VALUES (?,?,?,?,?,?,?)",
            (
                mapper.number,
                own,
                unresolved.binding,
                unresolved.row_id,
                moment.seq,
                _encode(mapper.relation),
                _encode([op, row]),
            ),
        )
        self.waiting += 1

    def released_by(self, binding: int, row_id: bytes, entities: Container[int]) -> list[WaitingRow]:
        """The rows of these entities that waited for this one, oldest first; they wait no more."""
        rows_waiting = self._connection.execute(
            "SELECT binding, row, seq, relation, body FROM waiting WHERE for_binding=? AND for_id=? ORDER BY seq",
            (binding, row_id),
        ).fetchall()
        found = [row for row in rows_waiting if entity_of_binding(row[0]) in entities]
        released = []
        for own_binding, own, seq, relation, body in found:
            self._stop_waiting(own_binding, own)
            op, row = _decode(body)
            released.append(WaitingRow(own_binding, own, seq, _decode_relation(relation), Op(op), row))
        return released

    def waited_for(self, entities: Container[int]) -> list[tuple[int, bytes]]:
        """The (binding, row id) pairs that rows of these entities wait for."""
        found = self._connection.execute("SELECT DISTINCT binding, for_binding, for_id FROM waiting")
        return [(for_binding, for_id) for own, for_binding, for_id in found if entity_of_binding(own) in entities]

    def hold(self, mapper: RowMapper, system: int, row: Row, refused: ValueRefused, moment: Moment) -> None:
        """The row cannot be understood: note it, with the reason; its next version that can be clears the note."""
        self.hold_id(mapper.entity.number, system, _row_name(mapper, row), refused, moment)

    def hold_id(self, entity: int, system: int, row_id: bytes, refused: ValueRefused, moment: Moment) -> None:
        """The same for a row that only its id is known of."""
        self.understood_id(entity, system, row_id)
        cause = f"{refused.what}: {refused.cause}"
        at_us = moment.committed_at_us
        self._connection.execute(
            "INSERT INTO held VALUES (?,?,?,?,?,?,?)", (entity, row_id, system, moment.seq, refused.code, cause, at_us)
        )
        self.held += 1

    def understood(self, mapper: RowMapper, system: int, row: Row) -> None:
        """The row can be understood now, or it is gone: a note about an earlier version goes."""
        if self.held:
            self.understood_id(mapper.entity.number, system, _row_name(mapper, row))

    def understood_id(self, entity: int, system: int, row_id: bytes) -> None:
        """The same for a row that only its id is known of."""
        if self.held:
            done = self._connection.execute(
                "DELETE FROM held WHERE entity=? AND key=? AND system=?", (entity, row_id, system)
            )
            self.held -= done.rowcount

    def gone(self, binding: int, system: int, row_id: bytes) -> None:
        """The row is gone: no version of it waits or is held any more."""
        if self.waiting:
            self._stop_waiting(binding, row_id)
        self.understood_id(entity_of_binding(binding), system, row_id)


def _row_name(mapper: RowMapper, row: Row) -> bytes:
    """What an unmapped row is known by: its local id (rows without one cannot be told apart)."""
    return mapper.row_id(row) if mapper.has_id else b""
