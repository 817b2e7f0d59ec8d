"""`cdcd reposition SYSTEM`."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common, confirm


@click.command("reposition")
@click.argument("system", shell_complete=completing.systems)
@click.option("--dry-run", is_flag=True, help="Say what it would mean, and do nothing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(system: str, dry_run: bool, yes: bool, config: Path, as_json: bool) -> None:
    """Read SYSTEM's log from now on, where the place up to which it was read is lost; then compare all its tables.

    For a purged log, a dropped slot, a restored or another server: when 'cdcd status' says position-lost. What the gap
    held is found by comparing: what is new, changed or gone counts as if it had happened now. What was changed and
    changed again in the gap is not known.

    Examples: cdcd reposition erp --dry-run; cdcd reposition erp --yes
    """
    answer("reposition", as_json, lambda: _reposition(config, system, dry_run, yes, as_json))


def _reposition(config: Path, system: str, dry_run: bool, yes: bool, as_json: bool) -> Verdict:
    plan = daemon.ask(config, "reposition-plan", system=system)
    if dry_run:
        return Verdict("nothing was done", plan, _lines(plan))
    if not yes:
        confirm("a new position wants a confirmation", _lines(plan), as_json, remedy="add --yes")
    result = daemon.ask(config, "reposition", system=system)
    return Verdict(
        f"{system} is read from now on (journal entry {result['seq']}); 'cdcd resync --list' shows how its"
        f" {len(result['tables'])} tables are compared",
        {**plan, **result},
    )


def _lines(plan: dict[str, Any]) -> list[str]:
    until_us = plan["read_until_us"]
    until = f"{datetime.fromtimestamp(until_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S %z}" if until_us else "never"
    rows = f", about {plan['rows']:,} rows" if plan["rows"] else ""
    return [
        f"The log of {plan['system']} was read until {until}; what came after that is given up, up to now.",
        f"All its tables ({len(plan['tables'])}{rows}) are read again and compared: {', '.join(plan['subjects'])}.",
        "New and changed rows count as changes of now, rows that are gone as deleted, by the rules of ownership.",
        "Values in between are not known. Fields that several systems share keep what the others know.",
        "Plain copies from it are emptied and filled anew.",
    ]
