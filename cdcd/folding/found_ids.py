"""Business keys as lookups take them, and the ids that lookups of one batch have found: for adapters. Pure."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, Final

import msgspec

from cdcd.model import Lookup, TableWrite, Value, WriteKind

_NONE: Final[Mapping[Hashable, Value]] = {}


def hashable(value: Any) -> Any:
    """A business key with tuples in the place of lists."""
    return tuple(hashable(part) for part in value) if isinstance(value, list) else value


def key_parts(lookup: Lookup, value: Any) -> Sequence[Any]:
    """What a business key holds for each key column of a lookup."""
    return (value,) if len(lookup.key) == 1 else value


class FoundIds:
    """What the lookups of the last writes' keys have found (`TableWrite`). Of each lookup only the last write is kept."""

    def __init__(self) -> None:
        self._found: dict[tuple[Lookup, bool], Mapping[Hashable, Value]] = {}

    def copy(self) -> FoundIds:
        """As it is now."""
        copied = FoundIds()
        copied._found = dict(self._found)
        return copied

    def of(self, write: TableWrite, lookup: Lookup) -> Mapping[Hashable, Value]:
        """The ids by business key (`hashable`) that may be taken for it."""
        return self._found.get(_place(write, lookup), _NONE)

    def keep(self, write: TableWrite, lookup: Lookup, ids: Mapping[Hashable, Value]) -> None:
        """Keep the ids of a lookup of a key column."""
        if lookup.column in write.key:
            self._found[_place(write, lookup)] = ids


def _place(write: TableWrite, lookup: Lookup) -> tuple[Lookup, bool]:
    return msgspec.structs.replace(lookup, column=""), write.kind is WriteKind.DELETE


def tables_of(lookups: Sequence[Lookup]) -> list[str]:
    """All tables that lookups read."""
    found: dict[str, None] = {}
    for lookup in lookups:
        found |= dict.fromkeys([lookup.table, *tables_of(lookup.nested)])
    return list(found)
