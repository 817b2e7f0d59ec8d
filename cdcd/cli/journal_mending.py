"""`cdcd journal prune | verify | repair`: room in the journal, and what to do when a disk has changed it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import CdcdError, Unavailable

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint
    from cdcd.journal import Journal
    from cdcd.journal_care.check import Damage
    from cdcd.journal_care.check import Verdict as Checked
    from cdcd.journal_care.pruning import Pruning
    from cdcd.state import State

DAMAGED_EXIT: Final = 3
ANSWER_ENTRIES: Final = 500
"""So many lost entries go into one request."""
SHOWN_MAX: Final = 50


def add_to(group: click.Group) -> None:
    """Make these commands part of `cdcd journal`."""
    for one in (prune_command, verify_command, repair_command):
        group.add_command(one)


@contextmanager
def _opened(config: Path) -> Iterator[tuple[Journal, State]]:
    """The journal, for writing; the state, for reading."""
    from cdcd.cli.journal import loaded  # noqa: PLC0415
    from cdcd.journal import Journal  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    _, path = loaded(config)
    state = State(path.with_name("state.db"), read_only=True)
    journal = Journal(path)
    try:
        yield journal, state
    finally:
        journal.close()
        state.close()


def _tell(config: Path, command: str, **arguments: Any) -> Any:
    """Tell the daemon; while none runs there is nobody to tell what needs no more than to be known."""
    from cdcd.cli import daemon  # noqa: PLC0415

    try:
        return daemon.ask(config, command, **arguments)
    except Unavailable:
        return None


def _confirm(lines: Sequence[str], as_json: bool) -> None:
    confirm("this wants a confirmation", lines, as_json, remedy="add --yes, or look first with --dry-run")


# ---- prune -----------------------------------------------------------------------------------------------------


@click.command("prune")
@click.option("--before", metavar="TIME", help="Forget what was journalled before this time, or '3d ago'.")
@click.option("--keep", metavar="DURATION", help="Forget all but the last so long: 3d, 12h, 0s.")
@click.option("--dry-run", is_flag=True, help="Say what would be forgotten, and forget nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def prune_command(before: str | None, keep: str | None, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Make room: forget entries earlier than journal.keep would have it.

    Never what resolve has not taken yet, or what a suspended entity still needs. History, rewind and plan reach back no
    further afterwards. Captures that wait for room go on by themselves.

    Examples: cdcd journal prune --dry-run; cdcd journal prune --before '7d ago'; cdcd journal prune --keep 3d --yes
    """
    answer("journal prune", as_json, lambda: _prune(config, before, keep, dry_run, yes, as_json))


