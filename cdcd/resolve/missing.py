"""Records that a system should have and did not show, when its rows were read again; all of them, or some by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from cdcd.model import ABSENT, Op, Relation, Row, Rows
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.golden import GoldenRecords, Record
from cdcd.resolve.moment import Moment
from cdcd.resolve.plan import Plan
from cdcd.state import State

UNKNOWN_KEY: Final = b""
"""Among the seen: the system has a row whose key could not be told, so that no record can be said to be missing."""
_encode: Final = msgspec.msgpack.Encoder().encode


def judge_missing(
    decider: EntityDecider, moment: Moment, system: int, key: bytes, record: Record, *, may_miss: bool
) -> None:
    """A living record was not shown: it was deleted there (`may_miss`), or never came there, and is told."""
    if record.present >> system & 1:
        if may_miss:
            decider.deleted(moment, system, key)
    elif record.sent >> system & 1 or decider.may_lack(system, key):
        return
    elif decider.rights.may_spread(record):
        decider.ensure(moment, system, key, record)
        decider.golden.put(decider.number, key, record)


class _Wanted(msgspec.Struct):
    """What the copies numbered `run` are to show, and have not shown yet. Of plain copies, by these columns of the rows."""

    run: int
    keys: dict[bytes, list[Any]]
    columns: tuple[str, ...] = ()


class NamedRecords:
    """Records, and rows of plain copies, whose names an operator gave, until the system has shown them.

    They are few: kept in memory and, with every change, in the state's open transaction.
    """

    def __init__(self, plan: Plan, state: State, deciders: Mapping[str, EntityDecider], golden: GoldenRecords) -> None:
        self._plan = plan
        self._state = state
        self._systems = plan.vocabulary.systems
        self._deciders = deciders
        self._golden = golden
        self.wanted: dict[str, _Wanted] = {}
        """By system and subject; mostly empty, so that who has rows in hand looks here before he calls."""
        self._relations: dict[str, Relation] = {}

    def load(self) -> None:
        """Take up what there is: at the start, and after a step that failed."""
        stored = self._state.get("named-records")
        self.wanted = {} if stored is None else msgspec.msgpack.decode(stored, type=dict[str, _Wanted])

    def _store(self) -> None:
        self._state.put("named-records", _encode(self.wanted))

    def forget(self, system: str, subject: str) -> None:
        """A copy of everything will show them, or nobody waits for them any more."""
        if self.wanted.pop(f"{system}:{subject}", None) is not None:
            self._store()

    # ---- what is wanted --------------------------------------------------------------------------------------

    def want_records(self, run: int, system: str, entity: str, keys: Iterable[bytes]) -> None:
        """The copies of `run` are to show these records of a root entity, and all of its children there."""
        number = self._systems.index(system)
        keys = list(keys)
        self._want(run, system, entity, keys)
        self._golden.flush()
        for child in self._deciders[entity].children:
            if system in child.entity.bindings:
                known = (found for key in keys for found in child.golden.with_prefix(child.number, key))
                present = [key for key, record in known if record.alive and record.present >> number & 1]
                self._want(run, system, child.entity.name, present)
        self._store()

    def _want(self, run: int, system: str, entity: str, keys: Iterable[bytes]) -> None:
        known = self.wanted.setdefault(f"{system}:{entity}", _Wanted(run, {}))
        known.run = run
        known.keys |= {key: [] for key in keys}

    def want_rows(self, run: int, subject: str, columns: Iterable[str], keys: Iterable[list[Any]]) -> None:
        """The copies of `run` are to show the rows of `subject` ("system:table") that have these keys."""
        rows = {_encode(list(key)): list(key) for key in keys}
        self.wanted[subject] = _Wanted(run, rows, tuple(columns))
        self._store()

    # ---- what is shown ---------------------------------------------------------------------------------------

    def seen(self, system: str, entity: str, key: bytes) -> None:
        """The system has the record; of one whose key could not be told, it may be any."""
        wanted = self.wanted.get(f"{system}:{entity}")
        if wanted is None:
            return
        if key == UNKNOWN_KEY:
            wanted.keys.clear()
            self._store()
        elif wanted.keys.pop(key, None) is not None:
            self._store()

    def rows_seen(self, subject: str, rows: Rows) -> None:
        """Rows of a table whose plain copies are kept."""
        wanted = self.wanted.get(subject)
        if wanted is None or not set(wanted.columns) <= set(rows.relation.columns):
            return
        self._relations[subject] = rows.relation
        if rows.op != Op.DELETE:
            at = [rows.relation.columns.index(name) for name in wanted.columns]
            shown = [wanted.keys.pop(_encode([row[place] for place in at]), None) for row in rows.rows]
            if any(found is not None for found in shown):
                self._store()

    # ---- what is missing -------------------------------------------------------------------------------------

    def missing_records(self, moment: Moment, system: str, entity: str, run: int) -> list[bytes]:
        """The records that the copies of `run` have not shown, and that the system should have; they are wanted no more.

        Those that never came there are told.
        """
        wanted = self.wanted.get(f"{system}:{entity}")
        if wanted is None or wanted.run != run:
            return []
        self.forget(system, entity)
        decider, number = self._deciders[entity], self._systems.index(system)
        missing = []
        for key in wanted.keys:
            record = self._golden.get(decider.number, key)
            if record is None or not record.alive:
                continue
            if record.present >> number & 1:
                missing.append(key)
            else:
                judge_missing(decider, moment, number, key, record, may_miss=False)
        return missing

    def missing_rows(self, subject: str, run: int) -> Rows | None:
        """Deletes of the rows that the copies of `run` have not shown; None where there are none, or they have no name."""
        wanted = self.wanted.get(subject)
        if wanted is None or wanted.run != run:
            return None
        relation = self._relations.pop(subject, None)
        del self.wanted[subject]
        self._store()
        if relation is None or not wanted.keys or {*wanted.columns} != {relation.columns[n] for n in relation.identity}:
            return None
        return Rows(relation, Op.DELETE, [_named_row(relation, wanted.columns, key) for key in wanted.keys.values()])


def _named_row(relation: Relation, columns: tuple[str, ...], key: list[Any]) -> Row:
    given = dict(zip(columns, key, strict=True))
    return [given.get(name, ABSENT) for name in relation.columns]
