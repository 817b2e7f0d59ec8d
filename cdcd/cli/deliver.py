"""`cdcd deliver ENTITY`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

import click

from cdcd import config as c
from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import ConfigError

LOOK_SECONDS: Final = 0.2
_STATES: Final = {"told": "told now", "nothing": "nothing is owed", "paused": "paused, left alone"}


@click.command("deliver")
@click.argument("entity", shell_complete=completing.entities)
@click.option(
    "--system", help="Tell this system only; without it all that have the entity.", shell_complete=completing.systems
)
@click.option("--wait", is_flag=True, help="Return when all of it has arrived.")
@click.option("--timeout", help="With --wait: give up after this time (90s, 10m); the delivery goes on.")
@click.option("--dry-run", is_flag=True, help="Say what is owed, and do nothing.")
@common
def command(
    entity: str, system: str | None, wait: bool, timeout: str | None, dry_run: bool, config: Path, as_json: bool
) -> None:
    """Tell now what is owed of ENTITY and its child collections, whatever the schedule says.

    What a schedule has told later is told once, as it is now. A pause is not overruled: 'cdcd resume' first.

    Examples: cdcd deliver product --dry-run; cdcd deliver product --system shop --wait
    """
    answer("deliver", as_json, lambda: _deliver(config, entity, system, wait, timeout, dry_run))


def _deliver(config: Path, entity: str, system: str | None, wait: bool, timeout: str | None, dry_run: bool) -> Verdict:
    limit_seconds = _seconds(timeout)
    result = daemon.ask(config, "deliver", entity=entity, system=system, dry_run=dry_run)
    lines = [
        f"  {one['system']} ({one['schedule']}): {one['records']:,} records, {_STATES[one['state']]}"
        for one in result["deliveries"]
    ]
    records = sum(one["records"] for one in result["deliveries"] if one["state"] == "told")
    if dry_run:
        return Verdict(f"{records:,} records of {entity} would be told now; nothing was done", result, lines)
    if not records:
        return Verdict(f"nothing is owed of {entity}", result, lines)
    if not result["running"]:
        return Verdict(f"{records:,} records of {entity} are told when the daemon is started", result, lines)
    if wait:
        asked_of = [one["system"] for one in result["deliveries"] if one["state"] == "told"]
        return _wait(config, entity, asked_of, limit_seconds, result | {"arrived": False}, lines)
    return Verdict(f"{records:,} records of {entity} are being told; 'cdcd status' shows the progress", result, lines)


def _seconds(timeout: str | None) -> float:
    try:
        return float("inf") if timeout is None else c.parse_duration(timeout)
    except ValueError as error:
        raise ConfigError(f"--timeout: {error}", code="argument", remedy="write 90s or 10m") from None


def _wait(
    config: Path, entity: str, systems: list[str], limit_seconds: float, result: dict[str, Any], lines: list[str]
) -> Verdict:
    from cdcd.cli.progress import working  # noqa: PLC0415 - loads rich

    began_at = time.monotonic()
    places: dict[str, dict[str, Any]] = {system: {"seq": None, "unit": None, "arrived": False} for system in systems}
    with working(f"waiting until {entity} has arrived"):
        while not all(place["arrived"] for place in places.values()):
            waited_seconds = time.monotonic() - began_at
            if waited_seconds > limit_seconds:
                return Verdict(f"{entity} has not arrived after {waited_seconds:.0f} s; it goes on", result, lines, 1)
            time.sleep(LOOK_SECONDS)
            for system, place in places.items():
                asked = {"entity": entity, "system": system, "seq": place["seq"], "unit": place["unit"]}
                places[system] = daemon.ask(config, "deliver-progress", **asked)
    waited_seconds = time.monotonic() - began_at
    result |= {"arrived": True, "waited_seconds": round(waited_seconds, 3)}
    return Verdict(f"{entity} has arrived, after {waited_seconds:.1f} s", result, lines)
