"""The outbox: units stay whole, numbers only grow, large ones are stored in parts."""

from __future__ import annotations

import pytest

from cdcd import outbox
from cdcd.model import ABSENT
from cdcd.outbox import AppliedMark, OutboxWriter, Unit, read_applied
from cdcd.state import State


@pytest.fixture
def state(tmp_path):
    state = State(tmp_path / "state.db", durable=False)
    yield state
    state.close()


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(outbox, "PART_WRITES", 10)
    monkeypatch.setattr(outbox, "ROW_WRITES", 10)


def item(number):
    return [1, 2, f"k{number}".encode(), 1, [number], 0, []]


def fill(state, *sizes, target="shop"):
    """One unit of each size, in one step."""
    with state.transaction():
        writer = OutboxWriter(state)
        for size in sizes:
            for number in range(size):
                writer.add(target, item(number), 5)
            writer.end_unit()
        news = writer.flush()
        state.put("units", writer.units)
    return news


@pytest.mark.parametrize("sizes", [[3, 4], [8, 9, 2], [12, 1], [1, 25]])
@pytest.mark.usefixtures("small_parts")
def test_items_that_are_added_at_once_are_those_of_one_unit(state, sizes):
    with state.transaction():
        writer = OutboxWriter(state)
        given = [item(number) for number in range(sum(sizes))]
        left = list(given)
        numbers = {writer.add_all("shop", [left.pop(0) for _ in range(size)], 5) for size in sizes}
        assert numbers == {writer.units}
        writer.end_unit()
        writer.flush()
    assert [one for row in rows(state) for unit in row.units() for one in unit.items] == given
    assert [row.writes for row in rows(state)] == [sum(len(u.items) for u in row.units()) for row in rows(state)]


def rows(state, target="shop", after_id=0, after_unit=0):
    return outbox.read(state, target, after_id, after_unit)


def shape(state, target="shop"):
    return [(row.through, row.more, [(u.number, len(u.items)) for u in row.units()]) for row in rows(state, target)]


def test_units_are_numbered_over_all_targets_and_read_back_as_they_were(state):
    with state.transaction():
        writer = OutboxWriter(state)
        assert writer.add("shop", item(1), 5) == 1
        assert writer.add("erp", item(1), 5) == 2
        assert writer.add("shop", item(2), 5) == 1
        writer.end_unit()
        assert writer.add("shop", item(3), 6) == 3
        writer.end_unit()
        assert writer.flush() == {"shop", "erp"}
    assert [u for row in rows(state) for u in row.units()] == [
        Unit(1, 5, [item(1), item(2)], partial=False),
        Unit(3, 6, [item(3)], partial=False),
    ]
    assert [row.through for row in rows(state, "erp")] == [2]


def test_numbers_go_on_after_a_restart(state):
    fill(state, 1, 1)
    fill(state, 1)
    assert [through for through, _, _ in shape(state)] == [2, 3]


def test_small_units_of_a_step_share_a_row_until_it_is_large(state, small_parts):
    assert fill(state, 3, 4, 5, 2) == {"shop"}
    assert shape(state) == [(3, False, [(1, 3), (2, 4), (3, 5)]), (4, False, [(4, 2)])]


def test_a_large_unit_is_stored_in_parts_and_the_last_says_that_it_is(state, small_parts):
    fill(state, 2, 25, 1)
    assert shape(state) == [
        (1, False, [(1, 2)]),
        (2, True, [(2, 10)]),
        (2, True, [(2, 10)]),
        (3, False, [(2, 5), (3, 1)]),
    ]


def test_a_unit_that_ends_with_a_part_is_still_ended(state, small_parts):
    fill(state, 20)
    assert shape(state) == [(1, True, [(1, 10)]), (1, True, [(1, 10)]), (1, False, [(1, 0)])]


def test_what_is_put_aside_is_a_part_of_its_unit(state):
    with state.transaction():
        writer = OutboxWriter(state)
        writer.add("shop", item(1), 5)
        writer.put_aside()
        writer.put_aside()
        writer.add("shop", item(2), 5)
        writer.end_unit()
        writer.flush()
    assert shape(state) == [(1, True, [(1, 1)]), (1, False, [(1, 1)])]


def test_a_run_of_rows_counts_with_its_rows(state, small_parts):
    with state.transaction():
        writer = OutboxWriter(state)
        writer.add("shop", [-1, 1, 1, [[n] for n in range(30)], None], 5, writes=30)
        writer.end_unit()
        writer.flush()
    assert [(row.through, row.more) for row in rows(state)] == [(1, True), (1, False)]


