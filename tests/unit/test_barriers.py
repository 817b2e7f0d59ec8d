"""Barriers: put up, met by captures, noted by resolve, taken down."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd import barriers
from cdcd.adapter import SourceStatus
from cdcd.barriers import Barrier, CaptureBarriers
from cdcd.journal import Journal, decode_command
from cdcd.report import now_us
from cdcd.state import State
from unit.small_line import SmallLine, insert

LATER_US = 60_000_000


class StandInSource:
    """A log of numbered places."""

    def __init__(self) -> None:
        self.read = 0
        self.head = 5
        self.asked = 0

    def status(self) -> SourceStatus:
        self.asked += 1
        return SourceStatus(str(self.head), 0, 0)

    def reached(self, position: str) -> bool:
        return self.read >= int(position)


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", durable=False)
    yield made
    made.close()


def commands(journal: Journal) -> list[dict[str, object]]:
    return [decode_command(entry.note).arguments for entry in journal.read(0) if entry.note is not None]


def put_up(journal: Journal, name: str = "x", place: str | None = None, until_us: int | None = None) -> Barrier:
    made = Barrier(name, {"erp": place}, now_us() + LATER_US if until_us is None else until_us)
    barriers.put_up(journal, made)
    return made


def test_a_capture_asks_once_where_the_log_ends_and_journals_the_barrier_behind_that(journal: Journal):
    source = StandInSource()
    capture = CaptureBarriers("erp", source, journal)  # type: ignore[arg-type]
    capture.look()
    assert source.asked == 0
    barrier = put_up(journal)
    capture.look()
    source.head = 9
    capture.look()
    assert source.asked == 1
    assert barriers.places(journal, barrier) == ({"erp": "5"}, {})
    assert not capture.pass_reached()
    source.read = 5
    assert capture.pass_reached()
    assert not capture.pass_reached()
    assert commands(journal) == [{"id": "x", "system": "erp"}]


def test_a_barrier_of_other_systems_or_one_that_is_over_is_not_met(journal: Journal):
    source = StandInSource()
    put_up(journal)
    CaptureBarriers("shop", source, journal).look()  # type: ignore[arg-type]
    put_up(journal, "old", until_us=1)
    barriers.take_down(journal, "x")
    CaptureBarriers("erp", source, journal).look()  # type: ignore[arg-type]
    assert source.asked == 0


def test_a_place_that_is_none_is_refused_without_harm(journal: Journal):
    barrier = put_up(journal, place="yesterday")
    capture = CaptureBarriers("erp", StandInSource(), journal)  # type: ignore[arg-type]
    capture.look()
    known, refused = barriers.places(journal, barrier)
    assert known == {}
    assert "yesterday" in refused["erp"]
    assert not capture.pass_reached()


def test_what_is_taken_down_leaves_nothing_and_old_ones_go_with_the_next(journal: Journal):
    put_up(journal, "old", until_us=1)
    journal.set_control("pause:shop", "1")
    put_up(journal, "new")
    journal.set_control("barrier:new:erp", "5")
    assert {name.split(":")[1] for name in journal.controls() if name.startswith("barrier:")} == {"new"}
    barriers.take_all_down(journal)
    assert journal.controls() == {"pause:shop": "1"}


TEXT = """
[entities.item]
key = ["id"]
create = ["erp"]
delete = ["erp"]
[entities.item.fields]
id = { type = "integer" }
[entities.item.in.erp]
table = "item"
columns = { id = "id" }
[entities.item.in.shop]
table = "item"
columns = { id = "id" }
"""
TABLES = {"erp": {"item": {"id": "integer"}}, "shop": {"item": {"id": "integer"}}}


def test_resolve_notes_the_newest_unit_before_the_barrier(tmp_path: Path):
    line = SmallLine(tmp_path, TEXT, TABLES)
    line.apps["erp"].write(insert("item", id=1))
    line.command("barrier", id="x", system="erp")
    line.apps["erp"].write(insert("item", id=2))
    line.resolve()
    unit = barriers.noted(line.state, "x")["erp"]
    assert unit == line.newest_unit("shop") - 1
    assert barriers.noted(line.state, "y") == {}
    line.close()


def test_only_the_newest_are_remembered(tmp_path: Path):
    state = State(tmp_path / "state.db", durable=False)
    for n in range(barriers.NOTED_MAX + 10):
        with state.transaction():
            barriers.note(state, str(n), "erp", n)
    assert barriers.noted(state, "9") == {}
    assert barriers.noted(state, "10") == {"erp": 10}
    state.close()
