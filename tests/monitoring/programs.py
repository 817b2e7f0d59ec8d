"""Prometheus' programs, from the system or from where `make test` has unpacked them; and a private server of it."""

import json
import os
import shutil
import subprocess
import sys
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cdcd.testing.server_process import ServerProcess, reachable

UNPACKED = Path(sys.prefix) / "prometheus" / "usr" / "bin"
"""Where .ci/prometheus puts them."""


def program(name: str) -> Path:
    """`prometheus` or `promtool`. Skips where there is none; in continuous integration that is a failure."""
    found = shutil.which(name) or shutil.which(name, path=str(UNPACKED))
    if found is None:
        missing = f"there is no {name} here: .ci/prometheus brings it on Debian"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    return Path(found)


def promtool(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run promtool to its end."""
    command = [str(program("promtool")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)


class PrometheusServer(ServerProcess):
    """A private Prometheus on loopback, with what it stores in its own directory."""

    name: ClassVar[str] = "prometheus"
    accounts: ClassVar[tuple[str, ...]] = ("nobody",)
    stop_signal: ClassVar[int] = 15

    def __init__(self, configuration: str, rules: dict[str, str]) -> None:
        """`rules` are files beside the configuration, by name."""
        self._program = program("prometheus")
        super().__init__()
        self._files = {"prometheus.yml": configuration, **rules}

    def _initialise(self) -> None:
        if not reachable(self._program, self.account):
            self._program = Path(shutil.copy(self._program, self.directory))
        for name, text in self._files.items():
            (self.directory / name).write_text(text)

    def _command(self) -> list[str]:
        return [
            str(self._program),
            f"--config.file={self.directory / 'prometheus.yml'}",
            f"--storage.tsdb.path={self.directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}",
            "--log.level=warn",
        ]

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def ask(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API (prometheus.io, "HTTP API"). Raises on what it calls an error."""
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        found: list[dict[str, Any]] = self.ask("query", query=expression)["result"]
        return found

    def alerts(self) -> list[dict[str, Any]]:
        """What fires now, with labels and rendered annotations."""
        return [alert for alert in self.ask("alerts")["alerts"] if alert["state"] == "firing"]
