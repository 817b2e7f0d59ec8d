"""Bells and signals: nothing that was rung is missed."""

import os
import signal
import time
from collections.abc import Iterator

import pytest

from cdcd.wake import Bell, Signals, wait


@pytest.fixture
def bell() -> Iterator[Bell]:
    made = Bell.create()
    yield made
    made.close()


def test_a_rung_bell_wakes_who_waits_now_or_later(bell: Bell):
    assert wait([bell.fd], 0) == set()
    bell.ring()
    assert wait([bell.fd], 10) == {bell.fd}


def test_a_bell_rung_often_is_silenced_once(bell: Bell):
    for _ in range(3):
        bell.ring()
    bell.silence()
    assert wait([bell.fd], 0) == set()
    bell.silence()


def test_a_bell_whose_counter_is_full_goes_on_ringing(bell: Bell):
    os.eventfd_write(bell.fd, 2**64 - 2)
    bell.ring()
    assert wait([bell.fd], 0) == {bell.fd}


def test_the_end_of_a_pipe_wakes_too(bell: Bell):
    read, write = os.pipe()
    os.close(write)
    assert wait([read, bell.fd], 10) == {read}
    os.close(read)


def test_a_signal_that_came_before_the_wait_ends_it():
    signals = Signals([signal.SIGUSR1])
    try:
        os.kill(os.getpid(), signal.SIGUSR1)
        started = time.monotonic()
        assert wait([signals.fileno()], 10) == {signals.fileno()}
        assert time.monotonic() - started < 5
        assert signals.take() == {signal.SIGUSR1}
        assert signals.take() == set()
    finally:
        signals.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL
