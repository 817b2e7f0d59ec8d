"""A real application as a process of the test: it runs in an environment of its own and is told what to do in JSON lines."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PROGRAMS = Path(__file__).parent / "applications"


class Refused(Exception):
    """The application itself said no."""


def environment_of(name: str) -> Path:
    """The virtual environment of an application; it is made when it is missing, which takes about a minute."""
    made = subprocess.run([ROOT / ".ci" / "real", name], stdout=subprocess.PIPE, text=True, check=True)
    return Path(made.stdout.strip())


def run(command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
    """Run a program of an application to its end; what it printed is in the error when it fails."""
    done = subprocess.run(command, env=_environment(environment), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command[0]} … {command[-1]}: {done.stdout[-2000:]}{done.stderr[-4000:]}"


def _environment(more: Mapping[str, str]) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG", "TMPDIR")}
    return {**kept, "PYTHONPATH": str(PROGRAMS), "PYTHONDONTWRITEBYTECODE": "1", "PYTHONWARNINGS": "ignore", **more}


class Application:
    """A driver in `applications/` that runs until it is closed; `log` is what it printed."""

    def __init__(self, command: Sequence[str | Path], environment: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                command,
                env=_environment(environment),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                encoding="utf-8",
                start_new_session=True,
            )
        assert self._answer() == "ready"

    def __call__(self, what: str, /, **arguments: Any) -> Any:
        """Have a command done. Raises Refused when the application says no."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": what, "with": arguments}) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the application ended: {self.log.read_text()[-4000:]}"
        answer = json.loads(line)
        if answer["ok"]:
            return answer["result"]
        assert answer["refused"], f"{answer['why']}: {self.log.read_text()[-4000:]}"
        raise Refused(f"{answer['refused']}: {answer['why']}")

    def close(self) -> None:
        """End it."""
        self._process.communicate(timeout=30)
