"""Looking into a journal: what is listed, counted, followed, exported, pruned and measured."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from cdcd.journal import Command, Journal, Kind
from cdcd.journal_care import pruning as journal_pruning
from cdcd.journal_care.json_lines import export_lines, plain
from cdcd.journal_care.stats import DAY_US, measure
from cdcd.journal_care.view import Gone, JournalView, Wanted, command_of, copy_of
from cdcd.model import ABSENT, Op, Rows
from cdcd.resolve import suspension
from cdcd.resolve.suspension import Suspension
from cdcd.state import State
from unit.journals import ITEM, OTHER, add, add_chunk, add_staged, rows

HOUR_US = 3_600_000_000
NOW_US = 1_800_000_000_000_000


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """Six entries, an hour between each, the last of them an hour ago."""
    made = Journal(tmp_path / "journal.db", durable=False)
    add(made, "erp", rows("a", "b"), rows("x", op=Op.DELETE), position="0/1")
    add(made, "erp", rows("c", relation=OTHER), position="0/2")
    add_staged(made, "shop", rows("e", "f"), rows("g"), position="log:3")
    add_chunk(made, "shop", rows("h", op=Op.READ), done=True)
    made.command(Command("retry", {"system": "shop", "records": [[1, b"secret key"]]}))
    add(made, "shop", rows("i"), position="log:6", mark=(3, 5))
    made.database.connection.execute("UPDATE entries SET journaled_at_us = ? - (7 - seq) * ?", (NOW_US, HOUR_US))
    yield made
    made.close()


@pytest.fixture
def view(journal: Journal) -> Iterator[JournalView]:
    made = JournalView(journal.database.path)
    yield made
    made.close()


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    made = State(tmp_path / "state.db", durable=False)
    yield made
    made.close()


def resolved(state: State, seq: int) -> None:
    with state.transaction():
        state.put("position", seq)


def test_entries_are_listed_with_what_they_are_and_counted_by_table_and_operation(view):
    first, _, staged, chunk, command, ours = view.newest(10, Wanted())
    assert view.contents(first) == {"public.item": {"insert": 2, "delete": 1}}
    assert view.contents(staged) == {"public.item": {"insert": 3}}
    assert (ours.units, ours.position, ours.kind) == ((3, 5), "log:6", Kind.LOG)
    copied, told = copy_of(chunk), command_of(command)
    assert copied is not None
    assert (copied.table, copied.done) == ("public.item", True)
    assert told is not None
    assert (told.name, told.arguments) == ("retry", {"system": "shop"}), "keys are left out"


@pytest.mark.parametrize(
    ("wanted", "seqs"),
    [
        (Wanted(source="erp"), [1, 2]),
        (Wanted(tables=frozenset([(None, "item")])), [1, 3, 4, 6]),
        (Wanted(tables=frozenset([("erp", "public.item")])), [1]),
        (Wanted(source="shop", tables=frozenset([(None, "other")])), []),
    ],
)
def test_only_what_is_wanted_is_found(view, wanted, seqs):
    assert [listed.seq for listed in view.newest(10, wanted)] == seqs
    assert [listed.seq for listed in view.newest(1, wanted)] == seqs[-1:]


def test_a_new_entry_shows_in_the_version(view, journal):
    before = view.version()
    assert view.version() == before
    add(journal, "erp", rows("new"))
    assert view.version() != before


def test_an_entry_that_is_trimmed_meanwhile_is_gone(view, journal):
    staged = view.newest(10, Wanted())[2]
    runs = view.runs(staged)
    next(runs)
    journal.trim(3, NOW_US)
    with pytest.raises(Gone):
        list(runs)
    with pytest.raises(Gone):
        view.contents(staged)


def test_a_place_is_a_number_or_a_time(view):
    assert view.seq_of("4", lambda _text: 0) == 4
    assert view.seq_of("4h ago", lambda _text: NOW_US - 4 * HOUR_US) == 3


def test_an_export_has_every_value_and_each_shape_once(view):
    lines = [
        json.loads(line) for listed in view.newest(3, Wanted()) for line in export_lines(view, listed, Wanted(), set())
    ]
    assert [line["type"] for line in lines] == ["entry", "table", "row", "entry", "entry", "table", "row"]
    assert lines[1]["columns"] == {"id": "integer", "name": "text"}
    assert lines[2]["row"] == {"id": 0, "name": "h"}
    assert lines[4]["units"] == [3, 5]


def test_values_without_a_word_in_json_are_marked():
    values = [None, True, 2**64 - 1, "日本", b"\x00\xff", ABSENT, float("nan"), float("-inf"), 1.5]
    marked = [
        None,
        True,
        2**64 - 1,
        "日本",
        {"bytes": "00ff"},
        {"absent": True},
        {"float": "nan"},
        {"float": "-inf"},
        1.5,
    ]
    assert [plain(value) for value in values] == marked


# ---- pruning ---------------------------------------------------------------------------------------------------


def test_pruning_forgets_what_is_old_and_resolved_and_nothing_else(journal, state):
    resolved(state, 4)
    found = journal_pruning.plan(journal, state, NOW_US - 2 * HOUR_US)
    assert (found.through, found.entries, found.held_by) == (4, 4, None)
    assert found.size_bytes > 0
    assert journal_pruning.prune(journal, found) == 4
    assert [entry.seq for entry in journal.read(0)] == [5, 6]
    assert journal.database.connection.execute("SELECT count(*) FROM stages").fetchone() == (0,)


def test_what_a_suspended_entity_needs_is_kept_and_it_is_named(journal, state):
    resolved(state, 6)
    with state.transaction():
        suspension.store(state, Suspension("product", 2, "schema-changed", "x", "", "", 0, {}))
    found = journal_pruning.plan(journal, state, NOW_US)
    assert (found.through, found.entries) == (2, 2)
    assert found.held_by is not None
    assert found.held_by.what == "product is suspended here"


# ---- figures ---------------------------------------------------------------------------------------------------


def test_figures_say_who_fills_the_journal_and_who_keeps_it(journal, state):
    resolved(state, 5)
    stats = measure(journal, state, max_bytes=2**40, keep="2h", keep_us=2 * HOUR_US, now_us=NOW_US)
    assert (stats.entries, stats.oldest and stats.oldest.seq, stats.newest and stats.newest.seq) == (6, 1, 6)
    assert stats.sources.keys() == {"erp", "shop", "operator"}
    shop = stats.sources["shop"]
    assert (shop.entries, shop.changes, shop.copied_rows, shop.own_transactions) == (3, 4, 1, 1)
    assert shop.position == "log:6"
    assert [(keeper.what, keeper.seq) for keeper in stats.keepers] == [
        ("journal.keep = 2h", 4),
        ("resolve has come to here", 5),
    ]
    assert stats.growth_bytes_per_day is not None
    assert stats.full_in_hours is None, "what is two hours old goes"


def test_a_journal_that_nobody_lets_go_of_gets_full(journal, state):
    stats = measure(journal, state, max_bytes=2**20, keep="2h", keep_us=2 * HOUR_US, now_us=NOW_US)
    assert stats.keepers[0].what == "resolve has come to here"
    assert stats.growth_bytes_per_day is not None
    hours = (2**20 - stats.size_bytes) / stats.growth_bytes_per_day * 24
    assert stats.full_in_hours == pytest.approx(hours, abs=0.1)
    full = measure(journal, state, max_bytes=1, keep="2h", keep_us=2 * HOUR_US, now_us=NOW_US)
    assert full.full_in_hours == 0


def test_an_empty_journal_has_no_figures(tmp_path: Path, state):
    journal = Journal(tmp_path / "empty.db", durable=False)
    stats = measure(journal, state, max_bytes=1, keep="14d", keep_us=14 * DAY_US, now_us=NOW_US)
    assert (stats.entries, stats.oldest, stats.growth_bytes_per_day) == (0, None, None)
    journal.close()


def test_operations_without_rows_are_counted_as_often_as_they_happened(journal, view):
    add(journal, "erp", Rows(ITEM, Op.TRUNCATE, []))
    assert view.contents(view.newest(1, Wanted())[0]) == {"public.item": {"truncate": 1}}
