"""The part of `TargetContract` on writes that are made while they are done, on clearing tables and on changing keys."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from cdcd.errors import NeedsOperator, Refused
from cdcd.model import Batch, Row, TableWrite
from cdcd.testing.harness import Column, Table
from cdcd.testing.target_session import (
    CLEAR,
    DELETE,
    ITEM,
    ITEM_COLUMNS,
    REKEY,
    UPDATE,
    UPSERT,
    TargetSession,
    item,
    numbered,
)


class ManyWritesContract:
    """Inherited by `TargetContract`, which has the fixture `session`."""

    def test_writes_may_be_given_one_after_the_other_and_come_in_any_number(self, session: TargetSession) -> None:
        """Far more rows than a target may hold: they are made while it writes."""
        writes = (session.items(UPSERT, *numbered(range(start, start + 500), "new")) for start in range(0, 20_000, 500))
        session.target.apply(writes, Batch(0, 1))
        missing = (
            session.items(UPDATE, [start, "again", 1], [start + 1, "gone", 1]) for start in range(19_980, 20_010, 3)
        )
        assert sorted(session.target.apply(missing, Batch(1, 2)).missing) == [
            (write, place) for write in (7, 8, 9) for place in (0, 1)
        ]
        assert len(session.ids()) == 20_000
        assert session.rows(ITEM, "name")[19_998:] == [{"name": "again"}, {"name": "gone"}]
        assert session.reopen() == 2

    def test_a_refusal_far_into_the_writes_leaves_all_rows_and_the_checkpoint(self, session: TargetSession) -> None:
        def writes() -> Iterator[TableWrite]:
            for start in range(0, 12_000, 500):
                yield session.items(UPSERT, *numbered(range(start, start + 500), "new"))
            yield session.items(UPSERT, [77_777, None, None])

        with pytest.raises(Refused):
            session.target.apply(writes(), Batch(0, 1))
        assert session.ids() == []
        assert session.reopen() == 0

    def test_what_fails_while_writes_are_made_leaves_all_rows_and_the_checkpoint(self, session: TargetSession) -> None:
        def writes() -> Iterator[TableWrite]:
            yield session.items(UPSERT, *numbered(range(3_000), "new"))
            raise NeedsOperator("the disk is full")

        with pytest.raises(NeedsOperator):
            session.target.apply(writes(), Batch(0, 1))
        session.target.apply([session.items(UPSERT, [1, "good", 1])], Batch(0, 1))
        assert session.ids() == [1]

    def test_a_cleared_table_is_empty_and_what_follows_is_written(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "old"), item(2, "old"))
        for _ in range(2):
            clear = session.write(CLEAR, ITEM, ("id",), (), [])
            assert session.apply(clear, session.items(UPSERT, [2, "new", 1], [3, "new", 1])) == ()
            assert session.rows(ITEM) == [item(2, "new"), item(3, "new")]

    def test_a_table_that_was_cleared_is_full_again_where_a_later_write_is_refused(
        self, session: TargetSession
    ) -> None:
        session.insert(ITEM, item(1, "old"), item(2, "old"))
        session.refuse(session.write(CLEAR, ITEM, ("id",), (), []), session.items(UPSERT, [3, "new", None]))
        assert session.ids() == [1, 2]

    def test_differences_are_added_to_what_the_rows_hold(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "one", 10), item(2, "two", None), item(3, "three", 7))
        session.insert(ITEM, *(item(number, "many", number) for number in range(100, 200)))
        columns = ("id", "stock", "price")
        rows: list[Row] = [[1, -3, "0.1000"], [2, 5, "-1.2500"], [9, 1, "1.0000"]]
        many: list[Row] = [[number, -1, "0.0001"] for number in range(100, 200)]
        write = msgspec.structs.replace(
            session.write(UPDATE, ITEM, ("id",), columns, [*rows, *many]), added=("stock", "price")
        )
        assert session.apply(write) == ((0, 2),)
        found = {row["id"]: (row["stock"], row["price"]) for row in session.rows(ITEM, "id", "stock", "price")}
        assert (found[1], found[2], found[3]) == ((7, "0.1000"), (5, "-1.2500"), (7, None))
        assert {found[number] for number in range(100, 200)} == {(number - 1, "0.0001") for number in range(100, 200)}

    def test_a_new_row_and_a_difference_for_it_may_be_in_one_batch(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "one", 10))
        columns = (*ITEM_COLUMNS, "stock")
        new = session.write(
            UPSERT, ITEM, ("id",), columns, [[1, "first", 1, 50], [2, "second", 1, 50]], insert_only=("stock",)
        )
        difference = session.write(UPDATE, ITEM, ("id",), ("id", "stock"), [[1, 4], [2, 4]])
        assert session.apply(new, msgspec.structs.replace(difference, added=("stock",))) == ()
        assert session.rows(ITEM, "name", "stock") == [
            {"name": "first", "stock": 14},
            {"name": "second", "stock": 54},
        ]

    def test_rows_get_other_keys_in_order_and_keep_their_values(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "one", 5), item(2, "two", 6))
        missing = session.apply(
            session.items(DELETE, [7]),
            session.write(REKEY, ITEM, ("id",), ("id",), [[2, 3], [9, 10], [1, 2]]),
            session.items(UPDATE, [3, "moved", 1]),
        )
        assert missing == ((1, 1),)
        assert session.rows(ITEM) == [item(2, "one", 5), item(3, "moved", 6)]

    def test_keys_of_several_columns_change_whole(self, session: TargetSession) -> None:
        table = Table(
            "place", (Column("a", nullable=False), Column("b", "text(9)", nullable=False), Column("c")), ("a", "b")
        )
        session.harness.create_table(table)
        session.insert(table, {"a": 1, "b": "x", "c": 5}, {"a": 1, "b": "y", "c": 6})
        assert session.apply(session.write(REKEY, table, ("a", "b"), ("a", "b"), [[1, "x", 2, "z"]])) == ()
        assert session.harness.rows(table) == [[1, "y", 6], [2, "z", 5]]

    def test_a_key_that_is_taken_is_refused(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "one"), item(2, "two"))
        session.refuse(session.write(REKEY, ITEM, ("id",), ("id",), [[1, 2]]))
        assert session.rows(ITEM) == [item(1, "one"), item(2, "two")]
