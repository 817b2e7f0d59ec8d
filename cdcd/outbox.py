"""The outbox: what each target must be told, in units that resolve numbered; read by deliver, trimmed by resolve.

A unit is everything one journal entry means for one target. It is never split over two target transactions, but a
very large one is stored in several rows (`more`). An item of a unit is one of

    [entity, kind, key, mask, values, initial_mask, initial_values]     a record (kind: RecordWrite)
    [-1 - route, op, relation_id, rows, olds]                            rows of a plain copy

Masks are slots as bits; values follow in slot order. `initial` are written only where the record is new.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.model import ABSENT
from cdcd.state import State

PART_WRITES: Final = 5_000
READ_BYTES: Final = 2 * 2**20


class RecordWrite(enum.IntEnum):
    """FULL: the record must exist afterwards. UPDATE: it exists, fields change. DELETE: it must be gone."""

    FULL = 1
    UPDATE = 2
    DELETE = 3


Item: TypeAlias = list[Any]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


class Unit(msgspec.Struct, gc=False, array_like=True):
    """All items that one journal entry means for one target."""

    number: int
    committed_at_us: int
    items: list[Any]


class StoredUnits(msgspec.Struct, frozen=True):
    """One outbox row: whole units, or a part of one (`more` follows)."""

    id: int
    through: int
    more: bool
    body: bytes

    def units(self) -> list[Unit]:
        """The units, or the part of one."""
        return [Unit(*unit) for unit in _decode(self.body)]


class OutboxWriter:
    """Collects the units of one resolve step; `flush` puts them into the state's open transaction."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._open: dict[str, Unit] = {}
        self._closed: dict[str, list[Unit]] = {}
        self._writes: dict[str, int] = {}
        self.units = state.units

    def add(self, target: str, item: Item, committed_at_us: int, writes: int = 1) -> int:
        """Add to the target's unit of the present entry; return the unit's number."""
        unit = self._open.get(target)
        if unit is None:
            self.units += 1
            unit = self._open[target] = Unit(self.units, committed_at_us, [])
        unit.items.append(item)
        count = self._writes[target] = self._writes.get(target, 0) + writes
        if count >= PART_WRITES:
            self._store(target, [*self._closed.pop(target, []), unit], more=True)
            self._open[target] = Unit(unit.number, committed_at_us, [])
        return unit.number

    def end_unit(self) -> None:
        """The entry is done: what follows belongs to the next units."""
        for target, unit in self._open.items():
            self._closed.setdefault(target, []).append(unit)
        self._open.clear()

    def flush(self) -> set[str]:
        """Write all closed units; return the targets that have news. Called with the state's transaction open."""
        assert not self._open, "an outbox unit was left open"
        targets = set(self._closed)
        for target, units in self._closed.items():
            self._store(target, units, more=False)
        self._closed.clear()
        return targets

    def discard(self, units: int) -> None:
        """Forget everything not yet stored, after a step that failed."""
        self._open.clear()
        self._closed.clear()
        self._writes.clear()
        self.units = units

    def _store(self, target: str, units: list[Unit], *, more: bool) -> None:
        self._connection.execute(
            "INSERT INTO outbox (target, first_unit, through, more, writes, committed_at_us, body) VALUES (?,?,?,?,?,?,?)",
            (
                target,
                units[0].number,
                units[-1].number,
                more,
                self._writes.pop(target, 0),
                units[0].committed_at_us,
                _encode(units),
            ),
        )


def read(state: State, target: str, after_id: int, after_unit: int) -> list[StoredUnits]:
    """Rows of a target's outbox behind row `after_id` whose units are beyond `after_unit`, a few MiB at most."""
    found: list[StoredUnits] = []
    size_bytes = 0
    rows = state.connection.execute(
        "SELECT id, through, more, body FROM outbox WHERE target=? AND id>? AND through>? ORDER BY id LIMIT 200",
        (target, after_id, after_unit),
    )
    for row_id, through, more, body in rows:
        found.append(StoredUnits(row_id, through, bool(more), body))
        size_bytes += len(body)
        if size_bytes >= READ_BYTES:
            break
    rows.close()
    return found


def between(state: State, target: str, after: int, through: int) -> Iterable[Unit]:
    """The units (after, through] of a target, as far as they are kept: what one delivery carried."""
    rows = state.connection.execute(
        "SELECT body FROM outbox WHERE target=? AND through>? AND first_unit<=? ORDER BY id", (target, after, through)
    ).fetchall()
    for (body,) in rows:
        for unit in _decode(body):
            if after < unit[0] <= through:
                yield Unit(*unit)


def trim(state: State, target: str, through: int) -> int:
    """Delete rows whose units are all applied and read back; return how many. Within the state's transaction."""
    return int(
        state.connection.execute("DELETE FROM outbox WHERE target=? AND through<=?", (target, through)).rowcount
    )


def oldest_waiting_us(state: State, target: str, after_unit: int) -> int | None:
    """Commit time of the oldest unit beyond `after_unit`, None when there is none."""
    row = state.connection.execute(
        "SELECT committed_at_us FROM outbox WHERE target=? AND through>? ORDER BY id LIMIT 1", (target, after_unit)
    ).fetchone()
    return None if row is None else int(row[0])


class AppliedMark:
    """How far a target has applied, told to other processes through eight bytes of a file.

    A hint for trimming and status only: the truth is the checkpoint in the target, which is never behind it.
    """

    def __init__(self, directory: Path, target: str) -> None:
        self._file = os.open(directory / f"applied-{target}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def write(self, unit: int) -> None:
        """Publish the last unit applied."""
        os.pwrite(self._file, unit.to_bytes(8, "little"), 0)

    def read(self) -> int:
        """The last unit applied, 0 when never written."""
        return int.from_bytes(os.pread(self._file, 8, 0), "little")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
