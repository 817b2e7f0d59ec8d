"""Records in several tables: put together from the rows that each log shows, in whatever order they come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cdcd.resolve import gathering
from unit.small_line import SmallLine, Told, delete, insert, update

PRODUCT = """
[entities.product]
key = ["sku"]
create = ["erp"]
delete = ["erp"]
[entities.product.fields]
sku = { type = "text(20)" }
name = { type = "text(40)", owner = "erp" }
price = { type = "decimal(12,2)", owner = "erp" }
unit = { type = "text(10)", owner = "erp" }
stock = { type = "decimal(12,3)", owner = "erp" }
moves = { type = "integer", owner = "erp" }
colour = { type = "text(20)", owner = "shop" }

[entities.product.in.erp]
table = "product"
where = { active = true }
columns.sku = "code"
columns.name = "template.name"
columns.unit = "unit.symbol"
columns.price.first = ["own.price", "general.price"]
columns.stock = { sum = ["arrived.quantity"], minus = ["left.quantity"] }
columns.moves.count = "arrived"
parts.template = { table = "template", at = "template", write = "row" }
parts.unit = { table = "unit", of = "template", at = "unit" }
parts.own = { table = "price", parent = "product", write = "never" }
parts.general = { table = "price", of = "template", parent = "template", where = { product = { null = true } }, write = "never" }
parts.arrived = { table = "move", parent = "product", where = { state = ["done", "assigned"], "to.code" = "STO" }, write = "never" }
parts.to = { table = "place", of = "arrived", at = "to_place", write = "never" }
parts.left = { table = "move", parent = "product", where = { state = "done", "from.code" = "STO" }, write = "never" }
parts.from = { table = "place", of = "left", at = "from_place", write = "never" }

