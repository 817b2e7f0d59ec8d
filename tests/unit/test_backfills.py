"""Copies of tables under way: one at a time of each table, paused, ended, never brought back to life."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import structs

from cdcd.adapter import RowFilter
from cdcd.backfills import CANCELLED, Backfill, NewCopy
from cdcd.journal import Command, Journal

ASKED = Command("resync", {"entity": "product"})


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", durable=False)
    yield made
    made.close()


def only(journal: Journal) -> Backfill:
    (found,) = journal.backfills("erp")
    return found


def read(journal: Journal, *, done: bool = False, rows: int = 10) -> None:
    before = only(journal)
    after = structs.replace(before, rows=before.rows + rows, last_key=[rows], done=done)
    journal.append("erp", [], None, backfill=after)


def test_a_copy_counts_rows_and_chunks_and_how_fast_it_is(journal: Journal):
    journal.command(ASKED, [NewCopy("erp", "item", "product")])
    read(journal)
    read(journal)
    found = only(journal)
    assert (found.rows, found.chunks, found.last_key, found.subject) == (20, 2, [10], "product")
    assert found.started_at_us <= found.read_at_us
    assert structs.replace(found, started_at_us=1_000_000, read_at_us=3_000_000).rows_per_second == 10


def test_a_paused_copy_keeps_its_place(journal: Journal):
    journal.command(ASKED, [NewCopy("erp", "item")])
    in_work = only(journal)
    journal.pause_backfills([("erp", "item")], paused=True)
    journal.append("erp", [], None, backfill=structs.replace(in_work, rows=5, last_key=[5]))
    assert (only(journal).paused, only(journal).last_key) == (True, [5])
    journal.pause_backfills([("erp", "item")], paused=False)
    assert (only(journal).paused, only(journal).last_key) == (False, [5])


def test_a_chunk_that_was_in_work_does_not_bring_a_cancelled_copy_back(journal: Journal):
    journal.command(ASKED, [NewCopy("erp", "item")])
    in_work = only(journal)
    seq = journal.cancel_backfills(Command("cancel-resync", {"entity": "product"}), [("erp", "item")])
    journal.append("erp", [], None, backfill=structs.replace(in_work, rows=5, last_key=[5]))
    assert (only(journal).done, only(journal).ended, only(journal).rows) == (True, CANCELLED, 0)
    assert journal.last_seq() == seq


def test_a_copy_that_is_done_is_neither_paused_nor_cancelled(journal: Journal):
    journal.command(ASKED, [NewCopy("erp", "item")])
    read(journal, done=True)
    journal.pause_backfills([("erp", "item")], paused=True)
    journal.refuse_backfill("erp", "item", "too late")
    assert (only(journal).paused, only(journal).ended) == (False, "")


def test_a_filter_is_kept_and_what_it_chooses_comes_before_whole_tables(journal: Journal):
    wanted = RowFilter(columns=("code",), keys=(("A",), ("B",)))
    journal.ensure_backfills("erp", ["big"])
    journal.command(ASKED, [NewCopy("erp", "item", "product", wanted)])
    assert [(b.table, b.filter, b.estimate) for b in journal.backfills("erp")] == [
        ("item", wanted, 2),
        ("big", None, 0),
    ]


def test_a_whole_copy_takes_the_place_of_any_other(journal: Journal):
    journal.command(ASKED, [NewCopy("erp", "item", "product", RowFilter(where="id = 1"))])
    journal.pause_backfills([("erp", "item")], paused=True)
    seq = journal.command(ASKED, [NewCopy("erp", "item", "product")])
    assert (only(journal).run, only(journal).filter, only(journal).paused) == (seq, None, False)
