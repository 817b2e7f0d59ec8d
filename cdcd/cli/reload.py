"""`cdcd reload`."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click

from cdcd import control
from cdcd.cli import daemon
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import Unavailable

ANSWER_SECONDS: Final = 400.0
"""The checks alone may take five minutes, where servers do not answer."""


@click.command("reload")
@click.option("--dry-run", is_flag=True, help="Check it, say what it would change, and go on as before.")
@common
def command(dry_run: bool, config: Path, as_json: bool) -> None:
    """Have the running daemon take over the changed configuration file.

    A file that is wrong, or a server that lacks something for it, is refused as a whole: the daemon goes on as before.
    'systemctl reload cdcd' (SIGHUP) does the same, and tells the outcome in the log.

    Examples: cdcd reload --dry-run; cdcd reload
    """
    answer("reload", as_json, lambda: _reload(config, dry_run=dry_run), doing="checking the configuration")


def _reload(config: Path, *, dry_run: bool) -> Verdict:
    socket = daemon.directory_of(config).control_socket
    try:
        result = control.ask(socket, "reload", {"dry_run": dry_run}, answer_seconds=ANSWER_SECONDS)
    except Unavailable as error:
        if error.code != "not-running":
            raise
        raise Unavailable(
            "the daemon is not running",
            code="not-running",
            cause="there is nothing to reload: the next start reads the file",
            remedy="'cdcd check' checks it, systemctl start cdcd starts with it",
        ) from error
    lines = [*result["lines"], *_findings(result)]
    what = f"{result['file']} {'would be' if dry_run else 'was'} taken over"
    return Verdict(what if result["any"] else f"{what}; nothing in it is otherwise", result, lines)


def _findings(result: dict[str, Any]) -> list[str]:
    found = [f"{f['severity']}: {f['system']} {f['subject']}: {f['message']} [{f['code']}]" for f in result["findings"]]
    return found + [f"{name} was not reachable, so it was not checked" for name in result["unreachable"]]
