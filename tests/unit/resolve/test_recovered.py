"""First copies after the state was lost: what the logs show of the gap counts, what they do not explain waits for a person."""

from __future__ import annotations

import pytest

from cdcd.model import ABSENT
from cdcd.resolve.trimming import Trimming
from unit.resolve.conftest import ORDER, ORDER_TABLES, PRODUCT, PRODUCT_TABLES
from unit.resolve.test_seeding import ROW, SHOP_ROW, present
from unit.small_line import delete, insert, update

BOTH = ("erp", "shop")


@pytest.fixture
def products(make_line):
    return make_line(PRODUCT, PRODUCT_TABLES, live=False)


@pytest.fixture
def orders(make_line):
    return make_line(ORDER, ORDER_TABLES, live=False)


def recover(line, complete=BOTH, unit=100, *, in_step=True):
    line.command("recover", unit=unit, complete=list(complete), in_step=in_step)


def in_both(line, **changes):
    present(line.apps["erp"], "item", id=1, **ROW)
    same = {"title": "one", "note": "n", "body": "erp's"}
    present(line.apps["shop"], "products", id=70, **SHOP_ROW | same | changes)


def kinds(line, system):
    return [(told.kind, told.key) for told in line.told(system)]


def order(app, number, key, **row):
    table, no, customer, state, total = (
        ("orders", "number", "customer_id", "status", "total")
        if app.system == "shop"
        else ("sales_order", "no", "partner_id", "state", "amount")
    )
    return insert(table, id=key, **{no: number, customer: 1, state: "new", total: "1.00"} | row)


# ---- deletes ---------------------------------------------------------------------------------------------------------


def test_an_ordinary_first_copy_takes_no_delete_for_an_end(products):
    in_both(products)
    products.apps["erp"].write(delete("item", 1))
    products.go_live()
    assert kinds(products, "shop") == kinds(products, "erp") == []
    assert [c[3] for c in products.conflicts()] == ["unmatched"]


def test_a_delete_by_a_system_that_may_not_is_reverted(products):
    recover(products)
    in_both(products)
    products.apps["shop"].write(delete("products", 70))
    products.go_live()
    assert kinds(products, "shop") == [("FULL", ("A",))]
    assert [c[3] for c in products.conflicts(kept=True)] == ["delete-reverted"]


def test_a_record_that_comes_back_lives(products):
    recover(products)
    in_both(products)
    erp = products.apps["erp"]
    erp.write(delete("item", 1))
    erp.write(insert("item", id=2, **ROW))
    products.go_live()
    assert kinds(products, "shop") == []
    assert products.values("product", "A") is not None


@pytest.mark.parametrize("restarted", [False, True])
def test_what_was_made_and_deleted_again_meanwhile_takes_nothing_with_it(orders, restarted):
    recover(orders)
    erp, shop = orders.apps["erp"], orders.apps["shop"]
    present(shop, "customers", id=1, number="C1", name="c")
    erp.write(insert("partner", id=5, no="C1", name="c"))
    if restarted:
        orders.resolve()
        orders.start()
    erp.write(delete("partner", 5))
    orders.go_live()
    assert orders.values("customer", "C1") is not None
    assert kinds(orders, "shop") == []


def test_what_was_deleted_and_made_again_meanwhile_is_made_everywhere(orders):
    recover(orders)
    shop = orders.apps["shop"]
    shop.rows["customers"][1] = {"id": 1, "number": "C1", "name": "c"}
    shop.write(delete("customers", 1))
    shop.write(insert("customers", id=2, number="C1", name="new"))
    orders.go_live()
    assert kinds(orders, "erp") == [("FULL", ("C1",))]


def test_what_was_noted_of_logs_is_forgotten_when_an_entity_is_live(products):
    recover(products)
    in_both(products)
    products.apps["erp"].write(delete("item", 1))
    products.resolve()
    assert len(products.dump("seed_events")) == 1
    products.go_live()
    assert products.dump("seed_events") == []


