"""Child collections: tables that refer to the parents of a pair on both sides, several rows each, known by a place of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from cdcd.init import names
from cdcd.init.evidence import converts
from cdcd.init.matching import Rows, plain_text
from cdcd.init.pairing import KeyMatch, Pair, rows_that_meet
from cdcd.init.picture import SystemPicture, TablePicture

CHILD_MIN: Final = 0.5
CONTRADICTING_MIN: Final = 5
_PLACE_WORDS: Final = frozenset({"line", "no", "number", "position", "pos", "sequence", "seq", "index", "row"})


class ChildPair(msgspec.Struct, frozen=True):
    """A collection of a pair's records. `parents` hold the parent row's id, `key` names a row within its parent."""

    pair: Pair
    tables: tuple[TablePicture, TablePicture]
    parents: tuple[str, str]
    referred: tuple[str, str]
    key: KeyMatch
    score: float

    def aligned(self, parent_rows: Rows) -> list[tuple[int, int]]:
        """Rows of both samples with the same parent and key."""
        ids = [self.pair.tables[side].values(self.referred[side]) for side in (0, 1)]
        parents = {ids[0][a]: ids[1][b] for a, b in parent_rows}
        ones, others = self._places(0), self._places(1)
        return [(at, others[parents[p], k]) for (p, k), at in ones.items() if (parents.get(p), k) in others]

    @property
    def is_contradicted(self) -> bool:
        """Whether parents meet, both have rows, and yet no rows meet: then they are not the same things."""
        parent_rows = rows_that_meet(self.pair)
        both = bool(self.tables[0].rows and self.tables[1].rows)
        return both and len(parent_rows) >= CONTRADICTING_MIN and not self.aligned(parent_rows)

    def _places(self, side: int) -> dict[tuple[Any, str], int]:
        table, column = self.tables[side], self.key.columns[side]
        rows = zip(table.values(self.parents[side]), table.values(column), strict=True)
        return {(p, plain_text(k, table.types[column])): at for at, (p, k) in enumerate(rows) if k is not None}

    def remarks(self, row_count: int) -> Iterator[str]:
        """What a person should know."""
        yield f"rows of {self.tables[0].table} and {self.tables[1].table} belong to one parent; {row_count} meet in the sample"


def child_pairs(systems: tuple[SystemPicture, SystemPicture], pairs: Sequence[Pair]) -> list[ChildPair]:
    """The best collections, each table in one at most and in no pair."""
    apart = [{pair.tables[side].table for pair in pairs if pair.key is not None} for side in (0, 1)]
    found = [
        child
        for pair in pairs
        if pair.key is not None
        for child in _of_pair(systems, pair)
        if child.tables[0].table not in apart[0] and child.tables[1].table not in apart[1]
    ]
    taken: set[tuple[int, str]] = set()
    chosen = []
    for child in sorted(found, key=lambda child: -child.score):
        places = {(side, table.table) for side, table in enumerate(child.tables)}
        if child.score >= CHILD_MIN and not taken & places and not child.is_contradicted:
            taken |= places
            chosen.append(child)
    return chosen


def _of_pair(systems: tuple[SystemPicture, SystemPicture], pair: Pair) -> Iterator[ChildPair]:
    ones, others = (systems[side].referring(pair.tables[side].table) for side in (0, 1))
    for one, first in ones:
        for other, second in others:
            named = names.similarity(one.words, other.words)
            key = _child_key((one, other), (first.columns[0], second.columns[0]))
            if key is not None and named > 0:
                referred = (first.referred[0], second.referred[0])
                parents = (first.columns[0], second.columns[0])
                score = 0.6 * named + 0.2 * key.named + 0.2 * _likeness(one, other)
                yield ChildPair(pair, (one, other), parents, referred, key, round(score, 3))


def _likeness(one: TablePicture, other: TablePicture) -> float:
    """The share of the smaller table's columns that have a namesake in the other."""
    words = [[names.words(column) for column in table.columns] for table in (one, other)]
    small, large = sorted(words, key=len)
    alike = sum(any(names.similarity(a, b) >= 0.7 for b in large) for a in small)
    return alike / len(small) if small else 0.0


def _child_key(tables: tuple[TablePicture, TablePicture], parents: tuple[str, str]) -> KeyMatch | None:
    """The columns that name a row within its parent: by a unique key, or by what was seen."""
    ones, others = (_places(tables[side], parents[side]) for side in (0, 1))
    best: tuple[float, KeyMatch] | None = None
    for one, weight in ones.items():
        for other, weight_there in others.items():
            if converts(tables[0].types[one], tables[1].types[other]):
                named = names.similarity(names.words(one), names.words(other))
                score = weight + weight_there + named
                if best is None or score > best[0]:
                    best = score, KeyMatch((one, other), 1, (0, 0), True, named)
    return None if best is None else best[1]


def _places(table: TablePicture, parent: str) -> dict[str, float]:
    found = {}
    for column in table.columns:
        kind = table.types[column].kind
        if column == parent or kind not in ("integer", "text", "enum") or table.is_counted(column):
            continue
        if table.reference(column) is not None:
            continue
        declared = table.is_unique([parent, column]) and not table.is_unique([column])
        placed = 0.5 if _PLACE_WORDS & set(names.words(column)) else 0.0
        if declared or (table.seems_unique([parent, column]) and (placed or kind == "text")):
            found[column] = (1.0 if declared else 0.3) + placed
    return found
