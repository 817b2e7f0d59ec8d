"""Tryton and Oscar, each driven through its own client, kept in step by the template's configuration.

The tests follow one another on one pair of applications: first copy, business with kills, and what must be true after it.
"""

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from real.busy import keep_busy
from real.comparison import differences
from real.erp import Erp
from real.foreign_keys import broken
from real.pair import Pair
from real.shop import Shop


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory: Path = tmp_path_factory.mktemp("pair")
    erp = Erp(directory)
    try:
        shop = Shop(directory)
        made = Pair(directory, erp, shop)
        try:
            made.start()
            yield made
        finally:
            made.dispose()
            shop.close()
    finally:
        erp.close()


def test_the_first_copy_puts_both_in_step(pair: Pair):
    pair.wait_in_step()


def test_what_the_shop_sells_is_confirmed_processed_shipped_and_invoiced_by_the_erp(pair: Pair):
    sku = next(sku for sku, product in pair.shop.tell("products").items() if (product["stock"] or 0) > 10)
    number = pair.shop.tell("buy", email="customer20@example.invalid", sku=sku, quantity=2)
    pair.wait_in_step()
    assert pair.erp.tell("orders")[number]["state"] == "quotation"
    assert pair.erp.tell("fulfil", web_id=number) == {
        "state": "done",
        "shipment": "sent",
        "invoice": "paid",
        "number": f"W{number}",
    }
    pair.wait_in_step()
    assert pair.shop.tell("orders")[number]["status"] == "Complete"


def test_a_product_that_is_new_in_the_erp_is_sold_by_the_shop(pair: Pair):
    sku = pair.erp.tell("do", what="new_product")
    pair.wait_in_step()
    pair.erp.tell("do", what="receive_goods")
    stocked = pair.erp.tell("count_stock", sku=sku, quantity=12)
    pair.wait_in_step()
    assert pair.shop.tell("products")[sku]["stock"] == stocked
    assert pair.shop.tell("show_pages", sku=sku)
    number = pair.shop.tell("buy", email="customer20@example.invalid", sku=sku)
    pair.wait_in_step()
    assert pair.erp.tell("fulfil", web_id=number)["invoice"] == "paid"


def test_a_customer_who_is_new_in_the_erp_gets_an_account_and_buys(pair: Pair):
    email = pair.erp.tell("do", what="new_customer")
    pair.wait_in_step()
    assert pair.shop.tell("may_reset_password", email=email)
    sku = next(sku for sku, product in pair.shop.tell("products").items() if (product["stock"] or 0) > 10)
    number = pair.shop.tell("buy", email=email, sku=sku)
    pair.wait_in_step()
    assert email in pair.erp.tell("orders")[number]["customer"]


def test_both_at_work_while_the_daemon_is_killed_again_and_again_end_in_step(
    pair: Pair, request: pytest.FixtureRequest
):
    seconds, seed = (request.config.getoption(name, default) for name, default in (("seconds", 60.0), ("seed", 1)))
    for business in keep_busy(pair, seconds, seed):
        print(sorted(business.counts.items()))
    pair.wait_in_step(300)


def test_what_people_do_to_an_order_in_the_erp_without_the_right_is_put_right(pair: Pair):
    numbers = [number for number, order in pair.erp.tell("orders").items() if order["state"] == "quotation"]
    several = next(number for number in numbers if len(pair.erp.tell("orders")[number]["lines"]) > 1)
    before = pair.erp.tell("orders")[several]["lines"]
    pair.erp.tell("do", what="draft_without_a_line", web_id=several)
    cancelled = next(number for number in numbers if number != several)
    pair.shop.tell("do", what="cancel", number=cancelled)
    pair.wait_in_step()
    assert pair.erp.tell("orders")[several]["lines"] == before
    pair.erp.tell("do", what="delete_cancelled_order", web_id=cancelled)
    pair.wait_in_step()
    assert pair.erp.tell("orders")[cancelled]["state"] == "cancelled"
    assert pair.erp.tell("fulfil", web_id=several)["invoice"] == "paid"
    pair.wait_in_step()


def test_an_email_address_that_changes_on_one_side_changes_on_the_other(pair: Pair):
    with_orders = next(order["customer"] for order in pair.shop.tell("orders").values() if not order["guest"])
    pair.shop.tell("do", what="change_email", email=with_orders, to="new-in-the-shop@example.invalid")
    pair.erp.tell("do", what="change_email", email="customer5@example.invalid", to="new-in-the-erp@example.invalid")
    pair.wait_in_step()
    for tell in (pair.erp.tell, pair.shop.tell):
        found = tell("customers").keys()
        assert {"new-in-the-shop@example.invalid", "new-in-the-erp@example.invalid"} <= found
        assert not {with_orders, "customer5@example.invalid"} & found


def test_work_that_was_rolled_back_is_nowhere(pair: Pair):
    assert "never to be seen" not in str(pair.shop.tell("customers"))
    assert "never to be seen" not in str(pair.erp.tell("customers"))


def test_no_foreign_key_is_broken(pair: Pair):
    assert broken(pair.erp, pair.shop) == []


def test_nothing_is_parked_held_or_waiting(pair: Pair):
    status = pair.status()
    assert [system.deliver.parked for system in status.systems.values() if system.deliver] == [0, 0]
    assert (status.resolve.held, status.resolve.waiting, status.resolve.suspended) == (0, 0, ())
    assert "target-field-untold" not in pair.log.read_text(), "a change alone must be enough for what is there"


def test_both_go_on_selling_shipping_and_editing_on_top_of_what_came(pair: Pair):
    for what in ("new_customer", "place_order", "edit_address", "describe_product"):
        pair.shop.tell("do", what=what)
    for what in ("new_customer", "sell_over_the_counter", "ship", "change_price", "stocktake"):
        pair.erp.tell("do", what=what)
    pair.wait_in_step()
    pending = [number for number, order in pair.erp.tell("orders").items() if order["state"] == "quotation"]
    for number in pending[-3:]:
        assert pair.erp.tell("fulfil", web_id=number)["state"] == "done"
    pair.wait_in_step()
    assert differences(pair.erp, pair.shop) == []


@pytest.mark.parametrize(
    ("entity", "field"), [("product", "price"), ("product", "stock"), ("customer", "city"), ("order", "status")]
)
def test_history_explains_a_field(pair: Pair, entity: str, field: str):
    keys = {"product": "products", "customer": "customers", "order": "orders"}
    key = random.Random(field).choice(sorted(pair.erp.tell(keys[entity])))
    answer = pair.cli("history", entity, key, field, "--json")
    assert answer.returncode == 0, answer.stderr
    assert re.search(field, json.dumps(json.loads(answer.stdout)))
