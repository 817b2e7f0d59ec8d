"""What a target is told later: the names of records, until their time comes. Kept in the state's open transaction.

A record is owed where a schedule or a pause holds its entity back from a system, or where a rewind has it told anew. It
is owed once, however often it changes: what is told in the end is the present truth. To everything that judges what a
system shows, what is owed is on its way there, in a unit that has not been made yet (`NOT_YET`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import msgspec

from cdcd.resolve.keys import after_prefix
from cdcd.resolve.masks import mask_of
from cdcd.resolve.plan import Plan, root_of
from cdcd.state import State

if TYPE_CHECKING:
    from cdcd.resolve.golden import Record

NOT_YET: Final = 2**62
"""The number of the unit that will tell what is owed: later than all there are, so that it was never read back."""
REALTIME: Final = "realtime"
PAUSED: Final = 1
BEHIND: Final = 2
"""Why an entity is held back: somebody paused it, or its target is so far behind that names must do (Invariant 11)."""
Lane = tuple[int, int]
"""A system and an entity, by their numbers."""


class Debt(msgspec.Struct, frozen=True):
    """How a record is owed: the key by which the system knows it, if that is another one, and see `Owed.owe`."""

    known_as: bytes | None
    whole: bool
    clears: bool


class _Count(msgspec.Struct):
    """How much of a lane is owed, since when, and what holds it back (`PAUSED`, `BEHIND`, both, or 0)."""

    held: int = 0
    records: int = 0
    since_us: int = 0


class Owed:
    """The records that are owed. One writer: resolve."""

    def __init__(self, plan: Plan, state: State) -> None:
        systems = plan.vocabulary.systems
        self._connection = state.connection
        self._scheduled = {
            (systems.index(system), entity.number)
            for name, entity in plan.entities.items()
            for system, binding in plan.entities[root_of(name)].bindings.items()
            if system in entity.bindings and binding.schedule != REALTIME
        }
        self._known = {
            (systems.index(system), entity.number) for entity in plan.entities.values() for system in entity.bindings
        }
        self._counts: dict[Lane, _Count] = {}
        self._changed: set[Lane] = set()
        self.lanes: frozenset[Lane] = frozenset()
        """Where something is held back or owed: everywhere else telling need not ask."""
        self._telling_now = False
        self.touched: dict[Lane, set[bytes]] = {}
        """Owed records of lanes that are not held back, of which there was news in the present entry."""
        self.now_us = self.now_seq = 0
        """When the present entry was journalled, and as which."""

    def load(self) -> None:
        """Take up what there is: at the start, and after a step that failed."""
        rows = self._connection.execute("SELECT system, entity, held, records, since_us FROM owing")
        self._counts = {(s, e): _Count(held, records, since_us) for s, e, held, records, since_us in rows}
        self._changed.clear()
        self.touched.clear()
        self._find_lanes()

    def _find_lanes(self) -> None:
        counted = {lane for lane, count in self._counts.items() if count.records or count.held}
        self.lanes = frozenset(counted & self._known | self._scheduled)

    def holds_back(self, lane: Lane) -> bool:
        """Whether a schedule or a pause holds back what this system should be told of the entity."""
        count = self._counts.get(lane)
        return lane in self._scheduled or (count is not None and count.held > 0)

    def takes(self, lane: Lane, key: bytes, known_as: bytes | None = None) -> bool:
        """Whether what is to be told of this record is told later. `known_as` is the key by which the system has it now.

        Of a record that is owed though nothing holds it back, the whole truth is told when the present entry ends.
        """
        if self._telling_now or lane not in self.lanes:
            return False
        if self.holds_back(lane):
            self.owe(lane, key, 0, known_as)
            return True
        if not self._is_owed(lane, key):
            return False
        self.owe(lane, key, 0, known_as)
        self.touched.setdefault(lane, set()).add(key)
        return True

    def _is_owed(self, lane: Lane, key: bytes) -> bool:
        row = self._connection.execute("SELECT 1 FROM owed WHERE system=? AND entity=? AND key=?", (*lane, key))
        return row.fetchone() is not None

    # ---- owing -----------------------------------------------------------------------------------------------

    def owe(
        self,
        lane: Lane,
        key: bytes,
        run: int,
        known_as: bytes | None = None,
        *,
        whole: bool = False,
        clears: bool = False,
    ) -> None:
        """Owe a record, because of the rewind in journal entry `run`, or (0) because there was news of it.

        `whole`: the system has lost what it had itself, and is told that too. `clears`: a row that the system has under
        this key is another record, which is no more, and goes first.
        """
        row = (*lane, key, run, known_as, whole, clears, self.now_seq)
        new = self._connection.execute("INSERT OR IGNORE INTO owed VALUES (?,?,?,?,?,?,?,?)", row)
        if new.rowcount:
            self._add(lane, 1)
            return
        self._connection.execute(
            "UPDATE owed SET run=min(run, ?), known_as=coalesce(known_as, ?), whole=max(whole, ?), clears=max(clears, ?)"
            " WHERE system=? AND entity=? AND key=?",
            (run, known_as, whole, clears, *lane, key),
        )

    def _add(self, lane: Lane, records: int) -> None:
        count = self._counts.setdefault(lane, _Count())
        if count.records == 0 and records > 0:
            count.since_us = self.now_us
        count.records += records
        assert count.records >= 0, f"fewer than none are owed in {lane}"
        self._changed.add(lane)
        if lane not in self.lanes:
            self._find_lanes()

    def hold(self, lanes: Iterable[Lane], why: int, *, on: bool) -> None:
        """Hold entities back from now on, or no more, for that reason."""
        for lane in lanes:
            count = self._counts.setdefault(lane, _Count())
            count.held = count.held | why if on else count.held & ~why
            self._changed.add(lane)
        self._find_lanes()

    def renamed(self, entities: Collection[int], old: bytes, new: bytes) -> None:
        """Records under `old`, and their children under it, are owed under `new`; nothing is owed there yet."""
        if self.lanes:
            self._connection.executemany(
                "UPDATE owed SET key = CAST(? || substr(key, ?) AS BLOB) WHERE entity=? AND key>=? AND key<?",
                [(new, len(old) + 1, entity, old, after_prefix(old)) for entity in entities],
            )

    @contextmanager
    def told_now(self) -> Iterator[None]:
        """What is told within is told now, whatever holds it back: its time has come."""
        self._telling_now = True
        try:
            yield
        finally:
            self._telling_now = False

    # ---- paying ----------------------------------------------------------------------------------------------

    def due(self, lane: Lane, limit: int, owed_by: int) -> list[bytes]:
        """The keys of records that were owed by the journal entry of that seq, at most `limit`."""
        rows = self._connection.execute(
            "SELECT key FROM owed WHERE system=? AND entity=? AND seq<=? LIMIT ?", (*lane, owed_by, limit)
        )
        return [bytes(key) for (key,) in rows.fetchall()]

    def with_prefix(self, lane: Lane, prefix: bytes) -> list[bytes]:
        """The keys of owed records that begin so: the children of a record."""
        if lane not in self.lanes:
            return []
        rows = self._connection.execute(
            "SELECT key FROM owed WHERE system=? AND entity=? AND key>=? AND key<?",
            (*lane, prefix, after_prefix(prefix)),
        )
        return [bytes(key) for (key,) in rows.fetchall()]

    def take(self, lane: Lane, key: bytes) -> Debt | None:
        """Owe a record no more; what was owed, None when nothing was."""
        row = self._connection.execute(
            "DELETE FROM owed WHERE system=? AND entity=? AND key=? RETURNING known_as, whole, clears", (*lane, key)
        ).fetchone()
        if row is None:
            return None
        self._add(lane, -1)
        known_as, whole, clears = row
        other = None if known_as is None or bytes(known_as) == key else bytes(known_as)
        return Debt(other, bool(whole), bool(clears))

    def withdraw(self, system: int, run: int) -> int:
        """Owe no more what the rewind in journal entry `run` wanted told and was not yet; return how many."""
        rows = self._connection.execute(
            "SELECT entity, count(*) FROM owed WHERE system=? AND run=? GROUP BY entity", (system, run)
        ).fetchall()
        self._connection.execute("DELETE FROM owed WHERE system=? AND run=?", (system, run))
        for entity, records in rows:
            self._add((system, entity), -records)
        return sum(records for _, records in rows)

    # ---- storing ---------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write the counts into the state's open transaction."""
        if self._changed:
            rows = [(*lane, c.held, c.records, c.since_us) for lane, c in self._counts.items() if lane in self._changed]
            self._connection.executemany("INSERT OR REPLACE INTO owing VALUES (?,?,?,?,?)", rows)
            self._changed.clear()
            self._find_lanes()


def untold(record: Record, system: int) -> int:
    """What was owed is told now, it is no more on its way in a unit that is not there yet; the slots that were."""
    slots = 0
    if told := record.told.get(system):
        for unit, mask in told:
            slots |= mask if unit == NOT_YET else 0
        record.told[system] = [(unit, mask) for unit, mask in told if unit != NOT_YET]
    if adding := record.adding.get(system):
        record.adding[system] = [(unit, slot, difference) for unit, slot, difference in adding if unit != NOT_YET]
    return slots


def put_aside(record: Record, system: int) -> None:
    """What is on its way is not written there: it is owed instead."""
    mask = 0
    for _, slots in record.told.get(system, ()):
        mask |= slots
    if mask:
        record.told[system] = [(NOT_YET, mask)]


def unshown(record: Record, system: int) -> int:
    """Where ownership moves: the slots in which the system still shows something else than what others made true.

    What was refused may have handed the record over: by now the system owns what it was never given.
    """
    shown = None if record.shadows is None else record.shadows.get(system)
    if shown is None or record.origins is None:
        return 0
    known = zip(record.values, shown, record.origins, strict=True)
    return mask_of([slot for slot, (value, seen, by) in enumerate(known) if by != system and value != seen])
