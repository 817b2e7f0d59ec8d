"""What can be read no further is left behind, everything else flows, and it goes on from its place when it can."""

from __future__ import annotations

import random

import msgspec
import pytest

from cdcd import outbox
from cdcd.model import ABSENT, Op, Relation, Rows
from cdcd.resolve import reading, suspension, trimming
from cdcd.resolve import resolver as resolver_module
from cdcd.resolve.suspension import CannotRead
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.small_line import delete, insert, update

decode = msgspec.msgpack.Decoder(ext_hook=lambda _code, _data: ABSENT).decode
ROW = {"code": "A", "name": "one", "state": "active", "stock": 5, "note": "n", "web": "w"}
COPY = '[[replicate]]\nfrom = "erp"\nto = "shop"\ntables = ["stock_move"]\n'
COPY_TABLES = {"erp": {**PRODUCT_TABLES["erp"], "stock_move": {"id": "integer", "qty": "integer"}}}
TWO = PRODUCT + COPY
TWO_TABLES = {**PRODUCT_TABLES, **COPY_TABLES}


@pytest.fixture
def line(make_line):
    """Products kept in step, and a plain copy of another table."""
    return make_line(TWO, TWO_TABLES)


def without(line, column: str) -> Relation:
    """The product table of the ERP as it is after a column was dropped."""
    known = line.apps["erp"].relations["item"]
    at = known.columns.index(column)
    return Relation(
        "item", known.columns[:at] + known.columns[at + 1 :], known.types[:at] + known.types[at + 1 :], known.identity
    )


def drop(line, column: str) -> None:
    line.apps["erp"].relations["item"] = without(line, column)
    for row in line.apps["erp"].rows["item"].values():
        row.pop(column)


def suspended(line) -> dict[str, str]:
    return {subject: found.code for subject, found in suspension.load(line.state).items()}


def outbox_items(line) -> list:
    found = []
    for system in line.systems:
        found += [item for stored in outbox.read(line.state, system, 0, 0) for u in stored.units() for item in u.items]
    return found


def copied(line) -> list[tuple[int, int]]:
    """(op, rows) of what the plain copy was told."""
    return [(item[1], len(item[3])) for item in outbox_items(line) if item[0] < 0]


# ---- a changed schema -----------------------------------------------------------------------------------------


def test_a_mapped_column_that_is_gone_suspends_its_entity_and_names_the_column(line):
    drop(line, "name")
    line.apps["erp"].write(insert("item", id=1, code="A", state="active", stock=5, note="n", web="w"))
    line.resolve()
    (found,) = suspension.load(line.state).values()
    assert (found.subject, found.code) == ("product", "schema-changed")
    assert "no column name" in found.cause
    assert "cdcd resync product" in found.remedy
    assert line.told("shop") == []


def test_everything_else_flows_while_an_entity_is_suspended(line):
    drop(line, "name")
    line.apps["erp"].write(
        insert("item", id=1, code="A", state="active", stock=5, note="n", web="w"), insert("stock_move", id=1, qty=3)
    )
    line.apps["erp"].write(insert("stock_move", id=2, qty=4))
    line.resolve()
    assert line.state.position == line.journal.last_seq()
    assert copied(line) == [(Op.INSERT, 1), (Op.INSERT, 1)]


def test_a_column_of_no_binding_comes_and_goes_unnoticed(line):
    known = line.apps["erp"].relations["item"]
    more = Relation("item", (*known.columns, "colour"), (*known.types, "text"), known.identity)
    line.apps["erp"].log(Rows(more, Op.INSERT, [[1, "A", "one", "active", 5, "n", "w", "red"]]))
    line.resolve()
    assert suspended(line) == {}
    assert [told.key for told in line.told("shop")] == [("A",)]


def test_columns_in_another_order_are_read_by_name(line):
    known = line.apps["erp"].relations["item"]
    other = Relation("item", known.columns[::-1], known.types[::-1], (len(known.columns) - 1,))
    line.apps["erp"].log(Rows(other, Op.INSERT, [["w", "n", 5, "active", "one", "A", 1]]))
    line.resolve()
    assert line.values("product", "A")["stock"] == 5


def test_a_retyped_column_suspends_with_both_types_named(line):
    known = line.apps["erp"].relations["item"]
    types = tuple("bytes" if name == "stock" else kind for name, kind in zip(known.columns, known.types, strict=True))
    line.apps["erp"].log(Rows(Relation("item", known.columns, types, known.identity), Op.INSERT, [[1, *ROW.values()]]))
    line.resolve()
    (found,) = suspension.load(line.state).values()
    assert found.code == "type-mismatch"
    assert "item.stock" in found.cause