def test_a_step_that_fails_notes_nothing(products, monkeypatch):
    recover(products)
    in_both(products)
    products.apps["erp"].write(delete("item", 1))
    with monkeypatch.context() as patch:
        patch.setattr(Trimming, "trim", lambda *_arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            products.resolver.step()
    assert products.dump("seed_events") == []
    products.go_live()
    assert kinds(products, "shop") == [("DELETE", ("A",))]


# ---- after the state was lost ----------------------------------------------------------------------------------------


def test_units_go_on_after_those_of_the_lost_state(products):
    recover(products, unit=100)
    in_both(products, title="old")
    products.go_live()
    assert products.newest_unit("shop") == 101


def test_what_was_created_meanwhile_is_created_everywhere(orders):
    recover(orders)
    orders.apps["shop"].write(insert("customers", id=1, number="C1", name="c"))
    orders.apps["shop"].write(
        order(orders.apps["shop"], "O1", 1), insert("order_items", id=1, order_id=1, position=1, quantity=2)
    )
    orders.go_live()
    assert kinds(orders, "erp") == [("FULL", ("C1",)), ("FULL", ("O1",)), ("FULL", ("O1", 1))]


def test_what_was_deleted_meanwhile_does_not_come_back(products):
    recover(products)
    in_both(products)
    products.apps["erp"].write(delete("item", 1))
    products.go_live()
    assert kinds(products, "shop") == [("DELETE", ("A",))]
    assert kinds(products, "erp") == []


def test_what_we_had_deleted_ourselves_under_the_lost_state_is_nobodys_delete(orders):
    recover(orders)
    for system, table in (("shop", "customers"), ("erp", "partner")):
        no = "number" if system == "shop" else "no"
        orders.apps[system].rows[table][1] = {"id": 1, no: "C1", "name": "c"}
    orders.apps["erp"].echo(delete("partner", 1), through=90)
    orders.apps["erp"].write(insert("partner", id=2, no="C1", name="c"))
    orders.go_live()
    assert orders.values("customer", "C1") is not None
    assert kinds(orders, "shop") == kinds(orders, "erp") == []


def test_a_record_that_one_system_lacks_without_a_known_reason_waits_for_a_person(products):
    recover(products)
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    assert kinds(products, "shop") == kinds(products, "erp") == []
    assert [(c[1], c[2], c[3]) for c in products.conflicts()] == [(("A",), "erp", "unmatched")]
    products.apps["erp"].write(update("item", 1, name="two"))
    products.resync("product")
    assert kinds(products, "shop") == []


@pytest.mark.parametrize(("accept", "kind"), [(True, "FULL"), (False, "DELETE")])
def test_what_waits_for_a_person_can_be_spread_or_taken_away(products, accept, kind):
    recover(products)
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    record, system = products.plan.entities["product"], products.plan.vocabulary.systems.index("erp")
    (row,) = products.state.connection.execute("SELECT key, seq FROM conflicts").fetchall()
    named = [(record.number, row[0], system, None, row[1])]
    products.command("conflicts", accept=accept, conflicts=named)
    products.resolve()
    assert kinds(products, "shop" if accept else "erp") == [(kind, ("A",))]
    assert products.conflicts() == []


def test_where_the_log_of_its_system_does_not_reach_back_a_record_may_be_new(products):
    recover(products, complete=["shop"])
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    assert kinds(products, "shop") == [("FULL", ("A",))]


@pytest.mark.parametrize("complete", [["erp"], []])
def test_where_the_others_log_does_not_reach_back_the_record_may_have_been_deleted(products, complete):
    recover(products, complete=complete)
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    assert kinds(products, "shop") == []
    assert [c[3] for c in products.conflicts()] == ["unmatched"]


def test_a_log_that_names_what_was_deleted_by_ids_alone_does_not_say_what_is_not_deleted(products):
    recover(products, complete=["shop"])
    shop = products.apps["shop"]
    shop.rows["products"][8] = {"id": 8, "sku": ABSENT, "title": ABSENT, "status": ABSENT, "stock": ABSENT}
    shop.rows["products"][8] |= {"note": ABSENT, "body": ABSENT}
    shop.write(delete("products", 8))
    present(products.apps["erp"], "item", id=1, **ROW)
    products.resolve()
    products.start()
    products.go_live()
    assert kinds(products, "shop") == []
    assert [c[3] for c in products.conflicts()] == ["unmatched"]


def test_fields_are_settled_by_ownership_as_ever(products):
    recover(products)
    in_both(products, title="older", body="newer")
    products.go_live()
    assert [(told.kind, told.fields) for told in products.told("shop")] == [("UPDATE", {"name": "one"})]
    assert [(told.kind, told.fields) for told in products.told("erp")] == [("UPDATE", {"body": "newer"})]


def test_lines_of_an_order_follow_its_owner_as_ever(orders):
    recover(orders)
    for system, app in orders.apps.items():
        customers, no = ("customers", "number") if system == "shop" else ("partner", "no")
        present(app, customers, id=1, **{no: "C1", "name": "c"})
        _, table, row = order(app, "O1", 1)
        present(app, table, **row)
    present(orders.apps["shop"], "order_items", id=1, order_id=1, position=1, quantity=2)
    orders.go_live()
    assert kinds(orders, "erp") == [("FULL", ("O1", 1))]


def test_a_first_copy_is_like_any_other_when_that_is_wanted(products):
    recover(products, complete=(), in_step=False)
    present(products.apps["erp"], "item", id=1, **ROW)
    products.go_live()
    assert kinds(products, "shop") == [("FULL", ("A",))]


def test_an_entity_that_comes_later_begins_like_any_other(make_line):
    line = make_line(PRODUCT, PRODUCT_TABLES, live=False)
    recover(line)
    line.go_live()
    assert line.resolver._seeds.recovery.entities == frozenset()
    line.start()
    assert line.resolver._seeds.recovery.entities == frozenset()
