"""The whole job on real servers while processes of the daemon are killed at random moments: the verdict must not change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", "--products", "300", "--rate", "25", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(TESTS), "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False, env=environment)


@pytest.mark.parametrize("seed", [1, 2])
def test_processes_killed_under_load_change_nothing_in_the_verdict(seed: int) -> None:
    done = demo("--seconds", "12", "--kill-every", "1", "--seed", str(seed))
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "in step:" in done.stdout
    assert " 0 kills" not in done.stdout
