"""What is told later: held back by a schedule or a pause, or made owed by a rewind; in the end the present truth, once."""

import pytest

from unit.resolve.conftest import PRODUCT, PRODUCT_TABLES
from unit.resolve.test_ownership_sum import ERP_ROW, SHOP_ROW, STOCK
from unit.resolve.test_ownership_sum import TABLES as STOCK_TABLES
from unit.resolve.test_renaming import ORDER, TABLES
from unit.small_line import Told, delete, insert, update

NIGHTLY = '[entities.product.in.shop.deliver]\nschedule = "0 2 * * *"\n'


def owed(line):
    return {(one.system, one.entity): one.records for one in line.owing() if one.records}


@pytest.fixture
def nightly(make_line):
    """Products go to the shop at night; product A is in both systems."""
    line = make_line(PRODUCT + NIGHTLY, PRODUCT_TABLES)
    line.apps["erp"].write(insert("item", id=1, code="A", name="one", state="active", stock=1, note="", web=""))
    line.resolve()
    line.deliver("shop", "product")
    line.resolve()
    line.apps["shop"].echo(insert("products", id=70, sku="A", title="one", status="active", stock=1, note="", body=""))
    line.resolve()
    line.told("shop"), line.told("erp")
    return line


@pytest.fixture
def ordered(make_line):
    """Product A and order 1 with a line are in both systems."""
    line = make_line(ORDER, TABLES)
    line.apps["erp"].write(insert("item", id=1, code="A", name="Desk"))
    line.resolve()
    line.apps["shop"].echo(insert("product", id=7, sku="A", title="Desk", body="nice"))
    line.apps["shop"].write(
        insert("order", id=3, number="1", note="", product=7), insert("line", id=4, order=3, line=1, quantity=2)
    )
    line.resolve()
    line.apps["erp"].echo(
        insert("sale", id=30, number="1", note="", product=1), insert("sale_line", id=40, sale=30, line=1, quantity=2)
    )
    line.resolve()
    line.told("shop"), line.told("erp")
    return line


def pause(line, entity, system, *, on=True):
    line.command("hold", systems=[system], entity=entity, on=on)


# ---- schedules ---------------------------------------------------------------------------------------------------


def test_between_two_runs_changes_of_a_record_fold_into_one(nightly):
    for name in ("two", "three", "four"):
        nightly.apps["erp"].write(update("item", 1, name=name))
    nightly.resolve()
    assert nightly.told("shop") == []
    assert owed(nightly) == {("shop", "product"): 1}
    nightly.deliver("shop", "product")
    nightly.resolve()
    assert [(t.kind, t.key, t.fields["name"]) for t in nightly.told("shop")] == [("FULL", ("A",), "four")]
    assert owed(nightly) == {}


def test_of_a_record_that_came_and_went_between_two_runs_only_that_it_is_gone_is_told(nightly):
    nightly.apps["erp"].write(insert("item", id=2, code="B", name="b", state="active", stock=0, note="", web=""))
    nightly.apps["erp"].write(delete("item", 2))
    nightly.resolve()
    nightly.deliver("shop", "product")
    nightly.resolve()
    assert nightly.told("shop") == [Told("product", "DELETE", ("B",), {})]


def test_a_run_tells_no_more_than_it_is_asked_for(nightly):
    for number in range(10, 17):
        row = {"code": f"P{number}", "name": "x", "state": "active", "stock": 0, "note": "", "web": ""}
        nightly.apps["erp"].write(insert("item", id=number, **row))
    nightly.resolve()
    for left in (4, 1, 0):
        nightly.deliver("shop", "product", limit=3)
        nightly.resolve()
        assert owed(nightly).get(("shop", "product"), 0) == left
    assert len({t.key for t in nightly.told("shop")}) == 7


