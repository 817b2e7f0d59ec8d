"""`cdcd journal stats | tail | export`; `prune | verify | repair` are in `cdcd.cli.journal_mending`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click
import msgspec

from cdcd.cli import completing
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import CdcdError

if TYPE_CHECKING:
    from cdcd.config import Config
    from cdcd.journal_care.json_lines import Hidden
    from cdcd.journal_care.stats import JournalStats
    from cdcd.journal_care.view import Contents, JournalView, Listed, Wanted

TAIL_ENTRIES: Final = 20
FOLLOW_SECONDS: Final = 0.2
VALUE_CHARACTERS: Final = 60
_SIGNS: Final = {"insert": "+", "update": "~", "delete": "-", "read": ""}


@dataclass(frozen=True)
class Looking:
    """What somebody wants to see: which entries, whether with their rows, and what of these is hidden."""

    wanted: Wanted
    values: bool
    hidden: Hidden


class JournalError(CdcdError):
    """What was asked for is not there, or cannot be done so."""

    exit_code = 2
    default_code = "journal-argument"


@click.group("journal")
def command() -> None:
    """Look into the journal, make room in it, check and mend it.

    It holds every transaction that was captured, in one order, for as long as journal.keep says. All of it works beside
    the running daemon, and without. Values are shown only where you ask for them.

    Each of the commands takes --config (or CDCD_CONFIG) and --json.

    Examples: cdcd journal stats; cdcd journal tail --follow
    """


# ---- what all of them need -------------------------------------------------------------------------------------


def loaded(config: Path) -> tuple[Config, Path]:
    """The configuration, and the journal's file, which must be there."""
    from cdcd import config_rules  # noqa: PLC0415 - the help does without it
    from cdcd.state_directory import StateDirectory  # noqa: PLC0415

    found = config_rules.load(config)
    directory = StateDirectory(Path(found.daemon.state_dir))
    directory.require(directory.state, directory.journal)
    return found, directory.journal


@contextmanager
def opened(config: Path) -> Iterator[JournalView]:
    """The journal, for reading."""
    from cdcd.journal_care.view import JournalView  # noqa: PLC0415

    view = JournalView(loaded(config)[1])
    try:
        yield view
    finally:
        view.close()


def moment_us(text: str) -> int:
    """Microseconds since 1970 of what a person wrote."""
    from cdcd.cli.rewind import parse_moment  # noqa: PLC0415

    return parse_moment(text, datetime.now(UTC), "the time")


