"""The trail: notes in order, found by key from the newest on, kept with the step's commit."""

from __future__ import annotations

import msgspec
import pytest

from cdcd.model import ABSENT
from cdcd.resolve import trail as trail_module
from cdcd.resolve.golden import GoldenRecords
from cdcd.resolve.keys import encode_key
from cdcd.resolve.trail import (
    NO_RULE,
    Note,
    Rule,
    Shortened,
    Telling,
    Trail,
    notes_of,
    number_rules,
    packed_about,
    rules_of,
)
from cdcd.state import State
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.resolve.test_resolver import ROW, work
from unit.small_line import insert, update

KEY = encode_key(["A"])


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


def write(state: State, trail: Trail, seqs: range, key: bytes = KEY) -> None:
    with state.transaction():
        for seq in seqs:
            trail.at(seq)
            trail.note(0, key, 1, "equal")
        trail.flush()


def stored(state: State) -> list[tuple[int, int]]:
    """(id, notes) of the rows there are."""
    rows = state.connection.execute("SELECT id, length(digests) / 4 FROM trail_keys ORDER BY id").fetchall()
    assert [row_id for row_id, _ in rows] == [
        i for (i,) in state.connection.execute("SELECT id FROM trail ORDER BY id")
    ]
    return rows


def seqs(state: State, **since: int) -> list[int]:
    return [note.seq for note in notes_of(state, 0, KEY, **since)]


def test_notes_of_a_record_are_found_newest_first_among_those_of_others(state):
    trail = Trail(state)
    for seq in range(1, 1_000):
        write(state, trail, range(seq, seq + 1), KEY if seq % 100 == 0 else encode_key([f"other {seq}"]))
    assert seqs(state) == [900, 800, 700, 600, 500, 400, 300, 200, 100]
    assert 0 < len(seqs(state, since_seq=750)) < 9


def test_a_row_is_filled_by_later_steps_and_after_a_restart(state):
    write(state, Trail(state), range(1, 101))
    trail = Trail(state)
    write(state, trail, range(101, 301))
    write(state, trail, range(301, 302))
    assert stored(state) == [(1, 128), (2, 128), (3, 45)]
    assert seqs(state) == list(range(301, 0, -1))


def test_a_full_row_is_not_written_again(state):
    write(state, Trail(state), range(1, 129))
    write(state, Trail(state), range(129, 130))
    assert stored(state) == [(1, 128), (2, 1)]


def test_a_note_keeps_what_differed_and_whom_it_made_us_tell(state):
    trail = Trail(state)
    with state.transaction():
        trail.at(7)
        trail.note(0, KEY, 1, "written", 3, [(2, "written", -4, ABSENT, ["a", 1])])
        trail.told(0, KEY, 0, 11, 2, 4, 0)
        trail.told(0, KEY, 2, 12, 1, 4, 8)
        trail.flush()
    (note,) = notes_of(state, 0, KEY)
    assert (note.seq, note.system, note.decision, note.rule) == (7, 1, "written", 3)
    (cell,) = note.cells
    assert (cell.slot, cell.decision, cell.owner, cell.new) == (2, "written", -4, ["a", 1])
    assert cell.old is ABSENT
    assert note.told == (Telling(0, 11, 2, 4, 0), Telling(2, 12, 1, 4, 8))


def test_who_is_told_without_a_decision_of_its_own_has_a_note_too(state):
    trail = Trail(state)
    with state.transaction():
        trail.at(7)
        trail.note(0, b"parent", 1, "deleted")
        trail.told(0, KEY, 0, 11, 3, 0, 0)
        trail.flush()
    assert [(note.decision, note.system, len(note.told)) for note in notes_of(state, 0, KEY)] == [("told", -1, 1)]


@pytest.mark.parametrize("children", [3, 3_000])
def test_what_a_record_takes_with_it_does_not_part_its_decision_from_whom_it_tells(state, children):
    trail = Trail(state)
    with state.transaction():
        trail.at(7)
        trail.note(0, KEY, 1, "deleted")
        for child in range(children):
            trail.told(1, encode_key(["A", child]), 0, 11, 3, 0, 0)
        trail.told(0, KEY, 0, 11, 3, 0, 0)
        trail.flush()
    notes = list(notes_of(state, 0, KEY))
    assert [note.decision for note in notes] == (["deleted"] if children < 10 else ["told", "deleted"])
    assert sum(len(note.told) for note in notes) == 1
    assert all(len(list(notes_of(state, 1, encode_key(["A", child])))) == 1 for child in (0, children - 1))


