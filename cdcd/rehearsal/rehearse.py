"""Tries a configuration: replays the journal's end on copies of the state, reads what would be copied anew, compares.

Two approaches, told apart in the answer. What the configuration reads as before is replayed by resolve itself, on golden
records as they are now: so what counts is where each record ends, not the states in between. What it reads otherwise, or
for the first time, is read from the live tables in place of the copies that the daemon would take, as many rows as asked for.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec

from cdcd import blueprint as b
from cdcd import fitting, plugins
from cdcd.adapter import Adapter, Identity
from cdcd.backfills import Backfill
from cdcd.config import Config
from cdcd.journal import ChunkNote, Draft, Kind, encode_note
from cdcd.model import Op, Rows, TableShape
from cdcd.reader import Reader
from cdcd.rehearsal.copies import Copies, copy
from cdcd.rehearsal.findings import Misfit, Rehearsal, TableRead, Tally
from cdcd.rehearsal.outcome import TargetOutcome
from cdcd.resolve import recopying
from cdcd.resolve.plan import Plan
from cdcd.resolve.planning import build
from cdcd.resolve.reconfiguration import Recopy
from cdcd.resolve.resolver import Resolver
from cdcd.scheduling import deliveries
from cdcd.sensitive import Masks
from cdcd.state_directory import StateDirectory

CHUNK_ROWS = 2_000


def rehearse(config: Config, file: str, into: Path, *, last: int, row_limit: int) -> Rehearsal:
    """Try `config` on the state directory that it names; `into` takes the copies. Raises ConfigError, Unavailable, NeedsOperator."""
    drawn = b.draw(config, file)
    copies = copy(StateDirectory(Path(config.daemon.state_dir)), into, last)
    with ExitStack() as open_things:
        open_things.callback(copies.close)
        at_once = deliveries.at_once(config)  # what a schedule has told later counts here, too
        plan = build(at_once, lambda system, table: drawn.table_names[system][table], copies.state.vocabulary)
        systems = {name: _System(drawn, name, open_things) for name in config.systems}
        return _Run(plan, copies, systems, row_limit).run()


class _System:
    """One live system: its tables' shapes, and a reader of their rows."""

    def __init__(self, drawn: b.Blueprint, name: str, open_things: ExitStack) -> None:
        found = drawn.systems[name]
        adapter: Adapter = plugins.load(found.reference, extra=found.adapter)
        options = plugins.options(drawn.config, drawn.file, name, adapter)
        identity = Identity(drawn.config.daemon.name, name, "")
        self.reader: Reader = open_things.enter_context(closing(adapter.open_reader(identity, options)))
        with closing(adapter.open_target(identity, options)) as target:
            self.shapes: Mapping[str, TableShape] = target.describe([need.table for need in found.tables])


