"""What is read again because somebody asked: an entity or a plain copy, whole or some records of it; a system after a gap."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

import msgspec

from cdcd.journal import ChunkNote
from cdcd.resolve.copying import Copying
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.gathering import Gathering
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.moment import Moment
from cdcd.resolve.plan import Plan, copies_of
from cdcd.resolve.reading import RowReader

RESYNC: Final = "resync"
CANCEL: Final = "cancel-resync"
REPOSITIONED: Final = "repositioned"


class Resync(msgspec.Struct, frozen=True, omit_defaults=True):
    """The arguments of the command `resync`.

    `systems`: only their tables are read again (None: all). `filtered`: only some rows are; where these were named, `keys`
    are their records, or of plain copies `rows` the values of `columns`.
    """

    entity: str
    systems: tuple[str, ...] | None = None
    filtered: bool = False
    keys: tuple[bytes, ...] = ()
    columns: tuple[str, ...] = ()
    rows: tuple[list[Any], ...] = ()

    @property
    def is_whole(self) -> bool:
        """Whether all rows in all systems are told anew."""
        return self.systems is None and not self.filtered


class Resyncs:
    """Carries out such commands for what is in scope, and judges what was named and is not there."""

    def __init__(
        self,
        plan: Plan,
        deciders: Mapping[str, EntityDecider],
        copying: Copying,
        reader: RowReader,
        gathering: Gathering,
    ) -> None:
        self._plan = plan
        self._systems = plan.vocabulary.systems
        self._deciders = deciders
        self._copying = copying
        self._reader = reader
        self._gathering = gathering

    # ---- commands --------------------------------------------------------------------------------------------

    def start(self, run: int, asked: Resync, names: Collection[str]) -> bool:
        """Have rows told anew; `names` are the entities in scope. False where nothing of it is in scope."""
        if names and not asked.filtered:
            self._copying.start_resync(run, names, asked.systems)
        elif names:
            for system in (asked.systems or ()) if asked.entity not in self._copying.seeding else ():
                if asked.keys:
                    self._copying.named.want_records(run, system, asked.entity, asked.keys)
        elif asked.entity not in self._reader.scope.copies:
            return False
        elif not asked.filtered:
            self._copying.named.forget(*asked.entity.split(":", 1))
            self._reader.empty_copies(*asked.entity.split(":", 1))
        elif asked.rows:
            self._copying.named.want_rows(run, asked.entity, asked.columns, asked.rows)
        return True

    def cancel(self, entity: str, names: Collection[str]) -> None:
        """The copies of a resync have ended before they were whole."""
        if names:
            self._copying.cancel_resync(names)
        elif entity in self._reader.scope.copies:
            self._copying.named.forget(*entity.split(":", 1))

    def repositioned(self, run: int, system: str, *, compare: bool) -> None:
        """The log of a system is read from a later place: everything that is read there is told anew, if that is wanted."""
        if not compare:
            return
        scope = self._reader.scope
        self._copying.repositioned(run, system, [name for name in self._deciders if name in scope.entities])
        for table in self._plan.routes_from(system):
            if copies_of(system, table) in scope.copies:
                self._reader.empty_copies(system, table)

    # ---- what was named --------------------------------------------------------------------------------------

    def copied(self, moment: Moment, source: str, note: ChunkNote) -> None:
        """A copy of some rows was read to its end: what was named and not shown is not there."""
        if not self._copying.named.wanted:
            return
        gone = self._copying.named.missing_rows(copies_of(source, note.table), note.run)
        if gone is not None:
            self._reader.read_deleted_copies(source, gone)
        system = self._systems.index(source)
        for binding in self._plan.by_table(source).get(note.table, []):
            if binding.entity not in self._reader.scope.entities or binding.entity in self._copying.seeding:
                continue
            decider = self._deciders[binding.entity]
            for key in self._copying.named.missing_records(moment, source, binding.entity, note.run):
                if binding.is_gathered:
                    self._gathering.lose(binding_number(self._plan, decider.entity, source), key)
                else:
                    decider.deleted(moment, system, key)
        self._reader.put_together(source, copied=True)
