"""Locks and permissions of the state directory."""

import subprocess
import sys
from pathlib import Path

import pytest

from cdcd.errors import NeedsOperator
from cdcd.state_directory import Lock, StateDirectory, lock_for_supervisor, refuse_if_running

HOLD = """
import sys
from pathlib import Path
from cdcd.state_directory import Lock
lock = Lock(Path(sys.argv[1]))
assert lock.acquire(wait=True)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    made = StateDirectory(tmp_path / "state")
    made.prepare()
    return made


def test_the_directory_is_closed_to_other_users(directory: StateDirectory):
    assert directory.path.stat().st_mode & 0o777 == 0o700


def test_a_directory_that_cannot_be_made_needs_a_person(tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(NeedsOperator, match="cannot be made or opened"):
        StateDirectory(tmp_path / "file" / "state").prepare()


def test_one_daemon_at_a_time_and_the_next_after_the_first_is_killed(directory: StateDirectory):
    path = directory.lock("supervisor")
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert other.stdout is not None
    assert other.stdout.readline() == "held\n"
    with pytest.raises(NeedsOperator, match=f"pid {other.pid}"):
        lock_for_supervisor(directory)
    with pytest.raises(NeedsOperator):
        refuse_if_running(directory)
    other.kill()
    other.communicate()
    refuse_if_running(directory)
    lock_for_supervisor(directory).release()


def test_asking_whether_a_daemon_runs_writes_nothing(tmp_path: Path):
    refuse_if_running(StateDirectory(tmp_path / "state"))
    assert list(tmp_path.iterdir()) == []


def test_a_released_lock_can_be_taken_again(directory: StateDirectory):
    first, second = Lock(directory.lock("resolve")), Lock(directory.lock("resolve"))
    assert first.acquire(wait=False)
    assert not second.acquire(wait=False)
    first.release()
    assert second.acquire(wait=False)
    second.release()
