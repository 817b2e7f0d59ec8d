"""notices.db: what happened is kept, bounded; what is to be told is neither lost nor doubled."""

from pathlib import Path

import msgspec
import pytest

from cdcd.notices import store as module
from cdcd.notices.occurrences import Occurrence, moment
from cdcd.notices.store import Standing, Store, path_of, recent
from cdcd.state_directory import StateDirectory

SECOND = 1_000_000
AWAY = Occurrence(10 * SECOND, "warning", "target-unavailable", "shop", "shop does not answer", None, "cdcd check")
STOPPED = Occurrence(20 * SECOND, "critical", "worker-stopped", "deliver:shop", "it has stopped", None, "cdcd resume")


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    return StateDirectory(tmp_path)


@pytest.fixture
def store(directory: StateDirectory):
    opened = Store(path_of(directory))
    yield opened
    opened.close()


def kinds(store: Store, channel: str) -> list[tuple[str, str]]:
    return [(message.kind, message.occurrence.code) for message in store.waiting(channel, 100)]


def test_nothing_happened_where_no_daemon_ever_ran(directory: StateDirectory):
    assert recent(directory) == []
    assert not path_of(directory).exists()


def test_what_happened_is_told_newest_first_and_what_lasts_is_open(store: Store, directory: StateDirectory):
    store.keep([(AWAY, []), (moment("reloaded", "daemon", "added systems: b", 15 * SECOND), [])], {}, 15 * SECOND)
    store.keep([(STOPPED, [])], {AWAY.key: (18 * SECOND, [])}, 20 * SECOND)
    assert [(found.code, found.ended_at_us) for found in recent(directory)] == [
        ("worker-stopped", None),
        ("reloaded", 15 * SECOND),
        ("target-unavailable", 18 * SECOND),
    ]
    assert [found.code for found in recent(directory, limit=1)] == ["worker-stopped"]
    assert [found.code for found in recent(directory, since_us=16 * SECOND)] == ["worker-stopped", "target-unavailable"]
    assert list(store.open_ones()) == [STOPPED.key]
    assert store.last(AWAY.key) == msgspec.structs.replace(AWAY, ended_at_us=18 * SECOND, id=1)


def test_what_is_new_and_what_has_ended_since_can_be_followed(store: Store):
    store.keep([(AWAY, [])], {}, 10 * SECOND)
    assert [found.id for found in store.changed_after(0, 0)] == [1]
    assert store.changed_after(1, 11 * SECOND) == []
    store.keep([(STOPPED, [])], {AWAY.key: (18 * SECOND, [])}, 20 * SECOND)
    assert [found.id for found in store.changed_after(1, 11 * SECOND)] == [1, 2]


def test_only_who_was_told_that_it_began_is_told_that_it_ended(store: Store):
    store.keep([(AWAY, ["mail"])], {}, 10 * SECOND)
    store.keep([], {AWAY.key: (18 * SECOND, ["mail", "page"])}, 20 * SECOND)
    assert kinds(store, "mail") == [("begun", "target-unavailable"), ("ended", "target-unavailable")]
    assert kinds(store, "page") == []


def test_an_end_that_is_told_twice_is_one(store: Store):
    store.keep([(AWAY, ["mail"])], {}, 10 * SECOND)
    for _ in range(2):
        store.keep([], {AWAY.key: (18 * SECOND, ["mail"])}, 20 * SECOND)
    assert [kind for kind, _ in kinds(store, "mail")] == ["begun", "ended"]


def test_what_was_sent_does_not_wait_any_more_and_is_counted(store: Store):
    store.keep([(AWAY, ["mail"]), (STOPPED, ["mail"])], {}, 20 * SECOND)
    first, second = store.waiting("mail", 10)
    store.note_failed("mail", [first], "no answer", 50 * SECOND)
    assert store.standings() == {"mail": Standing(1, 50 * SECOND, "no answer", 2)}
    store.note_sent("mail", [first], 51 * SECOND)
    assert store.standings() == {"mail": Standing(waiting=1)}
    store.drop("mail", [second])
    assert store.waiting("mail", 10) == []
    assert store.counts() == {("mail", "dropped"): 1, ("mail", "failed"): 1, ("mail", "sent"): 1}
    assert store.sent_since("mail", 50 * SECOND) == [51 * SECOND]


def test_of_too_much_for_a_channel_the_oldest_is_dropped(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "WAITING_MAX", 3)
    for number in range(5):
        found = moment("reloaded", "daemon", f"reload {number}", number * SECOND)
        store.keep([(found, ["mail", "page"])], {}, number * SECOND)
    assert [message.occurrence.text for message in store.waiting("mail", 9)] == ["reload 2", "reload 3", "reload 4"]
    assert store.counts() == {("mail", "dropped"): 2, ("page", "dropped"): 2}


def test_what_lasts_is_told_again_with_what_is_to_be_said_of_it_now(store: Store):
    store.keep([(STOPPED, ["page"]), (AWAY, ["page"])], {}, 20 * SECOND)
    now = {STOPPED.key: "it has stopped for long"}
    assert store.remind("page", 30 * SECOND, now, 30 * SECOND) == 0, "the first message was not sent yet"
    store.note_sent("page", store.waiting("page", 9), 25 * SECOND)
    assert store.remind("page", 19 * SECOND, now, 30 * SECOND) == 0, "it is too early"
    assert store.remind("page", 20 * SECOND, now, 30 * SECOND) == 1
    assert store.remind("mail", 20 * SECOND, now, 30 * SECOND) == 0, "it was never told"
    (again,) = store.waiting("page", 9)
    assert (again.kind, again.occurrence.text) == ("again", "it has stopped for long")


def test_only_the_last_of_what_has_ended_is_kept_and_all_that_lasts(store: Store, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "OCCURRENCES_MAX", 3)
    store.keep([(AWAY, ["mail"])], {}, SECOND)
    for number in range(6):
        store.keep([(moment("reloaded", "daemon", str(number), number * SECOND), ["mail"])], {}, number * SECOND)
    store.prune()
    assert [found.text for found in store.recent(10)] == [AWAY.text, "5", "4", "3"]
    assert len(store.waiting("mail", 10)) == 4


def test_what_waits_for_a_channel_that_is_gone_is_for_nobody(store: Store):
    store.keep([(AWAY, ["mail", "page"])], {}, SECOND)
    store.note_failed("page", store.waiting("page", 1), "no answer", SECOND)
    store.forget_channels(["mail"])
    assert list(store.standings()) == ["mail"]
    store.forget_channels([])
    assert store.standings() == {}
