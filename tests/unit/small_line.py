"""A small line fed by hand: transactions go into the journal, resolve runs, and a test reads what became of them.

No adapter, no server: an `Application` keeps the rows of one system's tables and writes the journal entries that a
capture would have written.
"""

from __future__ import annotations

import tomllib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import msgspec

from cdcd import config as configuration
from cdcd import config_rules, conflicts, outbox
from cdcd.config import Config
from cdcd.journal import ChunkNote, Command, Draft, Journal, Kind, encode_note
from cdcd.model import ABSENT, CHECKPOINT_TABLE, Op, Relation, Rows
from cdcd.outbox import AppliedMark, RecordWrite
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.keys import decode_key, encode_key
from cdcd.resolve.masks import slots_of
from cdcd.resolve.plan import Plan
from cdcd.resolve.planning import build
from cdcd.resolve.resolver import Resolver
from cdcd.scheduling.owed import Owing, owing
from cdcd.state import State

HEAD = """
[daemon]
name = "test"
state-dir = "/nowhere"
"""


def load(text: str, systems: tuple[str, ...] = ("erp", "shop")) -> Config:
    """A checked configuration of `text`, with systems of no adapter."""
    raw = tomllib.loads(HEAD + text) | {"systems": {name: {"adapter": "none"} for name in systems}}
    config: Config = configuration.convert(raw, Config, "test.toml", "")
    config_rules.check(config, "test.toml")
    return config


def plan_of(text: str, systems: tuple[str, ...] = ("erp", "shop"), known: Any = None) -> Plan:
    return build(load(text, systems), lambda _system, table: table, known)


class Told(msgspec.Struct, frozen=True):
    """One item of a target's unit, by name. `initial` are written only where the record is new."""

    entity: str
    kind: str
    key: tuple[Any, ...]
    fields: dict[str, Any]
    initial: dict[str, Any] = {}


def insert(table: str, **values: Any) -> tuple[Any, ...]:
    return (Op.INSERT, table, values)


def update(table: str, id: Any, **values: Any) -> tuple[Any, ...]:  # noqa: A002 - the column is called so
    """A full row image after the change; ABSENT as a value leaves it out of the image."""
    return (Op.UPDATE, table, {"id": id, **values})


def delete(table: str, id: Any) -> tuple[Any, ...]:  # noqa: A002
    return (Op.DELETE, table, {"id": id})


