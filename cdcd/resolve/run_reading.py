"""Runs of rows of one table about usual records: mapped and handed on at once, where no single row can be particular."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cdcd.model import Op, Rows
from cdcd.resolve.copying import Copying
from cdcd.resolve.golden import Crosswalk
from cdcd.resolve.mapping import RowMapper
from cdcd.resolve.moment import Moment
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.renaming import Renames
from cdcd.resolve.runs import RunDecider
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.series import Series
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.values import ValueRefused


class RunReader:
    """Takes whole runs for `RowReader`, with the same outcome as row by row."""

    def __init__(
        self,
        deciders: Mapping[str, RunDecider],
        renames: Renames,
        crosswalk: Crosswalk,
        seeds: Seeds,
        unmapped: UnmappedRows,
        copying: Copying,
    ) -> None:
        self._deciders = deciders
        self._renames = renames
        self._crosswalk = crosswalk
        self._seeds = seeds
        self._unmapped = unmapped
        self._copying = copying

    def take(self, moment: Moment, system: int, mapper: RowMapper, rows: Rows, written: OwnWrites | None) -> bool:
        """Take rows, none of which is a delete or holds ABSENT; False, and nothing is done, where any may be particular."""
        decider = self._deciders[mapper.entity.name]
        mapped = self._mapped(system, mapper, rows)
        if mapped is None:
            return False
        keys, values = mapped
        if mapper.entity.name in self._copying.seeding:
            self._seeds.put_all(decider.number, keys, system, values)
            return True
        decider.stand_ins = mapper.stand_ins
        if written is None:
            decider.changed_run(moment, system, keys, values, rows.op, mapper.bound)
        else:
            decider.echoed_run(moment, system, keys, values, written, mapper.bound)
        return True

    def series(self, system: int, mapper: RowMapper, rows: Rows, counts: Sequence[int]) -> Series | None:
        """Changes by applications in several transactions, `counts` in each, if all may be decided in their order by one run."""
        decider = self._deciders[mapper.entity.name]
        mapped = None if mapper.entity.name in self._copying.seeding else self._mapped(system, mapper, rows)
        if mapped is None:
            return None
        decider.stand_ins = mapper.stand_ins
        keys, values = mapped
        run = decider.changes_of(system, keys)
        return None if run is None else Series(run, keys, values, counts)

    def _mapped(self, system: int, mapper: RowMapper, rows: Rows) -> tuple[list[bytes], list[list[Any]]] | None:
        """The keys and values of rows of which none is particular, learned; None, and nothing is done, where one may be."""
        decider = self._deciders[mapper.entity.name]
        if not mapper.maps_runs or not self._is_usual(system, decider) or (rows.olds is not None and any(rows.olds)):
            return None
        try:
            keys, values = mapper.map_run(rows.rows, rows.op)
        except ValueRefused:
            return None
        if self._renames.concern(decider.number, keys) or (mapper.learns and not self._learn(mapper, rows, keys)):
            return None
        return keys, values

    def _is_usual(self, system: int, decider: RunDecider) -> bool:
        """Whether nothing is known, for now, that would make single rows of the entity particular."""
        if self._unmapped.waiting or self._unmapped.held:
            return False
        name = decider.entity.name
        if name in self._copying.seeding:
            return decider.number not in self._seeds.recovery.entities
        return decider.is_plain() and not self._copying.is_watching(system, name)

    def _learn(self, mapper: RowMapper, rows: Rows, keys: Sequence[bytes]) -> bool:
        """Remember which records the rows hold; False, and nothing is done, where one may have had another key."""
        ids = [mapper.row_id(row) for row in rows.rows]
        self._crosswalk.preload(mapper.number, ids)
        named = dict(zip(ids, keys, strict=True))
        if rows.op == Op.UPDATE:
            key_of, number = self._crosswalk.key_of, mapper.number
            for row_id, key in zip(ids, keys, strict=True):
                if named[row_id] != key or key_of(number, row_id) not in (None, key):
                    return False
        for row_id, key in named.items():
            self._crosswalk.learn(mapper.number, row_id, key)
        return True
