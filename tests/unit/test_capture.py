"""Capture over a scripted source: what is stored, what is confirmed, and in which order."""

# ruff: noqa: ARG002 - the contract names the arguments

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest

from cdcd import capture as module
from cdcd.adapter import Finding, Identity, RowFilter, SourceStatus, TableNeed
from cdcd.backfills import NewCopy
from cdcd.capture import Capture
from cdcd.errors import FilterRefused, PositionLost, Unavailable
from cdcd.journal import Command, Journal, Kind, decode_chunk_note
from cdcd.model import CHECKPOINT_TABLE, Chunk, Commit, Event, Idle, Op, Relation, Row, Rows
from cdcd.testing.printing import as_printed

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
        self.filters: list[RowFilter | None] = []
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

    def request_chunk(
        self, table: str, after_key: Row | None, row_limit: int, row_filter: RowFilter | None = None
    ) -> None:
        self.requested.append((table, after_key))
        self.limits.append(row_limit)
        self.filters.append(row_filter)

    def estimate(self, table: str) -> int:
        return 7

    def status(self) -> SourceStatus:
        return SourceStatus("", 0, 0)

    def reached(self, position: str) -> bool:
        return True

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


def test_another_step_comes_at_once_after_much_and_while_a_table_is_copied(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch
):
    capture = started(journal, source)
    source.arrived = [[rows("a"), Commit("p1", 5)], [rows("b"), Commit("p2", 6)], [rows("c"), Commit("p3", 7)]]
    capture.step()
    assert not capture.may_have_more
    monkeypatch.setattr(module, "MUCH_BYTES", 1)
    capture.step()
    assert capture.may_have_more
    monkeypatch.undo()
    journal.ensure_backfills("erp", ["item"])
    capture.request_backfill()
    capture.step()
    assert capture.may_have_more


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


def test_rows_as_they_were_printed_are_journalled_so_and_a_mark_among_them_is_read(
    journal: Journal, source: ScriptedSource
):
    capture = started(journal, source)
    own = mark("acme", "erp", "lineage-1", 3, 9)
    source.arrived = [[as_printed(rows("a", "b")), as_printed(own), rows("c"), Commit("p1", 5)]]
    capture.step()
    (entry,) = journal.read(0)
    assert (entry.mark, entry.changes) == ((3, 9), 3)
    assert contents(journal) == [["a", "b", "c"]]
    assert [type(msgspec.msgpack.decode(run.packed_rows)) for run in journal.runs(entry)] == [bytes, list]


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
    seq = journal.command(Command("resync", {"entity": "product"}), [NewCopy("erp", "item")])
    capture.request_backfill()
    assert source.requested == [("item", None)]
    source.arrived = [[Chunk(rows("a"), [1], done=False)]]
    capture.step()
    assert source.requested == [("item", None), ("item", None)]
    assert [(b.table, b.run, b.done, b.last_key) for b in journal.backfills("erp")] == [("item", seq, False, None)]


