"""`cdcd status`."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click
import msgspec

from cdcd import config as c
from cdcd import config_rules, control, health
from cdcd.cli.output import Verdict, answer, common
from cdcd.errors import CdcdError, Unavailable
from cdcd.scheduling.deliveries import Standing
from cdcd.state_directory import StateDirectory
from cdcd.status import CopyStatus, DaemonStatus, SystemStatus, offline

if TYPE_CHECKING:
    from rich.console import RenderableType

    from cdcd.cli.progress import CopyBars

WATCH_SECONDS = 1.0
POSITION_CHARACTERS = 24


@click.command("status")
@click.option("--watch", is_flag=True, help="Show it again every second, with the progress of copies.")
@common
def command(watch: bool, config: Path, as_json: bool) -> None:
    """Show per system: state, position, lag in seconds and events, queues, parked records, last error.

    Works without the daemon too: then it reads the state directory, and says so. Exits with 1 when the daemon is not
    running or not healthy.

    Examples: cdcd status; cdcd status --watch; cdcd status --json
    """
    if watch and not as_json:
        _watch(config)
    answer("status", as_json, lambda: _status(config))


def _status(config: Path) -> Verdict:
    status = read(config)
    found = verdict(status)
    return msgspec.structs.replace(found, lines=[_rendered(status)])


def verdict(status: DaemonStatus) -> Verdict:
    """What a program is told, here and by the status page."""
    reasons = health.health(status) if status.running else []
    unhealthy = bool(reasons) or not status.running
    result = {**msgspec.to_builtins(status), "healthy": not unhealthy, "reasons": msgspec.to_builtins(reasons)}
    return Verdict(summary(status, reasons), result, exit_code=1 if unhealthy else 0)


def read(config: Path) -> DaemonStatus:
    """The running daemon's status, or what the state directory tells without one. Raises CdcdError."""
    directory = StateDirectory(Path(c.read(config).daemon.state_dir))
    try:
        return msgspec.convert(control.ask(directory.control_socket, "status"), DaemonStatus)
    except Unavailable:
        if not directory.state.exists() or not directory.journal.exists():
            raise
    from importlib.metadata import version  # noqa: PLC0415

    from cdcd.blueprint import draw  # noqa: PLC0415 - loads drivers

    return offline(draw(config_rules.load(config), str(config)), directory, version("cdcd"))


def summary(status: DaemonStatus, reasons: list[health.Reason]) -> str:
    """The verdict in one line."""
    if not status.running:
        return f"{status.daemon} is not running: this is what its state directory tells; start it: systemctl start cdcd"
    if reasons:
        return f"{status.daemon} needs attention: " + "; ".join(f"{r.role}: {r.message} [{r.code}]" for r in reasons)
    waiting = health.readiness(status)
    if waiting:
        return f"{status.daemon} is running, not everything is: " + "; ".join(f"{r.role}: {r.message}" for r in waiting)
    return f"{status.daemon} is running" + (", tables are being copied" if status.copying() else "")


def _rendered(status: DaemonStatus) -> str:
    from rich.console import Console  # noqa: PLC0415

    console = Console()
    with console.capture() as capture:
        console.print(view(status))
    return capture.get().rstrip("\n")


