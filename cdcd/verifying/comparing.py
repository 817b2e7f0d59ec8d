"""Compares all records of one entity in one system, or some of them, while changes flow.

Three steps. All rows are read, and the first look says which may be otherwise (most rows are as the golden record says, and
cost nothing more). Then the golden records are gone through: which should be there and no row has shown. What is left is
looked at again, in rounds: everything that the system committed before the last look is resolved (a barrier), and all that
was decided by then has arrived there; if the row is still just as it was, and nothing new was decided, it is not in step. So no change on
its way can count as a difference, however busy both sides are, and nothing need stand still.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Protocol

import msgspec
from msgspec import structs

from cdcd.report import now_us
from cdcd.verifying.candidates import Candidate, Candidates
from cdcd.verifying.judging import MOVING, Judge, Shown, Verdict
from cdcd.verifying.live_records import LiveRecords, Read
from cdcd.verifying.reference import Reference, Settled
from cdcd.verifying.results import DIFFERENCES_MAX, Comparison, Difference

SWEEP_RECORDS: Final = 1_000
ROUND_RECORDS: Final = 1_000
ROUNDS_MAX: Final = 6
"""A record that changes so often between two looks is left alone: it is busy, and not out of step."""
UNREADABLE: Final = "unreadable row"
"""Why a record may be missing: there is a row of which cdcd cannot tell what record it is."""
_NOT_THERE: Final = 0
_encode: Final = msgspec.msgpack.Encoder().encode


class NotComparable(Exception):
    """The entity cannot be compared at present; `why` is for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


class Line(Protocol):
    """What a comparison must know of the running line."""

    def settle(self) -> Settled:
        """Wait until all that the system has committed by now is resolved, and all that was decided then has arrived there."""
        ...


