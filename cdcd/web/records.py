"""Records as the status page shows them: what is parked, what is in conflict, how many there are. Read-only, bounded, no values.

Read by the page's own threads from the state directory, as commands do; the supervisor is not asked. Keys are left out
unless the configuration says that they may be shown.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from cdcd import conflicts
from cdcd.blueprint import Blueprint
from cdcd.model import ABSENT
from cdcd.parking.listing import Names, ParkedFile
from cdcd.record_names import key_text
from cdcd.resolve.keys import decode_key
from cdcd.resolve.plan import Plan
from cdcd.sensitive import Masks
from cdcd.sqlite_driver import sqlite
from cdcd.state import State
from cdcd.state_directory import StateDirectory
from cdcd.storage import translated

ROWS_MAX: Final = 12
GROUPS_MAX: Final = 30
KEPT_SECONDS: Final = 2.0
SHARE_MAX: Final = 0.05
"""What takes long is kept longer, so that reading never takes more of the time than that."""
_KEY_CHARACTERS: Final = 80


class ParkedGroup(msgspec.Struct, frozen=True):
    """So many records that a target refuses for the same reason."""

    entity: str
    system: str
    code: str
    count: int
    oldest_us: int
    newest_us: int


class ParkedRecord(msgspec.Struct, frozen=True):
    """One of them. `key` is empty where keys are not shown."""

    entity: str
    key: str
    system: str
    code: str
    cause: str
    since_us: int
    attempts: int


class ConflictGroup(msgspec.Struct, frozen=True):
    """So many changes by a system that wait for a person's verdict."""

    entity: str
    system: str
    kind: str
    count: int
    oldest_us: int


class ConflictRecord(msgspec.Struct, frozen=True):
    """One of them. `field` is empty where it is about the whole record, `key` where keys are not shown."""

    entity: str
    key: str
    field: str
    system: str
    kind: str
    at_us: int


class Records(msgspec.Struct, frozen=True):
    """What there is to show. `counts`: records by entity, and whether that is all of them or only as many as were counted."""

    parked_groups: tuple[ParkedGroup, ...] = ()
    parked: tuple[ParkedRecord, ...] = ()
    conflict_groups: tuple[ConflictGroup, ...] = ()
    conflicts: tuple[ConflictRecord, ...] = ()
    counts: dict[str, tuple[int, bool]] = {}


@contextmanager
def translating() -> Iterator[None]:
    """What SQLite says while a file of the state directory is read is raised as CdcdError."""
    try:
        yield
    except sqlite.DatabaseError as error:
        raise translated(error) from error


