"""Capture over a scripted source: what is stored, what is confirmed, and in which order."""

# ruff: noqa: ARG002 - the contract names the arguments

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from cdcd import capture as module
from cdcd.adapter import Finding, Identity, SourceStatus, TableNeed
from cdcd.capture import Capture
from cdcd.journal import Backfill, Command, Journal, Kind, decode_chunk_note
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Event, Idle, Op, Relation, Row, Rows

ITEM = Relation("item", ("id", "name"), ("integer", "text"), (0,))
MARK = Relation(
    CHECKPOINT_TABLE,
    ("daemon", "system", "lineage", "epoch", "batch_after", "batch_through"),
    ("text", "text", "text", "integer", "integer", "integer"),
    (0, 1),
)
IDENTITY = Identity("acme", "erp", "lineage-1")


class ScriptedSource:
    """Polls return what the test put there; confirmations are checked against the journal at that moment."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.arrived: list[list[Event]] = []
        self.confirmed: list[tuple[str, str | None]] = []
        self.requested: list[tuple[str, Row | None]] = []
        self.limits: list[int] = []
        self.started_after: list[str | None] = []

    def check(self, tables: Sequence[TableNeed]) -> Sequence[Finding]:
        return []

    def start(self, after: str | None) -> str:
        self.started_after.append(after)
        return after or "start"

    def fileno(self) -> int:
        return -1

    def poll(self) -> Sequence[Event]:
        return self.arrived.pop(0) if self.arrived else []

    def confirm(self, position: str) -> None:
        self.confirmed.append((position, self.journal.position("erp")))

    def request_chunk(self, table: str, after_key: Row | None, row_limit: int) -> None:
        self.requested.append((table, after_key))
        self.limits.append(row_limit)

    def status(self) -> SourceStatus:
        return SourceStatus("", 0, 0)

    def close(self) -> None:
        pass


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal(tmp_path / "journal.db", durable=False)
    yield made
    made.close()


@pytest.fixture
def source(journal: Journal) -> ScriptedSource:
    return ScriptedSource(journal)


def started(journal: Journal, source: ScriptedSource, *tables: str) -> Capture:
    capture = Capture(IDENTITY, source, journal, tables)
    capture.start()
    return capture


def rows(*names: str) -> Rows:
    return Rows(ITEM, Op.INSERT, [[number, name] for number, name in enumerate(names)])


def mark(daemon: str, system: str, lineage: str, after: int, through: int) -> Rows:
    return Rows(MARK, Op.UPDATE, [[daemon, system, lineage, 1, after, through]])


def contents(journal: Journal) -> list[list[object]]:
    return [[row[1] for run in journal.rows(entry) for row in run.rows] for entry in journal.read(0)]


def test_the_start_is_durable_before_anything_is_read(journal: Journal, source: ScriptedSource):
    started(journal, source)
    assert source.started_after == [None]
    assert journal.position("erp") == "start"
    started(journal, source)
    assert source.started_after == [None, "start"]


def test_a_transaction_is_journalled_then_confirmed(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [[rows("a", "b"), rows("c"), Commit("p1", 5)]]
    assert capture.step()
    assert contents(journal) == [["a", "b", "c"]]
    assert source.confirmed == [("p1", "p1")]
    assert (capture.position, capture.counts.transactions, capture.counts.changes) == ("p1", 1, 3)


def test_what_arrived_together_is_one_commit_and_one_confirmation(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [[rows("a"), Commit("p1", 5), rows("b"), Commit("p2", 6), Idle("p3")]]
    assert capture.step()
    assert contents(journal) == [["a"], ["b"]]
    assert source.confirmed == [("p3", "p3")]


def test_a_transaction_that_is_not_over_is_neither_journalled_nor_confirmed(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [[rows("a")], [rows("b"), Commit("p1", 5)]]
    assert not capture.step()
    assert (contents(journal), source.confirmed) == ([], [])
    assert capture.step()
    assert contents(journal) == [["a", "b"]]


def test_nothing_new_is_nothing_done(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    assert not capture.step()
    assert source.confirmed == []


def test_a_large_transaction_is_put_aside_in_parts(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "STAGE_ROWS", 2)
    capture = started(journal, source)
    source.arrived = [[rows("a", "b")], [rows("c")], [rows("d", "e"), rows("f"), Commit("p1", 5)]]
    assert not capture.step()
    assert not capture.step()
    assert contents(journal) == []
    assert capture.step()
    assert contents(journal) == [["a", "b", "c", "d", "e", "f"]]
    assert journal.read(0)[0].changes == 6


def test_long_rows_of_an_open_transaction_are_put_aside_after_a_few_polls(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "STAGE_POLLS", 2)
    capture = started(journal, source)
    source.arrived = [[rows("a")], [rows("b")], [rows("c")], [Commit("p1", 5)]]
    assert [capture.step() for _ in range(4)] == [False, False, False, True]
    assert capture._runs == []
    assert contents(journal) == [["a", "b", "c"]]
    assert journal.database.connection.execute("SELECT count(*) FROM stages").fetchone() == (1,)


def test_parts_of_a_transaction_left_by_a_crash_are_forgotten_and_read_again(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "STAGE_ROWS", 1)
    capture = started(journal, source)
    source.arrived = [[rows("a")]]
    capture.step()
    capture = started(journal, source)
    source.arrived = [[rows("a"), rows("b"), Commit("p1", 5)]]
    assert capture.step()
    assert contents(journal) == [["a", "b"]]


def test_an_idle_position_is_stored_now_and_then(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    capture = started(journal, source)
    source.arrived = [[Idle("p1")], [Idle("p2")]]
    assert not capture.step()
    assert source.confirmed == []
    monkeypatch.setattr(module, "IDLE_SECONDS", 0.0)
    assert not capture.step()
    assert source.confirmed == [("p2", "p2")]
    assert journal.last_seq() == 0


def test_our_own_transactions_carry_their_mark_and_not_the_checkpoint_row(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [
        [
            mark("acme", "erp", "lineage-1", 4, 7),
            rows("a"),
            Commit("p1", 5),
            rows("b"),
            Commit("p2", 6),
        ]
    ]
    capture.step()
    first, second = journal.read(0)
    assert (first.mark, second.mark) == ((4, 7), None)
    assert contents(journal) == [["a"], ["b"]]


@pytest.mark.parametrize(
    "foreign", [("other", "erp", "lineage-1"), ("acme", "shop", "lineage-1"), ("acme", "erp", "lineage-2")]
)
def test_another_daemons_transactions_are_changes_like_any_other(
    journal: Journal, source: ScriptedSource, foreign: tuple[str, str, str]
):
    capture = started(journal, source)
    source.arrived = [[mark(*foreign, 4, 7), rows("a"), Commit("p1", 5)]]
    capture.step()
    assert journal.read(0)[0].mark is None


def test_tables_are_copied_in_order_chunk_by_chunk(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item", "order")
    assert source.requested == [("item", None)]
    source.arrived = [[Chunk(rows("a", "b"), [1], done=False)], [Chunk(rows("c"), None, done=True)]]
    assert capture.step()
    assert source.requested[1:] == [("item", [1])]
    assert capture.step()
    assert source.requested[2:] == [("order", None)]
    entries = journal.read(0)
    assert [entry.kind for entry in entries] == [Kind.CHUNK, Kind.CHUNK]
    notes = [decode_chunk_note(entry.note) for entry in entries if entry.note is not None]
    assert [(note.table, note.done) for note in notes] == [("item", False), ("item", True)]
    assert capture.counts.chunk_rows == 3


def test_chunks_have_as_many_rows_as_fit_and_begin_small(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "CHUNK_BYTES", 1000)
    capture = started(journal, source, "item")
    long, short = "x" * 400, "y"
    for values in ([short] * 10, [long] * 5, [long * 10], []):
        source.arrived.append([Chunk(rows(*values), [1], done=not values)])
    while capture.step():
        pass
    first = module.FIRST_CHUNK_ROWS
    assert source.limits[0] == first
    assert first < source.limits[1] <= 4 * first
    assert source.limits[2:] == [2, 1]


def test_a_copy_goes_on_after_a_crash_where_its_last_journalled_chunk_ended(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item")
    source.arrived = [[Chunk(rows("a"), [1], done=False)]]
    capture.step()
    source.requested.clear()
    started(journal, source, "item")
    assert source.requested == [("item", [1])]


def test_chunks_and_transactions_keep_the_order_of_the_stream(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item")
    source.arrived = [[rows("a"), Commit("p1", 5), Chunk(rows("copied"), None, done=True), rows("b"), Commit("p2", 6)]]
    capture.step()
    assert contents(journal) == [["a"], ["copied"], ["b"]]
    assert source.confirmed == [("p2", "p2")]


def test_a_chunk_alone_moves_no_position(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item")
    source.arrived = [[Chunk(rows("a"), None, done=True)]]
    assert capture.step()
    assert source.confirmed == []
    assert journal.position("erp") == "start"


def test_a_resync_asked_for_during_a_copy_starts_after_the_chunk_on_its_way(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item")
    seq = journal.command(Command("resync", {"entity": "product"}), [("erp", "item")])
    capture.request_backfill()
    assert source.requested == [("item", None)]
    source.arrived = [[Chunk(rows("a"), [1], done=False)]]
    capture.step()
    assert source.requested == [("item", None), ("item", None)]
    assert journal.backfills("erp") == [Backfill("item", seq, False, None, 0)]


def test_while_nothing_is_read_the_source_is_told_again_how_far_we_are(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [[rows("a"), Commit("p1", 5)]]
    capture.step()
    capture.keep_alive()
    assert source.confirmed == [("p1", "p1"), ("p1", "p1")]
