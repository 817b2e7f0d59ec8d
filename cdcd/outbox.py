"""The outbox: what each target must be told, in units that resolve numbered; read by deliver, trimmed by resolve.

A unit is everything one journal entry means for one target. It is never split over two target transactions, but a
very large one is stored in several rows (`more`). An item of a unit is one of

    [entity, kind, key, mask, values, initial_mask, initial_values]     a record (kind: RecordWrite)
    [-1 - route, op, relation_id, rows, olds]                            rows of a plain copy, as the journal has them

Masks are slots as bits; values follow in slot order. `initial` are written only where the record is new.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import msgspec

from cdcd.model import Absences
from cdcd.state import State
from cdcd.storage import unwritable
from cdcd.stored_rows import row_count

PART_WRITES: Final = 5_000
"""Of one unit that are stored together."""
ROW_WRITES: Final = 1_000
"""Of whole units that are stored together: the values of 5,000 are 10 MB, and no longer in the processor's cache when they are encoded."""
READ_BYTES: Final = 2 * 2**20
_READ_ROWS: Final = 200


class RecordWrite(enum.IntEnum):
    """FULL: the record must exist afterwards. UPDATE: it exists, fields change. DELETE: it must be gone.

    ADD: it exists, and the values are differences that are added to what its row holds. REKEY: it has another key, the
    values are the parts of the one before; the mask is 0.
    """

    FULL = 1
    UPDATE = 2
    DELETE = 3
    ADD = 4
    REKEY = 5


CHANGES: Final = frozenset({RecordWrite.UPDATE, RecordWrite.ADD})
"""What wants a record that exists, and says only some of it."""

Item: TypeAlias = list[Any]


_absences: Final = Absences()
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=_absences).decode


class Unit(msgspec.Struct, gc=False):
    """All items that one journal entry means for one target. `partial`: values in them may be ABSENT."""

    number: int
    committed_at_us: int
    items: list[Any]
    partial: bool = True


class StoredUnits(msgspec.Struct, frozen=True):
    """One outbox row: whole units, or a part of one (`more` follows)."""

    id: int
    through: int
    more: bool
    writes: int
    committed_at_us: int
    body: bytes

    def units(self) -> list[Unit]:
        """The units, or the part of one."""
        before = _absences.count
        units = _decode(self.body)
        partial = _absences.count != before
        return [Unit(number, committed_at_us, items, partial) for number, committed_at_us, items in units]


class _Pile(msgspec.Struct):
    """What one target has not been stored of yet: whole units, and the unit of the present entry."""

    closed: list[Unit] = []
    closed_writes: int = 0
    open: Unit | None = None
    open_writes: int = 0


