"""Verifying a journal: every bit that changed is found, and said whose it was."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdcd.errors import NeedsOperator
from cdcd.journal import SCHEMA, Command, Journal
from cdcd.journal_care.check import Checker, Verdict
from cdcd.journal_care.salvage import salvage
from cdcd.model import Op
from cdcd.testing.printing import as_printed
from unit.journals import OTHER, add, add_chunk, add_staged, damage, rows


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Entries 1 (as it was printed) and 2 of the ERP, 3 in parts from the shop, 4 a chunk, 5 a command, 6 our own transaction."""
    made = Journal(tmp_path / "journal.db", durable=False)
    add(made, "erp", as_printed(rows("a", "b")), position="0/1")
    add(made, "erp", rows("c", op=Op.UPDATE), rows("d", relation=OTHER), position="0/2")
    add_staged(made, "shop", rows("e", "f"), rows("g"), position="log:3")
    add_chunk(made, "shop", rows("h", op=Op.READ))
    made.command(Command("resync", {"entity": "product"}))
    add(made, "shop", rows("i"), position="log:6", mark=(3, 5))
    yield made
    made.close()


def checked(journal: Journal, needed_after: int = 0) -> Verdict:
    return Checker(journal.database.path, needed_after).check()


def test_a_whole_journal_is_sound_and_counted(journal):
    seen: list[int] = []
    found = Checker(journal.database.path, 0, seen.append).check()
    assert found.is_sound
    assert (found.entries, found.parts) == (6, 2)
    assert seen == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("seq", "column", "part"),
    [
        (1, "body", "body"),
        (1, "position", "header"),
        (1, "source", "header"),
        (1, "committed_at_us", "header"),
        (1, "changes", "header"),
        (1, "kind", "header"),
        (6, "mark_after", "header"),
        (6, "mark_through", "header"),
        (3, "stage", "header"),
        (4, "note", "header"),
        (5, "note", "header"),
        (2, "checksum", "body"),
    ],
)
def test_a_flipped_bit_is_found_wherever_it_is(journal, seq, column, part):
    damage(journal.database.path, f"UPDATE entries SET {column}=flipped({column}) WHERE seq=?", seq)
    (found,) = checked(journal).damaged
    assert (found.seq, found.through, found.part, found.needed) == (seq, seq, part, True)


def test_resolve_stops_before_a_damaged_entry_and_takes_what_is_before_it(journal):
    damage(journal.database.path, "UPDATE entries SET mark_through=flipped(mark_through) WHERE seq=6")
    assert [entry.seq for entry in journal.read(3)] == [4, 5]
    with pytest.raises(NeedsOperator) as caught:
        journal.read(5)
    assert caught.value.code == "journal-damaged"
    assert "journal entry 6 is damaged (from shop, at log:6)" in caught.value.what
    assert "cdcd journal repair" in caught.value.remedy


def test_a_text_that_is_no_text_any_more_is_found_like_any_other_damage(journal):
    damage(journal.database.path, "UPDATE entries SET position=CAST(x'ff30' AS TEXT) WHERE seq=1")
    assert [(one.seq, one.part) for one in checked(journal).damaged] == [(1, "header")]
    with pytest.raises(NeedsOperator, match="journal entry 1 is damaged"):
        journal.read(0)


def test_a_damaged_part_of_a_large_transaction_is_named(journal):
    damage(journal.database.path, "UPDATE stages SET body=flipped(body) WHERE part=1")
    (found,) = checked(journal).damaged
    assert (found.seq, found.part, found.source, found.position) == (3, "part", "shop", "log:3")
    assert found.what == "the checksum of its part 1 does not match"
    (entry,) = journal.read(2, 1)
    with pytest.raises(NeedsOperator, match="journal entry 3 is damaged"):
        list(journal.rows(entry))


