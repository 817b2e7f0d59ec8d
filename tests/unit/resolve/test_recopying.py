"""A configuration that reads more, or otherwise, has the tables concerned copied anew by itself, and nothing else."""

from __future__ import annotations

import pytest

from cdcd.errors import NeedsOperator
from cdcd.model import Relation
from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.small_line import SmallLine, Told, insert

ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
SHOP_ROW = {"sku": "A", "title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}
SHELF = """
[entities.shelf]
key = ["code"]
create = ["erp"]
[entities.shelf.fields]
code = { type = "text(20)" }
stock = { type = "integer", owner = "erp" }
[entities.shelf.in.erp]
table = "item"
columns = { code = "code", stock = "stock" }
[entities.shelf.in.shop]
table = "products"
columns = { code = "sku", stock = "stock" }
"""
COPY = '[[replicate]]\nfrom = "erp"\nto = "archive"\ntables = ["item"]\n'
COPY_TABLES = PRODUCT_TABLES | {"archive": {"item": PRODUCT_TABLES["erp"]["item"]}}
WEIGHED = (
    PRODUCT.replace("body = { type", 'weight = { type = "integer", owner = "erp" }\nbody = { type')
    .replace('body = "web" }', 'body = "web", weight = "grams" }')
    .replace('body = "body" }', 'body = "body", weight = "grams" }')
)


@pytest.fixture
def line(products):
    """Product A in both systems."""
    products.apps["erp"].write(insert("item", id=1, **ROW))
    products.resolve()
    products.apps["shop"].echo(insert("products", id=70, **SHOP_ROW))
    products.resolve()
    products.told("shop")
    return products


def asked(line: SmallLine) -> set[tuple[str, str, int]]:
    """Copies that wait for a capture."""
    systems = line.apps
    return {(s, b.table, b.run) for s in systems for b in line.journal.backfills(s) if not b.done}


def copy(line: SmallLine) -> None:
    """What the captures do about it."""
    for system, table, run in sorted(asked(line)):
        line.apps[system].copy(table, run=run)
    line.resolve()


def weigh(line: SmallLine, grams: int) -> None:
    """Both tables get another column; the ERP's product weighs something."""
    for system, table in (("erp", "item"), ("shop", "products")):
        app = line.apps[system]
        known = app.relations[table]
        app.relations[table] = Relation(table, (*known.columns, "grams"), (*known.types, "integer"), (0,))
        for row in app.rows[table].values():
            row["grams"] = grams if system == "erp" else None


def test_a_restart_with_the_same_configuration_asks_for_nothing(line):
    line.start()
    assert asked(line) == set()
    assert line.resolver.copies_asked_of == frozenset()


def test_another_owner_another_policy_or_fewer_fields_ask_for_nothing(line):
    line.start(PRODUCT.replace('stock = "ignore"', 'stock = "revert"').replace('owner = "shop"', 'owner = "erp"'))
    fewer = PRODUCT.replace(', note = "note"', "").replace(', note = "hold"', "")
    line.start(fewer.replace('note = { type = "text", owner = "erp" }\n', ""))
    assert asked(line) == set()
    line.start(fewer.replace("note = {", "text = {"))
    assert {(system, table) for system, table, _ in asked(line)} == {("erp", "item"), ("shop", "products")}


def test_a_new_entity_over_tables_that_were_copied_already_gets_its_records(line):
    line.apps["erp"].write(insert("item", id=2, **ROW | {"code": "B"}))
    line.resolve()
    line.told("shop")
    line.start(PRODUCT + SHELF)
    line.resolve()
    assert line.resolver.copies_asked_of == {"erp", "shop"}
    assert line.phase("shelf") == "seeding", "its tables have not been read for it"
    copy(line)
    assert line.phase("shelf") == "live"
    assert line.values("shelf", "A") == {"code": "A", "stock": 5}
    assert line.told("shop") == [Told("shelf", "FULL", ("B",), {"code": "B", "stock": 5})]


def test_a_copy_that_ends_before_the_new_entitys_own_does_not_settle_it(line):
    """Its chunks may have been read before the entity was known."""
    line.start(PRODUCT + SHELF)
    for system, table in (("erp", "item"), ("shop", "products")):
        line.apps[system].copy(table, run=0)
    line.resolve()
    assert line.phase("shelf") == "seeding"
    copy(line)
    assert line.phase("shelf") == "live"


def test_a_new_field_of_old_records_gets_its_values(line):
    weigh(line, 70)
    line.start(WEIGHED)
    assert line.resolver.copies_asked_of == {"erp", "shop"}
    copy(line)
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"weight": 70})]
    assert line.told("erp") == []


