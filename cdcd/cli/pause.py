"""`cdcd pause SYSTEM | ENTITY`."""

from __future__ import annotations

from pathlib import Path

import click

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common


@click.command("pause")
@click.argument("name", metavar="SYSTEM|ENTITY", shell_complete=completing.systems_and_entities)
@click.option("--system", help="Hold the entity back from this system only.", shell_complete=completing.systems)
@click.option("--dry-run", is_flag=True, help="Say what would be held back, and do nothing.")
@common
def command(name: str, system: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Stop delivering to SYSTEM, or hold back ENTITY, until 'cdcd resume'; also after a restart.

    A system: returns when the batch in work is committed and the connection closed; changes go on being captured and
    wait. An entity: everything else flows; when it is resumed, each record that changed is told once, as it is then.

    Examples: cdcd pause shop; cdcd pause product; cdcd pause product --system shop
    """
    answer("pause", as_json, lambda: _pause(config, name, system, dry_run), doing="waiting for the batch in work")


def _pause(config: Path, name: str, system: str | None, dry_run: bool) -> Verdict:
    result = daemon.ask(config, "pause", name=name, system=system, dry_run=dry_run)
    if dry_run:
        return Verdict(_would(result), result)
    if "entity" in result:
        where = ", ".join(result["systems"])
        return Verdict(f"{name} is held back from {where}; 'cdcd resume {name}' goes on", result)
    if result["paused"]:
        return Verdict(f"delivery to {name} is paused; 'cdcd resume {name}' goes on", result)
    return Verdict(f"delivery to {name} pauses after the batch in work ({result['state']})", result)


def _would(result: dict[str, object]) -> str:
    if "entity" in result:
        systems = result["systems"]
        assert isinstance(systems, list)
        return f"{result['entity']} would be held back from {', '.join(systems)}"
    return f"delivery to {result['system']} would stop; {result['waiting_writes']:,} writes wait for it now"