def _prune(config: Path, before: str | None, keep: str | None, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd.cli.progress import progress_bar  # noqa: PLC0415
    from cdcd.journal_care import pruning as journal_pruning  # noqa: PLC0415

    before_us = _before_us(before, keep)
    with _opened(config) as (journal, state):
        found = journal_pruning.plan(journal, state, before_us)
        lines = _pruning_lines(found)
        result = {**msgspec.to_builtins(found), "dry_run": dry_run}
        if dry_run or not found.entries:
            return Verdict("nothing was forgotten" if dry_run else "there is nothing to forget", result, lines)
        if not yes:
            _confirm(lines, as_json)
        with progress_bar("prune", found.entries) as show:
            count = journal_pruning.prune(journal, found, show)
        size_bytes = journal.size_bytes()
    _tell(config, "journal-pruned", entries=count, through=found.through)
    text = f"{count:,} entries forgotten; the journal has {size_bytes / 2**20:,.1f} MiB now"
    return Verdict(text, {**result, "entries": count, "journal_bytes": size_bytes}, lines if yes else [])


def _before_us(before: str | None, keep: str | None) -> int:
    from cdcd.cli.journal import JournalError, moment_us  # noqa: PLC0415

    if (before is None) == (keep is None):
        raise JournalError("how much is to be forgotten?", remedy="give --before TIME or --keep 3d")
    return moment_us(before if before is not None else f"{keep} ago")


def _pruning_lines(found: Pruning) -> list[str]:
    from cdcd.cli.journal import mebibytes, shown_moment  # noqa: PLC0415

    lines = []
    if found.entries:
        lines.append(
            f"entries {found.first_seq:,} to {found.through:,}, from before {shown_moment(found.before_us)}:"
            f" {found.entries:,} entries, {mebibytes(found.size_bytes)}"
        )
        lines.append("history, rewind and plan reach back no further then")
    if found.held_by is not None:
        lines.append(f"not after entry {found.held_by.seq:,}: {found.held_by.what}")
    return lines


# ---- verify ----------------------------------------------------------------------------------------------------


@click.command("verify")
@common
def verify_command(config: Path, as_json: bool) -> None:
    """Read the whole journal and say exactly what is damaged: checksums, shapes of tables, order, the file's pages.

    Beside the running daemon, too. Exits with 3 when something is damaged; `cdcd journal repair` mends it.

    Examples: cdcd journal verify; cdcd journal verify --json
    """
    answer("journal verify", as_json, lambda: _verify(config))


def _verify(config: Path) -> Verdict:
    found = _checked(config)
    size = f"{found.entries:,} entries and {found.parts:,} parts of large ones, {found.size_bytes / 2**20:,.1f} MiB"
    if found.is_sound:
        return Verdict(f"the journal is whole: {size}", _builtins(found))
    count = sum(one.through - one.seq + 1 for one in found.damaged)
    summary = f"the journal is damaged: {count:,} of {size}"
    needed = any(one.needed for one in found.damaged) or found.pages
    summary += "; next: cdcd journal repair" if needed else "; all of it is resolved already: it is history only"
    return Verdict(summary, _builtins(found), _damage_lines(found), DAMAGED_EXIT)


def _checked(config: Path) -> Checked:
    from cdcd.cli.journal import loaded  # noqa: PLC0415
    from cdcd.cli.progress import progress_bar  # noqa: PLC0415
    from cdcd.journal import Journal  # noqa: PLC0415
    from cdcd.journal_care.check import Checker  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    _, path = loaded(config)
    state = State(path.with_name("state.db"), read_only=True)
    try:
        needed_after = state.needed_after
    finally:
        state.close()
    journal = Journal(path, read_only=True)
    try:
        first, last = journal.first_after(0), journal.last_seq()
    except msgspec.MsgspecError:
        first, last = None, 0
    finally:
        journal.close()
    before = 0 if first is None else first[0] - 1
    with progress_bar("verify", last - before) as show:
        return Checker(path, needed_after, lambda seq: show(seq - before)).check()


def _builtins(found: Checked) -> dict[str, Any]:
    from cdcd.journal_care.json_lines import iso  # noqa: PLC0415

    damaged = [
        {**msgspec.to_builtins(one), "committed_at": iso(one.committed_at_us), "journaled_at": iso(one.journaled_at_us)}
        for one in found.damaged
    ]
    shapes = [{"number": one.number, "source": one.source, "restorable": one.copy is not None} for one in found.shapes]
    counts = {"entries": found.entries, "parts": found.parts, "size_bytes": found.size_bytes}
    return {**counts, "damaged": damaged, "shapes": shapes, "pages": list(found.pages)}


def _damage_lines(found: Checked) -> list[str]:
    lines = [f"the file itself (SQLite): {page}" for page in found.pages]
    lines += [
        f"the shape of a table of {shape.source} (number {shape.number}) is damaged"
        + (", and a copy of it is whole" if shape.copy is not None else "")
        for shape in found.shapes
    ]
    lines += [damage_line(one) for one in found.damaged[:SHOWN_MAX]]
    if len(found.damaged) > SHOWN_MAX:
        lines.append(f"and {len(found.damaged) - SHOWN_MAX:,} more (--json names all)")
    return lines


def damage_line(damage: Damage) -> str:
    """One damaged entry, for people."""
    from cdcd.cli.journal import printable, shown_moment  # noqa: PLC0415

    which = f"entry {damage.seq:,}" if damage.through == damage.seq else f"entries {damage.seq:,} to {damage.through:,}"
    parts = [f"{which}: {damage.what}"]
    if damage.source:
        trusted = "" if damage.part != "header" else " (as far as that can be believed)"
        parts.append(f"{damage.kind} from {damage.source}{trusted}")
        parts += [f"at {printable(damage.position)}"] if damage.position else []
        parts.append(f"journalled {shown_moment(damage.journaled_at_us)}")
    parts.append("resolve needs it" if damage.needed else "resolved already")
    return ", ".join(parts)


# ---- repair ----------------------------------------------------------------------------------------------------


@click.command("repair")
@click.option(
    "--resync",
    is_flag=True,
    help="Copy anew what entries that nobody can read again may be about, and go on without them.",
)
@click.option("--dry-run", is_flag=True, help="Say what could be done, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def repair_command(resync: bool, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Put damaged entries right: read them again from their source's log, into the same place.

    MySQL and MariaDB show their log again as far back as they keep it; PostgreSQL does not. What cannot be read again is
    named, with what must be copied anew instead; --resync does that. Nothing is skipped without it.

    Examples: cdcd journal repair --dry-run; cdcd journal repair --yes
    """
    answer("journal repair", as_json, lambda: _repair(config, resync, dry_run, yes, as_json))


def _repair(config: Path, resync: bool, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads drivers
    from cdcd.journal_care import repair as journal_repair  # noqa: PLC0415 - loads drivers

    found = _checked(config)
    saved: list[str] = []
    if found.pages:
        saved = _salvage(config, found, dry_run, yes, as_json)
        if dry_run:
            return Verdict("nothing was done", _builtins(found), saved, DAMAGED_EXIT)
        found = _checked(config)
    if found.is_sound:
        text = "the journal is whole now" if saved else "the journal is whole: there is nothing to repair"
        return Verdict(text, _builtins(found), saved)
    drawn = blueprint.draw(config_rules.load(config), str(config))
    from cdcd.cli.progress import working  # noqa: PLC0415

    with working("reading the sources' logs again"), _opened(config) as (journal, state):
        if found.shapes and not dry_run and journal_repair.restore_shapes(journal, found.shapes):
            found = _checked(config)
        mended, left = _read_again(drawn, journal, state, found.damaged, dry_run=dry_run)
        subjects = sorted(
            {s for one, _ in left if one.needed for s in journal_repair.touched(journal, one, drawn.entity_tables)}
        )
    lines = [*saved, *(f"{'can be read again' if dry_run else 'read again'}: {damage_line(one)}" for one in mended)]
    lines += [f"cannot be read again: {damage_line(one)}\n    because {why}" for one, why in left]
    if mended and not dry_run:
        _tell(config, "journal-mended", seqs=[one.seq for one in mended][:SHOWN_MAX])
    needed = [one for one, _ in left if one.needed]
    result = {
        "mended": [one.seq for one in mended],
        "left": [{"seq": one.seq, "through": one.through, "needed": one.needed, "why": why} for one, why in left],
        "resync": subjects,
        "dry_run": dry_run,
    }
    if not needed:
        return Verdict(_done(len(mended), len(left), dry_run), result, lines)
    lines.append(f"to be copied anew instead: {', '.join(subjects)}")
    if dry_run or not resync:
        text = "nothing was done" if dry_run else f"{len(mended)} entries mended"
        return Verdict(f"{text}; next: cdcd journal repair --resync", result, lines, DAMAGED_EXIT)
    if not yes:
        _confirm(lines, as_json)
    _give_up(config, needed, subjects)
    return Verdict(f"{len(needed)} entries given up, a resync of {len(subjects)} subjects started", result, lines)


def _done(mended: int, left: int, dry_run: bool) -> str:
    text = f"{mended} {'entry' if mended == 1 else 'entries'} {'can be read again' if dry_run else 'mended'}"
    return text + (f"; {left} stay damaged, which are resolved already and go with journal.keep" if left else "")


def _read_again(
    drawn: Blueprint, journal: Journal, state: State, damaged: Sequence[Damage], *, dry_run: bool
) -> tuple[list[Damage], list[tuple[Damage, str]]]:
    """What was put back, and what could not be, with why."""
    from cdcd.journal_care import repair as journal_repair  # noqa: PLC0415

    mended: list[Damage] = []
    left: list[tuple[Damage, str]] = []
    for one in damaged:
        place = journal_repair.place_of(journal, one, drawn.sources)
        if place is None:
            left.append((one, _why_not(one)))
            continue
        try:
            found = _reread(drawn, journal, state, one.source, place)
            if not dry_run:
                journal_repair.put_back(journal, one, found)
            mended.append(one)
        except CdcdError as error:
            left.append((one, f"{error.what}{f' ({error.cause})' if error.cause else ''}"))
    return mended, left


def _why_not(damage: Damage) -> str:
    if damage.part in ("missing", "unreadable"):
        return "nothing is known of it"
    if damage.kind == "command":
        return "it was a command: give it again where you know it"
    if damage.kind == "chunk":
        return "it is part of a copy of a table"
    return "no entry before it is kept from which its source's log could be read"


def _reread(drawn: Blueprint, journal: Journal, state: State, system: str, place: Any) -> Any:
    from cdcd import plugins  # noqa: PLC0415
    from cdcd.adapter import Identity  # noqa: PLC0415
    from cdcd.journal_care.rereading import Rereader  # noqa: PLC0415

    blueprint = drawn.systems[system]
    adapter = plugins.load(blueprint.reference, extra=blueprint.adapter)
    options = plugins.options(drawn.config, drawn.file, system, adapter)
    identity = Identity(drawn.config.daemon.name, system, state.lineage)
    source = adapter.open_past(identity, options, [need for need in blueprint.tables if need.captured])
    try:
        return Rereader(identity, source, journal).nth_after(place.position, place.number)
    finally:
        source.close()


def _give_up(config: Path, needed: Sequence[Damage], subjects: Sequence[str]) -> None:
    from cdcd.cli import daemon  # noqa: PLC0415

    lost = [
        {"seq": one.seq, "through": one.through, "source": "" if one.part == "header" else one.source} for one in needed
    ]
    for at in range(0, len(lost), ANSWER_ENTRIES):
        daemon.ask(config, "journal-lost", lost=lost[at : at + ANSWER_ENTRIES], subjects=list(subjects))


def _salvage(config: Path, found: Checked, dry_run: bool, yes: bool, as_json: bool) -> list[str]:
    """Have a file that is damaged itself replaced by a sound one. Raises NeedsOperator while a daemon runs."""
    from cdcd.cli.journal import loaded  # noqa: PLC0415
    from cdcd.journal_care.salvage import salvage  # noqa: PLC0415
    from cdcd.state_directory import StateDirectory, lock_for_supervisor  # noqa: PLC0415

    lines = [*_damage_lines(found), "the file itself is damaged: what can be read is saved into a new one"]
    if dry_run:
        return lines
    if not yes:
        _confirm(lines, as_json)
    _, path = loaded(config)
    lock = lock_for_supervisor(StateDirectory(path.parent))
    try:
        count, kept = salvage(path)
    finally:
        lock.release()
    return [f"the file was damaged: {count:,} entries saved; the damaged one is {kept}, remove it when all is well"]
