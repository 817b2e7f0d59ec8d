"""What writes would change is found by reading the target's rows, as the target compares them."""

from __future__ import annotations

from typing import Any

import pytest

from cdcd.model import ColumnShape, Lookup, TableWrite, Where, WriteKind
from cdcd.rehearsal.live import LiveTables, RowChange, same
from cdcd_memory import MemoryServer
from cdcd_memory.reader import MemoryReader

COLUMNS = (
    ColumnShape("id", "integer", nullable=False, has_default=True),
    ColumnShape("sku", "text(20)"),
    ColumnShape("price", "decimal(12,2)"),
    ColumnShape("seller", "integer"),
)


@pytest.fixture
def live() -> LiveTables:
    server = MemoryServer("shop")
    server.create_table("products", COLUMNS, ("id",), ("sku",))
    seller = (
        ColumnShape("id", "integer", has_default=True),
        ColumnShape("name", "text"),
        ColumnShape("rank", "integer"),
    )
    server.create_table("sellers", seller, ("id",))
    server.transaction(
        [
            ("insert", "sellers", {"name": "north", "rank": 2}),
            ("insert", "sellers", {"name": "south", "rank": 1}),
            ("insert", "products", {"sku": "A", "price": "1.50", "seller": 1}),
            ("insert", "products", {"sku": "B", "price": "2.00", "seller": 2}),
        ]
    )
    reader = MemoryReader(server)
    return LiveTables(reader, {facts.table: facts.shape for facts in reader.catalog()})


def changes(
    live: LiveTables, kind: WriteKind, columns: tuple[str, ...], *rows: list[Any], **more: Any
) -> list[RowChange]:
    return live.changes(TableWrite("products", kind, ("sku",), columns, list(rows), **more))


def test_an_upsert_creates_updates_or_changes_nothing(live: LiveTables):
    found = changes(live, WriteKind.UPSERT, ("sku", "price"), ["A", "1.5"], ["B", "3.00"], ["C", "4.00"])
    assert found == [
        RowChange("equal"),
        RowChange("update", {"price": ("2.00", "3.00")}),
        RowChange("create", {"sku": (None, "C"), "price": (None, "4.00")}),
    ]


def test_what_is_written_to_new_rows_only_changes_no_row_that_is_there(live: LiveTables):
    found = changes(live, WriteKind.UPSERT, ("sku", "price"), ["A", "9.00"], insert_only=("price",))
    assert found == [RowChange("equal")]


def test_an_update_of_a_row_that_is_not_there_is_missing_and_a_delete_of_one_is_nothing(live: LiveTables):
    assert changes(live, WriteKind.UPDATE, ("sku", "price"), ["C", "1.00"]) == [RowChange("missing")]
    assert changes(live, WriteKind.DELETE, ("sku",), ["A"], ["C"]) == [RowChange("delete"), RowChange("equal")]


def test_references_are_compared_by_the_rows_that_they_lead_to(live: LiveTables):
    seller = Lookup("seller", "sellers", ("name",), "id")
    found = changes(
        live, WriteKind.UPDATE, ("sku", "seller"), ["A", "north"], ["B", "north"], ["A", "west"], lookups=(seller,)
    )
    assert found[:2] == [RowChange("equal"), RowChange("update", {"seller": (2, 1)})]
    assert found[2].columns["seller"][0] == 1


def test_of_several_rows_the_first_in_order_is_referred_to_and_others_by_condition(live: LiveTables):
    by_rank = Lookup("seller", "sellers", ("rank",), "id", first_by=(("name", True),))
    assert changes(live, WriteKind.UPDATE, ("sku", "seller"), ["A", 2], lookups=(by_rank,)) == [RowChange("equal")]
    none = Lookup("seller", "sellers", ("name",), "id", where=(Where("rank", (7,)),))
    (found,) = changes(live, WriteKind.UPDATE, ("sku", "seller"), ["A", "north"], lookups=(none,))
    assert found.kind == "update"


def test_differences_are_added_to_what_is_there(live: LiveTables):
    found = changes(live, WriteKind.UPDATE, ("sku", "price"), ["A", "-0.50"], added=("price",))
    assert found == [RowChange("update", {"price": ("1.50", "1.00")})]


def test_a_key_finds_its_row_in_any_case_as_a_server_may_do(live: LiveTables):
    assert changes(live, WriteKind.UPDATE, ("sku", "price"), ["A", "1.50"]) == [RowChange("equal")]
    moved = TableWrite("products", WriteKind.REKEY, ("sku",), ("sku",), [["A", "Z"], ["Q", "R"]])
    assert live.changes(moved) == [RowChange("update", {"sku": ("A", "Z")}), RowChange("missing")]


def test_rows_that_do_not_count_are_not_there(live: LiveTables):
    found = changes(live, WriteKind.UPDATE, ("sku", "price"), ["A", "9.00"], where=(Where("seller", (2,)),))
    assert found == [RowChange("missing")]


@pytest.mark.parametrize(
    ("kind", "one", "other", "expected"),
    [
        ("decimal(12,4)", "1.5000", "1.5", True),
        ("json", '{"a": 1, "b": 2}', '{"b":2,"a":1.0}', True),
        ("text(5,padded)", "a  ", "a", True),
        ("text(5)", "a  ", "a", False),
        ("integer", None, 0, False),
    ],
)
def test_equal_is_what_the_column_takes_for_equal(kind: str, one: Any, other: Any, expected: bool):
    assert same(kind, one, other) is expected
