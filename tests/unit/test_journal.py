"""The journal: whole transactions, one order, nothing forgotten that somebody needs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.backfills import Backfill, NewCopy
from cdcd.errors import NeedsOperator
from cdcd.journal import (
    ChunkNote,
    Command,
    Draft,
    Journal,
    Kind,
    decode_chunk_note,
    decode_command,
    encode_note,
)
from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd.storage import StorageError

ITEM = Relation("public.item", ("id", "name"), ("integer", "text"), (0,))


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", durable=False)
    yield made
    made.close()


def rows(*names: object, op: Op = Op.INSERT, relation: Relation = ITEM) -> Rows:
    return Rows(relation, op, [[number, name] for number, name in enumerate(names)])


def draft(journal: Journal, source: str, *runs: Rows, at_us: int = 1, **changes: object) -> Draft:
    body = journal.encode(source, runs)
    made = Draft(Kind.LOG, "", at_us, sum(len(run.rows) for run in runs), body)
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def append(journal: Journal, source: str, *names: object, at_us: int = 1, position: str = "p") -> int:
    journal.append(source, [draft(journal, source, rows(*names), at_us=at_us)], position)
    return journal.last_seq()


def names(journal: Journal, after: int = 0) -> list[list[object]]:
    return [[row[1] for run in journal.rows(entry) for row in run.rows] for entry in journal.read(after)]


def test_what_is_appended_is_read_in_one_order_over_all_sources(journal: Journal):
    assert append(journal, "erp", "a") == 1
    assert append(journal, "shop", "b", "c") == 2
    assert append(journal, "erp", "d") == 3
    assert names(journal) == [["a"], ["b", "c"], ["d"]]
    assert names(journal, after=2) == [["d"]]
    assert [entry.source for entry in journal.read(0)] == ["erp", "shop", "erp"]
    assert journal.last_seq() == 3


def test_values_keep_their_types_and_absence(journal: Journal):
    row = [1, None, True, -(2**63), 2**64 - 1, 1.5, "日本 🛒", b"\x00\xff", ABSENT]
    relation = Relation("t", tuple("abcdefghi"), ("native(x)",) * 9, (0,))
    journal.append("erp", [draft(journal, "erp", Rows(relation, Op.UPDATE, [row], [[9, *row[1:]]]))], "p")
    (entry,) = journal.read(0)
    (run,) = journal.rows(entry)
    assert run.rows == [row]
    assert run.rows[0][8] is ABSENT
    assert run.rows[0][2] is True
    assert run.olds is not None
    assert run.olds[0] is not None
    assert run.olds[0][0] == 9
    assert run.relation == relation


def test_position_and_entries_are_one_commit(journal: Journal):
    append(journal, "erp", "a", at_us=77, position="0/1")
    assert (journal.position("erp"), journal.captured_at_us("erp")) == ("0/1", 77)
    with pytest.raises(StorageError):
        journal.append("erp", [Draft(Kind.LOG, "", 2, 1, body=b"x"), Draft(Kind.LOG, None, 2, 1)], "0/2")  # type: ignore[arg-type]
    assert journal.position("erp") == "0/1"
    assert journal.last_seq() == 1


def test_an_idle_source_moves_its_position_without_an_entry(journal: Journal):
    journal.append("erp", [], "0/9")
    assert (journal.position("erp"), journal.last_seq(), journal.read(0)) == ("0/9", 0, [])


def test_a_source_never_started_has_no_position(journal: Journal):
    assert journal.position("erp") is None
    assert journal.captured_at_us("erp") is None


def test_a_large_transaction_is_invisible_until_its_commit_and_whole_afterwards(journal: Journal):
    stage = journal.stage("erp", None, 0, journal.encode("erp", [rows("a")]))
    journal.stage("erp", stage, 1, journal.encode("erp", [rows("b")]))
    append(journal, "shop", "x")
    assert names(journal) == [["x"]]
    journal.append("erp", [draft(journal, "erp", rows("c"), stage=stage)], "0/1")
    assert names(journal) == [["x"], ["a", "b", "c"]]


def test_parts_of_a_transaction_that_capture_did_not_finish_are_dropped_and_only_those(journal: Journal):
    done = journal.stage("erp", None, 0, journal.encode("erp", [rows("a")]))
    journal.append("erp", [Draft(Kind.LOG, "", 1, 1, stage=done)], "0/1")
    journal.stage("erp", None, 0, journal.encode("erp", [rows("half")]))
    other = journal.stage("shop", None, 0, journal.encode("shop", [rows("open")]))
    journal.drop_unfinished("erp")
    assert names(journal) == [["a"]]
    stages = {row[0] for row in journal.database.connection.execute("SELECT stage FROM stages")}
    assert stages == {done, other}


def test_dropping_unfinished_parts_does_not_read_the_whole_journal(journal: Journal):
    plan = journal.database.connection.execute(
        "EXPLAIN QUERY PLAN SELECT stage FROM entries WHERE stage IS NOT NULL"
    ).fetchall()
    assert "COVERING INDEX entries_by_stage" in plan[0][3]


def test_a_read_is_bounded_by_entries_and_bytes_but_always_moves(journal: Journal):
    for _ in range(3):
        append(journal, "erp", "x" * (3 * 2**19))
    assert [entry.seq for entry in journal.read(0)] == [1, 2]
    assert [entry.seq for entry in journal.read(2)] == [3]
    append(journal, "erp", "small")
    assert [entry.seq for entry in journal.read(2, limit=1)] == [3]


def test_a_damaged_entry_is_noticed_and_needs_a_person(journal: Journal):
    append(journal, "erp", "a")
    connection = journal.database.connection
    connection.execute("UPDATE entries SET body = CAST(replace(body, 'a', 'b') AS BLOB)")
    with pytest.raises(NeedsOperator, match="entry 1 is damaged"):
        journal.read(0)


def test_relations_are_stored_once_and_known_to_other_processes(journal: Journal, tmp_path: Path):
    for _ in range(3):
        append(journal, "erp", "a")
    append(journal, "shop", "a")
    other = Journal(tmp_path / "journal.db", durable=False)
    assert names(other) == [["a"]] * 4
    assert other.database.connection.execute("SELECT count(*) FROM relations").fetchone() == (2,)
    other.close()


def test_seq_at_finds_the_last_entry_before_a_moment(journal: Journal):
    for n in range(1, 8):
        append(journal, "erp", "a")
        journal.database.connection.execute("UPDATE entries SET journaled_at_us=? WHERE seq=?", (n * 10, n))
    assert [journal.seq_at(moment) for moment in (5, 10, 11, 35, 70, 71)] == [0, 0, 1, 3, 6, 7]
    journal.trim(3, 1000)
    assert journal.seq_at(45) == 4
    assert journal.seq_at(71) == 7


def test_trimming_keeps_what_is_unresolved_or_young_and_never_reuses_a_seq(journal: Journal):
    stage = journal.stage("erp", None, 0, journal.encode("erp", [rows("a")]))
    journal.append("erp", [Draft(Kind.LOG, "", 1, 1, stage=stage)], "0/1")
    for _ in range(4):
        append(journal, "erp", "a")
    journal.database.connection.execute("UPDATE entries SET journaled_at_us = seq * 10")
    assert journal.trim(through=2, before_us=1000) == 2
    assert journal.trim(through=5, before_us=45) == 2
    assert [entry.seq for entry in journal.read(0)] == [5]
    assert journal.database.connection.execute("SELECT count(*) FROM stages").fetchone() == (0,)
    assert journal.trim(through=5, before_us=1000) == 1
    assert append(journal, "erp", "b") == 6


def test_where_an_entry_came_from_is_told_while_it_is_kept(journal: Journal):
    journal.append("erp", [Draft(Kind.LOG, "0/5", 17, 1, b"\x90")], "0/5")
    origin = journal.origin(1)
    assert origin is not None
    assert (origin.source, origin.kind, origin.position, origin.committed_at_us) == ("erp", Kind.LOG, "0/5", 17)
    journal.trim(1, 2**62)
    assert journal.origin(1) is None


def test_the_transaction_that_carried_a_unit_is_found_by_its_mark(journal: Journal):
    marks = [(0, 3), None, (3, 4), (9, 12)]
    journal.append("shop", [Draft(Kind.LOG, f"p{n}", n, 1, mark=mark) for n, mark in enumerate(marks)], "p")
    journal.append("erp", [Draft(Kind.LOG, "q", 1, 1, mark=(4, 9))], "q")
    carriers = {unit: journal.carrier("shop", unit) for unit in range(1, 14)}
    found = {unit: origin.position for unit, origin in carriers.items() if origin is not None}
    assert found == {1: "p0", 2: "p0", 3: "p0", 4: "p2", 10: "p3", 11: "p3", 12: "p3"}


def test_trimmed_space_is_counted_as_free(journal: Journal):
    for _ in range(50):
        append(journal, "erp", "x" * 20_000)
    full = journal.size_bytes()
    journal.trim(50, 2**62)
    assert full > 10**6
    assert journal.size_bytes() < full / 2


def test_a_command_starts_copies_in_the_same_commit(journal: Journal):
    journal.ensure_backfills("erp", ["item"])
    journal.append("erp", [], None, backfill=Backfill("item", 0, True, [5], 100))
    seq = journal.command(
        Command("resync", {"entity": "product"}), [NewCopy("erp", "item"), NewCopy("shop", "products")]
    )
    (entry,) = journal.read(0)
    assert (entry.seq, entry.kind, entry.source) == (seq, Kind.COMMAND, "operator")
    assert entry.note is not None
    assert decode_command(entry.note) == Command("resync", {"entity": "product"})
    assert [(b.table, b.run, b.done, b.rows) for b in journal.backfills("erp")] == [("item", seq, False, 0)]
    assert [(b.table, b.run) for b in journal.backfills("shop")] == [("products", seq)]


def test_progress_of_a_copy_that_was_started_anew_is_not_mixed_up(journal: Journal):
    journal.ensure_backfills("erp", ["item"])
    seq = journal.command(Command("resync", {"entity": "product"}), [NewCopy("erp", "item")])
    journal.append("erp", [], None, backfill=Backfill("item", 0, True, [5], 100))
    assert [(b.table, b.run, b.done, b.rows) for b in journal.backfills("erp")] == [("item", seq, False, 0)]


def test_copies_go_on_where_they_were_and_new_tables_join_them(journal: Journal):
    journal.ensure_backfills("erp", ["b", "a"])
    journal.append("erp", [], None, backfill=Backfill("b", 0, False, [7, "x"], 2000))
    journal.ensure_backfills("erp", ["b", "a", "c"])
    assert [(b.table, b.last_key, b.rows) for b in journal.backfills("erp")] == [
        ("b", [7, "x"], 2000),
        ("a", None, 0),
        ("c", None, 0),
    ]


def test_controls_outlive_the_process(journal: Journal, tmp_path: Path):
    journal.set_control("pause:shop", "1")
    journal.set_control("pause:erp", "1")
    journal.set_control("pause:erp", None)
    journal.close()
    other = Journal(tmp_path / "journal.db")
    assert other.controls() == {"pause:shop": "1"}
    other.close()


def test_notes_survive_encoding():
    note = ChunkNote("item", 3, True)
    assert decode_chunk_note(encode_note(note)) == note


WRITER = """
import sys
from pathlib import Path
from cdcd.journal import Draft, Journal, Kind
journal = Journal(Path(sys.argv[1]))
n = 0
while True:
    n += 1
    journal.append(sys.argv[2], [Draft(Kind.LOG, "", n, 1, b"\\x90") for _ in range(3)], str(n))
    print(n, flush=True)
"""


def test_a_killed_writer_leaves_whole_commits_and_its_last_answer_is_there(journal: Journal, tmp_path: Path):
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path / "journal.db"), name], stdout=subprocess.PIPE, text=True
        )
        for name in ("erp", "shop")
    ]
    answered: dict[str, int] = {}
    for writer, name in zip(writers, ("erp", "shop"), strict=True):
        assert writer.stdout is not None
        while int(writer.stdout.readline()) < 20:
            pass
        os.kill(writer.pid, signal.SIGKILL)
        rest = writer.communicate()[0].split()
        answered[name] = int(rest[-1]) if rest else 20
    for name, n in answered.items():
        stored = int(journal.position(name) or 0)
        count = sum(1 for entry in journal.read(0, limit=10**6) if entry.source == name)
        assert stored >= n
        assert count == stored * 3
