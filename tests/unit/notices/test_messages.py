"""What a message says."""

import json

import msgspec

from cdcd.notices.messages import letter, trial_message
from cdcd.notices.occurrences import moment
from cdcd.notices.store import Message
from unit.notices.sinks import NOW, SECOND, STOPPED

BEGUN = Message(3, "begun", NOW, 0, STOPPED)


def test_the_object_for_programs_has_one_shape():
    content = json.loads(letter("acme", [BEGUN]).body)
    (notice,) = content.pop("notices")
    assert content == {
        "id": "acme-1795299940-7-begun",
        "daemon": "acme",
        "text": "[cdcd acme] critical: deliver:shop has stopped\n"
        "deliver:shop has stopped\n  critical [worker-stopped] of deliver:shop\n"
        "  since 2026-11-21 22:25:40+00:00\n  next: cdcd resume shop",
    }
    assert notice == {
        "id": "acme-1795299940-7-begun",
        "kind": "begun",
        "severity": "critical",
        "code": "worker-stopped",
        "subject": "deliver:shop",
        "text": "deliver:shop has stopped",
        "next": "cdcd resume shop",
        "at": "2026-11-21 22:25:40+00:00",
        "ended_at": None,
    }


def test_what_is_sent_again_keeps_its_id_and_what_is_said_again_has_its_own():
    assert letter("acme", [BEGUN]).id == letter("acme", [msgspec.structs.replace(BEGUN, attempts=5)]).id
    again = [Message(number, "again", NOW, 0, STOPPED) for number in (4, 5)]
    assert len({letter("acme", [message]).id for message in (BEGUN, *again)}) == 3


def test_several_together_name_the_worst():
    ended = Message(4, "ended", NOW, 0, msgspec.structs.replace(STOPPED, id=8, ended_at_us=NOW))
    reload = Message(5, "begun", NOW, 0, moment("reload-refused", "daemon", "no such key", NOW, next_="cdcd reload"))
    content = letter("acme", [reload, ended, BEGUN])
    assert content.subject == "[cdcd acme] 3 messages, among them critical: deliver:shop has stopped"
    assert content.thread == ""
    assert [notice["kind"] for notice in json.loads(content.body)["notices"]] == ["begun", "ended", "begun"]
    assert "at 2026-11-21 22:26:40+00:00\n  next: cdcd reload" in content.text


def test_a_test_says_that_it_is_one():
    content = letter("acme", [trial_message(NOW)])
    assert content.subject.startswith("[cdcd acme] test: info: this is a test")
    assert content.thread == content.id == f"acme-{NOW // SECOND}-0-test"