class OutboxWriter:
    """Collects the units of one resolve step and stores them in the state's open transaction, a part at a time."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._piles: dict[str, _Pile] = {}
        self._news: set[str] = set()
        self.units = state.units

    def add(self, target: str, item: Item, committed_at_us: int, writes: int = 1) -> int:
        """Add to the target's unit of the present entry; return the unit's number."""
        pile, unit = self._opened(target, committed_at_us)
        unit.items.append(item)
        pile.open_writes += writes
        if pile.open_writes >= PART_WRITES:
            self._store_part(target, pile)
        return unit.number

    def add_all(self, target: str, items: Sequence[Sequence[Any]], committed_at_us: int) -> int:
        """Add many; return the number of the unit that they belong to. They are not many more than `PART_WRITES`."""
        pile, unit = self._opened(target, committed_at_us)
        unit.items += items
        pile.open_writes += len(items)
        if pile.open_writes >= PART_WRITES:
            self._store_part(target, pile)
        return unit.number

    def unit(self, target: str, committed_at_us: int) -> int:
        """The number of the target's unit of the present entry, to which something is added now."""
        return self._opened(target, committed_at_us)[1].number

    def _opened(self, target: str, committed_at_us: int) -> tuple[_Pile, Unit]:
        """The target's pile, and the unit of the present entry in it."""
        pile = self._piles.get(target)
        if pile is None:
            pile = self._piles[target] = _Pile()
        unit = pile.open
        if unit is None:
            self.units += 1
            unit = pile.open = Unit(self.units, committed_at_us, [])
        return pile, unit

    def store_through(self, target: str, unit: int) -> None:
        """Store what is closed if that unit or one before it is among it: then it is to be read.

        Only a journal that is resolved again has it in the same step as what told the target.
        """
        pile = self._piles.get(target)
        if pile is not None and pile.closed and pile.closed[0].number <= unit:
            self._store_closed(target, pile)

    def put_aside(self) -> None:
        """Store what is collected, also of the unit of the present entry: a part of it."""
        for target, pile in self._piles.items():
            self._store_part(target, pile)

    def _store_part(self, target: str, pile: _Pile) -> None:
        self._store_closed(target, pile)
        unit = pile.open
        if unit is not None and pile.open_writes:
            self._store(target, [unit], pile.open_writes, more=True)
            pile.open = Unit(unit.number, unit.committed_at_us, [])
            pile.open_writes = 0

    def end_unit(self) -> None:
        """The entry is done: what follows belongs to the next units."""
        for target, pile in self._piles.items():
            if pile.open is not None:
                pile.closed.append(pile.open)
                pile.closed_writes += pile.open_writes
                pile.open, pile.open_writes = None, 0
                if pile.closed_writes >= ROW_WRITES:
                    self._store_closed(target, pile)

    def flush(self) -> set[str]:
        """Store what is left; return the targets that have news since the last flush."""
        for target, pile in self._piles.items():
            assert pile.open is None, "an outbox unit was left open"
            self._store_closed(target, pile)
        news, self._news = self._news, set()
        return news

    def discard(self, units: int) -> None:
        """Forget everything of a step that failed."""
        self._piles.clear()
        self._news.clear()
        self.units = units

    def _store_closed(self, target: str, pile: _Pile) -> None:
        if pile.closed:
            self._store(target, pile.closed, pile.closed_writes, more=False)
            pile.closed, pile.closed_writes = [], 0

    def _store(self, target: str, units: list[Unit], writes: int, *, more: bool) -> None:
        self._news.add(target)
        self._connection.execute(
            "INSERT INTO outbox (target, first_unit, through, more, writes, committed_at_us, body) VALUES (?,?,?,?,?,?,?)",
            (
                target,
                units[0].number,
                units[-1].number,
                more,
                writes,
                units[0].committed_at_us,
                _encode([(unit.number, unit.committed_at_us, unit.items) for unit in units]),
            ),
        )


def read(state: State, target: str, after_id: int, after_unit: int) -> list[StoredUnits]:
    """Rows of a target's outbox behind row `after_id` whose units are beyond `after_unit`, a few MiB at most."""
    found: list[StoredUnits] = []
    size_bytes = 0
    rows = state.connection.execute(
        "SELECT id, through, more, writes, committed_at_us, body FROM outbox"
        f" WHERE target=? AND id>? AND through>? ORDER BY id LIMIT {_READ_ROWS}",
        (target, after_id, after_unit),
    )
    for row_id, through, more, writes, committed_at_us, body in rows:
        found.append(StoredUnits(row_id, through, bool(more), writes, committed_at_us, body))
        size_bytes += len(body)
        if size_bytes >= READ_BYTES:
            break
    rows.close()
    return found


def is_through(rows: Sequence[StoredUnits]) -> bool:
    """Whether there was no more to `read` than these rows, as far as their number tells."""
    return len(rows) < _READ_ROWS and sum([len(row.body) for row in rows]) < READ_BYTES


def read_row(state: State, row_id: int) -> StoredUnits:
    """One row, which is there."""
    row = state.connection.execute(
        "SELECT id, through, more, writes, committed_at_us, body FROM outbox WHERE id=?", (row_id,)
    ).fetchone()
    assert row is not None, "an outbox row is gone whose units are not applied"
    row_id, through, more, writes, committed_at_us, body = row
    return StoredUnits(row_id, through, bool(more), writes, committed_at_us, body)


def joined(rows: Iterable[StoredUnits]) -> list[Unit]:
    """The units of rows, with the parts of a split one put together."""
    found: list[Unit] = []
    for row in rows:
        for unit in row.units():
            if found and found[-1].number == unit.number:
                found[-1].items.extend(unit.items)
                found[-1].partial = found[-1].partial or unit.partial
            else:
                found.append(unit)
    return found


def within(units: list[Unit], rows_max: int | None) -> list[Unit]:
    """The first units, as many as have no more rows than that together; the first one whatever it has. None: all."""
    if rows_max is None:
        return units
    rows = 0
    for number, unit in enumerate(units):
        rows += sum(1 if item[0] >= 0 else row_count(item[3]) for item in unit.items)
        if rows > rows_max and number:
            return units[:number]
    return units


