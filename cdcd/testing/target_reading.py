"""The part of `TargetContract` on looking at tables without writing (`cdcd.reader.Reader`)."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest

from cdcd.errors import FilterRefused, NotReady
from cdcd.model import Row, Value
from cdcd.reader import ForeignKey, Reader
from cdcd.testing.harness import Harness
from cdcd.testing.target_session import (
    CUSTOMER,
    ITEM,
    LINE,
    ORDER,
    TargetSession,
    create_orders,
    item,
)


class ReadingContract:
    """Inherited by `TargetContract`, which has the fixture `session`."""

    @pytest.fixture
    def reader(self, harness: Harness) -> Iterator[Reader]:
        """A reader of the harness's database."""
        reader = harness.open_reader()
        yield reader
        reader.close()

    def test_the_catalog_tells_shapes_numbers_of_rows_and_foreign_keys(
        self, session: TargetSession, reader: Reader
    ) -> None:
        create_orders(session)
        facts = {found.table: found for found in reader.catalog()}
        name = session.harness.full_name
        assert {name(ITEM), name(CUSTOMER), name(ORDER), name(LINE)} <= facts.keys()
        shapes = session.target.describe([name(ITEM), name(ORDER)])
        assert facts[name(ITEM)].shape == shapes[name(ITEM)]
        assert facts[name(ORDER)].shape == shapes[name(ORDER)]
        assert all(found.row_estimate >= 0 for found in facts.values())
        if session.harness.enforces_references:
            assert facts[name(ORDER)].foreign_keys == (ForeignKey(("customer_id",), name(CUSTOMER), ("id",)),)
            assert facts[name(ITEM)].foreign_keys == ()

    def test_a_sample_of_a_small_table_is_all_of_it(self, session: TargetSession, reader: Reader) -> None:
        session.insert(ITEM, item(2, "b", 7, "1.2500"), item(1, "a"))
        name = session.harness.full_name(ITEM)
        expected: list[Row] = [[1, None, "a"], [2, "1.2500", "b"]]
        assert reader.sample(name, ("id", "price", "name"), 2) == expected
        assert reader.sample(name, ("id", "price", "name"), 9, spread=True) == expected

    def test_a_sample_of_a_larger_table_is_its_beginning_or_both_its_ends(
        self, session: TargetSession, reader: Reader
    ) -> None:
        session.insert(ITEM, *(item(number) for number in range(1, 10)))
        name = session.harness.full_name(ITEM)
        assert reader.sample(name, ("id",), 4) == [[1], [2], [3], [4]]
        assert reader.sample(name, ("id",), 4, spread=True) == [[1], [2], [8], [9]]

    def test_a_table_is_read_page_by_page_in_the_order_of_its_key(self, session: TargetSession, reader: Reader) -> None:
        session.insert(ITEM, *(item(number) for number in range(1, 10)))
        name = session.harness.full_name(ITEM)
        found: list[Row] = []
        while page := reader.page(name, ("name", "id"), found[-1][1:] if found else None, 4):
            found += page
        assert [row[1] for row in found] == list(range(1, 10))
        assert len(reader.page(name, ("id",), None, 4)) == 4
        assert reader.page(name, ("id",), [9], 4) == []
        if session.harness.speaks_sql:
            assert reader.page(name, ("id",), [2], 4, where="id < 5 -- of all") == [[3], [4]]
        with pytest.raises(FilterRefused):
            reader.page(name, ("id",), None, 4, where="nothing = 1")

    def test_rows_are_read_by_one_column_or_several(self, session: TargetSession, reader: Reader) -> None:
        create_orders(session)
        name = session.harness.full_name(CUSTOMER)
        assert reader.read_rows(name, ("country",), ("email",), [["a@x"], ["nobody@x"]]) == [["de"]]
        found = reader.read_rows(name, ("email", "id"), ("country", "email"), [["jp", "b@x"], ["jp", "a@x"]])
        assert [row[0] for row in found] == ["b@x"]
        assert reader.read_rows(name, ("email",), ("id",), []) == []

    def test_many_rows_are_read_by_key(self, session: TargetSession, reader: Reader) -> None:
        session.insert(ITEM, *(item(number) for number in range(3_000)))
        found = reader.read_rows(session.harness.full_name(ITEM), ("id",), ("id",), [[n] for n in range(1, 6_000, 2)])
        assert sorted(row[0] for row in found if isinstance(row[0], int)) == list(range(1, 3_000, 2))

    def test_a_key_that_the_column_cannot_hold_has_no_row(self, session: TargetSession, reader: Reader) -> None:
        session.insert(ITEM, item(1, "a"), item(2, "b"))
        name = session.harness.full_name(ITEM)
        keys: Sequence[Sequence[Value]] = [[1], [2**60], ["x"], [2]]
        assert sorted(reader.read_rows(name, ("name",), ("id",), keys), key=repr) == [["a"], ["b"]]

    @pytest.mark.parametrize("condition", ["nothing = 1", "id = ", "id = 1) OR (id = 2", "id = 1 ORDER BY id"])
    def test_a_condition_that_chooses_no_rows_is_refused(
        self, session: TargetSession, reader: Reader, condition: str
    ) -> None:
        name = session.harness.full_name(ITEM)
        with pytest.raises(FilterRefused):
            reader.check_filter(name, condition)
        if session.harness.speaks_sql:
            reader.check_filter(name, "id = 1 AND name LIKE '%(x)s' -- a comment")

    def test_a_table_or_column_that_is_not_there_is_not_ready(self, session: TargetSession, reader: Reader) -> None:
        name = session.harness.full_name(ITEM)
        for table, column in ((f"{name}x", "id"), (name, "nothing")):
            with pytest.raises(NotReady):
                reader.sample(table, (column,), 1)
            with pytest.raises(NotReady):
                reader.read_rows(table, (column,), ("id",), [[1]])
