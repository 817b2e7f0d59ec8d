"""Columns that refer to records: a foreign key on either side, to tables that are one entity. Pure, but for fetches."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec

from cdcd.init import names
from cdcd.init.matching import ALIGNED_MIN, Rows, plain_text
from cdcd.init.picture import SystemPicture
from cdcd.init.wide import Wide


class ReferenceMatch(msgspec.Struct, frozen=True):
    """A column of each table that refers to the same entity."""

    entity: str
    columns: tuple[str, str]
    score: float
    why: str

    @property
    def confidence(self) -> str:
        """The score in a word."""
        return "high" if self.score >= 0.8 else "fair" if self.score >= 0.55 else "low"


class KeysById:
    """The business keys of rows by their id, for tables that are entities: (side, table) -> (entity, key column)."""

    def __init__(
        self, entities: Mapping[tuple[int, str], tuple[str, str]], systems: tuple[SystemPicture, SystemPicture]
    ) -> None:
        self._entities = entities
        self._systems = systems

    def entity(self, side: int, table: str) -> str | None:
        """The entity that a table is."""
        return self._entities.get((side, table), (None, ""))[0]

    def keys(self, side: int, table: str, referred: str, ids: Collection[Any]) -> dict[Any, str]:
        """The key of each of these ids."""
        picture = self._systems[side].tables[table]
        _, column = self._entities[side, table]
        if referred not in picture.columns or column not in picture.columns:
            return {}
        at, kind = picture.columns.index(column), picture.types[column]
        found = self._systems[side].rows_of(picture, referred, ids)
        return {value: plain_text(rows[0][at], kind) for value, rows in found.items() if rows[0][at] is not None}


def match_references(
    wides: tuple[Wide, Wide], rows: Rows, keys: KeysById, spoken: tuple[Collection[str], ...]
) -> list[ReferenceMatch]:
    """The best matches, each column in one at most."""
    found = sorted(_candidates(wides, rows, keys, spoken), key=lambda match: -match.score)
    taken: set[tuple[int, str]] = set()
    chosen = []
    for match in found:
        places = set(enumerate(match.columns))
        if match.score >= 0.5 and not taken & places:
            taken |= places
            chosen.append(match)
    return chosen


def _candidates(
    wides: tuple[Wide, Wide], rows: Rows, keys: KeysById, spoken: tuple[Collection[str], ...]
) -> Iterator[ReferenceMatch]:
    sides = [_columns(side, wides[side], keys, spoken[side]) for side in (0, 1)]
    for one, (entity, ones) in sides[0].items():
        for other, (same, others) in sides[1].items():
            if entity != same:
                continue
            named = names.similarity(names.words(one), names.words(other))
            pairs = [(ones.get(_at(wides[0], one, a)), others.get(_at(wides[1], other, b))) for a, b in rows]
            told = [(a, b) for a, b in pairs if a is not None and b is not None]
            agreeing = sum(a == b for a, b in told)
            if len(told) >= ALIGNED_MIN:
                score = 0.8 * agreeing / len(told) + 0.2 * named
                yield ReferenceMatch(
                    entity, (one, other), score, f"{agreeing} of {len(told)} rows refer to the same {entity}"
                )
            else:
                yield ReferenceMatch(entity, (one, other), 0.5 + 0.2 * named, f"foreign keys to {entity} on both sides")


def _at(wide: Wide, column: str, row: int) -> Any:
    return wide.columns[column].values[row]


def _columns(side: int, wide: Wide, keys: KeysById, spoken: Collection[str]) -> dict[str, tuple[str, dict[Any, str]]]:
    """Columns that refer to an entity, with the keys of what they refer to."""
    found = {}
    for column in wide.table.columns:
        reference = wide.table.reference(column)
        entity = None if reference is None or column in spoken else keys.entity(side, reference.table)
        if reference is not None and entity is not None:
            ids = set(wide.table.told(column))
            found[column] = (entity, keys.keys(side, reference.table, reference.referred[0], ids))
    return found