def test_it_goes_on_from_its_place_when_the_configuration_fits_again(line):
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line.told("shop")
    drop(line, "note")
    line.apps["erp"].write(update("item", 1, name="two"))
    line.apps["erp"].write(insert("item", id=2, code="B", name="b", state="active", stock=1, web="w"))
    line.resolve()
    line.apps["erp"].write(delete("item", 2))
    line.resolve()
    assert line.told("shop") == []
    line.start(TWO.replace(', note = "note", body = "web"', ', body = "web"'))
    line.resolve()
    assert suspended(line) == {}
    assert [(told.kind, told.key) for told in line.told("shop")] == [
        ("UPDATE", ("A",)),
        ("FULL", ("B",)),
        ("DELETE", ("B",)),
    ]
    assert line.values("product", "A")["name"] == "two"


def test_a_restart_with_the_same_configuration_leaves_it_suspended(line):
    drop(line, "note")
    line.apps["erp"].write(insert("item", id=1, code="A", name="one", state="active", stock=5, web="w"))
    line.resolve()
    position = suspension.load(line.state)["product"].position
    line.start()
    line.resolve()
    assert suspension.load(line.state)["product"].position == position


def test_a_changed_child_table_suspends_the_family(make_line):
    orders = make_line(ORDER, ORDER_TABLES)
    shop = orders.apps["shop"]
    shop.write(insert("customers", id=1, number="C1", name="c"))
    shop.write(insert("orders", id=1, number="O1", customer_id=1, status="new", total="1.00"))
    shop.relations["order_items"] = Relation("order_items", ("id", "order_id"), ("integer", "integer"), (0,))
    shop.log(Rows(shop.relations["order_items"], Op.INSERT, [[1, 1]]))
    shop.write(insert("orders", id=2, number="O2", customer_id=1, status="new", total="1.00"))
    shop.write(insert("customers", id=2, number="C2", name="d"))
    orders.resolve()
    assert suspended(orders) == {"order": "schema-changed"}
    assert [(told.entity, told.key) for told in orders.told("erp")] == [
        ("customer", ("C1",)),
        ("order", ("O1",)),
        ("customer", ("C2",)),
    ]


# ---- rows that went without being named -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "code"), [(Op.TRUNCATE, "truncated"), (Op.ROWS_LOST, "rows-lost"), (Op.TABLE_GONE, "table-gone")]
)
def test_rows_that_went_without_being_named_suspend_the_entity(line, op, code):
    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.apps["erp"].log(Rows(Relation("item", (), (), ()), op, []))
    line.apps["erp"].write(insert("item", id=2, **ROW | {"code": "B"}))
    line.resolve()
    assert suspended(line) == {"product": code}
    assert [told.key for told in line.told("shop")] == [("A",)]


def test_a_resync_tells_all_rows_anew_and_what_is_not_there_by_then_was_deleted(line):
    line.apps["erp"].write(insert("item", id=1, **ROW), insert("item", id=2, **ROW | {"code": "B"}))
    line.resolve()
    shop_row = {"title": "one", "status": "active", "stock": 5, "note": "n", "body": "w"}
    line.apps["shop"].echo(insert("products", id=7, sku="A", **shop_row), insert("products", id=8, sku="B", **shop_row))
    line.resolve()
    line.told("shop")
    line.apps["erp"].truncate("item")
    line.apps["erp"].rows["item"].clear()
    line.apps["erp"].write(insert("item", id=3, **ROW | {"name": "back"}))
    line.resolve()
    assert line.told("shop") == []
    line.resync("product")
    assert suspended(line) == {}
    assert {(told.kind, told.key) for told in line.told("shop")} == {("UPDATE", ("A",)), ("DELETE", ("B",))}


def test_a_resync_passes_over_rows_that_could_not_be_read(line):
    whole = line.apps["erp"].relations["item"]
    less = without(line, "name")
    line.apps["erp"].log(Rows(less, Op.INSERT, [[1, "A", "active", 5, "n", "w"]]))
    line.resolve()
    line.apps["erp"].rows["item"][1] = {"id": 1, **ROW}
    assert line.apps["erp"].relations["item"] == whole
    line.resync("product")
    assert suspended(line) == {}
    assert line.values("product", "A")["name"] == "one"
    assert line.counted("erp", "product")["told-anew"] == 1


def test_what_still_cannot_be_read_after_a_resync_is_suspended_again(line):
    drop(line, "name")
    line.apps["erp"].write(insert("item", id=1, code="A", state="active", stock=5, note="n", web="w"))
    line.resync("product")
    assert suspended(line) == {"product": "schema-changed"}


# ---- plain copies ---------------------------------------------------------------------------------------------


def test_a_truncated_table_empties_its_plain_copy(line):
    line.apps["erp"].write(insert("stock_move", id=1, qty=3))
    line.apps["erp"].truncate("stock_move")
    line.apps["erp"].write(insert("stock_move", id=2, qty=4))
    line.resolve()
    assert copied(line) == [(Op.INSERT, 1), (Op.TRUNCATE, 0), (Op.INSERT, 1)]
    assert suspended(line) == {}


