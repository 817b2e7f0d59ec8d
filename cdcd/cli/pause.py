"""`cdcd pause SYSTEM`."""

from __future__ import annotations

from pathlib import Path

import click

from cdcd.cli import daemon
from cdcd.cli.output import Verdict, answer, common


@click.command("pause")
@click.argument("system")
@common
def command(system: str, config: Path, as_json: bool) -> None:
    """Stop delivering to SYSTEM, also after a restart, until 'cdcd resume SYSTEM'.

    Returns when the batch in work is committed and the connection closed. Changes go on being captured and wait.
    """
    answer("pause", as_json, lambda: _pause(config, system))


def _pause(config: Path, system: str) -> Verdict:
    result = daemon.ask(config, "pause", system=system)
    if result["paused"]:
        return Verdict(f"delivery to {system} is paused; 'cdcd resume {system}' goes on", result)
    return Verdict(f"delivery to {system} pauses after the batch in work ({result['state']})", result)
