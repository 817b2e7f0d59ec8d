"""The resolve loop: journal entries in order -> golden records, crosswalk, outbox units, position; one commit a step.

An entry is a transaction of a log, a chunk of a copy, or an operator's command. Its rows are mapped to records and
handed to the deciders; what it means for each target becomes one outbox unit. What can be read no further is
suspended and catches up later, from its own place in the journal; everything else goes on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

import msgspec

from cdcd import logs, outbox
from cdcd.conflicts import ConflictBook
from cdcd.failpoints import reach
from cdcd.journal import ChunkNote, Command, Entry, Journal, Kind, decode_chunk_note, decode_command
from cdcd.journal_care.checksums import LOST
from cdcd.outbox import AppliedMark, OutboxWriter
from cdcd.resolve import recopying, resyncs, suspension
from cdcd.resolve.commands import Commands
from cdcd.resolve.copying import Copying, Settling
from cdcd.resolve.gathering import Gathering
from cdcd.resolve.golden import Crosswalk, GoldenRecords
from cdcd.resolve.moment import Moment, believed_us
from cdcd.resolve.open_changes import OpenChanges
from cdcd.resolve.owing import Owed
from cdcd.resolve.own_writes import OwnWrites
from cdcd.resolve.plan import Plan
from cdcd.resolve.reading import RowReader, Scope
from cdcd.resolve.renaming import Renames, references
from cdcd.resolve.resyncs import Resync, Resyncs
from cdcd.resolve.runs import deciders_of
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.series import Stretch, stretches
from cdcd.resolve.suspension import CannotRead, Suspension
from cdcd.resolve.totals import Levels
from cdcd.resolve.trail import Trail, number_rules
from cdcd.resolve.trimming import Trimming
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.state import State
from cdcd.stored_rows import StoredRows

STEP_ENTRIES: Final = 1_000
STEP_ROWS: Final = 30_000
"""A step about the same few records goes on so far, so that these, each on a page of its own, are written once: some 0.3 s."""
_log: Final = logging.getLogger(__name__)
_encode: Final = msgspec.msgpack.Encoder().encode


class Resolver:
    """Resolve of one daemon. Single-threaded; the only writer of the state database."""

    def __init__(
        self,
        plan: Plan,
        journal: Journal,
        state: State,
        applied: Mapping[str, AppliedMark],
        pulse: Callable[[], None] = lambda: None,
    ) -> None:
        """`applied` are the targets' marks, read for trimming only. `pulse` is called on the way of a long step."""
        self.counts: Counter[tuple[str, str, str]] = Counter()
        self.happened: Counter[tuple[str, str, str]] = Counter()
        """What accepted changes mean for records: by system, entity and created, updated, deleted or restored."""
        self.news: set[str] = set()
        self.may_have_more = True
        """Whether another step may have something to do, though nothing was journalled since this one."""
        self.copies_asked_of: frozenset[str] = frozenset()
        """Systems whose tables wait to be copied at the start: a start that was killed may have asked and told nobody."""
        self._plan = plan
        self._journal = journal
        self._state = state
        self._pulse = pulse
        self._systems = plan.vocabulary.systems
        widths = {entity.number: len(entity.fields) for entity in plan.entities.values()}
        self._renames = Renames(state, references(plan))
        self._golden = GoldenRecords(state, widths, self._renames)
        self._crosswalk = Crosswalk(state)
        self._seeds = Seeds(state, widths)
        self._unmapped = UnmappedRows(state)
        self._outbox = OutboxWriter(state)
        self._book = ConflictBook(state)
        self._levels = Levels(state)
        self._trail = Trail(state)
        self._trimming = Trimming(plan, journal, state, self._trail, self._book, applied)
        self._owed = Owed(plan, state)
        self._open = OpenChanges(
            journal, self._golden, self._crosswalk, self._seeds, self._owed, self._trail, self._outbox
        )
        self._echoed: dict[int, int] = {}
        self._deciders = deciders_of(
            plan, self._golden, self._outbox, self._book, self._levels, self.counts, self.happened, self._echoed
        )
        self._gathering = Gathering(plan, state, pulse)
        self._copying = Copying(
            plan, state, self._deciders, self._golden, self._seeds, self._outbox, pulse, self._gathering.is_awaiting
        )
        self._reader = RowReader(
            plan,
            journal,
            self._deciders,
            self._golden,
            self._renames,
            self._crosswalk,
            self._seeds,
            self._unmapped,
            self._gathering,
            self._copying,
            self._outbox,
            self.counts,
        )
        self._resyncs = Resyncs(plan, self._deciders, self._copying, self._reader, self._gathering)
        self._commands = self._make_commands()
        self._position = state.position
        self._suspended: dict[str, Suspension] = {}
        self._ripe: set[str] = set()
        self._scopes: dict[str, Scope] = {}
        self._moment = Moment(0, 0, {})

    def _make_commands(self) -> Commands:
        return Commands(
            self._plan,
            self._state,
            self._deciders,
            self._golden,
            self._crosswalk,
            self._gathering,
            self._unmapped,
            self._copying,
            self._seeds,
            self._book,
            self._outbox,
            self._owed,
            self._journal,
            self._pulse,
        )

    @property
    def position(self) -> int:
        """The journal seq through which everything is resolved that is not suspended."""
        return self._position

    def start(self) -> None:
        """Publish the vocabulary, take up the phases where they were, and let what was suspended try to go on.

        What a changed configuration reads otherwise is asked for in the journal, to be copied anew.
        """
        asked = recopying.ask(self._plan, self._journal, self._state)
        self.copies_asked_of = frozenset(filter(self._has_unread_tables, self._plan.systems))
        reach("resolve.before-start")
        with self._state.transaction():
            self._state.put("vocabulary", _encode(self._plan.vocabulary))
            recopying.remember(self._plan, self._state, asked)
            self._gathering.start()
            self._start_trail()
            known = {*self._plan.families(), *self._plan.copied()}
            suspension.remove(self._state, suspension.load(self._state).keys() - known)
        reach("resolve.after-start")
        self._load()
        self._ripe = set(self._suspended)

    def _has_unread_tables(self, system: str) -> bool:
        unread = any(not backfill.done for backfill in self._journal.backfills(system))
        return unread and self._plan.is_source(system)

    def _start_trail(self) -> None:
        """Have every decision noted from here on."""
        conditions = {e.number: [(r.when, r.owner) for r in e.rules] for e in self._plan.entities.values()}
        numbers = number_rules(self._state, conditions)
        for decider in self._deciders.values():
            decider.trail, decider.rule_numbers = self._trail, numbers[decider.number]
            decider.owed = self._owed

    def _load(self) -> None:
        self._copying.load()
        self._unmapped.load()
        self._renames.load()
        self._book.load()
        self._levels.load()
        self._owed.load()
        self._gathering.load()
        self._echoed.update(
            (number, int(self._state.get(f"echoed:{system}") or 0)) for number, system in enumerate(self._systems)
        )
        self._suspended = suspension.load(self._state)
        self._share_out()

    # ---- the step ----------------------------------------------------------------------------------------

    def step(self) -> bool:
        """Resolve what is waiting in the journal, in one commit; return whether there was anything.

        `news` holds the targets that were given units. A step that fails changes nothing.
        """
        if self._copying.settling is not None:
            self._settle_on(self._copying.settling)
            return True
        entries = self._journal.read(self._position, STEP_ENTRIES)
        if entries:
            self._take(entries, None)
        caught_up = self._catch_up()
        was_all = self._journal.is_read_through and bool(entries) and self._position >= entries[-1].seq
        self.may_have_more = caught_up or not was_all or self._copying.settling is not None
        return bool(entries) or caught_up

    def _take(self, entries: Sequence[Entry], behind: Suspension | None) -> None:
        """Resolve entries for everything, or for what is `behind`; what cannot be read is suspended before its entry."""
        try:
            self._commit(entries, behind)
        except CannotRead as refusal:
            unreadable = self._moment.seq
            readable = [entry for entry in entries if entry.seq < unreadable]
            if readable:
                behind = behind and self._suspended[behind.subject]
                self._commit(readable, behind, unreadable)
            self._suspend(refusal)

    def _commit(self, entries: Sequence[Entry], behind: Suspension | None, unreadable: int | None = None) -> None:
        """Resolve entries, and more of the journal before `unreadable` as far as it is about the same records."""
        self._reader.scope = self._reader.main if behind is None else self._scopes[behind.subject]
        self._open.begin()
        with self._one_commit():
            through = self._resolve_all(entries)
            while behind is None and self._copying.settling is None and self._open.are_of_few_records(STEP_ROWS):
                more = self._journal.read(through, STEP_ENTRIES)
                more = more if unreadable is None else [entry for entry in more if entry.seq < unreadable]
                if not more:
                    break
                through = self._resolve_all(more)
            self._flush(through, behind)
        if behind is None:
            self._position = through

    def _resolve_all(self, entries: Sequence[Entry]) -> int:
        """Resolve entries; return through which seq that was done."""
        for stretch in stretches(self._journal, entries):
            if len(stretch) > 1 and self._resolve_series(stretch):
                continue
            for entry, run in stretch:
                self._resolve(entry, run)
                if self._copying.settling is not None:
                    return entry.seq - 1  # it is resolved when all that it completed is settled
        return entries[-1].seq

    def _resolve_series(self, stretch: Stretch) -> bool:
        """Resolve entries together; False, and nothing is done, where one of their rows may be particular."""
        self._begin(stretch[0][0])
        series = self._reader.series(stretch[0][0].source, [run for _, run in stretch if run is not None])
        if series is None:
            return False
        for entry, _ in stretch:
            self._begin(entry)
            series.take(self._moment)
            self._end()
        self._open.took(series.end())
        self._pulse()
        return True

    def _settle_on(self, settling: Settling) -> None:
        """Go on settling what the entry behind the position has completed."""
        self._reader.scope = self._reader.main
        self._moment = self._reader.moment = Moment(settling.seq, settling.committed_at_us, {})
        self._trail.at(settling.seq)
        with self._one_commit():
            self._copying.settle_on(self._moment, self._reader.main.entities)
            self._outbox.end_unit()
            self._flush(self._position if self._copying.settling else settling.seq, None)
        self._position = self._state.position

    @contextmanager
    def _one_commit(self) -> Iterator[None]:
        try:
            with self._state.transaction():
                yield
                reach("resolve.before-commit")
            reach("resolve.after-commit")
        except BaseException:
            self._discard()
            raise

    def _flush(self, through: int, behind: Suspension | None) -> None:
        assert through >= (behind or self).position, f"resolve would go back to {through}"
        self._open.write()
        self.news |= self._outbox.flush()
        if behind is None:
            self._state.put_place(through, self._outbox.units)
        else:
            self._state.put("units", self._outbox.units)
            behind.position = through
            suspension.store(self._state, behind)
        self._trimming.trim([self._echoed, *(behind.echoed for behind in self._suspended.values())])

    def _discard(self) -> None:
        self._open.discard()
        self._outbox.discard(self._state.units)
        self._load()

    def _begin(self, entry: Entry) -> None:
        """What follows is about this entry."""
        believed = believed_us(entry, self._plan.clock_ahead_max_us)
        self._moment = self._reader.moment = Moment(entry.seq, entry.committed_at_us, {}, believed)
        self._trail.at(entry.seq)
        self._owed.now_us, self._owed.now_seq = entry.journaled_at_us, entry.seq

    def _end(self) -> None:
        """It is done, and what it means for targets complete."""
        if self._owed.touched:
            self._commands.tell_touched(self._moment)
        self._outbox.end_unit()

    def _resolve(self, entry: Entry, run: StoredRows | None) -> None:
        scope = self._reader.scope
        self._begin(entry)
        if entry.kind == Kind.COMMAND:
            assert entry.note is not None
            self._command(decode_command(entry.note))
        else:
            note = decode_chunk_note(entry.note) if entry.kind == Kind.CHUNK and entry.note is not None else None
            self._moment.fills_gap = note is not None and self._copying.fills_gap(entry.source, note)
            self._rows_of(entry, run)
            self._reader.put_together(entry.source, copied=note is not None)
            if note is not None:
                self._chunk_read(entry.source, note, scope)
        if entry.mark is not None and not outbox.is_part(entry.mark):
            number = self._systems.index(entry.source)
            read_back = scope.echoed[number] = max(entry.mark[1], scope.echoed.get(number, 0))
            if scope is self._reader.main:
                self._state.put(f"echoed:{entry.source}", read_back)
                self._level(number, read_back)
        self._end()

    def _chunk_read(self, source: str, note: ChunkNote, scope: Scope) -> None:
        if note.filtered:
            if note.done:
                self._resyncs.copied(self._moment, source, note)
            return
        families = scope.families - self._copying.overtaken(source, note.run)
        complete = self._gathering.copied(source, note.table, note.run, families) if note.done else []
        if note.done:
            self._reader.put_together(source, copied=True)
        names = [gathered.entity.name for gathered in complete]
        is_main = scope is self._reader.main
        self._copying.chunk_read(self._moment, source, note, scope.entities, names, at_once=not is_main)

    def _level(self, system: int, echoed_unit: int) -> None:
        """Look again at totals that waited for this unit to be read back; those of suspended entities wait on."""
        deciders = {decider.number: decider for decider in self._deciders.values()}
        for entity, key in self._levels.take_due(system, echoed_unit):
            decider = deciders.get(entity)
            record = None if decider is None else self._golden.get(entity, key)
            if decider is None or record is None or not record.alive:
                continue
            if decider.entity.name in self._reader.main.entities:
                decider.level(self._moment, system, key, record)
            else:
                self._levels.want(system, entity, key, echoed_unit)

    def _rows_of(self, entry: Entry, only_run: StoredRows | None) -> None:
        written = None
        if entry.mark is not None:
            self._outbox.store_through(entry.source, entry.mark[1])
            written = OwnWrites(self._state, entry.source, entry.mark)
        for run in self._journal.runs(entry) if only_run is None else [only_run]:
            self._reader.read(entry.source, run, written)
            self._open.took(run.count)
            self._pulse()

    # ---- what is suspended -------------------------------------------------------------------------------

    def _share_out(self) -> None:
        """Make the scopes: one for everything that is not suspended, one for each subject that is."""
        families, copied = self._plan.families(), self._plan.copied()
        left = [name for family, names in families.items() if family not in self._suspended for name in names]
        self._reader.main = Scope(left, copied - self._suspended.keys(), self._echoed)
        self._scopes = {
            subject: Scope(families.get(subject, ()), {subject} & copied, behind.echoed, behind.told_anew_at)
            for subject, behind in self._suspended.items()
        }
        for scope in (self._reader.main, *self._scopes.values()):
            for name in scope.entities:
                self._deciders[name].echoed_units = scope.echoed

    def _suspend(self, refusal: CannotRead) -> None:
        """Leave a subject behind where it is; what is suspended already stays where it has come to."""
        known = self._suspended.get(refusal.subject)
        reason = (refusal.code, refusal.what, refusal.cause, refusal.remedy)
        found = Suspension(
            refusal.subject,
            self._position if known is None else known.position,
            *reason,
            time.time_ns() // 1000,
            dict(self._echoed) if known is None else known.echoed,
            0 if known is None else known.told_anew_at,
        )
        with self._state.transaction():
            suspension.store(self._state, found)
        self._ripe.discard(found.subject)
        self._suspended[found.subject] = found
        self._share_out()
        _log.error("suspended", extra={"subject": found.subject, "seq": found.position, **logs.fields(refusal)})

    def _catch_up(self) -> bool:
        """Let one suspended subject that may be readable now read on; return whether there was any."""
        behind = next((self._suspended[subject] for subject in sorted(self._ripe)), None)
        if behind is None:
            return False
        entries = [e for e in self._journal.read(behind.position, STEP_ENTRIES) if e.seq <= self._position]
        if entries:
            self._take(entries, behind)
        else:
            self._rejoin(behind)
        return True

    def _rejoin(self, behind: Suspension) -> None:
        """The subject has caught up: from here on it is read with everything else."""
        self._ripe.discard(behind.subject)
        self._moment = self._reader.moment = Moment(behind.position, behind.since_us, {})
        self._trail.at(behind.position)
        scope = self._reader.scope = self._scopes[behind.subject]
        try:
            with self._state.transaction():
                self._reader.release_all_of(scope.entities)
                suspension.remove(self._state, [behind.subject])
                del self._suspended[behind.subject]
                self._share_out()
                self._copying.settle_ready(self._moment, self._reader.main.entities)
                self._outbox.end_unit()
                self._open.write()
                self.news |= self._outbox.flush()
                self._state.put("units", self._outbox.units)
        except CannotRead as refusal:
            self._discard()
            self._suspend(refusal)
        except BaseException:
            self._discard()
            raise
        else:
            _log.info("caught up subject=%s seq=%d", behind.subject, behind.position)

    # ---- commands ----------------------------------------------------------------------------------------

    def _command(self, command: Command) -> None:
        if command.name == resyncs.RESYNC:
            self._start_resync(msgspec.convert(command.arguments, Resync))
        elif command.name == resyncs.CANCEL:
            subject = str(command.arguments["entity"])
            self._resyncs.cancel(subject, self._in_scope(subject))
        elif command.name == resyncs.REPOSITIONED:
            compare = bool(command.arguments.get("compare", True))
            self._resyncs.repositioned(self._moment.seq, str(command.arguments["system"]), compare=compare)
        elif command.name == LOST:
            self._distrust(str(command.arguments["source"]), command.arguments["subjects"])
        elif self._reader.scope is self._reader.main:  # else it is carried out when everything else met it
            if command.name == "replay":
                self._pass_over_losses(str(command.arguments["system"]))
            self._commands.carry_out(command, self._moment, self._reader.main.entities)

    def _in_scope(self, family: str) -> list[str]:
        return [name for name in self._plan.families().get(family, []) if name in self._reader.scope.entities]

    def _start_resync(self, asked: Resync) -> None:
        """Have rows told anew. What is suspended need not understand what came before, if all rows are."""
        subject = asked.entity
        if self._resyncs.start(self._moment.seq, asked, self._in_scope(subject)):
            return
        if self._reader.scope is self._reader.main and subject in self._suspended and asked.is_whole:
            self._told_anew(subject)

    def _told_anew(self, subject: str) -> None:
        behind = self._suspended[subject]
        behind.told_anew_at = self._scopes[subject].told_anew_at = self._moment.seq
        suspension.store(self._state, behind)
        self._ripe.add(subject)

    def _pass_over_losses(self, system: str) -> None:
        """A system that is filled anew has lost its tables: nobody need understand what its log says of that."""
        for subject in self._suspended.keys() - self._plan.copied():
            if suspension.is_by(self._journal, self._suspended[subject], system):
                self._told_anew(subject)

    def _distrust(self, source: str, subjects: Sequence[str]) -> None:
        """An entry of these subjects is lost: what they have is not believed to be whole before the resync that follows."""
        families = self._plan.families()
        names = [
            name for subject in subjects for name in families.get(subject, []) if name in self._reader.scope.entities
        ]
        self._copying.distrust(self._moment.seq, names, [source] if source in self._systems else self._systems)

    def close(self) -> None:
        """Close the state database. Safe to repeat."""
        self._state.close()
