"""Rewinds: what they would do, and the command in the journal."""

import msgspec
import pytest

from cdcd.journal import Command, Draft, Kind, decode_command
from cdcd.operations import RequestError
from cdcd.report import now_us
from cdcd.resolve.commands import RewindOutcome
from unit.operations.conftest import Bench

HOUR_US = 3_600_000_000


def test_rewind_says_what_it_would_do_and_then_does_it(bench: Bench):
    for _ in range(3):
        bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90")], "p")
    since_us = now_us() - HOUR_US
    plan = bench.do("rewind-plan", system="erp", since_us=since_us).result
    assert (plan.transactions, plan.since_us) == (3, since_us)
    assert bench.journal.last_seq() == 3
    done = bench.do("rewind", system="erp", since_us=since_us).result
    assert done["seq"] == 4
    note = bench.journal.read(3)[0].note
    assert note is not None
    wanted = {"system": "erp", "since_us": since_us, "since_seq": 1, "restored": False}
    assert decode_command(note) == Command("rewind", wanted)


def test_rewind_counts_only_what_came_since_then(bench: Bench):
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90") for _ in range(5)], "p")
    bench.journal.database.connection.execute("UPDATE entries SET journaled_at_us = ? - seq * 0", (now_us() - HOUR_US,))
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90")], "p")
    assert bench.do("rewind-plan", system="erp", since_us=now_us() - HOUR_US // 2).result.transactions == 1
    assert bench.do("rewind-plan", system="erp", since_us=0).result.transactions == 6


def test_a_rewind_to_a_journal_entry_takes_that_and_all_later_ones(bench: Bench):
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90") for _ in range(5)], "p")
    plan = bench.do("rewind-plan", system="erp", since_seq=4).result
    assert (plan.transactions, plan.since_us, plan.since_seq) == (2, None, 4)
    with pytest.raises(RequestError, match="no such journal entry"):
        bench.handle("rewind-plan", system="erp", since_seq=99)


def test_the_last_rewind_can_be_undone_once(bench: Bench):
    with pytest.raises(RequestError) as caught:
        bench.handle("rewind-undo", system="erp")
    assert caught.value.cause == "none was done"
    with bench.state.transaction():
        bench.state.put("rewind:erp", msgspec.msgpack.encode(RewindOutcome(7, 12)))
    assert bench.do("rewind-undo", system="erp", dry_run=True).result["records"] == 12
    assert bench.journal.last_seq() == 0
    bench.do("rewind-undo", system="erp")
    note = bench.journal.read(0)[0].note
    assert note is not None
    assert decode_command(note) == Command("rewind-undo", {"system": "erp", "seq": 7})
    with bench.state.transaction():
        bench.state.put("rewind:erp", msgspec.msgpack.encode(RewindOutcome(7, 12, withdrawn=3)))
    with pytest.raises(RequestError) as caught:
        bench.handle("rewind-undo", system="erp")
    assert "undone already" in caught.value.cause
