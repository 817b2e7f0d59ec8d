"""What a deliverer that died could not park any more is found again by its successor."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT, Op
from cdcd.resolve.keys import encode_key
from cdcd.testing.faults import Crash
from unit import deliver_line
from unit.deliver_line import carriers, full, in_memory, update

line = deliver_line.line


def die_after_the_commit(line):
    line.target.errors_after = [Crash("after its commit")]
    with pytest.raises(Crash):
        line.deliver()


def retried(line):
    return [record for c in line.commands() if c.name == "retry" for record in c.arguments["records"]]


def test_changes_of_the_last_transaction_are_told_anew_because_their_rows_may_be_missing(line):
    line.units([full("A")], [update("B", "x")])
    line.deliver()
    line.target.missing = {"M"}
    line.units([update("M", "x"), full("N")])
    die_after_the_commit(line)
    line.start()
    assert retried(line) == [[0, encode_key(["M"])]]
    line.start()
    assert len(retried(line)) == 1, "it was asked for once"


def test_who_ends_in_peace_leaves_nothing_to_be_looked_for(line):
    line.units([update("B", "x")])
    line.deliver()
    line.start()
    assert retried(line) == []


@in_memory
def test_a_row_of_a_plain_copy_that_was_missing_is_written_again_and_parked(line):
    line.target.missing = {1}
    line.units([carriers(Op.UPDATE, [1, "name", ABSENT]), carriers(Op.INSERT, [2, "other", "note"])])
    die_after_the_commit(line)
    line.target.batches.clear()
    line.start()
    assert line.target.written == [("carrier", "UPDATE", [1, "name"])]
    assert [(one.code, one.row is not None) for one in line.parked.oldest()] == [("row-missing", True)]
