"""What a standby does that needs no second daemon: ending a process and no other, keeping a configuration."""

import subprocess
import sys
from pathlib import Path

import msgspec

from cdcd.blueprint import Blueprint
from cdcd.config import Config, Daemon
from cdcd.standby import Running, end_process, remember, remembered, waiting
from cdcd.state_directory import Holder, Lock, StateDirectory, started_ticks, this_host


def test_only_the_process_that_took_the_lock_is_ended():
    process = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    ticks = started_ticks(process.pid)
    assert ticks is not None
    assert not end_process(Holder(process.pid, ticks + 1, this_host()))
    assert process.poll() is None
    assert end_process(Holder(process.pid, ticks, this_host()))
    assert process.wait(30) == -9
    process.communicate()
    assert not end_process(Holder(process.pid, ticks, this_host()))


def test_the_running_configuration_is_kept_closed_to_others_and_read_back(tmp_path: Path):
    directory = StateDirectory(tmp_path)
    assert remembered(directory.running) is None
    running = Running(Blueprint("cdcd.toml", Config(Daemon("acme", "/state"), {}), {}, {}, {}), (1, 2))
    remember(directory, running)
    assert remembered(directory.running) == running
    assert directory.running.stat().st_mode & 0o777 == 0o600
    directory.running.write_bytes(msgspec.msgpack.encode({"from": "another version"}))
    assert remembered(directory.running) is None


def test_who_stands_by_is_known_while_he_does(tmp_path: Path):
    directory = StateDirectory(tmp_path)
    directory.prepare()
    assert waiting(directory) == ""
    lock = Lock(directory.lock("standby"))
    assert lock.acquire(wait=False)
    assert waiting(directory).startswith("pid ")
    lock.release()
    assert waiting(directory) == ""
