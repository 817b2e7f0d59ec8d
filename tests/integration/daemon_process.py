"""`cdcd run` as a process of a test: started, asked, waited for, ended with the test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

import cdcd
from cdcd import control
from cdcd.errors import CdcdError
from cdcd.state_directory import StateDirectory
from cdcd.status import DaemonStatus

ROOT = Path(cdcd.__file__).parent.parent
WAIT_SECONDS = 30


def wait_until(condition: Callable[[], object], what: str) -> None:
    """Poll until `condition` holds; fail with `what` when it does not within half a minute."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"still not: {what}"
        time.sleep(0.02)


class DaemonProcess:
    """One daemon on one configuration file. `path` is put before PYTHONPATH."""

    def __init__(self, config: Path, state: Path, path: Path | None = None) -> None:
        self.config = config
        self.directory = StateDirectory(state)
        self.log = config.with_suffix(".log")
        parts = [str(path)] if path else []
        self.environment = {
            **{key: value for key, value in os.environ.items() if key not in ("NOTIFY_SOCKET", "JOURNAL_STREAM")},
            "PYTHONPATH": os.pathsep.join([*parts, str(ROOT), str(ROOT / "adapters")]),
            "CDCD_CONFIG": str(config),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, **environment: str) -> None:
        assert self.process is None or self.process.poll() is not None
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command("run", *arguments),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self.environment, **environment},
                start_new_session=True,
            )

    @staticmethod
    def command(*arguments: str) -> list[str]:
        return [sys.executable, "-c", "from cdcd.cli import main; main()", *arguments]

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `cdcd` command to its end."""
        return subprocess.run(
            self.command(*arguments), env=self.environment, capture_output=True, text=True, check=False, timeout=60
        )

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def status(self) -> DaemonStatus:
        return msgspec.convert(control.ask(self.directory.control_socket, "status"), DaemonStatus)

    def try_status(self) -> DaemonStatus | None:
        assert self.process is not None
        assert self.process.poll() is None, f"the daemon ended: {self.log.read_text()}"
        try:
            return self.status()
        except CdcdError:
            return None

    def wait_for(self, condition: Callable[[DaemonStatus], object], what: str) -> DaemonStatus:
        found: list[DaemonStatus] = []

        def holds() -> bool:
            status = self.try_status()
            if status is not None and condition(status):
                found.append(status)
            return bool(found)

        wait_until(holds, f"{what}\n{self.log.read_text()[-4000:]}")
        return found[0]

    def wait_for_states(self, **states: str) -> DaemonStatus:
        """Wait until workers are in these states ("capture_a" is capture:a); all others running."""
        wanted = {role.replace("_", ":", 1): state for role, state in states.items()}

        def reached(status: DaemonStatus) -> bool:
            return all(worker.state == wanted.get(role, "running") for role, worker in status.workers().items())

        return self.wait_for(reached, f"workers {wanted or 'running'}")

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(WAIT_SECONDS)

    def dispose(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def alive(pid: int) -> bool:
    """Whether a process is there and not only waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
