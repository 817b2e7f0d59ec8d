"""Folding a large unit where it lies: the tables are left as by folding in memory; what occurs twice is not folded so."""

from __future__ import annotations

import random
import tracemalloc

import msgspec
import pytest

from cdcd.errors import NeedsOperator
from cdcd.folding import in_place
from cdcd.folding.in_place import DistinctKeys, InPlaceFold
from cdcd.model import ABSENT, Op
from cdcd.outbox import RecordWrite, StoredUnits, Unit
from cdcd.resolve.keys import encode_key
from unit.folding.test_large import applied, before, copied, folder, product

FULL, UPDATE, DELETE = RecordWrite.FULL, RecordWrite.UPDATE, RecordWrite.DELETE
ITEMS_PER_ROW = 4


class Lying:
    """A unit in rows of an outbox, with some of another unit in the last one."""

    def __init__(self, items):
        self.unwritable = []
        self.reads = 0
        parts = [items[at : at + ITEMS_PER_ROW] for at in range(0, len(items), ITEMS_PER_ROW)]
        self.rows = {}
        for row_id, part in enumerate(parts, 1):
            units = [(7, 5, part)]
            if row_id == len(parts):
                units.append((8, 5, [product(99, FULL, "other")]))
            self.rows[row_id] = StoredUnits(row_id, 7, row_id < len(parts), len(part), 5, msgspec.msgpack.encode(units))
        self.fold = InPlaceFold(folder(), 7, self.read, self.unwritable.extend)
        self.fits = all(self.fold.take(row) for row in self.rows.values()) and self.fold.is_fit()

    def read(self, row_id):
        self.reads += 1
        return self.rows[row_id]

    def groups(self, *, deletes_first=False):
        return self.fold.ordered(deletes_first=deletes_first)


def items_of_different_records(chance):
    items = []
    for number in range(6):
        name = chance.choice(["a", "b", "much too long for this"])
        items.append(product(number, chance.choice([FULL, UPDATE, DELETE]), name))
        for route in (0, 1):
            text = [chance.choice("abc"), chance.choice(["x", "y", ABSENT])]
            what = chance.random()
            if number >= 4:
                items.append(copied(route, Op.INSERT, [number, text[0], "new"]))
            elif what < 0.3:
                items.append(copied(route, Op.DELETE, [number, ABSENT, ABSENT]))
            else:
                items.append(copied(route, Op.UPDATE, [number, *text], olds=[None]))
    chance.shuffle(items)
    return items


@pytest.mark.parametrize("seed", range(20))
def test_the_tables_are_left_as_by_folding_in_memory_and_every_write_is_found_again(seed):
    items = items_of_different_records(random.Random(seed))
    folded, _ = folder().fold([Unit(7, 5, items, True)], None)
    lying = Lying(items)
    assert lying.fits
    groups = lying.groups()
    found = list(groups.between(0))
    assert applied(before(), found) == applied(before(), folded.ordered(deletes_first=False).between(0))
    unwritable = sorted((u.subject, u.kept) for u in lying.unwritable)
    assert unwritable == sorted((u.subject, u.kept) for u in folded.unwritable)
    assert [groups.at(number).write.rows for number in range(len(found))] == [group.write.rows for group in found]
    assert len(lying.unwritable) == len(unwritable)
    assert lying.fold.has_deletes == folded.has_deletes


def test_rows_that_the_source_has_inserted_are_said_to_be_likely_new_and_come_in_its_order():
    lying = Lying([copied(0, Op.INSERT, [number, "n", "x"]) for number in (5, 3, 9, 1, 7)])
    groups = list(lying.groups().between(0))
    assert all(group.write.likely_new for group in groups)
    assert [row[0] for group in groups for row in group.write.rows] == [5, 3, 9, 1, 7]


def test_deletes_of_copies_come_before_and_those_of_records_last_or_first():
    items = [product(1, DELETE), copied(0, Op.UPDATE, [1, "a", "b"], olds=[None]), product(2, FULL, "n")]
    items.append(copied(1, Op.DELETE, [2, ABSENT, ABSENT]))
    lying = Lying(items)
    order = [(g.write.kind.name, g.write.table) for g in lying.groups().between(0)]
    assert order == [("DELETE", "tag"), ("UPSERT", "carrier"), ("UPSERT", "products"), ("DELETE", "products")]
    first = [(g.write.kind.name, g.write.table) for g in lying.groups(deletes_first=True).between(0)]
    assert first == [order[-1], *order[:-1]]


@pytest.mark.parametrize(
    "more",
    [
        [product(1, UPDATE, "again")],
        [copied(0, Op.UPDATE, [1, "a", "b"], olds=[None]), copied(0, Op.DELETE, [1, ABSENT, ABSENT])],
        [copied(0, Op.UPDATE, [2, "a", "b"], olds=[[1, ABSENT, ABSENT]])],
        [copied(0, Op.TRUNCATE)],
        [[0, int(RecordWrite.REKEY), encode_key(["P2"]), 0, ["P3"], 0, []]],
        [[0, int(RecordWrite.ADD), encode_key(["P2"]), 2, ["1"], 0, []]],
    ],
    ids=["twice", "twice in a copy", "another key", "truncated", "renamed", "added to"],
)
def test_a_unit_is_not_folded_here_that_says_more_than_one_thing_of_a_record(more):
    assert Lying([product(1, FULL, "n")]).fits
    assert not Lying([product(1, FULL, "n"), *more]).fits


def test_a_unit_with_too_many_keys_to_compare_is_not_folded_here(monkeypatch):
    items = [product(number, FULL, "n") for number in range(3)]
    monkeypatch.setattr(in_place, "KEYS_MAX", 3)
    assert Lying(items).fits
    monkeypatch.setattr(in_place, "KEYS_MAX", 2)
    assert not Lying(items).fits


def test_a_deleted_row_that_the_log_does_not_name_is_said_at_once():
    with pytest.raises(NeedsOperator, match="cannot be named"):
        Lying([copied(0, Op.DELETE, [ABSENT, ABSENT, ABSENT])])


def test_each_stored_row_is_decoded_once_for_all_that_it_is_written_by():
    lying = Lying([product(number, UPDATE, "n") for number in range(40)])
    assert len(list(lying.groups().between(0))) == 10
    assert lying.reads == 10


def test_only_a_stored_row_is_held_at_once():
    def stored(row_id):
        rows = [[number, "n", f"{number:04}" * 500] for number in range(row_id * 100, row_id * 100 + 100)]
        item = [-1, int(Op.INSERT), 1, rows, None]
        return StoredUnits(row_id, 7, True, 100, 5, msgspec.msgpack.encode([(7, 5, [item])]))

    fold = InPlaceFold(folder(), 7, stored, list)
    tracemalloc.start()
    assert all(fold.take(stored(row_id)) for row_id in range(1, 26))
    size_bytes = sum(len(row[2]) for group in fold.ordered(deletes_first=False).between(0) for row in group.write.rows)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size_bytes == 5_000_000
    assert peak_bytes < 1_500_000


@pytest.mark.parametrize("make", [int, str, lambda n: (n, str(n)), lambda n: -n - 2, lambda n: encode_key([n])])
def test_distinct_keys_are_told_from_those_of_which_one_comes_again(make):
    for again, expected in (([], True), ([make(700)], False)):
        keys = DistinctKeys()
        for start in range(1, 2_001, 500):
            keys.add([make(number) for number in range(start, start + 500)])
        keys.add(again)
        assert keys.are_distinct() == expected
        assert keys.count == 2_000 + len(again)