def test_a_run_is_of_what_was_owed_when_it_began_also_where_other_keys_come_first(nightly):
    row = {"name": "x", "state": "active", "stock": 0, "note": "", "web": ""}
    nightly.apps["erp"].write(*[insert("item", id=10 + n, code=f"P{n}", **row) for n in range(3)])
    nightly.resolve()
    began = nightly.state.position
    nightly.command("deliver", system="shop", entity="product", limit=2, owed_by=began)
    nightly.apps["erp"].write(update("item", 10, name="y"), insert("item", id=20, code="N", **row))
    nightly.command("deliver", system="shop", entity="product", limit=2, owed_by=began)
    nightly.resolve()
    assert [t.key for t in nightly.told("shop")] == [("P0",), ("P1",), ("P2",)]
    assert owed(nightly) == {("shop", "product"): 2}


def test_what_the_target_does_not_have_yet_is_no_change_of_its_own(nightly):
    nightly.apps["erp"].write(update("item", 1, name="two", stock=5))
    nightly.apps["shop"].write(update("products", 70, body="mine"))
    nightly.resolve()
    counted = nightly.counted("shop", "product")
    assert (counted["behind"], counted["written"]) == (1, 1)
    assert [(t.kind, t.fields) for t in nightly.told("erp")] == [("UPDATE", {"body": "mine"})]
    assert nightly.told("shop") == []


def test_a_change_without_the_right_is_put_right_by_the_next_run(nightly):
    nightly.apps["shop"].write(update("products", 70, title="mine"))
    nightly.resolve()
    assert nightly.told("shop") == []
    nightly.deliver("shop", "product")
    nightly.resolve()
    assert [t.fields["name"] for t in nightly.told("shop")] == ["one"]


def test_what_is_owed_survives_a_restart_and_a_change_of_the_schedule(nightly):
    nightly.apps["erp"].write(update("item", 1, name="two"))
    nightly.resolve()
    nightly.start(PRODUCT)
    nightly.resolve()
    assert [(t.kind, t.fields["name"]) for t in nightly.told("shop")] == [("FULL", "two")]
    assert owed(nightly) == {}