def shown_moment(at_us: int) -> str:
    """A moment in local time."""
    return datetime.fromtimestamp(at_us / 1e6, UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def mebibytes(size_bytes: float) -> str:
    """A size for people."""
    return f"{size_bytes / 2**20:,.1f} MiB"


def _wanted(config: Path, source: str | None, entity: str | None, table: str | None) -> Wanted:
    from cdcd.journal_care.view import Wanted  # noqa: PLC0415

    systems = loaded(config)[0].systems
    if source is not None and source not in (*systems, "operator"):
        raise JournalError(f"unknown source {source!r}", remedy=f"known: {', '.join((*systems, 'operator'))}")
    tables: set[tuple[str | None, str]] = set() if table is None else {(source, table)}
    if entity is not None:
        tables |= set(_tables_of(config, entity))
    return Wanted(source, frozenset(tables) if tables else None)


def _hidden(config: Path, *, values: bool) -> Hidden:
    """Which columns are shown masked. What nobody looks at needs no answer."""
    from cdcd.config_sensitive import has_any  # noqa: PLC0415
    from cdcd.journal_care.json_lines import nothing_hidden  # noqa: PLC0415

    found, path = loaded(config)
    if not values or not has_any(found):
        return nothing_hidden
    from cdcd.resolve.planning import build  # noqa: PLC0415
    from cdcd.sensitive import Masks  # noqa: PLC0415

    return Masks(build(found, lambda _system, table: table), path.parent).columns


def _tables_of(config: Path, entity: str) -> tuple[tuple[str, str], ...]:
    from cdcd import blueprint, config_rules  # noqa: PLC0415 - loads drivers

    subjects = blueprint.draw(config_rules.load(config), str(config)).entity_tables
    if entity not in subjects:
        raise JournalError(f"unknown entity {entity!r}", remedy=f"known: {', '.join(subjects)}")
    return subjects[entity]


# ---- stats -----------------------------------------------------------------------------------------------------


@command.command("stats")
@common
def stats_command(config: Path, as_json: bool) -> None:
    """Show how full the journal is, of what, how fast it grows and what keeps it from being trimmed.

    Examples: cdcd journal stats; cdcd journal stats --json
    """
    answer("journal stats", as_json, lambda: _stats(config), doing="reading the journal")


def _stats(config: Path) -> Verdict:
    stats = measured(config)
    return Verdict(_room(stats), msgspec.to_builtins(stats), _stats_lines(stats))


def measured(config: Path) -> JournalStats:
    """The journal's figures now."""
    from cdcd.config import parse_duration, parse_size  # noqa: PLC0415
    from cdcd.journal import Journal  # noqa: PLC0415
    from cdcd.journal_care.stats import measure  # noqa: PLC0415
    from cdcd.report import now_us  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    found, path = loaded(config)
    journal, state = Journal(path, read_only=True), State(path.with_name("state.db"), read_only=True)
    try:
        return measure(
            journal,
            state,
            max_bytes=parse_size(found.journal.max_size),
            keep=found.journal.keep,
            keep_us=int(parse_duration(found.journal.keep) * 1e6),
            now_us=now_us(),
        )
    finally:
        journal.close()
        state.close()


def _room(stats: JournalStats) -> str:
    share = stats.size_bytes / stats.max_bytes if stats.max_bytes else 0
    text = f"{mebibytes(stats.size_bytes)} of {mebibytes(stats.max_bytes)} ({share:.0%})"
    if stats.full_in_hours == 0:
        return f"{text}: it is full, captures wait; 'cdcd journal prune' makes room"
    if stats.full_in_hours is not None:
        return f"{text}: full in about {stats.full_in_hours:,.1f} h at the rate of the last day"
    if stats.settles_at_bytes is not None:
        return f"{text}: at the rate of the last day it settles at {mebibytes(stats.settles_at_bytes)}"
    return text


def _stats_lines(stats: JournalStats) -> list[str]:
    lines = []
    for what, bound in (("oldest", stats.oldest), ("newest", stats.newest)):
        if bound is not None:
            lines.append(f"{what}: entry {bound.seq:,}, journalled {bound.journaled_at}")
    rows: list[tuple[str, ...]] = [("source", "entries", "changes", "copied", "ours", "MiB", "position")]
    for name, source in stats.sources.items():
        counts = (source.entries, source.changes, source.copied_rows, source.own_transactions)
        position = printable(source.position or "-")
        rows.append((name, *(f"{count:,}" for count in counts), f"{source.size_bytes / 2**20:,.1f}", position))
    lines += ["", *aligned(rows, right=range(1, 6)), "", f"entries: {stats.entries:,}"]
    if stats.growth_bytes_per_day is not None:
        lines.append(f"grows by about {mebibytes(stats.growth_bytes_per_day)} a day")
    first, *others = stats.keepers
    lines.append(f"trimmed through entry {first.seq:,}: {first.what}")
    lines += [f"             not before entry {keeper.seq:,}: {keeper.what}" for keeper in others]
    return [*lines, ""]


def aligned(rows: list[tuple[str, ...]], right: range = range(0)) -> list[str]:
    """Rows as columns; those numbered in `right` end at one place."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


# ---- tail ------------------------------------------------------------------------------------------------------


@command.command("tail")
@click.option(
    "-n", "count", type=click.IntRange(0), default=TAIL_ENTRIES, show_default=True, help="The newest so many entries."
)
@click.option("-f", "--follow", is_flag=True, help="Then show new ones as they come, until Ctrl-C.")
@click.option("--source", help="Of this system only; operator: commands.", shell_complete=completing.systems)
@click.option("--entity", help="With rows of this entity's tables only.", shell_complete=completing.entities)
@click.option("--table", help="With rows of this table only.")
@click.option("--values", is_flag=True, help="Show the rows with their values.")
@common
def tail_command(
    count: int,
    follow: bool,
    source: str | None,
    entity: str | None,
    table: str | None,
    values: bool,
    config: Path,
    as_json: bool,
) -> None:
    """Show the newest entries: number, time, source, position, what is in them, and whose transaction it was.

    With --follow, --json writes one JSON object per line instead of one for all.

    Examples: cdcd journal tail -n 5; cdcd journal tail --follow --source erp; cdcd journal tail --entity product --values
    """

    def tail() -> Verdict:
        look = Looking(_wanted(config, source, entity, table), values, _hidden(config, values=values))
        with opened(config) as view:
            if follow:
                _follow(view, count, look, as_json)
            found = view.newest(count, look.wanted)
            objects = [_object(view, listed, look) for listed in found] if as_json else []
            lines = [] if as_json else [line for one in found for line in _entry_lines(view, one, look)]
        return Verdict(f"{len(found)} entries", objects, lines)

    answer("journal tail", as_json, tail)


def _follow(view: JournalView, count: int, look: Looking, as_json: bool) -> None:
    """Until Ctrl-C, or until nobody reads what we write."""
    after = view.journal.last_seq()
    try:
        for listed in view.newest(count, look.wanted):
            _print(view, listed, look, as_json)
            after = max(after, listed.seq)
        version = -1
        while True:
            if version == (version := view.version()):
                time.sleep(FOLLOW_SECONDS)
                continue
            for listed in view.all_between(after, view.journal.last_seq(), look.wanted.source):
                if view.is_wanted(listed, look.wanted):
                    _print(view, listed, look, as_json)
                after = listed.seq
    except (KeyboardInterrupt, BrokenPipeError):
        sys.exit(0)


def _print(view: JournalView, listed: Listed, look: Looking, as_json: bool) -> None:
    if as_json:
        line = msgspec.json.encode(_object(view, listed, look)).decode()
        click.echo(line)
    else:
        for line in _entry_lines(view, listed, look):
            click.echo(line)
    sys.stdout.flush()


def _object(view: JournalView, listed: Listed, look: Looking) -> dict[str, Any]:
    from cdcd.journal_care.json_lines import entry_object  # noqa: PLC0415
    from cdcd.journal_care.view import Gone  # noqa: PLC0415

    try:
        found = entry_object(listed, view.contents(listed))
        if look.values:
            found["rows"] = list(_rows(view, listed, look))
    except Gone:
        return {**entry_object(listed), "trimmed": True}
    return found


def _rows(view: JournalView, listed: Listed, look: Looking) -> Iterator[dict[str, Any]]:
    from cdcd.journal_care.json_lines import row_objects  # noqa: PLC0415

    for run in view.runs(listed):
        if look.wanted.is_table(listed.source, run.relation.table):
            yield from row_objects(run, look.hidden(listed.source, run.relation.table))


def _entry_lines(view: JournalView, listed: Listed, look: Looking) -> Iterator[str]:
    from cdcd.journal_care.view import Gone  # noqa: PLC0415

    try:
        contents = view.contents(listed)
    except Gone:
        yield f"{listed.seq}  trimmed meanwhile"
        return
    yield _heading(listed, contents)
    if look.values:
        yield from (_row_line(row) for row in _rows(view, listed, look))


def _heading(listed: Listed, contents: Contents) -> str:
    from cdcd.journal_care.view import command_of, copy_of  # noqa: PLC0415

    parts = [str(listed.seq), shown_moment(listed.journaled_at_us), listed.source, listed.kind.name.lower()]
    if (command := command_of(listed)) is not None:
        told = " ".join(f"{name}={_listed(value)}" for name, value in command.arguments.items())
        parts.append(f"{command.name} {told}".rstrip())
    if (copy := copy_of(listed)) is not None:
        parts.append(f"{'last chunk' if copy.done else 'chunk'} of {printable(copy.table)}")
    parts += [_counts(table, counts) for table, counts in contents.items()]
    if listed.units is not None:
        parts.append(f"(ours: units {listed.units[0] + 1:,} to {listed.units[1]:,})")
    if listed.position:
        parts.append(f"at {printable(listed.position)}")
    return "  ".join(parts)


def _listed(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)


def _counts(table: str, counts: Any) -> str:
    return f"{printable(table)} " + " ".join(f"{_SIGNS.get(op, op + ' ')}{count:,}" for op, count in counts.items())


def _row_line(row: dict[str, Any]) -> str:
    values = ", ".join(f"{printable(name)} {_value(value)}" for name, value in row.get("row", {}).items())
    old = ", ".join(f"{printable(name)} {_value(value)}" for name, value in row.get("old", {}).items())
    return f"    {row['op']} {printable(row['table'])}: {values}" + (f"  (before: {old})" if old else "")


def _value(value: Any) -> str:
    if isinstance(value, dict):
        ((what, content),) = value.items()
        text = "(not logged)" if what == "absent" else f"0x{content}" if what == "bytes" else str(content)
    else:
        text = "NULL" if value is None else printable(msgspec.json.encode(value).decode())
    return text if len(text) <= VALUE_CHARACTERS else text[: VALUE_CHARACTERS - 1] + "…"


def printable(text: str) -> str:
    """Without anything that a terminal would obey."""
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


# ---- export ----------------------------------------------------------------------------------------------------


@command.command("export")
@click.option("--from", "first", metavar="SEQ|TIME", help="From this entry or time on; by default the oldest.")
@click.option(
    "--to", "last", metavar="SEQ|TIME", help="Through this entry, or before this time; by default the newest."
)
@click.option("--source", help="Of this system only.", shell_complete=completing.systems)
@click.option("--entity", help="Rows of this entity's tables only.", shell_complete=completing.entities)
@click.option("--table", help="Rows of this table only.")
@click.option(
    "-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Into this new file, closed to other users."
)
@common
def export_command(
    first: str | None,
    last: str | None,
    source: str | None,
    entity: str | None,
    table: str | None,
    output: Path | None,
    config: Path,
    as_json: bool,
) -> None:
    """Write entries with all values as lines of JSON (docs/journal.md), to stdout or into a file.

    Reads beside the running daemon without holding anybody up, and needs little memory whatever an entry's size.

    Examples: cdcd journal export --from '2h ago' -o changes.jsonl; cdcd journal export --source erp > erp.jsonl
    """
    if output is None:
        if as_json:
            raise click.UsageError("what is exported is JSON already; --json is for -o FILE")
        answer("journal export", False, lambda: _export(config, first, last, (source, entity, table), None))
    answer("journal export", as_json, lambda: _export(config, first, last, (source, entity, table), output))


def _export(
    config: Path,
    first: str | None,
    last: str | None,
    chosen: tuple[str | None, str | None, str | None],
    output: Path | None,
) -> Verdict:
    look = Looking(_wanted(config, *chosen), True, _hidden(config, values=True))
    with opened(config) as view:
        after = 0 if first is None else view.seq_of(first, moment_us) - 1
        through = view.journal.last_seq()
        if last is not None:
            through = int(last) if last.strip().isdecimal() else view.seq_of(last, moment_us) - 1
        if output is None:
            _write_to_stdout(view, after, through, look)
        with _created(output) as file:
            entries, gone = _write(view, after, through, look, file)
    remark = [f"{gone:,} entries were trimmed while they were read"] if gone else []
    result = {"entries": entries, "trimmed": gone, "file": str(output)}
    return Verdict(f"{entries:,} entries written to {output}", result, remark)


def _write_to_stdout(view: JournalView, after: int, through: int, look: Looking) -> None:
    """And nothing but them."""
    try:
        _, gone = _write(view, after, through, look, sys.stdout.buffer, quiet=True)
        sys.stdout.flush()
    except BrokenPipeError:
        os._exit(0)  # who read us has seen enough
    if gone:
        click.echo(f"{gone:,} entries were trimmed while they were read", err=True)
    sys.exit(0)


@contextmanager
def _created(path: Path | None) -> Iterator[BinaryIO]:
    """A new file that nobody else may read."""
    assert path is not None
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise JournalError(f"{path} is there already", remedy="remove it, or name another file") from error
    except OSError as error:
        raise JournalError(
            f"{path} cannot be written", cause=str(error.strerror), remedy="name another file"
        ) from error
    with os.fdopen(descriptor, "wb") as file:
        yield file


def _write(
    view: JournalView, after: int, through: int, look: Looking, file: BinaryIO, *, quiet: bool = False
) -> tuple[int, int]:
    """Write what is wanted; return how many entries that were, and how many were trimmed under way."""
    from cdcd.journal_care.json_lines import export_lines  # noqa: PLC0415
    from cdcd.journal_care.view import Gone  # noqa: PLC0415

    entries = gone = 0
    known: set[Any] = set()
    from cdcd.cli.progress import progress_bar  # noqa: PLC0415 - loads rich

    with progress_bar("export", through - after, quiet=quiet) as show:
        for listed in view.all_between(after, through, look.wanted.source):
            try:
                if view.is_wanted(listed, look.wanted):
                    file.writelines(export_lines(view, listed, look.wanted, known, look.hidden))
                    entries += 1
            except Gone:
                gone += 1
            show(listed.seq - after)
    return entries, gone


from cdcd.cli import journal_mending  # noqa: E402 - it adds its commands to the group

journal_mending.add_to(command)
