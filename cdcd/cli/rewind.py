"""`cdcd rewind SYSTEM --to TIME`."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cdcd import config as c
from cdcd.cli import daemon
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import CdcdError, ConfigError


class DeclinedError(CdcdError):
    """The person said no, or could not be asked."""

    default_code = "declined"


@click.command("rewind")
@click.argument("system")
@click.option(
    "--to", "moment", required=True, help="A time (2026-11-21T22:00, local unless it says otherwise) or '2h ago'."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def command(system: str, moment: str, yes: bool, config: Path, as_json: bool) -> None:
    """Send SYSTEM the present value of every record that changed since a moment.

    For a target that was restored from a backup or edited by mistake. Old values never come back.
    """
    answer("rewind", as_json, lambda: _rewind(config, system, moment, yes, as_json))


def _rewind(config: Path, system: str, moment: str, yes: bool, as_json: bool) -> Verdict:
    since_us = parse_moment(moment, datetime.now(UTC))
    plan = daemon.ask(config, "rewind-plan", system=system, since_us=since_us)
    if not yes:
        _confirm(plan, as_json)
    result = daemon.ask(config, "rewind", system=system, since_us=since_us)
    return Verdict(f"rewind of {system} started (journal entry {result['seq']}); 'cdcd status' shows the queue", result)


def _confirm(plan: dict[str, Any], as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        raise DeclinedError("a rewind wants a confirmation", remedy="add --yes", code="confirmation")
    since = datetime.fromtimestamp(plan["since_us"] / 1e6, UTC).astimezone()
    click.echo(f"{plan['system']} gets the present value of all records changed since {since:%Y-%m-%d %H:%M:%S %z}.")
    click.echo(f"The journal holds {plan['transactions']:,} transactions from that time.")
    if not click.confirm("Go on?"):
        raise DeclinedError("nothing was done")


def parse_moment(text: str, now: datetime, option: str = "--to") -> int:
    """Microseconds since 1970 of an ISO 8601 time (local when it names no zone) or "2h ago". Raises ConfigError."""
    ago = re.fullmatch(r"(.+?)\s*(?:ago)?", text.strip())
    try:
        if ago is not None:
            return int((now.timestamp() - c.parse_duration(ago[1])) * 1e6)
    except ValueError:
        pass  # not a duration: then it must be a time
    try:
        return int(datetime.fromisoformat(text.strip()).astimezone(UTC).timestamp() * 1e6)
    except ValueError:
        raise ConfigError(
            f"{option}: {text!r} is no moment", code="argument", remedy="write 2026-11-21T22:00:00 or '2h ago'"
        ) from None