@pytest.mark.parametrize(
    ("where", "what"), [("part=0", "its part 0 is missing"), ("part=1", "it holds 2 rows of 3"), ("1", "are missing")]
)
def test_a_part_that_is_not_there_is_missed(journal, where, what):
    damage(journal.database.path, f"DELETE FROM stages WHERE {where}")
    (found,) = checked(journal).damaged
    assert found.part == "part"
    assert what in found.what


def test_a_damaged_shape_is_found_with_every_entry_that_needs_it(journal):
    damage(journal.database.path, "UPDATE relations SET checksum=checksum+1 WHERE id=2")
    found = checked(journal)
    assert [(shape.number, shape.source, shape.copy) for shape in found.shapes] == [(2, "erp", None)]
    assert [(one.seq, one.part) for one in found.damaged] == [(2, "shape")]
    with closing(Journal(journal.database.path, read_only=True)) as another:
        (entry,) = another.read(1, 1)
        with pytest.raises(NeedsOperator, match="description number 2 of a table of erp is damaged"):
            list(another.rows(entry))


def test_entries_that_vanished_are_missed_while_somebody_needs_them(journal):
    damage(journal.database.path, "DELETE FROM entries WHERE seq IN (3, 4)")
    (found,) = checked(journal).damaged
    assert (found.seq, found.through, found.part, found.needed) == (3, 4, "missing", True)
    assert checked(journal, needed_after=4).is_sound
    damage(journal.database.path, "DELETE FROM entries WHERE seq = 6")
    assert [(one.seq, one.through) for one in checked(journal, needed_after=4).damaged] == [(6, 6)]


def test_what_is_resolved_already_is_said_to_be(journal):
    damage(journal.database.path, "UPDATE entries SET body=flipped(body) WHERE seq=2")
    (found,) = checked(journal, needed_after=2).damaged
    assert not found.needed


def test_a_damaged_page_is_told_by_sqlite_and_the_rest_is_read(journal):
    for number in range(400):
        add(journal, "erp", rows("x" * 1000), position=f"1/{number}")
    path = journal.database.path
    page = journal.database.connection.execute("SELECT rootpage FROM sqlite_master WHERE name='entries'").fetchone()[0]
    journal.database.connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    journal.close()
    leaf = _leaf(path, page)
    with path.open("r+b") as file:
        file.seek((leaf - 1) * SCHEMA.page_bytes)
        file.write(b"\xff" * 64)
    found = Checker(path, 0).check()
    assert found.pages
    unreadable = [one for one in found.damaged if one.part == "unreadable"]
    assert len(unreadable) == 1
    assert 0 < unreadable[0].through - unreadable[0].seq < 100
    assert found.entries > 300
    count, kept = salvage(path)
    assert (count, kept.name) == (found.entries, "journal.db.damaged")
    saved = Checker(path, 0).check()
    assert (saved.pages, saved.shapes, saved.entries, saved.parts) == ((), (), found.entries, found.parts)
    assert [(one.seq, one.through, one.part) for one in saved.damaged] == [
        (unreadable[0].seq, unreadable[0].through, "missing")
    ]
    with closing(Journal(path, durable=False)) as again:
        assert again.last_seq() == 406
        assert again.position("erp") == "1/399"


def _leaf(path: Path, root: int) -> int:
    """The second child page of a table's root (https://sqlite.org/fileformat.html, 1.6)."""
    content = path.read_bytes()[(root - 1) * SCHEMA.page_bytes : root * SCHEMA.page_bytes]
    assert content[0] == 5, "an interior page"
    cell = int.from_bytes(content[14:16], "big")
    return int.from_bytes(content[cell : cell + 4], "big")


def test_entries_of_an_earlier_version_are_read_without_a_checksum_of_their_header(journal):
    damage(journal.database.path, "UPDATE entries SET checksum = checksum & 4294967295, position = 'other'")
    assert checked(journal).is_sound
    assert [entry.seq for entry in journal.read(0)] == [1, 2, 3]
