"""`cdcd forget`."""

from __future__ import annotations

import getpass
import os
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.cli.progress import progress_bar
from cdcd.errors import NeedsOperator, Unavailable

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint
    from cdcd.forgetting.finishing import Finisher
    from cdcd.forgetting.job import Job, Tombstone
    from cdcd.record_names import Named
    from cdcd.resolve.plan import Plan
    from cdcd.sensitive import Masks
    from cdcd.state import State
    from cdcd.state_directory import StateDirectory

WAIT_SECONDS: Final = 60.0
_POLL_SECONDS: Final = 0.05
_REMEDIES: Final = {
    "forget-alive": "delete it in the system that may delete it; when it is gone everywhere, forget it",
    "forget-on-its-way": "wait until it has arrived ('cdcd wait', 'cdcd status'), then again",
    "forget-suspended": "see 'cdcd status' for what is suspended and why; mend that, then again",
    "forget-seeding": "wait until the first copy is through ('cdcd status'), then again",
    "forget-parked": "see 'cdcd parked show' for what refuses its delete; mend that, then again",
}


@click.command("forget")
@click.argument("entity", required=False, shell_complete=completing.entities)
@click.argument("key", nargs=-1)
@click.option("--dry-run", is_flag=True, help="Say whether it can be forgotten and what is kept of it; do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--list", "listed", is_flag=True, help="Show what was forgotten: when, by whom, what of; not which.")
@click.option("--finish", is_flag=True, help="Go on with what was interrupted.")
@common
def command(
    entity: str | None,
    key: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    listed: bool,
    finish: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Erase what is kept of a record, which is deleted in all systems, with its children; note that it was done.

    Its values go from the journal, the golden records, the history, conflicts and what was parked, and their bytes from
    the files. The databases themselves, their logs and backups are not touched, and neither are backups of the state
    directory. A record that exists is refused: it would be learned again at its next change.

    Works beside the running daemon, which captures nothing while the files are written anew, and without. Interrupted,
    it is finished by --finish, or by the next one.

    Examples: cdcd forget customer C-1001 --dry-run; cdcd forget customer C-1001; cdcd forget --list
    """
    if listed or finish:
        if entity is not None:
            raise click.UsageError("--list and --finish are about all records.")
        answer("forget", as_json, lambda: _list(config) if listed else _finish(config))
    if entity is None or not key:
        raise click.UsageError("Missing argument 'ENTITY KEY' (or '--list').")
    answer("forget", as_json, lambda: _forget(config, entity, key, dry_run, yes, as_json))


# ---- forgetting ------------------------------------------------------------------------------------------------


def _forget(config: Path, entity: str, key: tuple[str, ...], dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd.forgetting import job as jobs  # noqa: PLC0415 - the help does without it
    from cdcd.operations.parked import packed  # noqa: PLC0415

    place = _Place(config)
    named = place.named(entity, key)
    counts = place.survey(named)
    lines = [f"  {name:<12} {count:>10,}" for name, count in counts.items()]
    if dry_run:
        return Verdict("it can be forgotten; nothing was done", {"kept": counts, "dry_run": True}, lines)
    if not yes:
        confirm("to forget a record wants a confirmation: it cannot be undone", lines, as_json)
    request = jobs.request(named.entity.number, named.key, _account())
    seq = daemon.ask(config, "forget", request=packed(request))["seq"]
    place.resolve_through(seq)
    job = place.job(seq)
    if job is None or job.refused is not None:
        raise _refused(
            place.shown(named), *(job.refused if job is not None and job.refused else ("forget-on-its-way", ""))
        )
    return _finish(config, seq)


def _finish(config: Path, asked: int = 0) -> Verdict:
    """Go on with whatever is not finished; the answer is about the journal entry `asked`, if it is named."""
    from cdcd.forgetting import job as jobs  # noqa: PLC0415

    place = _Place(config)
    place.resolve_pending()
    seqs = place.unfinished()
    if not seqs:
        return Verdict("there is nothing to finish", {"forgotten": []})
    with progress_bar("forget", max(seqs)) as show:
        finisher = place.finisher(show)
        for seq in seqs:
            finisher.finish(seq)
    finisher.compact()
    with place.state() as state:
        done = [one for one in jobs.tombstones(state) if one.seq in seqs]
        shown = [_plain(place.plan, one) for one in done]
    left = [f"{path} is as it was: remove it" for path in sorted(place.directory.path.glob("*.damaged*"))]
    lines = [f"  {name:<12} {count:>10,}" for one in done if one.seq == asked for name, count in one.counts.items()]
    return Verdict(
        f"forgotten: {len(done)} record{'' if len(done) == 1 else 's'}", {"forgotten": shown}, [*lines, *left]
    )


class _Place:
    """One state directory, with or without a daemon."""

    def __init__(self, config: Path) -> None:
        from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads drivers
        from cdcd.sensitive import Masks  # noqa: PLC0415

        self._config = config
        self.directory: StateDirectory = daemon.directory_of(config)
        self.directory.require(self.directory.state, self.directory.journal)
        drawn = blueprint.draw(config_rules.load(config), str(config))
        with self.state() as state:
            self._blueprint: Blueprint = _with(drawn, state)
        self.plan: Plan = self._blueprint.plan()
        self.masks: Masks = Masks(self.plan, self.directory.path)

    def state(self) -> closing[State]:
        """The state, to be read."""
        from cdcd.state import State  # noqa: PLC0415

        return closing(State(self.directory.state, read_only=True))

    # ---- the record ------------------------------------------------------------------------------------------

    def named(self, entity: str, words: tuple[str, ...]) -> Named:
        """The record that is meant. Raises ConfigError."""
        from cdcd import record_names  # noqa: PLC0415

        with self.state() as state:
            return record_names.named(self.plan, entity, record_names.untokened(state, self.masks, entity, words))

    def shown(self, named: Named) -> str:
        """The record's name as people are shown it."""
        from cdcd.record_names import key_text  # noqa: PLC0415

        return f"{named.entity.name} {key_text(self.masks.key(named.entity, named.parts))}"

    def survey(self, named: Named) -> dict[str, int]:
        """What the state keeps of the record. Raises NeedsOperator where it cannot be forgotten as things are."""
        from cdcd.forgetting import job as jobs  # noqa: PLC0415
        from cdcd.forgetting.files import parked_in  # noqa: PLC0415
        from cdcd.forgetting.records import Eraser  # noqa: PLC0415
        from cdcd.journal import Journal  # noqa: PLC0415
        from cdcd.outbox import read_applied  # noqa: PLC0415
        from cdcd.resolve.golden import GoldenRecords  # noqa: PLC0415
        from cdcd.resolve.renaming import Renames  # noqa: PLC0415

        with ExitStack() as opened:
            state = opened.enter_context(self.state())
            widths = {entity.number: len(entity.fields) for entity in self.plan.entities.values()}
            renames = Renames(state, {})
            renames.load()
            golden = GoldenRecords(state, widths, renames)
            number = named.entity.number
            journal = opened.enter_context(closing(Journal(self.directory.journal, read_only=True)))
            eraser = Eraser(self.plan, state, golden, journal, jobs.Request(number, named.key, "", b"", b""))
            targets = [system for system in self.plan.systems if self.plan.is_target(system)]
            refused = eraser.refusal({system: read_applied(self.directory.path, system) for system in targets})
            counts = {} if refused else eraser.kept()
            before = [t for t in jobs.tombstones(state) if t.digest == jobs.digest_of(number, named.key, t.salt)]
        if refused is not None:
            raise _refused(self.shown(named), *refused)
        family = [entity.number for entity in self.plan.entities.values() if entity.family == named.entity.name]
        systems = parked_in(self.directory, self.plan, family, named.key)
        if systems:
            raise _refused(self.shown(named), "forget-parked", f"it is parked for {', '.join(systems)}")
        if not counts:
            when = f"it was forgotten at {_moment(before[-1].at_us)}" if before else "no record of that key is known"
            raise NeedsOperator(
                f"there is nothing of {self.shown(named)} to forget",
                code="forget-unknown",
                cause=when,
                remedy=f"see what is near: cdcd history {named.entity.name} KEY",
            )
        return counts

    # ---- resolve ---------------------------------------------------------------------------------------------

    def job(self, seq: int) -> Job | None:
        """What resolve has made of the command."""
        from cdcd.forgetting import job as jobs  # noqa: PLC0415

        with self.state() as state:
            return jobs.job_of(state, seq)

    def unfinished(self) -> list[int]:
        """What was begun and is not finished."""
        from cdcd.forgetting import job as jobs  # noqa: PLC0415
        from cdcd.journal import Journal  # noqa: PLC0415

        with self.state() as state, closing(Journal(self.directory.journal, read_only=True)) as journal:
            return jobs.unfinished(journal, state)

    def resolve_pending(self) -> None:
        """Wait until resolve has met everything that was asked for."""
        from cdcd.forgetting import job as jobs  # noqa: PLC0415
        from cdcd.journal import Journal  # noqa: PLC0415

        with self.state() as state, closing(Journal(self.directory.journal, read_only=True)) as journal:
            asked = jobs.asked_after(journal, state.position)
        if asked:
            self.resolve_through(asked)

    def resolve_through(self, seq: int) -> None:
        """Wait until resolve has passed a journal entry; without a daemon, resolve through it here."""
        until = time.monotonic() + WAIT_SECONDS
        while True:
            with self.state() as state:
                if state.position >= seq:
                    return
            if not daemon.is_running(self._config) and self._resolve_alone(seq):
                return
            if time.monotonic() > until:
                raise Unavailable(
                    f"resolve has not come to journal entry {seq} yet",
                    code="forget-waits",
                    cause="it is behind, or stopped ('cdcd status' says why); nothing of the journal was erased yet",
                    remedy="run 'cdcd forget --finish' when it has",
                )
            time.sleep(_POLL_SECONDS)

    def _resolve_alone(self, seq: int) -> bool:
        """Do what the daemon's resolve would do. It needs no server. False when a daemon has come in between."""
        from cdcd.journal import Journal  # noqa: PLC0415
        from cdcd.outbox import AppliedMark  # noqa: PLC0415
        from cdcd.resolve.resolver import Resolver  # noqa: PLC0415
        from cdcd.state import State  # noqa: PLC0415
        from cdcd.state_directory import Lock  # noqa: PLC0415

        lock = Lock(self.directory.lock("supervisor"))
        if not lock.acquire(wait=False, note=False):
            return False
        with ExitStack() as opened:
            opened.callback(lock.release)
            applied = {name: AppliedMark(self.directory.path, name) for name in self._blueprint.targets}
            for mark in applied.values():
                opened.callback(mark.close)
            journal = opened.enter_context(closing(Journal(self.directory.journal)))
            resolver = Resolver(self.plan, journal, State(self.directory.state), applied)
            opened.callback(resolver.close)
            resolver.start()
            while resolver.position < seq and resolver.step():
                pass
            return resolver.position >= seq

    def finisher(self, show: Any) -> Finisher:
        """What does the rest."""
        from cdcd.forgetting.finishing import Finisher  # noqa: PLC0415
        from cdcd.operations.parked import packed  # noqa: PLC0415

        def note(tombstone: Tombstone) -> None:
            seq = daemon.ask(self._config, "forgotten", tombstone=packed(tombstone))["seq"]
            self.resolve_through(seq)

        return Finisher(self.directory, self.plan, note, show)


def _with(drawn: Blueprint, state: State) -> Blueprint:
    import msgspec  # noqa: PLC0415

    return msgspec.structs.replace(drawn, vocabulary=state.get("vocabulary") or b"")


def _refused(name: str, code: str, why: str) -> NeedsOperator:
    return NeedsOperator(f"{name} cannot be forgotten", code=code, cause=why, remedy=_REMEDIES.get(code, ""))


def _account() -> str:
    """Whose command this is."""
    try:
        name = getpass.getuser()
    except (OSError, KeyError):
        name = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER")
    return f"{name} (sudo: {behind})" if behind else name


# ---- what was forgotten ----------------------------------------------------------------------------------------


def _list(config: Path) -> Verdict:
    from cdcd.forgetting import job as jobs  # noqa: PLC0415

    place = _Place(config)
    with place.state() as state:
        found = jobs.tombstones(state)
    open_ones = place.unfinished()
    lines = [
        f"{_moment(one.at_us)}  {_entity(place.plan, one.entity)}  by {one.by}, entry {one.seq:,}: "
        + ", ".join(f"{name} {count:,}" for name, count in one.counts.items())
        for one in found
    ]
    lines += [f"entry {seq:,} is not finished: 'cdcd forget --finish'" for seq in open_ones]
    count = f"{len(found):,} record{' was' if len(found) == 1 else 's were'} forgotten"
    return Verdict(count, {"forgotten": [_plain(place.plan, one) for one in found], "unfinished": open_ones}, lines)


def _plain(plan: Plan, one: Tombstone) -> dict[str, Any]:
    return {
        "seq": one.seq,
        "entity": _entity(plan, one.entity),
        "at": datetime.fromtimestamp(one.at_us / 1e6, UTC).isoformat(),
        "by": one.by,
        "salt": one.salt.hex(),
        "digest": one.digest.hex(),
        "counts": one.counts,
    }


def _entity(plan: Plan, number: int) -> str:
    known = plan.vocabulary.entities
    return known[number] if number < len(known) else f"entity {number}"


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
