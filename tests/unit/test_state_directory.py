"""Locks and permissions of the state directory."""

import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from cdcd.errors import NeedsOperator
from cdcd.state_directory import (
    Heartbeat,
    Holder,
    Lock,
    StateDirectory,
    lock_for_supervisor,
    refuse_if_running,
    this_host,
)
from cdcd.wake import wait

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


def test_a_lock_tells_who_has_it_and_how_it_was_given_up(directory: StateDirectory):
    lock = Lock(directory.lock("supervisor"))
    assert lock.holder() is None
    assert lock.acquire(wait=False)
    holder = lock.holder()
    assert holder is not None
    assert (holder.pid, holder.stopped, holder.is_here(), holder.is_gone()) == (os.getpid(), False, True, False)
    assert str(holder) == f"pid {os.getpid()} on {socket.gethostname()}"
    lock.release(stopped=True)
    after = Lock(directory.lock("supervisor"))
    assert after.acquire(wait=False, note=False)
    assert after.previous == msgspec.structs.replace(holder, stopped=True)
    after.release()
    assert after.holder() == after.previous


def test_a_pid_that_another_process_has_now_is_not_the_holder(directory: StateDirectory):
    lock = Lock(directory.lock("supervisor"))
    lock.path.write_text(f"{os.getpid()} 1 {this_host()}\n")
    holder = lock.holder()
    assert holder is not None
    assert holder.is_gone()
    lock.path.write_text(f"{os.getpid()}\n")  # as versions wrote it that did not know of standbys
    assert lock.holder() == Holder(os.getpid())
    assert not Holder(os.getpid()).is_gone()
    assert not Holder(1, 1, "elsewhere:x:1").is_gone()


def test_a_lock_is_seen_to_be_held_without_being_touched(directory: StateDirectory):
    lock, other = Lock(directory.lock("resolve")), Lock(directory.lock("resolve"))
    assert not other.is_held()
    assert lock.acquire(wait=False)
    assert other.is_held()
    lock.release()
    assert not other.is_held()


def test_a_heartbeat_is_the_time_of_the_file_and_notices_that_the_lock_is_lost(
    directory: StateDirectory, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("cdcd.state_directory.BEAT_SECONDS", 0.01)
    lock = Lock(directory.lock("supervisor"))
    assert lock.acquire(wait=False)
    os.utime(lock.path, (1, 1))
    heartbeat = Heartbeat(lock)
    while lock.last_beat_ns() == 10**9:
        time.sleep(0.005)
    assert not heartbeat.lost
    lock.path.write_text("4711 1 elsewhere:x:1\n")
    assert wait([heartbeat.fileno()], 30)
    assert heartbeat.lost
    heartbeat.close()
    lock.release()


def test_a_start_waits_for_a_command_that_has_the_lock_of_a_daemon_that_is_gone(directory: StateDirectory):
    path = directory.lock("supervisor")
    path.write_text(f"{os.getpid()} 1 {this_host()}\n")
    command = Lock(path)
    assert command.acquire(wait=False, note=False)
    ending = threading.Timer(0.2, command.release)
    ending.start()
    lock_for_supervisor(directory).release()
    ending.join()
