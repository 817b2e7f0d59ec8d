"""What a target keeps of how far the logs have come into it: never more than it has, and at rest all of it."""

import time

import pytest

from cdcd.journal import Draft, Kind
from cdcd.recovering.delivery_progress import DeliveryProgress
from cdcd.recovering.recovery import decode_progress
from unit.deliver_line import Line, full, owe


class Watched(Line):
    """A line whose journal and position grow by hand."""

    def journalled(self, position):
        self.journal.append("erp", [Draft(Kind.LOG, position, 5, 1)], position)

    def resolved(self, *units):
        self.units(*units)
        with self.state.transaction():
            self.state.put("position", self.journal.last_seq())

    def kept(self):
        """The position of the ERP's log that the target has been told, and the seq."""
        found = decode_progress(self.target.progress)
        return None if found is None else (found.logs.get("erp"), found.seq)


@pytest.fixture
def line(tmp_path):
    line = Watched(tmp_path)
    yield line
    line.close()


def test_at_rest_a_target_keeps_where_the_logs_are(line):
    line.journalled("p1")
    line.resolved([full("A")])
    line.deliver()
    assert line.kept() == ("p1", 1)


def test_what_resolve_has_not_come_to_is_not_said(line):
    line.journalled("p1")
    line.resolved([full("A")])
    line.journalled("p2")
    line.deliver()
    assert line.kept() is None
    line.resolved([full("B")])
    line.deliver()
    assert line.kept() == ("p2", 2)


def test_of_small_deliveries_that_follow_one_another_not_all_say_how_far_the_logs_are(line, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    progress = DeliveryProgress("shop", line.state, line.journal)
    said = []
    for unit in range(1, 9):
        line.journalled(f"p{unit}")
        line.resolved([full("A")])
        said.append(decode_progress(progress.through(unit)))
        now[0] += 0.01
    assert [unit + 1 for unit, found in enumerate(said) if found] == [1, 6]
    assert decode_progress(progress.unsaid(8)).logs == {"erp": "p8"}, "at rest all of it"


def test_what_is_not_delivered_is_not_said(line):
    line.journalled("p1")
    line.resolved([full("A")], [full("B")])
    progress = DeliveryProgress("shop", line.state, line.journal)
    assert progress.through(1) == ""
    line.journalled("p2")
    assert decode_progress(progress.through(2)).logs == {"erp": "p1"}


def test_units_of_other_targets_need_not_be_waited_for(line):
    line.journalled("p1")
    line.resolved([full("A")])
    with line.state.transaction():
        line.state.put("units", 5)
    line.deliver()
    assert line.kept() == ("p1", 1)


def test_what_is_owed_is_not_there(line):
    line.journalled("p1")
    owe(line, "shop", whole=False)
    line.resolved([full("A")])
    line.deliver()
    assert line.kept() is None


def test_what_a_suspended_entity_has_not_read_is_not_there(line):
    line.journalled("p1")
    line.resolved([full("A")])
    with line.state.transaction() as connection:
        connection.execute("INSERT INTO suspended VALUES ('product', 0, x'00')")
    line.deliver()
    assert line.kept() is None
