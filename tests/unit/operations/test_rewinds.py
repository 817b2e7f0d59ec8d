"""Rewinds: what they would do, and the command in the journal."""

from cdcd.journal import Command, Draft, Kind, decode_command
from cdcd.report import now_us
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
    assert decode_command(note) == Command("rewind", {"system": "erp", "since_us": since_us})


def test_rewind_counts_only_what_came_since_then(bench: Bench):
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90") for _ in range(5)], "p")
    bench.journal.database.connection.execute("UPDATE entries SET journaled_at_us = ? - seq * 0", (now_us() - HOUR_US,))
    bench.journal.append("erp", [Draft(Kind.LOG, "", 1, 1, b"\x90")], "p")
    assert bench.do("rewind-plan", system="erp", since_us=now_us() - HOUR_US // 2).result.transactions == 1
    assert bench.do("rewind-plan", system="erp", since_us=0).result.transactions == 6