def view(status: DaemonStatus, bars: CopyBars | None = None) -> RenderableType:
    """The tables of `cdcd status`."""
    from rich.console import Group  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("system", "", "state", "position"):
        table.add_column(column, no_wrap=True)
    for column in ("lag s", "waiting", "parked"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, system in status.systems.items():
        for row in _rows(name, system):
            table.add_row(*row)
    resolve = status.resolve
    table.add_row(
        "",
        "resolve",
        resolve.worker.state,
        str(resolve.seq),
        f"{resolve.lag_seconds:.1f}",
        f"{resolve.lag_events:,} entries",
        f"{resolve.held + resolve.conflicts:,} held" if resolve.held + resolve.conflicts else "",
    )
    parts: list[RenderableType] = [table, "", _facts(status), *_later(status), *_drift(status)]
    parts += [*_errors(status), *_suspended(status)]
    if bars is not None and status.copying():
        parts.append(bars.update(status))
    elif status.copying():
        parts += _copies(status)
    return Group(*parts)


def _rows(name: str, system: SystemStatus) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    capture, deliver = system.capture, system.deliver
    if capture is not None:
        waiting = f"{capture.lag_bytes:,} bytes"
        lag = f"{capture.lag_seconds:.1f}"
        found.append((name, "read", capture.worker.state, _shortened(capture.position), lag, waiting, ""))
    if deliver is not None:
        state = "paused" if deliver.paused else deliver.worker.state
        waiting = f"{deliver.lag_events:,} writes"
        lag = f"{deliver.lag_seconds:.1f}"
        first = name if capture is None else ""
        found.append((first, "write", state, str(deliver.applied_unit), lag, waiting, f"{deliver.parked:,}"))
    return found


def _shortened(position: str) -> str:
    """The end of a position's first word: what moves. All of it is in --json."""
    word = position.partition(" ")[0]
    return word if len(word) <= POSITION_CHARACTERS else "…" + word[1 - POSITION_CHARACTERS :]


def _errors(status: DaemonStatus) -> list[RenderableType]:
    """The last error of each worker; what is over is said to be."""
    from rich.text import Text  # noqa: PLC0415

    found: list[RenderableType] = []
    for role, worker in status.workers().items():
        if worker.error is not None:
            ago_seconds = max(0, status.at_us - worker.error.at_us) // 1_000_000
            over = worker.state in ("running", "paused")
            text = f"{role}: {worker.error.what} [{worker.error.code}], {ago_seconds:,} s ago{', over' if over else ''}"
            details = (("cause:", worker.error.cause), ("next: ", worker.error.remedy))
            more = "".join(f"\n  {label} {value}" for label, value in details if value and not over)
            found.append(Text(text + more, style="dim" if over else "red"))
    return found


def _later(status: DaemonStatus) -> list[RenderableType]:
    """What is told later, and when: schedules, and what a pause holds back."""
    targets = {name: system.deliver for name, system in status.systems.items() if system.deliver is not None}
    return [
        f"{found.entity} to {name} ({found.schedule}): {_owed(found, status.at_us)}, {_when(found)}"
        for name, deliver in targets.items()
        for found in deliver.later
    ]


def _owed(found: Standing, now_us: int) -> str:
    if not found.records:
        return "nothing is owed"
    return f"{found.records:,} records owed, the first for {max(0, now_us - found.since_us) // 1_000_000:,} s"


def _when(found: Standing) -> str:
    if found.held:
        return "paused"
    if found.behind:
        return "its target is behind: told when that has caught up"
    if found.open:
        return "being told now" + (f", {found.left:,} to go" if found.left else "")
    if found.next_run_us is None:
        return "told on demand" if found.schedule == "on-demand" else "told at once"
    return f"next at {datetime.fromtimestamp(found.next_run_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S %z}"


def _drift(status: DaemonStatus) -> list[RenderableType]:
    """What the last verifications have found, where that is anything; else when the first of them was."""
    from rich.text import Text  # noqa: PLC0415

    drifted = [found for found in status.drift if found.missing + found.different + found.surplus]
    if status.drift and not drifted:
        oldest_us = min(found.verified_at_us for found in status.drift)
        since = f"{datetime.fromtimestamp(oldest_us / 1e6, UTC).astimezone():%Y-%m-%d %H:%M:%S %z}"
        return [f"verified: everything that was compared since {since} was in step"]
    return [
        Text(
            f"not in step: {found.entity} in {found.system}: {found.missing:,} missing, {found.different:,} different,"
            f" {found.surplus:,} surplus; 'cdcd verify --list'",
            style="red",
        )
        for found in drifted
    ]


def _suspended(status: DaemonStatus) -> list[RenderableType]:
    """What is left behind, and the way on."""
    from rich.text import Text  # noqa: PLC0415

    return [
        Text(
            f"suspended: {found.subject} at entry {found.seq:,}, {found.lag_events:,} entries behind [{found.error.code}]\n"
            f"  what:  {found.error.what}\n  cause: {found.error.cause}\n  next:  {found.error.remedy}",
            style="red",
        )
        for found in status.resolve.suspended
    ]


def _facts(status: DaemonStatus) -> str:
    journal = status.journal
    share = journal.size_bytes / journal.max_bytes if journal.max_bytes else 0.0
    phases = sorted(entity for entity, phase in status.resolve.phases.items() if phase != "live")
    seeding = f"; not settled yet: {', '.join(phases)}" if phases else ""
    rows, since = status.resolve.waiting, status.resolve.waiting_since_seq
    waiting = f"\nwaiting: {rows:,} rows refer to rows that nobody has shown, since entry {since:,}" if since else ""
    standby = f"\nstandby: {status.standby} stands by to take over" if status.standby else ""
    remarks = "".join(f"\nremark: {remark}" for remark in status.remarks)
    return (
        f"journal: entry {journal.last_seq:,}, {journal.size_bytes / 2**20:,.1f} MiB ({share:.0%} of its room){seeding}"
        f"{waiting}{standby}{remarks}"
    )


def _copies(status: DaemonStatus) -> list[RenderableType]:
    return [
        f"copying {name}: {copy.table}, {_read(copy)}"
        for name, system in status.systems.items()
        for copy in (system.capture.copies if system.capture is not None else ())
        if not copy.done
    ]


def _read(copy: CopyStatus) -> str:
    of = f" of about {copy.estimate:,}" if copy.estimate else ""
    rate = f", {copy.rows_per_second:,.0f} rows/s" if copy.rows_per_second else ""
    return f"{copy.rows:,} rows so far{of}{rate}{', paused' if copy.paused else ''}"


def _watch(config: Path) -> None:
    """Until Ctrl-C."""
    from rich.console import Console, Group  # noqa: PLC0415
    from rich.live import Live  # noqa: PLC0415

    from cdcd.cli.progress import CopyBars  # noqa: PLC0415

    bars = CopyBars()
    try:
        with Live(console=Console(), auto_refresh=False, screen=sys.stdout.isatty()) as live:
            while True:
                status = read(config)
                reasons = health.health(status) if status.running else []
                live.update(Group(view(status, bars), summary(status, reasons)), refresh=True)
                time.sleep(WATCH_SECONDS)
    except KeyboardInterrupt:
        sys.exit(0)
    except CdcdError as error:
        click.echo(f"error {error}", err=True)
        sys.exit(error.exit_code)
