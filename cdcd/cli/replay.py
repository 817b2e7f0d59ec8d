"""`cdcd replay SYSTEM`."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click
import msgspec

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm
from cdcd.errors import NotReady


class Found(msgspec.Struct, frozen=True):
    """What a target holds: the unit of its checkpoint (0 without one), and of the tables that are written those with rows."""

    unit: int
    filled: tuple[str, ...]


@click.command("replay")
@click.argument("system", shell_complete=completing.systems)
@click.option("--dry-run", is_flag=True, help="Say what would be sent, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(system: str, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Fill SYSTEM, whose database is empty or was lost, with everything that is known.

    Every record that was there is sent as it is now, with the fields that SYSTEM owns; plain copies are read again from
    their sources. The tables must exist. Its log is read from now on, and nobody is missed in it.

    Examples: cdcd replay shop --dry-run; cdcd replay shop
    """
    answer("replay", as_json, lambda: _replay(config, system, dry_run, yes, as_json))


def _replay(config: Path, system: str, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    from cdcd.cli.progress import working  # noqa: PLC0415 - loads rich

    with working(f"looking into {system}"):
        plan = daemon.ask(config, "replay-plan", system=system)
        found = _look(config, system, plan["tables"])
        plan = {**plan, "records": _records(config, system), **msgspec.to_builtins(found)}
    if dry_run:
        return Verdict("nothing was done", plan, _lines(plan))
    if not yes:
        confirm("a replay wants a confirmation", _lines(plan), as_json)
    result = daemon.ask(config, "replay", system=system, unit=found.unit)
    told = sum(plan["records"].values())
    return Verdict(
        f"replay of {system} started: {told:,} records (journal entry {result['seq']}); 'cdcd status' shows what is"
        " still owed",
        {**plan, **result},
    )


def _look(config: Path, system: str, tables: list[str]) -> Found:
    """Look into the target. Raises NotReady where a table is missing."""
    from cdcd import config_rules, plugins  # noqa: PLC0415 - loads drivers
    from cdcd.adapter import Identity  # noqa: PLC0415

    checked = config_rules.load(config)
    adapter = plugins.find(checked, str(config), system).adapter
    options = plugins.options(checked, str(config), system, adapter)
    identity = Identity(checked.daemon.name, system, "")
    with (
        closing(adapter.open_target(identity, options)) as target,
        closing(adapter.open_reader(identity, options)) as reader,
    ):
        shapes = target.describe(tables)
        missing = [table for table in tables if table not in shapes]
        if missing:
            raise NotReady(
                f"{system!r} has no table {', '.join(missing)}",
                code="table-missing",
                cause="a replay fills tables, it does not make them",
                remedy="create the database with the application's own schema, without rows; then again",
            )
        filled = [table for table in tables if reader.sample(table, [shapes[table].columns[0].name], 1)]
        row = target.checkpoint()
    return Found(0 if row is None else row.through, tuple(filled))


def _records(config: Path, system: str) -> dict[str, int]:
    """How many records of which entity are known."""
    from cdcd import config as c  # noqa: PLC0415
    from cdcd.rewound import count_records  # noqa: PLC0415
    from cdcd.state import State  # noqa: PLC0415

    with closing(State(daemon.directory_of(config).state, read_only=True)) as state:
        return count_records(state, system, c.read(config), None, 0)


def _lines(plan: dict[str, Any]) -> list[str]:
    lines = [f"  {entity:<24} {count:>10,} records" for entity, count in plan["records"].items() if count]
    lines += [f"  {copy:<24} {'anew':>10}, a plain copy: it is read again from its source" for copy in plan["copies"]]
    if plan["filled"]:
        lines += [
            f"  {plan['system']} is not empty: {', '.join(plan['filled'])} hold rows.",
            "  Rows of records that are known are written over, but for what the system owns; all others stay as they are,",
            "  unknown until 'cdcd resync'. To send only what changed since a backup: 'cdcd rewind'.",
        ]
    if plan["is_source"]:
        lines.append("  What was changed there and not captured is lost; its log is read from now on.")
    return [f"{plan['system']} gets everything that is known, as it is now:", *lines]
