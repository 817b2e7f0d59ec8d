"""`cdcd install`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cdcd.cli.output import Verdict, answer, json_and_quiet
from cdcd.errors import NeedsOperator

if TYPE_CHECKING:
    from cdcd.install import Done, Installation, Machine


@click.command("install")
@click.option("--instance", default="", metavar="NAME", help="One of several daemons: the service cdcd@NAME.")
@click.option("--root", type=click.Path(path_type=Path, file_okay=False), default=Path("/"), help="Below this folder.")
@click.option("--remove", is_flag=True, help="Stop the service and take its files away; configuration and data stay.")
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@json_and_quiet
def command(instance: str, root: Path, remove: bool, dry_run: bool, as_json: bool) -> None:
    """Make a systemd service of this cdcd: account, directories, units, an example; needs root.

    What is there is brought up to date; a configuration, secrets and data are never touched. The service runs the very
    program that is called here. Nothing is started: what comes next is said at the end.

    Examples: cdcd install --dry-run; sudo /opt/cdcd/bin/cdcd install; cdcd install --instance acme; cdcd install --remove
    """
    answer("install", as_json, lambda: _install(instance, root.absolute(), remove, dry_run))


def _install(instance: str, root: Path, remove: bool, is_dry: bool) -> Verdict:
    from cdcd.install import ADMINISTRATOR, PACKAGE, Installation, Machine, program  # noqa: PLC0415

    is_this_machine = root == Path("/")
    if is_this_machine and not is_dry and os.geteuid() != 0:
        raise NeedsOperator("only root can install a service", code="install-root", remedy="sudo cdcd install")
    layout = PACKAGE if program.is_packaged() else ADMINISTRATOR
    if remove and layout == PACKAGE and not instance:
        raise NeedsOperator("cdcd came as a package", code="install-packaged", remedy="apt-get remove cdcd")
    installation = Installation(str(program.program(root)), program.shipped(), layout, instance)
    systemd = Systemd(is_running=is_this_machine and not is_dry and Path("/run/systemd/system").is_dir())
    machine = Machine(root, is_dry=is_dry)
    if remove:
        done = _remove(installation, machine, systemd)
        lines = [*_lines(done, is_dry), *installation.left_behind()]
        return Verdict(
            f"{installation.unit} {'would be' if is_dry else 'was'} removed", _result(installation, done), lines
        )
    done = [machine.place(part) for part in installation.parts()]
    if any(one.changes and one.path.endswith(".service") for one in done):
        systemd.reload()
    hidden = [unit for unit in installation.hidden_units() if (root / unit.lstrip("/")).exists()]
    notes = [f"{unit} hides the package's own: remove it, it belongs to another installation" for unit in hidden]
    lines = [*_lines(done, is_dry), *notes, *installation.next_steps()]
    what = "would be installed" if is_dry and any(one.changes for one in done) else "is installed"
    return Verdict(f"{installation.unit} {what}", _result(installation, done), lines)


def _remove(installation: Installation, machine: Machine, systemd: Systemd) -> Sequence[Done]:
    """An instance shares its files with the others; the last one takes them away."""
    others = [unit for unit in systemd.loaded() if unit != f"{installation.unit}.service"]
    if not installation.instance and others:
        raise NeedsOperator(
            "another daemon uses these files",
            code="install-in-use",
            cause=f"{', '.join(others)} runs",
            remedy=f"systemctl disable --now {' '.join(others)}",
        )
    systemd.disable(installation.unit)
    files = [] if installation.instance else installation.packaged()
    done: Sequence[Done] = machine.remove([*files, installation.example()])
    systemd.reload()
    return done


class Systemd:
    """The service manager of this machine; silent where none runs."""

    def __init__(self, *, is_running: bool) -> None:
        self._is_running = is_running

    def _call(self, *arguments: str) -> str:
        if not self._is_running:
            return ""
        command = ["systemctl", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NeedsOperator(
                f"systemctl {arguments[0]} failed",
                code="install-systemctl",
                cause=done.stderr.strip(),
                remedy=f"systemctl {' '.join(arguments)}",
            )
        return done.stdout

    def reload(self) -> None:
        """Have it read the units anew."""
        self._call("daemon-reload")

    def disable(self, unit: str) -> None:
        """Stop a service and do not start it any more."""
        self._call("disable", "--now", unit)

    def loaded(self) -> list[str]:
        """Those of our services that are there in any state but stopped."""
        listed = self._call("list-units", "--plain", "--no-legend", "--type=service", "cdcd.service", "cdcd@*.service")
        return [line.split()[0] for line in listed.splitlines() if line.strip()]


def _lines(done: Sequence[Done], is_dry: bool) -> Iterator[str]:
    """One for each that changes or is kept; what is as it was is counted, so are many files of one folder."""
    would = "would be " if is_dry else ""
    shared = [one for one in done if one.changes and "/share/cdcd/" in one.path]
    for one in done:
        if one.outcome in ("as it was", "not there") or one in shared:
            continue
        detail = f" ({one.detail})" if one.detail else ""
        yield f"{would if one.changes else ''}{one.outcome:8} {one.kind} {one.path}{detail}"
    if shared:
        where = shared[0].path.partition("/share/cdcd/")[0]
        yield f"{would}{shared[0].outcome:8} {len(shared)} files in {where}/share/cdcd/"
    same = sum(one.outcome == "as it was" for one in done)
    if same:
        yield f"{same} parts are as they should be"


def _result(installation: Installation, done: Sequence[Done]) -> dict[str, Any]:
    return {
        "unit": installation.unit,
        "program": installation.program,
        "config": installation.config,
        "parts": [{"kind": one.kind, "path": one.path, "outcome": one.outcome, "detail": one.detail} for one in done],
    }