def test_a_step_that_failed_leaves_nothing_and_its_numbers_are_given_again(state, small_parts):
    writer = OutboxWriter(state)

    def fails_midway():
        with state.transaction():
            for number in range(25):
                writer.add("shop", item(number), 5)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails_midway()
    writer.discard(state.units)
    with state.transaction():
        assert writer.add("erp", item(1), 5) == 1
        writer.end_unit()
        assert writer.flush() == {"erp"}
    assert shape(state) == []


def test_an_open_unit_is_not_flushed(state):
    writer = OutboxWriter(state)
    writer.add("shop", item(1), 5)
    with pytest.raises(AssertionError, match="left open"), state.transaction():
        writer.flush()


def test_reading_goes_on_behind_a_row_and_beyond_a_unit(state):
    fill(state, 1)
    fill(state, 1)
    fill(state, 1)
    first, second, third = rows(state)
    assert [row.id for row in rows(state, after_id=first.id)] == [second.id, third.id]
    assert [row.id for row in rows(state, after_unit=2)] == [third.id]


def test_reading_stops_after_some_bytes_but_always_gives_one_row(state, monkeypatch):
    monkeypatch.setattr(outbox, "READ_BYTES", 1)
    fill(state, 1)
    fill(state, 1)
    assert len(rows(state)) == 1


def test_units_say_whether_any_of_their_values_may_be_absent(state):
    with state.transaction():
        writer = OutboxWriter(state)
        writer.add("shop", [-1, 2, 1, [[1, ABSENT]], None], 5)
        writer.end_unit()
        writer.flush()
    fill(state, 1)
    absent, whole = [row.units()[0] for row in rows(state)]
    assert (absent.partial, whole.partial) == (True, False)
    assert absent.items[0][3][0][1] is ABSENT


def test_what_one_delivery_carried_can_be_told_from_its_mark(state, small_parts):
    fill(state, 2, 25, 1, 3)
    assert [(u.number, len(u.items)) for u in outbox.between(state, "shop", 1, 3)] == [(2, 10), (2, 10), (2, 5), (3, 1)]
    assert list(outbox.between(state, "shop", 4, 4)) == []


def test_trimming_keeps_rows_with_units_that_are_not_through(state, small_parts):
    fill(state, 2, 25, 1)
    with state.transaction():
        assert outbox.trim(state, "shop", 1) == 1
        assert outbox.trim(state, "shop", 2) == 2
    assert shape(state) == [(3, False, [(2, 5), (3, 1)])]


def test_the_oldest_waiting_unit_tells_its_time(state):
    assert outbox.oldest_waiting_us(state, "shop", 0) is None
    fill(state, 1)
    assert outbox.oldest_waiting_us(state, "shop", 0) == 5
    assert outbox.oldest_waiting_us(state, "shop", 1) is None


def test_the_applied_mark_is_read_by_other_processes_and_starts_at_zero(tmp_path):
    one, other = AppliedMark(tmp_path, "shop"), AppliedMark(tmp_path, "shop")
    assert other.read() == read_applied(tmp_path, "shop") == read_applied(tmp_path, "unheard-of") == 0
    one.write(2**40)
    assert other.read() == read_applied(tmp_path, "shop") == 2**40
    assert not (tmp_path / "applied-unheard-of").exists()
    one.close()
    other.close()


def test_a_target_lacks_only_units_of_its_own_that_are_not_applied(state):
    fill(state, 1, 1)
    fill(state, 1, target="erp")
    fill(state, 1)
    assert outbox.lacks(state, "shop", 0, 1)
    assert outbox.lacks(state, "shop", 1, 3)
    assert not outbox.lacks(state, "shop", 2, 3)
    assert not outbox.lacks(state, "erp", 0, 2)
    assert outbox.lacks(state, "erp", 2, 3)


def test_a_unit_that_is_put_together_may_have_absent_values_if_any_part_of_it_has(state, small_parts):
    with state.transaction():
        writer = OutboxWriter(state)
        for number in range(12):
            writer.add("shop", [1, 2, b"k", 1, [ABSENT if number == 11 else number], 0, []], 5)
        writer.end_unit()
        writer.flush()
    rows = outbox.read(state, "shop", 0, 0)
    assert [[unit.partial for unit in row.units()] for row in rows] == [[False], [True]]
    (unit,) = outbox.joined(rows)
    assert (unit.partial, len(unit.items)) == (True, 12)


def test_what_is_collected_is_stored_when_it_is_to_be_read(state):
    with state.transaction():
        writer = OutboxWriter(state)
        writer.store_through("shop", 1)
        for number in range(3):
            writer.add("shop", item(number), 5)
            writer.end_unit()
        writer.store_through("shop", 0)
        assert shape(state) == []
        writer.store_through("shop", 2)
        assert shape(state) == [(3, False, [(1, 1), (2, 1), (3, 1)])]
        writer.flush()
    assert len(shape(state)) == 1
