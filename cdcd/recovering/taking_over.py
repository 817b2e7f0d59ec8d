"""How a deliverer takes over its target, which may not be where we left it: behind, ahead, or somebody else's.

The checkpoint in the target decides where delivery goes on; what we remember ourselves only shows whether it may
(Invariants 5 and 8). A target that was restored from a backup must not silently go without what it had been told.
"""

from __future__ import annotations

import logging
from typing import Final

from cdcd import outbox
from cdcd.adapter import Checkpoint, Target
from cdcd.errors import Fenced, NeedsOperator
from cdcd.journal import Journal
from cdcd.model import Batch
from cdcd.outbox import AppliedMark
from cdcd.recovering import recovery
from cdcd.recovering.recovery import Accepted, Adoption, Gap
from cdcd.state import State

_log: Final = logging.getLogger(__name__)


class TakeOver:
    """One take-over of one target."""

    def __init__(self, system: str, target: Target, state: State, journal: Journal, applied: AppliedMark) -> None:
        self._system = system
        self._target = target
        self._state = state
        self._journal = journal
        self._applied = applied

    def carry_out(self, xref_table: str) -> int:
        """Become the target's one writer; return the unit after which to go on.

        Raises NeedsOperator "state-behind" when our state is older than the target, "target-went-back" when the target
        lacks what cannot be told it by the outbox; and Fenced when a copy of this state directory has written there.
        """
        adoption = recovery.read(self._journal, recovery.adopted(self._system), Adoption)
        before = self._target.checkpoint()
        if before is not None and before.lineage == self._state.lineage:
            self._refuse_copy(before, adoption)
        epoch = 1 if before is None else before.epoch + 1
        recovery.put(self._journal, recovery.epoch(self._system), epoch)
        unit = self._target.open(xref_table=xref_table, adopt="" if adoption is None else adoption.lineage)
        return self._placed(unit, adoption, "" if before is None else before.progress)

    def _refuse_copy(self, found: Checkpoint, adoption: Adoption | None) -> None:
        """Our own last take-over raised the epoch to what we noted before it; only a copy of our state raises it further.

        The note is taken back where our state is behind: it stays behind, however far its numbers grow.
        """
        ours = recovery.read(self._journal, recovery.epoch(self._system), int)
        is_adopted = adoption is not None and adoption.unit == found.through
        if ours == 0 or (found.through > self._state.units and not is_adopted):
            recovery.put(self._journal, recovery.epoch(self._system), 0)
            raise self._behind(found.through)
        if ours is None or found.epoch <= ours:
            return
        raise Fenced(
            f"target {self._system!r} was taken over by another daemon with a copy of this state directory",
            cause=f"it was taken over {found.epoch} times, {ours} of them by us",
            remedy="stop the other daemon if this one is to go on; then move this state directory away and run 'cdcd recover',"
            " since only the other one knows what it has written",
        )

    def _placed(self, unit: int, adoption: Adoption | None, progress: str) -> int:
        """Compare where the target stands with what we know; return the unit after which to go on."""
        if adoption is not None and unit == adoption.unit > self._state.units:
            return unit  # resolve has not read yet that its units begin there
        if unit > self._state.units:
            raise self._behind(unit)
        if adoption is not None:
            recovery.put(self._journal, recovery.adopted(self._system), None)
        accepted = recovery.read(self._journal, recovery.accepted(self._system), Accepted)
        known = self._applied.read()
        if accepted is not None and accepted.unit == unit:
            unit = self._skip(accepted)
        elif unit < self._gone_through(known):
            raise self._went_back(unit, known, progress)
        elif unit < known:
            what = "target went back system=%s unit=%d known=%d: what it lacks is still here, going on from there"
            _log.warning(what, self._system, unit, known)
        switches = self._journal.controls()
        for switch in (recovery.accepted(self._system), recovery.went_back(self._system)):
            if switch in switches:
                recovery.put(self._journal, switch, None)
        return unit

    def _skip(self, accepted: Accepted) -> int:
        """Go on from a checkpoint that a person accepted, or from a later one if everything is told anew after that."""
        _log.warning("checkpoint accepted system=%s unit=%d", self._system, accepted.unit)
        if accepted.skip_through <= accepted.unit:
            return accepted.unit
        self._target.apply([], Batch(accepted.unit, accepted.skip_through))
        self._applied.write(accepted.skip_through)  # nobody is to look for what was skipped
        return accepted.skip_through

    def _gone_through(self, known: int) -> int:
        """The newest unit that the outbox cannot tell any more."""
        trimmed = outbox.trimmed(self._state, self._system)
        if trimmed is not None:
            return trimmed
        echoed = self._state.get(f"echoed:{self._system}")  # an earlier version did not note what it trimmed
        return known if echoed is None else min(known, int(echoed))

    def _behind(self, unit: int) -> NeedsOperator:
        return NeedsOperator(
            f"target {self._system!r} has applied unit {unit}, but the state directory knows only {self._state.units}",
            code="state-behind",
            cause="the state directory was restored from an older copy",
            remedy="bring back the newest copy; if there is none, move this one away and run 'cdcd recover'",
        )

    def _went_back(self, unit: int, known: int, progress: str) -> NeedsOperator:
        found = self._gap(unit, known, progress)
        recovery.put(self._journal, recovery.went_back(self._system), found)
        at = f" (of {recovery.moment(found.at_us)})" if found.at_us else ""
        if unit:
            remedy = f"'cdcd rewind {self._system} --to seq:{found.seq + 1}' tells it anew all that has changed since"
        else:
            remedy = f"if its tables are empty, 'cdcd replay {self._system}' fills them; if they hold older rows, "
            remedy += f"'cdcd rewind {self._system} --to seq:1' tells it anew everything that is known"
        return NeedsOperator(
            f"target {self._system!r} went back to unit {unit}{at}, from {known}",
            code="target-went-back",
            cause="it was restored from a backup, or is another database"
            if unit
            else "the row of its checkpoint is gone: the database was made anew, or restored from before cdcd wrote there",
            remedy=remedy,
        )

    def _gap(self, unit: int, known: int, progress: str) -> Gap:
        """What it has kept itself says most; else our own transaction in its log, if that is still journalled."""
        kept = recovery.decode_progress(progress)
        if kept is not None:
            return Gap(unit, known, kept.seq, kept.at_us)
        carrier = self._journal.carrier(self._system, unit) if unit else None
        return Gap(unit, known, 0, 0 if carrier is None else carrier.committed_at_us)