def between(state: State, target: str, after: int, through: int) -> Iterable[Unit]:
    """The units (after, through] of a target, as far as they are kept: what one delivery carried."""
    row_id = 0
    while True:
        row = state.connection.execute(
            "SELECT id, body FROM outbox WHERE target=? AND id>? AND through>? AND first_unit<=? ORDER BY id LIMIT 1",
            (target, row_id, after, through),
        ).fetchone()
        if row is None:
            return
        row_id, body = row
        for unit in _decode(body):
            if after < unit[0] <= through:
                yield Unit(*unit)


def as_part(after: int) -> int:
    """What a transaction says instead of `after` that carries a part of one unit: more of it is still to come.

    Then the unit is not read back yet: what else it told is on its way, and its echo will be compared with it.
    """
    assert after >= 0, "a part already"
    return -1 - after


def is_part(mark: tuple[int, int]) -> bool:
    """Whether a mark is that of a part of its unit."""
    return mark[0] < 0


def units_of_mark(mark: tuple[int, int]) -> tuple[int, int]:
    """The units (after, through] of a mark, that of a part as well."""
    return (-1 - mark[0] if mark[0] < 0 else mark[0]), mark[1]


def trim(state: State, target: str, through: int) -> int:
    """Delete rows whose units are all applied and read back; return how many. Within the state's transaction.

    What is deleted is remembered: a target that turns out not to have it cannot be told by the outbox any more.
    """
    found = "SELECT max(through) FROM outbox WHERE target=? AND through<=?"
    (newest,) = state.connection.execute(found, (target, through)).fetchone()
    if newest is None:
        return 0
    state.put(f"trimmed:{target}", newest)
    return int(state.connection.execute("DELETE FROM outbox WHERE target=? AND through<=?", (target, through)).rowcount)


def trimmed(state: State, target: str) -> int | None:
    """The newest unit that is not in the outbox any more, None when that was never noted."""
    stored = state.get(f"trimmed:{target}")
    return None if stored is None else int(stored)


def waiting(state: State, target: str, after_unit: int) -> tuple[int, int]:
    """Writes and bytes of the rows that hold units beyond `after_unit`."""
    writes, size_bytes = state.connection.execute(
        "SELECT coalesce(sum(writes), 0), coalesce(sum(length(body)), 0) FROM outbox WHERE target=? AND through>?",
        (target, after_unit),
    ).fetchone()
    return int(writes), int(size_bytes)


def lacks(state: State, target: str, applied_unit: int, unit: int) -> bool:
    """Whether a target that has applied `applied_unit` lacks anything of the units through `unit`."""
    row = state.connection.execute(
        "SELECT 1 FROM outbox WHERE target=? AND through>? AND first_unit<=? LIMIT 1", (target, applied_unit, unit)
    ).fetchone()
    return row is not None


def oldest_waiting_us(state: State, target: str, after_unit: int) -> int | None:
    """Commit time of the oldest unit beyond `after_unit`, None when there is none."""
    row = state.connection.execute(
        "SELECT committed_at_us FROM outbox WHERE target=? AND through>? ORDER BY id LIMIT 1", (target, after_unit)
    ).fetchone()
    return None if row is None else int(row[0])


def read_applied(directory: Path, target: str) -> int:
    """The last unit that a target has applied, as far as it has told us; changes nothing."""
    try:
        return int.from_bytes((directory / f"applied-{target}").read_bytes()[:8], "little")
    except FileNotFoundError:
        return 0


class AppliedMark:
    """How far a target has applied, told to other processes through eight bytes of a file.

    A hint for trimming and status only: the truth is the checkpoint in the target, which is never behind it.
    """

    def __init__(self, directory: Path, target: str) -> None:
        self._path = directory / f"applied-{target}"
        try:
            self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def write(self, unit: int) -> None:
        """Publish the last unit applied."""
        try:
            os.pwrite(self._file, unit.to_bytes(8, "little"), 0)
        except OSError as error:
            raise unwritable(self._path, error) from error

    def read(self) -> int:
        """The last unit applied, 0 when never written."""
        return int.from_bytes(os.pread(self._file, 8, 0), "little")

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
