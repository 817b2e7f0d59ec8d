"""Signs of life: repeated while the loop is inside one call, with whether it waits or computes."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd import sign_of_life
from cdcd.report import Receiver, Report, Sender, now_us
from cdcd.sign_of_life import SignsOfLife


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sign_of_life, "HEARTBEAT_SECONDS", 0.05)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def sender(receiver: Receiver) -> Iterator[Sender]:
    made = Sender(os.dup(receiver.workers_fd))
    yield made
    made._socket.close()


@pytest.fixture
def _waits(monkeypatch: pytest.MonkeyPatch):
    """Whoever works uses no processor. (A machine that is busy cannot be trusted with the real clock.)"""
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: 7.0)


@pytest.fixture
def _computes(monkeypatch: pytest.MonkeyPatch):
    """Whoever works uses a processor all the time."""
    monkeypatch.setattr(time, "clock_gettime", lambda _clock: time.monotonic())


def report(progress: int) -> Report:
    return Report("deliver:shop", 4711, now_us(), "running", now_us(), progress=progress)


def heard(receiver: Receiver, wanted: int) -> list[Report]:
    """That many reports at least."""
    found: list[Report] = []
    deadline = time.monotonic() + 30
    while len(found) < wanted and time.monotonic() < deadline:
        found += receiver.take()
        time.sleep(0.01)
    return found


@pytest.mark.usefixtures("_waits")
def test_who_waits_in_a_call_says_so_and_since_when(receiver: Receiver, sender: Sender):
    signs = SignsOfLife(sender)
    signs.send(report(7))
    first, *repeated = heard(receiver, 4)
    signs.close()
    assert first.waiting_since_us == 0
    assert {one.progress for one in repeated} == {7}
    assert repeated[0].at_us > first.at_us
    assert {one.waiting_since_us for one in repeated[1:]} == {repeated[0].waiting_since_us}
    assert 0 < repeated[0].waiting_since_us < repeated[0].at_us


@pytest.mark.usefixtures("_computes")
def test_who_computes_in_a_call_lives_and_does_not_wait(receiver: Receiver, sender: Sender):
    signs = SignsOfLife(sender)
    signs.send(report(7))
    found = heard(receiver, 4)
    signs.close()
    assert {one.waiting_since_us for one in found} == {0}


@pytest.mark.usefixtures("_waits")
def test_what_the_loop_says_itself_counts_at_once(receiver: Receiver, sender: Sender):
    signs = SignsOfLife(sender)
    signs.send(report(7))
    heard(receiver, 3)
    assert signs.send(report(8))
    signs.close()
    eighth = next(one for one in heard(receiver, 1) if one.progress == 8)
    assert eighth.waiting_since_us == 0


def test_signals_are_for_the_thread_that_works(sender: Sender):
    signs = SignsOfLife(sender)
    status = Path(f"/proc/self/task/{signs._thread.native_id}/status")
    deadline = time.monotonic() + 30
    while not blocked(status) & 1 << (signal.SIGTERM - 1) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert blocked(status) & 1 << (signal.SIGTERM - 1)
    signs.close()


def blocked(status: Path) -> int:
    return next(int(line.split()[1], 16) for line in status.read_text().splitlines() if line.startswith("SigBlk"))
