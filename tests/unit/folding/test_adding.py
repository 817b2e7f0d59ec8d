"""What follows one another in one table is added together, whatever is said of other tables in between."""

from __future__ import annotations

from cdcd.folding.copies import CopyFolder
from cdcd.folding.records import RecordFolder
from cdcd.model import ABSENT, Op
from cdcd.outbox import RecordWrite, Unit
from unit.folding.test_large import applied, before, copied, folder, product

UPDATE = RecordWrite.UPDATE


def units(*units_items, partial=False):
    return [Unit(number, 5, items, partial) for number, items in enumerate(units_items, 1)]


def counted(monkeypatch, kind, name):
    calls = []
    real = getattr(kind, name)

    def call(self, *arguments, **named):
        calls.append(arguments)
        return real(self, *arguments, **named)

    monkeypatch.setattr(kind, name, call)
    return calls


def test_rows_of_a_thousand_small_units_are_added_by_one_call_a_table(monkeypatch):
    copies, records = counted(monkeypatch, CopyFolder, "add"), counted(monkeypatch, RecordFolder, "add_all")
    some = units(
        *(
            [
                copied(0, Op.UPDATE, [number % 7, "a", str(number)], olds=[None]),
                product(number % 7, UPDATE, f"n{number}"),
                copied(1, Op.INSERT, [100 + number, "b", "x"]),
            ]
            for number in range(1_000)
        )
    )
    folded, _ = folder().fold(some, None)
    assert (len(copies), len(records)) == (2, 1)
    assert sorted(len(group.write.rows) for group in folded.changes) == [7, 7, 1_000]
    carrier = next(group.write for group in folded.changes if group.write.table == "carrier")
    assert sorted(carrier.rows) == sorted([number % 7, "a", str(number)] for number in range(993, 1_000))


def test_the_units_are_as_they_were_so_that_they_can_be_folded_again():
    some = units(*([copied(0, Op.INSERT, [number, "a", "b"]), product(1, UPDATE, "n")] for number in range(3)))
    first, second = (folder().fold(some, None)[0] for _ in range(2))
    assert [group.write.rows for group in first.changes] == [group.write.rows for group in second.changes]
    assert [len(unit.items[0][3]) for unit in some] == [1, 1, 1]


def test_whatever_is_not_a_plain_run_comes_in_its_place():
    some = units(
        [copied(0, Op.INSERT, [10, "a", "b"], [11, "a", "b"])],
        [copied(0, Op.DELETE, [10, ABSENT, ABSENT]), copied(0, Op.INSERT, [10, "c", "d"])],
        [copied(0, Op.UPDATE, [12, "k", ABSENT], olds=[[11, ABSENT, ABSENT]])],
        [copied(0, Op.UPDATE, [12, "l", ABSENT], olds=[None])],
        [copied(1, Op.TRUNCATE), copied(1, Op.INSERT, [1, "only", "this"])],
        partial=True,
    )
    folded, _ = folder().fold(some, None)
    tables = applied(before(), folded.ordered(deletes_first=False).between(0))
    assert tables["carrier"][10] == {"id": 10, "name": "c", "note": "d"}
    assert tables["carrier"][12] == {"id": 12, "name": "l", "note": "b"}
    assert 11 not in tables["carrier"]
    assert tables["tag"] == {1: {"id": 1, "name": "only", "note": "this"}}
