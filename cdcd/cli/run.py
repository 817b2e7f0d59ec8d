"""`cdcd run`: check everything, then become the supervisor."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cdcd import config as c
from cdcd import logs, preflight
from cdcd.cli import check
from cdcd.cli.output import Verdict, answer, common
from cdcd.state_directory import StateDirectory, lock_for_supervisor, refuse_if_running

if TYPE_CHECKING:
    from cdcd.supervisor import Supervisor
    from cdcd.web.server import WebServer


@click.command("run")
@common
def command(config: Path, as_json: bool) -> None:
    """Start the daemon and stay in the foreground, until SIGTERM or Ctrl-C.

    Starts nothing and writes nothing when a server lacks something ('cdcd check' lists it). A server that is merely
    down does not keep the others waiting. With --json, the object comes at the end.
    """
    logs.setup("supervisor")
    answer("run", as_json, lambda: _run(config))


def _run(config: Path) -> Verdict:
    directory = StateDirectory(Path(c.read(config).daemon.state_dir))
    refuse_if_running(directory)
    outcome = preflight.check_apart(config)
    result = {"findings": outcome.findings, "unreachable": outcome.unreachable}
    if outcome.forbidding(first_start=not directory.state.exists()):
        return Verdict(f"not started: {check.summary(outcome)}", result, check.lines(outcome), 3)
    for line in check.lines(outcome):
        click.echo(line, err=True)
    for name in outcome.unreachable:
        click.echo(f"{name} is not reachable: starting without it, it is tried again with growing pauses", err=True)
    code = _supervise(outcome, directory)
    return Verdict("stopped", result, exit_code=code)


def _supervise(outcome: preflight.Outcome, directory: StateDirectory) -> int:
    from cdcd.state import State  # noqa: PLC0415
    from cdcd.supervisor import Supervisor  # noqa: PLC0415

    os.umask(0o077)
    directory.prepare()
    lock = lock_for_supervisor(directory)
    state = State(directory.state)
    known = state.get("vocabulary") or b""
    state.close()
    supervisor = Supervisor(msgspec.structs.replace(outcome.blueprint, vocabulary=known), directory, lock)
    web = _serve(supervisor, outcome.blueprint.config.daemon.listen)
    supervisor.start()
    if sys.stderr.isatty():
        from cdcd.cli.progress import show_copies  # noqa: PLC0415

        show_copies(supervisor.mailbox.ask)
    code = supervisor.run()
    if web is not None:
        web.close()
    return code


def _serve(supervisor: Supervisor, listen: str | None) -> WebServer | None:
    from cdcd.web.server import WebServer  # noqa: PLC0415

    return WebServer(listen, supervisor.mailbox.ask) if listen is not None else None
