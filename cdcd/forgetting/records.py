"""What resolve does when a record is to be forgotten: refuse it, or erase what the state keeps of it, in one commit.

Only what is over can be forgotten: the record is deleted in every system, every system has shown that it is, and nothing
about it is on its way, owed or suspended. Then no row that may still come needs what is erased.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from cdcd.forgetting.job import Job, Request
from cdcd.forgetting.rows import RowFinder, as_texts
from cdcd.journal import Journal
from cdcd.model import ABSENT, Op, Rows
from cdcd.resolve import trail
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.keys import after_prefix
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.plan import EntityPlan, Plan, Route
from cdcd.resolve.trail import Trail
from cdcd.state import State
from cdcd.stored_rows import with_values

_PREFIXED: Final = {
    "golden": ("golden", "entity", "key"),
    "shown": ("golden", "entity", "key"),
    "conflicts": ("conflicts", "entity", "key"),
    "seeds": ("seeds", "entity", "key"),
    "seed_events": ("seeds", "entity", "key"),
    "seen": ("seen", "entity", "key"),
    "levels": ("levels", "entity", "key"),
}
"""By table: what it is counted as, and its columns for the entity and the key."""
_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode


class Eraser:
    """Erases one record, with its children, from the state, within its open transaction."""

    def __init__(
        self, plan: Plan, state: State, golden: GoldenRecords, journal: Journal | None, request: Request
    ) -> None:
        """`journal` has the shapes of rows that wait in the outbox."""
        self._plan = plan
        self._state = state
        self._execute = state.connection.execute
        self._golden = golden
        self._journal = journal
        self._request = request
        self._by_number = {entity.number: entity for entity in plan.entities.values()}

    def refusal(self, applied: Mapping[str, int]) -> tuple[str, str] | None:
        """Why the record cannot be forgotten, as code and sentence; None when it can.

        `applied` are the last units that the targets have.
        """
        entity = self._by_number.get(self._request.entity)
        if entity is None or entity.parent is not None:
            return "forget-what", "there is no such entity; children are forgotten with their parent"
        record = self._golden.get(entity.number, self._request.key)
        if record is not None and record.alive:
            systems = [s for n, s in enumerate(self._plan.vocabulary.systems) if record.present >> n & 1]
            return "forget-alive", " in ".join(filter(None, ["the record exists", ", ".join(systems)]))
        if self._execute("SELECT 1 FROM suspended").fetchone() is not None:
            return "forget-suspended", "something is suspended, and will be read again from before"
        phase = self._execute("SELECT phase FROM phases WHERE entity=?", (entity.name,)).fetchone()
        if phase is not None and phase[0] == "seeding":
            return "forget-seeding", "the entity is being copied for the first time"
        if any(one.present or one.sent for one in self._family_records(entity)):
            return "forget-on-its-way", "not every system has shown yet that it is deleted there"
        for number in self._family():
            if self._execute(
                "SELECT 1 FROM owed WHERE entity=? AND key>=? AND key<?", (number, *self._range(self._request.key))
            ).fetchone():
                return "forget-on-its-way", "it is still owed to a system"
        waiting = next((system for system, unit in applied.items() if self._waits_for(system, unit)), None)
        return None if waiting is None else ("forget-on-its-way", f"copies of its rows wait for {waiting}")

    def _family(self) -> list[int]:
        name = self._by_number[self._request.entity].name
        return [entity.number for entity in self._plan.entities.values() if entity.family == name]

    def _family_records(self, entity: EntityPlan) -> Iterator[Any]:
        own = self._golden.get(entity.number, self._request.key)
        if own is not None:
            yield own
        for number in self._family():
            if number != entity.number:
                yield from (record for _, record in self._golden.with_prefix(number, self._request.key))

    @staticmethod
    def _range(key: bytes) -> tuple[bytes, bytes]:
        """Of a key and those of its children."""
        return key, after_prefix(key)

    def kept(self) -> dict[str, int]:
        """What the state keeps of the record, by what it is; nothing where nothing is known of it. Changes nothing."""
        keys = tuple(self._keys())
        counts: dict[str, int] = {}
        for table, (name, entity, column) in _PREFIXED.items():
            for number in self._family():
                for key in keys:
                    query = f"SELECT count(*) FROM {table} WHERE {entity}=? AND {column}>=? AND {column}<?"
                    counts[name] = counts.get(name, 0) + self._execute(query, (number, *self._range(key))).fetchone()[0]
        counts["crosswalk"] = sum(map(len, self._ids(keys).values()))
        history = [(number, key) for number in self._family() for key in self._known_keys(number, keys)]
        counts["history"] = sum(1 for number, key in history for _ in trail.notes_of(self._state, number, key))
        return {name: count for name, count in counts.items() if count}

    # ---- erasing ---------------------------------------------------------------------------------------------

    def erase(self, seq: int, notes: Trail | None, applied: Mapping[str, int]) -> Job:
        """Erase it; return what the command needs to go on in the journal. Call `flush` of everything cached before.

        `applied` are the last units that the targets have.
        """
        keys = tuple(self._keys())
        ids = self._ids(keys)
        counts: dict[str, int] = {}
        history = [(number, key) for number in self._family() for key in self._known_keys(number, keys)]
        if notes is not None:
            counts["history"] = notes.erase(history)
        counts["outbox"] = sum(self._of_outbox(system, unit, keys, ids) for system, unit in applied.items())
        for table, (name, entity, column) in _PREFIXED.items():
            counts[name] = counts.get(name, 0) + self._prefixed(table, entity, column, keys)
        counts["crosswalk"] = self._crosswalk(keys)
        counts["renames"] = self._renames(keys)
        counts["held"] = self._unmapped(ids)
        return Job(
            seq,
            self._request.entity,
            self._request.by,
            self._request.salt,
            self._request.digest,
            keys,
            {binding: tuple(found) for binding, found in ids.items()},
            {name: count for name, count in counts.items() if count},
        )

    def _keys(self) -> Iterator[bytes]:
        """The record's key and those that it had before, as far as nobody else has them now."""
        key: bytes | None = self._request.key
        seen: set[bytes] = set()
        while key is not None and key not in seen:
            seen.add(key)
            record = self._golden.get(self._request.entity, key)
            if record is None or not record.alive:
                yield key
            key = self._golden.former_key(self._request.entity, key)

    def _known_keys(self, number: int, keys: tuple[bytes, ...]) -> Iterator[bytes]:
        """Those of an entity of the family, of which there are notes."""
        if number == self._request.entity:
            yield from keys
            return
        for key in keys:
            rows = self._execute(
                "SELECT key FROM golden WHERE entity=? AND key>=? AND key<?", (number, *self._range(key))
            )
            yield from [bytes(found) for (found,) in rows]

    def _ids(self, keys: tuple[bytes, ...]) -> dict[int, set[tuple[str, ...]]]:
        """By binding, the local ids of rows that hold, or held, the record or a child of it."""
        found: dict[int, set[tuple[str, ...]]] = {}
        for number in self._family():
            entity = self._by_number[number]
            for system in entity.bindings:
                binding = binding_number(self._plan, entity, system)
                ids = found.setdefault(binding, set())
                for key in keys:
                    rows = self._execute(
                        "SELECT id FROM crosswalk WHERE binding=? AND key>=? AND key<?", (binding, *self._range(key))
                    )
                    ids |= {as_texts(row_id) for (row_id,) in rows}
        return found

    def _prefixed(self, table: str, entity: str, column: str, keys: tuple[bytes, ...]) -> int:
        count = 0
        for number in self._family():
            for key in keys:
                done = self._execute(
                    f"DELETE FROM {table} WHERE {entity}=? AND {column}>=? AND {column}<?", (number, *self._range(key))
                )
                count += done.rowcount
        return count

    def _crosswalk(self, keys: tuple[bytes, ...]) -> int:
        count = 0
        for number in self._family():
            for key in keys:
                at = (number << 8, number + 1 << 8, *self._range(key))
                found = self._execute("DELETE FROM crosswalk WHERE binding>=? AND binding<? AND key>=? AND key<?", at)
                count += found.rowcount
                for column in ("key", "held_for"):
                    self._execute(
                        f"DELETE FROM gathered_present WHERE binding>=? AND binding<? AND {column}>=? AND {column}<?",
                        at,
                    )
        return count

    def _renames(self, keys: tuple[bytes, ...]) -> int:
        count = 0
        for number in self._family():
            for key in keys:
                at = (number, *self._range(key), *self._range(key))
                done = self._execute(
                    "DELETE FROM renamed WHERE entity=? AND ((old>=? AND old<?) OR (new>=? AND new<?))", at
                )
                count += done.rowcount
        return count

    def _unmapped(self, ids: dict[int, set[tuple[str, ...]]]) -> int:
        """Rows that could not be understood, or wait: these are known by their local ids."""
        count = 0
        for binding, known in ids.items():
            entity, system = binding >> 8, binding & 0xFF
            at = (entity, system)
            for (row_id,) in self._execute("SELECT key FROM held WHERE entity=? AND system=?", at).fetchall():
                if as_texts(row_id) in known:
                    count += self._execute(
                        "DELETE FROM held WHERE entity=? AND system=? AND key=?", (*at, row_id)
                    ).rowcount
            for row, for_id, for_binding in self._execute(
                "SELECT row, for_id, for_binding FROM waiting WHERE binding=?", (binding,)
            ).fetchall():
                if as_texts(row) in known or as_texts(for_id) in ids.get(for_binding, ()):
                    count += self._execute("DELETE FROM waiting WHERE binding=? AND row=?", (binding, row)).rowcount
        return count

    # ---- the outbox ------------------------------------------------------------------------------------------

    def _waits_for(self, target: str, applied: int) -> bool:
        """Whether a plain copy of its rows was not delivered yet."""
        if self._journal is None or not any(route.target == target for route in self._copies()):
            return False
        keys = tuple(self._keys())
        ids = self._ids(keys)
        rows = self._execute("SELECT id FROM outbox WHERE target=? AND through>?", (target, applied)).fetchall()
        for (row_id,) in rows:
            (body,) = self._execute("SELECT body FROM outbox WHERE id=?", (row_id,)).fetchone()
            if any(list(self._kept(items, keys, ids)) != items for _, _, items in _decode(body)):
                return True
        return False

    def _copies(self) -> list[Route]:
        """Plain copies of tables in which the record has rows."""
        tables = set(self._plan.entities_tables(self._by_number[self._request.entity].name))
        return [route for route in self._plan.routes if (route.source, route.source_table) in tables]

    def _of_outbox(
        self, target: str, applied: int, keys: tuple[bytes, ...], ids: dict[int, set[tuple[str, ...]]]
    ) -> int:
        """Drop what was delivered of it. Nothing of the record is on its way, so what is not delivered has nothing of it."""
        rows = self._execute("SELECT id FROM outbox WHERE target=? AND through<=?", (target, applied)).fetchall()
        count = 0
        for (row_id,) in rows:
            (body,) = self._execute("SELECT body FROM outbox WHERE id=?", (row_id,)).fetchone()
            units = _decode(body)
            kept = [[number, at_us, list(self._kept(items, keys, ids))] for number, at_us, items in units]
            dropped = sum(len(items) for _, _, items in units) - sum(len(items) for _, _, items in kept)
            if dropped or kept != units:
                self._execute("UPDATE outbox SET body=? WHERE id=?", (_encode(kept), row_id))
                count += max(1, dropped)
        return count

    def _kept(self, items: list[Any], keys: tuple[bytes, ...], ids: dict[int, set[tuple[str, ...]]]) -> Iterator[Any]:
        family = set(self._family())
        finder = None
        for item in items:
            if item[0] >= 0:
                if item[0] not in family or not any(item[2].startswith(key) for key in keys):
                    yield item
                continue
            route = next((route for route in self._plan.routes if route.number == -1 - item[0]), None)
            if route is None or self._journal is None:
                yield item
                continue
            finder = finder or RowFinder(self._plan, self._request.entity, keys, ids)
            relation = self._journal.relation(item[2])
            run = Rows(relation, Op(item[1]), with_values(relation, item[3])[0], item[4])
            left = finder.without(route.source, run)
            if left is None:
                yield item
            elif left.rows:
                yield [item[0], item[1], item[2], left.rows, left.olds]