class Comparing:
    """One comparison. `tell` is called with how far it is."""

    def __init__(
        self,
        reference: Reference,
        records: LiveRecords,
        candidates: Candidates,
        line: Line,
        comparison: Comparison,
        tell: Callable[[Comparison], None],
    ) -> None:
        self._reference = reference
        self._records = records
        self._candidates = candidates
        self._line = line
        self._found = comparison
        self._tell = tell
        self._entity, self._system = comparison.subject, comparison.system
        self._judge = Judge(reference, self._entity, self._system)
        self._known: Counter[str] = Counter()
        self._kinds: Counter[str] = Counter()
        self._moving = 0
        self._is_any_unknown = False
        self.differences: list[Difference] = []

    def whole(self) -> Comparison:
        """Compare all records. Raises NotComparable."""
        self._found = structs.replace(self._found, estimate=self._records.estimate)
        return self._compare(self._records.pages, self._records_missing)

    def chosen(self, where: str) -> Comparison:
        """Compare those whose rows satisfy an operator's SQL; nobody is missing. Raises NotComparable, FilterRefused."""
        return self._compare(lambda: self._records.chosen(where), lambda: None)

    def named(self, keys: Sequence[bytes]) -> Comparison:
        """Compare these records. Raises NotComparable, also where they cannot be looked for."""
        self._found = structs.replace(self._found, estimate=len(keys))
        return self._compare(lambda: [self._rows_of(keys)], lambda: self._missing_of(keys))

    def _rows_of(self, keys: Sequence[bytes]) -> Sequence[Read]:
        looked_for, rows = self._records.by_keys(keys)
        if not looked_for and not self._records.finds_by_key:
            raise NotComparable(f"its records cannot be looked for by their key in {self._system}")
        return rows

    def _compare(
        self, read: Callable[[], Iterable[Sequence[Read]]], look_for_missing: Callable[[], None]
    ) -> Comparison:
        row_key = self._records.row_key
        self._found = structs.replace(self._found, state="reading", began_at_us=now_us(), row_key=row_key)
        before = self._settled()
        for page in read():
            self._first_look(page)
        self._found = structs.replace(self._found, state="rechecking")
        look_for_missing()
        while self._candidates.count():
            self._round(before)
            self._tell(self._so_far())
        return structs.replace(self._so_far(), state="done", ended_at_us=now_us())

    def _settled(self) -> Settled:
        settled = self._line.settle()
        why = self._reference.why_not(self._entity)
        if why:
            raise NotComparable(why)
        return settled

    def _so_far(self) -> Comparison:
        kinds = self._kinds
        return structs.replace(
            self._found,
            missing=kinds["missing"],
            different=kinds["different"],
            surplus=kinds["surplus"],
            known=dict(self._known),
            moving=self._moving,
        )

    # ---- the first look --------------------------------------------------------------------------------------

    def _first_look(self, rows: Sequence[Read]) -> None:
        with self._reference.moment():
            shown = self._shown(rows)
            self._preload(shown)
            suspects = [one for one in shown if self._judge.suspects(one) is not None]
            suspects = [one for one in suspects if not self._is_excused(one.key)]
        self._is_any_unknown = self._is_any_unknown or any(one.key is None for one in shown)
        with self._candidates.at_once():
            self._candidates.seen([one.key for one in shown if one.key is not None])
            self._candidates.add([(one.key, one.row_id, _digest(one)) for one in suspects])
        found = self._found
        self._found = structs.replace(found, rows=found.rows + len(rows), records=found.records + len(shown))
        self._tell(self._so_far())

    def _is_excused(self, key: bytes | None) -> bool:
        """Whether the record is told later, or refused: then it is counted so, and not looked at again."""
        why = "" if key is None else self._judge.excused(key)
        if why:
            self._known[why] += 1
        return bool(why)

    def _shown(self, rows: Sequence[Read]) -> list[Shown]:
        found = self._records.shown(rows)
        if self._records.mapper is not None:
            self._judge.stand_ins = self._records.mapper.stand_ins
        return found

    def _preload(self, shown: Sequence[Shown]) -> None:
        number = self._reference.plan.entities[self._entity].number
        self._reference.golden.preload(number, [one.key for one in shown if one.key is not None])

    # ---- who is missing --------------------------------------------------------------------------------------

    def _records_missing(self) -> None:
        number = self._reference.plan.entities[self._entity].number
        after = b""
        while True:
            with self._reference.moment():
                page = self._reference.golden.page(number, after, SWEEP_RECORDS)
                expected = [key for key, record in page if self._judge.is_expected(key, record)]
            if not page:
                return
            after = page[-1][0]
            self._add_missing(expected)

    def _missing_of(self, keys: Sequence[bytes]) -> None:
        with self._reference.moment(anew=True):
            records = [(key, self._reference.record(self._entity, key)) for key in keys]
            expected = [key for key, record in records if record is not None and self._judge.is_expected(key, record)]
        self._add_missing(expected)

    def _add_missing(self, expected: list[bytes]) -> None:
        missing = self._candidates.unseen(expected) if expected else []
        with self._reference.moment():
            missing = [key for key in missing if not self._is_excused(key)]
        if missing:
            with self._candidates.at_once():
                self._candidates.add([(key, b"", _NOT_THERE) for key in missing])

    # ---- the second look -------------------------------------------------------------------------------------

    def _round(self, before: Settled) -> None:
        """Look at some candidates again. `before` settled what all rows were read after."""
        taken = self._candidates.take(ROUND_RECORDS)
        since = self._settled()
        rows = self._records.again([c.row_id for c in taken if c.row_id])
        unseen = [c.key for c in taken if not c.row_id and c.key is not None]
        looked_for, found = self._records.by_keys(unseen) if unseen else ([], [])
        self._settled()
        with self._reference.moment(anew=True):
            shown = {one.row_id: one for one in self._shown(rows)}
            found_keys = {*looked_for}
            absent = found_keys - {one.key for one in self._shown(found)}
            again = [c for c in taken if c.row_id and not self._row_is_decided(c, shown.get(c.row_id), since)]
            for c in taken:
                if c.key is None or c.row_id:
                    continue
                if c.key in absent:
                    again += [] if self._missing_is_decided(c.key, since) else [c]
                elif c.key not in found_keys:
                    self._moving += not self._missing_is_decided(c.key, before)
            again = [structs.replace(c, digest=_digest_of(c, shown), rounds=c.rounds + 1) for c in again]
        self._moving += sum(c.rounds >= ROUNDS_MAX for c in again)
        self._candidates.put_back([c for c in again if c.rounds < ROUNDS_MAX])

    def _row_is_decided(self, candidate: Candidate, one: Shown | None, since: Settled) -> bool:
        """Whether the row need not be looked at again. One that is gone need not: whom it lacks now is for the next time."""
        verdict = None if one is None else self._judge.row(one, since)
        if one is None or verdict is None:
            return True
        if verdict.known == MOVING or _digest(one) != candidate.digest:
            return False
        self._count(verdict, one.key, one.row_id)
        return True

    def _missing_is_decided(self, key: bytes, since: Settled) -> bool:
        verdict = self._judge.missing(key, since)
        if verdict is not None and verdict.known == MOVING:
            return False
        if verdict is not None:
            known = verdict.known or (UNREADABLE if self._is_any_unknown else "")
            self._count(structs.replace(verdict, known=known), key, b"")
        return True

    def _count(self, verdict: Verdict, key: bytes | None, row_id: bytes) -> None:
        if verdict.known:
            self._known[verdict.known] += 1
            return
        self._kinds[verdict.kind] += 1
        if len(self.differences) < DIFFERENCES_MAX:
            self.differences.append(
                Difference(verdict.kind, key or b"", row_id, verdict.fields, verdict.cause, verdict.mend)
            )


def _digest(shown: Shown) -> int:
    """By which what a row shows is told apart."""
    values: list[Any] = [shown.key, shown.refused, shown.values]
    return zlib.crc32(_encode(values)) | 1 << 32


def _digest_of(candidate: Candidate, shown: dict[bytes, Shown]) -> int:
    one = shown.get(candidate.row_id)
    return _NOT_THERE if one is None else _digest(one)
