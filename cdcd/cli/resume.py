"""`cdcd resume SYSTEM`."""

from __future__ import annotations

from pathlib import Path

import click

from cdcd.cli import daemon
from cdcd.cli.output import Verdict, answer, common


@click.command("resume")
@click.argument("system")
@common
def command(system: str, config: Path, as_json: bool) -> None:
    """Deliver to SYSTEM again, and retry at once what stopped or waits there."""
    answer("resume", as_json, lambda: _resume(config, system))


def _resume(config: Path, system: str) -> Verdict:
    result = daemon.ask(config, "resume", system=system)
    what = "delivery goes on" if result["was_paused"] else "it was not paused"
    retried = f"; tried again at once: {', '.join(result['restarted'])}" if result["restarted"] else ""
    return Verdict(f"{system}: {what}{retried}", result)
