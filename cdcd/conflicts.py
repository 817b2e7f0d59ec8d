"""What changes lost against their owners: kept for a person to look at, to accept or to reject.

Of each field of a record, and of the record as a whole, the last such change by each system is kept. Some are open, so
that a person should decide; of others ("reverted", "ignored", "older", …) only what was lost is kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal, TypeAlias, get_args

import msgspec

from cdcd.model import ABSENT
from cdcd.state import OPEN_CONFLICTS, State

Kind: TypeAlias = Literal[
    "held",
    "ignored",
    "reverted",
    "older",
    "trigger",
    "create-held",
    "create-ignored",
    "create-reverted",
    "delete-held",
    "delete-ignored",
    "delete-reverted",
    "edited",
    "unmatched",
]
"""What it was: a change of a field by a system that does not own it, and what became of it; one that a later change has
overtaken ("older"); one that a trigger made in our own transaction. Or of a whole record: created or deleted by a system
that may not, or found only in systems that may not create it ("unmatched"). Or what a field held before an operator's
correction ("edited")."""
KINDS: Final[tuple[str, ...]] = get_args(Kind)
OPEN: Final = frozenset(OPEN_CONFLICTS)
"""Kinds that wait for a person. The others only keep what was lost."""
STANDING: Final = frozenset({"held", "ignored", "trigger"})
"""Kinds whose value stands in its system."""
KNOWN_MAX: Final = 100_000
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


class Conflict(msgspec.Struct, frozen=True):
    """What `system` (a number) wanted: `value` in the field `slot`; or of the whole record, whose values `value` has.

    Journal entry `seq` brought it, committed at `at_us`. The same `seq` means the same conflict.
    """

    entity: int
    key: bytes
    system: int
    kind: Kind
    slot: int | None = None
    value: Any = None
    seq: int = 0
    at_us: int = 0

    @property
    def is_delete(self) -> bool:
        """Whether the record was deleted by a system that may not."""
        return self.kind.startswith("delete")

    @property
    def is_create(self) -> bool:
        """Whether the record was created by a system that may not."""
        return self.kind.startswith("create") or self.kind == "unmatched"


class ConflictBook:
    """The conflicts as resolve keeps them, within its open transaction. What has none costs nothing to ask."""

    def __init__(self, state: State) -> None:
        self._connection = state.connection
        self._known: set[tuple[int, bytes]] | None = set()

    def load(self) -> None:
        """Know by heart which records have any, while they are few: at the start, and after a step that failed."""
        found = self._connection.execute(
            "SELECT DISTINCT entity, key FROM conflicts LIMIT ?", (KNOWN_MAX + 1,)
        ).fetchall()
        self._known = None if len(found) > KNOWN_MAX else {(entity, bytes(key)) for entity, key in found}

    def may_have(self, entity: int, key: bytes) -> bool:
        """Whether the record may have conflicts: then `of` is worth its query."""
        return self._known is None or (entity, key) in self._known

    def may_have_any(self, entity: int, keys: Iterable[bytes]) -> bool:
        """Whether any of these records may have conflicts."""
        known = self._known
        return known is None or (bool(known) and any((entity, key) in known for key in keys))

    def note(self, conflict: Conflict) -> None:
        """Keep it in the place of an earlier one; the very same one keeps its age, as images repeat what stands."""
        c = conflict
        known = self.find(c.entity, c.key, c.system, c.slot) if self.may_have(c.entity, c.key) else None
        if known is not None and (known.kind, known.value) == (c.kind, c.value) and c.kind in OPEN | STANDING:
            return
        self._connection.execute(
            "INSERT OR REPLACE INTO conflicts (entity, key, system, slot, kind, seq, at_us, value) VALUES (?,?,?,?,?,?,?,?)",
            (c.entity, c.key, c.system, c.slot, c.kind, c.seq, c.at_us, _encode(c.value)),
        )
        if self._known is not None:
            self._known.add((c.entity, c.key))
            if len(self._known) > KNOWN_MAX:
                self._known = None

    def of(self, entity: int, key: bytes) -> list[Conflict]:
        """All conflicts of a record."""
        if not self.may_have(entity, key):
            return []
        return listed(self._connection, "entity=? AND key=?", (entity, key))

    def find(self, entity: int, key: bytes, system: int, slot: int | None) -> Conflict | None:
        """The conflict of that system about that field (None: about the whole record)."""
        return next((c for c in self.of(entity, key) if (c.system, c.slot) == (system, slot)), None)

    def clear(self, conflicts: Iterable[Conflict]) -> None:
        """These are settled."""
        for c in conflicts:
            self._connection.execute(
                "DELETE FROM conflicts WHERE entity=? AND key=? AND system=? AND coalesce(slot, -1)=?",
                (c.entity, c.key, c.system, -1 if c.slot is None else c.slot),
            )
            if self._known is not None and not listed(self._connection, "entity=? AND key=?", (c.entity, c.key)):
                self._known.discard((c.entity, c.key))

    def forget_before(self, seq: int) -> int:
        """Drop what was only kept and is older than the journal; return how many."""
        marks = ",".join("?" * len(OPEN_CONFLICTS))
        gone = self._connection.execute(
            f"DELETE FROM conflicts WHERE seq < ? AND kind NOT IN ({marks}) AND kind NOT LIKE '%ignored'",
            (seq, *OPEN_CONFLICTS),
        )
        return int(gone.rowcount)


def listed(connection: Any, where: str = "1", parameters: tuple[Any, ...] = (), limit: int = -1) -> list[Conflict]:
    """Conflicts, oldest first. `where` is a condition on the table's columns, with `parameters`."""
    rows = connection.execute(
        f"SELECT entity, key, system, kind, slot, value, seq, at_us FROM conflicts WHERE {where} ORDER BY id LIMIT ?",
        (*parameters, limit),
    )
    return [
        Conflict(entity, bytes(key), system, kind, slot, None if value is None else _decode(value), seq, at_us)
        for entity, key, system, kind, slot, value, seq, at_us in rows
    ]


class OpenGroup(msgspec.Struct, frozen=True):
    """So many conflicts of an entity (a number) with a system and of a kind wait for a person, the first since `oldest_us`."""

    entity: int
    system: int
    kind: Kind
    count: int
    oldest_us: int


def newest_open(connection: Any, limit: int) -> list[Conflict]:
    """The conflicts that wait for a person, newest first, without their values."""
    marks = ",".join("?" * len(OPEN_CONFLICTS))
    rows = connection.execute(
        f"SELECT entity, key, system, kind, slot, seq, at_us FROM conflicts WHERE kind IN ({marks}) ORDER BY id DESC LIMIT ?",
        (*OPEN_CONFLICTS, limit),
    )
    return [
        Conflict(entity, bytes(key), system, kind, slot, None, seq, at_us)
        for entity, key, system, kind, slot, seq, at_us in rows
    ]


def open_groups(connection: Any, limit: int) -> list[OpenGroup]:
    """What waits for a person, the most first."""
    marks = ",".join("?" * len(OPEN_CONFLICTS))
    rows = connection.execute(
        f"SELECT entity, system, kind, count(*), min(at_us) FROM conflicts WHERE kind IN ({marks})"
        " GROUP BY entity, system, kind ORDER BY 4 DESC LIMIT ?",
        (*OPEN_CONFLICTS, limit),
    )
    return [OpenGroup(*row) for row in rows]
