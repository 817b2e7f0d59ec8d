"""The state directory is lost: what the systems still know of us, and how a new one takes them over (`cdcd recover`).

Every target keeps which unit it has, and how far each source's log had come into it (`recovery.Progress`). Reading begins
there, where the logs still reach back; else where a server has kept its log for us; else now. What happens then is decided
by resolve: first copies, settled by ownership, with what the logs show of the gap (see `resolve.seeding`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import msgspec

from cdcd import plugins
from cdcd.adapter import Checkpoint, Identity
from cdcd.blueprint import Blueprint
from cdcd.errors import NeedsOperator, PositionLost
from cdcd.journal import Command, Journal
from cdcd.recovering import recovery
from cdcd.recovering.recovery import Adoption, Progress
from cdcd.state import State
from cdcd.state_directory import StateDirectory

if TYPE_CHECKING:
    from cdcd.adapter import Source

Reach: TypeAlias = Literal["whole", "part", "none"]
"""How far a log reaches back: to where the targets were told, to where the server kept it for us, or not at all."""
REACHES: Final[dict[Reach, str]] = {
    "whole": "its log reaches back to what was delivered last: nothing since then goes unseen",
    "part": "its log is kept from where it was last read: what was read but not delivered yet is not in it any more",
    "none": "its log does not reach back: what was changed since then is seen by comparing rows alone",
}


class FoundTarget(msgspec.Struct, frozen=True):
    """What a target knows of us: its checkpoint row, and what it keeps beside it. `lineage` "" is no row at all."""

    system: str
    lineage: str = ""
    epoch: int = 0
    unit: int = 0
    at_us: int = 0
    has_progress: bool = False


class FoundSource(msgspec.Struct, frozen=True):
    """From where a source is read: after `position`, None is from now on."""

    system: str
    reach: Reach
    position: str | None = None
    why: str = ""


class Survey(msgspec.Struct, frozen=True):
    """What was found in all systems. Names of a kind are in the order of the configuration."""

    daemon: str
    targets: tuple[FoundTarget, ...]
    sources: tuple[FoundSource, ...]

    @property
    def lineages(self) -> list[str]:
        """Under which state directories the targets were written."""
        return list(dict.fromkeys(target.lineage for target in self.targets if target.lineage))

    @property
    def unit(self) -> int:
        """The newest unit that any target has."""
        return max((target.unit for target in self.targets), default=0)

    @property
    def complete(self) -> list[str]:
        """The sources whose logs show everything that was not delivered."""
        return [source.system for source in self.sources if source.reach == "whole"]


def refuse_state(directory: StateDirectory) -> None:
    """Raise NeedsOperator where there is state already: nothing that is there is ever given up."""
    used = False
    if directory.journal.exists():
        with closing(Journal(directory.journal)) as journal:
            used = journal.last_seq() > len([c for c in journal.commands_after(0) if c.name == "recover"])
    if directory.state.exists() and not used:
        with closing(State(directory.state)) as state:
            used = state.position > 0
    if used or any(directory.path.glob("deliver-*.db")):
        raise NeedsOperator(
            f"{directory.path} holds state: it is not lost",
            code="state-in-use",
            cause="'cdcd recover' begins a new state directory for systems that an old one has written to",
            remedy="start the daemon on it; if it is damaged beyond that, move it away as a whole and run this again",
        )


def survey(blueprint: Blueprint) -> Survey:
    """Look at all systems. Raises Unavailable when one does not answer, NeedsOperator when none was written by us."""
    targets, kept = [], []
    for name in blueprint.targets:
        row = _checkpoint(blueprint, name)
        progress = None if row is None else recovery.decode_progress(row.progress)
        targets.append(_found(name, row, progress))
        kept += [progress] if progress is not None else []
    if not any(target.lineage for target in targets):
        raise NeedsOperator(
            f"no target knows a daemon {blueprint.config.daemon.name!r}",
            code="nothing-to-recover",
            cause="there is no row of it in their checkpoint tables",
            remedy="correct daemon.name if it was another one; to begin for the first time, 'cdcd run'",
        )
    oldest = _oldest(targets, kept)
    sources = [_found_source(blueprint, name, oldest) for name in blueprint.sources]
    return Survey(blueprint.config.daemon.name, tuple(targets), tuple(sources))


def _found(system: str, row: Checkpoint | None, progress: Progress | None) -> FoundTarget:
    if row is None:
        return FoundTarget(system)
    at_us = 0 if progress is None else progress.at_us
    return FoundTarget(system, row.lineage, row.epoch, row.through, at_us, progress is not None)


def _oldest(targets: Iterable[FoundTarget], kept: Iterable[Progress]) -> Mapping[str, str]:
    """Where every log stood in the target that was the furthest behind; nowhere unless all of them say."""
    written = [target for target in targets if target.lineage]
    if len({target.lineage for target in written}) > 1 or not all(target.has_progress for target in written):
        return {}
    return min(kept, key=lambda progress: progress.seq).logs


def _checkpoint(blueprint: Blueprint, name: str) -> Checkpoint | None:
    system = blueprint.systems[name]
    adapter = plugins.load(system.reference, extra=system.adapter)
    options = plugins.options(blueprint.config, blueprint.file, name, adapter)
    with closing(adapter.open_target(_identity(blueprint, name), options)) as target:
        return target.checkpoint()


def _identity(blueprint: Blueprint, name: str) -> Identity:
    return Identity(blueprint.config.daemon.name, name, "")


def _source(blueprint: Blueprint, name: str) -> Source:
    system = blueprint.systems[name]
    adapter = plugins.load(system.reference, extra=system.adapter)
    options = plugins.options(blueprint.config, blueprint.file, name, adapter)
    return adapter.open_source(_identity(blueprint, name), options, [need for need in system.tables if need.captured])


def _found_source(blueprint: Blueprint, name: str, oldest: Mapping[str, str]) -> FoundSource:
    position = oldest.get(name)
    why = "no target says where it was" if position is None else ""
    if position is not None:
        why = _why_not(blueprint, name, position)
        if not why:
            return FoundSource(name, "whole", position)
    with closing(_source(blueprint, name)) as source:
        earliest = source.earliest()
    if earliest is not None and not _why_not(blueprint, name, earliest):
        return FoundSource(name, "part", earliest, why)
    return FoundSource(name, "none", None, why)


def _why_not(blueprint: Blueprint, name: str, position: str) -> str:
    """Why a log cannot be read on after `position`, "" when it can."""
    with closing(_source(blueprint, name)) as source:
        try:
            source.start(position)
        except PositionLost as lost:
            return lost.cause or lost.what
    return ""


def take_over(found: Survey, directory: StateDirectory, *, in_step: bool) -> None:
    """Begin the new state directory. The journal's first entry says that it is begun: until then this can be done again.

    `in_step`: the systems were in step before, so that what the logs do not explain waits for a person.
    """
    directory.prepare()
    refuse_state(directory)
    with closing(Journal(directory.journal)) as journal:
        arguments = {"unit": found.unit, "complete": found.complete, "in_step": in_step}
        for source in found.sources:
            if source.position is not None:
                journal.append(source.system, [], source.position)
        switches: dict[str, object] = {recovery.ADOPTED_LINEAGES: found.lineages}
        switches |= {recovery.log_first(source.system): True for source in found.sources}
        for target in found.targets:
            if target.lineage:
                switches[recovery.adopted(target.system)] = Adoption(target.lineage, target.unit)
        journal.command(Command("recover", arguments), controls=recovery.encoded(switches))
    State(directory.state).close()
