"""A target that is away costs names, not changes: resolve is told when it has fallen behind, and when it has caught up."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.scheduling.backlogs import LOOK_SECONDS, Backlogs
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, insert, update

BEHIND_BYTES = 4_000


class Away:
    """A line whose shop takes nothing until it is told to."""

    def __init__(self, directory: Path) -> None:
        self.line = SmallLine(directory, PRODUCT, PRODUCT_TABLES)
        self.applied = 0
        self.now = 0.0
        self.backlogs = Backlogs(
            {"shop": ["product"]}, self.line.journal, self.line.state, lambda _system: self.applied, BEHIND_BYTES
        )

    def change(self, name: str) -> None:
        for number in range(20):
            self.line.apps["erp"].write(update("item", number, name=name))
        while self.line.resolver.step():
            pass

    def turn(self) -> bool:
        self.now += LOOK_SECONDS
        told = self.backlogs.turn(self.line.owing(), self.now)
        while self.line.resolver.step():
            pass
        return told

    def owed(self) -> int:
        return sum(one.records for one in self.line.owing())


@pytest.fixture
def away(tmp_path: Path) -> Iterator[Away]:
    made = Away(tmp_path)
    for number in range(20):
        row = {"code": f"P{number}", "name": "x", "state": "active", "stock": 0, "note": "", "web": ""}
        made.line.apps["erp"].write(insert("item", id=number, **row))
    made.line.resolve()
    made.applied = made.line.newest_unit("shop")
    yield made
    made.line.close()


def test_while_a_target_keeps_up_nothing_is_said(away: Away):
    away.change("y")
    assert not away.turn()
    assert away.owed() == 0


def test_beyond_a_size_only_names_are_kept_and_each_record_is_told_once_when_there_is_room(away: Away):
    for round_number in range(9):
        away.change(f"n{round_number}")
    assert away.turn()
    queued = away.line.newest_unit("shop")
    for round_number in range(30):
        away.change(f"m{round_number}")
        assert not away.turn(), "it is said once"
    assert away.line.newest_unit("shop") == queued, "nothing is added to what waits"
    assert away.owed() == 20
    away.applied = queued
    away.line.told("shop")
    assert away.turn()
    away.line.resolve()
    told = away.line.told("shop")
    assert sorted(t.key for t in told) == sorted((f"P{number}",) for number in range(20))
    assert {t.fields["name"] for t in told} == {"m29"}
