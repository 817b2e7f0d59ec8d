"""Verdicts about conflicts as commands in the journal."""

import pytest

from cdcd.journal import Command, decode_command
from cdcd.operations import RequestError
from unit.operations.conftest import Bench


def test_verdicts_about_conflicts_are_a_command_in_the_journal(bench: Bench):
    answer = bench.do("conflicts", accept=True, conflicts=[[3, "0a01", 1, 2, 17], [3, "0a02", 1, None, 18]])
    (entry,) = bench.journal.read(0)
    assert entry.note is not None
    assert decode_command(entry.note) == Command(
        "conflicts", {"accept": True, "conflicts": [[3, b"\x0a\x01", 1, 2, 17], [3, b"\x0a\x02", 1, None, 18]]}
    )
    assert answer.result == {"seq": entry.seq, "count": 2}
    assert "resolve" in bench.crew.rung


@pytest.mark.parametrize("named", [None, [["product"]], [[1, "no hexadecimal", 0, 0, 1]]])
def test_verdicts_that_are_not_understood_journal_nothing(bench: Bench, named: object):
    with pytest.raises(RequestError):
        bench.do("conflicts", accept=False, conflicts=named)
    assert bench.journal.last_seq() == 0
