"""One channel's thread: retries that survive a restart, a bound on how often, receivers that hang."""

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from cdcd.notices import sending
from cdcd.notices.channels import Channel, Webhook
from cdcd.notices.occurrences import Occurrence
from cdcd.notices.sending import Sender, next_batch, pause_seconds
from cdcd.notices.store import Message, Store
from integration.daemon_process import wait_until
from unit.notices.sinks import NOW, SECOND, STOPPED, HttpSink, http_sink

MESSAGES = [Message(number, "begun", NOW, 0, STOPPED) for number in range(5)]
MINUTE = 60 * SECOND


def test_as_long_as_there_are_few_each_message_goes_alone():
    assert next_batch(MESSAGES[:3], [], 3, NOW) == MESSAGES[:1]
    assert next_batch(MESSAGES[:1], [NOW - 5, NOW - 4], 3, NOW) == MESSAGES[:1]


def test_what_would_be_too_many_goes_as_one():
    assert next_batch(MESSAGES, [], 3, NOW) == MESSAGES
    assert next_batch(MESSAGES[:2], [NOW - 5, NOW - 4], 3, NOW) == MESSAGES[:2]


def test_after_so_many_in_a_minute_nothing_goes_until_the_minute_is_over():
    sent = [NOW - 50 * SECOND, NOW - 20 * SECOND, NOW - SECOND]
    assert next_batch(MESSAGES, sent, 3, NOW) == 10.0
    assert next_batch(MESSAGES, sent, 2, NOW) == 40.0
    assert next_batch(MESSAGES, [NOW - MINUTE], 1, NOW) == MESSAGES
    assert next_batch(MESSAGES, [NOW + MINUTE], 1, NOW) == MESSAGES, "the clock was put back"


def test_pauses_grow_and_end():
    assert [pause_seconds(n) for n in (1, 2, 3, 50)] == [5, 10, 20, 600]


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "FIRST_PAUSE_SECONDS", 0.05)


class Line:
    """A store with a channel, and its sender."""

    def __init__(self, directory: Path, sink: HttpSink, **changes: object) -> None:
        self.path = directory / "notices.db"
        self.store = Store(self.path)
        webhook = Webhook(f"http://127.0.0.1:{sink.port}/")
        self.channel = msgspec.structs.replace(Channel(webhook=webhook), **changes)
        self.sender: Sender | None = None

    def happen(self, *numbers: int) -> None:
        occurrences = [
            Occurrence(NOW + number, "critical", "worker-stopped", f"deliver:s{number}", f"number {number}")
            for number in numbers
        ]
        self.store.keep([(found, ["page"]) for found in occurrences], {}, NOW)

    def start(self) -> Sender:
        self.sender = Sender(self.path, "page", self.channel, "acme", "1")
        return self.sender

    def wait_until_sent(self, count: int) -> None:
        wait_until(lambda: self.store.counts().get(("page", "sent"), 0) == count, f"{count} are sent")

    def close(self) -> None:
        if self.sender is not None:
            self.sender.close(5)
        self.store.close()


def texts(sink: HttpSink) -> list[list[str]]:
    return [[notice["text"] for notice in json.loads(body)["notices"]] for _, body in sink.posted]


@pytest.fixture
def sink() -> Iterator[HttpSink]:
    with http_sink() as opened:
        yield opened


def test_messages_are_told_in_order_and_what_comes_later_wakes_the_sender(tmp_path: Path, sink: HttpSink):
    with closing(Line(tmp_path, sink)) as line:
        line.happen(1, 2)
        sender = line.start()
        line.wait_until_sent(2)
        line.happen(3)
        sender.wake()
        line.wait_until_sent(3)
        assert texts(sink) == [["number 1"], ["number 2"], ["number 3"]]
        assert line.store.standings() == {}


def test_a_flood_is_one_message(tmp_path: Path, sink: HttpSink):
    with closing(Line(tmp_path, sink, per_minute=2)) as line:
        line.happen(*range(30))
        line.start()
        line.wait_until_sent(30)
        assert [len(together) for together in texts(sink)] == [30]


def test_what_does_not_arrive_is_tried_again_with_the_same_id(tmp_path: Path, sink: HttpSink, quick: None):
    sink.answers = [503, 500, 204]
    with closing(Line(tmp_path, sink)) as line:
        line.happen(1)
        line.start()
        line.wait_until_sent(1)
        assert len({headers["Idempotency-Key"] for headers, _ in sink.posted}) == 1
        assert line.store.counts() == {("page", "failed"): 2, ("page", "sent"): 1}


def test_a_pause_after_a_failure_survives_a_restart_and_so_does_the_message(tmp_path: Path, sink: HttpSink):
    sink.answers = [503, 204]
    with closing(Line(tmp_path, sink)) as line:
        line.happen(1)
        line.start()
        wait_until(lambda: line.store.counts().get(("page", "failed")), "it failed")
        line.close()
        assert len(sink.posted) == 1
    with closing(Line(tmp_path, sink)) as line:
        standing = line.store.standings()["page"]
        assert (standing.attempts, standing.error) == (1, "the receiver answered with 503 Service Unavailable")
        line.start().wake()
        line.happen(2)
        assert len(sink.posted) == 1, "it is tried again when the pause is over"
        line.store.note_failed("page", [], "sooner", 0)
        line.sender.wake()
        line.wait_until_sent(2)


def test_a_message_that_the_receiver_will_not_take_holds_up_no_other_for_long(
    tmp_path: Path, sink: HttpSink, quick: None
):
    sink.answers = [400, 400, 400, 204]
    with closing(Line(tmp_path, sink)) as line:
        line.happen(1, 2)
        line.start()
        line.wait_until_sent(1)
        assert texts(sink)[-1] == ["number 2"]
        assert line.store.counts() == {("page", "dropped"): 1, ("page", "failed"): 3, ("page", "sent"): 1}


def test_a_receiver_that_hangs_does_not_hold_up_our_end_and_is_told_again(tmp_path: Path, sink: HttpSink):
    sink.answers = [None]
    with closing(Line(tmp_path, sink)) as line:
        line.happen(1)
        sender = line.start()
        sink.wait_for(1)
        sender.close(0.1)
        line.sender = None
        assert len(line.store.waiting("page", 9)) == 1


def test_a_secret_that_is_not_there_is_a_failure_like_any_other(tmp_path: Path, sink: HttpSink):
    from cdcd.config import Secret  # noqa: PLC0415

    with closing(Line(tmp_path, sink, webhook=Webhook(Secret(env="NO_SUCH_URL")))) as line:
        line.happen(1)
        line.start()
        wait_until(lambda: line.store.standings()["page"].error, "it failed")
        assert line.store.standings()["page"].error == "environment variable NO_SUCH_URL is not set"
