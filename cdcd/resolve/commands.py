"""What operators ask for, carried out at its place in the journal. Resyncs are `copying`'s.

retry      records that a target refused are told it anew (asked by its deliverer)
owe        records that a deliverer has put aside, because their entity is paused, are owed
deliver    some of what is owed is told now (asked by the scheduler)
hold       an entity is held back from systems from now on, or no more
rewind     every record touched since a moment is owed; `rewind-undo` withdraws what was not told yet
replay     everything a system ever had is owed to it: it is empty, or lost
conflicts  a person's verdicts about what lost
edit       a person's correction of a record that a target refuses
forget     a record that is deleted everywhere is erased from the state; `forgotten` ends that (see `cdcd.forgetting`)
recover    the state was lost: what is copied now was in step before (see `seeding`)
barrier    a source was read up to where somebody waits for (see `cdcd.barriers`)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

import msgspec

from cdcd import barriers
from cdcd.conflicts import ConflictBook
from cdcd.errors import NeedsOperator
from cdcd.forgetting import job as forget_job
from cdcd.forgetting.records import Eraser
from cdcd.journal import Command, Journal
from cdcd.outbox import OutboxWriter, read_applied
from cdcd.resolve import correcting, renaming
from cdcd.resolve.copying import Copying
from cdcd.resolve.decide import EntityDecider
from cdcd.resolve.gathering import Gathering
from cdcd.resolve.golden import Crosswalk, GoldenRecords, Record
from cdcd.resolve.mapping import binding_number
from cdcd.resolve.masks import mask_of
from cdcd.resolve.moment import Moment
from cdcd.resolve.owing import BEHIND, NOT_YET, PAUSED, Owed, put_aside, unshown, untold
from cdcd.resolve.plan import Plan, root_of
from cdcd.resolve.seeding import Seeds
from cdcd.resolve.unmapped import UnmappedRows
from cdcd.resolve.verdicts import Named, Outcome, Verdicts, note_outcome
from cdcd.state import State

_NEVER: Final = 2**62
PAGE_RECORDS: Final = 1_000
"""Records of a command's outcome that go into one unit, so that a target need not take all of them at once."""


class RewindOutcome(msgspec.Struct, frozen=True, array_like=True):
    """The last rewind of a system: the journal entry that asked for it, and how many records it made owed."""

    seq: int
    records: int
    withdrawn: int = 0


def last_rewind(state: State, system: str) -> RewindOutcome | None:
    """The last rewind of a system, as far as resolve has met it; None when there was none."""
    stored = state.get(f"rewind:{system}")
    return None if stored is None else msgspec.msgpack.decode(stored, type=RewindOutcome)


