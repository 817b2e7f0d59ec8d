"""Mending a journal: read again from the source into the same place, or given up with everything that it may be about."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from cdcd.adapter import Identity, TableNeed
from cdcd.capture import Capture
from cdcd.errors import PositionLost, Unavailable
from cdcd.journal import SCHEMA, Journal, Kind, decode_command
from cdcd.journal_care.check import Checker, Damage
from cdcd.journal_care.repair import LOST, NotTheSame, place_of, put_back, replace, restore_shapes, touched
from cdcd.journal_care.rereading import Reread, Rereader
from cdcd.model import ColumnShape
from cdcd_memory import MemoryServer
from cdcd_memory.source import MemorySource
from unit.journals import add, add_chunk, damage, rows

IDENTITY = Identity("acme", "shop", "lineage")
NEEDS = [TableNeed("item")]
SUBJECTS = {
    "product": (("erp", "public.item"), ("shop", "item")),
    "order": (("shop", "orders"),),
    "shop:other": (("shop", "other"),),
}


class Bench:
    """A server, its capture, and the journal of what it wrote."""

    def __init__(self, directory: Path) -> None:
        self.server = MemoryServer("repair")
        columns = (ColumnShape("id", "integer", nullable=False), ColumnShape("name", "text"))
        self.server.create_table("item", columns, ("id",))
        self.journal = Journal(directory / "journal.db", durable=False)
        self.capture = Capture(IDENTITY, MemorySource(self.server, IDENTITY, NEEDS), self.journal, ["item"])
        self.capture.start()
        self.work()

    def write(self, *numbers: int) -> int:
        """A transaction that inserts these rows; return its seq."""
        self.server.transaction([("insert", "item", {"id": number, "name": f"n{number}"}) for number in numbers])
        self.work()
        return self.journal.last_seq()

    def work(self) -> None:
        while self.capture.step() or self.journal.position("shop") != self.server.position(self.server.head):
            pass

    def names(self) -> list[object]:
        return [row[1] for entry in self.journal.read(0, 1000) for run in self.journal.rows(entry) for row in run.rows]

    def damages(self) -> list[Damage]:
        return list(Checker(self.journal.database.path, 0).check().damaged)

    def reread(self, damaged: Damage) -> Reread:
        place = place_of(self.journal, damaged, ["shop"])
        assert place is not None
        past = MemorySource(self.server, IDENTITY, NEEDS)
        return Rereader(IDENTITY, past, self.journal).nth_after(place.position, place.number)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.capture.close()
    made.journal.close()


@pytest.mark.parametrize("column", ["body", "position", "committed_at_us", "changes"])
def test_a_transaction_is_read_again_into_its_place(bench, column):
    bench.write(1)
    seq = bench.write(2, 3)
    bench.write(4)
    whole = bench.journal.database.connection.execute("SELECT * FROM entries WHERE seq=?", (seq,)).fetchone()
    damage(bench.journal.database.path, f"UPDATE entries SET {column}=flipped({column}) WHERE seq=?", seq)
    (damaged,) = bench.damages()
    put_back(bench.journal, damaged, bench.reread(damaged))
    assert bench.damages() == []
    assert bench.names() == ["n1", "n2", "n3", "n4"]
    again = bench.journal.database.connection.execute("SELECT * FROM entries WHERE seq=?", (seq,)).fetchone()
    assert again == whole


def test_several_in_a_row_are_found_by_their_order(bench):
    bench.write(1)
    first, second = bench.write(2), bench.write(3)
    for seq in (first, second):
        damage(bench.journal.database.path, "UPDATE entries SET position=flipped(position) WHERE seq=?", seq)
    for damaged in bench.damages():
        put_back(bench.journal, damaged, bench.reread(damaged))
    assert bench.names() == ["n1", "n2", "n3"]
    assert bench.damages() == []


def test_a_large_transaction_gets_its_parts_again_and_the_damaged_ones_go(bench):
    bench.write(1)
    seq = bench.write(*range(2, 12_002))
    assert bench.journal.database.connection.execute("SELECT count(*) FROM stages").fetchone()[0] >= 1
    damage(bench.journal.database.path, "UPDATE stages SET body=flipped(body) WHERE part=0")
    (damaged,) = bench.damages()
    assert damaged.seq == seq
    put_back(bench.journal, damaged, bench.reread(damaged))
    assert bench.damages() == []
    assert len(bench.names()) == 12_001
    stages = "SELECT count(DISTINCT stage) FROM stages"
    assert bench.journal.database.connection.execute(stages).fetchone() == (1,)


def test_another_transaction_is_not_put_in_its_place(bench):
    bench.write(1)
    seq = bench.write(2)
    damage(bench.journal.database.path, "UPDATE entries SET body=flipped(body) WHERE seq=?", seq)
    (damaged,) = bench.damages()
    with pytest.raises(NotTheSame):
        put_back(bench.journal, damaged, Reread("elsewhere", 1, 1, None, None, b""))
    assert bench.damages() == [damaged]


def test_a_log_that_reaches_back_no_further_says_so(bench):
    bench.write(1)
    seq = bench.write(2)
    damage(bench.journal.database.path, "UPDATE entries SET body=flipped(body) WHERE seq=?", seq)
    (damaged,) = bench.damages()
    place = place_of(bench.journal, damaged, ["shop"])
    assert place is not None
    with pytest.raises(PositionLost):
        Rereader(IDENTITY, MemorySource(MemoryServer("another"), IDENTITY, NEEDS), bench.journal).nth_after(
            place.position, 1
        )
    with pytest.raises(Unavailable):
        Rereader(IDENTITY, MemorySource(bench.server, IDENTITY, NEEDS), bench.journal).nth_after(place.position, 2)


def test_what_is_no_transaction_of_a_log_has_no_place_there(bench):
    seq = add_chunk(bench.journal, "shop", rows("a"))
    damage(bench.journal.database.path, "UPDATE entries SET body=flipped(body) WHERE seq=?", seq)
    (damaged,) = bench.damages()
    assert place_of(bench.journal, damaged, ["shop"]) is None
    first = Damage(1, 1, "body", "", needed=True, source="shop", kind="log")
    assert place_of(bench.journal, first, ["shop"]) is None, "nothing is kept before it"


def test_subjects_are_those_whose_tables_the_journal_knows_of_the_source(bench):
    seq = bench.write(1)
    log = Damage(seq, seq, "body", "", needed=True, source="shop", kind="log")
    assert touched(bench.journal, log, SUBJECTS) == ["product"]
    gone = Damage(seq, seq + 3, "missing", "", needed=True)
    assert touched(bench.journal, gone, SUBJECTS) == ["order", "product", "shop:other"]


def test_a_shape_is_restored_from_the_copy_in_its_index(bench):
    bench.write(1)
    path = bench.journal.database.path
    connection = bench.journal.database.connection
    body, number = connection.execute("SELECT body, id FROM relations").fetchone()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    bench.capture.close()
    bench.journal.close()
    content = bytearray(path.read_bytes())
    at = next(at for at in _places(content, body) if _is_table(content, at))
    content[at + len(body) // 2] ^= 1
    path.write_bytes(content)
    (shape,) = Checker(path, 0).check().shapes
    assert shape.number == number
    assert shape.copy == body
    with closing(Journal(path, durable=False)) as journal:
        assert restore_shapes(journal, [shape]) == [number]
    assert Checker(path, 0).check().is_sound


def _places(content: bytes, body: bytes) -> Iterator[int]:
    at = content.find(body)
    while at >= 0:
        yield at
        at = content.find(body, at + 1)


def _is_table(content: bytes, at: int) -> bool:
    """Whether a place in the file is in a leaf of a table (13), not of an index (10)."""
    return content[at // SCHEMA.page_bytes * SCHEMA.page_bytes] == 13


def test_an_entry_that_is_given_up_leaves_a_word_for_resolve_and_keeps_whose_it_was(bench):
    seq = add(bench.journal, "shop", rows("a"), mark=(3, 5))
    damage(bench.journal.database.path, "UPDATE entries SET body=flipped(body) WHERE seq=?", seq)
    replace(bench.journal, seq, seq, "shop", ["product"])
    entry = bench.journal.read(seq - 1)[0]
    assert (entry.kind, entry.source, entry.mark) == (Kind.COMMAND, "shop", (3, 5))
    assert entry.note is not None
    command = decode_command(entry.note)
    assert (command.name, command.arguments) == (LOST, {"source": "shop", "subjects": ["product"]})


def test_entries_that_vanished_are_filled_in(bench):
    first, second = bench.write(1), bench.write(2)
    bench.write(3)
    damage(bench.journal.database.path, "DELETE FROM entries WHERE seq IN (?, ?)", first, second)
    replace(bench.journal, first, second, "", ["product"])
    kinds = {entry.seq: entry.kind for entry in bench.journal.read(0, 1000)}
    assert kinds[first] == kinds[second] == Kind.COMMAND
    assert bench.damages() == []
