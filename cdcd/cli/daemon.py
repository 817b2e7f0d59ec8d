"""Talking to the running daemon from a command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cdcd import config as c
from cdcd import control
from cdcd.state_directory import StateDirectory


def directory_of(config: Path) -> StateDirectory:
    """The state directory that the configuration names; the rest of the file may be in the middle of an edit."""
    return StateDirectory(Path(c.read(config).daemon.state_dir))


def ask(config: Path, command: str, **arguments: Any) -> Any:
    """Have the running daemon do something. Raises Unavailable when none runs."""
    return control.ask(directory_of(config).control_socket, command, arguments)