def test_a_plain_copy_whose_table_is_gone_is_suspended_and_a_resync_copies_it_anew(line):
    line.apps["erp"].log(Rows(Relation("stock_move", (), (), ()), Op.TABLE_GONE, []))
    line.apps["erp"].write(insert("stock_move", id=2, qty=4))
    line.resolve()
    assert suspended(line) == {"erp:stock_move": "table-gone"}
    assert copied(line) == []
    run = line.command("resync", entity="erp:stock_move")
    line.apps["erp"].copy("stock_move", run=run)
    line.resolve()
    assert suspended(line) == {}
    assert copied(line) == [(Op.INSERT, 1), (Op.TRUNCATE, 0), (Op.READ, 1)]


def test_a_copy_that_the_configuration_gave_up_is_suspended_no_more(line):
    line.apps["erp"].log(Rows(Relation("stock_move", (), (), ()), Op.TABLE_GONE, []))
    line.resolve()
    line.start(PRODUCT)
    line.resolve()
    assert suspended(line) == {}


# ---- what was left behind is the same in the end ----------------------------------------------------------------


def busy(line, seed: int) -> None:
    """Random work of both applications and echoes of ours, resolved now and then."""
    chance = random.Random(seed)
    shop, erp = line.apps["shop"], line.apps["erp"]
    for number in range(1, 40):
        customer = chance.randrange(1, 5)
        what = chance.random()
        if what < 0.3:
            shop.write(insert("customers", id=number, number=f"C{number}", name="c"))
        elif what < 0.7:
            shop.write(
                insert("orders", id=number, number=f"O{number}", customer_id=customer, status="new", total="1.00"),
                insert("order_items", id=number, order_id=number, position=1, quantity=chance.randrange(9)),
            )
        elif shop.rows["orders"]:
            order = chance.choice([*shop.rows["orders"]])
            shop.write(update("orders", order, status=chance.choice(["paid", "picking"]), total=f"{number}.00"))
        if chance.random() < 0.2:
            erp.write(insert("partner", id=number, no=f"C{number}", name="e"))
        if chance.random() < 0.1 and shop.rows["orders"]:
            shop.write(delete("orders", chance.choice([*shop.rows["orders"]])))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("entity", ["order", "customer"])
def test_records_are_the_same_whether_an_entity_was_left_behind_for_a_while_or_not(
    make_line, monkeypatch, seed, entity
):
    straight, detour = make_line(ORDER, ORDER_TABLES), make_line(ORDER, ORDER_TABLES)
    for line in (straight, detour):
        busy(line, seed)
    straight.resolve()

    made = reading.RowMapper

    def refuses(plan, mapped, *rest):
        if mapped.family == entity and detour.state.position > 12:
            raise CannotRead(entity, "for a test")
        return made(plan, mapped, *rest)

    monkeypatch.setattr(resolver_module, "STEP_ENTRIES", 5)
    monkeypatch.setattr(resolver_module, "STEP_ROWS", 0)
    with monkeypatch.context() as patch:
        patch.setattr(reading, "RowMapper", refuses)
        while detour.state.position < detour.journal.last_seq():
            detour.resolver.step()
            detour.start()
        detour.resolve()
    assert suspended(detour) == {entity: "schema-changed"}
    detour.start()
    detour.resolve()
    assert suspended(detour) == {}
    for table in ("crosswalk", "conflicts", "held", "waiting"):
        assert len(detour.dump(table)) == len(straight.dump(table)), table
    for name in ("order", "order.lines", "customer"):
        number = straight.plan.entities[name].number
        keys = [key for e, key, _ in straight.dump("golden") if e == number]
        assert keys == [key for e, key, _ in detour.dump("golden") if e == number]
    assert values(detour) == values(straight)


def values(line) -> list:
    """Every record's values and whether it lives, without what depends on the order of units."""
    records = [(entity, key, decode(body)) for entity, key, body in line.dump("golden")]
    return [(entity, key, record[0], record[3]) for entity, key, record in records]


def test_the_journal_is_kept_for_what_was_left_behind(line):
    drop(line, "name")
    line.apps["erp"].write(insert("item", id=1, code="A", state="active", stock=5, note="n", web="w"))
    before = line.state.position
    line.resolve()
    line.apps["erp"].write(insert("stock_move", id=2, qty=4))
    line.resolve()
    assert line.state.needed_after == before
    assert line.state.position > before


def test_units_that_are_not_read_back_by_the_one_left_behind_are_kept(line, monkeypatch):
    monkeypatch.setattr(trimming, "TRIM_SECONDS", 0.0)

    class Applied:
        def read(self) -> int:
            return 10**9

    line.apps["erp"].write(insert("item", id=1, **ROW))
    line.resolve()
    line._marks["shop"] = Applied()
    less = Relation("products", ("id", "sku"), ("integer", "text"), (0,))
    line.apps["shop"].log(Rows(less, Op.INSERT, [[9, "Z"]]))
    line.resolve()
    assert suspended(line) == {"product": "schema-changed"}
    line.apps["shop"].echo(
        insert("products", id=70, sku="A", title="one", status="active", stock=5, note="n", body="w")
    )
    line.apps["erp"].write(insert("stock_move", id=2, qty=4))
    line.resolve()
    assert outbox_items(line)
