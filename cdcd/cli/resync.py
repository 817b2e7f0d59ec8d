"""`cdcd resync ENTITY`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import ConfigError

if TYPE_CHECKING:
    from cdcd.blueprint import Blueprint
    from cdcd.reader import Reader
    from cdcd.resync_filters import Choice


class Wish(msgspec.Struct, frozen=True):
    """What the command line asks for."""

    entity: str
    systems: tuple[str, ...]
    keys: tuple[str, ...]
    where: str | None
    table: str | None
    dry_run: bool
    watch: bool
    yes: bool
    as_json: bool

    @property
    def empties(self) -> bool:
        """Whether a plain copy is emptied before it is filled anew."""
        return ":" in self.entity and not self.keys and self.where is None


@click.command("resync")
@click.argument("entity", required=False, shell_complete=completing.entities)
@click.option(
    "--system",
    "systems",
    multiple=True,
    metavar="S",
    help="Read only this system's tables again.",
    shell_complete=completing.systems,
)
@click.option("--key", "keys", multiple=True, metavar="K", help="Only the record with this key (A/B of several parts).")
@click.option("--where", metavar="SQL", help="Only rows of the main table of --system that satisfy this condition.")
@click.option("--table", metavar="T", help="The table that --where is about, if not the main one.")
@click.option("--dry-run", is_flag=True, help="Say what would be read, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask, where a plain copy is to be emptied and filled anew.")
@click.option("--watch", is_flag=True, help="Show the progress until everything is read.")
@click.option("--list", "verb", flag_value="list", help="Show what is being read, and what became of it.")
@click.option("--pause", "verb", flag_value="pause", help="Stop after the chunk in work.")
@click.option("--resume", "verb", flag_value="resume", help="Go on where --pause stopped.")
@click.option("--cancel", "verb", flag_value="cancel", help="End it: nobody is missing because he was not shown.")
@common
def command(
    entity: str | None,
    systems: tuple[str, ...],
    keys: tuple[str, ...],
    where: str | None,
    table: str | None,
    dry_run: bool,
    yes: bool,
    watch: bool,
    verb: str | None,
    config: Path,
    as_json: bool,
) -> None:
    """Read tables of ENTITY again, compare with what is known, and mend what differs by ownership.

    Changes go on flowing, and no newer value is replaced by an older one. A plain copy is named SYSTEM:TABLE; as a whole
    it is emptied and filled anew. A second resync of the same tables begins anew.

    Examples: cdcd resync order --system shop; cdcd resync product --key A-100; cdcd resync product --system erp --where
    "changed_at > now() - interval '1 day'"; cdcd resync --list
    """
    if verb == "list":
        answer("resync", as_json, lambda: _list(config, entity))
    if entity is None:
        raise click.UsageError("Missing argument 'ENTITY' (or '--list').")
    if verb is not None:
        answer("resync", as_json, lambda: _control(config, entity, verb))
    if table is not None and where is None:
        raise click.UsageError("--table says what --where is about.")
    if keys and where is not None:
        raise click.UsageError("Either --key or --where.")
    wish = Wish(entity, systems, keys, where, table, dry_run, watch and not as_json, yes, as_json)
    answer("resync", as_json, lambda: _resync(config, wish))


def _resync(config: Path, wish: Wish) -> Verdict:
    arguments: dict[str, Any] = {"entity": wish.entity, "dry_run": wish.dry_run}
    found: dict[str, int] = {}
    if wish.keys or wish.where is not None:
        choice = _choice(config, wish)
        found = choice.found
        arguments |= msgspec.to_builtins(choice)
        arguments["keys"] = [key.hex() for key in choice.keys]
    elif wish.systems:
        arguments["systems"] = list(wish.systems)
    if wish.empties and not (wish.yes or wish.dry_run):
        _confirm(config, arguments, wish)
    result = {**daemon.ask(config, "resync", **arguments), "found": found}
    lines = _lines(result)
    if wish.dry_run:
        return Verdict("nothing was done", result, lines)
    started = f"resync of {wish.entity} started, {len(result['tables'])} tables"
    if not wish.watch:
        return Verdict(f"{started}; 'cdcd resync --list' shows it", result, lines)
    from cdcd.cli.progress import watch_resync  # noqa: PLC0415 - loads rich

    return Verdict(watch_resync(lambda: _copies(config, wish.entity), wish.entity, result["seq"]), result, lines)


def _confirm(config: Path, arguments: dict[str, Any], wish: Wish) -> None:
    what = f"the copy of {wish.entity} is to be emptied and filled anew"
    question = f"The copy of {wish.entity} is emptied and filled anew. Go on?"
    confirm(what, _planned(config, arguments), wish.as_json, question=question, remedy="add --yes")


def _planned(config: Path, arguments: dict[str, Any]) -> Iterator[str]:
    yield from _lines({**daemon.ask(config, "resync", **{**arguments, "dry_run": True}), "found": {}})


def _lines(result: dict[str, Any]) -> list[str]:
    found = []
    for system, table in result["tables"]:
        rows = result["rows"].get(f"{system}:{table}", 0)
        again = ", begun anew" if [system, table] in result["begun_anew"] else ""
        some = "rows of " if result["filtered"] else ""
        found.append(f"  {system}: {some}{table}{f', about {rows:,} rows' if rows else ''}{again}")
    found += [f"  {system} has {rows:,} of the named rows" for system, rows in result["found"].items()]
    return found


def _choice(config: Path, wish: Wish) -> Choice:
    """The rows that are wanted, looked for in the live databases."""
    from cdcd import blueprint, config_rules, record_names, resync_filters  # noqa: PLC0415 - loads adapters

    drawn = blueprint.draw(config_rules.load(config), str(config))
    subject = _subject(drawn, wish.entity)
    tables = drawn.entity_tables[subject]
    of_entity = list(dict.fromkeys(system for system, _ in tables))
    for system in wish.systems:
        if system not in of_entity:
            raise ConfigError(
                f"{wish.entity} is not in {system!r}", code="argument", remedy=f"it is in {', '.join(of_entity)}"
            )
    systems = wish.systems or of_entity
    with _readers(drawn) as reader_of:
        if wish.where is not None:
            if len(systems) != 1:
                raise ConfigError("--where is about one system", code="argument", remedy=f"add --system {of_entity[0]}")
            names = drawn.table_names[systems[0]]
            table = None if wish.table is None else names.get(wish.table, wish.table)
            return resync_filters.by_condition(tables, systems[0], table, wish.where, reader_of)
        if ":" not in subject:
            keys = record_names.without_tokens(drawn, subject, wish.keys)
            return resync_filters.by_keys(drawn.plan(), subject, keys, systems, reader_of)
        system, table = tables[0]
        need = next(need for need in drawn.systems[system].tables if need.table == table)
        return resync_filters.rows_of_copy(system, table, wish.keys, need.key, reader_of(system))


def _subject(drawn: Blueprint, name: str) -> str:
    """The entity, or the plain copies with their table spelled in full. Raises ConfigError."""
    system, colon, table = name.partition(":")
    full = f"{system}:{drawn.table_names.get(system, {}).get(table, table)}" if colon else name
    if full not in drawn.entity_tables:
        known = ", ".join(drawn.entity_tables)
        raise ConfigError(f"there is no entity {name!r}", code="argument", remedy=f"there are: {known}")
    return full


@contextmanager
def _readers(drawn: Blueprint) -> Iterator[Callable[[str], Reader]]:
    """Readers by system, opened when they are needed."""
    from cdcd import plugins  # noqa: PLC0415
    from cdcd.adapter import Identity  # noqa: PLC0415

    opened: dict[str, Reader] = {}
    with ExitStack() as stack:

        def reader_of(system: str) -> Reader:
            if system not in opened:
                known = drawn.systems[system]
                adapter = plugins.load(known.reference, extra=known.adapter)
                options = plugins.options(drawn.config, drawn.file, system, adapter)
                identity = Identity(drawn.config.daemon.name, system, "")
                opened[system] = stack.enter_context(closing(adapter.open_reader(identity, options)))
            return opened[system]

        yield reader_of


# ---- what is under way ---------------------------------------------------------------------------------------------


def _copies(config: Path, entity: str | None) -> list[dict[str, Any]]:
    arguments = {} if entity is None else {"entity": entity}
    copies: list[dict[str, Any]] = daemon.ask(config, "resyncs", **arguments)["copies"]
    return copies


def _list(config: Path, entity: str | None) -> Verdict:
    copies = _copies(config, entity)
    reading = sum(copy["state"] in ("reading", "paused") for copy in copies)
    return Verdict(f"{reading} tables are being read", {"copies": copies}, [f"  {described(copy)}" for copy in copies])


def described(copy: dict[str, Any]) -> str:
    """One copy, as people read it."""
    of = f" of about {copy['estimate']:,}" if copy["estimate"] else ""
    some = " (some rows)" if copy["filtered"] else ""
    whose = f" for {copy['entity']}" if copy["entity"] else ""
    return (
        f"{copy['system']}: {copy['table']}{some}{whose}: {copy['state']}, {copy['rows']:,} rows{of}"
        f" in {copy['chunks']:,} chunks, {copy['rows_per_second']:,.0f} rows/s"
    )


def _control(config: Path, entity: str, verb: str) -> Verdict:
    if verb == "cancel":
        result = daemon.ask(config, "resync-cancel", entity=entity)
        return Verdict(f"the resync of {entity} has ended; nothing counts as missing", result)
    on = verb == "pause"
    result = daemon.ask(config, "resync-pause", entity=entity, on=on)
    tables = ", ".join(f"{system}:{table}" for system, table in result["tables"])
    if on:
        return Verdict(
            f"reading of {tables} stops after the chunk in work; 'cdcd resync --resume {entity}' goes on", result
        )
    return Verdict(f"reading of {tables} goes on", result)