class Commands:
    """Carries out commands, one after the other."""

    def __init__(
        self,
        plan: Plan,
        state: State,
        deciders: Mapping[str, EntityDecider],
        golden: GoldenRecords,
        crosswalk: Crosswalk,
        gathering: Gathering,
        unmapped: UnmappedRows,
        copying: Copying,
        seeds: Seeds,
        book: ConflictBook,
        outbox: OutboxWriter,
        owed: Owed,
        journal: Journal,
        pulse: Callable[[], None],
    ) -> None:
        """`pulse` is called on the way of what takes long."""
        self._plan = plan
        self._state = state
        self._systems = plan.vocabulary.systems
        self._deciders = deciders
        self._by_number = {decider.number: decider for decider in deciders.values()}
        self._golden = golden
        self._crosswalk = crosswalk
        self._gathering = gathering
        self._unmapped = unmapped
        self._copying = copying
        self._seeds = seeds
        self._book = book
        self._outbox = outbox
        self._owed = owed
        self._journal = journal
        self._pulse = pulse
        self._moment = Moment(0, 0, {})
        self._live: Collection[str] = ()
        self._known: Mapping[str, Callable[[dict[str, Any]], None]] = {
            "copy": lambda _arguments: None,  # the chunks that come say it all
            "retry": self._retry,
            "owe": self._owe,
            "deliver": self._deliver,
            "hold": self._hold,
            "rewind": self._rewind,
            "rewind-undo": self._undo_rewind,
            "replay": self._replay,
            "conflicts": self._conflicts,
            "edit": self._edit,
            "recover": self._recover,
            barriers.COMMAND: self._barrier,
            forget_job.FORGET: self._forget,
            forget_job.FORGOTTEN: self._forgotten,
            forget_job.ERASED: lambda _arguments: None,
        }

    def carry_out(self, command: Command, moment: Moment, entities: Collection[str]) -> None:
        """Carry out a command; `entities` are those that are not suspended. Raises NeedsOperator for one that is not known."""
        self._moment = moment
        self._live = frozenset(entities) - self._copying.seeding
        known = self._known.get(command.name)
        if known is None:
            raise NeedsOperator(
                f"journal entry {moment.seq} holds an unknown command {command.name!r}",
                code="command-unknown",
                cause="another version of cdcd wrote it",
                remedy="run the newest version that this state directory was used with",
            )
        known(command.arguments)

    # ---- what is told anew -----------------------------------------------------------------------------------

    def _retry(self, arguments: dict[str, Any]) -> None:
        system = self._systems.index(str(arguments["system"]))
        for number, key in arguments["records"]:
            decider = self._by_number.get(number)
            if decider is not None and decider.entity.name not in self._copying.seeding:
                record = self._golden.get(number, bytes(key))
                besides = 0 if record is None else unshown(record, system)
                self._tell_truth(system, decider, bytes(key), besides=besides)

    def _tell_truth(
        self,
        system: int,
        decider: EntityDecider,
        key: bytes,
        known_as: bytes | None = None,
        *,
        besides: int = 0,
        whole: bool = False,
    ) -> None:
        """Have the system hold what is true of the record; it may know the record by another key."""
        record = self._golden.get(decider.number, key)
        decider.decided(system, key, "redelivered")
        is_there = record is not None and record.alive and bool((record.present | record.sent) >> system & 1)
        if record is not None and is_there and decider.may_be_at(system, key, record):
            if known_as is not None:
                renaming.tell_key(decider, self._moment, system, record, known_as, key)
            decider.ensure(self._moment, system, key, record, besides=besides, whole=whole)
            self._golden.put(decider.number, key, record)
        else:  # also what was only deleted there, or went with its parent: then what is parked of it can go
            decider.delete_at(self._moment, system, known_as or key)

    # ---- what is owed ----------------------------------------------------------------------------------------

    def _owe(self, arguments: dict[str, Any]) -> None:
        """A deliverer has put these records aside: what was on its way to them is not written.

        Of each: entity, key, and whether it was to be deleted; there may be another record under that key by now.
        """
        system = self._systems.index(str(arguments["system"]))
        for number, stored, deleted in arguments["records"]:
            decider = self._by_number.get(number)
            if decider is None:
                continue
            key = self._golden.present_key(number, bytes(stored))
            record = self._golden.get(number, key)
            known_as = None
            if record is not None:
                known_as = self._known_as(decider, system, key, record)
                put_aside(record, system)
                self._golden.put(number, key, record)
            clears = deleted and record is not None and record.alive and key == stored
            self._owed.owe((system, number), key, 0, known_as, clears=clears)

    def _known_as(self, decider: EntityDecider, system: int, key: bytes, record: Record) -> bytes | None:
        """The key by which the system has the record while renames are on their way there; None when none is."""
        of_key = mask_of(decider.entity.key)
        echoed = decider.echoed_units.get(system, 0)
        renames = [unit for unit, slots in record.told.get(system, ()) if slots == of_key and echoed < unit != NOT_YET]
        found = key
        for _ in renames:
            found = self._golden.former_key(decider.number, found) or found
        return None if found == key else found

    def _deliver(self, arguments: dict[str, Any]) -> None:
        """Tell a system of some owed records of an entity, with their children; and of children whose record is not owed.

        Of those, if the command says so, that were owed by a journal entry: what came later is for the next run.
        """
        system, limit = self._systems.index(str(arguments["system"])), int(arguments["limit"])
        owed_by = int(arguments.get("owed_by", _NEVER))
        taken = 0
        for decider in self._family(str(arguments["entity"])):
            for key in self._owed.due((system, decider.number), limit - taken, owed_by):
                self._tell_owed(system, decider, key)
                taken += 1
                if taken % PAGE_RECORDS == 0:
                    self._outbox.end_unit()
                    self._pulse()
            if taken >= limit:
                break

    def tell_touched(self, moment: Moment) -> None:
        """There was news of owed records that nothing holds back: tell all that is true of them, now."""
        self._moment = moment
        touched = sorted((lane, key) for lane, keys in self._owed.touched.items() for key in keys)
        self._owed.touched.clear()
        for (system, number), key in touched:
            self._tell_owed(system, self._by_number[number], key)

    def _tell_owed(self, system: int, decider: EntityDecider, key: bytes) -> int:
        """Tell a record, and what is owed of its children; return how many. Nothing where it was told with its parent."""
        debt = self._owed.take((system, decider.number), key)
        if debt is None:
            return 0
        record = self._golden.get(decider.number, key)
        slots = 0
        if record is not None:
            slots = untold(record, system)
            self._golden.put(decider.number, key, record)
        with self._owed.told_now():
            if debt.clears:
                decider.delete_at(self._moment, system, key)
            self._tell_truth(system, decider, key, debt.known_as, besides=slots, whole=debt.whole)
        children = [
            (child, of) for child in decider.children for of in self._owed.with_prefix((system, child.number), key)
        ]
        return 1 + sum(self._tell_owed(system, child, of) for child, of in children)

    def _hold(self, arguments: dict[str, Any]) -> None:
        systems = [self._systems.index(str(system)) for system in arguments["systems"]]
        entities = [str(arguments["entity"])] if "entity" in arguments else arguments["entities"]
        family = [decider for root in entities for decider in self._family(root)]
        lanes = [(system, decider.number) for system in systems for decider in family]
        self._owed.hold(lanes, BEHIND if arguments.get("behind") else PAUSED, on=bool(arguments["on"]))

    def _family(self, root: str) -> list[EntityDecider]:
        """An entity and its child collections, parents first."""
        return [decider for name, decider in self._deciders.items() if root_of(name) == root]

    # ---- rewinds ---------------------------------------------------------------------------------------------

    def _rewind(self, arguments: dict[str, Any]) -> None:
        """Owe `system` every record touched since: the present truth, never an old value over a newer one (Invariant 5).

        `since_us`: committed or journalled since; `since_seq`: decided in that journal entry or later. `restored`: the system
        was put back to what it was then, with what it owns, and its log shows nothing that it showed before.
        """
        name, since_us = str(arguments["system"]), arguments.get("since_us", _NEVER)
        since_seq, restored = arguments.get("since_seq", _NEVER), bool(arguments.get("restored"))
        seq, system = self._moment.seq, self._systems.index(name)
        count = 0
        for decider, key, record in self._records_at(name):
            if record.changed_at_us >= since_us or record.changed_seq >= since_seq:
                if restored:
                    self._forget_shown(record, system)
                    self._golden.put(decider.number, key, record)
                decider.decided(system, key, "rewound")
                self._owed.owe((system, decider.number), key, seq, whole=restored)
                count += 1
        self._state.put(f"rewind:{name}", msgspec.msgpack.encode(RewindOutcome(seq, count)))

    @staticmethod
    def _forget_shown(record: Record, system: int) -> None:
        """What the system's log has shown, and what was on its way there, is no more."""
        record.told.pop(system, None)
        record.adding.pop(system, None)
        if record.shadows is not None:
            record.shadows.pop(system, None)

    def _records_at(self, system: str) -> Any:
        """All records of what the system is told of, with their deciders and keys; a page at a time."""
        for name, decider in self._deciders.items():
            if system not in decider.entity.bindings or name in self._copying.seeding:
                continue
            after = b""
            while page := self._golden.page(decider.number, after, PAGE_RECORDS):
                yield from ((decider, key, record) for key, record in page)
                after = page[-1][0]
                self._pulse()

    def _undo_rewind(self, arguments: dict[str, Any]) -> None:
        name = str(arguments["system"])
        known = last_rewind(self._state, name)
        if known is not None and known.seq == int(arguments["seq"]):
            withdrawn = self._owed.withdraw(self._systems.index(name), known.seq)
            stored = msgspec.structs.replace(known, withdrawn=known.withdrawn + withdrawn)
            self._state.put(f"rewind:{name}", msgspec.msgpack.encode(stored))

    def _replay(self, arguments: dict[str, Any]) -> None:
        """The system has lost everything: what was known of its rows is forgotten, and all that it had is owed to it."""
        name = str(arguments["system"])
        seq, system = self._moment.seq, self._systems.index(name)
        count = 0
        for decider, key, record in self._records_at(name):
            had = record.alive and bool((record.present | record.sent) >> system & 1)
            record.present &= ~(1 << system)
            record.sent = record.sent | 1 << system if had else record.sent & ~(1 << system)
            self._forget_shown(record, system)
            self._golden.put(decider.number, key, record)
            if had:
                self._owed.owe((system, decider.number), key, seq)
                count += 1
            else:
                self._owed.take((system, decider.number), key)
        self._forget_rows(name)
        self._state.put(f"rewind:{name}", msgspec.msgpack.encode(RewindOutcome(seq, count)))

    def _forget_rows(self, system: str) -> None:
        """Local ids of a system that has lost its rows mean nothing any more."""
        plan = self._plan
        bindings = [binding_number(plan, e, system) for e in plan.entities.values() if system in e.bindings]
        self._crosswalk.forget(bindings)
        self._gathering.forget(system)
        self._unmapped.forget(bindings)

    # ---- verdicts --------------------------------------------------------------------------------------------

    def _conflicts(self, arguments: dict[str, Any]) -> None:
        """An operator's verdicts about conflicts of entities that are live."""
        verdicts = Verdicts([self._deciders[name] for name in self._live], self._book)
        named = msgspec.convert(arguments["conflicts"], list[Named])
        outcome = verdicts.carry_out(self._moment, named, accept=bool(arguments["accept"]))
        note_outcome(self._state, self._moment.seq, outcome)

    def _edit(self, arguments: dict[str, Any]) -> None:
        """An operator's correction of a record of an entity that is live."""
        found = msgspec.convert(arguments["correction"], correcting.Correction)
        decider = self._by_number.get(found.entity)
        is_live = decider is not None and decider.entity.name in self._live
        outcome = correcting.correct(decider, self._moment, found) if decider and is_live else Outcome(changed=1)
        note_outcome(self._state, self._moment.seq, outcome)

    # ---- recovery --------------------------------------------------------------------------------------------

    def _recover(self, arguments: dict[str, Any]) -> None:
        """Units begin where those of the lost state ended: the targets' checkpoints do not go back (Invariant 5)."""
        self._outbox.units = max(self._outbox.units, int(arguments["unit"]))
        if arguments["in_step"]:
            complete = [self._systems.index(str(system)) for system in arguments["complete"]]
            entities = [self._deciders[name].number for name in self._copying.seeding]
            self._seeds.recover(entities, complete)

    # ---- forgetting ------------------------------------------------------------------------------------------

    def _forget(self, arguments: dict[str, Any]) -> None:
        """Erase a record from the state, or note why not. What is cached is written before, and read anew after it."""
        asked = msgspec.convert(arguments, forget_job.Request)
        self._golden.flush()
        self._crosswalk.flush()
        eraser = Eraser(self._plan, self._state, self._golden, self._journal, asked)
        targets = [system for system in self._systems if self._plan.is_target(system)]
        applied = {system: read_applied(self._state.database.path.parent, system) for system in targets}
        refused = eraser.refusal(applied)
        if refused is not None:
            job = forget_job.Job(self._moment.seq, asked.entity, asked.by, asked.salt, asked.digest, refused=refused)
        else:
            job = eraser.erase(self._moment.seq, self._by_number[asked.entity].trail, applied)
            self._golden.discard()
            self._crosswalk.discard()
            self._book.load()
            self._unmapped.load()
        forget_job.put_job(self._state, job)

    def _forgotten(self, arguments: dict[str, Any]) -> None:
        """The journal has nothing of it any more either: only that it was done stays."""
        tombstone = msgspec.convert(arguments["tombstone"], forget_job.Tombstone)
        forget_job.put_tombstone(self._state, tombstone)
        forget_job.remove_job(self._state, tombstone.seq)

    # ---- barriers --------------------------------------------------------------------------------------------

    def _barrier(self, arguments: dict[str, Any]) -> None:
        """What is in the outbox now is what the targets must have applied."""
        barriers.note(self._state, str(arguments["id"]), str(arguments["system"]), self._outbox.units)