[entities.product.in.shop]
table = "post"
where = { type = "product" }
columns = { sku = "sku.value", name = "title", price = "price.value", stock = "stock.value", colour = "colour.value" }
parts.sku = { table = "meta", parent = "post", where = { name = "_sku" } }
parts.price = { table = "meta", parent = "post", where = { name = "_price" } }
parts.stock = { table = "meta", parent = "post", where = { name = "_stock" } }
parts.colour = { table = "meta", parent = "post", where = { name = "colour" }, first-by = ["-id"] }
"""
ERP = {
    "product": {"id": "integer", "code": "text", "template": "integer", "active": "boolean"},
    "template": {"id": "integer", "name": "text", "unit": "integer"},
    "unit": {"id": "integer", "symbol": "text"},
    "price": {"id": "integer", "template": "integer", "product": "integer", "price": "decimal"},
    "move": {
        "id": "integer",
        "product": "integer",
        "quantity": "float",
        "state": "text",
        "from_place": "integer",
        "to_place": "integer",
    },
    "place": {"id": "integer", "code": "text"},
}
SHOP = {
    "post": {"id": "integer", "title": "text", "type": "text"},
    "meta": {"id": "integer", "post": "integer", "name": "text", "value": "text"},
}
PLACES = (insert("place", id=1, code="SUP"), insert("place", id=2, code="STO"), insert("place", id=3, code="CUS"))


@pytest.fixture
def line(tmp_path: Path):
    line = SmallLine(tmp_path, PRODUCT, {"erp": ERP, "shop": SHOP})
    line.apps["erp"].write(*PLACES, insert("unit", id=1, symbol="pc"))
    line.resolve()
    yield line
    line.close()


def product(
    number: int, *, template: int = 1, code: str | None = None, active: bool = True
) -> tuple[tuple[Any, ...], ...]:
    return (insert("product", id=number, code=code or f"P{number}", template=template, active=active),)


TEMPLATE = (
    insert("template", id=1, name="Desk", unit=1),
    insert("price", id=1, template=1, product=None, price="9.5"),
)


def move(number: int, quantity: float, state: str, source: int, target: int, of: int = 1) -> tuple[Any, ...]:
    return insert("move", id=number, product=of, quantity=quantity, state=state, from_place=source, to_place=target)


def values(line: SmallLine, sku: str = "P1") -> dict[str, Any]:
    line.resolve()
    found = line.values("product", sku)
    assert found is not None
    return found


def test_a_record_is_put_together_once_whatever_the_order_of_its_rows(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    found = values(line)
    assert (found["name"], found["price"], found["unit"], found["stock"], found["moves"]) == (
        "Desk",
        "9.50",
        "pc",
        "0.000",
        0,
    )
    assert [told.kind for told in line.told("shop")] == ["FULL"]


def test_a_row_that_comes_later_changes_only_its_field(line):
    line.apps["erp"].write(*product(1), TEMPLATE[0])
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(TEMPLATE[1])
    assert values(line)["price"] == "9.50"
    assert line.told("shop") == [Told("product", "UPDATE", ("P1",), {"price": "9.50"})]


def test_a_row_that_several_records_share_changes_all_of_them(line):
    line.apps["erp"].write(*product(1), *product(2), *TEMPLATE)
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(update("template", 1, name="Table"))
    line.resolve()
    assert [(told.key, told.fields) for told in line.told("shop")] == [
        (("P1",), {"name": "Table"}),
        (("P2",), {"name": "Table"}),
    ]


def test_a_value_is_found_through_a_row_of_a_row(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.apps["erp"].write(update("unit", 1, symbol="Stk"))
    assert values(line)["unit"] == "Stk"
    line.apps["erp"].write(insert("unit", id=2, symbol="m"), update("template", 1, unit=2))
    assert values(line)["unit"] == "m"


def test_the_first_value_there_is_counts(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.apps["erp"].write(insert("price", id=2, template=1, product=1, price="8"))
    assert values(line)["price"] == "8.00"
    line.apps["erp"].write(delete("price", 2))
    assert values(line)["price"] == "9.50"


def test_a_change_in_which_nothing_of_the_record_changed_is_none(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(update("template", 1), update("product", 1))
    line.resolve()
    assert line.told("shop") == []


# ---- totals ---------------------------------------------------------------------------------------------------------


def test_stock_is_the_exact_sum_of_what_came_and_went(line):
    line.apps["erp"].write(*product(1), *TEMPLATE, move(1, 0.1, "done", 1, 2), move(2, 0.2, "done", 1, 2))
    assert (values(line)["stock"], values(line)["moves"]) == ("0.300", 2)
    line.apps["erp"].write(move(3, 0.1, "done", 2, 3), move(4, 7.0, "draft", 1, 2))
    assert (values(line)["stock"], values(line)["moves"]) == ("0.200", 2)
    line.apps["erp"].write(update("move", 4, state="done"), delete("move", 1))
    assert (values(line)["stock"], values(line)["moves"]) == ("7.100", 2)


def test_a_move_that_goes_to_another_product_or_place_counts_there(line):
    line.apps["erp"].write(*product(1), *product(2), *TEMPLATE, move(1, 5.0, "done", 1, 2))
    line.resolve()
    line.apps["erp"].write(update("move", 1, product=2))
    assert (values(line)["stock"], values(line, "P2")["stock"]) == ("0.000", "5.000")
    line.apps["erp"].write(update("move", 1, to_place=3))
    assert values(line, "P2")["stock"] == "0.000"


def test_a_place_that_becomes_another_one_moves_the_totals(line):
    line.apps["erp"].write(*product(1), *TEMPLATE, move(1, 5.0, "done", 1, 2), move(2, 2.0, "done", 1, 3))
    line.resolve()
    line.apps["erp"].write(update("place", 2, code="OLD"), update("place", 3, code="STO"))
    assert values(line)["stock"] == "2.000"


def test_moves_that_come_before_their_product_count(line):
    line.apps["erp"].write(move(1, 5.0, "done", 1, 2))
    line.resolve()
    line.apps["erp"].write(*product(1), *TEMPLATE)
    assert values(line)["stock"] == "5.000"


def test_an_amount_that_cannot_be_added_holds_the_record(line):
    line.apps["erp"].write(*product(1), *TEMPLATE, move(1, float("inf"), "done", 1, 2))
    line.resolve()
    assert line.held() == ["sum-not-finite"]
    line.apps["erp"].write(delete("move", 1))
    assert values(line)["stock"] == "0.000"
    assert line.held() == []


# ---- which rows are records -----------------------------------------------------------------------------------------


def test_a_row_that_is_no_such_record_any_more_deletes_it_and_brings_it_back(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.apps["erp"].write(update("product", 1, active=False))
    line.resolve()
    assert line.values("product", "P1") is None
    assert line.counted("erp", "product")["filtered"] == 1
    line.apps["erp"].write(update("product", 1, active=True))
    assert values(line)["name"] == "Desk"
    assert [told.kind for told in line.told("shop")] == ["FULL", "DELETE", "FULL"]


def test_rows_that_were_never_records_say_nothing(line):
    line.apps["erp"].write(*product(1, active=False), *TEMPLATE)
    line.resolve()
    line.apps["erp"].write(delete("product", 1))
    line.resolve()
    assert line.record("product", "P1") is None
    assert line.told("shop") == []


def test_a_record_without_a_key_is_none_yet(line):
    line.apps["erp"].write(insert("product", id=1, code=None, template=1, active=True), *TEMPLATE)
    line.resolve()
    assert line.held() == []
    line.apps["erp"].write(update("product", 1, code="P1"))
    assert values(line)["name"] == "Desk"


def test_a_renamed_record_is_deleted_under_its_old_key(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.apps["erp"].write(update("product", 1, code="Q1"))
    line.resolve()
    assert line.values("product", "P1") is None
    assert values(line, "Q1")["price"] == "9.50"


# ---- a row per value ------------------------------------------------------------------------------------------------


def shown(line: SmallLine, *extra: tuple[Any, ...]) -> None:
    """The shop has what it was told, and says so."""
    line.apps["shop"].echo(
        insert("post", id=70, title="Desk", type="product"),
        insert("meta", id=1, post=70, name="_sku", value="P1"),
        insert("meta", id=2, post=70, name="_price", value="9.50"),
        insert("meta", id=3, post=70, name="_stock", value="0.000"),
        *extra,
    )
    line.resolve()


def test_values_in_rows_of_their_own_are_one_record(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    shown(line)
    line.apps["shop"].write(insert("meta", id=4, post=70, name="colour", value="red"))
    assert values(line)["colour"] == "red"
    line.apps["shop"].write(delete("meta", 4))
    assert values(line)["colour"] is None


def test_what_is_written_by_us_is_read_back_as_no_change(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.told("shop")
    shown(line)
    assert line.told("shop") == []
    assert line.counted("shop", "product")["echo"] == 1


def test_a_change_by_somebody_else_in_a_row_of_its_own_is_put_back(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    shown(line)
    line.told("shop")
    line.apps["shop"].write(update("meta", 2, value="1.00"))
    line.resolve()
    assert line.told("shop") == [Told("product", "UPDATE", ("P1",), {"price": "9.50"})]


def test_of_several_rows_the_first_counts_where_an_order_is_stated(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    shown(line)
    line.apps["shop"].write(
        insert("meta", id=4, post=70, name="colour", value="red"),
        insert("meta", id=5, post=70, name="colour", value="blue"),
    )
    assert values(line)["colour"] == "blue"


def test_several_rows_where_one_is_expected_hold_the_record(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    shown(line)
    line.apps["shop"].write(insert("meta", id=4, post=70, name="_price", value="7"))
    line.resolve()
    assert line.held() == ["part-ambiguous"]
    line.apps["shop"].write(delete("meta", 4))
    line.resolve()
    assert line.held() == []


def test_rows_of_other_posts_concern_nobody(line):
    line.apps["shop"].write(
        insert("post", id=71, title="Hello", type="page"), insert("meta", id=9, post=71, name="_price", value="x")
    )
    line.resolve()
    assert line.held() == []
    assert line.dump("gathered_present") == []


# ---- first copies, resyncs, restarts --------------------------------------------------------------------------------


def filled(tmp_path: Path, *more: tuple[Any, ...]) -> SmallLine:
    """A line whose tables have rows before anything was copied."""
    line = SmallLine(tmp_path, PRODUCT, {"erp": ERP, "shop": SHOP}, live=False)
    for op, table, row in (*PLACES, insert("unit", id=1, symbol="pc"), *product(1), *TEMPLATE, *more):
        del op
        line.apps["erp"].rows[table][row["id"]] = row
    return line


@pytest.mark.parametrize("backwards", [False, True])
def test_nothing_is_said_of_a_record_before_every_table_was_copied(tmp_path, backwards):
    line = filled(tmp_path, move(1, 3.0, "done", 1, 2))
    tables = [(system, table) for system, named in (("erp", ERP), ("shop", SHOP)) for table in named]
    for system, table in reversed(tables) if backwards else tables:
        assert line.record("product", "P1") is None
        line.apps[system].copy(table)
        line.resolve()
    assert line.phase("product") == "live"
    assert values(line)["stock"] == "3.000"
    assert [told.fields["name"] for told in line.told("shop")] == ["Desk"]
    line.close()


def test_a_change_while_the_tables_are_copied_is_in_the_record(tmp_path):
    line = filled(tmp_path)
    for table in ERP:
        line.apps["erp"].copy(table)
        line.apps["erp"].write(update("template", 1, name=f"Desk {table}"))
    for table in SHOP:
        line.apps["shop"].copy(table)
    assert values(line)["name"] == "Desk place"
    line.close()


def test_a_resync_finds_rows_that_went_unseen(line):
    line.apps["erp"].write(*product(1), *product(2), *TEMPLATE, move(1, 3.0, "done", 1, 2))
    line.resolve()
    line.told("shop")
    line.apps["erp"].rows["move"].clear()
    line.apps["erp"].rows["product"].pop(2)
    line.apps["erp"].rows["template"][1]["name"] = "Table"
    line.resync("product")
    assert (values(line)["name"], values(line)["stock"]) == ("Table", "0.000")
    assert line.values("product", "P2") is None


def test_a_restart_knows_all_rows(line):
    line.apps["erp"].write(*product(1), *TEMPLATE, move(1, 3.0, "done", 1, 2))
    line.resolve()
    line.start()
    line.apps["erp"].write(update("template", 1, name="Table"), move(2, 1.0, "done", 1, 2))
    assert (values(line)["name"], values(line)["stock"]) == ("Table", "4.000")


def test_more_records_than_fit_memory_are_put_aside(line, monkeypatch):
    monkeypatch.setattr(gathering, "PENDING_IN_MEMORY", 10)
    monkeypatch.setattr(gathering, "PAGE_RECORDS", 7)
    many = [row for number in range(1, 41) for row in product(number)]
    line.apps["erp"].write(*many, *TEMPLATE)
    line.apps["erp"].write(*(move(number, 1.0, "done", 1, 2, of=number) for number in range(1, 41)))
    line.resolve()
    line.told("shop")
    line.apps["erp"].write(update("template", 1, name="Table"), update("place", 2, code="OLD"))
    line.resolve()
    assert len({told.key for told in line.told("shop")}) == 40
    assert values(line, "P40") | {"sku": ""} == values(line, "P1") | {"sku": ""}
    assert values(line)["stock"] == "0.000"
    assert line.dump("gathered_pending") == []


def test_a_changed_where_is_read_anew(line):
    line.apps["erp"].write(*product(1), *TEMPLATE, move(1, 3.0, "assigned", 1, 2))
    assert values(line)["stock"] == "3.000"
    line.start(PRODUCT.replace('["done", "assigned"]', '"done"'))
    line.resync("product")
    assert values(line)["stock"] == "0.000"


def test_the_same_journal_gives_the_same_state_in_any_steps(tmp_path, monkeypatch):
    dumps = []
    for name, entries in (("a", 1), ("b", 1_000)):
        monkeypatch.setattr("cdcd.resolve.resolver.STEP_ENTRIES", entries)
        monkeypatch.setattr("cdcd.resolve.resolver.STEP_ROWS", 0)
        (tmp_path / name).mkdir()
        line = filled(tmp_path / name)
        line.go_live()
        line.apps["erp"].write(move(1, 3.0, "done", 1, 2))
        line.apps["erp"].write(update("template", 1, name="Table"), delete("price", 1))
        line.apps["erp"].write(delete("product", 1))
        line.resolve()
        dumps.append([line.dump(f"gathered_{table}") for table in ("rows", "links", "shares", "totals", "present")])
        line.close()
    assert dumps[0] == dumps[1]


def test_a_truncated_part_suspends_the_entity(line):
    line.apps["erp"].write(*product(1), *TEMPLATE)
    line.resolve()
    line.apps["erp"].truncate("price")
    line.resolve()
    assert [row[0] for row in line.dump("suspended")] == ["product"]


def test_a_table_may_be_an_entity_and_a_part_of_others(tmp_path):
    unit = """
[entities.unit]
key = ["symbol"]
create = ["erp"]
fields = { symbol = { type = "text" } }
in.erp = { table = "unit", columns = { symbol = "symbol" } }
in.shop = { table = "unit", columns = { symbol = "symbol" } }
"""
    line = SmallLine(tmp_path, unit + PRODUCT, {"erp": ERP, "shop": SHOP | {"unit": ERP["unit"]}})
    line.apps["erp"].write(insert("unit", id=1, symbol="pc"), *product(1), *TEMPLATE)
    assert values(line)["unit"] == "pc"
    assert line.values("unit", "pc") == {"symbol": "pc"}
    line.close()