def test_while_nothing_is_read_the_source_is_told_again_how_far_we_are(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    source.arrived = [[rows("a"), Commit("p1", 5)]]
    capture.step()
    capture.keep_alive()
    assert source.confirmed == [("p1", "p1"), ("p1", "p1")]


# ---- copies that somebody wants --------------------------------------------------------------------------------


WANTED = RowFilter(columns=("id",), keys=((1,),))


def ask(journal: Journal, *copies: NewCopy, from_now: str = "") -> int:
    return journal.command(Command("resync", {"entity": "product"}), copies, from_now=from_now)


def test_a_copy_of_some_rows_says_so_and_brings_the_shape_even_of_none(journal: Journal, source: ScriptedSource):
    ask(journal, NewCopy("erp", "item", "product", WANTED))
    capture = started(journal, source, "item")
    assert source.filters == [WANTED]
    source.arrived = [[Chunk(Rows(ITEM, Op.READ, []), None, done=True)]]
    capture.step()
    entry = journal.read(0)[-1]
    assert entry.note is not None
    assert decode_chunk_note(entry.note).filtered
    assert [(run.relation, run.rows) for run in journal.rows(entry)] == [(ITEM, [])]


def test_the_size_of_a_table_is_asked_for_once(journal: Journal, source: ScriptedSource):
    capture = started(journal, source, "item")
    source.arrived = [[Chunk(rows("a"), [1], done=False)], [Chunk(rows("b"), [2], done=False)]]
    capture.step()
    assert journal.backfills("erp")[0].estimate == 7


def test_a_paused_copy_is_not_read_and_others_are(journal: Journal, source: ScriptedSource):
    ask(journal, NewCopy("erp", "item"), NewCopy("erp", "other"))
    journal.pause_backfills([("erp", "item")], paused=True)
    started(journal, source, "item", "other")
    assert source.requested == [("other", None)]


@pytest.mark.parametrize("at_once", [True, False])
def test_a_filter_that_the_server_refuses_ends_its_copy_and_the_source_is_opened_anew(
    journal: Journal, source: ScriptedSource, monkeypatch: pytest.MonkeyPatch, at_once: bool
):
    ask(journal, NewCopy("erp", "item", "product", RowFilter(where="nonsense")))
    refusal = FilterRefused("rows of table item cannot be chosen like this", cause="no column nonsense")

    def refuse(*_arguments: object) -> Sequence[Event]:
        raise refusal

    capture = Capture(IDENTITY, source, journal, ["item"])
    if at_once:
        monkeypatch.setattr(source, "request_chunk", refuse)
        with pytest.raises(Unavailable):
            capture.start()
    else:
        capture.start()
        monkeypatch.setattr(source, "poll", refuse)
        with pytest.raises(Unavailable):
            capture.step()
    monkeypatch.undo()
    (ended,) = journal.backfills("erp")
    assert (ended.done, ended.ended) == (True, f"{refusal.what}: {refusal.cause}")
    started(journal, source)


@pytest.mark.parametrize(("after", "arrived"), [(7, 9), (-8, 7)])
def test_what_the_checkpoint_says_at_a_new_place_counts_as_carried(
    journal: Journal, source: ScriptedSource, after: int, arrived: int
):
    own = RowFilter(columns=("daemon", "system"), keys=(("acme", "erp"),))
    ask(journal, NewCopy("erp", CHECKPOINT_TABLE, filter=own), NewCopy("erp", "item"))
    capture = started(journal, source, "item")
    assert source.requested == [(CHECKPOINT_TABLE, None)]
    shown = Rows(MARK, Op.READ, [["acme", "erp", "lineage-1", 1, after, 9]])
    source.arrived = [[Chunk(shown, None, done=True)]]
    capture.step()
    entry = journal.read(0)[-1]
    assert (entry.kind, entry.mark, entry.body) == (Kind.CHUNK, (arrived, arrived), None)
    assert source.requested[-1] == ("item", None)


def test_a_place_that_was_taken_away_is_not_put_back(journal: Journal, source: ScriptedSource):
    capture = started(journal, source)
    ask(journal, from_now="erp")
    source.arrived = [[rows("a"), Commit("p1", 5)]]
    with pytest.raises(Unavailable) as caught:
        capture.step()
    assert caught.value.code == "repositioned"
    assert journal.position("erp") is None
    started(journal, source)
    assert source.started_after == [None, None]


def test_a_lost_place_comes_with_the_command_that_goes_on(journal: Journal, source: ScriptedSource):
    def lose(_after: str | None) -> str:
        raise PositionLost("gone", remedy="bring it back")

    source.start = lose  # type: ignore[method-assign]
    with pytest.raises(PositionLost) as caught:
        started(journal, source)
    assert caught.value.remedy == "bring it back; to go on without what is lost: 'cdcd reposition erp'"


def test_a_copy_of_a_table_that_is_not_read_any_more_is_given_up(journal: Journal, source: ScriptedSource):
    started(journal, source, "item", "old")
    started(journal, source, "item")
    assert [(b.table, b.done, b.ended) for b in journal.backfills("erp")] == [
        ("item", False, ""),
        ("old", True, "the table is not read any more"),
    ]
