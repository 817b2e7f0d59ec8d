"""From the keys that a person names to the rows of live tables that are read again."""

# ruff: noqa: ARG002 - the contract names the arguments

from collections.abc import Sequence
from typing import Any

import pytest

from cdcd import resync_filters
from cdcd.adapter import RowFilter
from cdcd.errors import ConfigError, NotReady
from cdcd.model import ColumnShape, Row, TableShape
from cdcd.reader import TableFacts
from cdcd.resolve.keys import encode_key
from cdcd.resync_filters import by_keys, rows_of_copy
from unit.resolve.conftest import ORDER, ORDER_TABLES
from unit.small_line import plan_of

PRICED = """
[entities.product]
key = ["sku"]
create = ["erp"]
[entities.product.fields]
sku = { type = "integer" }
[entities.product.in.erp]
table = "item"
columns = { sku = { column = "code", map = { "one" = 1, "two" = 2 } } }
[entities.product.in.shop]
table = "products"
columns = { sku = "sku" }
"""
STOCKED = """
[entities.stock]
key = ["product"]
create = ["erp"]
[entities.stock.fields]
product = { type = "ref(product)" }
[entities.stock.in.erp]
table = "stock"
columns = { product = "item_id" }
"""
STOCK_TABLES = {"stock": {"item_id": "integer"}}
PRICED_TABLES = {"erp": {"item": {"id": "integer", "code": "text(3)"}}, "shop": {"products": {"sku": "integer"}}}


class StandInReader:
    """Tables of one system: shapes, and rows by the key that is asked for."""

    def __init__(self, tables: dict[str, dict[str, str]], rows: dict[Any, Row] | None = None) -> None:
        self.tables = tables
        self.rows = rows or {}

    def catalog(self) -> Sequence[TableFacts]:
        return [
            TableFacts(TableShape(t, tuple(ColumnShape(*c) for c in columns.items()), (next(iter(columns)),), ()), 0)
            for t, columns in self.tables.items()
        ]

    def sample(self, table: str, columns: Sequence[str], row_limit: int, *, spread: bool = False) -> list[Row]:
        raise AssertionError

    def read_rows(
        self, table: str, columns: Sequence[str], key: Sequence[str], keys: Sequence[Sequence[object]]
    ) -> list[Row]:
        return [self.rows[tuple(one)] for one in keys if tuple(one) in self.rows]

    def check_filter(self, table: str, condition: str) -> None:
        raise AssertionError

    def close(self) -> None:
        pass


def test_a_record_is_found_by_its_key_and_its_children_by_its_row():
    readers = {
        "erp": StandInReader(ORDER_TABLES["erp"], {("O1",): [11], ("O2",): [12]}),
        "shop": StandInReader(ORDER_TABLES["shop"]),
    }
    choice = by_keys(plan_of(ORDER), "order", ["O1", "O2"], ["erp", "shop"], readers.__getitem__)
    assert choice.keys == (encode_key(["O1"]), encode_key(["O2"]))
    assert choice.found == {"erp": 2, "shop": 0}
    assert [(c.system, c.table, c.filter) for c in choice.chosen] == [
        ("erp", "sales_order", RowFilter(columns=("no",), keys=(("O1",), ("O2",)))),
        ("erp", "sales_line", RowFilter(columns=("order_id",), keys=((11,), (12,)))),
        ("shop", "orders", RowFilter(columns=("number",), keys=(("O1",), ("O2",)))),
    ]


def test_a_key_goes_the_way_of_its_column_and_one_that_cannot_be_there_is_not_looked_for():
    plan = plan_of(PRICED)
    readers = {system: StandInReader(tables) for system, tables in PRICED_TABLES.items()}
    choice = by_keys(plan, "product", ["2", "7"], ["erp", "shop"], readers.__getitem__)
    assert [c.filter.keys for c in choice.chosen] == [(("two",),), ((2,), (7,))]


def test_a_key_that_is_another_row_s_id_leads_to_a_condition():
    with pytest.raises(ConfigError) as caught:
        by_keys(plan_of(PRICED + STOCKED), "stock", ["1"], ["erp"], lambda _system: StandInReader(STOCK_TABLES))
    assert "--where" in caught.value.remedy


def test_a_table_that_is_not_there_is_not_ready():
    with pytest.raises(NotReady):
        by_keys(plan_of(ORDER), "order", ["O1"], ["erp"], lambda _system: StandInReader({}))


def test_rows_of_a_plain_copy_are_named_by_their_key_as_it_is_typed():
    reader = StandInReader({"price": {"shop": "integer", "day": "date", "amount": "decimal(10,2)"}}, {(1,): [1]})
    choice = rows_of_copy("erp", "price", ["1", "2"], (), reader)
    assert (choice.columns, choice.rows, choice.found) == (("shop",), ((1,), (2,)), {"erp": 1})
    several = rows_of_copy("erp", "price", ["1/2026-11-22"], ("shop", "day"), reader)
    assert several.chosen[0].filter == RowFilter(columns=("shop", "day"), keys=((1, "2026-11-22"),))


@pytest.mark.parametrize("word", ["x", "1/2"])
def test_what_is_no_key_of_the_table_is_refused(word: str):
    with pytest.raises(ConfigError):
        rows_of_copy("erp", "price", [word], (), StandInReader({"price": {"id": "integer"}}))


def test_thousands_of_keys_are_too_many(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resync_filters, "KEYS_MAX", 1)
    with pytest.raises(ConfigError):
        rows_of_copy("erp", "price", ["1", "2"], (), StandInReader({"price": {"id": "integer"}}))
