"""Rows as their server printed them are folded like others: in memory, where they lie, and by way of the disk."""

from __future__ import annotations

import random

import pytest

from cdcd.model import Op, Rows
from cdcd.outbox import Unit, within
from cdcd.testing.printing import as_printed
from unit.folding.test_in_place import Lying, items_of_different_records
from unit.folding.test_large import (  # noqa: F401 - fixtures
    RELATION,
    Large,
    applied,
    before,
    copied,
    folder,
    parked,
    random_items,
    small_pages,
)


def printed(item):
    """The item with its rows as they were printed, where a source may do that."""
    number, op, *rest = item
    if number >= 0 or op not in (Op.INSERT, Op.UPDATE) or any(rest[2] or ()):
        return item
    return [number, op, rest[0], as_printed(Rows(RELATION, Op(op), rest[1])).packed, None]


def some_printed(items, chance):
    return [printed(item) if chance.random() < 0.7 else item for item in items]


def left_by(folded):
    return applied(before(), folded.ordered(deletes_first=False).between(0))


@pytest.mark.parametrize("seed", range(30))
def test_the_tables_are_left_as_by_rows_with_values(seed, tmp_path, parked):
    chance = random.Random(seed)
    items = random_items(chance)
    mixed = some_printed(items, chance)
    expected = left_by(folder().fold([Unit(7, 5, items, True)], None)[0])
    assert left_by(folder().fold([Unit(7, 5, mixed, True)], None)[0]) == expected
    assert applied(before(), Large(tmp_path, parked, mixed).groups().between(0)) == expected


@pytest.mark.parametrize("seed", range(10))
def test_where_they_lie_they_are_folded_too(seed):
    chance = random.Random(seed)
    items = items_of_different_records(chance)
    lying = Lying(some_printed(items, chance))
    assert lying.fits
    assert applied(before(), lying.groups().between(0)) == left_by(folder().fold([Unit(7, 5, items, True)], None)[0])


def test_many_of_them_keep_their_order():
    rows = [[number % 3, "a", str(number)] for number in range(2_000)]
    runs = [rows[at : at + 7] for at in range(0, len(rows), 7)]
    units = [Unit(number, 5, [printed(copied(0, Op.UPDATE, *run))], False) for number, run in enumerate(runs)]
    (group,) = folder().fold(units, None)[0].changes
    assert sorted(group.write.rows) == sorted(rows[-3:])


def test_they_count_where_rows_of_a_batch_are_limited():
    units = [Unit(number, 5, [printed(copied(0, Op.INSERT, *[[1, "a", "b"]] * 4))]) for number in range(5)]
    assert [unit.number for unit in within(units, 9)] == [0, 1]
