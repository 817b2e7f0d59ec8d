"""The first change of a backlog is noticed, and nothing else."""

import pytest

from bench import journal_watch
from bench.journal_watch import JournalWatch
from cdcd.journal import Command, Draft, Journal, Kind


@pytest.fixture
def journal(tmp_path):
    journal = Journal(tmp_path / "journal.db", durable=False)
    yield journal
    journal.database.close()


def append(journal, source="erp", *, kind=Kind.LOG, changes=1):
    journal.append(source, [Draft(kind, "1", 0, changes, body=b"")], "1")


@pytest.fixture
def watch(journal):
    append(journal)
    journal.stage("erp", None, 0, b"")
    return JournalWatch(journal.database.path)


def test_what_was_there_before_is_no_news(watch):
    assert not watch.has_change("erp")


@pytest.mark.parametrize("kind", [Kind.LOG, Kind.CHUNK])
def test_a_change_and_a_copied_row_are_noticed(journal, watch, kind):
    append(journal, kind=kind)
    assert watch.has_change("erp")


def test_a_part_of_a_large_transaction_is_noticed(journal, watch):
    journal.stage("erp", None, 0, b"")
    assert watch.has_change("erp")


def test_what_another_system_did_and_what_changed_nothing_are_not(journal, watch):
    append(journal, "shop")
    append(journal, changes=0)
    journal.command(Command("pause", {}))
    assert not watch.has_change("erp")


def test_a_journal_that_is_not_there_yet_has_no_change(tmp_path):
    assert not JournalWatch(tmp_path / "journal.db").has_change("erp")


def test_a_daemon_in_trouble_is_not_waited_for(watch, monkeypatch):
    monkeypatch.setattr(journal_watch, "_TROUBLE_SECONDS", 0)
    with pytest.raises(RuntimeError, match="it died"):
        watch.wait_for_change("erp", lambda: "it died")