def test_a_record_that_was_lost_meanwhile_is_found_by_that_copy_too(line):
    weigh(line, 70)
    del line.apps["erp"].rows["item"][1]
    line.start(WEIGHED)
    copy(line)
    assert {(told.kind, told.key) for told in line.told("shop")} == {("DELETE", ("A",))}


def test_a_system_that_an_entity_is_bound_in_newly_gets_the_records_that_it_lacks(make_line):
    tables = PRODUCT_TABLES | {"till": {"articles": {"id": "integer", "sku": "text(20)", "name": "text(50)"}}}
    line = make_line(PRODUCT, tables)
    line.apps["erp"].write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"code": "B"}))
    line.apps["till"].rows["articles"] = {5: {"id": 5, "sku": "B", "name": "other"}}
    line.resolve()
    line.told("shop")
    till = '[entities.product.in.till]\ntable = "articles"\ncolumns = { sku = "sku", name = "name" }\n'
    line.start(PRODUCT + till)
    assert {(system, table) for system, table, _ in asked(line)} == {
        ("erp", "item"),
        ("shop", "products"),
        ("till", "articles"),
    }
    line.apps["shop"].rows["products"] = {
        number: SHOP_ROW | {"id": number, "sku": sku} for number, sku in enumerate("AB", 70)
    }
    copy(line)
    assert sorted((told.kind, *told.key) for told in line.told("till")) == [("FULL", "A"), ("UPDATE", "B")]


def test_a_new_plain_copy_of_a_table_that_was_copied_already_gets_its_rows(make_line):
    line = make_line(PRODUCT, COPY_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.start(PRODUCT + COPY)
    assert {(system, table) for system, table, _ in asked(line)} == {("erp", "item")}
    copy(line)
    found = line.state.connection.execute("SELECT sum(writes) FROM outbox WHERE target='archive'").fetchone()
    assert found == (1,)


def test_a_plain_copy_that_leaves_out_less_is_copied_anew(make_line):
    line = make_line(COPY + 'leave-out = ["item.web"]\n', COPY_TABLES)
    line.start(COPY)
    assert {(system, table) for system, table, _ in asked(line)} == {("erp", "item")}


def test_another_key_is_refused_because_all_records_would_go_and_come_back(line):
    with pytest.raises(NeedsOperator) as caught:
        line.start(PRODUCT.replace('key = ["sku"]', 'key = ["name"]'))
    assert caught.value.code == "key-changed"
    assert asked(line) == set()
    line.start(PRODUCT.replace('type = "text(20)" , owner', 'type = "text(40)", owner'))
    assert {system for system, _, _ in asked(line)} == {"erp", "shop"}, "a longer key is the same key"


def test_a_crash_after_the_copies_were_asked_for_asks_once_more(line):
    weigh(line, 70)
    before = line.state.get("readings")
    line.start(WEIGHED)
    with line.state.transaction():
        line.state.put("readings", before)
    line.start()
    copy(line)
    assert line.told("shop") == [Told("product", "UPDATE", ("A",), {"weight": 70})]


def test_a_start_tells_of_copies_that_another_one_asked_for(line):
    """It may have been killed before it could: the captures would wait for ever."""
    weigh(line, 70)
    line.start(WEIGHED)
    line.start()
    assert line.resolver.copies_asked_of == {"erp", "shop"}


def test_an_id_of_a_table_that_is_bound_no_more_means_nothing(orders):
    orders.apps["shop"].write(insert("customers", id=5, number="C1", name="c"))
    orders.resolve()
    assert len(orders.dump("crosswalk")) == 1
    orders.start(orders.text.replace('table = "customers"', 'table = "clients"'))
    assert orders.dump("crosswalk") == []
