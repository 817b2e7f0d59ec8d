"""`cdcd run`: check everything, then become the supervisor."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, closing, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click
import msgspec

from cdcd import config as c
from cdcd import core_dumps, logs, notify
from cdcd.cli.output import Verdict, answer, common, is_watched
from cdcd.errors import CdcdError
from cdcd.forking import Template
from cdcd.standby import Running, Standby, remembered
from cdcd.state_directory import Lock, StateDirectory, lock_for_supervisor, refuse_if_running

if TYPE_CHECKING:
    from cdcd.preflight import Outcome
    from cdcd.supervisor import Supervisor


BIND_SECONDS: Final = 3.0
EXTEND_SECONDS: Final = 60.0
UPGRADE_SECONDS: Final = 6 * 3600.0
"""A large state directory of an earlier version is brought up to date in one transaction."""
_BIND_AGAIN_SECONDS: Final = 0.1
_log: Final = logging.getLogger("cdcd.run")


@click.command("run")
@click.option("--standby", "stands_by", is_flag=True, help="Wait while another daemon of this state runs; take over.")
@click.option("--take-over-after-stop", "after_stop", is_flag=True, help="With --standby: also when it was stopped.")
@common
def command(stands_by: bool, after_stop: bool, config: Path, as_json: bool) -> None:
    """Start the daemon and stay in the foreground, until SIGTERM or Ctrl-C.

    Starts nothing and writes nothing when a server lacks something ('cdcd check' lists it). A server that is merely
    down does not keep the others waiting. With --json, the object comes at the end.

    With --standby it waits while another daemon runs on the same state directory, and takes over within seconds when
    that one dies or freezes; not when it is stopped on purpose, unless --take-over-after-stop is given.

    Examples: cdcd run --config /etc/cdcd/cdcd.toml; cdcd run --standby
    """
    logs.setup("supervisor")
    answer("run", as_json, lambda: _noted(lambda: _run(config, stands_by=stands_by, after_stop=after_stop)))


def _noted(run: Callable[[], Verdict]) -> Verdict:
    """Say why the daemon ended also where services are looked at: the status line, and the journal with its priority."""
    try:
        verdict = run()
    except CdcdError as error:
        notify.notify(f"STATUS=ended: {error.what} [{error.code}]")
        raise
    if verdict.exit_code:
        notify.notify(f"STATUS={verdict.summary}")
        if logs.is_for_journal():
            _log.error(
                verdict.summary, extra={"next": "what is missing, with the way out, stands below; and 'cdcd check'"}
            )
    return verdict


def _run(config: Path, *, stands_by: bool, after_stop: bool) -> Verdict:
    directory = StateDirectory(Path(c.read(config).daemon.state_dir))
    if not stands_by:
        refuse_if_running(directory)
    with closing(Template(str(config))) as template:
        template.tend()  # it imports what the workers need, and we meanwhile what the supervisor does
        return _checked(config, template, stands_by=stands_by, after_stop=after_stop)


def _checked(config: Path, template: Template, *, stands_by: bool, after_stop: bool) -> Verdict:
    from cdcd import preflight, reloading  # noqa: PLC0415

    stamp = reloading.file_stamp(config)
    notify.extend_timeout(preflight.PREFLIGHT_SECONDS + EXTEND_SECONDS, "checking the configuration and the servers")
    with _shown("checking the configuration and the servers"):
        begun = preflight.CheckApart(config, template)
        from cdcd import supervisor as _  # noqa: F401, PLC0415 - while the checks run

        outcome = preflight.check_apart(config, begun)
    if stands_by:
        template.close()  # it may be for days
    return _started(Running(outcome.blueprint, stamp), outcome, template, stands_by=stands_by, after_stop=after_stop)


def _started(running: Running, outcome: Outcome, template: Template, *, stands_by: bool, after_stop: bool) -> Verdict:
    """Become the supervisor, at once or when the other daemon is gone, unless something forbids it."""
    from cdcd.cli import check  # noqa: PLC0415

    directory = StateDirectory(Path(running.blueprint.config.daemon.state_dir))
    result = {"findings": outcome.findings, "unreachable": outcome.unreachable}
    if outcome.forbidding(first_start=not directory.state.exists()):
        return Verdict(f"not started: {check.summary(outcome)}", result, check.lines(outcome), 3)
    for line in check.lines(outcome):
        click.echo(line, err=True)
    for name in outcome.unreachable:
        click.echo(f"{name} is not reachable: starting without it, it is tried again with growing pauses", err=True)
    os.umask(0o077)
    core_dumps.forbid()
    directory.prepare()
    if not stands_by:
        code = _supervise(running, directory, lock_for_supervisor(directory), template)
        return Verdict("stopped", result, exit_code=code)
    standby = Standby(directory, after_stop=after_stop)
    lock = standby.take_over()
    if lock is None:
        return Verdict("stopped while standing by", result)
    running = _predecessors(running, directory) if standby.has_waited else running
    code = _supervise(running, directory, lock, template, silent_since_us=standby.silent_since_us)
    return Verdict("stopped", result, exit_code=code)


def _predecessors(own: Running, directory: StateDirectory) -> Running:
    """What the daemon ran with that died: its file may be in the middle of an edit. Only where we listen is our own."""
    found = remembered(directory.running)
    if found is None or found.blueprint.config.daemon.name != own.blueprint.config.daemon.name:
        return own
    config = found.blueprint.config
    mine = own.blueprint.config
    daemon = msgspec.structs.replace(config.daemon, listen=mine.daemon.listen)
    web = msgspec.structs.replace(config.web, secured=mine.web.secured)
    config = msgspec.structs.replace(config, daemon=daemon, web=web)
    blueprint = msgspec.structs.replace(found.blueprint, config=config)
    return Running(blueprint, found.stamp)


def _shown(what: str) -> AbstractContextManager[object]:
    """On a terminal only: a service does not load what draws there."""
    if not is_watched():
        return nullcontext()
    from cdcd.cli.progress import working  # noqa: PLC0415

    return working(what)


def _supervise(
    running: Running, directory: StateDirectory, lock: Lock, template: Template, *, silent_since_us: int = 0
) -> int:
    from cdcd.state import State  # noqa: PLC0415
    from cdcd.supervisor import Supervisor  # noqa: PLC0415

    c.use_state_key(running.blueprint.config)
    notify.extend_timeout(UPGRADE_SECONDS, "opening the state directory")
    state = State(directory.state)
    known = state.get("vocabulary") or b""
    state.close()
    blueprint = msgspec.structs.replace(running.blueprint, vocabulary=known)
    supervisor = Supervisor(
        blueprint, directory, lock, stamp=running.stamp, silent_since_us=silent_since_us, template=template
    )
    _serve(supervisor, blueprint.config, as_successor=silent_since_us > 0)
    supervisor.start()
    if sys.stderr.isatty():
        from cdcd.cli.progress import show_copies  # noqa: PLC0415

        show_copies(supervisor.mailbox.ask)
    code = supervisor.run()
    supervisor.site.close()
    return code


def _serve(supervisor: Supervisor, config: c.Config, *, as_successor: bool) -> None:
    """Who was there before has a moment to let go of the addresses. Who takes over goes on without them otherwise."""
    until = time.monotonic() + BIND_SECONDS
    while True:
        try:
            supervisor.site.adopt(supervisor.site.prepare(config))
        except CdcdError as error:
            is_over = time.monotonic() > until
            if not as_successor and (is_over or error.code != "listen"):
                raise
            if is_over:
                _log.error("going on without the web page and the metrics", extra=logs.fields(error))
                return
            time.sleep(_BIND_AGAIN_SECONDS)
        else:
            return
