"""Locks and permissions of the state directory."""

import os
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cdcd.errors import NeedsOperator
from cdcd.journal import Journal
from cdcd.state import State
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


def test_what_is_made_is_ours_alone_whatever_the_umask(tmp_path: Path):
    before = os.umask(0)
    try:
        made = StateDirectory(tmp_path / "state")
        made.prepare()
        lock = Lock(made.lock("supervisor"))
        assert lock.acquire(wait=False)
        with closing(State(made.state)) as state, closing(Journal(made.journal)):
            with state.transaction():
                state.put("x", b"y")
            files = [path for path in made.path.rglob("*") if path.is_file()]
            assert {path.name for path in files} >= {"state.db", "state.db-wal", "journal.db", "supervisor.lock"}
            assert {path.name for path in files if path.stat().st_mode & 0o077} == set()
        lock.release()
    finally:
        os.umask(before)


def test_one_that_others_may_read_is_closed_and_one_that_they_may_write_is_refused(directory: StateDirectory):
    directory.path.chmod(0o755)
    directory.prepare()
    assert directory.path.stat().st_mode & 0o777 == 0o700
    for mode in (0o720, 0o702, 0o777):
        directory.path.chmod(mode)
        with pytest.raises(NeedsOperator, match="others than us may write") as caught:
            directory.prepare()
        assert caught.value.code == "state-dir-open"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give directories away")
def test_one_of_another_user_is_refused_and_root_may_look(directory: StateDirectory):
    os.chown(directory.path, 65_534, -1)
    with pytest.raises(NeedsOperator, match="uid 65534"):
        directory.prepare()
    directory.refuse_open(only_looks=True)