class Application:
    """One system: its tables' rows by id, and what its log says."""

    def __init__(self, line: SmallLine, system: str, tables: Mapping[str, Mapping[str, str]]) -> None:
        self._line = line
        self.system = system
        self.relations = {
            table: Relation(table, tuple(columns), tuple(columns.values()), (0,)) for table, columns in tables.items()
        }
        self.rows: dict[str, dict[Any, dict[str, Any]]] = {table: {} for table in tables}
        self.through = 0

    def write(self, *changes: tuple[Any, ...], at_us: int | None = None) -> None:
        """A transaction of the application, committed by its server's clock at `at_us` (by default a second later)."""
        self._append([self._change(*change) for change in changes], None, at_us)

    def echo(self, *changes: tuple[Any, ...], through: int | None = None, is_part: bool = False) -> None:
        """A transaction of cdcd: it carries all units told since the last one, or those `through` a number, or a part."""
        after = self.through
        newest = through if through is not None else self._line.newest_unit(self.system)
        self.through = after if is_part else newest
        runs = [self._change(*change) for change in changes]
        self._append(runs, (outbox.as_part(after) if is_part else after, newest))

    def copy(self, table: str, *, done: bool = True, run: int = 0, only: Collection[Any] | None = None) -> None:
        """A chunk with all rows of a table; with `only`, the one of a copy of the rows with these ids."""
        rows = [row for number, row in self.rows[table].items() if only is None or number in only]
        runs = [Rows(self.relations[table], Op.READ, [self._image(table, row) for row in rows])]
        note = encode_note(ChunkNote(table, run, done, filtered=only is not None))
        self._append_draft(runs if rows or only is not None else [], Kind.CHUNK, note=note)

    def reposition(self, through: int) -> int:
        """The log is read from a later place; units `through` a number have arrived meanwhile."""
        run = self._line.command("repositioned", system=self.system)
        note = encode_note(ChunkNote(CHECKPOINT_TABLE, run, done=True, filtered=True))
        self._append_draft([], Kind.CHUNK, mark=(through, through), note=note)
        self.through = through
        for table in self.relations:
            self.copy(table, run=run)
        return run

    def truncate(self, table: str) -> None:
        self._append([Rows(self.relations[table], Op.TRUNCATE, [])], None)

    def log(self, *runs: Rows) -> None:
        """A transaction of rows as they are given."""
        self._append([*runs], None)

    def _change(self, op: Op, table: str, values: dict[str, Any]) -> Rows:
        rows = self.rows[table]
        known = rows.get(values["id"], {})
        row = dict.fromkeys(self.relations[table].columns) | known | values
        if op == Op.DELETE:
            rows.pop(values["id"], None)
        else:
            rows[values["id"]] = {name: known.get(name) if value is ABSENT else value for name, value in row.items()}
        return Rows(self.relations[table], op, [self._image(table, row)], [None] if op == Op.UPDATE else None)

    def _image(self, table: str, row: Mapping[str, Any]) -> list[Any]:
        return [row[name] for name in self.relations[table].columns]

    def _append(self, runs: list[Rows], mark: tuple[int, int] | None, at_us: int | None = None) -> None:
        self._append_draft(runs, Kind.LOG, mark=mark, at_us=at_us)

    def _append_draft(
        self,
        runs: list[Rows],
        kind: Kind,
        mark: tuple[int, int] | None = None,
        note: bytes | None = None,
        at_us: int | None = None,
    ) -> None:
        body = self._line.journal.encode(self.system, runs) if runs else b""
        self._line.now_us += 1_000_000
        committed_at_us = self._line.now_us if at_us is None else at_us
        draft = Draft(kind, "", committed_at_us, len(runs), body, mark=mark, note=note)
        self._line.journal.append(self.system, [draft], None)


