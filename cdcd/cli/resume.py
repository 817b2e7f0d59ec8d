"""`cdcd resume SYSTEM | ENTITY`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common


@click.command("resume")
@click.argument("name", metavar="SYSTEM|ENTITY", shell_complete=completing.systems_and_entities)
@click.option("--system", help="The entity, in this system only.", shell_complete=completing.systems)
@click.option("--dry-run", is_flag=True, help="Say what would go on, and do nothing.")
@common
def command(name: str, system: str | None, dry_run: bool, config: Path, as_json: bool) -> None:
    """Deliver to SYSTEM again and retry at once what stopped or waits there, or hold ENTITY back no more.

    Of an entity, each record that changed meanwhile is told once, as it is now; what is parked of it is tried again.

    Examples: cdcd resume shop; cdcd resume product --system shop
    """
    answer("resume", as_json, lambda: _resume(config, name, system, dry_run), doing="asking the daemon")


def _resume(config: Path, name: str, system: str | None, dry_run: bool) -> Verdict:
    result = daemon.ask(config, "resume", name=name, system=system, dry_run=dry_run)
    text = _of_entity(result) if "entity" in result else _of_system(result)
    return Verdict(f"would resume {text}" if dry_run else text, result)


def _of_entity(result: dict[str, Any]) -> str:
    owed = (
        f"{result['owed_records']:,} records are told now, as their schedule allows" if result["owed_records"] else ""
    )
    what = "it goes on" if result["was_paused"] else "it was not paused"
    return "; ".join(filter(None, [f"{result['entity']} in {', '.join(result['systems'])}: {what}", owed]))


def _of_system(result: dict[str, Any]) -> str:
    what = "delivery goes on" if result["was_paused"] else "it was not paused"
    retried = f"; tried again at once: {', '.join(result['restarted'])}" if result["restarted"] else ""
    return f"{result['system']}: {what}{retried}"
