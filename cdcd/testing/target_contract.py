"""What every target must do: `TargetContract`, inherited by a test class beside a fixture `harness` (see `harness`).

The core relies on each of these sentences (invariants 4, 5 and 7): above all that rows and checkpoint are one commit.
"""

# ruff: noqa: D102 (each name is its sentence)

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest

from cdcd.errors import Fenced, NeedsOperator, Refused, Unavailable
from cdcd.model import Batch, Row, Value, WriteKind
from cdcd.testing.harness import Column, Harness, Table
from cdcd.testing.source_session import HOSTILE, TEXTS
from cdcd.testing.stream import NamedRow, exactly
from cdcd.testing.target_describing import DescribingContract
from cdcd.testing.target_many_writes import ManyWritesContract
from cdcd.testing.target_parts import PartsContract
from cdcd.testing.target_reading import ReadingContract
from cdcd.testing.target_session import (
    CUSTOMER,
    DELETE,
    ITEM,
    ITEM_COLUMNS,
    LINE,
    ORDER,
    PRODUCT,
    UPDATE,
    UPSERT,
    TargetSession,
    create_orders,
    customers_of_orders,
    item,
    numbered,
    order_lines,
)


class TargetContract(DescribingContract, ManyWritesContract, PartsContract, ReadingContract):
    """The suite."""

    @pytest.fixture
    def session(self, harness: Harness) -> Iterator[TargetSession]:
        """An open target, and ITEM."""
        harness.create_table(ITEM)
        session = TargetSession(harness)
        yield session
        session.target.close()

    # ---- checkpoint and fence ----------------------------------------------------------------------------------------

    def test_a_new_target_has_applied_nothing(self, harness: Harness) -> None:
        target = harness.open_target()
        assert target.open() == 0
        target.close()

    def test_the_checkpoint_moves_with_the_rows(self, session: TargetSession) -> None:
        session.target.apply([session.items(UPSERT, [1, "a", 1])], Batch(0, 7))
        assert session.reopen() == 7
        assert session.ids() == [1]

    def test_a_batch_without_writes_moves_the_checkpoint_alone(self, session: TargetSession) -> None:
        session.target.apply([], Batch(0, 5))
        session.target.apply([session.items(UPSERT)], Batch(5, 6))
        assert session.reopen() == 6

    def test_applying_the_same_batch_twice_is_the_same_as_once(self, session: TargetSession) -> None:
        session.insert(ITEM, item(2), item(3))
        writes = [session.items(UPSERT, [1, "a", 1]), session.items(UPDATE, [2, "b", 1]), session.items(DELETE, [3])]
        for _ in range(2):
            assert session.target.apply(writes, Batch(0, 3)).missing == ()
            assert session.rows(ITEM) == [item(1, "a"), item(2, "b")]
        assert session.reopen() == 3

    def test_a_second_open_fences_the_first(self, session: TargetSession) -> None:
        second = session.harness.open_target()
        assert second.open() == 0
        with pytest.raises(Fenced):
            session.target.apply([session.items(UPSERT, [1, "a", 1])], Batch(0, 1))
        assert session.ids() == []
        second.apply([session.items(UPSERT, [2, "b", 1])], Batch(0, 1))
        second.close()
        assert session.ids() == [2]
        assert session.reopen() == 1

    def test_a_target_written_by_another_lineage_needs_the_operator(self, session: TargetSession) -> None:
        session.apply(session.items(UPSERT, [1, "a", 1]))
        stranger = session.harness.open_target(msgspec.structs.replace(session.harness.identity, lineage="other"))
        with pytest.raises(NeedsOperator):
            stranger.open()
        stranger.close()
        session.apply(session.items(UPSERT, [2, "b", 1]))
        assert session.ids() == [1, 2]

    def test_a_lineage_that_is_adopted_becomes_ours_and_its_writer_is_fenced(self, session: TargetSession) -> None:
        session.target.apply([session.items(UPSERT, [1, "a", 1])], Batch(0, 7))
        heir = session.harness.open_target(msgspec.structs.replace(session.harness.identity, lineage="heir"))
        with pytest.raises(NeedsOperator):
            heir.open(adopt="yet another")
        assert heir.open(adopt=session.harness.identity.lineage) == 7
        with pytest.raises(Fenced):
            session.target.apply([session.items(UPSERT, [2, "b", 1])], Batch(7, 8))
        heir.apply([session.items(UPSERT, [3, "c", 1])], Batch(7, 8))
        assert heir.open() == 8
        found = heir.checkpoint()
        heir.close()
        assert found is not None
        assert (found.lineage, found.through) == ("heir", 8)
        assert session.ids() == [1, 3]

    def test_the_checkpoint_can_be_looked_at_by_anybody_and_keeps_the_last_progress(
        self, session: TargetSession
    ) -> None:
        stranger = session.harness.open_target(msgspec.structs.replace(session.harness.identity, lineage="other"))
        nobody = session.harness.open_target(msgspec.structs.replace(session.harness.identity, system="nobody"))
        assert nobody.checkpoint() is None
        first = stranger.checkpoint()
        assert first is not None
        assert (first.lineage, first.through, first.progress) == (session.harness.identity.lineage, 0, "")
        text = '{"logs": {"erp": "a\\\\b \'c\' $1 %s: 1"}}'
        session.target.apply([], Batch(0, 3, text))
        session.target.apply([], Batch(3, 4))
        found = stranger.checkpoint()
        stranger.close()
        nobody.close()
        assert found is not None
        assert (found.epoch, found.through, found.progress) == (first.epoch, 4, text)

    def test_before_the_first_open_there_is_no_checkpoint(self, harness: Harness) -> None:
        target = harness.open_target()
        assert target.checkpoint() is None
        target.close()

    @pytest.mark.parametrize("part", ["daemon", "system"])
    def test_another_daemon_or_system_has_a_checkpoint_of_its_own(self, session: TargetSession, part: str) -> None:
        name = f"{getattr(session.harness.identity, part)}-2"
        other = session.harness.open_target(msgspec.structs.replace(session.harness.identity, **{part: name}))
        assert other.open() == 0
        other.apply([session.items(UPSERT, [1, "a", 1])], Batch(0, 9))
        other.close()
        session.apply(session.items(UPSERT, [2, "b", 1]))
        assert session.reopen() == 1

    def test_a_restarted_server_is_unavailable_and_then_tells_by_its_checkpoint_what_it_has(
        self, session: TargetSession
    ) -> None:
        if not session.harness.can_restart:
            pytest.skip("this harness cannot restart its server")
        session.apply(session.items(UPSERT, [1, "a", 1]))
        session.harness.restart()
        with pytest.raises(Unavailable):
            session.target.apply([session.items(UPSERT, [2, "b", 1])], Batch(1, 2))
        assert session.reopen() == 1
        assert session.ids() == [1]

    def test_closing_twice_or_before_opening_is_safe(self, session: TargetSession) -> None:
        session.target.close()
        session.target.close()
        session.harness.open_target().close()

    # ---- rows --------------------------------------------------------------------------------------------------------

    def test_an_upsert_inserts_what_is_new_and_updates_what_exists(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "old"), item(2, "old"))
        missing = session.apply(session.items(UPSERT, [2, "new", 1], [3, "new", 1], [4, None, 1]))
        assert missing == ()
        assert session.rows(ITEM) == [item(1, "old"), item(2, "new"), item(3, "new"), item(4)]

    def test_an_upsert_leaves_the_columns_that_it_does_not_name(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "old", 5, "1.5000"))
        session.apply(session.items(UPSERT, [1, "new", 1]))
        assert session.rows(ITEM) == [item(1, "new", 5, "1.5000")]

    def test_insert_only_columns_are_written_only_where_the_row_is_new(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "theirs", 5))
        columns = ("id", "name", "stock", "required")
        rows: list[Row] = [[1, "ours", 6, 2], [2, "ours", 7, 2]]
        session.apply(session.write(UPSERT, ITEM, ("id",), columns, rows, insert_only=("name", "required")))
        assert session.rows(ITEM) == [item(1, "theirs", 6), {**item(2, "ours", 7), "required": 2}]

    def test_an_upsert_of_the_key_alone_inserts_or_leaves_the_row(self, session: TargetSession) -> None:
        table = Table("tag", (Column("a", nullable=False), Column("b", nullable=False), Column("c")), ("a", "b"))
        session.harness.create_table(table)
        session.insert(table, {"a": 1, "b": 1, "c": 9})
        session.apply(session.write(UPSERT, table, ("a", "b"), ("a", "b"), [[1, 1], [1, 2]]))
        assert session.harness.rows(table) == [[1, 1, 9], [1, 2, None]]

    def test_an_upsert_by_a_natural_key_lets_the_server_give_the_id(self, session: TargetSession) -> None:
        session.harness.create_table(PRODUCT)
        session.insert(PRODUCT, {"sku": "a", "name": "old", "stock": 1})
        ((before,),) = [[row["id"]] for row in session.rows(PRODUCT)]
        for _ in range(2):
            session.apply(
                session.write(UPSERT, PRODUCT, ("sku",), ("sku", "name"), [["a", "new"], ["b", "new"], ["c", None]])
            )
        rows = {row["sku"]: row for row in session.rows(PRODUCT)}
        assert [(row["name"], row["stock"]) for row in rows.values()] == [("new", 1), ("new", None), (None, None)]
        assert rows["a"]["id"] == before
        assert len({row["id"] for row in rows.values()}) == 3

    def test_an_update_writes_only_rows_that_exist_and_names_the_others(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "old"), item(2, "old"))
        missing = session.apply(
            session.items(UPSERT, [3, "x", 1]),
            session.items(UPDATE, [8, "y", 1], [1, "new", 1], [9, "y", 1]),
            session.items(UPDATE, [3, "z", 1], [7, "y", 1]),
        )
        assert sorted(missing) == [(1, 0), (1, 2), (2, 1)]
        assert session.rows(ITEM) == [item(1, "new"), item(2, "old"), item(3, "z")]

    def test_an_update_that_changes_nothing_is_not_missing(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1, "same"), item(2))
        assert session.apply(session.items(UPDATE, [1, "same", 1], [2, None, 1])) == ()
        assert session.apply(session.write(UPDATE, ITEM, ("id",), ("id", "stock"), [[1, None], [2, 5]])) == ()
        assert session.rows(ITEM) == [item(1, "same"), item(2, None, 5)]

    def test_deleting_a_row_that_is_gone_is_fine(self, session: TargetSession) -> None:
        session.insert(ITEM, item(1), item(2))
        assert session.apply(session.items(DELETE, [1], [99])) == ()
        assert session.apply(session.items(DELETE, [1])) == ()
        assert session.ids() == [2]

    def test_writes_are_done_in_order(self, session: TargetSession) -> None:
        session.harness.create_table(PRODUCT)
        session.insert(PRODUCT, {"id": 1, "sku": "a"}, {"id": 2, "sku": "b"})
        session.apply(
            session.write(DELETE, PRODUCT, ("id",), ("id",), [[1]]),
            session.write(UPDATE, PRODUCT, ("id",), ("id", "sku"), [[2, "a"]]),
            session.write(UPSERT, PRODUCT, ("sku",), ("sku", "name"), [["a", "kept"], ["b", "new"]]),
        )
        assert [(row["id"] == 2, row["sku"], row["name"]) for row in session.rows(PRODUCT)] == [
            (True, "a", "kept"),
            (False, "b", "new"),
        ]

    def test_keys_of_several_columns_are_matched_whole(self, session: TargetSession) -> None:
        table = Table(
            "price",
            (
                Column("sku", "text(20)", nullable=False),
                Column("level", nullable=False),
                Column("amount", "decimal(12,4)"),
            ),
            ("sku", "level"),
        )
        session.harness.create_table(table)
        columns, key = table.column_names, ("sku", "level")
        session.apply(
            session.write(UPSERT, table, key, columns, [["a", 1, "1.0000"], ["a", 2, "2.0000"], ["b", 1, None]])
        )
        missing = session.apply(
            session.write(
                UPDATE, table, ("level", "sku"), ("level", "sku", "amount"), [[2, "a", "2.5000"], [2, "b", "9.0000"]]
            ),
            session.write(DELETE, table, key, key, [["a", 1], ["b", 2]]),
        )
        assert missing == ((0, 1),)
        assert session.harness.rows(table) == [["a", 2, "2.5000"], ["b", 1, None]]

    def test_a_batch_of_thousands_of_rows_of_every_kind_is_applied(self, session: TargetSession) -> None:
        session.apply(session.items(UPSERT, *numbered(range(3000), "new")))
        session.apply(session.items(UPSERT, *numbered(range(1500, 4500), "again")))
        missing = session.apply(session.items(UPDATE, *numbered(range(2000, 5000), "third")))
        assert sorted(missing) == [(0, place) for place in range(2500, 3000)]
        doomed: list[Row] = [[number] for number in range(3, 4500)]
        session.apply(session.items(DELETE, *doomed))
        assert session.rows(ITEM) == [item(0, "new 0"), item(1, "new 1"), item(2, "new 2")]

    # ---- values and names --------------------------------------------------------------------------------------------

    def test_every_value_of_every_type_is_written_exactly(self, session: TargetSession) -> None:
        for number, (spec, values) in enumerate(session.harness.values.items()):
            table = Table(f"type_{number}", (Column("id", nullable=False), Column("v", spec)), ("id",))
            session.harness.create_table(table)
            rows: list[Row] = [[place, value] for place, value in enumerate([*values, None])]
            session.apply(session.write(UPSERT, table, ("id",), ("id", "v"), rows))
            assert [exactly(row) for row in session.harness.rows(table)] == [exactly(row) for row in rows], spec
            turned: list[Row] = [[place, row[1]] for place, row in enumerate(reversed(rows))]
            assert session.apply(session.write(UPDATE, table, ("id",), ("id", "v"), turned)) == ()
            assert [exactly(row) for row in session.harness.rows(table)] == [exactly(row) for row in turned], spec
            session.apply(session.write(UPSERT, table, ("id",), ("id", "v"), rows))
            assert [exactly(row) for row in session.harness.rows(table)] == [exactly(row) for row in rows], spec

    def test_hostile_texts_are_written_exactly_also_as_keys(self, session: TargetSession) -> None:
        table = Table("hostile", (Column("k", "text(60)", nullable=False), Column("v", "text(60)")), ("k",))
        session.harness.create_table(table)
        keys = [text for text in TEXTS if text == text.strip()]
        session.apply(session.write(UPSERT, table, ("k",), ("k", "v"), [[text, text] for text in keys]))
        expected = sorted(repr([text, text]) for text in keys)
        assert sorted(repr(row) for row in session.harness.rows(table)) == expected
        assert (
            session.apply(session.write(UPDATE, table, ("k",), ("k", "v"), [[text, "x" + text] for text in keys])) == ()
        )
        expected = sorted(repr([text, "x" + text]) for text in keys)
        assert sorted(repr(row) for row in session.harness.rows(table)) == expected
        session.apply(session.write(DELETE, table, ("k",), ("k",), [[text] for text in keys]))
        assert session.harness.rows(table) == []

    def test_texts_keep_their_spaces(self, session: TargetSession) -> None:
        rows: list[Row] = [[number, text, 1] for number, text in enumerate(TEXTS)]
        session.apply(session.items(UPSERT, *rows))
        assert [row["name"] for row in session.rows(ITEM)] == list(TEXTS)

    def test_a_text_with_a_nul_is_written_exactly_or_refused(self, session: TargetSession) -> None:
        write = session.items(UPSERT, [1, "before", 1], [2, "a\0b", 1])
        if session.harness.stores_nul:
            session.apply(write)
            assert session.rows(ITEM) == [item(1, "before"), item(2, "a\0b")]
        else:
            session.refuse(write)
            assert session.ids() == []

    def test_hostile_names_of_tables_and_columns_are_written(self, session: TargetSession) -> None:
        session.harness.create_table(HOSTILE)
        columns = HOSTILE.column_names
        session.apply(session.write(UPSERT, HOSTILE, columns[:1], columns, [[1, "a", "b", "c"], [2, None, "b", "c"]]))
        session.apply(
            session.write(UPSERT, HOSTILE, columns[:1], columns, [[2, "d", "b", "c"]], insert_only=columns[3:])
        )
        assert session.apply(
            session.write(UPDATE, HOSTILE, columns[:1], columns, [[1, "a", "B", "c"], [3, "", "", ""]])
        ) == ((0, 1),)
        session.apply(session.write(DELETE, HOSTILE, columns[:1], columns[:1], [[2]]))
        assert session.harness.rows(HOSTILE) == [[1, "a", "B", "c"]]

    # ---- refusals ----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize(
        ("column", "value"),
        [("name", "x" * 65), ("required", None), ("required", 2**31), ("required", -(2**31) - 1)],
        ids=["text too long", "not nullable", "integer too large", "integer too small"],
    )
    def test_a_refused_row_leaves_all_rows_and_the_checkpoint(
        self, session: TargetSession, column: str, value: Value
    ) -> None:
        session.insert(ITEM, item(1, "old"))
        bad: NamedRow = {"id": 3, "name": "new", "required": 1, column: value}
        rows: list[Row] = [[2, "new", 1], [bad[name] for name in ITEM_COLUMNS]]
        session.refuse(session.items(UPDATE, [1, "new", 1]), session.items(UPSERT, *rows))
        assert session.rows(ITEM) == [item(1, "old")]
        session.refuse(session.items(UPDATE, [1, *(bad[name] for name in ITEM_COLUMNS[1:])]))
        assert session.rows(ITEM) == [item(1, "old")]

    def test_after_a_refusal_the_same_target_goes_on(self, session: TargetSession) -> None:
        with pytest.raises(Refused):
            session.target.apply([session.items(UPSERT, [1, None, None])], Batch(0, 1))
        session.target.apply([session.items(UPSERT, [1, "good", 1])], Batch(0, 1))
        assert session.rows(ITEM) == [item(1, "good")]

    def test_a_message_of_refusal_holds_no_value(self, session: TargetSession) -> None:
        session.harness.create_table(PRODUCT)
        session.insert(PRODUCT, {"sku": "s3cret-value", "name": "n"})
        columns = ("id", "sku", "name")
        write = session.write(UPSERT, PRODUCT, ("id",), columns, [[77, "s3cret-value", "s3cret-value"]])
        assert "s3cret-value" not in str(session.refuse(write))
        assert "s3cret-value" not in str(session.refuse(session.items(UPSERT, [1, "s3cret-value" * 9, 1])))

    @pytest.mark.parametrize("number", [2, 3], ids=["row exists", "row is new"])
    def test_an_upsert_that_meets_another_unique_key_is_refused_and_touches_nothing(
        self, session: TargetSession, number: int
    ) -> None:
        session.harness.create_table(PRODUCT)
        session.insert(PRODUCT, {"id": 1, "sku": "a", "name": "first"}, {"id": 2, "sku": "b", "name": "second"})
        before = session.harness.rows(PRODUCT)
        session.refuse(session.write(UPSERT, PRODUCT, ("id",), ("id", "sku", "name"), [[number, "a", "wrong"]]))
        assert session.harness.rows(PRODUCT) == before

    def test_a_row_that_refers_to_nothing_is_refused(self, session: TargetSession) -> None:
        if not session.harness.enforces_references:
            pytest.skip("this database does not enforce foreign keys")
        create_orders(session)
        session.refuse(session.write(UPSERT, ORDER, ("number",), ("number", "customer_id"), [["n1", 999]]))
        assert session.harness.rows(ORDER) == []

    # ---- lookups -----------------------------------------------------------------------------------------------------

    def test_a_lookup_stores_the_id_of_the_row_with_the_business_key(self, session: TargetSession) -> None:
        create_orders(session)
        lookups = (session.lookup("customer_id", CUSTOMER, "email"),)
        columns = ("number", "customer_id", "note")
        rows: list[Row] = [["n1", "b@x", "1"], ["n2", "a@x", "2"], ["n3", None, "3"]]
        for _ in range(2):
            session.apply(session.write(UPSERT, ORDER, ("number",), columns, rows, lookups=lookups))
            assert customers_of_orders(session) == {"n1": "b@x", "n2": "a@x", "n3": None}
        changed: list[Row] = [["n1", "a@x", "1"], ["n3", "b@x", "3"], ["n4", "b@x", "4"]]
        write = session.write(UPDATE, ORDER, ("number",), columns, changed, lookups=lookups)
        assert session.apply(write) == ((0, 2),)
        assert customers_of_orders(session) == {"n1": "a@x", "n2": "a@x", "n3": "b@x"}

    def test_a_lookup_may_have_a_key_of_several_columns(self, session: TargetSession) -> None:
        create_orders(session)
        lookup = session.lookup("customer_id", CUSTOMER, "country", "email")
        rows: list[list[object]] = [["n1", ["de", "a@x"]], ["n2", ["jp", "b@x"]], ["n3", None]]
        write = session.write(UPSERT, ORDER, ("number",), ("number", "customer_id"), rows, lookups=(lookup,))  # type: ignore[arg-type]
        session.apply(write)
        assert customers_of_orders(session) == {"n1": "a@x", "n2": "b@x", "n3": None}

    def test_a_lookup_finds_a_row_that_the_same_batch_wrote(self, session: TargetSession) -> None:
        create_orders(session)
        lookup = session.lookup("customer_id", CUSTOMER, "email")
        session.apply(
            session.write(UPSERT, CUSTOMER, ("email",), ("email", "country"), [["new@x", "fr"]]),
            session.write(UPSERT, ORDER, ("number",), ("number", "customer_id"), [["n1", "new@x"]], lookups=(lookup,)),
        )
        assert customers_of_orders(session) == {"n1": "new@x"}

    @pytest.mark.parametrize("kind", [UPSERT, UPDATE])
    def test_lookups_that_find_nothing_are_refused_and_the_rows_named(
        self, session: TargetSession, kind: WriteKind
    ) -> None:
        create_orders(session)
        session.insert(ORDER, *({"number": f"n{number}"} for number in range(4)))
        lookup = session.lookup("customer_id", CUSTOMER, "email")
        rows: list[Row] = [["n0", "a@x"], ["n1", "nobody"], ["n2", "b@x"], ["n3", "no one"]]
        error = session.refuse(
            session.items(UPSERT, [1, "a", 1]),
            session.write(kind, ORDER, ("number",), ("number", "customer_id"), rows, lookups=(lookup,)),
        )
        assert sorted(error.rows) == [(1, 1), (1, 3)]
        assert session.ids() == []
        assert set(customers_of_orders(session).values()) == {None}

    def test_a_lookup_may_be_part_of_the_key(self, session: TargetSession) -> None:
        create_orders(session)
        session.insert(ORDER, {"number": "n1"}, {"number": "n2"})
        lookups, key = (session.lookup("order_id", ORDER, "number"),), ("order_id", "line_no")
        columns = (*key, "quantity")
        for quantity in (1, 2):
            rows: list[Row] = [["n1", 1, quantity], ["n1", 2, quantity], ["n2", 1, quantity]]
            session.apply(session.write(UPSERT, LINE, key, columns, rows, lookups=lookups))
        changes: list[Row] = [["n2", 1, 9], ["n2", 5, 9]]
        assert session.apply(session.write(UPDATE, LINE, key, columns, changes, lookups=lookups)) == ((0, 1),)
        assert order_lines(session) == [("n1", 1, 2), ("n1", 2, 2), ("n2", 1, 9)]

    def test_a_delete_by_a_lookup_takes_what_it_does_not_find_for_deleted(self, session: TargetSession) -> None:
        create_orders(session)
        session.insert(ORDER, {"number": "n1"}, {"number": "n2"})
        numbers = {row["number"]: row["id"] for row in session.rows(ORDER)}
        session.insert(LINE, *({"order_id": numbers[order], "line_no": 1, "quantity": 1} for order in ("n1", "n2")))
        lookups, key = (session.lookup("order_id", ORDER, "number"),), ("order_id", "line_no")
        rows: list[Row] = [["gone", 1], ["n1", 1], ["n2", 7]]
        assert session.apply(session.write(DELETE, LINE, key, key, rows, lookups=lookups)) == ()
        assert order_lines(session) == [("n2", 1, 1)]
