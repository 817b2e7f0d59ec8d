"""Which columns of two tables are the same field, and how one becomes the other. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

import msgspec

from cdcd.conversions import column_text
from cdcd.init import names
from cdcd.init.evidence import MEMBERS_MAX, Relation, converts, is_member, member_names, plain, relate
from cdcd.init.wide import Wide, WideColumn
from cdcd.values import ValueType

ALIGNED_MIN: Final = 3
FIELD_MIN: Final = 0.38
_PART_PENALTY: Final = 0.06
_STAMPS: Final = frozenset({"write", "update", "updated", "modified", "changed", "create", "created"})
_MOMENTS: Final = frozenset({"date", "datetime", "instant"})
Rows = Sequence[tuple[int, int]]
"""Rows of both samples that are the same record."""


class ColumnMatch(msgspec.Struct, frozen=True):
    """Two columns that are taken for one field. `score` is from 0 to 1."""

    columns: tuple[WideColumn, WideColumn]
    score: float
    named: float
    relation: Relation | None
    compared: int

    @property
    def confidence(self) -> str:
        """The score in a word."""
        return "high" if self.score >= 0.8 else "fair" if self.score >= 0.55 else "low"


def plain_text(value: Any, kind: ValueType) -> str:
    """A value so that equal keys of different types are equal texts."""
    return str(plain(value, kind))


def match_columns(
    tables: tuple[Wide, Wide], rows: Rows, apart: tuple[Collection[str], Collection[str]]
) -> list[ColumnMatch]:
    """The best matches, each column in one at most, best first. Columns `apart` are spoken for."""
    found = sorted(_candidates(tables, rows, apart), key=lambda match: -match.score)
    taken: set[tuple[int, str]] = set()
    chosen = []
    for match in found:
        places = {(side, column.name) for side, column in enumerate(match.columns)}
        if not taken & places:
            taken |= places
            chosen.append(match)
    return chosen


def _candidates(
    tables: tuple[Wide, Wide], rows: Rows, apart: tuple[Collection[str], Collection[str]]
) -> Iterator[ColumnMatch]:
    ones = [column for column in tables[0].columns.values() if column.name not in apart[0]]
    others = [column for column in tables[1].columns.values() if column.name not in apart[1]]
    for one in ones:
        for other in others:
            match = judge(one, other, rows)
            if match is not None and match.score >= FIELD_MIN:
                yield match


def judge(one: WideColumn, other: WideColumn, rows: Rows) -> ColumnMatch | None:
    """How likely two columns are the same field; None where nothing speaks for it."""
    named = max(
        names.similarity(names.words(one.bare), names.words(other.bare)),
        names.similarity(names.words(one.name), names.words(other.name)),
    )
    pairs = [(one.values[a], other.values[b]) for a, b in rows]
    told = [(a, b) for a, b in pairs if a is not None and b is not None]
    relation = relate((one.type, other.type), told) if len(told) >= ALIGNED_MIN else None
    score = _score(one, other, named, relation, len(told))
    if score is None:
        return None
    penalty = _PART_PENALTY * sum(bool(column.part) for column in (one, other))
    return ColumnMatch((one, other), round(max(0.0, score - penalty), 3), named, relation, len(told))


def with_all_members(match: ColumnMatch) -> tuple[ColumnMatch, str]:
    """A match by a map, with values that no two rows showed together, and what is to be said of them.

    Where each side has just one such value, they are taken for the same.
    """
    relation = match.relation
    if relation is None or relation.maps is None:
        return match, ""
    types = (match.columns[0].type, match.columns[1].type)
    left = [
        {column_text(value) for value in column.values if value is not None} - set(mapping)
        for column, mapping in zip(match.columns, relation.maps, strict=True)
    ]
    if not left[0] and not left[1]:
        return match, ""
    told = " and ".join("/".join(sorted(one)) or "nothing" for one in left)
    if any(len(one) > MEMBERS_MAX or not all(map(is_member, one)) for one in left):
        return match, "; further values, which were not seen in rows that meet, are missing here"
    if [len(one) for one in left] != [1, 1]:
        return match, f"; NOT in the map, because no rows that meet have them: {told}"
    pairs = dict(zip(relation.maps[0], relation.maps[1], strict=True)) | {left[0].pop(): left[1].pop()}
    named = member_names(types, pairs)
    maps = (named, {other: named[one] for one, other in pairs.items()})
    complete = msgspec.structs.replace(match, relation=msgspec.structs.replace(relation, maps=maps))
    return complete, f"; {told} are left over on each side and taken for the same"


def _score(one: WideColumn, other: WideColumn, named: float, relation: Relation | None, compared: int) -> float | None:
    if relation is not None:
        strength = min(
            1.0, (0.0, 0.1, 0.72, 0.8, 0.85)[min(relation.distinct, 4)] + 0.02 * max(0, relation.distinct - 4)
        )
        if relation.kind == "map":
            strength *= 0.85
        if relation.distinct < 3 and named < 0.5 and (relation.surplus < 0.6 or compared < 12):
            return None  # two flags agree soon
        return 0.7 * min(1.0, 0.5 + 0.6 * relation.surplus) * strength + 0.3 * named
    if one.part or other.part or not converts(one.type, other.type) or _are_stamps(one, other):
        return None
    if compared >= 2 * ALIGNED_MIN:
        return 0.5 * named if named >= 0.8 else None
    return 0.6 * named if named >= 0.65 else None


def _are_stamps(one: WideColumn, other: WideColumn) -> bool:
    """When a row was written says something about a database, nothing about a record."""
    return any(
        column.type.kind in _MOMENTS and not _STAMPS.isdisjoint(names.words(column.bare)) for column in (one, other)
    )
