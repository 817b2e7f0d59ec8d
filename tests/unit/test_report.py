"""Reports: whole, never blocking."""

import os
from collections.abc import Iterator

import msgspec
import pytest

from cdcd.errors import NotReady
from cdcd.report import CaptureFigures, Counter, Receiver, Report, Sender, error_note


def report(**changes: object) -> Report:
    base = Report(role="capture:erp", pid=7, at_us=1, state="running", state_since_us=1)
    return msgspec.structs.replace(base, **changes)


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


def test_a_report_arrives_as_it_was_sent(receiver: Receiver, sender: Sender):
    sent = report(
        figures=CaptureFigures(head="0/1", lag_bytes=5),
        counters=(Counter("captured_changes", ("erp",), 3),),
        error=error_note(NotReady("no slot", remedy="make one")),
    )
    assert sender.send(sent)
    assert receiver.take() == [sent]
    assert receiver.take() == []


def test_a_supervisor_that_does_not_listen_blocks_nobody(receiver: Receiver, sender: Sender):
    results = [sender.send(report(progress=n)) for n in range(1000)]
    assert results[0]
    assert not results[-1]
    assert receiver.take()
    assert sender.send(report())


def test_a_report_too_long_for_a_datagram_leaves_out_what_makes_it_long(receiver: Receiver, sender: Sender):
    counters = tuple(Counter("captured_changes", ("erp", "x" * 100, str(n)), n) for n in range(5000))
    assert sender.send(report(position="g" * 500_000, counters=counters, progress=7))
    (taken,) = receiver.take()
    assert (taken.progress, taken.counters, len(taken.position)) == (7, (), 1000)


def test_what_another_version_sends_is_ignored(receiver: Receiver, sender: Sender):
    os.write(receiver.workers_fd, b"\x81\xa1x\x01")
    sender.send(report())
    assert receiver.take() == [report()]


def test_a_supervisor_that_is_gone_is_no_error(receiver: Receiver, sender: Sender):
    receiver._socket.close()
    assert not sender.send(report())
