"""What `cdcd journal` tells the daemon: room was made, entries are whole again, entries are given up."""

import pytest

from cdcd.blueprint import Role
from cdcd.journal import Kind, decode_command
from cdcd.operations import RequestError
from unit.journals import add, rows
from unit.operations.conftest import Bench

RESOLVE = Role("resolve")


def test_captures_look_when_room_was_made(bench: Bench):
    assert bench.do("journal-pruned", entries=5, through=9).ok
    assert bench.crew.rung == {"capture:erp", "capture:feed"}


def test_resolve_begins_anew_when_it_has_stopped_and_is_only_rung_otherwise(bench: Bench):
    bench.do("journal-mended", seqs=[3])
    assert (bench.crew.restarts, bench.crew.rung) == ([], {"resolve"})
    bench.crew.states[RESOLVE] = "stopped"
    bench.do("journal-mended", seqs=[3])
    assert bench.crew.restarts == [RESOLVE]


def test_lost_entries_are_given_up_only_with_a_resync_of_what_they_may_be_about(bench: Bench):
    bench.crew.states[RESOLVE] = "stopped"
    seq = add(bench.journal, "erp", rows("a"))
    lost = [{"seq": seq, "through": seq, "source": "erp"}]
    answer = bench.do("journal-lost", lost=lost, subjects=["erp:main.move", "product"])
    assert answer.result == {"subjects": ["erp:main.move", "product"]}
    commands = [decode_command(e.note) for e in bench.journal.read(0) if e.kind == Kind.COMMAND and e.note]
    assert [(c.name, c.arguments.get("entity")) for c in commands] == [
        ("lost", None),
        ("resync", "erp:main.move"),
        ("resync", "product"),
    ]
    assert commands[0].arguments == {"source": "erp", "subjects": ["erp:main.move", "product"]}
    assert [b.table for b in bench.journal.backfills("erp") if not b.done]
    assert bench.crew.restarts == [RESOLVE]


def test_nothing_is_given_up_for_subjects_that_nobody_knows(bench: Bench):
    seq = add(bench.journal, "erp", rows("a"))
    with pytest.raises(RequestError):
        bench.do("journal-lost", lost=[{"seq": seq, "through": seq, "source": "erp"}], subjects=["procudt"])
    with pytest.raises(RequestError):
        bench.do("journal-lost", lost=["one"], subjects=[])
    assert bench.journal.last_seq() == seq