class SmallLine:
    """Journal, resolve and outbox in one directory."""

    def __init__(
        self, directory: Path, text: str, tables: Mapping[str, Mapping[str, Mapping[str, str]]], *, live: bool = True
    ) -> None:
        self.directory = directory
        self.text = text
        self.systems = tuple(tables)
        self.now_us = 0
        self.journal = Journal(directory / "journal.db", durable=False)
        self.state = State(directory / "state.db", durable=False)
        self.apps = {system: Application(self, system, named) for system, named in tables.items()}
        self._seen: dict[str, int] = dict.fromkeys(self.systems, 0)
        self._marks: dict[str, AppliedMark] = {}
        self.start()
        if live:
            self.go_live()

    def start(self, text: str | None = None) -> None:
        """Start resolve, or start it anew from what is durable, perhaps with another configuration."""
        self.text = text or self.text
        self.plan = plan_of(self.text, self.systems, self.state.vocabulary)
        self.resolver = Resolver(self.plan, self.journal, self.state, self._marks)
        self.resolver.start()

    def go_live(self) -> None:
        """Copy every table as it is."""
        for app in self.apps.values():
            for table in app.relations:
                app.copy(table)
        self.resolve()

    def resolve(self) -> None:
        """Resolve everything, and what is owed though nothing holds it back, as the scheduler has it."""
        while self.resolver.step() or self._feed():
            pass

    def _feed(self) -> bool:
        for one in self.owing():
            root = one.entity.partition(".")[0]
            realtime = self.plan.entities[root].bindings[one.system].schedule == "realtime"
            if one.records and realtime and not (one.held or one.behind):
                self.deliver(one.system, root)
                return True
        return False

    def deliver(self, system: str, entity: str, limit: int = 1000) -> None:
        """What is owed is told now, some of it at least: its schedule says so."""
        self.command("deliver", system=system, entity=entity, limit=limit)

    def owing(self) -> list[Owing]:
        """What is told later."""
        return owing(self.state)

    def command(self, name: str, **arguments: Any) -> int:
        """An operator's command; its seq is the run of the copies that it starts."""
        return self.journal.command(Command(name, arguments))

    def resync(self, entity: str) -> None:
        """A resync to its end."""
        run = self.command("resync", entity=entity)
        for system, table in self.plan.entities_tables(entity):
            self.apps[system].copy(table, run=run)
        self.resolve()

    # ---- reading ---------------------------------------------------------------------------------------------

    def newest_unit(self, system: str) -> int:
        row = self.state.connection.execute("SELECT max(through) FROM outbox WHERE target=?", (system,)).fetchone()
        return int(row[0] or 0)

    def told(self, system: str) -> list[Told]:
        """What a target was told since this was last asked, in order."""
        found = []
        for stored in outbox.read(self.state, system, 0, self._seen[system]):
            for unit in stored.units():
                found += [self._named(item) for item in unit.items]
            self._seen[system] = stored.through
        return found

    def _named(self, item: Any) -> Told:
        entity = next(e for e in self.plan.entities.values() if e.number == item[0])
        _, kind, key, mask, values, initial, initial_values = item
        names = [field.name for field in entity.fields]
        if kind == RecordWrite.REKEY:
            old = {
                f"old {names[slot]}": part for slot, part in zip(entity.key, values[-len(entity.key) :], strict=True)
            }
            return Told(entity.name, "REKEY", tuple(decode_key(key, entity.key_width)), old)
        return Told(
            entity.name,
            RecordWrite(kind).name,
            tuple(decode_key(key, entity.key_width)),
            {names[slot]: value for slot, value in zip(slots_of(mask), values, strict=True)},
            {names[slot]: value for slot, value in zip(slots_of(initial), initial_values, strict=True)},
        )

    def record(self, entity: str, *key: Any) -> Any:
        """The stored golden record, with values by field name; None when there is none."""
        plan = self.plan.entities[entity]
        record = GoldenRecords(self.state, {plan.number: len(plan.fields)}).get(plan.number, encode_key(key))
        return None if record is None else msgspec.structs.astuple(record)

    def values(self, entity: str, *key: Any) -> dict[str, Any] | None:
        """The golden values by field, None when the record is deleted or never was."""
        record = self.record(entity, *key)
        if record is None or not record[3]:
            return None
        return {f.name: value for f, value in zip(self.plan.entities[entity].fields, record[0], strict=True)}

    def conflicts(self, *, kept: bool = False) -> list[tuple[Any, ...]]:
        """(entity, key, system, kind, field, value) of what waits for a person; or of what is only `kept`."""
        by_number = {entity.number: entity for entity in self.plan.entities.values()}
        found = []
        for c in conflicts.listed(self.state.connection):
            plan = by_number[c.entity]
            parts = tuple(decode_key(c.key, plan.key_width))
            field, value = (None, None) if c.slot is None else (plan.fields[c.slot].name, c.value)
            if (c.kind not in conflicts.OPEN) == kept:
                found.append((plan.name, parts, self.plan.vocabulary.systems[c.system], c.kind, field, value))
        return found

    def held(self) -> list[str]:
        return [code for (code,) in self.state.connection.execute("SELECT code FROM held ORDER BY seq")]

    def waiting(self) -> int:
        return int(self.state.connection.execute("SELECT count(*) FROM waiting").fetchone()[0])

    def phase(self, entity: str) -> str:
        row = self.state.connection.execute("SELECT phase FROM phases WHERE entity=?", (entity,)).fetchone()
        return str(row[0])

    def dump(self, table: str) -> list[tuple[Any, ...]]:
        """A state table, byte for byte."""
        return [tuple(row) for row in self.state.connection.execute(f"SELECT * FROM {table} ORDER BY 1, 2")]

    def counted(self, system: str, entity: str) -> dict[str, int]:
        return {what: n for (s, e, what), n in self.resolver.counts.items() if (s, e) == (system, entity) and n}

    def close(self) -> None:
        self.journal.close()
        self.state.close()