class RecordReader:
    """Reads them, not more often than `KEPT_SECONDS` and `SHARE_MAX` allow, whoever asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counting = Counting()
        self._known: tuple[Blueprint, bytes, Plan] | None = None
        self._kept: tuple[Blueprint, Records] | None = None
        self._again_at = float("-inf")

    def read(self, blueprint: Blueprint, directory: StateDirectory) -> Records:
        """What there is now, or was a moment ago. Raises CdcdError."""
        with self._lock:
            began_at = time.monotonic()
            if self._kept is None or self._kept[0] is not blueprint or began_at > self._again_at:
                self._kept = blueprint, self._read(blueprint, directory)
                now = time.monotonic()
                self._again_at = now + max(KEPT_SECONDS, (now - began_at) / SHARE_MAX)
            return self._kept[1]

    def _read(self, blueprint: Blueprint, directory: StateDirectory) -> Records:
        with translating(), closing(State(directory.state, read_only=True)) as state:
            namer = Namer(blueprint, self._plan(blueprint, state))
            groups, listed = _parked(blueprint, directory, namer)
            return Records(
                groups,
                listed,
                tuple(map(namer.conflict_group, conflicts.open_groups(state.connection, GROUPS_MAX))),
                tuple(map(namer.conflict, conflicts.newest_open(state.connection, ROWS_MAX))),
                self._counting.go_on(state, namer.plan),
            )

    def _plan(self, blueprint: Blueprint, state: State) -> Plan:
        vocabulary = state.get("vocabulary") or b""
        if self._known is None or self._known[0] is not blueprint or self._known[1] != vocabulary:
            plan = msgspec.structs.replace(blueprint, vocabulary=vocabulary).plan()
            self._known = (blueprint, vocabulary, plan)
        return self._known[2]


def _parked(
    blueprint: Blueprint, directory: StateDirectory, namer: Namer
) -> tuple[tuple[ParkedGroup, ...], tuple[ParkedRecord, ...]]:
    groups: list[ParkedGroup] = []
    listed: list[ParkedRecord] = []
    for system in blueprint.targets:
        if not directory.deliver(system).exists():
            continue
        with closing(ParkedFile(directory, system)) as file:
            groups += [
                ParkedGroup(namer.names.name(g.number), system, g.code, g.count, g.oldest_us, g.newest_us)
                for g in file.groups(GROUPS_MAX)
            ]
            listed += [namer.parked(system, one) for one in file.newest(ROWS_MAX)]
    groups.sort(key=lambda group: -group.count)
    listed.sort(key=lambda one: -one.since_us)
    return tuple(groups[:GROUPS_MAX]), tuple(listed[:ROWS_MAX])


class Namer:
    """From what is kept to names, and to keys where they may be shown."""

    def __init__(self, blueprint: Blueprint, plan: Plan) -> None:
        self.plan = plan
        self._masks = Masks(plan, Path(blueprint.config.daemon.state_dir))
        self.names = Names(self._masks)
        self._entities = {entity.number: entity for entity in plan.entities.values()}
        self._keys_shown = frozenset(blueprint.config.web.keys_shown)
        self._copies_shown = {
            f"{name.partition(':')[0]}:{blueprint.table_names[name.partition(':')[0]].get(table, table)}"
            for name in self._keys_shown
            if (table := name.partition(":")[2])
        }

    def parked(self, system: str, one: Any) -> ParkedRecord:
        """A parked record."""
        found = self.names.named(system, one)
        name = found.entity or "what is configured no more"
        key = self._key(name, found.key)
        return ParkedRecord(name, key, system, one.code, one.cause, one.since_us, one.attempts)

    def conflict(self, one: conflicts.Conflict) -> ConflictRecord:
        """A conflict."""
        entity, system = self._entities.get(one.entity), self.plan.vocabulary.systems[one.system]
        if entity is None:
            return ConflictRecord(self.names.name(one.entity), "", "", system, one.kind, one.at_us)
        field = "" if one.slot is None else entity.fields[one.slot].name
        key = self._key(entity.name, self._masks.key(entity, decode_key(one.key, entity.key_width)))
        return ConflictRecord(entity.name, key, field, system, one.kind, one.at_us)

    def conflict_group(self, group: conflicts.OpenGroup) -> ConflictGroup:
        """Conflicts of a kind."""
        system = self.plan.vocabulary.systems[group.system]
        return ConflictGroup(self.names.name(group.entity), system, group.kind, group.count, group.oldest_us)

    def _key(self, name: str, parts: tuple[Any, ...]) -> str:
        if name.partition(".")[0] not in self._keys_shown and name not in self._copies_shown:
            return ""
        text = key_text(["" if part is ABSENT else part for part in parts])
        return text if len(text) <= _KEY_CHARACTERS else f"{text[:_KEY_CHARACTERS]}…"


# ---- how many records there are ----------------------------------------------------------------------------------


class Counting:
    """Counts the records of every entity, a piece at a time: a large table is never read as a whole for somebody's look."""

    PIECE_RECORDS: Final = 2_000
    LOOK_SECONDS: Final = 0.05
    AGAIN_SECONDS: Final = 5.0
    AGAIN_SECONDS_MAX: Final = 300.0
    RECORDS_PER_SECOND: Final = 1_000
    """The more there are, the longer a count holds."""

    def __init__(self) -> None:
        self._counted: dict[int, int] = {}
        self._complete: dict[int, int] = {}
        self._last_key: dict[int, bytes] = {}
        self._done_at: dict[int, float] = {}

    def go_on(self, state: State, plan: Plan) -> dict[str, tuple[int, bool]]:
        """Count on for a moment; return what is known. What was counted long ago is counted anew."""
        until = time.monotonic() + self.LOOK_SECONDS
        for number in self._due(plan):
            while self._piece(state, number):
                if time.monotonic() > until:
                    return self._found(plan)
        return self._found(plan)

    def _due(self, plan: Plan) -> Iterator[int]:
        for entity in plan.entities.values():
            age_seconds = time.monotonic() - self._done_at.get(entity.number, float("-inf"))
            holds_seconds = self.AGAIN_SECONDS + self._complete.get(entity.number, 0) / self.RECORDS_PER_SECOND
            if age_seconds > min(holds_seconds, self.AGAIN_SECONDS_MAX):
                yield entity.number

    def _piece(self, state: State, number: int) -> bool:
        """Count a piece; return whether there is more."""
        count, last = state.connection.execute(
            "SELECT count(*), max(key) FROM (SELECT key FROM golden WHERE entity=? AND key>? ORDER BY key LIMIT ?)",
            (number, self._last_key.get(number, b""), self.PIECE_RECORDS),
        ).fetchone()
        counted = self._counted.get(number, 0) + count
        if count == self.PIECE_RECORDS:
            self._counted[number], self._last_key[number] = counted, last
            return True
        self._complete[number] = counted
        self._counted.pop(number, None)
        self._last_key.pop(number, None)
        self._done_at[number] = time.monotonic()
        return False

    def _found(self, plan: Plan) -> dict[str, tuple[int, bool]]:
        found = {}
        for entity in plan.entities.values():
            complete = self._complete.get(entity.number)
            known = self._counted.get(entity.number) if complete is None else complete
            if known is not None:
                found[entity.name] = (known, complete is not None)
        return found
