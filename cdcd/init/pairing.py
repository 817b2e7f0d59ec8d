"""Which tables of two databases hold the same kind of record, and by which key. Pure, but for rows fetched by key."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from cdcd.init import names
from cdcd.init.evidence import converts, plain
from cdcd.init.picture import KEY_VALUES_MIN, SystemPicture, TablePicture
from cdcd.values import ValueType

PAIR_MIN: Final = 0.45
NAMED_PAIR_MIN: Final = 0.72
PROBE_KEYS: Final = 60
_PROBED_PAIRS_MAX: Final = 300


class KeyMatch(msgspec.Struct, frozen=True):
    """A column of each table whose values meet. Counts are of different sampled values."""

    columns: tuple[str, str]
    both: int
    only: tuple[int, int]
    complete: bool
    named: float

    @property
    def overlap(self) -> float:
        """The share of the smaller side's values that the other side has."""
        smaller = self.both + min(self.only)
        return self.both / smaller if smaller else 0.0


class Pair(msgspec.Struct, frozen=True):
    """Two tables that hold the same records. `by_name` says that no values spoke for it."""

    tables: tuple[TablePicture, TablePicture]
    score: float
    key: KeyMatch | None
    named: float
    others: tuple[str, ...] = ()

    @property
    def by_name(self) -> bool:
        """Whether names alone speak for it."""
        return self.key is None or self.key.both == 0


def rows_that_meet(pair: Pair) -> list[tuple[int, int]]:
    """The rows of both samples that have the same key, once each."""
    if pair.key is None:
        return []
    ones, others = (
        {
            str(plain(value, table.types[column])): at
            for at, value in enumerate(table.values(column))
            if value is not None
        }
        for table, column in zip(pair.tables, pair.key.columns, strict=True)
    )
    return [(at, others[value]) for value, at in ones.items() if value in others]


def table_pairs(one: SystemPicture, other: SystemPicture) -> list[Pair]:
    """The best pairs, each table in one at most, best first."""
    candidates = sorted(_candidates(one, other), key=lambda pair: -pair.score)
    taken: set[tuple[int, str]] = set()
    found: list[Pair] = []
    for pair in candidates:
        places = {(side, table.table) for side, table in enumerate(pair.tables)}
        if taken & places:
            continue
        taken |= places
        rivals = [f"{a.table} - {b.table}" for a, b in _rivals(pair, candidates)]
        found.append(msgspec.structs.replace(pair, others=tuple(rivals[:3])))
    return found


def _rivals(pair: Pair, candidates: list[Pair]) -> Iterator[tuple[TablePicture, TablePicture]]:
    for other in candidates:
        shares = other.tables[0] is pair.tables[0] or other.tables[1] is pair.tables[1]
        if other is not pair and shares and other.score > 0.75 * pair.score:
            yield other.tables


def _candidates(one: SystemPicture, other: SystemPicture) -> Iterator[Pair]:
    keys = {id(table): table.key_candidates() for system in (one, other) for table in system.tables.values()}
    probes = _PROBED_PAIRS_MAX
    for first in one.tables.values():
        for second in other.tables.values():
            named = names.similarity(first.words, second.words)
            key = _best_key(first, second, keys[id(first)], keys[id(second)])
            if key is not None and not key.complete and key.overlap < 0.5 and named >= 0.5 and probes:
                probes -= 1
                key = _probed(one, other, first, second, key) or key
            pair = _judged(first, second, key, named)
            if pair is not None:
                yield pair


def _judged(first: TablePicture, second: TablePicture, key: KeyMatch | None, named: float) -> Pair | None:
    """Values that meet speak loudest; where there are values and they do not, names must say it all the louder."""
    if key is not None and key.both >= KEY_VALUES_MIN:
        weight = min(1.0, 0.6 + key.both / 50)
        score = 0.55 * key.overlap * weight + 0.1 * key.named + 0.35 * named
        return Pair((first, second), round(score, 3), key, named) if score >= PAIR_MIN else None
    silent = not (first.rows and second.rows)
    if key is None or (not silent and named < 0.9) or named < NAMED_PAIR_MIN:
        return None
    return Pair((first, second), round(0.5 * named, 3), key, named)


def _best_key(first: TablePicture, second: TablePicture, ones: list[str], others: list[str]) -> KeyMatch | None:
    found = [_key_match(first, second, a, b) for a in ones for b in others if converts(first.types[a], second.types[b])]
    useful = [match for match in found if match.both or match.named >= 0.7]
    own = [match for match in useful if not any("." in column for column in match.columns)]
    best = max(own, key=_weight, default=None)
    if best is not None and best.both >= KEY_VALUES_MIN:
        return best  # a key in a table of its own only where the main one has none
    return max(useful, key=_weight, default=None)


def _weight(match: KeyMatch) -> tuple[float, float, int]:
    return (round(match.overlap if match.both >= KEY_VALUES_MIN else 0.0, 1), match.named, match.both)


def _key_match(first: TablePicture, second: TablePicture, a: str, b: str) -> KeyMatch:
    ones = _texts(first.told(a), first.types[a])
    others = _texts(second.told(b), second.types[b])
    both = len(ones & others)
    named = names.similarity(names.words(a), names.words(b))
    return KeyMatch((a, b), both, (len(ones) - both, len(others) - both), first.complete and second.complete, named)


def _texts(values: list[Any], kind: ValueType) -> set[str]:
    return {str(plain(value, kind)) for value in values}


def _probed(
    one: SystemPicture, other: SystemPicture, first: TablePicture, second: TablePicture, key: KeyMatch
) -> KeyMatch | None:
    """Samples of large tables may miss one another: ask each side for keys of the other, where an index serves it."""
    a, b = key.columns
    if second.is_unique([b]):
        side, wanted, asked, column = other, first.told(a)[-PROBE_KEYS:], second, b
    elif first.is_unique([a]):
        side, wanted, asked, column = one, second.told(b)[-PROBE_KEYS:], first, a
    else:
        return None
    found = side.rows_of(asked, column, wanted)
    asked.add([row for rows in found.values() for row in rows])
    missing = len(set(wanted)) - len(found)
    return KeyMatch(key.columns, len(found), (missing, missing), False, key.named)
