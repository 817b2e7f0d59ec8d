"""What may cure parked records all at once, so that they are tried before their time.

A table that was changed may take what it refused, another configuration may write something else, and whoever restarted
or replaced a server may have changed anything in it. What none of these can cure waits for its turn.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from cdcd.model import TableShape
from cdcd.parking.parked import ParkedRecords
from cdcd.resolve.plan import EntityPlan, Plan, Route

RECONNECT_SECONDS: Final = 60.0
"""A connection that comes and goes has them tried again no more often than that."""
OURS: Final = (
    "value-refused",
    "target-column-missing",
    "target-type-mismatch",
    "target-table-missing",
    "target-id-unknown",
    "target-no-key",
    "target-key-mismatch",
)
"""Codes of what we refuse by ourselves, from the configuration and the shape of the tables: the server was not asked."""
_SHAPES: Final = "shapes"
_CONFIGURATION: Final = "configuration"
_RECONNECTED: Final = "reconnected_at_us"
_encode: Final = msgspec.msgpack.Encoder().encode
_log: Final = logging.getLogger(__name__)


def known_shapes(parked_note: bytes | None) -> dict[str, TableShape]:
    """The target's tables as they were when they were last looked at."""
    return {} if parked_note is None else msgspec.msgpack.decode(parked_note, type=dict[str, TableShape])


class Cures:
    """Makes parked records of one target due when something has changed that may cure them."""

    def __init__(self, plan: Plan, system: str, parked: ParkedRecords) -> None:
        self._plan = plan
        self._system = system
        self._parked = parked

    def described(self, shapes: Mapping[str, TableShape]) -> None:
        """Take note of the target's tables as they are now."""
        before = known_shapes(self._parked.note(_SHAPES))
        if shapes == before:
            return
        changed = {name for name in {*before, *shapes} if before.get(name) != shapes.get(name)}
        numbers = [number for number, tables in self._tables() if before and not changed.isdisjoint(tables)]
        self._hurry("a table changed", numbers)
        self._parked.put_note(_SHAPES, _encode(dict(shapes)))

    def _tables(self) -> Iterator[tuple[int, tuple[str, ...]]]:
        """The tables that each entity and copy is written to."""
        for entity in self._plan.entities.values():
            if self._system in entity.bindings:
                yield entity.number, entity.bindings[self._system].tables
        for route in self._plan.routes:
            if route.target == self._system:
                yield -1 - route.number, (route.target_table,)

    def started(self) -> None:
        """The target was reached: for the first time, anew, or with another configuration."""
        digests = dict(self._digests())
        noted = self._parked.note(_CONFIGURATION)
        before = None if noted is None else msgspec.msgpack.decode(noted, type=dict[int, int])
        if digests != before:
            changed = [number for number, digest in digests.items() if before and before.get(number) != digest]
            self._hurry("the configuration changed", changed)
            self._parked.put_note(_CONFIGURATION, _encode(digests))
        if not len(self._parked):
            return
        now_us = time.time_ns() // 1000
        last_us = int(self._parked.note(_RECONNECTED) or 0)
        if not 0 <= now_us - last_us < RECONNECT_SECONDS * 1e6:
            due = self._parked.hurry(but_for=OURS)
            _log.info("parked records are tried at once system=%s count=%d why=connected", self._system, due)
            self._parked.put_note(_RECONNECTED, str(now_us).encode())

    def _digests(self) -> Iterator[tuple[int, int]]:
        """What the configuration says of how each entity and copy is written, as a number."""
        for entity in self._plan.entities.values():
            if self._system in entity.bindings:
                yield entity.number, zlib.crc32(_encode(_written(entity, self._system)))
        for route in self._plan.routes:
            if route.target == self._system:
                yield -1 - route.number, zlib.crc32(_encode(_copied(route)))

    def _hurry(self, why: str, numbers: list[int]) -> None:
        due = self._parked.hurry(numbers)
        if due:
            _log.info("parked records are tried at once system=%s count=%d why=%s", self._system, due, why)


def _written(entity: EntityPlan, system: str) -> tuple[object, ...]:
    """Nothing unordered: it must be the same in every process."""
    return (entity.fields, entity.key, entity.rules, sorted(entity.subscribe), entity.bindings[system])


def _copied(route: Route) -> tuple[object, ...]:
    return (route.source_table, route.target_table, sorted(route.leave_out), route.unfit)
