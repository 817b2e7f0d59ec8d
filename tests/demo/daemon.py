"""The daemon under the demo's care, as systemd would have it: started, killed at random, started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Final

from cdcd.errors import CdcdError
from cdcd.testing import server_process, watchdog

STOP_SECONDS: Final = 40.0


class DaemonEndedError(CdcdError):
    """The daemon ended by itself, which it never should."""

    default_code = "demo-daemon-ended"


class Daemon:
    """`cdcd run` as a subprocess in a session of its own: a Ctrl-C at the terminal reaches only the demo."""

    def __init__(self, config: Path, environment: Mapping[str, str]) -> None:
        self._config = config
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[bytes] | None = None
        self.log = config.with_name("daemon.log")
        self.kills = 0
        self.restarts = 0

    def start(self) -> None:
        """Start it; do not wait."""
        command = [str(Path(sys.executable).with_name("cdcd")), "run", "--config", str(self._config)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment,
                start_new_session=True,
            )
        server_process._watch.tell(self._config.parent, self._process.pid)  # ends with us, however we end

    def look_after(self) -> bool:
        """Start it again if it was killed; whether it was. Raises DaemonEndedError when it ended in another way."""
        if self._process is None or self._process.poll() is None:
            return False
        code = self._process.returncode
        self._end_group()
        if code != -signal.SIGKILL:
            raise DaemonEndedError(f"the daemon ended with status {code}", cause=self.last_lines())
        self.restarts += 1
        self.start()
        return True

    def kill_one(self, rng: Random) -> str:
        """SIGKILL the daemon or one of the processes below it; return which."""
        assert self._process is not None
        pid = rng.choice([self._process.pid, *watchdog.descendants(self._process.pid)])
        name = process_name(pid)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self.kills += 1
        return name

    def stop(self) -> int | None:
        """End it in its orderly way, then whatever is left of it; return its exit status, None if it had to be killed."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            return None
        finally:
            self._end_group()
            self._process.wait()
            self._process = None
            server_process._watch.tell(self._config.parent, 0)

    def _end_group(self) -> None:
        """SIGKILL what is left of its session, as systemd does with what is left of a service."""
        assert self._process is not None
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def last_lines(self, count: int = 15) -> str:
        """The end of its log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-count:])


def process_name(pid: int) -> str:
    """How a process calls itself, shortened: "supervisor", "template", or the worker's role."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").replace("\0", " ").split()
    except OSError:
        return f"pid {pid}"
    role = next((word for word in words if word.partition(":")[0] in {"capture", "resolve", "deliver"}), None)
    if "cdcd.template" in words:
        return "template"
    return role or ("supervisor" if "run" in words else f"pid {pid}")