def test_our_own_write_read_back_is_kept_only_where_somebody_is_told_of_it(state):
    trail = Trail(state)
    with state.transaction():
        trail.at(7)
        trail.note(0, KEY, 1, "echo")
        trail.at(8)
        trail.note(0, KEY, 1, "echo")
        trail.told(0, KEY, 1, 11, 3, 0, 0)
        trail.flush()
    assert [(note.seq, note.decision) for note in notes_of(state, 0, KEY)] == [(8, "echo")]


def test_long_values_are_kept_by_their_beginnings(state):
    trail = Trail(state)
    with state.transaction():
        trail.note(
            0, KEY, 1, "written", NO_RULE, [(2, "written", 1, "x" * 5_000, bytes(3_000)), (3, "hold", 0, "a", 1)]
        )
        trail.flush()
    (note,) = notes_of(state, 0, KEY)
    assert note.cells[0].old == Shortened("x" * 200, 5_000)
    assert note.cells[0].new == Shortened(bytes(200), 3_000)
    assert (note.cells[1].old, note.cells[1].new) == ("a", 1)


def test_many_notes_leave_the_memory_within_a_step(state):
    trail = Trail(state)
    with state.transaction():
        for seq in range(5_000):
            trail.at(seq)
            trail.note(0, KEY, 1, "equal")
            assert len(trail._notes) <= trail_module.OPEN_NOTES
        trail.flush()
    assert len(seqs(state)) == 5_000


def test_what_a_failed_step_noted_is_forgotten(state):
    trail = Trail(state)
    write(state, trail, range(1, 3))

    def fail() -> None:
        with state.transaction():
            trail.at(3)
            for _ in range(2_000):
                trail.note(0, KEY, 1, "equal")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    trail.discard()
    write(state, trail, range(3, 4))
    assert seqs(state) == [3, 2, 1]
    assert stored(state) == [(1, 3)]


def test_old_rows_are_trimmed_with_the_journal_but_never_the_newest(state):
    trail = Trail(state)
    write(state, trail, range(1, 301))
    with state.transaction():
        assert trail.trim(100) == 0
        assert trail.trim(129) == 1
        assert trail.trim(10_000) == 1
    assert stored(state) == [(3, 44)]
    write(state, trail, range(301, 302))
    assert stored(state) == [(3, 45)]


def test_keys_whose_digests_are_the_same_are_told_apart(state, monkeypatch):
    monkeypatch.setattr(trail_module.zlib, "crc32", lambda *_: 7)
    trail = Trail(state)
    write(state, trail, range(1, 2))
    write(state, trail, range(2, 3), encode_key(["B"]))
    assert seqs(state) == [1]


def test_rules_keep_their_numbers_for_ever(state):
    with state.transaction():
        assert number_rules(state, {0: [("a", "erp"), ("b", "shop")]}) == {0: (0, 1)}
        assert number_rules(state, {0: [("b", "shop"), ("c", "erp")], 1: [("b", "shop")]}) == {0: (1, 2), 1: (3,)}
    assert rules_of(state) == [Rule(0, "a", "erp"), Rule(0, "b", "shop"), Rule(0, "c", "erp"), Rule(1, "b", "shop")]


# ---- from resolve ------------------------------------------------------------------------------------------------


def test_the_same_journal_gives_the_same_trail_however_it_is_cut_into_steps(make_line, monkeypatch):
    one, other = make_line(ORDER, ORDER_TABLES), make_line(ORDER, ORDER_TABLES)
    for line in (one, other):
        work(line, 3)
    one.resolve()
    monkeypatch.setattr("cdcd.resolve.resolver.STEP_ENTRIES", 1)
    monkeypatch.setattr("cdcd.resolve.resolver.STEP_ROWS", 0)
    while other.resolver.step():
        other.start()
    for table in ("trail", "trail_keys"):
        assert one.dump(table), table
        assert one.dump(table) == other.dump(table), table