class _Run:
    """One rehearsal."""

    def __init__(self, plan: Plan, copies: Copies, systems: Mapping[str, _System], row_limit: int) -> None:
        self._plan = plan
        self._copies = copies
        self._systems = systems
        self._row_limit = row_limit
        self._resolver = Resolver(plan, copies.journal, copies.state, {})
        self._found = Rehearsal(copies.is_new, copies.entries, copies.replayed_after)

    def run(self) -> Rehearsal:
        """All of it."""
        found, state = self._found, self._copies.state
        recopies = recopying.wanted(self._plan, state)
        found.copied_anew = {recopy.subject: list(recopy.reasons) for recopy in recopies}
        conflicts = self._newest("conflicts")
        self._resolver.start()
        self._resolve()
        for system in self._plan.systems:
            if self._plan.is_source(system):
                tables = [need.table for need in self._plan.tables(system) if need.captured]
                self._copies.journal.ensure_backfills(system, tables)
        self._read_live_tables(recopies)
        self._tell_outcomes()
        self._tell_what_waits(conflicts)
        shapes = {name: system.shapes for name, system in self._systems.items()}
        found.warnings = [
            Misfit(f.severity, f.system, f.subject, f.message) for f in fitting.findings(self._plan, shapes)
        ]
        found.limits = list(self._limits())
        return found

    def _resolve(self) -> None:
        while self._resolver.step():
            pass

    # ---- live tables in place of copies ----------------------------------------------------------------------

    def _read_live_tables(self, recopies: Sequence[Recopy]) -> None:
        """In the order in which the daemon would: what is referred to comes first."""
        apart = _only_new(self._plan, recopies)
        for system in self._plan.systems:
            for backfill in self._copies.journal.backfills(system):
                if not backfill.done:
                    self._read_table(system, backfill, may_end=self._copies.is_new or (system, backfill.table) in apart)
        self._resolve()

    def _read_table(self, system: str, backfill: Backfill, *, may_end: bool) -> None:
        """The copy of a table ends only where all of it was read: rows that are not shown would count as deleted.

        Of entities that nothing is known of there is nothing to count, so that `may_end` is true for theirs.
        """
        shape = self._systems[system].shapes.get(backfill.table)
        if shape is None:
            return  # the warnings say so
        relation = fitting.relation_of(shape)
        rows = self._systems[system].reader.sample(backfill.table, relation.columns, self._row_limit + 1)
        complete = len(rows) <= self._row_limit
        rows = rows[: self._row_limit]
        self._found.read.append(TableRead(system, backfill.table, len(rows), complete))
        for start in range(0, max(1, len(rows)), CHUNK_ROWS):
            part = rows[start : start + CHUNK_ROWS]
            done = start + CHUNK_ROWS >= len(rows) and (complete or may_end)
            body = self._copies.journal.encode(system, [Rows(relation, Op.READ, part)]) if part else b""
            note = encode_note(ChunkNote(backfill.table, backfill.run, done))
            draft = Draft(Kind.CHUNK, "", time.time_ns() // 1000, len(part), body, note=note)
            self._copies.journal.append(system, [draft], None)

    # ---- what came of it -------------------------------------------------------------------------------------

    def _tell_outcomes(self) -> None:
        masks = Masks(self._plan, self._copies.state.database.path.parent)
        for system in self._plan.systems:
            if not self._plan.is_target(system):
                continue
            outcome = TargetOutcome(masks, system, self._systems[system].shapes, self._systems[system].reader)
            outcome.judge(self._copies)
            self._found.changes += outcome.changes.values()
            self._found.refusals += outcome.refusals.values()

    def _newest(self, table: str) -> int:
        row = self._copies.state.connection.execute(f"SELECT coalesce(max(id), 0) FROM {table}").fetchone()
        return int(row[0])

    def _tell_what_waits(self, conflicts_before: int) -> None:
        execute = self._copies.state.connection.execute
        systems = self._plan.vocabulary.systems
        names = {entity.number: name for name, entity in self._plan.entities.items()}
        rows = execute(
            "SELECT system, entity, kind, count(*) FROM conflicts WHERE id > ? GROUP BY 1, 2, 3", (conflicts_before,)
        )
        self._found.conflicts = [Tally(systems[s], names.get(e, "?"), kind, n) for s, e, kind, n in rows]
        rows = execute(
            "SELECT system, entity, code, count(*) FROM held WHERE seq > ? GROUP BY 1, 2, 3",
            (self._copies.replayed_after,),
        )
        held = [Tally(systems[s], names.get(e, "?"), code, n) for s, e, code, n in rows]
        waiting = Counter(
            (systems[binding & 0xFF], names.get(binding >> 8, "?"))
            for (binding,) in execute("SELECT binding FROM waiting")
        )
        self._found.unread = held + [Tally(s, e, "waits for another row", n) for (s, e), n in waiting.items()]
        suspended = execute("SELECT subject FROM suspended")
        self._found.suspended = [Tally("", subject, "suspended", 1) for (subject,) in suspended]

    def _limits(self) -> Iterator[str]:
        partial = [read for read in self._found.read if not read.complete]
        if partial:
            tables = ", ".join(f"{read.system}: {read.table}" for read in partial)
            yield f"only the first {self._row_limit} rows were read of {tables}: what lies beyond is not looked at, and nothing counts as deleted (--rows)"
        for entity, phase in self._copies.state.connection.execute("SELECT entity, phase FROM phases ORDER BY entity"):
            if phase == "seeding" and entity in self._plan.entities:
                yield f"{entity}: its tables were not read whole, so that what it would mean is not known"
        if not self._copies.is_new:
            yield "entries are replayed on the records as they are now: the answer is where each record ends, not what happens on the way"
            yield "what the running daemon still has on its way to a target is not counted as delivered"


def _only_new(plan: Plan, recopies: Sequence[Recopy]) -> set[tuple[str, str]]:
    """Tables that only entities are read from which were never read before."""
    new = {name for recopy in recopies for name in recopy.new}
    by_entity: dict[tuple[str, str], set[str]] = {}
    for name, entity in plan.entities.items():
        for system, binding in entity.bindings.items():
            for table in binding.tables:
                by_entity.setdefault((system, table), set()).add(name)
    return {place for place, names in by_entity.items() if names <= new}


def to_builtins(found: Rehearsal) -> Any:
    """The answer for programs."""
    return msgspec.to_builtins(found)