def test_a_step_that_fails_owes_what_was_owed_before(nightly, monkeypatch):
    nightly.apps["erp"].write(update("item", 1, name="two"))
    with monkeypatch.context() as patch:
        patch.setattr(nightly.resolver, "_flush", lambda *_arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            nightly.resolver.step()
    assert owed(nightly) == {}
    nightly.resolve()
    assert owed(nightly) == {("shop", "product"): 1}


# ---- pauses ------------------------------------------------------------------------------------------------------


def test_a_paused_entity_is_held_back_with_its_children_from_that_system_alone(ordered):
    pause(ordered, "order", "erp")
    ordered.apps["shop"].write(update("order", 3, note="hurry"), update("line", 4, quantity=5))
    ordered.apps["erp"].write(update("item", 1, name="Table"))
    ordered.resolve()
    assert ordered.told("erp") == []
    assert [t.fields for t in ordered.told("shop")] == [{"name": "Table"}]
    assert owed(ordered) == {("erp", "order"): 1, ("erp", "order.lines"): 1}
    pause(ordered, "order", "erp", on=False)
    ordered.resolve()
    told = [(t.entity, t.kind, t.fields.get("note", t.fields.get("quantity"))) for t in ordered.told("erp")]
    assert told == [("order", "FULL", "hurry"), ("order.lines", "FULL", 5)]


def test_a_record_made_and_deleted_while_paused_is_told_as_gone_before_it_can_be_missed(ordered):
    pause(ordered, "order", "erp")
    ordered.apps["shop"].write(delete("line", 4), delete("order", 3))
    ordered.resolve()
    pause(ordered, "order", "erp", on=False)
    ordered.resolve()
    assert {(t.entity, t.kind) for t in ordered.told("erp")} == {("order", "DELETE"), ("order.lines", "DELETE")}


def test_what_a_deliverer_has_put_aside_is_owed_and_not_taken_for_read_back(ordered):
    ordered.apps["erp"].write(update("item", 1, name="Table"))
    ordered.resolve()
    assert [t.fields for t in ordered.told("shop")] == [{"name": "Table"}]
    product = ordered.plan.entities["product"].number
    pause(ordered, "product", "shop")
    ordered.command("owe", system="shop", records=[[product, b"\xa1A", False]])
    ordered.resolve()
    ordered.apps["shop"].echo(update("order", 3, note="by us"))  # it carries the unit, but not its product
    ordered.apps["shop"].write(update("product", 7, body="nicer"))
    ordered.resolve()
    assert ordered.counted("shop", "product")["behind"] == 1
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    assert [(t.kind, t.fields["name"]) for t in ordered.told("shop")] == [("FULL", "Table")]


# ---- other keys --------------------------------------------------------------------------------------------------


def test_a_record_renamed_while_held_back_is_renamed_from_the_key_that_its_target_knows(ordered):
    pause(ordered, "product", "shop")
    for code in ("B", "C"):
        ordered.apps["erp"].write(update("item", 1, code=code))
    ordered.resolve()
    assert owed(ordered) == {("shop", "product"): 1}
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    told = ordered.told("shop")
    assert told[0] == Told("product", "REKEY", ("C",), {"old sku": "A"})
    assert [(t.kind, t.key) for t in told[1:]] == [("FULL", ("C",))]


def test_a_record_renamed_before_its_target_ever_heard_of_it_is_simply_new(ordered):
    pause(ordered, "product", "shop")
    ordered.apps["erp"].write(insert("item", id=2, code="N", name="new"))
    ordered.apps["erp"].write(update("item", 2, code="M"))
    ordered.resolve()
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    assert [(t.kind, t.key) for t in ordered.told("shop")] == [("FULL", ("M",))]


def test_a_rename_that_was_put_aside_is_told_from_the_old_key(ordered):
    ordered.apps["erp"].write(update("item", 1, code="B"))
    ordered.resolve()
    ordered.told("shop")
    product = ordered.plan.entities["product"].number
    pause(ordered, "product", "shop")
    ordered.command("owe", system="shop", records=[[product, b"\xa1B", False]])
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    assert [(t.kind, t.key, t.fields.get("old sku")) for t in ordered.told("shop")] == [
        ("REKEY", ("B",), "A"),
        ("FULL", ("B",), None),
    ]


@pytest.fixture
def two(ordered):
    """Product B is in both systems, too."""
    ordered.apps["erp"].write(insert("item", id=2, code="B", name="b"))
    ordered.resolve()
    ordered.apps["shop"].echo(insert("product", id=8, sku="B", title="b", body=None))
    ordered.resolve()
    ordered.told("shop")
    return ordered


def take_its_key(line):
    """B is deleted, and A gets its key."""
    line.apps["erp"].write(delete("item", 2))
    line.apps["erp"].write(update("item", 1, code="B"))
    line.resolve()


FREED = [("DELETE", ("B",)), ("REKEY", ("B",)), ("FULL", ("B",))]


def test_a_record_that_gets_the_key_of_one_whose_deletion_is_held_back_finds_it_free(two):
    pause(two, "product", "shop")
    take_its_key(two)
    assert two.told("shop") == []
    pause(two, "product", "shop", on=False)
    two.resolve()
    assert [(t.kind, t.key) for t in two.told("shop")] == FREED


@pytest.mark.parametrize("at_once", [True, False])
def test_a_record_that_gets_the_key_of_one_whose_deletion_was_put_aside_finds_it_free(two, at_once):
    take_its_key(two)
    two.told("shop")
    product = two.plan.entities["product"].number
    pause(two, "product", "shop")
    for records in (
        [[[product, b"\xa1B", True]]] if at_once else [[[product, b"\xa1B", True]], [[product, b"\xa1B", False]]]
    ):
        two.command("owe", system="shop", records=records)
    pause(two, "product", "shop", on=False)
    two.resolve()
    assert [(t.kind, t.key) for t in two.told("shop")] == FREED


def test_what_was_put_aside_of_a_record_under_a_key_that_it_has_no_more_is_owed_under_its_present_one(ordered):
    ordered.apps["erp"].write(update("item", 1, name="Table"))
    ordered.apps["erp"].write(update("item", 1, code="C"))
    ordered.resolve()
    ordered.told("shop")
    product = ordered.plan.entities["product"].number
    pause(ordered, "product", "shop")
    ordered.command("owe", system="shop", records=[[product, b"\xa1A", False]])
    ordered.command("owe", system="shop", records=[[product, b"\xa1C", False]])
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    told = [(t.kind, t.key) for t in ordered.told("shop")]
    assert told == [("REKEY", ("C",)), ("FULL", ("C",))]


# ---- fields that add up ------------------------------------------------------------------------------------------


def test_differences_that_were_held_back_are_told_as_one_when_their_time_comes(make_line):
    line = make_line(STOCK, STOCK_TABLES)
    line.apps["erp"].write(insert("item", id=1, **ERP_ROW))
    line.resolve()
    line.apps["shop"].echo(insert("goods", id=7, **SHOP_ROW))
    line.resolve()
    line.told("shop")
    pause(line, "item", "shop")
    line.apps["erp"].write(update("item", 1, on_hand=14))
    line.apps["shop"].write(update("goods", 7, quantity=9))
    line.apps["erp"].write(update("item", 1, on_hand=13))
    line.resolve()
    assert line.values("item", "A")["stock"] == 12
    pause(line, "item", "shop", on=False)
    line.resolve()
    assert [(t.kind, t.fields) for t in line.told("shop") if t.kind == "ADD"] == [("ADD", {"stock": 3})]


# ---- rewinds -----------------------------------------------------------------------------------------------------


def test_news_of_a_record_that_a_rewind_wants_told_has_all_of_it_told_at_once(ordered):
    ordered.command("rewind", system="shop", since_us=0)
    ordered.resolver.step()
    assert owed(ordered)["shop", "product"] == 1
    ordered.apps["erp"].write(update("item", 1, name="Table"))
    ordered.resolver.step()
    assert [(t.kind, t.fields["name"]) for t in ordered.told("shop")] == [("FULL", "Table")]
    assert ("shop", "product") not in owed(ordered)


def test_a_rewind_is_withdrawn_as_far_as_nothing_else_has_it_told(nightly):
    nightly.apps["erp"].write(insert("item", id=2, code="B", name="b", state="active", stock=0, note="", web=""))
    nightly.resolve()
    seq = nightly.command("rewind", system="shop", since_us=0)
    nightly.resolve()
    assert owed(nightly) == {("shop", "product"): 2}
    nightly.command("rewind-undo", system="shop", seq=seq)
    nightly.resolve()
    assert owed(nightly) == {("shop", "product"): 1}, "B was owed before"


def test_a_rewind_to_a_journal_entry_is_about_what_was_decided_since(ordered):
    ordered.apps["erp"].write(insert("item", id=2, code="B", name="b"))
    ordered.resolve()
    ordered.told("shop")
    seq = ordered.journal.last_seq()
    ordered.command("rewind", system="shop", since_seq=seq)
    ordered.resolve()
    assert [t.key for t in ordered.told("shop")] == [("B",)]


def test_a_restored_system_gets_back_what_it_owns_itself(ordered):
    ordered.apps["shop"].write(update("product", 7, body="nicer"))
    ordered.resolve()
    ordered.command("rewind", system="shop", since_us=0, restored=True)
    ordered.resolve()
    (told,) = [t for t in ordered.told("shop") if t.entity == "product"]
    assert (told.fields["name"], told.fields["body"], told.initial) == ("Desk", "nicer", {})


# ---- replay ------------------------------------------------------------------------------------------------------


def test_a_system_that_lost_everything_is_told_all_that_it_had_and_learns_its_rows_anew(ordered):
    ordered.apps["erp"].write(insert("item", id=2, code="B", name="b"), delete("item", 2))
    ordered.resolve()
    ordered.told("shop"), ordered.told("erp")
    ordered.command("replay", system="shop")
    ordered.resolve()
    told = {(t.entity, t.kind, t.key) for t in ordered.told("shop")}
    assert told == {("product", "FULL", ("A",)), ("order", "FULL", ("1",)), ("order.lines", "FULL", ("1", 1))}
    assert ordered.dump("crosswalk") == [row for row in ordered.dump("crosswalk") if row[0] & 255 == 0]
    ordered.apps["shop"].rows = {table: {} for table in ordered.apps["shop"].rows}
    ordered.apps["shop"].echo(
        insert("product", id=101, sku="A", title="Desk", body="nice"),
        insert("order", id=102, number="1", note="", product=101),
        insert("line", id=103, order=102, line=1, quantity=2),
    )
    ordered.apps["shop"].write(update("line", 103, quantity=4))
    ordered.resolve()
    assert [(t.entity, t.kind, t.fields) for t in ordered.told("erp")] == [("order.lines", "UPDATE", {"quantity": 4})]


# ---- hand-overs --------------------------------------------------------------------------------------------------


def test_a_hand_over_that_was_held_back_reaches_who_owns_the_record_by_now(orders):
    place_order(orders)
    pause(orders, "order", "erp")
    orders.apps["shop"].write(update("orders", 3, status="picking"))
    orders.resolve()
    pause(orders, "order", "erp", on=False)
    orders.resolve()
    (told,) = [t for t in orders.told("erp") if t.entity == "order"]
    assert (told.kind, told.fields["status"]) == ("FULL", "picking")
    assert "total" not in told.fields, "that is the ERP's by now, and was not on its way"


def test_a_hand_over_that_was_refused_reaches_who_owns_the_record_by_now(orders):
    place_order(orders)
    orders.apps["shop"].write(update("orders", 3, status="picking"))
    orders.resolve()
    orders.told("erp")
    orders.apps["erp"].echo()  # its unit is through, but the order was parked
    orders.resolve()
    orders.command("retry", system="erp", records=[[orders.plan.entities["order"].number, b"\xa2O1"]])
    orders.resolve()
    (told,) = [t for t in orders.told("erp") if t.entity == "order"]
    assert told.fields["status"] == "picking"


def place_order(line):
    """Order O1 is new, in both systems."""
    line.apps["shop"].write(insert("customers", id=1, number="C1", name="Ada"))
    line.resolve()
    line.apps["erp"].echo(insert("partner", id=10, no="C1", name="Ada"))
    line.apps["shop"].write(
        insert("orders", id=3, number="O1", customer_id=1, status="new", total="5.00", tracking=None)
    )
    line.resolve()
    line.apps["erp"].echo(
        insert("sales_order", id=30, no="O1", partner_id=10, state="new", amount="5.00", tracking=None)
    )
    line.resolve()
    line.told("erp"), line.told("shop")


def test_a_pause_and_a_backlog_hold_back_each_for_itself(ordered):
    pause(ordered, "product", "shop")
    ordered.command("hold", systems=["shop"], entities=["product", "order"], on=True, behind=True)
    ordered.apps["erp"].write(update("item", 1, name="Table"))
    pause(ordered, "product", "shop", on=False)
    ordered.resolve()
    (product,) = [one for one in ordered.owing() if one.entity == "product"]
    assert (product.records, product.held, product.behind) == (1, False, True)
    assert ordered.told("shop") == []
    ordered.command("hold", systems=["shop"], entities=["product", "order"], on=False, behind=True)
    ordered.resolve()
    assert [t.fields["name"] for t in ordered.told("shop")] == ["Table"]