@pytest.mark.parametrize("seed", range(3))
def test_every_record_has_a_beginning_and_every_value_its_last_writer(make_line, seed):
    line = make_line(ORDER, ORDER_TABLES)
    work(line, seed)
    line.resolve()
    written = 0
    for plan in line.plan.entities.values():
        for key, record in GoldenRecords(line.state, {plan.number: len(plan.fields)}).page(plan.number, b"", 1_000):
            notes = list(notes_of(line.state, plan.number, key))
            assert {"created", "unmatched"} & {note.decision for note in notes}
            accepted = [cell for note in reversed(notes) for cell in note.cells if cell.decision == "written"]
            last = {cell.slot: cell.new for cell in accepted}
            assert {slot: record.values[slot] for slot in last} == last
            assert all(telling.unit <= line.state.units for note in notes for telling in note.told)
            written += len(accepted)
    assert written


def test_a_change_costs_one_note_however_many_fields_it_has(make_line):
    line = make_line(PRODUCT, PRODUCT_TABLES)
    for number in range(50):
        line.apps["erp"].write(insert("item", id=number, **ROW | {"code": f"P{number}"}))
        line.apps["erp"].write(update("item", number, name="two", stock=6, note="m"))
    line.resolve()
    notes = [list(notes_of(line.state, 0, encode_key([f"P{number}"]))) for number in range(50)]
    assert {tuple(note.decision for note in found) for found in notes} == {("written", "created")}
    size = line.state.connection.execute(
        "SELECT (SELECT sum(length(body)) FROM trail) + (SELECT sum(length(digests)) FROM trail_keys)"
    ).fetchone()[0]
    assert size / 100 < 45, "bytes a change"


def test_a_suspended_entity_notes_what_it_catches_up_with_under_the_entries_it_reads(make_line):
    line = make_line(PRODUCT, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.apps["erp"].truncate("item")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.resolve()
    assert len(list(notes_of(line.state, 0, KEY))) == 1
    line.apps["erp"].write(insert("item", id=1, **ROW | {"name": "three"}))
    line.resync("product")
    notes: list[Note] = list(notes_of(line.state, 0, KEY))
    assert len(notes) > 1
    assert [note.seq for note in notes] == sorted((note.seq for note in notes), reverse=True)


def test_a_note_of_a_run_reads_back_like_one_that_grew_and_keeps_only_the_beginnings_of_long_values(state):
    trail, cells, told = Trail(state), [(1, "written", 0, "old", "x" * 5_000)], [(1, 7, 2, 2, 0)]
    with state.transaction():
        trail.at(4)
        trail.note(3, b"A", 0, "written", cells=[*cells])
        trail.told(3, b"A", 1, 7, 2, 2, 0)
        about = packed_about(NO_RULE, (1,), (0,))
        trail.note_run(
            [
                (4, 3, b"B", 0, about, ("old",), ("x" * 5_000,), told),
                (4, 3, b"C", 0, "equal", NO_RULE, (), (), 0, ""),
                (4, 3, b"D", 0, "partly", NO_RULE, cells, told, 0, ""),
            ]
        )
        trail.flush()
    (grown,), (whole,), (partly,) = (list(notes_of(state, 3, key)) for key in (b"A", b"B", b"D"))
    assert msgspec.structs.replace(whole, key=b"A") == grown
    assert msgspec.structs.replace(partly, key=b"A", decision="written") == grown
    assert whole.cells[0].new.length == 5_000
    assert [(note.seq, note.decision, note.cells) for note in notes_of(state, 3, b"C")] == [(4, "equal", ())]


def test_a_change_that_counts_is_stored_in_fewer_bytes_and_reads_back_as_whole_as_an_earlier_version_stored_it(state):
    trail = Trail(state)
    whole = (4, 3, b"A", 0, "written", 2, [(1, "written", -4, "a", "b"), (5, "written", 0, None, 7)], [], 0, "")
    with state.transaction():
        trail.note_run([whole])
        trail.at(4)
        trail.note(3, b"B", 0, "written", rule=2, cells=whole[6])
        trail.flush()
    (earlier,), (now,) = (list(notes_of(state, 3, key)) for key in (b"A", b"B"))
    assert msgspec.structs.replace(now, key=b"A") == earlier
    first, second = msgspec.msgpack.decode(state.connection.execute("SELECT body FROM trail").fetchone()[0])
    assert len(msgspec.msgpack.encode(second)) < 0.6 * len(msgspec.msgpack.encode(first))
