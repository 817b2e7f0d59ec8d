"""Copies are taken from under a running daemon: the last entries, the records as they are, nothing on its way."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdcd.rehearsal.copies import Copies, copy
from cdcd.state_directory import StateDirectory
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, insert, update

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}


@pytest.fixture
def line(tmp_path: Path):
    """A product that was created, echoed and changed five times; the line stays open, like a daemon at work."""
    (tmp_path / "state").mkdir()
    line = SmallLine(tmp_path / "state", PRODUCT, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    for stock in range(10, 15):
        line.apps["erp"].write(update("item", 1, stock=stock))
    line.resolve()
    yield line
    line.close()


def copied(line: SmallLine, tmp_path: Path, last: int) -> Copies:
    into = tmp_path / "copies"
    into.mkdir()
    return copy(StateDirectory(line.directory), into, last)


def test_the_last_entries_are_copied_in_their_numbers_and_ours_are_left_out(line: SmallLine, tmp_path: Path):
    copies = copied(line, tmp_path, 6)
    originals = line.journal.read(0)
    kept = copies.journal.read(0)
    assert [entry.seq for entry in kept] == [entry.seq for entry in originals if entry.mark is None][-6:]
    assert copies.entries == 6
    assert copies.replayed_after == copies.state.position == kept[0].seq - 1
    assert [rows.rows for entry in kept for rows in copies.journal.rows(entry)]
    assert copies.journal.last_seq() == line.journal.last_seq(), "what is appended comes behind"
    copies.close()


def test_records_are_copied_and_nothing_is_on_its_way(line: SmallLine, tmp_path: Path):
    copies = copied(line, tmp_path, 2)
    count = "SELECT count(*) FROM {}"
    execute = copies.state.connection.execute
    assert execute(count.format("golden")).fetchone() == (1,)
    assert execute(count.format("outbox")).fetchone() == (0,)
    assert line.state.connection.execute(count.format("outbox")).fetchone()[0] > 0, "the original has it all"
    assert copies.state.vocabulary == line.state.vocabulary
    assert int(copies.state.get("echoed:shop") or 0) == line.state.units
    copies.close()


def test_what_resolve_has_not_seen_yet_is_always_replayed(line: SmallLine, tmp_path: Path):
    seen = line.state.position
    for stock in range(20, 24):
        line.apps["erp"].write(update("item", 1, stock=stock))
    copies = copied(line, tmp_path, 1)
    assert (copies.replayed_after, copies.entries) == (seen, 4)
    copies.close()


def test_nothing_is_replayed_where_nothing_is_asked_for(line: SmallLine, tmp_path: Path):
    copies = copied(line, tmp_path, 0)
    assert (copies.entries, copies.journal.read(0)) == (0, [])
    assert copies.replayed_after == line.journal.last_seq()
    copies.close()


def test_without_a_state_the_copies_are_empty(tmp_path: Path):
    into = tmp_path / "copies"
    into.mkdir()
    copies = copy(StateDirectory(tmp_path / "nowhere"), into, 100)
    assert (copies.is_new, copies.entries, copies.state.position) == (True, 0, 0)
    assert not (tmp_path / "nowhere").exists()
    copies.close()
