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
    counters = (Counter("captured_changes", ("x" * 200_000,), 1), Counter("captured_changes", ("erp",), 2))
    assert sender.send(report(position="g" * 500_000, counters=counters, progress=7))
    (taken,) = receiver.take()
    assert (taken.progress, taken.counters, len(taken.position)) == (7, counters[1:], 1000)


def test_any_number_of_counters_gets_through_in_time(receiver: Receiver, sender: Sender):
    counters = tuple(Counter("resolved_changes", ("erp", "x" * 100, str(n)), n) for n in range(20_000))
    known: dict[tuple[str, ...], int] = {}
    reports = 0
    while sender.send(report(counters=counters)):
        for taken in receiver.take():
            known |= {counter.labels: counter.value for counter in taken.counters}
            reports += 1
        if not sender.is_behind:
            break
    assert known == {counter.labels: counter.value for counter in counters}
    assert reports >= 80


def test_counters_that_have_not_changed_are_not_sent_again(receiver: Receiver, sender: Sender):
    first, second = Counter("captured_changes", ("erp",), 3), Counter("copied_rows", ("erp",), 4)
    sender.send(report(counters=(first, second)))
    sender.send(report(counters=(first, msgspec.structs.replace(second, value=5))))
    sender.send(report(counters=(first, msgspec.structs.replace(second, value=5))))
    values = [[counter.value for counter in taken.counters] for taken in receiver.take()]
    assert values == [[3, 4], [5], []]


def test_counters_that_did_not_get_through_are_sent_again(receiver: Receiver, sender: Sender):
    number = 0
    while sender.send(report(counters=(Counter("captured_changes", ("erp",), number),))):
        number += 1
    assert sender.is_behind
    receiver.take()
    sender.send(report(counters=(Counter("captured_changes", ("erp",), number),)))
    (taken,) = receiver.take()
    assert [counter.value for counter in taken.counters] == [number]
    assert not sender.is_behind


def test_what_another_version_sends_is_ignored(receiver: Receiver, sender: Sender):
    os.write(receiver.workers_fd, b"\x81\xa1x\x01")
    sender.send(report())
    assert receiver.take() == [report()]


def test_a_supervisor_that_is_gone_is_no_error(receiver: Receiver, sender: Sender):
    receiver._socket.close()
    assert not sender.send(report())
