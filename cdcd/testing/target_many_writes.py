"""The part of `TargetContract` on writes that are made while they are done, on clearing tables and on changing keys."""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdcd.errors import NeedsOperator, Refused
from cdcd.model import Batch, TableWrite
from cdcd.testing.harness import Column, Table
from cdcd.testing.target_session import CLEAR, DELETE, ITEM, REKEY, UPDATE, UPSERT, TargetSession, item, numbered


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
