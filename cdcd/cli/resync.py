"""`cdcd resync ENTITY`."""

from __future__ import annotations

from pathlib import Path

import click

from cdcd.cli import daemon
from cdcd.cli.output import Verdict, answer, common


@click.command("resync")
@click.argument("entity")
@common
def command(entity: str, config: Path, as_json: bool) -> None:
    """Read all tables of ENTITY again, compare with what is known, and mend what differs by ownership.

    Changes go on flowing, and no newer value is replaced by an older one. A plain copy is named SYSTEM:TABLE; it is
    emptied and filled anew. 'cdcd status' shows the progress.
    """
    answer("resync", as_json, lambda: _resync(config, entity))


def _resync(config: Path, entity: str) -> Verdict:
    result = daemon.ask(config, "resync", entity=entity)
    tables = [f"  {system}: {table}" for system, table in result["tables"]]
    return Verdict(f"resync of {entity} started, {len(tables)} tables; 'cdcd status --watch' shows it", result, tables)
