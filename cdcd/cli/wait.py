"""`cdcd wait`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from cdcd import config as c
from cdcd.cli import completing, daemon
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import ConfigError

ANSWER_SECONDS: Final = 30.0
"""So much longer than it is to wait itself the daemon may take to answer."""
_WHY: Final = {
    "paused": "is held back by a pause ('cdcd resume')",
    "scheduled": "waits for its schedule ('cdcd deliver' sends it now)",
    "parked": "was refused and is parked ('cdcd parked list')",
    "held": "could not be understood or lost, and waits for a person ('cdcd conflicts list')",
    "waiting": "refers to rows that nobody has shown",
    "first-copy": "is being copied for the first time: nothing of it is delivered before that is over",
    "copying": "are still being copied for the first time: rows that were there before are on their way",
    "suspended": "is suspended ('cdcd status' says why)",
}


@click.command("wait")
@click.option("--for", "moment", default="now", show_default=True, help="'now', or a place in the log of --system.")
@click.option("--system", help="Only what is committed in this system.", shell_complete=completing.systems)
@click.option("--timeout", default="60s", show_default=True, help="How long to wait at most.")
@common
def command(moment: str, system: str | None, timeout: str, config: Path, as_json: bool) -> None:
    """Wait until everything that is committed in the sources by now has arrived in all targets.

    What is committed later is not waited for, so this ends under load, too. A place is what the server itself says:
    pg_current_wal_lsn() of PostgreSQL, FILE:OFFSET or GTIDs of MySQL and MariaDB. Exits with 1 when the time is over.

    Examples: cdcd wait; cdcd wait --system erp --timeout 5m; cdcd wait --system erp --for 0/16B3748
    """
    answer("wait", as_json, lambda: _wait(config, moment, system, timeout), doing="waiting until it has arrived")


def _wait(config: Path, moment: str, system: str | None, timeout: str) -> Verdict:
    try:
        seconds = c.parse_duration(timeout)
    except ValueError:
        raise ConfigError(f"--timeout: {timeout!r} is no duration", code="argument", remedy="write 60s or 5m") from None
    position = None if moment == "now" else moment
    result = daemon.ask_within(
        seconds + ANSWER_SECONDS, config, "wait", position=position, system=system, timeout_seconds=seconds
    )
    if not result["passed"]:
        lines = [f"{m['system']}, {m['stage']}: {m['what']}" for m in result["missing"]]
        return Verdict(f"not everything has arrived after {timeout}", result, lines, 1)
    sources = ", ".join(result["places"])
    return Verdict(
        f"everything committed in {sources} has arrived ({result['waited_seconds']:.1f} s)",
        result,
        [_left(left) for left in result["left"]],
    )


def _left(left: dict[str, Any]) -> str:
    subject = left["subject"] or "of the records"
    where = f" in {left['system']}" if left["system"] else ""
    count = f"{left['records']:,} " if left["records"] else ""
    return f"but {count}{subject}{where} {_WHY.get(left['why'], left['why'])}"
